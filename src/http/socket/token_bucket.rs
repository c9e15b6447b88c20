//! A token bucket that limits the operations and messages of one socket. It holds at most the tokens of one second.

use std::time::Duration;

use tokio::time::Instant;

pub(super) struct TokenBucket {
    per_second: f64,
    left: f64,
    filled_at: Instant,
}

impl TokenBucket {
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second);
        Self { per_second, left: per_second, filled_at: now }
    }

    /// Consumes a token, or returns the time until the next token.
    pub(super) fn consume(&mut self, now: Instant) -> Result<(), Duration> {
        let gained = (now - self.filled_at).as_secs_f64() * self.per_second;
        self.left = (self.left + gained).min(self.per_second);
        self.filled_at = now;
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.left) / self.per_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_refills_up_to_the_tokens_of_one_second() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(2, start);
        assert_eq!([bucket.consume(start), bucket.consume(start)], [Ok(()), Ok(())]);
        assert_eq!(bucket.consume(start), Err(Duration::from_millis(500)));
        let later = start + Duration::from_millis(500);
        assert_eq!(bucket.consume(later), Ok(()));
        assert!(bucket.consume(later).is_err());
        // The bucket never holds more than the tokens of one second.
        let much_later = start + Duration::from_mins(1);
        assert_eq!([bucket.consume(much_later), bucket.consume(much_later)], [Ok(()), Ok(())]);
        assert!(bucket.consume(much_later).is_err());
    }
}
