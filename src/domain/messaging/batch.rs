//! Stores a batch of messages and receipts in one transaction, and decides the result of each request.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::mentions::{self, ParticipantsByName};
use super::new_message::NewMessage;
use crate::clock::Clock;
use crate::domain::error::{BLOCKING, Error, NO_CONVERSATION, NO_MESSAGE, Result, Violation};
use crate::domain::files::attachments::{LockedAttachments, uses};
use crate::ids::{ConversationId, MessageId, UserId};
use crate::log::{Change, Transaction};
use crate::random::Random;
use crate::store::Connection;
use crate::store::conversations::conversations::{self, Conversation};
use crate::store::conversations::participants::{self, MembershipCheck};
use crate::store::files::attachment_uses::{self, Use};
use crate::store::files::attachments;
use crate::store::messaging::hidden_messages;
use crate::store::messaging::mentions as mention_rows;
use crate::store::messaging::messages::{self, Message};
use crate::store::messaging::receipts::{self, Advanced, Watermarks};

/// A validated message and its sender.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) sender: UserId,
    pub(super) message: NewMessage,
}

/// A receipt: the user has received, or has read, all messages up to `message`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receipt {
    pub(super) user: UserId,
    pub(super) message: MessageId,
    pub(super) mark: Mark,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Delivered,
    Read,
}

/// Results of a batch: one result for each request, in the order of the requests.
pub(super) struct Results {
    pub(super) sends: Vec<Result<Message>>,
    pub(super) receipts: Vec<Result<Conversation>>,
    /// Number of messages that the batch inserted. A message with a repeated clientId is not inserted.
    pub(super) stored: usize,
}

/// Stores the messages and the receipts within the transaction. Inserts the messages before it advances the watermarks,
/// because an advance of the read watermark recounts the later messages that do not count as unread, such as messages
/// that the user has sent.
pub(super) async fn store(
    tx: &mut Transaction<'_>,
    sends: &[Outgoing],
    receipts: &[Receipt],
    clock: Clock,
    random: &Random,
) -> Result<Results> {
    let mut batch = Batch::load(tx, sends, receipts, clock).await?;
    let sends: Vec<_> = sends.iter().map(|outgoing| batch.assign_number(outgoing, random)).collect();
    let receipts: Vec<_> = receipts.iter().map(|receipt| batch.advance(receipt)).collect();
    if !batch.new.is_empty() {
        messages::insert_numbered(tx.conn(), &batch.new).await.map_err(insert_error)?;
        if !batch.uses.is_empty() {
            attachment_uses::insert(tx.conn(), &batch.uses).await?;
        }
        if !batch.blockers.is_empty() {
            let hidden: Vec<_> = batch
                .new
                .iter()
                .filter_map(|message| Some((*batch.blockers.get(&message.id)?, message.conversation_id, message.id)))
                .collect();
            hidden_messages::hide_new(tx.conn(), &hidden).await?;
        }
        for message in &batch.new {
            match message.sender_id {
                Some(sender) if batch.blockers.contains_key(&message.id) => {
                    tx.record_message_for_sender(sender, message);
                }
                _ => tx.record_message(message),
            }
        }
        // The mentions of a message that is hidden from its recipient are not stored, because only its sender sees the
        // message.
        let visible = batch.new.iter().filter(|message| !batch.blockers.contains_key(&message.id));
        let mentions: Vec<_> = visible.filter_map(|message| mentions::of(message, &batch.named)).collect();
        if !mentions.is_empty() {
            mention_rows::insert(tx.conn(), &mentions).await?;
        }
    }
    if !batch.watermarks.is_empty() {
        for moved in receipts::advance(tx.conn(), &batch.watermarks).await? {
            let (conversation, user) = (moved.conversation_id, moved.user_id);
            tx.record(match moved {
                Advanced { delivered: true, .. } => Change::ReceiptAdvanced { conversation, user },
                Advanced { shows_reading: true, .. } => Change::ReadAdvanced { conversation, user },
                // The user has disabled read receipts, so only the user's own devices get the change.
                _ => Change::MembershipUpdated { user, conversation },
            });
        }
    }
    Ok(Results { sends, receipts, stored: batch.new.len() })
}

struct Batch {
    now: DateTime<Utc>,
    /// The conversations of all requests. They are locked, so that this transaction can assign the next message
    /// numbers.
    conversations: HashMap<ConversationId, Conversation>,
    memberships: HashMap<(ConversationId, UserId), MembershipCheck>,
    /// The participants whose usernames occur in the messages.
    named: ParticipantsByName,
    /// Messages by sender and clientId: messages that were stored earlier, and messages of this batch.
    known: HashMap<(UserId, String), Message>,
    /// Conversations of the messages to which the senders may reply, by sender and message.
    reply_targets: HashMap<(UserId, MessageId), ConversationId>,
    /// The attachments of the messages, locked until the transaction ends.
    attachments: LockedAttachments,
    new: Vec<Message>,
    /// The rows that attach files to the new messages.
    uses: Vec<Use<MessageId>>,
    /// Recipients who block the sender, by new message. The message is hidden from the recipient.
    blockers: HashMap<MessageId, UserId>,
    /// Conversation and number of each message that a receipt refers to.
    numbers: HashMap<MessageId, (ConversationId, i32)>,
    /// The highest watermarks that the receipts set for each user in each conversation.
    watermarks: BTreeMap<(ConversationId, UserId), Watermarks>,
}

impl Batch {
    async fn load(tx: &mut Transaction<'_>, sends: &[Outgoing], receipts: &[Receipt], clock: Clock) -> Result<Self> {
        let numbers: HashMap<_, _> = match unique(receipts.iter().map(|receipt| receipt.message)).as_slice() {
            [] => HashMap::new(),
            ids => messages::numbers(tx.conn(), ids).await?.into_iter().map(|(id, at, n)| (id, (at, n))).collect(),
        };
        let sent_to = sends.iter().map(|outgoing| outgoing.message.conversation);
        let ids = unique(sent_to.chain(numbers.values().map(|&(conversation, _)| conversation)));
        let sending = sends.iter().map(|outgoing| (outgoing.message.conversation, outgoing.sender));
        let reading = receipts.iter().filter_map(|receipt| Some((numbers.get(&receipt.message)?.0, receipt.user)));
        let pairs = unique(sending.chain(reading));
        let sent: Vec<_> = sends
            .iter()
            .filter_map(|outgoing| Some((outgoing.sender, outgoing.message.client_id.as_deref()?)))
            .collect();

        let reply_pairs = sends.iter().filter_map(|outgoing| Some((outgoing.sender, outgoing.message.reply_to?)));
        let reply_pairs = unique(reply_pairs);
        let bodies = sends.iter().map(|outgoing| (outgoing.message.conversation, outgoing.message.body.as_str()));
        let written = mentions::names_in(bodies);
        let sent_with = unique(sends.iter().flat_map(|outgoing| outgoing.message.attachments.iter().copied()));

        // The statements are pipelined. The first statement locks the conversations, so that the rows that the other
        // statements read stay valid until the commit.
        let conn: &Connection = tx.conn();
        let (conversations, memberships, known, reply_targets, named, attachments) = tokio::try_join!(
            biased;
            conversations::lock_many(conn, &ids),
            participants::memberships_for(conn, &pairs),
            messages::by_client_ids(conn, &sent),
            messages::visibilities(conn, &reply_pairs),
            mention_rows::named(conn, &written),
            attachments::lock(conn, &sent_with),
        )?;
        let key = |message: &Message| Some((message.sender_id?, message.client_id.clone()?));
        Ok(Self {
            // The clock is read after the locks are taken, so that times increase with message numbers, as far as the
            // clocks of the nodes agree.
            now: clock.now(),
            conversations: conversations.into_iter().map(|conversation| (conversation.id, conversation)).collect(),
            memberships: memberships
                .into_iter()
                .map(|membership| ((membership.conversation_id, membership.user_id), membership))
                .collect(),
            named: named.into_iter().map(|(conversation, name, user)| ((conversation, name), user)).collect(),
            known: known.into_iter().filter_map(|message| Some((key(&message)?, message))).collect(),
            reply_targets: reply_targets
                .into_iter()
                .filter(|visibility| visibility.visible)
                .map(|visibility| ((visibility.user_id, visibility.message_id), visibility.conversation_id))
                .collect(),
            attachments: attachments.into_iter().collect(),
            new: Vec::with_capacity(sends.len()),
            uses: Vec::new(),
            blockers: HashMap::new(),
            numbers,
            watermarks: BTreeMap::new(),
        })
    }

    /// Assigns the next number to a message, and adds the message to the batch. If the sender has already used the
    /// clientId in this conversation, returns the earlier message. Returns an error if the sender may not send the
    /// message.
    fn assign_number(&mut self, outgoing: &Outgoing, random: &Random) -> Result<Message> {
        let Outgoing { sender, message: new } = outgoing;
        let membership = *self.memberships.get(&(new.conversation, *sender)).ok_or(NO_CONVERSATION)?;
        let key = new.client_id.as_ref().map(|client_id| (*sender, client_id.clone()));
        if let Some(first) = key.as_ref().and_then(|key| self.known.get(key)) {
            return if first.conversation_id == new.conversation {
                Ok(first.clone())
            } else {
                Err(client_id_conflict())
            };
        }
        if let Some(id) = new.reply_to
            && self.reply_targets.get(&(*sender, id)) != Some(&new.conversation)
        {
            return Err(Error::invalid("replyToId", "There is no such message in this conversation."));
        }
        if membership.blocks {
            return Err(BLOCKING);
        }
        let kind = self.attachments.kind(*sender, &new.attachments, new.forwarded)?;
        let conversation = self.conversations.get_mut(&new.conversation).ok_or(NO_CONVERSATION)?;
        let message = Message {
            sender_id: Some(*sender),
            kind,
            body: Some(new.body.clone()).filter(|body| !body.is_empty()),
            client_id: new.client_id.clone(),
            reply_to_id: new.reply_to,
            forwarded: new.forwarded,
            expires_at: new.expires_in.map(|seconds| self.now + TimeDelta::seconds(seconds.into())),
            ..conversation.next_message(MessageId::new(self.now, random), self.now)
        };
        // Updates the conversation in memory as the insert updates its row, because receipts of this batch return the
        // conversation.
        conversation.apply_new_message(&message);
        if let Some(key) = key {
            self.known.insert(key, message.clone());
        }
        if let Some(blocker) = membership.blocked_by {
            self.blockers.insert(message.id, blocker);
        }
        self.uses.extend(uses(message.id, &new.attachments));
        self.new.push(message.clone());
        Ok(message)
    }

    /// Adds the receipt to the user's watermarks, and returns the conversation. Returns NOT_FOUND if the user is not a
    /// participant, or if the message is older than the history that the user can see.
    fn advance(&mut self, receipt: &Receipt) -> Result<Conversation> {
        let &(id, number) = self.numbers.get(&receipt.message).ok_or(NO_MESSAGE)?;
        let conversation = self.conversations.get(&id).ok_or(NO_MESSAGE)?;
        let membership = self.memberships.get(&(id, receipt.user));
        if membership.is_none_or(|membership| number <= membership.hidden_up_to) {
            return Err(NO_MESSAGE);
        }
        let watermarks = self.watermarks.entry((id, receipt.user)).or_default();
        watermarks.delivered = watermarks.delivered.max(number);
        if receipt.mark == Mark::Read {
            watermarks.read = watermarks.read.max(number);
        }
        Ok(conversation.clone())
    }
}

/// Returns the distinct items, in any order.
fn unique<T: Eq + std::hash::Hash>(items: impl Iterator<Item = T>) -> Vec<T> {
    items.collect::<HashSet<_>>().into_iter().collect()
}

fn client_id_conflict() -> Error {
    Error::Conflict(Violation::new("clientId", "This clientId belongs to a message in another conversation."))
}

/// Maps a violation of the unique index on clientIds to CONFLICT. Within one conversation, the locks prevent this
/// violation. It occurs if two transactions store the same clientId of a sender in two conversations at the same time.
fn insert_error(error: diesel::result::Error) -> Error {
    use diesel::result::{DatabaseErrorKind, Error as Diesel};
    match &error {
        Diesel::DatabaseError(DatabaseErrorKind::UniqueViolation, details)
            if details.constraint_name() == Some("messages_by_client_id") =>
        {
            client_id_conflict()
        }
        _ => error.into(),
    }
}
