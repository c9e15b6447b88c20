//! E-mails by SMTP.

use std::sync::Arc;
use std::time::SystemTime;

use lettre::address::Envelope;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use reqwest::Url;

use super::delivery::{ATTEMPT_TIMEOUT, Failure, Outlet, Retry};
use super::notice::{Outgoing, Recipient};
use super::templates::{MailText, Templates};
use crate::clock::Clock;
use crate::random::Random;

/// Sends e-mails by an SMTP server. Each attempt has a connection of its own, because an attempt that times out leaves
/// its connection in an unknown state.
pub(super) struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    composer: Composer,
}

/// Writes e-mails.
struct Composer {
    from: Mailbox,
    templates: Arc<Templates>,
    clock: Clock,
    random: Random,
}

/// An e-mail in its form for SMTP.
pub(super) struct Mail {
    envelope: Envelope,
    bytes: Vec<u8>,
}

impl Mailer {
    /// Reads the URL of the SMTP server, whose form the settings have checked.
    pub(super) fn new(
        url: &str,
        from: Mailbox,
        templates: Arc<Templates>,
        clock: Clock,
        random: Random,
    ) -> Result<Self, SmtpError> {
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)?.timeout(Some(ATTEMPT_TIMEOUT));
        // A path is the name for EHLO. Without it the name is the domain of the sender, because some servers refuse the
        // address of the loopback interface, which is the default of lettre.
        if Url::parse(url).is_ok_and(|url| url.path().len() <= 1) {
            builder = builder.hello_name(ClientId::Domain(from.email.domain().to_owned()));
        }
        Ok(Self { transport: builder.build(), composer: Composer { from, templates, clock, random } })
    }
}

impl Outlet for Mailer {
    type Prepared = Mail;

    fn prepare(&self, outgoing: &Outgoing) -> Result<Mail, String> {
        let message = self.composer.compose(outgoing)?;
        Ok(Mail { envelope: message.envelope().clone(), bytes: message.formatted() })
    }

    async fn attempt(&self, mail: &Mail) -> Result<(), Failure> {
        match self.transport.send_raw(&mail.envelope, &mail.bytes).await {
            Ok(_) => Ok(()),
            Err(error) => {
                // A client error is a feature that the server lacks, such as STARTTLS.
                let permanent = error.is_permanent() || error.is_client();
                let retry = if permanent { Retry::Never } else { Retry::AfterBackoff };
                Err(Failure { reason: error.to_string(), retry })
            }
        }
    }
}

impl Composer {
    fn compose(&self, outgoing: &Outgoing) -> Result<Message, String> {
        let Recipient::Email(address) = &outgoing.recipient else { return Err("the recipient has no e-mail".into()) };
        // The address gets into a command of SMTP, so the check of lettre is not the only one.
        if address.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err("the address has a character that e-mail does not allow".into());
        }
        let to = address.parse::<Address>().map_err(|error| error.to_string())?;
        let text = self.templates.mail(outgoing).map_err(|error| error.to_string())?;
        self.message(to, text, outgoing.notice.unsubscribe()).map_err(|error| error.to_string())
    }

    /// Writes a message. `unsubscribe` is the link that turns such e-mails off.
    fn message(&self, to: Address, text: MailText, unsubscribe: Option<&Url>) -> Result<Message, lettre::error::Error> {
        let header = |name: &'static str, value: String| HeaderValue::new(HeaderName::new_from_ascii_str(name), value);
        let id = format!("<{:032x}@{}>", u128::from_be_bytes(self.random.bytes()), self.from.email.domain());
        let mut builder = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(text.subject)
            .date(SystemTime::from(self.clock.now()))
            .message_id(Some(id))
            // RFC 3834: vacation responders do not answer.
            .raw_header(header("Auto-Submitted", "auto-generated".to_owned()))
            .raw_header(header("Content-Language", text.language));
        if let Some(url) = unsubscribe {
            builder = builder.raw_header(header("List-Unsubscribe", format!("<{url}>")));
            // RFC 8058, section 3.1: only an HTTPS link unsubscribes by one click.
            if url.scheme() == "https" {
                builder = builder.raw_header(header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()));
            }
        }
        builder.multipart(MultiPart::alternative_plain_html(text.text, text.html))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notices::language::Language;
    use crate::notices::notice::{CodeUse, ContactKind, DigestLinks, Notice};

    fn composer(from: &str, app_name: &str) -> Composer {
        let from = from.parse().unwrap();
        let templates = Arc::new(Templates::open(None, app_name).unwrap());
        Composer { from, templates, clock: Clock::system(), random: Random::system() }
    }

    fn outgoing(to: &str, notice: Notice) -> Outgoing {
        let (recipient, language) = (Recipient::Email(to.into()), Language::negotiate(Some("de")));
        Outgoing { recipient, notice, language, network: None }
    }

    fn code() -> Notice {
        Notice::Code { code: "482913".into(), usage: CodeUse::Login, minutes: 10 }
    }

    /// Returns the header lines of a message. A folded line is one line.
    fn headers(message: &Message) -> Vec<String> {
        let text = String::from_utf8(message.formatted()).unwrap();
        let (headers, _) = text.split_once("\r\n\r\n").unwrap();
        headers.replace("\r\n ", " ").split("\r\n").map(str::to_owned).collect()
    }

    #[test]
    fn a_mail_has_the_headers_of_a_generated_mail() {
        let composer = composer("Die App <no-reply@example.org>", "Parlance");
        let message = composer.compose(&outgoing("ada@example.com", code())).unwrap();
        let headers = headers(&message);
        for expected in [
            "From: \"Die App\" <no-reply@example.org>",
            "To: ada@example.com",
            "Auto-Submitted: auto-generated",
            "Content-Language: de",
            "MIME-Version: 1.0",
        ] {
            assert!(headers.iter().any(|line| line == expected), "no {expected} in {headers:#?}");
        }
        let value = |name: &str| headers.iter().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        assert!(value("Message-ID: <").ends_with("@example.org>"), "{headers:#?}");
        assert!(value("Date: ").ends_with("+0000"), "{headers:#?}");
        assert!(value("Content-Type: ").starts_with("multipart/alternative;"), "{headers:#?}");
        let other = composer.compose(&outgoing("ada@example.com", code())).unwrap();
        assert!(!self::headers(&other).contains(&format!("Message-ID: <{}", value("Message-ID: <"))));
    }

    #[test]
    fn a_value_cannot_add_a_header_or_a_recipient() {
        let hostile = "ada\r\nBcc: eve@example.org\r\n\r\nbody";
        let composer = composer("no-reply@example.org", hostile);
        let notice = Notice::ContactPointChanged {
            username: hostile.into(),
            kind: ContactKind::Phone,
            now: Some(hostile.into()),
        };
        let message = composer.compose(&outgoing("ada@example.com", notice)).unwrap();
        let headers = headers(&message);
        assert!(!headers.iter().any(|line| line.starts_with("Bcc")), "{headers:#?}");
        assert!(headers.iter().any(|line| line.starts_with("Subject: ") && line.contains("Bcc:")), "{headers:#?}");
        assert_eq!(message.envelope().to().len(), 1);
    }

    #[test]
    fn a_digest_can_be_unsubscribed_by_one_click() {
        let composer = composer("no-reply@example.org", "Parlance");
        let unsubscribing = |links: Option<&str>| {
            let url = |text: &str| Url::parse(text).unwrap();
            let links = links.map(|link| DigestLinks { app: url("https://chat.example.org"), unsubscribe: url(link) });
            let (username, conversations) = ("ada".to_owned(), Vec::new());
            let digest = Notice::Digest { username, unread: 2, conversations, others: 0, links };
            let mut headers = headers(&composer.compose(&outgoing("ada@example.com", digest)).unwrap());
            headers.retain(|line| line.starts_with("List-"));
            headers
        };
        let long = format!("https://chat.example.org/unsubscribe?token={}", "a".repeat(200));
        let one_click = "List-Unsubscribe-Post: List-Unsubscribe=One-Click";
        let unsubscribe = format!("List-Unsubscribe: <{long}>");
        assert_eq!(unsubscribing(Some(long.as_str())), [unsubscribe.as_str(), one_click]);
        // RFC 8058, section 3.1: the link of one click has https.
        let link = "http://localhost:8080/unsubscribe";
        assert_eq!(unsubscribing(Some(link)), [format!("List-Unsubscribe: <{link}>")]);
        let hostile = "https://chat.example.org/>\r\nBcc: eve@example.org";
        let encoded = "List-Unsubscribe: <https://chat.example.org/%3EBcc:%20eve@example.org>";
        assert_eq!(unsubscribing(Some(hostile)), [encoded, one_click]);
        assert!(unsubscribing(None).is_empty());
        let other = composer.compose(&outgoing("ada@example.com", code())).unwrap();
        assert!(!headers(&other).iter().any(|line| line.starts_with("List-")));
    }

    #[test]
    fn an_address_that_is_none_is_refused() {
        let composer = composer("no-reply@example.org", "Parlance");
        for address in ["", "ada", "ada@", "ada@example.com\r\nRCPT TO:<eve@example.org>", "\"a b\"@example.com"] {
            assert!(composer.compose(&outgoing(address, code())).is_err(), "{address:?}");
        }
        let phone = Outgoing { recipient: Recipient::Phone("+491701234567".into()), ..outgoing("", code()) };
        assert!(composer.compose(&phone).is_err());
    }
}
