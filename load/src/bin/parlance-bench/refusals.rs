//! Measures the time and the memory that the server needs to refuse hostile requests.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use parlance_load::histogram::Histogram;
use parlance_load::process::{clear_peak, peak_kib, resident_kib};
use parlance_load::report::{Latency, aligned, decimal};
use parlance_load::server::Server;
use serde::Serialize;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Number of requests of each kind. The requests are sent one after the other.
const REPEATS: usize = 50;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum median time of a refusal, in milliseconds.
const MAX_MEDIAN_MS: f64 = 50.0;
/// Maximum growth of the server's memory during all requests of one kind, in KiB.
const MAX_MEMORY_KIB: i64 = 32 * 1024;

#[derive(Serialize)]
pub(super) struct Refusal {
    pub(super) request: String,
    pub(super) status: u16,
    /// Time from just before the connection is opened to the first bytes of the response.
    pub(super) latency: Latency,
    /// The median divided by the median of an ordinary query in the same run.
    pub(super) ratio: f64,
    /// Growth of the server's resident memory in KiB: the peak during the requests minus the memory before them.
    pub(super) memory_kib: Option<i64>,
}

struct Hostile {
    name: &'static str,
    body: String,
    status: u16,
}

/// Sends each kind of request `REPEATS` times. Fails if the status of a response is not the expected status, or if the
/// server needs too much time or memory.
pub(super) async fn measure(server: &Server) -> Result<Vec<Refusal>> {
    let ordinary = Hostile { name: "an ordinary query", body: operation("{ serverInfo { version } }"), status: 200 };
    let mut measured = vec![repeat(server, &ordinary, f64::NAN).await?];
    // The ordinary query is measured twice, because the first requests warm the server up.
    measured[0] = repeat(server, &ordinary, f64::NAN).await?;
    let baseline = measured[0].latency.p50;
    measured[0].ratio = 1.0;
    for hostile in hostile() {
        measured.push(repeat(server, &hostile, baseline).await?);
    }
    Ok(measured)
}

fn hostile() -> Vec<Hostile> {
    let aliases = many(20_000, |i| format!("a{i}: __typename "));
    let doubling = many(60, |i| format!("fragment f{i} on Query {{ ...f{0} ...f{0} }} ", i + 1));
    // As many fields as OPERATION_MAX_TOKENS allows. A server that suggests similar names might compare each name with
    // all fields of the type.
    let unknown = many(4_900, |i| format!("field{i:0>150} "));
    let conflicting = many(1_200, |i| format!("a: node(id: {i}) {{ id }} "));
    let hidden = format!("{{__typename(x:[\"\"\" \"{}{}])}}", "[".repeat(2_000), "]".repeat(2_000));
    let multiplied = many(60, |i| format!("fragment f{i} on Node {{ ...f{0} ...f{0} }} ", i + 1));
    let walk = "possibleTypes { interfaces { ".repeat(6) + "name" + &"}}".repeat(6);
    let batch: Vec<_> = (0..5_000).map(|_| json!({"query": "{ __typename }"})).collect();
    vec![
        Hostile { name: "20,000 aliases", body: operation(&format!("{{ {aliases} }}")), status: 400 },
        Hostile { name: "a batch of 5,000", body: json!(batch).to_string(), status: 413 },
        Hostile { name: "a body of 64 MB", body: operation(&"x".repeat(64_000_000)), status: 413 },
        Hostile { name: "10,000 levels", body: operation(&"{a".repeat(10_000)), status: 400 },
        Hostile {
            name: "circular fragments",
            body: operation("{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }"),
            status: 400,
        },
        Hostile {
            name: "fragments that double 60 times",
            body: operation(&format!("{{ ...f0 }} {doubling}")),
            status: 400,
        },
        Hostile {
            name: "doubling fragments on an empty list",
            body: operation(&format!("{{ nodes(ids: []) {{ ...f0 }} }} {multiplied}")),
            status: 400,
        },
        Hostile { name: "2,000 lists behind a string", body: operation(&hidden), status: 400 },
        Hostile {
            name: "nested introspection",
            body: operation(&format!("{{ __schema {{ types {{ {walk} }} }} }}")),
            status: 400,
        },
        Hostile { name: "4,900 unknown fields", body: operation(&format!("{{ {unknown} }}")), status: 400 },
        Hostile { name: "1,200 fields that conflict", body: operation(&format!("{{ {conflicting} }}")), status: 400 },
        Hostile { name: "1 MB of open lists in JSON", body: "[".repeat(1_000_000), status: 400 },
    ]
}

fn many(count: usize, part: impl Fn(usize) -> String) -> String {
    (0..count).map(part).collect::<Vec<_>>().concat()
}

fn operation(query: &str) -> String {
    json!({"query": query}).to_string()
}

async fn repeat(server: &Server, hostile: &Hostile, baseline: f64) -> Result<Refusal> {
    let before = resident_kib(server.pid().as_slice());
    server.pid().and_then(clear_peak);
    let latencies = Histogram::default();
    for _ in 0..REPEATS {
        let sending = send_request(server.address(), &hostile.body);
        let (status, latency) = timeout(ANSWER_TIMEOUT, sending).await.context("an answer")?.context(hostile.name)?;
        ensure!(status == hostile.status, "{} got the status {status}, expected {}", hostile.name, hostile.status);
        latencies.record(latency);
    }
    let peak = server.pid().and_then(peak_kib);
    let memory_kib = peak.zip(before).map(|(peak, before)| peak - before);
    let latency = Latency::of(&latencies);
    let ratio = latency.p50 / baseline;
    ensure!(latency.p50 < MAX_MEDIAN_MS, "{} takes {:.1} ms", hostile.name, latency.p50);
    let memory = memory_kib.unwrap_or_default();
    ensure!(memory < MAX_MEMORY_KIB, "{} takes {memory} KiB", hostile.name);
    Ok(Refusal { request: hostile.name.to_owned(), status: hostile.status, latency, ratio, memory_kib })
}

/// Sends a request on a new connection. Writes the request and reads the response at the same time, because the server
/// may respond before it has read the whole body. Returns the status and the time until the response.
async fn send_request(address: SocketAddr, body: &str) -> Result<(u16, Duration)> {
    let head = format!(
        "POST /graphql HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         accept: application/graphql-response+json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let begin = Instant::now();
    let (mut reader, mut writer) = TcpStream::connect(address).await?.into_split();
    let writing = async {
        writer.write_all(head.as_bytes()).await?;
        writer.write_all(body.as_bytes()).await
    };
    let reading = async {
        let mut status_line = [0; 12];
        reader.read_exact(&mut status_line).await.map(|_| status_line)
    };
    tokio::pin!(writing, reading);
    // An error of `writing` is ignored, because the server may stop reading and send a response.
    let status_line = tokio::select! {
        status_line = &mut reading => status_line?,
        _ = &mut writing => reading.await?,
    };
    let status = std::str::from_utf8(&status_line)?.rsplit(' ').next().context("a status")?.parse()?;
    Ok((status, begin.elapsed()))
}

pub(super) fn table(refusals: &[Refusal]) -> String {
    let head = ["refused, in ms", "p50", "p99", "max", "ratio", "memory, KiB"].map(str::to_owned);
    let line = |refusal: &Refusal| {
        [
            refusal.request.clone(),
            decimal(refusal.latency.p50, 2),
            decimal(refusal.latency.p99, 2),
            decimal(refusal.latency.max, 2),
            decimal(refusal.ratio, 1),
            refusal.memory_kib.map_or_else(|| "?".to_owned(), |kib| format!("{kib:+}")),
        ]
    };
    let lines: Vec<_> = std::iter::once(head).chain(refusals.iter().map(line)).collect();
    aligned(&lines)
}
