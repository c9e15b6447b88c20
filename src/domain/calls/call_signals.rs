//! Signals: messages with which the devices in a call set up their connections. The server checks their size and form,
//! and delivers them unchanged.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::call_state;
use super::calls::Calls;
use crate::config::CallSettings;
use crate::domain::error::{Error, Result};
use crate::domain::validate::Check;
use crate::domain::viewer::Viewer;
use crate::ids::{CallId, SessionId};
use crate::log::Change;
use crate::store::calls::call_participants::{self, CallParticipant};
use crate::store::calls::call_signals::{self, Content, SdpType, Waiting};

/// Maximum size of a session description in bytes. A browser that offers every codec sends about 10 KiB.
const MAX_SDP: usize = 64 * 1024;
/// Maximum size of a candidate in bytes. A long candidate has about 200 bytes.
const MAX_CANDIDATE: usize = 1024;
/// Maximum size of the identification of a media stream (`sdpMid`) in bytes.
const MAX_MID: usize = 256;
/// Maximum size of a username fragment in bytes. By RFC 8839, section 5.4, an ice-ufrag has at most 256 characters.
const MAX_UFRAG: usize = 256;
/// Maximum burst of signals from one device, in seconds of the allowed rate. A large burst is needed because a device
/// that joins sends candidates to each of the other devices.
const BURST: i32 = 4;
/// Time after which a retry makes sense if too many signals wait for a device.
const FULL_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct NewSignal {
    pub call: CallId,
    pub to: SessionId,
    pub content: Content,
}

impl Calls<'_> {
    /// Stores a signal until the other device has received it. Returns FORBIDDEN if the viewer's device is not in the
    /// call, and NOT_FOUND if the other device is not in the call.
    pub async fn signal(&self, viewer: Viewer, signal: NewSignal) -> Result<()> {
        let mut check = Check::default();
        check_content(&mut check, &signal.content);
        if signal.to == viewer.session {
            check.fail("toSessionId", "A device cannot send a signal to itself.");
        }
        check.done()?;
        let log = &self.core.base.log;
        log.transaction(async |tx| {
            let settings = &self.core.settings;
            let locked = call_state::lock(tx, viewer, signal.call).await?;
            locked.check_live()?;
            let from = locked.of_session(viewer.session);
            let from = from.ok_or(Error::Forbidden("Only a device in the call can send signals."))?;
            let to = locked.of_session(signal.to).ok_or(Error::NotFound("That device is not in the call."))?;
            let until = next_signal(from, locked.now, settings.call_signals_per_second)?;
            check_space(call_signals::waiting(tx.conn(), to.id).await?, &signal.content, settings)?;
            call_participants::set_signals_until(tx.conn(), from.id, until).await?;
            call_signals::insert(tx.conn(), from.id, to.id, &signal.content, locked.now).await?;
            tx.record(Change::CallSignalled { user: to.user_id, session: to.session_id });
            Ok(())
        })
        .await
    }
}

/// Counts one more signal of the device against the allowed rate, by the generic cell rate algorithm of ITU-T I.371.
/// Returns the new `signals_until`: the time at which the signals so far would be sent at exactly the allowed rate.
/// Returns RATE_LIMITED if this time would be more than `BURST` seconds after `now`.
fn next_signal(from: &CallParticipant, now: DateTime<Utc>, per_second: u32) -> Result<DateTime<Utc>> {
    let interval = TimeDelta::seconds(1) / i32::try_from(per_second).unwrap_or(i32::MAX);
    let until = from.signals_until.max(now) + interval;
    let ahead = until - now - TimeDelta::seconds(1) * BURST;
    match ahead.to_std() {
        Ok(wait) if !wait.is_zero() => {
            Err(Error::RateLimited("CALL_SIGNALS_PER_SECOND", wait, "This device sends too many signals."))
        }
        _ => Ok(until),
    }
}

/// Checks that a device has room for one more waiting signal. Returns RATE_LIMITED if the device has no room.
fn check_space(waiting: Waiting, content: &Content, settings: &CallSettings) -> Result<()> {
    if waiting.count >= settings.call_max_pending_signals {
        let full = "Too many signals wait for that device.";
        return Err(Error::RateLimited("CALL_MAX_PENDING_SIGNALS", FULL_WAIT, full));
    }
    let bytes = usize::try_from(waiting.bytes).unwrap_or(usize::MAX).saturating_add(content.bytes());
    if bytes > settings.call_max_pending_bytes {
        let full = "The signals that wait for that device are too large together.";
        return Err(Error::RateLimited("CALL_MAX_PENDING_BYTES", FULL_WAIT, full));
    }
    Ok(())
}

fn check_content(check: &mut Check, content: &Content) {
    if let (Some(kind), Some(sdp)) = (content.sdp_type, &content.sdp) {
        if sdp.len() > MAX_SDP {
            check.fail("signal.description.sdp", format!("A description has at most {MAX_SDP} bytes."));
        } else if !is_description(kind, sdp) {
            check.fail(
                "signal.description.sdp",
                "A description must begin with v=0. Only that of a ROLLBACK may be empty.",
            );
        }
    }
    if let Some(candidate) = &content.candidate {
        if candidate.len() > MAX_CANDIDATE {
            check.fail("signal.candidate.candidate", format!("A candidate has at most {MAX_CANDIDATE} bytes."));
        } else if !candidate.is_empty() && !is_candidate(candidate) {
            let form =
                "A candidate must follow RFC 8839, such as candidate:1 1 udp 2113937151 192.0.2.1 54400 typ host.";
            check.fail("signal.candidate.candidate", form);
        }
    }
    let plain = |text: &str, max: usize| text.len() <= max && !text.contains(char::is_control);
    if content.sdp_mid.as_ref().is_some_and(|mid| !plain(mid, MAX_MID)) {
        check.fail("signal.candidate.sdpMid", format!("An sdpMid must be one line of at most {MAX_MID} bytes."));
    }
    if content.sdp_m_line_index.is_some_and(|index| u16::try_from(index).is_err()) {
        check.fail("signal.candidate.sdpMLineIndex", "An sdpMLineIndex must be a number from 0 to 65535.");
    }
    if content.username_fragment.as_ref().is_some_and(|fragment| !plain(fragment, MAX_UFRAG)) {
        let message = format!("A usernameFragment must be one line of at most {MAX_UFRAG} bytes.");
        check.fail("signal.candidate.usernameFragment", message);
    }
}

/// Whether a text is a session description: whether it begins with the version line of RFC 8866, section 5.1. The text
/// of a ROLLBACK may also be empty.
fn is_description(kind: SdpType, sdp: &str) -> bool {
    let versioned = sdp.strip_prefix("v=0").is_some_and(|rest| rest.starts_with(['\r', '\n']));
    (versioned && !sdp.contains('\0')) || (kind == SdpType::Rollback && sdp.is_empty())
}

/// Whether a text has the fields that RFC 8839, section 5.1, requires of every candidate: foundation, component,
/// transport, priority, address, port and type. The address may also be a host name, such as an mDNS name.
fn is_candidate(text: &str) -> bool {
    let Some(fields) = text.strip_prefix("candidate:") else { return false };
    if text.contains(char::is_control) {
        return false;
    }
    let fields: Vec<_> = fields.split(' ').collect();
    let [foundation, component, transport, priority, address, port, typ, kind, ..] = fields.as_slice() else {
        return false;
    };
    let number = |text: &str, max: u32| text.parse::<u32>().is_ok_and(|number| number <= max);
    (1..=32).contains(&foundation.len())
        && number(component, 256)
        && !transport.is_empty()
        && number(priority, u32::MAX)
        && !address.is_empty()
        && number(port, u16::MAX.into())
        && *typ == "typ"
        && !kind.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_of_browsers_are_valid_and_malformed_ones_are_not() {
        for good in [
            "candidate:1 1 udp 2113937151 192.0.2.1 54400 typ host",
            "candidate:842163049 1 udp 1677729535 203.0.113.7 50000 typ srflx raddr 0.0.0.0 rport 0 generation 0 ufrag x",
            "candidate:0 1 UDP 2122187007 5b5e6a9c-0000-4000-8000-000000000000.local 51472 typ host",
            "candidate:3 1 tcp 1518280447 2001:db8::1 9 typ host tcptype active",
        ] {
            assert!(is_candidate(good), "{good}");
        }
        for bad in [
            "candidate:",
            "a=candidate:1 1 udp 1 192.0.2.1 1 typ host",
            "candidate:1 1 udp 2113937151 192.0.2.1 54400",
            "candidate:1 1 udp 2113937151 192.0.2.1 99999 typ host",
            "candidate:1 x udp 2113937151 192.0.2.1 54400 typ host",
            "candidate:1 1 udp 2113937151 192.0.2.1 54400 typ host\r\n",
            "hello",
        ] {
            assert!(!is_candidate(bad), "{bad}");
        }
    }

    #[test]
    fn descriptions_must_begin_with_the_version_line() {
        for (kind, sdp, good) in [
            (SdpType::Offer, "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\n", true),
            (SdpType::Offer, "v=0", false),
            (SdpType::Offer, "v=01\r\n", false),
            (SdpType::Answer, "", false),
            (SdpType::Rollback, "", true),
            (SdpType::Answer, "v=0\r\n\0", false),
        ] {
            assert_eq!(is_description(kind, sdp), good, "{sdp:?}");
        }
    }
}
