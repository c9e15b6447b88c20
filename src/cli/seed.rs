//! `parlance seed`: fills a database, shows the progress, and prints how to sign in.

use std::time::Instant;

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};
use parlance::clock::Clock;
use parlance::config::Auth;
use parlance::domain::seed::{self, Plan};
use parlance::random::Random;

use super::database::Database;
use super::reindex;

#[derive(Debug, clap::Args)]
pub(super) struct Seed {
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    plan: Plan,
}

/// The settings of password hashes, read from the environment. The command has no flags for them.
#[derive(clap::Parser)]
struct Costs {
    #[command(flatten)]
    auth: Auth,
}

impl Seed {
    pub(super) async fn run(self) -> Result<()> {
        self.database.with_url(async |url| self.fill(url).await).await
    }

    async fn fill(&self, url: &str) -> Result<()> {
        let auth = super::from_environment::<Costs>()?.auth;
        parlance::store::migrate(url).await.context("DATABASE_URL")?;
        let bar = ProgressBar::new(self.plan.messages);
        bar.set_style(ProgressStyle::with_template(
            "{bar:40} {human_pos} of {human_len} messages, {per_sec}, {eta} left",
        )?);
        let begun = Instant::now();
        let seeded =
            seed::fill(url, &self.plan, &auth, Clock::system(), Random::system(), |messages| bar.inc(messages));
        let seeded = seeded.await?;
        let seconds = begun.elapsed().as_secs_f64();
        bar.finish_and_clear();
        reindex::rebuild(url).await?;
        #[expect(clippy::cast_precision_loss, reason = "a rate to read")]
        let rate = seeded.messages as f64 / seeded.writing.as_secs_f64().max(0.001);
        println!("{} users, {} conversations and {} messages", seeded.users, seeded.conversations, seeded.messages);
        println!("in {seconds:.1} s; messages at {rate:.0}/s");
        println!("Sign in as {} or any other user; the password of all is: {}", seeded.first_user, self.plan.password);
        Ok(())
    }
}
