//! A file that symphonia reads. Reading fails after the deadline, or when the budget of bytes is spent.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use symphonia::core::io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions};

use super::Deadline;

/// Number of bytes that may be read until the next refill. symphonia keeps the tables of a container in memory, so
/// bytes that do not result in a packet can take as many bytes of memory, or several times as many.
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
    /// Offset in the file at which the stream begins.
    start: u64,
    bytes: u64,
    budget: Budget,
    deadline: Deadline,
}

/// Returns a stream of the file from offset `start`, and the budget of bytes that may be read.
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
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the deadline for this file has passed"));
        }
        if self.budget.is_spent() {
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, "too many bytes are read without a packet"));
        }
        let read = self.file.read(buffer)?;
        self.budget.spend(read);
        Ok(read)
    }
}

impl Seek for Source {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(offset) => SeekFrom::Start(self.start.saturating_add(offset)),
            other => other,
        };
        // An invalid offset comes from the content of the file, and is not an error of this machine.
        let offset = self.file.seek(to).map_err(|_| io::ErrorKind::InvalidInput)?;
        Ok(offset.saturating_sub(self.start))
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
