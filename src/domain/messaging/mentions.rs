//! Mentions in the body of a message: `@username` mentions one participant, and `@all` mentions all participants.

use std::collections::{HashMap, HashSet};

use crate::domain::validate::is_username;
use crate::error::Result;
use crate::ids::{ConversationId, UserId};
use crate::store::Connection;
use crate::store::messaging::mentions::{self, Mentions};
use crate::store::messaging::messages::Message;

/// Name that mentions all participants. A user with the username `all` cannot be mentioned alone.
const ALL: &str = "all";
/// Maximum number of names in one message that can be mentions. Further names are plain text.
const MAX_NAMES: usize = 100;

/// Map from a conversation and a username to the participant.
pub(super) type ParticipantsByName = HashMap<(ConversationId, String), UserId>;

/// Returns the names in the bodies that are possible usernames. Each name occurs once per conversation.
pub(super) fn names_in<'a>(bodies: impl Iterator<Item = (ConversationId, &'a str)>) -> Vec<(ConversationId, String)> {
    let names = bodies.flat_map(|(conversation, body)| {
        names(body).into_iter().flat_map(possible_usernames).map(move |name| (conversation, name))
    });
    names.collect::<HashSet<_>>().into_iter().collect()
}

/// Returns the mentions in a message. Returns None if the message mentions no participant.
pub(super) fn of(message: &Message, named: &ParticipantsByName) -> Option<Mentions> {
    let body = message.body.as_deref()?;
    let mut users = HashSet::new();
    for name in names(body) {
        let mut found = possible_usernames(name).filter_map(|name| named.get(&(message.conversation_id, name)));
        users.extend(found.next());
    }
    let all = mentions_all(body);
    (all || !users.is_empty()).then(|| Mentions {
        message: message.id,
        conversation: message.conversation_id,
        number: message.number,
        sender: message.sender_id,
        all,
        users: users.into_iter().collect(),
    })
}

/// Replaces the mentions of a message after its body has changed, and updates the counts of unread mentions. The
/// conversation must be locked.
pub(super) async fn refresh(conn: &mut Connection, message: &Message) -> Result<()> {
    mentions::remove(conn, &[message.id]).await?;
    let body = message.body.as_deref().unwrap_or_default();
    let written = names_in(std::iter::once((message.conversation_id, body)));
    let found = mentions::named(conn, &written).await?;
    let named = found.into_iter().map(|(conversation, name, user)| ((conversation, name), user)).collect();
    if let Some(mentions) = of(message, &named) {
        mentions::insert(conn, &[mentions]).await?;
    }
    Ok(())
}

/// Returns whether the body has a name after an `@`. Only such a body can have mentions.
pub fn may_mention(body: &str) -> bool {
    words(body).next().is_some()
}

/// Returns whether the body mentions all participants.
pub fn mentions_all(body: &str) -> bool {
    words(body).any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(ALL))
}

fn names(body: &str) -> Vec<&str> {
    words(body).filter(|word| !word.trim_end_matches('.').eq_ignore_ascii_case(ALL)).take(MAX_NAMES).collect()
}

/// Returns the usernames to which a word can refer, the longer username first. A full stop at the end of the word can
/// belong to the username, or end the sentence.
fn possible_usernames(word: &str) -> impl Iterator<Item = String> {
    let name = word.to_ascii_lowercase();
    let short = name.trim_end_matches('.').to_owned();
    let both = if short == name { [None, Some(short)] } else { [Some(name), Some(short)] };
    both.into_iter().flatten().filter(|name| is_username(name))
}

/// Returns the names that follow an `@`. Ignores an `@` inside a word, an e-mail address or a URL.
fn words(body: &str) -> impl Iterator<Item = &str> {
    body.match_indices('@').filter_map(|(index, _)| {
        let (before, after) = (&body[..index], &body[index + 1..]);
        let length = after.find(|c: char| !is_name_char(c)).unwrap_or(after.len());
        let (word, rest) = after.split_at(length);
        let in_word = before.chars().next_back().is_some_and(|c| c.is_alphanumeric() || "_.+-@/".contains(c));
        let goes_on = rest.chars().next().is_some_and(|c| c.is_alphanumeric() || c == '@');
        (!in_word && !goes_on && !word.is_empty()).then_some(word)
    })
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_inside_words_and_addresses_are_no_mentions() {
        for (body, expected) in [
            ("@ada", vec!["ada"]),
            ("hello @Ada_9, and (@bob.b)!", vec!["Ada_9", "bob.b"]),
            ("so says @ada.", vec!["ada."]),
            ("@ada\n@bob", vec!["ada", "bob"]),
            ("„@ada“", vec!["ada"]),
            ("你好@ada", vec![]),
            ("ada@example.org", vec![]),
            ("a.b+@example.org @ada@example.org", vec![]),
            ("@adá @ adá@", vec![]),
            ("https://example.org/@ada", vec![]),
            ("@@ada", vec![]),
            ("@all and @ALL. of you", vec![]),
        ] {
            assert_eq!(names(body), expected, "{body}");
        }
        for body in ["@all", "hey @All, look", "to @all."] {
            assert!(mentions_all(body), "{body}");
        }
        for body in ["all", "@alley", "to.@all", "@all.of", "mail@all"] {
            assert!(!mentions_all(body), "{body}");
        }
    }

    #[test]
    fn a_full_stop_counts_as_part_of_the_username_first() {
        assert_eq!(possible_usernames("Ada.").collect::<Vec<_>>(), ["ada.", "ada"]);
        assert_eq!(possible_usernames("ada").collect::<Vec<_>>(), ["ada"]);
        assert_eq!(possible_usernames("ab.").collect::<Vec<_>>(), ["ab."], "a username has at least three characters");
        assert_eq!(possible_usernames(&"x".repeat(33)).count(), 0);
    }
}
