//! Compares the messages per second with few and with many conversations, and with no and with many stored messages.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use diesel::QueryableByName;
use diesel::sql_types::Uuid;
use diesel_async::RunQueryDsl as _;
use parlance::ids::{ConversationId, UserId};
use parlance_load::client::{Account, Client};
use parlance_load::ledger::Violations;
use parlance_load::load::{ListenerPlan, Outcome, Pace, Plan, Sender, run as run_plan};
use parlance_load::report::{aligned, decimal, percent};
use serde::Serialize;

use super::database::{self, execute};
use super::options::Options;
use super::report::Goal;
use super::stage::{Scratch, Stage, plan};

const SMALL_COUNT: u32 = 1000;
/// Maximum number of messages that one statement inserts.
const ROWS_PER_STATEMENT: u32 = 250_000;
/// Minimum ratio of the messages per second with a large database to the messages per second with a small database. Not
/// 1, because two runs of the same measurement differ by about a tenth.
const GOAL: f64 = 0.9;

#[derive(Serialize)]
pub(super) struct Growth {
    senders: u16,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    conversations: u32,
    /// Number of messages stored before the measurement.
    messages: u32,
    outcome: Outcome,
}

/// The accounts and their conversations. Each sender has many conversations with one listener.
struct World {
    conversations: Vec<ConversationId>,
    senders: Vec<Account>,
    listeners: Vec<Account>,
}

pub(super) async fn run(options: &Options, scratch: &Scratch) -> Result<Growth> {
    let mut rows = Vec::new();
    let stage = Stage::open(options, scratch, "growth_messages", None, &[]).await?;
    let world = World::make(&stage, options, SMALL_COUNT).await?;
    rows.push(Row { conversations: SMALL_COUNT, messages: 0, outcome: world.measure(&stage, options).await? });
    let messages = world.store_messages(&stage, options.growth_messages).await?;
    rows.push(Row { conversations: SMALL_COUNT, messages, outcome: world.measure(&stage, options).await? });
    stage.close().await?;

    let conversations = options.growth_conversations;
    let stage = Stage::open(options, scratch, "growth_conversations", None, &[]).await?;
    let world = World::make(&stage, options, conversations).await?;
    rows.push(Row { conversations, messages: 0, outcome: world.measure(&stage, options).await? });
    stage.close().await?;
    Ok(Growth { senders: options.senders, rows })
}

impl World {
    /// Creates `count` conversations. The server creates the first conversation, and SQL statements copy its rows.
    async fn make(stage: &Stage, options: &Options, count: u32) -> Result<Self> {
        let mut senders = stage.accounts("growth", 2 * u32::from(options.senders)).await?;
        let listeners = senders.split_off(options.senders.into());
        let mut client = Client::connect(stage.address()).await?;
        let original = client.create_group(&senders[0], "The bench", &listeners[..1]).await?;
        // `store_messages` copies this message.
        client.send_message(&senders[0], &original, "the first", "The first of many.").await?;
        let original: ConversationId = original.parse()?;
        let url = stage.database.url();
        let conversation =
            "jsonb_build_object('id', ids.conversation_id, 'created_by', ids.sender, 'last_message_number', 0,
            'last_message_id', NULL, 'revision', 0)";
        let made = database::copies(url, "conversations", conversation, "original_conversation original, ids").await?;
        let participant = |id: &str, user: &str| {
            format!("jsonb_build_object('id', ids.{id}, 'conversation_id', ids.conversation_id, 'user_id', ids.{user})")
        };
        let owners = participant("owner_id", "sender");
        let owners = database::copies(url, "participants", &owners, "original_owner original, ids").await?;
        let members = participant("member_id", "listener");
        let members = database::copies(url, "participants", &members, "original_member original, ids").await?;
        let (original, people) = (original.0, options.senders);
        let (senders_sql, listeners_sql) = (array(&senders)?, array(&listeners)?);
        let statement = format!(
            "WITH original_conversation AS (SELECT * FROM conversations WHERE id = '{original}'),
                  original_owner AS (SELECT * FROM participants WHERE conversation_id = '{original}' AND role = 'OWNER'),
                  original_member AS (SELECT * FROM participants WHERE conversation_id = '{original}' AND role = 'MEMBER'),
                  ids AS MATERIALIZED (
                      SELECT place, gen_random_uuid() AS conversation_id, gen_random_uuid() AS owner_id,
                             gen_random_uuid() AS member_id, ({senders_sql})[1 + place % {people}] AS sender,
                             ({listeners_sql})[1 + place % {people}] AS listener
                      FROM generate_series(0, {count} - 1) place),
                  made_conversations AS ({made}), made_owners AS ({owners}), made_members AS ({members})
             SELECT conversation_id FROM ids ORDER BY place"
        );
        let rows: Vec<Conversation> = diesel::sql_query(statement).load(&mut database::connect(url).await?).await?;
        vacuum(url).await?;
        Ok(Self { conversations: rows.into_iter().map(|row| row.conversation_id).collect(), senders, listeners })
    }

    /// Inserts at least `count` messages, the same number in each conversation. The ids of the messages grow with time,
    /// like the ids that the server creates. Returns the number of messages.
    async fn store_messages(&self, stage: &Stage, count: u32) -> Result<u32> {
        let url = stage.database.url();
        let conversations = u32::try_from(self.conversations.len())?;
        let each = count.div_ceil(conversations);
        let at_once = (ROWS_PER_STATEMENT / conversations).max(1);
        let message = "jsonb_build_object('id', places.message_id,
            'conversation_id', places.conversation_id, 'sender_id', places.sender, 'number', places.number,
            'revision', places.number, 'client_id', left(places.conversation_id::text, 20) || '-' || places.number)";
        let from = "original, places";
        let made = database::copies(url, "messages", message, from).await?;
        let mut stored = 0;
        while stored < each {
            let more = at_once.min(each - stored);
            execute(
                url,
                &format!(
                    "WITH original AS (SELECT * FROM messages WHERE client_id = 'the first'),
                          numbers AS (
                              SELECT id AS conversation_id, created_by AS sender, last_message_number + more AS number,
                                     md5(id::text || more || {stored}) AS hash
                              FROM conversations, generate_series(1, {more}) more
                              WHERE id <> (SELECT conversation_id FROM original)),
                          places AS MATERIALIZED (
                              SELECT conversation_id, sender, number,
                                     (lpad(to_hex(1600000000000 + number), 12, '0') || '7' || left(hash, 3) || '8'
                                      || substr(hash, 4, 15))::uuid AS message_id
                              FROM numbers ORDER BY number)
                     {made}"
                ),
            )
            .await?;
            execute(
                url,
                &format!(
                    "UPDATE conversations SET last_message_number = last_message_number + {more},
                        revision = revision + {more}
                     WHERE id <> (SELECT conversation_id FROM messages WHERE client_id = 'the first')"
                ),
            )
            .await?;
            stored += more;
        }
        vacuum(url).await?;
        Ok(stored * conversations)
    }

    async fn measure(&self, stage: &Stage, options: &Options) -> Result<Outcome> {
        let people = self.senders.len();
        let rooms = |index: usize| (0..).zip(&self.conversations).skip(index).step_by(people).map(|(room, _)| room);
        let senders = self.senders.iter().enumerate();
        let listeners = self.listeners.iter().enumerate();
        run_plan(Plan {
            rooms: self.conversations.iter().map(ToString::to_string).collect(),
            senders: senders
                .map(|(index, account)| Sender { turns: rooms(index).map(|room| (room, account.clone())).collect() })
                .collect(),
            listeners: listeners
                .map(|(index, account)| ListenerPlan {
                    account: account.clone(),
                    rooms: rooms(index).collect(),
                    personal: false,
                })
                .collect(),
            warm_up: Duration::from_secs(3),
            ..plan(&stage.server, &[], Pace::Acknowledged, options)
        })
        .await
        .context("growth")
    }
}

#[derive(QueryableByName)]
struct Conversation {
    #[diesel(sql_type = Uuid)]
    conversation_id: ConversationId,
}

/// Vacuums and analyses the tables, as autovacuum would do after a while.
async fn vacuum(url: &str) -> Result<()> {
    for table in ["users", "sessions", "conversations", "participants", "messages"] {
        execute(url, &format!("VACUUM (ANALYZE) {table}")).await?;
    }
    execute(url, "CHECKPOINT").await
}

fn array(accounts: &[Account]) -> Result<String> {
    let ids: Vec<String> = accounts
        .iter()
        .map(|account| anyhow::Ok(format!("'{}'", account.id.parse::<UserId>()?.0)))
        .collect::<Result<_>>()?;
    ensure!(!ids.is_empty(), "no accounts were made");
    Ok(format!("ARRAY[{}]::uuid[]", ids.join(",")))
}

impl Growth {
    pub(super) fn table(&self) -> String {
        let head = [
            format!("{} senders", self.senders),
            "sends/s".to_owned(),
            "ratio".to_owned(),
            "ack p50".to_owned(),
            "p99".to_owned(),
            "server".to_owned(),
            "clients".to_owned(),
            "others".to_owned(),
        ];
        let mut lines = vec![head];
        lines.extend(self.rows.iter().map(|row| {
            let (total, usage) = (&row.outcome.total, &row.outcome.usage);
            [
                row.name(),
                decimal(total.sends_per_second, 0),
                decimal(self.ratio(row), 2),
                decimal(total.acknowledgement.p50, 2),
                decimal(total.acknowledgement.p99, 2),
                percent(usage.servers),
                percent(usage.clients),
                percent(usage.others),
            ]
        }));
        aligned(&lines)
    }

    pub(super) fn goals(&self) -> Vec<Goal> {
        let others = self.rows.iter().skip(1);
        others
            .map(|row| {
                let name =
                    format!("sends/s with {}, compared with {SMALL_COUNT} conversations and no messages", row.name());
                Goal::at_least(name, self.ratio(row), GOAL)
            })
            .collect()
    }

    pub(super) fn bars(&self) -> Vec<(String, f64, usize)> {
        self.rows.iter().map(|row| (row.name(), row.outcome.total.sends_per_second, 0)).collect()
    }

    pub(super) fn violations(&self) -> Vec<(String, Violations)> {
        self.rows.iter().map(|row| (row.name(), row.outcome.violations())).collect()
    }

    fn ratio(&self, row: &Row) -> f64 {
        let first = self.rows.iter().map(|row| row.outcome.total.sends_per_second).next().unwrap_or(f64::NAN);
        row.outcome.total.sends_per_second / first
    }
}

impl Row {
    fn name(&self) -> String {
        format!("{} conversations, {} messages stored", self.conversations, self.messages)
    }
}
