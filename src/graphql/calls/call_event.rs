//! Events of calls, for the subscriptions `inbox` and `callEvents`.

use async_graphql::{Context, ID, SimpleObject, Subscription as GraphqlSubscription, Union};
use async_stream::stream;
use futures_util::future::try_join_all;
use futures_util::{Stream, StreamExt as _};

use super::call::{Call, CallParticipant, RingKey, VisibleCallKey};
use super::call_signal::CallSignal;
use crate::domain::calls::call_events::CallEvent as Event;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::{Error, ErrorCode, Result};
use crate::graphql::event::InboxEvent;
use crate::graphql::loaders::Loaders;
use crate::graphql::lookups::Lookups;
use crate::ids::{CallId, CallParticipantId, UserId};
use crate::log::Change;

/// A call rings for the viewer. The call stops ringing at the event CallAnswered or CallLeft of the viewer, at the
/// event CallEnded, or at the time `Call.ringsUntil`.
#[derive(SimpleObject)]
pub struct CallRinging {
    /// The call that rings.
    call: Call,
}

/// A device joined a call. If the call rings on other devices of the same user, those devices stop ringing.
#[derive(SimpleObject)]
pub struct CallAnswered {
    /// The call.
    call: Call,
    /// The device that joined.
    participant: CallParticipant,
}

/// A device left a call, or its user is no longer a participant of the conversation. A CallLeft event of the viewer can
/// also mean that the viewer declined the call, which then stops ringing on all devices of the viewer.
#[derive(SimpleObject)]
pub struct CallLeft {
    /// The call.
    call: Call,
    /// The device that left or declined.
    participant: CallParticipant,
}

/// A call ended. If the `state` of the call is not ENDED, the call only stopped ringing for the viewer: the ringing
/// timed out while other users are in the call, or the viewer is no longer a participant of the conversation.
#[derive(SimpleObject)]
pub struct CallEnded {
    /// The call.
    call: Call,
}

/// A device left a call because the account of its user was deleted. This event replaces CallLeft, which needs a user.
#[derive(SimpleObject)]
pub struct CallSessionGone {
    /// The call.
    call: Call,
    /// Id of the session that was in the call.
    session_id: ID,
}

/// The state of the viewer's calls when `callEvents` becomes live. Every later change is sent as an event. If a client
/// shows a call as ringing or ongoing that is not listed here, that call has stopped ringing or has ended.
#[derive(SimpleObject)]
pub struct CallsCaughtUp {
    /// The calls that ring for the viewer. A CallRinging event was sent for each of them just before.
    ringing: Vec<Call>,
    /// The call that this session is in. Null if the session is in no call. If the client does not know the call, the
    /// page was reloaded or another tab is in the call. The client should then offer to leave the call.
    current: Option<Call>,
}

/// A WebRTC signal for this session from another device in the call.
#[derive(SimpleObject)]
pub struct CallSignalReceived {
    /// Id of the signal. A signal that is delivered again after a reconnect has the same id.
    id: ID,
    /// The call.
    call: Call,
    /// The device that sent the signal.
    from: CallParticipant,
    /// The content of the signal.
    signal: CallSignal,
}

/// An event of the `callEvents` subscription.
#[derive(Union)]
pub enum CallEvent {
    Ringing(CallRinging),
    Answered(CallAnswered),
    Left(CallLeft),
    Gone(CallSessionGone),
    Ended(CallEnded),
    CaughtUp(CallsCaughtUp),
    Signal(CallSignalReceived),
}

impl CallEvent {
    /// Loads the objects of an event and makes the event for clients. None if an object no longer exists. Fails with
    /// UNAVAILABLE if events were missed.
    pub(in crate::graphql) async fn load(loaders: &Loaders, event: Event) -> Result<Option<Self>> {
        Ok(match event {
            Event::Ringing(call) => {
                loaders.load(call).await?.map(|row| Self::Ringing(CallRinging { call: row.into() }))
            }
            Event::Ended(call) => loaders.load(call).await?.map(|row| Self::Ended(CallEnded { call: row.into() })),
            Event::Answered(id) => match device(loaders, id).await? {
                Some(Device::Of(call, participant)) => Some(Self::Answered(CallAnswered { call, participant })),
                _ => None,
            },
            Event::Left(id) => device(loaders, id).await?.map(|device| match device {
                Device::Of(call, participant) => Self::Left(CallLeft { call, participant }),
                Device::Gone(call, session_id) => Self::Gone(CallSessionGone { call, session_id }),
            }),
            Event::CaughtUp(snapshot) => {
                let ringing = try_join_all(snapshot.ringing.into_iter().map(|id| loaders.load(id))).await?;
                let current = match snapshot.current {
                    Some(id) => loaders.load(id).await?,
                    None => None,
                };
                let ringing = ringing.into_iter().flatten().map(Call::from).collect();
                Some(Self::CaughtUp(CallsCaughtUp { ringing, current: current.map(Call::from) }))
            }
            Event::Signal(signal) => match device(loaders, signal.from_id).await? {
                Some(Device::Of(call, from)) => {
                    let id = signal.seq.to_string().into();
                    Some(Self::Signal(CallSignalReceived { id, call, from, signal: signal.content.into() }))
                }
                _ => None,
            },
            Event::Missed => {
                let message = "Some events were missed. Subscribe again.";
                return Err(Error::new(ErrorCode::Unavailable, message));
            }
        })
    }

    /// Loads an event for one viewer, like `load`. A viewer who can no longer see the call gets the event without the
    /// call's conversation and devices.
    async fn load_for(loaders: &Loaders, viewer: UserId, event: Event) -> Result<Option<Self>> {
        let Some(mut loaded) = Self::load(loaders, event).await? else { return Ok(None) };
        if let Self::Left(CallLeft { call, .. })
        | Self::Gone(CallSessionGone { call, .. })
        | Self::Ended(CallEnded { call }) = &mut loaded
            && loaders.load(VisibleCallKey(viewer, call.call_id())).await?.is_none()
        {
            call.hide_details();
        }
        Ok(Some(loaded))
    }

    /// Returns the event for the `inbox` subscription. None if the event is only for one session.
    pub(in crate::graphql) fn for_inbox(self) -> Option<InboxEvent> {
        Some(match self {
            Self::Ringing(event) => event.into(),
            Self::Answered(event) => event.into(),
            Self::Left(event) => event.into(),
            Self::Gone(event) => event.into(),
            Self::Ended(event) => event.into(),
            Self::CaughtUp(_) | Self::Signal(_) => return None,
        })
    }
}

/// Returns whether to deliver an event of a call that is addressed to one user. False for CallRinging if the call no
/// longer rings for the user, for CallLeft and CallEnded if the user can no longer see the call, and if the check
/// fails.
pub(in crate::graphql) async fn should_deliver(lookups: &Lookups, user: UserId, change: &Change) -> bool {
    let call = match *change {
        Change::CallRinging { call, .. } => {
            return lookups.rings().get(RingKey(user, call)).await.is_ok_and(|row| row.is_some());
        }
        Change::CallEnded { call, .. } => Some(call),
        Change::CallLeft { participant, .. } => {
            let row = lookups.call_participants().get(participant).await;
            row.ok().flatten().map(|row| row.call_id)
        }
        _ => return true,
    };
    let Some(call) = call else { return false };
    lookups.calls().get(VisibleCallKey(user, call)).await.is_ok_and(|row| row.is_some())
}

/// A device that is or was in a call.
enum Device {
    Of(Call, CallParticipant),
    /// The account of the device was deleted. Contains the call and the id of the device's session.
    Gone(Call, ID),
}

async fn device(loaders: &Loaders, id: CallParticipantId) -> Result<Option<Device>> {
    let Some(row) = loaders.load(id).await? else { return Ok(None) };
    let id: CallId = row.call_id;
    let Some(call) = loaders.load(id).await?.map(Call::from) else { return Ok(None) };
    Ok(Some(match loaders.user(row.user_id).await? {
        Some(_) => Device::Of(call, CallParticipant(row)),
        None => Device::Gone(call, row.session_id.to_string().into()),
    }))
}

#[derive(Default)]
pub struct CallSubscription;

#[expect(clippy::unused_async, reason = "the macro requires async functions")]
#[GraphqlSubscription]
impl CallSubscription {
    /// Events of the viewer's calls, and the WebRTC signals for this session. The stream starts with a CallRinging for
    /// each call that rings now, then CallsCaughtUp, then the signals that wait for this session. Live events follow.
    /// Signals arrive in the order in which they were sent. After a reconnect, the signals of about the last minute are
    /// sent again with the same ids. Open this subscription once in each session. Errors: UNAVAILABLE ends the
    /// subscription if events were missed: subscribe again.
    async fn call_events(&self, ctx: &Context<'_>) -> Result<impl Stream<Item = Result<CallEvent>> + use<>> {
        let viewer = ctx.viewer()?;
        let events = ctx.app().calls().events(viewer);
        let loaders = ctx.loaders().clone();
        Ok(stream! {
            let mut events = Box::pin(events);
            while let Some(event) = events.next().await {
                if let Some(event) = CallEvent::load_for(&loaders, viewer.user, event).await.transpose() {
                    yield event;
                }
            }
        })
    }
}
