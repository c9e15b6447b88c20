//! What a document may cost, found out before it is validated.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{
    Directive, ExecutableDocument, Field, FragmentDefinition, OperationDefinition, Selection, SelectionSet,
};
use async_graphql::{Name, Positioned, Value, Variables};
use async_graphql_value::Value as Literal;

use crate::config::Operations as Limits;
use crate::graphql::{Error, ErrorCode, MAX_PAGE_SIZE, page_sizes};

/// What the reference implementation's `getIntrospectionQuery` asks, with all its options.
const INTROSPECTION: &str = include_str!("introspection.graphql");

/// The lists by which one comes from a type of the schema to another, and how many of them may be within each other:
/// the rule MaxIntrospectionDepth of the reference implementation.
const SCHEMA_LISTS: [&str; 4] = ["fields", "interfaces", "possibleTypes", "inputFields"];
const MAX_SCHEMA_DEPTH: usize = 3;

/// The mutation that writes a row for each message in each conversation.
const FORWARD: &str = "forwardMessages";

/// The arguments that say how many items a list has.
const SIZES: [&str; 3] = ["first", "last", "ids"];

/// Mutations that check or hash a password, which takes 50 ms of a processor or more.
const PASSWORD_FIELDS: [&str; 4] = ["register", "login", "changePassword", "deleteAccount"];

/// Passwords that one request may check or hash. Each further guess is a request that the rates count.
pub(super) const MAX_PASSWORDS: u64 = 1;

/// Counts what documents cost, and refuses what costs too much.
pub(super) struct Costs {
    limits: Limits,
    /// Items in a list, by the name of its field, where a client does not say how many.
    pages: HashMap<String, u16>,
    /// What may be asked about the schema at most.
    introspection: u64,
}

impl Costs {
    pub(super) fn new(limits: Limits) -> Self {
        let unlimited = Limits { operation_max_nesting: usize::MAX, ..limits.clone() };
        let costs = Self { limits: unlimited, pages: page_sizes(), introspection: 0 };
        // What every explorer asks first must fit, and once more with what somebody adds.
        let usual = parse_query(INTROSPECTION).ok().and_then(|query| costs.sum(&query, &Variables::default()).ok());
        let introspection = 2 * usual.map_or(0, |cost| cost.introspection);
        Self { limits, introspection, ..costs }
    }

    /// Refuses a text that is too long, or whose brackets nest too deep, before it is parsed: the parser recurses,
    /// and a stack that overflows takes the whole node with it.
    pub(super) fn check_text(&self, text: &str) -> Result<(), Error> {
        let (mut tokens, mut open) = (0_usize, 0_usize);
        let mut rest = text.as_bytes();
        while let Some((&byte, after)) = rest.split_first() {
            tokens += 1;
            rest = match byte {
                b'"' => after_string(rest),
                b'.' => rest.strip_prefix(b"...").unwrap_or(after),
                b'_' | b'a'..=b'z' | b'A'..=b'Z' => skip(after, |byte| byte.is_ascii_alphanumeric() || byte == b'_'),
                b'-' | b'0'..=b'9' => after_number(rest),
                b'#' | b',' | b' ' | b'\t' | b'\r' | b'\n' => {
                    tokens -= 1;
                    if byte == b'#' { skip(after, |byte| !matches!(byte, b'\n' | b'\r')) } else { after }
                }
                _ => after,
            };
            match byte {
                b'{' | b'[' | b'(' => open += 1,
                b'}' | b']' | b')' => open = open.saturating_sub(1),
                _ => {}
            }
            if open > self.limits.operation_max_nesting {
                return Err(self.too_nested());
            }
            if tokens > self.limits.operation_max_tokens {
                return Err(too_much("tokens", self.limits.operation_max_tokens));
            }
        }
        Ok(())
    }

    /// Refuses a document that costs too much with the fragments spread out, and returns its cost. A few fragments that
    /// spread each other twice are exponentially many fields, which the library would walk; here each fragment is counted
    /// once.
    pub(super) fn check(&self, document: &ExecutableDocument, variables: &Variables) -> Result<Checked, Error> {
        let sum = self.sum(document, variables)?;
        let limits = &self.limits;
        if sum.depth > limits.operation_max_depth {
            return Err(too_much("fields within each other", limits.operation_max_depth));
        }
        if sum.schema_depth >= MAX_SCHEMA_DEPTH {
            let within = SCHEMA_LISTS.join(", ");
            let message = format!("Of {within} less than {MAX_SCHEMA_DEPTH} come within each other.");
            return Err(Error::new(ErrorCode::OperationTooComplex, message));
        }
        if sum.passwords > MAX_PASSWORDS {
            return Err(too_many_passwords());
        }
        for (count, max, what) in [
            (
                sum.introspection,
                self.introspection,
                "fields about the schema, those of a list counted for its usual length",
            ),
            (sum.aliases, limits.operation_max_aliases, "aliases"),
            (sum.directives, limits.operation_max_directives, "directives"),
            (sum.complexity, limits.operation_max_complexity, "fields, those of a page counted for each of its items"),
        ] {
            if count > max {
                return Err(too_much(what, max));
            }
        }
        Ok(Checked {
            varies: sum.varies,
            complexity: sum.complexity,
            work: sum.complexity.saturating_add(sum.introspection).saturating_add(sum.rows),
            passwords: sum.passwords,
        })
    }

    fn sum(&self, document: &ExecutableDocument, variables: &Variables) -> Result<Cost, Error> {
        let mut sum = Cost::default();
        for (_, operation) in document.operations.iter() {
            let operation = &operation.node;
            let mut count =
                Count { costs: self, fragments: &document.fragments, known: HashMap::new(), operation, variables };
            sum = sum.and(directives(&operation.directives)).and(count.set(&operation.selection_set.node, 0)?);
        }
        Ok(sum)
    }

    fn too_nested(&self) -> Error {
        let max = self.limits.operation_max_nesting;
        Error::new(ErrorCode::OperationTooComplex, format!("A document nests at most {max} levels deep."))
    }
}

/// The refusal of a request that checks more than one password.
pub(super) fn too_many_passwords() -> Error {
    let fields = PASSWORD_FIELDS.join(", ");
    Error::new(ErrorCode::OperationTooComplex, format!("A request has at most {MAX_PASSWORDS} of the fields {fields}."))
}

fn too_much(what: &str, max: impl std::fmt::Display) -> Error {
    Error::new(ErrorCode::OperationTooComplex, format!("A document has at most {max} {what}."))
}

/// What follows the number that the bytes begin with. The parser wants nothing between two of them: `1-1` is two, and
/// so is `00`.
fn after_number(bytes: &[u8]) -> &[u8] {
    let digits = |bytes| skip(bytes, |byte| byte.is_ascii_digit());
    let rest = match bytes.strip_prefix(b"-").unwrap_or(bytes) {
        [b'0', after @ ..] => after,
        rest => digits(rest),
    };
    let rest = match rest {
        [b'.', b'0'..=b'9', after @ ..] => digits(after),
        _ => rest,
    };
    match rest {
        [b'e' | b'E', b'0'..=b'9', after @ ..] | [b'e' | b'E', b'+' | b'-', b'0'..=b'9', after @ ..] => digits(after),
        _ => rest,
    }
}

fn skip(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> &[u8] {
    bytes.iter().position(|&byte| !belongs(byte)).map_or(&[], |end| &bytes[end..])
}

/// What follows the string, or block string, that the bytes begin with.
fn after_string(bytes: &[u8]) -> &[u8] {
    const BLOCK: &[u8] = b"\"\"\"";
    if let Some(mut rest) = bytes.strip_prefix(BLOCK) {
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix(BLOCK) {
                return after;
            }
            rest = rest.strip_prefix(b"\\\"\"\"").unwrap_or(&rest[1..]);
        }
        // One that is never closed the parser takes for an empty string, and reads on right behind that.
        return &bytes[2..];
    }
    let mut rest = &bytes[1..];
    loop {
        rest = match rest {
            [b'"', after @ ..] => return after,
            [b'\\', _, after @ ..] | [_, after @ ..] => after,
            [] => return rest,
        };
    }
}

/// The cost of a document that passes all limits.
#[derive(Clone, Copy)]
pub(super) struct Checked {
    /// Whether the cost depends on the variables.
    pub(super) varies: bool,
    /// In the unit of OPERATION_MAX_COMPLEXITY.
    pub(super) complexity: u64,
    /// Fields to execute, those about the schema included, and rows that a mutation writes.
    pub(super) work: u64,
    /// Passwords to check or to hash.
    pub(super) passwords: u64,
}

/// What a selection costs with everything in it.
#[derive(Clone, Copy, Default)]
struct Cost {
    /// Selections within each other, whether fields or fragments.
    nesting: usize,
    /// Fields within each other.
    depth: usize,
    /// Lists of the schema within each other.
    schema_depth: usize,
    aliases: u64,
    directives: u64,
    complexity: u64,
    /// Fields of `PASSWORD_FIELDS`.
    passwords: u64,
    /// The complexity of what is asked about the schema itself, which `complexity` leaves out.
    introspection: u64,
    /// Rows that are written, which no limit of this file counts.
    rows: u64,
    /// Whether any of it depends on a variable.
    varies: bool,
}

impl Cost {
    /// Beside each other.
    fn and(self, other: Self) -> Self {
        Self {
            nesting: self.nesting.max(other.nesting),
            depth: self.depth.max(other.depth),
            schema_depth: self.schema_depth.max(other.schema_depth),
            aliases: self.aliases.saturating_add(other.aliases),
            directives: self.directives.saturating_add(other.directives),
            complexity: self.complexity.saturating_add(other.complexity),
            passwords: self.passwords.saturating_add(other.passwords),
            introspection: self.introspection.saturating_add(other.introspection),
            rows: self.rows.saturating_add(other.rows),
            varies: self.varies || other.varies,
        }
    }
}

struct Count<'a> {
    costs: &'a Costs,
    fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    /// The cost of each fragment met so far; None for one that is being counted.
    known: HashMap<&'a Name, Option<Cost>>,
    operation: &'a OperationDefinition,
    variables: &'a Variables,
}

impl<'a> Count<'a> {
    fn set(&mut self, set: &'a SelectionSet, level: usize) -> Result<Cost, Error> {
        let max = self.costs.limits.operation_max_nesting;
        if level > max {
            return Err(self.costs.too_nested());
        }
        let mut sum = Cost::default();
        for selection in &set.items {
            let cost = match &selection.node {
                Selection::Field(field) => self.field(&field.node, level)?,
                Selection::InlineFragment(fragment) => {
                    let fragment = &fragment.node;
                    directives(&fragment.directives).and(self.set(&fragment.selection_set.node, level + 1)?)
                }
                Selection::FragmentSpread(spread) => {
                    let spread = &spread.node;
                    directives(&spread.directives).and(self.fragment(&spread.fragment_name.node, level + 1)?)
                }
            };
            // Walking a selection costs something, whatever is in it.
            sum = sum.and(Cost { complexity: cost.complexity.saturating_add(1), nesting: cost.nesting + 1, ..cost });
            if level + sum.nesting > max {
                return Err(self.costs.too_nested());
            }
        }
        Ok(sum)
    }

    fn field(&mut self, field: &'a Field, level: usize) -> Result<Cost, Error> {
        let within = self.set(&field.selection_set.node, level + 1)?;
        let cost = Cost { aliases: field.alias.is_some().into(), ..directives(&field.directives) };
        let name = field.name.node.as_str();
        let complexity = within.complexity.saturating_mul(self.items(field));
        let (complexity, introspection) = match name {
            "__schema" | "__type" => (1, complexity.saturating_add(within.introspection)),
            _ => (complexity, within.introspection),
        };
        let schema_depth = within.schema_depth + usize::from(SCHEMA_LISTS.contains(&name));
        let rows = if name == FORWARD { self.forwarded(field) } else { within.rows };
        let varies = within.varies || depends_on_variables(field);
        let passwords = within.passwords + u64::from(PASSWORD_FIELDS.contains(&name));
        Ok(cost.and(Cost {
            depth: within.depth + 1,
            schema_depth,
            complexity,
            passwords,
            introspection,
            rows,
            varies,
            ..within
        }))
    }

    fn fragment(&mut self, name: &'a Name, level: usize) -> Result<Cost, Error> {
        // What is not there is the validation's to refuse.
        let Some(fragment) = self.fragments.get(name) else { return Ok(Cost::default()) };
        match self.known.entry(name) {
            Entry::Occupied(known) => known.get().ok_or_else(|| {
                let message = format!("The fragment {name} spreads itself.");
                Error::new(ErrorCode::GraphqlValidationFailed, message)
            }),
            Entry::Vacant(unknown) => {
                unknown.insert(None);
                let cost = directives(&fragment.node.directives);
                let cost = cost.and(self.set(&fragment.node.selection_set.node, level)?);
                self.known.insert(name, Some(cost));
                Ok(cost)
            }
        }
    }

    /// How often what is within a field may come: once for each item of a page, or for each id that is asked for.
    fn items(&self, field: &Field) -> u64 {
        if let Some(Asked::List(ids)) = self.argument(field, "ids") {
            return ids.max(1) as u64;
        }
        let Some(&default) = self.costs.pages.get(field.name.node.as_str()) else { return 1 };
        let asked = ["first", "last"].into_iter().filter_map(|name| match self.argument(field, name)? {
            Asked::Number(size) => Some(size),
            Asked::List(_) => None,
        });
        // A larger page than there is gets an error, and nothing is read for it.
        asked.max().map_or(default.into(), |size| size.clamp(1, MAX_PAGE_SIZE.into()))
    }

    /// How many messages a forward writes.
    fn forwarded(&self, field: &Field) -> u64 {
        let Some(input) = field.get_argument("input") else { return 0 };
        let length = |name| match &input.node {
            Literal::Variable(variable) => match self.variables.get(variable) {
                Some(Value::Object(members)) => members.get(name).map_or(1, list_length),
                _ => 0,
            },
            Literal::Object(members) => match members.get(name) {
                Some(Literal::List(items)) => items.len() as u64,
                Some(Literal::Variable(variable)) => self.variables.get(variable).map_or(1, list_length),
                _ => 1,
            },
            _ => 0,
        };
        length("messageIds").saturating_mul(length("conversationIds"))
    }

    /// The value of an argument, written out or in a variable.
    fn argument(&self, field: &Field, name: &str) -> Option<Asked> {
        match &field.get_argument(name)?.node {
            Literal::Variable(variable) => {
                Asked::read(self.variables.get(variable).or_else(|| self.default(variable))?)
            }
            Literal::Number(number) => number.as_u64().map(Asked::Number),
            Literal::List(items) => Some(Asked::List(items.len())),
            _ => None,
        }
    }

    fn default(&self, variable: &Name) -> Option<&'a Value> {
        let definitions = self.operation.variable_definitions.iter();
        let definition = definitions.map(|definition| &definition.node).find(|it| it.name.node == *variable)?;
        Some(&definition.default_value.as_ref()?.node)
    }
}

/// The length of a list. GraphQL takes a single value for a list of one.
fn list_length(value: &Value) -> u64 {
    if let Value::List(items) = value { items.len() as u64 } else { 1 }
}

fn depends_on_variables(field: &Field) -> bool {
    if field.name.node == FORWARD {
        return true;
    }
    SIZES
        .iter()
        .any(|name| matches!(field.get_argument(name), Some(value) if matches!(value.node, Literal::Variable(_))))
}

/// What an argument says of how much is wanted.
enum Asked {
    Number(u64),
    List(usize),
}

impl Asked {
    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => number.as_u64().map(Self::Number),
            Value::List(items) => Some(Self::List(items.len())),
            _ => None,
        }
    }
}

fn directives(directives: &[Positioned<Directive>]) -> Cost {
    Cost { directives: directives.len() as u64, ..Cost::default() }
}
