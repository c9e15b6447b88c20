//! Push notifications, with push services and devices that the tests play.

mod answers;
mod calls;
mod commands;
mod contents;
mod digests;
mod dismissals;
mod faults;
mod native;
mod presence;
mod recipients;
mod registrations;
mod settings;

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use serde_json::json;

use crate::support::push::{CONTACT, Device, PushService};
use crate::support::{Node, PASSWORD, TestDatabase, User};

/// The settings of a node that runs as a process.
const SETTINGS: [(&str, &str); 2] = [("PUSH_ALLOWED_NETWORKS", "127.0.0.0/8"), ("PUSH_CONTACT", CONTACT)];

/// A node and two users with a direct conversation. The pushes to the phone of the first one reach the test.
struct World {
    node: Node,
    service: PushService,
    ada: User,
    bob: User,
    /// The direct conversation of both.
    chat: String,
    /// A device of Ada's session.
    phone: Device,
    // This must be the last field, because the node uses the database until it is dropped.
    database: TestDatabase,
}

impl World {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    /// Starts a node with further flags.
    async fn with(flags: &[&str]) -> Self {
        let database = TestDatabase::new().await;
        let node = Node::pushing().flags(flags).start_on(&database).await;
        let service = PushService::start().await;
        let (ada, bob) = (node.register("ada").await, node.register("bob").await);
        let chat = ada.open_direct(&bob).await;
        let phone = ada.browser(&service).await;
        Self { node, service, ada, bob, chat, phone, database }
    }

    /// Signs Ada in on another device, which has no push subscription.
    async fn laptop(&self) -> User {
        User::login(&self.node, &self.ada.username, PASSWORD).await
    }

    /// Asserts that the phone got no push for all that has happened, and that no push waits.
    async fn expect_silence(&self) {
        self.node.pushes_settled().await;
        self.phone.expect_none();
    }

    /// Asserts that no push to the phone has shown a message, for all that has happened.
    async fn expect_only_dismissals(&self) {
        self.node.pushes_settled().await;
        let pushes = self.phone.unread();
        assert!(pushes.iter().all(|push| push.payload["kind"] == "dismiss"), "{pushes:#?}");
    }

    /// Sends a message in a new group of both users, which must be the next push to the phone.
    async fn expect_marker(&self) {
        let group = self.bob.create_group("Marker", &[&self.ada]).await;
        self.bob.send(&group, "marker").await;
        let push = self.phone.expect("message").await;
        assert_eq!(push.payload["conversationId"], group, "{:#}", push.payload);
    }

    /// Holds the lock of the notifier, so that it plans nothing until the lock is released.
    async fn hold_notifier(&self) -> HeldNotifier {
        let mut holder = self.database.connection().await;
        holder.batch_execute("BEGIN; SELECT FROM consumers WHERE name = 'push' FOR UPDATE").await.unwrap();
        HeldNotifier { holder }
    }
}

async fn set_name(user: &User, name: &str) {
    let query = "mutation ($name: String!) { updateProfile(input: {displayName: $name}) { viewer { id } } }";
    user.query(query, json!({"name": name})).await;
}

/// The lock of the row of the notifier in `consumers`.
struct HeldNotifier {
    holder: AsyncPgConnection,
}

impl HeldNotifier {
    async fn release(mut self) {
        self.holder.batch_execute("ROLLBACK").await.unwrap();
    }
}
