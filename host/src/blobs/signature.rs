//! Signatures of requests to S3 and other services of AWS (Signature Version 4), as the object storage makes them for itself.

use object_store::{
    aws::{AwsAuthorizer, AwsCredential},
    client::{HttpRequest, HttpRequestBody},
};
use reqwest::Request;

use super::BlobError;

/// Who signs, and for what. All of it is plain ASCII that a header may hold.
#[derive(Debug, Clone, Copy)]
pub struct Signer<'a> {
    pub key_id: &'a str,
    pub secret_key: &'a str,
    pub session_token: Option<&'a str>,
    /// As `eu-west-1`.
    pub region: &'a str,
    /// As `s3`.
    pub service: &'a str,
}

impl Signer<'_> {
    /// Signs `request` and its body, which must not be a stream.
    ///
    /// # Errors
    /// If the machine has no cryptography for it.
    pub fn sign(&self, request: &mut Request) -> Result<(), BlobError> {
        let credential = AwsCredential {
            key_id: self.key_id.to_owned(),
            secret_key: self.secret_key.to_owned(),
            token: self.session_token.map(ToOwned::to_owned),
        };
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        let mut signed = HttpRequest::new(HttpRequestBody::from(body.to_vec()));
        *signed.method_mut() = request.method().clone();
        *signed.headers_mut() = request.headers().clone();
        *signed.uri_mut() = request.url().as_str().parse().map_err(|error| {
            BlobError::Refused(object_store::Error::Generic { store: "S3", source: Box::new(error) })
        })?;
        AwsAuthorizer::new(&credential, self.service, self.region).try_authorize(&mut signed, None)?;
        *request.headers_mut() = std::mem::take(signed.headers_mut());
        Ok(())
    }
}
