//! Encryption of Web Push messages (RFC 8291) in the coding aes128gcm (RFC 8188).

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, ParsedPublicKey, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};

use super::p256::{self, POINT};
use crate::random::Random;

/// Number of bytes of the authentication secret of a receiver (RFC 8291, section 3.2).
const AUTH: usize = 16;
/// Number of bytes of the salt of a message (RFC 8188, section 2.1).
const SALT: usize = 16;
/// Number of bytes of a key of AES-128.
const KEY: usize = 16;
/// Number of bytes of the tag of AES-GCM.
const TAG: usize = 16;
/// The first byte of an uncompressed point.
const UNCOMPRESSED: u8 = 4;
/// The field `rs` of the header: the size of a record. A message has one record, so each size is allowed that is not
/// smaller than the record. This is the one in the example of RFC 8291.
const RECORD_SIZE: u32 = 4096;
/// The field `idlen` of the header: the number of bytes of the public key.
const ID_LENGTH: u8 = 65;
/// Byte after the content of the last record (RFC 8188, section 2).
const LAST_RECORD: u8 = 2;
/// Maximum number of bytes of an encrypted message that each push service accepts (RFC 8030, section 7.2).
const MAX_MESSAGE: usize = 4096;
/// Maximum number of bytes of a content, so that the encrypted message has at most [`MAX_MESSAGE`] bytes.
pub(super) const MAX_CONTENT: usize = MAX_MESSAGE - (SALT + 4 + 1 + POINT) - 1 - TAG;

/// The keys of a receiver, as its browser or distributor made them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverKeys {
    /// Public key of P-256: an uncompressed point of 65 bytes.
    pub p256dh: Vec<u8>,
    /// Secret of 16 bytes that the push service does not know.
    pub auth: Vec<u8>,
}

impl ReceiverKeys {
    /// Checks the keys that a client gives. The error is a sentence for the client.
    pub fn new(p256dh: Vec<u8>, auth: Vec<u8>) -> Result<Self, String> {
        if p256dh.len() != POINT || p256dh.first() != Some(&UNCOMPRESSED) {
            return Err(format!("The key p256dh must be an uncompressed point of {POINT} bytes."));
        }
        if ParsedPublicKey::try_from(UnparsedPublicKey::new(&ECDH_P256, p256dh.as_slice())).is_err() {
            return Err("The key p256dh must be a point of the curve P-256.".to_owned());
        }
        if auth.len() != AUTH {
            return Err(format!("The key auth must have {AUTH} bytes."));
        }
        Ok(Self { p256dh, auth })
    }
}

/// The length of a derived value in bytes.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// Encrypts a content of at most [`MAX_CONTENT`] bytes. Fails if the keys are invalid.
pub(super) fn encrypt(content: &[u8], receiver: &ReceiverKeys, random: &Random) -> Result<Vec<u8>, Unspecified> {
    encrypt_with(content, receiver, &p256::generate(random), random.bytes())
}

fn encrypt_with(
    content: &[u8],
    receiver: &ReceiverKeys,
    own: &PrivateKey,
    salt: [u8; SALT],
) -> Result<Vec<u8>, Unspecified> {
    let public = own.compute_public_key()?;
    let theirs = UnparsedPublicKey::new(&ECDH_P256, receiver.p256dh.as_slice());
    let input: [u8; 32] = agree(own, theirs, Unspecified, |shared| {
        derive(&receiver.auth, shared, &[b"WebPush: info\0", &receiver.p256dh, public.as_ref()])
    })?;
    let (key, nonce) = record_keys(&salt, &input)?;
    let mut record = Vec::with_capacity(content.len() + 1 + TAG);
    record.extend_from_slice(content);
    record.push(LAST_RECORD);
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key)?);
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut record)?;
    let parts: [&[u8]; 5] = [&salt, &RECORD_SIZE.to_be_bytes(), &[ID_LENGTH], public.as_ref(), &record];
    Ok(parts.concat())
}

/// Returns the key and the nonce of the first record (RFC 8188, sections 2.2 and 2.3).
fn record_keys(salt: &[u8], input: &[u8]) -> Result<([u8; KEY], [u8; NONCE_LEN]), Unspecified> {
    let key = derive(salt, input, &[b"Content-Encoding: aes128gcm\0"])?;
    Ok((key, derive(salt, input, &[b"Content-Encoding: nonce\0"])?))
}

/// HKDF with SHA-256 (RFC 5869). `info` is joined without separators.
fn derive<const N: usize>(salt: &[u8], input: &[u8], info: &[&[u8]]) -> Result<[u8; N], Unspecified> {
    let mut output = [0; N];
    let key = Salt::new(HKDF_SHA256, salt).extract(input);
    key.expand(info, Length(N))?.fill(&mut output)?;
    Ok(output)
}

/// Decrypts a message, as its receiver does.
#[cfg(test)]
pub(super) fn decrypt(message: &[u8], own: &PrivateKey, auth: &[u8]) -> Result<Vec<u8>, Unspecified> {
    let (header, record) = message.split_at(SALT + 4 + 1 + POINT);
    let (salt, sender) = (&header[..SALT], &header[SALT + 4 + 1..]);
    let public = own.compute_public_key()?;
    let input: [u8; 32] = agree(own, UnparsedPublicKey::new(&ECDH_P256, sender), Unspecified, |shared| {
        derive(auth, shared, &[b"WebPush: info\0", public.as_ref(), sender])
    })?;
    let (key, nonce) = record_keys(salt, &input)?;
    let mut record = record.to_vec();
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key)?);
    let content = key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut record)?;
    match content {
        [content @ .., LAST_RECORD] => Ok(content.to_vec()),
        _ => Err(Unspecified),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    const SENDER: &str = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw";
    const RECEIVER: &str = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94";
    const RECEIVER_PUBLIC: &str =
        "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
    const AUTH_SECRET: &str = "BTBZMqHH6r4Tts7J_aSIgg";
    const CONTENT: &[u8] = b"When I grow up, I want to be a watermelon";

    fn bytes(text: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    fn private_key(text: &str) -> PrivateKey {
        PrivateKey::from_private_key(&ECDH_P256, &bytes(text)).unwrap()
    }

    fn receiver() -> ReceiverKeys {
        ReceiverKeys::new(bytes(RECEIVER_PUBLIC), bytes(AUTH_SECRET)).unwrap()
    }

    /// RFC 8291, section 5.
    #[test]
    fn a_message_is_that_of_the_specification() {
        let salt = bytes("DGv6ra1nlYgDCS1FRnbzlw").try_into().unwrap();
        let message = encrypt_with(CONTENT, &receiver(), &private_key(SENDER), salt).unwrap();
        let expected = concat!(
            "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6Tlz",
            "AC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN",
        );
        assert_eq!(URL_SAFE_NO_PAD.encode(&message), expected);
        assert_eq!(decrypt(&message, &private_key(RECEIVER), &bytes(AUTH_SECRET)).unwrap(), CONTENT);
    }

    /// RFC 8291, appendix A.
    #[test]
    fn the_intermediate_values_are_those_of_the_specification() {
        let shared = bytes("kyrL1jIIOHEzg3sM2ZWRHDRB62YACZhhSlknJ672kSs");
        let theirs = bytes(RECEIVER_PUBLIC);
        let agreed: Result<_, Unspecified> =
            agree(&private_key(SENDER), UnparsedPublicKey::new(&ECDH_P256, theirs.as_slice()), Unspecified, |secret| {
                Ok(secret.to_vec())
            });
        assert_eq!(agreed.unwrap(), shared);
        let public = private_key(SENDER).compute_public_key().unwrap();
        let expected = "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8";
        assert_eq!(URL_SAFE_NO_PAD.encode(public.as_ref()), expected);
        let info: [&[u8]; 3] = [b"WebPush: info\0", &theirs, public.as_ref()];
        let input: [u8; 32] = derive(&bytes(AUTH_SECRET), &shared, &info).unwrap();
        assert_eq!(URL_SAFE_NO_PAD.encode(input), "S4lYMb_L0FxCeq0WhDx813KgSYqU26kOyzWUdsXYyrg");
        let (key, nonce) = record_keys(&bytes("DGv6ra1nlYgDCS1FRnbzlw"), &input).unwrap();
        assert_eq!(URL_SAFE_NO_PAD.encode(key), "oIhVW04MRdy2XN9CiKLxTg");
        assert_eq!(URL_SAFE_NO_PAD.encode(nonce), "4h_95klXJ5E_qnoN");
    }

    #[test]
    fn each_message_has_another_key_and_fits() {
        let random = Random::system();
        let content = vec![b'a'; MAX_CONTENT];
        let messages = [(); 2].map(|()| encrypt(&content, &receiver(), &random).unwrap());
        assert_ne!(messages[0], messages[1]);
        for message in messages {
            assert_eq!(message.len(), MAX_MESSAGE);
            assert_eq!(decrypt(&message, &private_key(RECEIVER), &bytes(AUTH_SECRET)).unwrap(), content);
            assert!(decrypt(&message, &private_key(RECEIVER), &[0; AUTH]).is_err());
        }
    }

    #[test]
    fn invalid_keys_are_refused() {
        let (point, auth) = (bytes(RECEIVER_PUBLIC), bytes(AUTH_SECRET));
        let mut outside = point.clone();
        outside[POINT - 1] ^= 1;
        let compressed = [&[2][..], &point[1..33]].concat();
        let hybrid = [&[6][..], &point[1..]].concat();
        for wrong in [Vec::new(), vec![4; POINT], vec![0; POINT], outside.clone(), compressed, hybrid] {
            assert!(ReceiverKeys::new(wrong.clone(), auth.clone()).unwrap_err().contains("p256dh"), "{wrong:?}");
        }
        for wrong in [0, AUTH - 1, AUTH + 1] {
            assert!(ReceiverKeys::new(point.clone(), vec![1; wrong]).unwrap_err().contains("auth"), "{wrong}");
        }
        let stored = ReceiverKeys { p256dh: outside, auth };
        assert!(encrypt(CONTENT, &stored, &Random::system()).is_err());
    }
}
