//! `parlance check-documents`: checks documents and variables as the server does, without a running server.

use std::io::{BufRead as _, Write as _, stdin, stdout};

use anyhow::{Context as _, Result};
use async_graphql::{ServerError, Variables};
use parlance::graphql::{Error, Rule, Spec, sdl, selected_operation};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Maximum levels of nesting in a document. Higher than the default of the server, because this command does not check
/// limits.
const MAX_NESTING: usize = 100;

/// A request, as JSON in one line of the standard input.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    query: String,
    operation_name: Option<String>,
    variables: Option<Value>,
}

/// The result of a request, as JSON in one line of the standard output.
#[derive(Default, Serialize)]
struct Answer {
    /// Errors of the document. If the document is valid, errors of the variables.
    errors: Vec<ServerError>,
    /// Whether the document is valid.
    valid: bool,
    /// The coerced variables. None if the document or the variables are invalid, or if the request has no variables.
    #[serde(skip_serializing_if = "Option::is_none")]
    variables: Option<Variables>,
}

/// Reads requests from the standard input and writes one answer for each.
pub(super) fn run() -> Result<()> {
    let spec = Spec::new(&sdl(), MAX_NESTING, true);
    let mut output = stdout().lock();
    for line in stdin().lock().lines() {
        let request = serde_json::from_str(&line?).context("each line must be a JSON object with a `query`")?;
        writeln!(output, "{}", serde_json::to_string(&judge(&spec, request))?)?;
    }
    Ok(())
}

fn judge(spec: &Spec, request: Request) -> Answer {
    let (syntax, mut document) = match spec.parse(&request.query) {
        Ok(parsed) => parsed,
        Err(error) => return Answer { errors: vec![error], ..Answer::default() },
    };
    match spec.validate(&syntax) {
        Ok(never_null) => never_null.apply(&mut document),
        Err(errors) => return Answer { errors, ..Answer::default() },
    }
    let valid = Answer { valid: true, ..Answer::default() };
    let Some(variables) = request.variables else { return valid };
    let Some(operation) = selected_operation(&document, request.operation_name.as_deref()) else {
        let error = Error::violation(Rule::KnownOperationNames, Rule::KnownOperationNames.meaning());
        return Answer { errors: vec![error.into()], ..valid };
    };
    match spec.coerce(&operation.node, &Variables::from_json(variables)) {
        Ok(variables) => Answer { variables: Some(variables), ..valid },
        Err(errors) => Answer { errors, ..valid },
    }
}
