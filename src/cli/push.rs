//! `parlance push`: commands with which an operator checks push notifications.

use anyhow::{Result, bail};
use clap::Subcommand;
use parlance::clock::Clock;
use parlance::config::{IssuerSettings, NoticeSettings, PushSettings};
use parlance::domain::push::test_pushes::TestPushes;
use parlance::notices::PushTexts;
use parlance::push::Outcome;
use parlance::random::Random;
use tracing_subscriber::EnvFilter;

use super::database::Database;

/// The lines of the log that the command shows: why a push service could not be reached, or refuses a push.
const LOG_FILTER: &str = "parlance::push=debug";

#[derive(Debug, clap::Args)]
pub(super) struct Push {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Send a test notification to all devices of a user, and print the answers; the exit code is 1 if no push was delivered
    Test(Box<Test>),
}

#[derive(Debug, clap::Args)]
struct Test {
    #[command(flatten)]
    database: Database,
    /// A username, a verified e-mail address or phone number, or an id such as usr_01h455vb4pex5vsknk084sn02q
    #[arg(value_name = "USER")]
    user: String,
    #[command(flatten)]
    push: PushSettings,
}

/// Further settings, read from the environment. The command has no flags for them.
#[derive(clap::Parser)]
struct Settings {
    #[command(flatten)]
    notices: NoticeSettings,
    #[command(flatten)]
    issuers: IssuerSettings,
}

impl Push {
    pub(super) async fn run(self) -> Result<()> {
        let Action::Test(test) = self.action;
        let Test { database, user, push } = *test;
        let Settings { notices, issuers } = super::from_environment()?;
        let (push, texts) = (push.with_public_url(issuers.public_url.as_ref()), PushTexts::open(&notices)?);
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(LOG_FILTER))
            .with_writer(std::io::stderr)
            .without_time()
            .with_target(false)
            .init();
        let delivered = database.with_url(async |url| send(url, &user, &push, &texts).await).await?;
        if delivered == 0 {
            bail!("no push was delivered");
        }
        Ok(())
    }
}

/// Sends a test notification to the devices of the user, one after the other, and prints the answers. Returns the
/// number of pushes that were delivered.
async fn send(url: &str, user: &str, settings: &PushSettings, texts: &PushTexts) -> Result<usize> {
    let random = Random::system();
    let prepared = TestPushes::prepare(url, user, settings, texts, Clock::system(), &random).await?;
    let Some(pushes) = prepared else { bail!("there is no user {user}") };
    if pushes.devices.is_empty() {
        bail!("{user} has no device that gets push notifications. Turn them on in the app, and try again");
    }
    let width = pushes.devices.iter().map(|device| device.name.chars().count()).max().unwrap_or_default();
    let mut delivered = 0;
    for device in &pushes.devices {
        let outcome = pushes.send(device).await;
        let transport = device.transport.as_str().to_uppercase();
        println!("{transport:14}{:width$}  {}", device.name, answer(&outcome));
        delivered += usize::from(outcome == Outcome::Delivered);
    }
    Ok(delivered)
}

/// Describes the outcome of a push.
fn answer(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Delivered => "delivered".to_owned(),
        Outcome::Gone => "the device is gone; a server deletes its subscription with the next push".to_owned(),
        Outcome::Retry { after: Some(after) } => {
            format!("not delivered; a server would try again in {} seconds", after.as_secs())
        }
        Outcome::Retry { after: None } => "not delivered; a server would try again".to_owned(),
        Outcome::Refused { reason } => format!("refused: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_answer_says_what_became_of_a_push() {
        assert_eq!(answer(&Outcome::Delivered), "delivered");
        assert!(answer(&Outcome::Gone).starts_with("the device is gone"));
        assert!(answer(&Outcome::Retry { after: Some(Duration::from_secs(90)) }).ends_with("in 90 seconds"));
        assert!(answer(&Outcome::Retry { after: None }).ends_with("would try again"));
        assert_eq!(answer(&Outcome::Refused { reason: "FCM answered 403".to_owned() }), "refused: FCM answered 403");
    }
}
