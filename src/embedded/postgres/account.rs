use std::ffi::OsString;
use std::io;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Output, Stdio};

use nix::errno::Errno;
use nix::unistd::{Uid, User};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::Error;

/// Accounts for PostgreSQL when the server itself runs as root, in order of preference.
const UNPRIVILEGED: [&str; 3] = ["postgres", "_postgres", "nobody"];

/// The only environment variables that PostgreSQL's programs inherit. The programs get neither the server's secrets nor
/// `PG…` variables, which would change their behaviour.
const INHERITED: [&str; 3] = ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"];

/// The owner of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// The account that runs PostgreSQL's programs, which refuse to run as root.
#[derive(Clone, Debug)]
pub(super) struct Account {
    /// The account to switch to. None if the server does not run as root: the programs then run as the server's
    /// account.
    other: Option<Owner>,
    name: String,
}

impl Account {
    /// Chooses the account for a cluster that belongs to `owner`, or for a new cluster if `owner` is None.
    pub(super) fn choose(owner: Option<Owner>) -> Result<Self, Error> {
        if !Uid::effective().is_root() {
            return Ok(Self { other: None, name: "this user".to_owned() });
        }
        if let Some(owner) = owner {
            let user = User::from_uid(Uid::from_raw(owner.uid)).ok().flatten();
            let name = user.map_or_else(|| format!("uid {}", owner.uid), |user| user.name);
            return Ok(Self { other: Some(owner), name });
        }
        let user = UNPRIVILEGED
            .iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .ok_or_else(|| Error::NoAccount(UNPRIVILEGED.join(", ")))?;
        let owner = Owner { uid: user.uid.as_raw(), gid: user.gid.as_raw() };
        Ok(Self { other: Some(owner), name: user.name })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether this account differs from the account that runs this process.
    pub(super) fn is_other(&self) -> bool {
        self.other.is_some()
    }

    /// Makes the account the owner of `path`.
    pub(super) fn make_owner(&self, path: &Path) -> Result<(), Error> {
        let Some(Owner { uid, gid }) = self.other else {
            return Ok(());
        };
        chown(path, Some(uid), Some(gid)).map_err(Error::at(path))
    }

    /// Tests whether the account can enter `directory`, by running a command there. The mode bits alone do not decide
    /// this, because ACLs and mounts matter as well.
    pub(super) async fn can_enter(&self, directory: &Path) -> Result<bool, Error> {
        match self.command(Path::new("/bin/sh"), directory).args(["-c", ":"]).status().await {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(Errno::EACCES as i32) => Ok(false),
            Err(source) => Err(Error::Account { account: self.name.clone(), source }),
        }
    }

    /// Creates a command that runs as the account in `directory`, which is also the HOME of the command.
    pub(super) fn command(&self, program: &Path, directory: &Path) -> Command {
        let mut command = Command::new(program);
        let inherited = INHERITED
            .into_iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?)))
            .collect::<Vec<(&str, OsString)>>();
        command
            .env_clear()
            .envs(inherited)
            .env("HOME", directory)
            // Messages must be in English, because the server parses them. On macOS, this locale also prevents the
            // system from starting threads in the postmaster.
            .env("LC_ALL", "C")
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        if let Some(Owner { uid, gid }) = self.other {
            // std also drops the supplementary groups when root sets a uid.
            command.uid(uid).gid(gid);
        }
        command
    }
}

/// Runs `command` to its end with `input` as its standard input, and returns its output.
pub(super) async fn run(mut command: Command, input: &str) -> io::Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // Writing fails if the program ends before it has read its input. The output of the program then names the
        // cause.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    child.wait_with_output().await
}

/// Returns the output of a program as one line for a message, with standard error last. If the output is empty, returns
/// the exit status.
pub(super) fn text(output: &Output) -> String {
    let text = [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes).trim().replace('\n', "; "))
        .join(" ");
    let text = text.trim();
    if text.is_empty() { output.status.to_string() } else { text.to_owned() }
}
