//! The steps of a case. A number in a step, modulo the count of the items, selects one of the items that exist at that
//! time, such as a stream. So every sequence of steps is valid, even after proptest has shrunk the sequence.

use proptest::collection::vec;
use proptest::prelude::*;

pub const USERS: usize = 3;
pub const CONVERSATIONS: usize = 3;
pub const NODES: usize = 2;

const STEPS: usize = 60;
const WRITES: usize = 4;

/// The settings, the initial memberships and the steps of a test case.
#[derive(Clone, Debug)]
pub struct Case {
    pub settings: Settings,
    /// Whether each user is initially a participant of each conversation: `members[user][conversation]`.
    pub members: [[bool; CONVERSATIONS]; USERS],
    pub steps: Vec<Step>,
}

/// Settings of the log. The values are small, so that cases reach all limits.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub hole_wait_ms: u64,
    /// Whether the tails also poll Postgres during the case.
    pub looks: bool,
    pub tail_memory: usize,
    pub stream_queue: usize,
    pub catch_up_page: i64,
}

#[derive(Clone, Debug)]
pub enum Step {
    /// Appends events in one transaction.
    Append {
        node: usize,
        writes: Vec<Write>,
    },
    /// Delivers some of the held events to the tail of the node, in any order. If `kept` is set, the broker keeps the
    /// events, so that later steps can deliver them again.
    Deliver {
        node: usize,
        place: usize,
        count: usize,
        backwards: bool,
        kept: bool,
    },
    Drop {
        node: usize,
        place: usize,
        count: usize,
    },
    /// Notifies the node's tail that events may have been lost.
    Gap {
        node: usize,
    },
    Subscribe {
        node: usize,
        user: usize,
        wanted: Wanted,
        from: From,
        items: usize,
    },
    /// Allows the client to read this number of further items.
    Read {
        stream: usize,
        items: usize,
    },
    Disconnect {
        stream: usize,
    },
    /// Stops the node with its tail and its streams, and starts a new node with the same number.
    Restart {
        node: usize,
    },
    /// Waits, so that tails and clients can make progress.
    Pause,
}

#[derive(Clone, Copy, Debug)]
pub enum Write {
    Message(usize),
    Update(usize),
    Receipt(usize, usize),
    Revoke(usize),
    /// Appends an event of a kind that only a newer version of the server knows.
    Unknown(usize),
    Join(usize, usize),
    Leave(usize, usize),
    /// Advances the read position of the user.
    Read(usize, usize),
    /// Turns read receipts of the user on or off.
    Receipts(usize, bool),
}

#[derive(Clone, Copy, Debug)]
pub enum Wanted {
    Inbox,
    AllMessages,
    MessagesOf(usize),
}

#[derive(Clone, Copy, Debug)]
pub enum From {
    Now,
    /// The position before the first event of the case.
    Beginning,
    /// The last cursor of another stream.
    Stream(usize),
    /// A position that the log has not reached.
    Future,
    /// A cursor of another log.
    Elsewhere,
}

impl Case {
    pub fn any() -> impl Strategy<Value = Self> {
        let members = proptest::array::uniform3(proptest::array::uniform3(any::<bool>()));
        (Settings::any(), members, vec(step(), 1..STEPS)).prop_map(|(settings, members, steps)| Self {
            settings,
            members,
            steps,
        })
    }
}

impl Settings {
    fn any() -> impl Strategy<Value = Self> {
        (1..20_u64, any::<bool>(), 1..8_usize, 1..4_usize, 1..6_i64).prop_map(
            |(hole_wait_ms, looks, tail_memory, stream_queue, catch_up_page)| Self {
                hole_wait_ms,
                looks,
                tail_memory,
                stream_queue,
                catch_up_page,
            },
        )
    }
}

fn step() -> impl Strategy<Value = Step> {
    let (node, place, stream, items) = (0..NODES, 0..8_usize, 0..16_usize, 1..6_usize);
    let some = 1..5_usize;
    prop_oneof![
        8 => (node.clone(), vec(write(), 1..WRITES)).prop_map(|(node, writes)| Step::Append { node, writes }),
        6 => (node.clone(), place.clone(), some.clone(), any::<bool>(), any::<bool>()).prop_map(
            |(node, place, count, backwards, kept)| Step::Deliver { node, place, count, backwards, kept }
        ),
        2 => (node.clone(), place, some).prop_map(|(node, place, count)| Step::Drop { node, place, count }),
        1 => node.clone().prop_map(|node| Step::Gap { node }),
        4 => (node.clone(), 0..USERS, wanted(), from(), items.clone())
            .prop_map(|(node, user, wanted, from, items)| Step::Subscribe { node, user, wanted, from, items }),
        5 => (stream.clone(), items).prop_map(|(stream, items)| Step::Read { stream, items }),
        2 => stream.prop_map(|stream| Step::Disconnect { stream }),
        1 => node.prop_map(|node| Step::Restart { node }),
        3 => Just(Step::Pause),
    ]
}

fn write() -> impl Strategy<Value = Write> {
    let (user, conversation) = (0..USERS, 0..CONVERSATIONS);
    prop_oneof![
        6 => conversation.clone().prop_map(Write::Message),
        1 => conversation.clone().prop_map(Write::Update),
        1 => (conversation.clone(), user.clone()).prop_map(|(conversation, user)| Write::Receipt(conversation, user)),
        1 => user.clone().prop_map(Write::Revoke),
        1 => conversation.clone().prop_map(Write::Unknown),
        3 => (user.clone(), conversation.clone()).prop_map(|(user, conversation)| Write::Join(user, conversation)),
        3 => (user.clone(), conversation.clone()).prop_map(|(user, conversation)| Write::Leave(user, conversation)),
        3 => (conversation, user.clone()).prop_map(|(conversation, user)| Write::Read(conversation, user)),
        2 => (user, any::<bool>()).prop_map(|(user, on)| Write::Receipts(user, on)),
    ]
}

fn wanted() -> impl Strategy<Value = Wanted> {
    prop_oneof![
        3 => Just(Wanted::Inbox),
        1 => Just(Wanted::AllMessages),
        2 => (0..CONVERSATIONS).prop_map(Wanted::MessagesOf),
    ]
}

fn from() -> impl Strategy<Value = From> {
    prop_oneof![
        3 => Just(From::Now),
        3 => Just(From::Beginning),
        6 => (0..16_usize).prop_map(From::Stream),
        1 => Just(From::Future),
        1 => Just(From::Elsewhere),
    ]
}
