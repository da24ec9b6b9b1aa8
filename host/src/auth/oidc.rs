//! Sign-in by a provider of OpenID Connect: the authorization code flow with PKCE. This file alone knows `openidconnect`.
//!
//! What a browser has to bring back - state, nonce, the verifier of PKCE - travels in a sealed cookie: whoever begins sign-ins and does
//! not end them costs no memory here. A state is good once; the code, by its provider's doing, too.

use std::{
    net::IpAddr,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::BoxFuture;
use lru::LruCache;
use openidconnect::{
    AsyncHttpClient, AuthType, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken,
    EndpointMaybeSet, EndpointNotSet, EndpointSet, HttpRequest, HttpResponse, IssuerUrl, Nonce, PkceCodeChallenge,
    PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope, SignatureVerificationError, TokenResponse,
    core::{
        CoreAuthenticationFlow, CoreClient, CoreClientAuthMethod, CoreIdToken, CoreJwsSigningAlgorithm,
        CoreProviderMetadata,
    },
};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    model::{
        causes::chain,
        sign_in::{Identity, SignInRules},
        time::Timestamp,
    },
    secrets::{SecretString, Secrets},
};

/// How long somebody may take at the provider.
pub const SIGN_IN_LIFETIME: Duration = Duration::from_mins(10);
/// Of one request to the provider.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer of a provider.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// What the provider says of itself is believed for so long.
const DISCOVERY_LIFETIME: Duration = Duration::from_hours(1);
/// A provider that could not be asked is asked again after so long, however many want to sign in.
const DISCOVERY_PAUSE: Duration = Duration::from_secs(2);
/// States that came back, and may not again. One that is forgotten has a code that its provider does not take twice.
const REMEMBERED_STATES: NonZeroUsize = NonZeroUsize::new(10_000).expect("it is not zero");
/// A longer place to go on at is forgotten: cookies are short.
const MAX_NEXT_BYTES: usize = 1_024;
/// What sealed cookies are good for.
const PLACE: &str = "sign-in|oidc";

/// Signatures that count: those that the provider alone can make. `none` and those by a shared secret do not.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

type Client =
    CoreClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointMaybeSet, EndpointMaybeSet>;

/// A provider, and what its words mean here.
#[derive(Debug, Clone)]
pub struct OidcConfig {
    /// As the provider writes it: `https://login.example.org/realms/main`.
    pub issuer: String,
    pub client_id: String,
    /// None: a public client, which PKCE alone protects.
    pub client_secret: Option<SecretString>,
    /// Besides `openid`.
    pub scopes: Vec<String>,
    /// Where the provider sends browsers back to; none: to where they asked for it.
    pub redirect_url: Option<String>,
    /// The text of the button.
    pub button: String,
    pub rules: SignInRules,
}

/// Why nobody was signed in.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    #[error("the sign-in provider can't be asked now; try again later, or sign in with a password if you have one")]
    Unavailable(#[source] Reason),
    /// There is no cookie, or another one; or it was used before.
    #[error("this sign-in was begun elsewhere, or too long ago, or is over; begin again")]
    NotBegun,
    #[error("the sign-in provider refused: {0}")]
    Refused(String),
    #[error("the sign-in provider's answer is not to be trusted; begin again, and tell an admin if it stays so")]
    Untrusted(#[source] Reason),
}

/// What it was, for the log.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Reason(String);

/// A sign-in that was begun.
#[derive(Debug)]
pub struct Begun {
    /// Where the browser goes.
    pub url: String,
    /// What the answer names it by.
    pub state: String,
    /// What the browser has to bring back with the answer, sealed.
    pub cookie: String,
}

/// What a browser brings back from the provider.
#[derive(Debug, Default, Deserialize)]
pub struct Answer {
    #[serde(default)]
    state: String,
    code: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
    /// Who answers (RFC 9207).
    iss: Option<String>,
}

impl Answer {
    /// The sign-in that is answered.
    pub fn state(&self) -> &str {
        &self.state
    }
}

/// Somebody whom the provider vouches for.
#[derive(Debug)]
pub(super) struct Vouched {
    pub(super) identity: Identity,
    /// All that the ID token claims.
    pub(super) claims: Value,
    /// Where the browser wanted to go, as [`Oidc::begin`] was told.
    pub(super) next: String,
}

#[derive(Serialize, Deserialize)]
struct Pending {
    state: CsrfToken,
    nonce: Nonce,
    verifier: PkceCodeVerifier,
    redirect_url: RedirectUrl,
    next: String,
    until: Timestamp,
}

/// What the provider said of itself.
#[derive(Debug, Default)]
enum Known {
    #[default]
    Nothing,
    Metadata {
        metadata: Arc<CoreProviderMetadata>,
        at: Timestamp,
    },
    Failed {
        reason: String,
        at: Timestamp,
    },
}

/// One provider. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Oidc {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: OidcConfig,
    issuer: IssuerUrl,
    secrets: Secrets,
    http: Http,
    known: tokio::sync::Mutex<Known>,
    used: Mutex<LruCache<String, ()>>,
}

impl Oidc {
    /// `secrets` seals what browsers carry.
    ///
    /// # Errors
    /// If the issuer or the place to come back to is no URL that can be trusted, or the system's certificates can't be used.
    pub fn new(config: OidcConfig, secrets: Secrets) -> Result<Self, Reason> {
        let reason = |error: &dyn std::fmt::Display| Reason(error.to_string());
        let issuer = IssuerUrl::new(config.issuer.clone()).map_err(|error| reason(&error))?;
        for url in [Some(&config.issuer), config.redirect_url.as_ref()].into_iter().flatten() {
            let parsed = Url::parse(url).map_err(|error| Reason(format!("`{url}` is not a URL: {error}")))?;
            if !is_private(&parsed) {
                return Err(Reason(format!("`{url}` must begin with `https://`, unless it is on this very machine")));
            }
        }
        // Answers with an error if one is installed, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let http = Http(client.timeout(TIMEOUT).build().map_err(|error| reason(&error))?);
        let used = Mutex::new(LruCache::new(REMEMBERED_STATES));
        Ok(Self {
            inner: Arc::new(Inner { config, issuer, secrets, http, known: tokio::sync::Mutex::default(), used }),
        })
    }

    /// The text of the button.
    pub fn button(&self) -> &str {
        &self.inner.config.button
    }

    pub(super) fn rules(&self) -> &SignInRules {
        &self.inner.config.rules
    }

    /// Begins a sign-in that comes back to `here`, unless the settings say where to, and goes on at `next`.
    pub(super) async fn begin(&self, here: &str, next: &str, now: Timestamp) -> Result<Begun, OidcError> {
        let inner = &self.inner;
        let client = inner.client(&*inner.metadata(now).await?);
        let here = inner.config.redirect_url.as_deref().unwrap_or(here);
        let redirect_url = RedirectUrl::new(here.to_owned()).map_err(|_| OidcError::NotBegun)?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let (url, state, nonce) = client
            .set_redirect_uri(redirect_url.clone())
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random)
            .add_scopes(inner.config.scopes.iter().cloned().map(Scope::new))
            .set_pkce_challenge(challenge)
            .url();
        if !is_private(&url) {
            return Err(OidcError::Unavailable(Reason(format!(
                "its authorization_endpoint `{url}` is not `https://`"
            ))));
        }
        let next = if next.len() > MAX_NEXT_BYTES { String::new() } else { next.to_owned() };
        let name = state.secret().clone();
        let pending = Pending { state, nonce, verifier, redirect_url, next, until: now.after(SIGN_IN_LIFETIME) };
        let plain = serde_json::to_vec(&pending).expect("it holds texts only");
        let cookie = URL_SAFE_NO_PAD.encode(inner.secrets.seal(PLACE, &plain));
        Ok(Begun { url: url.into(), state: name, cookie })
    }

    /// Ends the sign-in that `cookie` is of: asks the provider for whom `answer` is.
    pub(super) async fn finish(&self, cookie: &str, answer: Answer, now: Timestamp) -> Result<Vouched, OidcError> {
        let inner = &self.inner;
        let pending = inner.pending(cookie).filter(|pending| now < pending.until).ok_or(OidcError::NotBegun)?;
        let state = pending.state.secret();
        let is_first = || inner.used.lock().unwrap_or_else(PoisonError::into_inner).put(state.clone(), ()).is_none();
        if answer.state != *state || !is_first() {
            return Err(OidcError::NotBegun);
        }
        // Another provider's code must not be shown to this one.
        if answer.iss.as_ref().is_some_and(|issuer| *issuer != inner.config.issuer) {
            return Err(OidcError::Untrusted(Reason("another issuer answers".into())));
        }
        let code = match (answer.code, answer.error) {
            (Some(code), None) => AuthorizationCode::new(code),
            (_, error) => return Err(OidcError::Refused(told(error, answer.error_description))),
        };
        let token = inner.id_token(code, pending.verifier, pending.redirect_url, now).await?;
        let metadata = inner.metadata(now).await?;
        let verified = match inner.verify(&metadata, &token, &pending.nonce, now) {
            // Its keys may be new.
            Err(ClaimsVerificationError::SignatureVerification(
                SignatureVerificationError::NoMatchingKey | SignatureVerificationError::CryptoError(_),
            )) => {
                let metadata = inner.discover(&mut *inner.known.lock().await, now).await?;
                inner.verify(&metadata, &token, &pending.nonce, now)
            }
            verified => verified,
        };
        let subject = verified.map_err(|error| OidcError::Untrusted(Reason(chain(&error))))?;
        let claims = payload(&token).ok_or_else(|| OidcError::Untrusted(Reason("its claims can't be read".into())))?;
        let identity = Identity { issuer: inner.config.issuer.clone(), subject };
        Ok(Vouched { identity, claims, next: pending.next })
    }
}

impl Inner {
    fn pending(&self, cookie: &str) -> Option<Pending> {
        let sealed = URL_SAFE_NO_PAD.decode(cookie).ok()?;
        let plain = self.secrets.unseal(PLACE, &sealed).ok()?;
        serde_json::from_str(plain.expose()).ok()
    }

    /// What the provider says of itself, its keys too.
    async fn metadata(&self, now: Timestamp) -> Result<Arc<CoreProviderMetadata>, OidcError> {
        // One asks, others wait for it.
        let mut known = self.known.lock().await;
        match &*known {
            Known::Metadata { metadata, at } if now.since(*at) < DISCOVERY_LIFETIME => Ok(metadata.clone()),
            Known::Failed { reason, at } if now.since(*at) < DISCOVERY_PAUSE => {
                Err(OidcError::Unavailable(Reason(reason.clone())))
            }
            _ => self.discover(&mut known, now).await,
        }
    }

    async fn discover(&self, known: &mut Known, now: Timestamp) -> Result<Arc<CoreProviderMetadata>, OidcError> {
        match CoreProviderMetadata::discover_async(self.issuer.clone(), &self.http).await {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                *known = Known::Metadata { metadata: metadata.clone(), at: now };
                Ok(metadata)
            }
            Err(error) => {
                let reason = chain(&error);
                *known = Known::Failed { reason: reason.clone(), at: now };
                Err(OidcError::Unavailable(Reason(reason)))
            }
        }
    }

    fn client(&self, metadata: &CoreProviderMetadata) -> Client {
        let secret = self.config.client_secret.as_ref().map(|secret| ClientSecret::new(secret.expose().to_owned()));
        let client_id = ClientId::new(self.config.client_id.clone());
        // Who says nothing takes it in the header (OpenID Connect Discovery, 3).
        let by_body = metadata.token_endpoint_auth_methods_supported().is_some_and(|methods| {
            !methods.contains(&CoreClientAuthMethod::ClientSecretBasic)
                && methods.contains(&CoreClientAuthMethod::ClientSecretPost)
        });
        let auth_type = if by_body { AuthType::RequestBody } else { AuthType::BasicAuth };
        CoreClient::from_provider_metadata(metadata.clone(), client_id, secret).set_auth_type(auth_type)
    }

    async fn id_token(
        &self,
        code: AuthorizationCode,
        verifier: PkceCodeVerifier,
        redirect_url: RedirectUrl,
        now: Timestamp,
    ) -> Result<CoreIdToken, OidcError> {
        let untrusted = |text: String| OidcError::Untrusted(Reason(text));
        let client = self.client(&*self.metadata(now).await?).set_redirect_uri(redirect_url);
        let request = client.exchange_code(code).map_err(|error| untrusted(chain(&error)))?;
        let answer = request.set_pkce_verifier(verifier).request_async(&self.http).await;
        let answer = answer.map_err(|error| match error {
            RequestTokenError::ServerResponse(refusal) => {
                let description = refusal.error_description().cloned();
                OidcError::Refused(told(Some(refusal.error().as_ref().to_owned()), description))
            }
            RequestTokenError::Request(error) => OidcError::Unavailable(Reason(chain(&error))),
            // The answer itself may hold tokens.
            RequestTokenError::Parse(error, _) => untrusted(format!("its answer can't be read: {error}")),
            RequestTokenError::Other(text) => untrusted(text),
        })?;
        answer.id_token().cloned().ok_or_else(|| untrusted("there is no ID token; it needs the scope `openid`".into()))
    }

    /// The subject of `token`, if it is this provider's, for us, for this sign-in, and good at `now`.
    fn verify(
        &self,
        metadata: &CoreProviderMetadata,
        token: &CoreIdToken,
        nonce: &Nonce,
        now: Timestamp,
    ) -> Result<String, ClaimsVerificationError> {
        let client = self.client(metadata);
        let verifier = client.id_token_verifier().set_allowed_algs(ALGORITHMS).set_time_fn(move || now.to_utc());
        let claims = token.claims(&verifier, nonce)?;
        let is_for_other = claims.authorized_party().is_some_and(|party| party.as_str() != self.config.client_id);
        if is_for_other {
            return Err(ClaimsVerificationError::InvalidAudience("another client may use it (`azp`)".into()));
        }
        Ok(claims.subject().to_string())
    }
}

/// The claims of a token that was verified.
fn payload(token: &CoreIdToken) -> Option<Value> {
    let text = token.to_string();
    let payload = URL_SAFE_NO_PAD.decode(text.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok()
}

/// What a provider says that it does not want, on one line.
fn told(error: Option<String>, description: Option<String>) -> String {
    let plain = |text: String| text.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
    let error = error.map_or_else(|| "it sent neither a code nor an error".to_owned(), plain);
    match description.map(plain).filter(|text| !text.is_empty()) {
        Some(description) => format!("{error} ({description})"),
        None => error,
    }
}

/// Whether nobody on the way reads or changes what is sent there.
fn is_private(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let is_here = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    url.scheme() == "https" || (url.scheme() == "http" && is_here)
}

/// Our client, as the library asks for it.
#[derive(Debug)]
struct Http(reqwest::Client);

#[derive(Debug, thiserror::Error)]
enum HttpError {
    #[error("`{0}` must begin with `https://`")]
    Open(Url),
    #[error("its answer is longer than {MAX_ANSWER_BYTES} bytes")]
    TooLong,
    #[error("it answers {0}")]
    Failed(reqwest::StatusCode),
    #[error("it does not answer")]
    Request(#[from] reqwest::Error),
    #[error("its answer is no HTTP")]
    Http(#[from] http::Error),
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = HttpError;
    type Future = BoxFuture<'c, Result<HttpResponse, HttpError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let request = reqwest::Request::try_from(request)?;
            if !is_private(request.url()) {
                return Err(HttpError::Open(request.url().clone()));
            }
            let mut response = self.0.execute(request).await?;
            if response.status().is_server_error() {
                return Err(HttpError::Failed(response.status()));
            }
            let mut answer = http::Response::builder().status(response.status());
            for (name, value) in response.headers() {
                answer = answer.header(name, value);
            }
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await? {
                if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                    return Err(HttpError::TooLong);
                }
                body.extend_from_slice(&chunk);
            }
            Ok(answer.body(body)?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_private_is_asked() {
        for (url, is_fine) in [
            ("https://login.example.org/x", true),
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080", true),
            ("http://localhost", true),
            ("http://login.example.org", false),
            ("http://127.0.0.1.example.org", false),
            ("http://10.0.0.1", false),
            ("ftp://localhost", false),
        ] {
            assert_eq!(is_private(&url.parse().unwrap()), is_fine, "{url}");
        }
    }

    #[test]
    fn what_a_provider_says_is_one_short_line() {
        assert_eq!(told(Some("access_denied".into()), Some("no\n<b>".into())), "access_denied (no<b>)");
        assert_eq!(told(Some("x".repeat(900)), None).len(), 200);
        assert_eq!(told(None, None), "it sent neither a code nor an error");
    }
}
