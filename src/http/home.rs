//! The page at `/`, which says what the server is and links to its other pages, and the schema as a file.

use axum::Router;
use axum::http::{HeaderName, header};
use axum::response::Html;
use axum::routing::get;

use super::explorer::CONTENT_SECURITY_POLICY;
use crate::config::Config;

/// The page with the blocks of all features. A block stands between `<!-- name -->` and `<!-- /name -->`.
const PAGE: &str = include_str!("../../web/home/index.html");
/// The schema in the schema definition language. `make generate` writes the file.
const SCHEMA: &str = include_str!("../../schema.graphql");

const HEADERS: [(HeaderName, &str); 2] =
    [(header::CACHE_CONTROL, "no-cache"), (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY)];

/// Returns the routes of the page and of the schema. A server without introspection does not serve the schema.
pub(super) fn router<S: Clone + Send + Sync + 'static>(config: &Config) -> Router<S> {
    let page = page(config);
    let router = Router::new().route("/", get(async move || (HEADERS, Html(page))));
    if !config.operations.introspection {
        return router;
    }
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    router.route("/schema.graphql", get(async move || (headers, SCHEMA)))
}

/// Returns the page. It links only to what this server serves.
fn page(config: &Config) -> String {
    let blocks = [
        ("explorers", config.web.explorers),
        ("introspection", config.operations.introspection),
        ("metrics", config.process.metrics),
    ];
    blocks.iter().fold(PAGE.to_owned(), |page, &(name, shown)| resolve(&page, name, shown))
}

/// Removes the marks of the blocks with this name, and also their contents unless they are shown.
fn resolve(page: &str, name: &str, shown: bool) -> String {
    let (start, end) = (format!("<!-- {name} -->"), format!("<!-- /{name} -->"));
    let mut resolved = String::with_capacity(page.len());
    let mut rest = page;
    while let Some((before, after)) = rest.split_once(&start) {
        let (block, after) = after.split_once(&end).unwrap_or((after, ""));
        resolved.push_str(before);
        if shown {
            resolved.push_str(block);
        }
        rest = after;
    }
    resolved + rest
}
