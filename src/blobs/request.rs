//! A request to S3, and its answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use reqwest::{Method, Response};

use super::Body;
use super::xml::Element;
use crate::error::{Error, Result};

/// A request to S3, without its signature.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    /// None if the request concerns the bucket.
    pub(super) key: Option<&'a str>,
    pub(super) query: Vec<(&'static str, String)>,
    /// The headers that the signature covers, with lowercase names.
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) content: Body,
    /// Whether S3_TRANSFER_TIMEOUT applies, because S3_TIMEOUT is too short.
    pub(super) is_long: bool,
    /// Whether the caller reads the body of the answer.
    pub(super) is_download: bool,
}

impl<'a> Request<'a> {
    pub(super) fn of_bucket(method: Method) -> Self {
        Self {
            method,
            key: None,
            query: Vec::new(),
            headers: Vec::new(),
            content: Body::Bytes(Vec::new()),
            is_long: false,
            is_download: false,
        }
    }

    pub(super) fn of_object(method: Method, key: &'a str) -> Self {
        Self { key: Some(key), ..Self::of_bucket(method) }
    }

    /// Adds a parameter. An empty value stands for a parameter without a value.
    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn content(self, content: Body) -> Self {
        Self { content, ..self }
    }

    /// Sends an XML document.
    pub(super) fn xml(self, document: String) -> Self {
        self.header("content-type", "application/xml").content(Body::Bytes(document.into_bytes()))
    }

    /// Sends an XML document with its MD5, which S3 requires for some requests. It also accepts newer checksums, but
    /// many other S3 servers do not.
    pub(super) fn checked_xml(self, document: String) -> Self {
        let md5 = STANDARD.encode(Md5::digest(document.as_bytes()));
        self.header("content-md5", md5).xml(document)
    }

    /// Applies S3_TRANSFER_TIMEOUT.
    pub(super) fn long(self) -> Self {
        Self { is_long: true, ..self }
    }

    /// Leaves the body of the answer to the caller.
    pub(super) fn download(self) -> Self {
        Self { is_download: true, ..self }
    }
}

/// The answer to a request that succeeded.
pub(super) struct Answer {
    pub(super) response: Response,
    /// The root of the body. None if the body is not XML, or is left to the caller.
    pub(super) root: Option<Element>,
}

impl Answer {
    /// Returns a header. None if it is missing or not ASCII.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// Returns the root of a body that must be XML.
    pub(super) fn root(self) -> Result<Element> {
        self.root.ok_or_else(|| Error::S3Unavailable("the answer is not an XML document".to_owned()))
    }
}
