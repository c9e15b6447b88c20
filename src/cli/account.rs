//! `parlance account`: commands with which an operator helps the owner of an account.

use anyhow::{Result, bail};
use clap::Subcommand;
use parlance::domain::people::second_factors;

use super::database::Database;

#[derive(Debug, clap::Args)]
pub(super) struct Account {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Remove the authenticator app, the recovery codes and the passkeys of a user who has lost them
    ResetFactors(ResetFactors),
}

#[derive(Debug, clap::Args)]
struct ResetFactors {
    #[command(flatten)]
    database: Database,
    /// A username, or an id such as usr_01h455vb4pex5vsknk084sn02q
    #[arg(value_name = "USER")]
    user: String,
}

impl Account {
    pub(super) async fn run(self) -> Result<()> {
        let Action::ResetFactors(ResetFactors { database, user }) = self.action;
        let reset = async |url: &str| Ok(second_factors::reset(url, &user).await?);
        let Some(removed) = database.with_url(reset).await? else { bail!("there is no user {user}") };
        let app = if removed.totp { "the authenticator app and" } else { "no authenticator app and" };
        println!("Removed {app} {} passkeys. The sessions of the user stay.", removed.passkeys);
        Ok(())
    }
}
