//! The number of SQL statements that plan pushes.

use std::sync::Mutex;

use diesel::connection::{InstrumentationEvent, set_default_instrumentation};

use crate::support::push::PushService;
use crate::support::{Node, eventually};

/// The number of statements of each transaction in which the notifier has planned pushes.
static PLANS: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// Starts to count the statements of the notifier. nextest runs each test in a separate process.
fn count_plans() {
    set_default_instrumentation(|| {
        // Each connection has its own values.
        let (mut statements, mut is_plan) = (0, false);
        Some(Box::new(move |event: InstrumentationEvent<'_>| {
            let InstrumentationEvent::StartQuery { query, .. } = event else { return };
            let query = query.to_string();
            if query.starts_with("BEGIN") {
                (statements, is_plan) = (0, false);
            }
            statements += 1;
            is_plan |= query.contains("push_subscriptions");
            // The last statement of a consumer before its COMMIT stores its position.
            if is_plan && query.starts_with("UPDATE consumers") {
                PLANS.lock().unwrap().push(statements);
            }
        }))
    })
    .unwrap();
}

#[tokio::test]
async fn the_statement_count_of_planning_does_not_depend_on_the_number_of_participants() {
    count_plans();
    let node = Node::pushing().start_alone().await;
    let service = PushService::start().await;
    let bob = node.register("bob").await;
    let mut costs = Vec::new();
    for participants in [2, 40] {
        let users = node.register_many(participants).await;
        let mut devices = Vec::new();
        for user in &users {
            devices.push(user.browser(&service).await);
        }
        let group = bob.create_group("Group", &users.iter().collect::<Vec<_>>()).await;
        node.pushes_settled().await;
        PLANS.lock().unwrap().clear();
        let message = bob.send(&group, "hello").await;
        eventually("all have their pushes", async || devices.iter().all(|device| device.total() == 1)).await;
        node.pushes_settled().await;
        let planned = PLANS.lock().unwrap().drain(..).max().unwrap();
        bob.delete(&message).await.data();
        eventually("all are dismissed", async || devices.iter().all(|device| device.total() == 2)).await;
        let dismissed = PLANS.lock().unwrap().drain(..).max().unwrap();
        costs.push((planned, dismissed));
    }
    assert_eq!(costs[0], costs[1]);
    // The statements of a consumer are BEGIN, its position, the head of the log, the events, the check whether they are
    // complete, and the new position.
    assert!(costs[1].0 <= 6 + 6 && costs[1].1 <= 6 + 6, "{costs:?}");
}
