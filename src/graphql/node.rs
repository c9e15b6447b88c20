//! Global object identification, as the Relay server specification has it.

use async_graphql::{Context, ID, Interface, Object};

use super::context::ContextExt as _;
use super::conversation::Conversation;
use super::error::{Error, Result};
use super::message::Message;
use super::participant::Participant;
use super::session::Session;
use super::user::User;
use crate::domain::App;
use crate::domain::Viewer;
use crate::ids::{self, ConversationId, MessageId, ParticipantId, SessionId, UserId};

/// Nodes asked for at once.
const MAX_NODES: usize = 100;

#[derive(Interface)]
#[graphql(field(
    name = "id",
    ty = "ID",
    desc = "A TypeID: prefix, underscore, base32 of a UUIDv7, such as msg_01kaf8z6v3e1s8x0q5w9y7m2nb."
))]
pub enum Node {
    User(User),
    Session(Session),
    Conversation(Conversation),
    Participant(Participant),
    Message(Message),
}

#[derive(Default)]
pub struct NodeQuery;

#[Object]
impl NodeQuery {
    /// Null where there is none that the viewer may see.
    async fn node(&self, ctx: &Context<'_>, id: ID) -> Option<Result<Node>> {
        match ctx.viewer() {
            Ok(viewer) => find(ctx.app(), viewer, &id, "id").await.transpose(),
            Err(error) => Some(Err(error)),
        }
    }

    /// In the order of the ids, 100 at most; null for each that the viewer may not see.
    async fn nodes(&self, ctx: &Context<'_>, ids: Vec<ID>) -> Result<Vec<Option<Result<Node>>>> {
        let viewer = ctx.viewer()?;
        if ids.len() > MAX_NODES {
            return Err(Error::bad_input("ids", format!("At most {MAX_NODES} nodes at once.")));
        }
        let mut nodes = Vec::with_capacity(ids.len());
        for (place, id) in ids.iter().enumerate() {
            nodes.push(find(ctx.app(), viewer, id, &format!("ids.{place}")).await.transpose());
        }
        Ok(nodes)
    }
}

async fn find(app: &App, viewer: Viewer, id: &ID, path: &str) -> Result<Option<Node>> {
    let Some((prefix, uuid)) = ids::decode(id) else { return Err(Error::bad_input(path, "This is no id.")) };
    Ok(match prefix {
        UserId::PREFIX => app.users().get(UserId(uuid)).await?.map(|row| Node::User(User(row))),
        SessionId::PREFIX => {
            let row = app.sessions().find(viewer, SessionId(uuid)).await?;
            row.map(|row| Node::Session(Session { is_current: row.id == viewer.session, row }))
        }
        ConversationId::PREFIX => {
            let row = app.conversations().find(viewer, ConversationId(uuid)).await?;
            row.map(|row| Node::Conversation(row.into()))
        }
        ParticipantId::PREFIX => {
            let row = app.conversations().find_participant(viewer, ParticipantId(uuid)).await?;
            row.map(|row| Node::Participant(Participant(row)))
        }
        MessageId::PREFIX => app.messages().find(viewer, MessageId(uuid)).await?.map(|row| Node::Message(Message(row))),
        _ => return Err(Error::bad_input(path, "This is no id of a node.")),
    })
}
