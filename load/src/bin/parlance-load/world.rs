//! The users and the conversations of a load.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use parlance::random::Random;
use parlance_load::client::{Account, Client};
use parlance_load::load::{ListenerPlan, Sender};

use super::options::{Options, Size};

/// Maximum number of concurrent registrations. Enough for all processors, and less than PASSWORD_QUEUE_SHARE, which is
/// 60 by default.
const REGISTERING: usize = 16;

pub(super) struct World {
    users: Vec<Account>,
    pub(super) rooms: Vec<Room>,
}

/// A conversation, and the indexes of its participants in `World::users`.
pub(super) struct Room {
    pub(super) conversation: String,
    members: Vec<usize>,
}

impl World {
    pub(super) async fn make(nodes: &[SocketAddr], options: &Options) -> Result<Self> {
        let largest = options.conversations.iter().map(|sized| sized.size).max().unwrap_or_default();
        let count = options.users.unwrap_or_default().max(largest);
        let places = memberships(&options.conversations, count)?;
        // User names must differ between runs.
        let run = u32::from_be_bytes(Random::system().bytes());
        let register = async |index: usize| {
            let mut client = Client::connect(nodes[index % nodes.len()]).await?;
            client.register(&format!("load{run}n{index}")).await.context("registering")
        };
        let users: Vec<Account> = stream::iter((0..count).map(register)).buffered(REGISTERING).try_collect().await?;
        let open = async |(index, members): (usize, Vec<usize>)| {
            let mut client = Client::connect(nodes[index % nodes.len()]).await?;
            let conversation = match members.as_slice() {
                &[one, other] => client.open_direct(&users[one], &users[other]).await,
                members => {
                    let others: Vec<Account> = members[1..].iter().map(|&user| users[user].clone()).collect();
                    client.create_group(&users[members[0]], &format!("Group {index}"), &others).await
                }
            };
            anyhow::Ok(Room { conversation: conversation.context("opening a conversation")?, members })
        };
        let rooms = stream::iter(places.into_iter().enumerate().map(open)).buffered(REGISTERING).try_collect().await?;
        Ok(Self { users, rooms })
    }

    pub(super) fn description(&self) -> String {
        format!("{} users in {} conversations.", self.users.len(), self.rooms.len())
    }

    /// Creates `count` senders. With fewer senders than rooms, each sender sends to its share of the rooms. With more
    /// senders than rooms, several senders share a room. The account for a room is a member of the room, chosen in
    /// turn.
    pub(super) fn senders(&self, count: u16) -> Vec<Sender> {
        let (count, rooms) = (usize::from(count), self.rooms.len());
        let turn = |index: usize, round: usize| {
            let members = &self.rooms[index].members;
            (u32::try_from(index).unwrap_or(u32::MAX), self.users[members[round % members.len()]].clone())
        };
        let sender = |index: usize| {
            let turns = match index {
                index if index < rooms => (index..rooms).step_by(count).map(|room| turn(room, room)).collect(),
                index => vec![turn(index % rooms, index / rooms + index)],
            };
            Sender { turns }
        };
        (0..count).map(sender).collect()
    }

    /// Creates the plans of the listeners: one inbox for each user, or for each of the first `count` users.
    pub(super) fn listeners(&self, count: Option<usize>) -> Vec<ListenerPlan> {
        let mut listeners: Vec<ListenerPlan> = self
            .users
            .iter()
            .map(|account| ListenerPlan { account: account.clone(), rooms: Vec::new(), personal: false })
            .collect();
        for (index, room) in (0..).zip(&self.rooms) {
            for &member in &room.members {
                listeners[member].rooms.push(index);
            }
        }
        listeners.truncate(count.unwrap_or(usize::MAX));
        listeners
    }
}

/// Returns the participants of each conversation, as indexes of users. The members of a group are the users that follow
/// the members of the previous conversation. No two users have more than one direct conversation.
fn memberships(conversations: &[Size], users: usize) -> Result<Vec<Vec<usize>>> {
    let mut rooms = Vec::new();
    let mut next = 0;
    for &Size { size, count } in conversations {
        let pairs = users * users.saturating_sub(1) / 2;
        ensure!(size > 2 || count <= pairs, "{users} users have at most {pairs} direct conversations");
        for index in 0..count {
            // Direct conversations first join all users whose indexes differ by 1, then all users whose indexes differ
            // by 2, and so on.
            let (first, stride) = if size == 2 { (index % users, 1 + index / users) } else { (next, 1) };
            rooms.push((0..size).map(|member| (first + member * stride) % users).collect());
            next = (next + size) % users;
        }
    }
    ensure!(!rooms.is_empty(), "--conversations has no conversation");
    Ok(rooms)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::memberships;
    use crate::options::Size;

    #[test]
    fn no_pair_and_no_member_of_a_room_is_repeated() {
        let sizes = [Size { size: 2, count: 45 }, Size { size: 3, count: 7 }, Size { size: 10, count: 2 }];
        let rooms = memberships(&sizes, 10).unwrap();
        assert_eq!(rooms.len(), 54);
        let mut pairs = HashSet::new();
        for room in rooms {
            let members: HashSet<usize> = room.iter().copied().collect();
            assert_eq!(members.len(), room.len(), "{room:?}");
            if let &[one, other] = room.as_slice() {
                assert!(pairs.insert((one.min(other), one.max(other))), "{room:?}");
            }
        }
        assert_eq!(pairs.len(), 45);
    }

    #[test]
    fn too_many_pairs_and_no_conversations_are_errors() {
        assert!(memberships(&[Size { size: 2, count: 46 }], 10).is_err());
        assert!(memberships(&[Size { size: 2, count: 0 }], 10).is_err());
    }
}
