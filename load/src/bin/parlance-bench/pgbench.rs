//! The baseline of the part `sends`: pgbench inserts rows with the same content as messages into the same Postgres,
//! with one statement per transaction.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use parlance_load::process::processors;
use parlance_load::sender::BODY;
use serde::Serialize;
use tokio::process::Command;

use super::database;
use super::options::Options;

/// Length of the warm-up before each measurement, in seconds. The warm-up fills caches, and creates the first segments
/// of the write-ahead log.
const WARM_UP: u64 = 2;

/// The pgbench program. The value is its path.
pub(super) struct Pgbench(PathBuf);

#[derive(Serialize)]
pub(super) struct Baseline {
    pub(super) clients: u16,
    pub(super) inserts_per_second: f64,
}

impl Pgbench {
    /// Finds pgbench on PATH, or else the newest pgbench in Debian's directories.
    pub(super) fn find() -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let on_path =
            std::env::split_paths(&path).map(|directory| directory.join("pgbench")).find(|file| file.is_file());
        let program = on_path.or_else(installed).context("pgbench is neither on PATH nor in /usr/lib/postgresql")?;
        Ok(Self(program))
    }

    /// Measures the inserts of one client, and then the inserts of as many clients as there are senders.
    pub(super) async fn run(&self, url: &str, options: &Options, scratch: &Path) -> Result<Vec<Baseline>> {
        // The table has the columns, checks and indexes of `messages`, but not its foreign keys, which would make
        // pgbench slower.
        database::execute(url, "CREATE TABLE bench_messages (LIKE messages INCLUDING ALL)").await?;
        let script = scratch.join("insert.sql");
        std::fs::write(&script, insert())?;
        let mut baselines = Vec::new();
        for clients in [1, options.senders] {
            self.insert(url, &script, clients, WARM_UP).await?;
            let inserts_per_second = self.insert(url, &script, clients, options.seconds).await?;
            baselines.push(Baseline { clients, inserts_per_second });
        }
        Ok(baselines)
    }

    async fn insert(&self, url: &str, script: &Path, clients: u16, seconds: u64) -> Result<f64> {
        // The table is emptied first, because each run of the script begins with the number 1 again.
        database::execute(url, "TRUNCATE bench_messages").await?;
        let threads = usize::from(clients).min(processors());
        let output = Command::new(&self.0)
            .args(["--no-vacuum", "--protocol=prepared", "--define=number=0"])
            .arg(format!("--client={clients}"))
            .arg(format!("--jobs={threads}"))
            .arg(format!("--time={seconds}"))
            .arg("--file")
            .arg(script)
            .arg(url)
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("running {}", self.0.display()))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && !stderr.contains("ERROR"), "pgbench failed: {stderr}");
        let stdout = String::from_utf8(output.stdout)?;
        let rate = stdout.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        rate.with_context(|| format!("pgbench reported no rate:\n{stdout}"))
    }
}

/// Returns the script for pgbench. Each client inserts into its own conversation. The ids grow with time, like the ids
/// that the server creates, which is best for the indexes.
fn insert() -> String {
    let body = BODY.replace('\'', "''");
    format!(
        "\\set number :number + 1
INSERT INTO bench_messages (id, conversation_id, number, revision, sender_id, kind, body, client_id, created_at)
VALUES ((lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000000)::bigint), 16, '0')
            || lpad(to_hex(:client_id::bigint), 16, '0'))::uuid,
        lpad(to_hex(:client_id::bigint), 32, '0')::uuid, :number::integer, :number::integer, lpad(to_hex(:client_id::bigint), 32, '0')::uuid,
        'TEXT', '{body}', concat(:client_id::bigint, '-', :number::integer, '-1234567890123'), now());
"
    )
}

fn installed() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let programs = versions.filter_map(|entry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((version, entry.path().join("bin/pgbench")))
    });
    programs.filter(|(_, file)| file.is_file()).max().map(|(_, file)| file)
}
