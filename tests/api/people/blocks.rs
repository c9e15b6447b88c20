//! Blocks: what the blocker no longer receives, and that the blocked user cannot see the block.

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

/// Returns what `user` sees: the other user, and the user's own contacts, blocks and contact requests.
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
async fn direct_messages_of_a_blocked_user_do_not_reach_the_blocker() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let phone = User::login(&node, &bob.username, PASSWORD).await;
    let direct = ada.open_direct(&bob).await;
    bob.send(&direct, "before").await;
    let (mut hers, mut his) = (ada.inbox().await, phone.inbox().await);
    let after = hers.cursor.clone();
    let mut socket = phone.socket().await;
    let messages = "subscription ($id: ID, $after: String) {
        messageAdded(conversationId: $id, after: $after) { message { body } }
    }";
    socket.subscribe("m", messages, json!({"id": direct, "after": after})).await;

    let answer = block(&ada, &bob).await.data();
    assert_eq!(answer["blockUser"]["user"], json!({"id": bob.id, "viewerHasBlocked": true}));
    assert_eq!(hers.next().await["__typename"], "ContactsChanged");

    // The sender sees no difference on any device: the message is stored and has a number, and a retry with its
    // `clientId` returns the message.
    let message = bob.try_send(&direct, "during", Some("c")).await.data()["sendMessage"]["message"].clone();
    assert_eq!((&message["number"], &message["body"]), (&json!(2), &json!("during")));
    let again = bob.try_send(&direct, "during", Some("c")).await.data()["sendMessage"]["message"].clone();
    assert_eq!(again["id"], message["id"]);
    assert_eq!(his.message().await["body"], "during");
    assert_eq!(socket.receive_of("m").await["payload"]["data"]["messageAdded"]["message"]["body"], "during");
    assert_eq!(bodies(&bob, &direct).await, ["before", "during"]);
    let data = bob.query(HISTORY, json!({"id": direct})).await;
    assert_eq!(data["conversation"]["lastMessage"]["body"], "during");

    // No query and no stream shows the message to the blocker.
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
    // A resumed stream of the sender contains the message, as the live stream did.
    let missed = bob.inbox_after(after.as_deref()).await.missed().await;
    assert_eq!(missed.iter().map(|event| &event["message"]["body"]).collect::<Vec<_>>(), ["during"]);
}

#[tokio::test]
async fn messages_sent_during_a_block_stay_hidden_after_the_block_ends() {
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

    // A recomputed unread count leaves out hidden messages too.
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
async fn a_blocked_user_sees_no_effect_of_the_block() {
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
    // A repeated block or unblock is no error and causes no event.
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
async fn contact_requests_are_hidden_from_the_blocker() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    // The blocker has received one pending request, and has sent one pending request.
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

    // When a blocked user accepts a request of the blocker, the blocker becomes a contact of the blocked user, but
    // receives no event.
    let accept = "mutation ($id: ID!) { acceptContactRequest(input: {requestId: $id}) { contact { id } } }";
    let mut hers = ada.inbox().await;
    cem.query(accept, json!({"id": to_cem})).await;
    assert_eq!(view(&cem, &ada).await["viewer"]["contacts"]["nodes"], json!([{"id": ada.id}]));
    // A new request from a blocked user is hidden from the blocker too.
    let eve = node.register("eve").await;
    block(&ada, &eve).await.data();
    assert_eq!(hers.next().await["user"]["id"], eve.id.as_str());
    let request = ask(&eve, &ada).await["request"]["id"].clone();
    assert!(request.is_string());
    assert_eq!(view(&eve, &ada).await["viewer"]["outgoing"]["nodes"], json!([{"id": request}]));
    let refused = "mutation ($id: ID!) { sendContactRequest(input: {userId: $id}) { request { id } } }";
    assert_eq!(ada.call(refused, json!({"id": eve.id})).await.code(), "FORBIDDEN");
    assert_eq!(view(&ada, &eve).await["viewer"]["incoming"]["nodes"], json!([]));

    // When the user repeats the request after the block, it is the same request, and the former blocker sees it.
    unblock(&ada, &eve).await.data();
    assert_eq!(hers.next().await["user"]["id"], eve.id.as_str());
    assert_eq!(view(&ada, &eve).await["viewer"]["incoming"]["nodes"], json!([]));
    assert_eq!(ask(&eve, &ada).await["request"]["id"], request);
    assert_eq!(hers.next().await["user"]["id"], eve.id.as_str());
    assert_eq!(view(&ada, &eve).await["viewer"]["incoming"]["nodes"], json!([{"id": request}]));
}

#[tokio::test]
async fn a_conversation_opened_by_a_blocked_user_is_hidden_from_the_blocker() {
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

    // The blocker gets the conversation when she opens it or unblocks the user. From then on it is in her list.
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
async fn a_blocker_must_unblock_before_sending() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let direct = ada.open_direct(&bob).await;
    ada.try_send(&direct, "once", Some("c")).await.data();
    block(&ada, &bob).await.data();
    block(&ada, &cem).await.data();
    assert_eq!(ada.try_send(&direct, "hello", None).await.code(), "FORBIDDEN");
    // A message that was sent before the block can still be retried.
    ada.try_send(&direct, "once", Some("c")).await.data();
    let open = "mutation ($id: ID!) { openDirectConversation(input: {userId: $id}) { conversation { id } } }";
    assert_eq!(ada.call(open, json!({"id": cem.id})).await.code(), "FORBIDDEN");
    assert_eq!(ada.open_direct(&bob).await, direct, "an existing conversation can still be opened");
}

#[tokio::test]
async fn blocks_forbid_adding_users_to_groups_and_do_not_affect_common_groups() {
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

/// The blocker sees the messages that were stored before the block, and no later messages.
#[tokio::test]
async fn a_block_during_sends_hides_exactly_the_later_messages() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let direct = ada.open_direct(&bob).await;
    let sends = join_all((0..40).map(|i| {
        let (bob, direct) = (&bob, &direct);
        async move {
            // The delays spread the messages over 80 ms, so that the block is stored between two messages.
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
async fn edits_and_pins_of_a_blocked_user_show_the_blocker_nothing_new() {
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
    // The stream may deliver the pin, but only before the edit removes the message.
    if inbox.next().await["__typename"] == "MessageUpdated" {
        inbox.expect("MessageRemoved").await;
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
