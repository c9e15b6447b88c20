//! Push services and devices that tests play: Web Push and UnifiedPush, FCM and APNs.

mod apns;
mod fcm;
mod receiver;
mod stand_in;
mod tls;
mod web_push;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _};
use serde_json::{Value, json};

pub use apns::Apns;
pub use fcm::Fcm;
pub use receiver::Receiver;
pub use stand_in::{Device, Received, Reply};
pub use tls::Certificate;
pub use web_push::PushService;

use super::client::{Answer, User};
use super::eventually;
use super::node::{Node, NodeBuilder};

/// The contact of the operator, which push services find in the VAPID token.
pub const CONTACT: &str = "mailto:operator@example.org";
/// All deliveries that are planned, and the events that are not planned yet, are done.
const SETTLED: &str = "SELECT 1 FROM consumers, log_head
    WHERE name = 'push' AND position >= log_head.seq AND NOT EXISTS (SELECT FROM push_deliveries)";

/// A private key of the curve P-256, as `openssl genpkey` writes it.
pub struct KeyFile {
    pub pem: String,
    /// The public key: an uncompressed point.
    pub public_key: Vec<u8>,
}

impl KeyFile {
    pub fn generate() -> Self {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).unwrap();
        Self { pem: pem_of(document.as_ref()), public_key: key.public_key().as_ref().to_vec() }
    }
}

/// Returns a private key in the form of PKCS #8 as PEM.
fn pem_of(key: &[u8]) -> String {
    let text = STANDARD.encode(key);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}

impl Node {
    /// Returns a builder of a node that sends pushes to services of this machine.
    pub fn pushing() -> NodeBuilder {
        Self::build().flag("--push-allowed-networks=127.0.0.0/8").flag(&format!("--push-contact={CONTACT}"))
    }

    /// Waits until the node has handled all events of the log, and no delivery waits.
    pub async fn pushes_settled(&self) {
        let mut connection = AsyncPgConnection::establish(&self.database_url).await.unwrap();
        eventually("no push waits", async || diesel::sql_query(SETTLED).execute(&mut connection).await.unwrap() > 0)
            .await;
    }
}

impl User {
    /// Calls `registerPushSubscription`.
    pub async fn register_push(&self, input: &Value) -> Answer {
        let query = "mutation ($input: RegisterPushSubscriptionInput!) { registerPushSubscription(input: $input) {
            pushSubscription { id transport session { id } createdAt lastDeliveredAt }
        } }";
        self.call(query, json!({"input": input})).await
    }

    /// Registers a device, which must succeed. Returns the id of the subscription.
    pub async fn registered_push(&self, input: &Value) -> String {
        let data = self.register_push(input).await.data();
        data["registerPushSubscription"]["pushSubscription"]["id"].as_str().unwrap().to_owned()
    }

    pub async fn remove_push(&self, input: Value) -> Answer {
        let query = "mutation ($input: RemovePushSubscriptionInput!) { removePushSubscription(input: $input) {
            removedId
        } }";
        self.call(query, json!({"input": input})).await
    }

    /// Reads the push subscriptions of the account.
    pub async fn push_subscriptions(&self) -> Vec<Value> {
        let query = "{ viewer { pushSubscriptions { id transport session { id } createdAt lastDeliveredAt } } }";
        self.query(query, json!({})).await["viewer"]["pushSubscriptions"].as_array().unwrap().clone()
    }

    /// Subscribes a browser to a push service, as a page does with `PushManager.subscribe`.
    pub async fn browser(&self, service: &PushService) -> Device {
        self.subscribed("webPush", service).await
    }

    /// Subscribes an app to a distributor of UnifiedPush.
    pub async fn unified_push(&self, service: &PushService) -> Device {
        self.subscribed("unifiedPush", service).await
    }

    async fn subscribed(&self, transport: &str, service: &PushService) -> Device {
        let device = service.device(transport, &self.push_public_key().await);
        self.registered_push(&device.input).await;
        device
    }

    /// Reads the VAPID key of the server.
    pub async fn push_public_key(&self) -> String {
        let data = self.query("{ serverInfo { pushPublicKey } }", json!({})).await;
        data["serverInfo"]["pushPublicKey"].as_str().unwrap().to_owned()
    }

    /// Calls `updateNotificationSettings` and returns the settings.
    pub async fn set_notifications(&self, input: Value) -> Answer {
        let query = "mutation ($input: UpdateNotificationSettingsInput!) { updateNotificationSettings(input: $input) {
            notificationSettings { content quietHours { from to timeZone } emailDigests }
        } }";
        self.call(query, json!({"input": input})).await
    }

    /// Calls `updateMembership`, which must succeed. `changes` contains the input fields except `conversationId`.
    pub async fn set_membership(&self, conversation: &str, changes: Value) {
        let mut input = changes;
        input["conversationId"] = json!(conversation);
        let query = "mutation ($input: UpdateMembershipInput!) { updateMembership(input: $input) {
            conversation { id }
        } }";
        self.query(query, json!({"input": input})).await;
    }

    /// Reads the number of unread messages of all conversations.
    pub async fn unread_total(&self) -> Value {
        self.query("{ viewer { unreadCount } }", json!({})).await["viewer"]["unreadCount"].clone()
    }
}
