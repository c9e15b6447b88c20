//! Mentions: `@username` of a participant, and `@all`, as the server finds them in a message's body.

use std::collections::{HashMap, HashSet};

use crate::domain::validate::is_username;
use crate::error::Result;
use crate::ids::{ConversationId, UserId};
use crate::store::Connection;
use crate::store::messaging::mentions::{self, Mentions};
use crate::store::messaging::messages::Message;

/// Mentions everybody; who has it for a username is among them.
const ALL: &str = "all";
/// Usernames of one message that are looked up; what comes after them is plain text.
const MAX_NAMES: usize = 100;

/// The participants behind the usernames in messages.
pub(super) type Named = HashMap<(ConversationId, String), UserId>;

/// What may be a username in these bodies, each once in its conversation.
pub(super) fn names_in<'a>(bodies: impl Iterator<Item = (ConversationId, &'a str)>) -> Vec<(ConversationId, String)> {
    let names = bodies.flat_map(|(conversation, body)| {
        names(body).into_iter().flat_map(spellings).map(move |name| (conversation, name))
    });
    names.collect::<HashSet<_>>().into_iter().collect()
}

/// None where the message mentions nobody.
pub(super) fn of(message: &Message, named: &Named) -> Option<Mentions> {
    let body = message.body.as_deref()?;
    let mut users = HashSet::new();
    for name in names(body) {
        let mut found = spellings(name).filter_map(|name| named.get(&(message.conversation_id, name)));
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

/// Finds a message's mentions anew after its body has changed, and counts them for whoever has not read it. The
/// message's conversation must be locked.
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

/// Whether a message with this body can mention anybody.
pub fn may_mention(body: &str) -> bool {
    words(body).next().is_some()
}

/// Whether everybody is mentioned.
pub fn mentions_all(body: &str) -> bool {
    words(body).any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(ALL))
}

fn names(body: &str) -> Vec<&str> {
    words(body).filter(|word| !word.trim_end_matches('.').eq_ignore_ascii_case(ALL)).take(MAX_NAMES).collect()
}

/// A full stop may belong to the username or end the sentence: the longer comes first.
fn spellings(word: &str) -> impl Iterator<Item = String> {
    let name = word.to_ascii_lowercase();
    let short = name.trim_end_matches('.').to_owned();
    let both = if short == name { [None, Some(short)] } else { [Some(name), Some(short)] };
    both.into_iter().flatten().filter(|name| is_username(name))
}

/// What follows each `@` that stands neither in a word nor in an address, without it.
fn words(body: &str) -> impl Iterator<Item = &str> {
    body.match_indices('@').filter_map(|(place, _)| {
        let (before, after) = (&body[..place], &body[place + 1..]);
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
    fn a_name_is_not_part_of_a_word_or_an_address() {
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
    fn the_longer_username_comes_first() {
        assert_eq!(spellings("Ada.").collect::<Vec<_>>(), ["ada.", "ada"]);
        assert_eq!(spellings("ada").collect::<Vec<_>>(), ["ada"]);
        assert_eq!(spellings("ab.").collect::<Vec<_>>(), ["ab."], "a username has three characters at least");
        assert_eq!(spellings(&"x".repeat(33)).count(), 0);
    }
}
