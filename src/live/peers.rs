//! Handles the messages of other nodes, asks for all facts after a missed message, and removes nodes that have shut
//! down or failed.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::Status;
use super::exchange::{Body, LiveChange, NodeFacts, NodeId, NodeMessage, Target};
use super::state::{State, Timer};
use crate::ids::UserId;

/// Number of heartbeats that a node sends in PRESENCE_NODE_TTL. A node that sends no message for this time counts as
/// failed. Each node measures the time by its own heartbeats, which the exchange sends back to it, so that no node
/// counts as failed while the exchange is unavailable.
pub(super) const HEARTBEATS_PER_TTL: u32 = 4;

impl State {
    /// Handles a message of another node, or of this node itself.
    pub(super) fn receive(&mut self, message: NodeMessage) {
        let NodeMessage { from, number, body, devices } = message;
        if from == self.own_id {
            if matches!(body, Body::Alive) {
                self.count_heartbeat();
            }
            return;
        }
        let peer = self.peers.entry(from).or_default();
        peer.missed_heartbeats = 0;
        let known = std::mem::replace(&mut peer.number, number);
        let missed = match body {
            Body::All(_) => false,
            Body::Changes(_) => number != known + 1,
            Body::Alive | Body::Ask | Body::Leaving => number != known,
        };
        if missed {
            self.outbox.fact_requests.push(Target::Node(from));
        }
        match body {
            Body::Alive => {}
            Body::Ask => {
                self.outbox.fact_responses.insert(from);
            }
            Body::Changes(changes) => changes.into_iter().for_each(|change| self.apply(from, change)),
            Body::All(facts) => drop(self.replace_facts(from, &facts)),
            Body::Leaving => {
                let until = Instant::now() + self.settings.presence_grace;
                peer.remove_at = Some(until);
                self.timers.insert((until, Timer::Peer(from)));
            }
        }
        for change in devices {
            self.apply(from, LiveChange::Device(change));
        }
    }

    /// Asks all nodes for their facts, because the subscription is established for the first time or again.
    pub(super) fn subscribed(&mut self) {
        self.peers.values_mut().for_each(|peer| peer.missed_heartbeats = 0);
        self.outbox.fact_requests.push(Target::AllNodes);
    }

    /// Replaces the facts of a node. Returns the users who were connected to the node before.
    fn replace_facts(&mut self, node: NodeId, now: &NodeFacts) -> Vec<UserId> {
        let known = self.facts.of(node);
        let before: Vec<UserId> = known.present.iter().map(|(user, _)| *user).collect();
        let users: BTreeSet<UserId> = before.iter().copied().chain(now.present.iter().map(|(user, _)| *user)).collect();
        let rooms: BTreeSet<_> = known.rooms.iter().chain(&now.rooms).copied().collect();
        let (users, rooms): (Vec<_>, Vec<_>) = (users.into_iter().collect(), rooms.into_iter().collect());
        self.change_facts(&users, &rooms, |facts| facts.replace(node, &known, now));
        before
    }

    fn count_heartbeat(&mut self) {
        let mut dead = Vec::new();
        for (node, peer) in &mut self.peers {
            peer.missed_heartbeats += 1;
            if peer.missed_heartbeats > HEARTBEATS_PER_TTL {
                dead.push(*node);
            }
        }
        for node in dead {
            tracing::warn!(node = node.0, "a node sends no heartbeats; its users are treated as disconnected");
            self.remove_peer(node, self.settings.presence_node_ttl);
        }
    }

    /// Removes a node and its users. `elapsed` is the time since these users were last seen.
    pub(super) fn remove_peer(&mut self, node: NodeId, elapsed: Duration) {
        self.peers.remove(&node);
        let seen = self.clock.now() - elapsed;
        // The remaining node with the lowest id stores when the users were last seen.
        let first = self.peers.keys().all(|peer| self.own_id < *peer);
        for user in self.replace_facts(node, &NodeFacts::default()) {
            self.remember_seen(user, seen);
            if first && self.facts.status(user) == Status::Offline {
                let _ = self.departures.send((user, seen));
            }
        }
    }
}
