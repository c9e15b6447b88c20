//! Every mutation that changes durable state appends events to the log, and they reach the inboxes of all devices of
//! all affected users. Each mutation must have a row in `rows` or an entry in `NOTHING_DURABLE`.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{TypeKind, TypeSystemDefinition};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use serde_json::{Value, json};

use crate::support::{Node, PASSWORD, TestDatabase, User};

/// Two users with a direct conversation and a group. `ada` calls the mutation.
pub struct World {
    node: Arc<Node>,
    pub ada: User,
    pub bob: User,
    direct: String,
    /// A group of Ada, with Bob as a member.
    group: String,
    /// A message of Bob in the group.
    message: Value,
}

impl World {
    pub async fn new(node: Arc<Node>) -> Self {
        let (ada, bob) = (node.register("ada").await, node.register("bob").await);
        let (direct, group) = (ada.open_direct(&bob).await, ada.create_group("Both", &[&bob]).await);
        let message = bob.send(&group, "hello").await;
        Self { node, ada, bob, direct, group, message }
    }

    /// Bob sends Ada a contact request. Returns its id.
    async fn asked(&self) -> Value {
        let query = "mutation ($id: ID!) { sendContactRequest(input: {userId: $id}) { request { id } } }";
        self.bob.query(query, json!({"id": self.ada.id})).await["sendContactRequest"]["request"]["id"].clone()
    }

    async fn befriend(&self) {
        let query = "mutation ($id: ID!) { acceptContactRequest(input: {requestId: $id}) { contact { id } } }";
        self.ada.query(query, json!({"id": self.asked().await})).await;
    }

    /// Ada calls a mutation whose input is Bob's user id.
    async fn toward_bob(&self, mutation: &str, payload: &str) {
        let query = format!("mutation ($id: ID!) {{ {mutation}(input: {{userId: $id}}) {{ {payload} }} }}");
        self.ada.query(&query, json!({"id": self.bob.id})).await;
    }

    /// Ada calls a mutation whose input is Bob's message. `more` holds further input fields.
    async fn about(&self, mutation: &str, more: &str) {
        let query =
            format!("mutation ($id: ID!) {{ {mutation}(input: {{messageId: $id{more}}}) {{ message {{ id }} }} }}");
        self.ada.query(&query, json!({"id": self.message["id"]})).await;
    }

    /// Ada schedules a message for tomorrow. Returns its id.
    async fn schedule(&self) -> Value {
        let query = "mutation ($id: ID!, $at: DateTime!) {
            scheduleMessage(input: {conversationId: $id, body: \"later\", sendAt: $at}) { scheduledMessage { id } }
        }";
        let tomorrow = parlance::clock::Clock::system().now() + chrono::TimeDelta::days(1);
        let scheduled = self.ada.query(query, json!({"id": self.direct, "at": tomorrow.to_rfc3339()})).await;
        scheduled["scheduleMessage"]["scheduledMessage"]["id"].clone()
    }
}

/// A mutation, and the events that it must cause: in the log, in the inbox of Ada's other device, and in Bob's inbox.
pub struct Row {
    pub mutation: &'static str,
    pub perform: fn(&World) -> LocalBoxFuture<'_, ()>,
    log: &'static [&'static str],
    ada: &'static [&'static str],
    bob: &'static [&'static str],
}

/// Mutations that change only state that a restart of all nodes loses.
const NOTHING_DURABLE: &[&str] = &["setPresence", "setTyping"];

macro_rules! row {
    ($mutation:literal, log $log:expr, ada $ada:expr, bob $bob:expr, |$world:ident| $perform:expr) => {
        Row {
            mutation: $mutation,
            perform: |$world| {
                async move {
                    $perform;
                }
                .boxed_local()
            },
            log: &$log,
            ada: &$ada,
            bob: &$bob,
        }
    };
}

/// One row for each mutation, in alphabetical order.
#[expect(clippy::too_many_lines, reason = "a table")]
pub fn rows() -> Vec<Row> {
    vec![
        row!("acceptCall", log ["call_ringing", "call_answered"], ada ["CallAnswered"], bob ["CallAnswered"], |world| {
            let call = world.bob.start_call(&world.direct).await.call_id();
            world.ada.accept_call(&call).await.data()
        }),
        row!("acceptContactRequest", log ["contacts_changed"; 4], ada ["ContactsChanged"; 2], bob ["ContactsChanged"; 2], |world| world.befriend().await),
        row!("addParticipants", log ["conversation_added", "conversation_updated", "message_added"],
        ada ["ConversationUpdated", "MessageAdded"], bob ["ConversationUpdated", "MessageAdded"], |world| {
            let eve = world.node.register("eve").await;
            world.ada.add_participants(&world.group, &[&eve]).await.data()
        }),
        row!("addReaction", log["message_updated"], ada["MessageUpdated"], bob["MessageUpdated"], |world| world
            .about("addReaction", ", emoji: \"👍\"")
            .await),
        row!("blockUser", log ["contacts_changed"], ada ["ContactsChanged"], bob [], |world| world.toward_bob("blockUser", "user { id }").await),
        row!("cancelScheduledMessage", log ["membership_updated"; 2], ada ["MembershipUpdated"; 2], bob [], |world| {
            let id = world.schedule().await;
            let query = "mutation ($id: ID!) {
                    cancelScheduledMessage(input: {scheduledMessageId: $id}) { scheduledMessageId }
                }";
            world.ada.query(query, json!({"id": id})).await
        }),
        row!("changePassword", log ["session_revoked"], ada [], bob [], |world| {
            let query = "mutation ($old: String!) { changePassword(input: {
                currentPassword: $old, newPassword: \"another long battery staple\"
            }) { viewer { id } } }";
            world.ada.query(query, json!({"old": PASSWORD})).await
        }),
        // An attachment causes no event before it is sent with a message.
        row!("completeUpload", log [], ada [], bob [], |world| world.ada.upload_note("note").await),
        row!("createGroup", log ["conversation_added", "conversation_added"], ada ["ConversationAdded"],
            bob ["ConversationAdded"], |world| world.ada.create_group("New", &[&world.bob]).await),
        row!(
            "createInvite",
            log["conversation_updated"],
            ada["ConversationUpdated"],
            bob["ConversationUpdated"],
            |world| world.ada.create_invite(&world.group, json!({})).await.data()
        ),
        row!("createMultipartUpload", log [], ada [], bob [], |world| {
            let query = "mutation { createMultipartUpload(input: {
                fileName: \"a\", contentType: \"text/plain\", byteSize: 20000000
            }) { partBytes } }";
            world.ada.query(query, json!({})).await
        }),
        row!("createUpload", log [], ada [], bob [], |world| world.ada.begin_upload("a", "text/plain", 1).await),
        row!("declineCall", log ["call_ringing", "call_ended", "message_added"], ada ["CallEnded", "MessageAdded"],
            bob ["CallEnded", "MessageAdded"], |world| {
            let call = world.bob.start_call(&world.direct).await.call_id();
            world.ada.decline_call(&call).await.data()
        }),
        row!("declineContactRequest", log ["contacts_changed"; 3], ada ["ContactsChanged"; 2], bob ["ContactsChanged"], |world| {
            let id = world.asked().await;
            let query = "mutation ($id: ID!) { declineContactRequest(input: {requestId: $id}) { requestId } }";
            world.ada.query(query, json!({"id": id})).await
        }),
        row!("deleteAccount",
        log ["user_updated", "conversation_removed", "conversation_updated", "message_added", "session_revoked"],
        ada [], bob ["ConversationUpdated", "ConversationUpdated", "MessageAdded"], |world| {
            world.ada.delete_account(Some(PASSWORD)).await.data()
        }),
        row!("deleteMessage", log ["message_added", "message_updated", "message_removed"], ada ["MessageAdded", "MessageUpdated", "MessageRemoved"], bob ["MessageAdded", "MessageUpdated"], |world| {
            let query = "mutation ($id: ID!, $scope: DeleteScope!) {
                    deleteMessage(input: {messageId: $id, scope: $scope}) { messageId }
                }";
            let own = world.ada.send(&world.direct, "hello").await;
            world.ada.query(query, json!({"id": own["id"], "scope": "EVERYONE"})).await;
            world.ada.query(query, json!({"id": world.message["id"], "scope": "VIEWER"})).await
        }),
        row!("editMessage", log ["message_added", "message_updated"], ada ["MessageAdded", "MessageUpdated"], bob ["MessageAdded", "MessageUpdated"], |world| {
            let own = world.ada.send(&world.direct, "hello").await;
            let query = "mutation ($id: ID!) { editMessage(input: {messageId: $id, body: \"hi\"}) { message { id } } }";
            world.ada.query(query, json!({"id": own["id"]})).await
        }),
        row!("forwardMessages", log["message_added"], ada["MessageAdded"], bob["MessageAdded"], |world| {
            let query = "mutation ($id: ID!, $to: ID!) {
                    forwardMessages(input: {messageIds: [$id], conversationIds: [$to]}) { messages { id } }
                }";
            world.ada.query(query, json!({"id": world.message["id"], "to": world.direct})).await
        }),
        row!("joinByInvite", log ["conversation_added", "conversation_added", "conversation_updated", "message_added"],
        ada ["ConversationAdded"], bob ["ConversationAdded", "ConversationUpdated", "MessageAdded"], |world| {
            let his = world.bob.create_group("His", &[]).await;
            let invite = world.bob.create_invite(&his, json!({})).await.data();
            world.ada.join(&invite["createInvite"]["invite"]["code"]).await.data()
        }),
        row!("leaveCall", log ["call_left", "call_ended", "message_added"], ada ["CallLeft", "CallEnded", "MessageAdded"],
            bob ["CallLeft", "CallEnded", "MessageAdded"], |world| {
            let call = world.ada.start_call(&world.direct).await.call_id();
            world.ada.leave_call(&call).await.data()
        }),
        row!("leaveConversation",
            log ["conversation_removed", "conversation_updated", "membership_updated", "message_added"],
            ada ["ConversationRemoved"], bob ["ConversationUpdated", "MembershipUpdated", "MessageAdded"],
            |world| world.ada.leave(&world.group).await.data()),
        // A new session causes no event.
        row!("login", log [], ada [], bob [], |world| {
            User::login(&*world.node, &world.ada.username, PASSWORD).await
        }),
        row!("logout", log ["session_revoked"], ada [], bob [], |world| {
            world.ada.query("mutation { logout { sessionId } }", json!({})).await
        }),
        row!("markDelivered", log["receipt_advanced"], ada["ReceiptAdvanced"], bob["ReceiptAdvanced"], |world| {
            let query = "mutation ($id: ID!) { markDelivered(input: {messageId: $id}) { conversation { id } } }";
            world.ada.query(query, json!({"id": world.message["id"]})).await
        }),
        row!("markRead", log["receipt_advanced"], ada["ReceiptAdvanced"], bob["ReceiptAdvanced"], |world| {
            world.ada.mark_read(&world.message).await.data()
        }),
        row!("openDirectConversation", log ["conversation_added", "conversation_added"], ada ["ConversationAdded"],
        bob [], |world| {
            let eve = world.node.register("eve").await;
            world.ada.open_direct(&eve).await
        }),
        row!("pinMessage", log ["message_updated", "message_added"], ada ["MessageUpdated", "MessageAdded"], bob ["MessageUpdated", "MessageAdded"], |world| world.about("pinMessage", "").await),
        row!("refreshSession", log [], ada [], bob [], |world| {
            let query = "mutation ($token: String!) { refreshSession(input: {refreshToken: $token}) { accessToken } }";
            world.node.call(None, query, json!({"token": world.ada.refresh_token})).await.data()
        }),
        // A new account causes no event.
        row!("register", log [], ada [], bob [], |world| world.node.register("eve").await),
        row!("removeContact", log ["contacts_changed"; 6], ada ["ContactsChanged"; 3], bob ["ContactsChanged"; 3], |world| {
            world.befriend().await;
            world.toward_bob("removeContact", "user { id }").await;
        }),
        row!("removeParticipant", log ["conversation_removed", "conversation_updated", "message_added"],
            ada ["ConversationUpdated", "MessageAdded"], bob ["ConversationRemoved"],
            |world| world.ada.remove(&world.group, &world.bob).await.data()),
        row!("removeReaction", log ["message_updated"; 2], ada ["MessageUpdated"; 2], bob ["MessageUpdated"; 2], |world| {
            world.about("addReaction", ", emoji: \"👍\"").await;
            world.about("removeReaction", ", emoji: \"👍\"").await;
        }),
        row!("resumeUpload", log [], ada [], bob [], |world| {
            let begun = world.ada.begin_upload("a", "text/plain", 1).await;
            let query = "mutation ($id: ID!) { resumeUpload(input: {attachmentId: $id}) { uploaded } }";
            world.ada.query(query, json!({"id": begun["attachment"]["id"]})).await
        }),
        row!("revokeInvite", log ["conversation_updated", "conversation_updated"],
            ada ["ConversationUpdated", "ConversationUpdated"], bob ["ConversationUpdated", "ConversationUpdated"], |world| {
            let invite = world.ada.create_invite(&world.group, json!({})).await.data();
            let query = "mutation ($id: ID!) { revokeInvite(input: {inviteId: $id}) { inviteId } }";
            world.ada.query(query, json!({"id": invite["createInvite"]["invite"]["id"]})).await
        }),
        row!("revokeOtherSessions", log ["session_revoked"], ada [], bob [], |world| {
            world.ada.query("mutation { revokeOtherSessions { sessionIds } }", json!({})).await
        }),
        row!("revokeSession", log ["session_revoked"], ada [], bob [], |world| {
            let query = "mutation ($id: ID!) { revokeSession(input: {sessionId: $id}) { sessionId } }";
            world.ada.query(query, json!({"id": world.ada.session})).await
        }),
        row!("scheduleMessage", log ["membership_updated"], ada ["MembershipUpdated"], bob [], |world| world.schedule().await),
        // Only the addressed device gets the signal, in `callEvents`.
        row!("sendCallSignal", log ["call_signalled"], ada [], bob [], |world| {
            let call = world.ada.start_call(&world.direct).await.call_id();
            world.bob.accept_call(&call).await.data();
            world.ada.send_candidate(&call, &world.bob, "").await.data()
        }),
        row!("sendContactRequest", log ["contacts_changed"; 2], ada ["ContactsChanged"], bob ["ContactsChanged"], |world| world.toward_bob("sendContactRequest", "request { id }").await),
        row!("sendMessage", log["message_added"], ada["MessageAdded"], bob["MessageAdded"], |world| {
            world.ada.send(&world.direct, "hello").await
        }),
        row!("setParticipantRole", log ["membership_updated", "conversation_updated", "message_added"],
            ada ["ConversationUpdated", "MessageAdded"],
            bob ["MembershipUpdated", "ConversationUpdated", "MessageAdded"],
            |world| world.ada.set_role(&world.group, &world.bob, "ADMIN").await.data()),
        row!("startCall", log ["call_ringing", "membership_updated"], ada ["MembershipUpdated"], bob ["CallRinging"],
            |world| world.ada.start_call(&world.direct).await.data()),
        row!("unbanUser", log ["conversation_removed", "conversation_updated", "message_added", "conversation_updated"],
            ada ["ConversationUpdated", "MessageAdded", "ConversationUpdated"], bob ["ConversationRemoved"], |world| {
            world.ada.ban(&world.group, &world.bob).await.data();
            world.ada.unban(&world.group, &world.bob).await.data()
        }),
        row!("unblockUser", log ["contacts_changed"; 2], ada ["ContactsChanged"; 2], bob [], |world| {
            world.toward_bob("blockUser", "user { id }").await;
            world.toward_bob("unblockUser", "user { id }").await;
        }),
        row!("unpinMessage", log ["message_updated"; 2], ada ["MessageUpdated"; 2], bob ["MessageUpdated"; 2], |world| {
            world.about("pinMessage", "").await;
            world.about("unpinMessage", "").await;
        }),
        row!("updateGroup", log ["conversation_updated", "message_added"], ada ["ConversationUpdated", "MessageAdded"],
            bob ["ConversationUpdated", "MessageAdded"],
            |world| world.ada.update_group(&world.group, json!({"title": "New"})).await.data()),
        row!("updateMembership", log ["membership_updated"], ada ["MembershipUpdated"], bob [], |world| {
            let query = "mutation ($id: ID!) {
                    updateMembership(input: {conversationId: $id, archived: true}) { conversation { id } }
                }";
            world.ada.query(query, json!({"id": world.direct})).await
        }),
        row!("updatePrivacy", log ["user_updated", "read_receipts_off"], ada [], bob [], |world| {
            let query = "mutation { updatePrivacy(input: {readReceipts: false}) { viewer { id } } }";
            world.ada.query(query, json!({})).await
        }),
        // The event makes nodes reload the user. The schema has no GraphQL event for it.
        row!("updateProfile", log ["user_updated"], ada [], bob [], |world| {
            let query = "mutation { updateProfile(input: {about: \"new\"}) { viewer { id } } }";
            world.ada.query(query, json!({})).await
        }),
    ]
}

#[test]
fn every_mutation_is_in_the_table() {
    let document = parse_schema(parlance::graphql::sdl()).unwrap();
    let mutations = document.definitions.into_iter().find_map(|definition| match definition {
        TypeSystemDefinition::Type(definition) if definition.node.name.node == "Mutation" => match definition.node.kind
        {
            TypeKind::Object(object) => Some(object.fields),
            _ => None,
        },
        _ => None,
    });
    let there: BTreeSet<_> = mutations.unwrap().iter().map(|field| field.node.name.node.to_string()).collect();
    let rows = rows();
    let names = rows.iter().map(|row| row.mutation).chain(NOTHING_DURABLE.iter().copied());
    let known: BTreeSet<_> = names.clone().map(str::to_owned).collect();
    assert_eq!(names.count(), known.len(), "each mutation has one entry");
    let missing: Vec<_> = there.difference(&known).collect();
    assert_eq!(missing, [""; 0], "add them to `rows`, or to NOTHING_DURABLE");
    assert_eq!(known.difference(&there).collect::<Vec<_>>(), [""; 0], "the schema has no such mutation");
}

#[derive(QueryableByName)]
struct Head {
    #[diesel(sql_type = BigInt)]
    seq: i64,
}

#[derive(QueryableByName)]
struct Kind {
    #[diesel(sql_type = Text)]
    kind: String,
}

async fn head(connection: &mut AsyncPgConnection) -> i64 {
    diesel::sql_query("SELECT seq FROM log_head").get_result::<Head>(connection).await.unwrap().seq
}

async fn logged(connection: &mut AsyncPgConnection, after: i64) -> Vec<String> {
    let query = diesel::sql_query("SELECT kind FROM events WHERE seq > $1 ORDER BY seq").bind::<BigInt, _>(after);
    query.load::<Kind>(connection).await.unwrap().into_iter().map(|row| row.kind).collect()
}

/// Panics unless the events contain every expected kind at least as often as expected.
#[track_caller]
fn take(mutation: &str, expected: &[&str], mut there: Vec<String>) {
    for kind in expected {
        let place = there.iter().position(|other| other == kind);
        there.remove(place.unwrap_or_else(|| panic!("{mutation} causes too few {kind} events; others: {there:?}")));
    }
}

#[tokio::test]
async fn each_mutation_sends_its_events_to_the_log_and_to_all_affected_inboxes() {
    for row in rows() {
        let database = TestDatabase::new().await;
        let node = Node::build().start_on(&database).await;
        let (ada, bob) = (node.register("ada").await, node.register("bob").await);
        let phone = User::login(&node, &ada.username, PASSWORD).await;
        let (direct, group) = (ada.open_direct(&bob).await, ada.create_group("Both", &[&bob]).await);
        let message = bob.send(&group, "hello").await;
        let (before_ada, before_bob) = (phone.inbox().await.cursor, bob.inbox().await.cursor);
        let (mut live_ada, mut live_bob) = (phone.inbox().await, bob.inbox().await);
        let mut connection = database.connection().await;
        let before = head(&mut connection).await;

        let world = World { node: Arc::new(node), ada, bob, direct, group, message };
        (row.perform)(&world).await;

        let kinds = logged(&mut connection, before).await;
        if row.log.is_empty() {
            assert_eq!(kinds, [""; 0], "{}", row.mutation);
        }
        take(row.mutation, row.log, kinds);
        // The inboxes receive the events live, and again when they resume by cursor.
        for (user, expected, live, cursor) in
            [(&phone, row.ada, &mut live_ada, before_ada), (&world.bob, row.bob, &mut live_bob, before_bob)]
        {
            if expected.is_empty() {
                continue;
            }
            let mut heard = Vec::new();
            let all_in = |heard: &[String]| {
                expected.iter().all(|kind| {
                    let times = |list: &mut dyn Iterator<Item = &str>| list.filter(|other| other == kind).count();
                    times(&mut heard.iter().map(String::as_str)) >= times(&mut expected.iter().copied())
                })
            };
            while !all_in(&heard) {
                let event = tokio::time::timeout(crate::support::PATIENCE / 2, live.next()).await;
                let event = event.unwrap_or_else(|_| panic!("{} caused only these events: {heard:?}", row.mutation));
                heard.push(event["__typename"].as_str().unwrap().to_owned());
            }
            let missed = user.inbox_after(cursor.as_deref()).await.missed().await;
            let missed = missed.iter().map(|event| event["__typename"].as_str().unwrap().to_owned());
            take(row.mutation, expected, missed.collect());
        }
    }
}
