//! Measures the server's memory while many clients upload large files to a separate S3 and download them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use parlance_load::client::{Account, Refused};
use parlance_load::numbers::float;
use parlance_load::process::{clear_peak, peak_kib, resident_kib};
use parlance_load::report::{aligned, decimal};
use parlance_load::transfer;
use serde::Serialize;
use tokio::time::sleep;

use super::options::{Options, S3};
use super::report::Goal;
use super::stage::{Scratch, Stage};

const MIB: u64 = 1024 * 1024;
/// Maximum growth of the server's memory, in MiB: for responses, connections and the allocator's rounding.
const GOAL_MIB: f64 = 16.0;
/// Maximum time until the server has inspected all files.
const INSPECTION_TIMEOUT: Duration = Duration::from_mins(5);
/// Pause between two attempts of a client to complete its upload.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

#[derive(Serialize)]
pub(super) struct Files {
    clients: u32,
    mib: u64,
    /// Resident memory of the server in KiB, after the same number of small files but before the large files.
    before_kib: Option<i64>,
    phases: Vec<Phase>,
}

/// A step that all clients do at the same time.
#[derive(Serialize)]
struct Phase {
    name: &'static str,
    seconds: f64,
    /// Peak of the server's resident memory in this phase, in KiB.
    peak_kib: Option<i64>,
}

pub(super) async fn run(options: &Options, s3: &S3, scratch: &Scratch) -> Result<Files> {
    let named = [
        ("S3_ENDPOINT", s3.endpoint.clone()),
        ("S3_ACCESS_KEY_ID", s3.access_key_id.clone()),
        ("S3_SECRET_ACCESS_KEY", s3.secret_access_key.clone()),
        ("S3_BUCKET", format!("bench-{}", std::process::id())),
    ];
    let stage = Stage::open(options, scratch, "files", None, &named).await?;
    let measured = measure(&stage, options).await;
    stage.close().await?;
    measured
}

async fn measure(stage: &Stage, options: &Options) -> Result<Files> {
    let (clients, mib) = (options.file_clients, options.file_mib);
    let bytes = mib * MIB;
    let accounts = stage.accounts("files", clients).await?;
    // All clients first transfer a small file, so that the baseline includes the memory that files of any size need.
    try_join_all(accounts.iter().map(|account| up_and_down(stage, account, MIB))).await.context("small files")?;
    let before_kib = resident_kib(stage.server.pid().as_slice());
    let mut phases = Vec::new();
    let create = async |account: &Account| stage.client().await?.create_upload(account, "file.bin", bytes).await;
    let uploads = try_join_all(accounts.iter().map(create)).await?;
    let put = uploads.iter().map(|upload| transfer::put(&upload.url, &upload.headers, bytes));
    phases.push(phase(stage, "uploads", try_join_all(put)).await?.0);
    let complete = accounts.iter().zip(&uploads).map(|(account, upload)| complete(stage, account, &upload.id));
    let (completed, urls) = phase(stage, "inspections", try_join_all(complete)).await?;
    phases.push(completed);
    let (downloaded, sizes) =
        phase(stage, "downloads", try_join_all(urls.iter().map(|url| transfer::get(url)))).await?;
    phases.push(downloaded);
    ensure!(sizes.iter().all(|&size| size == bytes), "{mib} MiB were uploaded, but {sizes:?} bytes were downloaded");
    Ok(Files { clients, mib, before_kib, phases })
}

/// Completes an upload. Retries while the server is busy with other files.
async fn complete(stage: &Stage, account: &Account, id: &str) -> Result<String> {
    let begin = Instant::now();
    loop {
        match stage.client().await?.complete_upload(account, id).await {
            Err(error) if begin.elapsed() < INSPECTION_TIMEOUT && is_unavailable(&error) => sleep(RETRY_PAUSE).await,
            completed => return completed,
        }
    }
}

fn is_unavailable(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refused>().is_some_and(Refused::is_unavailable)
}

async fn up_and_down(stage: &Stage, account: &Account, bytes: u64) -> Result<()> {
    let mut client = stage.client().await?;
    let upload = client.create_upload(account, "file.bin", bytes).await?;
    transfer::put(&upload.url, &upload.headers, bytes).await?;
    let url = complete(stage, account, &upload.id).await?;
    transfer::get(&url).await.map(|_| ())
}

async fn phase<T>(stage: &Stage, name: &'static str, work: impl Future<Output = Result<T>>) -> Result<(Phase, T)> {
    stage.server.pid().and_then(clear_peak);
    let begin = Instant::now();
    let done = work.await.context(name)?;
    let seconds = begin.elapsed().as_secs_f64();
    Ok((Phase { name, seconds, peak_kib: stage.server.pid().and_then(peak_kib) }, done))
}

impl Files {
    pub(super) fn table(&self) -> String {
        let [seconds, most, growth] = ["seconds", "peak MiB", "growth"].map(str::to_owned);
        let head = [format!("{} clients, {} MiB each", self.clients, self.mib), seconds, most, growth];
        let line = |phase: &Phase| {
            let most = decimal(phase.peak_kib.map_or(f64::NAN, mib), 1);
            [phase.name.to_owned(), decimal(phase.seconds, 1), most, decimal(self.growth_mib(phase), 1)]
        };
        let lines: Vec<_> = std::iter::once(head).chain(self.phases.iter().map(line)).collect();
        aligned(&lines)
    }

    pub(super) fn goals(&self) -> Vec<Goal> {
        let (clients, mib) = (self.clients, self.mib);
        let goal = |phase: &Phase| {
            let name =
                format!("growth of the server's memory in MiB, {}: {clients} clients, {mib} MiB each", phase.name);
            Goal::at_most(name, self.growth_mib(phase), GOAL_MIB)
        };
        self.phases.iter().map(goal).collect()
    }

    fn growth_mib(&self, phase: &Phase) -> f64 {
        phase.peak_kib.zip(self.before_kib).map_or(f64::NAN, |(peak, before)| mib(peak - before))
    }
}

/// Converts KiB to MiB. 0 if the value is negative.
fn mib(kib: i64) -> f64 {
    float(u64::try_from(kib).unwrap_or_default()) / 1024.0
}
