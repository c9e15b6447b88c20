//! Entry point of the program: reads `.env`, parses the command line and runs the command.

mod cli;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};
use cli::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The file is read before a second thread starts, because setting environment variables is not thread-safe. A
    // missing file is not an error.
    if let Err(error) = dotenvy::from_path(".env")
        && !error.not_found()
    {
        match error {
            // The line itself is not shown, because it may contain a secret.
            dotenvy::Error::LineParse(_, index) => {
                eprintln!(".env cannot be read: a line is malformed at character {index}");
            }
            error => eprintln!(".env cannot be read: {error}"),
        }
        return ExitCode::from(2);
    }
    let mut command = cli::without_empty_env(Cli::command());
    command.build();
    let cli = match command.clone().try_get_matches().and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches)) {
        Ok(cli) => cli,
        Err(error) => match parlance::config::start_error(&command, &error) {
            Some(line) => {
                eprintln!("{line}");
                return ExitCode::from(2);
            }
            None => error.exit(),
        },
    };
    if let Err(error) = cli.check() {
        eprintln!("{error}");
        return ExitCode::from(2);
    }
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("parlance: {error:#}");
            ExitCode::FAILURE
        }
    }
}
