//! Signs requests with version 4 of AWS's signatures, by the crate aws-sigv4.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningInstructions,
    SigningParams, SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use percent_encoding::utf8_percent_encode;
use reqwest::Url;

use super::Body;
use super::address::ENCODED;
use super::request::Request;
use crate::error::{Error, Result};
use crate::outbound::causes;

/// Name of S3 in signatures.
const SERVICE: &str = "s3";

pub(super) struct Signer {
    credentials: Credentials,
    region: String,
}

impl Signer {
    pub(super) fn new(id: &str, secret: &str, region: &str) -> Self {
        Self { credentials: Credentials::new(id, secret, None, None, "settings"), region: region.to_owned() }
    }

    /// Returns the headers that sign a request. The signature covers the content, unless it is a file.
    pub(super) fn headers(&self, request: &Request<'_>, url: &Url, at: SystemTime) -> Result<Vec<(String, String)>> {
        let content = match &request.content {
            Body::Bytes(bytes) => SignableBody::Bytes(bytes),
            Body::File(_) => SignableBody::UnsignedPayload,
        };
        let signature = self.sign(request, url, content, settings(), at)?;
        Ok(signature.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// Returns a signed URL. Its requests may have any content, unless signed headers determine it.
    pub(super) fn presign(
        &self,
        request: &Request<'_>,
        url: &Url,
        at: SystemTime,
        expires: Duration,
    ) -> Result<String> {
        let mut settings = settings();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(expires);
        let signature = self.sign(request, url, SignableBody::UnsignedPayload, settings, at)?;
        let mut signed = url.as_str().to_owned();
        for (name, value) in signature.params() {
            signed.push(if signed.contains('?') { '&' } else { '?' });
            signed.push_str(name);
            signed.push('=');
            signed.extend(utf8_percent_encode(value, ENCODED));
        }
        Ok(signed)
    }

    fn sign(
        &self,
        request: &Request<'_>,
        url: &Url,
        content: SignableBody<'_>,
        settings: SigningSettings,
        at: SystemTime,
    ) -> Result<SigningInstructions> {
        let identity = self.credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(SERVICE)
            .time(at)
            .settings(settings)
            .build()
            .map_err(|error| Error::S3(error.to_string()))?;
        let params = SigningParams::V4(params);
        let headers = request.headers.iter().map(|(name, value)| (*name, value.as_str()));
        let signed = SignableRequest::new(request.method.as_str(), url.as_str(), headers, content)
            .and_then(|signable| sign(signable, &params))
            .map_err(|error| Error::S3(causes(&error)))?;
        Ok(signed.into_parts().0)
    }
}

/// Returns the settings that S3 requires: the path is signed as it is, and a header has the hash of the content.
fn settings() -> SigningSettings {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    settings
}

#[cfg(test)]
mod tests {
    use reqwest::Method;

    use super::*;
    use crate::blobs::address::Address;

    const DAY: Duration = Duration::from_hours(24);

    fn signer() -> Signer {
        Signer::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1")
    }

    /// Returns the URL of the object in the examples of Amazon's documentation.
    fn url() -> Url {
        let address = Address::new("https://s3.amazonaws.com", "examplebucket", false).unwrap();
        address.url(Some("test.txt"), &[]).unwrap()
    }

    /// Returns the time of the examples: 24 May 2013, 00:00 UTC.
    fn at() -> SystemTime {
        "2013-05-24T00:00:00Z".parse::<chrono::DateTime<chrono::Utc>>().unwrap().into()
    }

    /// The example of <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>.
    #[test]
    fn a_signed_url_is_that_of_amazons_example() {
        let request = Request::of_object(Method::GET, "test.txt");
        assert_eq!(
            signer().presign(&request, &url(), at(), DAY).unwrap(),
            "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
             &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
             &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
        );
    }

    /// The first example of <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>.
    #[test]
    fn signed_headers_are_those_of_amazons_example() {
        let request = Request::of_object(Method::GET, "test.txt").header("range", "bytes=0-9");
        let headers = signer().headers(&request, &url(), at()).unwrap();
        let header = |name: &str| &headers.iter().find(|(other, _)| other == name).unwrap().1;
        assert_eq!(header("x-amz-date"), "20130524T000000Z");
        assert_eq!(header("x-amz-content-sha256"), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(
            header("authorization"),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, \
             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
    }

    #[test]
    fn a_signed_url_covers_the_headers_of_its_request() {
        let request = Request::of_object(Method::PUT, "test.txt")
            .header("content-length", "3")
            .header("content-type", "text/plain")
            .header("x-amz-checksum-sha256", "abc=");
        let signed = signer().presign(&request, &url(), at(), DAY).unwrap();
        let covered = "X-Amz-SignedHeaders=content-length%3Bcontent-type%3Bhost%3Bx-amz-checksum-sha256&";
        assert!(signed.contains(covered), "{signed}");
    }
}
