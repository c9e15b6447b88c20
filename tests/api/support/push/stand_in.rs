//! What the stand-ins of push services have in common: the pushes to each device, and the replies.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::http::header::{LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use parlance::clock::Clock;
use serde_json::Value;
use tokio::time::Instant;

use crate::support::eventually_some;

/// The reply of a push service to one push.
#[derive(Clone, Debug)]
pub enum Reply {
    Status(u16),
    /// A status with the header Retry-After, in seconds.
    RetryAfter(u16, u32),
    /// A status with the header Retry-After as a date, this number of seconds from now.
    RetryAt(u16, u32),
    /// A redirect to another URL.
    Redirect(String),
    /// No reply. The request waits until the client closes it.
    Hang,
}

/// A push that a stand-in has received.
#[derive(Clone, Debug)]
pub struct Received {
    /// The decrypted JSON of Web Push, the message of FCM, or the payload of APNs.
    pub payload: Value,
    pub headers: HeaderMap,
    /// Size of the encrypted body of Web Push, of the content of FCM, or of the payload of APNs, in bytes.
    pub size: usize,
    /// Status of the reply. None if the stand-in has not replied.
    pub status: Option<u16>,
    pub at: Instant,
}

/// The pushes to one device that no test has read, and the replies to the next ones.
#[derive(Default)]
struct Mailbox {
    unread: VecDeque<Received>,
    /// Number of pushes to the device.
    total: usize,
    /// Replies to the next pushes.
    replies: VecDeque<Reply>,
    /// Reply to all pushes after `replies`. None means that they succeed.
    always: Option<Reply>,
    /// Maximum size of a push in bytes. A larger one is refused with 413.
    limit: Option<usize>,
}

#[derive(Default)]
struct Mailboxes {
    of: HashMap<String, Mailbox>,
    /// What the server did wrong in a request.
    faults: Vec<String>,
}

/// The mailboxes of a stand-in. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Shared(Arc<Mutex<Mailboxes>>);

/// A device to which a stand-in delivers.
#[derive(Clone)]
pub struct Device {
    /// The argument `input` of `registerPushSubscription`.
    pub input: Value,
    /// The endpoint or the token.
    pub address: String,
    id: String,
    shared: Shared,
}

impl Received {
    pub(super) fn new(payload: Value, headers: HeaderMap, size: usize) -> Self {
        Self { payload, headers, size, status: None, at: Instant::now() }
    }

    /// Returns a header of the request. Empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        text_of(&self.headers, name)
    }

    /// Returns a text field of the payload. Empty if the field is missing or null.
    pub fn text(&self, field: &str) -> &str {
        self.payload[field].as_str().unwrap_or_default()
    }
}

/// Returns a header. Empty if there is none.
pub(super) fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

impl Shared {
    /// Adds a device whose pushes come with this id.
    pub(super) fn add(&self, id: String, address: String, input: Value) -> Device {
        self.0.lock().unwrap().of.insert(id.clone(), Mailbox::default());
        Device { input, address, id, shared: self.clone() }
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.0.lock().unwrap().of.contains_key(id)
    }

    /// Records that the server made a wrong request. All tests that read pushes fail after this.
    pub(super) fn fault(&self, fault: String) {
        self.0.lock().unwrap().faults.push(fault);
    }

    /// Records a push and replies as the test has set. `body` makes the body of a reply from its status.
    pub(super) async fn reply(&self, id: &str, push: Received, success: u16, body: fn(u16) -> String) -> Response {
        let reply = self.record(id, push, success);
        let (status, header) = match reply {
            Reply::Status(status) => (status, None),
            Reply::RetryAfter(status, seconds) => (status, Some((RETRY_AFTER, seconds.to_string()))),
            Reply::RetryAt(status, seconds) => {
                let at = SystemTime::from(Clock::system().now()) + Duration::from_secs(seconds.into());
                (status, Some((RETRY_AFTER, httpdate::fmt_http_date(at))))
            }
            Reply::Redirect(to) => (307, Some((LOCATION, to))),
            Reply::Hang => std::future::pending().await,
        };
        let mut response = (StatusCode::from_u16(status).unwrap(), body(status)).into_response();
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, HeaderValue::from_str(&value).unwrap());
        }
        response
    }

    fn record(&self, id: &str, mut push: Received, success: u16) -> Reply {
        let mut mailboxes = self.0.lock().unwrap();
        let mailbox = mailboxes.of.get_mut(id).unwrap();
        let reply = match mailbox.limit {
            Some(limit) if push.size > limit => Reply::Status(413),
            _ => mailbox.replies.pop_front().or_else(|| mailbox.always.clone()).unwrap_or(Reply::Status(success)),
        };
        push.status = match reply {
            Reply::Status(status) | Reply::RetryAfter(status, _) | Reply::RetryAt(status, _) => Some(status),
            Reply::Redirect(_) => Some(307),
            Reply::Hang => None,
        };
        mailbox.total += 1;
        mailbox.unread.push_back(push);
        reply
    }
}

impl Device {
    /// Waits for the next push. Panics if the server has made a wrong request.
    pub async fn next(&self) -> Received {
        eventually_some(&format!("a push to {}", self.address), async || {
            self.with(|mailbox| mailbox.unread.pop_front())
        })
        .await
    }

    /// Waits for the next push, which must have this kind.
    pub async fn expect(&self, kind: &str) -> Received {
        let push = self.next().await;
        assert_eq!(push.payload["kind"], kind, "{:#}", push.payload);
        push
    }

    /// Asserts that no test has left a push unread.
    #[track_caller]
    pub fn expect_none(&self) {
        let unread: Vec<_> = self.unread().into_iter().map(|push| push.payload).collect();
        assert_eq!(unread, Vec::<Value>::new());
    }

    /// Takes all pushes that no test has read.
    pub fn unread(&self) -> Vec<Received> {
        self.with(|mailbox| mailbox.unread.drain(..).collect())
    }

    /// Returns the newest push that no test has read.
    pub fn last(&self) -> Option<Received> {
        self.with(|mailbox| mailbox.unread.back().cloned())
    }

    /// Returns the number of all pushes to the device.
    pub fn total(&self) -> usize {
        self.with(|mailbox| mailbox.total)
    }

    /// Sets the replies to the next pushes. Later pushes succeed.
    pub fn reply(&self, replies: &[Reply]) {
        self.with(|mailbox| mailbox.replies.extend(replies.iter().cloned()));
    }

    /// Sets the reply to all pushes from now on. None means that they succeed.
    pub fn always_reply(&self, reply: Option<Reply>) {
        self.with(|mailbox| mailbox.always = reply);
    }

    /// Refuses pushes that have more bytes with 413.
    pub fn set_limit(&self, bytes: usize) {
        self.with(|mailbox| mailbox.limit = Some(bytes));
    }

    #[track_caller]
    fn with<T>(&self, read: impl FnOnce(&mut Mailbox) -> T) -> T {
        let mut mailboxes = self.shared.0.lock().unwrap();
        assert_eq!(mailboxes.faults, Vec::<String>::new(), "the server made wrong requests");
        read(mailboxes.of.get_mut(&self.id).unwrap())
    }
}
