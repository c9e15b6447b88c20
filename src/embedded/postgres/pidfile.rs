//! `postmaster.pid`, which a running PostgreSQL keeps in its cluster.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::Error;
use super::place::{self, Place};

/// Lines of the file, counted from 0.
const PORT_LINE: usize = 3;
const STATUS_LINE: usize = 7;

/// No process has it: far above the highest pid any system hands out.
const NO_PROCESS: i32 = i32::MAX;

/// What the file says of the cluster.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// There is no file: the cluster was shut down.
    Nothing,
    /// The file has no content: its writer was killed in the act, or is at it.
    Empty,
    /// The process in it is gone: PostgreSQL was killed.
    Dead,
    /// The pid in it is now another program's.
    Stranger,
    /// PostgreSQL runs but takes no connections, not yet or no more.
    Busy,
    /// PostgreSQL runs and takes connections.
    Ready { port: u16 },
}

#[derive(Debug, PartialEq, Eq)]
struct PidFile {
    pid: i32,
    ready_on: Option<u16>,
}

pub(super) fn look(cluster: &Path) -> Result<Seen, Error> {
    let path = cluster.join("postmaster.pid");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Seen::Nothing),
        Err(source) => return Err(Error::Io { path, source }),
    };
    let Some(PidFile { pid, ready_on }) = parse(&text) else {
        return Ok(Seen::Empty);
    };
    Ok(match ready_on {
        _ if !is_alive(pid) => Seen::Dead,
        _ if !is_postmaster(pid, cluster) => Seen::Stranger,
        Some(port) => Seen::Ready { port },
        None => Seen::Busy,
    })
}

fn parse(text: &str) -> Option<PidFile> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    // Negative in single-user mode.
    let pid = lines.first()?.parse::<i32>().ok()?.checked_abs()?;
    let port = lines.get(PORT_LINE).and_then(|port| port.parse().ok());
    let ready = lines.get(STATUS_LINE).is_some_and(|status| *status == "ready");
    Some(PidFile { pid, ready_on: port.filter(|_| ready) })
}

/// Whether a process has this pid, be it another user's.
fn is_alive(pid: i32) -> bool {
    pid > 0 && matches!(kill(Pid::from_raw(pid), None), Ok(()) | Err(Errno::EPERM))
}

/// Whether the process is PostgreSQL, serving this cluster: pids are used
/// again, in containers at once.
fn is_postmaster(pid: i32, cluster: &Path) -> bool {
    let process = Path::new("/proc").join(pid.to_string());
    if let Ok(name) = fs::read_to_string(process.join("comm")) {
        return (name.contains("postgres") || name.contains("postmaster"))
            && (works_in(&process, cluster) || is_told_of(&process, cluster));
    }
    // Systems without /proc: pg_ctl starts it with -D and the cluster's path.
    let listed = std::process::Command::new("ps").args(["-o", "command=", "-p", &pid.to_string()]).output();
    listed.is_ok_and(|listed| {
        let command = String::from_utf8_lossy(&listed.stdout).into_owned();
        command.contains("postgres") && command.contains(&*cluster.to_string_lossy())
    })
}

/// Compared by inode, for there may be several paths to the cluster.
fn works_in(process: &Path, cluster: &Path) -> bool {
    let inode = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    matches!((inode(&process.join("cwd")), inode(cluster)), (Ok(a), Ok(b)) if a == b)
}

/// By its arguments: root in a container may not see where others work.
fn is_told_of(process: &Path, cluster: &Path) -> bool {
    fs::read(process.join("cmdline")).is_ok_and(|arguments| {
        arguments.split(|byte| *byte == 0).any(|argument| argument == cluster.as_os_str().as_bytes())
    })
}

/// Makes PostgreSQL see that the file is stale, where its pid is a stranger's,
/// which PostgreSQL takes for itself and refuses to start.
///
/// The file must not be removed: by another line of it PostgreSQL finds
/// processes that survived a killed one and still write to the cluster.
pub(super) fn disown(place: &Place) -> Result<(), Error> {
    let path = place.cluster().join("postmaster.pid");
    let text = fs::read_to_string(&path).map_err(Error::at(&path))?;
    let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
    let fresh = place.home().join("postmaster.pid.tmp");
    let written = place::private_file(&fresh).and_then(|mut file| write!(file, "{NO_PROCESS}\n{rest}"));
    written.map_err(Error::at(&fresh))?;
    place.account().give(&fresh)?;
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
    fn one_that_starts_stops_or_is_single_user_is_not_ready() {
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
    fn what_the_file_says_is_held_against_the_processes_there_are() {
        let cluster = tempfile::tempdir().unwrap();
        let cluster = cluster.path();
        let file = cluster.join("postmaster.pid");
        assert_eq!(look(cluster).unwrap(), Seen::Nothing);
        fs::write(&file, "").unwrap();
        assert_eq!(look(cluster).unwrap(), Seen::Empty);
        fs::write(&file, READY.replace("4711", &NO_PROCESS.to_string())).unwrap();
        assert_eq!(look(cluster).unwrap(), Seen::Dead);
        fs::write(&file, READY.replace("4711", &std::process::id().to_string())).unwrap();
        assert_eq!(look(cluster).unwrap(), Seen::Stranger);
    }
}
