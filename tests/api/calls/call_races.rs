//! Concurrent call mutations: one takes effect, and the other returns the resulting state or an error.

use futures_util::future::{join, join_all};
use serde_json::{Value, json};

use crate::support::{CallEvents, Node, PASSWORD, TestDatabase, User};

/// Number of runs of each race.
const TIMES: usize = 200;

async fn two_nodes(database: &TestDatabase) -> [Node; 2] {
    let build = async || {
        let node = Node::build()
            .flag("--call-starts-per-minute=1000")
            .flag("--call-joins-per-minute=1000")
            .redis(&database.name)
            .await;
        node.start_on(database).await
    };
    [build().await, build().await]
}

#[tokio::test]
async fn when_two_devices_accept_at_once_only_one_joins() {
    let database = TestDatabase::new().await;
    let [one, two] = two_nodes(&database).await;
    let (ada, phone) = (one.register("ada").await, one.register("bob").await);
    let tablet = User::login(&two, &phone.username, PASSWORD).await;
    let direct = ada.open_direct(&phone).await;
    let mut heard = tablet.call_events().await;
    let mut wins = [0, 0];
    for _ in 0..TIMES {
        let call = ada.start_call(&direct).await.call_id();
        let (first, second) = join(phone.accept_call(&call), tablet.accept_call(&call)).await;
        let winner = usize::from(first.body.get("errors").is_some());
        let (won, lost, device) = if winner == 0 { (first, second, &phone) } else { (second, first, &tablet) };
        assert_eq!(won.call_state().0, "ONGOING");
        assert_eq!(lost.conflict(), "ON_ANOTHER_DEVICE");
        wins[winner] += 1;
        ada.leave_call(&call).await.data();
        // Only one CallAnswered is delivered, with the session of the device that joined.
        let events = heard.up_to("CallEnded").await;
        let answers = events.iter().filter(|event| event["__typename"] == "CallAnswered");
        let sessions: Vec<_> = answers.map(|event| &event["participant"]["sessionId"]).collect();
        assert_eq!(sessions, [&json!(device.session)]);
    }
    println!("the first node won {} times, the second {}", wins[0], wins[1]);
}

#[tokio::test]
async fn a_concurrent_answer_and_cancel_have_the_same_outcome_for_both_sides() {
    let database = TestDatabase::new().await;
    let [one, two] = two_nodes(&database).await;
    let (ada, bob) = (one.register("ada").await, two.register("bob").await);
    let direct = ada.open_direct(&bob).await;
    let (mut hers, mut his) = (ada.call_events().await, bob.call_events().await);
    let mut answered = 0;
    for _ in 0..TIMES {
        let call = ada.start_call(&direct).await.call_id();
        let (accepted, left) = join(bob.accept_call(&call), ada.leave_call(&call)).await;
        let (state, reason) = left.call_state();
        assert_eq!(state, "ENDED");
        let told = [events_until_end(&mut hers).await, events_until_end(&mut his).await];
        assert_eq!(told[0], told[1], "both receive the same events");
        let kinds: Vec<_> = told[0].iter().map(|(kind, ..)| kind.as_str()).collect();
        assert_eq!(told[0].last().unwrap().2, reason);
        if accepted.body.get("errors").is_none() {
            // The call was answered before the caller left.
            assert_eq!(reason, "HUNG_UP");
            assert_eq!(kinds, ["CallAnswered", "CallLeft", "CallEnded"]);
            answered += 1;
        } else {
            assert_eq!((accepted.conflict(), reason), ("CALL_OVER", json!("MISSED")));
            assert_eq!(kinds, ["CallLeft", "CallEnded"]);
        }
    }
    println!("answered {answered} of {TIMES}");
    let query = "query ($id: ID!) { conversation(id: $id) { lastMessage { number } } }";
    let data = ada.query(query, json!({"id": direct})).await;
    assert_eq!(data["conversation"]["lastMessage"]["number"], TIMES, "each call has one SYSTEM message");
}

/// Receives events up to CallEnded, and returns the type, session and end reason of each event except CallRinging.
async fn events_until_end(events: &mut CallEvents) -> Vec<(String, Value, Value)> {
    let received = events.up_to("CallEnded").await;
    let without_rings = received.iter().filter(|event| event["__typename"] != "CallRinging");
    let parts = without_rings.map(|event| {
        let kind = event["__typename"].as_str().unwrap().to_owned();
        (kind, event["participant"]["sessionId"].clone(), event["call"]["endReason"].clone())
    });
    parts.collect()
}

#[tokio::test]
async fn two_users_who_call_each_other_at_once_are_in_one_call() {
    let database = TestDatabase::new().await;
    let [one, two] = two_nodes(&database).await;
    let (ada, bob) = (one.register("ada").await, two.register("bob").await);
    let direct = ada.open_direct(&bob).await;
    for _ in 0..TIMES {
        let (hers, his) = join(ada.start_call(&direct), bob.start_call(&direct)).await;
        let (hers, his) = (hers.call(), his.call());
        assert_eq!(hers["id"], his["id"]);
        let mut states = [&hers["state"], &his["state"]].map(|state| state.as_str().unwrap());
        states.sort_unstable();
        assert_eq!(states, ["ONGOING", "RINGING"]);
        let call = hers["id"].as_str().unwrap();
        assert_eq!(ada.call_in(&direct).await["participants"].as_array().unwrap().len(), 2);
        assert_eq!(bob.leave_call(call).await.call_state(), ("ENDED".to_owned(), json!("HUNG_UP")));
    }
}

/// Users of two groups start calls at the same time, and then leave the calls at the same time. No user is in two
/// calls, and every call ends.
#[tokio::test]
async fn concurrent_call_starts_in_two_groups_put_no_user_in_two_calls() {
    let database = TestDatabase::new().await;
    let [one, two] = two_nodes(&database).await;
    let mut users = Vec::new();
    for place in 0..6 {
        users.push(if place % 2 == 0 { one.register("ada").await } else { two.register("bob").await });
    }
    let others: Vec<_> = users[1..].iter().collect();
    let group = users[0].create_group("Crowd", &others).await;
    let second = users[0].create_group("Elsewhere", &others).await;
    for round in 0..TIMES / 10 {
        let answers = join_all(
            users
                .iter()
                .enumerate()
                .map(|(place, user)| user.start_call(if (place + round) % 3 == 0 { &second } else { &group })),
        )
        .await;
        for answer in &answers {
            let failed = answer.body.get("errors").is_some();
            assert!(!failed || answer.conflict() == "IN_ANOTHER_CALL", "{:#}", answer.body);
        }
        let (first, other) = (users[0].call_in(&group).await, users[0].call_in(&second).await);
        let mut present: Vec<_> = [&first, &other]
            .into_iter()
            .filter_map(|call| call["participants"].as_array())
            .flatten()
            .map(|participant| participant["user"]["id"].clone())
            .collect();
        let count = present.len();
        present.sort_by_key(ToString::to_string);
        present.dedup();
        assert_eq!(present.len(), count, "each user is in one call");
        join_all(users.iter().map(async |user| {
            for call in [&first, &other] {
                if let Some(id) = call["id"].as_str() {
                    user.leave_call(id).await;
                }
            }
        }))
        .await;
        for conversation in [&group, &second] {
            assert_eq!(users[0].call_in(conversation).await, Value::Null);
        }
    }
}
