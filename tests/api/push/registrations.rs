//! Push subscriptions: registration, which addresses and keys are refused, removal, and their end with the session.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::World;
use crate::support::push::{Apns, Fcm, KeyFile, PushService, Receiver, Reply};
use crate::support::{Node, PASSWORD, TestDatabase, User};

/// MAX_PUSH_SUBSCRIPTIONS.
const MAX: usize = 20;

/// Returns the ids of the subscriptions of the account.
async fn ids(user: &User) -> Vec<String> {
    let subscriptions = user.push_subscriptions().await;
    subscriptions.iter().map(|subscription| subscription["id"].as_str().unwrap().to_owned()).collect()
}

async fn revoke(user: &User, other: &User) {
    let query = "mutation ($id: ID!) { revokeSession(input: {sessionId: $id}) { sessionId } }";
    user.query(query, json!({"id": other.session})).await;
}

fn web_push(endpoint: &str) -> Value {
    let receiver = Receiver::generate();
    json!({"webPush": {"endpoint": endpoint, "p256dh": receiver.p256dh(), "auth": receiver.auth()}})
}

#[tokio::test]
async fn each_transport_is_registered_with_its_session() {
    let (fcm, apns, service) = (Fcm::start().await, Apns::start().await, PushService::start().await);
    let flags = fcm.flags().into_iter().chain(apns.flags());
    let node = flags.fold(Node::pushing(), |node, flag| node.flag(&flag)).start_alone().await;
    let ada = node.register("ada").await;
    let key = ada.push_public_key().await;
    for (transport, input) in [
        ("WEB_PUSH", service.device("webPush", &key).input),
        ("UNIFIED_PUSH", service.device("unifiedPush", &key).input),
        ("FCM", fcm.device().input),
        ("APNS", apns.device().input),
        ("APNS", apns.device_with_voip()[0].input.clone()),
    ] {
        let data = ada.register_push(&input).await.data();
        let subscription = &data["registerPushSubscription"]["pushSubscription"];
        assert_eq!(subscription["transport"], transport);
        assert_eq!(subscription["session"]["id"], ada.session);
        assert_eq!(subscription["lastDeliveredAt"], Value::Null);
        assert!(ada.push_subscriptions().await.contains(subscription), "{subscription}");
    }
    assert_eq!(ada.push_subscriptions().await.len(), 5);
    let bob = node.register("bob").await;
    assert_eq!(bob.push_subscriptions().await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_transport_that_the_operator_has_not_set_up_is_refused() {
    let node = Node::pushing().start_alone().await;
    let ada = node.register("ada").await;
    for input in [json!({"fcm": {"token": "a:b"}}), json!({"apns": {"token": "0a".repeat(32)}})] {
        assert_eq!(ada.register_push(&input).await.code(), "BAD_USER_INPUT", "{input}");
    }
}

#[tokio::test]
async fn a_second_registration_of_an_address_replaces_its_keys_and_its_session() {
    let world = World::new().await;
    let first = ids(&world.ada).await;
    world.ada.register_push(&world.phone.input).await.data();
    assert_eq!(ids(&world.ada).await, first);
    let laptop = world.laptop().await;
    let renewed = world.service.renew(&world.phone, "webPush");
    laptop.register_push(&renewed).await.data();
    let subscriptions = laptop.push_subscriptions().await;
    assert_eq!(subscriptions.len(), 1);
    assert_eq!(subscriptions[0]["id"], first[0]);
    assert_eq!(subscriptions[0]["session"]["id"], laptop.session);
    // The service can decrypt only with the new keys.
    world.bob.send(&world.chat, "to the new keys").await;
    assert_eq!(world.phone.expect("message").await.text("body"), "to the new keys");
    world.node.pushes_settled().await;
    assert!(laptop.push_subscriptions().await[0]["lastDeliveredAt"].is_string());
}

/// Two people use the browser one after the other.
#[tokio::test]
async fn an_address_that_another_account_registers_belongs_to_that_account() {
    let world = World::new().await;
    let cem = world.node.register("cem").await;
    let other = cem.open_direct(&world.bob).await;
    cem.register_push(&world.phone.input).await.data();
    assert_eq!(ids(&world.ada).await, Vec::<String>::new());
    assert_eq!(ids(&cem).await.len(), 1);
    world.bob.send(&world.chat, "to ada").await;
    world.expect_silence().await;
    world.bob.send(&other, "to cem").await;
    assert_eq!(world.phone.expect("message").await.text("body"), "to cem");
}

/// An endpoint is one device, whichever transport its client names.
#[tokio::test]
async fn another_account_takes_an_endpoint_over_by_another_transport() {
    let world = World::new().await;
    let cem = world.node.register("cem").await;
    let input = json!({"unifiedPush": world.phone.input["webPush"]});
    cem.registered_push(&input).await;
    assert_eq!(ids(&world.ada).await, Vec::<String>::new());
    world.bob.send(&world.chat, "to ada").await;
    world.expect_silence().await;
}

/// Two people use the phone one after the other, and it has got another device token in between.
#[tokio::test]
async fn a_token_for_calls_belongs_to_its_last_registration() {
    let apns = Apns::start().await;
    let flags = apns.flags();
    let world = World::with(&flags.each_ref().map(String::as_str)).await;
    let cem = world.node.register("cem").await;
    let [alerts, rings] = apns.device_with_voip();
    world.ada.registered_push(&alerts.input).await;
    let mut input = apns.device().input.clone();
    input["apns"]["voipToken"] = alerts.input["apns"]["voipToken"].clone();
    cem.registered_push(&input).await;
    let call = world.bob.start_call(&world.chat).await.call_id();
    assert_eq!(alerts.next().await.payload["callId"], call);
    world.node.pushes_settled().await;
    assert!(rings.unread().is_empty());
}

#[tokio::test]
async fn a_subscription_beyond_the_limit_replaces_the_oldest() {
    let world = World::new().await;
    let mut expected = ids(&world.ada).await;
    for _ in 0..MAX {
        let key = world.ada.push_public_key().await;
        let input = world.service.device("webPush", &key).input;
        expected.push(world.ada.registered_push(&input).await);
    }
    let mut found = ids(&world.ada).await;
    found.sort();
    expected.remove(0);
    expected.sort();
    assert_eq!(found, expected);
    world.bob.send(&world.chat, "hello").await;
    world.expect_silence().await;
}

#[tokio::test]
async fn endpoints_that_are_private_or_malformed_are_refused() {
    // The node allows only 127.0.0.0/8.
    let node = Node::pushing().start_alone().await;
    let ada = node.register("ada").await;
    let long = format!("https://127.0.0.1/{}", "x".repeat(2048));
    for endpoint in [
        "https://10.0.0.1/push",
        "https://192.168.1.1:8443/push",
        "https://172.16.0.1/push",
        "https://100.64.0.1/push",
        "https://169.254.169.254/latest/meta-data",
        "https://0.0.0.0/push",
        "https://167772161/push",
        "https://0x0a.0.0.1/push",
        "https://[::1]/push",
        "https://[::]/push",
        "https://[fd00::1]/push",
        "https://[fe80::1]/push",
        "https://[::ffff:10.0.0.1]/push",
        "https://[64:ff9b::a00:1]/push",
        "https://255.255.255.255/push",
        "https://224.0.0.1/push",
        "http://8.8.8.8/push",
        "https://user@127.0.0.1/push",
        "https://user:secret@127.0.0.1/push",
        "ftp://127.0.0.1/push",
        "file:///etc/passwd",
        "127.0.0.1/push",
        "/push",
        "https://",
        "",
        &long,
    ] {
        let answer = ada.register_push(&web_push(endpoint)).await;
        assert_eq!(answer.code(), "BAD_USER_INPUT", "{endpoint}");
        let mut input = web_push(endpoint);
        let unified = json!({"unifiedPush": input["webPush"].take()});
        assert_eq!(ada.register_push(&unified).await.code(), "BAD_USER_INPUT", "{endpoint}");
    }
    assert_eq!(ada.push_subscriptions().await, Vec::<Value>::new());
    ada.register_push(&web_push("https://127.0.0.1/push")).await.data();
}

/// Without PUSH_ALLOWED_NETWORKS a client cannot make the server connect to its own machine.
#[tokio::test]
async fn loopback_endpoints_are_refused_by_default() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    for endpoint in ["https://127.0.0.1/push", "https://[::1]/push", "http://127.0.0.1:8080/push"] {
        assert_eq!(ada.register_push(&web_push(endpoint)).await.code(), "BAD_USER_INPUT", "{endpoint}");
    }
}

#[tokio::test]
async fn keys_that_are_not_of_a_device_are_refused() {
    let node = Node::pushing().start_alone().await;
    let ada = node.register("ada").await;
    let receiver = Receiver::generate();
    let (good_key, good_secret) = (receiver.p256dh(), receiver.auth());
    let point = URL_SAFE_NO_PAD.decode(&good_key).unwrap();
    let mut off_curve = point.clone();
    off_curve[64] ^= 1;
    let compressed = [&[2][..], &point[1..33]].concat();
    let keys = [&point[..64], &off_curve, &compressed, &[0], &[0; 65], &[point.as_slice(), &[0]].concat(), &[]];
    let keys = keys.map(|bytes| (URL_SAFE_NO_PAD.encode(bytes), good_secret.clone()));
    let secrets = [vec![1_u8; 15], vec![1; 17], vec![]];
    let secrets = secrets.map(|bytes| (good_key.clone(), URL_SAFE_NO_PAD.encode(bytes)));
    let texts = [("not base64!".to_owned(), good_secret.clone()), (good_key.clone(), "\u{0}".repeat(22))];
    for (p256dh, auth) in keys.into_iter().chain(secrets).chain(texts) {
        let input = json!({"endpoint": "https://127.0.0.1/push", "p256dh": p256dh, "auth": auth});
        for transport in ["webPush", "unifiedPush"] {
            let answer = ada.register_push(&json!({transport: input})).await;
            assert_eq!(answer.code(), "BAD_USER_INPUT", "{input}");
        }
    }
    assert_eq!(ada.push_subscriptions().await, Vec::<Value>::new());
}

#[tokio::test]
async fn malformed_tokens_are_refused() {
    let (fcm, apns) = (Fcm::start().await, Apns::start().await);
    let flags = fcm.flags().into_iter().chain(apns.flags());
    let node = flags.fold(Node::pushing(), |node, flag| node.flag(&flag)).start_alone().await;
    let ada = node.register("ada").await;
    let hex = "0a".repeat(32);
    for input in [
        json!({"fcm": {"token": ""}}),
        json!({"fcm": {"token": "with spaces and\nlines"}}),
        json!({"fcm": {"token": "x".repeat(10_000)}}),
        json!({"apns": {"token": ""}}),
        json!({"apns": {"token": "../../3/device/xyz"}}),
        json!({"apns": {"token": "0a".repeat(5000)}}),
        json!({"apns": {"token": hex, "voipToken": "not hexadecimal"}}),
    ] {
        assert_eq!(ada.register_push(&input).await.code(), "BAD_USER_INPUT", "{input}");
    }
    assert_eq!(ada.push_subscriptions().await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_subscription_is_removed_by_its_id_its_endpoint_or_its_token() {
    let world = World::new().await;
    let (id, endpoint) = (ids(&world.ada).await.remove(0), world.phone.address.clone());
    for input in [json!({"id": id}), json!({"endpoint": endpoint}), json!({"token": endpoint})] {
        assert_eq!(world.bob.remove_push(input.clone()).await.code(), "NOT_FOUND", "{input}");
    }
    assert_eq!(world.ada.remove_push(json!({"id": "psh_x"})).await.code(), "BAD_USER_INPUT");
    assert_eq!(ids(&world.ada).await, [id.as_str()]);
    let removed = world.ada.remove_push(json!({"endpoint": endpoint})).await.data();
    assert_eq!(removed["removePushSubscription"]["removedId"], id);
    assert_eq!(world.ada.remove_push(json!({"endpoint": endpoint})).await.code(), "NOT_FOUND");
    let again = world.ada.registered_push(&world.phone.input).await;
    world.ada.remove_push(json!({"id": again})).await.data();
    assert_eq!(ids(&world.ada).await, Vec::<String>::new());
    world.bob.send(&world.chat, "to nobody").await;
    world.expect_silence().await;
    world.ada.register_push(&world.phone.input).await.data();
    world.expect_marker().await;
}

#[tokio::test]
async fn a_subscription_by_fcm_is_removed_by_its_token() {
    let fcm = Fcm::start().await;
    let node = fcm.flags().iter().fold(Node::pushing(), |node, flag| node.flag(flag)).start_alone().await;
    let ada = node.register("ada").await;
    let device = fcm.device();
    let id = ada.registered_push(&device.input).await;
    assert_eq!(ada.remove_push(json!({"endpoint": device.address})).await.code(), "NOT_FOUND");
    let removed = ada.remove_push(json!({"token": device.address})).await.data();
    assert_eq!(removed["removePushSubscription"]["removedId"], id);
}

#[tokio::test]
async fn a_subscription_ends_with_its_session() {
    let world = World::new().await;
    let laptop = world.laptop().await;
    let browser = laptop.browser(&world.service).await;
    world.bob.send(&world.chat, "to both").await;
    for device in [&world.phone, &browser] {
        assert_eq!(device.expect("message").await.text("body"), "to both");
    }
    revoke(&world.ada, &laptop).await;
    assert_eq!(ids(&world.ada).await.len(), 1);
    world.bob.send(&world.chat, "to the phone").await;
    assert_eq!(world.phone.expect("message").await.text("body"), "to the phone");
    world.node.pushes_settled().await;
    browser.expect_none();
}

#[tokio::test]
async fn a_deleted_account_gets_no_push() {
    let world = World::new().await;
    let group = world.bob.create_group("Group", &[&world.ada]).await;
    world.ada.delete_account(Some(PASSWORD)).await.data();
    world.bob.send(&group, "to nobody").await;
    world.expect_silence().await;
    // The device is free for another account.
    let cem = world.node.register("cem").await;
    cem.registered_push(&world.phone.input).await;
    world.bob.add_participants(&group, &[&cem]).await.data();
    world.bob.send(&group, "to cem").await;
    assert!(world.phone.expect("message").await.text("body").ends_with("to cem"));
}

/// The push is planned before the session ends, and its service does not accept it at first.
#[tokio::test]
async fn a_waiting_push_is_not_sent_after_the_end_of_its_session() {
    let world = World::new().await;
    let laptop = world.laptop().await;
    let browser = laptop.browser(&world.service).await;
    browser.reply(&[Reply::RetryAfter(503, 3)]);
    world.bob.send(&world.chat, "to both").await;
    browser.expect("message").await;
    revoke(&world.ada, &laptop).await;
    world.node.pushes_settled().await;
    browser.expect_none();
}

/// Browsers accept pushes only from the key with which the page has subscribed.
#[tokio::test]
async fn all_nodes_have_the_same_key_and_keep_it() {
    let database = TestDatabase::new().await;
    let [one, two] = [Node::pushing().start_on(&database).await, Node::pushing().start_on(&database).await];
    let ada = one.register("ada").await;
    let key = ada.push_public_key().await;
    assert_eq!(ada.on(&two).push_public_key().await, key);
    let point = URL_SAFE_NO_PAD.decode(&key).unwrap();
    assert_eq!((point.len(), point[0]), (65, 4), "an uncompressed point of P-256");
    drop((one, two));
    let three = Node::pushing().start_on(&database).await;
    assert_eq!(User::login(&three, &ada.username, PASSWORD).await.push_public_key().await, key);
}

#[tokio::test]
async fn the_operator_can_set_the_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vapid.pem");
    let key = KeyFile::generate();
    std::fs::write(&path, &key.pem).unwrap();
    let world = World::with(&[&format!("--push-vapid-key-file={}", path.display())]).await;
    assert_eq!(world.ada.push_public_key().await, URL_SAFE_NO_PAD.encode(&key.public_key));
    // The service checks the signature with this key.
    world.expect_marker().await;
}
