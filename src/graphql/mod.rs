//! The GraphQL API: one file for each noun, with its types, inputs, payloads and resolvers. Resolvers translate between
//! GraphQL and the domain; all rules are in the domain.

mod batch;
mod calls;
mod context;
mod conversations;
mod error;
mod event;
mod files;
mod loaders;
mod log_request;
mod lookups;
mod message_loaders;
mod messaging;
mod node;
mod page;
mod people;
mod push;
mod rule;
mod scalars;
mod server_info;
mod spec;
mod subscription;

use std::sync::Arc;

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{TypeDefinition, TypeSystemDefinition};
use async_graphql::{
    MergedObject, MergedSubscription, SDLExportOptions, Schema as GraphqlSchema, ServerError, ValidationMode,
};

pub use crate::domain::inbox::InboxItem;
pub use batch::Batches;
pub use context::{AnswerBytes, Caller, Deadline, Identity, Sharing};
pub use error::{Error, ErrorCode, Result};
pub use loaders::{Loaders, StreamLoaders};
pub use log_request::{Items, LogRequest};
pub use page::{MAX_PAGE_SIZE, page_sizes};
pub use rule::Rule;
pub use spec::{MAX_ERRORS, Spec, Syntax, selected_operation, tokens, too_nested};
pub use subscription::Rendering;

use crate::config::Operations;
use crate::domain::App;
use conversations::conversation::Conversation;
use conversations::invite::Invite;
use conversations::participant::Participant;
use lookups::Lookups;
use messaging::message::Message;
use messaging::scheduled_message::ScheduledMessage;
use page::Connection;
use people::contact::ContactRequest;
use people::user::User;

/// The fields that read data. All fields except `serverInfo` need a signed-in user, and otherwise fail with
/// UNAUTHENTICATED. Every field can fail with BAD_USER_INPUT for an invalid argument, and with RATE_LIMITED,
/// UNAVAILABLE or INTERNAL_SERVER_ERROR.
#[derive(MergedObject, Default)]
pub struct Query(
    node::NodeQuery,
    people::viewer::ViewerQuery,
    people::user::UserQuery,
    conversations::conversation::ConversationQuery,
    conversations::invite::InviteQuery,
    messaging::search::SearchQuery,
    calls::ice_server::IceServerQuery,
    calls::call_access::CallAccessQuery,
    server_info::ServerInfoQuery,
);

/// The operations that change data. All mutations except `register`, `createGuest`, `login`, `completeLogin`,
/// `requestCode`, `loginWithCode`, `signInWithToken`, `passkeyRequestOptions`, `loginWithPasskey`, `resetPassword` and
/// `refreshSession` need a signed-in user, and otherwise fail with UNAUTHENTICATED. Every mutation can fail with
/// BAD_USER_INPUT for an invalid input, such as a malformed id, and with RATE_LIMITED, UNAVAILABLE or
/// INTERNAL_SERVER_ERROR. The descriptions of the mutations list further errors.
#[derive(MergedObject, Default)]
pub struct Mutation(
    people::account::AccountMutation,
    people::code::CodeMutation,
    people::second_factor::SecondFactorMutation,
    people::passkey::PasskeyMutation,
    people::identity::IdentityMutation,
    people::guest::GuestMutation,
    people::session::SessionMutation,
    conversations::conversation_change::ConversationMutation,
    messaging::message::MessageMutation,
    messaging::message_change::MessageChangeMutation,
    messaging::reaction::ReactionMutation,
    messaging::pin::PinMutation,
    conversations::participant::ParticipantMutation,
    conversations::ban::BanMutation,
    conversations::invite::InviteMutation,
    people::contact::ContactMutation,
    people::block::BlockMutation,
    people::privacy::PrivacyMutation,
    conversations::membership::MembershipMutation,
    push::push_subscription::PushSubscriptionMutation,
    push::notification_settings::NotificationSettingsMutation,
    messaging::scheduled_message::ScheduledMessageMutation,
    people::presence::PresenceMutation,
    conversations::typing::TypingMutation,
    files::upload::UploadMutation,
    calls::call::CallMutation,
    calls::call_signal::CallSignalMutation,
);

/// The streams of events. All subscriptions need a signed-in user, and otherwise fail with UNAUTHENTICATED. Every
/// subscription can fail with BAD_USER_INPUT for an invalid argument, and with RATE_LIMITED, UNAVAILABLE or
/// INTERNAL_SERVER_ERROR.
#[derive(MergedSubscription, Default)]
pub struct Subscription(
    subscription::LogSubscription,
    calls::call_event::CallSubscription,
    people::presence::PresenceSubscription,
    conversations::room::RoomSubscription,
    conversations::typing::TypingSubscription,
);

pub type Schema = GraphqlSchema<Query, Mutation, Subscription>;

/// The schema of a running server. `spec` validates documents and coerces variables, and then `schema` executes the
/// documents.
#[derive(Clone)]
pub struct Schemas {
    schema: Schema,
    spec: Arc<Spec>,
    app: App,
    lookups: Lookups,
}

impl Schemas {
    pub fn new(app: &App, settings: &Operations) -> Self {
        let lookups = Lookups::new(app.clone());
        // async-graphql counts the outermost selection set as a level too.
        let mut builder = builder()
            .data(app.clone())
            .data(lookups.clone())
            .limit_recursive_depth(settings.operation_max_nesting + 1)
            .validation_mode(ValidationMode::Fast);
        if !settings.introspection {
            builder = builder.disable_introspection();
        }
        let schema = builder.finish();
        let spec = Spec::new(&sdl_of(&schema), settings.operation_max_nesting, settings.introspection);
        Self { schema, spec: Arc::new(spec), app: app.clone(), lookups }
    }

    /// Returns the schema that executes validated documents.
    pub fn executable(&self) -> &Schema {
        &self.schema
    }

    /// Returns the parser and validator of documents, which also coerces variables.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Opens a subscription to the log, without executing its document: checks the caller and the arguments, and
    /// returns the stream of items. The document and its variables must be validated.
    pub async fn open(&self, request: &LogRequest, caller: &Caller) -> Result<Items, ServerError> {
        request.open(&self.app, &self.lookups, caller).await
    }
}

/// Returns the schema in the schema definition language (SDL): the content of `schema.graphql`.
pub fn sdl() -> String {
    sdl_of(&builder().finish())
}

fn sdl_of(schema: &Schema) -> String {
    schema.sdl_with_options(SDLExportOptions::new().sorted_fields().sorted_enum_items().sorted_arguments())
}

/// Returns the types of the schema, parsed from its SDL.
fn type_definitions() -> impl Iterator<Item = TypeDefinition> {
    // The SDL that async-graphql writes always parses.
    let definitions = parse_schema(sdl()).map(|document| document.definitions).unwrap_or_default();
    definitions.into_iter().filter_map(|definition| match definition {
        TypeSystemDefinition::Type(definition) => Some(definition.node),
        _ => None,
    })
}

fn builder() -> async_graphql::SchemaBuilder<Query, Mutation, Subscription> {
    Schema::build(Query::default(), Mutation::default(), Subscription::default())
        .register_output_type::<node::Node>()
        .register_output_type::<event::DurableEvent>()
        // async-graphql describes the fields of connection types, but not the types themselves.
        .override_output_type_description::<Connection<User>>("A page of users.")
        .override_output_type_description::<Connection<Conversation>>("A page of conversations.")
        .override_output_type_description::<Connection<Participant>>("A page of participants.")
        .override_output_type_description::<Connection<Message>>("A page of messages.")
        .override_output_type_description::<Connection<ScheduledMessage>>("A page of scheduled messages.")
        .override_output_type_description::<Connection<Invite>>("A page of invites.")
        .override_output_type_description::<Connection<ContactRequest>>("A page of contact requests.")
}
