//! The tour: all operations of the schema, with usual inputs and with large inputs.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{TypeKind, TypeSystemDefinition};
use serde_json::{Value, json};

use super::{AFTERMATH, ATTEMPTS, Measured, Meter, TOUR_BOUND, clients};
use crate::events_of_mutations::{World, builder, rows};
use crate::support::{Node, Socket, User};

/// Returns the names of the fields of a root type.
fn roots(of: &str) -> BTreeSet<String> {
    let document = parse_schema(parlance::graphql::sdl()).unwrap();
    let fields = document.definitions.into_iter().find_map(|definition| match definition {
        TypeSystemDefinition::Type(definition) if definition.node.name.node == of => match definition.node.kind {
            TypeKind::Object(object) => Some(object.fields),
            _ => None,
        },
        _ => None,
    });
    fields.unwrap().into_iter().map(|field| field.node.name.node.to_string()).collect()
}

/// Returns the names of the fields of a root type that the tour does not contain.
fn missing(of: &str, toured: impl IntoIterator<Item = &'static str>) -> Vec<String> {
    let toured: BTreeSet<_> = toured.into_iter().map(str::to_owned).collect();
    roots(of).difference(&toured).cloned().collect()
}

#[test]
fn mutations_with_usual_inputs_block_no_thread_for_long() {
    let mut meter = Meter::default();
    let toured: Vec<_> = rows().iter().map(|row| row.mutation).collect();
    assert_eq!(missing("Mutation", toured), [""; 0]);
    let measured = Measured::start(&meter, builder());
    clients(async {
        for row in rows() {
            let world = World::new(Arc::clone(&measured.node)).await;
            let _inbox = world.bob.inbox().await;
            meter.measure(row.mutation, (row.perform)(&world)).await;
        }
    });
    measured.end();
    meter.assert_below(TOUR_BOUND);
}

/// Repeats `word` to a text of 8,000 characters, the maximum length of a message.
pub fn long(word: &str) -> String {
    word.chars().cycle().take(8000).collect()
}

#[test]
fn mutations_with_large_inputs_block_no_thread_for_long() {
    let mut meter = Meter::default();
    let measured = Measured::start(&meter, Node::build());
    let node = &measured.node;
    clients(async {
        let ada = node.register("ada").await;
        let mut others = Vec::new();
        for _ in 0..60 {
            others.push(node.register("other").await);
        }
        let ids: Vec<_> = others.iter().map(|user| user.id.as_str()).collect();
        let create = "mutation ($input: CreateGroupInput!) { createGroup(input: $input) { conversation { id } } }";
        let input = json!({"input": {"title": "x".repeat(100), "topic": "x".repeat(500), "participantIds": ids}});
        let group = meter.measure("createGroup of 61", ada.query(create, input)).await;
        let group = group["createGroup"]["conversation"]["id"].as_str().unwrap().to_owned();
        let empty = ada.create_group("Empty", &[]).await;
        meter.measure("addParticipants, 60", ada.add_ids(&empty, json!(ids))).await.data();

        let _inbox = others[0].inbox().await;
        for (what, word) in [
            ("letters", "x"),
            ("words", "hello world "),
            ("emoji", "👩‍👩‍👧‍👦"),
            ("mentions", "@adalovelace "),
            ("marks", "e\u{301}\u{300}\u{302}"),
            ("controls", "\u{1}\u{2}x"),
            ("at signs", "@"),
            ("code", "`@ada ``@ada "),
            ("lists in quotes", "> - `@ada\n\n"),
            ("addresses", "https://@ada"),
        ] {
            meter.measure(&format!("sendMessage, {what}"), ada.send(&group, &long(word))).await;
        }
        let mentions = others.iter().map(|user| format!("@{} ", user.username)).collect::<Vec<_>>().concat();
        let message = meter.measure("sendMessage, 60 mentioned", ada.send(&group, &mentions)).await;
        meter.measure("editMessage", ada.edit(&message, &long("hello @all "))).await.data();
        let schedule = "mutation ($id: ID!, $body: String!) { scheduleMessage(input: {
            conversationId: $id, body: $body, sendAt: \"2100-01-01T00:00:00Z\"
        }) { scheduledMessage { id } } }";
        meter.measure("scheduleMessage", ada.call(schedule, json!({"id": group, "body": long("x")}))).await;

        let update = "mutation ($input: UpdateProfileInput!) { updateProfile(input: $input) { viewer { id } } }";
        let input = json!({"input": {"displayName": "x".repeat(64), "about": "x".repeat(500)}});
        meter.measure("updateProfile", ada.query(update, input)).await;
        let texts = ["username", "displayName", "about", "email", "phone"];
        let input: Value = texts.iter().map(|&field| (field.to_owned(), json!("@".repeat(150_000)))).collect();
        meter.measure("updateProfile, refused", ada.call(update, json!({"input": input}))).await;
        let react = "mutation ($id: ID!, $emoji: String!) {
            addReaction(input: {messageId: $id, emoji: $emoji}) { message { id } }
        }";
        let input = json!({"id": message["id"], "emoji": "👩‍👩‍👧‍👦".repeat(30_000)});
        meter.measure("addReaction, refused", ada.call(react, input)).await;
        let refresh = "mutation ($token: String!) { refreshSession(input: {refreshToken: $token}) { accessToken } }";
        meter
            .measure("refreshSession, refused", node.call(None, refresh, json!({"token": "x".repeat(1_000_000)})))
            .await;
        let hostile: String = "4@8({[<369!1|0$5+7%2".chars().cycle().take(128).collect();
        let register = "mutation ($input: RegisterInput!) { register(input: $input) { accessToken } }";
        let input = json!({"input": {"username": "eve", "password": hostile}});
        meter.measure("register, hostile password", node.call(None, register, input)).await.data();
        let login = "mutation ($input: LoginInput!) { login(input: $input) { accessToken } }";
        let input = json!({"input": {"identifier": "@".repeat(500_000), "password": "x".repeat(500_000)}});
        meter.measure("login, refused", node.call(None, login, input)).await;
        let login = "mutation ($input: LoginWithCodeInput!) { loginWithCode(input: $input) { accessToken } }";
        for kind in ["email", "phone"] {
            let input = json!({"contactPoint": {kind: "@".repeat(300_000)}, "code": "1".repeat(300_000)});
            meter.measure("loginWithCode, refused", node.call(None, login, json!({"input": input}))).await;
        }
        let sign_in = "mutation ($token: String!) { signInWithToken(input: {token: $token}) { accessToken } }";
        let input = json!({"token": "x.".repeat(400_000)});
        meter.measure("signInWithToken, refused", node.call(None, sign_in, input)).await;
        let token = "x".repeat(30_000);
        meter.measure("a long access token", node.call(Some(&token), "{ viewer { id } }", json!({}))).await;

        let small = ada.create_group("Call", &[&others[0]]).await;
        let call = ada.start_call(&small).await.call_id();
        others[0].accept_call(&call).await.data();
        let _events = others[0].call_events().await;
        let sdp = format!("v=0\r\n{}", "a=candidate:1 1 UDP 2122252543 192.0.2.1 9 typ host\r\n".repeat(1000));
        meter.measure("sendCallSignal", ada.send_offer(&call, &others[0], &sdp)).await.data();
        forward(&mut meter, &ada, &group, &"hello world ".repeat(20)).await;
    });
    measured.end();
    meter.assert_below(TOUR_BOUND);
}

/// Forwards the maximum number of messages to the maximum number of conversations.
pub async fn forward(meter: &mut Meter, ada: &User, group: &str, body: &str) {
    let mut messages = Vec::new();
    for _ in 0..100 {
        messages.push(ada.send(group, body).await["id"].clone());
    }
    let mut conversations = Vec::new();
    for place in 0..20 {
        conversations.push(ada.create_group(&format!("Forwards {place}"), &[]).await);
    }
    let query = "mutation ($input: ForwardMessagesInput!) { forwardMessages(input: $input) { messages { id } } }";
    let input = json!({"input": {"messageIds": messages, "conversationIds": conversations}});
    meter.measure("forwardMessages, 100 to 20", ada.query(query, input)).await;
}

#[test]
fn queries_and_subscriptions_block_no_thread_for_long() {
    let mut meter = Meter::default();
    let measured = Measured::start(&meter, Node::build());
    let node = &measured.node;
    clients(async {
        let (ada, bob) = (node.register("ada").await, node.register("bob").await);
        let direct = ada.open_direct(&bob).await;
        let group = ada.create_group("Group", &[&bob]).await;
        let before = bob.inbox().await.cursor;
        let mut messages = Vec::new();
        for _ in 0..100 {
            messages.push(ada.send(&group, &"hello world ".repeat(20)).await["id"].clone());
        }
        let call = ada.start_call(&direct).await.call_id();
        let invite = ada.create_invite(&group, json!({})).await.data()["createInvite"]["invite"]["code"].clone();
        let everything = "id number revision body clientId kind createdAt editedAt deletedAt expiresAt forwarded status
            sender { id username displayName about presence { status lastSeenAt } viewerIsContact viewerHasBlocked }
            replyTo { id } reactions { emoji count } mentions { id } attachments { id url }";
        let queries = [
            ("callAccess", "query ($call: ID!) { callAccess(callId: $call) { __typename } }".to_owned()),
            ("conversation", format!("query ($group: ID!) {{ conversation(id: $group) {{
                title participants {{ nodes {{ role user {{ username }} }} }} messages(last: 50) {{ nodes {{ {everything} }} }}
            }} }}")),
            ("iceServers", "{ iceServers { urls } }".to_owned()),
            ("invite", "query ($invite: String!) { invite(code: $invite) { __typename } }".to_owned()),
            ("node", "query ($group: ID!) { node(id: $group) { id ... on Conversation { title } } }".to_owned()),
            ("nodes", format!("query ($ids: [ID!]!) {{ nodes(ids: $ids) {{ id ... on Message {{ {everything} }} }} }}")),
            ("searchMessages", format!("query ($words: String!) {{ searchMessages(query: $words, first: 100) {{ nodes {{ {everything} }} }} }}")),
            ("searchUsers", "query ($word: String!) { searchUsers(query: $word, first: 100) { nodes { username } } }".to_owned()),
            ("serverInfo", "{ serverInfo { version maxMessageLength } }".to_owned()),
            ("user", "query ($word: String!) { user(by: {username: $word}) { id } }".to_owned()),
            ("viewer", "{ viewer { conversations(first: 100) { nodes { title unread: viewerMembership { unreadCount } lastMessage { body } } } } }".to_owned()),
        ];
        assert_eq!(missing("Query", queries.iter().map(|(name, _)| *name)), [""; 0]);
        for (name, query) in &queries {
            let all = json!({"call": call, "group": group, "invite": invite, "ids": messages, "words": "hello wor",
                "word": "x".repeat(60)});
            let used = all.as_object().unwrap().iter().filter(|(name, _)| query.contains(&format!("${name}:")));
            let variables: Value = used.map(|(name, value)| (name.clone(), value.clone())).collect();
            // The server validates the document the first time, and has it in the cache the second time.
            for time in ["first", "again"] {
                meter.measure(&format!("{name}, {time}"), ada.call(query, variables.clone())).await.data();
            }
        }
        let long = json!({"word": "hello ".repeat(50_000)});
        meter.measure("searchUsers, refused", ada.call(&queries[7].1, long)).await;

        let subscriptions = [
            ("callEvents", "subscription { callEvents { __typename } }".to_owned()),
            (
                "inbox",
                format!(
                    "subscription ($after: String) {{ inbox(after: $after) {{
                __typename ... on MessageAdded {{ message {{ {everything} }} }}
            }} }}"
                ),
            ),
            (
                "messageAdded",
                format!(
                    "subscription ($after: String) {{ messageAdded(after: $after) {{ message {{ {everything} }} }} }}"
                ),
            ),
            (
                "messageUpdated",
                "subscription ($group: ID!) { messageUpdated(conversationId: $group) { message { body } } }".to_owned(),
            ),
            ("presence", "subscription ($ids: [ID!]!) { presence(userIds: $ids) { presence { status } } }".to_owned()),
            ("room", "subscription ($group: ID!) { room(conversationId: $group) { __typename } }".to_owned()),
            ("typing", "subscription ($group: ID!) { typing(conversationId: $group) { __typename } }".to_owned()),
        ];
        assert_eq!(missing("Subscription", subscriptions.iter().map(|(name, _)| *name)), [""; 0]);
        for (name, query) in &subscriptions {
            for attempt in 1..=ATTEMPTS {
                // The name makes each document new, so that the server parses and validates it again.
                let query = query.replacen("subscription", &format!("subscription Attempt{attempt}"), 1);
                let mut socket = bob.socket().await;
                let all = json!({"after": before, "group": group, "ids": [ada.id]});
                let used = all.as_object().unwrap().iter().filter(|(name, _)| query.contains(&format!("${name}:")));
                let variables: Value = used.map(|(name, value)| (name.clone(), value.clone())).collect();
                let hear = hear_one_event(&ada, &mut socket, &group, &query, variables);
                meter.measure(name, hear).await;
            }
            meter.keep_shortest(ATTEMPTS);
        }
    });
    measured.end();
    meter.assert_below(TOUR_BOUND);
}

/// Subscribes, and causes events until the subscription delivers its initial state or one of them.
async fn hear_one_event(ada: &User, socket: &mut Socket, group: &str, query: &str, variables: Value) {
    socket.subscribe("it", query, variables).await;
    let message = ada.send(group, "new").await;
    let typing = "mutation ($id: ID!, $typing: Boolean!) {
        setTyping(input: {conversationId: $id, typing: $typing}) { conversationId }
    }";
    ada.query(typing, json!({"id": group, "typing": true})).await;
    // messageUpdated has no cursor, so it misses an edit that comes before the subscription is live.
    let edits = async {
        for number in 0.. {
            ada.edit(&message, &format!("edited {number}")).await.data();
            tokio::time::sleep(AFTERMATH).await;
        }
    };
    let heard = tokio::select! {
        heard = socket.receive_of("it") => heard,
        () = edits => unreachable!(),
    };
    assert_eq!(heard["type"], "next", "{heard:#}");
    // A second start of the same typing would send no event.
    ada.query(typing, json!({"id": group, "typing": false})).await;
    tokio::time::sleep(AFTERMATH).await;
}
