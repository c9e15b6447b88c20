//! `parlance push test`: what the operator sees, and what the devices get.

use std::process::Output;

use diesel_async::SimpleAsyncConnection as _;
use tokio::process::Command;
use tokio::time::timeout;

use super::{SETTINGS, World};
use crate::support::PATIENCE;
use crate::support::push::Reply;

/// Runs the command for a user.
async fn push_test(world: &World, user: &str) -> Output {
    // The directory has no .env.
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_parlance"));
    command
        .args(["push", "test", user])
        .current_dir(&directory)
        .env("DATABASE_URL", &world.node.database_url)
        .envs(SETTINGS)
        .kill_on_drop(true);
    timeout(4 * PATIENCE, command.output()).await.expect("the command did not end in time").unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn the_operator_sends_a_test_to_all_devices_of_a_user() {
    let world = World::new().await;
    let browser = world.laptop().await.unified_push(&world.service).await;
    let (name, email) = (&world.ada.username, format!("{}@example.org", world.ada.username));
    let verify = format!("UPDATE users SET email = '{email}', email_verified_at = now() WHERE username = '{name}'");
    world.database.connection().await.batch_execute(&verify).await.unwrap();
    world.bob.send(&world.chat, "hello").await;
    for device in [&world.phone, &browser] {
        device.expect("message").await;
    }
    for user in [name, &email.to_uppercase(), &world.ada.id] {
        let output = push_test(&world, user).await;
        let shown = text(&output.stdout);
        assert!(output.status.success(), "{shown}{}", text(&output.stderr));
        for device in [&world.phone, &browser] {
            let push = device.expect("test").await;
            assert_eq!(push.text("body"), "Push notifications work on this device.");
            assert_eq!(push.payload["badge"], 1, "{:#}", push.payload);
            assert!(!shown.contains(&device.address), "an endpoint allows others to push: {shown}");
        }
        assert_eq!(shown.lines().filter(|line| line.ends_with("  delivered")).count(), 2, "{shown}");
    }
}

#[tokio::test]
async fn without_a_delivered_test_the_exit_code_is_1() {
    let world = World::new().await;
    world.phone.reply(&[Reply::Status(410), Reply::Status(403), Reply::Status(503)]);
    for answer in ["the device is gone", "refused: ", "not delivered"] {
        let output = push_test(&world, &world.ada.username).await;
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stdout).contains(answer), "{}", text(&output.stdout));
        world.phone.expect("test").await;
    }
    assert_eq!(world.ada.push_subscriptions().await.len(), 1, "the command removes no subscription");
    for (user, reason) in [(world.bob.username.as_str(), "has no device"), ("nobody", "there is no user nobody")] {
        let output = push_test(&world, user).await;
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(reason), "{}", text(&output.stderr));
    }
}
