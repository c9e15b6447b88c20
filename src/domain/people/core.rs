//! State that the services of users share.

use std::sync::Arc;

use super::passwords::Passwords;
use super::tokens::Tokens;
use crate::config::{IssuerSettings, RegistrationMode, SmsCountries, WebauthnSettings};
use crate::domain::base::Base;
use crate::domain::files::core::FilesCore;
use crate::issuers::Issuers;
use crate::live::Live;
use crate::log::LiveSessions;
use crate::notices::Notifier;

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
