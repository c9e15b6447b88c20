//! Download URLs of files. All clients that request the URL of a file in the same half hour get the same URL. A node
//! signs the URL once and caches it.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::blobs::{Blobs, Download};
use crate::domain::error::Result;

/// Time for which the URL of a file stays the same, so that browsers can cache the file.
const WINDOW: TimeDelta = TimeDelta::minutes(30);
/// Time for which a URL is valid, from the start of its window. The URL stays valid for half an hour after the end of
/// the window.
const TTL: Duration = Duration::from_hours(1);
/// Maximum size of a node's cache of URLs, in bytes of keys and URLs.
const MAX_BYTES: u64 = 8 * 1024 * 1024;
/// Estimated number of URLs in a full cache.
const ADDRESSES: usize = 8 * 1024;

/// A signed URL for a download.
#[derive(Clone, Debug)]
pub struct Address {
    pub url: Arc<str>,
    /// Time from which clients can get a new URL, which is valid for longer.
    pub fresh_until: DateTime<Utc>,
}

/// Key of the cache: the S3 key of an object, and the start of the URL's window.
type Key = (String, DateTime<Utc>);

/// Cache of the URLs that this node has signed.
pub(super) struct Addresses(Cache<Key, Arc<str>, Weight>);

#[derive(Clone)]
struct Weight;

impl Weighter<Key, Arc<str>> for Weight {
    fn weight(&self, (key, _): &Key, url: &Arc<str>) -> u64 {
        (key.len() + url.len()) as u64
    }
}

impl Addresses {
    pub(super) fn new() -> Self {
        Self(Cache::with_weighter(ADDRESSES, MAX_BYTES, Weight))
    }

    pub(super) async fn of(&self, blobs: &Blobs, download: &Download<'_>, now: DateTime<Utc>) -> Result<Address> {
        let at = now.duration_trunc(WINDOW).unwrap_or(now);
        let (key, fresh_until) = ((download.key.to_owned(), at), at + WINDOW);
        if let Some(url) = self.0.get(&key) {
            return Ok(Address { url, fresh_until });
        }
        let url: Arc<str> = blobs.presign_get(download, at, TTL).await?.into();
        self.0.insert(key, Arc::clone(&url));
        Ok(Address { url, fresh_until })
    }
}
