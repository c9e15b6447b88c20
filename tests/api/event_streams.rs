//! Event streams, which are subscriptions over HTTP: Server-Sent Events, and Apollo's multipart protocol.

use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use crate::support::{Node, PATIENCE, User, eventually, within};

const INBOX: &str = "subscription { inbox { __typename ... on MessageAdded { message { body } } } }";
const MULTIPART: &str = "multipart/mixed;boundary=\"graphql\";subscriptionSpec=1.0,application/json";

/// A response body that is read while it arrives.
struct Stream {
    response: Response,
    read: String,
}

impl Stream {
    async fn open(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        Self { response, read: String::new() }
    }

    /// Reads up to and including the text `mark`, and returns the text that was read.
    async fn until(&mut self, mark: &str) -> String {
        within(PATIENCE, mark, async {
            loop {
                if let Some(place) = self.read.find(mark) {
                    let rest = self.read.split_off(place + mark.len());
                    return std::mem::replace(&mut self.read, rest);
                }
                let chunk = self.response.chunk().await.unwrap();
                let chunk = chunk.unwrap_or_else(|| panic!("the stream ended after {:?}", self.read));
                self.read.push_str(std::str::from_utf8(&chunk).unwrap());
            }
        })
        .await
    }

    /// Reads until the server ends the stream, and returns all text that `until` has not returned.
    async fn rest(self) -> String {
        let rest = within(PATIENCE, "the end of the stream", self.response.text()).await.unwrap();
        self.read + &rest
    }
}

fn ask(node: &Node, user: &User, accept: &str, query: &str) -> RequestBuilder {
    let request = node.http.post(node.url("/graphql")).header("accept", accept).bearer_auth(&user.access_token);
    request.json(&json!({"query": query}))
}

fn next(json: &Value) -> String {
    format!("event: next\ndata: {json}\n\n")
}

#[tokio::test]
async fn event_streams_follow_the_graphql_sse_protocol() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let mut stream = Stream::open(ask(&node, &ada, "text/event-stream", INBOX)).await;
    assert_eq!(stream.response.headers()["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(stream.until("\n\n").await, ":\n\n", "the stream opens before its first event");
    assert_eq!(stream.until("\n\n").await, next(&json!({"data": {"inbox": {"__typename": "CaughtUp"}}})));
    let group = ada.create_group("Events", &[]).await;
    stream.until("ConversationAdded\"}}}\n\n").await;
    ada.send(&group, "hello\nthere").await;
    let event = stream.until("\n\n").await;
    assert_eq!(
        event,
        "event: next\ndata: {\"data\":{\"inbox\":{\"__typename\":\"MessageAdded\",\"message\":{\"body\":\"hello\\nthere\"}}}}\n\n"
    );

    // Queries run over an event stream too.
    let query =
        Stream::open(ask(&node, &ada, "text/event-stream", "{ serverInfo { maxPageSize } }")).await.rest().await;
    let data = next(&json!({"data": {"serverInfo": {"maxPageSize": 100}}}));
    assert_eq!(query, format!(":\n\n{data}event: complete\ndata: \n\n"));
    // For an invalid operation, the only event contains the errors.
    let failed = Stream::open(ask(&node, &ada, "text/event-stream", "subscription { nope }")).await.rest().await;
    assert!(
        failed.contains("GRAPHQL_VALIDATION_FAILED") && failed.ends_with("event: complete\ndata: \n\n"),
        "{failed}"
    );
    // A document that cannot be parsed is refused with status 400, without a stream.
    let refused = ask(&node, &ada, "text/event-stream", "{").send().await.unwrap();
    assert_eq!(refused.status(), 400);
}

#[tokio::test]
async fn multipart_streams_follow_the_apollo_protocol() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let mut stream = Stream::open(ask(&node, &ada, MULTIPART, INBOX)).await;
    let content_type = stream.response.headers()["content-type"].to_str().unwrap();
    assert!(content_type.starts_with("multipart/mixed") && content_type.contains("subscriptionSpec=1.0"));
    assert_eq!(stream.until("--graphql").await, "--graphql");
    let part = stream.until("--graphql").await;
    let expected = json!({"payload": {"data": {"inbox": {"__typename": "CaughtUp"}}}});
    assert_eq!(part, format!("\r\nContent-Type: application/json\r\n\r\n{expected}\r\n--graphql"));
    // A query with the same Accept header gets an ordinary JSON response.
    let answer = ask(&node, &ada, MULTIPART, "{ serverInfo { maxPageSize } }").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json; charset=utf-8");
    // When the session ends, the stream sends an error and ends.
    ada.query("mutation { logout { sessionId } }", json!({})).await;
    let last = stream.rest().await;
    assert!(last.contains("\"payload\":null") && last.contains("UNAUTHENTICATED"), "{last}");
    assert!(last.ends_with("\r\n--graphql--\r\n"), "{last}");
}

#[tokio::test]
async fn an_event_stream_sends_keep_alives_and_ends_when_the_session_ends() {
    let node = Node::build().flag("--socket-ping-interval=1").start_alone().await;
    let ada = node.register("ada").await;
    let mut stream = Stream::open(ask(&node, &ada, "text/event-stream", INBOX)).await;
    stream.until("CaughtUp\"}}}\n\n").await;
    assert_eq!(stream.until("\n\n").await, ":\n\n");
    ada.query("mutation { logout { sessionId } }", json!({})).await;
    let last = stream.rest().await;
    assert!(last.contains("UNAUTHENTICATED") && last.ends_with("event: complete\ndata: \n\n"), "{last}");
}

/// The stream ends without `complete`, so the client treats it as a broken connection and reconnects to another node.
#[tokio::test]
async fn a_drain_ends_event_streams_without_complete() {
    let node = Node::build().flag("--drain-delay=0").start_alone().await;
    let ada = node.register("ada").await;
    let mut stream = Stream::open(ask(&node, &ada, "text/event-stream", INBOX)).await;
    stream.until("CaughtUp\"}}}\n\n").await;
    node.stop();
    assert_eq!(stream.rest().await, "");
    node.stopped().await;
}

#[tokio::test]
async fn event_streams_and_sockets_share_one_limit_per_user() {
    let node = Node::build().flag("--socket-max-per-user=2").start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let stream = Stream::open(ask(&node, &ada, "text/event-stream", INBOX)).await;
    let socket = ada.socket().await;
    let refused = ask(&node, &ada, "text/event-stream", INBOX).send().await.unwrap();
    assert_eq!(refused.status(), 429);
    let body: Value = refused.json().await.unwrap();
    let extensions = &body["errors"][0]["extensions"];
    assert_eq!((&extensions["code"], &extensions["limit"]), (&json!("RATE_LIMITED"), &json!("SOCKET_MAX_PER_USER")));
    assert!(extensions["retryAfter"].as_u64().unwrap() >= 1);
    let mut third = crate::support::Socket::raw(&node.url("/graphql")).await;
    let authorization = format!("Bearer {}", ada.access_token);
    third.send(json!({"type": "connection_init", "payload": {"Authorization": authorization}})).await;
    assert_eq!(third.closed().await, 4410);
    // The limit does not affect other users, and a closed connection no longer counts.
    bob.socket().await;
    drop(stream);
    drop(socket);
    eventually("the place of a closed connection becomes free", async || {
        ask(&node, &ada, "text/event-stream", INBOX).send().await.unwrap().status() == 200
    })
    .await;
}

#[tokio::test]
async fn a_logout_over_an_event_stream_gets_a_response() {
    let node = Node::start().await;
    for _ in 0..10 {
        let ada = node.register("ada").await;
        let logout = ask(&node, &ada, "text/event-stream", "mutation { logout { sessionId } }");
        let answer = Stream::open(logout).await.rest().await;
        assert!(answer.contains("ses_") && answer.ends_with("event: complete\ndata: \n\n"), "{answer}");
    }
}

/// The server ends a stream whose client does not read. Afterwards the stream no longer counts against the limit.
#[tokio::test]
async fn a_stream_whose_client_does_not_read_ends() {
    let node = Node::build().flag("--socket-write-timeout=1").flag("--socket-max-per-user=1").start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let group = ada.create_group("Unread", &[&bob]).await;
    let mut unread = Stream::open(ask(&node, &ada, "text/event-stream", INBOX)).await;
    unread.until("CaughtUp\"}}}\n\n").await;
    let again = || ask(&node, &ada, "text/event-stream", INBOX).send();
    assert_eq!(again().await.unwrap().status(), 429);
    // Sends more bytes than the buffers of server and client hold, so that the server can no longer write.
    let body = "x".repeat(8000);
    let filled = async {
        while again().await.unwrap().status() == 429 {
            for _ in 0..100 {
                bob.send(&group, &body).await;
            }
        }
    };
    within(4 * PATIENCE, "the place becomes free", filled).await;
}

#[tokio::test]
async fn a_batch_of_operations_cannot_be_streamed() {
    let node = Node::start().await;
    let list = node.http.post(node.url("/graphql")).header("accept", "text/event-stream");
    let answer = list.json(&json!([{"query": "{ __typename }"}])).send().await.unwrap();
    assert_eq!(answer.status(), 406);
}
