//! Measures attacks: thousands of logins with wrong passwords for one account, from one address and from many.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use parlance_load::client::{Client, PASSWORD};
use parlance_load::report::{Latency, aligned, decimal};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::addresses::Addresses;
use super::bystanders::{self, Bystanders};
use super::options::Options;
use super::report::Goal;
use super::stage::Stage;

/// Number of logins that are in flight at the same time.
const CONCURRENCY: u32 = 64;
/// Numbers of addresses from which the attackers log in, one attack for each.
const ADDRESSES: [u16; 2] = [1, 1000];
/// Prefix of the names of the attacked accounts. Each attack has an account of its own.
const OWNER: &str = "owner";
/// Beginning of the names of the limits that make a client wait after wrong passwords.
const WAITS: &str = "PASSWORD_TRIES_";
/// Pause between two attempts of the owner, and between two checks of the attack's progress.
const PAUSE: Duration = Duration::from_millis(50);
/// Maximum time until the owner can sign in from a new network. Longer than PASSWORD_MAX_DELAY, which is 15 minutes.
const MAX_WAIT: Duration = Duration::from_mins(20);
const LOGIN: &str = "mutation ($input: LoginInput!) { login(input: $input) { accessToken } }";

#[derive(Serialize)]
pub(super) struct Attack {
    addresses: u16,
    attempts: u32,
    /// Time from the first request to the last response.
    seconds: f64,
    answers: Answers,
    /// Latencies of the queries of other users before the attack and during it.
    before: Latency,
    during: Latency,
    /// The latencies during the attack divided by those before it.
    p50_ratio: f64,
    p99_ratio: f64,
    /// Whether the owner could sign in during the attack, from a network with a live session.
    signs_in_at_home: bool,
    /// Time of this login in milliseconds.
    home_ms: f64,
    /// Time from the end of the attack until the owner could sign in from a new network.
    seconds_until_elsewhere: f64,
}

/// The answers to the logins with wrong passwords.
#[derive(Default, Serialize)]
struct Answers {
    /// Number of logins whose password was compared with the hash.
    compared: u64,
    /// Numbers of logins that got RATE_LIMITED, by the name of the limit.
    limited: BTreeMap<String, u64>,
    /// Number of logins that got UNAVAILABLE, because the queue of passwords was full.
    overloaded: u64,
}

enum Outcome {
    SignedIn,
    WrongPassword,
    /// RATE_LIMITED, with the name of the limit.
    Limited(String),
    Overloaded,
}

/// The state that the attackers share.
struct Plan {
    server: SocketAddr,
    owner: String,
    attackers: Vec<Ipv4Addr>,
    attempts: u32,
    /// Number of attempts that have begun.
    begun: AtomicU32,
}

/// The answers to all attempts, and the times of the first request and of the last response.
struct Guessed {
    answers: Answers,
    begin: Instant,
    end: Instant,
}

/// Attacks one account after the other.
pub(super) async fn measure(stage: &Stage, options: &Options, addresses: &mut Addresses) -> Result<Vec<Attack>> {
    stage.accounts(OWNER, u32::try_from(ADDRESSES.len())?).await?;
    let bystanders = Bystanders::make(stage, addresses).await?;
    let mut attacks = Vec::new();
    for (place, count) in (1..).zip(ADDRESSES) {
        let owner = format!("{OWNER}{place}");
        let attackers = (0..count).map(|_| addresses.take()).collect();
        let [home, elsewhere] = [addresses.take(), addresses.take()];
        let begun = AtomicU32::new(0);
        let plan = Plan { server: stage.address(), owner, attackers, attempts: options.login_attempts, begun };
        let measured = attack(plan, &bystanders, options, home, elsewhere).await;
        attacks.push(measured.with_context(|| format!("wrong passwords from {count} addresses"))?);
    }
    Ok(attacks)
}

async fn attack(
    plan: Plan,
    bystanders: &Bystanders,
    options: &Options,
    home: Ipv4Addr,
    elsewhere: Ipv4Addr,
) -> Result<Attack> {
    let plan = Arc::new(plan);
    // The owner gets a session in the network `home`.
    ensure!(matches!(plan.sign_in(home).await?, Outcome::SignedIn), "the owner cannot sign in before the attack");
    let before = bystanders.rest(Duration::from_secs(options.seconds)).await?;
    let attacked = async { tokio::try_join!(guess(&plan), sign_in_halfway(&plan, home)) };
    let ((guessed, (at_home, home_time)), during) = bystanders.measure(attacked).await?;
    let Guessed { answers, begin, end } = guessed;
    let until_elsewhere = wait_until_signed_in(&plan, elsewhere, end).await?;
    Ok(Attack {
        addresses: u16::try_from(plan.attackers.len())?,
        attempts: plan.attempts,
        seconds: end.duration_since(begin).as_secs_f64(),
        answers,
        before,
        during,
        p50_ratio: during.p50 / before.p50,
        p99_ratio: during.p99 / before.p99,
        signs_in_at_home: matches!(at_home, Outcome::SignedIn),
        home_ms: home_time.as_secs_f64() * 1000.0,
        seconds_until_elsewhere: until_elsewhere.as_secs_f64(),
    })
}

/// Makes all attempts of the plan.
async fn guess(plan: &Arc<Plan>) -> Result<Guessed> {
    let begin = Instant::now();
    let mut attackers = JoinSet::new();
    for _ in 0..CONCURRENCY {
        attackers.spawn(guess_in_turn(Arc::clone(plan)));
    }
    let mut answers = Answers::default();
    while let Some(ended) = attackers.join_next().await {
        answers.add(ended??);
    }
    Ok(Guessed { answers, begin, end: Instant::now() })
}

/// Makes attempts one after the other, until all attempts of the plan have begun.
async fn guess_in_turn(plan: Arc<Plan>) -> Result<Answers> {
    let mut client = Client::connect(plan.server).await?;
    let mut answers = Answers::default();
    loop {
        let place = plan.begun.fetch_add(1, Ordering::Relaxed);
        if place >= plan.attempts {
            return Ok(answers);
        }
        let attacker = plan.attackers[usize::try_from(place)? % plan.attackers.len()];
        let password = format!("not the password {place}");
        let outcome = log_in(&mut client, attacker, &plan.owner, &password).await?;
        answers.record(outcome)?;
    }
}

/// Signs the owner in when half of the attempts have begun. Returns the outcome, and the time that it took.
async fn sign_in_halfway(plan: &Plan, home: Ipv4Addr) -> Result<(Outcome, Duration)> {
    while plan.begun.load(Ordering::Relaxed) < plan.attempts / 2 {
        sleep(PAUSE).await;
    }
    let begin = Instant::now();
    let outcome = plan.sign_in(home).await?;
    Ok((outcome, begin.elapsed()))
}

/// Repeats the login of the owner until it succeeds. Returns the time from `end` until then.
async fn wait_until_signed_in(plan: &Plan, address: Ipv4Addr, end: Instant) -> Result<Duration> {
    loop {
        if matches!(plan.sign_in(address).await?, Outcome::SignedIn) {
            return Ok(end.elapsed());
        }
        ensure!(end.elapsed() < MAX_WAIT, "the owner cannot sign in {} s after the attack", MAX_WAIT.as_secs());
        sleep(PAUSE).await;
    }
}

impl Plan {
    /// Logs in with the right password, from this address and over a new connection.
    async fn sign_in(&self, address: Ipv4Addr) -> Result<Outcome> {
        let outcome = log_in(&mut Client::connect(self.server).await?, address, &self.owner, PASSWORD).await?;
        ensure!(!matches!(outcome, Outcome::WrongPassword), "the right password of {} is wrong", self.owner);
        Ok(outcome)
    }
}

async fn log_in(client: &mut Client, address: Ipv4Addr, name: &str, password: &str) -> Result<Outcome> {
    let variables = json!({ "input": { "identifier": name, "password": password } });
    let response = client.forward(address, None, LOGIN, &variables).await?;
    outcome(&response.body)
}

fn outcome(body: &[u8]) -> Result<Outcome> {
    let answer: Value = serde_json::from_slice(body).with_context(|| String::from_utf8_lossy(body).into_owned())?;
    let extensions = &answer["errors"][0]["extensions"];
    match extensions["code"].as_str() {
        None if answer["data"]["login"]["accessToken"].is_string() => Ok(Outcome::SignedIn),
        Some("UNAUTHENTICATED") => Ok(Outcome::WrongPassword),
        Some("RATE_LIMITED") => Ok(Outcome::Limited(extensions["limit"].as_str().unwrap_or_default().to_owned())),
        Some("UNAVAILABLE") => Ok(Outcome::Overloaded),
        _ => bail!("an unexpected answer: {answer}"),
    }
}

impl Answers {
    fn record(&mut self, outcome: Outcome) -> Result<()> {
        match outcome {
            Outcome::SignedIn => bail!("a wrong password was accepted"),
            Outcome::WrongPassword => self.compared += 1,
            Outcome::Limited(limit) => *self.limited.entry(limit).or_default() += 1,
            Outcome::Overloaded => self.overloaded += 1,
        }
        Ok(())
    }

    fn add(&mut self, other: Self) {
        self.compared += other.compared;
        self.overloaded += other.overloaded;
        for (limit, count) in other.limited {
            *self.limited.entry(limit).or_default() += count;
        }
    }

    /// Returns the number of logins that a wait refused, and the number that other limits refused.
    fn refused(&self) -> (u64, u64) {
        let all: u64 = self.limited.values().sum();
        let waits: u64 =
            self.limited.iter().filter(|(limit, _)| limit.starts_with(WAITS)).map(|(_, count)| count).sum();
        (waits, all - waits)
    }
}

impl Attack {
    fn name(&self) -> String {
        match self.addresses {
            1 => "from 1 address".to_owned(),
            count => format!("from {count} addresses"),
        }
    }

    fn line(&self) -> [String; 12] {
        let (waits, others) = self.answers.refused();
        let home = if self.signs_in_at_home { decimal(self.home_ms, 0) } else { "refused".to_owned() };
        [
            self.name(),
            self.answers.compared.to_string(),
            waits.to_string(),
            others.to_string(),
            self.answers.overloaded.to_string(),
            decimal(self.seconds, 1),
            decimal(self.before.p50, 2),
            decimal(self.before.p99, 2),
            decimal(self.p50_ratio, 2),
            decimal(self.p99_ratio, 2),
            home,
            decimal(self.seconds_until_elsewhere, 1),
        ]
    }
}

pub(super) fn table(attacks: &[Attack]) -> String {
    let attempts = attacks.first().map_or(0, |attack| attack.attempts);
    let title = format!("{attempts} wrong passwords");
    let head = [
        title.as_str(),
        "compared",
        "waits",
        "other limits",
        "queue full",
        "seconds",
        "query p50",
        "p99",
        "ratio p50",
        "p99",
        "owner at home, ms",
        "elsewhere after, s",
    ];
    let lines: Vec<_> = std::iter::once(head.map(str::to_owned)).chain(attacks.iter().map(Attack::line)).collect();
    let legend = format!(
        "`compared` is the number of logins whose password was compared with the hash. `waits` is the number that was\n\
         refused because of earlier wrong passwords. `query` is the latency in ms of {} other users before the\n\
         attack. The ratios are the latencies during the attack divided by those before it. The owner signs in during\n\
         the attack from a network with a live session, and after the attack from a new network.\n",
        bystanders::COUNT,
    );
    aligned(&lines) + &legend
}

/// Returns values that have no goal.
pub(super) fn goals(attacks: &[Attack]) -> Vec<Goal> {
    let values = |attack: &Attack| {
        let name = attack.name();
        [
            Goal::shown(
                format!("p99 of other users during wrong passwords {name}, compared with before"),
                attack.p99_ratio,
            ),
            Goal::shown(
                format!("seconds until the owner signs in from a new network, wrong passwords {name}"),
                attack.seconds_until_elsewhere,
            ),
        ]
    };
    attacks.iter().flat_map(values).collect()
}

/// Returns bars for the p99 of the queries of other users, in ms.
pub(super) fn bars(attacks: &[Attack]) -> Vec<(String, f64, usize)> {
    let pair = |attack: &Attack| {
        let name = attack.name();
        [
            (format!("before wrong passwords {name}"), attack.before.p99, 0),
            (format!("during wrong passwords {name}"), attack.during.p99, 1),
        ]
    };
    attacks.iter().flat_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::{Answers, outcome};

    #[test]
    fn answers_are_counted_by_their_code_and_limit() {
        let error = |code: &str, limit: &str| {
            format!(r#"{{"errors":[{{"message":"","extensions":{{"code":"{code}","limit":"{limit}"}}}}],"data":null}}"#)
        };
        let (mut answers, mut others) = (Answers::default(), Answers::default());
        for (code, limit) in [
            ("UNAUTHENTICATED", ""),
            ("RATE_LIMITED", "PASSWORD_TRIES_PER_ACCOUNT"),
            ("RATE_LIMITED", "PASSWORD_TRIES_PER_ADDRESS"),
            ("RATE_LIMITED", "RATE_OPERATIONS"),
            ("UNAVAILABLE", ""),
        ] {
            answers.record(outcome(error(code, limit).as_bytes()).unwrap()).unwrap();
        }
        others.record(outcome(error("RATE_LIMITED", "RATE_OPERATIONS").as_bytes()).unwrap()).unwrap();
        answers.add(others);
        assert_eq!((answers.compared, answers.refused(), answers.overloaded), (1, (2, 2), 1));
    }

    #[test]
    fn an_accepted_or_unknown_answer_is_an_error() {
        let accepted = outcome(br#"{"data":{"login":{"accessToken":"token"}}}"#).unwrap();
        assert!(Answers::default().record(accepted).is_err());
        assert!(outcome(br#"{"data":null}"#).is_err());
        assert!(outcome(b"<html>").is_err());
    }
}
