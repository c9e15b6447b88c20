//! What anybody can make the server read before it knows who they are: the messages of a socket, and the documents in
//! them up to where the schema comes in, which validates them. Driven by the fuzz target in `fuzz/`, and by the test below over its corpus.

use std::sync::LazyLock;

use async_graphql::parser::types::{BaseType, Directive, ExecutableDocument, Selection, SelectionSet, Type};
use async_graphql::{Name, Positioned};
use async_graphql_value::Value as Literal;
use clap::Parser;
use serde_json::Value;

use super::protocol::{ClientMessage, Close, Protocol, ServerMessage};
use crate::config::Operations as Limits;
use crate::http::cost::Costs;
use crate::http::documents::Documents;
use crate::http::operation::Operation;
use crate::http::response::Body;

/// The reason of a close, RFC 6455, section 5.5.
const MAX_REASON: usize = 123;

/// As a server has it that was told nothing.
static USUAL: LazyLock<Door> = LazyLock::new(|| Door::new(&[]));
/// The least that the settings allow, so that a short text can be too much.
static TIGHT: LazyLock<Door> = LazyLock::new(|| {
    Door::new(&[
        "--operation-max-tokens=100",
        "--operation-max-nesting=16",
        "--operation-max-depth=1",
        "--operation-max-aliases=0",
        "--operation-max-directives=0",
        "--operation-max-complexity=100",
    ])
});

static DOCUMENTS: LazyLock<Documents> = LazyLock::new(|| match Documents::open(&USUAL.limits) {
    Ok(documents) => documents,
    Err(error) => unreachable!("without a manifest nothing is read: {error}"),
});

/// How far a text gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is no message of the protocol: the socket is closed.
    NoMessage,
    Message,
    /// It asks for an operation, and its document is answered with an error.
    DocumentRefused,
    DocumentTaken,
}

/// What a document has to pass, with the limits that it passes by.
struct Door {
    limits: Limits,
    costs: Costs,
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    limits: Limits,
}

/// Reads a text as both protocols do. Panics where what must hold for every text does not hold for this one.
pub fn socket_message(text: &str) {
    let [new, old] = [Protocol::TransportWs, Protocol::Legacy].map(|protocol| {
        fate(protocol, text);
        protocol.read(text)
    });
    if let (Some(new), Some(old)) = (new, old) {
        assert!(matches!(new, ClientMessage::ConnectionInit { .. }), "both protocols have the message {new:?}");
        assert_eq!(format!("{new:?}"), format!("{old:?}"), "the protocols differ in what they begin with");
    }
}

fn fate(protocol: Protocol, text: &str) -> Fate {
    let Some(message) = protocol.read(text) else { return Fate::NoMessage };
    assert_reads_again(protocol, text, &message);
    match message {
        ClientMessage::Subscribe { id, payload } => {
            assert!(!id.is_empty(), "an operation without an id");
            assert!(Close::duplicate(&id).reason.len() <= MAX_REASON, "a reason that is too long for a close");
            match document(&payload) {
                Ok(()) => Fate::DocumentTaken,
                Err(body) => {
                    assert_says(protocol, &ServerMessage::Error { id: &id, payload: &body.errors }, &id);
                    Fate::DocumentRefused
                }
            }
        }
        ClientMessage::Complete { id } => {
            assert!(!id.is_empty(), "the end of an operation without an id");
            assert_says(protocol, &ServerMessage::Complete { id: &id }, &id);
            Fate::Message
        }
        ClientMessage::Ping { payload } => {
            let sent = payload.clone().map(Value::Object);
            let pong = protocol.write(&ServerMessage::Pong { payload }).and_then(|text| json(&text));
            if sent.as_ref().is_none_or(is_exact) {
                assert_eq!(pong.as_ref().and_then(|pong| pong.get("payload")), sent.as_ref(), "a pong is no echo");
            }
            Fate::Message
        }
        ClientMessage::ConnectionInit { .. }
        | ClientMessage::Pong
        | ClientMessage::ConnectionTerminate
        | ClientMessage::Large(_) => Fate::Message,
    }
}

/// What is read, written as JSON and read once more is the same.
fn assert_reads_again(protocol: Protocol, text: &str, message: &ClientMessage) {
    // A member that no message has may hold what JSON's grammar allows and no value can be, such as 1e999.
    let Some(value) = json(text).filter(is_exact) else { return };
    let again = protocol.read(&value.to_string()).map(|again| format!("{again:?}"));
    assert_eq!(again, Some(format!("{message:?}")), "it reads differently the second time");
}

/// The server's answer has a form that the client can read, and names the operation.
fn assert_says(protocol: Protocol, message: &ServerMessage<'_>, id: &str) {
    let said = protocol.write(message).and_then(|text| json(&text));
    let named = said.as_ref().and_then(|said| said.get("id")).and_then(Value::as_str);
    assert_eq!(named, Some(id), "the answer names another operation: {said:?}");
}

fn document(operation: &Operation) -> Result<(), Body> {
    let (usual, tight) = (USUAL.judge(operation), TIGHT.judge(operation));
    assert!(tight.is_err() || usual.is_ok(), "what passes the tighter limits is refused by the wider ones");
    usual
}

impl Door {
    fn new(flags: &[&str]) -> Self {
        let flags = ["fuzzing"].iter().chain(flags);
        let Flags { limits } = Flags::parse_from(flags);
        Self { costs: Costs::new(limits.clone()), limits }
    }

    fn judge(&self, operation: &Operation) -> Result<(), Body> {
        self.check_half(operation);
        let admitted = operation.clone().admit(&DOCUMENTS, &self.costs)?;
        // Or the parser has been led deeper than the count of brackets in the text says.
        let size = size(&admitted.document.document);
        let (nesting, tokens) = (self.limits.operation_max_nesting, self.limits.operation_max_tokens);
        assert!(size.open <= nesting, "{} brackets open at once passed for {nesting} or fewer", size.open);
        assert!(size.tokens <= tokens, "{} tokens passed for {tokens} or fewer", size.tokens);
        Ok(())
    }

    fn check_half(&self, operation: &Operation) {
        let Some(text) = &operation.query else { return };
        // The three dots count as one, and two of them as two.
        let half = text[..text.floor_char_boundary(text.len() / 2)].trim_end_matches('.');
        // What closes a block string may be in the other half: without it, what is in it would count.
        let whole = self.costs.check_text(text);
        let comparable = !half.contains("\"\"\"");
        assert!(
            !comparable || whole.is_err() || self.costs.check_text(half).is_ok(),
            "the half of a text is more than the whole"
        );
    }
}

fn json(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

/// Whether it is the same when it is written and read again: serde_json may be wrong in a fraction's last digit.
fn is_exact(value: &Value) -> bool {
    match value {
        Value::Number(number) => !number.is_f64(),
        Value::Array(items) => items.iter().all(is_exact),
        Value::Object(members) => members.values().all(is_exact),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

/// What a document must at least have had in its text.
#[derive(Clone, Copy, Default)]
struct Size {
    tokens: usize,
    /// Brackets open at once.
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
            // `$`, the name and a colon.
            Size::tokens(3).and(of_type(&definition.var_type.node)).and(directives(&definition.directives)).and(default)
        }));
        let variables = if variables.tokens == 0 { variables } else { variables.in_brackets() };
        variables.and(directives(&operation.directives)).and(set(&operation.selection_set.node))
    });
    let fragments = document.fragments.values().map(|fragment| {
        // `fragment`, its name, `on` and a type.
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
    Size::sum(directives.iter().map(|it| Size::tokens(2).and(arguments(&it.node.arguments))))
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

fn of_type(given: &Type) -> Size {
    let base = match &given.base {
        BaseType::Named(_) => Size::tokens(1),
        BaseType::List(items) => of_type(items).in_brackets(),
    };
    base.and(Size::tokens(usize::from(!given.nullable)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// What the names of the corpus's files say: which of the two protocols takes the text, and how far it gets.
    fn expected(name: &str) -> Option<[Fate; 2]> {
        use Fate::{DocumentRefused, DocumentTaken, Message, NoMessage};
        let fates = [
            ("valid_both_", [Message, Message]),
            ("valid_transport_subscribe", [DocumentTaken, NoMessage]),
            ("valid_transport_", [Message, NoMessage]),
            ("valid_legacy_start", [NoMessage, DocumentTaken]),
            ("valid_legacy_", [NoMessage, Message]),
            ("refused_transport_", [DocumentRefused, NoMessage]),
            ("refused_legacy_", [NoMessage, DocumentRefused]),
            ("malformed_", [NoMessage, NoMessage]),
        ];
        fates.into_iter().find_map(|(prefix, fates)| name.starts_with(prefix).then_some(fates))
    }

    #[test]
    fn every_text_of_the_corpus_gets_as_far_as_its_name_says() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/socket_message");
        let mut told = 0;
        for entry in fs::read_dir(corpus).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let bytes = fs::read(entry.path()).unwrap();
            // Other bytes are no text message: the socket is closed before anything is read.
            let Ok(text) = str::from_utf8(&bytes) else {
                assert!(name.starts_with("malformed_"), "{name} is not UTF-8");
                continue;
            };
            socket_message(text);
            if let Some(expected) = expected(&name) {
                let fates = [Protocol::TransportWs, Protocol::Legacy].map(|protocol| fate(protocol, text));
                assert_eq!(fates, expected, "{name}");
                told += 1;
            }
        }
        assert!(told > 30, "only {told} files of the corpus say what becomes of them");
    }
}
