//! Receivers of the notices of a node: an SMTP server for e-mails, and an HTTP server for the hook that sends SMS.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::eventually_some;

/// Secret with which the node signs the requests to the hook.
const HOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Number of digits of a verification code.
const CODE_DIGITS: usize = 6;

/// An e-mail or SMS that a node has sent.
#[derive(Clone, Debug)]
pub struct Received {
    to: String,
    pub text: String,
}

type Inbox = Arc<Mutex<Vec<Received>>>;

/// The receivers, and the notices that tests have not read yet.
pub struct Notices {
    inbox: Inbox,
    smtp: SocketAddr,
    hook: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Notices {
    pub async fn start() -> Self {
        let (inbox, mut tasks) = (Inbox::default(), JoinSet::new());
        let smtp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let hook = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (smtp_address, hook_address) = (smtp.local_addr().unwrap(), hook.local_addr().unwrap());
        tasks.spawn(accept_mails(smtp, Arc::clone(&inbox)));
        let router = Router::new().route("/", post(receive_sms)).with_state(Arc::clone(&inbox));
        tasks.spawn(async move { axum::serve(hook, router).await.unwrap() });
        Self { inbox, smtp: smtp_address, hook: hook_address, _tasks: tasks }
    }

    /// Returns the flags of a node that sends its notices to these receivers.
    pub fn flags(&self) -> [String; 4] {
        [
            format!("--smtp-url=smtp://{}", self.smtp),
            "--smtp-from=Parlance <no-reply@example.org>".to_owned(),
            format!("--sms-hook-url=http://{}/", self.hook),
            format!("--sms-hook-secret={HOOK_SECRET}"),
        ]
    }

    /// Waits for the next notice to this e-mail address or phone number.
    pub async fn next(&self, to: &str) -> Received {
        eventually_some(&format!("a notice to {to}"), async || {
            let mut inbox = self.inbox.lock().unwrap();
            let place = inbox.iter().position(|notice| notice.to == to)?;
            Some(inbox.remove(place))
        })
        .await
    }

    /// Waits for the next notice with a code to this e-mail address or phone number, and returns the code.
    pub async fn next_code(&self, to: &str) -> String {
        eventually_some(&format!("a code to {to}"), async || {
            let mut inbox = self.inbox.lock().unwrap();
            let place = inbox.iter().position(|notice| notice.to == to && notice.code().is_some())?;
            inbox.remove(place).code()
        })
        .await
    }

    /// Waits until a notice to this e-mail address or phone number contains all these texts.
    pub async fn next_with(&self, to: &str, texts: &[&str]) -> Received {
        eventually_some(&format!("a notice to {to} with {texts:?}"), async || {
            let mut inbox = self.inbox.lock().unwrap();
            let has_texts = |notice: &Received| texts.iter().all(|text| notice.text.contains(text));
            let place = inbox.iter().position(|notice| notice.to == to && has_texts(notice))?;
            Some(inbox.remove(place))
        })
        .await
    }

    /// Returns the number of notices to this e-mail address or phone number that no test has read.
    pub fn unread(&self, to: &str) -> usize {
        self.inbox.lock().unwrap().iter().filter(|notice| notice.to == to).count()
    }
}

impl Received {
    /// Returns the verification code, with which the plain text begins. None if the notice has no code.
    fn code(&self) -> Option<String> {
        let plain = match self.text.split_once("text/plain") {
            Some((_, part)) => part.split_once("\n\n")?.1,
            None => &self.text,
        };
        let first = plain.split_whitespace().next()?;
        let is_code = first.len() == CODE_DIGITS && first.bytes().all(|digit| digit.is_ascii_digit());
        is_code.then(|| first.to_owned())
    }
}

async fn accept_mails(listener: TcpListener, inbox: Inbox) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let inbox = Arc::clone(&inbox);
        connections.spawn(async move {
            // A client may close its connection without QUIT.
            let _ = receive_mails(stream, &inbox).await;
        });
    }
}

/// Speaks SMTP (RFC 5321) until the client ends the connection, and accepts every mail.
async fn receive_mails(stream: TcpStream, inbox: &Inbox) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    writer.write_all(b"220 localhost\r\n").await?;
    let mut recipients = Vec::new();
    while let Some(line) = lines.next_line().await? {
        let answer = match line.to_ascii_uppercase().as_str() {
            "DATA" => {
                writer.write_all(b"354 end with a dot\r\n").await?;
                let mut text = String::new();
                while let Some(line) = lines.next_line().await?.filter(|line| line != ".") {
                    text += line.strip_prefix('.').unwrap_or(&line);
                    text.push('\n');
                }
                // Joins the lines that quoted-printable (RFC 2045, section 6.7) has split.
                let text = text.replace("=\n", "");
                let mails = recipients.drain(..).map(|to| Received { to, text: text.clone() });
                inbox.lock().unwrap().extend(mails);
                "250 accepted\r\n"
            }
            "QUIT" => "221 bye\r\n",
            command if command.starts_with("RCPT TO:<") => {
                recipients.push(line["RCPT TO:<".len()..].split('>').next().unwrap().to_owned());
                "250 accepted\r\n"
            }
            _ => "250 localhost\r\n",
        };
        writer.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

async fn receive_sms(State(inbox): State<Inbox>, body: String) -> StatusCode {
    let body: Value = serde_json::from_str(&body).unwrap();
    let text = |field: &str| body["data"][field].as_str().unwrap().to_owned();
    inbox.lock().unwrap().push(Received { to: text("to"), text: text("text") });
    StatusCode::NO_CONTENT
}
