//! What must hold of every run: each acknowledged message at each listener, once, and in its place.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::listener::Heard;
use super::load::{Label, Outcome};

/// Everything that does not hold, in words.
pub(super) fn violations(scenario: &str, outcome: &Outcome) -> Vec<String> {
    let mut found: Vec<String> = outcome
        .failures
        .iter()
        .map(|(label, reason)| format!("message {label} was not acknowledged: {reason}"))
        .collect();
    let mut sent = BTreeMap::new();
    for message in &outcome.sent {
        if let Some(other) = sent.insert(message.number, message.label) {
            found.push(format!(
                "messages {other} and {} were both acknowledged as number {}",
                message.label, message.number
            ));
        }
    }
    // Who got no acknowledgement does not know whether the message was stored.
    let unsure: HashSet<Label> = outcome.failures.iter().map(|&(label, _)| label).collect();
    for (place, heard) in outcome.heard.iter().enumerate() {
        found.extend(at(&sent, &unsure, heard).into_iter().map(|words| format!("listener {place}: {words}")));
    }
    found.into_iter().map(|words| format!("{scenario}: {words}")).collect()
}

fn at(sent: &BTreeMap<i32, Label>, unsure: &HashSet<Label>, heard: &Heard) -> Vec<String> {
    let mut found: Vec<String> =
        heard.surprise.iter().map(|surprise| format!("it stopped listening: {surprise}")).collect();
    let mut arrivals: HashMap<Label, (i32, usize)> = HashMap::new();
    let mut before = 0;
    for receipt in &heard.receipts {
        if receipt.number != before + 1 {
            found.push(format!("number {} came after number {before}", receipt.number));
        }
        before = receipt.number;
        arrivals.entry(receipt.label).or_insert((receipt.number, 0)).1 += 1;
    }
    for (number, label) in sent {
        match arrivals.remove(label) {
            None => found.push(format!("message {label}, acknowledged as number {number}, never came")),
            Some((other, _)) if other != *number => {
                found.push(format!("message {label}, acknowledged as number {number}, came as number {other}"));
            }
            Some((_, times @ 2..)) => found.push(format!("message {label}, number {number}, came {times} times")),
            Some(_) => {}
        }
    }
    let strangers = arrivals.into_iter().filter(|(label, _)| !unsure.contains(label));
    found.extend(
        strangers.map(|(label, (number, _))| format!("message {label}, number {number}, was not acknowledged")),
    );
    found
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::listener::{Heard, Receipt};
    use super::super::load::{Label, Outcome, Sent};
    use super::violations;

    fn label(place: usize) -> Label {
        Label { sender: 0, place, begun: Duration::ZERO }
    }

    /// Messages acknowledged as 1, 2 and 3, heard as told: the place of each and the number it came with.
    fn heard(receipts: &[(usize, i32)]) -> Outcome {
        let sent = [1, 2, 3].map(|number: i32| Sent {
            label: label(number.unsigned_abs() as usize),
            number,
            acknowledged: Duration::ZERO,
        });
        let receipt = |&(place, number)| Receipt { label: label(place), number, at: Duration::ZERO };
        let heard = Heard { receipts: receipts.iter().map(receipt).collect(), surprise: None };
        Outcome { sent: sent.to_vec(), failures: Vec::new(), heard: vec![heard] }
    }

    #[test]
    fn all_is_well() {
        assert_eq!(violations("", &heard(&[(1, 1), (2, 2), (3, 3)])), Vec::<String>::new());
    }

    #[test]
    fn what_is_wrong_is_found() {
        let cases: [(&[(usize, i32)], &str); 6] = [
            (&[(1, 1), (2, 2)], "number 3, never came"),
            (&[(1, 1), (2, 2), (2, 2), (3, 3)], "number 2, came 2 times"),
            (&[(1, 1), (3, 3), (2, 2)], "number 3 came after number 1"),
            (&[(1, 1), (3, 2), (2, 3)], "acknowledged as number 2, came as number 3"),
            (&[(1, 1), (2, 2), (3, 3), (4, 4)], "number 4, was not acknowledged"),
            (&[], "number 1, never came"),
        ];
        for (receipts, words) in cases {
            let found = violations("", &heard(receipts));
            assert!(found.iter().any(|violation| violation.contains(words)), "{receipts:?}: {found:?}");
        }
    }

    #[test]
    fn an_unacknowledged_message_may_come_or_not() {
        let mut outcome = heard(&[(1, 1), (2, 2), (3, 3), (4, 4)]);
        outcome.failures = vec![(label(4), "no answer".to_owned()), (label(5), "no answer".to_owned())];
        let found = violations("", &outcome);
        assert!(found.len() == 2 && found.iter().all(|words| words.contains("was not acknowledged")), "{found:?}");
    }
}
