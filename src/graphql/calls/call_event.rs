//! What is heard of calls, in `inbox` and in `callEvents`.

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

/// It rings for the viewer, until it is answered, declined or over, or `ringsUntil` has passed.
#[derive(SimpleObject)]
pub struct CallRinging {
    call: Call,
}

/// Answered, by whichever session: every other ringing session of that user stops.
#[derive(SimpleObject)]
pub struct CallAnswered {
    call: Call,
    participant: CallParticipant,
}

/// The session is in the call no more, as also one whose user takes no part in the conversation any more. Of the viewer's
/// own it may also tell that the call was declined there: every other ringing session stops.
#[derive(SimpleObject)]
pub struct CallLeft {
    call: Call,
    participant: CallParticipant,
}

/// It is over. Or, where its `state` is another, it rings for the viewer no more: time is up in a group that talks, or
/// the viewer was removed.
#[derive(SimpleObject)]
pub struct CallEnded {
    call: Call,
}

/// As CallLeft, of a device whose account was deleted.
#[derive(SimpleObject)]
pub struct CallSessionGone {
    call: Call,
    session_id: ID,
}

/// What there is as the subscription goes live: whatever changes from here on is an event. What a device takes for a ring
/// or for its call, and is not in here, is over.
#[derive(SimpleObject)]
pub struct CallsCaughtUp {
    /// Those that ring for the viewer, each of which CallRinging has told of just before.
    ringing: Vec<Call>,
    /// The one that this session takes part in. Where a page knows nothing of it the page was loaded anew, or another tab
    /// has it: offer to leave it.
    current: Option<Call>,
}

/// For this session alone.
#[derive(SimpleObject)]
pub struct CallSignalReceived {
    /// The signal's own: one that comes again after a reconnect has the same.
    id: ID,
    call: Call,
    from: CallParticipant,
    signal: CallSignal,
}

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
    /// None where what it tells of is gone by now.
    pub(super) async fn load(loaders: &Loaders, event: Event) -> Result<Option<Self>> {
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
                let message = "Changes were missed. Subscribe again.";
                return Err(Error::new(ErrorCode::Unavailable, message));
            }
        })
    }

    /// As the viewer may see it: whoever was removed hears that they are out of the call, and nothing else of it.
    async fn load_for(loaders: &Loaders, viewer: UserId, event: Event) -> Result<Option<Self>> {
        let Some(mut loaded) = Self::load(loaders, event).await? else { return Ok(None) };
        if let Self::Left(CallLeft { call, .. })
        | Self::Gone(CallSessionGone { call, .. })
        | Self::Ended(CallEnded { call }) = &mut loaded
            && loaders.load(VisibleCallKey(viewer, call.call_id())).await?.is_none()
        {
            call.reduce();
        }
        Ok(Some(loaded))
    }

    /// None for what is for one session alone.
    pub(super) fn for_inbox(self) -> Option<InboxEvent> {
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

/// Whether the user may still hear of it: a call that was answered or is over does not ring again, and one of a
/// conversation that the user has left is theirs no more.
pub(super) async fn concerns(lookups: &Lookups, user: UserId, change: &Change) -> bool {
    let call = match *change {
        Change::CallRinging { call, .. } => {
            return lookups.rings().get(RingKey(user, call)).await.is_ok_and(|it| it.is_some());
        }
        Change::CallEnded { call, .. } => Some(call),
        Change::CallLeft { participant, .. } => {
            let row = lookups.call_participants().get(participant).await;
            row.ok().flatten().map(|row| row.call_id)
        }
        _ => return true,
    };
    let Some(call) = call else { return false };
    lookups.calls().get(VisibleCallKey(user, call)).await.is_ok_and(|it| it.is_some())
}

/// What a call had or has of a device.
enum Device {
    Of(Call, CallParticipant),
    /// The session of an account that is deleted.
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

#[expect(clippy::unused_async, reason = "the macro takes no other")]
#[GraphqlSubscription]
impl CallSubscription {
    /// Rings, answers, signals and ends, for this session: first the calls that ring for the viewer now, CallsCaughtUp,
    /// and the signals that wait for this session, then live. Signals are in order, each once; after a reconnect those
    /// of the last minute or so come again, with the same id. One subscription for each session. It ends with
    /// UNAVAILABLE where some were missed: subscribe again.
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
