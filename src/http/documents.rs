//! The documents that clients may execute, and a cache of documents that are parsed and validated. A cached document is
//! found by its text, or by its hash alone (Apollo's automatic persisted queries).

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use async_graphql::parser::types::ExecutableDocument;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::cost::DocumentCost;
use super::threads::{SMALL_DOCUMENT, SMALL_INPUT};
use crate::config::Operations;
use crate::graphql::{Error, ErrorCode};

/// Message of the error for an unknown document. Apollo's clients compare the message as well as the code, so it must
/// not change.
const NOT_FOUND: &str = "PersistedQueryNotFound";
/// Estimated bytes of memory that a parsed document takes for each byte of its text.
const PARSED_BYTES: usize = 25;
/// Estimated bytes of memory that each added selection takes.
const SELECTION_BYTES: usize = 400;
/// Estimated further bytes of memory that each document takes.
const ENTRY_BYTES: usize = 500;
/// Estimated weight in bytes of a typical document, from which the expected number of cache entries is computed.
const TYPICAL_WEIGHT: u64 = 10_000;

/// The SHA-256 of a document's text.
pub(super) type Digest = [u8; 32];

/// The id of a document. A client sends the id instead of the text, or together with the text so that the server caches
/// the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DocumentId {
    /// `extensions.persistedQuery.sha256Hash`: Apollo's automatic persisted queries.
    Hash(String),
    /// `documentId`: the appendix on persisted documents of the GraphQL over HTTP specification.
    Registered(String),
}

pub(super) struct Documents {
    /// The documents of PERSISTED_MANIFEST. If it is set, no other documents are executed.
    registered: Option<Registered>,
    validated: Cache<Digest, Arc<Validated>, Weight>,
}

struct Registered {
    by_id: HashMap<String, Arc<str>>,
    texts: HashSet<Arc<str>>,
}

/// A parsed document with its cost. In the cache it is also validated, and may be executed with any variables that
/// match its definitions.
pub(super) struct Validated {
    pub(super) digest: Digest,
    pub(super) text: Arc<str>,
    pub(super) document: ExecutableDocument,
    /// The document before its fragments on unions were rewritten, whose cost is counted. None if it is the same, or if
    /// the cost does not depend on variables.
    pub(super) counted: Option<ExecutableDocument>,
    /// Number of selections of the document that its text does not have.
    pub(super) added: usize,
    /// The cost with the variables of the operation for which the document was parsed.
    pub(super) cost: DocumentCost,
}

/// The result of a search for a document.
pub(super) enum Found {
    Validated(Arc<Validated>),
    /// The document is not in the cache, and must be parsed and validated.
    Text(Digest, Arc<str>),
}

#[derive(Clone)]
struct Weight;

impl Weighter<Digest, Arc<Validated>> for Weight {
    fn weight(&self, _: &Digest, validated: &Arc<Validated>) -> u64 {
        let documents = 1 + usize::from(validated.counted.is_some());
        (validated.text.len() * PARSED_BYTES * documents + validated.added * SELECTION_BYTES + ENTRY_BYTES) as u64
    }
}

impl Documents {
    /// Creates the cache, and reads the file of PERSISTED_MANIFEST if the setting is set.
    pub(super) fn open(settings: &Operations) -> io::Result<Self> {
        let bytes = settings.document_cache_bytes;
        let entries = usize::try_from(bytes / TYPICAL_WEIGHT).unwrap_or(usize::MAX);
        let validated = Cache::with_weighter(entries, bytes, Weight);
        let registered = settings.persisted_manifest.as_deref().map(Registered::read).transpose()?;
        Ok(Self { registered, validated })
    }

    /// Finds the document to execute. Fails if the document is unknown or not registered, or if its hash is wrong.
    pub(super) fn find(&self, query: Option<String>, id: Option<&DocumentId>) -> Result<Found, Error> {
        let unknown = || Error::new(ErrorCode::PersistedQueryNotFound, NOT_FOUND);
        let text: Arc<str> = match (&self.registered, query) {
            (Some(registered), None) => registered.get(id).ok_or_else(unknown)?,
            (Some(registered), Some(query)) => registered.texts.get(query.as_str()).cloned().ok_or_else(|| {
                Error::new(
                    ErrorCode::Forbidden,
                    "This server runs registered documents only. This document is not registered.",
                )
            })?,
            (None, None) => {
                let Some(DocumentId::Hash(hash)) = id else { return Err(unknown()) };
                return self.cached(hash).map(Found::Validated).ok_or_else(unknown);
            }
            (None, Some(query)) => query.into(),
        };
        let digest: Digest = Sha256::digest(&*text).into();
        if self.registered.is_none()
            && let Some(DocumentId::Hash(hash)) = id
            && from_hex(hash) != Some(digest)
        {
            return Err(Error::new(ErrorCode::BadUserInput, "`sha256Hash` is not the hash of `query`."));
        }
        Ok(self.validated.get(&digest).map_or(Found::Text(digest, text), Found::Validated))
    }

    /// Whether the document of an operation is so small that a thread of the runtime can parse and validate it, or find
    /// it in the cache and copy it.
    pub(super) fn is_small(&self, query: Option<&str>, id: Option<&DocumentId>) -> bool {
        let is_small = |text: &str| text.len() <= SMALL_DOCUMENT || text.len() <= SMALL_INPUT && self.is_cached(text);
        match (query, &self.registered, id) {
            (Some(query), _, _) => is_small(query),
            (None, Some(registered), id) => registered.get(id).is_none_or(|text| is_small(&text)),
            (None, None, Some(DocumentId::Hash(hash))) => {
                self.cached(hash).is_none_or(|known| known.text.len() <= SMALL_INPUT)
            }
            (None, None, _) => true,
        }
    }

    /// Whether the cache has a document with this text.
    fn is_cached(&self, text: &str) -> bool {
        self.validated.get(&Digest::from(Sha256::digest(text))).is_some()
    }

    /// Returns the cached document whose text has this SHA-256, as hexadecimal digits.
    fn cached(&self, hash: &str) -> Option<Arc<Validated>> {
        self.validated.get(&from_hex(hash)?)
    }

    /// Caches a valid document.
    pub(super) fn cache(&self, validated: Arc<Validated>) {
        self.validated.insert(validated.digest, validated);
    }
}

impl Registered {
    fn read(path: &Path) -> io::Result<Self> {
        let by_id = read_manifest(path)
            .map_err(|reason| io::Error::other(format!("PERSISTED_MANIFEST ({}) {reason}", path.display())))?;
        tracing::info!(documents = by_id.len(), "only registered documents are run");
        let texts = by_id.values().cloned().collect();
        Ok(Self { by_id, texts })
    }

    fn get(&self, id: Option<&DocumentId>) -> Option<Arc<str>> {
        let (DocumentId::Hash(id) | DocumentId::Registered(id)) = id?;
        self.by_id.get(id).or_else(|| self.by_id.get(&format!("sha256:{id}"))).cloned()
    }
}

/// Reads a manifest. Its format is either `{"<id>": "<document>"}`, which @graphql-codegen and Relay write, or Apollo's
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
        None => Err("is neither {\"<id>\": \"<document>\"} nor a manifest of Apollo".to_owned()),
    }
}

/// Parses a digest of 64 lower-case hexadecimal digits. Returns None for any other text.
fn from_hex(hash: &str) -> Option<Digest> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut digest = Digest::default();
    let (pairs, []) = hash.as_bytes().as_chunks::<2>() else { return None };
    if pairs.len() != digest.len() {
        return None;
    }
    for (byte, &[high, low]) in digest.iter_mut().zip(pairs) {
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(digest)
}
