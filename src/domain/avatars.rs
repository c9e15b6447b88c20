//! Avatars: pictures of users and groups, for everybody to see.

use super::error::{Error, Result};
use super::{App, Viewer};
use crate::ids::AttachmentId;
use crate::log::Transaction;
use crate::store::attachments::{self, Attachment, AttachmentKind, AttachmentState};

/// The field that they come in.
const PATH: &str = "avatarId";

/// Makes squares of what is to become an avatar: one of the viewer's own pictures, READY.
pub(super) async fn prepare(app: &App, viewer: Viewer, id: AttachmentId) -> Result<()> {
    let row = attachments::own(&mut *app.connection().await?, viewer.user, id).await?;
    let row = check(row)?;
    if !row.squared {
        app.parts.files.square(&row, PATH).await?;
        attachments::set_squared(&mut *app.connection().await?, id).await?;
    }
    Ok(())
}

/// From here to the end of the transaction it can be referred to.
pub(super) async fn hold(tx: &mut Transaction<'_>, viewer: Viewer, id: AttachmentId) -> Result<()> {
    let row = attachments::hold(tx.conn(), &[id]).await?.pop();
    check(row.filter(|row| row.uploader_id == Some(viewer.user))).map(drop)
}

fn check(row: Option<Attachment>) -> Result<Attachment> {
    let row = row.ok_or_else(|| Error::invalid(PATH, "No such attachment."))?;
    if (row.state, row.kind) == (AttachmentState::Ready, AttachmentKind::Image) {
        Ok(row)
    } else {
        Err(Error::invalid(PATH, "An avatar is a picture that is completely uploaded."))
    }
}
