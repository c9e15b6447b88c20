//! Rows of Postgres and the queries over them, a file for each noun.

pub mod conversations;
pub mod messages;
mod migrations;
pub mod participants;
pub mod schema;
pub mod sessions;
mod text_enum;
pub mod users;

use std::time::Duration;

pub use diesel_async::AsyncPgConnection as Connection;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, bb8};

pub use migrations::{migrate, pending_migrations, revert_all};
pub(crate) use text_enum::text_enum;

use crate::error::{Error, Result};

/// How long a request waits for a free connection before UNAVAILABLE is answered.
const CONNECTION_WAIT: Duration = Duration::from_secs(5);

pub type PooledConnection<'a> = bb8::PooledConnection<'a, Connection>;

/// The pool of connections to Postgres.
#[derive(Clone)]
pub struct Database {
    pool: bb8::Pool<Connection>,
}

impl Database {
    /// Fails where no connection can be had at all: a server that cannot reach its database must not start.
    pub async fn connect(url: &str, size: u32) -> Result<Self> {
        let manager = AsyncDieselConnectionManager::<Connection>::new(url);
        let pool = bb8::Pool::builder()
            .max_size(size)
            .connection_timeout(CONNECTION_WAIT)
            // A round trip for each checkout; a broken connection shows itself when it comes back.
            .test_on_check_out(false)
            .build(manager)
            .await
            .map_err(|error| Error::Connection(error.to_string()))?;
        let database = Self { pool };
        database.connection().await?;
        Ok(database)
    }

    pub async fn connection(&self) -> Result<PooledConnection<'_>> {
        self.pool.get().await.map_err(|error| Error::Connection(error.to_string()))
    }
}

/// Takes their meaning from the characters that LIKE gives one.
fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}
