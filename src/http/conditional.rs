//! Preconditions and ranges of GET and HEAD requests to the server's own S3 (RFC 9110, sections 13 and 14). The crate
//! s3s evaluates no preconditions and refuses several ranges, so it gets plain requests and requests for one range.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    ACCEPT_RANGES, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE, DATE, ETAG, EXPIRES,
    IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE, VARY,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

const PRECONDITIONS: [HeaderName; 4] = [IF_MATCH, IF_UNMODIFIED_SINCE, IF_NONE_MATCH, IF_MODIFIED_SINCE];
/// Headers of an answer with the status 304, if the whole answer would have them (section 15.4.5).
const NOT_MODIFIED: [HeaderName; 7] = [CACHE_CONTROL, CONTENT_LOCATION, DATE, ETAG, EXPIRES, LAST_MODIFIED, VARY];

/// Answers a GET or HEAD request with a presigned URL by the preconditions and the range in its headers. Passes other
/// requests on: their headers may be signed, and must then not be changed.
pub(super) async fn answer(request: Request, next: Next) -> Response {
    let reads = request.method() == Method::GET || request.method() == Method::HEAD;
    if !reads || request.headers().contains_key(AUTHORIZATION) {
        return next.run(request).await;
    }
    let (mut head, _) = request.into_parts();
    let mut asked = HeaderMap::new();
    for name in PRECONDITIONS.into_iter().chain([IF_RANGE, RANGE]) {
        for value in head.headers.get_all(&name) {
            asked.append(&name, value.clone());
        }
        head.headers.remove(&name);
    }
    let whole = next.clone().run(plain(&head)).await;
    if whole.status() != StatusCode::OK {
        return whole;
    }
    if let Some(status) = failed_precondition(&asked, whole.headers()) {
        return without_content(status, &whole);
    }
    let range = if head.method == Method::GET { wanted_range(&asked, whole.headers()) } else { None };
    let mut answer = match range {
        None => whole,
        Some(range) => {
            let length = length(whole.headers());
            drop(whole);
            head.headers.insert(RANGE, range);
            let mut part = next.run(plain(&head)).await;
            if part.status() == StatusCode::RANGE_NOT_SATISFIABLE
                && let Some(length) = length
                && let Ok(value) = HeaderValue::from_str(&format!("bytes */{length}"))
            {
                part.headers_mut().insert(CONTENT_RANGE, value);
            }
            part
        }
    };
    answer.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    answer
}

fn plain(head: &Parts) -> Request {
    Request::from_parts(head.clone(), Body::empty())
}

fn without_content(status: StatusCode, whole: &Response) -> Response {
    let mut answer = status.into_response();
    for (name, value) in whole.headers() {
        if NOT_MODIFIED.contains(name) {
            answer.headers_mut().append(name, value.clone());
        }
    }
    answer
}

/// Evaluates the preconditions in their order (section 13.2.2). Returns the status if one of them is false.
fn failed_precondition(asked: &HeaderMap, found: &HeaderMap) -> Option<StatusCode> {
    let tag = found.get(ETAG).map(HeaderValue::as_bytes).unwrap_or_default();
    let modified = date(found, &LAST_MODIFIED);
    let unchanged = |since| Some(modified? <= date(asked, &since)?);
    if asked.contains_key(IF_MATCH) {
        if !lists_tag(asked, &IF_MATCH, tag, is_same_tag) {
            return Some(StatusCode::PRECONDITION_FAILED);
        }
    } else if unchanged(IF_UNMODIFIED_SINCE) == Some(false) {
        return Some(StatusCode::PRECONDITION_FAILED);
    }
    let is_known = if asked.contains_key(IF_NONE_MATCH) {
        lists_tag(asked, &IF_NONE_MATCH, tag, |one, other| strong(one) == strong(other))
    } else {
        unchanged(IF_MODIFIED_SINCE) == Some(true)
    };
    is_known.then_some(StatusCode::NOT_MODIFIED)
}

/// Returns the length of the whole file.
fn length(whole: &HeaderMap) -> Option<u64> {
    whole.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Option<std::time::SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

/// Returns an entity tag without the mark of weak tags.
fn strong(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// Compares two entity tags. Weak tags are never the same (section 8.8.3.2).
fn is_same_tag(one: &[u8], other: &[u8]) -> bool {
    one == other && !one.starts_with(b"W/")
}

/// Whether a header with a list of entity tags contains `tag`, or is `*`. A list may have empty elements, and an empty
/// list contains no tag.
fn lists_tag(asked: &HeaderMap, name: &HeaderName, tag: &[u8], is_same: fn(&[u8], &[u8]) -> bool) -> bool {
    asked.get_all(name).iter().any(|list| {
        let list = list.as_bytes().trim_ascii();
        list == b"*" || tags(list).any(|listed| is_same(listed, tag))
    })
}

/// Iterates over the entity tags of a list. A tag in quotes may contain commas.
fn tags(mut list: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        while let [b',' | b' ' | b'\t', rest @ ..] = list {
            list = rest;
        }
        let mut quoted = false;
        let ends = |byte: &u8| {
            quoted ^= *byte == b'"';
            *byte == b',' && !quoted
        };
        let end = list.iter().position(ends).unwrap_or(list.len());
        let (tag, rest) = list.split_at(end);
        list = rest;
        (!tag.is_empty()).then_some(tag.trim_ascii_end())
    })
}

/// Returns the range that the answer must have. None for the whole file: without a range, if the file has changed since
/// the date or the tag in If-Range, and if the server ignores the range. It ignores several ranges, other units than
/// bytes, and malformed ranges, which section 14.2 allows.
fn wanted_range(asked: &HeaderMap, found: &HeaderMap) -> Option<HeaderValue> {
    let mut ranges = asked.get_all(RANGE).iter();
    let (range, None) = (ranges.next()?, ranges.next()) else { return None };
    if let Some(validator) = asked.get(IF_RANGE) {
        let tag = found.get(ETAG)?.as_bytes();
        let since = date(asked, &IF_RANGE);
        let same_date = since.is_some() && since == date(found, &LAST_MODIFIED);
        (is_same_tag(validator.as_bytes().trim_ascii(), tag) || same_date).then_some(())?;
    }
    let (unit, set) = range.to_str().ok()?.split_once('=')?;
    unit.trim().eq_ignore_ascii_case("bytes").then_some(())?;
    let mut parts = set.split(',').map(str::trim).filter(|part| !part.is_empty());
    let (one, None) = (parts.next()?, parts.next()) else { return None };
    let (first, last) = one.split_once('-')?;
    [first, last].iter().all(|digits| digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(())?;
    let text = match (position(first), position(last)) {
        (Some(first), Some(last)) if first <= last => format!("bytes={first}-{last}"),
        (Some(first), None) => format!("bytes={first}-"),
        // The last bytes of an empty file are the whole file, and no Content-Range can name them.
        (None, Some(1..)) if length(found)? == 0 => return None,
        // s3s-fs fails for the last bytes of a file that has fewer.
        (None, Some(last)) if last >= length(found)? => "bytes=0-".to_owned(),
        (None, Some(last)) => format!("bytes=-{last}"),
        _ => return None,
    };
    HeaderValue::from_str(&text).ok()
}

/// Reads a position in a range, which consists of digits. None if it is left out. A position beyond the largest file
/// becomes the last position that s3s accepts.
fn position(digits: &str) -> Option<u64> {
    let most = i64::MAX.unsigned_abs();
    (!digits.is_empty()).then(|| digits.parse::<u64>().map_or(most, |position| position.min(most)))
}
