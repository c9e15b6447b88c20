//! The model: the log as a list of events, and the check of the items that a stream delivered.

use std::fmt;

use parlance::ids::{ConversationId, UserId};
use parlance::log::{Audience, Change, Event, Interest, Item, Seq};

/// The model of the log: all events that were committed after the seq `base`, in the order of seq.
#[derive(Clone, Debug)]
pub struct Model {
    base: Seq,
    events: Vec<Event>,
}

/// An item that a client received.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    pub item: Item,
    /// Position of the node's tail before the item was polled.
    pub tail: Seq,
    /// Upper bound for the seq of the events that were committed when the client received the item.
    pub head: Seq,
}

/// The subscription of a client, and the items that it received.
#[derive(Debug)]
pub struct Listening {
    pub user: UserId,
    pub interest: Interest,
    pub start: Start,
    pub heard: Vec<Heard>,
}

#[derive(Clone, Copy, Debug)]
pub enum Start {
    Now,
    After(Seq),
    /// The stream starts at a cursor of another log, or at a position that the log has not reached.
    Invalid,
}

impl Model {
    pub fn new(base: Seq) -> Self {
        Self { base, events: Vec::new() }
    }

    pub fn base(&self) -> Seq {
        self.base
    }

    pub fn head(&self) -> Seq {
        self.events.last().map_or(self.base, |last| last.seq)
    }

    pub fn append(&mut self, changes: &[Change]) {
        let next = self.head() + 1;
        self.events.extend((next..).zip(changes).map(|(seq, &change)| Event { seq, change }));
    }

    /// Returns whether the user is a participant of the conversation after the event at `seq`.
    pub fn takes_part(&self, user: UserId, conversation: ConversationId, seq: Seq) -> bool {
        let own = |event: &&Event| match event.change {
            Change::ConversationAdded { user: other, conversation: another }
            | Change::ConversationRemoved { user: other, conversation: another } => {
                (other, another) == (user, conversation)
            }
            _ => false,
        };
        let last = self.events.iter().rev().filter(|event| event.seq <= seq).find(own);
        last.is_some_and(|event| matches!(event.change, Change::ConversationAdded { .. }))
    }

    /// Returns whether the user is a participant after at least one event between `from` and `upto`, inclusive.
    fn takes_part_between(&self, user: UserId, conversation: ConversationId, from: Seq, upto: Seq) -> bool {
        (from..=upto).any(|seq| self.takes_part(user, conversation, seq))
    }

    /// Returns whether the user is a participant after each event between `from` and `upto`, inclusive.
    fn takes_part_throughout(&self, user: UserId, conversation: ConversationId, from: Seq, upto: Seq) -> bool {
        (from..=upto).all(|seq| self.takes_part(user, conversation, seq))
    }

    /// Returns whether read receipts of the user are off after the event at `seq`.
    fn has_receipts_off(&self, user: UserId, seq: Seq) -> bool {
        let own = |event: &&Event| match event.change {
            Change::ReadReceiptsOff { user: other } | Change::ReadReceiptsOn { user: other } => other == user,
            _ => false,
        };
        let last = self.events.iter().rev().filter(|event| event.seq <= seq).find(own);
        last.is_some_and(|event| matches!(event.change, Change::ReadReceiptsOff { .. }))
    }

    /// Checks the items that a stream has delivered. The error describes the first wrong item, or a lost event.
    pub fn check(&self, listening: &Listening) -> Result<(), String> {
        let mut reader = Reader { model: self, listening, position: None, caught_up: false, closed: false };
        if let Start::After(seq) = listening.start {
            reader.position = Some(seq);
        }
        for (place, heard) in listening.heard.iter().enumerate() {
            reader
                .take(place, heard)
                .map_err(|wrong| format!("{wrong}, at item {place} of {listening:#?}\nin the log\n{self}"))?;
        }
        Ok(())
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.events.iter().try_for_each(|event| writeln!(f, "{event:?}"))
    }
}

/// Checks the items of a stream one after another.
struct Reader<'a> {
    model: &'a Model,
    listening: &'a Listening,
    /// Seq up to which all events are checked. None before the first item of a stream without a cursor.
    position: Option<Seq>,
    caught_up: bool,
    closed: bool,
}

impl Reader<'_> {
    fn take(&mut self, place: usize, heard: &Heard) -> Result<(), String> {
        ensure(!self.closed, || "an item after the stream was closed".to_owned())?;
        let resync = place == 0 && matches!(self.listening.start, Start::Invalid);
        ensure(matches!(heard.item, Item::ResyncRequired(_)) == resync, || {
            "an unexpected or missing resync".to_owned()
        })?;
        match heard.item {
            Item::ResyncRequired(seq) => self.position = Some(seq),
            Item::Event(event) => {
                self.event(&event, heard)?;
                self.advance(event.seq, heard.head)?;
            }
            Item::CaughtUp(seq) => {
                ensure(!std::mem::replace(&mut self.caught_up, true), || "caught up twice".to_owned())?;
                ensure(self.position.is_none_or(|position| position <= seq), || {
                    "caught up to an earlier seq".to_owned()
                })?;
                // The event at `seq` itself must have been delivered too.
                self.advance(seq + 1, heard.head)?;
                self.position = Some(seq);
            }
            Item::Closed => {
                self.closed = true;
                let Interest::Messages(Some(conversation)) = self.listening.interest else {
                    return Err("a stream of this kind is never closed".to_owned());
                };
                let from = self.position.unwrap_or(self.model.base);
                let stays = self.model.takes_part_throughout(self.listening.user, conversation, from, heard.head);
                ensure(!stays, || "closed although the user is a participant".to_owned())?;
            }
        }
        Ok(())
    }

    fn event(&self, event: &Event, heard: &Heard) -> Result<(), String> {
        let (model, user) = (self.model, self.listening.user);
        ensure(model.events.contains(event), || "no such event".to_owned())?;
        ensure(event.seq <= heard.head, || "delivered before it was committed".to_owned())?;
        ensure(self.position.is_none_or(|position| event.seq > position), || "duplicate or out of order".to_owned())?;
        ensure(self.wants(event), || "not part of the subscription".to_owned())?;
        ensure(self.sees(event), || "not visible to the user".to_owned())?;
        let left = conversation_of(event).is_some_and(|conversation| {
            !matches!(event.change, Change::ConversationRemoved { .. })
                && !model.takes_part_between(user, conversation, heard.tail.max(event.seq), heard.head)
        });
        ensure(!left, || "the node knew that the user had left".to_owned())?;
        let mut known = heard.tail.max(event.seq)..=heard.head;
        let hidden = shows_reading_position(user, event) && known.all(|seq| model.has_receipts_off(user, seq));
        ensure(!hidden, || "the node knew that the user had disabled read receipts".to_owned())
    }

    /// Moves the position to `seq`. Returns an error if the stream had to deliver an event between the old position and
    /// `seq`.
    fn advance(&mut self, seq: Seq, head: Seq) -> Result<(), String> {
        if let Some(position) = self.position {
            let between = self.model.events.iter().filter(|event| event.seq > position && event.seq < seq);
            let lost: Vec<_> = between.filter(|event| self.must_come(event, head)).collect();
            ensure(lost.is_empty(), || format!("lost: {lost:?}"))?;
        }
        self.position = Some(seq);
        Ok(())
    }

    /// Returns whether the stream must deliver the event. If the user has left the conversation before `head`, only
    /// `ConversationRemoved` must be delivered. If the user has turned read receipts off before `head`, read receipts
    /// of other users may be missing.
    fn must_come(&self, event: &Event, head: Seq) -> bool {
        let stays = || match (event.change, conversation_of(event)) {
            (Change::ConversationRemoved { .. }, _) | (_, None) => true,
            (_, Some(conversation)) => {
                self.model.takes_part_throughout(self.listening.user, conversation, event.seq, head)
            }
        };
        let user = self.listening.user;
        let hides = || (event.seq..=head).any(|seq| self.model.has_receipts_off(user, seq));
        self.wants(event) && self.sees(event) && stays() && !(shows_reading_position(user, event) && hides())
    }

    fn wants(&self, event: &Event) -> bool {
        match (self.listening.interest, event.change) {
            (
                _,
                Change::UserUpdated { .. }
                | Change::SessionRevoked { .. }
                | Change::ReadReceiptsOff { .. }
                | Change::ReadReceiptsOn { .. }
                | Change::Unknown(_),
            ) => false,
            (Interest::Inbox, _) | (Interest::Messages(None), Change::MessageAdded { .. }) => true,
            (Interest::Messages(Some(wanted)), Change::MessageAdded { conversation, .. })
            | (Interest::Updates(wanted), Change::MessageUpdated { conversation, .. }) => wanted == conversation,
            (Interest::Messages(_) | Interest::Updates(_) | Interest::Calls(_) | Interest::Membership(_), _) => false,
        }
    }

    fn sees(&self, event: &Event) -> bool {
        match event.change.audience() {
            Audience::User(user) => user == self.listening.user,
            Audience::Conversation(id) => self.model.takes_part(self.listening.user, id, event.seq),
        }
    }
}

/// Returns whether the event shows how far another user has read.
fn shows_reading_position(user: UserId, event: &Event) -> bool {
    matches!(event.change, Change::ReadAdvanced { user: reader, .. } if reader != user)
}

/// Returns the conversation of an event.
fn conversation_of(event: &Event) -> Option<ConversationId> {
    match event.change {
        Change::ConversationAdded { conversation, .. } | Change::ConversationRemoved { conversation, .. } => {
            Some(conversation)
        }
        change => match change.audience() {
            Audience::Conversation(conversation) => Some(conversation),
            Audience::User(_) => None,
        },
    }
}

fn ensure(holds: bool, wrong: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(wrong()) }
}
