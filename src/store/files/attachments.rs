//! Attachments: uploaded files and uploads that are not complete.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use crate::ids::{AttachmentId, UserId};
use crate::store::schema::{attachment_looks, attachments};
use crate::store::visibility::VISIBLE;
use crate::store::{Connection, text_enum};

text_enum!(AttachmentState { Pending = "PENDING", Ready = "READY", Rejected = "REJECTED" });

text_enum!(AttachmentKind { Image = "IMAGE", Video = "VIDEO", Audio = "AUDIO", File = "FILE" });

#[derive(Clone, Debug, Queryable, QueryableByName, Selectable, Insertable)]
#[diesel(table_name = attachments, check_for_backend(diesel::pg::Pg))]
pub struct Attachment {
    pub id: AttachmentId,
    /// The user who uploads the file. None if the user's account was deleted.
    pub uploader_id: Option<UserId>,
    pub state: AttachmentState,
    pub kind: AttachmentKind,
    pub file_name: String,
    /// The content type that the client declared or, once the attachment is READY, that the server detected.
    pub content_type: String,
    pub byte_size: i64,
    /// SHA-256 of the upload, if the client declared it.
    pub sha256: Option<Vec<u8>>,
    /// Id that S3 assigned to the multipart upload. None for other uploads, and after the inspection of the upload.
    pub upload_id: Option<String>,
    pub width: Option<i32>,
    pub height: Option<i32>,
    pub duration_ms: Option<i32>,
    pub blurhash: Option<String>,
    /// Waveform of a sound recording: its peaks, from 0 to 100.
    pub waveform: Option<Vec<u8>>,
    pub has_thumbnails: bool,
    /// Whether the thumbnails are squares, because the attachment became an avatar.
    pub squared: bool,
    /// The reason why the attachment is REJECTED.
    pub rejection: Option<String>,
    pub created_at: DateTime<Utc>,
    /// Time until which one node has claimed the upload to inspect it.
    pub claimed_until: Option<DateTime<Utc>>,
    /// Time until which one node has reserved the attachment to delete its objects. Set only if the attachment is being
    /// deleted, so that nothing may refer to it any more.
    pub going_until: Option<DateTime<Utc>>,
}

/// The storage that a user's attachments occupy or have reserved.
#[derive(Clone, Copy, Debug, QueryableByName)]
pub struct Usage {
    /// Number of uploads that are not complete or were rejected. Rejected uploads count because clients can still write
    /// to their upload URLs for a while.
    #[diesel(sql_type = BigInt)]
    pub pending: i64,
    /// Bytes of all attachments that are not being deleted. Until an attachment is READY, its declared size counts.
    #[diesel(sql_type = BigInt)]
    pub bytes: i64,
}

/// Inserts the attachment. The sweep checks after its grace period whether anything refers to it.
pub async fn insert(conn: &mut Connection, row: &Attachment) -> QueryResult<()> {
    diesel::insert_into(attachments::table).values(row).execute(conn).await?;
    add_sweep_candidate(conn, row.id).await
}

/// Makes the sweep check the attachment when the grace period, which starts now, has passed. Until then a PENDING or
/// READY attachment is kept, even if nothing refers to it.
pub async fn add_sweep_candidate(conn: &mut Connection, id: AttachmentId) -> QueryResult<()> {
    diesel::insert_into(attachment_looks::table)
        .values(attachment_looks::attachment_id.eq(id))
        .execute(conn)
        .await
        .map(drop)
}

/// Makes the sweep check the attachment after `soon` instead of after the whole `grace` period.
pub async fn add_early_sweep_candidate(
    conn: &mut Connection,
    id: AttachmentId,
    soon: Duration,
    grace: Duration,
) -> QueryResult<()> {
    diesel::sql_query(
        "INSERT INTO attachment_looks (attachment_id, since) VALUES ($1, now() - $2 * interval '1 second')",
    )
    .bind::<SqlUuid, _>(id)
    .bind::<BigInt, _>(seconds(grace.saturating_sub(soon)))
    .execute(conn)
    .await
    .map(drop)
}

/// Protects the user's own attachment from the sweep for at least half of `grace`, and locks the attachment until the
/// transaction ends. Inserts a candidate only if the newest candidate is older than half of `grace`, so that repeated
/// calls insert few rows. Returns None if the user has no such attachment.
pub async fn protect(
    conn: &mut Connection,
    user: UserId,
    id: AttachmentId,
    grace: Duration,
) -> QueryResult<Option<Attachment>> {
    let locked = lock(conn, &[id]).await?.pop().filter(|row| row.uploader_id == Some(user));
    if locked.is_some() {
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
    Ok(locked)
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

/// Reads the user's own attachment. Returns None if the attachment does not exist, belongs to another user or is being
/// deleted.
pub async fn own(conn: &mut Connection, user: UserId, id: AttachmentId) -> QueryResult<Option<Attachment>> {
    attachments::table
        .find(id)
        .filter(attachments::uploader_id.eq(user).and(attachments::going_until.is_null()))
        .select(Attachment::as_select())
        .first(conn)
        .await
        .optional()
}

/// Claims the user's upload for `time`, by Postgres's clock, which is the same for all nodes. Returns None if the user
/// has no such upload, or if the upload is not PENDING, is claimed already or is being deleted.
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

/// Ends a claim without a result. Does nothing if the claim has expired and the upload was claimed again.
pub async fn release(conn: &mut Connection, claimed: &Attachment) -> QueryResult<()> {
    diesel::update(attachments::table.find(claimed.id))
        .filter(attachments::claimed_until.eq(claimed.claimed_until))
        .set(attachments::claimed_until.eq(None::<DateTime<Utc>>))
        .execute(conn)
        .await
        .map(drop)
}

/// Stores the result of an inspection and ends the claim. Returns false and stores nothing if the upload was claimed
/// again or is being deleted.
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

/// Records that the thumbnails are squares from now on.
pub async fn set_squared(conn: &mut Connection, id: AttachmentId) -> QueryResult<()> {
    diesel::update(attachments::table.find(id).filter(attachments::squared.eq(false)))
        .set(attachments::squared.eq(true))
        .execute(conn)
        .await
        .map(drop)
}

/// Locks the attachments that are not being deleted, in the order of their ids, and returns them. The sweep skips
/// locked rows, so these attachments are not deleted before the transaction ends.
pub async fn lock(mut conn: &Connection, ids: &[AttachmentId]) -> QueryResult<Vec<Attachment>> {
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

/// Reads the READY attachments with these ids. Does not check who may see them: the caller must have read the ids from
/// a row that the viewer may see.
pub async fn ready(conn: &mut Connection, ids: &[AttachmentId]) -> QueryResult<Vec<Attachment>> {
    attachments::table
        .filter(attachments::id.eq_any(ids))
        .filter(attachments::state.eq(AttachmentState::Ready).and(attachments::going_until.is_null()))
        .select(Attachment::as_select())
        .load(conn)
        .await
}

/// Reads the attachments with these ids that the user may see: the user's own attachments, attachments of messages that
/// the user may see, and avatars.
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
