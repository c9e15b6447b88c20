//! Helpers for groups: mutations, roles, invites and SYSTEM messages.

use serde_json::{Value, json};

use super::client::{Answer, User};

impl User {
    /// Calls `updateGroup`. `changes` contains the input fields except `conversationId`.
    pub async fn update_group(&self, group: &str, changes: Value) -> Answer {
        let query = "mutation ($input: UpdateGroupInput!) { updateGroup(input: $input) {
            conversation { id title topic historyVisible }
        } }";
        self.call(query, json!({"input": with(changes, group)})).await
    }

    pub async fn add_participants(&self, group: &str, users: &[&Self]) -> Answer {
        let ids: Vec<_> = users.iter().map(|user| user.id.as_str()).collect();
        self.add_ids(group, json!(ids)).await
    }

    pub async fn add_ids(&self, group: &str, ids: Value) -> Answer {
        let query = "mutation ($input: AddParticipantsInput!) { addParticipants(input: $input) {
            conversation { participantCount }
        } }";
        self.call(query, json!({"input": {"conversationId": group, "userIds": ids}})).await
    }

    pub async fn set_role(&self, group: &str, user: &Self, role: &str) -> Answer {
        let query = "mutation ($input: SetParticipantRoleInput!) { setParticipantRole(input: $input) {
            conversation { viewerMembership { role } }
        } }";
        self.call(query, json!({"input": {"conversationId": group, "userId": user.id, "role": role}})).await
    }

    pub async fn remove(&self, group: &str, user: &Self) -> Answer {
        let query = "mutation ($group: ID!, $user: ID!) {
            removeParticipant(input: {conversationId: $group, userId: $user}) { conversation { participantCount } }
        }";
        self.call(query, json!({"group": group, "user": user.id})).await
    }

    /// Removes a participant from the group and bans the participant.
    pub async fn ban(&self, group: &str, user: &Self) -> Answer {
        let query = "mutation ($group: ID!, $user: ID!) {
            removeParticipant(input: {conversationId: $group, userId: $user, ban: true}) {
                conversation { participantCount }
            }
        }";
        self.call(query, json!({"group": group, "user": user.id})).await
    }

    pub async fn unban(&self, group: &str, user: &Self) -> Answer {
        let query = "mutation ($group: ID!, $user: ID!) {
            unbanUser(input: {conversationId: $group, userId: $user}) { conversation { id } }
        }";
        self.call(query, json!({"group": group, "user": user.id})).await
    }

    pub async fn leave(&self, group: &str) -> Answer {
        let query = "mutation ($id: ID!) { leaveConversation(input: {conversationId: $id}) { conversationId } }";
        self.call(query, json!({"id": group})).await
    }

    /// Calls `createInvite`. `limits` contains the input fields except `conversationId`.
    pub async fn create_invite(&self, group: &str, limits: Value) -> Answer {
        let query = "mutation ($input: CreateInviteInput!) { createInvite(input: $input) {
            invite { id code uses maxUses expiresAt createdBy { id } conversation { id } }
        } }";
        self.call(query, json!({"input": with(limits, group)})).await
    }

    pub async fn join(&self, code: &Value) -> Answer {
        let query = "mutation ($code: String!) { joinByInvite(input: {code: $code}) {
            conversation { id participantCount viewerMembership { role } }
        } }";
        self.call(query, json!({"code": code})).await
    }

    /// Reads the user id and the role of each participant.
    pub async fn roles(&self, group: &str) -> Vec<(String, String)> {
        let query = "query ($id: ID!) { conversation(id: $id) { participants(first: 100) {
            nodes { role user { id } }
        } } }";
        let data = self.query(query, json!({"id": group})).await;
        let nodes = data["conversation"]["participants"]["nodes"].as_array().unwrap().clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        nodes.iter().map(|node| (text(&node["user"]["id"]), text(&node["role"]))).collect()
    }

    /// Reads the events of the SYSTEM messages, oldest first, as `[kind, actor, subject, text]`.
    pub async fn system_events(&self, group: &str) -> Vec<Value> {
        let query = "query ($id: ID!) { conversation(id: $id) { messages(last: 100) { nodes {
            kind sender { id } body systemEvent { kind actor { id } subject { id } text }
        } } } }";
        let data = self.query(query, json!({"id": group})).await;
        let nodes = data["conversation"]["messages"]["nodes"].as_array().unwrap().clone();
        let told = nodes.iter().filter(|node| node["kind"] == "SYSTEM").map(|node| {
            assert_eq!((&node["sender"], &node["body"]), (&Value::Null, &Value::Null));
            let event = &node["systemEvent"];
            json!([event["kind"], event["actor"]["id"], event["subject"]["id"], event["text"]])
        });
        told.collect()
    }
}

fn with(mut input: Value, group: &str) -> Value {
    input["conversationId"] = json!(group);
    input
}
