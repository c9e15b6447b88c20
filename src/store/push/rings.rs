//! Plans pushes about calls: to the devices for which a call rings, and to the same devices when it has stopped
//! ringing.

use std::sync::LazyLock;

use diesel::prelude::*;
use diesel::sql_types::{Array, Nullable, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::planning::{DEVICES, LOCKED_DEVICE};
use crate::ids::{CallId, CallParticipantId, PushSubscriptionId, SessionId, UserId};
use crate::store::{Connection, Prepared};

/// A device that gets a push about a ringing call, unless its user sees the call there.
#[derive(Clone, Copy, Debug, QueryableByName)]
pub struct Callee {
    #[diesel(sql_type = SqlUuid)]
    pub subscription_id: PushSubscriptionId,
    #[diesel(sql_type = SqlUuid)]
    pub session_id: SessionId,
    #[diesel(sql_type = SqlUuid)]
    pub call_id: CallId,
}

/// Calls that have stopped ringing.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// The calls, each with the user for whom it no longer rings. None stands for all users.
    pub calls: Vec<(CallId, Option<UserId>)>,
    /// Devices that have answered, declined or left a call. It no longer rings for their users.
    pub participants: Vec<CallParticipantId>,
}

impl Ended {
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.participants.is_empty()
    }
}

static CALLEES: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT device.id AS subscription_id, device.session_id, call.id AS call_id
         FROM unnest($1, $2) AS rung (call_id, user_id)
         CROSS JOIN LATERAL (
             SELECT call_id FROM call_rings
             WHERE call_rings.call_id = rung.call_id AND call_rings.user_id = rung.user_id
             LIMIT 1
         ) AS ring
         CROSS JOIN LATERAL (
             SELECT id, conversation_id FROM calls WHERE calls.id = ring.call_id AND rings_until > now() LIMIT 1
         ) AS call
         CROSS JOIN LATERAL (
             SELECT user_id FROM participants
             WHERE participants.conversation_id = call.conversation_id AND participants.user_id = rung.user_id
                 AND (muted_until IS NULL OR muted_until <= now())
             LIMIT 1
         ) AS member
         CROSS JOIN LATERAL {DEVICES} AS device
         WHERE EXISTS (SELECT FROM push_subscriptions)"
    )
});

static INSERT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH told AS (
             INSERT INTO push_deliveries (subscription_id, key, kind, service, conversation_id, call_id)
             SELECT device.id, 'c:' || planned.call_id::text, 'call', device.service, call.conversation_id,
                 planned.call_id
             FROM (
                 SELECT * FROM unnest($1, $2) AS planned (subscription_id, call_id)
                 ORDER BY subscription_id, call_id
             ) AS planned
             CROSS JOIN LATERAL (SELECT conversation_id FROM calls WHERE calls.id = planned.call_id LIMIT 1) AS call
             CROSS JOIN LATERAL {LOCKED_DEVICE} AS device
             ON CONFLICT (subscription_id, key) DO UPDATE
             SET kind = excluded.kind, version = push_deliveries.version + 1, created_at = excluded.created_at
             RETURNING push_deliveries.subscription_id, push_deliveries.call_id
         )
         INSERT INTO push_rings (call_id, subscription_id) SELECT call_id, subscription_id FROM told
         ON CONFLICT DO NOTHING"
    )
});

/// A push that was never tried is not sent at all. The device that has answered or declined the call needs no push.
static END: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH ended AS (
             SELECT call_id, user_id, NULL::uuid AS session_id FROM unnest($1, $2) AS ended (call_id, user_id)
             UNION ALL
             SELECT participant.call_id, participant.user_id, participant.session_id
             FROM unnest($3) AS gone (id)
             CROSS JOIN LATERAL (
                 SELECT call_id, user_id, session_id FROM call_participants WHERE call_participants.id = gone.id LIMIT 1
             ) AS participant
         ), rung AS MATERIALIZED (
             SELECT ring.call_id, ring.subscription_id,
                 coalesce(bool_or(device.session_id = ended.session_id), false) AS is_own
             FROM ended
             CROSS JOIN LATERAL (
                 SELECT call_id, subscription_id FROM push_rings WHERE push_rings.call_id = ended.call_id OFFSET 0
             ) AS ring
             CROSS JOIN LATERAL (
                 SELECT session_id FROM push_subscriptions
                 WHERE push_subscriptions.id = ring.subscription_id
                     AND (ended.user_id IS NULL OR push_subscriptions.user_id = ended.user_id)
                 LIMIT 1
             ) AS device
             GROUP BY ring.call_id, ring.subscription_id
         ), forgotten AS (
             DELETE FROM push_rings USING rung
             WHERE push_rings.call_id = rung.call_id AND push_rings.subscription_id = rung.subscription_id
         ), untried AS (
             DELETE FROM push_deliveries USING rung
             WHERE push_deliveries.subscription_id = rung.subscription_id
                 AND push_deliveries.key = 'c:' || rung.call_id::text AND push_deliveries.kind = 'call'
                 AND push_deliveries.claimed_until IS NULL AND push_deliveries.attempts = 0
             RETURNING push_deliveries.subscription_id, push_deliveries.call_id
         )
         INSERT INTO push_deliveries (subscription_id, key, kind, service, conversation_id, call_id)
         SELECT device.id, 'c:' || planned.call_id::text, 'call_ended', device.service, call.conversation_id,
             planned.call_id
         FROM (
             SELECT subscription_id, call_id FROM rung
             WHERE NOT is_own AND NOT EXISTS (
                 SELECT FROM untried
                 WHERE untried.subscription_id = rung.subscription_id AND untried.call_id = rung.call_id
             )
             ORDER BY subscription_id, call_id
         ) AS planned
         CROSS JOIN LATERAL (SELECT conversation_id FROM calls WHERE calls.id = planned.call_id LIMIT 1) AS call
         CROSS JOIN LATERAL {LOCKED_DEVICE} AS device
         ON CONFLICT (subscription_id, key) DO UPDATE
         SET kind = excluded.kind, version = push_deliveries.version + 1, created_at = excluded.created_at"
    )
});

/// Reads the devices of the users for whom these calls ring now. Leaves out devices of users who have muted the
/// conversation or have quiet hours, and devices whose sessions are revoked or expired.
pub async fn callees(conn: &mut Connection, rings: &[(CallId, UserId)]) -> QueryResult<Vec<Callee>> {
    let (calls, users): (Vec<_>, Vec<_>) = rings.iter().copied().unzip();
    let query = diesel::sql_query(CALLEES.as_str()).bind::<Array<SqlUuid>, _>(calls).bind::<Array<SqlUuid>, _>(users);
    Prepared(query).load(conn).await
}

/// Stores a delivery for each of the devices, and records that they get a push about the call.
pub async fn insert(conn: &mut Connection, planned: &[Callee]) -> QueryResult<()> {
    let query = diesel::sql_query(INSERT.as_str())
        .bind::<Array<SqlUuid>, _>(planned.iter().map(|row| row.subscription_id).collect::<Vec<_>>())
        .bind::<Array<SqlUuid>, _>(planned.iter().map(|row| row.call_id).collect::<Vec<_>>());
    Prepared(query).execute(conn).await.map(drop)
}

/// Plans a push to each device that got a push about the ringing call. Returns the number of planned pushes.
pub async fn end(conn: &mut Connection, ended: &Ended) -> QueryResult<usize> {
    let (calls, users): (Vec<_>, Vec<_>) = ended.calls.iter().copied().unzip();
    let query = diesel::sql_query(END.as_str())
        .bind::<Array<SqlUuid>, _>(calls)
        .bind::<Array<Nullable<SqlUuid>>, _>(users)
        .bind::<Array<SqlUuid>, _>(ended.participants.as_slice());
    Prepared(query).execute(conn).await
}
