//! Checks the syntax of documents (GraphQL specification of September 2025, sections 2.2 to 2.12) without building a
//! tree. apollo-parser accepts texts that are not documents, such as arguments without a value, and refuses some
//! documents.

use std::borrow::Cow;
use std::ops::Range;

use async_graphql::ServerError;

use super::convert::not_executable;
use super::lexer::{Kind, Token, Tokens, quoted, tokens};
use super::position::position;
use super::violation;
use crate::graphql::error::{Error, ErrorCode};

type Checked = Result<(), ServerError>;

/// Stands for the token before the first one.
const START: Token<'static> = Token { kind: Kind::End, start: 0, text: "" };

/// Checks that a text is an executable document. Returns the text for apollo-parser, in which spaces replace what
/// apollo-parser does not accept. Lines and columns in both texts are the same.
pub(super) fn check(text: &str, max_nesting: usize) -> Result<Cow<'_, str>, ServerError> {
    let mut grammar =
        Grammar { text, tokens: tokens(text), next: START, nesting: 0, max_nesting, replaced: Vec::new() };
    grammar.advance()?;
    grammar.definition()?;
    while grammar.next.kind != Kind::End {
        grammar.definition()?;
    }
    Ok(with_spaces(text, &grammar.replaced))
}

/// Returns the error for a document whose brackets are nested too deeply.
pub fn too_nested(max: usize) -> Error {
    Error::new(ErrorCode::OperationTooComplex, format!("A document may have at most {max} levels of nesting."))
}

/// Replaces all characters of these parts of a text with spaces, except the ends of lines.
fn with_spaces<'a>(text: &'a str, parts: &[Range<usize>]) -> Cow<'a, str> {
    if parts.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut replaced = String::with_capacity(text.len());
    let mut end = 0;
    for part in parts {
        replaced.push_str(&text[end..part.start]);
        let characters = text[part.clone()].chars();
        replaced.extend(characters.map(|character| if matches!(character, '\n' | '\r') { character } else { ' ' }));
        end = part.end;
    }
    replaced.push_str(&text[end..]);
    Cow::Owned(replaced)
}

/// A recursive descent over the tokens of a document. Each method checks the part that begins with the next token, and
/// consumes its tokens. The text `expected` describes for an error what may be next.
struct Grammar<'a> {
    text: &'a str,
    tokens: Tokens<'a>,
    next: Token<'a>,
    /// Number of open brackets.
    nesting: usize,
    /// Maximum number of open brackets. Each open bracket is a level of recursion.
    max_nesting: usize,
    /// The parts of the text that apollo-parser does not accept.
    replaced: Vec<Range<usize>>,
}

impl<'a> Grammar<'a> {
    fn definition(&mut self) -> Checked {
        let start = self.next.start;
        let is_described = self.description()?;
        match self.next.text {
            "{" if !is_described => {}
            "query" | "mutation" | "subscription" => {
                self.advance()?;
                if self.next.kind == Kind::Name {
                    self.advance()?;
                }
                if self.is_next("(") {
                    self.group(")", Some("a variable"), "a variable or `)`", Self::variable_definition)?;
                }
            }
            "fragment" => {
                self.advance()?;
                if self.is_next("on") {
                    return Err(self.unexpected("the name of the fragment"));
                }
                self.name("the name of the fragment")?;
                self.require("on", "`on` after the name of the fragment")?;
                self.name("a type after `on`")?;
            }
            "schema" | "scalar" | "type" | "interface" | "union" | "enum" | "input" | "directive" | "extend" => {
                return Err(not_executable(position(self.text, start)));
            }
            _ if is_described => return Err(self.unexpected("an operation type or `fragment` after the description")),
            _ => return Err(self.unexpected("an operation or a fragment")),
        }
        self.directives(false)?;
        self.selection_set()
    }

    /// Checks a description if there is one. apollo-parser does not accept descriptions in executable documents.
    fn description(&mut self) -> Result<bool, ServerError> {
        let is_description = self.next.kind == Kind::String;
        if is_description {
            self.replaced.push(self.next.start..self.next.end());
            self.advance()?;
        }
        Ok(is_description)
    }

    fn variable_definition(&mut self, expected: &str) -> Checked {
        self.description()?;
        let variable = self.variable(expected)?;
        self.colon("variable", variable)?;
        self.type_reference()?;
        if self.skip("=")? {
            self.value(true, "a default value")?;
        }
        self.directives(true)
    }

    /// Checks a variable, and returns its text.
    fn variable(&mut self, expected: &str) -> Result<&'a str, ServerError> {
        let start = self.next.start;
        self.require("$", expected)?;
        let end = self.next.end();
        self.name("the name of a variable after `$`")?;
        Ok(&self.text[start..end])
    }

    fn type_reference(&mut self) -> Checked {
        if self.is_next("[") {
            self.open()?;
            self.type_reference()?;
            self.require("]", "`]`")?;
            self.nesting -= 1;
        } else {
            self.name("a type")?;
        }
        self.skip("!")?;
        Ok(())
    }

    fn selection_set(&mut self) -> Checked {
        if !self.is_next("{") {
            return Err(self.unexpected("`{`"));
        }
        self.group("}", Some("a field or a fragment"), "a field, a fragment or `}`", Self::selection)
    }

    fn selection(&mut self, expected: &str) -> Checked {
        if self.skip("...")? {
            return self.fragment();
        }
        self.name(expected)?;
        if self.skip(":")? {
            self.name("the name of a field after the alias")?;
        }
        self.arguments(false)?;
        self.directives(false)?;
        if self.is_next("{") { self.selection_set() } else { Ok(()) }
    }

    /// Checks a fragment spread or an inline fragment, without its dots.
    fn fragment(&mut self) -> Checked {
        if self.skip("on")? {
            self.name("a type after `on`")?;
        } else if self.next.kind == Kind::Name {
            self.advance()?;
            return self.directives(false);
        } else if !self.is_next("@") && !self.is_next("{") {
            return Err(self.unexpected("the name of a fragment, `on` or `{` after `...`"));
        }
        self.directives(false)?;
        self.selection_set()
    }

    /// Checks any number of directives. If they are `constant`, they contain no variables.
    fn directives(&mut self, constant: bool) -> Checked {
        while self.skip("@")? {
            self.name("the name of a directive after `@`")?;
            self.arguments(constant)?;
        }
        Ok(())
    }

    fn arguments(&mut self, constant: bool) -> Checked {
        if !self.is_next("(") {
            return Ok(());
        }
        self.group(")", Some("an argument"), "an argument or `)`", |this, expected| {
            this.member("argument", constant, expected)
        })
    }

    /// Checks an argument or a field of an input object.
    fn member(&mut self, what: &str, constant: bool, expected: &str) -> Checked {
        let name = self.name(expected)?;
        self.colon(what, name)?;
        self.value(constant, "a value")
    }

    fn value(&mut self, constant: bool, expected: &str) -> Checked {
        match (self.next.kind, self.next.text) {
            (Kind::Name | Kind::Number | Kind::String, _) => self.advance(),
            (_, "$") if constant => Err(self.unexpected("a value without variables")),
            (_, "$") => self.variable(expected).map(|_| ()),
            (_, "[") => self.group("]", None, "a value or `]`", |this, expected| this.value(constant, expected)),
            (_, "{") => {
                self.group("}", None, "a field or `}`", |this, expected| this.member("field", constant, expected))
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    /// Checks the items between brackets. `first` describes the first item, or is None if the brackets may be empty.
    /// `further` describes what may be next later.
    fn group(
        &mut self,
        close: &str,
        first: Option<&str>,
        further: &str,
        item: impl Fn(&mut Self, &str) -> Checked,
    ) -> Checked {
        self.open()?;
        if let Some(first) = first {
            item(self, first)?;
        }
        while !self.skip(close)? {
            item(self, further)?;
        }
        self.nesting -= 1;
        Ok(())
    }

    /// Consumes an opening bracket.
    fn open(&mut self) -> Checked {
        self.nesting += 1;
        if self.nesting > self.max_nesting {
            return Err(violation::at(too_nested(self.max_nesting), Some(position(self.text, self.next.start))));
        }
        self.advance()
    }

    fn name(&mut self, expected: &str) -> Result<&'a str, ServerError> {
        let Token { kind: Kind::Name, text, .. } = self.next else { return Err(self.unexpected(expected)) };
        self.advance()?;
        Ok(text)
    }

    fn colon(&mut self, what: &str, name: &str) -> Checked {
        if self.is_next(":") {
            return self.advance();
        }
        Err(self.unexpected(&format!("`:` after the {what} {}", quoted(name))))
    }

    fn is_next(&self, text: &str) -> bool {
        self.next.text == text
    }

    /// Consumes the next token if it has this text, and returns whether it has.
    fn skip(&mut self, text: &str) -> Result<bool, ServerError> {
        let is_next = self.is_next(text);
        if is_next {
            self.advance()?;
        }
        Ok(is_next)
    }

    fn require(&mut self, text: &str, expected: &str) -> Checked {
        if self.is_next(text) { self.advance() } else { Err(self.unexpected(expected)) }
    }

    fn advance(&mut self) -> Checked {
        let last = self.next;
        self.next = match self.tokens.next() {
            Some(Ok(token)) => token,
            Some(Err(error)) => return Err(self.error(error.offset, &error.message)),
            None => Token { kind: Kind::End, start: self.text.len(), text: "" },
        };
        // apollo-parser looks at the token after `...`, and after the name of a field. It takes a comma for that token.
        let between = last.end()..self.next.start;
        if (last.text == "..." || self.next.text == ":") && self.text[between.clone()].contains(',') {
            self.replaced.push(between);
        }
        Ok(())
    }

    fn unexpected(&self, expected: &str) -> ServerError {
        let found = match self.next.kind {
            Kind::End => "the end of the document".to_owned(),
            Kind::String => "a string".to_owned(),
            _ => quoted(self.next.text),
        };
        self.error(self.next.start, &format!("expected {expected}, found {found}"))
    }

    fn error(&self, offset: usize, message: &str) -> ServerError {
        let pos = position(self.text, offset);
        let message = format!("Syntax error at line {}, column {}: {message}.", pos.line, pos.column);
        violation::at(Error::new(ErrorCode::GraphqlParseFailed, message), Some(pos))
    }
}

#[cfg(test)]
mod tests {
    use apollo_compiler::ast::Document;
    use apollo_compiler::parser::Parser;
    use async_graphql::Pos;

    use super::*;

    const MAX_NESTING: usize = 8;

    fn parse(text: &str) -> Document {
        let checked = check(text, MAX_NESTING).unwrap();
        assert_eq!(position(&checked, checked.len()), position(text, text.len()), "{text}");
        match Parser::new().parse_ast(checked, "document") {
            Ok(document) => document,
            Err(invalid) => panic!("{text}: {}", invalid.errors),
        }
    }

    #[test]
    fn a_syntax_error_says_where_what_is_expected_and_what_is_found() {
        for (text, line, column, message) in [
            ("", 1, 1, "an operation or a fragment, found the end of the document"),
            ("# only a comment\n, ", 2, 3, "an operation or a fragment, found the end of the document"),
            ("viewer", 1, 1, "an operation or a fragment, found `viewer`"),
            ("query", 1, 6, "`{`, found the end of the document"),
            ("{}", 1, 2, "a field or a fragment, found `}`"),
            ("{ a\n", 2, 1, "a field, a fragment or `}`, found the end of the document"),
            ("{ a } }", 1, 7, "an operation or a fragment, found `}`"),
            ("{ a & b }", 1, 5, "a field, a fragment or `}`, found `&`"),
            ("{ a: }", 1, 6, "the name of a field after the alias, found `}`"),
            ("{ a: b: c }", 1, 7, "a field, a fragment or `}`, found `:`"),
            (r#"{ "s" }"#, 1, 3, "a field or a fragment, found a string"),
            ("query Q() { a }", 1, 9, "a variable, found `)`"),
            ("query (a: Int) { a }", 1, 8, "a variable, found `a`"),
            ("query ($: Int) { a }", 1, 9, "the name of a variable after `$`, found `:`"),
            ("query ($a) { a }", 1, 10, "`:` after the variable `$a`, found `)`"),
            ("query ($a: ) { a }", 1, 12, "a type, found `)`"),
            ("query ($a: [Int) { a }", 1, 16, "`]`, found `)`"),
            ("query ($a: Int!!) { a }", 1, 16, "a variable or `)`, found `!`"),
            ("query ($a: Int =) { a }", 1, 17, "a default value, found `)`"),
            ("query ($a: Int = $b) { a }", 1, 18, "a value without variables, found `$`"),
            ("query ($a: Int = [{b: $c}]) { a }", 1, 23, "a value without variables, found `$`"),
            ("query ($a: Int @d(b: $c)) { a }", 1, 22, "a value without variables, found `$`"),
            ("{ a() }", 1, 5, "an argument, found `)`"),
            ("{ a(b: 1", 1, 9, "an argument or `)`, found the end of the document"),
            ("{ viewer { conversations(first) { id } } }", 1, 31, "`:` after the argument `first`, found `)`"),
            ("{ a(filter: {kind DIRECT}) }", 1, 19, "`:` after the field `kind`, found `DIRECT`"),
            ("{ a(b: {c: 1, ban}) }", 1, 18, "`:` after the field `ban`, found `}`"),
            ("{ a(b: {c: }) }", 1, 12, "a value, found `}`"),
            ("{ a(b: [1 }) }", 1, 11, "a value or `]`, found `}`"),
            ("{ a @ }", 1, 7, "the name of a directive after `@`, found `}`"),
            ("{ a @d( }", 1, 9, "an argument, found `}`"),
            ("{ ... }", 1, 7, "the name of a fragment, `on` or `{` after `...`, found `}`"),
            ("{ ... on }", 1, 10, "a type after `on`, found `}`"),
            ("{ ... on T }", 1, 12, "`{`, found `}`"),
            ("{ ...F { a } }", 1, 8, "a field, a fragment or `}`, found `{`"),
            ("fragment on on User { id }", 1, 10, "the name of the fragment, found `on`"),
            ("fragment F User { id }", 1, 12, "`on` after the name of the fragment, found `User`"),
            ("fragment F on { id }", 1, 15, "a type after `on`, found `{`"),
            ("fragment F on T", 1, 16, "`{`, found the end of the document"),
            (r#""d" { a }"#, 1, 5, "an operation type or `fragment` after the description, found `{`"),
            (r#""d" "e" query { a }"#, 1, 5, "an operation type or `fragment` after the description, found a string"),
            ("{ a(b: 1a) }", 1, 8, "a number, found `1a`"),
            ("{ a(b: \"\n\") }", 1, 8, r#"`"` at the end of this string, found the end of the line"#),
            (r#"{ a(b: "é😀", c) }"#, 1, 15, "`:` after the argument `c`, found `)`"),
            ("\u{feff}{ ? }", 1, 4, "a name, a value or a punctuator, found `?`"),
            ("{\r\n  a\r\n}\r\n?", 4, 1, "a name, a value or a punctuator, found `?`"),
            ("{\r a\r ? }", 3, 2, "a name, a value or a punctuator, found `?`"),
            ("{ a # \u{2028}\u{85}\u{b}\n  ? }", 2, 3, "a name, a value or a punctuator, found `?`"),
        ] {
            let error = check(text, MAX_NESTING).unwrap_err();
            let expected = format!("Syntax error at line {line}, column {column}: expected {message}.");
            assert_eq!((error.message, error.locations), (expected, vec![Pos { line, column }]), "{text}");
        }
    }

    #[test]
    fn types_and_deep_nesting_are_refused() {
        let nested = |levels: usize| format!("{{ a(b: {}1{}) }}", "[".repeat(levels), "]".repeat(levels));
        parse(&nested(MAX_NESTING - 2));
        let types = "A document may contain only operations and fragments. Remove definitions of types, directives and \
            schemas.";
        for (text, column, message) in [
            (&*nested(MAX_NESTING - 1), 14, "A document may have at most 8 levels of nesting."),
            ("type T { a: Int }", 1, types),
            (r#"{ a } "d" scalar S"#, 7, types),
            ("{ a } extend type T { a: Int }", 7, types),
        ] {
            let error = check(text, MAX_NESTING).unwrap_err();
            assert_eq!((&*error.message, error.locations), (message, vec![Pos { line: 1, column }]), "{text}");
        }
    }

    #[test]
    fn ignored_characters_and_descriptions_do_not_change_a_document() {
        let described = r#""d" query Q("v" $a: [Int!]! = [1 {b: 2.5}] @d(x: 1) $b: T) @x {
            ...F @s a: b(c: $a d: {e: ["s" """b""" X null true]}) { ... on T { on } ... @i(if: $b) { g } ... { h } } }
            "v" fragment F on T @d { fragment } mutation { a } "#;
        let plain = parse(&described.replace(r#""d" "#, "").replace(r#""v" "#, ""));
        let texts: Vec<_> = tokens(described).map(|token| token.unwrap().text).collect();
        for ignored in [" ", ",", ", \t", "\n", "\r\n", "\u{feff}", "#,\n", ", # é, \"\r"] {
            let text = format!("{ignored}{}{ignored}", texts.join(ignored));
            assert!(parse(&text) == plain, "{text}");
        }
    }

    #[test]
    fn spaces_replace_what_apollo_parser_does_not_accept() {
        for (text, expected) in [
            ("{ ...,F } fragment F on T { a }", "{ ... F } fragment F on T { a }"),
            ("{ a ,: viewer { id } }", "{ a  : viewer { id } }"),
            ("{ ...\u{feff},F a#,\n:b }", "{ ...  F a  \n:b }"),
            ("\"\"\"a\r\né\"\"\" query (\"b\" $c: T) { a }", "    \r\n     query (    $c: T) { a }"),
        ] {
            assert_eq!(check(text, MAX_NESTING).unwrap(), expected);
        }
        assert!(matches!(check("{ a(b: [1, 2], c: 3), d }", MAX_NESTING), Ok(Cow::Borrowed(_))));
    }

    /// Checks all combinations of four tokens in three contexts, with commas between them.
    #[test]
    fn apollo_parser_reads_all_tokens_of_each_accepted_document() {
        // apollo-compiler writes `query` before a second operation.
        let texts = |text: &str| -> Vec<String> {
            tokens(text).map(|token| token.unwrap().text.to_owned()).filter(|text| text != "query").collect()
        };
        let pieces = ["a", "on", "1", "$", ":", "...", "@", "(", ")", "[", "]", "{", "}"];
        let count = pieces.len();
        let mut accepted = 0;
        for context in ["{ a _ }", "{ a(b: _) }", "query ($a: T = _) { a }"] {
            for index in 0..count.pow(4) {
                let combination: Vec<_> = (0..4).map(|place| pieces[index / count.pow(place) % count]).collect();
                let text = context.replace('_', &combination.join(","));
                if check(&text, MAX_NESTING).is_ok() {
                    accepted += 1;
                    assert_eq!(texts(&parse(&text).to_string()), texts(&text), "{text}");
                }
            }
        }
        assert!(accepted > 100, "only {accepted} documents are accepted");
    }
}
