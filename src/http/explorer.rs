//! GraphiQL and GraphQL Playground. Their files are in the binary, and their pages load nothing from other servers.

use axum::Router;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rust_embed::RustEmbed;

/// Allows a page of the server to load files from this origin only, and to connect to this origin only. Inline
/// styles are allowed because Monaco, the editor, sets them.
pub(super) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; worker-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

#[derive(RustEmbed)]
#[folder = "web/explorer/dist"]
struct Files;

pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/graphiql", get(page))
        .route("/graphiql/{*path}", get(asset))
        .route("/playground", get(playground))
        .route("/playground/{*path}", get(playground_asset))
}

async fn page() -> Response {
    file("index.html", "no-cache")
}

/// Serves a file of GraphiQL. Caches may keep the file for a year, because its name contains a hash of its content.
async fn asset(Path(path): Path<String>) -> Response {
    file(&path, "public, max-age=31536000, immutable")
}

/// Serves the page of GraphQL Playground, an older explorer that uses the older of the two WebSocket subprotocols.
async fn playground() -> Response {
    file("playground/index.html", "no-cache")
}

async fn playground_asset(Path(path): Path<String>) -> Response {
    file(&format!("playground/{path}"), "public, max-age=3600")
}

fn file(path: &str, cache: &'static str) -> Response {
    let Some(file) = Files::get(path) else { return StatusCode::NOT_FOUND.into_response() };
    let headers = [
        (header::CONTENT_TYPE, content_type(path)),
        (header::CACHE_CONTROL, cache),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, file.data).into_response()
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("ttf") => "font/ttf",
        Some("woff2") => "font/woff2",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}
