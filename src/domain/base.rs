//! The parts of a node that all rooms of the domain use.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::clock::Clock;
use crate::config::Limits;
use crate::error::Result;
use crate::limiter::Limiter;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::random::Random;
use crate::store::{Database, PooledConnection};

/// The parts of a node that all rooms use. Cheap to clone: the core of each room has a copy.
#[derive(Clone)]
pub(super) struct Base {
    pub(super) database: Database,
    pub(super) log: Log,
    pub(super) clock: Clock,
    pub(super) random: Random,
    pub(super) limits: Arc<Limits>,
    pub(super) limiter: Limiter,
    pub(super) metrics: Metrics,
}

impl Base {
    pub(super) async fn connection(&self) -> Result<PooledConnection<'_>> {
        self.database.connection().await
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }
}
