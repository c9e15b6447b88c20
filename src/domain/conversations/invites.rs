//! Invites: codes with which a user can join a group.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};

use super::core::ConversationsCore;
use super::groups::{Group, filter_permitted};
use crate::domain::error::{Error, Result, Violation};
use crate::domain::messaging::system::{self, SystemEvent};
use crate::domain::permissions::{self, Action};
use crate::domain::validate::Check;
use crate::domain::viewer::Viewer;
use crate::ids::{ConversationId, InviteId, UserId};
use crate::limiter::Rate;
use crate::store::Connection;
use crate::store::conversations::conversations::{self, Conversation, ConversationKind};
use crate::store::conversations::invites::{self, Invite};
use crate::store::conversations::removed_participants;
use crate::store::messaging::messages::SystemEventKind;

/// Number of random bytes in a code: 144 bits, a length that base64 encodes without padding.
const CODE_BYTES: usize = 18;

/// Error for every code that the viewer cannot use: unknown, revoked, expired, used up, or not allowed for the viewer.
const NO_INVITE: Error = Error::NotFound("No such invite, or it is revoked, expired or used up. Ask for a new one.");

pub struct Invites<'a> {
    pub(in crate::domain) core: &'a Arc<ConversationsCore>,
}

#[derive(Debug)]
pub struct NewInvite {
    pub conversation: ConversationId,
    /// Time at which the invite expires. None if the invite does not expire.
    pub expires_at: Option<DateTime<Utc>>,
    /// Maximum number of uses. None if the number of uses is unlimited.
    pub max_uses: Option<i32>,
}

impl Invites<'_> {
    pub async fn create(&self, viewer: Viewer, new: NewInvite) -> Result<Invite> {
        let now = self.core.base.now();
        let mut check = Check::default();
        if new.expires_at.is_some_and(|at| at <= now) {
            check.fail("expiresAt", "The expiry of an invite must be in the future.");
        } else if let Some(at) = new.expires_at {
            check.time("expiresAt", at);
        }
        if new.max_uses.is_some_and(|max| max < 1) {
            check.fail("maxUses", "An invite must allow at least one use.");
        }
        check.done()?;
        self.core.base.check_rate(Rate::Invites, viewer, 1)?;
        let invite = Invite {
            id: InviteId::new(now, &self.core.base.random),
            code: URL_SAFE_NO_PAD.encode(self.core.base.random.bytes::<CODE_BYTES>()),
            conversation_id: new.conversation,
            created_by: Some(viewer.user),
            created_at: now,
            expires_at: new.expires_at,
            max_uses: new.max_uses,
            uses: 0,
        };
        let log = &self.core.base.log;
        log.transaction(async |tx| {
            let group = Group::lock(tx, viewer, invite.conversation_id).await?;
            group.check(Action::Invite)?;
            invites::insert(tx.conn(), &invite).await?;
            group.updated(tx);
            Ok(invite)
        })
        .await
    }

    /// Deletes the invite, so that its code no longer works.
    pub async fn revoke(&self, viewer: Viewer, id: InviteId) -> Result<()> {
        self.core.base.check_rate(Rate::Changes, viewer, 1)?;
        let log = &self.core.base.log;
        log.transaction(async |tx| {
            let invite = invites::by_id(tx.conn(), id).await?.ok_or(NO_INVITE)?;
            let group = match Group::lock(tx, viewer, invite.conversation_id).await {
                Err(Error::NotFound(_)) => return Err(NO_INVITE),
                group => group?,
            };
            // A participant without permission to invite users gets the same error as for an invite that does not
            // exist.
            group.check(Action::Invite).map_err(|_| NO_INVITE)?;
            if !invites::delete(tx.conn(), id).await? {
                return Err(NO_INVITE);
            }
            group.updated(tx);
            Ok(())
        })
        .await
    }

    /// Adds the viewer to the group of the invite. If the viewer is already a participant, no use is counted, so a join
    /// can be retried.
    pub async fn join(&self, viewer: Viewer, code: &str) -> Result<Conversation> {
        self.core.base.check_rate(Rate::Joins, viewer, 1)?;
        let log = &self.core.base.log;
        log.transaction(async |tx| {
            let found = by_code(tx.conn(), code).await?;
            let mut group = match Group::lock_any(tx, viewer, found.conversation_id).await {
                Err(Error::NotFound(_)) => return Err(NO_INVITE),
                group => group?,
            };
            if group.role.is_some() {
                return Ok(group.conversation);
            }
            // The invite is read again with a lock, so that concurrent joins cannot exceed `max_uses`.
            let invite =
                invites::lock(tx.conn(), found.id).await?.filter(|invite| invite.is_valid(self.core.base.now()));
            let invite = invite.ok_or(NO_INVITE)?;
            refuse_removed(tx.conn(), viewer, &invite).await?;
            if !group.has_space(&self.core.base, 1) {
                return Err(Error::Conflict(Violation::new("code", "This group is full.")));
            }
            invites::count_use(tx.conn(), invite.id).await?;
            group.admit(&self.core.base, tx, &[viewer.user]).await?;
            let joined =
                SystemEvent { kind: SystemEventKind::ParticipantJoined, actor: viewer.user, subject: None, text: None };
            system::add(&self.core.base, tx, &mut group.conversation, joined).await?;
            Ok(group.conversation)
        })
        .await
    }

    /// Reads the group to which a valid code leads. Returns NOT_FOUND if the viewer cannot join with this code.
    pub async fn preview(&self, viewer: Viewer, code: &str) -> Result<Conversation> {
        let mut connection = self.core.base.connection().await?;
        let invite = by_code(&mut connection, code).await?;
        if !invite.is_valid(self.core.base.now()) {
            return Err(NO_INVITE);
        }
        refuse_removed(&mut connection, viewer, &invite).await?;
        conversations::by_ids(&mut connection, &[invite.conversation_id]).await?.pop().ok_or(NO_INVITE)
    }

    /// Reads a page of the invites of each conversation, newest first, including invites that are used up or expired.
    /// The result leaves out conversations to which the user has no permission to invite users.
    pub async fn pages(
        &self,
        user: UserId,
        conversations: &[ConversationId],
        after: Option<(DateTime<Utc>, InviteId)>,
        limit: i64,
    ) -> Result<HashMap<ConversationId, Vec<Invite>>> {
        let mut connection = self.core.base.connection().await?;
        let allowed = filter_permitted(&mut connection, user, conversations, Action::Invite).await?;
        let mut pages: HashMap<_, Vec<_>> = allowed.iter().map(|&id| (id, Vec::new())).collect();
        for row in invites::pages(&mut connection, &allowed, after, limit).await? {
            pages.entry(row.conversation_id).or_default().push(row);
        }
        Ok(pages)
    }

    /// Reads the invites with these ids. Leaves out invites to groups in which the viewer has no permission to invite
    /// users.
    pub async fn find_many(&self, viewer: Viewer, ids: &[InviteId]) -> Result<Vec<Invite>> {
        let rows = invites::visible_to(&mut *self.core.base.connection().await?, viewer.user, ids).await?;
        let may = |role| permissions::may(ConversationKind::Group, role, Action::Invite);
        Ok(rows.into_iter().filter(|(_, role)| may(*role)).map(|(invite, _)| invite).collect())
    }
}

async fn by_code(conn: &mut Connection, code: &str) -> Result<Invite> {
    // A malformed code causes no query. It could contain a NUL, which Postgres does not accept.
    if URL_SAFE_NO_PAD.decode(code).is_err() {
        return Err(NO_INVITE);
    }
    invites::by_code(conn, code).await?.ok_or(NO_INVITE)
}

/// Returns NOT_FOUND if the viewer is banned, or was removed from the group after the invite was created.
async fn refuse_removed(conn: &mut Connection, viewer: Viewer, invite: &Invite) -> Result<()> {
    match removed_participants::of_user(conn, invite.conversation_id, viewer.user).await? {
        Some(removed) if !removed.may_use(invite) => Err(NO_INVITE),
        _ => Ok(()),
    }
}
