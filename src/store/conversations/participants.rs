//! Participants: the memberships of users in conversations, including how far each user has read.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;

use crate::ids::{ConversationId, ParticipantId, UserId};
use crate::store::schema::participants;
use crate::store::{Connection, Prepared, text_enum};

text_enum!(ParticipantRole { Owner = "OWNER", Admin = "ADMIN", Member = "MEMBER" });
text_enum!(
    /// The messages of a conversation that notify a participant: all, those that mention the participant, or none.
    NotificationLevel { All = "all", Mentions = "mentions", Nothing = "nothing" }
);

#[derive(Clone, Debug, Queryable, QueryableByName, Selectable, Insertable)]
#[diesel(table_name = participants, check_for_backend(diesel::pg::Pg))]
pub struct Participant {
    pub conversation_id: ConversationId,
    pub user_id: UserId,
    pub id: ParticipantId,
    pub role: ParticipantRole,
    pub joined_at: DateTime<Utc>,
    pub last_delivered_number: i32,
    pub last_read_number: i32,
    /// Number of messages after `last_read_number` that do not count as unread: the participant's own messages, SYSTEM
    /// messages, messages deleted for everyone, and messages hidden from the participant.
    pub uncounted: i32,
    pub archived: bool,
    pub pinned: bool,
    /// Time until which the conversation is muted for the user. None if the conversation is not muted.
    pub muted_until: Option<DateTime<Utc>>,
    /// Number up to which messages are hidden from the participant, because they are from before the participant
    /// joined.
    pub hidden_up_to: i32,
    /// Number of unread messages that mention the participant.
    pub unread_mentions: i32,
    pub notification_level: NotificationLevel,
}

impl Participant {
    /// Creates a participant with default settings, who has read nothing and from whom nothing is hidden.
    pub fn new(
        id: ParticipantId,
        conversation_id: ConversationId,
        user_id: UserId,
        role: ParticipantRole,
        joined_at: DateTime<Utc>,
    ) -> Self {
        Self {
            conversation_id,
            user_id,
            id,
            role,
            joined_at,
            last_delivered_number: 0,
            last_read_number: 0,
            uncounted: 0,
            archived: false,
            pinned: false,
            muted_until: None,
            hidden_up_to: 0,
            unread_mentions: 0,
            notification_level: NotificationLevel::All,
        }
    }

    /// Returns the number of unread messages. `last_message_number` is the number of the newest message of the
    /// conversation.
    pub fn unread(&self, last_message_number: i32) -> i32 {
        (last_message_number - self.last_read_number - self.uncounted).max(0)
    }
}

pub async fn insert(conn: &mut Connection, rows: &[Participant]) -> QueryResult<()> {
    /// Maximum number of rows in one statement. Postgres allows 65,535 parameters in a statement, and a row has 14.
    const ROWS: usize = 4000;
    for rows in rows.chunks(ROWS) {
        diesel::insert_into(participants::table).values(rows).execute(conn).await?;
    }
    Ok(())
}

/// A participant, and the number of the newest message of the participant's conversation, read in one statement.
#[derive(Clone, Debug, QueryableByName)]
pub struct Membership {
    #[diesel(embed)]
    pub participant: Participant,
    #[diesel(sql_type = Integer)]
    pub last_message_number: i32,
}

/// Reads the memberships for pairs of a user and a conversation. Leaves out pairs whose user is not a participant.
pub async fn memberships(mut conn: &Connection, pairs: &[(UserId, ConversationId)]) -> QueryResult<Vec<Membership>> {
    let (users, conversations): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
    let query = diesel::sql_query(
        // LATERAL makes Postgres use one index lookup for each pair. Without LATERAL, Postgres would scan a table that
        // has grown since its last ANALYZE. The columns are named because a prepared statement with `*` fails after a
        // migration that adds a column.
        "SELECT found.*, conversations.last_message_number
         FROM unnest($1, $2) AS wanted (user_id, conversation_id)
         CROSS JOIN LATERAL (
             SELECT conversation_id, user_id, id, role, joined_at, last_delivered_number, last_read_number, uncounted,
                 archived, pinned, muted_until, hidden_up_to, unread_mentions, notification_level
             FROM participants
             WHERE participants.conversation_id = wanted.conversation_id AND participants.user_id = wanted.user_id
             LIMIT 1
         ) AS found
         CROSS JOIN LATERAL (
             SELECT last_message_number FROM conversations WHERE conversations.id = wanted.conversation_id LIMIT 1
         ) AS conversations",
    )
    .bind::<Array<SqlUuid>, _>(users)
    .bind::<Array<SqlUuid>, _>(conversations);
    Prepared(query).load(&mut conn).await
}

/// Reads the participants of the conversation who are in `users`.
pub async fn of_users(
    conn: &mut Connection,
    conversation: ConversationId,
    users: &[UserId],
) -> QueryResult<Vec<Participant>> {
    participants::table
        .filter(participants::conversation_id.eq(conversation).and(participants::user_id.eq_any(users)))
        .select(Participant::as_select())
        .load(conn)
        .await
}

/// Reads the users who are participants of the conversation, except `user`.
pub async fn others(conn: &mut Connection, conversation: ConversationId, user: UserId) -> QueryResult<Vec<UserId>> {
    participants::table
        .filter(participants::conversation_id.eq(conversation).and(participants::user_id.ne(user)))
        .order(participants::user_id)
        .select(participants::user_id)
        .load(conn)
        .await
}

/// Reads the user's memberships in all conversations.
pub async fn all_of_user(conn: &mut Connection, user: UserId) -> QueryResult<Vec<Participant>> {
    participants::table.filter(participants::user_id.eq(user)).select(Participant::as_select()).load(conn).await
}

pub async fn delete(conn: &mut Connection, conversation: ConversationId, user: UserId) -> QueryResult<()> {
    diesel::delete(participants::table.find((conversation, user))).execute(conn).await?;
    Ok(())
}

pub async fn set_role(
    conn: &mut Connection,
    conversation: ConversationId,
    user: UserId,
    role: ParticipantRole,
) -> QueryResult<()> {
    diesel::update(participants::table.find((conversation, user)))
        .set(participants::role.eq(role))
        .execute(conn)
        .await?;
    Ok(())
}

/// Makes the longest-standing admin the owner, or the longest-standing member if the group has no admin. Returns the
/// new owner, or None if the group has no participants.
pub async fn promote_successor(conn: &mut Connection, conversation: ConversationId) -> QueryResult<Option<UserId>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = SqlUuid)]
        user_id: UserId,
    }
    let row: Option<Row> = diesel::sql_query(
        "UPDATE participants SET role = 'OWNER' WHERE id = (
             SELECT id FROM participants WHERE conversation_id = $1
             ORDER BY role <> 'ADMIN', joined_at, id
             LIMIT 1
         )
         RETURNING user_id",
    )
    .bind::<SqlUuid, _>(conversation)
    .get_result(conn)
    .await
    .optional()?;
    Ok(row.map(|row| row.user_id))
}

/// Returns the conversations in `conversations` whose earlier messages are hidden from the user.
pub async fn with_hidden_history(
    conn: &mut Connection,
    user: UserId,
    conversations: &[ConversationId],
) -> QueryResult<Vec<ConversationId>> {
    participants::table
        .filter(participants::user_id.eq(user).and(participants::conversation_id.eq_any(conversations)))
        .filter(participants::hidden_up_to.gt(0))
        .select(participants::conversation_id)
        .load(conn)
        .await
}

/// Reads the participants with these ids. Leaves out participants of conversations in which the user is not a
/// participant.
pub async fn visible_to(conn: &mut Connection, user: UserId, ids: &[ParticipantId]) -> QueryResult<Vec<Participant>> {
    let own = diesel::alias!(participants as own);
    participants::table
        .inner_join(own.on(own.field(participants::conversation_id).eq(participants::conversation_id)))
        .filter(participants::id.eq_any(ids).and(own.field(participants::user_id).eq(user)))
        .select(Participant::as_select())
        .load(conn)
        .await
}

/// Reads the first `limit` participants of each conversation after the position `after`, in the order (joined_at, id).
pub async fn pages(
    conn: &mut Connection,
    conversations: &[ConversationId],
    after: Option<(DateTime<Utc>, ParticipantId)>,
    limit: i64,
) -> QueryResult<Vec<Participant>> {
    diesel::sql_query(
        "SELECT page.* FROM unnest($1) AS wanted (id) CROSS JOIN LATERAL (
             SELECT * FROM participants
             WHERE conversation_id = wanted.id AND ($2 IS NULL OR (joined_at, id) > ($2, $3))
             ORDER BY joined_at, id
             LIMIT $4
         ) AS page
         ORDER BY conversation_id, joined_at, page.id",
    )
    .bind::<Array<SqlUuid>, _>(conversations)
    .bind::<Nullable<Timestamptz>, _>(after.map(|(at, _)| at))
    .bind::<Nullable<SqlUuid>, _>(after.map(|(_, id)| id))
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}

/// The data of a membership check: the membership of a user in a conversation. For a direct conversation, includes the
/// blocks between the two users.
#[derive(Clone, Copy, Debug, QueryableByName)]
pub struct MembershipCheck {
    #[diesel(sql_type = SqlUuid)]
    pub conversation_id: ConversationId,
    #[diesel(sql_type = SqlUuid)]
    pub user_id: UserId,
    /// Number up to which messages are hidden from the user.
    #[diesel(sql_type = Integer)]
    pub hidden_up_to: i32,
    /// Whether the user blocks the other participant of a direct conversation.
    #[diesel(sql_type = Bool)]
    pub blocks: bool,
    /// The other participant of a direct conversation, if this participant blocks the user.
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub blocked_by: Option<UserId>,
}

/// Reads the memberships for pairs of a conversation and a user. Leaves out pairs whose user is not a participant.
pub async fn memberships_for(
    mut conn: &Connection,
    pairs: &[(ConversationId, UserId)],
) -> QueryResult<Vec<MembershipCheck>> {
    let (conversations, users): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
    let query = diesel::sql_query(
        // In a group `direct.other` is null, so that the subqueries find no block.
        "SELECT found.* FROM unnest($1, $2) AS wanted (conversation_id, user_id)
         CROSS JOIN LATERAL (
             SELECT CASE wanted.user_id WHEN direct_low THEN direct_high ELSE direct_low END AS other
             FROM conversations WHERE id = wanted.conversation_id
             LIMIT 1
         ) AS direct
         CROSS JOIN LATERAL (
             SELECT conversation_id, user_id, hidden_up_to,
                 (SELECT true FROM blocks WHERE blocker_id = wanted.user_id AND blocked_id = direct.other LIMIT 1)
                     IS NOT NULL AS blocks,
                 (SELECT blocker_id FROM blocks WHERE blocker_id = direct.other AND blocked_id = wanted.user_id LIMIT 1)
                     AS blocked_by
             FROM participants
             WHERE participants.conversation_id = wanted.conversation_id AND participants.user_id = wanted.user_id
             LIMIT 1
         ) AS found",
    )
    .bind::<Array<SqlUuid>, _>(conversations)
    .bind::<Array<SqlUuid>, _>(users);
    Prepared(query).load(&mut conn).await
}

/// Hides a direct conversation from one of its participants until `show` is called.
pub async fn hide_from(conn: &mut Connection, conversation: ConversationId, user: UserId) -> QueryResult<()> {
    diesel::update(participants::table.find((conversation, user)))
        .set(participants::unannounced.eq(true))
        .execute(conn)
        .await
        .map(drop)
}

pub async fn is_hidden(conn: &mut Connection, conversation: ConversationId, user: UserId) -> QueryResult<bool> {
    let row = participants::table.find((conversation, user)).filter(participants::unannounced);
    diesel::select(diesel::dsl::exists(row)).get_result(conn).await
}

/// Shows a conversation again that `hide_from` has hidden. Returns whether the conversation was hidden from the user.
/// The conversation must be locked.
pub async fn show(conn: &mut Connection, conversation: ConversationId, user: UserId) -> QueryResult<bool> {
    let row = participants::table.find((conversation, user)).filter(participants::unannounced);
    Ok(diesel::update(row).set(participants::unannounced.eq(false)).execute(conn).await? == 1)
}

/// Changes of a participant's settings for a conversation. None leaves a setting unchanged, and `Some(None)` unmutes
/// the conversation.
#[derive(Clone, Copy, Debug, Default)]
pub struct MembershipChanges {
    pub archived: Option<bool>,
    pub pinned: Option<bool>,
    pub muted_until: Option<Option<DateTime<Utc>>>,
    pub notification_level: Option<NotificationLevel>,
}

/// Stores the changes of the user's settings for the conversation. Returns whether a setting has changed.
pub async fn update_membership(
    conn: &mut Connection,
    conversation: ConversationId,
    user: UserId,
    changes: &MembershipChanges,
) -> QueryResult<bool> {
    diesel::sql_query(
        "UPDATE participants AS old
         SET archived = new.archived, pinned = new.pinned, muted_until = new.muted_until,
             notification_level = new.notification_level
         FROM (
             SELECT conversation_id, user_id, coalesce($3, archived) AS archived, coalesce($4, pinned) AS pinned,
                 CASE WHEN $5 THEN $6 ELSE muted_until END AS muted_until,
                 coalesce($7, notification_level) AS notification_level
             FROM participants WHERE conversation_id = $1 AND user_id = $2
             FOR NO KEY UPDATE
         ) AS new
         WHERE old.conversation_id = new.conversation_id AND old.user_id = new.user_id
             AND (old.archived, old.pinned, old.muted_until, old.notification_level)
                 IS DISTINCT FROM (new.archived, new.pinned, new.muted_until, new.notification_level)",
    )
    .bind::<SqlUuid, _>(conversation)
    .bind::<SqlUuid, _>(user)
    .bind::<Nullable<Bool>, _>(changes.archived)
    .bind::<Nullable<Bool>, _>(changes.pinned)
    .bind::<Bool, _>(changes.muted_until.is_some())
    .bind::<Nullable<Timestamptz>, _>(changes.muted_until.flatten())
    .bind::<Nullable<Text>, _>(changes.notification_level)
    .execute(conn)
    .await
    .map(|updated| updated == 1)
}
