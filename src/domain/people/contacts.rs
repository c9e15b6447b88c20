//! Contacts: contact requests, their acceptance or refusal, and the removal of contacts. Every change between two users
//! locks the pair of these users.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::core::PeopleCore;
use crate::domain::error::{BLOCKING, Error, NO_USER, Result};
use crate::domain::viewer::Viewer;
use crate::ids::{ContactRequestId, UserId};
use crate::limiter::Rate;
use crate::log::{Change, Transaction};
use crate::store::locks;
use crate::store::people::blocks;
use crate::store::people::contacts::{self, ContactRequest, Direction, Related};
use crate::store::people::users::{self, User};

const NO_REQUEST: Error = Error::NotFound("No such contact request. `viewer.contactRequests` lists yours.");

pub struct Contacts<'a> {
    pub(in crate::domain) core: &'a Arc<PeopleCore>,
}

/// The result of a contact request.
#[derive(Debug)]
pub enum RequestOutcome {
    /// The request waits until its recipient accepts or declines it.
    Waiting(ContactRequest),
    /// The other user is now a contact: this user had already sent a request, or was already a contact.
    Contact(User),
}

impl Contacts<'_> {
    /// Sends a contact request. A repeated call returns the same request. If the other user has already sent a request
    /// to the viewer, the two users become contacts.
    pub async fn request(&self, viewer: Viewer, other: UserId) -> Result<RequestOutcome> {
        if other == viewer.user {
            return Err(Error::invalid("userId", "You cannot be your own contact."));
        }
        self.core.base.check_rate(Rate::ContactRequests, viewer, 1)?;
        self.core.base.log.transaction(async |tx| self.request_locked(tx, viewer.user, other).await).await
    }

    /// Accepts a request and returns the new contact. Returns FORBIDDEN if the viewer is not the recipient.
    pub async fn accept(&self, viewer: Viewer, id: ContactRequestId) -> Result<User> {
        self.core.base.check_rate(Rate::Changes, viewer, 1)?;
        let log = &self.core.base.log;
        log.transaction(async |tx| {
            let (request, requester) = lock_request(tx, viewer.user, id).await?;
            self.make_contacts(tx, &request).await?;
            Ok(requester)
        })
        .await
    }

    /// Deletes a request. Its sender may send a new request. Returns FORBIDDEN if the viewer is not the recipient.
    pub async fn decline(&self, viewer: Viewer, id: ContactRequestId) -> Result<()> {
        self.core.base.check_rate(Rate::Changes, viewer, 1)?;
        let log = &self.core.base.log;
        log.transaction(async |tx| {
            let (request, _) = lock_request(tx, viewer.user, id).await?;
            contacts::delete_request(tx.conn(), id).await?;
            record_change(tx, &request);
            Ok(())
        })
        .await
    }

    /// Removes a contact from both sides, or only from the viewer's side if the viewer blocks the other user. Changes
    /// nothing if the other user is not a contact.
    pub async fn remove(&self, viewer: Viewer, other: UserId) -> Result<User> {
        self.core.base.check_rate(Rate::Changes, viewer, 1)?;
        let user = viewer.user;
        let log = &self.core.base.log;
        log.transaction(async |tx| {
            let contact = lock_pair(tx, user, other).await?;
            if contacts::delete(tx.conn(), user, other).await? {
                tx.record(Change::ContactsChanged { user, other });
            }
            // If the viewer blocks the other user, the contact of the other user stays, because its removal would
            // reveal the block.
            let blocks = blocks::between(tx.conn(), user, other).await?;
            if !blocks.own && contacts::delete(tx.conn(), other, user).await? {
                tx.record(Change::ContactsChanged { user: other, other: user });
            }
            Ok(contact)
        })
        .await
    }

    /// Reads the viewer's contacts with the time at which they became contacts, newest first.
    pub async fn list(
        &self,
        viewer: Viewer,
        after: Option<(DateTime<Utc>, UserId)>,
        limit: i64,
    ) -> Result<Vec<(DateTime<Utc>, User)>> {
        Ok(contacts::list(&mut *self.core.base.connection().await?, viewer.user, after, limit).await?)
    }

    /// Reads the requests that the viewer has received or sent, newest first.
    pub async fn list_requests(
        &self,
        viewer: Viewer,
        direction: Direction,
        after: Option<(DateTime<Utc>, ContactRequestId)>,
        limit: i64,
    ) -> Result<Vec<ContactRequest>> {
        let mut connection = self.core.base.connection().await?;
        Ok(contacts::list_requests(&mut connection, viewer.user, direction, after, limit).await?)
    }

    /// Finds requests by id. Leaves out requests that are not visible to the viewer.
    pub async fn find_requests(&self, viewer: Viewer, ids: &[ContactRequestId]) -> Result<Vec<ContactRequest>> {
        Ok(contacts::requests_visible_to(&mut *self.core.base.connection().await?, viewer.user, ids).await?)
    }

    /// Reads for each pair (viewer, other user) whether the other user is a contact of the viewer, and whether the
    /// viewer blocks the other user.
    pub async fn relations(&self, pairs: &[(UserId, UserId)]) -> Result<Vec<Related>> {
        Ok(contacts::relations(&*self.core.base.connection().await?, pairs).await?)
    }

    async fn request_locked(
        &self,
        tx: &mut Transaction<'_>,
        requester: UserId,
        other: UserId,
    ) -> Result<RequestOutcome> {
        let user = lock_pair(tx, requester, other).await?;
        let blocks = blocks::between(tx.conn(), requester, other).await?;
        if blocks.own {
            return Err(BLOCKING);
        }
        if contacts::is_contact(tx.conn(), requester, other).await? {
            return Ok(RequestOutcome::Contact(user));
        }
        let requests = contacts::requests_between(tx.conn(), requester, other).await?;
        if let Some(reverse) = requests.iter().find(|request| request.from_id == other) {
            self.make_contacts(tx, reverse).await?;
            return Ok(RequestOutcome::Contact(user));
        }
        let withheld_from = blocks.reverse.then_some(other);
        if let Some(mut own) = requests.into_iter().next() {
            // The request was hidden from a user who blocked the other user. The block has ended, so the request is
            // shown now.
            if let Some(hidden_from) = own.withheld_from
                && own.withheld_from != withheld_from
            {
                contacts::show_request(tx.conn(), own.id).await?;
                own.withheld_from = None;
                let with = if hidden_from == requester { other } else { requester };
                tx.record(Change::ContactsChanged { user: hidden_from, other: with });
            }
            return Ok(RequestOutcome::Waiting(own));
        }
        let now = self.core.base.now();
        let id = ContactRequestId::new(now, &self.core.base.random);
        let request = ContactRequest { id, from_id: requester, to_id: other, created_at: now, withheld_from };
        contacts::insert_request(tx.conn(), &request).await?;
        record_change(tx, &request);
        Ok(RequestOutcome::Waiting(request))
    }

    /// Makes the two users contacts. If the sender of the request has blocked the other user after sending it, only the
    /// other user gets a contact.
    async fn make_contacts(&self, tx: &mut Transaction<'_>, request: &ContactRequest) -> Result<()> {
        let (requester, other) = (request.from_id, request.to_id);
        let now = self.core.base.now();
        contacts::delete_requests_between(tx.conn(), requester, other).await?;
        contacts::insert(tx.conn(), other, requester, now).await?;
        tx.record(Change::ContactsChanged { user: other, other: requester });
        if request.withheld_from != Some(requester) {
            contacts::insert(tx.conn(), requester, other, now).await?;
            tx.record(Change::ContactsChanged { user: requester, other });
        }
        Ok(())
    }
}

/// Locks the pair of users until the transaction ends, and returns the other user. Returns NOT_FOUND if the other user
/// does not exist.
pub(in crate::domain) async fn lock_pair(tx: &mut Transaction<'_>, user: UserId, other: UserId) -> Result<User> {
    locks::wait_for_pair(tx.conn(), user, other).await?;
    users::by_id(tx.conn(), other).await?.ok_or(NO_USER)
}

/// Locks the pair of users of a request, and returns the request and its sender. Returns FORBIDDEN if the user is not
/// the recipient.
async fn lock_request(tx: &mut Transaction<'_>, user: UserId, id: ContactRequestId) -> Result<(ContactRequest, User)> {
    let find = async |tx: &mut Transaction<'_>| -> Result<ContactRequest> {
        contacts::requests_visible_to(tx.conn(), user, &[id]).await?.pop().ok_or(NO_REQUEST)
    };
    let request = find(tx).await?;
    if request.to_id != user {
        return Err(Error::Forbidden("Only the recipient of a contact request may answer it."));
    }
    let requester = lock_pair(tx, user, request.from_id).await?;
    Ok((find(tx).await?, requester))
}

/// Records a change of the request for each of its two users, except a user from whom the request is hidden.
fn record_change(tx: &mut Transaction<'_>, request: &ContactRequest) {
    for (user, other) in [(request.from_id, request.to_id), (request.to_id, request.from_id)] {
        if request.withheld_from != Some(user) {
            tx.record(Change::ContactsChanged { user, other });
        }
    }
}
