//! Permissions: which role allows which action in a conversation. A test compares this table with
//! `docs/permissions.md`.

use super::error::{Error, Result};
use crate::store::conversations::conversations::ConversationKind;
use crate::store::conversations::participants::ParticipantRole;

/// An action that only some roles allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Change the title, the topic or the avatar.
    Rename,
    /// Set whether new participants see earlier messages.
    SetHistory,
    AddParticipant,
    RemoveMember,
    RemoveAdmin,
    RemoveOwner,
    SetRole,
    /// Create, list and revoke invites.
    Invite,
    /// List banned users and lift bans.
    Ban,
    /// Pin and unpin messages.
    Pin,
}

impl Action {
    pub fn remove(subject: ParticipantRole) -> Self {
        match subject {
            ParticipantRole::Owner => Self::RemoveOwner,
            ParticipantRole::Admin => Self::RemoveAdmin,
            ParticipantRole::Member => Self::RemoveMember,
        }
    }

    /// Returns whether the owner, an admin and a member of a group have permission for the action, and the error
    /// message for a participant without permission.
    const fn row(self) -> ([bool; 3], &'static str) {
        match self {
            Self::Rename => {
                ([true, true, false], "Only the owner and admins may change the title, the topic and the avatar.")
            }
            Self::SetHistory => {
                ([true, false, false], "Only the owner may set whether newcomers see earlier messages.")
            }
            Self::AddParticipant => ([true, true, false], "Only the owner and admins may add participants."),
            Self::RemoveMember => ([true, true, false], "Only the owner and admins may remove a member."),
            Self::RemoveAdmin => ([true, false, false], "Only the owner may remove an admin."),
            Self::RemoveOwner => ([false, false, false], "Nobody may remove the owner."),
            Self::SetRole => ([true, false, false], "Only the owner may change roles."),
            Self::Invite => ([true, true, false], "Only the owner and admins may invite."),
            Self::Ban => ([true, true, false], "Only the owner and admins may see and lift bans."),
            Self::Pin => ([true, true, false], "Only the owner and admins may pin messages."),
        }
    }
}

/// Whether the role allows the action. In a direct conversation, both participants may pin messages, and every other
/// action is forbidden.
pub fn may(kind: ConversationKind, role: ParticipantRole, action: Action) -> bool {
    let ([owner, admin, member], _) = action.row();
    match (kind, role) {
        (ConversationKind::Direct, _) => action == Action::Pin,
        (ConversationKind::Group, ParticipantRole::Owner) => owner,
        (ConversationKind::Group, ParticipantRole::Admin) => admin,
        (ConversationKind::Group, ParticipantRole::Member) => member,
    }
}

/// Returns FORBIDDEN if the role does not allow the action.
pub fn check(kind: ConversationKind, role: ParticipantRole, action: Action) -> Result<()> {
    if may(kind, role, action) { Ok(()) } else { Err(forbidden(action)) }
}

/// Returns the error for a participant whose role does not allow the action.
pub fn forbidden(action: Action) -> Error {
    Error::Forbidden(action.row().1)
}
