//! Attachments: their visibility, their download URLs, and their use in messages.

use std::collections::HashMap;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::addresses::Address;
use super::core::FilesCore;
use super::objects::Object;
use crate::blobs::Download;
use crate::domain::error::{Error, Result, Violation};
use crate::domain::viewer::Viewer;
use crate::ids::{AttachmentId, MessageId, ScheduledMessageId, UserId};
use crate::media::{Size, is_inline_safe};
use crate::store::files::attachment_uses::{self, Use};
use crate::store::files::attachments::{self, Attachment, AttachmentKind, AttachmentState};
use crate::store::messaging::messages::MessageKind;

/// Maximum number of attachments of one message.
pub const MAX_ATTACHMENTS: u16 = 10;

/// Characters of a file name that are percent-encoded: all but the `attr-char` of RFC 8187.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

pub struct Attachments<'a> {
    pub(in crate::domain) core: &'a Arc<FilesCore>,
}

impl Attachments<'_> {
    /// Attachments visible to the viewer: their own, those of messages visible to them, and avatars.
    pub async fn find_many(&self, viewer: Viewer, ids: &[AttachmentId]) -> Result<Vec<Attachment>> {
        Ok(attachments::visible_to(&mut *self.core.base.connection().await?, viewer.user, ids).await?)
    }

    /// Avatars, which all users may see. Leaves out attachments that are not READY.
    pub async fn avatars(&self, ids: &[AttachmentId]) -> Result<Vec<Attachment>> {
        Ok(attachments::ready(&mut *self.core.base.connection().await?, ids).await?)
    }

    /// The attachments of messages. The caller has checked that the viewer may see the messages.
    pub async fn of_messages(&self, ids: &[MessageId]) -> Result<Vec<(MessageId, Attachment)>> {
        Ok(attachment_uses::of_messages(&mut *self.core.base.connection().await?, ids).await?)
    }

    /// The attachments of scheduled messages. The caller has checked that they are the viewer's own.
    pub async fn of_scheduled_messages(
        &self,
        ids: &[ScheduledMessageId],
    ) -> Result<Vec<(ScheduledMessageId, Attachment)>> {
        Ok(attachment_uses::of_scheduled(&mut *self.core.base.connection().await?, ids).await?)
    }

    /// Download URL of the file. None until the attachment is READY. The caller has checked that the viewer may see it.
    pub async fn address(&self, attachment: &Attachment) -> Result<Option<Address>> {
        if attachment.state != AttachmentState::Ready {
            return Ok(None);
        }
        let disposition = disposition(&attachment.file_name, &attachment.content_type);
        let key = Object::Original.key(attachment.id);
        self.signed(&Download { key: &key, content_type: &attachment.content_type, disposition: &disposition })
            .await
            .map(Some)
    }

    /// Download URL of a scaled-down picture. None if the attachment is not READY or has no thumbnails. The picture is
    /// square if the attachment has ever been set as an avatar.
    pub async fn thumbnail_address(&self, attachment: &Attachment, size: Size) -> Result<Option<Address>> {
        if attachment.state != AttachmentState::Ready || !attachment.has_thumbnails {
            return Ok(None);
        }
        let object = if attachment.squared { Object::Square(size) } else { Object::Thumbnail(size) };
        let key = object.key(attachment.id);
        self.signed(&Download { key: &key, content_type: "image/webp", disposition: "inline" }).await.map(Some)
    }

    async fn signed(&self, download: &Download<'_>) -> Result<Address> {
        let files = &self.core.files;
        files.addresses.of(&files.blobs, download, self.core.base.now()).await
    }
}

/// Content-Disposition header by RFC 6266: `inline` for content types that a browser can safely show, otherwise
/// `attachment`. The file name is given twice, in ASCII for old clients and as RFC 8187 encodes it.
fn disposition(file_name: &str, content_type: &str) -> String {
    let how = if is_inline_safe(content_type) { "inline" } else { "attachment" };
    let plain = |c: char| if c == ' ' || c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%') { c } else { '_' };
    let plain: String = file_name.chars().map(plain).collect();
    format!("{how}; filename=\"{plain}\"; filename*=UTF-8''{}", utf8_percent_encode(file_name, ENCODED))
}

/// The attachments of messages to send. Their rows are locked until the transaction ends, so that the sweeper cannot
/// remove them.
#[derive(Default)]
pub(in crate::domain) struct LockedAttachments(HashMap<AttachmentId, Attachment>);

impl FromIterator<Attachment> for LockedAttachments {
    fn from_iter<I: IntoIterator<Item = Attachment>>(rows: I) -> Self {
        Self(rows.into_iter().map(|row| (row.id, row)).collect())
    }
}

impl LockedAttachments {
    /// The kind of a message with these attachments: their common kind, FILE if their kinds differ, TEXT if there are
    /// none. An attachment of another user is allowed only if `forwarded`; the caller has then checked that the sender
    /// can see a message with it.
    pub(in crate::domain) fn kind(&self, sender: UserId, ids: &[AttachmentId], forwarded: bool) -> Result<MessageKind> {
        let mut violations = Vec::new();
        let mut kinds = Vec::with_capacity(ids.len());
        for (index, id) in ids.iter().enumerate() {
            let row = self.0.get(id).filter(|row| forwarded || row.uploader_id == Some(sender));
            match row.map(|row| (row.state, row.kind)) {
                Some((AttachmentState::Ready, kind)) => kinds.push(kind),
                Some((AttachmentState::Pending, _)) => {
                    violations.push((index, "This file is not completely uploaded."));
                }
                Some((AttachmentState::Rejected, _)) => violations.push((index, "This file was rejected.")),
                None => violations.push((index, "No such attachment.")),
            }
        }
        if !violations.is_empty() {
            let path = |index| if forwarded { "messageIds".to_owned() } else { format!("attachmentIds.{index}") };
            let violation = |(index, message)| Violation::new(path(index), message);
            return Err(Error::Invalid(violations.into_iter().map(violation).collect()));
        }
        Ok(match kinds.as_slice() {
            [] => MessageKind::Text,
            [first, rest @ ..] if rest.iter().all(|kind| kind == first) => match first {
                AttachmentKind::Image => MessageKind::Image,
                AttachmentKind::Video => MessageKind::Video,
                AttachmentKind::Audio => MessageKind::Audio,
                AttachmentKind::File => MessageKind::File,
            },
            _ => MessageKind::File,
        })
    }
}

/// The rows that attach the files to `of`, with their positions from 0.
pub(in crate::domain) fn uses<Of: Copy>(of: Of, ids: &[AttachmentId]) -> impl Iterator<Item = Use<Of>> {
    ids.iter().zip(0..).map(move |(&attachment, position)| Use { of, position, attachment })
}
