//! The objects of attachments in S3: examines and scans them, makes square thumbnails, and deletes them.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::addresses::Addresses;
use super::objects::Object;
use super::parts::{is_stored, part_sizes};
use crate::blobs::{Blobs, Body};
use crate::config::{Config, Files as Settings};
use crate::domain::error::{Error, Result, Violation};
use crate::error::Error as Internal;
use crate::fair::{Bounds, Permit, Pool, Refusal as PoolRefusal};
use crate::ids::{AttachmentId, UserId};
use crate::media::{self, Inspected, Kind, MediaPool, Rejection, Requester, Size, Thumbnail};
use crate::scanner::{self, Scanner, Verdict};
use crate::store::files::attachments::{Attachment, AttachmentKind, AttachmentState};

/// Maximum number of files that a node has on its disk for examination. If the node has more media workers, their
/// number is the maximum. The node downloads some files while it inspects other files.
const MAX_CONCURRENT: usize = 4;
/// Size in bytes of the buffer for computing a checksum.
const HASH_BUFFER: usize = 64 * 1024;

const REPLACED: &str = "The file was replaced while it was examined.";

/// Reason for the rejection of a file that is too large for the scanner. A retry would give the same result.
const NOT_SCANNED: &str = "The virus scanner cannot scan this file: the file or its unpacked content is too large.";

/// Time after which a user with too many waiting files should retry. The inspection of most files takes less time.
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(in crate::domain) struct Files {
    pub(in crate::domain) blobs: Blobs,
    pub(super) settings: Settings,
    pub(super) addresses: Addresses,
    media: MediaPool,
    /// The virus scanner. None if no scanner is configured.
    scanner: Option<Scanner>,
    /// Permits to have a file on disk. The users get permits in turn.
    permits: Pool<UserId>,
}

/// The reason why an attachment does not become READY.
enum Refusal {
    /// The file is not allowed. The text is for the user who uploaded the file.
    Rejected(String),
    /// The examination has failed, and can be repeated.
    Failed(Error),
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection.text())
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Internal> for Refusal {
    fn from(error: Internal) -> Self {
        Self::Failed(error.into())
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Internal::File(error).into()
    }
}

impl From<media::Error> for Refusal {
    fn from(error: media::Error) -> Self {
        match error {
            media::Error::Rejected(rejection) => rejection.into(),
            media::Error::Refused(refusal) => pool_refused(refusal).into(),
            media::Error::Io(error) => error.into(),
        }
    }
}

impl Files {
    pub(in crate::domain) fn new(blobs: Blobs, config: &Config) -> Self {
        let max_concurrent = MAX_CONCURRENT.max(config.media.media_workers);
        Self {
            blobs,
            settings: config.files.clone(),
            addresses: Addresses::new(),
            media: MediaPool::new(&config.media, config.files.max_image_bytes.unsigned_abs()),
            scanner: config.media.clamd_address.as_deref().map(|at| Scanner::new(at, config.media.clamd_timeout)),
            permits: Pool::new(Bounds {
                workers: max_concurrent,
                queue: config.media.media_queue,
                share: config.media.media_queue_share,
            }),
        }
    }

    /// Returns the maximum size of a file of this kind in bytes.
    pub(super) fn max_bytes(&self, kind: AttachmentKind) -> i64 {
        let own = match kind {
            AttachmentKind::Image => self.settings.max_image_bytes,
            AttachmentKind::Video => self.settings.max_video_bytes,
            AttachmentKind::Audio => self.settings.max_audio_bytes,
            AttachmentKind::File => self.settings.max_upload_bytes,
        };
        own.min(self.settings.max_upload_bytes)
    }

    /// Examines an upload. Returns the attachment as READY, with all objects stored, or as REJECTED. The caller must
    /// store the row.
    pub(super) async fn examine(&self, upload: &Attachment, requester: Requester<'_>) -> Result<Attachment> {
        match self.try_examine(upload, requester).await {
            Ok(ready) => Ok(ready),
            Err(Refusal::Failed(error)) => Err(error),
            Err(Refusal::Rejected(reason)) => {
                Ok(Attachment { state: AttachmentState::Rejected, rejection: Some(reason), ..upload.clone() })
            }
        }
    }

    async fn try_examine(&self, upload: &Attachment, requester: Requester<'_>) -> Result<Attachment, Refusal> {
        self.join_parts(upload).await?;
        let key = Object::Upload.key(upload.id);
        let head = self.blobs.head(&key).await?.ok_or_else(|| missing("Nothing has been uploaded yet."))?;
        if head.byte_size != upload.byte_size.unsigned_abs() {
            let reason = format!("The file has {} bytes instead of {}.", head.byte_size, upload.byte_size);
            return Err(Refusal::Rejected(reason));
        }
        let _permit = self.permit(requester).await?;
        let file = self.fetch(&key, upload.byte_size).await?;
        if file.as_file().metadata()?.len() != head.byte_size {
            return Err(Refusal::Rejected(REPLACED.to_owned()));
        }
        if let Some(expected) = &upload.sha256
            && sha256(file.path()).await? != *expected
        {
            return Err(Refusal::Rejected("The file does not have the declared SHA-256.".to_owned()));
        }
        self.scan(&file).await?;
        let found = self.media.inspect(file.path(), &upload.content_type, requester).await?;
        let kind = kind_of(found.kind);
        if upload.byte_size > self.max_bytes(kind) {
            return Err(Refusal::Rejected(too_large(kind, self.max_bytes(kind))));
        }
        self.store(upload, &file, found).await
    }

    async fn permit(&self, (user, gone): Requester<'_>) -> Result<Permit<UserId>> {
        self.permits.permit(user, gone).await.map_err(pool_refused)
    }

    /// Returns the number of files under examination, and the number of files that wait for examination.
    pub(super) fn load(&self) -> (usize, usize) {
        self.permits.load()
    }

    /// Joins the parts of an upload in parts. Does nothing for an upload in one request. Returns CONFLICT if parts are
    /// missing.
    async fn join_parts(&self, upload: &Attachment) -> Result<(), Refusal> {
        let Some(upload_id) = &upload.upload_id else { return Ok(()) };
        let key = Object::Upload.key(upload.id);
        let Some(parts) = self.blobs.list_parts(&key, upload_id).await? else {
            // The parts are already joined. If S3 crashed right after that, it might still store some of the parts.
            self.check_not_lost(upload.id).await?;
            return Ok(self.blobs.abort_multipart(&key, upload_id).await?);
        };
        let expected = part_sizes(upload.byte_size);
        let missing_parts: Vec<_> = expected
            .iter()
            .filter(|&&(number, size)| !is_stored(&parts, number, size))
            .map(|(n, _)| n.to_string())
            .collect();
        if !missing_parts.is_empty() {
            return Err(missing(&format!("These parts are not uploaded yet: {}.", missing_parts.join(", "))).into());
        }
        let parts: Vec<_> =
            parts.into_iter().filter(|part| part.number <= expected.len().try_into().unwrap_or(i32::MAX)).collect();
        Ok(self.blobs.complete_multipart(&key, upload_id, &parts).await?)
    }

    /// Checks that S3 has the joined file of an upload whose parts S3 no longer lists. Returns CONFLICT if S3 does not
    /// have the file: S3 might have crashed while it joined the parts.
    pub(super) async fn check_not_lost(&self, id: AttachmentId) -> Result<()> {
        match self.blobs.head(&Object::Upload.key(id)).await? {
            Some(_) => Ok(()),
            None => Err(missing("The upload of this file is lost. Upload the file again.")),
        }
    }

    /// Downloads an object to the disk of this node, where the uploader cannot change the file.
    async fn fetch(&self, key: &str, limit: i64) -> Result<NamedTempFile, Refusal> {
        let file = blocking(NamedTempFile::new).await?;
        let mut to = tokio::fs::File::from_std(file.reopen()?);
        match self.blobs.download(key, &mut to, limit.unsigned_abs()).await {
            Ok(_) => Ok(file),
            Err(Internal::S3TooLarge(_)) => Err(Refusal::Rejected(REPLACED.to_owned())),
            Err(error) => Err(error.into()),
        }
    }

    async fn scan(&self, file: &NamedTempFile) -> Result<(), Refusal> {
        let Some(scanner) = &self.scanner else { return Ok(()) };
        let mut file = tokio::fs::File::from_std(file.reopen()?);
        match scanner.scan(&mut file).await {
            Ok(Verdict::Clean) => Ok(()),
            Ok(Verdict::Infected(name)) => Err(Rejection::Infected(name).into()),
            Err(error @ scanner::Error::TooLarge) => {
                tracing::warn!(%error, "could not scan a file");
                Err(Refusal::Rejected(NOT_SCANNED.to_owned()))
            }
            Err(error) => {
                tracing::warn!(?error, "could not scan a file");
                Err(Error::Overloaded("The file cannot be scanned now. Try again in a moment.").into())
            }
        }
    }

    /// Stores the examined file and its thumbnails as separate objects, which a later upload to the same URL does not
    /// change.
    async fn store(&self, upload: &Attachment, file: &NamedTempFile, found: Inspected) -> Result<Attachment, Refusal> {
        let byte_size =
            found.cleaned.as_ref().map_or(upload.byte_size, |bytes| bytes.len().try_into().unwrap_or(i64::MAX));
        let original = match found.cleaned {
            Some(bytes) => Body::Bytes(bytes),
            None => Body::File(file.path().to_owned()),
        };
        self.blobs.put(&Object::Original.key(upload.id), &found.content_type, original).await?;
        let has_thumbnails = !found.thumbnails.is_empty();
        self.store_all(upload.id, found.thumbnails, Object::Thumbnail).await?;
        let number = |number: Option<u32>| number.and_then(|number| i32::try_from(number).ok());
        Ok(Attachment {
            state: AttachmentState::Ready,
            kind: kind_of(found.kind),
            content_type: found.content_type,
            byte_size,
            width: number(found.width),
            height: number(found.height),
            duration_ms: found.duration.map(|duration| i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)),
            blurhash: found.blurhash,
            waveform: found.waveform,
            has_thumbnails,
            ..upload.clone()
        })
    }

    async fn store_all(
        &self,
        id: AttachmentId,
        pictures: Vec<Thumbnail>,
        object: fn(Size) -> Object,
    ) -> Result<(), Internal> {
        for picture in pictures {
            let key = object(picture.size).key(id);
            self.blobs.put(&key, picture.content_type, Body::Bytes(picture.bytes)).await?;
        }
        Ok(())
    }

    /// Makes and stores the square thumbnails of a READY picture. `path` is the input field that errors refer to.
    pub(super) async fn square(&self, picture: &Attachment, path: &str, requester: Requester<'_>) -> Result<()> {
        match self.try_square(picture, requester).await {
            Ok(()) => Ok(()),
            Err(Refusal::Failed(error)) => Err(error),
            Err(Refusal::Rejected(reason)) => Err(Error::invalid(path, reason)),
        }
    }

    async fn try_square(&self, picture: &Attachment, requester: Requester<'_>) -> Result<(), Refusal> {
        let _permit = self.permit(requester).await?;
        let file = self.fetch(&Object::Original.key(picture.id), picture.byte_size).await?;
        let squares = self.media.square(file.path(), requester).await?;
        Ok(self.store_all(picture.id, squares, Object::Square).await?)
    }

    /// Deletes all objects of the attachments. Missing objects are not an error.
    pub(super) async fn remove(&self, attachments: &[Attachment]) -> Result<(), Internal> {
        for attachment in attachments {
            if let Some(upload_id) = &attachment.upload_id {
                self.blobs.abort_multipart(&Object::Upload.key(attachment.id), upload_id).await?;
            }
        }
        let keys: Vec<_> =
            attachments.iter().flat_map(|attachment| Object::ALL.map(|object| object.key(attachment.id))).collect();
        self.blobs.delete(&keys).await
    }
}

/// Returns the kind of a file by its declared content type.
pub(super) fn declared_kind(content_type: &str) -> AttachmentKind {
    kind_of(Kind::of(content_type))
}

fn kind_of(kind: Kind) -> AttachmentKind {
    match kind {
        Kind::Image => AttachmentKind::Image,
        Kind::Video => AttachmentKind::Video,
        Kind::Audio => AttachmentKind::Audio,
        Kind::File => AttachmentKind::File,
    }
}

pub(super) fn too_large(kind: AttachmentKind, allowed: i64) -> String {
    let what = match kind {
        AttachmentKind::Image => "A picture",
        AttachmentKind::Video => "A video",
        AttachmentKind::Audio => "A recording",
        AttachmentKind::File => "A file",
    };
    format!("{what} can have at most {allowed} bytes.")
}

fn pool_refused(refusal: PoolRefusal) -> Error {
    match refusal {
        PoolRefusal::QueueFull => Error::Overloaded("Too many files wait to be inspected. Try again in a moment."),
        PoolRefusal::ShareFull => {
            Error::RateLimited("MEDIA_QUEUE_SHARE", RETRY_AFTER, "Too many of your files wait to be inspected.")
        }
        PoolRefusal::Gone => {
            Error::Overloaded("The client disconnected before the file was inspected. Call `completeUpload` again.")
        }
    }
}

fn missing(what: &str) -> Error {
    Error::Conflict(Violation::new("attachmentId", what))
}

async fn sha256(path: &Path) -> io::Result<Vec<u8>> {
    let path = path.to_owned();
    blocking(move || {
        let mut file = BufReader::with_capacity(HASH_BUFFER, File::open(path)?);
        let mut hasher = Sha256::new();
        loop {
            let bytes = file.fill_buf()?;
            if bytes.is_empty() {
                return Ok(hasher.finalize().to_vec());
            }
            hasher.update(bytes);
            let read = bytes.len();
            file.consume(read);
        }
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
