//! Mentions in the body of a message: `@username` mentions one participant, and `@all` mentions all participants.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag};

use crate::domain::text;
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
/// Maximum number of full stops and underscores at the end of a word that can belong to a username one by one. A word
/// with more of them also stands for the username without any.
const MAX_ENDINGS: usize = 4;

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

/// Returns whether the body has a name after an `@`, also in code and URLs. Only such a body can have mentions.
pub fn may_mention(body: &str) -> bool {
    candidates(body).next().is_some()
}

/// Returns whether the body mentions all participants.
pub fn mentions_all(body: &str) -> bool {
    candidates(body).any(|(_, word)| is_all(word)) && words(body).into_iter().any(is_all)
}

/// Replaces the usernames of mentions by other names. The text must have no Markdown. `name_of` returns the name for a
/// username in lower case; a username without one stays.
pub(in crate::domain) fn with_names<'a>(text: &str, name_of: impl Fn(&str) -> Option<&'a str>) -> String {
    let urls = urls_in(text);
    let mut replaced = String::with_capacity(text.len());
    let mut end = 0;
    for (index, word) in candidates(text).filter(|(index, _)| !is_in(&urls, *index)) {
        let named = possible_usernames(word).find_map(|username| Some((username.len(), name_of(&username)?)));
        let Some((length, name)) = named.filter(|_| !is_all(word)) else { continue };
        // The `@` stays, and the username follows it. The username is ASCII, so lower case has changed no length.
        let start = index + text[index..].chars().next().map_or(0, char::len_utf8);
        replaced += &text[end..start];
        replaced += name;
        end = start + length;
    }
    replaced + &text[end..]
}

fn names(body: &str) -> Vec<&str> {
    words(body).into_iter().filter(|word| !is_all(word)).take(MAX_NAMES).collect()
}

fn is_all(word: &str) -> bool {
    word.trim_end_matches(['.', '_']).eq_ignore_ascii_case(ALL)
}

/// Returns the usernames to which a word can refer, the longest username first. Full stops and underscores at the end
/// of the word can belong to the username, end the sentence, or end emphasis in Markdown.
fn possible_usernames(word: &str) -> impl Iterator<Item = String> {
    let word = word.to_ascii_lowercase();
    let shortest = word.trim_end_matches(['.', '_']).len();
    let ends = (shortest..=word.len()).rev().take(MAX_ENDINGS).chain([shortest]);
    let mut names: Vec<_> = ends.map(|end| word[..end].to_owned()).filter(|name| is_username(name)).collect();
    names.dedup();
    names.into_iter()
}

/// Returns the names that follow an `@`. Ignores an `@` inside a word, an e-mail address or a URL, and in code.
fn words(body: &str) -> Vec<&str> {
    let candidates: Vec<_> = candidates(body).collect();
    if candidates.is_empty() {
        return Vec::new();
    }
    let (code, urls) = (code_in(body), urls_in(body));
    let is_text = |index| !is_in(&code, index) && !is_in(&urls, index);
    candidates.into_iter().filter(|&(index, _)| is_text(index)).map(|(_, word)| word).collect()
}

/// Returns whether one of the parts contains the index. The parts must be in the order of the text and not overlap.
fn is_in(parts: &[Range<usize>], index: usize) -> bool {
    let next = parts.partition_point(|part| part.end <= index);
    parts.get(next).is_some_and(|part| part.start <= index)
}

/// Returns the names that follow an `@`, also in code and URLs, each with the index of its `@`.
fn candidates(body: &str) -> impl Iterator<Item = (usize, &str)> {
    body.match_indices(is_at).filter_map(|(index, at)| {
        let (before, after) = (&body[..index], &body[index + at.len()..]);
        let length = after.find(|c: char| !is_name_char(c)).unwrap_or(after.len());
        let (word, rest) = after.split_at(length);
        let goes_on = rest.chars().next().is_some_and(|c| is_at(c) || continues_word(c));
        (!goes_on && !word.is_empty() && may_precede(before, word)).then_some((index, word))
    })
}

/// Returns whether the text before the `@` lets the word after it be a mention.
fn may_precede(before: &str, word: &str) -> bool {
    let start = before.trim_end_matches('_');
    // Before the underscores of `_@ada_`, anything can stand but the beginning of an e-mail address.
    let may_be_address = start.len() == before.len() || word.trim_end_matches('.').contains('.');
    !start.chars().next_back().is_some_and(|c| is_at(c) || may_be_address && (continues_word(c) || ".+-/".contains(c)))
}

/// Returns whether a word can continue with this character. Scripts that are written without spaces begin a new word
/// beside an `@` or a username.
fn continues_word(c: char) -> bool {
    text::is_part_of_word(c) && !text::is_written_without_spaces(c)
}

/// Returns the parts of the body that clients with Markdown show as code: inline code and fenced blocks. Leaves out
/// indented blocks, because few chat clients show these as code.
fn code_in(body: &str) -> Vec<Range<usize>> {
    if !body.contains('`') && !body.contains("~~~") {
        return Vec::new();
    }
    let parts = Parser::new(body).into_offset_iter().filter_map(|(part, range)| match part {
        Event::Code(_) | Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(_))) => Some(range),
        _ => None,
    });
    parts.collect()
}

/// Returns the URLs in the body, each from its `://`.
fn urls_in(body: &str) -> Vec<Range<usize>> {
    let mut urls: Vec<Range<usize>> = Vec::new();
    for (start, _) in body.match_indices("://") {
        if urls.last().is_none_or(|url| url.end <= start) {
            let end = body[start..].find(|c: char| !is_url_char(c)).map_or(body.len(), |length| start + length);
            urls.push(start..end);
        }
    }
    urls
}

/// Returns whether a URL can continue with this character. Brackets are left out, because they end a link in Markdown.
const fn is_url_char(c: char) -> bool {
    c.is_ascii_graphic() && !matches!(c, '"' | '(' | ')' | '<' | '>' | '[' | '\\' | ']' | '^' | '`' | '{' | '|' | '}')
}

/// Returns whether the character is the sign `@`, or one of the variants that East Asian keyboards have.
const fn is_at(c: char) -> bool {
    matches!(c, '@' | '＠' | '﹫')
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
            ("你好@ada再见", vec!["ada"]),
            ("メンバー@ada さん", vec!["ada"]),
            ("ｶﾀｶﾅ@ada", vec!["ada"]),
            ("안녕@ada님", vec!["ada"]),
            ("\u{110B}\u{1161}\u{11AB}@ada\u{1102}\u{1175}\u{11B7} \u{1100}\u{1161}@bob", vec!["ada", "bob"]),
            ("สวัสดี@adaครับ", vec!["ada"]),
            ("＠ada、﹫bob。", vec!["ada", "bob"]),
            ("_@ada_ __@bob__ *@cem*", vec!["ada_", "bob__", "cem"]),
            ("hey_@ada", vec!["ada"]),
            ("❤\u{FE0F}@ada 1\u{FE0F}\u{20E3}@bob 👍🏽@cem", vec!["ada", "bob", "cem"]),
            ("first_@example.org first_@example.org.", vec![]),
            ("@ada\u{301} é@ada e\u{301}@ada Привет@ada", vec![]),
            ("@ada`@bob`", vec!["ada"]),
            ("`@ada` @bob ``a ` @ada`` @cem", vec!["bob", "cem"]),
            ("```\n@ada\n```\n@bob", vec!["bob"]),
            ("~~~ rust\n@ada\n~~~\n@bob", vec!["bob"]),
            ("> ```\n> @ada\n> ```\n- `@ada`\n- @bob", vec!["bob"]),
            ("```\n@ada has no end", vec![]),
            ("`@ada \\`@bob \\`@cem\\`", vec!["bob", "cem"]),
            ("    @ada", vec!["ada"]),
            ("*`@ada`* 你好`＠ada`", vec![]),
            ("ada@example.org", vec![]),
            ("a.b+@example.org @ada@example.org", vec![]),
            ("@adá @ adá@", vec![]),
            ("https://example.org/@ada", vec![]),
            ("https://example.org/?by=@ada&to=@bob#@cem", vec![]),
            ("ssh://:@ada http://a://b/?@bob", vec![]),
            ("<https://example.org>@ada [b](https://example.org)@bob", vec!["ada", "bob"]),
            ("看https://example.org/，@ada https://example.org @bob", vec!["ada", "bob"]),
            ("@@ada", vec![]),
            ("@all and @ALL. of you", vec![]),
        ] {
            assert_eq!(names(body), expected, "{body}");
        }
        for body in ["@all", "hey @All, look", "to @all.", "＠all", "_@all_", "大家@all好"] {
            assert!(mentions_all(body), "{body}");
        }
        for body in ["all", "@alley", "to.@all", "@all.of", "mail@all", "`@all`"] {
            assert!(!mentions_all(body), "{body}");
        }
    }

    #[test]
    fn usernames_of_mentions_are_replaced_by_names() {
        let name_of = |username: &str| match username {
            "ada" => Some("Ada Lovelace"),
            "bob.b" => Some("Bob"),
            _ => None,
        };
        for (text, expected) in [
            ("@ada", "@Ada Lovelace"),
            ("so says @ADA. And ＠bob.b!", "so says @Ada Lovelace. And ＠Bob!"),
            ("@carol and @all, ada@example.org, https://example.org/@ada", ""),
            ("你好@ada再见", "你好@Ada Lovelace再见"),
            ("", ""),
        ] {
            let expected = if expected.is_empty() { text } else { expected };
            assert_eq!(with_names(text, name_of), expected);
        }
    }

    #[test]
    fn full_stops_and_underscores_count_as_part_of_the_username_first() {
        assert_eq!(possible_usernames("Ada.").collect::<Vec<_>>(), ["ada.", "ada"]);
        assert_eq!(possible_usernames("ada").collect::<Vec<_>>(), ["ada"]);
        assert_eq!(possible_usernames("ab.").collect::<Vec<_>>(), ["ab."], "a username has at least three characters");
        assert_eq!(possible_usernames("ada__.").collect::<Vec<_>>(), ["ada__.", "ada__", "ada_", "ada"]);
        assert_eq!(possible_usernames("ada......").last().as_deref(), Some("ada"));
        assert_eq!(possible_usernames(&"x".repeat(33)).count(), 0);
    }
}
