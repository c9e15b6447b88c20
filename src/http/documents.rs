//! Documents that clients call by an id: Apollo's automatic persisted queries, and manifests of registered ones.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::operation::DocumentId;
use crate::config::Operations;
use crate::graphql::{Error, ErrorCode};

/// Clients compare the message as well as the code, so that its form is not ours to choose.
const NOT_FOUND: &str = "PersistedQueryNotFound";
/// What a document weighs beside its text; about what an entry of the cache takes.
const ENTRY: usize = 200;
/// Characters of a common document, from which the cache guesses how many entries it will have.
const COMMON_LENGTH: u64 = 1000;

pub(super) enum Documents {
    /// Any document runs, and those that come with their hash are remembered.
    Open(Cache<String, Arc<str>, Weight>),
    /// Those of the manifest run, and no others.
    Registered { by_id: HashMap<String, Arc<str>>, texts: HashSet<Arc<str>> },
}

#[derive(Clone)]
pub(super) struct Weight;

impl Weighter<String, Arc<str>> for Weight {
    fn weight(&self, hash: &String, text: &Arc<str>) -> u64 {
        (hash.len() + text.len() + ENTRY) as u64
    }
}

impl Documents {
    /// Reads the manifest where there is one.
    pub(super) fn open(settings: &Operations) -> io::Result<Self> {
        let Some(path) = &settings.persisted_manifest else {
            let bytes = settings.persisted_query_bytes;
            let entries = usize::try_from(bytes / COMMON_LENGTH).unwrap_or(usize::MAX);
            return Ok(Self::Open(Cache::with_weighter(entries, bytes, Weight)));
        };
        let by_id = read_manifest(path)
            .map_err(|reason| io::Error::other(format!("PERSISTED_MANIFEST ({}) {reason}", path.display())))?;
        tracing::info!(documents = by_id.len(), "only registered documents are run");
        let texts = by_id.values().cloned().collect();
        Ok(Self::Registered { by_id, texts })
    }

    /// The text to run, where that is allowed.
    pub(super) fn text(&self, query: Option<String>, id: Option<&DocumentId>) -> Result<Arc<str>, Error> {
        let known = || match (self, id) {
            (Self::Open(cache), Some(DocumentId::Hash(hash))) => cache.get(hash),
            (Self::Registered { by_id, .. }, Some(DocumentId::Hash(id) | DocumentId::Registered(id))) => {
                by_id.get(id).or_else(|| by_id.get(&format!("sha256:{id}"))).cloned()
            }
            _ => None,
        };
        let Some(query) = query else {
            return known().ok_or_else(|| Error::new(ErrorCode::PersistedQueryNotFound, NOT_FOUND));
        };
        match self {
            Self::Registered { texts, .. } => texts.get(query.as_str()).cloned().ok_or_else(|| {
                Error::new(ErrorCode::Forbidden, "This server runs registered documents only, and this is none.")
            }),
            Self::Open(_) => match id {
                Some(DocumentId::Hash(hash)) if hex(&Sha256::digest(&query)) != *hash => {
                    Err(Error::new(ErrorCode::BadUserInput, "`sha256Hash` is not the hash of `query`."))
                }
                _ => Ok(query.into()),
            },
        }
    }

    /// Keeps a document that could be run, for those who then send its hash alone.
    pub(super) fn remember(&self, hash: String, text: &Arc<str>) {
        if let Self::Open(cache) = self
            && cache.get(&hash).is_none()
        {
            cache.insert(hash, text.clone());
        }
    }
}

/// Either `{"<id>": "<document>"}`, which @graphql-codegen and Relay write, or Apollo's
/// `{"format": "apollo-persisted-query-manifest", "version": 1, "operations": [{"id": …, "body": …}]}`.
fn read_manifest(path: &Path) -> Result<HashMap<String, Arc<str>>, String> {
    let text = std::fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    let manifest: Value = serde_json::from_slice(&text).map_err(|error| format!("is not JSON: {error}"))?;
    let Value::Object(members) = manifest else { return Err("must be a JSON object".to_owned()) };
    let entry = |id: &str, text: &str| (id.to_owned(), Arc::from(text));
    let documents: Option<HashMap<_, _>> = match members.get("operations") {
        Some(Value::Array(operations)) => operations
            .iter()
            .map(|operation| Some(entry(operation.get("id")?.as_str()?, operation.get("body")?.as_str()?)))
            .collect(),
        _ => members.iter().map(|(id, text)| Some(entry(id, text.as_str()?))).collect(),
    };
    match documents {
        Some(documents) if documents.is_empty() => Err("has no documents".to_owned()),
        Some(documents) => Ok(documents),
        None => Err("is neither {\"<id>\": \"<document>\"} nor a manifest of Apollo's".to_owned()),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
