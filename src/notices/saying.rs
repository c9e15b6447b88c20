//! What a push notification says.

/// Content of a push notification. Names and texts are plain text, and users write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saying<'a> {
    /// A message with its beginning. `group` is the title of the group; none in a direct conversation.
    Message { sender: &'a str, group: Option<&'a str>, preview: Preview<'a> },
    /// A message of which only the sender and the group may be shown.
    Sender { sender: &'a str, group: Option<&'a str> },
    /// A message of which nothing may be shown.
    Nothing,
    /// A call that rings. `caller` and `group` are none if they must not be shown.
    Call { caller: Option<&'a str>, group: Option<&'a str>, is_video: bool },
    /// The operator checks push notifications.
    Test,
}

/// What a notification shows of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preview<'a> {
    Text(&'a str),
    Photo,
    Video,
    VoiceMessage {
        seconds: u32,
    },
    /// A sound file. The length is None if it is unknown.
    Audio {
        seconds: Option<u32>,
    },
    File {
        name: &'a str,
    },
    /// Several attachments, of any kinds.
    Several {
        count: u32,
    },
}

/// The text of a push notification in the language of the recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushText {
    /// Never empty, and without line breaks.
    pub title: String,
    pub body: Option<String>,
}

impl<'a> Saying<'a> {
    /// Returns the name of the content in templates.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Message { .. } => "message",
            Self::Sender { .. } => "sender",
            Self::Nothing => "nothing",
            Self::Call { .. } => "call",
            Self::Test => "test",
        }
    }

    /// Returns the name of the sender or caller. None if there is none, or if it must not be shown.
    pub(super) const fn sender(&self) -> Option<&'a str> {
        match self {
            Self::Message { sender, .. } | Self::Sender { sender, .. } => Some(sender),
            Self::Call { caller, .. } => *caller,
            Self::Nothing | Self::Test => None,
        }
    }

    /// Returns the title of the group. None in a direct conversation, or if it must not be shown.
    pub(super) const fn group(&self) -> Option<&'a str> {
        match self {
            Self::Message { group, .. } | Self::Sender { group, .. } | Self::Call { group, .. } => *group,
            Self::Nothing | Self::Test => None,
        }
    }

    /// Returns what is shown of the message. None if there is no message, or if nothing of it must be shown.
    pub(super) const fn preview(&self) -> Option<Preview<'a>> {
        match self {
            Self::Message { preview, .. } => Some(*preview),
            _ => None,
        }
    }

    pub(super) const fn is_video(&self) -> bool {
        matches!(self, Self::Call { is_video: true, .. })
    }
}

impl<'a> Preview<'a> {
    /// Returns the name of the kind of attachments in templates. None if the message has text, which needs no template.
    pub(super) const fn attachment(self) -> Option<&'static str> {
        match self {
            Self::Text(_) => None,
            Self::Photo => Some("photo"),
            Self::Video => Some("video"),
            Self::VoiceMessage { .. } => Some("voice_message"),
            Self::Audio { .. } => Some("audio"),
            Self::File { .. } => Some("file"),
            Self::Several { .. } => Some("several"),
        }
    }

    /// Returns the length of the sound. None if the message has no sound or its length is unknown.
    pub(super) fn duration(self) -> Option<String> {
        match self {
            Self::VoiceMessage { seconds } | Self::Audio { seconds: Some(seconds) } => Some(duration(seconds)),
            _ => None,
        }
    }

    /// Returns the name of the file. None if the message has no file, or if only the kind of the file is shown.
    pub(super) const fn file(self) -> Option<&'a str> {
        match self {
            Self::File { name } => Some(name),
            _ => None,
        }
    }

    /// Returns the number of attachments.
    pub(super) const fn count(self) -> u32 {
        match self {
            Self::Text(_) => 0,
            Self::Several { count } => count,
            _ => 1,
        }
    }
}

/// Writes a number of seconds as m:ss, and from one hour on as h:mm:ss.
fn duration(seconds: u32) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours == 0 { format!("{minutes}:{seconds:02}") } else { format!("{hours}:{minutes:02}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn a_duration_has_minutes_and_two_digits_of_seconds() {
        for (seconds, expected) in [(0, "0:00"), (12, "0:12"), (65, "1:05"), (3599, "59:59"), (3725, "1:02:05")] {
            assert_eq!(duration(seconds), expected);
        }
        assert_eq!(duration(u32::MAX), "1193046:28:15");
    }
}
