//! The CORS rules of the bucket, which allow web pages to use it.

use reqwest::Method;

use super::Bucket;
use super::failure::Failure;
use super::request::Request;
use super::xml::{self, Element};
use crate::error::Result;

/// Id of the server's rule in the bucket.
const RULE_ID: &str = "parlance";
/// Methods that a web page may use.
const ALLOWED_METHODS: [&str; 3] = ["GET", "HEAD", "PUT"];
/// Response headers that a web page may read, in addition to the few headers that browsers always allow.
const EXPOSED_HEADERS: [&str; 3] = ["ETag", "Content-Disposition", "x-amz-checksum-sha256"];
/// Time for which a browser caches the response to a preflight request, in seconds.
const MAX_AGE_SECONDS: i32 = 7200;

/// A rule of a bucket, as in the type CORSRule of S3.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    id: Option<String>,
    origins: Vec<String>,
    methods: Vec<String>,
    headers: Vec<String>,
    exposed: Vec<String>,
    max_age_seconds: Option<i32>,
}

/// Sets or deletes the server's rule according to the settings. If the bucket has other rules, the operator wrote them,
/// and the function changes nothing.
pub(super) async fn allow_browsers(bucket: &Bucket) -> Result<()> {
    let existing = match bucket.send(&request(Method::GET)).await {
        Ok(answer) => answer.root()?.children("CORSRule").map(Rule::read).collect(),
        Err(Failure::Missing(_)) => Vec::new(),
        Err(failure) => return Err(failure.into()),
    };
    let origins = bucket.origins.clone();
    if existing.iter().any(|rule| !rule.is_own()) {
        let blocked: Vec<_> = origins
            .iter()
            .filter(|origin| !ALLOWED_METHODS.iter().all(|method| allow(&existing, origin, method)))
            .collect();
        if !blocked.is_empty() {
            tracing::warn!(?blocked, "the bucket has CORS rules of the operator, which block pages of CORS_ORIGINS");
        }
        return Ok(());
    }
    if origins.is_empty() {
        if !existing.is_empty() {
            bucket.send(&request(Method::DELETE)).await?;
        }
        return Ok(());
    }
    let rule = Rule::new(Some(RULE_ID), origins);
    if existing != [rule.clone()] {
        let rules = xml::document("CORSConfiguration", &rule.write());
        bucket.send(&request(Method::PUT).checked_xml(rules)).await?;
    }
    Ok(())
}

fn request(method: Method) -> Request<'static> {
    Request::of_bucket(method).query("cors", "")
}

impl Rule {
    fn new(id: Option<&str>, origins: Vec<String>) -> Self {
        Self {
            id: id.map(str::to_owned),
            origins,
            methods: ALLOWED_METHODS.map(str::to_owned).to_vec(),
            headers: vec!["*".to_owned()],
            exposed: EXPOSED_HEADERS.map(str::to_owned).to_vec(),
            max_age_seconds: Some(MAX_AGE_SECONDS),
        }
    }

    fn read(rule: &Element) -> Self {
        Self {
            id: rule.text("ID").map(str::to_owned),
            origins: rule.texts("AllowedOrigin"),
            methods: rule.texts("AllowedMethod"),
            headers: rule.texts("AllowedHeader"),
            exposed: rule.texts("ExposeHeader"),
            max_age_seconds: rule.value("MaxAgeSeconds"),
        }
    }

    fn write(&self) -> String {
        let all = |name: &str, texts: &[String]| texts.iter().map(|text| xml::text(name, text)).collect::<String>();
        let content = [
            self.id.as_ref().map(|id| xml::text("ID", id)).unwrap_or_default(),
            all("AllowedHeader", &self.headers),
            all("AllowedMethod", &self.methods),
            all("AllowedOrigin", &self.origins),
            all("ExposeHeader", &self.exposed),
            self.max_age_seconds.map(|seconds| xml::text("MaxAgeSeconds", &seconds.to_string())).unwrap_or_default(),
        ];
        xml::element("CORSRule", &content.concat())
    }

    /// Whether the server wrote the rule. Some S3 servers do not store ids, so a rule without an id counts as well if
    /// it is equal to a rule that the server would write.
    fn is_own(&self) -> bool {
        self.id.as_deref() == Some(RULE_ID) || *self == Self::new(None, self.origins.clone())
    }
}

fn allow(rules: &[Rule], origin: &str, method: &str) -> bool {
    // An origin in a rule may contain one `*`, which stands for any text.
    let fits = |allowed: &String| match allowed.split_once('*') {
        Some((begin, end)) => {
            origin.len() >= begin.len() + end.len() && origin.starts_with(begin) && origin.ends_with(end)
        }
        None => allowed == origin,
    };
    rules.iter().any(|rule| {
        rule.methods.iter().any(|allowed| allowed == method)
            && rule.headers.iter().any(|allowed| allowed == "*")
            && rule.origins.iter().any(fits)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_rule_is_read_unchanged() {
        let rule =
            Rule::new(Some(RULE_ID), vec!["https://one.example.org".to_owned(), "http://localhost:*".to_owned()]);
        let read = Rule::read(&Element::parse(rule.write().as_bytes()).unwrap());
        assert_eq!(read, rule);
        assert!(read.is_own());
        assert!(Rule { id: None, ..read.clone() }.is_own(), "this S3 does not store ids");
        assert!(!Rule { id: None, max_age_seconds: None, ..read }.is_own());
    }
}
