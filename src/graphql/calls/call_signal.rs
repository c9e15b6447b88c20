//! WebRTC signals between two devices in a call.

use async_graphql::{Context, Enum, ID, InputObject, Object, OneofObject, SimpleObject};

use crate::domain::calls::call_signals::NewSignal;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::{Error, Result};
use crate::graphql::scalars::parse_id;
use crate::store::calls::call_signals::{Content, SdpType as SdpTypeRow};

/// Type of a session description, like WebRTC's RTCSdpType.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "SdpTypeRow")]
pub enum SdpType {
    /// Proposes a connection or a change of it.
    Offer,
    /// Final answer to an offer.
    Answer,
    /// Provisional answer to an offer. An ANSWER can follow.
    Pranswer,
    /// Withdraws an offer.
    Rollback,
}

/// WebRTC session description, like RTCSessionDescription.
#[derive(SimpleObject)]
pub struct SessionDescription {
    /// Role of the description in the negotiation.
    #[graphql(name = "type")]
    kind: SdpType,
    /// Text in the Session Description Protocol. The text can be empty for a ROLLBACK.
    sdp: String,
}

/// WebRTC ICE candidate, like RTCIceCandidate: an address at which a device may be reachable.
#[derive(SimpleObject)]
pub struct IceCandidate {
    /// Candidate in the syntax of RFC 8839. An empty text marks the end of the candidates.
    candidate: String,
    /// Identification tag of the media section that the candidate belongs to. Null if the sender omitted it.
    sdp_mid: Option<String>,
    /// Index of the media section that the candidate belongs to, from 0. Null if the sender omitted it.
    sdp_m_line_index: Option<i32>,
    /// ICE username fragment of the sender. Null if the sender omitted it.
    username_fragment: Option<String>,
}

/// WebRTC signal from one device to another. Exactly one of its fields is set.
#[derive(SimpleObject)]
pub struct CallSignal {
    /// Session description. Null if the signal is a candidate.
    description: Option<SessionDescription>,
    /// ICE candidate. Null if the signal is a description.
    candidate: Option<IceCandidate>,
}

impl From<Content> for CallSignal {
    fn from(content: Content) -> Self {
        let Content { sdp_type, sdp, candidate, sdp_mid, sdp_m_line_index, username_fragment } = content;
        let description = sdp_type.zip(sdp).map(|(kind, sdp)| SessionDescription { kind: kind.into(), sdp });
        let candidate =
            candidate.map(|candidate| IceCandidate { candidate, sdp_mid, sdp_m_line_index, username_fragment });
        Self { description, candidate }
    }
}

/// WebRTC session description to send, like RTCSessionDescription.
#[derive(InputObject)]
pub struct SessionDescriptionInput {
    /// Role of the description in the negotiation.
    #[graphql(name = "type")]
    kind: SdpType,
    /// Text in the Session Description Protocol, at most 64 KiB. The text begins with `v=0`, or is empty for a
    /// ROLLBACK.
    sdp: String,
}

/// WebRTC ICE candidate to send, like RTCIceCandidate.
#[derive(InputObject)]
pub struct IceCandidateInput {
    /// Candidate in the syntax of RFC 8839, at most 1024 bytes. An empty text marks the end of the candidates.
    candidate: String,
    /// Identification tag of the media section that the candidate belongs to: one line of at most 256 bytes.
    sdp_mid: Option<String>,
    /// Index of the media section that the candidate belongs to, 0 to 65535.
    sdp_m_line_index: Option<i32>,
    /// ICE username fragment of the sender: one line of at most 256 bytes.
    username_fragment: Option<String>,
}

/// WebRTC signal to send: either a description or a candidate.
#[derive(OneofObject)]
pub enum CallSignalInput {
    /// A session description.
    Description(SessionDescriptionInput),
    /// An ICE candidate.
    Candidate(IceCandidateInput),
}

/// Input of the `sendCallSignal` mutation.
#[derive(InputObject)]
pub struct SendCallSignalInput {
    /// Id of the call that both devices are in.
    call_id: ID,
    /// Id of the session of the receiving device, from `Call.participants`.
    to_session_id: ID,
    /// The signal to send.
    signal: CallSignalInput,
}

/// Result of the `sendCallSignal` mutation.
#[derive(SimpleObject)]
pub struct SendCallSignalPayload {
    /// Id of the call.
    call_id: ID,
}

#[derive(Default)]
pub struct CallSignalMutation;

#[Object]
impl CallSignalMutation {
    /// Sends a WebRTC signal from this device to another device in the call. Signals are delivered in the order in
    /// which they were sent. A signal waits up to 90 seconds, by default, for the receiver to subscribe to
    /// `callEvents`. Errors: NOT_FOUND if the viewer cannot see the call or the receiver is not in the call. FORBIDDEN
    /// if this device is not in the call. BAD_USER_INPUT if the signal is malformed or too large. CONFLICT with the
    /// reason CALL_OVER in `extensions.reason`. RATE_LIMITED if the device sends too fast or too many signals wait for
    /// the receiver.
    async fn send_call_signal(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The signal and its receiver.")] input: SendCallSignalInput,
    ) -> Result<SendCallSignalPayload> {
        let viewer = ctx.viewer()?;
        let call_id = input.call_id.clone();
        ctx.app().calls().signal(viewer, input.try_into()?).await?;
        Ok(SendCallSignalPayload { call_id })
    }
}

impl TryFrom<SendCallSignalInput> for NewSignal {
    type Error = Error;

    fn try_from(input: SendCallSignalInput) -> Result<Self> {
        let content = match input.signal {
            CallSignalInput::Description(SessionDescriptionInput { kind, sdp }) => {
                Content { sdp_type: Some(kind.into()), sdp: Some(sdp), ..Content::default() }
            }
            CallSignalInput::Candidate(input) => Content {
                candidate: Some(input.candidate),
                sdp_mid: input.sdp_mid,
                sdp_m_line_index: input.sdp_m_line_index,
                username_fragment: input.username_fragment,
                ..Content::default()
            },
        };
        Ok(Self {
            call: parse_id(&input.call_id, "callId")?,
            to: parse_id(&input.to_session_id, "toSessionId")?,
            content,
        })
    }
}
