//! Signals between two devices in a call.

use async_graphql::{Context, Enum, ID, InputObject, Object, OneofObject, SimpleObject};

use crate::domain::calls::call_signals::NewSignal;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::{Error, Result};
use crate::graphql::scalars::parse_id;
use crate::store::calls::call_signals::{Content, SdpType as SdpTypeRow};

#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "SdpTypeRow")]
pub enum SdpType {
    Offer,
    Answer,
    Pranswer,
    Rollback,
}

/// As `RTCSessionDescription` has it.
#[derive(SimpleObject)]
pub struct SessionDescription {
    #[graphql(name = "type")]
    kind: SdpType,
    sdp: String,
}

/// As `RTCIceCandidate` has it. An empty candidate is the end of candidates.
#[derive(SimpleObject)]
pub struct IceCandidate {
    candidate: String,
    sdp_mid: Option<String>,
    sdp_m_line_index: Option<i32>,
    username_fragment: Option<String>,
}

/// One WebRTC description or candidate on its way between two sessions.
#[derive(SimpleObject)]
pub struct CallSignal {
    description: Option<SessionDescription>,
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

#[derive(InputObject)]
pub struct SessionDescriptionInput {
    #[graphql(name = "type")]
    kind: SdpType,
    /// At most 64 KiB; begins with `v=0`, and is empty for a ROLLBACK alone.
    sdp: String,
}

#[derive(InputObject)]
pub struct IceCandidateInput {
    /// At most 1 KiB; empty for the end of candidates.
    candidate: String,
    sdp_mid: Option<String>,
    sdp_m_line_index: Option<i32>,
    username_fragment: Option<String>,
}

#[derive(OneofObject)]
pub enum CallSignalInput {
    Description(SessionDescriptionInput),
    Candidate(IceCandidateInput),
}

#[derive(InputObject)]
pub struct SendCallSignalInput {
    call_id: ID,
    /// One of the call's `participants`.
    to_session_id: ID,
    signal: CallSignalInput,
}

#[derive(SimpleObject)]
pub struct SendCallSignalPayload {
    call_id: ID,
}

#[derive(Default)]
pub struct CallSignalMutation;

#[Object]
impl CallSignalMutation {
    /// From one device in a call to another, in order. It waits until that subscribes to `callEvents`, for 90 seconds
    /// unless the server is set otherwise. NOT_FOUND where the other is not in the call, FORBIDDEN where this device is
    /// not; CONFLICT has the reason CALL_OVER.
    async fn send_call_signal(&self, ctx: &Context<'_>, input: SendCallSignalInput) -> Result<SendCallSignalPayload> {
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
