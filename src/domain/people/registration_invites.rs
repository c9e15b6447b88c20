//! Registration invites: codes that an operator gives to new users. With `REGISTRATION=invite`, `register` requires
//! such a code.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest as _, Sha256};

use super::core::PeopleCore;
use crate::config::RegistrationMode;
use crate::domain::error::{Error, Result};
use crate::error::Result as InternalResult;
use crate::log::Transaction;
use crate::random::Random;
use crate::store;
use crate::store::people::registration_invites::{self, RegistrationInvite};

/// Prefix of each code. Distinguishes the code from the code of a group invite, and lets secret scanners recognise the
/// code.
const PREFIX: &str = "parlance_ri_";
/// Number of random bytes in a code: 144 bits, which base64 encodes without padding.
const CODE_BYTES: usize = 18;
/// Maximum size of a code in bytes. A longer text is not hashed. Codes of this server have 36 bytes.
const MAX_CODE_BYTES: usize = 64;
/// Number of bytes of the hash that form the id of an invite in `parlance invite list`, in hexadecimal digits.
const ID_BYTES: usize = 6;

/// Options of `parlance invite create`.
#[derive(Clone, Debug, clap::Args)]
pub struct NewRegistrationInvite {
    /// Number of accounts that can be made with the code
    #[arg(long, default_value = "1", value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1_000_000))]
    pub uses: i32,
    /// Days until the code expires
    #[arg(long, default_value = "7", value_name = "DAYS", value_parser = clap::value_parser!(i64).range(1..=3650))]
    pub expires_in: i64,
    /// Text that the list shows with the invite, such as the recipient of the code
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
}

/// Stores an invite and returns its code. The code cannot be shown again later, because only its hash is stored.
pub async fn create(
    url: &str,
    new: NewRegistrationInvite,
    now: DateTime<Utc>,
    random: &Random,
) -> InternalResult<String> {
    let code = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random.bytes::<CODE_BYTES>()));
    let invite = RegistrationInvite {
        code_hash: hash(&code),
        note: new.note,
        created_at: now,
        expires_at: now + TimeDelta::days(new.expires_in),
        max_uses: new.uses,
        uses: 0,
    };
    registration_invites::insert(&mut store::connect(url).await?, &invite).await?;
    Ok(code)
}

/// Reads all invites, newest first, including invites that are used up or expired.
pub async fn list(url: &str) -> InternalResult<Vec<RegistrationInvite>> {
    Ok(registration_invites::all(&mut store::connect(url).await?).await?)
}

/// Deletes the invite with this code, or with this id of `parlance invite list`. Returns whether the invite existed.
pub async fn revoke(url: &str, code: &str) -> InternalResult<bool> {
    let mut connection = store::connect(url).await?;
    let code = code.trim();
    let mut hashes = vec![hash(code)];
    if code.len() == 2 * ID_BYTES {
        let all = registration_invites::all(&mut connection).await?;
        hashes.extend(all.into_iter().filter(|invite| id(invite) == code).map(|invite| invite.code_hash));
    }
    Ok(registration_invites::delete(&mut connection, &hashes).await? > 0)
}

/// Returns the id of an invite in lists: the first hexadecimal digits of the hash of its code.
pub fn id(invite: &RegistrationInvite) -> String {
    invite.code_hash.iter().take(ID_BYTES).fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

fn hash(code: &str) -> Vec<u8> {
    Sha256::digest(code).to_vec()
}

/// Permission to register. The use of the code is not counted yet.
pub(super) struct Admission {
    /// SHA-256 of the code. None if the server requires no code.
    code_hash: Option<Vec<u8>>,
}

/// Checks the code as the registration mode of the server requires. This is the first step of a registration, before
/// the costly steps.
pub(super) async fn admit(people: &PeopleCore, code: Option<&str>) -> Result<Admission> {
    match people.registration {
        RegistrationMode::Open => Ok(Admission { code_hash: None }),
        RegistrationMode::Closed => {
            Err(Error::Forbidden("This server does not accept registrations. Ask its operator for an account."))
        }
        RegistrationMode::External => {
            Err(Error::Forbidden("Accounts of this server are made at an issuer. `serverInfo.issuers` lists them."))
        }
        RegistrationMode::Invite => {
            let code = code.map(str::trim).filter(|code| code.len() <= MAX_CODE_BYTES).ok_or_else(no_invite)?;
            let code_hash = hash(code);
            if !registration_invites::is_usable(&mut *people.base.connection().await?, &code_hash, people.base.now())
                .await?
            {
                return Err(no_invite());
            }
            Ok(Admission { code_hash: Some(code_hash) })
        }
    }
}

impl Admission {
    /// Counts the use of the code in the transaction that creates the account. Returns BAD_USER_INPUT if the code can
    /// no longer be used.
    pub(super) async fn count_use(&self, people: &PeopleCore, tx: &mut Transaction<'_>) -> Result<()> {
        match &self.code_hash {
            Some(hash) if !registration_invites::count_use(tx.conn(), hash, people.base.now()).await? => {
                Err(no_invite())
            }
            _ => Ok(()),
        }
    }
}

/// Returns the error for every code that cannot be used: a missing, unknown, revoked, used up or expired code.
fn no_invite() -> Error {
    Error::invalid("invite", "This server needs a valid invite code to register. Ask its operator for one.")
}
