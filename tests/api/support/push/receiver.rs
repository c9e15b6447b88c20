//! The receiving side of Message Encryption for Web Push (RFC 8291), which browsers and apps have.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parlance::random::Random;

/// Bytes of the salt and of the record size (RFC 8188, section 2.1).
const SALT: usize = 16;
const RECORD_SIZE: usize = 4;
/// The delimiter of the last record, before its padding (RFC 8188, section 2).
const LAST: u8 = 2;

/// The keys of a subscription, as a browser makes them.
pub struct Receiver {
    key: PrivateKey,
    public_key: Vec<u8>,
    secret: Vec<u8>,
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Receiver {
    pub fn generate() -> Self {
        let secret: [u8; 16] = Random::system().bytes();
        Self::new(PrivateKey::generate(&ECDH_P256).unwrap(), secret.to_vec())
    }

    /// Returns the receiver with this private key of 32 bytes and this authentication secret of 16 bytes, both as
    /// base64url.
    pub fn from_text(key: &str, secret: &str) -> Self {
        let [key, secret] = [key, secret].map(|text| URL_SAFE_NO_PAD.decode(text).unwrap());
        Self::new(PrivateKey::from_private_key(&ECDH_P256, &key).unwrap(), secret)
    }

    fn new(key: PrivateKey, secret: Vec<u8>) -> Self {
        let public_key = key.compute_public_key().unwrap().as_ref().to_vec();
        Self { key, public_key, secret }
    }

    /// The public key as base64url, as `PushSubscription.toJSON()` gives it.
    pub fn p256dh(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.public_key)
    }

    /// The authentication secret as base64url.
    pub fn auth(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.secret)
    }

    /// Decrypts the body of a push with the content coding aes128gcm. It must have one record.
    pub fn open(&self, body: &[u8]) -> Result<Vec<u8>, String> {
        let cut = "the body ends within its header";
        let (salt, rest) = body.split_at_checked(SALT).ok_or(cut)?;
        let (size, rest) = rest.split_at_checked(RECORD_SIZE).ok_or(cut)?;
        let (length, rest) = rest.split_first().ok_or(cut)?;
        let (sender, record) = rest.split_at_checked(usize::from(*length)).ok_or(cut)?;
        let size = u32::from_be_bytes(size.try_into().unwrap());
        if record.len() > usize::try_from(size).unwrap() {
            return Err(format!("{} bytes of a record of {size} bytes", record.len()));
        }
        let secret = self.input_key(sender)?;
        let key = Salt::new(HKDF_SHA256, salt).extract(&secret);
        let content_key: [u8; 16] = derived(&key, b"Content-Encoding: aes128gcm\0");
        let nonce: [u8; 12] = derived(&key, b"Content-Encoding: nonce\0");
        let content_key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &content_key).unwrap());
        let mut record = record.to_vec();
        let plain = content_key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut record);
        let plain = plain.map_err(|_| "the body was encrypted with other keys".to_owned())?;
        let end = plain.iter().rposition(|byte| *byte != 0).ok_or("only padding")?;
        if plain[end] != LAST {
            return Err(format!("the delimiter is {}", plain[end]));
        }
        Ok(plain[..end].to_vec())
    }

    /// Combines the shared secret of ECDH with the authentication secret (RFC 8291, section 3.3).
    fn input_key(&self, sender: &[u8]) -> Result<[u8; 32], String> {
        let error = "the key of the sender is not an uncompressed point of P-256";
        let extract = |shared: &[u8]| Ok(Salt::new(HKDF_SHA256, &self.secret).extract(shared));
        let key = agree(&self.key, UnparsedPublicKey::new(&ECDH_P256, sender), error, extract)?;
        let info = [b"WebPush: info\0".as_slice(), &self.public_key, sender].concat();
        Ok(derived(&key, &info))
    }
}

fn derived<const N: usize>(key: &Prk, info: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    key.expand(&[info], Length(N)).unwrap().fill(&mut bytes).unwrap();
    bytes
}
