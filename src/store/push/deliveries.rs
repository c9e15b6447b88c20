//! Push deliveries: pushes that wait to be sent. A row belongs to a subscription and a key, such as a
//! conversation. A newer message of the conversation replaces the row and increases its version.
//!
//! A node claims rows for a while before it sends them. It deletes a row only if the version is still the one that it
//! has sent. All times are those of Postgres's clock, which is the same for all nodes.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Bool, Double, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::settings::NotificationContent;
use super::subscriptions::{ApnsEnvironment, PushTransport};
use crate::ids::{CallId, ConversationId, MessageId, PushSubscriptionId, SessionId, UserId};
use crate::store::schema::push_deliveries;
use crate::store::{Connection, Prepared, text_enum};

text_enum!(DeliveryKind { Message = "message", Dismiss = "dismiss", Call = "call", CallEnded = "call_ended" });

/// A delivery that this node has claimed, with its subscription.
#[derive(Clone, Debug, QueryableByName)]
pub struct Claimed {
    #[diesel(sql_type = SqlUuid)]
    pub subscription_id: PushSubscriptionId,
    #[diesel(sql_type = Text)]
    pub key: String,
    #[diesel(sql_type = Text)]
    pub kind: DeliveryKind,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub conversation_id: Option<ConversationId>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub message_id: Option<MessageId>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub call_id: Option<CallId>,
    #[diesel(sql_type = BigInt)]
    pub version: i64,
    #[diesel(sql_type = Timestamptz)]
    pub created_at: DateTime<Utc>,
    /// Time in seconds since `created_at`.
    #[diesel(sql_type = Double)]
    pub age: f64,
    /// Number of attempts that failed.
    #[diesel(sql_type = Integer)]
    pub attempts: i32,
    /// When the claim ends. Identifies the claim.
    #[diesel(sql_type = Timestamptz)]
    pub claimed_until: DateTime<Utc>,
    /// The push service: the host of the endpoint, `fcm` or `apns`.
    #[diesel(sql_type = Text)]
    pub service: String,
    #[diesel(sql_type = SqlUuid)]
    pub user_id: UserId,
    #[diesel(sql_type = SqlUuid)]
    pub session_id: SessionId,
    #[diesel(sql_type = Text)]
    pub transport: PushTransport,
    #[diesel(sql_type = Text)]
    pub address: String,
    #[diesel(sql_type = Nullable<Binary>)]
    pub p256dh: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Binary>)]
    pub auth: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Text>)]
    pub environment: Option<ApnsEnvironment>,
    #[diesel(sql_type = Nullable<Text>)]
    pub voip_token: Option<String>,
    /// Whether the session is neither revoked nor expired.
    #[diesel(sql_type = Bool)]
    pub is_session_live: bool,
    #[diesel(sql_type = Nullable<Text>)]
    pub language: Option<String>,
    /// What the user allows a notification to show. None if the user has not chosen.
    #[diesel(sql_type = Nullable<Text>)]
    pub content: Option<NotificationContent>,
}

/// Free places of the push services that have deliveries in flight.
pub struct Room<'a> {
    pub services: Vec<&'a str>,
    /// Free places of each of these services.
    pub free: Vec<i64>,
    /// Whether each of these services is known to answer promptly.
    pub are_proven: Vec<bool>,
    /// Free places of each other service.
    pub others: i64,
    /// Free places of all services together that are not known to answer promptly.
    pub unproven: i64,
    /// Free places of all services together.
    pub total: i64,
}

/// Claims the deliveries that have been due for longest, at most as many as there are places. A service without a free
/// place does not hide the deliveries to other services: the statement looks up the first due deliveries of each
/// service. The recursive query reads the name of each service with one index lookup.
const CLAIM: &str = "WITH RECURSIVE services (service) AS (
         (SELECT service FROM push_deliveries ORDER BY service LIMIT 1)
         UNION ALL
         SELECT (
             SELECT next.service FROM push_deliveries AS next
             WHERE next.service > services.service ORDER BY next.service LIMIT 1
         )
         FROM services WHERE services.service IS NOT NULL
     ), picked AS (
         SELECT subscription_id, key
         FROM (
             SELECT due.subscription_id, due.key, due.due_at, known.is_proven IS TRUE AS is_proven,
                 row_number() OVER (PARTITION BY known.is_proven IS TRUE ORDER BY due.due_at) AS place
             FROM services
             LEFT JOIN unnest($1, $2, $3) AS known (service, free, is_proven) ON known.service = services.service
             CROSS JOIN LATERAL (
                 SELECT subscription_id, key, due_at FROM push_deliveries
                 WHERE push_deliveries.service = services.service AND due_at <= now()
                     AND (claimed_until IS NULL OR claimed_until <= now())
                 ORDER BY due_at
                 LIMIT coalesce(known.free, $4)
                 FOR UPDATE SKIP LOCKED
             ) AS due
         ) AS candidates
         WHERE is_proven OR place <= $5
         ORDER BY due_at
         LIMIT $6
     ), claimed AS (
         UPDATE push_deliveries SET claimed_until = now() + $7 * interval '1 second'
         FROM picked
         WHERE push_deliveries.subscription_id = picked.subscription_id AND push_deliveries.key = picked.key
         RETURNING push_deliveries.*
     )
     SELECT claimed.subscription_id, claimed.key, claimed.kind, claimed.conversation_id, claimed.message_id,
         claimed.call_id, claimed.version, claimed.created_at,
         extract(epoch FROM now() - claimed.created_at)::float8 AS age,
         claimed.attempts, claimed.claimed_until, claimed.service,
         device.user_id, device.session_id, device.transport, device.address, device.p256dh, device.auth,
         device.environment, device.voip_token,
         EXISTS (
             SELECT FROM sessions
             WHERE sessions.id = device.session_id AND revoked_at IS NULL AND expires_at > now()
         ) AS is_session_live,
         users.language, settings.content
     FROM claimed
     JOIN push_subscriptions AS device ON device.id = claimed.subscription_id
     JOIN users ON users.id = device.user_id
     LEFT JOIN notification_settings AS settings ON settings.user_id = device.user_id
     ORDER BY claimed.due_at";

/// Claims due deliveries for `time`, those first that have been due for longest. Skips deliveries that another node
/// claims at this moment.
pub async fn claim(conn: &mut Connection, room: &Room<'_>, time: Duration) -> QueryResult<Vec<Claimed>> {
    let query = diesel::sql_query(CLAIM)
        .bind::<Array<Text>, _>(&room.services)
        .bind::<Array<BigInt>, _>(&room.free)
        .bind::<Array<Bool>, _>(&room.are_proven)
        .bind::<BigInt, _>(room.others)
        .bind::<BigInt, _>(room.unproven)
        .bind::<BigInt, _>(room.total)
        .bind::<Double, _>(time.as_secs_f64());
    Prepared(query).load(conn).await
}

/// Counts the deliveries that wait, for the metrics.
pub async fn count(conn: &mut Connection) -> QueryResult<i64> {
    push_deliveries::table.count().get_result(conn).await
}

/// A claimed delivery that is finished, so that its row is deleted.
#[derive(Clone, Debug)]
pub struct Finished {
    pub subscription: PushSubscriptionId,
    pub key: String,
    pub version: i64,
    pub claimed_until: DateTime<Utc>,
}

/// Deletes the deliveries. If a delivery has been replaced by a newer one in the meantime, the newer one stays, and the
/// claim ends. Changes nothing if the claim has ended: the row can then be a new one with the same key.
pub async fn finish(conn: &mut Connection, finished: &[Finished]) -> QueryResult<()> {
    if finished.is_empty() {
        return Ok(());
    }
    // The rows are locked in the order of their keys, so that two transactions do not wait for each other.
    let query = diesel::sql_query(
        "WITH done AS (
             SELECT waiting.subscription_id, waiting.key, waiting.version = done.version AS is_current
             FROM unnest($1, $2, $3, $4) AS done (subscription_id, key, version, claimed_until)
             JOIN push_deliveries AS waiting
                 ON waiting.subscription_id = done.subscription_id AND waiting.key = done.key
             WHERE waiting.claimed_until = done.claimed_until
             ORDER BY waiting.subscription_id, waiting.key
             FOR UPDATE OF waiting
         ), deleted AS (
             DELETE FROM push_deliveries USING done
             WHERE push_deliveries.subscription_id = done.subscription_id AND push_deliveries.key = done.key
                 AND is_current
         )
         UPDATE push_deliveries SET claimed_until = NULL FROM done
         WHERE push_deliveries.subscription_id = done.subscription_id AND push_deliveries.key = done.key
             AND NOT is_current",
    )
    .bind::<Array<SqlUuid>, _>(finished.iter().map(|done| done.subscription).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(finished.iter().map(|done| done.key.as_str()).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(finished.iter().map(|done| done.version).collect::<Vec<_>>())
    .bind::<Array<Timestamptz>, _>(finished.iter().map(|done| done.claimed_until).collect::<Vec<_>>());
    Prepared(query).execute(conn).await.map(drop)
}

/// A claimed delivery that is sent again later.
#[derive(Clone, Debug)]
pub struct Postponed {
    pub subscription: PushSubscriptionId,
    pub key: String,
    pub claimed_until: DateTime<Utc>,
    /// Time until the next attempt.
    pub wait: Duration,
    /// 1 if an attempt failed, 0 if the delivery was not tried.
    pub attempts: i32,
}

/// Ends the claims, and makes the deliveries due again after their waits, also if they have been replaced by newer
/// ones. A claim that another node has taken over is not changed.
pub async fn postpone(conn: &mut Connection, postponed: &[Postponed]) -> QueryResult<()> {
    if postponed.is_empty() {
        return Ok(());
    }
    let query = diesel::sql_query(
        "WITH held AS (
             SELECT waiting.subscription_id, waiting.key, held.wait, held.attempts
             FROM unnest($1, $2, $3, $4, $5) AS held (subscription_id, key, claimed_until, wait, attempts)
             JOIN push_deliveries AS waiting
                 ON waiting.subscription_id = held.subscription_id AND waiting.key = held.key
             WHERE waiting.claimed_until = held.claimed_until
             ORDER BY waiting.subscription_id, waiting.key
             FOR UPDATE OF waiting
         )
         UPDATE push_deliveries
         SET claimed_until = NULL, attempts = push_deliveries.attempts + held.attempts,
             due_at = greatest(due_at, now() + held.wait * interval '1 second')
         FROM held
         WHERE push_deliveries.subscription_id = held.subscription_id AND push_deliveries.key = held.key",
    )
    .bind::<Array<SqlUuid>, _>(postponed.iter().map(|held| held.subscription).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(postponed.iter().map(|held| held.key.as_str()).collect::<Vec<_>>())
    .bind::<Array<Timestamptz>, _>(postponed.iter().map(|held| held.claimed_until).collect::<Vec<_>>())
    .bind::<Array<Double>, _>(postponed.iter().map(|held| held.wait.as_secs_f64()).collect::<Vec<_>>())
    .bind::<Array<Integer>, _>(postponed.iter().map(|held| held.attempts).collect::<Vec<_>>());
    Prepared(query).execute(conn).await.map(drop)
}

/// Records that the push services have accepted a push for these subscriptions now.
pub async fn set_delivered(
    conn: &mut Connection,
    subscriptions: &[PushSubscriptionId],
    now: DateTime<Utc>,
) -> QueryResult<()> {
    if subscriptions.is_empty() {
        return Ok(());
    }
    let query = diesel::sql_query(
        "WITH locked AS (
             SELECT id FROM push_subscriptions WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE
         )
         UPDATE push_subscriptions SET last_delivered_at = $2 FROM locked WHERE push_subscriptions.id = locked.id",
    )
    .bind::<Array<SqlUuid>, _>(subscriptions)
    .bind::<Timestamptz, _>(now);
    Prepared(query).execute(conn).await.map(drop)
}

/// Deletes subscriptions that no longer exist at their push services, and with them their deliveries. Keeps a
/// subscription whose address has changed in the meantime.
pub async fn delete_subscriptions(conn: &mut Connection, gone: &[(PushSubscriptionId, String)]) -> QueryResult<()> {
    if gone.is_empty() {
        return Ok(());
    }
    diesel::sql_query(
        "DELETE FROM push_subscriptions USING unnest($1, $2) AS gone (id, address)
         WHERE push_subscriptions.id = gone.id AND push_subscriptions.address = gone.address",
    )
    .bind::<Array<SqlUuid>, _>(gone.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(gone.iter().map(|(_, address)| address.as_str()).collect::<Vec<_>>())
    .execute(conn)
    .await
    .map(drop)
}

/// Removes tokens for calls that no longer exist at APNs. Their subscriptions stay.
pub async fn remove_voip_tokens(conn: &mut Connection, gone: &[(PushSubscriptionId, String)]) -> QueryResult<()> {
    if gone.is_empty() {
        return Ok(());
    }
    diesel::sql_query(
        "UPDATE push_subscriptions SET voip_token = NULL FROM unnest($1, $2) AS gone (id, token)
         WHERE push_subscriptions.id = gone.id AND push_subscriptions.voip_token = gone.token",
    )
    .bind::<Array<SqlUuid>, _>(gone.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(gone.iter().map(|(_, token)| token.as_str()).collect::<Vec<_>>())
    .execute(conn)
    .await
    .map(drop)
}
