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

/// Characters of a file name that are percent-encoded: all except the `attr-char` of RFC 8187.
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
    /// Finds attachments by id. Leaves out attachments that are not visible to the viewer. The visible attachments are
    /// the viewer's own attachments, attachments of messages visible to the viewer, and avatars.
    pub async fn find_many(&self, viewer: Viewer, ids: &[AttachmentId]) -> Result<Vec<Attachment>> {
        Ok(attachments::visible_to(&mut *self.core.base.connection().await?, viewer.user, ids).await?)
    }

    /// Finds avatars by id. All users may see avatars. Leaves out attachments that are not READY.
    pub async fn avatars(&self, ids: &[AttachmentId]) -> Result<Vec<Attachment>> {
        Ok(attachments::ready(&mut *self.core.base.connection().await?, ids).await?)
    }

    /// Reads the attachments of messages. The caller must have checked that the viewer may see the messages.
    pub async fn of_messages(&self, ids: &[MessageId]) -> Result<Vec<(MessageId, Attachment)>> {
        Ok(attachment_uses::of_messages(&mut *self.core.base.connection().await?, ids).await?)
    }

    /// Reads the attachments of scheduled messages. The caller must have checked that the viewer owns the scheduled
    /// messages.
    pub async fn of_scheduled_messages(
        &self,
        ids: &[ScheduledMessageId],
    ) -> Result<Vec<(ScheduledMessageId, Attachment)>> {
        Ok(attachment_uses::of_scheduled(&mut *self.core.base.connection().await?, ids).await?)
    }

    /// Returns the download URL of the file, or None if the attachment is not READY. The caller must have checked that
    /// the viewer may see the attachment.
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

    /// Returns the download URL of a scaled-down picture, or None if the attachment is not READY or has no thumbnails.
    /// The picture is square if the attachment has ever been set as an avatar.
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

/// Returns the Content-Disposition header of RFC 6266: `inline` for content types that a browser can safely show,
/// otherwise `attachment`. The header contains the file name twice: in ASCII for old clients, and in the encoding of
/// RFC 8187.
fn disposition(file_name: &str, content_type: &str) -> String {
    let how = if is_inline_safe(content_type) { "inline" } else { "attachment" };
    let plain = |c: char| if c == ' ' || c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%') { c } else { '_' };
    let plain: String = file_name.chars().map(plain).collect();
    format!("{how}; filename=\"{plain}\"; filename*=UTF-8''{}", utf8_percent_encode(file_name, ENCODED))
}

/// The attachments of messages to send. The rows of the attachments are locked until the transaction ends, so that the
/// sweeper cannot remove the attachments.
#[derive(Default)]
pub(in crate::domain) struct LockedAttachments(HashMap<AttachmentId, Attachment>);

impl FromIterator<Attachment> for LockedAttachments {
    fn from_iter<I: IntoIterator<Item = Attachment>>(rows: I) -> Self {
        Self(rows.into_iter().map(|row| (row.id, row)).collect())
    }
}

impl LockedAttachments {
    /// Returns the kind of a message with these attachments: the kind of the attachments, FILE if their kinds differ,
    /// or TEXT without attachments. Returns BAD_USER_INPUT for an attachment of another user, unless `forwarded` is
    /// set. In that case, the caller must have checked that the sender can see a message with the attachment.
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
                None => violations.push((index, "No such attachment. Upload the file again.")),
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

/// Makes the rows that attach the files to `of`, with positions from 0.
pub(in crate::domain) fn uses<Of: Copy>(of: Of, ids: &[AttachmentId]) -> impl Iterator<Item = Use<Of>> {
    ids.iter().zip(0..).map(move |(&attachment, position)| Use { of, position, attachment })
}
