//! The virus scanner, tested with a real clamd. The only signature of this clamd matches the EICAR test file.

use std::fs::{self, Permissions};
use std::io::SeekFrom;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use parlance::scanner::{Error, Scanner, Verdict};
use tempfile::TempDir;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::process::{Child, Command};

use crate::support::{free_port, within};

/// The EICAR test string, in two parts so that virus scanners do not report this source file.
pub const EICAR: [&str; 2] = [r"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-", "STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"];
const TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum size of a stream that clamd accepts, in bytes.
const MAX_STREAM: usize = 1024 * 1024;
/// Maximum size of a file that clamd scans, in bytes.
const MAX_FILE: usize = 512 * 1024;

pub struct Clamd {
    directory: TempDir,
    port: u16,
    _process: Child,
}

impl Clamd {
    pub async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let place = directory.path();
        // If clamd starts as root, it switches to another user, who must be able to read the directory.
        fs::set_permissions(place, Permissions::from_mode(0o777)).unwrap();
        let signature =
            EICAR.concat().bytes().fold("Eicar-Test:0:0:".to_owned(), |text, byte| format!("{text}{byte:02x}"));
        fs::write(place.join("test.ndb"), signature + "\n").unwrap();
        let port = free_port();
        let user = if nix::unistd::geteuid().is_root() { "User nobody\n" } else { "" };
        let here = place.display();
        let settings = format!(
            "Foreground yes\nDatabaseDirectory {here}\nLocalSocket {here}/socket\nTCPSocket {port}\nTCPAddr 127.0.0.1\n\
             StreamMaxLength {MAX_STREAM}\nMaxFileSize {MAX_FILE}\nAlertExceedsMax yes\n{user}"
        );
        fs::write(place.join("clamd.conf"), settings).unwrap();
        let process = Command::new(program())
            .arg("--config-file")
            .arg(place.join("clamd.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("clamd is missing: run scripts/setup test");
        let clamd = Self { directory, port, _process: process };
        clamd.wait().await;
        clamd
    }

    /// Waits until clamd answers a scan, because clamd does not report otherwise that it is ready.
    async fn wait(&self) {
        let mut file = file(b"ready?").await;
        let ready = async {
            while self.over_socket().scan(&mut file).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(TIMEOUT, "clamd starts", ready).await;
    }

    pub fn socket(&self) -> String {
        self.directory.path().join("socket").to_str().unwrap().to_owned()
    }

    fn over_socket(&self) -> Scanner {
        Scanner::new(&self.socket(), TIMEOUT)
    }

    fn over_tcp(&self) -> Scanner {
        Scanner::new(&format!("127.0.0.1:{}", self.port), TIMEOUT)
    }
}

/// Returns the path of clamd. Debian and Homebrew install clamd in directories that may not be in PATH.
fn program() -> PathBuf {
    let places = ["/usr/sbin/clamd", "/opt/homebrew/sbin/clamd", "/usr/local/sbin/clamd"];
    places.into_iter().map(PathBuf::from).find(|place| place.exists()).unwrap_or_else(|| "clamd".into())
}

async fn file(bytes: &[u8]) -> File {
    let mut file = File::from_std(tempfile::tempfile().unwrap());
    file.write_all(bytes).await.unwrap();
    file.flush().await.unwrap();
    file
}

#[tokio::test]
async fn files_are_reported_as_clean_or_infected() {
    let clamd = Clamd::start().await;
    for scanner in [clamd.over_socket(), clamd.over_tcp()] {
        // This file is sent in more than one chunk.
        let mut clean = file(&vec![7; 200_000]).await;
        assert_eq!(scanner.scan(&mut clean).await.unwrap(), Verdict::Clean);
        assert_eq!(scanner.scan(&mut file(b"").await).await.unwrap(), Verdict::Clean);
        let mut infected = file(EICAR.concat().as_bytes()).await;
        let verdict = Verdict::Infected("Eicar-Test.UNOFFICIAL".to_owned());
        assert_eq!(scanner.scan(&mut infected).await.unwrap(), verdict);
        // A scan starts at the beginning of the file, even if the position of the file handle is elsewhere.
        infected.seek(SeekFrom::Start(40)).await.unwrap();
        assert_eq!(scanner.scan(&mut infected).await.unwrap(), verdict);
    }
}

#[tokio::test]
async fn files_above_the_limits_of_clamd_are_never_clean() {
    let clamd = Clamd::start().await;
    for scanner in [clamd.over_socket(), clamd.over_tcp()] {
        // clamd accepts the first of these files but does not scan it.
        for bytes in [MAX_FILE + 1, MAX_STREAM + 1, 20 * MAX_STREAM] {
            let result = scanner.scan(&mut file(&vec![0; bytes]).await).await;
            assert!(matches!(result, Err(Error::TooLarge)), "{bytes} bytes: {result:?}");
        }
    }
}

#[tokio::test]
async fn an_unavailable_clamd_is_an_error() {
    let directory = TempDir::new().unwrap();
    let place = directory.path().join("socket");
    for address in [place.to_str().unwrap(), "127.0.0.1:1", "nowhere.invalid:3310"] {
        let result = Scanner::new(address, TIMEOUT).scan(&mut file(b"text").await).await;
        assert!(matches!(result, Err(Error::Unavailable(_))), "{address}: {result:?}");
    }
}

/// Starts a server that reads one stream to its end, sends `answer` and closes the connection.
fn answering(place: &Path, answer: &'static [u8]) {
    let listener = UnixListener::bind(place).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(&[0; 4]) {
            assert_ne!(stream.read_buf(&mut asked).await.unwrap(), 0, "the stream has no end");
        }
        stream.write_all(answer).await.unwrap();
    });
}

#[tokio::test]
async fn incomplete_and_unknown_responses_of_clamd_are_errors() {
    let directory = TempDir::new().unwrap();
    for (index, answer) in
        [b"".as_slice(), b"stream: O", b"stream: OK", b"stream: Something ERROR\0", b"OK FOUND ERROR\0", b"\0"]
            .into_iter()
            .enumerate()
    {
        let place = directory.path().join(index.to_string());
        answering(&place, answer);
        let scanner = Scanner::new(place.to_str().unwrap(), TIMEOUT);
        let result = scanner.scan(&mut file(b"text").await).await;
        assert!(matches!(result, Err(Error::Unavailable(_) | Error::Refused(_))), "{answer:?}: {result:?}");
    }
}

#[tokio::test]
async fn a_clamd_that_does_not_answer_times_out() {
    let directory = TempDir::new().unwrap();
    let place = directory.path().join("socket");
    let _listener = UnixListener::bind(&place).unwrap();
    let scanner = Scanner::new(place.to_str().unwrap(), Duration::from_millis(200));
    let result = scanner.scan(&mut file(b"text").await).await;
    assert!(matches!(result, Err(Error::Unavailable(error)) if error.kind() == std::io::ErrorKind::TimedOut));
}
