//! Attachments: who sees them, their addresses, and what messages have of them.

use std::collections::HashMap;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::addresses::Address;
use super::core::FilesCore;
use super::files::Object;
use crate::blobs::Download;
use crate::domain::error::{Error, Result, Violation};
use crate::domain::viewer::Viewer;
use crate::ids::{AttachmentId, UserId};
use crate::media::{Size, is_inline_safe};
use crate::store::files::attachment_uses::Use;
use crate::store::files::attachments::{self, Attachment, AttachmentKind, AttachmentState};
use crate::store::messaging::messages::MessageKind;

/// Attachments of one message.
pub const MAX_ATTACHMENTS: u16 = 10;

/// What RFC 8187 lets stand in a file name as it is: its attr-char.
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
    /// Those that the viewer may see: their own, those of messages that they see, and avatars.
    pub async fn find_many(&self, viewer: Viewer, ids: &[AttachmentId]) -> Result<Vec<Attachment>> {
        Ok(attachments::visible_to(&mut *self.core.base.connection().await?, viewer.user, ids).await?)
    }

    /// None until it is READY. For somebody who may see it.
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

    /// The same of a scaled-down picture; None where there is none. A square, once the picture was made an avatar.
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

/// RFC 6266: shown in place where that is safe, and its name in the form of old and of RFC 8187.
fn disposition(file_name: &str, content_type: &str) -> String {
    let how = if is_inline_safe(content_type) { "inline" } else { "attachment" };
    let plain = |c: char| if c == ' ' || c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%') { c } else { '_' };
    let plain: String = file_name.chars().map(plain).collect();
    format!("{how}; filename=\"{plain}\"; filename*=UTF-8''{}", utf8_percent_encode(file_name, ENCODED))
}

/// The attachments that messages are to be sent with, which are held until the transaction ends.
#[derive(Default)]
pub(in crate::domain) struct HeldAttachments(HashMap<AttachmentId, Attachment>);

impl FromIterator<Attachment> for HeldAttachments {
    fn from_iter<I: IntoIterator<Item = Attachment>>(rows: I) -> Self {
        Self(rows.into_iter().map(|row| (row.id, row)).collect())
    }
}

impl HeldAttachments {
    /// The kind of a message that the sender sends with these: that of all of them, or FILE. Somebody else's must have
    /// come by a message that the sender sees.
    pub(super) fn kind(&self, sender: UserId, ids: &[AttachmentId], forwarded: bool) -> Result<MessageKind> {
        let mut violations = Vec::new();
        let mut kinds = Vec::with_capacity(ids.len());
        for (place, id) in ids.iter().enumerate() {
            let row = self.0.get(id).filter(|row| forwarded || row.uploader_id == Some(sender));
            match row.map(|row| (row.state, row.kind)) {
                Some((AttachmentState::Ready, kind)) => kinds.push(kind),
                Some((AttachmentState::Pending, _)) => {
                    violations.push((place, "This file is not completely uploaded."));
                }
                Some((AttachmentState::Rejected, _)) => violations.push((place, "This file was rejected.")),
                None => violations.push((place, "No such attachment.")),
            }
        }
        if !violations.is_empty() {
            let path = |place| if forwarded { "messageIds".to_owned() } else { format!("attachmentIds.{place}") };
            let violation = |(place, message)| Violation::new(path(place), message);
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

/// Each in its place.
pub(in crate::domain) fn uses<Of: Copy>(of: Of, ids: &[AttachmentId]) -> impl Iterator<Item = Use<Of>> {
    ids.iter().zip(0..).map(move |(&attachment, position)| Use { of, position, attachment })
}
