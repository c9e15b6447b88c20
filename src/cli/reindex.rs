//! `parlance reindex`: rebuilds the search index and shows the progress.

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};
use parlance::config::{LogSettings, Postgres};
use parlance::domain::messaging::search_indexer;
use parlance::random::Random;

use super::database::Database;

#[derive(Debug, clap::Args)]
pub(super) struct Reindex {
    #[command(flatten)]
    database: Database,
}

/// The settings of connections, read from the environment. The command has no flags for them.
#[derive(clap::Parser)]
struct Settings {
    #[command(flatten)]
    postgres: Postgres,
    #[command(flatten)]
    log: LogSettings,
}

impl Reindex {
    pub(super) async fn run(self) -> Result<()> {
        self.database
            .with_url(async |url| {
                parlance::store::migrate(url).await.context("DATABASE_URL")?;
                rebuild(url).await
            })
            .await?;
        println!("The search index is rebuilt.");
        Ok(())
    }
}

/// Rebuilds the search index of the database, and shows the progress.
pub(super) async fn rebuild(url: &str) -> Result<()> {
    let settings: Settings = super::from_environment()?;
    let database = parlance::store::Database::connect(url, &settings.postgres).await?;
    let bar = ProgressBar::no_length();
    bar.set_style(ProgressStyle::with_template("{human_pos} messages left to index for search")?);
    let progress = |left: i64| bar.set_position(left.unsigned_abs());
    search_indexer::rebuild(&database, &Random::system(), &settings.log, progress).await?;
    bar.finish_and_clear();
    Ok(())
}
