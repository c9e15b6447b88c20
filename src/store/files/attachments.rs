//! Attachments: what was uploaded, or is to be, and who may see it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use crate::ids::{AttachmentId, UserId};
use crate::store::messaging::messages::VISIBLE;
use crate::store::schema::{attachment_looks, attachments};
use crate::store::{Connection, text_enum};

text_enum!(AttachmentState { Pending = "PENDING", Ready = "READY", Rejected = "REJECTED" });

text_enum!(AttachmentKind { Image = "IMAGE", Video = "VIDEO", Audio = "AUDIO", File = "FILE" });

#[derive(Clone, Debug, Queryable, QueryableByName, Selectable, Insertable)]
#[diesel(table_name = attachments, check_for_backend(diesel::pg::Pg))]
pub struct Attachment {
    pub id: AttachmentId,
    /// None once the account is gone.
    pub uploader_id: Option<UserId>,
    pub state: AttachmentState,
    pub kind: AttachmentKind,
    pub file_name: String,
    /// As declared, and once READY as it is.
    pub content_type: String,
    pub byte_size: i64,
    /// Of the upload, where the client has said it.
    pub sha256: Option<Vec<u8>>,
    /// S3's name of an upload in parts.
    pub upload_id: Option<String>,
    pub width: Option<i32>,
    pub height: Option<i32>,
    pub duration_ms: Option<i32>,
    pub blurhash: Option<String>,
    /// Peaks from 0 to 100.
    pub waveform: Option<Vec<u8>>,
    pub has_thumbnails: bool,
    /// Its thumbnails are squares: it has been made an avatar.
    pub squared: bool,
    /// Why it is REJECTED.
    pub rejection: Option<String>,
    pub created_at: DateTime<Utc>,
    /// Until when a node has it to itself, to look at what was uploaded.
    pub claimed_until: Option<DateTime<Utc>>,
    /// It goes: nothing may refer to it any more.
    pub going_until: Option<DateTime<Utc>>,
}

/// How much of a user's is kept, or is to be.
#[derive(Clone, Copy, Debug, QueryableByName)]
pub struct Usage {
    /// Uploads that are not complete, or were rejected: to their addresses, too, can be written for a while.
    #[diesel(sql_type = BigInt)]
    pub pending: i64,
    /// Of all that is not going, as declared until it is READY.
    #[diesel(sql_type = BigInt)]
    pub bytes: i64,
}

/// With a look at it, once it should long have been sent.
pub async fn insert(conn: &mut Connection, row: &Attachment) -> QueryResult<()> {
    diesel::insert_into(attachments::table).values(row).execute(conn).await?;
    look(conn, row.id).await
}

/// From now on it is kept for a while, whether or not anything refers to it.
pub async fn look(conn: &mut Connection, id: AttachmentId) -> QueryResult<()> {
    diesel::insert_into(attachment_looks::table)
        .values(attachment_looks::attachment_id.eq(id))
        .execute(conn)
        .await
        .map(drop)
}

/// A look at it that is due once `soon` has passed, and not all of the `grace`.
pub async fn look_soon(conn: &mut Connection, id: AttachmentId, soon: Duration, grace: Duration) -> QueryResult<()> {
    diesel::sql_query(
        "INSERT INTO attachment_looks (attachment_id, since) VALUES ($1, now() - $2 * interval '1 second')",
    )
    .bind::<SqlUuid, _>(id)
    .bind::<BigInt, _>(seconds(grace.saturating_sub(soon)))
    .execute(conn)
    .await
    .map(drop)
}

/// The user's own, with at least half of the `grace` from now on. Of many calls few look again. Held until the
/// transaction ends.
pub async fn keep(
    conn: &mut Connection,
    user: UserId,
    id: AttachmentId,
    grace: Duration,
) -> QueryResult<Option<Attachment>> {
    let held = hold(conn, &[id]).await?.pop().filter(|row| row.uploader_id == Some(user));
    if held.is_some() {
        diesel::sql_query(
            "INSERT INTO attachment_looks (attachment_id) SELECT $1 WHERE NOT EXISTS (
                 SELECT FROM attachment_looks WHERE attachment_id = $1 AND since > now() - $2 * interval '1 second'
             )",
        )
        .bind::<SqlUuid, _>(id)
        .bind::<BigInt, _>(seconds(grace / 2))
        .execute(conn)
        .await?;
    }
    Ok(held)
}

pub async fn usage(conn: &mut Connection, user: UserId) -> QueryResult<Usage> {
    diesel::sql_query(
        "SELECT count(*) FILTER (WHERE state <> 'READY') AS pending, coalesce(sum(byte_size), 0)::bigint AS bytes
         FROM attachments WHERE uploader_id = $1 AND going_until IS NULL",
    )
    .bind::<SqlUuid, _>(user)
    .get_result(conn)
    .await
}

/// The user's own.
pub async fn own(conn: &mut Connection, user: UserId, id: AttachmentId) -> QueryResult<Option<Attachment>> {
    attachments::table
        .find(id)
        .filter(attachments::uploader_id.eq(user).and(attachments::going_until.is_null()))
        .select(Attachment::as_select())
        .first(conn)
        .await
        .optional()
}

/// Takes the user's upload for so long, unless it is complete or another has it. By Postgres's own time, which is the
/// same for all nodes.
pub async fn claim(
    conn: &mut Connection,
    user: UserId,
    id: AttachmentId,
    time: Duration,
) -> QueryResult<Option<Attachment>> {
    diesel::sql_query(
        "UPDATE attachments SET claimed_until = clock_timestamp() + $3 * interval '1 second'
         WHERE id = $1 AND uploader_id = $2 AND state = 'PENDING' AND going_until IS NULL
             AND (claimed_until IS NULL OR claimed_until <= clock_timestamp())
         RETURNING *",
    )
    .bind::<SqlUuid, _>(id)
    .bind::<SqlUuid, _>(user)
    .bind::<BigInt, _>(seconds(time))
    .get_result(conn)
    .await
    .optional()
}

/// Gives it back as it was.
pub async fn release(conn: &mut Connection, claimed: &Attachment) -> QueryResult<()> {
    diesel::update(attachments::table.find(claimed.id))
        .filter(attachments::claimed_until.eq(claimed.claimed_until))
        .set(attachments::claimed_until.eq(None::<DateTime<Utc>>))
        .execute(conn)
        .await
        .map(drop)
}

/// Writes what was found out about an upload, unless another has it by now. Returns whether it was written.
pub async fn finish(conn: &mut Connection, done: &Attachment) -> QueryResult<bool> {
    let written = diesel::update(attachments::table.find(done.id))
        .filter(attachments::claimed_until.eq(done.claimed_until).and(attachments::going_until.is_null()))
        .set((
            (
                attachments::state.eq(done.state),
                attachments::kind.eq(done.kind),
                attachments::content_type.eq(&done.content_type),
                attachments::byte_size.eq(done.byte_size),
                attachments::width.eq(done.width),
                attachments::height.eq(done.height),
                attachments::duration_ms.eq(done.duration_ms),
            ),
            (
                attachments::blurhash.eq(&done.blurhash),
                attachments::waveform.eq(&done.waveform),
                attachments::has_thumbnails.eq(done.has_thumbnails),
                attachments::rejection.eq(&done.rejection),
                attachments::upload_id.eq(None::<String>),
                attachments::claimed_until.eq(None::<DateTime<Utc>>),
            ),
        ))
        .execute(conn)
        .await?;
    Ok(written == 1)
}

/// Its thumbnails are squares from now on.
pub async fn set_squared(conn: &mut Connection, id: AttachmentId) -> QueryResult<()> {
    diesel::update(attachments::table.find(id).filter(attachments::squared.eq(false)))
        .set(attachments::squared.eq(true))
        .execute(conn)
        .await
        .map(drop)
}

/// Those of them that are not going, which from here to the end of the transaction they cannot: the sweep passes over
/// what is held. In the order of their ids.
pub async fn hold(mut conn: &Connection, ids: &[AttachmentId]) -> QueryResult<Vec<Attachment>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    attachments::table
        .filter(attachments::id.eq_any(ids).and(attachments::going_until.is_null()))
        .order(attachments::id)
        .select(Attachment::as_select())
        .for_key_share()
        .load(&mut conn)
        .await
}

/// Those that are READY, for who has come to them by what refers to them.
pub async fn ready(conn: &mut Connection, ids: &[AttachmentId]) -> QueryResult<Vec<Attachment>> {
    attachments::table
        .filter(attachments::id.eq_any(ids))
        .filter(attachments::state.eq(AttachmentState::Ready).and(attachments::going_until.is_null()))
        .select(Attachment::as_select())
        .load(conn)
        .await
}

/// Those that the user may see: their own, those of messages that they may see, and avatars.
pub async fn visible_to(conn: &mut Connection, user: UserId, ids: &[AttachmentId]) -> QueryResult<Vec<Attachment>> {
    diesel::sql_query(format!(
        "SELECT * FROM attachments
         WHERE id = ANY($1) AND going_until IS NULL AND (
             uploader_id = $2
             OR EXISTS (SELECT FROM users WHERE avatar_id = attachments.id)
             OR EXISTS (SELECT FROM conversations WHERE avatar_id = attachments.id)
             OR EXISTS (
                 SELECT FROM message_attachments AS shown
                 JOIN messages ON messages.id = shown.message_id
                 JOIN participants AS viewer USING (conversation_id)
                 WHERE shown.attachment_id = attachments.id AND viewer.user_id = $2 AND {VISIBLE}
             )
         )"
    ))
    .bind::<Array<SqlUuid>, _>(ids)
    .bind::<SqlUuid, _>(user)
    .load(conn)
    .await
}

pub(super) fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
