//! Blocks: what the blocker is spared, and that the blocked one sees nothing change.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Answer, Node, PASSWORD, User};

const HISTORY: &str = "query ($id: ID!) { conversation(id: $id) {
    messages { nodes { number body } } lastMessage { body } viewerMembership { unreadCount }
} }";

async fn block(user: &User, other: &User) -> Answer {
    let query = "mutation ($id: ID!) { blockUser(input: {userId: $id}) { user { id viewerHasBlocked } } }";
    user.call(query, json!({"id": other.id})).await
}

async fn unblock(user: &User, other: &User) -> Answer {
    let query = "mutation ($id: ID!) { unblockUser(input: {userId: $id}) { user { id viewerHasBlocked } } }";
    user.call(query, json!({"id": other.id})).await
}

async fn ask(user: &User, other: &User) -> Value {
    let query = "mutation ($id: ID!) { sendContactRequest(input: {userId: $id}) { request { id } contact { id } } }";
    user.query(query, json!({"id": other.id})).await["sendContactRequest"].clone()
}

async fn make_contacts(one: &User, other: &User) {
    ask(one, other).await;
    assert_eq!(ask(other, one).await["contact"]["id"], one.id.as_str());
}

async fn bodies(user: &User, conversation: &str) -> Vec<String> {
    let data = user.query(HISTORY, json!({"id": conversation})).await;
    let nodes = data["conversation"]["messages"]["nodes"].as_array().unwrap();
    nodes.iter().map(|node| node["body"].as_str().unwrap().to_owned()).collect()
}

async fn listed(user: &User) -> Vec<String> {
    let data = user.query("{ viewer { conversations { nodes { id } } } }", json!({})).await;
    let nodes = data["viewer"]["conversations"]["nodes"].as_array().unwrap();
    nodes.iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect()
}

/// What a user sees of another and of what is between them.
async fn view(user: &User, other: &User) -> Value {
    let query = "query ($id: ID!) {
        user(by: {id: $id}) { id username displayName viewerIsContact viewerHasBlocked }
        viewer {
            contacts { nodes { id } } blockedUsers { nodes { id } }
            incoming: contactRequests { nodes { id } } outgoing: contactRequests(direction: OUTGOING) { nodes { id } }
        }
    }";
    user.query(query, json!({"id": other.id})).await
}

#[tokio::test]
async fn no_message_of_the_blocked_one_reaches_the_blocker() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let phone = User::login(&node, &bob.username, PASSWORD).await;
    let direct = ada.open_direct(&bob).await;
    bob.send(&direct, "before").await;
    let (mut hers, mut his) = (ada.inbox().await, phone.inbox().await);
    let after = hers.cursor.clone();
    let mut socket = phone.socket().await;
    let messages = "subscription ($id: ID) { messageAdded(conversationId: $id) { message { body } } }";
    socket.subscribe("m", messages, json!({"id": direct})).await;
    socket.send(json!({"type": "ping"})).await;
    while socket.receive().await["type"] != "pong" {}

    let answer = block(&ada, &bob).await.data();
    assert_eq!(answer["blockUser"]["user"], json!({"id": bob.id, "viewerHasBlocked": true}));
    assert_eq!(hers.next().await["__typename"], "ContactsChanged");

    // To the sender it is as it always was, on all devices: stored, numbered, and there again by its clientId.
    let message = bob.try_send(&direct, "during", Some("c")).await.data()["sendMessage"]["message"].clone();
    assert_eq!((&message["number"], &message["body"]), (&json!(2), &json!("during")));
    let again = bob.try_send(&direct, "during", Some("c")).await.data()["sendMessage"]["message"].clone();
    assert_eq!(again["id"], message["id"]);
    assert_eq!(his.message().await["body"], "during");
    assert_eq!(socket.receive_of("m").await["payload"]["data"]["messageAdded"]["message"]["body"], "during");
    assert_eq!(bodies(&bob, &direct).await, ["before", "during"]);
    let data = bob.query(HISTORY, json!({"id": direct})).await;
    assert_eq!(data["conversation"]["lastMessage"]["body"], "during");

    // The blocker has none of it, whichever way she looks.
    let data = ada.query(HISTORY, json!({"id": direct})).await;
    assert_eq!(data["conversation"]["lastMessage"]["body"], "before");
    assert_eq!(data["conversation"]["viewerMembership"]["unreadCount"], 1);
    assert_eq!(bodies(&ada, &direct).await, ["before"]);
    let found = "query ($id: ID!) { node(id: $id) { id } }";
    assert_eq!(ada.query(found, json!({"id": message["id"]})).await["node"], Value::Null);
    let group = ada.create_group("Meanwhile", &[]).await;
    assert_eq!(hers.next().await["conversation"]["id"], group.as_str());
    let missed = ada.inbox_after(after.as_deref()).await.missed().await;
    let kinds: Vec<_> = missed.iter().map(|event| event["__typename"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ContactsChanged", "ConversationAdded"]);
    // Whoever resumes from the log has it as whoever was there.
    let missed = bob.inbox_after(after.as_deref()).await.missed().await;
    assert_eq!(missed.iter().map(|event| &event["message"]["body"]).collect::<Vec<_>>(), ["during"]);
}

#[tokio::test]
async fn after_the_block_messages_come_again_and_those_of_meanwhile_never() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let direct = ada.open_direct(&bob).await;
    block(&ada, &bob).await.data();
    bob.send(&direct, "one").await;
    bob.send(&direct, "two").await;
    let mut hers = ada.inbox().await;
    let answer = unblock(&ada, &bob).await.data();
    assert_eq!(answer["unblockUser"]["user"]["viewerHasBlocked"], false);
    assert_eq!(hers.next().await["__typename"], "ContactsChanged");
    let three = bob.send(&direct, "three").await;
    assert_eq!(three["number"], 3);
    assert_eq!(hers.message().await["body"], "three");
    assert_eq!((ada.unread(&direct).await, bodies(&ada, &direct).await), (1, vec!["three".to_owned()]));
    ada.mark_read(&three).await.data();
    assert_eq!(ada.unread(&direct).await, 0);

    // A count that is made anew leaves out what is hidden, too.
    let own = ada.send(&direct, "four").await;
    block(&ada, &bob).await.data();
    bob.send(&direct, "five").await;
    ada.mark_read(&own).await.data();
    unblock(&ada, &bob).await.data();
    bob.send(&direct, "six").await;
    assert_eq!(ada.unread(&direct).await, 1);
    assert_eq!(bodies(&ada, &direct).await, ["three", "four", "six"]);
    assert_eq!(bodies(&bob, &direct).await, ["one", "two", "three", "four", "five", "six"]);
}

#[tokio::test]
async fn the_blocked_one_sees_nothing_change() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    make_contacts(&ada, &bob).await;
    let before = view(&bob, &ada).await;
    let mut his = bob.inbox().await;
    block(&ada, &bob).await.data();
    assert_eq!(view(&bob, &ada).await, before);
    let own = view(&ada, &bob).await;
    assert_eq!(own["viewer"]["contacts"]["nodes"], json!([]));
    assert_eq!(own["viewer"]["blockedUsers"]["nodes"], json!([{"id": bob.id}]));
    assert_eq!(own["user"]["viewerHasBlocked"], true);
    // Once more is no error, and no news.
    block(&ada, &bob).await.data();
    unblock(&ada, &bob).await.data();
    unblock(&ada, &bob).await.data();
    assert_eq!(view(&bob, &ada).await, before);
    let group = bob.create_group("Quiet", &[]).await;
    assert_eq!(his.next().await["conversation"]["id"], group.as_str());
    assert_eq!(view(&ada, &bob).await["viewer"]["blockedUsers"]["nodes"], json!([]));
    assert_eq!(block(&ada, &ada).await.violations(), ["userId"]);
}

#[tokio::test]
async fn requests_of_the_blocked_one_wait_unseen() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    // One that waits, each way.
    ask(&bob, &ada).await;
    let to_cem = ask(&ada, &cem).await["request"]["id"].clone();
    let (bobs, cems) = (view(&bob, &ada).await, view(&cem, &ada).await);
    block(&ada, &bob).await.data();
    block(&ada, &cem).await.data();
    assert_eq!((view(&bob, &ada).await, view(&cem, &ada).await), (bobs, cems));
    let own = view(&ada, &bob).await;
    assert_eq!((&own["viewer"]["incoming"]["nodes"], &own["viewer"]["outgoing"]["nodes"]), (&json!([]), &json!([])));
    let find = "query ($id: ID!) { node(id: $id) { id } }";
    assert_eq!(ada.query(find, json!({"id": to_cem})).await["node"], Value::Null);

    // Who accepts now has a contact, as anybody would, and the blocker has none.
    let accept = "mutation ($id: ID!) { acceptContactRequest(input: {requestId: $id}) { contact { id } } }";
    let mut hers = ada.inbox().await;
    cem.query(accept, json!({"id": to_cem})).await;
    assert_eq!(view(&cem, &ada).await["viewer"]["contacts"]["nodes"], json!([{"id": ada.id}]));
    // A new one waits in the same way.
    let eve = node.register("eve").await;
    block(&ada, &eve).await.data();
    assert_eq!(hers.next().await["user"]["id"], eve.id.as_str());
    let request = ask(&eve, &ada).await["request"]["id"].clone();
    assert!(request.is_string());
    assert_eq!(view(&eve, &ada).await["viewer"]["outgoing"]["nodes"], json!([{"id": request}]));
    let refused = "mutation ($id: ID!) { sendContactRequest(input: {userId: $id}) { request { id } } }";
    assert_eq!(ada.call(refused, json!({"id": eve.id})).await.code(), "FORBIDDEN");
    assert_eq!(view(&ada, &eve).await["viewer"]["incoming"]["nodes"], json!([]));

    // Asked once more after the block, it is seen; and it is the same.
    unblock(&ada, &eve).await.data();
    assert_eq!(hers.next().await["user"]["id"], eve.id.as_str());
    assert_eq!(view(&ada, &eve).await["viewer"]["incoming"]["nodes"], json!([]));
    assert_eq!(ask(&eve, &ada).await["request"]["id"], request);
    assert_eq!(hers.next().await["user"]["id"], eve.id.as_str());
    assert_eq!(view(&ada, &eve).await["viewer"]["incoming"]["nodes"], json!([{"id": request}]));
}

#[tokio::test]
async fn a_conversation_that_the_blocked_one_opens_is_his_alone() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    block(&ada, &bob).await.data();
    block(&ada, &cem).await.data();
    let mut hers = ada.inbox().await;
    let direct = bob.open_direct(&ada).await;
    assert_eq!(bob.open_direct(&ada).await, direct);
    bob.send(&direct, "hello?").await;
    let with_cem = cem.open_direct(&ada).await;
    cem.send(&with_cem, "hello?").await;
    assert_eq!(listed(&bob).await, [direct.as_str()]);
    assert_eq!(listed(&ada).await, [] as [String; 0]);
    let query =
        "query ($id: ID!) { conversation(id: $id) { participantCount participants { nodes { user { id } } } } }";
    let data = bob.query(query, json!({"id": direct})).await;
    assert_eq!(data["conversation"]["participants"]["nodes"].as_array().unwrap().len(), 2);

    // It comes to the blocker once she opens it herself, or blocks no more; and then for good.
    assert_eq!(ada.open_direct(&bob).await, direct);
    let event = hers.next().await;
    assert_eq!((&event["__typename"], &event["conversation"]["id"]), (&json!("ConversationAdded"), &json!(direct)));
    assert_eq!(bodies(&ada, &direct).await, [] as [String; 0]);
    unblock(&ada, &cem).await.data();
    assert_eq!(hers.next().await["conversation"]["id"], with_cem.as_str());
    assert_eq!(hers.next().await["__typename"], "ContactsChanged");
    cem.send(&with_cem, "at last").await;
    assert_eq!(hers.message().await["body"], "at last");
    assert_eq!(listed(&ada).await, [with_cem, direct]);
}

#[tokio::test]
async fn the_blocker_unblocks_before_writing() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let direct = ada.open_direct(&bob).await;
    ada.try_send(&direct, "once", Some("c")).await.data();
    block(&ada, &bob).await.data();
    block(&ada, &cem).await.data();
    assert_eq!(ada.try_send(&direct, "hello", None).await.code(), "FORBIDDEN");
    // A retry of what was sent before is what it was.
    ada.try_send(&direct, "once", Some("c")).await.data();
    let open = "mutation ($id: ID!) { openDirectConversation(input: {userId: $id}) { conversation { id } } }";
    assert_eq!(ada.call(open, json!({"id": cem.id})).await.code(), "FORBIDDEN");
    assert_eq!(ada.open_direct(&bob).await, direct, "one that is there is there to be read");
}

#[tokio::test]
async fn neither_adds_the_other_to_a_group_and_common_ones_stay_as_they_are() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let common = cem.create_group("Common", &[&ada, &bob]).await;
    block(&ada, &bob).await.data();
    let mut hers = ada.inbox().await;
    bob.send(&common, "to all").await;
    assert_eq!(hers.message().await["body"], "to all");
    assert_eq!((bodies(&ada, &common).await, ada.unread(&common).await), (vec!["to all".to_owned()], 1));
    let create =
        "mutation ($id: ID!) { createGroup(input: {title: \"x\", participantIds: [$id]}) { conversation { id } } }";
    assert_eq!(bob.call(create, json!({"id": ada.id})).await.code(), "FORBIDDEN");
    assert_eq!(ada.call(create, json!({"id": bob.id})).await.code(), "FORBIDDEN");
    cem.create_group("Both again", &[&ada, &bob]).await;
}

/// Of messages that are sent while the block comes, those are seen that were before it, and no later one.
#[tokio::test]
async fn a_block_that_comes_while_messages_are_sent_is_a_line_between_them() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let direct = ada.open_direct(&bob).await;
    let sends = join_all((0..40).map(|i| {
        let (bob, direct) = (&bob, &direct);
        async move {
            tokio::time::sleep(std::time::Duration::from_millis(i * 2)).await;
            bob.send(direct, "x").await
        }
    }));
    let blocking = async {
        tokio::time::sleep(std::time::Duration::from_millis(40)).await;
        block(&ada, &bob).await.data();
        bob.send(&direct, "after").await["number"].as_u64().unwrap()
    };
    let (_, after) = tokio::join!(sends, blocking);
    let data = ada.query(HISTORY, json!({"id": direct})).await;
    let seen: Vec<_> = data["conversation"]["messages"]["nodes"].as_array().unwrap().clone();
    let numbers: Vec<_> = seen.iter().map(|message| message["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    assert!((numbers.len() as u64) < after);
    assert_eq!(data["conversation"]["viewerMembership"]["unreadCount"], numbers.len());
}

#[tokio::test]
async fn a_blocked_user_brings_nothing_new_by_edits_and_pins() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let direct = ada.open_direct(&bob).await;
    let message = bob.send(&direct, "before").await;
    ada.query("mutation ($id: ID!) { blockUser(input: {userId: $id}) { user { id } } }", json!({"id": bob.id})).await;
    let mut inbox = ada.inbox().await;
    let change = "mutation ($id: ID!) {
        pinMessage(input: {messageId: $id}) { message { id } }
        editMessage(input: {messageId: $id, body: \"@ada, listen\"}) { message { body } }
    }";
    let changed = bob.query(change, json!({"id": message["id"]})).await;
    assert_eq!(changed["editMessage"]["message"]["body"], "@ada, listen");
    // The pin may be shown before the message is gone, and may not any more.
    loop {
        match inbox.next().await["__typename"].as_str().unwrap() {
            "MessageRemoved" => break,
            kind => assert_eq!(kind, "MessageUpdated"),
        }
    }
    let query = "query ($id: ID!) { conversation(id: $id) {
        messages { nodes { body kind } } viewerMembership { unreadCount unreadMentionCount }
    } }";
    let seen = ada.query(query, json!({"id": direct})).await;
    assert_eq!(seen["conversation"]["messages"]["nodes"], json!([]));
    assert_eq!(seen["conversation"]["viewerMembership"], json!({"unreadCount": 0, "unreadMentionCount": 0}));
    let own = bob.query(query, json!({"id": direct})).await;
    let kinds: Vec<_> =
        own["conversation"]["messages"]["nodes"].as_array().unwrap().iter().map(|it| &it["kind"]).collect();
    assert_eq!(kinds, ["TEXT", "SYSTEM"]);
}
