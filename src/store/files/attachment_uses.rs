//! The uses of attachments in messages and in scheduled messages.

use diesel::prelude::*;
use diesel::sql_types::{Array, SmallInt, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use super::attachments::Attachment;
use crate::ids::{AttachmentId, MessageId, ScheduledMessageId};
use crate::store::schema::{attachments, message_attachments, scheduled_message_attachments};
use crate::store::{Connection, Prepared};

/// An attachment in a message or a scheduled message, at a position that counts from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use<Of> {
    pub of: Of,
    pub position: i16,
    pub attachment: AttachmentId,
}

/// Inserts uses in messages. The attachments must be locked with `attachments::lock`.
pub async fn insert(conn: &mut Connection, new: &[Use<MessageId>]) -> QueryResult<()> {
    let query = diesel::sql_query(
        "INSERT INTO message_attachments (message_id, position, attachment_id) SELECT * FROM unnest($1, $2, $3)",
    )
    .bind::<Array<SqlUuid>, _>(new.iter().map(|new| new.of).collect::<Vec<_>>())
    .bind::<Array<SmallInt>, _>(new.iter().map(|new| new.position).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(new.iter().map(|new| new.attachment).collect::<Vec<_>>());
    Prepared(query).execute(conn).await.map(drop)
}

/// Inserts uses in scheduled messages. The attachments must be locked with `attachments::lock`.
pub async fn insert_scheduled(conn: &mut Connection, new: &[Use<ScheduledMessageId>]) -> QueryResult<()> {
    diesel::sql_query(
        "INSERT INTO scheduled_message_attachments (scheduled_message_id, position, attachment_id)
         SELECT * FROM unnest($1, $2, $3)",
    )
    .bind::<Array<SqlUuid>, _>(new.iter().map(|new| new.of).collect::<Vec<_>>())
    .bind::<Array<SmallInt>, _>(new.iter().map(|new| new.position).collect::<Vec<_>>())
    .bind::<Array<SqlUuid>, _>(new.iter().map(|new| new.attachment).collect::<Vec<_>>())
    .execute(conn)
    .await
    .map(drop)
}

/// Reads the attachments of each message, in the order of their positions.
pub async fn of_messages(conn: &mut Connection, ids: &[MessageId]) -> QueryResult<Vec<(MessageId, Attachment)>> {
    message_attachments::table
        .inner_join(attachments::table)
        .filter(message_attachments::message_id.eq_any(ids))
        .order((message_attachments::message_id, message_attachments::position))
        .select((message_attachments::message_id, Attachment::as_select()))
        .load(conn)
        .await
}

/// Like `of_messages`, but reads only the ids of the attachments.
pub async fn ids_of_messages(conn: &mut Connection, ids: &[MessageId]) -> QueryResult<Vec<(MessageId, AttachmentId)>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    message_attachments::table
        .filter(message_attachments::message_id.eq_any(ids))
        .order((message_attachments::message_id, message_attachments::position))
        .select((message_attachments::message_id, message_attachments::attachment_id))
        .load(conn)
        .await
}

/// Reads the attachments of each scheduled message, in the order of their positions.
pub async fn of_scheduled(
    conn: &mut Connection,
    ids: &[ScheduledMessageId],
) -> QueryResult<Vec<(ScheduledMessageId, Attachment)>> {
    scheduled_message_attachments::table
        .inner_join(attachments::table)
        .filter(scheduled_message_attachments::scheduled_message_id.eq_any(ids))
        .order((scheduled_message_attachments::scheduled_message_id, scheduled_message_attachments::position))
        .select((scheduled_message_attachments::scheduled_message_id, Attachment::as_select()))
        .load(conn)
        .await
}

/// Like `of_scheduled`, but reads only the ids of the attachments.
pub async fn ids_of_scheduled(
    conn: &mut Connection,
    ids: &[ScheduledMessageId],
) -> QueryResult<Vec<(ScheduledMessageId, AttachmentId)>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    scheduled_message_attachments::table
        .filter(scheduled_message_attachments::scheduled_message_id.eq_any(ids))
        .order((scheduled_message_attachments::scheduled_message_id, scheduled_message_attachments::position))
        .select((scheduled_message_attachments::scheduled_message_id, scheduled_message_attachments::attachment_id))
        .load(conn)
        .await
}
