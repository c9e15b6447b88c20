//! The authenticator data (Web Authentication Level 2, section 6.1): what an authenticator signs.

use super::Refusal;
use super::cbor;

// Bits of the flags.
const USER_PRESENT: u8 = 1;
const USER_VERIFIED: u8 = 1 << 2;
const BACKUP_ELIGIBLE: u8 = 1 << 3;
const BACKED_UP: u8 = 1 << 4;
const HAS_CREDENTIAL: u8 = 1 << 6;
const HAS_EXTENSIONS: u8 = 1 << 7;

/// Size of the id of the model of the authenticator.
const AAGUID: usize = 16;
/// Maximum size of the id of a credential in bytes (Web Authentication Level 3, section 7.1).
const MAX_CREDENTIAL_ID: usize = 1023;

#[derive(Debug)]
pub(super) struct AuthenticatorData<'a> {
    pub(super) rp_id_hash: &'a [u8; 32],
    flags: u8,
    pub(super) sign_count: u32,
    /// The new credential. None in the answer to a request for a signature.
    pub(super) credential: Option<Credential<'a>>,
}

#[derive(Debug)]
pub(super) struct Credential<'a> {
    pub(super) id: &'a [u8],
    /// The public key as a COSE_Key.
    pub(super) public_key: &'a [u8],
}

impl<'a> AuthenticatorData<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        Self::read(bytes).ok_or(Refusal::Malformed)
    }

    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (rp_id_hash, rest) = bytes.split_first_chunk::<32>()?;
        let (&flags, rest) = rest.split_first()?;
        let (sign_count, mut rest) = rest.split_first_chunk::<4>()?;
        let mut credential = None;
        if flags & HAS_CREDENTIAL != 0 {
            let (read, after) = Credential::read(rest)?;
            credential = Some(read);
            rest = after;
        }
        if flags & HAS_EXTENSIONS != 0 {
            // The server asks for no extension and ignores their results.
            let (_, after) = cbor::read(rest)?;
            rest = after;
        }
        let sign_count = u32::from_be_bytes(*sign_count);
        rest.is_empty().then_some(Self { rp_id_hash, flags, sign_count, credential })
    }

    /// Whether the authenticator has verified its user, by a PIN or a fingerprint for example. A verified user is also
    /// present.
    pub(super) const fn is_user_verified(&self) -> bool {
        self.flags & USER_PRESENT != 0 && self.flags & USER_VERIFIED != 0
    }

    /// Whether the authenticator has a copy of the key elsewhere. Returns an error if the flags contradict each other.
    pub(super) const fn is_backed_up(&self) -> Result<bool, Refusal> {
        match (self.flags & BACKUP_ELIGIBLE != 0, self.flags & BACKED_UP != 0) {
            (false, true) => Err(Refusal::Malformed),
            (_, backed_up) => Ok(backed_up),
        }
    }
}

impl<'a> Credential<'a> {
    fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (_, rest) = bytes.split_at_checked(AAGUID)?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (id, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        if id.is_empty() || id.len() > MAX_CREDENTIAL_ID {
            return None;
        }
        let (_, after) = cbor::read(rest)?;
        let (public_key, after) = rest.split_at_checked(rest.len() - after.len())?;
        Some((Self { id, public_key }, after))
    }
}
