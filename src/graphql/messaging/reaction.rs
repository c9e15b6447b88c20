//! Reactions: emojis on a message, and the users who chose them.

use std::collections::HashMap;

use async_graphql::dataloader::Loader;
use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use super::message::Message;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::{Error, Result};
use crate::graphql::loaders::{Rows, grouped};
use crate::graphql::page::{Connection, Forward};
use crate::graphql::people::user::User;
use crate::graphql::scalars::parse_id;
use crate::ids::{MessageId, UserId};
use crate::store::messaging::reactions::{Group, Reactor};

/// Default number of users on a page.
const DEFAULT_PAGE: i32 = 20;

pub struct ReactionGroup(pub Group);

/// The reactions to a message with one emoji.
#[Object]
impl ReactionGroup {
    /// The emoji.
    async fn emoji(&self) -> &str {
        &self.0.emoji
    }

    /// Number of users who reacted with the emoji.
    async fn count(&self) -> i32 {
        self.0.count
    }

    /// The users who reacted with the emoji, in the order of their reactions.
    async fn users(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Page size, 1 to 100.", default_with = "Some(DEFAULT_PAGE)")] first: Option<i32>,
        #[graphql(desc = "Cursor of this list: return the items after it.")] after: Option<String>,
    ) -> Result<Connection<User>> {
        let page = Forward::<i32>::new(first.unwrap_or(DEFAULT_PAGE), after.as_deref())?;
        let (after, limit) = (page.after.unwrap_or_default(), page.limit());
        let key = ReactorPage { message: self.0.message_id, emoji: self.0.emoji.clone(), after, limit };
        let rows = ctx.loaders().load(key).await?.unwrap_or_default();
        Ok(page.connection(rows, |row| row.revision, |row| User(row.user)))
    }

    /// Whether the viewer reacted with the emoji.
    async fn viewer_has_reacted(&self, ctx: &Context<'_>) -> Result<bool> {
        let own = ctx.loaders().load(OwnReactionsKey(ctx.viewer()?.user, self.0.message_id)).await?;
        Ok(own.is_some_and(|own| own.contains(&self.0.emoji)))
    }
}

/// Key of the reactions to a message, grouped by emoji; not in the result if the message has no reactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReactionsKey(pub MessageId);

/// Key of the emojis with which a user reacted to a message; not in the result if the user has no reaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OwnReactionsKey(pub UserId, pub MessageId);

/// Key of a page of the users who reacted to a message with one emoji; not in the result if the page is empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReactorPage {
    pub message: MessageId,
    pub emoji: String,
    pub after: i32,
    pub limit: i64,
}

impl Loader<ReactionsKey> for Rows {
    type Value = Vec<Group>;
    type Error = Error;

    async fn load(&self, keys: &[ReactionsKey]) -> Result<HashMap<ReactionsKey, Vec<Group>>> {
        let ids: Vec<_> = keys.iter().map(|&ReactionsKey(id)| id).collect();
        let rows = self.app.reactions().groups(&ids).await?;
        Ok(grouped(rows.into_iter().map(|row| (ReactionsKey(row.message_id), row))))
    }
}

impl Loader<OwnReactionsKey> for Rows {
    type Value = Vec<String>;
    type Error = Error;

    async fn load(&self, keys: &[OwnReactionsKey]) -> Result<HashMap<OwnReactionsKey, Vec<String>>> {
        let pairs: Vec<_> = keys.iter().map(|&OwnReactionsKey(user, id)| (user, id)).collect();
        let rows = self.app.reactions().of_users(&pairs).await?;
        Ok(grouped(rows.into_iter().map(|row| (OwnReactionsKey(row.user_id, row.message_id), row.emoji))))
    }
}

impl Loader<ReactorPage> for Rows {
    type Value = Vec<Reactor>;
    type Error = Error;

    async fn load(&self, keys: &[ReactorPage]) -> Result<HashMap<ReactorPage, Vec<Reactor>>> {
        let mut loaded: HashMap<_, Vec<_>> = HashMap::with_capacity(keys.len());
        let wanted = keys.iter().map(|key| ((key.after, key.limit), (key.message, key.emoji.as_str())));
        for ((after, limit), groups) in grouped(wanted) {
            for row in self.app.reactions().pages(&groups, after, limit).await? {
                let key = ReactorPage { message: row.message_id, emoji: row.emoji.clone(), after, limit };
                loaded.entry(key).or_default().push(row);
            }
        }
        Ok(loaded)
    }
}

/// Input of the `addReaction` mutation.
#[derive(InputObject)]
pub struct AddReactionInput {
    /// Id of the message.
    message_id: ID,
    /// A single emoji from Unicode's list. Skin tones, flags, keycaps and joined sequences are allowed.
    emoji: String,
}

/// Result of the `addReaction` mutation.
#[derive(SimpleObject)]
pub struct AddReactionPayload {
    /// The message with the reaction.
    message: Message,
}

/// Input of the `removeReaction` mutation.
#[derive(InputObject)]
pub struct RemoveReactionInput {
    /// Id of the message.
    message_id: ID,
    /// The emoji of the viewer's reaction.
    emoji: String,
}

/// Result of the `removeReaction` mutation.
#[derive(SimpleObject)]
pub struct RemoveReactionPayload {
    /// The message without the reaction.
    message: Message,
}

#[derive(Default)]
pub struct ReactionMutation;

#[Object]
impl ReactionMutation {
    /// Adds a reaction of the viewer to a message. A user can add several different emojis. Adding the same emoji again
    /// changes nothing. Errors: NOT_FOUND if the message is not visible to the viewer. BAD_USER_INPUT if the text is
    /// not one emoji, the message is deleted, or the message has 20 other emojis.
    async fn add_reaction(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The message and the emoji.")] input: AddReactionInput,
    ) -> Result<AddReactionPayload> {
        let viewer = ctx.viewer()?;
        let id = parse_id(&input.message_id, "messageId")?;
        let message = ctx.app().reactions().add(viewer, id, &input.emoji).await?;
        Ok(AddReactionPayload { message: Message(message) })
    }

    /// Removes a reaction of the viewer from a message. If the viewer has no such reaction, nothing changes. Errors:
    /// NOT_FOUND if the message is not visible to the viewer. BAD_USER_INPUT if the text is not one emoji.
    async fn remove_reaction(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The message and the emoji.")] input: RemoveReactionInput,
    ) -> Result<RemoveReactionPayload> {
        let viewer = ctx.viewer()?;
        let id = parse_id(&input.message_id, "messageId")?;
        let message = ctx.app().reactions().remove(viewer, id, &input.emoji).await?;
        Ok(RemoveReactionPayload { message: Message(message) })
    }
}
