//! Account deletion, and the export of a user's data.

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use parlance::domain::people::export::{ExportError, export};
use parlance::ids::UserId;
use serde_json::{Value, json};

use crate::support::{Node, PASSWORD, PATIENCE, TestDatabase, User, secret_issuer, secret_token, within};

const HISTORY: &str = "query ($id: ID!) { conversation(id: $id) {
    participantCount createdBy { id } participants { nodes { role user { id } } }
    messages(last: 10) { nodes { kind body sender { id } systemEvent { kind actor { id } } } }
} }";

#[tokio::test]
async fn account_deletion_requires_the_password() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    for password in [None, Some("another password"), Some("")] {
        let answer = ada.delete_account(password).await;
        assert_eq!((answer.code(), answer.violations()), ("BAD_USER_INPUT", vec!["password"]));
    }
    let query = "mutation { deleteAccount(input: {password: \"x\"}) { userId } }";
    assert_eq!(node.call(None, query, json!({})).await.code(), "UNAUTHENTICATED");
    assert_eq!(ada.query("{ viewer { user { id } } }", json!({})).await["viewer"]["user"]["id"], ada.id.as_str());
}

#[tokio::test]
async fn account_deletion_removes_personal_data_and_keeps_conversations_readable() {
    let node = Node::start().await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    let (direct, group) = (ada.open_direct(&bob).await, ada.create_group("Hers", &[&bob, &eve]).await);
    ada.send(&direct, "only to you").await;
    ada.send(&group, "to all").await;
    bob.send(&group, "thanks").await;
    let mut inbox = bob.inbox().await;
    // The node renders this message for Bob's stream, and caches the user Ada while it renders.
    ada.send(&group, "once more").await;
    assert_eq!(inbox.message().await["sender"]["id"], ada.id.as_str());

    assert_eq!(ada.delete_account(Some(PASSWORD)).await.data()["deleteAccount"]["userId"], ada.id.as_str());

    let data = bob.query(HISTORY, json!({"id": direct})).await;
    assert_eq!(data["conversation"]["participantCount"], 1);
    assert_eq!(data["conversation"]["createdBy"], Value::Null);
    let messages = &data["conversation"]["messages"]["nodes"];
    assert_eq!((&messages[0]["body"], &messages[0]["sender"]), (&json!("only to you"), &Value::Null));

    let data = bob.query(HISTORY, json!({"id": group})).await;
    assert_eq!(data["conversation"]["participantCount"], 2);
    let participants = &data["conversation"]["participants"]["nodes"];
    assert_eq!(participants.as_array().unwrap().iter().filter(|row| row["role"] == "OWNER").count(), 1);
    let messages = data["conversation"]["messages"]["nodes"].as_array().unwrap();
    let left = messages.iter().find(|message| message["systemEvent"]["kind"] == "PARTICIPANT_LEFT").unwrap();
    assert_eq!((&left["kind"], &left["systemEvent"]["actor"]), (&json!("SYSTEM"), &Value::Null));
    let hers = messages.iter().find(|message| message["body"] == "once more").unwrap();
    assert_eq!(hers["sender"], Value::Null);

    // The remaining participants receive the changes as events.
    let next = bob.create_group("The next", &[]).await;
    let (mut updated, mut system_messages) = (Vec::new(), 0);
    let events = async {
        loop {
            let event = inbox.next().await;
            match event["__typename"].as_str().unwrap() {
                "ConversationUpdated" => updated.push(event["conversation"]["id"].as_str().unwrap().to_owned()),
                "MessageAdded" => {
                    assert_eq!(event["message"]["sender"], Value::Null);
                    system_messages += 1;
                }
                // Bob may become the owner of the group.
                "MembershipUpdated" => {}
                "ConversationAdded" => return assert_eq!(event["conversation"]["id"], next.as_str()),
                other => panic!("{other}"),
            }
        }
    };
    within(PATIENCE, "the event of the next group", events).await;
    updated.sort();
    let mut expected = [direct.clone(), group];
    expected.sort();
    assert_eq!(updated, expected);
    // The user has left the group, and another user is its owner.
    assert_eq!(system_messages, 2);

    // The username can be registered again. The new account is another user.
    let query = "query ($id: ID!, $name: String!) {
        a: user(by: {id: $id}) { id } b: user(by: {username: $name}) { id } searchUsers(query: $name) { nodes { id } }
    }";
    let data = bob.query(query, json!({"id": ada.id, "name": ada.username})).await;
    assert_eq!(data, json!({"a": null, "b": null, "searchUsers": {"nodes": []}}));
    let again = User::register(&node, &ada.username, PASSWORD).await;
    assert_ne!(again.id, ada.id);
    let answer = again.call(HISTORY, json!({"id": direct})).await;
    assert_eq!(answer.data()["conversation"], Value::Null);
}

#[tokio::test]
async fn account_deletion_ends_every_session_at_once() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let phone = User::login(&node, &ada.username, PASSWORD).await;
    let (one, two) = (ada.inbox().await, phone.inbox().await);
    ada.delete_account(Some(PASSWORD)).await.data();
    assert_eq!(one.socket.closed().await, 4403);
    assert_eq!(two.socket.closed().await, 4403);
    for device in [&ada, &phone] {
        assert_eq!(device.call("{ viewer { id } }", json!({})).await.code(), "UNAUTHENTICATED");
        let refresh = "mutation ($token: String!) { refreshSession(input: {refreshToken: $token}) { accessToken } }";
        let answer = node.call(None, refresh, json!({"token": device.refresh_token})).await;
        assert_eq!(answer.code(), "UNAUTHENTICATED");
    }
    let login = "mutation ($input: LoginInput!) { login(input: $input) { accessToken } }";
    let input = json!({"input": {"identifier": ada.username, "password": PASSWORD}});
    assert_eq!(node.call(None, login, input).await.code(), "UNAUTHENTICATED");
}

/// Other users create groups with the user while the account is deleted. No participant row of the user remains.
#[tokio::test]
async fn groups_created_during_account_deletion_do_not_contain_the_user() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let create = "mutation ($input: CreateGroupInput!) { createGroup(input: $input) { conversation { id } } }";
    let input = json!({"input": {"title": "Race", "participantIds": [ada.id]}});
    let creating = futures_util::future::join_all((0..20).map(|_| bob.call(create, input.clone())));
    let deleting = within(PATIENCE, "the deletion of the account", async {
        loop {
            let answer = ada.delete_account(Some(PASSWORD)).await;
            if answer.body.get("errors").is_none() {
                return;
            }
            assert_eq!(answer.code(), "CONFLICT", "{:#}", answer.body);
        }
    });
    let (answers, ()) = futures_util::join!(creating, deleting);
    for answer in answers.iter().filter(|answer| answer.body.get("errors").is_some()) {
        assert_ne!(answer.code(), "INTERNAL_SERVER_ERROR", "{:#}", answer.body);
    }
    let wrong = "conversations c WHERE participant_count <> (
        SELECT count(*) FROM participants WHERE conversation_id = c.id
    )";
    assert_eq!(count(&database, wrong).await, 0);
    assert_eq!(count(&database, "users").await, 1);
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

async fn count(database: &TestDatabase, query: &str) -> i64 {
    let query = diesel::sql_query(format!("SELECT count(*) FROM {query}"));
    query.get_result::<Count>(&mut database.connection().await).await.unwrap().count
}

async fn names(database: &TestDatabase, query: &str) -> Vec<String> {
    let rows: Vec<Name> = diesel::sql_query(query).load(&mut database.connection().await).await.unwrap();
    rows.into_iter().map(|row| row.name).collect()
}

/// Columns that may still contain the id of a deleted user. No user has this id, but the id still distinguishes the
/// messages of different senders.
const MAY_STAY: [&str; 10] = [
    "call_participants.user_id",
    "calls.started_by",
    "conversations.created_by",
    "conversations.direct_low",
    "conversations.direct_high",
    "events.subject_id",
    "events.user_id",
    "messages.actor_id",
    "messages.sender_id",
    "messages.subject_id",
];

#[tokio::test]
async fn account_deletion_leaves_the_user_id_only_in_allowed_columns() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    ada.send(&ada.open_direct(&bob).await, "hello").await;
    let group = ada.create_group("Hers", &[&bob]).await;
    ada.start_call(&group).await.call_id();
    ada.delete_account(Some(PASSWORD)).await.data();

    let uuid = ada.id.parse::<UserId>().unwrap().0;
    let columns = "SELECT table_name || '.' || column_name AS name FROM information_schema.columns
        JOIN information_schema.tables USING (table_schema, table_name)
        WHERE table_schema = 'public' AND data_type = 'uuid' AND table_type = 'BASE TABLE'
            AND table_name NOT LIKE 'events\\_%'";
    for name in names(&database, columns).await {
        let (table, column) = name.split_once('.').unwrap();
        let kept = count(&database, &format!("{table} WHERE {column} = '{uuid}'")).await;
        assert!(kept == 0 || MAY_STAY.contains(&name.as_str()), "{kept} rows of {name} still hold the id");
    }
    // This check includes future tables: when a user is deleted, each foreign key to `users` must delete the row or set
    // the column to NULL, and an index must find the rows without a scan of the whole table.
    let keys = "SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) AS name FROM pg_constraint AS key
        WHERE contype = 'f' AND confrelid = 'users'::regclass AND (
            confdeltype NOT IN ('c', 'n') OR NOT EXISTS (
                SELECT FROM pg_index WHERE indrelid = conrelid AND indkey[0] = conkey[1] AND indpred IS NULL
            )
        )";
    assert_eq!(
        names(&database, keys).await,
        [""; 0],
        "needs ON DELETE CASCADE or SET NULL, and an index that begins with the column"
    );
}

async fn archive(database: &TestDatabase, user: &str) -> Result<Value, ExportError> {
    let mut text = Vec::new();
    export(&database.url, user, chrono::DateTime::UNIX_EPOCH, &mut text).await?;
    Ok(serde_json::from_slice(&text).unwrap())
}

#[tokio::test]
async fn the_export_holds_all_data_of_the_user_and_no_other_data() {
    let database = TestDatabase::new().await;
    let node = Node::build().flag(&secret_issuer()).start_on(&database).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    ada.link_identity(&secret_token("her subject")).await.data();
    let (direct, group) = (ada.open_direct(&bob).await, bob.create_group("His", &[&ada]).await);
    ada.send(&direct, "mine \"quoted\"\n").await;
    let his = bob.send(&direct, "not mine").await;
    ada.send(&group, "mine, too").await;
    let (cem, dee) = (node.register("cem").await, node.register("dee").await);
    let more = "mutation ($cem: ID!, $dee: ID!, $bob: ID!, $his: ID!, $direct: ID!, $at: DateTime!) {
        sendContactRequest(input: {userId: $cem}) { request { id } }
        contact: sendContactRequest(input: {userId: $bob}) { contact { id } }
        blockUser(input: {userId: $dee}) { user { id } }
        addReaction(input: {messageId: $his, emoji: \"👍\"}) { message { id } }
        scheduleMessage(input: {conversationId: $direct, body: \"later\", sendAt: $at}) { scheduledMessage { id } }
    }";
    let ask = "mutation ($id: ID!) { sendContactRequest(input: {userId: $id}) { request { id } } }";
    bob.query(ask, json!({"id": ada.id})).await;
    let tomorrow = (parlance::clock::Clock::system().now() + chrono::TimeDelta::days(1)).to_rfc3339();
    let input = json!({
        "cem": cem.id, "dee": dee.id, "bob": bob.id, "his": his["id"], "direct": direct, "at": tomorrow,
    });
    ada.query(more, input).await;
    ada.leave(&group).await.data();
    // Inserts more messages than the export reads in one page.
    let more = format!(
        "INSERT INTO messages (id, conversation_id, number, revision, sender_id, kind, body, created_at)
         SELECT gen_random_uuid(), conversation_id, 100 + i, 1, sender_id, 'TEXT', 'more', now()
         FROM messages, generate_series(1, 2100) AS i WHERE body = 'mine, too' AND sender_id = '{}'",
        ada.id.parse::<UserId>().unwrap().0
    );
    database.connection().await.batch_execute(&more).await.unwrap();

    let by_name = archive(&database, &ada.username.to_uppercase()).await.unwrap();
    assert_eq!(by_name, archive(&database, &ada.id).await.unwrap());
    assert_eq!(by_name["user"]["id"], ada.id.as_str());
    assert_eq!(by_name["user"]["username"], ada.username.as_str());
    assert_eq!(by_name["user"].get("passwordHash"), None);
    assert_eq!(by_name["sessions"][0]["id"], ada.session.as_str());
    assert_eq!(by_name["identities"][0]["subject"], "her subject");
    let memberships = by_name["memberships"].as_array().unwrap();
    assert_eq!(memberships.len(), 1);
    assert_eq!((&memberships[0]["conversationId"], &memberships[0]["kind"]), (&json!(direct), &json!("DIRECT")));
    for (list, user) in [("contacts", &bob), ("contactRequests", &cem), ("blockedUsers", &dee)] {
        let ids: Vec<_> = by_name[list].as_array().unwrap().iter().map(|row| &row["userId"]).collect();
        assert_eq!(ids, [user.id.as_str()], "{list}");
    }
    assert_eq!(by_name["reactions"], json!([{"messageId": his["id"], "emoji": "👍"}]));
    assert_eq!(by_name["scheduledMessages"][0]["body"], "later");
    assert_eq!(by_name["user"]["privacy"]["readReceipts"], true);
    let messages = by_name["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 2102);
    assert!(messages.iter().any(|message| message["body"] == "mine \"quoted\"\n" && message["kind"] == "TEXT"));
    assert!(messages.iter().all(|message| message["body"] != "not mine"));

    let eve = node.register("eve").await;
    let empty = archive(&database, &eve.id).await.unwrap();
    assert_eq!((&empty["messages"], &empty["memberships"]), (&json!([]), &json!([])));
    for nobody in ["nobody", "usr_00000000000000000000000000", "", "\u{1}"] {
        assert!(matches!(archive(&database, nobody).await, Err(ExportError::Unknown(_))), "{nobody:?}");
    }
}
