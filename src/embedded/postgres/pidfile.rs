//! Reads and repairs `postmaster.pid`, a file that a running PostgreSQL writes into the directory of its cluster.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::Error;
use super::location::{self, Location};

/// Index of the line with the port, counted from 0.
const PORT_LINE: usize = 3;
/// Index of the line with the status, counted from 0.
const STATUS_LINE: usize = 7;

/// A pid that no process has, because it is far above the highest pid of any system.
const NO_PROCESS: i32 = i32::MAX;

/// The state of the cluster, according to the file and the running processes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The file does not exist: the cluster was shut down.
    Nothing,
    /// The file is empty: the PostgreSQL that created it was killed, or is still writing it.
    Empty,
    /// No process has the pid in the file: PostgreSQL was killed.
    Dead,
    /// The pid in the file is now the pid of another program.
    OtherProgram,
    /// PostgreSQL runs but accepts no connections: it is starting or stopping.
    Busy,
    /// PostgreSQL runs and accepts connections.
    Ready { port: u16 },
}

#[derive(Debug, PartialEq, Eq)]
struct PidFile {
    pid: i32,
    ready_on: Option<u16>,
}

pub(super) fn read_state(cluster: &Path) -> Result<State, Error> {
    let path = cluster.join("postmaster.pid");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(State::Nothing),
        Err(source) => return Err(Error::Io { path, source }),
    };
    let Some(PidFile { pid, ready_on }) = parse(&text) else {
        return Ok(State::Empty);
    };
    Ok(match ready_on {
        _ if !is_alive(pid) => State::Dead,
        _ if !is_postmaster(pid, cluster) => State::OtherProgram,
        Some(port) => State::Ready { port },
        None => State::Busy,
    })
}

fn parse(text: &str) -> Option<PidFile> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    // The pid is negative in single-user mode.
    let pid = lines.first()?.parse::<i32>().ok()?.checked_abs()?;
    let port = lines.get(PORT_LINE).and_then(|port| port.parse().ok());
    let ready = lines.get(STATUS_LINE).is_some_and(|status| *status == "ready");
    Some(PidFile { pid, ready_on: port.filter(|_| ready) })
}

/// Whether a process of any user has this pid.
fn is_alive(pid: i32) -> bool {
    pid > 0 && matches!(kill(Pid::from_raw(pid), None), Ok(()) | Err(Errno::EPERM))
}

/// Whether the process is the PostgreSQL of this cluster. Another program may have the same pid, because systems reuse
/// pids, and containers reuse them very soon.
fn is_postmaster(pid: i32, cluster: &Path) -> bool {
    let process = Path::new("/proc").join(pid.to_string());
    if let Ok(name) = fs::read_to_string(process.join("comm")) {
        return (name.contains("postgres") || name.contains("postmaster"))
            && (runs_in(&process, cluster) || has_argument(&process, cluster));
    }
    // Systems without /proc need `ps` to read the arguments. pg_ctl starts PostgreSQL with -D and the path of the
    // cluster.
    let listed = std::process::Command::new("ps").args(["-o", "command=", "-p", &pid.to_string()]).output();
    listed.is_ok_and(|listed| {
        let command = String::from_utf8_lossy(&listed.stdout).into_owned();
        command.contains("postgres") && command.contains(&*cluster.to_string_lossy())
    })
}

/// Whether the process runs in the cluster's directory. Compares inodes, because the cluster may have several paths.
fn runs_in(process: &Path, cluster: &Path) -> bool {
    let inode = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    matches!((inode(&process.join("cwd")), inode(cluster)), (Ok(a), Ok(b)) if a == b)
}

/// Whether the arguments of the process contain the cluster's path. The function is needed in containers in which root
/// is not allowed to read the working directory of other accounts' processes.
fn has_argument(process: &Path, cluster: &Path) -> bool {
    fs::read(process.join("cmdline")).is_ok_and(|arguments| {
        arguments.split(|byte| *byte == 0).any(|argument| argument == cluster.as_os_str().as_bytes())
    })
}

/// Replaces the pid in the file, which is now the pid of another program. Otherwise PostgreSQL would assume that
/// another PostgreSQL uses the cluster, and refuse to start.
///
/// The file must not be removed. PostgreSQL needs another line of the file to find processes that survived a killed
/// PostgreSQL and still write to the cluster.
pub(super) fn replace_pid(location: &Location) -> Result<(), Error> {
    let path = location.cluster().join("postmaster.pid");
    let text = fs::read_to_string(&path).map_err(Error::at(&path))?;
    let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
    let fresh = location.home().join("postmaster.pid.tmp");
    let written = location::private_file(&fresh).and_then(|mut file| write!(file, "{NO_PROCESS}\n{rest}"));
    written.map_err(Error::at(&fresh))?;
    location.account().make_owner(&fresh)?;
    fs::rename(&fresh, &path).map_err(Error::at(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY: &str = "4711\n/srv/chat/postgres\n1790000000\n40123\n\n127.0.0.1\n  123 456\nready   \n";

    #[test]
    fn a_ready_postgres_has_its_port_in_the_file() {
        assert_eq!(parse(READY), Some(PidFile { pid: 4711, ready_on: Some(40123) }));
    }

    #[test]
    fn a_starting_stopping_or_single_user_postgres_is_not_ready() {
        for status in ["starting", "stopping", "standby "] {
            let text = READY.replace("ready   ", status);
            assert_eq!(parse(&text), Some(PidFile { pid: 4711, ready_on: None }), "{status}");
        }
        let short = "4711\n/srv/chat/postgres\n1790000000\n40123\n\n";
        assert_eq!(parse(short), Some(PidFile { pid: 4711, ready_on: None }));
        assert_eq!(parse("-4711\n/srv/chat\n"), Some(PidFile { pid: 4711, ready_on: None }));
        assert_eq!(parse(""), None);
        assert_eq!(parse("x"), None);
    }

    #[test]
    fn read_state_compares_the_file_with_the_running_processes() {
        let cluster = tempfile::tempdir().unwrap();
        let cluster = cluster.path();
        let file = cluster.join("postmaster.pid");
        assert_eq!(read_state(cluster).unwrap(), State::Nothing);
        fs::write(&file, "").unwrap();
        assert_eq!(read_state(cluster).unwrap(), State::Empty);
        fs::write(&file, READY.replace("4711", &NO_PROCESS.to_string())).unwrap();
        assert_eq!(read_state(cluster).unwrap(), State::Dead);
        fs::write(&file, READY.replace("4711", &std::process::id().to_string())).unwrap();
        assert_eq!(read_state(cluster).unwrap(), State::OtherProgram);
    }
}
