//! Public keys in the form of COSE (RFC 9052 and RFC 9053), as authenticators send them.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};

use super::Refusal;
use super::cbor::{self, Item};

/// The algorithms of keys that the server accepts, the preferred one first: ES256, EdDSA and RS256. All authenticators
/// know one of them; RS256 is for Windows Hello.
pub(super) const ALGORITHMS: [i64; 3] = [ES256, EDDSA, RS256];

// Identifiers of algorithms: RFC 9053, sections 2.1 and 2.2, and RFC 8812, section 2.
const ES256: i64 = -7;
const EDDSA: i64 = -8;
const RS256: i64 = -257;

// Labels of the parameters of a key: RFC 9052, section 7.1, RFC 9053, section 7, and RFC 8230, section 4.
const KEY_TYPE: i64 = 1;
const ALGORITHM: i64 = 3;
const CURVE: i64 = -1;
const X: i64 = -2;
const Y: i64 = -3;
const MODULUS: i64 = -1;
const EXPONENT: i64 = -2;

// Types of keys: an octet key pair, an elliptic curve with both coordinates, and RSA.
const OKP: i64 = 1;
const EC2: i64 = 2;
const RSA: i64 = 3;

const P256: i64 = 1;
const CURVE_ED25519: i64 = 6;
/// Size of a coordinate of P-256, and of a key of Ed25519.
const COORDINATE: usize = 32;
/// Allowed size of the modulus of an RSA key in bytes: 2048 to 4096 bits. The time of a check grows with the size.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=512;
/// Maximum size of the exponent of an RSA key in bytes. aws-lc-rs refuses larger ones when it checks a signature.
const MAX_EXPONENT: usize = 4;
/// Maximum size of a COSE_Key in bytes. An RSA key of 4096 bits has 530. A key can have further parameters, which are
/// stored with it.
const MAX_KEY: usize = 1024;

/// The points of small order on the curve of Ed25519, without the sign of x, and with the forms of y that are not
/// reduced. A signature for such a key needs no private key. The list is that of libsodium's `ge25519_has_small_order`.
const SMALL_ORDER: [[u8; COORDINATE]; 7] = [
    [0; COORDINATE],
    with_ends(1, 0, 0),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
    with_ends(0xec, 0xff, 0x7f),
    with_ends(0xed, 0xff, 0x7f),
    with_ends(0xee, 0xff, 0x7f),
];

/// Returns a coordinate with these first, middle and last bytes.
const fn with_ends(first: u8, middle: u8, last: u8) -> [u8; COORDINATE] {
    let mut bytes = [middle; COORDINATE];
    bytes[0] = first;
    bytes[COORDINATE - 1] = last;
    bytes
}

/// Reads a COSE_Key.
pub(super) fn public_key(cose: &[u8]) -> Result<ParsedPublicKey, Refusal> {
    if cose.len() > MAX_KEY {
        return Err(Refusal::Malformed);
    }
    let (key, rest) = cbor::read(cose).ok_or(Refusal::Malformed)?;
    if !rest.is_empty() {
        return Err(Refusal::Malformed);
    }
    let integer = |label: i64| key.get(&Item::Integer(label.into())).and_then(Item::integer);
    let bytes = |label: i64| key.get(&Item::Integer(label.into())).and_then(Item::bytes).ok_or(Refusal::Malformed);
    let coordinate =
        |label| bytes(label).and_then(|bytes| <[u8; COORDINATE]>::try_from(bytes).map_err(|_| Refusal::Malformed));
    let parsed = match (integer(ALGORITHM), integer(KEY_TYPE), integer(CURVE)) {
        (Some(ES256), Some(EC2), Some(P256)) => {
            // An uncompressed point, by SEC 1, section 2.3.3.
            let point = [&[4][..], &coordinate(X)?[..], &coordinate(Y)?[..]].concat();
            ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
        }
        (Some(EDDSA), Some(OKP), Some(CURVE_ED25519)) => {
            let point = coordinate(X)?;
            if has_small_order(point) {
                return Err(Refusal::Malformed);
            }
            ParsedPublicKey::new(&ED25519, point)
        }
        (Some(RS256), Some(RSA), None) => {
            let (n, e) = (without_zeros(bytes(MODULUS)?), without_zeros(bytes(EXPONENT)?));
            if !MODULUS_BYTES.contains(&n.len()) {
                return Err(Refusal::Algorithm);
            }
            if !is_odd(n) || !is_odd(e) || e == [1] || e.len() > MAX_EXPONENT {
                return Err(Refusal::Malformed);
            }
            RsaPublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
        }
        _ => return Err(Refusal::Algorithm),
    };
    parsed.map_err(|_| Refusal::Malformed)
}

fn has_small_order(mut point: [u8; COORDINATE]) -> bool {
    point[COORDINATE - 1] &= 0x7f;
    SMALL_ORDER.contains(&point)
}

fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|byte| byte & 1 == 1)
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}
