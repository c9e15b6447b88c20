//! Reads what the pushes of the claimed deliveries show, with a fixed number of statements for all of them.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use diesel::QueryResult;

use crate::domain::messaging::mentions::may_mention;
use crate::ids::{CallId, ConversationId, MessageId, UserId};
use crate::store::Connection;
use crate::store::conversations::conversations::unread_counts;
use crate::store::conversations::participants::{self, Membership};
use crate::store::files::attachment_uses;
use crate::store::files::attachments::Attachment;
use crate::store::messaging::mentions;
use crate::store::messaging::messages::MessageKind;
use crate::store::push::deliveries::{Claimed, DeliveryKind};
use crate::store::push::facts::{self, Ring, Shown};

/// The facts of the claimed deliveries as of one moment.
#[derive(Default)]
pub(super) struct Facts {
    /// The message that the notification shows, for each user and conversation that have one.
    pub(super) shown: HashMap<(UserId, ConversationId), Shown>,
    /// Details of the messages in `shown`.
    pub(super) details: Details,
    /// Number of unread messages, for the conversations whose notifications are dismissed.
    pub(super) unread: HashMap<(UserId, ConversationId), i32>,
    pub(super) rings: HashMap<(UserId, CallId), Ring>,
    /// Number of unread messages of each user in all conversations.
    pub(super) badges: HashMap<UserId, i64>,
}

/// Attachments and mentioned users of messages, for previews.
#[derive(Default)]
pub(super) struct Details {
    pub(super) attachments: HashMap<MessageId, Vec<Attachment>>,
    /// The usernames and display names of the users whom each message mentions.
    pub(super) names: HashMap<MessageId, Vec<(String, String)>>,
}

impl Facts {
    pub(super) async fn read(conn: &mut Connection, claimed: &[Claimed], now: DateTime<Utc>) -> QueryResult<Self> {
        let notified = pairs(claimed, DeliveryKind::Message, |row| row.conversation_id);
        let shown = facts::shown(conn, &notified, now).await?;
        let messages: Vec<_> = shown.iter().map(|row| (row.message_id, row.kind, row.body.as_deref())).collect();
        let details = Details::read(conn, &messages).await?;
        let dismissed = pairs(claimed, DeliveryKind::Dismiss, |row| row.conversation_id);
        let memberships = match dismissed.as_slice() {
            [] => Vec::new(),
            dismissed => participants::memberships(conn, dismissed).await?,
        };
        let unread = memberships.into_iter().map(|Membership { participant, last_message_number }| {
            ((participant.user_id, participant.conversation_id), participant.unread(last_message_number))
        });
        let calls = pairs(claimed, DeliveryKind::Call, |row| row.call_id);
        let rings = facts::ringing(conn, &calls, now).await?;
        let users: BTreeSet<_> = claimed.iter().map(|row| row.user_id).collect();
        let badges = unread_counts(conn, &users.into_iter().collect::<Vec<_>>(), now).await?;
        Ok(Self {
            shown: shown.into_iter().map(|row| ((row.user_id, row.conversation_id), row)).collect(),
            details,
            unread: unread.collect(),
            rings: rings.into_iter().map(|row| ((row.user_id, row.call_id), row)).collect(),
            badges: badges.into_iter().collect(),
        })
    }
}

impl Details {
    /// Reads the details of messages, each given by its id, kind and body.
    pub(super) async fn read(
        conn: &mut Connection,
        messages: &[(MessageId, MessageKind, Option<&str>)],
    ) -> QueryResult<Self> {
        let (mut with_attachments, mut mentioning) = (BTreeSet::new(), BTreeSet::new());
        for &(id, kind, body) in messages {
            if kind != MessageKind::Text {
                with_attachments.insert(id);
            }
            if body.is_some_and(may_mention) {
                mentioning.insert(id);
            }
        }
        let mut details = Self::default();
        if !with_attachments.is_empty() {
            let ids: Vec<_> = with_attachments.into_iter().collect();
            for (message, attachment) in attachment_uses::of_messages(conn, &ids).await? {
                details.attachments.entry(message).or_default().push(attachment);
            }
        }
        if !mentioning.is_empty() {
            let ids: Vec<_> = mentioning.into_iter().collect();
            for (message, user) in mentions::of_messages(conn, &ids).await? {
                details.names.entry(message).or_default().push((user.username, user.display_name));
            }
        }
        Ok(details)
    }
}

/// Returns the pairs of a user and an object of the deliveries of this kind, each once.
fn pairs<T: Ord>(claimed: &[Claimed], kind: DeliveryKind, object: impl Fn(&Claimed) -> Option<T>) -> Vec<(UserId, T)> {
    let of_kind = claimed.iter().filter(|row| row.kind == kind);
    let pairs: BTreeSet<_> = of_kind.filter_map(|row| Some((row.user_id, object(row)?))).collect();
    pairs.into_iter().collect()
}
