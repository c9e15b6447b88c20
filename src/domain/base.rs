//! The parts of a node that every room works with.

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

/// Cheap to clone. Each room's core has one.
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
