//! The maximum number of files that the process may have open. Each connection counts as one open file.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use parlance::config::Config;

/// Estimated number of open files in addition to the connections of clients and of the pool of Postgres: the
/// connections to Redis and S3, the listener, the runtime, and files under inspection.
const OTHER_FILES: usize = 128;

/// Raises the limit of open files to the maximum that the process may set. Lowers MAX_CONNECTIONS if that number of
/// connections would leave no room for other files.
pub(super) fn raise_file_limit(config: &mut Config) {
    let limit = match raise_to_hard_limit() {
        Ok(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
        Err(error) => return tracing::warn!(%error, "the limit of open files is unknown"),
    };
    let wanted = config.connections.max_connections;
    let possible = connections_within(limit, config);
    if possible < wanted {
        tracing::warn!(
            open_files = limit,
            "MAX_CONNECTIONS is {possible} and not {wanted}, because the process may open only {limit} files; raise its \
             limit (ulimit -n, LimitNOFILE)"
        );
        config.connections.max_connections = possible;
    }
}

/// Returns the number of client connections that a limit of open files allows. A quarter of the remaining files is
/// reserved, because each request to the server's own S3 opens a file in addition to its connection.
fn connections_within(files: usize, config: &Config) -> usize {
    let postgres = usize::try_from(config.postgres.database_pool_size).unwrap_or(usize::MAX);
    let left = files.saturating_sub(postgres.saturating_add(OTHER_FILES));
    (left - left / 4).max(files / 4)
}

fn raise_to_hard_limit() -> nix::Result<u64> {
    let (now, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    // macOS may show the hard limit as infinite, and then refuses to set this value. The current limit then stays.
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most).map_or(now, |()| most))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        config: Config,
    }

    #[test]
    fn connections_leave_room_for_other_files() {
        let config = Flags::parse_from(["parlance", "--database-pool-size=16"]).config;
        for (files, connections) in [(64, 16), (256, 84), (1024, 660), (1_048_576, 786_324)] {
            assert_eq!(connections_within(files, &config), connections, "{files}");
        }
    }
}
