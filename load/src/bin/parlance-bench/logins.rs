//! Measures sign-ins: whether response times reveal accounts, and attacks with wrong passwords.

use anyhow::{Result, ensure};
use serde::Serialize;

use super::addresses::Addresses;
use super::enumeration::{self, Comparison};
use super::guesses::{self, Attack};
use super::mail_server::MailServer;
use super::options::Options;
use super::report::Goal;
use super::stage::{Scratch, Stage};

#[derive(Serialize)]
pub(super) struct Logins {
    /// Number of requests for names with an account, and for names without one.
    pairs: u32,
    comparisons: Vec<Comparison>,
    attacks: Vec<Attack>,
}

pub(super) async fn run(options: &Options, scratch: &Scratch) -> Result<Logins> {
    let mail_server = MailServer::start().await?;
    let named = [
        // The rates and the cost of a password hash are the server's defaults, which `Server::spawn` has lowered.
        ("RATE_LIMITS", "on".to_owned()),
        ("PASSWORD_MEMORY_KIB", "65536".to_owned()),
        ("PASSWORD_PASSES", "3".to_owned()),
        // The bench sends requests as a proxy does, so that each request can have another address.
        ("TRUSTED_PROXIES", "loopback".to_owned()),
        ("SMTP_URL", format!("smtp://{}", mail_server.address())),
        ("SMTP_FROM", "bench@example.org".to_owned()),
    ];
    let stage = Stage::open(options, scratch, "logins", None, &named).await?;
    let measured = measure(&stage, options, &mail_server).await;
    stage.close().await?;
    measured
}

async fn measure(stage: &Stage, options: &Options, mail_server: &MailServer) -> Result<Logins> {
    let mut addresses = Addresses::default();
    let comparisons = enumeration::measure(stage, options, &mut addresses).await?;
    ensure!(mail_server.accepted() > 0, "the server has sent no codes");
    let attacks = guesses::measure(stage, options, &mut addresses).await?;
    Ok(Logins { pairs: options.login_pairs, comparisons, attacks })
}

impl Logins {
    pub(super) fn table(&self) -> String {
        enumeration::table(&self.comparisons) + "\n" + &guesses::table(&self.attacks)
    }

    pub(super) fn goals(&self) -> Vec<Goal> {
        let mut goals = enumeration::goals(&self.comparisons);
        goals.extend(guesses::goals(&self.attacks));
        goals
    }

    /// Returns bars for the median response times of requests that must not differ, in ms.
    pub(super) fn medians(&self) -> Vec<(String, f64, usize)> {
        enumeration::bars(&self.comparisons)
    }

    /// Returns bars for the p99 of the queries of other users before and during attacks, in ms.
    pub(super) fn queries(&self) -> Vec<(String, f64, usize)> {
        guesses::bars(&self.attacks)
    }
}
