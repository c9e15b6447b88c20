//! Digests: e-mails about unread messages to users who are not online. Every node runs this task, but only one node at
//! a time looks for users.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use diesel_async::AsyncConnection as _;
use reqwest::Url;
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::core::PushCore;
use super::facts::Details;
use super::preview::{plain_body, preview};
use super::texts::{allowed, count, group};
use crate::config::{PushContent, PushSettings};
use crate::domain::error::{Error, Result as DomainResult};
use crate::error::Result;
use crate::ids::UserId;
use crate::live::Status;
use crate::notices::{
    Channel, DigestConversation, DigestLinks, Language, MAX_DIGEST_CONVERSATIONS, Notice, Notifier, Outgoing, Recipient,
};
use crate::store::push::digests::{self, Candidate, Missed, Window};
use crate::store::{Connection, locks};

/// Path of the page that turns digests off.
pub const UNSUBSCRIBE_PATH: &str = "/notifications/unsubscribe";
/// Number of random bytes of a token to unsubscribe.
const TOKEN_BYTES: usize = 32;
/// Number of users who are checked in one transaction.
const PAGE: i64 = 200;
/// Minimum time between two digests to a user, if EMAIL_DIGEST_AFTER is shorter.
const MIN_PAUSE: Duration = Duration::from_mins(1);
/// Maximum age of a message that causes a digest. If twice EMAIL_DIGEST_AFTER is longer, that is the maximum. Without a
/// maximum, the first digests of a server would be about very old messages.
const MAX_AGE: Duration = Duration::from_hours(7 * 24);
/// Bounds of the time between two searches for users, which is a tenth of EMAIL_DIGEST_AFTER.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
const MAX_INTERVAL: Duration = Duration::from_mins(10);

const NO_TOKEN: Error =
    Error::NotFound("This link is not valid. The newest e-mail about unread messages has a link that works.");

/// The links that turn digests off.
pub struct Digests<'a> {
    pub(in crate::domain) core: &'a Arc<PushCore>,
}

impl Digests<'_> {
    /// Turns off the digests of the user to whom the token belongs. Can be repeated. Returns NOT_FOUND if the token is
    /// unknown.
    pub async fn unsubscribe(&self, token: &str) -> DomainResult<()> {
        let token = URL_SAFE_NO_PAD.decode(token).ok().filter(|token| token.len() == TOKEN_BYTES).ok_or(NO_TOKEN)?;
        let found = digests::unsubscribe(&mut *self.core.base.connection().await?, &token).await?;
        if found { Ok(()) } else { Err(NO_TOKEN) }
    }
}

/// Sends digests.
pub(in crate::domain) struct DigestMailer {
    core: Arc<PushCore>,
    notices: Notifier,
    /// The most that the operator allows a digest to show.
    content: PushContent,
    public_url: Option<Url>,
    /// Age of the unread messages that cause a digest.
    after: Duration,
}

/// The digests to one page of users.
struct Page {
    /// The last user of the page. None if it is the last page.
    last: Option<UserId>,
    digests: Vec<Digest>,
}

struct Digest {
    user: UserId,
    /// Time up to which messages were in a digest before this one.
    digested_up_to: Option<DateTime<Utc>>,
    outgoing: Outgoing,
}

impl DigestMailer {
    /// Returns None if digests are turned off, or if the server cannot send e-mails.
    pub(in crate::domain) fn new(
        core: &Arc<PushCore>,
        notices: &Notifier,
        settings: &PushSettings,
        public_url: Option<&Url>,
    ) -> Option<Self> {
        let after = settings.digest_after()?;
        if notices.email() == Channel::Unavailable {
            warn!("EMAIL_DIGEST_AFTER is set, but there are no digests: set SMTP_URL");
            return None;
        }
        Some(Self {
            core: Arc::clone(core),
            notices: notices.clone(),
            content: settings.push_content,
            public_url: public_url.cloned(),
            after,
        })
    }

    pub(in crate::domain) async fn run(self) {
        let interval = (self.after / 10).clamp(MIN_INTERVAL, MAX_INTERVAL);
        loop {
            // A new node first learns from the others which users are online.
            tokio::time::sleep(interval).await;
            match self.send_due().await {
                Ok(0) => {}
                Ok(digests) => info!(digests, "sent digests of unread messages"),
                Err(error) => warn!(%error, after = ?interval, "sending digests failed; trying again"),
            }
        }
    }

    /// Sends digests to all users who are to get one now, and returns their number. Ends early if another node sends
    /// digests, or if too many e-mails wait to be sent.
    async fn send_due(&self) -> Result<usize> {
        let mut after = UserId(Uuid::nil());
        let mut sent = 0;
        loop {
            let now = self.core.base.now();
            let window = self.window(now);
            let mut connection = self.core.base.connection().await?;
            let page = connection.transaction(async |conn| self.claim_page(conn, window, after).await).await?;
            drop(connection);
            let Some(Page { last, digests }) = page else { return Ok(sent) };
            let count = digests.len();
            let unsent = self.queue(digests);
            sent += count - unsent.len();
            if !unsent.is_empty() {
                let (users, before): (Vec<_>, Vec<_>) = unsent.into_iter().unzip();
                digests::unmark(&mut *self.core.base.connection().await?, &users, &before, now).await?;
                return Ok(sent);
            }
            match last {
                Some(last) => after = last,
                None => return Ok(sent),
            }
        }
    }

    fn window(&self, now: DateTime<Utc>) -> Window {
        let ago = |time: Duration| now - TimeDelta::from_std(time).unwrap_or_default();
        Window {
            now,
            before: ago(self.after),
            since: ago(MAX_AGE.max(self.after * 2)),
            paused_since: ago(self.after.max(MIN_PAUSE)),
        }
    }

    /// Queues the digests. Returns the users whose digests were not queued because the queue is full, with the times of
    /// their former digests.
    fn queue(&self, digests: Vec<Digest>) -> Vec<(UserId, Option<DateTime<Utc>>)> {
        let mut unsent = Vec::new();
        for Digest { user, digested_up_to, outgoing } in digests {
            if unsent.is_empty() && self.notices.send(outgoing).is_ok() {
                continue;
            }
            unsent.push((user, digested_up_to));
        }
        if !unsent.is_empty() {
            debug!(digests = unsent.len(), "too many e-mails wait to be sent; further digests follow later");
        }
        unsent
    }

    /// Writes the digests to one page of users, and records that they get them. Returns None if another node does this
    /// now. The transaction commits before a digest is sent, so that no user gets two.
    async fn claim_page(&self, conn: &mut Connection, window: Window, after: UserId) -> Result<Option<Page>> {
        if !locks::try_lock(conn, locks::DIGESTS).await? {
            return Ok(None);
        }
        let candidates = digests::candidates(conn, window, after, PAGE).await?;
        let is_full = i64::try_from(candidates.len()).is_ok_and(|count| count == PAGE);
        let last = candidates.last().filter(|_| is_full).map(|candidate| candidate.id);
        let is_due = |candidate: &Candidate| candidate.is_due && self.core.live.status(candidate.id) != Status::Online;
        let due: Vec<_> = candidates.into_iter().filter(is_due).collect();
        if due.is_empty() {
            return Ok(Some(Page { last, digests: Vec::new() }));
        }
        let users: Vec<_> = due.iter().map(|candidate| candidate.id).collect();
        let limit = i64::try_from(MAX_DIGEST_CONVERSATIONS).unwrap_or(i64::MAX);
        let missed = digests::missed(conn, &users, window.now, limit).await?;
        let messages: Vec<_> = missed.iter().map(|row| (row.message_id, row.kind, row.body.as_deref())).collect();
        let details = Details::read(conn, &messages).await?;
        let mut by_user: HashMap<_, Vec<_>> = HashMap::new();
        for row in missed {
            by_user.entry(row.user_id).or_default().push(row);
        }
        let named: Vec<_> = users.into_iter().filter(|user| by_user.contains_key(user)).collect();
        let new_tokens: Vec<_> = named.iter().map(|_| self.core.base.random.bytes::<TOKEN_BYTES>().to_vec()).collect();
        let tokens: HashMap<_, _> = digests::mark(conn, &named, &new_tokens, window.now).await?.into_iter().collect();
        let digests = due.into_iter().filter_map(|candidate| {
            let (token, missed) = (tokens.get(&candidate.id)?, by_user.get(&candidate.id)?);
            let (user, digested_up_to) = (candidate.id, candidate.digested_up_to);
            Some(Digest { user, digested_up_to, outgoing: self.outgoing(candidate, missed, token, &details) })
        });
        Ok(Some(Page { last, digests: digests.collect() }))
    }

    fn outgoing(&self, candidate: Candidate, missed: &[Missed], token: &[u8], details: &Details) -> Outgoing {
        let language = candidate.language.as_deref().unwrap_or_default();
        let content = allowed(self.content, candidate.content);
        let conversations: Vec<_> = missed
            .iter()
            .filter(|_| content > PushContent::Nothing)
            .filter_map(|row| self.conversation(row, content, language, details))
            .collect();
        let first = missed.first();
        let all_conversations = first.map_or(0, |row| row.all_conversations);
        let listed = i64::try_from(conversations.len()).unwrap_or(i64::MAX);
        let notice = Notice::Digest {
            username: candidate.username,
            unread: count(first.map_or(0, |row| row.all_unread)),
            others: count(all_conversations.saturating_sub(listed)),
            conversations,
            links: self.links(token),
        };
        let language = candidate.language.as_deref().map_or_else(Language::default, Language::tagged);
        Outgoing { recipient: Recipient::Email(candidate.email), notice, language, network: None }
    }

    /// Returns None if the conversation has no name that could be listed.
    fn conversation(
        &self,
        row: &Missed,
        content: PushContent,
        language: &str,
        details: &Details,
    ) -> Option<DigestConversation> {
        let sender = row.sender.as_deref();
        let group = group(row.conversation_kind, row.title.as_deref());
        let text = plain_body(row.message_id, row.body.as_deref(), details);
        let preview = preview(row.message_id, &text, details).filter(|_| content == PushContent::Full);
        let shown = preview.map(|preview| self.core.texts.preview(language, preview));
        // The name of a direct conversation is that of its sender.
        let sender_in_group = sender.filter(|_| group.is_some());
        let preview = match (sender_in_group, shown) {
            (Some(sender), Some(shown)) => Some(format!("{sender}: {shown}")),
            (Some(sender), None) => Some(sender.to_owned()),
            (None, shown) => shown,
        };
        Some(DigestConversation { name: group.or(sender)?.to_owned(), unread: count(row.unread.into()), preview })
    }

    /// Returns the links of a digest. None without PUBLIC_URL.
    fn links(&self, token: &[u8]) -> Option<DigestLinks> {
        let app = self.public_url.clone()?;
        let mut unsubscribe = app.clone();
        unsubscribe.set_path(UNSUBSCRIBE_PATH);
        unsubscribe.query_pairs_mut().append_pair("token", &URL_SAFE_NO_PAD.encode(token));
        Some(DigestLinks { app, unsubscribe })
    }
}
