//! The facts of every node: which users and devices are connected to the node, and which conversations these users have
//! open.

use std::collections::HashMap;
use std::hash::Hash;

use super::Status;
use super::exchange::{Activity, NodeFacts, NodeId};
use crate::ids::{ConversationId, SessionId, UserId};

#[derive(Default)]
pub(super) struct Facts {
    pub(super) users: Connections<UserId>,
    pub(super) devices: Connections<SessionId>,
    /// The nodes on which each user has a conversation open.
    rooms: HashMap<ConversationId, HashMap<UserId, Vec<NodeId>>>,
}

/// The nodes to which each user or each device is connected, with the activity that each node has published.
pub(super) struct Connections<K>(HashMap<K, Vec<(NodeId, Activity)>>);

impl<K> Default for Connections<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Copy + Eq + Hash> Connections<K> {
    /// Returns the newest activity, or None if there is no connection to any node.
    pub(super) fn activity(&self, key: K) -> Option<Activity> {
        self.0.get(&key)?.iter().map(|(_, activity)| *activity).max()
    }

    pub(super) fn connect(&mut self, node: NodeId, key: K, activity: Activity) {
        let nodes = self.0.entry(key).or_default();
        match nodes.iter_mut().find(|(other, _)| *other == node) {
            Some((_, known)) => *known = activity.max(*known),
            None => nodes.push((node, activity)),
        }
    }

    pub(super) fn disconnect(&mut self, node: NodeId, key: K) {
        if let Some(nodes) = self.0.get_mut(&key) {
            nodes.retain(|(other, _)| *other != node);
            if nodes.is_empty() {
                self.0.remove(&key);
            }
        }
    }

    /// Sets the activity for every node to which there is a connection, unless a newer activity is known for that node.
    pub(super) fn set_activity(&mut self, key: K, activity: Activity) {
        for (_, known) in self.0.get_mut(&key).into_iter().flatten() {
            *known = activity.max(*known);
        }
    }

    /// Returns the connections to one node.
    fn of(&self, node: NodeId) -> Vec<(K, Activity)> {
        let to_node = self.0.iter().filter_map(|(key, nodes)| {
            let (_, activity) = nodes.iter().find(|(other, _)| *other == node)?;
            Some((*key, *activity))
        });
        to_node.collect()
    }

    fn replace(&mut self, node: NodeId, known: &[(K, Activity)], now: &[(K, Activity)]) {
        for &(key, _) in known {
            self.disconnect(node, key);
        }
        for &(key, activity) in now {
            self.connect(node, key, activity);
        }
    }
}

impl Facts {
    pub(super) fn status(&self, user: UserId) -> Status {
        match self.users.activity(user) {
            None => Status::Offline,
            Some(activity) if activity.away => Status::Away,
            Some(_) => Status::Online,
        }
    }

    pub(super) fn enter(&mut self, node: NodeId, conversation: ConversationId, user: UserId) {
        let nodes = self.rooms.entry(conversation).or_default().entry(user).or_default();
        if !nodes.contains(&node) {
            nodes.push(node);
        }
    }

    pub(super) fn leave(&mut self, node: NodeId, conversation: ConversationId, user: UserId) {
        let Some(room) = self.rooms.get_mut(&conversation) else { return };
        if let Some(nodes) = room.get_mut(&user) {
            nodes.retain(|other| *other != node);
            if nodes.is_empty() {
                room.remove(&user);
            }
        }
        if room.is_empty() {
            self.rooms.remove(&conversation);
        }
    }

    pub(super) fn is_in_room(&self, conversation: ConversationId, user: UserId) -> bool {
        self.rooms.get(&conversation).is_some_and(|room| room.contains_key(&user))
    }

    pub(super) fn room(&self, conversation: ConversationId) -> Vec<UserId> {
        let mut users: Vec<_> =
            self.rooms.get(&conversation).into_iter().flat_map(|room| room.keys().copied()).collect();
        users.sort_unstable();
        users
    }

    /// Returns the facts of one node. Scans the facts of all nodes, but is called rarely: when a node starts, fails or
    /// has missed a message.
    pub(super) fn of(&self, node: NodeId) -> NodeFacts {
        let mut facts = NodeFacts { present: self.users.of(node), rooms: Vec::new(), devices: self.devices.of(node) };
        for (conversation, room) in &self.rooms {
            let users = room.iter().filter(|(_, nodes)| nodes.contains(&node));
            facts.rooms.extend(users.map(|(user, _)| (*conversation, *user)));
        }
        facts
    }

    pub(super) fn replace(&mut self, node: NodeId, known: &NodeFacts, now: &NodeFacts) {
        self.users.replace(node, &known.present, &now.present);
        self.devices.replace(node, &known.devices, &now.devices);
        for &(conversation, user) in &known.rooms {
            self.leave(node, conversation, user);
        }
        for &(conversation, user) in &now.rooms {
            self.enter(node, conversation, user);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const SESSION: SessionId = SessionId(Uuid::nil());
    const NODES: [NodeId; 2] = [NodeId(1), NodeId(2)];

    #[test]
    fn a_device_is_connected_until_it_has_left_every_node() {
        let mut facts = Facts::default();
        let visible = Activity { at: 1, away: false };
        for node in NODES {
            facts.devices.connect(node, SESSION, visible);
        }
        let hidden = Activity { at: 2, away: true };
        facts.devices.set_activity(SESSION, hidden);
        facts.devices.disconnect(NODES[0], SESSION);
        assert_eq!(facts.devices.activity(SESSION), Some(hidden));
        facts.devices.disconnect(NODES[1], SESSION);
        assert_eq!(facts.devices.activity(SESSION), None);
        // An activity does not connect a device.
        facts.devices.set_activity(SESSION, hidden);
        assert_eq!(facts.devices.activity(SESSION), None);
    }

    #[test]
    fn the_facts_of_a_node_replace_those_that_were_known() {
        let mut facts = Facts::default();
        let activity = Activity { at: 1, away: false };
        facts.devices.connect(NODES[0], SESSION, activity);
        facts.devices.connect(NODES[1], SESSION, activity);
        let known = facts.of(NODES[0]);
        assert_eq!(known.devices, [(SESSION, activity)]);
        facts.replace(NODES[0], &known, &NodeFacts::default());
        assert!(facts.of(NODES[0]).devices.is_empty());
        assert_eq!(facts.of(NODES[1]).devices, [(SESSION, activity)]);
    }
}
