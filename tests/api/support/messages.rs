//! Helpers for existing messages: edit, delete, hide and reply.

use serde_json::{Value, json};

use super::client::{Answer, User};

const DELETE: &str =
    "mutation ($id: ID!, $scope: DeleteScope!) { deleteMessage(input: {messageId: $id, scope: $scope}) {
    messageId message { id number revision body deletedAt pinnedAt reactions { emoji } kind sender { id } }
} }";

impl User {
    pub async fn edit(&self, message: &Value, body: &str) -> Answer {
        let query = "mutation ($id: ID!, $body: String!) { editMessage(input: {messageId: $id, body: $body}) {
            message { id number revision body editedAt createdAt }
        } }";
        self.call(query, json!({"id": message["id"], "body": body})).await
    }

    /// Deletes a message for everyone.
    pub async fn delete(&self, message: &Value) -> Answer {
        self.call(DELETE, json!({"id": message["id"], "scope": "EVERYONE"})).await
    }

    /// Deletes a message for this user only.
    pub async fn hide(&self, message: &Value) -> Answer {
        self.call(DELETE, json!({"id": message["id"], "scope": "VIEWER"})).await
    }

    pub async fn reply(&self, conversation: &str, to: &Value, body: &str) -> Answer {
        let query = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) {
            message { id number body replyTo { id body deletedAt } forwarded }
        } }";
        self.call(query, json!({"input": {"conversationId": conversation, "body": body, "replyToId": to["id"]}})).await
    }

    /// Reads the numbers of the messages that the user sees in the conversation.
    pub async fn numbers_in(&self, conversation: &str) -> Vec<i64> {
        let query = "query ($id: ID!) { conversation(id: $id) { messages(first: 100) { nodes { number } } } }";
        let data = self.query(query, json!({"id": conversation})).await;
        let nodes = data["conversation"]["messages"]["nodes"].as_array().unwrap().clone();
        nodes.iter().map(|node| node["number"].as_i64().unwrap()).collect()
    }
}
