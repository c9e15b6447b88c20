//! Processor time and memory of processes, read from Linux' `/proc`. On other systems all values are None.

use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{SysconfVar, sysconf};
use serde::Serialize;

use crate::numbers::{float, length};

/// Processor times and memory at one moment.
#[derive(Clone, Debug)]
pub struct Sample {
    servers: Option<Duration>,
    resident_kib: Option<i64>,
    clients: Option<Duration>,
    machine: Option<Duration>,
}

/// Processor time that was used between two samples, and the memory at the second sample.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Usage {
    /// Processor time of the servers, in seconds.
    pub server_seconds: Option<f64>,
    /// Share of the machine's processor time that the servers used, from 0 to 1. `clients` is the share of this
    /// program, and `others` is the share of all other processes.
    pub servers: Option<f64>,
    pub clients: Option<f64>,
    pub others: Option<f64>,
    /// Resident memory of the servers at the end, in KiB.
    pub resident_kib: Option<i64>,
}

impl Sample {
    pub fn measure(servers: &[u32]) -> Self {
        let resident_kib = resident_kib(servers);
        let servers = if servers.is_empty() { None } else { servers.iter().map(|&pid| processor_time(pid)).sum() };
        Self { servers, resident_kib, clients: processor_time(std::process::id()), machine: machine_time() }
    }

    /// Returns the usage since an earlier sample, which was taken `elapsed` before this sample.
    pub fn since(&self, earlier: &Self, elapsed: Duration) -> Usage {
        let seconds =
            |now: Option<Duration>, before: Option<Duration>| Some(now?.saturating_sub(before?).as_secs_f64());
        let all = elapsed.as_secs_f64() * length(processors());
        let server_seconds = seconds(self.servers, earlier.servers);
        let (servers, clients) =
            (server_seconds.map(|taken| taken / all), seconds(self.clients, earlier.clients).map(|taken| taken / all));
        let others = seconds(self.machine, earlier.machine)
            .map(|taken| (taken / all - servers.unwrap_or_default() - clients.unwrap_or_default()).max(0.0));
        Usage { server_seconds, servers, clients, others, resident_kib: self.resident_kib }
    }
}

pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Reads the load average: the mean number of processes that ran or waited for a processor in the last minute.
pub fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// Reads the processor time that a process has used since its start.
pub fn processor_time(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The process name in parentheses may contain spaces and parentheses.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(of_ticks(ticks))
}

/// Reads the resident memory of all these processes together, in KiB. None if `pids` is empty or a process cannot be
/// read.
pub fn resident_kib(pids: &[u32]) -> Option<i64> {
    if pids.is_empty() { None } else { pids.iter().map(|&pid| status(pid, "VmRSS:")).sum() }
}

/// Reads the peak of the resident memory of a process since the last `clear_peak`, in KiB.
pub fn peak_kib(pid: u32) -> Option<i64> {
    status(pid, "VmHWM:")
}

pub fn clear_peak(pid: u32) -> Option<()> {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").ok()
}

fn status(pid: u32, field: &str) -> Option<i64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find(|line| line.starts_with(field))?.split_whitespace().nth(1)?.parse().ok()
}

/// Reads the processor time that all processes have used since the machine's start.
fn machine_time() -> Option<Duration> {
    const IDLE: [usize; 2] = [3, 4];
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let fields = stat.lines().next()?.split_whitespace().skip(1).take(8).enumerate();
    let busy = fields.filter(|(index, _)| !IDLE.contains(index));
    Some(of_ticks(busy.filter_map(|(_, ticks)| ticks.parse::<u64>().ok()).sum()))
}

fn of_ticks(ticks: u64) -> Duration {
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|ticks| u64::try_from(ticks).ok());
    Duration::from_secs_f64(float(ticks) / float(per_second.unwrap_or(100)))
}

/// Raises the limit of open files of this process and its children to the hard limit, and returns the hard limit.
pub fn raise_file_limit() -> Option<u64> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).ok()?;
    Some(most)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Sample, processor_time, resident_kib};

    #[test]
    fn the_usage_of_this_process_is_measured() {
        let own = std::process::id();
        let (before, begin) = (Sample::measure(&[own]), Instant::now());
        let spent = processor_time(own).unwrap();
        // Linux counts processor time in hundredths of a second.
        while processor_time(own).unwrap() < spent + Duration::from_millis(50) {}
        let usage = Sample::measure(&[own]).since(&before, begin.elapsed());
        assert!(usage.server_seconds.unwrap() > 0.01, "{usage:?}");
        // Both values are the processor time of this process, but they may differ, because they are read one after the
        // other.
        assert!(usage.servers.unwrap() > 0.0 && usage.clients.unwrap() > 0.0, "{usage:?}");
        assert!(resident_kib(&[own]).unwrap() > 100);
        assert_eq!(Sample::measure(&[]).since(&before, begin.elapsed()).servers, None);
    }
}
