//! Validates a document without executing it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_graphql::{Request, Variables};

use super::Server;
use super::documents::Validated;
use super::response::Body;
use crate::graphql::OnValid;

/// Validates the document of a subscription and its variables, and caches the document if it is valid.
pub(super) async fn validate(
    server: &Server,
    document: &Arc<Validated>,
    name: Option<&str>,
    variables: Variables,
) -> Result<(), Body> {
    let found_valid = Arc::new(AtomicBool::new(false));
    let (documents, valid, flag) = (Arc::clone(&server.documents), Arc::clone(document), Arc::clone(&found_valid));
    let mut request = Request::new(&*document.text).variables(variables).data(OnValid::new(move || {
        flag.store(true, Ordering::SeqCst);
        documents.cache(Arc::clone(&valid));
    }));
    request.operation_name = name.map(str::to_owned);
    request.set_parsed_query(document.document.clone());
    // `execute` validates a subscription, and then refuses to execute it outside of a stream. So the response is an
    // error even if the document is valid.
    let response = server.schemas.schema_for(&document.text).execute(request).await;
    if found_valid.load(Ordering::SeqCst) { Ok(()) } else { Err(Body::new(response)) }
}
