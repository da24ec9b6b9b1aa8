//! A provider of OpenID Connect: it signs in whoever it is told to, and lies as it is told to.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::Url;
use ring::{
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::peer::{Peer, Taken};

/// What Airlock is called there, and its secret.
pub const CLIENT_ID: &str = "airlock";
pub const CLIENT_SECRET: &str = "s3cret-of-the-client";
/// A key of 2,048 bits (PKCS #8) that signs nothing but what tests read.
const RSA_KEY: &[u8] = include_bytes!("provider_rsa.der");

/// Changes an ID token's header and claims before it is signed.
pub type Lie = fn(&mut Value, &mut Value);

/// A provider; it ends when it is dropped.
#[derive(Debug)]
pub struct Provider {
    peer: Peer,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    key: Key,
    /// What the key is called that signs, and that is published.
    key_id: String,
    /// Signs instead, though it is not published.
    unknown: Option<Key>,
    issuer: String,
    person: Value,
    lie: Lie,
    codes: HashMap<String, Pending>,
    is_down: bool,
    count: u32,
}

/// What a code is good for.
#[derive(Debug)]
struct Pending {
    nonce: String,
    challenge: String,
    redirect_uri: String,
}

#[derive(Debug)]
enum Key {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl Key {
    fn ec() -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("it can be made");
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random);
        Self::Ec(key.expect("it was just made"))
    }

    fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::from_pkcs8(RSA_KEY).expect("it is a key"))
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Ec(_) => "ES256",
            Self::Rsa(_) => "RS256",
        }
    }

    fn public(&self, key_id: &str) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Ec(key) => {
                // The form without compression: a byte, x, y.
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": key_id, "x": encode(x), "y": encode(y)})
            }
            Self::Rsa(key) => {
                let PublicKeyComponents::<Vec<u8>> { n, e } = key.public().into();
                json!({"kty": "RSA", "use": "sig", "kid": key_id, "n": encode(&n), "e": encode(&e)})
            }
        }
    }

    fn sign(&self, text: &str) -> String {
        let random = SystemRandom::new();
        let signature = match self {
            Self::Ec(key) => key.sign(&random, text.as_bytes()).expect("it signs").as_ref().to_vec(),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature).expect("it signs");
                signature
            }
        };
        URL_SAFE_NO_PAD.encode(signature)
    }
}

impl Provider {
    /// One that signs by ES256.
    pub async fn start() -> Self {
        Self::with_key(Key::ec()).await
    }

    /// One that signs by RS256.
    pub async fn start_rsa() -> Self {
        Self::with_key(Key::rsa()).await
    }

    async fn with_key(key: Key) -> Self {
        let state = Arc::new(Mutex::new(State {
            key,
            key_id: "key-1".into(),
            unknown: None,
            issuer: String::new(),
            person: json!({"sub": "1"}),
            lie: |_, _| {},
            codes: HashMap::new(),
            is_down: false,
            count: 0,
        }));
        let answering = Arc::clone(&state);
        let peer = Peer::answering(move |asked| lock(&answering).answer(asked)).await;
        lock(&state).issuer = peer.url("");
        Self { peer, state }
    }

    pub fn issuer(&self) -> String {
        self.peer.url("")
    }

    /// Whom it signs in from now on: `sub`, and what else it claims.
    pub fn person(&self, claims: Value) {
        lock(&self.state).person = claims;
    }

    /// What it changes in ID tokens from now on.
    pub fn lies(&self, lie: Lie) {
        lock(&self.state).lie = lie;
    }

    /// Signs by another key from now on, and publishes it.
    pub fn rotate(&self) {
        let mut state = lock(&self.state);
        (state.key, state.key_id) = (Key::ec(), "key-2".into());
    }

    /// Whether it signs by a key that it does not publish.
    pub fn signs_by_unknown_key(&self, yes: bool) {
        lock(&self.state).unknown = yes.then(Key::ec);
    }

    pub fn is_down(&self, yes: bool) {
        lock(&self.state).is_down = yes;
    }

    /// How often it was asked for its keys.
    pub fn asked_for_keys(&self) -> usize {
        self.peer.taken().iter().filter(|asked| asked.head.starts_with("GET /keys ")).count()
    }

    /// Signs the person in who was sent to `url`; where the browser is sent back to.
    pub fn authorize(&self, url: &str) -> String {
        lock(&self.state).authorize(&Url::parse(url).expect("it is a URL"))
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn answer(&mut self, asked: &Taken) -> (u16, String) {
        if self.is_down {
            return (503, "{}".into());
        }
        let target = asked.head.split(' ').nth(1).unwrap_or_default();
        let url = Url::parse(&format!("{}{target}", self.issuer)).expect("it is a path");
        let issuer = &self.issuer;
        match url.path() {
            "/.well-known/openid-configuration" => {
                let told = json!({
                    "issuer": issuer,
                    "authorization_endpoint": format!("{issuer}/authorize"),
                    "token_endpoint": format!("{issuer}/token"),
                    "jwks_uri": format!("{issuer}/keys"),
                    "response_types_supported": ["code"],
                    "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": ["RS256", "ES256", "none"],
                });
                (200, told.to_string())
            }
            "/keys" => (200, json!({"keys": [self.key.public(&self.key_id)]}).to_string()),
            "/authorize" => (302, self.authorize(&url)),
            "/token" => self.token(asked),
            _ => (404, "{}".into()),
        }
    }

    fn authorize(&mut self, url: &Url) -> String {
        let asked: HashMap<_, _> = url.query_pairs().into_owned().collect();
        let scopes: Vec<_> = asked["scope"].split(' ').collect();
        assert!(url.path() == "/authorize" && scopes.contains(&"openid"), "{url}");
        assert_eq!((asked["response_type"].as_str(), asked["client_id"].as_str()), ("code", CLIENT_ID));
        assert_eq!(asked["code_challenge_method"], "S256");
        self.count += 1;
        let code = format!("code-{}", self.count);
        let redirect_uri = asked["redirect_uri"].clone();
        let back = format!("{redirect_uri}?code={code}&state={}", asked["state"]);
        let pending =
            Pending { nonce: asked["nonce"].clone(), challenge: asked["code_challenge"].clone(), redirect_uri };
        self.codes.insert(code, pending);
        back
    }

    fn token(&mut self, asked: &Taken) -> (u16, String) {
        let body = asked.body.as_str().unwrap_or_default();
        let form = Url::parse(&format!("http://form/?{body}")).expect("it is a form");
        let form: HashMap<_, _> = form.query_pairs().into_owned().collect();
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}"));
        if !asked.head.contains(&format!("authorization: Basic {basic}")) {
            return (401, json!({"error": "invalid_client"}).to_string());
        }
        // A code is good once.
        let pending = form.get("code").and_then(|code| self.codes.remove(code)).filter(|pending| {
            let verifier = form.get("code_verifier").map(String::as_str).unwrap_or_default();
            URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) == pending.challenge
                && form.get("redirect_uri") == Some(&pending.redirect_uri)
        });
        let Some(pending) = pending else { return (400, json!({"error": "invalid_grant"}).to_string()) };
        #[expect(clippy::disallowed_methods, reason = "the clock of another server")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_secs();
        let key = self.unknown.as_ref().unwrap_or(&self.key);
        let mut header = json!({"alg": key.algorithm(), "typ": "JWT", "kid": self.key_id});
        let mut claims = json!({
            "iss": self.issuer, "aud": CLIENT_ID, "exp": now + 300, "iat": now, "nonce": pending.nonce,
        });
        for (name, value) in self.person.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        (self.lie)(&mut header, &mut claims);
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = if header["alg"] == "none" { String::new() } else { key.sign(&signed) };
        let token = json!({
            "access_token": "not-for-airlock", "token_type": "Bearer", "expires_in": 300,
            "id_token": format!("{signed}.{signature}"),
        });
        (200, token.to_string())
    }
}
