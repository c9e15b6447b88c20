//! Push subscriptions: devices that get push notifications, each with its address at a push service.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use crate::ids::{PushSubscriptionId, SessionId, UserId};
use crate::store::schema::{push_subscriptions, sessions};
use crate::store::{Connection, text_enum};

text_enum!(PushTransport { WebPush = "web_push", UnifiedPush = "unified_push", Fcm = "fcm", Apns = "apns" });
text_enum!(ApnsEnvironment { Production = "production", Sandbox = "sandbox" });

#[derive(Clone, Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = push_subscriptions, check_for_backend(diesel::pg::Pg))]
pub struct PushSubscription {
    pub id: PushSubscriptionId,
    pub user_id: UserId,
    /// The session that last registered the address.
    pub session_id: SessionId,
    pub transport: PushTransport,
    /// URL of the endpoint, or token of the device.
    pub address: String,
    /// The push service: the host of the endpoint, `fcm` or `apns`.
    pub service: String,
    /// Public key and secret of the device. None for FCM and APNs.
    pub p256dh: Option<Vec<u8>>,
    pub auth: Option<Vec<u8>>,
    /// None unless the transport is APNs.
    pub environment: Option<ApnsEnvironment>,
    /// PushKit token for calls. None unless the transport is APNs.
    pub voip_token: Option<String>,
    pub created_at: DateTime<Utc>,
    /// When the push service last accepted a push for the device.
    pub last_delivered_at: Option<DateTime<Utc>>,
}

/// Stores the subscription. If the user has one with the same address, updates its session and keys, and keeps its id
/// and times. If another user has one, that one is deleted first, with everything that waits for it. So is one with the
/// same endpoint and the other transport of endpoints. A PushKit token of another subscription is removed from it,
/// because the device has got another address.
pub async fn upsert(conn: &mut Connection, new: &PushSubscription) -> QueryResult<PushSubscription> {
    use push_subscriptions as columns;
    let transports: &[PushTransport] = match new.transport {
        PushTransport::WebPush | PushTransport::UnifiedPush => &[PushTransport::WebPush, PushTransport::UnifiedPush],
        PushTransport::Fcm => &[PushTransport::Fcm],
        PushTransport::Apns => &[PushTransport::Apns],
    };
    let replaced = columns::transport
        .eq_any(transports)
        .and(columns::address.eq(&new.address))
        .and(columns::user_id.ne(new.user_id).or(columns::transport.ne(new.transport)));
    diesel::delete(columns::table.filter(replaced)).execute(conn).await?;
    if let Some(token) = &new.voip_token {
        diesel::sql_query("UPDATE push_subscriptions SET voip_token = NULL WHERE voip_token = $1 AND address <> $2")
            .bind::<Text, _>(token.as_str())
            .bind::<Text, _>(new.address.as_str())
            .execute(conn)
            .await?;
    }
    diesel::insert_into(columns::table)
        .values(new)
        .on_conflict((columns::transport, columns::address))
        .do_update()
        .set((
            // The user differs only if another user has registered the address since the deletion.
            columns::user_id.eq(new.user_id),
            columns::session_id.eq(new.session_id),
            columns::service.eq(&new.service),
            columns::p256dh.eq(&new.p256dh),
            columns::auth.eq(&new.auth),
            columns::environment.eq(new.environment),
            columns::voip_token.eq(&new.voip_token),
        ))
        .returning(PushSubscription::as_returning())
        .get_result(conn)
        .await
}

/// Deletes the oldest subscriptions of the user, except `kept`, so that at most `limit` are left with it. The row of
/// the user must be locked.
pub async fn delete_excess(
    conn: &mut Connection,
    user: UserId,
    kept: PushSubscriptionId,
    limit: i64,
) -> QueryResult<()> {
    diesel::sql_query(
        "DELETE FROM push_subscriptions WHERE id = ANY(ARRAY(
             SELECT id FROM push_subscriptions WHERE user_id = $1 AND id <> $2
             ORDER BY created_at DESC, id DESC OFFSET $3
         ))",
    )
    .bind::<SqlUuid, _>(user)
    .bind::<SqlUuid, _>(kept)
    .bind::<BigInt, _>(limit - 1)
    .execute(conn)
    .await
    .map(drop)
}

/// Reads the user's subscriptions whose sessions are neither revoked nor expired, newest first.
pub async fn of_user(conn: &mut Connection, user: UserId, now: DateTime<Utc>) -> QueryResult<Vec<PushSubscription>> {
    push_subscriptions::table
        .inner_join(sessions::table)
        .filter(push_subscriptions::user_id.eq(user))
        .filter(sessions::revoked_at.is_null().and(sessions::expires_at.gt(now)))
        .order((push_subscriptions::created_at.desc(), push_subscriptions::id.desc()))
        .select(PushSubscription::as_select())
        .load(conn)
        .await
}

/// Deletes a subscription of the user. Returns false if the user has no such subscription.
pub async fn delete(conn: &mut Connection, user: UserId, id: PushSubscriptionId) -> QueryResult<bool> {
    let own = push_subscriptions::table.find(id).filter(push_subscriptions::user_id.eq(user));
    diesel::delete(own).execute(conn).await.map(|deleted| deleted == 1)
}

/// Deletes the user's subscription with this endpoint or token, which has one of these transports. Returns its id, or
/// None if the user has none.
pub async fn delete_by_address(
    conn: &mut Connection,
    user: UserId,
    transports: &[PushTransport],
    address: &str,
) -> QueryResult<Option<PushSubscriptionId>> {
    let named = push_subscriptions::transport
        .eq_any(transports)
        .and(push_subscriptions::address.eq(address))
        .and(push_subscriptions::user_id.eq(user));
    let deleted: Vec<PushSubscriptionId> = diesel::delete(push_subscriptions::table.filter(named))
        .returning(push_subscriptions::id)
        .get_results(conn)
        .await?;
    Ok(deleted.into_iter().next())
}

/// Deletes at most `limit` subscriptions whose sessions are revoked or have expired. Returns the number of deleted
/// subscriptions. Until then, the statements that plan and send pushes leave them out.
pub async fn delete_ended(conn: &mut Connection, limit: usize) -> QueryResult<usize> {
    diesel::sql_query(
        "DELETE FROM push_subscriptions WHERE id = ANY(ARRAY(
             SELECT device.id FROM push_subscriptions AS device
             JOIN sessions ON sessions.id = device.session_id
             WHERE sessions.revoked_at IS NOT NULL OR sessions.expires_at <= now() - interval '1 hour'
             LIMIT $1 FOR UPDATE OF device SKIP LOCKED
         ))",
    )
    .bind::<BigInt, _>(i64::try_from(limit).unwrap_or(i64::MAX))
    .execute(conn)
    .await
}
