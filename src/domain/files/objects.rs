//! The objects of attachments in S3.

use crate::ids::AttachmentId;
use crate::media::Size;

/// An object of an attachment in S3.
#[derive(Clone, Copy, Debug)]
pub(in crate::domain) enum Object {
    /// The file as the uploader has stored it. No client can download this object, because the uploader can still
    /// replace it.
    Upload,
    /// The examined file. Metadata such as EXIF has been removed from pictures.
    Original,
    Thumbnail(Size),
    Square(Size),
}

impl Object {
    pub(super) const ALL: [Self; 8] = [
        Self::Upload,
        Self::Original,
        Self::Thumbnail(Size::Small),
        Self::Thumbnail(Size::Medium),
        Self::Thumbnail(Size::Large),
        Self::Square(Size::Small),
        Self::Square(Size::Medium),
        Self::Square(Size::Large),
    ];

    /// Returns the key of the object in S3.
    pub(in crate::domain) fn key(self, id: AttachmentId) -> String {
        match self {
            Self::Upload => format!("uploads/{id}"),
            Self::Original => format!("files/{id}/original"),
            Self::Thumbnail(size) => format!("files/{id}/{}.webp", name(size)),
            Self::Square(size) => format!("files/{id}/square-{}.webp", name(size)),
        }
    }
}

fn name(size: Size) -> &'static str {
    match size {
        Size::Small => "small",
        Size::Medium => "medium",
        Size::Large => "large",
    }
}
