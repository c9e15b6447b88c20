//! One who sends, and sends again what was not acknowledged, on another node, with the same clientId.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::{CLIENT_RETRY, Message, Shared};
use crate::support::User;

pub(super) async fn send(shared: Arc<Shared>, sender: usize, user: User) {
    let devices: Vec<_> = shared.apis.iter().map(|api| user.on(api.clone())).collect();
    let conversations: Vec<_> = shared.conversations_of(sender).map(|conversation| conversation.id.as_str()).collect();
    let mut node = sender;
    for n in 0.. {
        let conversation = conversations[n % conversations.len()];
        let body = format!("{sender}-{n}");
        let message = acknowledged(&shared, &devices, &mut node, conversation, &body).await;
        assert_eq!(message["body"], body.as_str());
        shared.acknowledged.lock().unwrap().push(Message {
            conversation: conversation.to_owned(),
            number: message["number"].as_i64().unwrap(),
            id: message["id"].as_str().unwrap().to_owned(),
            body,
        });
        shared.sent[sender].fetch_add(1, Ordering::SeqCst);
        if shared.stop.run_until_cancelled(sleep(shared.scale.pause)).await.is_none() {
            return;
        }
    }
}

/// It stays with a node for as long as that answers.
async fn acknowledged(shared: &Shared, devices: &[User], node: &mut usize, conversation: &str, body: &str) -> Value {
    loop {
        let device = &devices[*node % devices.len()];
        match timeout(shared.scale.patience, device.attempt_send(conversation, body, body)).await {
            Ok(Ok(answer)) if answer.body.get("errors").is_none() => {
                return answer.data()["sendMessage"]["message"].clone();
            }
            Ok(Ok(answer)) => assert_eq!(answer.code(), "UNAVAILABLE", "{:#}", answer.body),
            Ok(Err(_)) | Err(_) => {}
        }
        *node += 1;
        shared.repeated.fetch_add(1, Ordering::SeqCst);
        sleep(CLIENT_RETRY).await;
    }
}
