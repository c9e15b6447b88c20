//! Messages that change: edited, deleted for everybody or for oneself, answered and forwarded.

use diesel::sql_types::{BigInt, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use serde_json::{Value, json};

use crate::support::{Answer, Node, TestDatabase, User};

const EDIT: &str = "mutation ($id: ID!, $body: String!) { editMessage(input: {messageId: $id, body: $body}) {
    message { id number revision body editedAt createdAt }
} }";
const DELETE: &str =
    "mutation ($id: ID!, $scope: DeleteScope!) { deleteMessage(input: {messageId: $id, scope: $scope}) {
    messageId message { id number revision body deletedAt pinnedAt reactions { emoji } kind sender { id } }
} }";
const SEND: &str = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) {
    message { id number body replyTo { id body deletedAt } forwarded }
} }";
const FORWARD: &str = "mutation ($input: ForwardMessagesInput!) { forwardMessages(input: $input) {
    messages { number body forwarded kind sender { id } conversation { id } }
} }";
const CHANGES: &str = "subscription ($after: String) { inbox(after: $after) {
    __typename
    ... on DurableEvent { cursor }
    ... on MessageAdded { message { id body } }
    ... on MessageUpdated { message { id body deletedAt revision } }
    ... on MessageRemoved { messageId conversationId }
} }";
const UPDATES: &str = "subscription ($id: ID!) { messageUpdated(conversationId: $id) {
    cursor message { id body deletedAt }
} }";

async fn edit(user: &User, message: &Value, body: &str) -> Answer {
    user.call(EDIT, json!({"id": message["id"], "body": body})).await
}

async fn delete(user: &User, message: &Value) -> Answer {
    user.call(DELETE, json!({"id": message["id"], "scope": "EVERYONE"})).await
}

async fn hide(user: &User, message: &Value) -> Answer {
    user.call(DELETE, json!({"id": message["id"], "scope": "VIEWER"})).await
}

async fn reply(user: &User, conversation: &str, to: &Value, body: &str) -> Answer {
    user.call(SEND, json!({"input": {"conversationId": conversation, "body": body, "replyToId": to["id"]}})).await
}

/// A subscription to the inbox that shows changes.
struct Changes {
    socket: crate::support::Socket,
    cursor: Value,
}

impl Changes {
    async fn of(user: &User) -> Self {
        let (changes, missed) = Self::after(user, Value::Null).await;
        assert!(missed.is_empty());
        changes
    }

    /// With what came before CaughtUp.
    async fn after(user: &User, cursor: Value) -> (Self, Vec<Value>) {
        let mut socket = user.socket().await;
        socket.subscribe("inbox", CHANGES, json!({"after": cursor})).await;
        let mut changes = Self { socket, cursor };
        let mut missed = Vec::new();
        loop {
            let event = changes.next().await;
            if event["__typename"] == "CaughtUp" {
                return (changes, missed);
            }
            missed.push(event);
        }
    }

    async fn next(&mut self) -> Value {
        let message = self.socket.receive_of("inbox").await;
        assert_eq!(message["type"], "next", "{message:#}");
        let event = message["payload"]["data"]["inbox"].clone();
        self.cursor = event["cursor"].clone();
        event
    }

    /// The next event, which is of this kind.
    async fn expect(&mut self, kind: &str) -> Value {
        let event = self.next().await;
        assert_eq!(event["__typename"], kind, "{event:#}");
        event
    }
}

async fn seen(user: &User, conversation: &str) -> Vec<i64> {
    let query = "query ($id: ID!) { conversation(id: $id) { messages(first: 100) { nodes { number } } } }";
    let data = user.query(query, json!({"id": conversation})).await;
    let nodes = data["conversation"]["messages"]["nodes"].as_array().unwrap().clone();
    nodes.iter().map(|node| node["number"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn an_edit_changes_the_body_for_all_and_is_kept_for_the_audit() {
    #[derive(QueryableByName)]
    struct Edit {
        #[diesel(sql_type = Text)]
        body: String,
    }
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let phone = User::login(&node, &bob.username, crate::support::PASSWORD).await;
    let conversation = ada.open_direct(&bob).await;
    let message = ada.send(&conversation, "hallo").await;
    let mut inboxes = [Changes::of(&ada).await, Changes::of(&bob).await, Changes::of(&phone).await];

    let edited = edit(&ada, &message, " hello \n").await.data()["editMessage"]["message"].clone();
    assert_eq!((&edited["body"], &edited["number"]), (&json!(" hello \n"), &json!(1)));
    assert!(edited["editedAt"].is_string() && edited["revision"].as_i64() > message["revision"].as_i64());
    // The same once more is no change.
    let again = edit(&ada, &message, " hello \n").await.data()["editMessage"]["message"].clone();
    assert_eq!(again, edited);
    edit(&ada, &message, "hello!").await.data();
    for inbox in &mut inboxes {
        for _ in 0..2 {
            let event = inbox.expect("MessageUpdated").await;
            assert_eq!(event["message"]["id"], message["id"]);
        }
    }
    // A later message has a later revision, and nothing was told of the edit that changed nothing.
    let next = ada.send(&conversation, "next").await;
    assert!(next["revision"].as_i64() > edited["revision"].as_i64());
    assert_eq!(inboxes[2].expect("MessageAdded").await["message"]["body"], "next");

    let query = sql_query("SELECT body FROM message_edits ORDER BY until");
    let edits: Vec<Edit> = query.load(&mut database.connection().await).await.unwrap();
    assert_eq!(edits.into_iter().map(|edit| edit.body).collect::<Vec<_>>(), ["hallo", " hello \n"]);
}

#[tokio::test]
async fn only_ones_own_texts_are_edited_within_their_limits() {
    let node = Node::build().flag("--max-message-length=10").start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let stranger = node.register("stranger").await;
    let group = ada.create_group("Edits", &[&bob]).await;
    let message = bob.send(&group, "mine").await;
    assert_eq!(edit(&ada, &message, "yours").await.code(), "FORBIDDEN");
    assert_eq!(edit(&stranger, &message, "seen").await.code(), "NOT_FOUND");
    for body in ["", " ", "nul\0", "eleven chars"] {
        let answer = edit(&bob, &message, body).await;
        assert_eq!((answer.code(), answer.violations()), ("BAD_USER_INPUT", vec!["body"]), "{body:?}");
    }
    // Scalar values are counted, not bytes.
    assert_eq!(edit(&bob, &message, "ééééééé👍👍👍").await.data()["editMessage"]["message"]["number"], 1);
    delete(&bob, &message).await.data();
    assert_eq!(edit(&bob, &message, "back").await.violations(), ["messageId"]);
}

#[tokio::test]
async fn a_deleted_message_leaves_its_number_and_nothing_else() {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let message = ada.send(&conversation, "a secret").await;
    edit(&ada, &message, "the secret").await.data();
    let react = "mutation ($id: ID!) {
        addReaction(input: {messageId: $id, emoji: \"👍\"}) { message { id } }
        pinMessage(input: {messageId: $id}) { message { pinnedAt } }
    }";
    bob.query(react, json!({"id": message["id"]})).await;
    let mut inbox = Changes::of(&bob).await;

    let deleted = delete(&ada, &message).await.data()["deleteMessage"].clone();
    assert_eq!(deleted["messageId"], message["id"]);
    let tombstone = &deleted["message"];
    assert_eq!((&tombstone["number"], &tombstone["body"]), (&json!(1), &Value::Null));
    assert_eq!((&tombstone["pinnedAt"], &tombstone["reactions"]), (&Value::Null, &json!([])));
    assert_eq!((&tombstone["kind"], &tombstone["sender"]["id"]), (&json!("TEXT"), &json!(ada.id)));
    assert!(tombstone["deletedAt"].is_string());
    // Once more: no error, and no event.
    assert_eq!(delete(&ada, &message).await.data()["deleteMessage"]["message"], *tombstone);
    let event = inbox.expect("MessageUpdated").await;
    assert_eq!((&event["message"]["body"], &event["message"]["deletedAt"]), (&Value::Null, &tombstone["deletedAt"]));
    ada.send(&conversation, "after").await;
    assert_eq!(inbox.expect("MessageAdded").await["message"]["body"], "after");
    assert_eq!(seen(&bob, &conversation).await, [1, 2, 3], "the second tells of the pin");

    let secrets = sql_query(
        "SELECT (SELECT count(*) FROM messages WHERE body LIKE '%secret%')
              + (SELECT count(*) FROM message_edits WHERE body IS NOT NULL)
              + (SELECT count(*) FROM message_reactions) AS count",
    );
    assert_eq!(secrets.get_result::<Count>(&mut database.connection().await).await.unwrap().count, 0);
    // A tombstone takes nothing on.
    let add = "mutation ($id: ID!) { addReaction(input: {messageId: $id, emoji: \"👍\"}) { message { id } } }";
    assert_eq!(bob.call(add, json!({"id": message["id"]})).await.violations(), ["messageId"]);
}

/// Not even where somebody who asked alike was shown it before.
#[tokio::test]
async fn who_comes_back_is_not_shown_what_was_deleted() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let mut inbox = Changes::of(&bob).await;
    let start = inbox.cursor.clone();
    let message = ada.send(&conversation, "a secret").await;
    edit(&ada, &message, "the secret").await.data();
    inbox.expect("MessageAdded").await;
    inbox.expect("MessageUpdated").await;
    delete(&ada, &message).await.data();
    inbox.expect("MessageUpdated").await;
    let (_, missed) = Changes::after(&bob, start).await;
    let kinds: Vec<_> = missed.iter().map(|event| event["__typename"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["MessageAdded", "MessageUpdated", "MessageUpdated"]);
    assert!(missed.iter().all(|event| event["message"]["body"].is_null()), "{missed:#?}");
}

#[tokio::test]
async fn for_everyone_delete_who_sent_it_and_the_admins_of_a_group() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let stranger = node.register("stranger").await;
    let group = ada.create_group("Deletions", &[&bob, &cem]).await;
    let (of_ada, of_bob) = (ada.send(&group, "ada's").await, bob.send(&group, "bob's").await);
    assert_eq!(delete(&cem, &of_bob).await.code(), "FORBIDDEN");
    assert_eq!(delete(&bob, &of_ada).await.code(), "FORBIDDEN");
    assert_eq!(delete(&stranger, &of_bob).await.code(), "NOT_FOUND");
    assert!(delete(&ada, &of_bob).await.data()["deleteMessage"]["message"]["deletedAt"].is_string());
    // In a direct conversation nobody is above the other.
    let direct = ada.open_direct(&bob).await;
    let message = bob.send(&direct, "bob's").await;
    assert_eq!(delete(&ada, &message).await.code(), "FORBIDDEN");
    delete(&bob, &message).await.data();
    // What the history tells stays.
    let leave = "mutation ($id: ID!) { leaveConversation(input: {conversationId: $id}) { conversationId } }";
    cem.query(leave, json!({"id": group})).await;
    let query = "query ($id: ID!) { conversation(id: $id) { lastMessage { id kind } } }";
    let told = ada.query(query, json!({"id": group})).await["conversation"]["lastMessage"].clone();
    assert_eq!(told["kind"], "SYSTEM");
    assert_eq!(delete(&ada, &told).await.code(), "FORBIDDEN");
}

#[tokio::test]
async fn what_one_deletes_for_oneself_is_gone_on_all_ones_devices_and_nowhere_else() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let phone = User::login(&node, &bob.username, crate::support::PASSWORD).await;
    let conversation = ada.open_direct(&bob).await;
    let mut desk = Changes::of(&bob).await;
    let start = desk.cursor.clone();
    let mut messages = Vec::new();
    for body in ["one", "two", "three"] {
        messages.push(ada.send(&conversation, body).await);
    }
    let answer = reply(&ada, &conversation, &messages[2], "answer").await.data()["sendMessage"]["message"].clone();
    hide(&ada, &answer).await.data();
    let (mut pocket, mut hers) = (Changes::of(&phone).await, Changes::of(&ada).await);

    let hidden = hide(&bob, &messages[2]).await.data()["deleteMessage"].clone();
    assert_eq!(hidden, json!({"messageId": messages[2]["id"], "message": null}));
    // Once more: no error and no event.
    hide(&phone, &messages[2]).await.data();
    let last = ada.send(&conversation, "last").await;
    hide(&bob, &last).await.data();
    let removed = pocket.expect("MessageRemoved").await;
    assert_eq!((&removed["messageId"], &removed["conversationId"]), (&messages[2]["id"], &json!(conversation)));
    pocket.expect("MessageAdded").await;
    assert_eq!(pocket.expect("MessageRemoved").await["messageId"], last["id"]);
    for _ in 0..4 {
        desk.expect("MessageAdded").await;
    }
    desk.expect("MessageRemoved").await;

    // What changes of it later is not for them, live or later.
    edit(&ada, &messages[2], "three!").await.data();
    edit(&ada, &messages[1], "two!").await.data();
    assert_eq!(hers.expect("MessageAdded").await["message"]["body"], "last");
    for body in ["three!", "two!"] {
        assert_eq!(hers.expect("MessageUpdated").await["message"]["body"], body);
    }
    assert_eq!(pocket.expect("MessageUpdated").await["message"]["body"], "two!");
    let (_, missed) = Changes::after(&phone, start).await;
    let missed: Vec<_> = missed
        .iter()
        .filter(|event| event["message"].is_object())
        .map(|event| event["message"]["body"].as_str().unwrap())
        .collect();
    assert_eq!(missed, ["one", "two!", "answer", "two!"]);

    // Nothing leads there any more, and the numbers stay.
    assert_eq!(seen(&bob, &conversation).await, [1, 2, 4]);
    assert_eq!(seen(&ada, &conversation).await, [1, 2, 3, 5]);
    let query = "query ($id: ID!, $message: ID!) {
        conversation(id: $id) {
            lastMessage { number replyTo { id } }
            messages(last: 1) { nodes { number } pageInfo { hasPreviousPage hasNextPage } }
        }
        node(id: $message) { id } nodes(ids: [$message]) { id }
    }";
    let data = phone.query(query, json!({"id": conversation, "message": messages[2]["id"]})).await;
    assert_eq!(data["conversation"]["lastMessage"], json!({"number": 4, "replyTo": null}));
    assert_eq!(
        data["conversation"]["messages"],
        json!({"nodes": [{"number": 4}], "pageInfo": {"hasPreviousPage": true, "hasNextPage": false}})
    );
    assert_eq!((&data["node"], &data["nodes"]), (&Value::Null, &json!([null])));
    for refused in [
        edit(&bob, &messages[2], "no").await,
        delete(&bob, &messages[2]).await,
        hide(&node.register("stranger").await, &messages[0]).await,
    ] {
        assert_eq!(refused.code(), "NOT_FOUND");
    }
    assert_eq!(reply(&bob, &conversation, &messages[2], "to what?").await.violations(), ["replyToId"]);
    // The other one still sees it, and the answer as an answer.
    assert_eq!(ada.send(&conversation, "six").await["number"], 6);
    let data = ada.query(query, json!({"id": conversation, "message": messages[2]["id"]})).await;
    assert_eq!(data["node"]["id"], messages[2]["id"]);
}

/// One page for all of a node's viewers would show each what the other has hidden.
#[tokio::test]
async fn what_is_rendered_for_many_hides_what_each_has_hidden() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let group = ada.create_group("Shared", &[&bob, &cem]).await;
    let message = ada.send(&group, "first").await;
    hide(&bob, &message).await.data();
    let query = "subscription ($id: ID!) { messageAdded(conversationId: $id) { message { conversation {
        messages(first: 1) { nodes { body } } lastMessage { body }
    } } } }";
    let mut sockets = [ada.socket().await, bob.socket().await, cem.socket().await];
    for socket in &mut sockets {
        socket.subscribe("it", query, json!({"id": group})).await;
        socket.send(json!({"type": "ping"})).await;
        while socket.receive().await["type"] != "pong" {}
    }
    ada.send(&group, "second").await;
    for (socket, first) in sockets.iter_mut().zip(["first", "second", "first"]) {
        let data = socket.receive_of("it").await["payload"]["data"].clone();
        let conversation = &data["messageAdded"]["message"]["conversation"];
        assert_eq!(conversation["messages"]["nodes"][0]["body"], first);
        assert_eq!(conversation["lastMessage"]["body"], "second");
    }
}

#[tokio::test]
async fn a_message_answers_another_of_its_conversation() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let (here, there) = (ada.create_group("Here", &[&bob]).await, ada.create_group("There", &[]).await);
    let (message, elsewhere) = (ada.send(&here, "question").await, ada.send(&there, "elsewhere").await);
    let answer = reply(&bob, &here, &message, "answer").await.data()["sendMessage"]["message"].clone();
    assert_eq!(answer["replyTo"]["body"], "question");
    let answer = reply(&ada, &here, &elsewhere, "of another").await;
    assert_eq!((answer.code(), answer.violations()), ("BAD_USER_INPUT", vec!["replyToId"]));
    let unknown = json!({"id": elsewhere["id"].as_str().unwrap().replace("msg_0", "msg_1")});
    assert_eq!(reply(&ada, &here, &unknown, "of none").await.violations(), ["replyToId"]);
    assert_eq!(reply(&ada, &here, &json!({"id": here}), "of no message").await.violations(), ["replyToId"]);
    // What was answered stays, as a tombstone; and no number was lost.
    delete(&ada, &message).await.data();
    let query =
        "query ($id: ID!) { conversation(id: $id) { messages { nodes { number replyTo { body deletedAt } } } } }";
    let nodes = bob.query(query, json!({"id": here})).await["conversation"]["messages"]["nodes"].clone();
    assert_eq!(nodes.as_array().unwrap().len(), 2);
    assert_eq!(nodes[1]["replyTo"]["body"], Value::Null);
    assert!(nodes[1]["replyTo"]["deletedAt"].is_string());
}

#[tokio::test]
async fn messages_are_forwarded_to_several_conversations_in_order() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let from = ada.create_group("From", &[&bob]).await;
    let (group, direct) = (bob.create_group("To", &[]).await, ada.open_direct(&bob).await);
    let (one, two) = (ada.send(&from, "one").await, ada.send(&from, "two").await);
    let mut inbox = Changes::of(&ada).await;
    let input = json!({"messageIds": [two["id"], one["id"], two["id"]], "conversationIds": [group, direct]});
    let sent = bob.query(FORWARD, json!({"input": input})).await["forwardMessages"]["messages"].clone();
    let expected = [(&group, 1, "two"), (&group, 2, "one"), (&direct, 1, "two"), (&direct, 2, "one")];
    assert_eq!(sent.as_array().unwrap().len(), expected.len());
    for (message, (conversation, number, body)) in sent.as_array().unwrap().iter().zip(expected) {
        let copy = json!({"number": number, "body": body, "forwarded": true, "kind": "TEXT",
            "sender": {"id": bob.id}, "conversation": {"id": conversation}});
        assert_eq!(*message, copy);
    }
    for body in ["two", "one"] {
        assert_eq!(inbox.expect("MessageAdded").await["message"]["body"], body);
    }
}

#[tokio::test]
async fn all_is_forwarded_or_nothing() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let (mine, theirs) = (ada.create_group("Mine", &[]).await, bob.create_group("Theirs", &[]).await);
    let (message, secret) = (ada.send(&mine, "one").await, bob.send(&theirs, "secret").await);
    let gone = ada.send(&mine, "gone").await;
    delete(&ada, &gone).await.data();
    let forward = async |messages: Value, conversations: Value| {
        ada.call(FORWARD, json!({"input": {"messageIds": messages, "conversationIds": conversations}})).await
    };
    assert_eq!(forward(json!([message["id"]]), json!([mine, theirs])).await.code(), "NOT_FOUND");
    assert_eq!(forward(json!([message["id"], secret["id"]]), json!([mine])).await.code(), "NOT_FOUND");
    assert_eq!(forward(json!([message["id"], gone["id"]]), json!([mine])).await.violations(), ["messageIds.1"]);
    assert_eq!(forward(json!([]), json!([])).await.violations(), ["messageIds", "conversationIds"]);
    assert_eq!(forward(json!(["x"]), json!([mine])).await.violations(), ["messageIds.0"]);
    let many = |prefix: &str, count: usize| -> Value {
        (0..count).map(|place| format!("{prefix}_{place:026}")).collect::<Vec<_>>().into()
    };
    let answer = forward(many("msg", 101), many("cnv", 21)).await;
    assert_eq!(answer.violations(), ["messageIds", "conversationIds"]);
    assert_eq!(seen(&ada, &mine).await, [1, 2]);
}

#[tokio::test]
async fn the_changes_of_one_conversation_are_a_stream_of_their_own() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let (group, other) = (ada.create_group("Group", &[&bob]).await, ada.create_group("Other", &[&bob]).await);
    let (message, elsewhere) = (ada.send(&group, "here").await, ada.send(&other, "there").await);
    let hidden = ada.send(&group, "hidden").await;
    hide(&bob, &hidden).await.data();
    let mut socket = bob.socket().await;
    socket.subscribe("it", UPDATES, json!({"id": group})).await;
    socket.send(json!({"type": "ping"})).await;
    while socket.receive().await["type"] != "pong" {}
    edit(&ada, &elsewhere, "there!").await.data();
    edit(&ada, &hidden, "hidden!").await.data();
    ada.send(&group, "new").await;
    edit(&ada, &message, "here!").await.data();
    delete(&ada, &message).await.data();
    let bodies = [socket.receive_of("it").await, socket.receive_of("it").await]
        .map(|event| event["payload"]["data"]["messageUpdated"]["message"].clone());
    assert!(bodies.iter().all(|shown| shown["id"] == message["id"]), "{bodies:?}");
    assert!(bodies[1]["deletedAt"].is_string());

    let remove = "mutation ($id: ID!, $user: ID!) { removeParticipant(input: {conversationId: $id, userId: $user}) {
        conversation { id } } }";
    ada.query(remove, json!({"id": group, "user": bob.id})).await;
    let over = socket.receive_of("it").await;
    assert_eq!((&over["type"], &over["payload"][0]["extensions"]["code"]), (&json!("error"), &json!("NOT_FOUND")));
    socket.subscribe("again", UPDATES, json!({"id": group})).await;
    assert_eq!(socket.receive_of("again").await["payload"][0]["extensions"]["code"], "NOT_FOUND");
}

/// Messages from before a participant's time, as a group may have it, are not theirs to see, nor is what becomes of them.
#[tokio::test]
async fn what_was_before_ones_time_stays_hidden() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let group = ada.create_group("Newcomers", &[&bob]).await;
    let mut messages = Vec::new();
    for body in ["one", "two", "three"] {
        messages.push(ada.send(&group, body).await);
    }
    let since = "UPDATE participants SET hidden_up_to = 2 WHERE role = 'MEMBER'";
    sql_query(since).execute(&mut database.connection().await).await.unwrap();
    let mut inbox = Changes::of(&bob).await;
    edit(&ada, &messages[0], "one!").await.data();
    edit(&ada, &messages[2], "three!").await.data();
    assert_eq!(inbox.expect("MessageUpdated").await["message"]["body"], "three!");
    assert_eq!(seen(&bob, &group).await, [3]);
    assert_eq!(seen(&ada, &group).await, [1, 2, 3]);
    for refused in [hide(&bob, &messages[0]).await, delete(&bob, &messages[1]).await] {
        assert_eq!(refused.code(), "NOT_FOUND");
    }
    assert_eq!(reply(&bob, &group, &messages[1], "what?").await.violations(), ["replyToId"]);
    let query = "query ($id: ID!) { conversation(id: $id) { messages(last: 5) { pageInfo { hasPreviousPage } } } }";
    let data = bob.query(query, json!({"id": group})).await;
    assert_eq!(data["conversation"]["messages"]["pageInfo"]["hasPreviousPage"], false);
}
