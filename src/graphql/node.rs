//! Global object identification, by the Relay server specification.

use std::collections::HashMap;

use async_graphql::{Context, ID, Interface, Object};
use uuid::Uuid;

use super::calls::call::Call;
use super::context::ContextExt as _;
use super::conversations::conversation::Conversation;
use super::conversations::invite::Invite;
use super::conversations::participant::Participant;
use super::error::{Error, Result};
use super::files::attachment::Attachment;
use super::messaging::message::Message;
use super::messaging::scheduled_message::ScheduledMessage;
use super::people::contact::ContactRequest;
use super::people::session::Session;
use super::people::user::User;
use crate::domain::{App, Viewer};
use crate::ids::{
    self, AttachmentId, CallId, ContactRequestId, ConversationId, InviteId, MessageId, ParticipantId,
    ScheduledMessageId, SessionId, UserId,
};
use crate::store::people::sessions::Session as Row;

/// Maximum number of ids in one `nodes` field.
const MAX_NODES: usize = 100;

/// The prefixes of ids that `node` accepts.
const KINDS: [&str; 10] = [
    UserId::PREFIX,
    SessionId::PREFIX,
    ConversationId::PREFIX,
    ParticipantId::PREFIX,
    MessageId::PREFIX,
    InviteId::PREFIX,
    ContactRequestId::PREFIX,
    ScheduledMessageId::PREFIX,
    AttachmentId::PREFIX,
    CallId::PREFIX,
];

/// An object with a globally unique id, as in the Relay server specification.
#[derive(Clone, Interface)]
#[graphql(field(
    name = "id",
    ty = "ID",
    desc = "A TypeID: a prefix, an underscore and a UUIDv7 in base32, such as msg_01kaf8z6v3e1s8x0q5w9y7m2nb."
))]
pub enum Node {
    User(User),
    Session(Session),
    Conversation(Conversation),
    Participant(Participant),
    Message(Message),
    Invite(Invite),
    ContactRequest(ContactRequest),
    ScheduledMessage(ScheduledMessage),
    Attachment(Attachment),
    Call(Call),
}

#[derive(Default)]
pub struct NodeQuery;

#[Object]
impl NodeQuery {
    /// The object with this id. Null if it does not exist or is not visible to the viewer. Errors: BAD_USER_INPUT if
    /// the text is not the id of a node.
    async fn node(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Global id of the object.")] id: ID,
    ) -> Option<Result<Node>> {
        match find(ctx, &[id], |_| "id".to_owned()).await {
            Ok(mut nodes) => nodes.pop().flatten(),
            Err(error) => Some(Err(error)),
        }
    }

    /// The objects with these ids, in the same order. An object is null if it does not exist or is not visible to the
    /// viewer. Errors: BAD_USER_INPUT for more than 100 ids, and in place of an object if the text is not the id of a
    /// node.
    async fn nodes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Global ids of at most 100 objects.")] ids: Vec<ID>,
    ) -> Result<Vec<Option<Result<Node>>>> {
        if ids.len() > MAX_NODES {
            return Err(Error::bad_input("ids", format!("At most {MAX_NODES} nodes at once.")));
        }
        find(ctx, &ids, |index| format!("ids.{index}")).await
    }
}

/// Loads the nodes with these ids, with one statement for each kind of node.
async fn find(ctx: &Context<'_>, ids: &[ID], path: impl Fn(usize) -> String) -> Result<Vec<Option<Result<Node>>>> {
    let viewer = ctx.viewer()?;
    let wanted: Vec<_> = ids.iter().map(|id| ids::decode(id).filter(|(prefix, _)| KINDS.contains(prefix))).collect();
    let mut found = HashMap::new();
    for kind in KINDS {
        let uuids: Vec<_> =
            wanted.iter().flatten().filter(|(prefix, _)| *prefix == kind).map(|(_, uuid)| *uuid).collect();
        if !uuids.is_empty() {
            found.extend(
                load(ctx.app(), viewer, kind, uuids).await?.into_iter().map(|(uuid, node)| ((kind, uuid), node)),
            );
        }
    }
    let nodes = wanted.iter().enumerate().map(|(index, wanted)| match wanted {
        Some(key) => found.get(key).cloned().map(Ok),
        None => Some(Err(Error::bad_input(&path(index), "This is not the id of a node."))),
    });
    Ok(nodes.collect())
}

/// Loads the nodes of one kind that are visible to the viewer.
async fn load(app: &App, viewer: Viewer, kind: &str, uuids: Vec<Uuid>) -> Result<Vec<(Uuid, Node)>> {
    Ok(match kind {
        UserId::PREFIX => {
            let rows = app.users().get_many(&typed(uuids, UserId)).await?;
            rows.into_iter().map(|row| (row.id.0, Node::User(User(row)))).collect()
        }
        SessionId::PREFIX => {
            let rows = app.sessions().list(viewer).await?;
            let session = |row: Row| Session { is_current: row.id == viewer.session, row };
            rows.into_iter().map(|row| (row.id.0, Node::Session(session(row)))).collect()
        }
        ConversationId::PREFIX => {
            let rows = app.conversations().find_many(viewer, &typed(uuids, ConversationId)).await?;
            rows.into_iter().map(|row| (row.id.0, Node::Conversation(row.into()))).collect()
        }
        ParticipantId::PREFIX => {
            let rows = app.conversations().find_participants(viewer, &typed(uuids, ParticipantId)).await?;
            rows.into_iter().map(|row| (row.id.0, Node::Participant(Participant(row)))).collect()
        }
        MessageId::PREFIX => {
            let rows = app.messages().find_many(viewer, &typed(uuids, MessageId)).await?;
            rows.into_iter().map(|row| (row.id.0, Node::Message(Message(row)))).collect()
        }
        InviteId::PREFIX => {
            let rows = app.invites().find_many(viewer, &typed(uuids, InviteId)).await?;
            rows.into_iter().map(|row| (row.id.0, Node::Invite(Invite(row)))).collect()
        }
        ContactRequestId::PREFIX => {
            let rows = app.contacts().find_requests(viewer, &typed(uuids, ContactRequestId)).await?;
            rows.into_iter().map(|row| (row.id.0, Node::ContactRequest(ContactRequest(row)))).collect()
        }
        ScheduledMessageId::PREFIX => {
            let rows = app.scheduled_messages().find_many(viewer, &typed(uuids, ScheduledMessageId)).await?;
            rows.into_iter().map(|row| (row.id.0, Node::ScheduledMessage(ScheduledMessage(row)))).collect()
        }
        AttachmentId::PREFIX => {
            let rows = app.attachments().find_many(viewer, &typed(uuids, AttachmentId)).await?;
            rows.into_iter().map(|row| (row.id.0, Node::Attachment(Attachment(row)))).collect()
        }
        CallId::PREFIX => {
            let rows = app.calls().find_many(viewer, &typed(uuids, CallId)).await?;
            rows.into_iter().map(|row| (row.id.0, Node::Call(row.into()))).collect()
        }
        _ => Vec::new(),
    })
}

fn typed<T>(uuids: Vec<Uuid>, id: impl Fn(Uuid) -> T) -> Vec<T> {
    uuids.into_iter().map(id).collect()
}
