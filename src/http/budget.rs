//! The budget of one user for all open subscriptions on this node.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::address::ClientNetwork;
use crate::graphql::{Caller, Error, Identity};
use crate::ids::UserId;

/// Value of `retryAfter` if the budget is exceeded. Another subscription of the user may have ended by then.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// Counts the cost of all open subscriptions of each user or network. Cheap to clone.
#[derive(Clone)]
pub(super) struct SubscriptionBudget {
    limit: u64,
    spent: Arc<Mutex<HashMap<Owner, u64>>>,
}

/// The owner of a budget: the user, or the network of a caller who is not signed in.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Owner {
    User(UserId),
    Network(ClientNetwork),
}

/// The share of one subscription. Its cost returns to the budget when the share is dropped.
pub(super) struct Share {
    budget: SubscriptionBudget,
    owner: Owner,
    cost: u64,
}

impl SubscriptionBudget {
    /// Creates a budget. `limit` is SUBSCRIPTION_BUDGET.
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, spent: Arc::default() }
    }

    /// Reserves the cost of one more subscription. Returns None if no budget applies to the caller, and RATE_LIMITED if
    /// not enough of the budget is left.
    pub(super) fn reserve(&self, caller: &Caller, cost: u64) -> Result<Option<Share>, Error> {
        let owner = match caller.identity {
            Identity::SignedIn(viewer) => Some(Owner::User(viewer.user)),
            Identity::Anonymous | Identity::Rejected(_) => caller.network.map(Owner::Network),
        };
        let Some(owner) = owner else { return Ok(None) };
        let mut spent = self.spent.lock();
        let sum = spent.get(&owner).copied().unwrap_or_default().saturating_add(cost);
        if sum > self.limit {
            let message = format!(
                "The open subscriptions of one user may cost {} together, and this one costs {cost}. End others, or \
                 subscribe to fewer fields and smaller pages.",
                self.limit
            );
            return Err(Error::limited("SUBSCRIPTION_BUDGET", RETRY_AFTER, message));
        }
        spent.insert(owner, sum);
        drop(spent);
        Ok(Some(Share { budget: self.clone(), owner, cost }))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut spent = self.budget.spent.lock();
        if let Some(sum) = spent.get_mut(&self.owner) {
            *sum = sum.saturating_sub(self.cost);
            if *sum == 0 {
                spent.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::ClientAddress;
    use crate::notices::Language;

    fn caller(address: &str) -> Caller {
        let address = ClientAddress::from(address.parse::<std::net::IpAddr>().unwrap());
        let network = Some(address.network());
        Caller { identity: Identity::Anonymous, ip_address: Some(address), network, language: Language::default() }
    }

    #[test]
    fn a_dropped_share_returns_to_the_budget() {
        let budget = SubscriptionBudget::new(100);
        let first = budget.reserve(&caller("192.0.2.1"), 60).ok().unwrap();
        assert!(budget.reserve(&caller("192.0.2.1"), 41).is_err());
        let second = budget.reserve(&caller("192.0.2.1"), 40).ok().unwrap();
        assert!(budget.reserve(&caller("192.0.2.2"), 100).is_ok(), "another address has its own");
        drop(first);
        assert!(budget.reserve(&caller("192.0.2.1"), 60).is_ok());
        drop(second);
        assert!(budget.spent.lock().is_empty());
    }
}
