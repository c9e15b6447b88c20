//! Identifiers: a newtype over UUIDv7 for each noun, shown to clients as a TypeID.
//!
//! A TypeID (specification 0.3) is a prefix, an underscore and the 128 bits in Crockford's base32, in lower case, with
//! 26 characters. UUIDv7 is RFC 9562, section 5.7.

use std::fmt;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::random::Random;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const ENCODED_LEN: usize = 26;

/// Error of parsing an id: the text is not a TypeID with the expected prefix.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id that starts with \"{expected}_\"")]
pub struct InvalidId {
    pub expected: &'static str,
}

/// Splits a TypeID into its prefix and its UUID. None if the text is malformed.
pub fn decode(text: &str) -> Option<(&str, Uuid)> {
    let (prefix, suffix) = text.rsplit_once('_')?;
    // 26 digits of 5 bits have 130 bits, two more than a UUID, so the first digit uses only its lower three bits.
    if suffix.len() != ENCODED_LEN || suffix.as_bytes()[0] > b'7' {
        return None;
    }
    let mut bits: u128 = 0;
    for byte in suffix.bytes() {
        let digit = ALPHABET.iter().position(|&letter| letter == byte)?;
        bits = bits << 5 | digit as u128;
    }
    Some((prefix, Uuid::from_u128(bits)))
}

/// Writes a prefix and a UUID as a TypeID.
pub fn encode(f: &mut impl fmt::Write, prefix: &str, uuid: Uuid) -> fmt::Result {
    f.write_str(prefix)?;
    f.write_char('_')?;
    let bits = uuid.as_u128();
    for index in (0..ENCODED_LEN).rev() {
        let digit = (bits >> (index * 5)) & 31;
        f.write_char(ALPHABET[digit as usize] as char)?;
    }
    Ok(())
}

/// Creates a UUIDv7. UUIDv7s sort by their creation time.
pub fn new_uuid(now: DateTime<Utc>, random: &Random) -> Uuid {
    let millis = u64::try_from(now.timestamp_millis()).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &random.bytes()).into_uuid()
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[derive(diesel::expression::AsExpression, diesel::deserialize::FromSqlRow)]
        #[diesel(sql_type = diesel::sql_types::Uuid)]
        pub struct $name(pub Uuid);

        impl $name {
            pub const PREFIX: &str = $prefix;

            pub fn new(now: DateTime<Utc>, random: &Random) -> Self {
                Self(new_uuid(now, random))
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                match decode(text) {
                    Some(($prefix, uuid)) => Ok(Self(uuid)),
                    _ => Err(InvalidId { expected: $prefix }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                encode(f, $prefix, self.0)
            }
        }

        impl diesel::serialize::ToSql<diesel::sql_types::Uuid, diesel::pg::Pg> for $name {
            fn to_sql<'b>(
                &'b self,
                out: &mut diesel::serialize::Output<'b, '_, diesel::pg::Pg>,
            ) -> diesel::serialize::Result {
                diesel::serialize::ToSql::<diesel::sql_types::Uuid, diesel::pg::Pg>::to_sql(&self.0, out)
            }
        }

        impl diesel::deserialize::FromSql<diesel::sql_types::Uuid, diesel::pg::Pg> for $name {
            fn from_sql(bytes: diesel::pg::PgValue<'_>) -> diesel::deserialize::Result<Self> {
                diesel::deserialize::FromSql::<diesel::sql_types::Uuid, diesel::pg::Pg>::from_sql(bytes).map(Self)
            }
        }
    };
}

id!(UserId, "usr");
id!(
    /// Id of a user's account as only that user reads it. Has the UUID of the `UserId` with a different prefix.
    ViewerId,
    "vwr"
);
id!(SessionId, "ses");
id!(
    /// Id of an identity at an issuer that is linked to an account. Only the owner of the account reads it.
    IdentityId,
    "idn"
);
id!(ConversationId, "cnv");
id!(ParticipantId, "prt");
id!(
    /// Id of a participant as only that participant's user reads it. Has the UUID of the `ParticipantId` with a
    /// different prefix.
    MembershipId,
    "mbr"
);
id!(MessageId, "msg");
id!(InviteId, "inv");
id!(ContactRequestId, "crq");
id!(ScheduledMessageId, "sch");
id!(AttachmentId, "att");
id!(CallId, "cal");
id!(PasskeyId, "pky");
id!(
    /// Id of a push subscription: a device with its address at a push service.
    PushSubscriptionId,
    "psh"
);
id!(
    /// Id of a call participant: a device that is or was in a call. The API never shows this id; clients identify the
    /// device by its session.
    CallParticipantId,
    "cpt"
);

impl MessageId {
    /// Returns the creation time, with a precision of milliseconds. Returns the Unix epoch if the id contains no
    /// timestamp, which means that no server created the id.
    pub fn created_at(self) -> DateTime<Utc> {
        let (seconds, nanos) = self.0.get_timestamp().map_or((0, 0), |timestamp| timestamp.to_unix());
        i64::try_from(seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, nanos)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cases are from `valid.yml` of the specification.
    #[test]
    fn ids_match_the_cases_of_the_specification() {
        for (text, uuid) in [
            ("usr_00000000000000000000000000", "00000000-0000-0000-0000-000000000000"),
            ("usr_00000000000000000000000001", "00000000-0000-0000-0000-000000000001"),
            ("usr_0000000000000000000000000g", "00000000-0000-0000-0000-000000000010"),
            ("usr_7zzzzzzzzzzzzzzzzzzzzzzzzz", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
            ("usr_0123456789abcdefghjkmnpqrs", "0110c853-1d09-52d8-d73e-1194e95b5f19"),
            ("usr_01h455vb4pex5vsknk084sn02q", "01890a5d-ac96-774b-bcce-b302099a8057"),
        ] {
            let id: UserId = text.parse().expect(text);
            assert_eq!(id.0.to_string(), uuid);
            assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn malformed_ids_and_ids_with_another_prefix_are_refused() {
        for text in [
            "",
            "usr",
            "usr_",
            "_00000000000000000000000000",
            "msg_00000000000000000000000000",
            "usr_8zzzzzzzzzzzzzzzzzzzzzzzzz",
            "usr_0000000000000000000000000",
            "usr_000000000000000000000000000",
            "usr_0000000000000000000000000U",
            "usr_0000000000000000000000000l",
            "usr_0000000000000000000000000é",
        ] {
            assert_eq!(text.parse::<UserId>(), Err(InvalidId { expected: "usr" }), "{text}");
        }
    }
}
