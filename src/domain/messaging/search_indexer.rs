//! Keeps the search index up to date: a consumer of the log that indexes the words of new and changed messages.

use std::time::Duration;

use tokio::time::sleep;

use crate::config::LogSettings;
use crate::error::{Error, Result};
use crate::log::{Batch, Category, Consumer, Log, Polled};
use crate::metrics::Metrics;
use crate::random::Random;
use crate::store::messaging::search_index::{self, Entry, Rebuilding, Source, State};
use crate::store::{Connection, Database};
use crate::text;

/// Name of the consumer in Postgres and in the metrics.
const NAME: &str = "search";
/// Number of rows that a rebuild indexes in one transaction.
const PAGE: i64 = 500;
/// Time between two polls of `rebuild` while a server does the work.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

pub(in crate::domain) struct SearchIndexer {
    consumer: Consumer,
}

impl SearchIndexer {
    pub(in crate::domain) async fn open(
        database: &Database,
        metrics: &Metrics,
        random: &Random,
        settings: &LogSettings,
    ) -> Result<Self> {
        let categories = [Category::NewMessages, Category::MessageUpdates];
        Ok(Self { consumer: Consumer::open(database, metrics, random, settings, NAME, &categories).await? })
    }

    /// Indexes messages until the task is cancelled.
    pub(in crate::domain) async fn run(self, log: Log) {
        self.consumer.run(log.positions(), index).await;
    }
}

/// Rebuilds the search index while servers may run. Calls `progress` with the number of messages that are left. The
/// rebuild continues in the servers if this function is cancelled.
pub async fn rebuild(
    database: &Database,
    random: &Random,
    settings: &LogSettings,
    mut progress: impl FnMut(i64),
) -> Result<()> {
    let indexer = SearchIndexer::open(database, &Metrics::default(), random, settings).await?;
    search_index::begin_rebuild(&mut *database.connection().await?, text::ANALYSIS).await?;
    loop {
        let polled = indexer.consumer.poll(true, &mut index).await?;
        let mut connection = database.connection().await?;
        let state = search_index::state(&mut connection).await?;
        match state.rebuilding {
            None => return Ok(()),
            Some(Rebuilding::Messages) => {
                progress(search_index::count_after(&mut connection, state.rebuilt_up_to).await?);
            }
            Some(Rebuilding::Users | Rebuilding::Conversations) => progress(0),
        }
        drop(connection);
        if polled == Polled::Elsewhere {
            sleep(PROGRESS_INTERVAL).await;
        }
    }
}

/// Indexes the messages of the batch. A batch without events does one step of the rebuild, if a rebuild is running.
/// Returns whether a rebuild is running.
async fn index(conn: &mut Connection, batch: Batch) -> Result<bool> {
    let mut state = search_index::state(conn).await?;
    if batch.has_missed_events || state.analysis < text::ANALYSIS {
        search_index::begin_rebuild(conn, text::ANALYSIS).await?;
        state = search_index::state(conn).await?;
    }
    if batch.events.is_empty() {
        return rebuild_page(conn, state).await;
    }
    let mut ids: Vec<_> = batch.events.iter().filter_map(|event| event.change.message()).collect();
    ids.sort_unstable();
    ids.dedup();
    let sources = search_index::sources(conn, &ids).await?;
    search_index::write(conn, &analyze(sources).await?).await?;
    Ok(state.rebuilding.is_some())
}

/// Indexes the next rows of the rebuild, up to the end of a full page. Returns whether the rebuild is still running.
async fn rebuild_page(conn: &mut Connection, old: State) -> Result<bool> {
    let mut new = old.clone();
    while let Some(part) = new.rebuilding {
        let after = new.rebuilt_up_to;
        let last = match part {
            Rebuilding::Messages => rebuild_messages(conn, after).await?,
            Rebuilding::Users => search_index::fold_names(conn, after, PAGE).await?,
            Rebuilding::Conversations => search_index::fold_titles(conn, after, PAGE).await?,
        };
        if let Some(last) = last {
            new.rebuilt_up_to = last;
            break;
        }
        new.rebuilt_up_to = uuid::Uuid::nil();
        new.rebuilding = match part {
            Rebuilding::Messages => Some(Rebuilding::Users),
            Rebuilding::Users => Some(Rebuilding::Conversations),
            Rebuilding::Conversations => None,
        };
    }
    if new != old {
        search_index::advance_rebuild(conn, &old, &new).await?;
    }
    Ok(new.rebuilding.is_some())
}

/// Indexes the next messages of the rebuild. Returns the id of the last message, or None at the end of the messages.
async fn rebuild_messages(conn: &mut Connection, after: uuid::Uuid) -> Result<Option<uuid::Uuid>> {
    let sources = search_index::sources_after(conn, after, PAGE).await?;
    let last = search_index::last_of_page(sources.iter().map(|source| source.id.0), PAGE);
    search_index::write(conn, &analyze(sources).await?).await?;
    Ok(last)
}

/// Computes the words of the messages, on a thread for blocking work.
async fn analyze(sources: Vec<Source>) -> Result<Vec<Entry>> {
    let analyzed = tokio::task::spawn_blocking(move || {
        let entry = |source: Source| Entry {
            message: source.id,
            conversation: source.conversation_id,
            words: source.body.map(|body| text::words(&body)).unwrap_or_default(),
        };
        sources.into_iter().map(entry).collect()
    });
    analyzed.await.map_err(|error| Error::Corrupt(format!("the text analysis failed: {error}")))
}
