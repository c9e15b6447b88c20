//! Checks that each listener receives each acknowledged message once and in the order of the numbers.
//!
//! The ledger stores one entry for each message. Each listener stores the first and the last number that it received in
//! each room. The ledger checks a delivery when it arrives and does not store it, so a run may have millions of
//! deliveries.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::label::Label;

/// Maximum number of violations whose text is stored. Further violations are only counted.
const MAX_DESCRIPTIONS: usize = 200;
/// Maximum distance of a message number from the first number of its room. A larger distance is a violation, because it
/// would make the ledger too large.
const MAX_DISTANCE: i64 = 10_000_000;

pub struct Ledger {
    rooms: Vec<Mutex<Room>>,
    violations: Mutex<Violations>,
    /// Number of acknowledged messages that have not reached all listeners of their room.
    outstanding: AtomicI64,
    deliveries: AtomicU64,
    messages: AtomicU64,
}

/// The number of violations, and the descriptions of at most `MAX_DESCRIPTIONS` violations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations {
    pub count: usize,
    pub descriptions: Vec<String>,
}

/// The messages of one conversation that were acknowledged or delivered.
struct Room {
    listeners: u32,
    /// Message number of the first entry.
    first: i32,
    entries: VecDeque<Option<Entry>>,
    /// Labels of messages whose requests got no acknowledgement. The server may or may not have stored these messages.
    unacknowledged: Vec<Label>,
}

#[derive(Clone, Copy)]
struct Entry {
    /// None for a system message, which has no sender.
    label: Option<Label>,
    acknowledged: bool,
    deliveries: u32,
}

/// The first and the last message number that a listener received in a room. Both are 0 before the first message.
#[derive(Clone, Copy, Debug)]
pub struct ReceivedRange {
    pub first: i32,
    pub last: i32,
}

impl Ledger {
    /// Creates a ledger. `listeners` contains the number of listeners of each room.
    pub fn new(listeners: impl IntoIterator<Item = u32>) -> Self {
        let room = |listeners| Room { listeners, first: 0, entries: VecDeque::new(), unacknowledged: Vec::new() };
        Self {
            rooms: listeners.into_iter().map(|listeners| Mutex::new(room(listeners))).collect(),
            violations: Mutex::default(),
            outstanding: AtomicI64::new(0),
            deliveries: AtomicU64::new(0),
            messages: AtomicU64::new(0),
        }
    }

    /// Records that the server acknowledged a message. Returns the number of listeners of the message's room.
    pub fn acknowledged(&self, label: Label, number: i32) -> u32 {
        self.messages.fetch_add(1, Ordering::Relaxed);
        let Some(mut room) = self.room(label.room) else { return 0 };
        let listeners = room.listeners;
        let Some(entry) = room.entry(number, Some(label)) else {
            drop(room);
            self.violation(format!("message {label} was acknowledged with the number {number}"));
            return listeners;
        };
        if entry.acknowledged {
            drop(room);
            self.violation(format!("two messages were acknowledged as number {number}, and {label} is one"));
            return listeners;
        }
        entry.acknowledged = true;
        if entry.deliveries < listeners {
            self.outstanding.fetch_add(1, Ordering::Relaxed);
        }
        let other = entry.label;
        drop(room);
        if other != Some(label) {
            self.report_mismatch(number, other, Some(label));
        }
        listeners
    }

    /// Records that a request got no acknowledgement.
    pub fn unacknowledged(&self, label: Label) {
        if let Some(mut room) = self.room(label.room) {
            room.unacknowledged.push(label);
        }
    }

    /// Records a delivery; `label` is None for a system message. Returns true if all listeners of the room now have
    /// the message.
    pub fn delivered(
        &self,
        listener: usize,
        room: u32,
        range: &mut ReceivedRange,
        label: Option<Label>,
        number: i32,
    ) -> bool {
        self.deliveries.fetch_add(1, Ordering::Relaxed);
        if range.last == 0 {
            range.first = number;
        } else if number != range.last + 1 {
            let last = range.last;
            self.violation(format!("listener {listener}, room {room}: number {number} came after number {last}"));
        }
        range.last = number;
        let Some(mut room) = self.room(room) else { return false };
        let listeners = room.listeners;
        let Some(entry) = room.entry(number, label) else { return false };
        entry.deliveries += 1;
        let (deliveries, other) = (entry.deliveries, entry.label);
        if deliveries == listeners && entry.acknowledged {
            self.outstanding.fetch_sub(1, Ordering::Relaxed);
        }
        drop(room);
        if other != label {
            self.report_mismatch(number, other, label);
        }
        deliveries == listeners
    }

    /// Whether every acknowledged message has reached all listeners of its room.
    pub fn is_complete(&self) -> bool {
        self.outstanding.load(Ordering::Relaxed) <= 0
    }

    pub fn deliveries(&self) -> u64 {
        self.deliveries.load(Ordering::Relaxed)
    }

    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Records a violation that the ledger or other code has found.
    pub fn violation(&self, description: String) {
        let mut violations = self.violations.lock();
        violations.count += 1;
        if violations.descriptions.len() < MAX_DESCRIPTIONS {
            violations.descriptions.push(description);
        }
    }

    /// Finds messages that were lost, that have two numbers, or that were delivered without an acknowledgement, and
    /// returns all violations. Call this function after all senders and listeners have stopped. Each item of `ranges`
    /// contains a listener, a room, and the range that the listener received in this room.
    pub fn close(&self, ranges: impl IntoIterator<Item = (usize, u32, ReceivedRange)>) -> Violations {
        for (listener, index, range) in ranges {
            let Some(room) = self.room(index) else { continue };
            let missing = room.missing(range);
            drop(room);
            if let Some((count, number)) = missing {
                self.violation(format!(
                    "listener {listener}, room {index}: {count} acknowledged messages are lost, the first of them is \
                     number {number}"
                ));
            }
        }
        for index in 0..self.rooms.len() {
            let Some(room) = u32::try_from(index).ok().and_then(|index| self.room(index)) else { continue };
            let unmatched_messages = room.unmatched_messages();
            drop(room);
            for description in unmatched_messages {
                self.violation(format!("room {index}: {description}"));
            }
        }
        self.violations.lock().clone()
    }

    fn report_mismatch(&self, number: i32, one: Option<Label>, other: Option<Label>) {
        let name =
            |label: Option<Label>| label.map_or_else(|| "a message without a label".to_owned(), |l| l.to_string());
        self.violation(format!("number {number} is both {} and {}", name(one), name(other)));
    }

    fn room(&self, index: u32) -> Option<MutexGuard<'_, Room>> {
        let room = usize::try_from(index).ok().and_then(|index| self.rooms.get(index));
        if room.is_none() {
            self.violation(format!("a message is of room {index}, which does not exist"));
        }
        room.map(Mutex::lock)
    }
}

impl Room {
    /// Returns the entry of a message number, and creates it if it does not exist. None if the number is below 1 or too
    /// far from the first number.
    fn entry(&mut self, number: i32, label: Option<Label>) -> Option<&mut Entry> {
        if self.entries.is_empty() {
            self.first = number;
        }
        let index = i64::from(number) - i64::from(self.first);
        if number < 1 || index.abs() > MAX_DISTANCE {
            return None;
        }
        for _ in index..0 {
            self.entries.push_front(None);
            self.first -= 1;
        }
        let index = usize::try_from(index.max(0)).ok()?;
        if index >= self.entries.len() {
            self.entries.resize(index + 1, None);
        }
        Some(self.entries.get_mut(index)?.get_or_insert(Entry { label, acknowledged: false, deliveries: 0 }))
    }

    fn numbered(&self) -> impl Iterator<Item = (i32, &Entry)> {
        (self.first..).zip(&self.entries).filter_map(|(number, entry)| Some((number, entry.as_ref()?)))
    }

    /// Returns the count of the acknowledged messages outside `range`, and the number of the first such message. None
    /// if all acknowledged messages are inside `range`.
    fn missing(&self, range: ReceivedRange) -> Option<(usize, i32)> {
        let was_received = |number| range.last != 0 && (range.first..=range.last).contains(&number);
        let mut missing = self
            .numbered()
            .filter(|&(number, entry)| entry.acknowledged && !was_received(number))
            .map(|(number, _)| number);
        let first = missing.next()?;
        Some((missing.count() + 1, first))
    }

    fn unmatched_messages(&self) -> Vec<String> {
        let mut numbers: HashMap<Label, i32> = HashMap::new();
        let mut violations = Vec::new();
        for (number, entry) in self.numbered() {
            let Some(label) = entry.label else { continue };
            if let Some(other) = numbers.insert(label, number) {
                violations.push(format!("message {label} has both the numbers {other} and {number}"));
            } else if !entry.acknowledged && !self.unacknowledged.contains(&label) {
                violations.push(format!("message {label}, number {number}, was delivered but not acknowledged"));
            }
        }
        violations
    }
}

impl ReceivedRange {
    /// The range of a listener that has not received a message yet.
    pub const NONE: Self = Self { first: 0, last: 0 };
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Ledger, ReceivedRange, Violations};
    use crate::label::Label;

    fn label(index: u32) -> Label {
        Label { room: 0, sender: 0, index, begun: Duration::ZERO }
    }

    /// Runs a ledger with one listener. Each pair is the index of a message in its label, and its number.
    fn run(acknowledged: &[(u32, i32)], deliveries: &[(u32, i32)], unacknowledged: &[u32]) -> Violations {
        let ledger = Ledger::new([1]);
        let mut range = ReceivedRange::NONE;
        // Half of the acknowledgements come before the deliveries.
        let (before, after) = acknowledged.split_at(acknowledged.len() / 2);
        for &(index, number) in before {
            ledger.acknowledged(label(index), number);
        }
        for &(index, number) in deliveries {
            ledger.delivered(0, 0, &mut range, Some(label(index)), number);
        }
        for &(index, number) in after {
            ledger.acknowledged(label(index), number);
        }
        for &index in unacknowledged {
            ledger.unacknowledged(label(index));
        }
        ledger.close([(0, 0, range)])
    }

    #[test]
    fn complete_deliveries_are_no_violation() {
        for first in [1, 5000] {
            let messages = [(0, first), (1, first + 1), (2, first + 2)];
            assert_eq!(run(&messages, &messages, &[]), Violations::default());
        }
        assert_eq!(run(&[], &[], &[]), Violations::default());
    }

    #[test]
    fn lost_doubled_and_reordered_messages_are_violations() {
        let sent = [(1, 1), (2, 2), (3, 3)];
        let cases: [(&[(u32, i32)], &str); 8] = [
            (&[(1, 1), (2, 2)], "1 acknowledged messages are lost, the first of them is number 3"),
            (&[(2, 2), (3, 3)], "are lost, the first of them is number 1"),
            (&[], "3 acknowledged messages are lost, the first of them is number 1"),
            (&[(1, 1), (2, 2), (2, 2), (3, 3)], "number 2 came after number 2"),
            (&[(1, 1), (3, 3), (2, 2)], "number 3 came after number 1"),
            (&[(1, 1), (3, 3)], "number 3 came after number 1"),
            (&[(1, 1), (3, 2), (2, 3)], "number 2 is both"),
            (&[(1, 1), (2, 2), (3, 3), (4, 4)], "number 4, was delivered but not acknowledged"),
        ];
        for (deliveries, expected) in cases {
            let violations = run(&sent, deliveries, &[]);
            assert!(
                violations.descriptions.iter().any(|text| text.contains(expected)),
                "{deliveries:?}: {violations:?}"
            );
        }
        let twice = run(&[(1, 1), (1, 2)], &[(1, 1), (1, 2)], &[]);
        assert!(twice.descriptions.iter().any(|text| text.contains("both the numbers 1 and 2")), "{twice:?}");
        let same = run(&[(1, 1), (2, 1)], &[(1, 1)], &[]);
        assert!(
            same.descriptions.iter().any(|text| text.contains("two messages were acknowledged as number 1")),
            "{same:?}"
        );
    }

    #[test]
    fn an_unacknowledged_message_may_be_delivered_or_not() {
        let sent = [(1, 1), (2, 2)];
        assert_eq!(run(&sent, &[(1, 1), (2, 2), (3, 3)], &[3, 4]), Violations::default());
    }

    #[test]
    fn system_messages_need_no_acknowledgement() {
        let ledger = Ledger::new([1]);
        let mut range = ReceivedRange::NONE;
        ledger.delivered(0, 0, &mut range, None, 1);
        ledger.delivered(0, 0, &mut range, Some(label(1)), 2);
        ledger.acknowledged(label(1), 2);
        assert_eq!(ledger.close([(0, 0, range)]), Violations::default());
    }

    #[test]
    fn the_ledger_is_complete_when_all_listeners_have_each_message() {
        let ledger = Ledger::new([2]);
        let (mut one, mut other) = (ReceivedRange::NONE, ReceivedRange::NONE);
        assert!(!ledger.delivered(0, 0, &mut one, Some(label(1)), 1));
        ledger.acknowledged(label(1), 1);
        assert!(!ledger.is_complete());
        assert!(ledger.delivered(1, 0, &mut other, Some(label(1)), 1));
        assert!(ledger.is_complete());
        assert_eq!((ledger.messages(), ledger.deliveries()), (1, 2));
    }
}
