//! An S3 service inside the server's process, for one machine. The crate s3s implements the protocol, and the crate
//! s3s-fs stores the files.

mod multipart;
mod removal;
mod storage;
mod verified;

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use s3s::auth::SimpleAuth;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};
use serde::{Deserialize, Serialize};

use crate::config::S3Settings;
use crate::random::Random;
use crate::secret_file::load_or_create;
use storage::Storage;

const DIRECTORY: &str = "s3";
const LOCK: &str = "s3.lock";
const CREDENTIALS: &str = "s3-credentials.json";
/// Names that a bucket must not have, because they are paths of the server.
const RESERVED_NAMES: [&str; 5] = ["graphql", "graphiql", "playground", "health", "metrics"];

/// The server's own S3. Cheap to clone.
#[derive(Clone)]
pub struct S3 {
    service: S3Service,
    bucket: String,
    endpoint: String,
    credentials: Credentials,
    directory: PathBuf,
    /// Lock that is held while any clone exists, so that only one server uses the directory.
    _lock: Arc<File>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Credentials {
    id: String,
    secret: String,
}

/// Reason why the server cannot run its own S3. The messages are for operators and say what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("another server stores its files in {}: set S3_ENDPOINT, or DATA_DIR to another directory", .0.display())]
    Locked(PathBuf),
    #[error("S3_BUCKET ({0}) is a path of the server: choose another name")]
    ReservedName(String),
    #[error("{} has no valid credentials: remove it, and the server creates new ones", .0.display())]
    Malformed(PathBuf),
    #[error("files cannot be stored in {}: {source}", .directory.display())]
    File { directory: PathBuf, source: io::Error },
}

impl S3 {
    /// Opens the S3 in the data directory, for a server that listens on `address`. Creates the bucket if it does not
    /// exist.
    pub fn open(data_dir: &Path, settings: &S3Settings, address: SocketAddr, random: &Random) -> Result<Self, Error> {
        let bucket = settings.s3_bucket.clone();
        if RESERVED_NAMES.contains(&bucket.as_str()) {
            return Err(Error::ReservedName(bucket));
        }
        let directory = data_dir.join(DIRECTORY);
        let failed = |source| Error::File { directory: directory.clone(), source };
        // Other accounts, such as the account of the private Postgres, may enter the data directory, but not the
        // directory of the bucket.
        std::fs::create_dir_all(data_dir).map_err(failed)?;
        DirBuilder::new().recursive(true).mode(0o700).create(directory.join(&bucket)).map_err(failed)?;
        let lock = File::create(data_dir.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Locked(directory)),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let credentials = credentials(data_dir, random)?;
        let mut builder = S3ServiceBuilder::new(Storage::open(&directory).map_err(failed)?);
        builder.set_auth(SimpleAuth::from_single(credentials.id.as_str(), credentials.secret.as_str()));
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(limits()))));
        let endpoint = format!("http://{}", reachable(address));
        Ok(Self { service: builder.build(), bucket, endpoint, credentials, directory, _lock: Arc::new(lock) })
    }

    /// Returns `settings` with the endpoint and the credentials of this S3.
    pub fn settings(&self, settings: &S3Settings) -> S3Settings {
        S3Settings {
            s3_endpoint: Some(self.endpoint.clone()),
            s3_access_key_id: Some(self.credentials.id.clone()),
            s3_secret_access_key: Some(self.credentials.secret.clone()),
            s3_path_style: true,
            own: true,
            ..settings.clone()
        }
    }

    /// Returns the HTTP service that handles requests to `/<bucket>` and to all paths below.
    pub fn service(&self) -> S3Service {
        self.service.clone()
    }

    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// Reads the credentials, which the first start creates.
fn credentials(data_dir: &Path, random: &Random) -> Result<Credentials, Error> {
    let create = || {
        let id = format!("parlance-{}", URL_SAFE_NO_PAD.encode(random.bytes::<9>()));
        let secret = URL_SAFE_NO_PAD.encode(random.bytes::<32>());
        Ok(serde_json::to_string(&Credentials { id, secret })?)
    };
    let failed = |source| Error::File { directory: data_dir.to_owned(), source };
    let path = data_dir.join(CREDENTIALS);
    let text = load_or_create(&path, create).map_err(failed)?;
    serde_json::from_str(&text).map_err(|_| Error::Malformed(path))
}

/// Limits the sizes of XML documents and forms, because s3s reads them into memory. Forms are already refused before
/// they reach s3s.
fn limits() -> S3Config {
    let mut config = S3Config::default();
    config.xml_max_body_size = 1024 * 1024;
    config.post_object_max_file_size = 0;
    config.form_max_field_size = 0;
    config.form_max_fields_size = 0;
    config.form_max_parts = 0;
    config
}

/// Returns the address at which the server itself and clients on its machine reach the S3.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}
