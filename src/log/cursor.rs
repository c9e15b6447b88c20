//! The position in the log that a client has reached.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::event::Seq;

/// A position in the log. Its text form is opaque to clients and the same for all users: base64url of the epoch and the
/// seq, 8 bytes each, big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub epoch: i64,
    pub seq: Seq,
}

/// The error for a text that is not a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[8..].copy_from_slice(&self.seq.to_be_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidCursor)?;
        let Some((epoch, seq)) = bytes.split_first_chunk() else { return Err(InvalidCursor) };
        let seq = seq.try_into().map_err(|_| InvalidCursor)?;
        let (epoch, seq) = (i64::from_be_bytes(*epoch), i64::from_be_bytes(seq));
        if seq < 0 { Err(InvalidCursor) } else { Ok(Self { epoch, seq }) }
    }
}
