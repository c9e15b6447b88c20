//! What a batch of the writer's is decided by, and what it comes to.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::mentions::{self, Named};
use super::messages::NewMessage;
use crate::clock::Clock;
use crate::domain::error::{BLOCKING, Error, NO_CONVERSATION, NO_MESSAGE, Result, Violation};
use crate::domain::files::attachments::{HeldAttachments, uses};
use crate::ids::{ConversationId, MessageId, UserId};
use crate::log::{Change, Transaction};
use crate::random::Random;
use crate::store::Connection;
use crate::store::conversations::conversations::{self, Conversation};
use crate::store::conversations::participants::{self, Standing};
use crate::store::files::attachment_uses::{self, Use};
use crate::store::files::attachments;
use crate::store::messaging::mentions as mention_rows;
use crate::store::messaging::messages::{self, Message};
use crate::store::messaging::receipts::{self, Advanced, Watermarks};

/// A message that was checked, and who sends it.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) sender: UserId,
    pub(super) message: NewMessage,
}

/// Everything up to this message is delivered to the user, or read.
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

/// Each request's own result.
pub(super) struct Results {
    pub(super) sends: Vec<Result<Message>>,
    pub(super) receipts: Vec<Result<Conversation>>,
    /// How many of the messages are new.
    pub(super) stored: usize,
}

/// Does all of it within the transaction. Messages go first: a receipt is about one that was committed before, and
/// then counts the user's own after it anew.
pub(super) async fn store(
    tx: &mut Transaction<'_>,
    sends: &[Outgoing],
    receipts: &[Receipt],
    clock: Clock,
    random: &Random,
) -> Result<Results> {
    let mut batch = Batch::load(tx, sends, receipts, clock).await?;
    let sends: Vec<_> = sends.iter().map(|outgoing| batch.number(outgoing, random)).collect();
    let receipts: Vec<_> = receipts.iter().map(|receipt| batch.advance(receipt)).collect();
    if !batch.new.is_empty() {
        messages::insert_numbered(tx.conn(), &batch.new).await.map_err(spoiled)?;
        if !batch.uses.is_empty() {
            attachment_uses::insert(tx.conn(), &batch.uses).await?;
        }
        if !batch.withheld.is_empty() {
            let hidden: Vec<_> = batch
                .new
                .iter()
                .filter_map(|message| Some((*batch.withheld.get(&message.id)?, message.conversation_id, message.id)))
                .collect();
            messages::withhold(tx.conn(), &hidden).await?;
        }
        for message in &batch.new {
            match message.sender_id {
                Some(sender) if batch.withheld.contains_key(&message.id) => tx.record_withheld(sender, message),
                _ => tx.record_message(message),
            }
        }
        // One that is withheld mentions nobody: its sender alone sees it.
        let shown = batch.new.iter().filter(|message| !batch.withheld.contains_key(&message.id));
        let mentions: Vec<_> = shown.filter_map(|message| mentions::of(message, &batch.named)).collect();
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
                // The user's own devices hear of it all the same.
                _ => Change::MembershipUpdated { user, conversation },
            });
        }
    }
    Ok(Results { sends, receipts, stored: batch.new.len() })
}

struct Batch {
    now: DateTime<Utc>,
    /// Locked: their numbers are this transaction's to give.
    conversations: HashMap<ConversationId, Conversation>,
    participants: HashMap<(ConversationId, UserId), Standing>,
    /// The participants whose usernames are in the messages.
    named: Named,
    /// The messages under each clientId, of before and of this batch.
    known: HashMap<(UserId, String), Message>,
    /// Which messages the senders may answer, and in which conversation.
    answerable: HashMap<(UserId, MessageId), ConversationId>,
    /// Those that messages are sent with. They cannot go until the transaction ends.
    attachments: HeldAttachments,
    new: Vec<Message>,
    /// The attachments of the new messages.
    uses: Vec<Use<MessageId>>,
    /// Of the new messages, those that somebody is not to see, who blocks their sender.
    withheld: HashMap<MessageId, UserId>,
    /// Where the messages are that receipts are about.
    places: HashMap<MessageId, (ConversationId, i32)>,
    /// The furthest of each user in each conversation.
    watermarks: BTreeMap<(ConversationId, UserId), Watermarks>,
}

impl Batch {
    async fn load(tx: &mut Transaction<'_>, sends: &[Outgoing], receipts: &[Receipt], clock: Clock) -> Result<Self> {
        let places: HashMap<_, _> = match unique(receipts.iter().map(|receipt| receipt.message)).as_slice() {
            [] => HashMap::new(),
            ids => messages::places(tx.conn(), ids).await?.into_iter().map(|(id, at, n)| (id, (at, n))).collect(),
        };
        let sent_to = sends.iter().map(|outgoing| outgoing.message.conversation);
        let ids = unique(sent_to.chain(places.values().map(|&(conversation, _)| conversation)));
        let sending = sends.iter().map(|outgoing| (outgoing.message.conversation, outgoing.sender));
        let reading = receipts.iter().filter_map(|receipt| Some((places.get(&receipt.message)?.0, receipt.user)));
        let pairs = unique(sending.chain(reading));
        let sent: Vec<_> = sends
            .iter()
            .filter_map(|outgoing| Some((outgoing.sender, outgoing.message.client_id.as_deref()?)))
            .collect();

        let answers = sends.iter().filter_map(|outgoing| Some((outgoing.sender, outgoing.message.reply_to?)));
        let answers = unique(answers);
        let bodies = sends.iter().map(|outgoing| (outgoing.message.conversation, outgoing.message.body.as_str()));
        let written = mentions::names_in(bodies);
        let sent_with = unique(sends.iter().flat_map(|outgoing| outgoing.message.attachments.iter().copied()));

        // These are sent together, the lock first: what the others find holds until the commit.
        let conn: &Connection = tx.conn();
        let (locked, participants, known, answerable, named, held) = tokio::try_join!(
            biased;
            conversations::lock_many(conn, &ids),
            participants::among(conn, &pairs),
            messages::by_client_ids(conn, &sent),
            messages::visibilities(conn, &answers),
            mention_rows::named(conn, &written),
            attachments::hold(conn, &sent_with),
        )?;
        let key = |message: &Message| Some((message.sender_id?, message.client_id.clone()?));
        Ok(Self {
            // After the wait for the locks: times follow the numbers, as far as the nodes' clocks agree.
            now: clock.now(),
            conversations: locked.into_iter().map(|conversation| (conversation.id, conversation)).collect(),
            participants: participants
                .into_iter()
                .map(|standing| ((standing.conversation_id, standing.user_id), standing))
                .collect(),
            named: named.into_iter().map(|(conversation, name, user)| ((conversation, name), user)).collect(),
            known: known.into_iter().filter_map(|message| Some((key(&message)?, message))).collect(),
            answerable: answerable
                .into_iter()
                .filter(|visibility| visibility.visible)
                .map(|visibility| ((visibility.user_id, visibility.message_id), visibility.conversation_id))
                .collect(),
            attachments: held.into_iter().collect(),
            new: Vec::with_capacity(sends.len()),
            uses: Vec::new(),
            withheld: HashMap::new(),
            places,
            watermarks: BTreeMap::new(),
        })
    }

    /// Gives a message its number, unless it was sent before or is not the sender's to send.
    fn number(&mut self, outgoing: &Outgoing, random: &Random) -> Result<Message> {
        let Outgoing { sender, message: new } = outgoing;
        let standing = *self.participants.get(&(new.conversation, *sender)).ok_or(NO_CONVERSATION)?;
        let key = new.client_id.as_ref().map(|client_id| (*sender, client_id.clone()));
        if let Some(first) = key.as_ref().and_then(|key| self.known.get(key)) {
            return if first.conversation_id == new.conversation { Ok(first.clone()) } else { Err(reused()) };
        }
        if let Some(id) = new.reply_to
            && self.answerable.get(&(*sender, id)) != Some(&new.conversation)
        {
            return Err(Error::invalid("replyToId", "There is no such message in this conversation."));
        }
        if standing.blocks {
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
        // As it will be once the message is inserted: receipts of this batch are answered with it.
        conversation.has_got(&message);
        if let Some(key) = key {
            self.known.insert(key, message.clone());
        }
        if let Some(blocker) = standing.blocked_by {
            self.withheld.insert(message.id, blocker);
        }
        self.uses.extend(uses(message.id, &new.attachments));
        self.new.push(message.clone());
        Ok(message)
    }

    /// Notes how far a user has come, unless the message is not the user's to see.
    fn advance(&mut self, receipt: &Receipt) -> Result<Conversation> {
        let &(id, number) = self.places.get(&receipt.message).ok_or(NO_MESSAGE)?;
        let conversation = self.conversations.get(&id).ok_or(NO_MESSAGE)?;
        let standing = self.participants.get(&(id, receipt.user));
        if standing.is_none_or(|standing| number <= standing.hidden_up_to) {
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

/// Each once.
fn unique<T: Eq + std::hash::Hash>(items: impl Iterator<Item = T>) -> Vec<T> {
    items.collect::<HashSet<_>>().into_iter().collect()
}

fn reused() -> Error {
    Error::Conflict(Violation::new("clientId", "This clientId belongs to a message in another conversation."))
}

/// The locks rule out that a clientId comes twice at once in one conversation, but not in two on two nodes.
fn spoiled(error: diesel::result::Error) -> Error {
    use diesel::result::{DatabaseErrorKind, Error as Diesel};
    match &error {
        Diesel::DatabaseError(DatabaseErrorKind::UniqueViolation, details)
            if details.constraint_name() == Some("messages_by_client_id") =>
        {
            reused()
        }
        _ => error.into(),
    }
}
