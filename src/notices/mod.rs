//! Notices to users: e-mails by SMTP, and SMS by a hook of the operator. Also writes the texts of push notifications,
//! which other modules send. docs/notices.md describes the settings, the templates and the hook.

mod delivery;
mod language;
mod mail;
mod notice;
mod places;
mod push_texts;
mod samples;
mod saying;
mod signature;
mod sms;
mod template_files;
mod templates;
mod values;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::config::NoticeSettings;
use crate::metrics::{NoticeChannel, NoticeMetrics};
use crate::random::Random;
use delivery::{Context, Outlet, Queue};
pub use language::Language;
use mail::Mailer;
pub use notice::{
    CodeUse, ContactKind, DigestConversation, DigestLinks, FactorChange, MAX_DIGEST_CONVERSATIONS, Notice, Outgoing,
    Recipient,
};
pub use places::QueueFull;
pub use push_texts::PushTexts;
pub use saying::{Preview, PushText, Saying};
use sms::SmsHook;
use templates::Templates;

/// Maximum time at shutdown for notices that wait to be sent.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends notices. Cheap to clone.
#[derive(Clone)]
pub struct Notifier(Arc<Inner>);

struct Inner {
    email: Route<Mailer>,
    phone: Route<SmsHook>,
    templates: Arc<Templates>,
    running: TaskTracker,
    closing: CancellationToken,
}

/// The way of the notices to e-mail addresses, or to phone numbers.
enum Route<O> {
    /// Codes and digests have queues of their own, so that other notices do not delay codes, and digests delay no
    /// other notices.
    Queues {
        codes: Queue<O>,
        changes: Queue<O>,
        digests: Queue<O>,
    },
    Log,
    Nowhere,
}

/// How the server sends to e-mail addresses, or to phone numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    Sent,
    /// Notices are only printed in the log, because neither SMTP_URL nor SMS_HOOK_URL is set.
    Logged,
    /// Notices are dropped, because the setting of the channel is not set and codes must not be printed in the log.
    Unavailable,
}

/// Reason why notices cannot be sent. The text names the setting.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("NOTICE_TEMPLATES: {0}")]
    Templates(String),
    #[error("SMTP_URL: {0}")]
    Smtp(String),
    #[error("SMTP_FROM must be set if SMTP_URL is set")]
    NoSender,
    #[error("SMS_HOOK_URL: {0}")]
    Hook(String),
    #[error("SMS_HOOK_SECRET must be set if SMS_HOOK_URL is set")]
    NoSecret,
}

impl Notifier {
    /// Reads the templates and prepares the connections. Connects to no server, so that the server of SMTP_URL or
    /// SMS_HOOK_URL may start later. `logs` says whether notices may be printed in the log if neither is set. When
    /// `stop` is cancelled, each waiting notice has one last attempt.
    pub fn open(
        settings: &NoticeSettings,
        logs: bool,
        clock: Clock,
        random: &Random,
        metrics: &NoticeMetrics,
        stop: &CancellationToken,
    ) -> Result<Self, OpenError> {
        let templates = open_templates(settings)?;
        let (running, closing) = (TaskTracker::new(), stop.child_token());
        let context = |channel| Context {
            channel,
            metrics: metrics.clone(),
            random: random.clone(),
            closing: closing.clone(),
            running: running.clone(),
        };
        let is_logged = logs && settings.smtp_url.is_none() && settings.sms_hook_url.is_none();
        let email = match &settings.smtp_url {
            Some(url) => {
                let from = settings.smtp_from.clone().ok_or(OpenError::NoSender)?;
                let mailer = Mailer::new(url, from, templates.clone(), clock, random.clone());
                Route::queues(
                    mailer.map_err(|error| OpenError::Smtp(error.to_string()))?,
                    context(NoticeChannel::Email),
                )
            }
            None => Route::without_server(is_logged),
        };
        let phone = match &settings.sms_hook_url {
            Some(url) => {
                let secret = settings.sms_hook_secret.clone().ok_or(OpenError::NoSecret)?;
                let hook = SmsHook::new(url.clone(), secret, templates.clone(), clock, random.clone());
                Route::queues(hook.map_err(OpenError::Hook)?, context(NoticeChannel::Sms))
            }
            None => Route::without_server(is_logged),
        };
        Ok(Self(Arc::new(Inner { email, phone, templates, running, closing })))
    }

    /// Returns how notices to e-mail addresses are sent.
    pub fn email(&self) -> Channel {
        self.0.email.channel()
    }

    /// Returns how notices to phone numbers are sent.
    pub fn phone(&self) -> Channel {
        self.0.phone.channel()
    }

    /// Returns the tag of the best language for the client. None if the client prefers no language with templates.
    pub fn matched(&self, language: &Language) -> Option<&str> {
        self.0.templates.matched(language)
    }

    /// Returns the texts of push notifications, which have the same languages and the same directory of templates.
    pub fn push_texts(&self) -> PushTexts {
        PushTexts::new(Arc::clone(&self.0.templates))
    }

    /// Queues the notice and returns at once. Must be called in a runtime. If the channel is `Unavailable`, the notice
    /// is dropped.
    pub fn send(&self, outgoing: Outgoing) -> Result<(), QueueFull> {
        match outgoing.recipient {
            Recipient::Email(_) => self.0.email.send(outgoing),
            Recipient::Phone(_) => self.0.phone.send(outgoing),
        }
    }

    /// Waits until all queued notices are sent, but at most for CLOSE_TIMEOUT. A notice that waits for its next attempt
    /// is tried at once, and then given up.
    pub async fn close(&self) {
        self.0.closing.cancel();
        self.0.running.close();
        if timeout(CLOSE_TIMEOUT, self.0.running.wait()).await.is_err() {
            warn!(notices = self.0.running.len(), "the server stops before these notices were sent");
        }
    }
}

impl<O: Outlet> Route<O> {
    fn queues(outlet: O, context: Context) -> Self {
        let outlet = Arc::new(outlet);
        let codes = Queue::new(Arc::clone(&outlet), delivery::CODES, context.clone());
        let changes = Queue::new(Arc::clone(&outlet), delivery::CHANGES, context.clone());
        Self::Queues { codes, changes, digests: Queue::new(outlet, delivery::DIGESTS, context) }
    }

    fn without_server(is_logged: bool) -> Self {
        if is_logged { Self::Log } else { Self::Nowhere }
    }

    fn channel(&self) -> Channel {
        match self {
            Self::Queues { .. } => Channel::Sent,
            Self::Log => Channel::Logged,
            Self::Nowhere => Channel::Unavailable,
        }
    }

    fn send(&self, outgoing: Outgoing) -> Result<(), QueueFull> {
        match self {
            Self::Queues { codes, changes, digests } => {
                let queue = match &outgoing.notice {
                    Notice::Code { .. } => codes,
                    Notice::Digest { .. } => digests,
                    _ => changes,
                };
                return queue.send(outgoing);
            }
            Self::Log => log(&outgoing),
            Self::Nowhere => {
                let (recipient, purpose) = (outgoing.recipient.masked(), outgoing.notice.purpose());
                info!(%recipient, purpose, "a notice is not sent: set SMTP_URL for e-mails, SMS_HOOK_URL for SMS");
            }
        }
        Ok(())
    }
}

/// Reads the templates of the settings.
fn open_templates(settings: &NoticeSettings) -> Result<Arc<Templates>, OpenError> {
    let templates = Templates::open(settings.notice_templates.as_deref(), &settings.app_name);
    Ok(Arc::new(templates.map_err(|error| OpenError::Templates(error.to_string()))?))
}

/// Prints the notice in the log, for development without SMTP_URL and SMS_HOOK_URL.
fn log(outgoing: &Outgoing) {
    let (recipient, purpose) = (outgoing.recipient.address(), outgoing.notice.purpose());
    match &outgoing.notice {
        Notice::Code { code, minutes, .. } => info!(recipient, code, purpose, minutes, "a verification code"),
        Notice::ContactPointAdded { username, now, .. } => info!(recipient, purpose, username, now, "a notice"),
        Notice::ContactPointChanged { username, now, .. } => info!(recipient, purpose, username, now, "a notice"),
        Notice::PasswordChanged { username, .. } | Notice::PasswordReset { username } => {
            info!(recipient, purpose, username, "a notice");
        }
        Notice::FactorChanged { username, change } => {
            info!(recipient, purpose, username, change = change.as_str(), "a notice");
        }
        Notice::Digest { username, unread, .. } => info!(recipient, purpose, username, unread, "a notice"),
    }
}

#[cfg(test)]
mod tests {
    use lettre::message::Mailbox;

    use super::*;
    use crate::config::{HookSecret, NOTICE_QUEUE, SmsCountries};
    use crate::metrics::Metrics;

    fn settings() -> NoticeSettings {
        NoticeSettings {
            smtp_url: None,
            smtp_from: None,
            sms_hook_url: None,
            sms_hook_secret: None,
            sms_countries: SmsCountries::All,
            log_codes: false,
            notice_templates: None,
            app_name: "Parlance".into(),
        }
    }

    fn with_hook(settings: NoticeSettings) -> NoticeSettings {
        NoticeSettings {
            sms_hook_url: Some("http://127.0.0.1:9/".parse().unwrap()),
            sms_hook_secret: HookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            ..settings
        }
    }

    fn with_smtp(settings: NoticeSettings) -> NoticeSettings {
        let from: Mailbox = "no-reply@example.org".parse().unwrap();
        NoticeSettings { smtp_url: Some("smtp://127.0.0.1:9".into()), smtp_from: Some(from), ..settings }
    }

    fn open(settings: &NoticeSettings) -> Result<Notifier, OpenError> {
        open_and_log(settings, true)
    }

    fn open_and_log(settings: &NoticeSettings, logs: bool) -> Result<Notifier, OpenError> {
        let metrics = Metrics::default().notices();
        Notifier::open(settings, logs, Clock::system(), &Random::system(), &metrics, &CancellationToken::new())
    }

    #[tokio::test]
    async fn a_channel_is_logged_only_if_no_channel_has_a_setting() {
        let channels = |settings: NoticeSettings| {
            let notifier = open(&settings).unwrap();
            (notifier.email(), notifier.phone())
        };
        assert_eq!(channels(settings()), (Channel::Logged, Channel::Logged));
        assert_eq!(channels(with_smtp(settings())), (Channel::Sent, Channel::Unavailable));
        assert_eq!(channels(with_hook(settings())), (Channel::Unavailable, Channel::Sent));
        assert_eq!(channels(with_hook(with_smtp(settings()))), (Channel::Sent, Channel::Sent));
        let notifier = open_and_log(&settings(), false).unwrap();
        assert_eq!((notifier.email(), notifier.phone()), (Channel::Unavailable, Channel::Unavailable));
    }

    #[tokio::test]
    async fn an_error_names_the_setting() {
        let missing = NoticeSettings { notice_templates: Some("/no/such/directory".into()), ..settings() };
        let error = open(&missing).err().unwrap().to_string();
        assert!(error.starts_with("NOTICE_TEMPLATES: /no/such/directory: "), "{error}");
        let error = open(&NoticeSettings { smtp_from: None, ..with_smtp(settings()) }).err().unwrap();
        assert!(error.to_string().starts_with("SMTP_FROM "), "{error}");
        let error = open(&NoticeSettings { sms_hook_secret: None, ..with_hook(settings()) }).err().unwrap();
        assert!(error.to_string().starts_with("SMS_HOOK_SECRET "), "{error}");
    }

    #[tokio::test]
    async fn digests_take_no_places_of_other_notices() {
        let notifier = open(&with_smtp(settings())).unwrap();
        let send = |notice| {
            let recipient = Recipient::Email("ada@example.com".into());
            notifier.send(Outgoing { recipient, notice, language: Language::default(), network: None })
        };
        let username = || "ada".to_owned();
        let digest = || {
            let (conversations, links) = (Vec::new(), None);
            Notice::Digest { username: username(), unread: 1, conversations, others: 0, links }
        };
        for _ in 0..NOTICE_QUEUE {
            send(digest()).unwrap();
        }
        assert_eq!(send(digest()), Err(QueueFull::All));
        send(Notice::PasswordReset { username: username() }).unwrap();
    }

    #[tokio::test]
    async fn the_end_does_not_wait_for_a_server_that_is_unavailable() {
        let notifier = open(&with_hook(with_smtp(settings()))).unwrap();
        for recipient in [Recipient::Email("ada@example.com".into()), Recipient::Phone("+491701234567".into())] {
            let notice = Notice::PasswordReset { username: "ada".into() };
            notifier.send(Outgoing { recipient, notice, language: Language::default(), network: None }).unwrap();
        }
        assert_eq!(notifier.0.running.len(), 2);
        notifier.close().await;
        assert!(notifier.0.running.is_empty());
    }
}
