//! The plain text of a message in a notification: without Markdown, and with the names of mentioned users.

use std::collections::HashMap;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd, TextMergeStream};

use crate::domain::messaging::mentions;

/// Maximum number of characters of a text. Devices show fewer.
const MAX_PREVIEW: usize = 1000;
/// Maximum number of characters of a body that are read. It is greater than `MAX_PREVIEW`, because the Markdown of a
/// body is longer than its text.
const MAX_BODY: usize = 4 * MAX_PREVIEW;
/// Ends a text that was cut.
const ELLIPSIS: char = '…';

/// Returns the plain text of a body with at most `MAX_PREVIEW` characters. `names` has the display names of the
/// mentioned users by their usernames. Empty if the body shows no text.
pub(super) fn plain(body: &str, names: &HashMap<&str, &str>) -> String {
    let body = head(body, MAX_BODY);
    let mut text = String::new();
    let mut lists = Vec::new();
    let mut is_code = false;
    for event in TextMergeStream::new(Parser::new_ext(body, Options::ENABLE_STRIKETHROUGH)) {
        match event {
            Event::Text(part) if is_code => text += &part,
            Event::Text(part) => text += &mentions::with_names(&part, |name| names.get(name).copied()),
            // Clients show HTML as it was written.
            Event::Code(part) | Event::Html(part) | Event::InlineHtml(part) => text += &part,
            Event::SoftBreak | Event::HardBreak => text.push('\n'),
            Event::Start(Tag::List(first)) => {
                begin_line(&mut text);
                lists.push(first);
            }
            Event::Start(Tag::Item) => {
                begin_line(&mut text);
                text += &bullet(&mut lists);
            }
            Event::Start(Tag::CodeBlock(_)) => {
                begin_line(&mut text);
                is_code = true;
            }
            Event::End(TagEnd::List(_)) => {
                lists.pop();
            }
            Event::End(TagEnd::CodeBlock) => {
                begin_line(&mut text);
                is_code = false;
            }
            Event::End(TagEnd::Paragraph | TagEnd::Heading(_) | TagEnd::Item | TagEnd::HtmlBlock) | Event::Rule => {
                begin_line(&mut text);
            }
            _ => {}
        }
    }
    shortened(&text)
}

/// Returns the number or the bullet before the next item of the innermost list, and counts the item.
fn bullet(lists: &mut [Option<u64>]) -> String {
    match lists.last_mut() {
        Some(Some(number)) => {
            let bullet = format!("{number}. ");
            *number = number.saturating_add(1);
            bullet
        }
        _ => "• ".to_owned(),
    }
}

/// Ends the current line unless it is empty.
fn begin_line(text: &mut String) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
}

/// Removes control characters and empty lines, and cuts the text after `MAX_PREVIEW` characters.
fn shortened(text: &str) -> String {
    let lines = text.split('\n').map(|line| line.replace(char::is_control, " ").trim().to_owned());
    let text = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    let shown = head(&text, MAX_PREVIEW);
    if shown.len() == text.len() {
        return text;
    }
    let mut cut = head(shown, MAX_PREVIEW - 1).trim_end().to_owned();
    cut.push(ELLIPSIS);
    cut
}

/// Returns the first `count` characters of the text.
fn head(text: &str, count: usize) -> &str {
    text.char_indices().nth(count).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(body: &str) -> String {
        plain(body, &HashMap::from([("ada", "Ada *Lovelace*"), ("bob", "Bob")]))
    }

    #[test]
    fn markdown_is_removed() {
        for (body, expected) in [
            ("hello", "hello"),
            ("**bold** _it_ ~~gone~~ `code *x*`", "bold it gone code *x*"),
            ("# Title\n\ntext", "Title\ntext"),
            ("see [the page](https://example.org)", "see the page"),
            ("![a cat](https://example.org/cat.png)", "a cat"),
            ("one\ntwo  \nthree\n\n\n\nfour", "one\ntwo\nthree\nfour"),
            ("- a\n- b\n\n3. c\n4. d", "• a\n• b\n3. c\n4. d"),
            ("> quoted\n\nanswer", "quoted\nanswer"),
            ("```rust\nlet a = 1;\n\nlet b = 2;\n```\nend", "let a = 1;\nlet b = 2;\nend"),
            ("1 < 2 & a <b>c</b>", "1 < 2 & a <b>c</b>"),
            ("snake_case_name 2*3*4", "snake_case_name 234"),
            ("***", ""),
            ("", ""),
            ("a\u{7}b", "a b"),
        ] {
            assert_eq!(shown(body), expected, "{body}");
        }
    }

    #[test]
    fn mentions_are_shown_as_names() {
        for (body, expected) in [
            ("@ada, look", "@Ada *Lovelace*, look"),
            ("_@Bob_ and @all", "@Bob and @all"),
            ("@carol", "@carol"),
            ("`@ada` https://example.org/@ada", "@ada https://example.org/@ada"),
            ("```\n@ada\n```", "@ada"),
        ] {
            assert_eq!(shown(body), expected, "{body}");
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        let long = shown(&"ä ".repeat(5000));
        assert!(long.chars().count() <= MAX_PREVIEW && long.ends_with("ä…"), "{long}");
        let exact = "ä".repeat(MAX_PREVIEW);
        assert_eq!(shown(&exact), exact);
        assert_eq!(shown(&format!("{exact}ä")).chars().count(), MAX_PREVIEW);
    }
}
