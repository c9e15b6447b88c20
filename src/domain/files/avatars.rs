//! Avatars: pictures of users and groups, for everybody to see.

use super::core::FilesCore;
use super::uploads::{self, EXAMINATION};
use crate::domain::error::{Error, Result};
use crate::domain::viewer::Viewer;
use crate::fair::Gone;
use crate::ids::AttachmentId;
use crate::log::Transaction;
use crate::store::files::attachments::{self, Attachment, AttachmentKind, AttachmentState};

/// The field that they come in.
const PATH: &str = "avatarId";

const SLOW: Error = Error::Overloaded("It takes too long to make an avatar of this picture. Try again in a moment.");

/// Makes squares of what is to become an avatar: one of the viewer's own pictures, READY. It is kept meanwhile, and shown
/// as it was until `show_square`.
pub(in crate::domain) async fn prepare(core: &FilesCore, viewer: Viewer, id: AttachmentId, gone: &Gone) -> Result<()> {
    let row = check(uploads::keep(core, viewer, id).await?)?;
    if row.squared {
        return Ok(());
    }
    let squared = core.files.square(&row, PATH, (viewer.user, gone));
    tokio::time::timeout(EXAMINATION, squared).await.unwrap_or(Err(SLOW))
}

/// From here to the end of the transaction it can be referred to.
pub(in crate::domain) async fn hold(tx: &mut Transaction<'_>, viewer: Viewer, id: AttachmentId) -> Result<()> {
    let row = attachments::hold(tx.conn(), &[id]).await?.pop();
    check(row.filter(|row| row.uploader_id == Some(viewer.user))).map(drop)
}

/// Its thumbnails are squares from now on. After what else is written: who deletes an account locks the user first.
pub(in crate::domain) async fn show_square(tx: &mut Transaction<'_>, id: AttachmentId) -> Result<()> {
    Ok(attachments::set_squared(tx.conn(), id).await?)
}

fn check(row: Option<Attachment>) -> Result<Attachment> {
    let row = row.ok_or_else(|| Error::invalid(PATH, "No such attachment."))?;
    if (row.state, row.kind) == (AttachmentState::Ready, AttachmentKind::Image) {
        Ok(row)
    } else {
        Err(Error::invalid(PATH, "An avatar is a picture that is completely uploaded."))
    }
}
