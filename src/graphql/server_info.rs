//! What a client may want to know of the server.

use async_graphql::{Context, Enum, Object};

use super::context::ContextExt as _;
use super::error::ErrorCode;
use super::page::MAX_PAGE_SIZE;
use crate::config::RegistrationMode as ModeSetting;

/// How the server treats `register`.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "ModeSetting")]
pub enum RegistrationMode {
    /// All clients can register.
    Open,
    /// Clients need a code of the server's operator in `RegisterInput.invite`.
    Invite,
    /// Registration is refused with FORBIDDEN.
    Closed,
}

pub struct ServerInfo;

#[Object]
impl ServerInfo {
    async fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    /// Unicode scalar values in a message's body.
    async fn max_message_length(&self, ctx: &Context<'_>) -> i32 {
        saturating(ctx.app().limits().max_message_length)
    }

    /// Participants of a group.
    async fn max_group_size(&self, ctx: &Context<'_>) -> i32 {
        saturating(ctx.app().limits().max_group_size)
    }

    /// Bytes of a file. Pictures, videos and recordings may have fewer.
    async fn max_upload_bytes(&self, ctx: &Context<'_>) -> i32 {
        i32::try_from(ctx.app().uploads().max_bytes()).unwrap_or(i32::MAX)
    }

    async fn max_page_size(&self) -> i32 {
        MAX_PAGE_SIZE.into()
    }

    /// How the server treats `register`. A client can decide by it which form to show.
    async fn registration(&self, ctx: &Context<'_>) -> RegistrationMode {
        ctx.app().registration().into()
    }

    /// Every value `extensions.code` can have, so that code generators make a type of it.
    async fn error_codes(&self) -> &[ErrorCode] {
        &ErrorCode::ALL
    }
}

fn saturating(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[derive(Default)]
pub struct ServerInfoQuery;

#[Object]
impl ServerInfoQuery {
    async fn server_info(&self) -> ServerInfo {
        ServerInfo
    }
}
