//! Avatars: pictures of users and groups, visible to every signed-in user.

use super::core::FilesCore;
use super::uploads::{self, EXAMINATION_TIMEOUT};
use crate::domain::error::{Error, Result};
use crate::domain::viewer::Viewer;
use crate::fair::Gone;
use crate::ids::AttachmentId;
use crate::log::Transaction;
use crate::store::files::attachments::{self, Attachment, AttachmentKind, AttachmentState};

/// Name of the input field with the attachment's id.
const PATH: &str = "avatarId";

const SLOW: Error = Error::Overloaded("Making an avatar of this picture takes too long. Try again in a moment.");

/// Makes the square thumbnails of a picture before it is set as an avatar. The picture must be READY, and the viewer
/// must have uploaded it. Protects the picture from the sweeper. Clients get the former thumbnails until `show_square`
/// is called.
pub(in crate::domain) async fn prepare(core: &FilesCore, viewer: Viewer, id: AttachmentId, gone: &Gone) -> Result<()> {
    let row = check(uploads::protect(core, viewer, id).await?)?;
    if row.squared {
        return Ok(());
    }
    let squared = core.files.square(&row, PATH, (viewer.user, gone));
    tokio::time::timeout(EXAMINATION_TIMEOUT, squared).await.unwrap_or(Err(SLOW))
}

/// Locks the picture until the transaction ends, so that the sweeper cannot remove it.
pub(in crate::domain) async fn lock(tx: &mut Transaction<'_>, viewer: Viewer, id: AttachmentId) -> Result<()> {
    let row = attachments::lock(tx.conn(), &[id]).await?.pop();
    check(row.filter(|row| row.uploader_id == Some(viewer.user))).map(drop)
}

/// Makes clients get the square thumbnails from now on. Must be the last write of the transaction, so that the row of
/// the user is locked before the row of the attachment, as in the deletion of an account.
pub(in crate::domain) async fn show_square(tx: &mut Transaction<'_>, id: AttachmentId) -> Result<()> {
    Ok(attachments::set_squared(tx.conn(), id).await?)
}

fn check(row: Option<Attachment>) -> Result<Attachment> {
    let row = row.ok_or_else(|| Error::invalid(PATH, "No such attachment. Upload the file again."))?;
    if (row.state, row.kind) == (AttachmentState::Ready, AttachmentKind::Image) {
        Ok(row)
    } else {
        Err(Error::invalid(PATH, "An avatar must be a completely uploaded picture."))
    }
}
