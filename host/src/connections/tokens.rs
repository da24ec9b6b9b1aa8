//! Tokens that other systems give out for a client's credentials (OAuth 2.0, RFC 6749 section 4.4).

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use lru::LruCache;
use reqwest::{Client, Url, header};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::refused_literally;
use crate::{model::causes::innermost, secrets::SecretString};

const MAX_TOKENS: NonZeroUsize = NonZeroUsize::new(1_000).expect("it is not zero");
/// How long before its end a token is not used any more.
const MARGIN: Duration = Duration::from_secs(30);
/// A token that does not say how long it holds is kept for this long.
const USUAL_LIFE: Duration = Duration::from_mins(5);
/// A token is kept no longer, whatever it says: an instant further away than a clock can tell is a panic.
const LONGEST_LIFE: Duration = Duration::from_hours(24);
const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// What a token is asked for with.
#[derive(Debug)]
pub struct Grant {
    pub token_url: Url,
    pub client_id: String,
    pub client_secret: SecretString,
    pub scope: Option<String>,
    pub audience: Option<String>,
}

/// Tokens that hold; clones share them.
#[derive(Clone)]
pub struct Tokens(Arc<Mutex<LruCache<Key, Known>>>);

/// A digest of all of a [`Grant`].
type Key = [u8; 32];

struct Known {
    token: SecretString,
    until: Instant,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: Option<u64>,
}

impl Default for Tokens {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(LruCache::new(MAX_TOKENS))))
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    /// A token that holds, asked for by `client` if none is known.
    ///
    /// # Errors
    /// Why there is none; a text for people.
    pub async fn get(&self, client: &Client, grant: &Grant) -> Result<SecretString, String> {
        let key = grant.key();
        if let Some(known) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key)
            && Instant::now() < known.until
        {
            return Ok(known.token.clone());
        }
        let (token, life) = ask(client, grant).await?;
        let until = Instant::now() + life.min(LONGEST_LIFE).saturating_sub(MARGIN);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(key, Known { token: token.clone(), until });
        Ok(token)
    }

    /// Gives `token` to nobody any more.
    pub fn forget(&self, token: &SecretString) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = known.iter().find(|(_, known)| known.token.expose() == token.expose()).map(|(key, _)| *key);
        if let Some(key) = key {
            known.pop(&key);
        }
    }
}

impl Grant {
    /// A connection that is changed gets another token.
    fn key(&self) -> Key {
        let Self { token_url, client_id, client_secret, scope, audience } = self;
        let mut hash = Sha256::new();
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        let parts = [token_url.as_str(), client_id, client_secret.expose(), &text(scope), &text(audience)];
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

async fn ask(client: &Client, grant: &Grant) -> Result<(SecretString, Duration), String> {
    let host = grant.token_url.host_str().unwrap_or_default();
    // No name is looked up then.
    if let Some(why) = refused_literally(host) {
        return Err(format!("`{host}` gave no token: it is {why}"));
    }
    let mut form = vec![("grant_type", "client_credentials")];
    form.extend(grant.scope.as_deref().map(|scope| ("scope", scope)));
    form.extend(grant.audience.as_deref().map(|audience| ("audience", audience)));
    let body = serde_html_form::to_string(&form).map_err(|error| error.to_string())?;
    let sent = client
        .post(grant.token_url.clone())
        .basic_auth(&grant.client_id, Some(grant.client_secret.expose()))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::ACCEPT, "application/json")
        .timeout(TIMEOUT)
        .body(body)
        .send()
        .await;
    let mut response = sent.map_err(|error| format!("`{host}` gave no token: {}", innermost(&error.without_url())))?;
    let status = response.status();
    if !status.is_success() {
        return Err(format!("`{host}` gave no token: HTTP {}", status.as_u16()));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| format!("`{host}` sent half a token"))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_ANSWER_BYTES {
            return Err(format!("`{host}` sent more than a token"));
        }
    }
    let answer: Answer =
        serde_json::from_slice(&bytes).map_err(|_| format!("`{host}` sent something that is no token"))?;
    Ok((answer.access_token.into(), answer.expires_in.map_or(USUAL_LIFE, Duration::from_secs)))
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn no_token_is_asked_for_where_machines_keep_their_own() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let grant = Grant {
            token_url: "http://169.254.169.254/token".parse().unwrap(),
            client_id: "airlock".to_owned(),
            client_secret: SecretString::from("hush".to_owned()),
            scope: None,
            audience: None,
        };
        let client = Client::builder().no_proxy().build().unwrap();
        let refused = Tokens::default().get(&client, &grant).await.unwrap_err();
        assert!(refused.contains("link-local"), "{refused}");
    }

    #[tokio::test]
    async fn a_token_that_says_to_hold_for_ever_is_kept_for_a_day() {
        // Answers with an error if one is installed, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let grant = Grant {
            token_url: format!("http://{}/token", listener.local_addr().unwrap()).parse().unwrap(),
            client_id: "airlock".to_owned(),
            client_secret: SecretString::from("hush".to_owned()),
            scope: None,
            audience: None,
        };
        // It answers once: who asks a second time has the token already.
        let answer = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !String::from_utf8_lossy(&asked).contains("client_credentials") {
                assert!(stream.read_buf(&mut asked).await.unwrap() > 0);
            }
            let body = format!(r#"{{"access_token":"t","expires_in":{}}}"#, u64::MAX);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.unwrap();
        };
        let (tokens, client) = (Tokens::default(), Client::builder().no_proxy().build().unwrap());
        let (got, ()) = tokio::join!(tokens.get(&client, &grant), answer);
        assert_eq!(got.unwrap().expose(), "t");
        assert_eq!(tokens.get(&client, &grant).await.unwrap().expose(), "t");
        let known = tokens.0.lock().unwrap().get(&grant.key()).unwrap().until;
        assert!(known <= Instant::now() + LONGEST_LIFE);
    }
}
