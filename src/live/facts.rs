//! The facts of every node: which users are connected to the node, and which conversations these users have open.

use std::collections::HashMap;

use super::Status;
use super::exchange::{Activity, NodeFacts, NodeId};
use crate::ids::{ConversationId, UserId};

#[derive(Default)]
pub(super) struct Facts {
    /// The nodes to which each user is connected, with the user's activity that each node has published.
    present: HashMap<UserId, Vec<(NodeId, Activity)>>,
    /// The nodes on which each user has a conversation open.
    rooms: HashMap<ConversationId, HashMap<UserId, Vec<NodeId>>>,
}

impl Facts {
    pub(super) fn status(&self, user: UserId) -> Status {
        match self.activity(user) {
            None => Status::Offline,
            Some(activity) if activity.away => Status::Away,
            Some(_) => Status::Online,
        }
    }

    /// Returns the user's newest activity, or None if the user is offline.
    pub(super) fn activity(&self, user: UserId) -> Option<Activity> {
        self.present.get(&user)?.iter().map(|(_, activity)| *activity).max()
    }

    pub(super) fn set_present(&mut self, node: NodeId, user: UserId, activity: Activity) {
        let nodes = self.present.entry(user).or_default();
        match nodes.iter_mut().find(|(other, _)| *other == node) {
            Some((_, known)) => *known = activity.max(*known),
            None => nodes.push((node, activity)),
        }
    }

    pub(super) fn set_absent(&mut self, node: NodeId, user: UserId) {
        if let Some(nodes) = self.present.get_mut(&user) {
            nodes.retain(|(other, _)| *other != node);
            if nodes.is_empty() {
                self.present.remove(&user);
            }
        }
    }

    /// Sets the activity for every node to which the user is connected, unless a newer activity is known for that node.
    pub(super) fn set_activity(&mut self, user: UserId, activity: Activity) {
        for (_, known) in self.present.get_mut(&user).into_iter().flatten() {
            *known = activity.max(*known);
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
        for (user, nodes) in &self.present {
            facts
                .present
                .extend(nodes.iter().filter(|(other, _)| *other == node).map(|(_, activity)| (*user, *activity)));
        }
        for (conversation, room) in &self.rooms {
            let users = room.iter().filter(|(_, nodes)| nodes.contains(&node));
            facts.rooms.extend(users.map(|(user, _)| (*conversation, *user)));
        }
        facts
    }

    pub(super) fn replace(&mut self, node: NodeId, known: &NodeFacts, now: &NodeFacts) {
        for &(user, _) in &known.present {
            self.set_absent(node, user);
        }
        for &(conversation, user) in &known.rooms {
            self.leave(node, conversation, user);
        }
        for &(user, activity) in &now.present {
            self.set_present(node, user, activity);
        }
        for &(conversation, user) in &now.rooms {
            self.enter(node, conversation, user);
        }
    }
}
