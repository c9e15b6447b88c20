//! What must hold of a load once it is over.

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};
use parlance::store::schema::messages;

use super::{Message, Shared};

/// Each message that was acknowledged is stored once, under the number that the answer said, and nothing else is;
/// each listener has had all of its conversations' messages once, by their numbers; and the cursors, in whose order
/// each listener has had them, are the same for all.
pub(super) async fn check(shared: &Shared, database_url: &str) {
    let mut acknowledged = shared.acknowledged.lock().unwrap().clone();
    acknowledged.sort_by(|a, b| (&a.conversation, a.number).cmp(&(&b.conversation, b.number)));
    let mut by_conversation: HashMap<&str, Vec<&Message>> = HashMap::new();
    for message in &acknowledged {
        by_conversation.entry(&message.conversation).or_default().push(message);
    }
    for messages in by_conversation.values() {
        let numbers: Vec<_> = messages.iter().map(|message| message.number).collect();
        let expected: Vec<_> = (1..).take(messages.len()).collect();
        assert_eq!(numbers, expected, "numbers have neither holes nor doubles");
    }
    let ids: HashSet<_> = acknowledged.iter().map(|message| &message.id).collect();
    assert_eq!(ids.len(), acknowledged.len());
    assert_eq!(stored(database_url).await, acknowledged.len(), "stored, and not acknowledged");

    let mut places = HashMap::new();
    for (number, listener) in shared.listeners.iter().enumerate() {
        let heard = listener.heard();
        for (seq, message) in &heard {
            let place = *places.entry(message.id.clone()).or_insert(*seq);
            assert_eq!(place, *seq, "listener {number} was told another place of {message:?}");
        }
        for conversation in shared.conversations_of(listener.user) {
            let heard: Vec<_> = heard
                .iter()
                .map(|(_, message)| message)
                .filter(|message| message.conversation == conversation.id)
                .collect();
            let expected = by_conversation.get(conversation.id.as_str()).cloned().unwrap_or_default();
            assert!(heard == expected, "listener {number} heard {heard:#?}\nin place of {expected:#?}");
        }
        let own: HashSet<_> = shared.conversations_of(listener.user).map(|conversation| &conversation.id).collect();
        assert!(
            heard.iter().all(|(_, message)| own.contains(&message.conversation)),
            "listener {number} heard others'"
        );
    }
}

async fn stored(database_url: &str) -> usize {
    let mut connection = AsyncPgConnection::establish(database_url).await.unwrap();
    let count: i64 = messages::table.count().get_result(&mut connection).await.unwrap();
    usize::try_from(count).unwrap()
}
