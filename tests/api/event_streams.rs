//! Subscriptions over plain HTTP: Server-Sent Events, and Apollo's multipart protocol.

use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{Node, PATIENCE, User};

const INBOX: &str = "subscription { inbox { __typename ... on MessageAdded { message { body } } } }";
const MULTIPART: &str = "multipart/mixed;boundary=\"graphql\";subscriptionSpec=1.0,application/json";

/// A body that is read as it comes.
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

    /// What comes up to and with the mark.
    async fn until(&mut self, mark: &str) -> String {
        loop {
            if let Some(place) = self.read.find(mark) {
                let rest = self.read.split_off(place + mark.len());
                return std::mem::replace(&mut self.read, rest);
            }
            let chunk = timeout(PATIENCE, self.response.chunk()).await.expect("nothing came in time").unwrap();
            let chunk = chunk.unwrap_or_else(|| panic!("the stream ended after {:?}", self.read));
            self.read.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// All that is left, once the server has ended the stream.
    async fn rest(mut self) -> String {
        while let Some(chunk) = timeout(PATIENCE, self.response.chunk()).await.expect("the end").unwrap() {
            self.read.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        self.read
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
async fn server_sent_events_are_those_of_graphql_sse() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let mut stream = Stream::open(ask(&node, &ada, "text/event-stream", INBOX)).await;
    assert_eq!(stream.response.headers()["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(stream.until("\n\n").await, ":\n\n", "the stream is open before there is anything to tell");
    assert_eq!(stream.until("\n\n").await, next(&json!({"data": {"inbox": {"__typename": "CaughtUp"}}})));
    let group = ada.create_group("Events", &[]).await;
    stream.until("ConversationAdded\"}}}\n\n").await;
    ada.send(&group, "hello\nthere").await;
    let event = stream.until("\n\n").await;
    assert_eq!(
        event,
        "event: next\ndata: {\"data\":{\"inbox\":{\"__typename\":\"MessageAdded\",\"message\":{\"body\":\"hello\\nthere\"}}}}\n\n"
    );

    // Any operation goes this way.
    let query =
        Stream::open(ask(&node, &ada, "text/event-stream", "{ serverInfo { maxPageSize } }")).await.rest().await;
    let data = next(&json!({"data": {"serverInfo": {"maxPageSize": 100}}}));
    assert_eq!(query, format!(":\n\n{data}event: complete\ndata: \n\n"));
    // What fails is an event, and the last one.
    let failed = Stream::open(ask(&node, &ada, "text/event-stream", "subscription { nope }")).await.rest().await;
    assert!(
        failed.contains("GRAPHQL_VALIDATION_FAILED") && failed.ends_with("event: complete\ndata: \n\n"),
        "{failed}"
    );
    // What is no operation at all is refused before there is a stream.
    let refused = ask(&node, &ada, "text/event-stream", "{").send().await.unwrap();
    assert_eq!(refused.status(), 400);
}

#[tokio::test]
async fn multipart_streams_are_those_of_apollo() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let mut stream = Stream::open(ask(&node, &ada, MULTIPART, INBOX)).await;
    let content_type = stream.response.headers()["content-type"].to_str().unwrap();
    assert!(content_type.starts_with("multipart/mixed") && content_type.contains("subscriptionSpec=1.0"));
    assert_eq!(stream.until("--graphql").await, "--graphql");
    let part = stream.until("--graphql").await;
    let expected = json!({"payload": {"data": {"inbox": {"__typename": "CaughtUp"}}}});
    assert_eq!(part, format!("\r\nContent-Type: application/json\r\n\r\n{expected}\r\n--graphql"));
    // A query of such a client is answered as ever.
    let answer = ask(&node, &ada, MULTIPART, "{ serverInfo { maxPageSize } }").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json; charset=utf-8");
    // Once the session has ended the connection says so, and the stream ends.
    ada.query("mutation { logout { sessionId } }", json!({})).await;
    let last = stream.rest().await;
    assert!(last.contains("\"payload\":null") && last.contains("UNAUTHENTICATED"), "{last}");
    assert!(last.ends_with("\r\n--graphql--\r\n"), "{last}");
}

#[tokio::test]
async fn a_stream_ends_with_its_session_and_shows_that_it_lives() {
    let node = Node::build().flag("--socket-ping-interval=1").start_alone().await;
    let ada = node.register("ada").await;
    let mut stream = Stream::open(ask(&node, &ada, "text/event-stream", INBOX)).await;
    stream.until("CaughtUp\"}}}\n\n").await;
    assert_eq!(stream.until("\n\n").await, ":\n\n");
    ada.query("mutation { logout { sessionId } }", json!({})).await;
    let last = stream.rest().await;
    assert!(last.contains("UNAUTHENTICATED") && last.ends_with("event: complete\ndata: \n\n"), "{last}");
}

/// Without `complete`: the client takes it for a broken connection, and comes back to another node.
#[tokio::test]
async fn a_drain_breaks_streams_off() {
    let node = Node::build().flag("--drain-delay=0").start_alone().await;
    let ada = node.register("ada").await;
    let mut stream = Stream::open(ask(&node, &ada, "text/event-stream", INBOX)).await;
    stream.until("CaughtUp\"}}}\n\n").await;
    node.stop();
    assert_eq!(stream.rest().await, "");
    node.stopped().await;
}

#[tokio::test]
async fn streams_and_sockets_of_one_user_are_limited() {
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
    // Others are not touched, and one that goes makes room.
    bob.socket().await;
    drop(stream);
    drop(socket);
    for _ in 0..100 {
        let answer = ask(&node, &ada, "text/event-stream", INBOX).send().await.unwrap();
        if answer.status() == 200 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the seat of a closed connection is not free again");
}

#[tokio::test]
async fn the_logout_itself_is_answered() {
    let node = Node::start().await;
    for _ in 0..10 {
        let ada = node.register("ada").await;
        let logout = ask(&node, &ada, "text/event-stream", "mutation { logout { sessionId } }");
        let answer = Stream::open(logout).await.rest().await;
        assert!(answer.contains("ses_") && answer.ends_with("event: complete\ndata: \n\n"), "{answer}");
    }
}

/// Whoever does not read is given up in time, and takes no seat any more.
#[tokio::test]
async fn a_stream_that_nobody_reads_ends() {
    let node = Node::build().flag("--socket-write-timeout=1").flag("--socket-max-per-user=1").start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let group = ada.create_group("Unread", &[&bob]).await;
    let mut unread = Stream::open(ask(&node, &ada, "text/event-stream", INBOX)).await;
    unread.until("CaughtUp\"}}}\n\n").await;
    let again = || ask(&node, &ada, "text/event-stream", INBOX).send();
    assert_eq!(again().await.unwrap().status(), 429);
    // More than the buffers of both sides hold, until the server is stuck.
    let body = "x".repeat(8000);
    let filled = async {
        while again().await.unwrap().status() == 429 {
            for _ in 0..100 {
                bob.send(&group, &body).await;
            }
        }
    };
    timeout(4 * PATIENCE, filled).await.expect("the seat stays taken");
}

#[tokio::test]
async fn a_list_is_no_stream() {
    let node = Node::start().await;
    let list = node.http.post(node.url("/graphql")).header("accept", "text/event-stream");
    let answer = list.json(&json!([{"query": "{ __typename }"}])).send().await.unwrap();
    assert_eq!(answer.status(), 406);
}
