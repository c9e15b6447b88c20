//! Wraps s3s-fs and corrects its behaviour: files with a wrong checksum are not stored, deleted objects leave no files
//! behind, and the parts of multipart uploads are listed. Requests that the server does not need, such as listing or
//! copying objects, are not implemented.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput, CompleteMultipartUploadOutput,
    CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput,
    DeleteObjectsOutput, GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput,
    HeadObjectOutput, ListPartsInput, ListPartsOutput, PutObjectInput, PutObjectOutput, UploadPartInput,
    UploadPartOutput,
};
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use tokio::fs;

use super::multipart::Uploads;
use super::removal::removed;
use super::verified::Verified;

/// Maximum number of bytes of a key. The names of the files of s3s-fs contain the key in base64 and about 60 further
/// bytes, and a file name has at most 255 bytes.
const MAX_KEY: usize = 128;

pub(super) struct Storage {
    files: FileSystem,
    uploads: Uploads,
    root: PathBuf,
}

impl Storage {
    pub(super) fn open(root: &Path) -> std::io::Result<Self> {
        // The `Debug` text contains all information of the library's error.
        let files = FileSystem::new(root).map_err(|error| std::io::Error::other(format!("{error:?}")))?;
        Ok(Self { files, uploads: Uploads::new(root), root: root.to_owned() })
    }

    /// Removes the files that s3s-fs leaves after it has deleted an object: metadata, and an empty directory.
    async fn clean_up(&self, bucket: &str, key: &str) -> S3Result<()> {
        let [bucket_name, key_name] = [bucket, key].map(|name| URL_SAFE_NO_PAD.encode(name));
        for kind in ["metadata", "internal"] {
            let name = format!(".bucket-{bucket_name}.object-{key_name}.{kind}.json");
            removed(fs::remove_file(self.root.join(name)).await)?;
        }
        // `remove_dir` does not remove a directory that is not empty. A directory directly below the bucket is never
        // removed, because another request may be about to write to it.
        let parent = Path::new(key).parent().filter(|parent| parent.components().count() > 1);
        if let Some(parent) = parent {
            let _ = fs::remove_dir(self.root.join(bucket).join(parent)).await;
        }
        Ok(())
    }
}

/// Checks that a key is a path below the directory of the bucket, and that it is not too long.
pub(super) fn checked(key: &str) -> S3Result<()> {
    let fits = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(|c: char| c.is_control() || c == '\\');
    if key.len() <= MAX_KEY && key.split('/').all(fits) {
        Ok(())
    } else {
        Err(s3_error!(InvalidArgument, "the key is not valid for this S3"))
    }
}

#[async_trait::async_trait]
impl S3 for Storage {
    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.files.head_bucket(request).await
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        checked(&request.input.key)?;
        self.files.head_object(request).await
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        checked(&request.input.key)?;
        self.files.get_object(request).await
    }

    async fn put_object(&self, mut request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        checked(&request.input.key)?;
        let Some(expected) = request.input.checksum_sha256.clone() else {
            return self.files.put_object(request).await;
        };
        let body = request.input.body.take().ok_or_else(|| s3_error!(IncompleteBody))?;
        let (body, wrong) = Verified::wrap(body, expected);
        request.input.body = Some(body);
        match self.files.put_object(request).await {
            Err(_) if wrong.load(Ordering::Relaxed) => {
                Err(s3_error!(BadDigest, "the SHA-256 differs from the signed one"))
            }
            stored => stored,
        }
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let (bucket, key) = (request.input.bucket.clone(), request.input.key.clone());
        checked(&key)?;
        let deleted = self.files.delete_object(request).await?;
        self.clean_up(&bucket, &key).await?;
        Ok(deleted)
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let bucket = request.input.bucket.clone();
        let keys: Vec<_> = request.input.delete.objects.iter().map(|object| object.key.clone()).collect();
        keys.iter().try_for_each(|key| checked(key))?;
        let deleted = self.files.delete_objects(request).await?;
        for key in &keys {
            self.clean_up(&bucket, key).await?;
        }
        Ok(deleted)
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        checked(&request.input.key)?;
        self.files.create_multipart_upload(request).await
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let upload = self.uploads.find(&request.input.upload_id)?;
        let number = request.input.part_number;
        let stored = self.files.upload_part(request).await?;
        // The upload may have been completed or aborted while this part was being stored.
        if !upload.exists() {
            upload.remove_part(number).await?;
            return Err(s3_error!(NoSuchUpload));
        }
        Ok(stored)
    }

    async fn list_parts(&self, request: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        let input = request.input;
        let parts = self.uploads.find(&input.upload_id)?.parts().await?;
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            is_truncated: Some(false),
            parts: Some(parts),
            ..ListPartsOutput::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        checked(&request.input.key)?;
        let upload = self.uploads.find(&request.input.upload_id)?;
        // The parts are checked here, because s3s-fs deletes the upload before it checks its parts.
        upload.check(request.input.multipart_upload.as_ref()).await?;
        let completed = self.files.complete_multipart_upload(request).await?;
        upload.remove_parts().await?;
        Ok(completed)
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let input = request.input;
        checked(&input.key)?;
        let upload = self.uploads.find_any(&input.upload_id)?;
        let known = upload.exists();
        // Any signed request may abort the upload. s3s-fs would require the credentials with which the upload began,
        // but the credentials of the server may have changed since then.
        upload.forget(&input.bucket, &input.key).await?;
        if known { Ok(S3Response::new(AbortMultipartUploadOutput::default())) } else { Err(s3_error!(NoSuchUpload)) }
    }
}
