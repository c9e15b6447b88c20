//! Where files are looked into: a few at a time, on threads that may block.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{AcquireError, Semaphore};

use super::{Error, Inspected, Limits, Rejection, Thumbnail};
use crate::config;

/// Time beyond `Limits::max_work` for a step that is not interrupted, such as unpacking one picture.
const GRACE: Duration = Duration::from_secs(5);

/// Looks into files, so many at once and no more.
#[derive(Clone)]
pub struct Workshop {
    limits: Arc<Limits>,
    workers: Arc<Semaphore>,
    /// Those who work and those who wait.
    places: Arc<Semaphore>,
}

impl Workshop {
    pub fn new(settings: &config::Media, max_picture_bytes: u64) -> Self {
        Self {
            limits: Arc::new(Limits::new(settings, max_picture_bytes)),
            workers: Arc::new(Semaphore::new(settings.media_workers)),
            places: Arc::new(Semaphore::new(settings.media_workers + settings.media_queue)),
        }
    }

    /// Finds out what a file is.
    pub async fn inspect(&self, path: &Path, declared: &str) -> Result<Inspected, Error> {
        let (path, declared) = (path.to_owned(), declared.to_owned());
        self.run(move |limits| super::inspect(&path, &declared, limits)).await
    }

    /// The middle of a picture as squares.
    pub async fn square(&self, path: &Path) -> Result<Vec<Thumbnail>, Error> {
        let path = path.to_owned();
        self.run(move |limits| super::square(&path, limits)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Limits) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let _place = self.places.try_acquire().map_err(|_| Error::Busy)?;
        let worker = Arc::clone(&self.workers).acquire_owned().await.map_err(|_: AcquireError| Error::Busy)?;
        let limits = Arc::clone(&self.limits);
        let result = tokio::task::spawn_blocking(move || {
            // Held by the thread itself: work that goes on after its time keeps its place.
            let _worker = worker;
            catch_unwind(AssertUnwindSafe(|| work(&limits)))
        });
        match tokio::time::timeout(self.limits.max_work + GRACE, result).await {
            Ok(Ok(Ok(outcome))) => outcome,
            Ok(Ok(Err(_)) | Err(_)) => {
                tracing::error!("looking into a file panicked; the file is taken for unreadable");
                Err(Rejection::Unreadable.into())
            }
            Err(_) => {
                tracing::error!("looking into a file goes on beyond its time");
                Err(Rejection::TooSlow.into())
            }
        }
    }
}
