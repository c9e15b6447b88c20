//! The API: one file for each noun, with its type, inputs, payloads and resolvers. Translates, decides nothing.

mod batch;
mod calls;
mod context;
mod conversations;
mod error;
mod event;
mod files;
mod inputs;
mod loaders;
mod lookups;
mod messaging;
mod node;
mod page;
mod people;
mod scalars;
mod server_info;
mod subscription;
mod validation;

use std::sync::Arc;

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{TypeDefinition, TypeSystemDefinition, VariableDefinition};
use async_graphql::{
    MergedObject, MergedSubscription, Positioned, SDLExportOptions, Schema as GraphqlSchema, ValidationMode, Variables,
};

pub use crate::domain::inbox::InboxItem;
pub use batch::Batches;
pub use context::{AnswerBytes, Caller, Deadline, Identity, Sharing};
pub use error::{Error, ErrorCode, Result};
pub use loaders::{Loaders, StreamLoaders};
pub use page::{MAX_PAGE_SIZE, page_sizes};
pub use subscription::{Items, Opened, Phase};
pub use validation::OnValid;

use crate::config::Operations;
use crate::domain::App;
use inputs::Inputs;
use lookups::Lookups;
use validation::Validation;

#[derive(MergedObject, Default)]
pub struct Query(
    node::NodeQuery,
    viewer::ViewerQuery,
    user::UserQuery,
    conversation::ConversationQuery,
    invite::InviteQuery,
    search::SearchQuery,
    ice_server::IceServerQuery,
    call_access::CallAccessQuery,
    server_info::ServerInfoQuery,
);

#[derive(MergedObject, Default)]
pub struct Mutation(
    account::AccountMutation,
    session::SessionMutation,
    conversation::ConversationMutation,
    message::MessageMutation,
    message_change::MessageChangeMutation,
    reaction::ReactionMutation,
    pin::PinMutation,
    participant::ParticipantMutation,
    ban::BanMutation,
    invite::InviteMutation,
    contact::ContactMutation,
    block::BlockMutation,
    privacy::PrivacyMutation,
    membership::MembershipMutation,
    scheduled_message::ScheduledMessageMutation,
    presence::PresenceMutation,
    typing::TypingMutation,
    upload::UploadMutation,
    call::CallMutation,
    call_signal::CallSignalMutation,
);

#[derive(MergedSubscription, Default)]
pub struct Subscription(
    subscription::LogSubscription,
    call_event::CallSubscription,
    presence::PresenceSubscription,
    room::RoomSubscription,
    typing::TypingSubscription,
);

/// Bytes of a document up to which its unknown names are compared with those there are.
const SUGGESTIONS_UP_TO: usize = 8 * 1024;

pub type Schema = GraphqlSchema<Query, Mutation, Subscription>;

/// The schema over a running server, three times: naming similar fields in an error compares each unknown name with
/// every name there is, which for a long document takes longer than all else; and what was validated once needs it not
/// again.
#[derive(Clone)]
pub struct Schemas {
    helpful: Schema,
    terse: Schema,
    trusting: Schema,
    inputs: Arc<Inputs>,
}

impl Schemas {
    pub fn new(app: &App, settings: &Operations) -> Self {
        let lookups = Lookups::new(app.clone());
        let build = |suggestions: bool, validation: ValidationMode| {
            // The library counts from the outermost selection on.
            let data = builder().data(app.clone()).data(lookups.clone());
            let mut builder = data.limit_recursive_depth(settings.operation_max_nesting + 1);
            if !settings.introspection {
                builder = builder.disable_introspection();
            }
            if !suggestions {
                builder = builder.disable_suggestions();
            }
            if matches!(validation, ValidationMode::Strict) {
                builder = builder.extension(Validation);
            }
            builder.validation_mode(validation).finish()
        };
        Self {
            helpful: build(settings.suggestions, ValidationMode::Strict),
            terse: build(false, ValidationMode::Strict),
            trusting: build(false, ValidationMode::Fast),
            inputs: Arc::new(Inputs::new()),
        }
    }

    /// The one to run a document with that may be invalid.
    pub fn strict(&self, document: &str) -> &Schema {
        if document.len() <= SUGGESTIONS_UP_TO { &self.helpful } else { &self.terse }
    }

    /// The one to run a document with that was found valid, with variables that fit.
    pub fn trusting(&self) -> &Schema {
        &self.trusting
    }

    /// Fails where a variable is missing, which the library finds out too late: with part of the operation done.
    pub fn check_given(definitions: &[Positioned<VariableDefinition>], variables: &Variables) -> Result<()> {
        match Inputs::missing(definitions, variables) {
            None => Ok(()),
            Some(definition) => {
                let (name, kind) = (&definition.name.node, &definition.var_type.node);
                let message = format!("The variable ${name} of the type {kind} is missing.");
                Err(Error::new(ErrorCode::GraphqlValidationFailed, message))
            }
        }
    }

    /// Whether these variables certainly are what the definitions ask for.
    pub fn fit(&self, definitions: &[Positioned<VariableDefinition>], variables: &Variables) -> bool {
        self.inputs.fit(definitions, variables)
    }
}

/// The schema in the schema definition language, as `schema.graphql` holds it.
pub fn sdl() -> String {
    builder().finish().sdl_with_options(SDLExportOptions::new().sorted_fields().sorted_enum_items().sorted_arguments())
}

/// The schema's own types, for what has to be known of it beside its resolvers.
fn type_definitions() -> impl Iterator<Item = TypeDefinition> {
    // The library's own text always parses.
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
}
