//! The results of all parts, as text, JSON and SVG.

use parlance_load::ledger::Violations;
use parlance_load::plot::{Bar, Plot};
use parlance_load::process::{load_average, processors};
use parlance_load::report::{aligned, decimal, print_violations};
use serde::Serialize;

use super::fanout::Fanout;
use super::files::Files;
use super::growth::Growth;
use super::idle::Idle;
use super::latency::Latencies;
use super::logins::Logins;
use super::options::Options;
use super::personal::Personal;
use super::refusals::{self, Refusal};
use super::sends::Sends;
use super::stalled::Stalled;

#[derive(Serialize)]
pub(super) struct Report {
    version: &'static str,
    processors: usize,
    postgres: String,
    /// The machine's load average in the last minute before the bench began.
    load_before: Option<f64>,
    seconds: u64,
    /// Settings of the server that differ from its defaults.
    settings: Vec<String>,
    pub(super) sends: Vec<Sends>,
    pub(super) fanout: Option<Fanout>,
    pub(super) personal: Option<Personal>,
    pub(super) latency: Option<Latencies>,
    pub(super) idle: Option<Idle>,
    pub(super) stalled: Option<Stalled>,
    pub(super) growth: Option<Growth>,
    pub(super) files: Option<Files>,
    pub(super) logins: Option<Logins>,
    pub(super) refusals: Vec<Refusal>,
    goals: Vec<Goal>,
}

/// A measured value, and the goal that it meets or misses.
#[derive(Serialize)]
pub(super) struct Goal {
    name: String,
    value: f64,
    bound: Bound,
    met: Option<bool>,
}

#[derive(Clone, Copy, Serialize)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
    /// The value has no goal. It is shown for comparison.
    None,
}

impl Goal {
    pub(super) fn at_least(name: String, value: f64, wanted: f64) -> Self {
        Self { name, value, bound: Bound::AtLeast(wanted), met: Some(value >= wanted) }
    }

    pub(super) fn at_most(name: String, value: f64, wanted: f64) -> Self {
        Self { name, value, bound: Bound::AtMost(wanted), met: Some(value <= wanted) }
    }

    pub(super) fn shown(name: String, value: f64) -> Self {
        Self { name, value, bound: Bound::None, met: None }
    }

    fn line(&self) -> [String; 4] {
        let wanted = match self.bound {
            Bound::AtLeast(wanted) => format!("≥ {wanted}"),
            Bound::AtMost(wanted) => format!("≤ {wanted}"),
            Bound::None => String::new(),
        };
        let met = match self.met {
            Some(true) => "met",
            Some(false) => "missed",
            None => "",
        };
        [self.name.clone(), decimal(self.value, 2), wanted, met.to_owned()]
    }
}

impl Report {
    pub(super) fn new(options: &Options, postgres: String) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            processors: processors(),
            postgres,
            load_before: load_average(),
            seconds: options.seconds,
            settings: options.settings.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            sends: Vec::new(),
            fanout: None,
            personal: None,
            latency: None,
            idle: None,
            stalled: None,
            growth: None,
            files: None,
            logins: None,
            refusals: Vec::new(),
            goals: Vec::new(),
        }
    }

    pub(super) fn heading(&self) -> String {
        let settings = if self.settings.is_empty() { "its defaults".to_owned() } else { self.settings.join(" ") };
        let load = self.load_before.map(|load| format!(" Load before the start: {load}.")).unwrap_or_default();
        format!(
            "Parlance {} with {settings}; {}; {} s for each scenario, after its warm-up.\n\
             The server, Postgres, Redis and these clients share this machine's {} processor cores.{load}\n\
             Latencies are in ms, from just before a request is written. `receipt` is the arrival at a listener over\n\
             WebSocket. `due` is the number of receipts/s that the acknowledged messages require. `server`, `clients`\n\
             and `others` are shares of all cores. pgbench only inserts the same row, with as many clients as there\n\
             are senders.\n",
            self.version, self.postgres, self.seconds, self.processors,
        )
    }

    pub(super) fn refusals_table(&self) -> String {
        refusals::table(&self.refusals)
    }

    /// Collects the goals of all parts, and formats them as a table.
    pub(super) fn goals_table(&mut self) -> String {
        let sends = self.sends.iter().flat_map(Sends::goals);
        let fanout = self.fanout.iter().flat_map(Fanout::goals);
        let personal = self.personal.iter().flat_map(Personal::goals);
        let latency = self.latency.iter().flat_map(Latencies::goals);
        let idle = self.idle.iter().flat_map(Idle::goals);
        let stalled = self.stalled.iter().flat_map(Stalled::goals);
        let growth = self.growth.iter().flat_map(Growth::goals);
        let files = self.files.iter().flat_map(Files::goals);
        let logins = self.logins.iter().flat_map(Logins::goals);
        let (crowds, connections, others) = (fanout.chain(personal), idle.chain(stalled), files.chain(logins));
        self.goals = sends.chain(crowds).chain(latency).chain(connections).chain(growth).chain(others).collect();
        if self.goals.is_empty() {
            return String::new();
        }
        let head = ["goals", "measured", "goal", ""].map(str::to_owned);
        let lines: Vec<_> = std::iter::once(head).chain(self.goals.iter().map(Goal::line)).collect();
        aligned(&lines)
    }

    /// Prints the violations of all parts and returns their number.
    pub(super) fn print_violations(&self) -> usize {
        let sends = self.sends.iter().flat_map(Sends::violations);
        let fanout = self.fanout.iter().flat_map(Fanout::violations);
        let personal = self.personal.iter().flat_map(Personal::violations);
        let latency = self.latency.iter().flat_map(Latencies::violations);
        let idle = self.idle.iter().flat_map(Idle::violations);
        let stalled = self.stalled.iter().flat_map(Stalled::violations);
        let growth = self.growth.iter().flat_map(Growth::violations);
        let connections = idle.chain(stalled);
        let all: Vec<(String, Violations)> =
            sends.chain(fanout).chain(personal).chain(latency).chain(connections).chain(growth).collect();
        for (scenario, violations) in &all {
            print_violations(scenario, violations);
        }
        all.iter().map(|(_, violations)| violations.count).sum()
    }

    pub(super) fn svg(&self) -> String {
        let mut plot = Plot::default();
        let mut panel = |title: &str, bars: Vec<(String, f64, usize)>| {
            let bars: Vec<Bar> = bars.into_iter().map(|(name, value, kind)| Bar { name, value, kind }).collect();
            plot.bars(title, &bars);
        };
        for sends in &self.sends {
            panel("Messages per second", sends.bars());
        }
        if let Some(fanout) = &self.fanout {
            panel("Deliveries per second", fanout.bars());
            panel("Server time per delivery, µs", fanout.micros());
        }
        if let Some(personal) = &self.personal {
            panel("Deliveries per second, for each viewer", personal.bars());
        }
        if let Some(latency) = &self.latency {
            panel("p99 from send to receipt, ms", latency.bars());
        }
        if let Some(idle) = &self.idle {
            panel("p50 from send to receipt, ms", idle.bars());
        }
        if let Some(growth) = &self.growth {
            panel("Messages per second as the database grows", growth.bars());
        }
        if let Some(logins) = &self.logins {
            panel("Median response times that must not differ, ms", logins.medians());
            panel("p99 of the queries of other users, ms", logins.queries());
        }
        plot.finish()
    }
}
