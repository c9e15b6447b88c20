//! Logins in the browser at issuers: the addresses below `/auth`. They answer with redirects, or with a plain text for
//! the user if the browser cannot be sent back to the client.

use std::net::SocketAddr;

use async_graphql::ServerError;
use axum::body::Body;
use axum::extract::{ConnectInfo, Form, FromRequest as _, Path, Query, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, HOST, SET_COOKIE};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::json;

use super::body::WholeBody;
use super::caller::language;
use super::{Server, header};
use crate::domain::Error as Domain;
use crate::domain::client::Client;
use crate::domain::people::browser_logins::{Answer, Failure, LOGIN_LIFETIME};
use crate::graphql::{Error, ErrorCode};

/// Name of the cookie of a login that is not finished. With this prefix, a browser accepts the cookie only from this
/// host, over TLS or from this machine.
const NAME: &str = "__Host-parlance_auth";

/// The query of the address at which a login begins.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Begin {
    /// Address of the client.
    redirect: String,
    /// Whether a user who is signed in at the issuer has to sign in again.
    #[serde(default)]
    reauthenticate: bool,
}

/// The query with which an issuer sends the browser back.
#[derive(Deserialize)]
struct Return {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
    iss: Option<String>,
}

/// The form with which an issuer ends sessions.
#[derive(Deserialize)]
struct LogOut {
    logout_token: String,
}

/// Returns the routes. No answer may be cached, because it is for one login.
pub(super) fn router() -> Router<Server> {
    Router::new()
        .route("/auth/{issuer}", get(begin))
        .route("/auth/{issuer}/callback", get(finish))
        .route("/auth/{issuer}/backchannel-logout", post(log_out))
        .route_layer(header(CACHE_CONTROL, "no-store"))
        .route_layer(header(CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"))
}

/// Sends the browser to the issuer.
async fn begin(
    State(server): State<Server>,
    Path(name): Path<String>,
    Query(query): Query<Begin>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let logins = server.app.browser_logins();
    match logins.start(&name, &query.redirect, query.reauthenticate, host(&uri, &headers)).await {
        Ok(started) => {
            let cookie = cookie(&started.cookie, LOGIN_LIFETIME.num_seconds());
            ([(SET_COOKIE, cookie)], Redirect::to(started.location.as_str())).into_response()
        }
        Err(error) => page(error),
    }
}

/// Sends the browser to the client, with a sign-in code or an error in the fragment, which is sent to no server.
async fn finish(
    State(server): State<Server>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(name): Path<String>,
    Query(query): Query<Return>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let Return { state, code, error, iss: issuer } = query;
    let answer = Answer { state, code, error, issuer };
    let network = server.network(&headers, peer);
    let client = Client { network, language: language(&headers), ..Client::default() };
    let logins = server.app.browser_logins();
    let finished = logins.finish(&name, sealed(&headers), answer, host(&uri, &headers), &client).await;
    let response = match finished {
        Ok(finished) => {
            let mut address = finished.redirect;
            address.set_fragment(Some(&fragment(finished.result)));
            Redirect::to(address.as_str()).into_response()
        }
        Err(error) => page(error),
    };
    // A login can be finished once.
    ([(SET_COOKIE, cookie("", 0))], response).into_response()
}

/// Ends the sessions that a logout token names (OpenID Connect Back-Channel Logout 1.0, section 2.5).
async fn log_out(
    State(server): State<Server>,
    Path(name): Path<String>,
    headers: HeaderMap,
    WholeBody(body): WholeBody,
) -> Response {
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = Method::POST;
    *request.headers_mut() = headers;
    let refused = |status: StatusCode, description: &str| {
        (status, Json(json!({"error": "invalid_request", "error_description": description}))).into_response()
    };
    let Ok(Form(LogOut { logout_token })) = Form::<LogOut>::from_request(request, &()).await else {
        return refused(StatusCode::BAD_REQUEST, "The form has no logout_token.");
    };
    match server.app.browser_logins().log_out(&name, &logout_token).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => {
            let (status, message) = described(error);
            refused(status, &message)
        }
    }
}

/// Returns the host that the client has named: in HTTP/1.1 by a header, in HTTP/2 by the address.
fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let named = headers.get(HOST).and_then(|host| host.to_str().ok());
    named.or_else(|| uri.authority().map(Authority::as_str))
}

/// Returns the header that sets the cookie for this many seconds.
fn cookie(value: &str, seconds: i64) -> String {
    format!("{NAME}={value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={seconds}")
}

/// Returns the value of the cookie.
fn sealed(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == NAME).map(|(_, value)| value)
}

/// Returns the fragment of the client's address.
fn fragment(result: Result<String, Failure>) -> String {
    match result {
        Ok(code) => format!("code={code}"),
        Err(Failure::AtIssuer(code)) => format!("error={code}"),
        Err(Failure::Here(error)) => {
            let error = Error::from(error);
            let code = error.code().as_str();
            let message = ServerError::from(error).message;
            format!("error={code}&error_description={}", utf8_percent_encode(&message, NON_ALPHANUMERIC))
        }
    }
}

/// Returns an error as a plain text for the user of the browser.
fn page(error: Domain) -> Response {
    let (status, message) = described(error);
    (status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], message).into_response()
}

/// Returns the status and the text of an error.
fn described(error: Domain) -> (StatusCode, String) {
    let error = Error::from(error);
    let status = match error.code() {
        ErrorCode::BadUserInput | ErrorCode::Conflict => StatusCode::BAD_REQUEST,
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, ServerError::from(error).message)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        assert_eq!(sealed(&headers), None);
        headers.append(COOKIE, HeaderValue::from_static("a=b; __Host-parlance_auth2=c"));
        assert_eq!(sealed(&headers), None);
        headers.append(COOKIE, HeaderValue::from_static("d=e;__Host-parlance_auth=abc.def_g-h; i=j"));
        assert_eq!(sealed(&headers), Some("abc.def_g-h"));
    }

    #[test]
    fn a_fragment_has_a_code_or_an_error() {
        assert_eq!(fragment(Ok("parlance_sc_a-b".into())), "code=parlance_sc_a-b");
        assert_eq!(fragment(Err(Failure::AtIssuer("access_denied".into()))), "error=access_denied");
        let failed = fragment(Err(Failure::Here(Domain::invalid("token", "No & yes."))));
        assert_eq!(failed, "error=BAD_USER_INPUT&error_description=No%20%26%20yes%2E");
    }
}
