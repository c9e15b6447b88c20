//! Where files can be downloaded: signed once for all who ask in the same half hour.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::blobs::{Blobs, Download};
use crate::domain::error::Result;

/// How long an address stays the same, so that browsers keep what they got by it.
const WINDOW: TimeDelta = TimeDelta::minutes(30);
/// How long an address is good, from the beginning of its window: for the rest of that and half an hour more.
const TTL: Duration = Duration::from_hours(1);
/// Bytes of addresses that a node keeps until there are others, and how many that are about.
const MAX_BYTES: u64 = 8 * 1024 * 1024;
const ADDRESSES: usize = 8 * 1024;

/// Where something can be downloaded.
#[derive(Clone, Debug)]
pub struct Address {
    pub url: Arc<str>,
    /// From then on there is another, which is good for longer.
    pub fresh_until: DateTime<Utc>,
}

/// An object's key, and the beginning of the time in which its address is the same.
type Key = (String, DateTime<Utc>);

/// Those that a node has signed.
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
