use std::fs;
use std::io::Write as _;
use std::path::Path;

use super::account;
use super::binaries::Binaries;
use super::location::{self, Location};
use super::{Error, ROLE};

/// Prefix of the names of incomplete clusters and their files.
const UNFINISHED: &str = "postgres.new-";

/// Locales for a new cluster, in order of preference. Both locales sort by code point. C.UTF-8 also knows upper and
/// lower case beyond ASCII, but some systems do not have this locale.
const LOCALES: [&str; 2] = ["C.UTF-8", "C"];

/// Creates the cluster with its role and database. The cluster gets its final name only when it is complete, so an
/// interrupted start leaves nothing that looks like a cluster. Starts no PostgreSQL server and opens no port.
pub(super) async fn create(location: &Location, binaries: &Binaries, password: &str) -> Result<(), Error> {
    tracing::info!(directory = %location.cluster().display(), "creating the database");
    remove_unfinished(location.home());
    // Each creation uses a new name, because the initdb of a killed server may still write to its directory.
    let name = format!("{UNFINISHED}{}", location::random_hex::<6>()?);
    let unfinished = location.home().join(&name);
    let password_file = location.home().join(format!("{name}.password"));
    location::create_private(&unfinished, location.account())?;
    let written = location::private_file(&password_file).and_then(|mut file| writeln!(file, "{password}"));
    written.map_err(Error::at(&password_file))?;
    location.account().make_owner(&password_file)?;

    let initialised = initialise(location, binaries, &unfinished, &password_file).await;
    fs::remove_file(&password_file).map_err(Error::at(&password_file))?;
    initialised?;
    create_database(location, binaries, &unfinished).await?;
    fs::rename(&unfinished, location.cluster()).map_err(Error::at(location.cluster()))?;
    location::sync_directory(location.home())
}

/// Removes the incomplete clusters of interrupted starts.
fn remove_unfinished(home: &Path) {
    let entries = fs::read_dir(home).into_iter().flatten().flatten();
    for entry in entries {
        if !entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            continue;
        }
        let path = entry.path();
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        // The new cluster has another name, so a failed removal is not an error. The next creation of a cluster
        // retries the removal.
        if let Err(error) = removed {
            tracing::warn!(path = %path.display(), %error, "could not remove an unfinished database");
        }
    }
}

async fn initialise(
    location: &Location,
    binaries: &Binaries,
    directory: &Path,
    password_file: &Path,
) -> Result<(), Error> {
    let mut output = String::new();
    for locale in LOCALES {
        let mut command = location.account().command(&binaries.program("initdb"), directory);
        command
            .arg("--pgdata")
            .arg(directory)
            .arg("--pwfile")
            .arg(password_file)
            .args([
                "--username",
                ROLE,
                "--auth",
                "scram-sha-256",
                "--encoding",
                "UTF8",
            ])
            .args(["--locale", locale, "--text-search-config", "simple"])
            // --no-sync is not used, because the cluster must be on the disk before it is renamed.
            .args(["--data-checksums", "--no-instructions"]);
        let ended = account::run(command, "").await.map_err(Error::at(directory))?;
        if ended.status.success() {
            return Ok(());
        }
        output = account::text(&ended);
        // initdb checks the locale before it writes anything, so the next locale can use the same directory.
        if !output.contains("locale name") {
            break;
        }
    }
    Err(Error::Create { directory: directory.to_owned(), output })
}

/// Creates the database in single-user mode, which needs no connection.
async fn create_database(location: &Location, binaries: &Binaries, directory: &Path) -> Result<(), Error> {
    let mut command = location.account().command(&binaries.program("postgres"), directory);
    command
        .args(["--single", "-D"])
        .arg(directory)
        // Without this option, PostgreSQL would continue after an error and exit with success.
        .args(["-c", "exit_on_error=on", "postgres"]);
    let statement = format!("CREATE DATABASE {ROLE};\n");
    let ended = account::run(command, &statement).await.map_err(Error::at(directory))?;
    if ended.status.success() {
        return Ok(());
    }
    Err(Error::Create { directory: directory.to_owned(), output: account::text(&ended) })
}
