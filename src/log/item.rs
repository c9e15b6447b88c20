//! The items of a stream.

use super::event::{Event, Seq};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Item {
    Event(Event),
    /// All events up to this seq have been sent. The following events are live.
    CaughtUp(Seq),
    /// The cursor does not belong to this log, or events after it were dropped. The stream continues after this seq.
    ResyncRequired(Seq),
    /// The user is not a participant of the conversation that the stream is about. The stream ends.
    Closed,
}
