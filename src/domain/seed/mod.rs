//! Creates realistic users, conversations and history in large numbers. The same plan gives the same texts if the
//! database already has the same number of users.
//!
//! The event log has no events about these rows. To clients, the rows are data that existed before the clients
//! connected.

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

/// Options of `parlance seed`.
#[derive(Clone, Debug, clap::Args)]
pub struct Plan {
    /// Number of users to create
    #[arg(long, default_value = "100", value_name = "2..1000000", value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    pub users: u32,
    /// Number of messages to create, over all conversations
    #[arg(long, default_value = "20000", value_name = "COUNT", value_parser = clap::value_parser!(u64).range(0..=1_000_000_000))]
    pub messages: u64,
    /// Number of groups to create. The default is the number of users
    #[arg(long, value_name = "COUNT")]
    pub groups: Option<u32>,
    /// Number of direct conversations to create, at most half of all pairs of users. The default is four per user
    #[arg(long, value_name = "COUNT")]
    pub directs: Option<u32>,
    /// Number of months that the history goes back
    #[arg(long, default_value = "6", value_name = "1..120", value_parser = clap::value_parser!(u32).range(1..=120))]
    pub months: u32,
    /// Seed of the random numbers. A different seed gives different users and a different history
    #[arg(long, default_value = "1", value_name = "NUMBER")]
    pub seed: u64,
    /// Password of all created users
    #[arg(long, default_value = "try parlance today", value_name = "PASSWORD")]
    pub password: String,
    /// Add to a database that already has users
    #[arg(long)]
    pub append: bool,
}

/// The result of a run of `parlance seed`.
#[derive(Clone, Debug)]
pub struct Seeded {
    pub users: u32,
    pub conversations: usize,
    pub messages: u64,
    /// Username of the first created user.
    pub first_user: String,
    /// Time that it took to write the conversations and messages.
    pub writing: Duration,
}

/// Reason why a run has failed. Some rows may already have been written.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    #[error("the database already has {0} users: use --append to add to them")]
    NotEmpty(i64),
    #[error("messages need a conversation: use --groups or --directs")]
    NoConversation,
    #[error("{0:?}")]
    Password(Refused),
    #[error(transparent)]
    Part(#[from] Internal),
}

/// Approximate number of messages that one transaction writes.
const MESSAGES_PER_CHUNK: u64 = 20_000;
/// Number of connections that write in parallel. Postgres uses a processor for each connection, if the machine has
/// enough processors.
const WRITERS: usize = 4;

/// Creates the users, conversations and messages. Does not index them for search: `search_indexer::rebuild` does. After
/// each written chunk, calls `progress` with the number of its messages.
pub async fn fill(
    url: &str,
    plan: &Plan,
    auth: &Auth,
    clock: Clock,
    random: Random,
    progress: impl Fn(u64),
) -> Result<Seeded, SeedError> {
    let mut first = Bulk::connect(url).await?;
    let existing = first.users().await?;
    if existing > 0 && !plan.append {
        return Err(SeedError::NotEmpty(existing));
    }
    let now = clock.now();
    let passwords = Passwords::new(auth, random).await?;
    let hash = passwords.hash(plan.password.clone(), &Client::default()).await.map_err(SeedError::Password)?;
    let users = Users::make(plan, now, existing, &hash);
    let first_user = users.first.clone();
    first.write_users(users.lines).await?;

    let begun = Instant::now();
    let shapes = shape::shapes(plan, &mut rng(plan.seed, Stream::Shapes, existing));
    if shapes.is_empty() && plan.messages > 0 {
        return Err(SeedError::NoConversation);
    }
    let chunks = chunks(&shapes);
    let writer = conversation::ConversationWriter { plan, now, users: &users.ids, offset: existing };
    let write = async |turn: usize| {
        let mut connection = Bulk::connect(url).await?;
        for range in chunks.iter().skip(turn).step_by(WRITERS) {
            let mut chunk = Chunk::default();
            let mut messages = 0;
            for index in range.clone() {
                writer.write(&mut chunk, index, &shapes[index]);
                messages += u64::from(shapes[index].messages);
            }
            connection.write(chunk).await?;
            progress(messages);
        }
        Ok::<_, Internal>(())
    };
    try_join_all((0..WRITERS).map(write)).await?;
    let writing = begun.elapsed();
    first.vacuum().await?;
    let messages = shapes.iter().map(|shape| u64::from(shape.messages)).sum();
    Ok(Seeded { users: plan.users, conversations: shapes.len(), messages, first_user, writing })
}

/// Splits the conversations into ranges with about the same number of messages and participants each.
fn chunks(shapes: &[Shape]) -> Vec<Range<usize>> {
    let mut chunks = Vec::new();
    let (mut from, mut messages) = (0, 0);
    for (index, shape) in shapes.iter().enumerate() {
        messages += u64::from(shape.messages) + shape.members.len() as u64;
        if messages >= MESSAGES_PER_CHUNK {
            chunks.push(from..index + 1);
            (from, messages) = (index + 1, 0);
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
    fn make(plan: &Plan, now: DateTime<Utc>, existing: i64, hash: &str) -> Self {
        let mut rng = rng(plan.seed, Stream::Users, existing);
        let mut users =
            Self { ids: Vec::with_capacity(plan.users as usize), first: String::new(), lines: Lines::default() };
        let mut names = HashSet::new();
        for index in 0..plan.users {
            let created_at = before(now, plan.months, &mut rng);
            let (given, family) = text::name(&mut rng);
            let mut username = format!("{}.{}", text::to_ascii(given), text::to_ascii(family));
            // The first user with a name gets no number in the username, unless an earlier run may have used this
            // username.
            if existing > 0 || !names.insert(username.clone()) {
                username = format!("{username}{}", i64::from(index) + existing);
            }
            let id = id(created_at, &mut rng);
            let name = format!("{given} {family}");
            users.lines.id(id).text(&username).text(&name).text(&crate::text::fold(&name));
            match text::about(&mut rng) {
                Some(about) => users.lines.text(about),
                None => users.lines.null(),
            };
            users.lines.text(hash).time(created_at).end();
            users.ids.push(id);
            if index == 0 {
                users.first = username;
            }
        }
        users
    }
}

/// The purpose of a series of random numbers. Each purpose has its own series, so that no series depends on another.
#[derive(Clone, Copy)]
enum Stream {
    Users = 1,
    Shapes = 2,
    Conversation = 3,
}

fn rng(seed: u64, stream: Stream, index: i64) -> StdRng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&(stream as u64).to_le_bytes());
    key[16..24].copy_from_slice(&index.to_le_bytes());
    StdRng::from_seed(key)
}

/// Returns a random time that is the given number of months before `now`, plus or minus up to a tenth of this period.
fn before(now: DateTime<Utc>, months: u32, rng: &mut StdRng) -> DateTime<Utc> {
    let span = i64::from(months) * 30 * 24 * 3600;
    now - TimeDelta::seconds(rng.random_range(span * 9 / 10..span + span / 10))
}

/// Creates a UUIDv7 with the given time.
fn id(at: DateTime<Utc>, rng: &mut StdRng) -> Uuid {
    let mut bytes = [0; 10];
    rng.fill_bytes(&mut bytes);
    uuid::Builder::from_unix_timestamp_millis(u64::try_from(at.timestamp_millis()).unwrap_or_default(), &bytes)
        .into_uuid()
}
