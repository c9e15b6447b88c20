//! A file as symphonia reads it: no longer than the deadline, and no more than the budget.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use symphonia::core::io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions};

use super::Deadline;

/// Bytes that may be read until the next refill. A container's tables are kept in memory by whoever reads them, so that
/// bytes read without a packet coming out are bytes, or some times as many, that are kept.
#[derive(Clone)]
pub struct Budget(Arc<AtomicU64>);

impl Budget {
    pub fn refill(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    fn spend(&self, bytes: usize) {
        let left = self.0.load(Ordering::Relaxed).saturating_sub(bytes as u64);
        self.0.store(left, Ordering::Relaxed);
    }

    pub fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

struct Source {
    file: File,
    /// Where the stream begins in the file.
    start: u64,
    bytes: u64,
    budget: Budget,
    deadline: Deadline,
}

/// The file from this place on as a stream, and what may be read of it.
pub fn stream(
    mut file: File,
    start: u64,
    budget: u64,
    deadline: Deadline,
) -> io::Result<(MediaSourceStream<'static>, Budget)> {
    let bytes = file.metadata()?.len().saturating_sub(start);
    file.seek(SeekFrom::Start(start))?;
    let budget = Budget(Arc::new(AtomicU64::new(budget)));
    let source = Source { file, start, bytes, budget: budget.clone(), deadline };
    Ok((MediaSourceStream::new(Box::new(source), MediaSourceStreamOptions::default()), budget))
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.deadline.is_over() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the time for this file is over"));
        }
        if self.budget.is_spent() {
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, "too much is read before anything comes out"));
        }
        let read = self.file.read(buffer)?;
        self.budget.spend(read);
        Ok(read)
    }
}

impl Seek for Source {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(place) => SeekFrom::Start(self.start.saturating_add(place)),
            other => other,
        };
        // A place that is none comes from what the file says, and is not this machine's fault.
        let place = self.file.seek(to).map_err(|_| io::ErrorKind::InvalidInput)?;
        Ok(place.saturating_sub(self.start))
    }
}

impl MediaSource for Source {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.bytes)
    }
}
