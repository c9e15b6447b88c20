//! The results of the call mutations in each state of a call, for each device.

use serde_json::{Value, json};

use super::calls::patient_node;
use crate::support::{PASSWORD, User};

/// The result of a mutation: a call state with its end reason, or an error code.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    Is(&'static str, Option<&'static str>),
    Fails(&'static str),
    /// The error code is CONFLICT, with this reason.
    Conflicts(&'static str),
}

use Outcome::{Conflicts, Fails, Is};

const RINGING: Outcome = Is("RINGING", None);
const ONGOING: Outcome = Is("ONGOING", None);
const ELSEWHERE: Outcome = Conflicts("ON_ANOTHER_DEVICE");
const OVER: Outcome = Conflicts("CALL_OVER");
const INSIDE: Outcome = Conflicts("IN_THIS_CALL");
const OUTSIDE: Outcome = Conflicts("NOT_IN_THIS_CALL");
const UNKNOWN: [Outcome; 4] = [Fails("NOT_FOUND"); 4];

fn ended(reason: &'static str) -> Outcome {
    Is("ENDED", Some(reason))
}

/// In each state of a direct call, each device tries to start, accept, decline and leave the call. `table` has the
/// expected results.
#[tokio::test]
async fn call_mutations_have_the_expected_result_in_each_state_for_each_device() {
    let node = patient_node().await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    let (ada_too, bob_too) =
        (User::login(&node, &ada.username, PASSWORD).await, User::login(&node, &bob.username, PASSWORD).await);
    let direct = ada.open_direct(&bob).await;
    let devices = [&ada, &ada_too, &bob, &bob_too, &eve];
    let called = [ONGOING, ONGOING, ended("DECLINED"), OUTSIDE];
    let over = [RINGING, OVER, OVER, ended("HUNG_UP")];
    let too = [ELSEWHERE, ELSEWHERE, INSIDE, OUTSIDE];
    let table: [(&str, [[Outcome; 4]; 5]); 3] = [
        // Rows: the caller, the caller's other device, both devices of the callee, and a stranger.
        ("RINGING", [[RINGING, RINGING, INSIDE, ended("MISSED")], too, called, called, UNKNOWN]),
        (
            "ONGOING",
            [
                [ONGOING, ONGOING, INSIDE, ended("HUNG_UP")],
                too,
                [ONGOING, ONGOING, INSIDE, ended("HUNG_UP")],
                too,
                UNKNOWN,
            ],
        ),
        ("ENDED", [over, over, over, over, UNKNOWN]),
    ];
    for (state, rows) in table {
        for (device, row) in devices.iter().zip(rows) {
            for (step, outcome) in ["start", "accept", "decline", "leave"].into_iter().zip(row) {
                let call = ada.start_call(&direct).await.call_id();
                if state != "RINGING" {
                    bob.accept_call(&call).await.data();
                }
                if state == "ENDED" {
                    bob.leave_call(&call).await.data();
                }
                let place = format!("{step} while {state} by device {}", device.session);
                let answer = match step {
                    "start" => device.start_call(&direct).await,
                    "accept" => device.accept_call(&call).await,
                    "decline" => device.decline_call(&call).await,
                    _ => device.leave_call(&call).await,
                };
                match outcome {
                    Is(state, reason) => assert_eq!(answer.call_state(), (state.to_owned(), json!(reason)), "{place}"),
                    Fails(code) => assert_eq!(answer.code(), code, "{place}"),
                    Conflicts(reason) => assert_eq!(answer.conflict(), reason, "{place}"),
                }
                // Ends the call, so that the next case begins without a call.
                for device in devices {
                    if let Some(id) = device.call_in(&direct).await["id"].as_str() {
                        device.leave_call(id).await;
                    }
                }
                assert_eq!(ada.call_in(&direct).await, Value::Null, "{place}");
            }
        }
    }
}
