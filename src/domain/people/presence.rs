//! Presence: which users are online, and which other users may see this.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_stream::stream;
use chrono::{DateTime, Utc};
use futures_util::Stream;
use tokio::sync::broadcast::{self, error::RecvError};
use tracing::warn;

use super::core::PeopleCore;
use super::privacy::Privacy;
use super::users::check_existing;
use crate::domain::error::{Error, Result};
use crate::domain::viewer::Viewer;
use crate::ids::UserId;
use crate::limiter::Rate;
pub use crate::live::{Connected, Status};
use crate::live::{Live, Subject, Topic};
use crate::store::people::users;
use crate::task::retry;

/// Maximum number of users in one subscription to presence.
pub const MAX_WATCHED: usize = 100;

pub struct Presences<'a> {
    pub(in crate::domain) core: &'a Arc<PeopleCore>,
}

/// The presence of a user, as a certain viewer may see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    pub status: Status,
    /// When the user was last connected. None while the user is connected, if the user has never been connected, or if
    /// the viewer may not see the time.
    pub last_seen_at: Option<DateTime<Utc>>,
}

impl Presence {
    const HIDDEN: Self = Self { status: Status::Offline, last_seen_at: None };
}

impl Presences<'_> {
    /// Registers an open connection of the viewer's device. The user is online until the returned value is dropped, and
    /// for PRESENCE_GRACE after that.
    pub fn connect(&self, viewer: Viewer) -> Connected {
        self.core.live.connect(viewer.user, viewer.session)
    }

    /// Sets the viewer to ONLINE or AWAY on all devices. AWAY also means that the page of the viewer's device is hidden,
    /// so that this device gets pushes. OFFLINE cannot be set, because it means that the user has no
    /// connection. A viewer without a connection stays OFFLINE.
    pub async fn set(&self, viewer: Viewer, status: Status) -> Result<Presence> {
        if status == Status::Offline {
            return Err(Error::invalid("status", "Set ONLINE or AWAY. A user without a connection is OFFLINE."));
        }
        self.core.base.check_rate(Rate::Announcements, viewer, 1)?;
        self.core.live.set_away(viewer.user, viewer.session, status == Status::Away);
        let mut presences = self.of(viewer.user, &[viewer.user]).await?;
        Ok(presences.remove(&viewer.user).unwrap_or(Presence::HIDDEN))
    }

    /// Returns the presence of each of the users, as the viewer may see it.
    pub async fn of(&self, viewer: UserId, users: &[UserId]) -> Result<HashMap<UserId, Presence>> {
        let pairs: Vec<_> = users.iter().map(|&user| (viewer, user)).collect();
        let presences = self.of_pairs(&pairs).await?;
        Ok(presences.into_iter().map(|((_, user), presence)| (user, presence)).collect())
    }

    /// Returns for each pair (viewer, user) the presence of the user, as the viewer may see it.
    pub async fn of_pairs(&self, pairs: &[(UserId, UserId)]) -> Result<HashMap<(UserId, UserId), Presence>> {
        let visible = self.visible(pairs).await?;
        let mut presences = HashMap::with_capacity(pairs.len());
        let mut unknown = HashSet::new();
        for pair in pairs {
            let (&(_, user), is_visible) = (pair, visible.contains(pair));
            let status = if is_visible { self.core.live.status(user) } else { Status::Offline };
            let is_offline = status == Status::Offline && is_visible;
            let last_seen_at = if is_offline { self.core.live.last_seen(user) } else { None };
            if is_offline && last_seen_at.is_none() {
                unknown.insert(user);
            }
            presences.insert(*pair, Presence { status, last_seen_at });
        }
        if !unknown.is_empty() {
            let unknown: Vec<_> = unknown.into_iter().collect();
            let seen = users::last_seen(&mut *self.core.base.connection().await?, &unknown).await?;
            let seen: HashMap<_, _> = seen.into_iter().collect();
            for (pair, presence) in &mut presences {
                let is_missing = presence.status == Status::Offline && presence.last_seen_at.is_none();
                if is_missing && visible.contains(pair) {
                    presence.last_seen_at = seen.get(&pair.1).copied();
                }
            }
        }
        Ok(presences)
    }

    /// Returns a stream of the current presence of each user, and then of each change that the viewer may see. The
    /// stream waits while Postgres is unavailable.
    pub async fn watch(
        &self,
        viewer: Viewer,
        ids: &[UserId],
    ) -> Result<impl Stream<Item = (UserId, Presence)> + Send + use<>> {
        if ids.is_empty() || ids.len() > MAX_WATCHED {
            return Err(Error::invalid("userIds", format!("A subscription must have 1 to {MAX_WATCHED} users.")));
        }
        check_existing(&mut *self.core.base.connection().await?, ids, "userIds").await?;
        let core = self.core.clone();
        // The set removes duplicate ids.
        let topics: HashSet<_> = ids.iter().copied().map(Topic::Presence).collect();
        let mut watch = core.live.watch(topics.into_iter().collect());
        Ok(stream! {
            let mut last_status = HashMap::new();
            loop {
                let changed: Vec<_> = watch.changed().await.into_iter().filter_map(presence_of).collect();
                let presences = Presences { core: &core }.of_with_retry(viewer.user, &changed).await;
                for user in changed {
                    // Only a status that differs from the last one is sent. It can be equal because the status has
                    // already changed back, or because the change is hidden from the viewer.
                    if let Some(&presence) = presences.get(&user)
                        && last_status.insert(user, presence.status) != Some(presence.status)
                    {
                        yield (user, presence);
                    }
                }
            }
        })
    }

    /// Same as `of`, but for streams: runs in a separate task, and retries until Postgres answers.
    async fn of_with_retry(&self, viewer: UserId, users: &[UserId]) -> HashMap<UserId, Presence> {
        retry("reading presence failed", || {
            let (core, users) = (self.core.clone(), users.to_vec());
            async move { Presences { core: &core }.of(viewer, &users).await }
        })
        .await
    }

    /// Returns the pairs (viewer, user) in which the viewer may see whether the user is online.
    async fn visible(&self, pairs: &[(UserId, UserId)]) -> Result<HashSet<(UserId, UserId)>> {
        let (own, others): (Vec<_>, Vec<_>) = pairs.iter().partition(|(viewer, user)| viewer == user);
        let mut visible = match others.as_slice() {
            [] => HashSet::new(),
            others => Privacy { core: self.core }.may_see_last_seen(others).await?,
        };
        visible.extend(own);
        Ok(visible)
    }
}

/// After each update of a user, makes the subscriptions on this node read the presence of the user again. The update
/// might have changed who may see the presence.
pub(in crate::domain) async fn refresh_presences(mut updated: broadcast::Receiver<UserId>, live: Live) {
    loop {
        match updated.recv().await {
            Ok(user) => live.notify_presence(user),
            // Subscriptions show the missed updates with the user's next change.
            Err(RecvError::Lagged(missed)) => warn!(missed, "presence may be outdated for a while"),
            Err(RecvError::Closed) => return,
        }
    }
}

fn presence_of(subject: Subject) -> Option<UserId> {
    match subject {
        Subject::Presence(user) => Some(user),
        Subject::Typing(..) | Subject::Room(..) => None,
    }
}
