//! State that the services of users share.

use std::sync::Arc;

use super::passwords::Passwords;
use super::tokens::Tokens;
use crate::config::{IssuerSettings, RegistrationMode, SmsCountries, WebauthnSettings};
use crate::domain::base::Base;
use crate::domain::files::core::FilesCore;
use crate::ids::UserId;
use crate::issuers::Issuers;
use crate::live::Live;
use crate::log::LiveSessions;
use crate::notices::{Language, Notifier};
use crate::store::people::privacy_settings::Privacy;
use crate::store::people::users::User;

pub(in crate::domain) struct PeopleCore {
    pub(in crate::domain) base: Base,
    pub(in crate::domain) files: Arc<FilesCore>,
    pub(in crate::domain) live: Live,
    pub(in crate::domain) live_sessions: LiveSessions,
    pub(in crate::domain) passwords: Passwords,
    pub(in crate::domain) tokens: Tokens,
    pub(in crate::domain) registration: RegistrationMode,
    pub(in crate::domain) webauthn: WebauthnSettings,
    /// Name of the service, which authenticator apps and passkeys show.
    pub(in crate::domain) app_name: String,
    /// Whether `createGuest` makes accounts.
    pub(in crate::domain) guests: bool,
    pub(in crate::domain) issuers: Issuers,
    pub(in crate::domain) issuer_settings: IssuerSettings,
    pub(in crate::domain) notices: Notifier,
    /// Countries to whose phone numbers the server sends SMS.
    pub(in crate::domain) sms_countries: SmsCountries,
}

impl PeopleCore {
    /// Makes the row of a new account that has no way to sign in yet. `language` is that of the client. The display name
    /// is the username unless another one is given.
    pub(super) fn new_user(&self, username: String, display_name: Option<String>, language: &Language) -> User {
        let now = self.base.now();
        User {
            id: UserId::new(now, &self.base.random),
            display_name: display_name.unwrap_or_else(|| username.clone()),
            username,
            about: None,
            email: None,
            phone: None,
            password_hash: None,
            created_at: now,
            last_seen_at: None,
            avatar_id: None,
            email_verified_at: None,
            phone_verified_at: None,
            is_guest: false,
            language: self.account_language(language),
            privacy: Privacy::default(),
        }
    }
}
