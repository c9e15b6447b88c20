//! Avatars: pictures of users and groups.

use serde_json::{Value, json};

use crate::support::{Node, User, get, picture};

const AVATAR: &str = "avatar { id url thumbnailUrl large: thumbnailUrl(size: LARGE) }";

async fn update_profile(user: &User, avatar: &Value) -> crate::support::Answer {
    let query = format!(
        "mutation ($id: ID) {{ updateProfile(input: {{avatarId: $id}}) {{ viewer {{ user {{ {AVATAR} }} }} }} }}"
    );
    user.call(&query, json!({"id": avatar})).await
}

async fn avatar_of(viewer: &User, user: &User) -> Value {
    let query = format!("query ($id: ID!) {{ user(by: {{id: $id}}) {{ {AVATAR} }} }}");
    viewer.query(&query, json!({"id": user.id})).await["user"]["avatar"].clone()
}

async fn side(url: &Value) -> (u32, u32) {
    let picture = image::load_from_memory(&get(url).await.bytes().await.unwrap()).unwrap();
    (picture.width(), picture.height())
}

#[tokio::test]
async fn a_user_avatar_is_visible_to_every_user() {
    let node = Node::start().await;
    let (ada, eve) = (node.register("ada").await, node.register("eve").await);
    assert_eq!(avatar_of(&eve, &ada).await, Value::Null);
    let picture = ada.upload("me.jpg", "image/jpeg", &picture(800, 400)).await["id"].clone();
    assert_eq!(eve.attachment(&picture).await, Value::Null);
    let updated = update_profile(&ada, &picture).await.data();
    assert_eq!(updated["updateProfile"]["viewer"]["user"]["avatar"]["id"], picture);

    let seen = avatar_of(&eve, &ada).await;
    assert_eq!(seen["id"], picture);
    assert_eq!(side(&seen["thumbnailUrl"]).await, (96, 96));
    assert_eq!(side(&seen["large"]).await, (400, 400), "no larger than the picture");
    assert_eq!(get(&seen["url"]).await.status(), 200);
    assert_eq!(eve.attachment(&picture).await["id"], picture);

    // Other users get the new avatar with Ada's next message.
    let direct = ada.open_direct(&eve).await;
    let mut socket = eve.socket().await;
    let query = "subscription { messageAdded { message { sender { avatar { id } } } } }";
    socket.subscribe("it", query, json!({})).await;
    node.subscription_is_live(&eve, &direct).await;
    for expected in [picture.clone(), Value::Null] {
        if expected.is_null() {
            update_profile(&ada, &Value::Null).await.data();
        }
        ada.send(&direct, "hello").await;
        let event = socket.receive_of("it").await;
        let sender = event["payload"]["data"]["messageAdded"]["message"]["sender"].clone();
        assert_eq!(sender["avatar"]["id"], expected);
    }
    assert_eq!(avatar_of(&eve, &ada).await, Value::Null);
    assert_eq!(eve.attachment(&picture).await, Value::Null, "only the owner sees a former avatar");
}

#[tokio::test]
async fn an_avatar_must_be_a_ready_picture_of_the_viewer() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let group = ada.create_group("Group", &[]).await;
    let his = bob.upload("me.jpg", "image/jpeg", &picture(80, 40)).await["id"].clone();
    let memo = ada.upload_note("no picture").await;
    let pending = ada.begin_upload("me.jpg", "image/jpeg", 10).await["attachment"]["id"].clone();
    for id in [&his, &memo, &pending, &json!("att_x"), &json!("att_00000000000000000000000000")] {
        assert_eq!(update_profile(&ada, id).await.violations(), ["avatarId"], "{id}");
        assert_eq!(ada.update_group(&group, json!({"avatarId": id})).await.violations(), ["avatarId"], "{id}");
        let query = "mutation ($input: CreateGroupInput!) { createGroup(input: $input) { conversation { id } } }";
        let input = json!({"title": "Other", "participantIds": [], "avatarId": id});
        assert_eq!(ada.call(query, json!({"input": input})).await.violations(), ["avatarId"], "{id}");
    }
}

#[tokio::test]
async fn a_failed_avatar_change_leaves_the_thumbnails_unchanged() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let group = ada.create_group("Group", &[&bob]).await;
    let his = bob.upload("me.jpg", "image/jpeg", &picture(300, 200)).await["id"].clone();
    let before = bob.attachment(&his).await["thumbnailUrl"].clone();
    assert_eq!(bob.update_group(&group, json!({"avatarId": his})).await.code(), "FORBIDDEN");
    assert_eq!(bob.attachment(&his).await["thumbnailUrl"], before);
    assert!(!node.files().iter().any(|path| path.contains("square-")), "no square thumbnail is made");
    // A mutation that fails at its last step, the check of the username, does not change the thumbnails either.
    let query = "mutation ($id: ID!, $name: String!) {
        updateProfile(input: {avatarId: $id, username: $name}) { viewer { id } }
    }";
    assert_eq!(bob.call(query, json!({"id": his, "name": ada.username})).await.code(), "CONFLICT");
    assert_eq!(bob.attachment(&his).await["thumbnailUrl"], before);
    assert_eq!(side(&before).await, (160, 107));
    update_profile(&bob, &his).await.data();
    assert_eq!(side(&bob.attachment(&his).await["thumbnailUrl"]).await, (96, 96));
}

#[tokio::test]
async fn only_admins_and_the_owner_change_a_group_avatar() {
    let node = Node::start().await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    let picture = picture(300, 200);
    let first = ada.upload("group.jpg", "image/jpeg", &picture).await["id"].clone();
    let query = format!(
        "mutation ($input: CreateGroupInput!) {{ createGroup(input: $input) {{ conversation {{ id {AVATAR} }} }} }}"
    );
    let input = json!({"title": "Group", "participantIds": [bob.id], "avatarId": first});
    let group = ada.query(&query, json!({"input": input})).await["createGroup"]["conversation"].clone();
    assert_eq!(group["avatar"]["id"], first);
    let id = group["id"].as_str().unwrap();
    let avatar = async |user: &User| {
        let query = format!("query ($id: ID!) {{ conversation(id: $id) {{ {AVATAR} }} }}");
        user.query(&query, json!({"id": id})).await["conversation"]["avatar"].clone()
    };
    assert_eq!(side(&avatar(&bob).await["thumbnailUrl"]).await, (96, 96));

    let his = bob.upload("his.jpg", "image/jpeg", &picture).await["id"].clone();
    assert_eq!(bob.update_group(id, json!({"avatarId": his})).await.code(), "FORBIDDEN");
    assert_eq!(bob.update_group(id, json!({"avatarId": null})).await.code(), "FORBIDDEN");
    assert_eq!(eve.update_group(id, json!({"avatarId": his})).await.code(), "NOT_FOUND");
    ada.set_role(id, &bob, "ADMIN").await.data();
    bob.update_group(id, json!({"avatarId": his})).await.data();
    assert_eq!(avatar(&ada).await["id"], his);
    // Setting the same avatar again changes nothing and adds no SYSTEM message.
    ada.update_group(id, json!({"avatarId": his})).await.data();
    ada.update_group(id, json!({"title": "New"})).await.data();
    assert_eq!(avatar(&ada).await["id"], his, "an omitted field is unchanged");

    let invite = ada.create_invite(id, json!({})).await.data()["createInvite"]["invite"]["code"].clone();
    let query = "query ($code: String!) { invite(code: $code) { avatar { id thumbnailUrl } } }";
    let preview = eve.query(query, json!({"code": invite})).await["invite"]["avatar"].clone();
    assert_eq!(preview["id"], his);
    assert!(preview["thumbnailUrl"].is_string());

    ada.update_group(id, json!({"avatarId": null})).await.data();
    assert_eq!(avatar(&bob).await, Value::Null);
    let told = ada.system_events(id).await;
    let told: Vec<_> = told.iter().filter(|event| event[0] == "AVATAR_CHANGED").cloned().collect();
    let event = |actor: &User| json!(["AVATAR_CHANGED", actor.id, null, null]);
    assert_eq!(told, [event(&bob), event(&ada)]);
}
