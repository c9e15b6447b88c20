//! Preconditions and ranges of downloads from the embedded S3 (RFC 9110, sections 13 and 14).

use parlance::blobs::{Body, Download};
use parlance::clock::Clock;
use reqwest::{Response, StatusCode};

use super::{EXPIRES, Place};

const TEXT: &[u8] = b"Cannon to right of them, Cannon to left of them";

struct Stored {
    place: Place,
    url: String,
    tag: String,
    modified: String,
}

impl Stored {
    async fn new() -> Self {
        Self::with(TEXT).await
    }

    async fn with(content: &[u8]) -> Self {
        let place = Place::own().await;
        place.blobs().put("a", "text/plain", Body::Bytes(content.to_vec())).await.unwrap();
        let download = Download { key: "a", content_type: "text/plain", disposition: "inline" };
        let url = place.blobs().presign_get(&download, Clock::system().now(), EXPIRES).await.unwrap();
        let answer = place.http.get(&url).send().await.unwrap();
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("accept-ranges"), "bytes");
        let (tag, modified) = (header("etag"), header("last-modified"));
        Self { place, url, tag, modified }
    }

    async fn send(&self, headers: &[(&str, &str)]) -> Response {
        let request = self.place.http.get(&self.url);
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await.unwrap()
    }

    async fn get(&self, headers: &[(&str, &str)]) -> (u16, Vec<u8>) {
        let answer = self.send(headers).await;
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    }
}

#[tokio::test]
async fn if_none_match_and_if_modified_since_send_only_what_has_changed() {
    let stored = Stored::new().await;
    let tag = stored.tag.clone();
    let (weak, list) = (format!("W/{tag}"), format!("\"other, one\", ,{tag}"));
    for known in [tag.as_str(), &weak, &list, "*"] {
        let answer = stored.send(&[("if-none-match", known)]).await;
        assert_eq!(answer.status(), StatusCode::NOT_MODIFIED, "{known}");
        assert_eq!(answer.headers()["etag"], tag.as_str());
        // A precondition is evaluated before the range.
        assert_eq!(
            stored.get(&[("if-none-match", known), ("range", "bytes=900-")]).await,
            (304, Vec::new()),
            "{known}"
        );
    }
    let tag_in_tag = format!("\"x,{}", &tag[1..]);
    for unknown in ["", " ", ",", "\"other\"", "W/\"other\"", "\"a\", \"b\"", "\"unclosed", &tag_in_tag] {
        assert_eq!(stored.get(&[("if-none-match", unknown)]).await, (200, TEXT.to_vec()), "{unknown:?}");
    }
    let (modified, before) = (stored.modified.as_str(), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(stored.get(&[("if-modified-since", modified)]).await, (304, Vec::new()));
    for since in [before, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "yesterday", ""] {
        assert_eq!(stored.get(&[("if-modified-since", since)]).await.0, 200, "{since:?}");
    }
    // If-None-Match replaces If-Modified-Since.
    assert_eq!(stored.get(&[("if-none-match", ""), ("if-modified-since", modified)]).await.0, 200);
}

#[tokio::test]
async fn if_match_and_if_unmodified_since_refuse_a_file_that_has_changed() {
    let stored = Stored::new().await;
    let (tag, modified) = (stored.tag.as_str(), stored.modified.as_str());
    let weak = format!("W/{tag}");
    for (headers, status) in [
        ([("if-match", tag)], 200),
        ([("if-match", "*")], 200),
        ([("if-match", &weak)], 412),
        ([("if-match", "\"other\"")], 412),
        ([("if-match", "")], 412),
        ([("if-unmodified-since", modified)], 200),
        ([("if-unmodified-since", "Sun, 06 Nov 1994 08:49:37 GMT")], 412),
        ([("if-unmodified-since", "yesterday")], 200),
    ] {
        assert_eq!(stored.get(&headers).await.0, status, "{headers:?}");
    }
}

#[tokio::test]
async fn one_range_is_answered_by_a_part_and_other_ranges_by_the_whole_file() {
    let stored = Stored::new().await;
    let length = TEXT.len();
    for (range, part) in [
        ("bytes=0-5", &TEXT[..6]),
        ("Bytes=7-", &TEXT[7..]),
        ("bytes=-4", &TEXT[length - 4..]),
        ("bytes=-4000", TEXT),
        ("bytes=0-0,", &TEXT[..1]),
        ("bytes= ,3-4", &TEXT[3..5]),
        ("bytes=40-99999999999999999999999", &TEXT[40..]),
    ] {
        assert_eq!(stored.get(&[("range", range)]).await, (206, part.to_vec()), "{range}");
    }
    let some_part = stored.send(&[("range", "bytes=2-3")]).await;
    assert_eq!(some_part.headers()["content-range"], format!("bytes 2-3/{length}"));
    for range in ["bytes=0-1,5-6", "bytes=0-1, -2", "bytes=5-2", "bytes=a-b", "bytes=", "bytes=-", "lines=0-1", "x", ""]
    {
        assert_eq!(stored.get(&[("range", range)]).await, (200, TEXT.to_vec()), "{range:?}");
    }
    for range in ["bytes=47-", "bytes=900-901", "bytes=-0", "bytes=99999999999999999999999-"] {
        let answer = stored.send(&[("range", range)]).await;
        assert_eq!(answer.status(), StatusCode::RANGE_NOT_SATISFIABLE, "{range}");
        assert_eq!(answer.headers()["content-range"], format!("bytes */{length}"), "{range}");
    }
}

#[tokio::test]
async fn an_empty_file_has_last_bytes_and_no_other_range() {
    let stored = Stored::with(b"").await;
    for range in ["bytes=-1", "bytes=-4000"] {
        assert_eq!(stored.get(&[("range", range)]).await, (200, Vec::new()), "{range}");
    }
    for range in ["bytes=0-", "bytes=0-5", "bytes=-0"] {
        let answer = stored.send(&[("range", range)]).await;
        assert_eq!(answer.status(), StatusCode::RANGE_NOT_SATISFIABLE, "{range}");
        assert_eq!(answer.headers()["content-range"], "bytes */0", "{range}");
    }
}

#[tokio::test]
async fn if_range_sends_the_part_of_the_same_file_and_the_whole_of_another() {
    let stored = Stored::new().await;
    let weak = format!("W/{}", stored.tag);
    for validator in [stored.tag.as_str(), &stored.modified] {
        let headers = [("range", "bytes=0-2"), ("if-range", validator)];
        assert_eq!(stored.get(&headers).await, (206, b"Can".to_vec()), "{validator}");
    }
    for validator in ["\"other\"", &weak, "Sun, 06 Nov 1994 08:49:37 GMT", "", "*"] {
        for range in ["bytes=0-2", "bytes=900-"] {
            let headers = [("range", range), ("if-range", validator)];
            assert_eq!(stored.get(&headers).await, (200, TEXT.to_vec()), "{validator:?} {range}");
        }
    }
    assert_eq!(stored.get(&[("if-range", &stored.tag)]).await.0, 200);
}

#[tokio::test]
async fn preconditions_reveal_nothing_without_a_valid_signature() {
    let stored = Stored::new().await;
    let url = stored.url.replace("/a?", "/b?");
    for (name, value) in [("if-none-match", "*"), ("if-match", "\"other\""), ("range", "bytes=900-")] {
        let answer = stored.place.http.get(&url).header(name, value).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{name}");
    }
}
