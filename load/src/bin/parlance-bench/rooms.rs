//! Conversations of several sizes. In each conversation, the owner sends and all other members listen.

use anyhow::{Context as _, Result};
use parlance_load::client::{Account, Client};

use super::stage::{Room, Stage};

/// One conversation for each size, with its number of listeners.
pub(super) struct Rooms(Vec<(u32, Room)>);

impl Rooms {
    pub(super) async fn make(stage: &Stage, prefix: &str, sizes: &[u32]) -> Result<Self> {
        let most = sizes.iter().copied().max().unwrap_or_default();
        let mut accounts = stage.accounts(prefix, most + 1).await?;
        let owner = accounts.pop().context("an owner")?;
        let mut rooms = Vec::new();
        for &size in sizes {
            let listeners: Vec<Account> = accounts[..usize::try_from(size)?].to_vec();
            let mut client = Client::connect(stage.address()).await?;
            let conversation = client.create_group(&owner, "The bench", &listeners).await?;
            rooms.push((size, Room { conversation, senders: vec![owner.clone()], listeners }));
        }
        Ok(Self(rooms))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the number of listeners of the conversation with this index, and the conversation. The conversation
    /// contains its owner as a sender once for each message in flight.
    pub(super) fn with_senders(&self, index: usize, in_flight: u16) -> Result<(u32, Room)> {
        let (size, room) = self.0.get(index).context("no such room")?;
        let senders = room.senders.iter().cycle().take(in_flight.into()).cloned().collect();
        let (conversation, listeners) = (room.conversation.clone(), room.listeners.clone());
        Ok((*size, Room { conversation, senders, listeners }))
    }
}
