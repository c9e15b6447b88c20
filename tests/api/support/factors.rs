//! Second factors and passkeys: an authenticator app, and the mutations with factors.

use aws_lc_rs::hmac;
use diesel_async::SimpleAsyncConnection as _;
use parlance::clock::Clock;
use serde_json::{Value, json};

use super::PASSWORD;
use super::authenticator::Authenticator;
use super::client::{Answer, User};
use super::database::TestDatabase;
use super::node::Node;

const CONFIRM_TOTP: &str = "mutation ($code: String!) { confirmTotp(input: {code: $code}) {
    recoveryCodes viewer { totpEnabled recoveryCodesLeft }
} }";
const CONFIRM: &str = "mutation ($input: ConfirmIdentityInput!) { confirmIdentity(input: $input) { confirmedUntil } }";
const LOGIN: &str = "mutation ($input: LoginInput!) { login(input: $input) { accessToken } }";
const COMPLETE: &str = "mutation ($input: CompleteLoginInput!) { completeLogin(input: $input) {
    accessToken refreshToken isNewAccount session { id deviceName } viewer { user { id username } }
} }";
const ADD_PASSKEY: &str = "mutation ($input: AddPasskeyInput!) { addPasskey(input: $input) {
    passkey { id name createdAt lastUsedAt backedUp }
} }";
const LOGIN_WITH_PASSKEY: &str = "mutation ($input: LoginWithPasskeyInput!) { loginWithPasskey(input: $input) {
    accessToken refreshToken isNewAccount session { id deviceName } viewer { user { id username } }
} }";

/// An authenticator app (RFC 6238), which knows the secret of an account.
pub struct TotpApp {
    key: hmac::Key,
}

impl TotpApp {
    /// Reads the secret in Base32.
    pub fn new(secret: &str) -> Self {
        let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
        for letter in secret.bytes() {
            let digit = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'2'..=b'7' => letter - b'2' + 26,
                other => panic!("{other} is not a letter of Base32"),
            };
            bits = bits << 5 | u32::from(digit);
            count += 5;
            if count >= 8 {
                count -= 8;
                bytes.push(u8::try_from(bits >> count & 0xff).unwrap());
            }
        }
        Self { key: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &bytes) }
    }

    /// Returns the code that the app shows now.
    pub fn code(&self) -> String {
        self.code_in(0)
    }

    /// Returns the code that the app shows after this number of steps of 30 seconds.
    pub fn code_in(&self, steps: i64) -> String {
        let step = Clock::system().now().timestamp() / 30 + steps;
        let tag = hmac::sign(&self.key, &step.to_be_bytes());
        let bytes: &[u8] = tag.as_ref();
        let start = usize::from(bytes[19] & 0xf);
        let number = u32::from_be_bytes(bytes[start..start + 4].try_into().unwrap()) & 0x7fff_ffff;
        format!("{:06}", number % 1_000_000)
    }

    /// Returns a code that the app shows neither now nor in the next and last minute.
    pub fn wrong_code(&self) -> String {
        let near: Vec<_> = (-2..=2).map(|steps| self.code_in(steps)).collect();
        (0..6).map(|number| format!("{number:06}")).find(|code| !near.contains(code)).unwrap()
    }
}

impl TestDatabase {
    /// Ends the confirmations of all sessions.
    pub async fn let_confirmations_expire(&self) {
        let expire = "UPDATE sessions SET confirmed_at = now() - interval '11 minutes'";
        self.connection().await.batch_execute(expire).await.unwrap();
    }
}

impl Answer {
    /// Returns the challenge of the error FACTOR_REQUIRED.
    #[track_caller]
    pub fn challenge(&self) -> &str {
        assert_eq!(self.code(), "FACTOR_REQUIRED", "{:#}", self.body);
        self.body["errors"][0]["extensions"]["challenge"].as_str().unwrap()
    }

    /// Asserts that the error says which field is wrong.
    #[track_caller]
    pub fn assert_bad(&self, path: &str) {
        assert_eq!((self.code(), self.violations()), ("BAD_USER_INPUT", vec![path]), "{:#}", self.body);
    }

    /// Asserts that the change needs a confirmed identity.
    #[track_caller]
    pub fn assert_unconfirmed(&self) {
        assert_eq!(self.code(), "FORBIDDEN", "{:#}", self.body);
        assert_eq!(self.body["errors"][0]["extensions"]["reason"], "CONFIRMATION_REQUIRED");
    }
}

impl Node {
    /// Signs in with the first factor.
    pub async fn login(&self, identifier: &str, password: &str) -> Answer {
        self.call(None, LOGIN, json!({"input": {"identifier": identifier, "password": password}})).await
    }

    /// Signs in with the first factor to an account that has a second one. Returns the challenge.
    pub async fn challenge_of(&self, user: &User) -> String {
        self.login(&user.username, PASSWORD).await.challenge().to_owned()
    }

    /// Completes a sign-in. `factor` is the input object, such as `{"totp": "123456"}`.
    pub async fn complete_login(&self, challenge: &str, factor: Value) -> Answer {
        self.call(None, COMPLETE, json!({"input": {"challenge": challenge, "factor": factor}})).await
    }

    /// Returns the options for a use of a passkey.
    pub async fn passkey_options(&self) -> String {
        let data = self.call(None, "mutation { passkeyRequestOptions { options } }", json!({})).await.data();
        data["passkeyRequestOptions"]["options"].as_str().unwrap().to_owned()
    }

    /// Signs in with the JSON text of a credential.
    pub async fn login_with_credential(&self, credential: &str) -> Answer {
        let input = json!({"credential": credential, "deviceName": "A laptop"});
        self.call(None, LOGIN_WITH_PASSKEY, json!({"input": input})).await
    }

    pub async fn login_with_passkey(&self, authenticator: &Authenticator) -> Answer {
        let options = self.passkey_options().await;
        self.login_with_credential(&authenticator.get(&options)).await
    }
}

impl User {
    /// Makes a secret and returns the app that has it.
    pub async fn set_up_totp(&self) -> TotpApp {
        let data = self.query("mutation { setUpTotp { secret uri } }", json!({})).await;
        TotpApp::new(data["setUpTotp"]["secret"].as_str().unwrap())
    }

    pub async fn confirm_totp(&self, code: &str) -> Answer {
        self.call(CONFIRM_TOTP, json!({"code": code})).await
    }

    /// Puts an authenticator app in use. Returns the app and the recovery codes.
    pub async fn enable_totp(&self) -> (TotpApp, Vec<String>) {
        let app = self.set_up_totp().await;
        let data = self.confirm_totp(&app.code()).await.data();
        let codes = data["confirmTotp"]["recoveryCodes"].as_array().unwrap();
        (app, codes.iter().map(|code| code.as_str().unwrap().to_owned()).collect())
    }

    /// Confirms the identity by a proof, such as `{"totp": "123456"}`.
    pub async fn confirm_by(&self, proof: Value) -> Answer {
        self.call(CONFIRM, json!({"input": proof})).await
    }

    pub async fn try_creation_options(&self) -> Answer {
        self.call("mutation { passkeyCreationOptions { options } }", json!({})).await
    }

    /// Returns the options for a new passkey.
    pub async fn creation_options(&self) -> String {
        let data = self.try_creation_options().await.data();
        data["passkeyCreationOptions"]["options"].as_str().unwrap().to_owned()
    }

    pub async fn add_credential(&self, credential: &str, name: &str) -> Answer {
        self.call(ADD_PASSKEY, json!({"input": {"credential": credential, "name": name}})).await
    }

    /// Adds the passkey of the authenticator to the account. Returns the passkey.
    pub async fn add_passkey(&self, authenticator: &mut Authenticator) -> Value {
        let options = self.creation_options().await;
        let credential = authenticator.create(&options);
        self.add_credential(&credential, "Phone").await.data()["addPasskey"]["passkey"].clone()
    }
}
