//! The items of a stream.

use super::event::{Event, Seq};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Item {
    Event(Event),
    /// All events up to this seq have been sent. The following events are live.
    CaughtUp(Seq),
    /// The client has to load its data again, because the cursor does not belong to this log or events after the cursor
    /// were dropped. The stream continues after this seq.
    ResyncRequired(Seq),
    /// The user is not a participant of the conversation that the stream is about. The stream ends.
    Closed,
}
