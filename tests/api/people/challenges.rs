//! Challenges: a client that sends the challenge of its request depends on no other client.

use serde_json::{Value, json};

use crate::support::{Answer, Node, PASSWORD, User, assert_wrong_code, contact_point, receiving, wrong_code};

const EMAIL: &str = "ada@example.org";
const NEW_PASSWORD: &str = "another long battery staple";

async fn login(node: &Node, (code, challenge): (&str, &str)) -> Answer {
    node.login_with_code_and(EMAIL, code, json!({"challenge": challenge})).await
}

/// A stranger requests codes for the address and enters wrong ones. The owner can sign in at any time.
#[tokio::test]
async fn a_stranger_cannot_keep_an_owner_from_signing_in() {
    let flags = ["--password-tries-per-account=3", "--password-first-delay=300"];
    let node = receiving().limited().flags(&flags).start_alone().await;
    let (code, challenge) = node.code_with_challenge(EMAIL, "LOGIN").await;
    let (_, other) = node.code_with_challenge(EMAIL, "LOGIN").await;
    for _ in 0..3 {
        assert_wrong_code(&node.login_with_code(EMAIL, &wrong_code(&code)).await);
    }
    // The address has to wait, with the right code as well.
    assert_eq!(node.login_with_code(EMAIL, &code).await.code(), "RATE_LIMITED");
    // The challenge of another request names another code.
    for _ in 0..5 {
        assert_wrong_code(&login(&node, (&wrong_code(&code), &other)).await);
    }
    assert_eq!(login(&node, (&code, &challenge)).await.data()["loginWithCode"]["isNewAccount"], true);
    assert_wrong_code(&login(&node, (&code, &challenge)).await);
}

#[tokio::test]
async fn a_code_allows_five_tries_with_its_challenge_and_five_without() {
    let node = receiving().start_alone().await;
    let (code, challenge) = node.code_with_challenge(EMAIL, "LOGIN").await;
    for _ in 0..5 {
        assert_wrong_code(&node.login_with_code(EMAIL, &wrong_code(&code)).await);
    }
    assert_wrong_code(&node.login_with_code(EMAIL, &code).await);
    for _ in 0..4 {
        assert_wrong_code(&login(&node, (&wrong_code(&code), &challenge)).await);
    }
    login(&node, (&code, &challenge)).await.data();

    let (code, challenge) = node.code_with_challenge(EMAIL, "LOGIN").await;
    for _ in 0..5 {
        assert_wrong_code(&login(&node, (&wrong_code(&code), &challenge)).await);
    }
    assert_wrong_code(&login(&node, (&code, &challenge)).await);
    node.login_with_code(EMAIL, &code).await.data();
}

#[tokio::test]
async fn twenty_codes_work_at_the_same_time_and_a_further_one_replaces_the_oldest() {
    let node = receiving().start_alone().await;
    let mut codes = Vec::new();
    for _ in 0..21 {
        codes.push(node.code_with_challenge(EMAIL, "LOGIN").await);
    }
    let (oldest, others) = codes.split_first().unwrap();
    assert_wrong_code(&login(&node, (&oldest.0, &oldest.1)).await);
    for (code, challenge) in others {
        login(&node, (code, challenge)).await.data();
    }
}

#[tokio::test]
async fn a_challenge_names_a_code_of_one_purpose_target_and_user() {
    let node = receiving().start_alone().await;
    let (ada, eve) = (node.user_by_code(EMAIL).await, node.register("eve").await);
    let (code, challenge) = ada.code_with_challenge(&node, "new@example.org", "VERIFY").await;
    let verify = async |user: &User, to: &str| {
        let query =
            "mutation ($input: VerifyContactPointInput!) { verifyContactPoint(input: $input) { viewer { email } } }";
        let input = json!({"contactPoint": contact_point(to), "code": code, "challenge": challenge});
        user.call(query, json!({"input": input})).await
    };
    assert_wrong_code(&verify(&eve, "new@example.org").await);
    assert_wrong_code(&verify(&ada, "old@example.org").await);
    assert_wrong_code(&node.login_with_code_and("new@example.org", &code, json!({"challenge": challenge})).await);
    let data = verify(&ada, "new@example.org").await.data();
    assert_eq!(data["verifyContactPoint"]["viewer"]["email"], "new@example.org");
}

#[tokio::test]
async fn every_mutation_with_a_code_accepts_a_challenge() {
    let node = receiving().start_alone().await;
    let ada = node.user_by_code(EMAIL).await;
    // The newest code of each purpose is another one, which works only without a challenge.
    let pair = async |purpose: &str| {
        let pair = match purpose {
            "CONFIRM" => ada.code_with_challenge(&node, EMAIL, purpose).await,
            _ => node.code_with_challenge(EMAIL, purpose).await,
        };
        match purpose {
            "CONFIRM" => ada.code(&node, EMAIL, purpose).await,
            _ => node.code(EMAIL, purpose).await,
        };
        pair
    };
    let confirm = "mutation ($input: ConfirmIdentityInput!) { confirmIdentity(input: $input) { confirmedUntil } }";
    let (code, challenge) = pair("CONFIRM").await;
    let proof = json!({"contactPoint": contact_point(EMAIL), "code": code, "challenge": challenge});
    ada.query(confirm, json!({"input": {"code": proof}})).await;

    let (code, challenge) = pair("RESET_PASSWORD").await;
    let reset = "mutation ($input: ResetPasswordInput!) { resetPassword(input: $input) {
        accessToken refreshToken isNewAccount session { id } viewer { user { id username } }
    } }";
    let mut input = json!({"contactPoint": contact_point(EMAIL), "code": code, "newPassword": NEW_PASSWORD});
    input["challenge"] = json!(challenge);
    let data = node.call(None, reset, json!({"input": input})).await.data();
    let ada = User::from_payload(&node, &data["resetPassword"]);

    let (code, challenge) = ada.code_with_challenge(&node, EMAIL, "CONFIRM").await;
    ada.code(&node, EMAIL, "CONFIRM").await;
    let delete = "mutation ($input: DeleteAccountInput!) { deleteAccount(input: $input) { userId } }";
    let data = ada.query(delete, json!({"input": {"code": code, "challenge": challenge}})).await;
    assert_eq!(data["deleteAccount"]["userId"], ada.id.as_str());
}

#[tokio::test]
async fn a_malformed_challenge_is_bad_user_input() {
    let node = receiving().start_alone().await;
    let ada = node.register("ada").await;
    for challenge in ["", "123456", &"A".repeat(25), &"=".repeat(24), &"A".repeat(100_000)] {
        let answer = login(&node, ("123456", challenge)).await;
        assert_eq!((answer.code(), answer.violations()), ("BAD_USER_INPUT", vec!["challenge"]), "{challenge:.30}");
    }
    let confirm = "mutation ($input: ConfirmIdentityInput!) { confirmIdentity(input: $input) { confirmedUntil } }";
    let proof = json!({"contactPoint": contact_point(EMAIL), "code": "123456", "challenge": "no"});
    assert_eq!(ada.call(confirm, json!({"input": {"code": proof}})).await.violations(), ["code.challenge"]);
    // A challenge that the server has not issued gets the same error as a wrong code.
    assert_wrong_code(&login(&node, ("123456", &"A".repeat(24))).await);
}

/// A thief may have requested codes before the owner resets the password.
#[tokio::test]
async fn a_reset_deletes_all_codes_of_the_account() {
    let node = receiving().start_alone().await;
    let ada = node.register("ada").await;
    ada.verify(&node, EMAIL).await;
    let (login_code, login_challenge) = node.code_with_challenge(EMAIL, "LOGIN").await;
    let reset = node.code(EMAIL, "RESET_PASSWORD").await;
    let newest = node.code(EMAIL, "RESET_PASSWORD").await;
    let verify = ada.code(&node, "eve@example.org", "VERIFY").await;
    node.reset_password(EMAIL, &newest, NEW_PASSWORD).await.data();
    assert_wrong_code(&login(&node, (&login_code, &login_challenge)).await);
    assert_wrong_code(&node.reset_password(EMAIL, &reset, PASSWORD).await);
    let again = User::login(&node, &ada.username, NEW_PASSWORD).await;
    assert_wrong_code(&again.try_verify("eve@example.org", &verify).await);
    let viewer: Value = again.query("{ viewer { email } }", json!({})).await;
    assert_eq!(viewer["viewer"]["email"], EMAIL);
}
