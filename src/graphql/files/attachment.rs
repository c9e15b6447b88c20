//! Attachments: uploaded files, with their metadata and download URLs.

use std::collections::HashMap;

use async_graphql::dataloader::Loader;
use async_graphql::{Context, Enum, ID, Object};

use crate::domain::files::addresses::Address;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::{Error, Result};
use crate::graphql::loaders::{AvatarKey, Rows, grouped};
use crate::graphql::scalars::DateTime;
use crate::ids::{AttachmentId, MessageId, ScheduledMessageId};
use crate::media::Size;
use crate::store::files::attachments::{Attachment as Row, AttachmentState as StateRow};

/// Progress of an uploaded file.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "StateRow")]
pub enum AttachmentState {
    /// The file is not uploaded, or `completeUpload` has not checked it yet.
    Pending,
    /// The file was checked. It can be sent and downloaded.
    Ready,
    /// The check refused the file, and the server deletes its content. `Attachment.rejection` has the reason.
    Rejected,
}

/// Size of a thumbnail. The thumbnails of a picture that became an avatar are squares.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "Size")]
pub enum ThumbnailSize {
    /// At most 160 pixels on the longest side, or a square of at most 96 pixels.
    Small,
    /// At most 480 pixels on the longest side, or a square of at most 256 pixels.
    Medium,
    /// At most 1280 pixels on the longest side, or a square of at most 640 pixels.
    Large,
}

#[derive(Clone)]
pub struct Attachment(pub Row);

/// An uploaded file. It is visible to its uploader and to users who can see a message with it. An avatar is visible to
/// all users.
#[Object]
impl Attachment {
    /// Global id, with the prefix `att_`.
    pub async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }

    /// Whether the file is PENDING, READY or REJECTED.
    async fn state(&self) -> AttachmentState {
        self.0.state.into()
    }

    /// Name of the file without a path, at most 255 characters.
    async fn file_name(&self) -> &str {
        &self.0.file_name
    }

    /// Media type, such as image/jpeg: the declared type until the file is READY, then the type of the content.
    async fn content_type(&self) -> &str {
        &self.0.content_type
    }

    /// Size in bytes: the declared size until the file is READY, then the size of the file that users download.
    /// Pictures are downloaded without metadata such as EXIF.
    async fn byte_size(&self) -> i32 {
        i32::try_from(self.0.byte_size).unwrap_or(i32::MAX)
    }

    /// Width in pixels, as displayed. Null until the file is READY, and for files that are neither pictures nor videos.
    async fn width(&self) -> Option<i32> {
        self.0.width
    }

    /// Height in pixels, as displayed. Null until the file is READY, and for files that are neither pictures nor
    /// videos.
    async fn height(&self) -> Option<i32> {
        self.0.height
    }

    /// Duration in milliseconds. Null until the file is READY, and for files that are neither audio recordings nor
    /// videos.
    async fn duration_ms(&self) -> Option<i32> {
        self.0.duration_ms
    }

    /// Blurred placeholder to display while the picture loads, in the BlurHash format (blurha.sh). Null until the file
    /// is READY, for files that are not pictures, and for pictures with too many pixels, by default more than 50
    /// megapixels.
    async fn blurhash(&self) -> Option<&str> {
        self.0.blurhash.as_deref()
    }

    /// Loudness of an audio recording: 64 values from 0 to 100, evenly spaced over its duration. Null until the file is
    /// READY, for other files, and for recordings longer than a limit of the server, by default 15 minutes.
    async fn waveform(&self) -> Option<Vec<i32>> {
        self.0.waveform.as_ref().map(|peaks| peaks.iter().map(|&peak| peak.into()).collect())
    }

    /// Why the file was refused, as a text for its uploader. Null if the state is not REJECTED.
    async fn rejection(&self) -> Option<&str> {
        self.0.rejection.as_deref()
    }

    /// Signed URL to download the file. Null until the file is READY. The server returns the same URL for up to 30
    /// minutes. The URL is valid for at least 30 minutes after the response.
    async fn url(&self, ctx: &Context<'_>) -> Option<Result<String>> {
        url_of(ctx, ctx.app().attachments().address(&self.0).await.transpose()?)
    }

    /// Signed URL of a scaled-down copy of a picture as WebP in sRGB, valid for as long as `url`. Null until the file is
    /// READY, for files that are not pictures, and for pictures with too many pixels, by default more than 50
    /// megapixels.
    async fn thumbnail_url(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Size of the thumbnail.", default_with = "ThumbnailSize::Small")] size: ThumbnailSize,
    ) -> Option<Result<String>> {
        url_of(ctx, ctx.app().attachments().thumbnail_address(&self.0, size.into()).await.transpose()?)
    }

    /// When the upload was started.
    async fn created_at(&self) -> DateTime {
        self.0.created_at.into()
    }
}

/// Returns the URL as the result of a field. A cached response with the URL is used only until the server signs a new
/// URL.
#[expect(clippy::unnecessary_wraps, reason = "a field that may be null, and may fail")]
fn url_of(ctx: &Context<'_>, address: Result<Address, crate::domain::Error>) -> Option<Result<String>> {
    Some(address.map_err(Error::from).map(|address| {
        ctx.limit_cache_time(address.fresh_until);
        address.url.to_string()
    }))
}

/// Key of the attachments of a message; not in the result if the message has no attachments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttachmentsKey(pub MessageId);

/// Key of the attachments of a scheduled message; not in the result if the message has no attachments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScheduledAttachmentsKey(pub ScheduledMessageId);

/// Returns the avatar of a user or a conversation. None if `id` is None or the attachment is not READY.
pub(in crate::graphql) async fn avatar(ctx: &Context<'_>, id: Option<AttachmentId>) -> Option<Result<Attachment>> {
    ctx.loaders().avatar(id?).await.map(|row| row.map(Attachment)).transpose()
}

impl Loader<AvatarKey> for Rows {
    type Value = Row;
    type Error = Error;

    async fn load(&self, keys: &[AvatarKey]) -> Result<HashMap<AvatarKey, Row>> {
        let ids: Vec<_> = keys.iter().map(|&AvatarKey(id)| id).collect();
        let rows = self.app.attachments().avatars(&ids).await?;
        self.cache_avatars(&rows);
        Ok(rows.into_iter().map(|row| (AvatarKey(row.id), row)).collect())
    }
}

impl Loader<AttachmentsKey> for Rows {
    type Value = Vec<Row>;
    type Error = Error;

    async fn load(&self, keys: &[AttachmentsKey]) -> Result<HashMap<AttachmentsKey, Vec<Row>>> {
        let ids: Vec<_> = keys.iter().map(|&AttachmentsKey(id)| id).collect();
        let rows = self.app.attachments().of_messages(&ids).await?;
        Ok(grouped(rows.into_iter().map(|(id, row)| (AttachmentsKey(id), row))))
    }
}

impl Loader<ScheduledAttachmentsKey> for Rows {
    type Value = Vec<Row>;
    type Error = Error;

    async fn load(&self, keys: &[ScheduledAttachmentsKey]) -> Result<HashMap<ScheduledAttachmentsKey, Vec<Row>>> {
        let ids: Vec<_> = keys.iter().map(|&ScheduledAttachmentsKey(id)| id).collect();
        let rows = self.app.attachments().of_scheduled_messages(&ids).await?;
        Ok(grouped(rows.into_iter().map(|(id, row)| (ScheduledAttachmentsKey(id), row))))
    }
}
