//! Writes the rows of one conversation, with its participants and messages.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};
use rand::RngExt as _;
use rand::rngs::StdRng;
use uuid::Uuid;

use super::shape::Shape;
use super::text::{self, Language};
use super::{Plan, Stream, before, id, rng};
use crate::store::seed::Chunk;
use crate::text::fold;

pub(super) struct ConversationWriter<'a> {
    pub(super) plan: &'a Plan,
    pub(super) now: DateTime<Utc>,
    pub(super) users: &'a [Uuid],
    /// Number of users that existed before this run. The number is part of the random seed, so that another run with
    /// the same `seed` creates other ids.
    pub(super) offset: i64,
}

/// Maximum number of unread messages of a participant.
const MAX_UNREAD: usize = 40;
/// Probability that a message follows the previous message within two minutes. Otherwise a longer pause comes before
/// it.
const FOLLOW_UP_PROBABILITY: f64 = 0.85;

/// A conversation that is being written.
struct Draft<'a> {
    id: Uuid,
    created_at: DateTime<Utc>,
    shape: &'a Shape,
}

/// Facts about the written messages for the rows of the conversation and its participants.
struct Written {
    /// Id and time of the newest message.
    last: Option<(Uuid, DateTime<Utc>)>,
    /// The senders of the newest messages, at most `MAX_UNREAD`. The sender of the newest message is at the end.
    senders: VecDeque<u32>,
}

impl ConversationWriter<'_> {
    pub(super) fn write(&self, chunk: &mut Chunk, index: usize, shape: &Shape) {
        let index = i64::try_from(index).unwrap_or(i64::MAX);
        // The index of the series of random numbers is unique for up to 2^24 conversations in a run and 2^39 users
        // before the run.
        let mut rng = rng(self.plan.seed, Stream::Conversation, (self.offset << 24) ^ index);
        let created_at = before(self.now, self.plan.months, &mut rng);
        let draft = Draft { id: id(created_at, &mut rng), created_at, shape };
        let written = self.write_messages(chunk, &draft, &mut rng);
        self.write_conversation(chunk, &draft, &written, &mut rng);
        self.write_participants(chunk, &draft, &written, &mut rng);
    }

    fn user(&self, member: u32) -> Uuid {
        self.users[member as usize]
    }

    fn write_messages(&self, chunk: &mut Chunk, draft: &Draft<'_>, rng: &mut StdRng) -> Written {
        let shape = draft.shape;
        let language = Language::pick(rng);
        let mut written = Written { last: None, senders: VecDeque::with_capacity(MAX_UNREAD + 1) };
        let mut sender = shape.members[0];
        for (index, at) in self.times(draft.created_at, shape.messages, rng).into_iter().enumerate() {
            let message = id(at, rng);
            if rng.random_bool(0.7) {
                sender = shape.members[rng.random_range(0..shape.members.len())];
            }
            let number = i32::try_from(index + 1).unwrap_or(i32::MAX);
            let row = chunk.messages.id(message).id(draft.id).number(number).number(number);
            row.id(self.user(sender)).text("TEXT").text(&text::body(language, rng)).time(at).end();
            written.last = Some((message, at));
            written.senders.push_back(sender);
            if written.senders.len() > MAX_UNREAD {
                written.senders.pop_front();
            }
        }
        written
    }

    /// Returns the times of the messages in ascending order. The first one is after the creation of the conversation,
    /// and the last one is at most about three days before now. Short gaps alternate with long pauses.
    fn times(&self, created_at: DateTime<Utc>, messages: u32, rng: &mut StdRng) -> Vec<DateTime<Utc>> {
        let age = (self.now - created_at).num_seconds();
        let last = age - rng.random_range(0..3 * 24 * 3600).min(age / 2);
        // The gap before each message: a positive number is in seconds, a negative number is a share of all long
        // pauses.
        let gaps: Vec<f64> = (0..messages)
            .map(|_| {
                if rng.random_bool(FOLLOW_UP_PROBABILITY) {
                    rng.random_range(3.0..120.0)
                } else {
                    -rng.random_range(0.1..3.0)
                }
            })
            .collect();
        let short_total: f64 = gaps.iter().filter(|gap| **gap > 0.0).sum();
        let long_total: f64 = -gaps.iter().filter(|gap| **gap < 0.0).sum::<f64>();
        #[expect(clippy::cast_precision_loss, reason = "seconds of some months")]
        let last = last as f64;
        let short_scale = (last * 0.5 / short_total.max(1.0)).min(1.0);
        let long_scale = (last - short_total * short_scale) / long_total.max(1.0);
        let mut at = 0.0;
        gaps.into_iter()
            .map(|gap| {
                at = (at + if gap > 0.0 { gap * short_scale } else { -gap * long_scale }).min(last);
                #[expect(clippy::cast_possible_truncation, reason = "microseconds of some months")]
                let micros = (at * 1_000_000.0) as i64;
                created_at + TimeDelta::microseconds(micros)
            })
            .collect()
    }

    fn write_conversation(&self, chunk: &mut Chunk, draft: &Draft<'_>, written: &Written, rng: &mut StdRng) {
        let &Draft { id: conversation, created_at, shape } = draft;
        let messages = i32::try_from(shape.messages).unwrap_or(i32::MAX);
        let participants = i32::try_from(shape.members.len()).unwrap_or(i32::MAX);
        let creator = self.user(shape.members[0]);
        let row = chunk.conversations.id(conversation);
        if shape.group {
            let title = text::title(rng);
            row.text("GROUP").text(&title).text(&fold(&title));
        } else {
            row.text("DIRECT").null().null();
        }
        row.null().id(creator).time(created_at);
        match written.last {
            Some((message, at)) => row.time(at).id(message),
            None => row.time(created_at).null(),
        };
        row.number(messages).number(messages).number(participants);
        if shape.group {
            row.null().null().end();
        } else {
            let other = self.user(shape.members[1]);
            row.id(creator.min(other)).id(creator.max(other)).end();
        }
    }

    fn write_participants(&self, chunk: &mut Chunk, draft: &Draft<'_>, written: &Written, rng: &mut StdRng) {
        let &Draft { id: conversation, created_at, shape } = draft;
        let messages = i32::try_from(shape.messages).unwrap_or(i32::MAX);
        for (index, &member) in shape.members.iter().enumerate() {
            let role = match index {
                0 if shape.group => "OWNER",
                _ if shape.group && rng.random_bool(0.1) => "ADMIN",
                _ => "MEMBER",
            };
            let behind = if rng.random_bool(0.6) { 0 } else { rng.random_range(0..=written.senders.len()) };
            let own = written.senders.iter().rev().take(behind).filter(|sender| **sender == member).count();
            let read = messages - i32::try_from(behind).unwrap_or_default();
            let delivered = rng.random_range(read..=messages);
            let row = chunk.participants.id(conversation).id(self.user(member)).id(id(created_at, rng)).text(role);
            row.time(created_at).number(delivered).number(read).number(i32::try_from(own).unwrap_or_default()).end();
        }
    }
}
