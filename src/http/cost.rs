//! Computes the cost of a document before it is validated, and refuses documents that cost too much.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{
    Directive, ExecutableDocument, Field, FragmentDefinition, OperationDefinition, Selection, SelectionSet,
};
use async_graphql::{Name, Positioned, Value, Variables};
use async_graphql_value::{Number, Value as Literal};

use super::too_complex::{
    Large, MAX_PASSWORDS, PASSWORD_FIELDS, too_complex, too_long, too_many_fragments, too_many_passwords,
    too_many_tokens, too_much,
};
use crate::config::Operations as Limits;
use crate::graphql::{Error, ErrorCode, MAX_PAGE_SIZE, Rule, page_sizes, tokens, too_nested};

/// The query of `getIntrospectionQuery` in graphql-js, the reference implementation, with all its options.
const INTROSPECTION: &str = include_str!("introspection.graphql");

/// Introspection lists that lead from one type to another. Fewer than MAX_SCHEMA_DEPTH of them may be nested in each
/// other. This is the rule MaxIntrospectionDepth of graphql-js.
const SCHEMA_LISTS: [&str; 4] = ["fields", "interfaces", "possibleTypes", "inputFields"];
const MAX_SCHEMA_DEPTH: usize = 3;

/// The mutation that writes one row for each message in each conversation.
const FORWARD_MESSAGES: &str = "forwardMessages";

/// The arguments that set the number of items in a list.
const SIZE_ARGUMENTS: [&str; 3] = ["first", "last", "ids"];

/// Computes the costs of documents, and refuses documents that exceed the limits.
pub(super) struct Costs {
    limits: Limits,
    /// Default number of items in a list, by the name of its field.
    pages: HashMap<String, u16>,
    /// Maximum cost of the introspection fields of a document.
    introspection: u64,
}

impl Costs {
    pub(super) fn new(limits: Limits) -> Self {
        let unlimited = Limits { operation_max_nesting: usize::MAX, ..limits.clone() };
        let costs = Self { limits: unlimited, pages: page_sizes(), introspection: 0 };
        // The introspection query of explorers must pass. The maximum is twice its cost, to leave room for additional
        // fields.
        let usual = parse_query(INTROSPECTION)
            .ok()
            .and_then(|query| costs.sum(&query, &Variables::default(), &mut Vec::new()).ok());
        let introspection = 2 * usual.map_or(0, |cost| cost.introspection);
        Self { limits, introspection, ..costs }
    }

    /// Refuses a text that is too long, has too many tokens or has brackets that are nested too deeply. The check comes
    /// before the parser, because the parser recurses and a stack overflow would end the process. Ends at a text that
    /// is not a token, because the parser does not read further either.
    pub(super) fn check_text(&self, text: &str) -> Result<(), Error> {
        if text.len() > self.limits.operation_max_bytes {
            return Err(too_long(text.len(), self.limits.operation_max_bytes));
        }
        let mut open = 0_usize;
        for (index, token) in tokens(text).enumerate() {
            match token.map_or("", |token| token.text) {
                "{" | "[" | "(" => open += 1,
                "}" | "]" | ")" => open = open.saturating_sub(1),
                _ => {}
            }
            if open > self.limits.operation_max_nesting {
                return Err(self.too_nested());
            }
            if index >= self.limits.operation_max_tokens {
                return Err(too_many_tokens(self.limits.operation_max_tokens));
            }
        }
        Ok(())
    }

    /// Returns the cost of a document with its fragments expanded, and refuses a document that exceeds the limits. A
    /// few fragments that spread each other twice expand to exponentially many fields, and async-graphql would visit
    /// all of them. Here the cost of each fragment is computed once.
    pub(super) fn check(&self, document: &ExecutableDocument, variables: &Variables) -> Result<DocumentCost, Error> {
        let limits = &self.limits;
        let (operations, fragments) = (document.operations.iter().count(), document.fragments.len());
        if operations * fragments > limits.operation_max_fragments {
            return Err(too_many_fragments(operations, fragments, limits.operation_max_fragments));
        }
        let mut largest = Vec::new();
        let sum = self.sum(document, variables, &mut largest)?;
        if sum.depth > limits.operation_max_depth {
            return Err(too_much("levels of nested fields", sum.depth, limits.operation_max_depth));
        }
        if sum.schema_depth >= MAX_SCHEMA_DEPTH {
            let lists = SCHEMA_LISTS.join("`, `");
            let message = format!("Fewer than {MAX_SCHEMA_DEPTH} of the fields `{lists}` may be nested in each other.");
            return Err(Error::new(ErrorCode::OperationTooComplex, message));
        }
        if sum.passwords > MAX_PASSWORDS {
            return Err(too_many_passwords());
        }
        for (count, max, what) in [
            (
                sum.introspection,
                self.introspection,
                "introspection fields, counted with the average length of each list",
            ),
            (sum.aliases, limits.operation_max_aliases, "aliases"),
            (sum.directives, limits.operation_max_directives, "directives"),
        ] {
            if count > max {
                return Err(too_much(what, count, max));
            }
        }
        if sum.complexity > limits.operation_max_complexity {
            return Err(too_complex(sum.complexity, limits.operation_max_complexity, largest));
        }
        Ok(DocumentCost {
            varies: sum.varies,
            complexity: sum.complexity,
            work: sum.complexity.saturating_add(sum.introspection).saturating_add(sum.rows),
            passwords: sum.passwords,
        })
    }

    /// Returns the cost of all operations, and adds their lists and root fields to `largest`.
    fn sum<'a>(
        &self,
        document: &'a ExecutableDocument,
        variables: &Variables,
        largest: &mut Vec<Large<'a>>,
    ) -> Result<Cost, Error> {
        let mut sum = Cost::default();
        for (_, operation) in document.operations.iter() {
            let operation = &operation.node;
            let mut counter = Counter {
                costs: self,
                fragments: &document.fragments,
                fragment_costs: HashMap::new(),
                operation,
                variables,
                largest,
            };
            sum = sum
                .plus(directives(&operation.directives))
                .plus(counter.selection_set(&operation.selection_set.node, 0)?);
        }
        Ok(sum)
    }

    fn too_nested(&self) -> Error {
        too_nested(self.limits.operation_max_nesting)
    }
}

/// The cost of a document that passes all limits.
#[derive(Clone, Copy)]
pub(super) struct DocumentCost {
    /// Whether the cost depends on the variables.
    pub(super) varies: bool,
    /// Number of fields, in the unit of OPERATION_MAX_COMPLEXITY.
    pub(super) complexity: u64,
    /// Number of fields to execute, including introspection fields, plus the number of rows that a mutation writes.
    pub(super) work: u64,
    /// Number of passwords to check or to hash.
    pub(super) passwords: u64,
}

/// The cost of a selection, including all selections nested in it.
#[derive(Clone, Copy, Default)]
struct Cost {
    /// Number of levels of nested selections: fields and fragments.
    nesting: usize,
    /// Number of levels of nested fields.
    depth: usize,
    /// Number of levels of nested fields that are in `SCHEMA_LISTS`.
    schema_depth: usize,
    aliases: u64,
    directives: u64,
    complexity: u64,
    /// Number of fields that are in `PASSWORD_FIELDS`.
    passwords: u64,
    /// The complexity of introspection fields, which `complexity` does not contain.
    introspection: u64,
    /// Number of rows that a mutation writes. No limit of this file applies to this number.
    rows: u64,
    /// Whether any part of the cost depends on a variable.
    varies: bool,
}

impl Cost {
    /// Returns the cost of two selections at the same level together.
    fn plus(self, other: Self) -> Self {
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

struct Counter<'a, 'c> {
    costs: &'c Costs,
    fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    /// The cost of each fragment that was found so far. None while the cost of the fragment is being computed.
    fragment_costs: HashMap<&'a Name, Option<Cost>>,
    operation: &'a OperationDefinition,
    variables: &'c Variables,
    largest: &'c mut Vec<Large<'a>>,
}

impl<'a> Counter<'a, '_> {
    fn selection_set(&mut self, set: &'a SelectionSet, level: usize) -> Result<Cost, Error> {
        let max = self.costs.limits.operation_max_nesting;
        if level > max {
            return Err(self.costs.too_nested());
        }
        let mut sum = Cost::default();
        let free = free(set);
        for (index, selection) in set.items.iter().enumerate() {
            let cost = match &selection.node {
                Selection::Field(field) => self.field(&field.node, level)?,
                Selection::InlineFragment(fragment) => {
                    let fragment = &fragment.node;
                    directives(&fragment.directives).plus(self.selection_set(&fragment.selection_set.node, level + 1)?)
                }
                Selection::FragmentSpread(spread) => {
                    let spread = &spread.node;
                    directives(&spread.directives).plus(self.fragment(&spread.fragment_name.node, level + 1)?)
                }
            };
            // Adds one for the selection itself, because it must be visited.
            let own = u64::from(free != Some(index));
            sum = sum.plus(Cost { complexity: cost.complexity.saturating_add(own), nesting: cost.nesting + 1, ..cost });
            if level + sum.nesting > max {
                return Err(self.costs.too_nested());
            }
        }
        Ok(sum)
    }

    fn field(&mut self, field: &'a Field, level: usize) -> Result<Cost, Error> {
        let within = self.selection_set(&field.selection_set.node, level + 1)?;
        let cost = Cost { aliases: field.alias.is_some().into(), ..directives(&field.directives) };
        let name = field.name.node.as_str();
        let items = self.items(field);
        if (items > 1 || level == 0) && !matches!(name, "__schema" | "__type") {
            self.largest.push(Large { name, items, fields: within.complexity });
        }
        let complexity = within.complexity.saturating_mul(items);
        let (complexity, introspection) = match name {
            "__schema" | "__type" => (1, complexity.saturating_add(within.introspection)),
            _ => (complexity, within.introspection),
        };
        let schema_depth = within.schema_depth + usize::from(SCHEMA_LISTS.contains(&name));
        let rows = if name == FORWARD_MESSAGES { self.forwarded(field) } else { within.rows };
        let varies = within.varies || depends_on_variables(field);
        let passwords = within.passwords + u64::from(PASSWORD_FIELDS.contains(&name));
        Ok(cost.plus(Cost {
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
        // Validation refuses a fragment that does not exist.
        let Some(fragment) = self.fragments.get(name) else { return Ok(Cost::default()) };
        match self.fragment_costs.entry(name) {
            Entry::Occupied(cost) => cost.get().ok_or_else(|| {
                let message = format!("The fragment `{name}` spreads itself, directly or through other fragments.");
                Error::violation(Rule::NoFragmentCycles, message)
            }),
            Entry::Vacant(unknown) => {
                unknown.insert(None);
                let cost = directives(&fragment.node.directives);
                let cost = cost.plus(self.selection_set(&fragment.node.selection_set.node, level)?);
                self.fragment_costs.insert(name, Some(cost));
                Ok(cost)
            }
        }
    }

    /// Returns the maximum number of times that a field's selection is executed: once for each item of a page, or once
    /// for each requested id.
    fn items(&self, field: &Field) -> u64 {
        if let Some(RequestedSize::List(ids)) = self.argument(field, "ids") {
            return ids.max(1) as u64;
        }
        let Some(&default) = self.costs.pages.get(field.name.node.as_str()) else { return 1 };
        let sizes = ["first", "last"].into_iter().filter_map(|name| match self.argument(field, name)? {
            RequestedSize::Number(size) => Some(size),
            RequestedSize::List(_) => None,
        });
        // A request for a page larger than MAX_PAGE_SIZE gets an error, and nothing is read for the page.
        sizes.max().map_or(default.into(), |size| size.clamp(1, MAX_PAGE_SIZE.into()))
    }

    /// Returns the number of messages that `forwardMessages` writes.
    fn forwarded(&self, field: &Field) -> u64 {
        let Some(input) = field.get_argument("input") else { return 0 };
        let length = |name| match &input.node {
            Literal::Variable(variable) => match self.value(variable) {
                Some(Value::Object(members)) => members.get(name).map_or(1, list_length),
                _ => 0,
            },
            Literal::Object(members) => match members.get(name) {
                Some(Literal::List(items)) => items.len() as u64,
                Some(Literal::Variable(variable)) => self.value(variable).map_or(1, list_length),
                _ => 1,
            },
            _ => 0,
        };
        length("messageIds").saturating_mul(length("conversationIds"))
    }

    /// Returns the number of items that an argument requests, given as a literal or as a variable.
    fn argument(&self, field: &Field, name: &str) -> Option<RequestedSize> {
        match &field.get_argument(name)?.node {
            Literal::Variable(variable) => RequestedSize::read(self.value(variable)?),
            Literal::Number(number) => number.as_u64().map(RequestedSize::Number),
            Literal::List(items) => Some(RequestedSize::List(items.len())),
            _ => None,
        }
    }

    /// Returns the value of a variable, or its default if the variable is left out.
    fn value(&self, variable: &Name) -> Option<&Value> {
        let default = || {
            let mut definitions = self.operation.variable_definitions.iter().map(|definition| &definition.node);
            let definition = definitions.find(|definition| definition.name.node == *variable)?;
            Some(&definition.default_value.as_ref()?.node)
        };
        self.variables.get(variable).or_else(default)
    }
}

/// Returns the index of the selection that does not count: the first `__typename` without an alias, if the set also has
/// other selections. Some clients add `__typename` to every selection set.
fn free(set: &SelectionSet) -> Option<usize> {
    let is_typename = |selection: &Positioned<Selection>| match &selection.node {
        Selection::Field(field) => field.node.name.node == "__typename" && field.node.alias.is_none(),
        _ => false,
    };
    set.items.iter().position(is_typename).filter(|_| set.items.len() > 1)
}

/// Returns the length of a list. GraphQL accepts a single value as a list of one item.
fn list_length(value: &Value) -> u64 {
    if let Value::List(items) = value { items.len() as u64 } else { 1 }
}

fn depends_on_variables(field: &Field) -> bool {
    if field.name.node == FORWARD_MESSAGES {
        return true;
    }
    SIZE_ARGUMENTS
        .iter()
        .any(|name| matches!(field.get_argument(name), Some(value) if matches!(value.node, Literal::Variable(_))))
}

/// The number of items that an argument requests.
enum RequestedSize {
    Number(u64),
    List(usize),
}

impl RequestedSize {
    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => whole(number).map(Self::Number),
            Value::List(items) => Some(Self::List(items.len())),
            _ => None,
        }
    }
}

/// Returns the integer value of a variable. JSON can write an integer with a fraction of zero or with an exponent.
fn whole(number: &Number) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of a float saturates")]
    let rounded = |float: f64| float as u64;
    number.as_u64().or_else(|| number.as_f64().map(rounded))
}

fn directives(directives: &[Positioned<Directive>]) -> Cost {
    Cost { directives: directives.len() as u64, ..Cost::default() }
}
