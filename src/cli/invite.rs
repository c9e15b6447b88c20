//! `parlance invite`: manages the codes that `register` needs if `REGISTRATION` is `invite`.

use anyhow::{Result, bail};
use clap::Subcommand;
use parlance::clock::Clock;
use parlance::domain::people::registration_invites::{self, NewRegistrationInvite};
use parlance::random::Random;

use super::database::Database;

#[derive(Debug, clap::Args)]
pub(super) struct Invite {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a code and print it; the code is not shown again
    Create(Create),
    /// List the invites with their ids, uses and expiry; the codes themselves are not stored
    List(Database),
    /// Revoke an invite; accounts that were created with it stay
    Revoke(Revoke),
}

#[derive(Debug, clap::Args)]
struct Create {
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    new: NewRegistrationInvite,
}

#[derive(Debug, clap::Args)]
struct Revoke {
    #[command(flatten)]
    database: Database,
    /// The code, or the id that `parlance invite list` shows
    #[arg(value_name = "CODE")]
    code: String,
}

impl Invite {
    pub(super) async fn run(self) -> Result<()> {
        match self.action {
            Action::Create(Create { database, new }) => {
                let now = Clock::system().now();
                let create =
                    async |url: &str| Ok(registration_invites::create(url, new.clone(), now, &Random::system()).await?);
                println!("{}", database.with_url(create).await?);
                Ok(())
            }
            Action::List(database) => list(&database).await,
            Action::Revoke(Revoke { database, code }) => {
                let revoke = async |url: &str| Ok(registration_invites::revoke(url, &code).await?);
                if !database.with_url(revoke).await? {
                    bail!("the invite does not exist");
                }
                println!("The invite is revoked.");
                Ok(())
            }
        }
    }
}

async fn list(database: &Database) -> Result<()> {
    let invites = database.with_url(async |url: &str| Ok(registration_invites::list(url).await?)).await?;
    println!("{:14}{:12}{:22}NOTE", "ID", "USES", "EXPIRES");
    for invite in invites {
        let uses = format!("{} of {}", invite.uses, invite.max_uses);
        let expires = invite.expires_at.format("%Y-%m-%d %H:%M UTC");
        let id = registration_invites::id(&invite);
        println!("{id:14}{uses:12}{expires:22}{}", invite.note.unwrap_or_default());
    }
    Ok(())
}
