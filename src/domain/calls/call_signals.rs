//! Signals: what devices in a call tell each other to connect. Checked for size and form, and passed on as they are.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::call_state;
use super::calls::Calls;
use crate::config::CallSettings;
use crate::domain::error::{Error, Result};
use crate::domain::validate::Check;
use crate::domain::viewer::Viewer;
use crate::ids::{CallId, SessionId};
use crate::log::{Change, Transaction};
use crate::store::calls::call_participants::{self, CallParticipant};
use crate::store::calls::call_signals::{self, Content, SdpType, Waiting};

/// Bytes of a session description; one of a browser with every codec has some 10 KiB.
const MAX_SDP: usize = 64 * 1024;
/// Bytes of a candidate; a long one has some 200.
const MAX_CANDIDATE: usize = 1024;
/// Bytes of a media stream's identification.
const MAX_MID: usize = 256;
/// RFC 8839, section 5.4: an ice-ufrag has at most 256 characters.
const MAX_UFRAG: usize = 256;
/// Seconds' worth of signals that a device may send at once: a newcomer has candidates for each of the others.
const BURST: i32 = 4;
/// When it is worth trying again where too many are waiting.
const FULL_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct NewSignal {
    pub call: CallId,
    pub to: SessionId,
    pub content: Content,
}

impl Calls<'_> {
    /// It waits for the device, or the sender is told why not.
    pub async fn signal(&self, viewer: Viewer, signal: NewSignal) -> Result<()> {
        let mut check = Check::default();
        check_content(&mut check, &signal.content);
        if signal.to == viewer.session {
            check.fail("toSessionId", "A signal is for another device.");
        }
        check.done()?;
        let mut tx = self.core.base.log.begin().await?;
        let done = self.signal_in(&mut tx, viewer, &signal).await;
        tx.finish(done).await
    }

    async fn signal_in(&self, tx: &mut Transaction<'_>, viewer: Viewer, signal: &NewSignal) -> Result<()> {
        let settings = &self.core.settings;
        let held = call_state::hold(tx, viewer, signal.call).await?;
        held.check_live()?;
        let from = held.of_session(viewer.session);
        let from = from.ok_or(Error::Forbidden("Only a device in the call can send signals."))?;
        let to = held.of_session(signal.to).ok_or(Error::NotFound("That device is not in the call."))?;
        let until = next_signal(from, held.now, settings.call_signals_per_second)?;
        check_room(call_signals::waiting(tx.conn(), to.id).await?, &signal.content, settings)?;
        call_participants::set_signals_until(tx.conn(), from.id, until).await?;
        call_signals::insert(tx.conn(), from.id, to.id, &signal.content, held.now).await?;
        tx.record(Change::CallSignalled { user: to.user_id, session: to.session_id });
        Ok(())
    }
}

/// By when the signals of the device would have come at the rate that is allowed, this one included: no further ahead
/// than what may come at once. The generic cell rate algorithm, of ITU-T I.371.
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

/// Whether one more may wait for a device.
fn check_room(waiting: Waiting, content: &Content, settings: &CallSettings) -> Result<()> {
    if waiting.count >= settings.call_max_pending_signals {
        let full = "Too many signals are waiting for that device.";
        return Err(Error::RateLimited("CALL_MAX_PENDING_SIGNALS", FULL_WAIT, full));
    }
    let bytes = usize::try_from(waiting.bytes).unwrap_or(usize::MAX).saturating_add(content.bytes());
    if bytes > settings.call_max_pending_bytes {
        let full = "The signals that are waiting for that device are too large for one more.";
        return Err(Error::RateLimited("CALL_MAX_PENDING_BYTES", FULL_WAIT, full));
    }
    Ok(())
}

fn check_content(check: &mut Check, content: &Content) {
    if let (Some(kind), Some(sdp)) = (content.sdp_type, &content.sdp) {
        if sdp.len() > MAX_SDP {
            check.fail("signal.description.sdp", format!("A description has at most {MAX_SDP} bytes."));
        } else if !is_description(kind, sdp) {
            check.fail("signal.description.sdp", "A description begins with v=0; only that of a ROLLBACK is empty.");
        }
    }
    if let Some(candidate) = &content.candidate {
        if candidate.len() > MAX_CANDIDATE {
            check.fail("signal.candidate.candidate", format!("A candidate has at most {MAX_CANDIDATE} bytes."));
        } else if !candidate.is_empty() && !is_candidate(candidate) {
            let form =
                "A candidate is as RFC 8839 has it, such as candidate:1 1 udp 2113937151 192.0.2.1 54400 typ host.";
            check.fail("signal.candidate.candidate", form);
        }
    }
    let plain = |text: &str, max: usize| text.len() <= max && !text.contains(char::is_control);
    if content.sdp_mid.as_ref().is_some_and(|mid| !plain(mid, MAX_MID)) {
        check.fail("signal.candidate.sdpMid", format!("An sdpMid is one line of at most {MAX_MID} bytes."));
    }
    if content.sdp_m_line_index.is_some_and(|index| u16::try_from(index).is_err()) {
        check.fail("signal.candidate.sdpMLineIndex", "An sdpMLineIndex is a number from 0 to 65535.");
    }
    if content.username_fragment.as_ref().is_some_and(|fragment| !plain(fragment, MAX_UFRAG)) {
        let message = format!("A usernameFragment is one line of at most {MAX_UFRAG} bytes.");
        check.fail("signal.candidate.usernameFragment", message);
    }
}

/// RFC 8866, section 5.1.
fn is_description(kind: SdpType, sdp: &str) -> bool {
    let versioned = sdp.strip_prefix("v=0").is_some_and(|rest| rest.starts_with(['\r', '\n']));
    (versioned && !sdp.contains('\0')) || (kind == SdpType::Rollback && sdp.is_empty())
}

/// RFC 8839, section 5.1, as far as it is the same for all: foundation, component, transport, priority, address, port,
/// and what type it is of. The address may be a name, such as mDNS has.
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
    fn candidates_are_as_browsers_write_them() {
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
    fn descriptions_begin_with_their_version() {
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
