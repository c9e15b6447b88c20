//! Notices and push notifications with sample values, which try the templates at the start.

use reqwest::Url;

use super::notice::{CodeUse, ContactKind, DigestConversation, DigestLinks, FactorChange, Notice};
use super::saying::{Preview, Saying};

/// The code in the sample texts.
pub(super) const SAMPLE_CODE: &str = "482913";
/// Names in the sample texts.
const SENDER: &str = "Ada";
const GROUP: &str = "Family";

/// Returns notices with values that reach as many branches of a template as possible.
pub(super) fn notices() -> Vec<Notice> {
    let username = || "ada".to_owned();
    let mut samples = CodeUse::ALL.map(|usage| Notice::Code { code: SAMPLE_CODE.into(), usage, minutes: 10 }).to_vec();
    for (kind, now) in [(ContactKind::Email, "a…@example.org"), (ContactKind::Phone, "•••• 5678")] {
        samples.push(Notice::ContactPointAdded { username: username(), kind, now: now.into() });
        samples.push(Notice::ContactPointChanged { username: username(), kind, now: Some(now.into()) });
        samples.push(Notice::ContactPointChanged { username: username(), kind, now: None });
    }
    samples.extend([false, true].map(|is_first| Notice::PasswordChanged { username: username(), is_first }));
    samples.push(Notice::PasswordReset { username: username() });
    samples.extend(factor_changes().map(|change| Notice::FactorChanged { username: username(), change }));
    samples.extend(digests());
    samples
}

/// Returns all kinds of changes of factors.
fn factor_changes() -> [FactorChange; 9] {
    let (name, issuer) = (|| "Phone".to_owned(), || "acme".to_owned());
    [
        FactorChange::TotpAdded,
        FactorChange::TotpRemoved,
        FactorChange::RecoveryCodesReplaced,
        FactorChange::RecoveryCodeUsed { left: 1 },
        FactorChange::RecoveryCodeUsed { left: 9 },
        FactorChange::PasskeyAdded { name: name() },
        FactorChange::PasskeyRemoved { name: name() },
        FactorChange::IdentityLinked { issuer: issuer() },
        FactorChange::IdentityUnlinked { issuer: issuer() },
    ]
}

/// Returns digests with one and with many messages, with and without names, previews and links.
fn digests() -> [Notice; 4] {
    let link = |path: &str| Url::parse("https://chat.example.org").and_then(|url| url.join(path)).ok();
    let links = || Some(DigestLinks { app: link("/")?, unsubscribe: link("/unsubscribe?token=c2FtcGxl")? });
    let conversation = |name: &str, unread, preview: Option<&str>| {
        let preview = preview.map(str::to_owned);
        DigestConversation { name: name.to_owned(), unread, preview }
    };
    let digest = |unread, conversations, others, links| {
        let username = "ada".to_owned();
        Notice::Digest { username, unread, conversations, others, links }
    };
    let two = vec![conversation(GROUP, 2, None), conversation(SENDER, 1, Some("Hello"))];
    [
        digest(1, vec![conversation(SENDER, 1, Some("Hello"))], 0, links()),
        digest(3, two.clone(), 0, None),
        digest(4, two, 1, links()),
        digest(9, Vec::new(), 0, links()),
    ]
}

/// Returns push notifications with all kinds of content.
pub(super) fn sayings() -> Vec<Saying<'static>> {
    let (sender, preview) = (SENDER, Preview::Text("Hello"));
    let mut samples = vec![Saying::Nothing, Saying::Test];
    for group in [None, Some(GROUP)] {
        samples.extend([Saying::Message { sender, group, preview }, Saying::Sender { sender, group }]);
        for (caller, is_video) in [(None, false), (None, true), (Some(SENDER), false), (Some(SENDER), true)] {
            samples.push(Saying::Call { caller, group, is_video });
        }
    }
    samples
}

/// Returns all kinds of attachments.
pub(super) const fn attachments() -> [Preview<'static>; 8] {
    [
        Preview::Photo,
        Preview::Video,
        Preview::VoiceMessage { seconds: 12 },
        Preview::Audio { seconds: None },
        Preview::Audio { seconds: Some(185) },
        Preview::File { name: "report.pdf" },
        Preview::Several { count: 1 },
        Preview::Several { count: 3 },
    ]
}
