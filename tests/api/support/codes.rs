//! Verification codes: nodes whose notices a test receives, and the mutations with codes.

use serde_json::{Value, json};

use super::client::{Answer, User};
use super::node::{Node, NodeBuilder};

const REQUEST: &str = "mutation ($input: RequestCodeInput!) {
    requestCode(input: $input) { challenge expiresAt }
}";
const VERIFY: &str = "mutation ($input: VerifyContactPointInput!) { verifyContactPoint(input: $input) { viewer {
    email emailVerified phone phoneVerified
} } }";
const LOGIN: &str = "mutation ($input: LoginWithCodeInput!) { loginWithCode(input: $input) {
    accessToken refreshToken isNewAccount session { id }
    viewer { hasPassword email emailVerified phone phoneVerified user { id username displayName } }
} }";
const RESET: &str = "mutation ($input: ResetPasswordInput!) { resetPassword(input: $input) {
    accessToken refreshToken isNewAccount session { id } viewer { user { id username } }
} }";
const CONFIRM: &str = "mutation ($input: ConfirmIdentityInput!) { confirmIdentity(input: $input) { confirmedUntil } }";

/// Returns the input object of an e-mail address or a phone number.
pub fn contact_point(to: &str) -> Value {
    if to.contains('@') { json!({"email": to}) } else { json!({"phone": to}) }
}

/// Returns a builder of a node whose notices the test receives.
pub fn receiving() -> NodeBuilder {
    Node::build().receive_notices()
}

/// Returns another code than this one.
pub fn wrong_code(code: &str) -> String {
    format!("{:06}", (code.parse::<u32>().unwrap() + 1) % 1_000_000)
}

/// Asserts that the answer is the one for every code that does not work.
#[track_caller]
pub fn assert_wrong_code(answer: &Answer) {
    assert_eq!((answer.code(), answer.violations()), ("BAD_USER_INPUT", vec!["code"]), "{:#}", answer.body);
    let message = answer.body["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains("`requestCode`"), "{message}");
}

fn challenge(data: &Value) -> String {
    data["requestCode"]["challenge"].as_str().unwrap().to_owned()
}

impl Node {
    /// Requests a code without a signed-in user.
    pub async fn request_code(&self, to: &str, purpose: &str) -> Answer {
        self.call(None, REQUEST, json!({"input": {"contactPoint": contact_point(to), "purpose": purpose}})).await
    }

    /// Requests a code without a signed-in user, and receives it.
    pub async fn code(&self, to: &str, purpose: &str) -> String {
        self.request_code(to, purpose).await.data();
        self.notices().next_code(to).await
    }

    /// Requests a code without a signed-in user. Returns the code and its challenge.
    pub async fn code_with_challenge(&self, to: &str, purpose: &str) -> (String, String) {
        let data = self.request_code(to, purpose).await.data();
        (self.notices().next_code(to).await, challenge(&data))
    }

    pub async fn login_with_code(&self, to: &str, code: &str) -> Answer {
        self.login_with_code_and(to, code, json!({})).await
    }

    /// Like `login_with_code`, with further input fields.
    pub async fn login_with_code_and(&self, to: &str, code: &str, more: Value) -> Answer {
        let mut input = more;
        input["contactPoint"] = contact_point(to);
        input["code"] = json!(code);
        self.call(None, LOGIN, json!({"input": input})).await
    }

    /// Signs in by a code. Makes a new account if none has the address or number.
    pub async fn user_by_code(&self, to: &str) -> User {
        let code = self.code(to, "LOGIN").await;
        User::from_payload(self, &self.login_with_code(to, &code).await.data()["loginWithCode"])
    }

    pub async fn reset_password(&self, to: &str, code: &str, password: &str) -> Answer {
        let input = json!({"contactPoint": contact_point(to), "code": code, "newPassword": password});
        self.call(None, RESET, json!({"input": input})).await
    }
}

impl User {
    /// Requests a code as a signed-in user.
    pub async fn request_code(&self, to: &str, purpose: &str) -> Answer {
        self.call(REQUEST, json!({"input": {"contactPoint": contact_point(to), "purpose": purpose}})).await
    }

    /// Requests a code as a signed-in user, and receives it.
    pub async fn code(&self, node: &Node, to: &str, purpose: &str) -> String {
        self.request_code(to, purpose).await.data();
        node.notices().next_code(to).await
    }

    /// Requests a code as a signed-in user. Returns the code and its challenge.
    pub async fn code_with_challenge(&self, node: &Node, to: &str, purpose: &str) -> (String, String) {
        let data = self.request_code(to, purpose).await.data();
        (node.notices().next_code(to).await, challenge(&data))
    }

    pub async fn try_verify(&self, to: &str, code: &str) -> Answer {
        self.call(VERIFY, json!({"input": {"contactPoint": contact_point(to), "code": code}})).await
    }

    /// Verifies an e-mail address or a phone number. Returns the contact points of the viewer.
    pub async fn verify(&self, node: &Node, to: &str) -> Value {
        let code = self.code(node, to, "VERIFY").await;
        self.try_verify(to, &code).await.data()["verifyContactPoint"]["viewer"].clone()
    }

    pub async fn confirm_by_password(&self, password: &str) -> Answer {
        self.call(CONFIRM, json!({"input": {"password": password}})).await
    }

    pub async fn confirm_by_code(&self, to: &str, code: &str) -> Answer {
        self.call(CONFIRM, json!({"input": {"code": {"contactPoint": contact_point(to), "code": code}}})).await
    }
}
