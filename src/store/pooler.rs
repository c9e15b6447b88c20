//! Detects connection poolers that share the sessions of Postgres among their clients.
//!
//! The server and the commands keep state in their sessions: timeouts, prepared statements, and the lock of migrations.
//! A pooler in transaction mode gives every transaction any session, so this state is lost.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::connection::Connector;
use crate::error::{Error, Result};

/// Maximum time for opening two connections and comparing their sessions.
const CHECK_TIMEOUT: Duration = Duration::from_secs(40);

/// Fails if two connections that are open at the same time use the same session of Postgres, or if one connection uses
/// different ones.
pub(super) async fn require_own_sessions(connector: &Connector) -> Result<()> {
    let late = format!(
        "no two sessions of Postgres within {} s: a pooler in session mode needs one for each connection",
        CHECK_TIMEOUT.as_secs()
    );
    timeout(CHECK_TIMEOUT, compare_sessions(connector)).await.unwrap_or(Err(Error::Connection(late)))
}

async fn compare_sessions(connector: &Connector) -> Result<()> {
    let first = connector.open_client().await?;
    let second = connector.open_client().await?;
    // Both connections ask twice, because a pooler may assign its sessions in turn.
    let of_first = [session(&first).await?, session(&first).await?];
    let of_second = [session(&second).await?, session(&second).await?];
    let is_own = of_first[0] == of_first[1] && of_second[0] == of_second[1] && of_first[0] != of_second[0];
    if is_own { Ok(()) } else { Err(Error::SharedSessions) }
}

/// Returns the id of the process that serves the session. The simple protocol works with all poolers.
async fn session(client: &Client) -> Result<String> {
    let answers = client.simple_query("SELECT pg_backend_pid()").await?;
    let pid = answers.iter().find_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    pid.map(str::to_owned).ok_or_else(|| Error::Corrupt("a session of Postgres without a process".to_owned()))
}
