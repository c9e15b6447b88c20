//! The language of an account, in which its owner gets notices.
//!
//! A notice reports a change that a thief may have made, so the language of the request can be that of the thief. An
//! account therefore stores a language: that of the client that makes the account or, if that client names none, of the
//! first sign-in that names one. A sign-in by a code replaces it, because its client reads the messages that the server
//! sends to the owner. Other sign-ins do not replace it, because a thief could sign in before the change.

use super::core::PeopleCore;
use crate::domain::client::Client;
use crate::domain::error::Result;
use crate::log::Transaction;
use crate::notices::Language;
use crate::store::people::users::{self, User};

impl PeopleCore {
    /// Returns the language of an account that a client with these languages makes. None if the server has templates in
    /// none of them.
    pub(super) fn account_language(&self, language: &Language) -> Option<String> {
        self.notices.matched(language).map(str::to_owned)
    }

    /// Stores the language of a client that signs in, unless the account has a language.
    pub(super) async fn keep_language(&self, tx: &mut Transaction<'_>, user: &User, language: &Language) -> Result<()> {
        if user.language.is_none()
            && let Some(tag) = self.notices.matched(language)
        {
            users::set_language(tx.conn(), user.id, tag).await?;
        }
        Ok(())
    }

    /// Replaces the language of the account by that of a client that has signed in by a code. An account without a
    /// language has got one when its session was opened.
    pub(super) async fn replace_language(
        &self,
        tx: &mut Transaction<'_>,
        user: &User,
        language: &Language,
    ) -> Result<()> {
        let former = user.language.as_deref();
        if former.is_some()
            && let Some(tag) = self.notices.matched(language).filter(|tag| Some(*tag) != former)
        {
            users::set_language(tx.conn(), user.id, tag).await?;
        }
        Ok(())
    }
}

/// Returns the language of a notice to the owner of the account. The client's request causes the notice.
pub(super) fn notice_language(user: &User, client: &Client) -> Language {
    user.language.as_deref().map_or_else(|| client.language.clone(), Language::tagged)
}
