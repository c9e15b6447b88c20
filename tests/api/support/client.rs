//! Clients that call the API over HTTP, and users with accounts.

use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _};
use serde_json::{Value, json};

use super::node::Node;
use super::socket::{Inbox, Socket};
use super::{PATIENCE, eventually};

/// The accepted media type. With this type, the HTTP status shows whether the operation was executed.
const ACCEPT: &str = "application/graphql-response+json";

/// Returns a builder of an HTTP client with a timeout for each request, including its response.
pub fn http_client() -> reqwest::ClientBuilder {
    reqwest::Client::builder().timeout(4 * PATIENCE)
}

/// The status and the body of an HTTP response.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    /// Returns the data of the response. Panics if the response has errors.
    #[track_caller]
    pub fn data(self) -> Value {
        assert!(self.body.get("errors").is_none(), "{:#}", self.body);
        self.body["data"].clone()
    }

    /// Returns the code of the error. Panics if the response does not have exactly one error.
    #[track_caller]
    pub fn code(&self) -> &str {
        let errors = self.body["errors"].as_array().unwrap_or_else(|| panic!("no error in {:#}", self.body));
        assert_eq!(errors.len(), 1, "{:#}", self.body);
        errors[0]["extensions"]["code"].as_str().unwrap()
    }

    /// Returns the paths of the input fields in the `violations` of the error.
    #[track_caller]
    pub fn violations(&self) -> Vec<&str> {
        let violations = self.body["errors"][0]["extensions"]["violations"].as_array();
        let violations = violations.unwrap_or_else(|| panic!("no violations in {:#}", self.body));
        violations.iter().map(|violation| violation["path"].as_str().unwrap()).collect()
    }
}

/// The GraphQL endpoint of a server.
#[derive(Clone, Debug)]
pub struct Api {
    pub url: String,
    http: reqwest::Client,
    /// URL of the node's database. Empty if the server is not a node of this process.
    database_url: String,
}

impl From<&Node> for Api {
    fn from(node: &Node) -> Self {
        Self { url: node.url("/graphql"), http: node.http.clone(), database_url: node.database_url.clone() }
    }
}

impl Api {
    pub fn new(url: String) -> Self {
        Self { url, http: http_client().build().unwrap(), database_url: String::new() }
    }

    /// Returns a client of this node whose requests come from 127.0.0.`last`, so that limits by address count its
    /// requests separately.
    pub fn from_address(node: &Node, last: u8) -> Self {
        let address = std::net::Ipv4Addr::new(127, 0, 0, last).into();
        let http = http_client().local_address(Some(address)).build().unwrap();
        Self { url: node.url("/graphql"), http, database_url: node.database_url.clone() }
    }

    /// Waits until the search index contains all changes of messages up to now.
    pub async fn indexed(&self) {
        let mut connection = AsyncPgConnection::establish(&self.database_url).await.unwrap();
        let current = "SELECT 1 FROM consumers, log_head, search_state
            WHERE name = 'search' AND position >= log_head.seq AND rebuilding IS NULL";
        eventually("the search index is up to date", async || {
            diesel::sql_query(current).execute(&mut connection).await.unwrap() > 0
        })
        .await;
    }

    pub async fn call(&self, token: Option<&str>, query: &str, variables: Value) -> Answer {
        self.try_call(token, query, variables).await.unwrap()
    }

    /// Calls the API. Returns an error if the server cannot be reached or disconnects before it responds.
    pub async fn try_call(&self, token: Option<&str>, query: &str, variables: Value) -> reqwest::Result<Answer> {
        let mut request = self.http.post(&self.url).header("accept", ACCEPT);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.json(&json!({"query": query, "variables": variables})).send().await?;
        Ok(Answer { status: response.status().as_u16(), body: response.json().await? })
    }
}

impl Node {
    pub async fn call(&self, token: Option<&str>, query: &str, variables: Value) -> Answer {
        Api::from(self).call(token, query, variables).await
    }
}

#[derive(Clone, Debug)]
pub struct User {
    pub id: String,
    pub username: String,
    pub session: String,
    pub access_token: String,
    pub refresh_token: String,
    api: Api,
}

const SEND_MESSAGE: &str = "mutation ($input: SendMessageInput!) {
    sendMessage(input: $input) { message { id number revision body clientId kind sender { id } } }
}";

const SIGNED_IN: &str = "accessToken refreshToken session { id } viewer { user { id username } }";

impl User {
    pub async fn register(at: impl Into<Api>, username: &str, password: &str) -> Self {
        let api = at.into();
        let query = format!("mutation ($input: RegisterInput!) {{ register(input: $input) {{ {SIGNED_IN} }} }}");
        let data = api.call(None, &query, json!({"input": {"username": username, "password": password}})).await.data();
        Self::from_payload(api, &data["register"])
    }

    /// Waits until the search index contains all changes of messages up to now.
    pub async fn indexed(&self) {
        self.api.indexed().await;
    }

    /// Signs in to an existing account. The returned user has a new session.
    pub async fn login(at: impl Into<Api>, username: &str, password: &str) -> Self {
        let query = format!("mutation ($input: LoginInput!) {{ login(input: $input) {{ {SIGNED_IN} }} }}");
        let api = at.into();
        let data =
            api.call(None, &query, json!({"input": {"identifier": username, "password": password}})).await.data();
        Self::from_payload(api, &data["login"])
    }

    pub fn from_payload(at: impl Into<Api>, payload: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            id: text(&payload["viewer"]["user"]["id"]),
            username: text(&payload["viewer"]["user"]["username"]),
            session: text(&payload["session"]["id"]),
            access_token: text(&payload["accessToken"]),
            refresh_token: text(&payload["refreshToken"]),
            api: at.into(),
        }
    }

    /// Returns a copy of this user whose requests go to another server.
    pub fn on(&self, other: impl Into<Api>) -> Self {
        Self { api: other.into(), ..self.clone() }
    }

    pub async fn call(&self, query: &str, variables: Value) -> Answer {
        self.api.call(Some(&self.access_token), query, variables).await
    }

    pub async fn query(&self, query: &str, variables: Value) -> Value {
        self.call(query, variables).await.data()
    }

    /// Opens the direct conversation with another user and returns its id.
    pub async fn open_direct(&self, other: &Self) -> String {
        let query = "mutation ($id: ID!) { openDirectConversation(input: {userId: $id}) { conversation { id } } }";
        let data = self.query(query, json!({"id": other.id})).await;
        data["openDirectConversation"]["conversation"]["id"].as_str().unwrap().to_owned()
    }

    pub async fn create_group(&self, title: &str, others: &[&Self]) -> String {
        let query = "mutation ($input: CreateGroupInput!) { createGroup(input: $input) { conversation { id } } }";
        let ids: Vec<_> = others.iter().map(|user| user.id.as_str()).collect();
        let data = self.query(query, json!({"input": {"title": title, "participantIds": ids}})).await;
        data["createGroup"]["conversation"]["id"].as_str().unwrap().to_owned()
    }

    pub async fn try_send(&self, conversation: &str, body: &str, client_id: Option<&str>) -> Answer {
        self.call(SEND_MESSAGE, send_input(conversation, body, client_id)).await
    }

    /// Sends a message. Returns an error if the server cannot be reached or disconnects before it responds.
    pub async fn attempt_send(&self, conversation: &str, body: &str, client_id: &str) -> reqwest::Result<Answer> {
        let variables = send_input(conversation, body, Some(client_id));
        self.api.try_call(Some(&self.access_token), SEND_MESSAGE, variables).await
    }

    /// Sends a message and returns it.
    pub async fn send(&self, conversation: &str, body: &str) -> Value {
        self.try_send(conversation, body, None).await.data()["sendMessage"]["message"].clone()
    }

    pub async fn mark_read(&self, message: &Value) -> Answer {
        let query = "mutation ($id: ID!) { markRead(input: {messageId: $id}) {
            conversation { id viewerMembership { unreadCount lastReadMessage { number } } }
        } }";
        self.call(query, json!({"id": message["id"]})).await
    }

    pub async fn unread(&self, conversation: &str) -> i64 {
        let query = "query ($id: ID!) { conversation(id: $id) { viewerMembership { unreadCount } } }";
        let data = self.query(query, json!({"id": conversation})).await;
        data["conversation"]["viewerMembership"]["unreadCount"].as_i64().unwrap()
    }

    pub async fn socket(&self) -> Socket {
        Socket::open(&self.api.url, &self.access_token).await
    }

    pub async fn delete_account(&self, password: Option<&str>) -> Answer {
        let query = "mutation ($password: String) { deleteAccount(input: {password: $password}) { userId } }";
        self.call(query, json!({"password": password})).await
    }

    /// Subscribes to the inbox on a new socket and waits for `CaughtUp`.
    pub async fn inbox(&self) -> Inbox {
        let mut inbox = self.inbox_after(None).await;
        let first = inbox.next().await;
        assert_eq!(first["__typename"], "CaughtUp", "{first:#}");
        inbox
    }

    /// Subscribes to the inbox, receives one message from `sender` and disconnects. Returns the cursor to resume from.
    pub async fn cursor_after_message(&self, sender: &Self, conversation: &str) -> Option<String> {
        let mut inbox = self.inbox().await;
        sender.send(conversation, "seen").await;
        assert_eq!(inbox.message().await["body"], "seen");
        inbox.cursor
    }

    pub async fn inbox_after(&self, cursor: Option<&str>) -> Inbox {
        Inbox::open(self.socket().await, cursor).await
    }
}

fn send_input(conversation: &str, body: &str, client_id: Option<&str>) -> Value {
    json!({"input": {"conversationId": conversation, "body": body, "clientId": client_id}})
}
