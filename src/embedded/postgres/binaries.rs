use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::Error;
use super::account::{self, Account};
use super::download;
use super::location::Location;

/// The oldest supported major version of PostgreSQL. Older versions get no security fixes any more.
const OLDEST_MAJOR: u32 = 14;

/// The programs that a directory must contain. A directory with only psql and client libraries is not enough.
const PROGRAMS: [&str; 3] = ["initdb", "pg_ctl", "postgres"];

/// Places where packages install PostgreSQL, with one directory for each version. Each item contains the parent of
/// these directories, the text before the version in their names, and the subdirectory with the programs.
const INSTALLATIONS: [(&str, &str, &str); 6] = [
    ("/usr/lib/postgresql", "", "bin"),          // Debian, Ubuntu
    ("/usr", "pgsql-", "bin"),                   // postgresql.org's RPMs
    ("/usr/libexec", "postgresql", ""),          // Alpine
    ("/opt/homebrew/opt", "postgresql@", "bin"), // Homebrew on Apple silicon
    ("/usr/local/opt", "postgresql@", "bin"),    // Homebrew on Intel
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// The origin of the PostgreSQL programs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Programs that are installed on the machine, in this directory.
    Installed(PathBuf),
    /// Programs that a server downloaded into this directory.
    Downloaded(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installed(directory) => write!(formatter, "{}", directory.display()),
            Self::Downloaded(directory) => write!(formatter, "downloaded, {}", directory.display()),
        }
    }
}

/// PostgreSQL's server programs, which are known to run on this machine.
#[derive(Clone, Debug)]
pub(super) struct Binaries {
    directory: PathBuf,
    pub(super) version: String,
    pub(super) origin: Origin,
}

impl Binaries {
    /// Finds programs that are installed, or else programs that were downloaded earlier, or else downloads programs. A
    /// cluster needs programs of the major version that created it.
    pub(super) async fn find(location: &Location, cluster_major: Option<u32>) -> Result<Self, Error> {
        let wanted = |major| cluster_major.map_or(major >= OLDEST_MAJOR, |cluster_major| major == cluster_major);
        let downloads = download::directory(location.home());
        let mut others = Vec::new();
        let installed = installed().into_iter().map(Origin::Installed);
        let downloaded = versions(&downloads, "", "bin").into_iter().map(Origin::Downloaded);
        for origin in installed.chain(downloaded) {
            match Self::read_version(origin, location.account()).await {
                Ok((major, binaries)) if wanted(major) => return Ok(binaries),
                Ok((_, binaries)) => others.push(binaries.version),
                Err(reason) => tracing::debug!(reason, "skipped a PostgreSQL"),
            }
        }
        Self::download(location, cluster_major).await.map_err(|reason| match cluster_major {
            Some(wanted) if !others.is_empty() => {
                Error::OtherMajor { directory: location.cluster().to_owned(), wanted, found: others.join(", "), reason }
            }
            _ => Error::NoBinaries { reason },
        })
    }

    async fn download(location: &Location, cluster_major: Option<u32>) -> Result<Self, String> {
        let major = cluster_major.unwrap_or(download::MAJOR);
        let directory = download::download(location.home(), major).await?;
        let origin = Origin::Downloaded(directory);
        let (_, binaries) = Self::read_version(origin, location.account()).await?;
        Ok(binaries)
    }

    /// Reads the version of the programs by running one of them as the account that will run them. Fails if the account
    /// cannot run the program, or if a library is missing.
    async fn read_version(origin: Origin, account: &Account) -> Result<(u32, Self), String> {
        let (Origin::Installed(directory) | Origin::Downloaded(directory)) = &origin;
        let directory = directory.clone();
        let named = |reason: &dyn fmt::Display| format!("{}: {reason}", directory.display());
        let mut command = account.command(&directory.join("postgres"), Path::new("/"));
        command.arg("--version");
        let output = account::run(command, "").await.map_err(|error| named(&error))?;
        let text = account::text(&output);
        let Some((major, version)) = parse_version(&text) else {
            return Err(named(&text));
        };
        Ok((major, Self { directory, version, origin }))
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// Returns the directories with installed server programs, in order of preference.
fn installed() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = on_path(&path);
    for (parent, prefix, inside) in INSTALLATIONS {
        found.extend(versions(Path::new(parent), prefix, inside));
    }
    let mut unique = Vec::new();
    for directory in found {
        if !unique.contains(&directory) {
            unique.push(directory);
        }
    }
    unique
}

/// Returns the directories of the server programs on `path`. Resolves links, because a directory on the path often
/// contains only links to some of the programs.
fn on_path(path: &OsStr) -> Vec<PathBuf> {
    std::env::split_paths(path)
        .filter_map(|directory| fs::canonicalize(directory.join("postgres")).ok())
        .filter_map(|program| Some(program.parent()?.to_owned()))
        .filter(|directory| is_complete(directory))
        .collect()
}

/// Returns the directories with server programs under `parent`, newest version first.
fn versions(parent: &Path, prefix: &str, inside: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else {
        return Vec::new();
    };
    let mut found: Vec<(Vec<u32>, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let version = numbers(name.to_str()?.strip_prefix(prefix)?)?;
            let directory = fs::canonicalize(entry.path().join(inside)).ok()?;
            is_complete(&directory).then_some((version, directory))
        })
        .collect();
    found.sort_by(|(a, _), (b, _)| b.cmp(a));
    found.into_iter().map(|(_, directory)| directory).collect()
}

fn is_complete(directory: &Path) -> bool {
    PROGRAMS.iter().all(|program| directory.join(program).is_file())
}

/// Parses `17.6.0` as `[17, 6, 0]`.
fn numbers(name: &str) -> Option<Vec<u32>> {
    name.split('.').map(|number| number.parse().ok()).collect()
}

/// Parses `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` as 15 and `15.18`.
fn parse_version(text: &str) -> Option<(u32, String)> {
    let (_, rest) = text.split_once("(PostgreSQL) ")?;
    let version = rest.split_whitespace().next()?;
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((digits.parse().ok()?, version.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn install(directory: &Path) {
        fs::create_dir_all(directory).unwrap();
        for program in PROGRAMS {
            fs::write(directory.join(program), "").unwrap();
        }
    }

    #[test]
    fn versions_are_parsed_from_the_output_of_programs() {
        let cases = [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", Some((15, "15.18"))),
            ("postgres (PostgreSQL) 17.6\n", Some((17, "17.6"))),
            ("postgres (PostgreSQL) 19beta1", Some((19, "19beta1"))),
            ("postgres (PostgreSQL) devel", None),
            ("postgres: error while loading shared libraries: libicu.so", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|(major, version)| (major, version.to_owned()));
            assert_eq!(parse_version(text), expected, "{text}");
        }
    }

    #[test]
    fn the_newest_version_comes_first_and_incomplete_ones_are_skipped() {
        let parent = tempfile::tempdir().unwrap();
        let parent = fs::canonicalize(parent.path()).unwrap();
        for version in ["9.6", "10", "16", "17.6.0", "17.10.0"] {
            install(&parent.join(version).join("bin"));
        }
        install(&parent.join("latest/bin"));
        fs::create_dir_all(parent.join("18/bin")).unwrap();
        fs::write(parent.join("18/bin/pg_ctl"), "").unwrap();

        let names = versions(&parent, "", "bin");
        let expected = ["17.10.0", "17.6.0", "16", "10", "9.6"];
        assert_eq!(names, expected.map(|version| parent.join(version).join("bin")));
        assert!(versions(&parent.join("none"), "", "bin").is_empty());
    }

    #[test]
    fn directories_of_homebrew_and_alpine_are_found_by_product_and_version() {
        let parent = tempfile::tempdir().unwrap();
        let parent = fs::canonicalize(parent.path()).unwrap();
        install(&parent.join("postgresql@16/bin"));
        install(&parent.join("postgresql@17/bin"));
        install(&parent.join("postgresql/bin"));
        install(&parent.join("postgresql18"));

        let homebrew = versions(&parent, "postgresql@", "bin");
        assert_eq!(homebrew, ["17", "16"].map(|v| parent.join(format!("postgresql@{v}/bin"))));
        assert_eq!(versions(&parent, "postgresql", ""), [parent.join("postgresql18")]);
    }

    #[test]
    fn a_link_on_the_path_is_resolved_to_the_directory_of_its_target() {
        let root = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(root.path()).unwrap();
        install(&root.join("16/bin"));
        fs::create_dir_all(root.join("linked")).unwrap();
        symlink(root.join("16/bin/postgres"), root.join("linked/postgres")).unwrap();
        fs::create_dir_all(root.join("client/bin")).unwrap();
        fs::write(root.join("client/bin/postgres"), "").unwrap();

        let path = std::env::join_paths(["client/bin", "linked", "absent"].map(|d| root.join(d)));
        assert_eq!(on_path(&path.unwrap()), [root.join("16/bin")]);
    }
}
