//! Content negotiation: the two media types of GraphQL over HTTP, and the two formats of event streams.

use axum::http::{HeaderMap, header};

/// The media types that the GraphQL over HTTP specification defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// `application/graphql-response+json`: the status says whether the operation was executed.
    Response,
    /// `application/json`: the status is 200 even if a well-formed operation is refused, because a client cannot know
    /// whether another status comes from the server or from a proxy.
    Json,
}

impl Media {
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Response => "application/graphql-response+json; charset=utf-8",
            Self::Json => "application/json; charset=utf-8",
        }
    }
}

/// The format in which the events of a subscription are sent over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamFormat {
    /// `text/event-stream`, the format of the npm package graphql-sse.
    Events,
    /// `multipart/mixed` with `subscriptionSpec`, the format of Apollo's clients.
    Multipart,
}

/// The media type and the stream format that the server chooses by the client's `Accept` header (RFC 9110, section
/// 12.5.1).
pub(super) struct Accept {
    /// The media type of the response. None if the client accepts neither media type.
    pub(super) media: Option<Media>,
    /// The format of a stream. None if the client names neither format, because a client that accepts any type expects
    /// no stream.
    pub(super) stream: Option<StreamFormat>,
}

impl Accept {
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let ranges: Vec<Range> = headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(Range::parse)
            .collect();
        Self { media: media(&ranges), stream: stream(&ranges) }
    }

    /// Returns the media type of an error that occurs before a stream begins.
    pub(super) fn media_of_errors(&self) -> Media {
        self.media.unwrap_or(Media::Response)
    }
}

/// Chooses the media type of the response. A client that sends no `Accept`, or accepts any type, is an older client and
/// gets `application/json`.
fn media(ranges: &[Range]) -> Option<Media> {
    if ranges.is_empty() {
        return Some(Media::Json);
    }
    let (response, named) = quality(ranges, "application/graphql-response+json");
    let (json, _) = quality(ranges, "application/json");
    match (response, json) {
        (0, 0) => None,
        _ if response > json || (response == json && named) => Some(Media::Response),
        _ => Some(Media::Json),
    }
}

fn stream(ranges: &[Range]) -> Option<StreamFormat> {
    let quality_of = |name| ranges.iter().find(|range| range.name == name).map_or(0, |range| range.quality);
    match (quality_of("text/event-stream"), quality_of("multipart/mixed")) {
        (0, 0) => None,
        (events, multipart) if events >= multipart => Some(StreamFormat::Events),
        _ => Some(StreamFormat::Multipart),
    }
}

/// A media range of an `Accept` header, with its quality.
struct Range {
    name: String,
    /// The quality in thousandths.
    quality: u32,
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty())?.to_ascii_lowercase();
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        Some(Self { name, quality: quality.map_or(Some(1000), thousandths)? })
    }
}

/// Parses a quality, such as `0`, `0.5` or `1.000`. It has at most three digits after the point.
fn thousandths(text: &str) -> Option<u32> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let fits = matches!(whole, "0" | "1") && rest.len() <= 3 && rest.bytes().all(|byte| byte.is_ascii_digit());
    let value = format!("{whole}{rest:0<3}").parse().ok().filter(|value| *value <= 1000);
    value.filter(|_| fits)
}

/// Returns the quality of a media type, by the most specific range that covers the type, and whether that range names
/// the type.
fn quality(ranges: &[Range], media: &str) -> (u32, bool) {
    [media, "application/*", "*/*"]
        .into_iter()
        .find_map(|name| Some((ranges.iter().find(|range| range.name == name)?.quality, name == media)))
        .unwrap_or((0, false))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_media_type_with_the_highest_quality_is_chosen() {
        const RESPONSE: &str = "application/graphql-response+json";
        for (accept, expected) in [
            ("*/*", Some(Media::Json)),
            ("application/*", Some(Media::Json)),
            ("application/json", Some(Media::Json)),
            (RESPONSE, Some(Media::Response)),
            ("application/graphql-response+json, application/json;q=0.9", Some(Media::Response)),
            ("application/json, application/graphql-response+json", Some(Media::Response)),
            ("application/json, application/graphql-response+json;q=0.5", Some(Media::Json)),
            ("application/graphql-response+json;q=0, application/json", Some(Media::Json)),
            ("application/graphql-response+json;q=0, */*", Some(Media::Json)),
            ("APPLICATION/GraphQL-Response+JSON; charset=utf-8 ;Q=0.1", Some(Media::Response)),
            ("text/html, */*;q=0.1", Some(Media::Json)),
            ("text/html", None),
            ("application/json;q=0", None),
            ("*/*;q=0", None),
            ("application/json;q=2", Some(Media::Json)),
            ("", Some(Media::Json)),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(Accept::read(&headers).media, expected, "{accept}");
        }
        assert_eq!(Accept::read(&HeaderMap::new()).media, Some(Media::Json));
    }

    #[test]
    fn a_client_gets_a_stream_only_if_it_names_the_format() {
        for (accept, expected) in [
            ("*/*", None),
            ("text/*", None),
            ("text/event-stream", Some(StreamFormat::Events)),
            ("text/event-stream;q=0, application/json", None),
            ("multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/json", Some(StreamFormat::Multipart)),
            ("text/event-stream;q=0.5, multipart/mixed", Some(StreamFormat::Multipart)),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(Accept::read(&headers).stream, expected, "{accept}");
        }
    }
}
