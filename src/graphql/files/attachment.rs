//! Attachments: what was uploaded, for those who may see it.

use std::collections::HashMap;

use async_graphql::dataloader::Loader;
use async_graphql::{Context, Enum, ID, Object};

use crate::domain::files::addresses::Address;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::{Error, Result};
use crate::graphql::loaders::{Rows, failed, grouped};
use crate::graphql::scalars::DateTime;
use crate::ids::{AttachmentId, MessageId, ScheduledMessageId};
use crate::media::Size;
use crate::store::files::attachment_uses;
use crate::store::files::attachments::{self, Attachment as Row, AttachmentState as StateRow};

#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "StateRow")]
pub enum AttachmentState {
    /// Not uploaded, or not completed.
    Pending,
    Ready,
    /// What was uploaded is not taken, and removed.
    Rejected,
}

/// Its longest side, or the side of an avatar's square, in pixels: 160 or 96, 480 or 256, 1280 or 640.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "Size")]
pub enum ThumbnailSize {
    Small,
    Medium,
    Large,
}

#[derive(Clone)]
pub struct Attachment(pub Row);

/// A file. Its uploader sees it, and whoever sees a message that it is in; avatars everybody sees.
#[Object]
impl Attachment {
    pub async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }

    async fn state(&self) -> AttachmentState {
        self.0.state.into()
    }

    async fn file_name(&self) -> &str {
        &self.0.file_name
    }

    /// What it really is, once it is READY.
    async fn content_type(&self) -> &str {
        &self.0.content_type
    }

    /// Of what others get, once it is READY: a picture is relieved of what it tells of its maker.
    async fn byte_size(&self) -> i32 {
        i32::try_from(self.0.byte_size).unwrap_or(i32::MAX)
    }

    /// In pixels, as it is shown; of pictures and videos.
    async fn width(&self) -> Option<i32> {
        self.0.width
    }

    async fn height(&self) -> Option<i32> {
        self.0.height
    }

    /// Of recordings and videos.
    async fn duration_ms(&self) -> Option<i32> {
        self.0.duration_ms
    }

    /// Of pictures, to be shown until there is more: see blurha.sh.
    async fn blurhash(&self) -> Option<&str> {
        self.0.blurhash.as_deref()
    }

    /// The loudness of a recording from its beginning to its end, 64 times 0 to 100.
    async fn waveform(&self) -> Option<Vec<i32>> {
        self.0.waveform.as_ref().map(|peaks| peaks.iter().map(|&peak| peak.into()).collect())
    }

    /// Why it is REJECTED, for the person who sent it.
    async fn rejection(&self) -> Option<&str> {
        self.0.rejection.as_deref()
    }

    /// Signed, short-lived download address; null until READY. The same for half an hour, and good for half an hour
    /// after that.
    async fn url(&self, ctx: &Context<'_>) -> Option<Result<String>> {
        shown(ctx, ctx.app().attachments().address(&self.0).await.transpose()?)
    }

    /// Signed address of a scaled-down picture, WebP; null where there is none. As short-lived as `url`. A square, once
    /// the picture was made an avatar.
    async fn thumbnail_url(
        &self,
        ctx: &Context<'_>,
        #[graphql(default_with = "ThumbnailSize::Small")] size: ThumbnailSize,
    ) -> Option<Result<String>> {
        shown(ctx, ctx.app().attachments().thumbnail_address(&self.0, size.into()).await.transpose()?)
    }

    async fn created_at(&self) -> DateTime {
        self.0.created_at.into()
    }
}

/// Nobody may be shown it for longer than it is fresh.
#[expect(clippy::unnecessary_wraps, reason = "a field that may be null, and may fail")]
fn shown(ctx: &Context<'_>, address: Result<Address, crate::domain::Error>) -> Option<Result<String>> {
    Some(address.map_err(Error::from).map(|address| {
        ctx.fades(address.fresh_until);
        address.url.to_string()
    }))
}

/// One that is READY, for who has come to it by what refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AvatarKey(pub AttachmentId);

/// Those of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttachmentsKey(pub MessageId);

/// Those of a message that waits for its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScheduledAttachmentsKey(pub ScheduledMessageId);

/// The avatar of somebody or of something.
pub(super) async fn avatar(ctx: &Context<'_>, id: Option<AttachmentId>) -> Option<Result<Attachment>> {
    ctx.loaders().avatar(id?).await.map(|row| row.map(Attachment)).transpose()
}

impl Loader<AvatarKey> for Rows {
    type Value = Row;
    type Error = Error;

    async fn load(&self, keys: &[AvatarKey]) -> Result<HashMap<AvatarKey, Row>> {
        let ids: Vec<_> = keys.iter().map(|&AvatarKey(id)| id).collect();
        let mut connection = self.app.connection().await.map_err(failed)?;
        let rows = attachments::ready(&mut connection, &ids).await.map_err(failed)?;
        self.keep_avatars(&rows);
        Ok(rows.into_iter().map(|row| (AvatarKey(row.id), row)).collect())
    }
}

impl Loader<AttachmentsKey> for Rows {
    type Value = Vec<Row>;
    type Error = Error;

    async fn load(&self, keys: &[AttachmentsKey]) -> Result<HashMap<AttachmentsKey, Vec<Row>>> {
        let ids: Vec<_> = keys.iter().map(|&AttachmentsKey(id)| id).collect();
        let mut connection = self.app.connection().await.map_err(failed)?;
        let rows = attachment_uses::of_messages(&mut connection, &ids).await.map_err(failed)?;
        Ok(grouped(rows.into_iter().map(|(id, row)| (AttachmentsKey(id), row))))
    }
}

impl Loader<ScheduledAttachmentsKey> for Rows {
    type Value = Vec<Row>;
    type Error = Error;

    async fn load(&self, keys: &[ScheduledAttachmentsKey]) -> Result<HashMap<ScheduledAttachmentsKey, Vec<Row>>> {
        let ids: Vec<_> = keys.iter().map(|&ScheduledAttachmentsKey(id)| id).collect();
        let mut connection = self.app.connection().await.map_err(failed)?;
        let rows = attachment_uses::of_scheduled(&mut connection, &ids).await.map_err(failed)?;
        Ok(grouped(rows.into_iter().map(|(id, row)| (ScheduledAttachmentsKey(id), row))))
    }
}
