//! The XML documents of S3.

use std::str::FromStr;

use quick_xml::Reader;
use quick_xml::escape::{partial_escape, resolve_xml_entity};
use quick_xml::events::{BytesRef, BytesStart, Event};

/// The namespace of the documents that the server sends.
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";
/// Maximum depth of a document that the server reads. The deepest documents of S3, lists of parts, have 4 levels.
const MAX_DEPTH: usize = 16;

/// An element of a document that S3 sent, without namespaces and attributes. S3 servers differ in the namespaces.
#[derive(Debug, Default)]
pub(super) struct Element {
    name: String,
    text: String,
    children: Vec<Self>,
}

impl Element {
    /// Parses a document and returns its root. None if the document is malformed or too deep.
    pub(super) fn parse(document: &[u8]) -> Option<Self> {
        let mut reader = Reader::from_reader(document);
        reader.config_mut().expand_empty_elements = true;
        // The elements that are not closed yet. The last one is the innermost.
        let mut open: Vec<Self> = Vec::new();
        loop {
            let text = match reader.read_event().ok()? {
                Event::Start(start) if open.len() < MAX_DEPTH => {
                    open.push(Self::named(&start)?);
                    continue;
                }
                Event::End(_) => {
                    let closed = open.pop()?;
                    let Some(parent) = open.last_mut() else { return Some(closed) };
                    parent.children.push(closed);
                    continue;
                }
                Event::Text(text) => text.xml10_content().ok()?.into_owned(),
                Event::CData(text) => text.xml10_content().ok()?.into_owned(),
                Event::GeneralRef(reference) => resolve(&reference)?,
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => continue,
                Event::Start(_) | Event::Empty(_) | Event::Eof => return None,
            };
            if let Some(parent) = open.last_mut() {
                parent.text.push_str(&text);
            }
        }
    }

    fn named(start: &BytesStart<'_>) -> Option<Self> {
        let name = str::from_utf8(start.local_name().into_inner()).ok()?.to_owned();
        Some(Self { name, ..Self::default() })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the children with this name.
    pub(super) fn children<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// Returns the text of the first child with this name. None if there is no such child.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.children.iter().find(|child| child.name == name).map(|child| child.text.as_str())
    }

    /// Returns the texts of all children with this name.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        self.children(name).map(|child| child.text.clone()).collect()
    }

    /// Like `text`, for a number or a boolean. None also if the text has another form.
    pub(super) fn value<T: FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.trim().parse().ok()
    }
}

/// Returns the text that a reference such as `&quot;` or `&#34;` stands for.
fn resolve(reference: &BytesRef<'_>) -> Option<String> {
    match reference.resolve_char_ref().ok()? {
        Some(character) => Some(character.to_string()),
        None => resolve_xml_entity(&reference.decode().ok()?).map(str::to_owned),
    }
}

/// Returns a document whose root contains `content`, which is XML.
pub(super) fn document(root: &str, content: &str) -> String {
    format!("<{root} xmlns=\"{NAMESPACE}\">{content}</{root}>")
}

/// Returns an element that contains `content`, which is XML.
pub(super) fn element(name: &str, content: &str) -> String {
    format!("<{name}>{content}</{name}>")
}

/// Returns an element that contains this text.
pub(super) fn text(name: &str, text: &str) -> String {
    element(name, &partial_escape(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_without_their_namespaces() {
        let document = "<?xml version=\"1.0\"?>\n<s:List xmlns:s=\"http://example.org\"><!-- two -->\n  \
                        <s:Part><ETag>&quot;a&#38;b&quot;</ETag><Size>7</Size></s:Part>\n  \
                        <s:Part><ETag><![CDATA[<c>]]></ETag><Size/></s:Part></s:List>\n";
        let root = Element::parse(document.as_bytes()).unwrap();
        assert_eq!(root.name(), "List");
        let parts: Vec<_> = root.children("Part").map(|part| (part.text("ETag"), part.value("Size"))).collect();
        assert_eq!(parts, [(Some("\"a&b\""), Some(7)), (Some("<c>"), None)]);
        assert_eq!(root.text("Owner"), None);
    }

    #[test]
    fn a_written_text_is_read_unchanged() {
        let key = "a <b> & \"c\" 'd' ü";
        let written = document("Delete", &element("Object", &text("Key", key)));
        let root = Element::parse(written.as_bytes()).unwrap();
        assert_eq!(root.children("Object").next().unwrap().texts("Key"), [key]);
    }

    #[test]
    fn malformed_and_deep_documents_are_refused() {
        let deep = "<a>".repeat(100_000) + &"</a>".repeat(100_000);
        for malformed in ["", "Bad Gateway", "<a>", "<a></b>", "<a>&unknown;</a>", "<a", "</a>", deep.as_str()] {
            assert!(Element::parse(malformed.as_bytes()).is_none(), "{malformed:.20}");
        }
    }
}
