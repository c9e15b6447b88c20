//! The relying party of Web Authentication (W3C, Level 2): checks what browsers and authenticators answer.
//!
//! The comments name the steps of section 7.1, registering a new credential, and section 7.2, verifying an
//! authentication assertion. Steps that the browser does are left out. The server asks for no attestation, so it trusts
//! none: it ignores the attestation statement. docs/decisions/0022-passkeys.md has the reasons.

mod authenticator_data;
mod cbor;
mod cose;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::config::{PASSKEY_CHALLENGE_LIFETIME, WebauthnSettings};
use authenticator_data::AuthenticatorData;
use cbor::Item;

/// Maximum size of the JSON text of a credential in bytes. With an RSA key and an attestation it has a few KiB.
const MAX_CREDENTIAL: usize = 64 * 1024;
/// Type of all credentials.
const PUBLIC_KEY: &str = "public-key";

/// Reason why a credential is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Malformed,
    /// The credential was made by the other ceremony: a registration instead of a sign-in, or the reverse.
    Ceremony,
    Challenge,
    Origin,
    Domain,
    NotVerified,
    Algorithm,
    /// The passkey is unknown, or its signature or its counter is wrong. Clients do not learn which.
    Forged,
}

impl Refusal {
    pub(super) const fn message(self) -> &'static str {
        match self {
            Self::Malformed => {
                "This is not the JSON text of a credential. Send `JSON.stringify(credential)` of the credential that \
                 the browser returned."
            }
            Self::Ceremony => {
                "This credential was made for another operation. Adding a passkey needs \
                 `navigator.credentials.create`, and signing in needs `navigator.credentials.get`."
            }
            Self::Challenge => "The challenge is unknown, expired or already answered. Ask for new options.",
            Self::Origin => {
                "Pages of this origin cannot use passkeys here. The operator can allow it by WEBAUTHN_ORIGINS."
            }
            Self::Domain => "This passkey belongs to another domain. The operator sets the domain by WEBAUTHN_RP_ID.",
            Self::NotVerified => {
                "The authenticator has not verified its user. Use a PIN, a fingerprint or a face, and try again."
            }
            Self::Algorithm => "The key of this passkey has none of the algorithms ES256, EdDSA and RS256.",
            Self::Forged => {
                "This passkey is unknown, or its signature is wrong. Sign in in another way, and add the passkey again."
            }
        }
    }
}

/// The user for whom a passkey is created: the field `user` of the creation options.
pub(super) struct UserEntity<'a> {
    pub(super) handle: &'a [u8],
    pub(super) username: &'a str,
    pub(super) display_name: &'a str,
}

/// Returns the options for `PublicKeyCredential.parseCreationOptionsFromJSON`. `existing` has the ids of the
/// credentials of the user.
pub(super) fn creation_options(
    settings: &WebauthnSettings,
    app_name: &str,
    user: &UserEntity<'_>,
    challenge: &[u8],
    existing: &[Vec<u8>],
) -> Value {
    let algorithms = cose::ALGORITHMS.map(|algorithm| json!({"type": PUBLIC_KEY, "alg": algorithm}));
    let existing: Vec<_> = existing.iter().map(|id| json!({"type": PUBLIC_KEY, "id": encode(id)})).collect();
    json!({
        "rp": {"id": settings.webauthn_rp_id, "name": app_name},
        "user": {"id": encode(user.handle), "name": user.username, "displayName": user.display_name},
        "challenge": encode(challenge),
        "pubKeyCredParams": algorithms,
        "timeout": timeout(),
        "excludeCredentials": existing,
        "authenticatorSelection": {
            "residentKey": "required",
            "requireResidentKey": true,
            "userVerification": "required",
        },
        "attestation": "none",
    })
}

/// Returns the options for `PublicKeyCredential.parseRequestOptionsFromJSON`. The authenticator finds the passkey by
/// itself, so the options name none.
pub(super) fn request_options(settings: &WebauthnSettings, challenge: &[u8]) -> Value {
    json!({
        "challenge": encode(challenge),
        "timeout": timeout(),
        "rpId": settings.webauthn_rp_id,
        "allowCredentials": [],
        "userVerification": "required",
    })
}

/// Returns the time for the browser in milliseconds.
fn timeout() -> u64 {
    PASSKEY_CHALLENGE_LIFETIME.as_secs() * 1000
}

/// The answer to a challenge for a new passkey.
pub(super) struct Registration {
    client_data: ClientData,
    attestation_object: Vec<u8>,
}

/// A new passkey.
pub(super) struct NewCredential {
    pub(super) id: Vec<u8>,
    /// The public key as a COSE_Key.
    pub(super) public_key: Vec<u8>,
    pub(super) sign_count: u32,
    pub(super) backed_up: bool,
}

impl Registration {
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Response {
            #[serde(rename = "clientDataJSON")]
            client_data: String,
            attestation_object: Option<String>,
        }
        let credential: Credential<Response> = parse(text)?;
        // Only a credential of `navigator.credentials.create` has an attestation object.
        let attestation_object = decode(&credential.response.attestation_object.ok_or(Refusal::Ceremony)?)?;
        Ok(Self { client_data: ClientData::parse(&credential.response.client_data)?, attestation_object })
    }

    /// Returns the challenge that the authenticator has answered. Step 8: the caller looks it up.
    pub(super) fn challenge(&self) -> &[u8] {
        &self.client_data.challenge
    }

    pub(super) fn verify(&self, settings: &WebauthnSettings) -> Result<NewCredential, Refusal> {
        // Steps 7, 9 and 10.
        self.client_data.check("webauthn.create", settings)?;
        // Step 11 hashes the client data for the attestation statement, which is not checked.
        // Step 12: decode the attestation object.
        let (object, rest) = cbor::read(&self.attestation_object).ok_or(Refusal::Malformed)?;
        let data = object.get(&Item::Text("authData")).and_then(Item::bytes).ok_or(Refusal::Malformed)?;
        if !rest.is_empty() {
            return Err(Refusal::Malformed);
        }
        let data = AuthenticatorData::parse(data)?;
        // Steps 13 to 15: the domain, the presence and the verification of the user.
        check_authenticator(&data, settings)?;
        // Step 16: the algorithm is one of those that the options name. Also checks that the key is valid.
        let credential = data.credential.as_ref().ok_or(Refusal::Malformed)?;
        cose::public_key(credential.public_key)?;
        // Step 17: the server asks for no extensions. Steps 18 to 21 and 24: it trusts no attestation.
        // Steps 22 and 23: the caller stores the credential, unless it is registered already.
        Ok(NewCredential {
            id: credential.id.to_vec(),
            public_key: credential.public_key.to_vec(),
            sign_count: data.sign_count,
            backed_up: data.is_backed_up()?,
        })
    }
}

/// The answer to a challenge for a signature.
pub(super) struct Assertion {
    /// Id of the credential.
    pub(super) credential_id: Vec<u8>,
    /// Id of the user, which the authenticator got in the creation options.
    user_handle: Vec<u8>,
    client_data: ClientData,
    authenticator_data: Vec<u8>,
    signature: Vec<u8>,
}

/// A use of a passkey, with the data of its authenticator.
pub(super) struct PasskeyUse {
    pub(super) sign_count: u32,
    pub(super) backed_up: bool,
}

impl Assertion {
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Response {
            #[serde(rename = "clientDataJSON")]
            client_data: String,
            authenticator_data: Option<String>,
            signature: Option<String>,
            user_handle: Option<String>,
        }
        let Credential { id, response, .. }: Credential<Response> = parse(text)?;
        // Only a credential of `navigator.credentials.get` has a signature.
        let (Some(authenticator_data), Some(signature)) = (response.authenticator_data, response.signature) else {
            return Err(Refusal::Ceremony);
        };
        Ok(Self {
            credential_id: decode(&id)?,
            // Step 6: the user is not identified before, so the handle is required. The options name no credentials, so
            // step 5 does not apply.
            user_handle: decode(&response.user_handle.ok_or(Refusal::Malformed)?)?,
            client_data: ClientData::parse(&response.client_data)?,
            authenticator_data: decode(&authenticator_data)?,
            signature: decode(&signature)?,
        })
    }

    /// Returns the challenge that the authenticator has answered. Step 12: the caller looks it up.
    pub(super) fn challenge(&self) -> &[u8] {
        &self.client_data.challenge
    }

    /// Checks the assertion. `owner` is the handle of the user who has the passkey, and `public_key` its COSE_Key.
    pub(super) fn verify(
        &self,
        settings: &WebauthnSettings,
        owner: &[u8],
        public_key: &[u8],
    ) -> Result<PasskeyUse, Refusal> {
        // Step 6: the user of the handle owns the credential.
        if self.user_handle != owner {
            return Err(Refusal::Forged);
        }
        // Steps 11, 13 and 14.
        self.client_data.check("webauthn.get", settings)?;
        // Steps 15 to 17: the domain, the presence and the verification of the user.
        let data = AuthenticatorData::parse(&self.authenticator_data)?;
        check_authenticator(&data, settings)?;
        // Step 18: the server asks for no extensions.
        // Steps 19 and 20: the signature of the authenticator data and the hash of the client data.
        let client_data_hash = Sha256::digest(&self.client_data.bytes);
        let signed = [&self.authenticator_data[..], &client_data_hash[..]].concat();
        cose::public_key(public_key)?.verify_sig(&signed, &self.signature).map_err(|_| Refusal::Forged)?;
        // Step 21: the caller compares the counter with the stored one.
        Ok(PasskeyUse { sign_count: data.sign_count, backed_up: data.is_backed_up()? })
    }
}

/// The JSON form of a credential: `PublicKeyCredential.toJSON()`.
#[derive(Deserialize)]
struct Credential<R> {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    response: R,
}

/// The client data: the part of an answer that the browser adds.
struct ClientData {
    /// The exact bytes, whose hash the authenticator has signed.
    bytes: Vec<u8>,
    challenge: Vec<u8>,
    fields: ClientDataFields,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientDataFields {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
    origin: String,
    cross_origin: Option<bool>,
    /// Origin of the page at the top. Browsers add it only for a page in a frame of another origin.
    top_origin: Option<String>,
}

impl ClientData {
    /// Steps 5 and 6 of section 7.1, and 9 and 10 of section 7.2: decode the JSON text.
    fn parse(text: &str) -> Result<Self, Refusal> {
        let bytes = decode(text)?;
        let fields: ClientDataFields = serde_json::from_slice(&bytes).map_err(|_| Refusal::Malformed)?;
        Ok(Self { challenge: decode(&fields.challenge)?, bytes, fields })
    }

    /// Checks the type and the origin. Token Binding is not supported: no browser has it, and Level 3 has removed it.
    fn check(&self, kind: &str, settings: &WebauthnSettings) -> Result<(), Refusal> {
        if self.fields.kind != kind {
            return Err(Refusal::Ceremony);
        }
        // A page of another origin could show the sign-in in a frame, and its user would not notice.
        let in_frame = self.fields.cross_origin == Some(true) || self.fields.top_origin.is_some();
        if in_frame || !settings.allows(&self.fields.origin) { Err(Refusal::Origin) } else { Ok(()) }
    }
}

fn check_authenticator(data: &AuthenticatorData<'_>, settings: &WebauthnSettings) -> Result<(), Refusal> {
    if data.rp_id_hash[..] != Sha256::digest(&settings.webauthn_rp_id)[..] {
        return Err(Refusal::Domain);
    }
    if data.is_user_verified() { Ok(()) } else { Err(Refusal::NotVerified) }
}

fn parse<R: for<'de> Deserialize<'de>>(text: &str) -> Result<Credential<R>, Refusal> {
    if text.len() > MAX_CREDENTIAL {
        return Err(Refusal::Malformed);
    }
    let credential: Credential<R> = serde_json::from_str(text).map_err(|_| Refusal::Malformed)?;
    if credential.kind == PUBLIC_KEY { Ok(credential) } else { Err(Refusal::Malformed) }
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(text: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Refusal::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The test vectors of Web Authentication Level 3, "ES256 Credential with No Attestation", in hexadecimal digits.
    const CREATED_CLIENT_DATA: &str = "7b2274797065223a22776562617574686e2e637265617465222c226368616c6c656e6765223a2241\
        4d4d507434557878475453746e63647134313759447742466938767049612d7077386f4f755657345441222c226f726967696e223a226874\
        7470733a2f2f6578616d706c652e6f7267222c2263726f73734f726967696e223a66616c73652c22657874726144617461223a22636c6965\
        6e74446174614a534f4e206d617920626520657874656e6465642077697468206164646974696f6e616c206669656c647320696e20746865\
        206675747572652c207375636820617320746869733a20426b5165446a646354427258426941774a544c453551227d";
    const ATTESTATION_OBJECT: &str = "a363666d74646e6f6e656761747453746d74a068617574684461746158a4bfabc37432958b063360d3\
        ad6461c9c4735ae7f8edd46592a5e0f01452b2e4b559000000008446ccb9ab1db374750b2367ff6f3a1f0020f91f391db4c9b2fde0ea7018\
        9cba3fb63f579ba6122b33ad94ff3ec330084be4a5010203262001215820afefa16f97ca9b2d23eb86ccb64098d20db90856062eb249c33a\
        9b672f26df61225820930a56b87a2fca66334b03458abf879717c12cc68ed73290af2e2664796b9220";
    const CREDENTIAL_ID: &str = "f91f391db4c9b2fde0ea70189cba3fb63f579ba6122b33ad94ff3ec330084be4";
    const CHALLENGE: &str = "39c0e7521417ba54d43e8dc95174f423dee9bf3cd804ff6d65c857c9abf4d408";
    const AUTHENTICATOR_DATA: &str = "bfabc37432958b063360d3ad6461c9c4735ae7f8edd46592a5e0f01452b2e4b51900000000";
    const CLIENT_DATA: &str = "7b2274797065223a22776562617574686e2e676574222c226368616c6c656e6765223a224f63446e55685158\
        756c5455506f334a5558543049393770767a7a59425039745a63685879617630314167222c226f726967696e223a2268747470733a2f2f65\
        78616d706c652e6f7267222c2263726f73734f726967696e223a66616c73657d";
    const SIGNATURE: &str = "3046022100f50a4e2e4409249c4a853ba361282f09841df4dd4547a13a87780218deffcd380221008480ac0f0b\
        93538174f575bf11a1dd5d78c6e486013f937295ea13653e331e87";

    fn bytes(digits: &str) -> Vec<u8> {
        let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    fn text(digits: &str) -> String {
        encode(&bytes(digits))
    }

    fn settings() -> WebauthnSettings {
        WebauthnSettings { webauthn_rp_id: "example.org".into(), webauthn_origins: Vec::new() }
    }

    /// Returns the credential that the attestation object of the vectors has.
    fn attested() -> (Vec<u8>, Vec<u8>) {
        let object = bytes(ATTESTATION_OBJECT);
        let (object, _) = cbor::read(&object).unwrap();
        let data = object.get(&Item::Text("authData")).and_then(Item::bytes).unwrap();
        let credential = AuthenticatorData::parse(data).unwrap().credential.unwrap();
        (credential.id.to_vec(), credential.public_key.to_vec())
    }

    fn assertion(signature: &[u8]) -> Assertion {
        let response = json!({
            "clientDataJSON": text(CLIENT_DATA),
            "authenticatorData": text(AUTHENTICATOR_DATA),
            "signature": encode(signature),
            "userHandle": "AQ",
        });
        let credential = json!({"id": text(CREDENTIAL_ID), "type": PUBLIC_KEY, "response": response});
        Assertion::parse(&credential.to_string()).unwrap()
    }

    #[test]
    fn the_registration_of_the_specification_is_read() {
        let (id, public_key) = attested();
        assert_eq!(id, bytes(CREDENTIAL_ID));
        assert!(cose::public_key(&public_key).is_ok());
        let response =
            json!({"clientDataJSON": text(CREATED_CLIENT_DATA), "attestationObject": text(ATTESTATION_OBJECT)});
        let credential = json!({"id": text(CREDENTIAL_ID), "type": PUBLIC_KEY, "response": response});
        let registration = Registration::parse(&credential.to_string()).unwrap();
        assert_eq!(registration.challenge()[..4], [0x00, 0xc3, 0x0f, 0xb7]);
        // The authenticator of the vectors has not verified its user. All checks before that one succeed.
        assert_eq!(registration.verify(&settings()).err(), Some(Refusal::NotVerified));
        let other = WebauthnSettings { webauthn_rp_id: "example.com".into(), ..settings() };
        assert_eq!(registration.verify(&other).err(), Some(Refusal::Origin));
    }

    #[test]
    fn the_signature_of_the_specification_is_right() {
        let (_, public_key) = attested();
        let signed = [bytes(AUTHENTICATOR_DATA), Sha256::digest(bytes(CLIENT_DATA)).to_vec()].concat();
        let mut signature = bytes(SIGNATURE);
        let key = cose::public_key(&public_key).unwrap();
        assert!(key.verify_sig(&signed, &signature).is_ok());
        let right = assertion(&signature);
        assert_eq!((right.challenge(), &right.credential_id), (&bytes(CHALLENGE)[..], &bytes(CREDENTIAL_ID)));
        assert_eq!(right.verify(&settings(), &[1], &public_key).err(), Some(Refusal::NotVerified));
        assert_eq!(right.verify(&settings(), &[2], &public_key).err(), Some(Refusal::Forged));
        signature[20] ^= 1;
        assert!(key.verify_sig(&signed, &signature).is_err());
    }
}
