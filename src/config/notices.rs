//! The settings of notices: e-mails by SMTP, and SMS by a hook of the operator.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lettre::message::Mailbox;
use reqwest::Url;

/// Maximum number of codes by e-mail, and by SMS, that wait to be sent, of other e-mails and SMS, and of digests. A
/// further one is not sent.
pub const NOTICE_QUEUE: usize = 1000;
/// Maximum number of notices in one queue that clients of one network have caused.
pub const NOTICE_QUEUE_SHARE: usize = 50;
/// Maximum number of digits of a country code.
const COUNTRY_CODE_DIGITS: usize = 3;
/// Prefix of a secret of Standard Webhooks.
const SECRET_PREFIX: &str = "whsec_";
/// Maximum number of characters of APP_NAME, so that an SMS with a code still has one segment.
const MAX_APP_NAME: usize = 30;

/// Settings of the e-mails and SMS that the server sends, such as verification codes.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "E-mail and SMS")]
pub struct NoticeSettings {
    /// SMTP server that sends e-mails: smtps://user:password@host for TLS, smtp://user:password@host?tls=required for STARTTLS, or smtp://host for a relay on this machine. A path is the name for EHLO. Verification codes are printed in the log if neither this nor SMS_HOOK_URL is set, and LISTEN_ADDR is a loopback address and TRUSTED_PROXIES is not set, or LOG_CODES=true
    #[arg(long, env, hide_env_values = true, value_name = "URL", value_parser = smtp_url, requires = "smtp_from")]
    pub smtp_url: Option<String>,
    /// Sender of e-mails: an address such as no-reply@example.org, or a name and an address. In .env the latter needs quotes: SMTP_FROM='Parlance <no-reply@example.org>'
    #[arg(long, env, value_name = "MAILBOX", value_parser = mailbox)]
    pub smtp_from: Option<Mailbox>,
    /// URL that gets a signed POST request for each SMS. https:// is required, except for a host in a private network
    #[arg(long, env, hide_env_values = true, value_name = "URL", value_parser = hook_url, requires = "sms_hook_secret")]
    pub sms_hook_url: Option<Url>,
    /// Secret that signs the requests to SMS_HOOK_URL by Standard Webhooks: whsec_ and 24 to 64 random bytes in Base64
    #[arg(long, env, hide_env_values = true, value_name = "SECRET", value_parser = hook_secret)]
    pub sms_hook_secret: Option<HookSecret>,
    /// Country codes of the phone numbers that get SMS, separated by commas, such as 49,43 for Germany and Austria. A request for a code to another number is refused. The word all allows every country
    #[arg(long, env, default_value = "all", value_name = "CODE,…")]
    pub sms_countries: SmsCountries,
    /// Print verification codes in the log if neither SMTP_URL nor SMS_HOOK_URL is set, also if LISTEN_ADDR is not a loopback address or TRUSTED_PROXIES is set. Everyone who can read the log can then sign in to any account
    #[arg(long, env, default_value = "false", value_name = "true|false", action = clap::ArgAction::Set)]
    pub log_codes: bool,
    /// Directory with templates of e-mails, SMS and push notifications that replace the server's own ones or add languages
    #[arg(long, env, value_name = "DIR")]
    pub notice_templates: Option<PathBuf>,
    /// Name of the app in e-mails, SMS and push notifications
    #[arg(long, env, default_value = "Parlance", value_name = "NAME", value_parser = app_name)]
    pub app_name: String,
}

/// Countries to whose phone numbers the server sends SMS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SmsCountries {
    All,
    /// Country codes without the plus, such as 49.
    Only(Vec<String>),
}

impl SmsCountries {
    pub fn contains(&self, country_code: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(codes) => codes.iter().any(|code| code == country_code),
        }
    }
}

/// Reads country codes, separated by commas, or the word `all`.
impl FromStr for SmsCountries {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "all" {
            return Ok(Self::All);
        }
        let code = |word: &str| {
            let digits = word.trim().trim_start_matches('+');
            let is_code = (1..=COUNTRY_CODE_DIGITS).contains(&digits.len())
                && !digits.starts_with('0')
                && digits.bytes().all(|digit| digit.is_ascii_digit());
            is_code.then(|| digits.to_owned())
        };
        let codes: Option<Vec<_>> = text.split(',').map(code).collect();
        codes.map(Self::Only).ok_or_else(|| "allowed are all, and country codes such as 49,43".to_owned())
    }
}

/// The key of a secret of Standard Webhooks.
#[derive(Clone)]
pub struct HookSecret(Vec<u8>);

impl HookSecret {
    /// Decodes the text form, such as `whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw`. None if it is malformed, or if the key
    /// does not have 24 to 64 bytes.
    pub fn parse(text: &str) -> Option<Self> {
        let key = STANDARD.decode(text.strip_prefix(SECRET_PREFIX)?).ok()?;
        (24..=64).contains(&key.len()).then_some(Self(key))
    }

    pub fn key(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for HookSecret {
    /// Omits the key, so that it does not get into a log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("HookSecret")
    }
}

/// Checks the URL of an SMTP server, whose form is defined by lettre. Refuses to send a password without encryption to
/// another machine. Refuses unknown parameters, because lettre ignores them and a typing error would turn TLS off.
fn smtp_url(text: &str) -> Result<String, String> {
    let allowed = || {
        "allowed are addresses such as smtps://user:password@smtp.example.org, \
         smtp://user:password@smtp.example.org?tls=required and smtp://localhost"
            .to_owned()
    };
    let url = Url::parse(text).map_err(|_| allowed())?;
    // lettre cannot connect to an IPv6 address in brackets.
    let host = url.host_str().filter(|host| !host.is_empty() && !host.starts_with('[')).ok_or_else(allowed)?;
    let tls: Vec<_> = url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    let encrypted = match (url.scheme(), tls.as_slice()) {
        ("smtps", []) => true,
        ("smtp", []) => false,
        ("smtp", [(name, value)]) if name == "tls" && value == "required" => true,
        ("smtp", [(name, value)]) if name == "tls" && value == "opportunistic" => false,
        _ => return Err(allowed()),
    };
    // lettre ignores a user without a password.
    if !url.username().is_empty() && url.password().is_none() {
        return Err(allowed());
    }
    if url.password().is_some() && !encrypted && !is_loopback(host) {
        return Err(
            "allowed is a password only with smtps:// or ?tls=required, because it must be encrypted".to_owned()
        );
    }
    Ok(text.to_owned())
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    let printable = !text.contains(char::is_control);
    let mailbox = text.parse::<Mailbox>().ok().filter(|_| printable);
    mailbox.ok_or_else(|| "allowed are mailboxes such as Parlance <no-reply@example.org>".to_owned())
}

fn hook_url(text: &str) -> Result<Url, String> {
    server_url(text).ok_or_else(|| {
        "allowed are addresses such as https://sms.example.org/hook, or http:// and a private host".into()
    })
}

/// Parses the URL of another server. TLS is required, except for a host in a private network.
pub fn server_url(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| match url.scheme() {
        "https" => url.has_host(),
        "http" => url.host_str().is_some_and(is_private),
        _ => false,
    })
}

/// Whether the host is this machine or in a private network: a private address, a name without a dot as in Docker, or a
/// name below `.local`, `.internal` or `.localhost`.
fn is_private(host: &str) -> bool {
    match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_private() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.is_unique_local(),
        Err(_) => {
            let last = host.trim_end_matches('.').rsplit_once('.').map(|(_, last)| last);
            !host.is_empty() && last.is_none_or(|last| ["local", "internal", "localhost"].contains(&last))
        }
    }
}

fn hook_secret(text: &str) -> Result<HookSecret, String> {
    HookSecret::parse(text).ok_or_else(|| {
        "allowed are whsec_ and 24 to 64 random bytes in Base64, as `openssl rand -base64 32` prints".into()
    })
}

fn app_name(text: &str) -> Result<String, String> {
    let name = text.trim();
    if (1..=MAX_APP_NAME).contains(&name.chars().count()) && !name.contains(char::is_control) {
        Ok(name.to_owned())
    } else {
        Err(format!("allowed are names of 1 to {MAX_APP_NAME} characters"))
    }
}

#[cfg(test)]
mod tests {
    use super::{HookSecret, SmsCountries, app_name, hook_url, mailbox, smtp_url};

    #[test]
    fn an_smtp_url_sends_no_password_without_encryption() {
        for good in [
            "smtps://ada:secret@smtp.example.org",
            "smtps://ada:p%40ss@smtp.example.org:465/chat.example.org",
            "smtp://ada:secret@smtp.example.org:587?tls=required",
            "smtp://relay.example.org:25",
            "smtp://relay.example.org?tls=opportunistic",
            "smtp://localhost:2525",
            "smtp://ada:secret@127.0.0.1:2525",
        ] {
            assert_eq!(smtp_url(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "smtp.example.org",
            "http://smtp.example.org",
            "smtp://",
            "smtp://[::1]:25",
            "smtp://ada@localhost",
            "smtp://relay.example.org?tls=on",
            "smtp://relay.example.org?TLS=required",
            "smtp://ada:secret@smtp.example.org",
            "smtp://ada:secret@smtp.example.org?tls=opportunistic",
        ] {
            let error = smtp_url(bad).expect_err(bad);
            assert!(error.starts_with("allowed") && !error.contains("secret"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_sender_is_a_mailbox_without_control_characters() {
        for good in ["no-reply@example.org", "Parlance <no-reply@example.org>", "\"The, app\" <a@example.org>"] {
            assert!(mailbox(good).is_ok(), "{good}");
        }
        for bad in ["", "Parlance", "Parlance <no-reply>", "A\r\nBcc: eve@example.org <a@example.org>"] {
            assert!(mailbox(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_hook_needs_https_outside_of_private_networks() {
        for good in [
            "https://sms.example.org/hook?tenant=1",
            "http://127.0.0.1:3000/sms",
            "http://10.1.2.3",
            "http://[::1]:3000",
            "http://[fd00::1]",
            "http://sms-gateway:3000/",
            "http://sms.default.svc.cluster.local/",
        ] {
            assert!(hook_url(good).is_ok(), "{good}");
        }
        for bad in ["", "sms.example.org", "http://sms.example.org", "http://8.8.8.8/", "ftp://localhost"] {
            assert!(hook_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_hook_secret_has_its_prefix_and_enough_bytes() {
        assert!(HookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_some());
        for bad in ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whsec_no base64"] {
            assert!(HookSecret::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn countries_are_all_or_a_list_of_their_codes() {
        let all: SmsCountries = "all".parse().unwrap();
        assert!(all.contains("49") && all.contains("1"));
        let some: SmsCountries = "49, +43,358".parse().unwrap();
        assert!(some.contains("49") && some.contains("43") && some.contains("358"));
        assert!(!some.contains("4") && !some.contains("1"));
        for bad in ["", "49,", "Germany", "0049", "1234", "49;43"] {
            assert!(bad.parse::<SmsCountries>().unwrap_err().starts_with("allowed"), "{bad}");
        }
    }

    #[test]
    fn an_app_name_is_short_and_in_one_line() {
        assert_eq!(app_name(" Chat für alle ").as_deref(), Ok("Chat für alle"));
        for bad in ["", "  ", "a\r\nb", &"a".repeat(31)] {
            assert!(app_name(bad).is_err(), "{bad:?}");
        }
    }
}
