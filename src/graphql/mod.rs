//! The API: one file for each noun, with its type, inputs, payloads and resolvers. Translates, decides nothing.

mod account;
mod batch;
mod context;
mod conversation;
mod error;
mod event;
mod loaders;
mod message;
mod node;
mod page;
mod participant;
mod scalars;
mod server_info;
mod session;
mod user;
mod viewer;

use async_graphql::{MergedObject, SDLExportOptions, Schema as GraphqlSchema};

pub use batch::Batches;
pub use context::{Caller, Identity};
pub use error::{Error, ErrorCode, Result};
pub use loaders::Loaders;
pub use page::{MAX_PAGE_SIZE, page_sizes};

use crate::config::Operations;
use crate::domain::App;

#[derive(MergedObject, Default)]
pub struct Query(
    node::NodeQuery,
    viewer::ViewerQuery,
    user::UserQuery,
    conversation::ConversationQuery,
    server_info::ServerInfoQuery,
);

#[derive(MergedObject, Default)]
pub struct Mutation(
    account::AccountMutation,
    session::SessionMutation,
    conversation::ConversationMutation,
    message::MessageMutation,
    participant::ParticipantMutation,
);

pub type Schema = GraphqlSchema<Query, Mutation, event::Subscription>;

/// The schema over a running server.
pub fn schema(app: App, settings: &Operations) -> Schema {
    // The library counts from a selection on, and asks before the validation tells what is wrong.
    let mut builder = builder().data(app).limit_recursive_depth(settings.operation_max_nesting + 1);
    if !settings.introspection {
        builder = builder.disable_introspection();
    }
    if !settings.suggestions {
        builder = builder.disable_suggestions();
    }
    builder.finish()
}

/// The schema in the schema definition language, as `schema.graphql` holds it.
pub fn sdl() -> String {
    builder().finish().sdl_with_options(SDLExportOptions::new().sorted_fields().sorted_enum_items().sorted_arguments())
}

fn builder() -> async_graphql::SchemaBuilder<Query, Mutation, event::Subscription> {
    Schema::build(Query::default(), Mutation::default(), event::Subscription)
        .register_output_type::<node::Node>()
        .register_output_type::<event::DurableEvent>()
}
