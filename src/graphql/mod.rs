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

/// Bytes of a document up to which its unknown names are compared with those there are.
const SUGGESTIONS_UP_TO: usize = 8 * 1024;

pub type Schema = GraphqlSchema<Query, Mutation, event::Subscription>;

/// The schema over a running server, twice: naming similar fields in an error compares each unknown name with every
/// name there is, which for a long document takes longer than all else.
#[derive(Clone)]
pub struct Schemas {
    helpful: Schema,
    terse: Schema,
}

impl Schemas {
    pub fn new(app: &App, settings: &Operations) -> Self {
        let build = |suggestions: bool| {
            // The library counts from the outermost selection on.
            let mut builder = builder().data(app.clone()).limit_recursive_depth(settings.operation_max_nesting + 1);
            if !settings.introspection {
                builder = builder.disable_introspection();
            }
            if !suggestions {
                builder = builder.disable_suggestions();
            }
            builder.finish()
        };
        Self { helpful: build(settings.suggestions), terse: build(false) }
    }

    /// The one to run this document with.
    pub fn of(&self, document: &str) -> &Schema {
        if document.len() <= SUGGESTIONS_UP_TO { &self.helpful } else { &self.terse }
    }
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
