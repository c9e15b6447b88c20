//! The parts of a multipart upload, as s3s-fs stores them.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::{CompletedMultipartUpload, ETag, Part, Timestamp};
use s3s::{S3Error, S3Result, s3_error};
use tokio::fs;
use tokio::io::AsyncReadExt as _;
use uuid::Uuid;

use super::removal::removed;

/// Minimum number of bytes of every part except the last part, as in S3.
const MIN_PART: i64 = 5 * 1024 * 1024;
/// Maximum number of bytes that are read and hashed at once.
const PIECE: usize = 64 * 1024;

pub(super) struct Uploads {
    root: PathBuf,
}

pub(super) struct Upload {
    root: PathBuf,
    id: Uuid,
    /// Prefix of the names of the files that contain the parts.
    prefix: String,
    /// A file that exists while the upload is neither completed nor aborted.
    mark: PathBuf,
}

impl Uploads {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(super) fn find(&self, id: &str) -> S3Result<Upload> {
        let upload = self.find_any(id)?;
        if upload.exists() { Ok(upload) } else { Err(s3_error!(NoSuchUpload)) }
    }

    /// Returns an upload without checking its mark, to find an upload whose parts remain although its mark is removed.
    /// s3s-fs removes the mark before it copies the parts, and the server may be stopped in between.
    pub(super) fn find_any(&self, id: &str) -> S3Result<Upload> {
        let id = Uuid::parse_str(id).map_err(|_| s3_error!(NoSuchUpload))?;
        Ok(Upload {
            root: self.root.clone(),
            prefix: format!(".upload_id-{id}.part-"),
            mark: self.root.join(format!(".upload-{id}.json")),
            id,
        })
    }
}

impl Upload {
    pub(super) fn exists(&self) -> bool {
        self.mark.exists()
    }

    /// Returns the stored parts, sorted by number. The list of s3s-fs is not sorted and contains no tags.
    pub(super) async fn parts(&self) -> S3Result<Vec<Part>> {
        let mut parts = Vec::new();
        for (number, path) in self.files().await? {
            let metadata = fs::metadata(&path).await.map_err(S3Error::internal_error)?;
            parts.push(Part {
                part_number: Some(number),
                size: i64::try_from(metadata.len()).ok(),
                last_modified: metadata.modified().ok().map(Timestamp::from),
                e_tag: Some(ETag::Strong(tag(&path).await.map_err(S3Error::internal_error)?)),
                ..Part::default()
            });
        }
        Ok(parts)
    }

    /// Checks that the parts in a request can be joined to an object: they are numbered from 1 in order, each part is
    /// stored with the same tag, and each part except the last is large enough.
    pub(super) async fn check(&self, named: Option<&CompletedMultipartUpload>) -> S3Result<()> {
        let named = named.and_then(|named| named.parts.as_deref()).unwrap_or_default();
        let parts = self.parts().await?;
        if named.is_empty() || named.len() > parts.len() {
            return Err(s3_error!(InvalidPart));
        }
        for (index, (named, part)) in named.iter().zip(&parts).enumerate() {
            let number = i32::try_from(index + 1).ok();
            if named.part_number != number || part.part_number != number || named.e_tag != part.e_tag {
                return Err(s3_error!(InvalidPart, "parts must be named in order, from 1, with their tags"));
            }
        }
        if parts.iter().take(named.len() - 1).any(|part| part.size.is_none_or(|size| size < MIN_PART)) {
            return Err(s3_error!(EntityTooSmall));
        }
        Ok(())
    }

    /// Deletes the upload. Removes the mark first: a request that stores a part meanwhile checks the mark afterwards,
    /// and removes its part if the mark does not exist.
    pub(super) async fn forget(&self, bucket: &str, key: &str) -> S3Result<()> {
        removed(fs::remove_file(&self.mark).await)?;
        let [bucket, key] = [bucket, key].map(|name| URL_SAFE_NO_PAD.encode(name));
        let metadata = format!(".bucket-{bucket}.object-{key}.upload-{}.metadata.json", self.id);
        removed(fs::remove_file(self.root.join(metadata)).await)?;
        self.remove_parts().await
    }

    pub(super) async fn remove_part(&self, number: i32) -> S3Result<()> {
        removed(fs::remove_file(self.root.join(format!("{}{number}", self.prefix))).await)
    }

    /// Removes all stored parts. After a completion, the parts that are still stored are not contained in the object.
    pub(super) async fn remove_parts(&self) -> S3Result<()> {
        for (_, path) in self.files().await? {
            removed(fs::remove_file(path).await)?;
        }
        Ok(())
    }

    async fn files(&self) -> S3Result<Vec<(i32, PathBuf)>> {
        let mut files = Vec::new();
        let mut entries = fs::read_dir(&self.root).await.map_err(S3Error::internal_error)?;
        while let Some(entry) = entries.next_entry().await.map_err(S3Error::internal_error)? {
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(&self.prefix)?.parse().ok());
            files.extend(number.map(|number| (number, entry.path())));
        }
        files.sort();
        Ok(files)
    }
}

/// Computes the MD5 of a part in hexadecimal, which is the tag that the client received when the part was stored.
async fn tag(path: &Path) -> std::io::Result<String> {
    let mut file = fs::File::open(path).await?;
    let mut hash = Md5::new();
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece).await? {
            0 => break,
            read => hash.update(&piece[..read]),
        }
    }
    Ok(format!("{:032x}", u128::from_be_bytes(hash.finalize())))
}
