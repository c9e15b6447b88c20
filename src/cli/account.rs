//! `parlance account`: commands with which an operator helps the owner of an account.

use anyhow::{Result, bail};
use clap::Subcommand;
use parlance::domain::people::second_factors::{self, RemovedFactors};

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
        println!("{}", report(&removed));
        Ok(())
    }
}

/// Returns the lines that say what was removed from the account, and what was not.
fn report(removed: &RemovedFactors) -> String {
    let RemovedFactors { username, totp, passkeys, can_sign_in } = removed;
    let app = if *totp { "the authenticator app with its recovery codes" } else { "no authenticator app" };
    let names = match passkeys.as_slice() {
        [] => "no passkey".to_owned(),
        [name] => format!("1 passkey ({name})"),
        names => format!("{} passkeys ({})", names.len(), names.join(", ")),
    };
    let mut text =
        format!("Removed from {username}: {app}, and {names}.\nThe sessions of the user stay, and no notice was sent.");
    if !can_sign_in {
        text += "\nThe account has no password, no verified address or number, and no identity at an issuer. Its owner \
                 can no longer sign in.";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_says_what_was_removed() {
        let mut removed =
            RemovedFactors { username: "ada".to_owned(), totp: false, passkeys: Vec::new(), can_sign_in: true };
        assert!(report(&removed).starts_with("Removed from ada: no authenticator app, and no passkey.\n"));
        removed.passkeys.push("Phone".to_owned());
        assert!(report(&removed).contains("and 1 passkey (Phone)."));
        assert_eq!(report(&removed).lines().count(), 2);
        removed.passkeys.push("Key ring".to_owned());
        (removed.totp, removed.can_sign_in) = (true, false);
        let text = report(&removed);
        assert!(text.contains("the authenticator app with its recovery codes, and 2 passkeys (Phone, Key ring)."));
        assert!(text.ends_with("Its owner can no longer sign in."));
    }
}
