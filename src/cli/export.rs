//! `parlance export`: writes a user's own data to a file or to standard output.

use std::fs::File;
use std::io::{BufWriter, stdout};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use parlance::clock::Clock;
use parlance::domain::people::export::export;

use super::database::Database;

#[derive(Debug, clap::Args)]
pub(super) struct Export {
    #[command(flatten)]
    database: Database,
    /// A username, or an id such as usr_01h455vb4pex5vsknk084sn02q
    #[arg(value_name = "USER")]
    user: String,
    /// File to write the archive to. If not set, the archive is written to standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Export {
    pub(super) async fn run(self) -> Result<()> {
        self.database.with_url(async |url| self.write(url).await).await
    }

    async fn write(&self, url: &str) -> Result<()> {
        let now = Clock::system().now();
        match &self.output {
            Some(path) => {
                // An existing file is never overwritten, because it may be another archive.
                let file = File::create_new(path).with_context(|| format!("creating {}", path.display()))?;
                let done = export(url, &self.user, now, &mut BufWriter::new(file)).await;
                if done.is_err() {
                    // An incomplete archive is removed, so that it is not mistaken for a complete one.
                    std::fs::remove_file(path)?;
                }
                done?;
            }
            None => export(url, &self.user, now, &mut BufWriter::new(stdout().lock())).await?,
        }
        Ok(())
    }
}
