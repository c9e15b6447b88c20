//! What happens at the same instant: one wins, and the other one is told.

use futures_util::future::{join, join_all};
use serde_json::{Value, json};

use crate::support::{CallEvents, Node, PASSWORD, TestDatabase, User};

/// How often each race is run.
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
async fn of_two_devices_that_accept_at_once_one_is_in_the_call() {
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
        // Once, and by the one.
        let mut answers = Vec::new();
        loop {
            let event = heard.next().await;
            match event["__typename"].as_str().unwrap() {
                "CallAnswered" => answers.push(event["participant"]["sessionId"].clone()),
                "CallEnded" => break,
                _ => {}
            }
        }
        assert_eq!(answers, [json!(device.session)]);
    }
    println!("the one node won {} times, the other {}", wins[0], wins[1]);
}

#[tokio::test]
async fn an_answer_and_a_cancel_at_once_come_to_one_of_the_two() {
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
        let told = [heard(&mut hers).await, heard(&mut his).await];
        assert_eq!(told[0], told[1], "both hear the same");
        let kinds: Vec<_> = told[0].iter().map(|(kind, ..)| kind.as_str()).collect();
        assert_eq!(told[0].last().unwrap().2, reason);
        if accepted.body.get("errors").is_none() {
            // First he answered, then she left.
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
    assert_eq!(data["conversation"]["lastMessage"]["number"], TIMES, "each end is told once");
}

/// What a side hears of a call up to its end, but for its ring: of each event the type, the session, and why it ended.
async fn heard(events: &mut CallEvents) -> Vec<(String, Value, Value)> {
    let mut heard = Vec::new();
    loop {
        let event = events.next().await;
        let kind = event["__typename"].as_str().unwrap().to_owned();
        if kind == "CallRinging" {
            continue;
        }
        let is_over = kind == "CallEnded";
        heard.push((kind, event["participant"]["sessionId"].clone(), event["call"]["endReason"].clone()));
        if is_over {
            return heard;
        }
    }
}

#[tokio::test]
async fn two_who_call_each_other_at_once_are_in_one_call() {
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

/// In one call of a group, however many come and go at once, and in no two at a time.
#[tokio::test]
async fn a_group_that_comes_and_goes_at_once_stays_in_order() {
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
        assert_eq!(present.len(), count, "each in one call");
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
