//! Helpers for calls: mutations, queries and the `callEvents` subscription of a device.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::client::{Answer, User};
use super::socket::Socket;
use super::{PATIENCE, within};

/// The fields of a call that the tests select.
const CALL: &str = "id kind state endReason conversation { id } startedBy { id } answeredAt endedAt
    participants { user { id } sessionId }";

/// Returns the ids of the sessions in a call, in the order in which they joined.
pub fn call_sessions(call: &Value) -> Vec<&str> {
    let participants = call["participants"].as_array().unwrap();
    participants.iter().map(|participant| participant["sessionId"].as_str().unwrap()).collect()
}

impl Answer {
    /// Returns the id of the call in the payload of a mutation.
    #[track_caller]
    pub fn call_id(self) -> String {
        self.call()["id"].as_str().unwrap().to_owned()
    }

    /// Returns the call in the payload of a mutation.
    #[track_caller]
    pub fn call(self) -> Value {
        let data = self.data();
        data.as_object().unwrap().values().next().unwrap()["call"].clone()
    }

    /// Returns the `state` and `endReason` of the call in the payload of a mutation.
    #[track_caller]
    pub fn call_state(self) -> (String, Value) {
        let call = self.call();
        (call["state"].as_str().unwrap().to_owned(), call["endReason"].clone())
    }

    /// Asserts that the error is CONFLICT, and returns its `extensions.reason`.
    #[track_caller]
    pub fn conflict(&self) -> &str {
        assert_eq!(self.code(), "CONFLICT", "{:#}", self.body);
        self.body["errors"][0]["extensions"]["reason"].as_str().unwrap()
    }
}

impl User {
    pub async fn start_call(&self, conversation: &str) -> Answer {
        let query = format!(
            "mutation ($id: ID!) {{ startCall(input: {{conversationId: $id, kind: VIDEO}}) {{ call {{ {CALL} }} }} }}"
        );
        self.call(&query, json!({"id": conversation})).await
    }

    pub async fn accept_call(&self, call: &str) -> Answer {
        self.change_call("acceptCall", call).await
    }

    pub async fn decline_call(&self, call: &str) -> Answer {
        self.change_call("declineCall", call).await
    }

    pub async fn leave_call(&self, call: &str) -> Answer {
        self.change_call("leaveCall", call).await
    }

    async fn change_call(&self, mutation: &str, call: &str) -> Answer {
        let query = format!("mutation ($id: ID!) {{ {mutation}(input: {{callId: $id}}) {{ call {{ {CALL} }} }} }}");
        self.call(&query, json!({"id": call})).await
    }

    /// Reads the call with this id through the field `node`. Returns null if the user may not see the call.
    pub async fn find_call(&self, call: &str) -> Value {
        let query = format!("query ($id: ID!) {{ node(id: $id) {{ ... on Call {{ {CALL} }} }} }}");
        self.query(&query, json!({"id": call})).await["node"].clone()
    }

    /// Reads the current call of the conversation. Returns null if the conversation has no call.
    pub async fn call_in(&self, conversation: &str) -> Value {
        let query = format!("query ($id: ID!) {{ conversation(id: $id) {{ call {{ {CALL} }} }} }}");
        self.query(&query, json!({"id": conversation})).await["conversation"]["call"].clone()
    }

    pub async fn send_signal(&self, call: &str, to: &Self, signal: Value) -> Answer {
        let query = "mutation ($input: SendCallSignalInput!) { sendCallSignal(input: $input) { callId } }";
        self.call(query, json!({"input": {"callId": call, "toSessionId": to.session, "signal": signal}})).await
    }

    /// Sends an ICE candidate. An empty candidate means the end of candidates.
    pub async fn send_candidate(&self, call: &str, to: &Self, candidate: &str) -> Answer {
        self.send_signal(call, to, json!({"candidate": {"candidate": candidate}})).await
    }

    pub async fn send_offer(&self, call: &str, to: &Self, sdp: &str) -> Answer {
        self.send_signal(call, to, json!({"description": {"type": "OFFER", "sdp": sdp}})).await
    }

    /// Reads the call in which a device of the user is. Returns null if no device of the user is in a call.
    pub async fn current_call(&self) -> Value {
        self.query(&format!("{{ viewer {{ call {{ {CALL} }} }} }}"), json!({})).await["viewer"]["call"].clone()
    }

    /// Subscribes to `callEvents` on a new socket and waits for `CallsCaughtUp`.
    pub async fn call_events(&self) -> CallEvents {
        let mut socket = self.socket().await;
        let query = "subscription { callEvents {
            __typename
            ... on CallRinging { call { id state kind startedBy { id } } }
            ... on CallAnswered { call { id state } participant { user { id } sessionId } }
            ... on CallSessionGone { call { id state } sessionId }
            ... on CallLeft { call { id state conversation { id } participants { sessionId } } participant { user { id } sessionId } }
            ... on CallEnded { call { id state endReason conversation { id } participants { sessionId } } }
            ... on CallsCaughtUp { ringing { id } current { id state participants { sessionId } } }
            ... on CallSignalReceived { id call { id } from { user { id } sessionId } signal {
                description { type sdp } candidate { candidate sdpMid sdpMLineIndex usernameFragment }
            } }
        } }";
        socket.subscribe("calls", query, json!({})).await;
        let mut events = CallEvents { socket, rung: VecDeque::new(), caught_up: Value::Null };
        within(PATIENCE, "the event CallsCaughtUp", async {
            while events.caught_up.is_null() {
                let event = events.receive().await;
                match event["__typename"].as_str().unwrap() {
                    "CallRinging" => events.rung.push_back(event),
                    "CallsCaughtUp" => events.caught_up = event,
                    other => panic!("{other} before the subscription is live"),
                }
            }
        })
        .await;
        events
    }
}

pub struct CallEvents {
    pub socket: Socket,
    /// `CallRinging` events that arrived before `CallsCaughtUp` and are not read yet.
    rung: VecDeque<Value>,
    /// The `CallsCaughtUp` event.
    pub caught_up: Value,
}

impl CallEvents {
    pub async fn next(&mut self) -> Value {
        match self.rung.pop_front() {
            Some(event) => event,
            None => self.receive().await,
        }
    }

    /// Receives events up to and including the next event of this type, and returns all of them.
    pub async fn up_to(&mut self, kind: &str) -> Vec<Value> {
        within(2 * PATIENCE, &format!("the event {kind}"), async {
            let mut events = Vec::new();
            loop {
                let event = self.next().await;
                let is_last = event["__typename"] == kind;
                events.push(event);
                if is_last {
                    return events;
                }
            }
        })
        .await
    }

    async fn receive(&mut self) -> Value {
        let message = self.socket.receive_of("calls").await;
        assert_eq!(message["type"], "next", "{message:#}");
        assert!(message["payload"].get("errors").is_none(), "{message:#}");
        message["payload"]["data"]["callEvents"].clone()
    }

    /// Waits for the next event and returns it. Panics if its type is not `kind`.
    #[track_caller]
    pub fn expect(&mut self, kind: &'static str) -> impl Future<Output = Value> {
        let caller = std::panic::Location::caller();
        async move {
            let event = self.next().await;
            assert_eq!(event["__typename"], kind, "at {caller}: {event:#}");
            event
        }
    }
}
