//! The facts of every node: which users and devices are connected to the node, and which conversations these users have
//! open.

use std::collections::HashMap;
use std::hash::Hash;

use super::Status;
use super::exchange::{Activity, DeviceChange, DeviceState, NodeFacts, NodeId};
use crate::ids::{ConversationId, SessionId, UserId};

#[derive(Default)]
pub(super) struct Facts {
    pub(super) users: Connections<UserId>,
    devices: Connections<SessionId>,
    /// The devices of each user that are connected to any node.
    devices_of: HashMap<UserId, Vec<SessionId>>,
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

    /// Returns the activity that one node has published, or None if there is no connection to this node.
    fn on(&self, node: NodeId, key: K) -> Option<Activity> {
        self.0.get(&key)?.iter().find(|(other, _)| *other == node).map(|(_, activity)| *activity)
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

    /// Returns the newest activity of a device, or None if the device is not connected.
    pub(super) fn device(&self, session: SessionId) -> Option<Activity> {
        self.devices.activity(session)
    }

    /// Whether the device is connected to any node, and its page is not hidden.
    pub(super) fn is_visible(&self, session: SessionId) -> bool {
        self.device(session).is_some_and(|activity| !activity.away)
    }

    /// Whether any device of the user is visible.
    pub(super) fn is_visible_anywhere(&self, user: UserId) -> bool {
        self.devices_of.get(&user).is_some_and(|devices| devices.iter().any(|device| self.is_visible(*device)))
    }

    pub(super) fn change_device(&mut self, node: NodeId, change: DeviceChange) {
        let DeviceChange { user, session, state } = change;
        match state {
            DeviceState::Connected(activity) => self.connect_device(node, user, session, activity),
            DeviceState::Disconnected => self.disconnect_device(node, user, session),
            DeviceState::Active(activity) => self.devices.set_activity(session, activity),
        }
    }

    fn connect_device(&mut self, node: NodeId, user: UserId, session: SessionId, activity: Activity) {
        self.devices.connect(node, session, activity);
        let devices = self.devices_of.entry(user).or_default();
        if !devices.contains(&session) {
            devices.push(session);
        }
    }

    fn disconnect_device(&mut self, node: NodeId, user: UserId, session: SessionId) {
        self.devices.disconnect(node, session);
        if self.devices.activity(session).is_none()
            && let Some(devices) = self.devices_of.get_mut(&user)
        {
            devices.retain(|other| *other != session);
            if devices.is_empty() {
                self.devices_of.remove(&user);
            }
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
        let mut facts = NodeFacts::default();
        for &user in self.users.0.keys() {
            facts.present.extend(self.users.on(node, user).map(|activity| (user, activity)));
        }
        for (&user, devices) in &self.devices_of {
            let connected = devices.iter().filter_map(|&device| Some((user, device, self.devices.on(node, device)?)));
            facts.devices.extend(connected);
        }
        for (conversation, room) in &self.rooms {
            let users = room.iter().filter(|(_, nodes)| nodes.contains(&node));
            facts.rooms.extend(users.map(|(user, _)| (*conversation, *user)));
        }
        facts
    }

    pub(super) fn replace(&mut self, node: NodeId, known: &NodeFacts, now: &NodeFacts) {
        for &(user, _) in &known.present {
            self.users.disconnect(node, user);
        }
        for &(user, session, _) in &known.devices {
            self.disconnect_device(node, user, session);
        }
        for &(conversation, user) in &known.rooms {
            self.leave(node, conversation, user);
        }
        for &(user, activity) in &now.present {
            self.users.connect(node, user, activity);
        }
        for &(user, session, activity) in &now.devices {
            self.connect_device(node, user, session, activity);
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

    const USER: UserId = UserId(Uuid::nil());
    const NODES: [NodeId; 2] = [NodeId(1), NodeId(2)];
    const VISIBLE: Activity = Activity { at: 1, away: false };
    const HIDDEN: Activity = Activity { at: 2, away: true };

    fn session(number: u128) -> SessionId {
        SessionId(Uuid::from_u128(number))
    }

    fn change(facts: &mut Facts, node: NodeId, session: SessionId, state: DeviceState) {
        facts.change_device(node, DeviceChange { user: USER, session, state });
    }

    #[test]
    fn a_device_is_visible_until_it_is_hidden_or_has_left_every_node() {
        let mut facts = Facts::default();
        for node in NODES {
            change(&mut facts, node, session(1), DeviceState::Connected(VISIBLE));
        }
        change(&mut facts, NODES[0], session(1), DeviceState::Disconnected);
        assert!(facts.is_visible(session(1)) && facts.is_visible_anywhere(USER));
        change(&mut facts, NODES[0], session(1), DeviceState::Active(HIDDEN));
        assert!(!facts.is_visible(session(1)) && !facts.is_visible_anywhere(USER));
        change(&mut facts, NODES[0], session(2), DeviceState::Connected(VISIBLE));
        assert!(!facts.is_visible(session(1)) && facts.is_visible_anywhere(USER));
        change(&mut facts, NODES[0], session(2), DeviceState::Disconnected);
        change(&mut facts, NODES[1], session(1), DeviceState::Disconnected);
        // An activity does not connect a device.
        change(&mut facts, NODES[0], session(1), DeviceState::Active(Activity { at: 3, away: false }));
        assert!(!facts.is_visible(session(1)) && !facts.is_visible_anywhere(USER));
        assert!(facts.devices_of.is_empty() && facts.devices.0.is_empty());
    }

    #[test]
    fn the_facts_of_a_node_replace_those_that_were_known() {
        let mut facts = Facts::default();
        for node in NODES {
            change(&mut facts, node, session(1), DeviceState::Connected(VISIBLE));
        }
        let known = facts.of(NODES[0]);
        assert_eq!(known.devices, [(USER, session(1), VISIBLE)]);
        facts.replace(NODES[0], &known, &NodeFacts::default());
        assert!(facts.of(NODES[0]).devices.is_empty());
        assert_eq!(facts.of(NODES[1]).devices, [(USER, session(1), VISIBLE)]);
    }
}
