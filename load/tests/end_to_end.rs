//! Runs `parlance-load`, which starts two nodes of the server from the same build directory. `make test` builds both
//! programs.

#![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

use std::path::Path;
use std::process::Command;

use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_parlance-load");

#[tokio::test]
async fn two_nodes_deliver_every_message_while_listeners_reconnect() {
    let admin_url = std::env::var("TEST_DATABASE_URL").expect("scripts/services run sets TEST_DATABASE_URL");
    let redis_url = std::env::var("TEST_REDIS_URL").expect("scripts/services run sets TEST_REDIS_URL");
    assert!(Path::new(PROGRAM).with_file_name("parlance").exists(), "run cargo build --workspace first");
    let name = format!("parlance_load_{}", std::process::id());
    execute(&admin_url, &format!("CREATE DATABASE {name}")).await;
    let url = format!("{}/{name}", admin_url.rsplit_once('/').unwrap().0);
    let file = std::env::temp_dir().join(format!("{name}.json"));
    let output = Command::new(PROGRAM)
        .args([
            "--start",
            "--database-url",
            &url,
            "--nodes=2",
            "--redis-url",
            &redis_url,
            "--set",
            &format!("REDIS_PREFIX={name}"),
        ])
        .args(["--conversations=2x6,5x2,12x1", "--senders=3", "--rate=60", "--churn=50"])
        .args(["--seconds=5", "--warm-up=0", "--json"])
        .arg(&file)
        .output()
        .unwrap();
    execute(&admin_url, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("once and in the order"), "{said}");
    let results: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    std::fs::remove_file(&file).unwrap();
    let outcome = &results["outcome"];
    assert_eq!(outcome["listeners"], 12, "{said}");
    for counted in ["checked_messages", "checked_deliveries", "reconnects"] {
        assert!(outcome[counted].as_u64().unwrap() > 5, "{counted}: {said}");
    }
}

async fn execute(url: &str, statement: &str) {
    let mut connection = AsyncPgConnection::establish(url).await.unwrap();
    diesel::sql_query(statement).execute(&mut connection).await.unwrap();
}
