//! Believable users, conversations and history in large numbers. The same plan on the same day makes the same texts.
//!
//! What is made here is not in the event log: it is as if it had been there before anybody listened.

mod conversation;
mod shape;
mod text;

use std::collections::HashSet;
use std::ops::Range;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::try_join_all;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use uuid::Uuid;

use super::client::Client;
use super::error::Error as Refused;
use super::people::passwords::Passwords;
use crate::clock::Clock;
use crate::config::Auth;
use crate::error::Error as Internal;
use crate::random::Random;
use crate::store::seed::{Bulk, Chunk, Lines};
use shape::Shape;

/// What to make.
#[derive(Clone, Debug, clap::Args)]
pub struct Plan {
    /// Users to make
    #[arg(long, default_value = "100", value_name = "2..1000000", value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    pub users: u32,
    /// Messages to make, over all conversations
    #[arg(long, default_value = "20000", value_name = "COUNT", value_parser = clap::value_parser!(u64).range(0..=1_000_000_000))]
    pub messages: u64,
    /// Groups to make; without it as many as users
    #[arg(long, value_name = "COUNT")]
    pub groups: Option<u32>,
    /// Direct conversations to make; without it four for each user, as far as there are pairs
    #[arg(long, value_name = "COUNT")]
    pub directs: Option<u32>,
    /// Months that the history goes back
    #[arg(long, default_value = "6", value_name = "1..120", value_parser = clap::value_parser!(u32).range(1..=120))]
    pub months: u32,
    /// Another number makes other users and other history
    #[arg(long, default_value = "1", value_name = "NUMBER")]
    pub seed: u64,
    /// The password of every user that is made
    #[arg(long, default_value = "try parlance today", value_name = "PASSWORD")]
    pub password: String,
    /// Add to a database that has users already
    #[arg(long)]
    pub append: bool,
}

/// What was made.
#[derive(Clone, Debug)]
pub struct Made {
    pub users: u32,
    pub conversations: usize,
    pub messages: u64,
    /// The username of one of them.
    pub first_user: String,
    /// How long the conversations and messages took.
    pub writing: Duration,
}

/// Why nothing was made, or not all.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    #[error("the database has {0} users already: --append adds to them")]
    NotEmpty(i64),
    #[error("messages need a conversation to be in: ask for --groups or --directs")]
    NoConversation,
    #[error("{0:?}")]
    Password(Refused),
    #[error(transparent)]
    Part(#[from] Internal),
}

/// Messages written in one transaction, about.
const CHUNK: u64 = 20_000;
/// Connections that write side by side: Postgres has a processor for each, where the machine does.
const WRITERS: usize = 4;

/// Calls `progress` with the number of messages of each chunk.
pub async fn fill(
    url: &str,
    plan: &Plan,
    auth: &Auth,
    clock: Clock,
    random: Random,
    progress: impl Fn(u64),
) -> Result<Made, SeedError> {
    let mut first = Bulk::connect(url).await?;
    let there = first.users().await?;
    if there > 0 && !plan.append {
        return Err(SeedError::NotEmpty(there));
    }
    let now = clock.now();
    let passwords = Passwords::new(auth, random).await?;
    let hash = passwords.hash(plan.password.clone(), &Client::default()).await.map_err(SeedError::Password)?;
    let users = Users::make(plan, now, there, &hash);
    let first_user = users.first.clone();
    first.write_users(users.lines).await?;

    let begun = Instant::now();
    let shapes = shape::shapes(plan, &mut rng(plan.seed, Stream::Shapes, there));
    if shapes.is_empty() && plan.messages > 0 {
        return Err(SeedError::NoConversation);
    }
    let chunks = chunks(&shapes);
    let made = conversation::Maker { plan, now, users: &users.ids, offset: there };
    let write = async |turn: usize| {
        let mut connection = Bulk::connect(url).await?;
        for range in chunks.iter().skip(turn).step_by(WRITERS) {
            let mut chunk = Chunk::default();
            let mut messages = 0;
            for place in range.clone() {
                made.write(&mut chunk, place, &shapes[place]);
                messages += u64::from(shapes[place].messages);
            }
            connection.write(chunk).await?;
            progress(messages);
        }
        Ok::<_, Internal>(())
    };
    try_join_all((0..WRITERS).map(write)).await?;
    let writing = begun.elapsed();
    first.settle().await?;
    let messages = shapes.iter().map(|shape| u64::from(shape.messages)).sum();
    Ok(Made { users: plan.users, conversations: shapes.len(), messages, first_user, writing })
}

/// Ranges of conversations with about as many messages each.
fn chunks(shapes: &[Shape]) -> Vec<Range<usize>> {
    let mut chunks = Vec::new();
    let (mut from, mut messages) = (0, 0);
    for (place, shape) in shapes.iter().enumerate() {
        messages += u64::from(shape.messages) + shape.members.len() as u64;
        if messages >= CHUNK {
            chunks.push(from..place + 1);
            (from, messages) = (place + 1, 0);
        }
    }
    if from < shapes.len() {
        chunks.push(from..shapes.len());
    }
    chunks
}

struct Users {
    ids: Vec<Uuid>,
    first: String,
    lines: Lines,
}

impl Users {
    fn make(plan: &Plan, now: DateTime<Utc>, there: i64, hash: &str) -> Self {
        let mut rng = rng(plan.seed, Stream::Users, there);
        let mut made =
            Self { ids: Vec::with_capacity(plan.users as usize), first: String::new(), lines: Lines::default() };
        let mut names = HashSet::new();
        for place in 0..plan.users {
            let created_at = before(now, plan.months, &mut rng);
            let (given, family) = text::name(&mut rng);
            let mut username = format!("{}.{}", text::plain(given), text::plain(family));
            // The first of a name is without a number, unless somebody else may have had it before.
            if there > 0 || !names.insert(username.clone()) {
                username = format!("{username}{}", i64::from(place) + there);
            }
            let id = id(created_at, &mut rng);
            made.lines.id(id).text(&username).text(&format!("{given} {family}"));
            match text::about(&mut rng) {
                Some(about) => made.lines.text(about),
                None => made.lines.null(),
            };
            made.lines.text(hash).time(created_at).end();
            made.ids.push(id);
            if place == 0 {
                made.first = username;
            }
        }
        made
    }
}

/// What a series of random numbers is for: each is its own, so that one does not move the others.
#[derive(Clone, Copy)]
enum Stream {
    Users = 1,
    Shapes = 2,
    Conversation = 3,
}

fn rng(seed: u64, stream: Stream, place: i64) -> StdRng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&(stream as u64).to_le_bytes());
    key[16..24].copy_from_slice(&place.to_le_bytes());
    StdRng::from_seed(key)
}

/// A time in the first tenth of the months, so that there is history after it.
fn before(now: DateTime<Utc>, months: u32, rng: &mut StdRng) -> DateTime<Utc> {
    let span = i64::from(months) * 30 * 24 * 3600;
    now - TimeDelta::seconds(rng.random_range(span * 9 / 10..span + span / 10))
}

/// A UUIDv7 of that time.
fn id(at: DateTime<Utc>, rng: &mut StdRng) -> Uuid {
    let mut bytes = [0; 10];
    rng.fill_bytes(&mut bytes);
    uuid::Builder::from_unix_timestamp_millis(u64::try_from(at.timestamp_millis()).unwrap_or_default(), &bytes)
        .into_uuid()
}
