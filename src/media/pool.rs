//! The worker pool that inspects files. Runs a few inspections at a time on threads that may block, and serves the
//! users in turn.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Error, Inspected, Limits, Rejection, Thumbnail};
use crate::config;
use crate::fair::{Bounds, Gone, Pool};
use crate::ids::UserId;

/// Additional time after `Limits::max_work` for a step that cannot be interrupted, such as decoding one picture.
const GRACE: Duration = Duration::from_secs(5);

/// The user whose file is inspected, and the signal that the user's client no longer waits.
pub type Requester<'a> = (UserId, &'a Gone);

/// Inspects a bounded number of files at a time. Cheap to clone.
#[derive(Clone)]
pub struct MediaPool {
    limits: Arc<Limits>,
    pool: Pool<UserId>,
}

impl MediaPool {
    pub fn new(settings: &config::Media, max_picture_bytes: u64) -> Self {
        Self {
            limits: Arc::new(Limits::new(settings, max_picture_bytes)),
            pool: Pool::new(Bounds {
                workers: settings.media_workers,
                queue: settings.media_queue,
                share: settings.media_queue_share,
            }),
        }
    }

    /// Inspects a file whose declared content type is `declared`.
    pub async fn inspect(&self, path: &Path, declared: &str, requester: Requester<'_>) -> Result<Inspected, Error> {
        let (path, declared) = (path.to_owned(), declared.to_owned());
        self.run(requester, move |limits| super::inspect(&path, &declared, limits)).await
    }

    /// Crops the middle of a picture to squares with the sides in `SQUARE_SIDES`.
    pub async fn square(&self, path: &Path, requester: Requester<'_>) -> Result<Vec<Thumbnail>, Error> {
        let path = path.to_owned();
        self.run(requester, move |limits| super::square(&path, limits)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        (user, gone): Requester<'_>,
        work: impl FnOnce(&Limits) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let permit = self.pool.permit(user, gone).await.map_err(Error::Refused)?;
        let limits = Arc::clone(&self.limits);
        let result = tokio::task::spawn_blocking(move || {
            // The thread holds the permit, so work that exceeds its time limit still occupies a worker of the pool.
            let _permit = permit;
            catch_unwind(AssertUnwindSafe(|| work(&limits)))
        });
        match tokio::time::timeout(self.limits.max_work + GRACE, result).await {
            Ok(Ok(Ok(outcome))) => outcome,
            Ok(Ok(Err(_)) | Err(_)) => {
                tracing::error!("the inspection of a file panicked; the file is treated as unreadable");
                Err(Rejection::Unreadable.into())
            }
            Err(_) => {
                tracing::error!("the inspection of a file exceeds its time limit");
                Err(Rejection::TooSlow.into())
            }
        }
    }
}
