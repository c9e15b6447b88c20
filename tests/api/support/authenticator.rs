//! A software authenticator: it makes passkeys and signs challenges, as a browser and a security key do together.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::unique;

/// Flags of the authenticator data.
pub const USER_PRESENT: u8 = 1;
pub const USER_VERIFIED: u8 = 1 << 2;
pub const BACKUP_ELIGIBLE: u8 = 1 << 3;
pub const BACKED_UP: u8 = 1 << 4;
const HAS_CREDENTIAL: u8 = 1 << 6;

/// An authenticator with one passkey. Tests change its fields to make answers that a server must refuse.
pub struct Authenticator {
    /// Origin of the page that uses the passkey.
    pub origin: String,
    /// Domain for which the authenticator signs.
    pub rp_id: String,
    pub flags: u8,
    pub sign_count: u32,
    /// Whether the page is in a frame of another origin.
    pub cross_origin: bool,
    /// Origin of the page at the top, in the client data. None if the client data has none.
    pub top_origin: Option<&'static str>,
    /// Type of the ceremony in the client data. None means the right one.
    pub ceremony: Option<&'static str>,
    pub credential_id: Vec<u8>,
    /// Id of the user, from the creation options.
    pub user_handle: Vec<u8>,
    key: Key,
}

enum Key {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(RsaKeyPair),
}

impl Authenticator {
    /// Returns an authenticator with a key for ES256, on a page of this machine.
    pub fn new() -> Self {
        Self::with_key(Key::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()))
    }

    pub fn with_eddsa() -> Self {
        Self::with_key(Key::EdDsa(Ed25519KeyPair::generate().unwrap()))
    }

    pub fn with_rs256() -> Self {
        Self::with_key(Key::Rs256(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()))
    }

    fn with_key(key: Key) -> Self {
        Self {
            origin: "http://localhost:5173".to_owned(),
            rp_id: "localhost".to_owned(),
            flags: USER_PRESENT | USER_VERIFIED,
            sign_count: 0,
            cross_origin: false,
            top_origin: None,
            ceremony: None,
            credential_id: unique().into_bytes(),
            user_handle: Vec::new(),
            key,
        }
    }

    /// Answers creation options. Returns the JSON text of the credential.
    pub fn create(&mut self, options: &str) -> String {
        let options: Value = serde_json::from_str(options).unwrap();
        self.user_handle = decode(&options["user"]["id"]);
        self.attest(&options["challenge"], &self.cose_key()).to_string()
    }

    /// Like `create`, with this public key instead of that of the authenticator.
    pub fn create_with_key(&self, options: &str, cose_key: &[u8]) -> String {
        let options: Value = serde_json::from_str(options).unwrap();
        self.attest(&options["challenge"], cose_key).to_string()
    }

    /// Answers request options. Returns the JSON text of the credential.
    pub fn get(&self, options: &str) -> String {
        let options: Value = serde_json::from_str(options).unwrap();
        let client_data = self.client_data("webauthn.get", &options["challenge"]);
        let data = self.authenticator_data(self.flags);
        let signature = self.sign(&[&data[..], &Sha256::digest(&client_data)[..]].concat());
        let response = json!({
            "clientDataJSON": encode(&client_data),
            "authenticatorData": encode(&data),
            "signature": encode(&signature),
            "userHandle": encode(&self.user_handle),
        });
        self.credential(&response).to_string()
    }

    /// Returns the public key as a COSE_Key.
    pub fn cose_key(&self) -> Vec<u8> {
        match &self.key {
            Key::Es256(key) => {
                let point: &[u8] = key.public_key().as_ref();
                let (x, y) = (&point[1..33], &point[33..]);
                [&[0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32][..], x, &[0x22, 0x58, 32][..], y].concat()
            }
            Key::EdDsa(key) => {
                let x: &[u8] = key.public_key().as_ref();
                [&[0xa4, 1, 1, 3, 0x27, 0x20, 6, 0x21, 0x58, 32][..], x].concat()
            }
            Key::Rs256(key) => {
                // The modulus is the first integer of the RSAPublicKey (RFC 8017, appendix A.1.1), after nine bytes.
                let der: &[u8] = key.public_key().as_ref();
                let (modulus, end) = (&der[9..265], &[0x21, 0x43, 1, 0, 1][..]);
                [&[0xa4, 1, 3, 3, 0x39, 1, 0, 0x20, 0x59, 1, 0][..], modulus, end].concat()
            }
        }
    }

    fn attest(&self, challenge: &Value, cose_key: &[u8]) -> Value {
        let client_data = self.client_data("webauthn.create", challenge);
        let length = u16::try_from(self.credential_id.len()).unwrap().to_be_bytes();
        let model = [0; 16];
        let data = [
            &self.authenticator_data(self.flags | HAS_CREDENTIAL)[..],
            &model[..],
            &length[..],
            &self.credential_id[..],
            cose_key,
        ]
        .concat();
        let size = u16::try_from(data.len()).unwrap().to_be_bytes();
        let object = [&b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x59"[..], &size[..], &data[..]].concat();
        let response = json!({
            "clientDataJSON": encode(&client_data),
            "attestationObject": encode(&object),
            "transports": ["internal"],
        });
        self.credential(&response)
    }

    fn credential(&self, response: &Value) -> Value {
        let id = encode(&self.credential_id);
        json!({
            "id": id, "rawId": id, "type": "public-key", "response": response,
            "authenticatorAttachment": "platform", "clientExtensionResults": {},
        })
    }

    fn client_data(&self, ceremony: &'static str, challenge: &Value) -> Vec<u8> {
        let mut data = json!({
            "type": self.ceremony.unwrap_or(ceremony),
            "challenge": challenge,
            "origin": self.origin,
            "crossOrigin": self.cross_origin,
        });
        if let Some(origin) = self.top_origin {
            data["topOrigin"] = json!(origin);
        }
        data.to_string().into_bytes()
    }

    fn authenticator_data(&self, flags: u8) -> Vec<u8> {
        [&Sha256::digest(&self.rp_id)[..], &[flags][..], &self.sign_count.to_be_bytes()[..]].concat()
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Es256(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Key::EdDsa(key) => key.sign(message).as_ref().to_vec(),
            Key::Rs256(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(text: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text.as_str().unwrap()).unwrap()
}
