//! Checks the code that reads input of clients without authentication: the messages of a socket, and the documents in
//! them up to their validation against the schema. The fuzz target in `fuzz/` calls `socket_message`, and the test
//! below calls it with the committed corpus.

use std::sync::LazyLock;

use async_graphql::parser::types::{BaseType, Directive, ExecutableDocument, Selection, SelectionSet, Type};
use async_graphql::{Name, Positioned};
use async_graphql_value::Value as Literal;
use clap::Parser;
use serde_json::Value;

use super::close::Close;
use super::protocol::{ClientMessage, Protocol, ServerMessage};
use crate::config::Operations as Limits;
use crate::graphql::{Spec, sdl};
use crate::http::cost::Costs;
use crate::http::documents::Documents;
use crate::http::operation::Operation;
use crate::http::response::Body;

/// Maximum bytes of the reason in a close frame (RFC 6455, section 5.5).
const MAX_REASON_BYTES: usize = 123;

/// The checks with the default limits.
static DEFAULT_LIMITS: LazyLock<DocumentChecks> = LazyLock::new(|| DocumentChecks::new(&[]));
/// The checks with the lowest limits that the settings allow, so that a short text can exceed them.
static LOWEST_LIMITS: LazyLock<DocumentChecks> = LazyLock::new(|| {
    DocumentChecks::new(&[
        "--operation-max-tokens=100",
        "--operation-max-nesting=16",
        "--operation-max-depth=1",
        "--operation-max-aliases=0",
        "--operation-max-directives=0",
        "--operation-max-complexity=100",
    ])
});

static DOCUMENTS: LazyLock<Documents> = LazyLock::new(|| match Documents::open(&DEFAULT_LIMITS.limits) {
    Ok(documents) => documents,
    Err(error) => unreachable!("no manifest is set, so no file is read: {error}"),
});

/// The result of reading a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The text is not a message of the protocol, and the socket is closed.
    NotAMessage,
    Message,
    /// The message starts an operation whose payload or document is refused with an error.
    DocumentRefused,
    DocumentAccepted,
}

/// The checks of a document, with their limits.
struct DocumentChecks {
    limits: Limits,
    costs: Costs,
    spec: Spec,
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    limits: Limits,
}

/// Reads a text with both protocols. Panics if the text breaks a rule that must hold for every text.
pub fn socket_message(text: &str) {
    let [new, old] = [Protocol::TransportWs, Protocol::Legacy].map(|protocol| {
        outcome(protocol, text);
        protocol.read(text)
    });
    if let (Some(new), Some(old)) = (new, old) {
        assert!(matches!(new, ClientMessage::ConnectionInit { .. }), "both protocols have the message {new:?}");
        assert_eq!(format!("{new:?}"), format!("{old:?}"), "the protocols read connection_init differently");
    }
}

fn outcome(protocol: Protocol, text: &str) -> Outcome {
    let Some(message) = protocol.read(text) else { return Outcome::NotAMessage };
    assert_survives_encoding(protocol, text, &message);
    match message {
        ClientMessage::Subscribe { id, payload } => {
            assert!(!id.is_empty(), "an operation without an id");
            assert!(Close::duplicate(&id).reason.len() <= MAX_REASON_BYTES, "a reason that is too long for a close");
            let Ok(operation) = payload else { return Outcome::DocumentRefused };
            match document(&operation) {
                Ok(()) => Outcome::DocumentAccepted,
                Err(body) => {
                    assert_answer_has_id(protocol, &ServerMessage::Error { id: &id, payload: &body.errors }, &id);
                    Outcome::DocumentRefused
                }
            }
        }
        ClientMessage::Complete { id } => {
            assert!(!id.is_empty(), "the end of an operation without an id");
            assert_answer_has_id(protocol, &ServerMessage::Complete { id: &id }, &id);
            Outcome::Message
        }
        ClientMessage::Ping { payload } => {
            let sent = payload.clone().map(Value::Object);
            let pong = protocol.write(&ServerMessage::Pong { payload }).and_then(|text| json(&text));
            if sent.as_ref().is_none_or(is_exact) {
                assert_eq!(
                    pong.as_ref().and_then(|pong| pong.get("payload")),
                    sent.as_ref(),
                    "the pong does not echo the ping"
                );
            }
            Outcome::Message
        }
        ClientMessage::ConnectionInit { .. }
        | ClientMessage::Pong
        | ClientMessage::ConnectionTerminate
        | ClientMessage::Large(_) => Outcome::Message,
    }
}

/// Asserts that a text still gives the same message after its JSON is parsed and encoded again.
fn assert_survives_encoding(protocol: Protocol, text: &str, message: &ClientMessage) {
    // An unknown member may be valid JSON that serde_json's `Value` cannot represent, such as 1e999.
    let Some(value) = json(text).filter(is_exact) else { return };
    let again = protocol.read(&value.to_string()).map(|again| format!("{again:?}"));
    assert_eq!(again, Some(format!("{message:?}")), "the text gives another message the second time");
}

/// Asserts that the message of the server is valid JSON and has the id of the operation.
fn assert_answer_has_id(protocol: Protocol, message: &ServerMessage<'_>, id: &str) {
    let answer = protocol.write(message).and_then(|text| json(&text));
    let named = answer.as_ref().and_then(|answer| answer.get("id")).and_then(Value::as_str);
    assert_eq!(named, Some(id), "the answer names another operation: {answer:?}");
}

fn document(operation: &Operation) -> Result<(), Body> {
    let (with_default_limits, with_lowest_limits) = (DEFAULT_LIMITS.check(operation), LOWEST_LIMITS.check(operation));
    assert!(
        with_lowest_limits.is_err() || with_default_limits.is_ok(),
        "a document passes the lowest limits and not the default ones"
    );
    with_default_limits
}

impl DocumentChecks {
    fn new(flags: &[&str]) -> Self {
        let flags = ["fuzzing"].iter().chain(flags);
        let Flags { limits } = Flags::parse_from(flags);
        let spec = Spec::new(&sdl(), limits.operation_max_nesting, true);
        Self { costs: Costs::new(limits.clone()), spec, limits }
    }

    fn check(&self, operation: &Operation) -> Result<(), Body> {
        self.check_half(operation);
        let admitted = operation.clone().admit(&DOCUMENTS, &self.costs, &self.spec)?;
        // If one of these assertions fails, the check of the text has counted fewer brackets or tokens than the parser
        // has read.
        let size = size(&admitted.document.document);
        let (nesting, tokens) = (self.limits.operation_max_nesting, self.limits.operation_max_tokens);
        assert!(size.open <= nesting, "{} open brackets passed the limit of {nesting}", size.open);
        assert!(size.tokens <= tokens, "{} tokens passed the limit of {tokens}", size.tokens);
        Ok(())
    }

    fn check_half(&self, operation: &Operation) {
        let Some(text) = &operation.query else { return };
        let half = &text[..text.floor_char_boundary(text.len() / 2)];
        assert!(
            self.costs.check_text(text).is_err() || self.costs.check_text(half).is_ok(),
            "half of a text exceeds the limits, and the whole text does not"
        );
    }
}

fn json(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

/// Whether a value stays the same when it is encoded and parsed again. serde_json may change the last digit of a
/// fraction.
fn is_exact(value: &Value) -> bool {
    match value {
        Value::Number(number) => !number.is_f64(),
        Value::Array(items) => items.iter().all(is_exact),
        Value::Object(members) => members.values().all(is_exact),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

/// The minimum size of a text that the parser reads as a given document.
#[derive(Clone, Copy, Default)]
struct Size {
    tokens: usize,
    /// Maximum number of brackets that are open at the same time.
    open: usize,
}

impl Size {
    fn tokens(tokens: usize) -> Self {
        Self { tokens, open: 0 }
    }

    fn and(self, other: Self) -> Self {
        Self { tokens: self.tokens + other.tokens, open: self.open.max(other.open) }
    }

    fn in_brackets(self) -> Self {
        Self { tokens: self.tokens + 2, open: self.open + 1 }
    }

    fn sum(sizes: impl Iterator<Item = Self>) -> Self {
        sizes.fold(Self::default(), Self::and)
    }
}

fn size(document: &ExecutableDocument) -> Size {
    let operations = document.operations.iter().map(|(_, operation)| {
        let operation = &operation.node;
        let variables = Size::sum(operation.variable_definitions.iter().map(|definition| {
            let definition = &definition.node;
            let default = definition.default_value.as_ref();
            let default = default.map_or(Size::default(), |value| literal(&value.node.clone().into_value()));
            // Three tokens: `$`, the name and a colon.
            Size::tokens(3)
                .and(type_size(&definition.var_type.node))
                .and(directives(&definition.directives))
                .and(default)
        }));
        let variables = if variables.tokens == 0 { variables } else { variables.in_brackets() };
        variables.and(directives(&operation.directives)).and(set(&operation.selection_set.node))
    });
    let fragments = document.fragments.values().map(|fragment| {
        // Four tokens: `fragment`, its name, `on` and a type.
        Size::tokens(4).and(directives(&fragment.node.directives)).and(set(&fragment.node.selection_set.node))
    });
    Size::sum(operations.chain(fragments))
}

fn set(set: &SelectionSet) -> Size {
    if set.items.is_empty() {
        return Size::default();
    }
    let items = set.items.iter().map(|selection| match &selection.node {
        Selection::Field(field) => {
            let field = &field.node;
            Size::tokens(if field.alias.is_some() { 3 } else { 1 })
                .and(arguments(&field.arguments))
                .and(directives(&field.directives))
                .and(self::set(&field.selection_set.node))
        }
        Selection::FragmentSpread(spread) => Size::tokens(2).and(directives(&spread.node.directives)),
        Selection::InlineFragment(fragment) => {
            let fragment = &fragment.node;
            Size::tokens(if fragment.type_condition.is_some() { 3 } else { 1 })
                .and(directives(&fragment.directives))
                .and(self::set(&fragment.selection_set.node))
        }
    });
    Size::sum(items).in_brackets()
}

fn directives(directives: &[Positioned<Directive>]) -> Size {
    Size::sum(directives.iter().map(|directive| Size::tokens(2).and(arguments(&directive.node.arguments))))
}

fn arguments(arguments: &[(Positioned<Name>, Positioned<Literal>)]) -> Size {
    if arguments.is_empty() {
        return Size::default();
    }
    Size::sum(arguments.iter().map(|(_, value)| Size::tokens(2).and(literal(&value.node)))).in_brackets()
}

fn literal(value: &Literal) -> Size {
    match value {
        Literal::Variable(_) => Size::tokens(2),
        Literal::List(items) => Size::sum(items.iter().map(literal)).in_brackets(),
        Literal::Object(members) => {
            Size::sum(members.values().map(|value| Size::tokens(2).and(literal(value)))).in_brackets()
        }
        _ => Size::tokens(1),
    }
}

fn type_size(given: &Type) -> Size {
    let base = match &given.base {
        BaseType::Named(_) => Size::tokens(1),
        BaseType::List(items) => type_size(items).in_brackets(),
    };
    base.and(Size::tokens(usize::from(!given.nullable)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Returns the outcomes with the newer and the older protocol that the prefix of a corpus file's name promises.
    fn expected(name: &str) -> Option<[Outcome; 2]> {
        use Outcome::{DocumentAccepted, DocumentRefused, Message, NotAMessage};
        let outcomes = [
            ("valid_both_", [Message, Message]),
            ("valid_transport_subscribe", [DocumentAccepted, NotAMessage]),
            ("valid_transport_", [Message, NotAMessage]),
            ("valid_legacy_start", [NotAMessage, DocumentAccepted]),
            ("valid_legacy_", [NotAMessage, Message]),
            ("refused_transport_", [DocumentRefused, NotAMessage]),
            ("refused_legacy_", [NotAMessage, DocumentRefused]),
            ("malformed_", [NotAMessage, NotAMessage]),
        ];
        outcomes.into_iter().find_map(|(prefix, outcomes)| name.starts_with(prefix).then_some(outcomes))
    }

    #[test]
    fn each_corpus_file_gives_the_result_that_its_name_says() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/socket_message");
        let mut checked = 0;
        for entry in fs::read_dir(corpus).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let bytes = fs::read(entry.path()).unwrap();
            // Bytes that are not UTF-8 are not a text message. The socket is closed before anything is parsed.
            let Ok(text) = str::from_utf8(&bytes) else {
                assert!(name.starts_with("malformed_"), "{name} is not UTF-8");
                continue;
            };
            socket_message(text);
            if let Some(expected) = expected(&name) {
                let outcomes = [Protocol::TransportWs, Protocol::Legacy].map(|protocol| outcome(protocol, text));
                assert_eq!(outcomes, expected, "{name}");
                checked += 1;
            }
        }
        assert!(checked > 30, "the names of only {checked} corpus files say their result");
    }
}
