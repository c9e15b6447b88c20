//! The token with which the server identifies itself to a push service.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;

#[derive(Clone)]
pub(super) struct Token {
    pub(super) text: Arc<str>,
    pub(super) renew_at: DateTime<Utc>,
}

/// Caches one token until it is renewed or refused.
#[derive(Default)]
pub(super) struct CachedToken(Mutex<Option<Token>>);

impl CachedToken {
    /// Returns the token. None if there is none, or if it must be renewed.
    pub(super) fn get(&self, now: DateTime<Utc>) -> Option<Arc<str>> {
        self.0.lock().as_ref().filter(|token| now < token.renew_at).map(|token| Arc::clone(&token.text))
    }

    /// Like `get`, but if there is no token, caches the one that `make` returns. Calls that run at the same time make
    /// only one token.
    pub(super) fn get_or_make<E>(
        &self,
        now: DateTime<Utc>,
        make: impl FnOnce() -> Result<Token, E>,
    ) -> Result<Arc<str>, E> {
        let mut current = self.0.lock();
        let token = match current.take().filter(|token| now < token.renew_at) {
            Some(token) => token,
            None => make()?,
        };
        Ok(Arc::clone(&current.insert(token).text))
    }

    pub(super) fn set(&self, token: Token) {
        *self.0.lock() = Some(token);
    }

    /// Drops a token that the push service refuses, unless it was replaced in the meantime.
    pub(super) fn drop_refused(&self, refused: &Arc<str>) {
        let mut current = self.0.lock();
        if current.as_ref().is_some_and(|token| Arc::ptr_eq(&token.text, refused)) {
            *current = None;
        }
    }
}
