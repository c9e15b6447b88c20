//! The label of a message, by which a listener recognizes the message and its sender.

use std::time::Duration;

/// Label of a message, which is sent as its `clientId`. `room` and `sender` are indexes into the lists of the `Plan`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    pub room: u32,
    pub sender: u32,
    /// Number of the message among the messages of its sender, counted from 0.
    pub index: u32,
    /// Time at which the request began or was due, measured from the start of the load's stopwatch.
    pub begun: Duration,
}

impl Label {
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let label = Self {
            room: parts.next()?.parse().ok()?,
            sender: parts.next()?.parse().ok()?,
            index: parts.next()?.parse().ok()?,
            begun: Duration::from_nanos(parts.next()?.parse().ok()?),
        };
        parts.next().is_none().then_some(label)
    }
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}-{}", self.room, self.sender, self.index, self.begun.as_nanos())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Label;

    #[test]
    fn a_label_is_parsed_from_its_own_text() {
        let label = Label { room: 7, sender: 3, index: 41, begun: Duration::new(5, 123_456_789) };
        assert_eq!(label.to_string(), "7-3-41-5123456789");
        assert_eq!(Label::parse("7-3-41-5123456789"), Some(label));
        for text in ["", "7-3-41", "7-3-41-5-1", "7-3-x-5", "another client's"] {
            assert_eq!(Label::parse(text), None, "{text}");
        }
    }
}
