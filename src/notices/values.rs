//! The variables of templates, and their values for a notice or a push notification.

use std::borrow::Cow;

use minijinja::{Value, context};

use super::notice::{DigestConversation, MAX_DIGEST_CONVERSATIONS, Notice};
use super::saying::{Preview, Saying};

/// The variables of each notice and of push notifications, in addition to `COMMON`. The keys are the beginnings of the
/// names of templates.
pub(super) const VARIABLES: [(&str, &[&str]); 8] = [
    ("code", &["code", "purpose", "minutes"]),
    ("contact_point_added", &["username", "kind", "now"]),
    ("contact_point_changed", &["username", "kind", "now"]),
    ("password_changed", &["username", "first"]),
    ("password_reset", &["username"]),
    ("factor_changed", &["username", "change", "passkey", "issuer", "codes_left"]),
    ("digest", &["username", "unread", "conversations", "others", "app_url", "unsubscribe_url"]),
    ("push", &["kind", "sender", "group", "video", "preview", "attachment", "duration", "file", "count"]),
];
/// Variables of all templates.
pub(super) const COMMON: [&str; 2] = ["app_name", "language"];
/// Maximum number of characters of a message in a digest.
const MAX_PREVIEW: usize = 200;
/// Opens an isolate, whose direction is that of its first letter: FIRST STRONG ISOLATE (UAX #9, section 2.4).
const FIRST_STRONG_ISOLATE: char = '\u{2068}';
/// Ends an isolate: POP DIRECTIONAL ISOLATE.
const POP_DIRECTIONAL_ISOLATE: char = '\u{2069}';

/// Returns the variables of a notice. Their values have no control characters, so that they cannot add lines.
pub(super) fn of_notice(app_name: &str, language: &str, notice: &Notice) -> Value {
    let common = common(app_name, language);
    match notice {
        Notice::Code { code, usage, minutes } => {
            context! { code => one_line(code), purpose => usage.as_str(), minutes => *minutes, ..common }
        }
        Notice::ContactPointAdded { username, kind, now } => {
            context! { username => one_line(username), kind => kind.as_str(), now => one_line(now), ..common }
        }
        Notice::ContactPointChanged { username, kind, now } => {
            let now = now.as_deref().map(one_line);
            context! { username => one_line(username), kind => kind.as_str(), now, ..common }
        }
        Notice::PasswordChanged { username, is_first } => {
            context! { username => one_line(username), first => *is_first, ..common }
        }
        Notice::PasswordReset { username } => context! { username => one_line(username), ..common },
        Notice::FactorChanged { username, change } => context! {
            username => one_line(username), change => change.as_str(), passkey => change.passkey().map(one_line),
            issuer => change.issuer().map(one_line), codes_left => change.codes_left(), ..common
        },
        Notice::Digest { username, unread, conversations, others, links } => {
            let listed: Vec<_> = conversations.iter().take(MAX_DIGEST_CONVERSATIONS).map(of_conversation).collect();
            let left_out = u32::try_from(conversations.len() - listed.len()).unwrap_or(u32::MAX);
            context! {
                username => one_line(username), unread => *unread, conversations => listed,
                others => others.saturating_add(left_out), app_url => links.as_ref().map(|links| links.app.as_str()),
                unsubscribe_url => links.as_ref().map(|links| links.unsubscribe.as_str()), ..common
            }
        }
    }
}

/// Returns the variables of a push notification. `preview` is what it shows of a message.
pub(super) fn of_saying(app_name: &str, language: &str, saying: &Saying<'_>, preview: Option<String>) -> Value {
    let (sender, group) = (saying.sender().map(one_line), saying.group().map(one_line));
    let message = context! { kind => saying.kind(), sender, group, video => saying.is_video(), preview };
    let attachments = context! { attachment => (), duration => (), file => (), count => 0 };
    context! { ..attachments, ..message, ..common(app_name, language) }
}

/// Returns the variables of the preview of attachments.
pub(super) fn of_preview(app_name: &str, language: &str, preview: Preview<'_>) -> Value {
    let file = preview.file().map(one_line);
    let attachments = context! {
        attachment => preview.attachment(), duration => preview.duration(), file, count => preview.count()
    };
    let message = context! { kind => "message", sender => (), group => (), video => false, preview => () };
    context! { ..attachments, ..message, ..common(app_name, language) }
}

fn common(app_name: &str, language: &str) -> Value {
    context! { app_name, language }
}

fn of_conversation(conversation: &DigestConversation) -> Value {
    let preview = conversation.preview.as_deref().map(|preview| shortened(one_line(preview)));
    context! { name => one_line(&conversation.name), unread => conversation.unread, preview }
}

/// Cuts a text after MAX_PREVIEW characters.
fn shortened(text: String) -> String {
    let end = text.char_indices().nth(MAX_PREVIEW).map(|(end, _)| end);
    match end {
        Some(end) => format!("{}…", text[..end].trim_end()),
        None => text,
    }
}

/// Replaces each run of white space and control characters with one space.
pub(super) fn one_line(text: &str) -> String {
    let parts = text.split(|c: char| c.is_whitespace() || c.is_control());
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The filter `isolate` of plain texts. It encloses a value with right-to-left letters in an isolate, so that they do
/// not change the order of the words and punctuation around the value. Other values stay as they are.
pub(super) fn isolate(text: Cow<'_, str>) -> String {
    if text.contains(is_right_to_left) {
        format!("{FIRST_STRONG_ISOLATE}{text}{POP_DIRECTIONAL_ISOLATE}")
    } else {
        text.into_owned()
    }
}

/// Whether the character belongs to a script that is written from right to left, or changes the direction of the text.
/// The ranges are those in which unassigned characters have the class R or AL (Unicode, DerivedBidiClass.txt), and the
/// explicit marks and controls of UAX #9.
const fn is_right_to_left(c: char) -> bool {
    matches!(
        c,
        '\u{0590}'..='\u{08FF}'
            | '\u{200F}'
            | '\u{202A}'..='\u{202E}'
            | '\u{2066}'..='\u{2069}'
            | '\u{FB1D}'..='\u{FDFF}'
            | '\u{FE70}'..='\u{FEFF}'
            | '\u{10800}'..='\u{10FFF}'
            | '\u{1E800}'..='\u{1EFFF}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_right_to_left_values_are_isolated() {
        for plain in ["", "Ada", "Åsa Ünal", "田中 {{ 1 }} <b>", "👩‍🚀 e\u{301}"] {
            assert_eq!(isolate(plain.into()), plain);
        }
        for mixed in ["דנה", "Ada (سارة)", "a\u{202E}b", "𐤀", "𞤀"] {
            assert_eq!(isolate(mixed.into()), format!("\u{2068}{mixed}\u{2069}"));
        }
    }

    #[test]
    fn a_long_preview_is_cut_between_characters() {
        let text = "ä".repeat(MAX_PREVIEW);
        assert_eq!(shortened(text.clone()), text);
        assert_eq!(shortened(format!("{text}b")), format!("{text}…"));
        assert_eq!(shortened(format!("{} b c", "ä".repeat(MAX_PREVIEW - 1))), format!("{}…", "ä".repeat(199)));
    }
}
