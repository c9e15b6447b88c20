//! Requests for subscriptions to the log. The server opens such a subscription without executing its document: `http`
//! gets the stream of items, and executes the document to render each item.

use async_graphql::parser::types::{Field, OperationDefinition};
use async_graphql::{
    ID, InputType, InputValueError, Name, PathSegment, Pos, Positioned, ServerError, Value, Variables,
};
use futures_util::future::{Either, ready};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, Stream, StreamExt as _};

use super::calls::call_event::should_deliver;
use super::context::Caller;
use super::error::{Error, Result};
use super::lookups::Lookups;
use super::message_loaders::VisibilityKey;
use super::scalars::parse_id;
use crate::domain::inbox::InboxItem;
use crate::domain::{App, Viewer};
use crate::ids::ConversationId;
use crate::log::{Change, Cursor, Event, Interest, InvalidCursor, Item};

/// Stream of the items of a subscription, which are not rendered yet.
pub type Items = BoxStream<'static, InboxItem>;

/// Field that subscribes to the log, with the values of its arguments.
#[derive(Clone)]
pub(super) enum LogField {
    Inbox { after: Option<String> },
    MessageAdded { conversation_id: Option<ID>, after: Option<String> },
    MessageUpdated { conversation_id: ID },
}

/// Subscription to the log that a document requests: the field with its arguments, or the error in the arguments.
pub struct LogRequest {
    field: Result<LogField, ServerError>,
    /// Position of the field in the document.
    pos: Pos,
    response_key: Name,
}

impl LogRequest {
    /// Reads the arguments of a field. None if the field does not subscribe to the log, or if `@skip` or `@include`
    /// removes it.
    pub fn new(field: &Positioned<Field>, operation: &OperationDefinition, variables: &Variables) -> Option<Self> {
        let arguments = Arguments { field: &field.node, operation, variables };
        let read = match field.node.name.node.as_str() {
            "inbox" => Arguments::inbox,
            "messageAdded" => Arguments::message_added,
            "messageUpdated" => Arguments::message_updated,
            _ => return None,
        };
        if arguments.is_skipped() {
            return None;
        }
        Some(Self { field: read(&arguments), pos: field.pos, response_key: field.node.response_key().node.clone() })
    }

    /// Checks the caller and the arguments, and returns the stream of items. On failure, returns the same error as an
    /// execution of the field.
    pub(super) async fn open(&self, app: &App, lookups: &Lookups, caller: &Caller) -> Result<Items, ServerError> {
        let opened = async {
            let field = self.field.clone()?;
            let opened = async { field.open(app, lookups, caller.viewer()?).await }.await;
            opened.map_err(|error| async_graphql::Error::from(error).into_server_error(self.pos))
        };
        opened.await.map_err(|error| error.with_path(vec![PathSegment::Field(self.response_key.to_string())]))
    }
}

impl LogField {
    /// Checks the viewer and the arguments, and returns the stream of items.
    pub(super) async fn open(self, app: &App, lookups: &Lookups, viewer: Viewer) -> Result<Items> {
        match self {
            Self::Inbox { after } => Ok(filter_visible(lookups, viewer, app.inbox(viewer, parse_cursor(after)?))),
            Self::MessageAdded { conversation_id, after } => {
                let conversation: Option<ConversationId> =
                    conversation_id.map(|id| parse_id(&id, "conversationId")).transpose()?;
                if let Some(id) = conversation {
                    app.conversations().get(viewer, id).await?;
                }
                let interest = Interest::Messages(conversation);
                Ok(app.log().stream(viewer.user, interest, parse_cursor(after)?).map(Into::into).boxed())
            }
            Self::MessageUpdated { conversation_id } => {
                let conversation: ConversationId = parse_id(&conversation_id, "conversationId")?;
                app.conversations().get(viewer, conversation).await?;
                let items = app.log().stream(viewer.user, Interest::Updates(conversation), None);
                Ok(filter_visible(lookups, viewer, items))
            }
        }
    }
}

/// Arguments of a field. Reads them in the same way as async-graphql reads the arguments of a resolver.
struct Arguments<'a> {
    field: &'a Field,
    operation: &'a OperationDefinition,
    variables: &'a Variables,
}

impl Arguments<'_> {
    fn inbox(&self) -> Result<LogField, ServerError> {
        Ok(LogField::Inbox { after: self.get("after")? })
    }

    fn message_added(&self) -> Result<LogField, ServerError> {
        Ok(LogField::MessageAdded { conversation_id: self.get("conversationId")?, after: self.get("after")? })
    }

    fn message_updated(&self) -> Result<LogField, ServerError> {
        Ok(LogField::MessageUpdated { conversation_id: self.get("conversationId")? })
    }

    fn get<T: InputType>(&self, name: &str) -> Result<T, ServerError> {
        let Some((_, argument)) = self.field.arguments.iter().find(|(known, _)| known.node == name) else {
            return T::parse(None).map_err(|error| error.into_server_error(Pos::default()));
        };
        let unset = |error: InputValueError<T>| error.into_server_error(argument.pos);
        // If a variable is omitted and has no default, its argument counts as omitted.
        let value = argument.node.clone().into_const_with(|name| self.variable(&name).ok_or(())).ok();
        T::parse(value).map_err(unset)
    }

    fn variable(&self, name: &str) -> Option<Value> {
        let default = || {
            let definitions = self.operation.variable_definitions.iter();
            let definition =
                definitions.map(|definition| &definition.node).find(|definition| definition.name.node == name)?;
            definition.default_value.as_ref().map(|value| value.node.clone())
        };
        self.variables.get(name).cloned().or_else(default)
    }

    /// Returns whether `@skip` or `@include` removes the field. Ignores the defaults of variables, as async-graphql
    /// does in these directives.
    fn is_skipped(&self) -> bool {
        self.field.directives.iter().any(|directive| {
            let include = match directive.node.name.node.as_str() {
                "skip" => false,
                "include" => true,
                _ => return false,
            };
            let Some(condition) = directive.node.get_argument("if") else { return false };
            let value = condition.node.clone().into_const_with(|name| self.variables.get(&name).cloned().ok_or(()));
            include != (value == Ok(Value::Boolean(true)))
        })
    }
}

/// Removes items that the viewer must not get: changes of messages that are not visible to the viewer, and events of
/// calls for one user that `should_deliver` refuses. All streams that receive the same change share one query.
fn filter_visible<T>(lookups: &Lookups, viewer: Viewer, items: impl Stream<Item = T> + Send + 'static) -> Items
where
    T: Into<InboxItem> + 'static,
{
    let lookups = lookups.clone();
    let filtered = items.map(Into::into).filter_map(move |item| match item {
        InboxItem::Logged(Item::Event(Event { change: Change::MessageUpdated { message, .. }, .. })) => {
            let visibilities = lookups.visibilities().clone();
            let lookup = async move {
                let visibility = visibilities.get(VisibilityKey(viewer.user, message)).await;
                // If the lookup fails, the change is not delivered, because the message might be hidden.
                visibility
                    .is_ok_and(|visibility| visibility.is_none_or(|visibility| visibility.visible))
                    .then_some(item)
            };
            Either::Left(lookup.boxed())
        }
        InboxItem::Logged(Item::Event(Event { change, .. })) if change.is_personal_of_call() => {
            let lookups = lookups.clone();
            let lookup = async move { should_deliver(&lookups, viewer.user, &change).await.then_some(item) };
            Either::Left(lookup.boxed())
        }
        _ => Either::Right(ready(Some(item))),
    });
    filtered.boxed()
}

fn parse_cursor(after: Option<String>) -> Result<Option<Cursor>> {
    let malformed = |InvalidCursor| Error::bad_input("after", "This is not the cursor of an event.");
    after.map(|text| text.parse().map_err(malformed)).transpose()
}
