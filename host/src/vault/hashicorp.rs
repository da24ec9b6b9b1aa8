//! Variables and connections in HashiCorp Vault (or OpenBao): secrets of its KV engine, version 2, over HTTP.
//!
//! A variable is the field `value` of the secret `<path>/variables/<key>`, a connection the fields of `<path>/connections/<id>`:
//! `conn_uri`, or `conn_type`, `host`, `login`, `password`, `port`, `schema`, `extra`. Airflow: `VaultBackend`.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{Backend, BackendError, Found, ImportedConnection};
use crate::{
    model::{
        causes::innermost,
        ids::{ConnectionId, VariableKey},
    },
    secrets::SecretString,
};

const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer.
const MAX_BYTES: usize = 2 << 20;
/// Tokens are renewed so long before they end.
const MARGIN: Duration = Duration::from_secs(30);
/// A token is kept no longer, whatever its login says: an instant further away than a clock can tell is a panic.
const LONGEST_LIFE: Duration = Duration::from_hours(24);

/// How the server shows who it is.
#[derive(Debug, Clone)]
pub enum Login {
    Token(SecretString),
    /// By the token of a Kubernetes service account, which stands in the file.
    Kubernetes {
        role: String,
        token_file: PathBuf,
    },
}

/// Where it is, and what is read there.
#[derive(Debug, Clone)]
pub struct HashiCorpConfig {
    /// As `https://vault.example.org:8200`.
    pub url: Url,
    /// The KV engine, as `secret`.
    pub mount: String,
    /// Below what variables and connections stand, as `airlock`.
    pub path: String,
    pub namespace: Option<String>,
    pub login: Login,
}

/// One Vault.
#[derive(Debug)]
pub struct HashiCorp {
    config: HashiCorpConfig,
    client: Client,
    name: String,
    /// What a login gave, and when it ends.
    token: Mutex<Option<(SecretString, Instant)>>,
}

/// What was asked, as far as it went wrong.
type Answer<T> = Result<T, String>;

impl HashiCorp {
    /// # Errors
    /// If the system's certificates can't be used.
    pub fn new(config: HashiCorpConfig) -> Result<Self, reqwest::Error> {
        // Answers with an error if one is installed, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client =
            Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(TIMEOUT).build()?;
        let name = format!("Vault at `{}`", config.url);
        Ok(Self { config, client, name, token: Mutex::default() })
    }

    /// A request to `/v1/<parts>`.
    fn request(&self, method: Method, parts: &[&str]) -> Answer<RequestBuilder> {
        let mut url = self.config.url.clone();
        {
            let mut path = url.path_segments_mut().map_err(|()| "its URL has no path".to_owned())?;
            path.pop_if_empty().push("v1");
            path.extend(parts.iter().flat_map(|part| part.split('/')).filter(|part| !part.is_empty()));
        }
        let request = self.client.request(method, url).header("x-vault-request", "true");
        Ok(match &self.config.namespace {
            Some(namespace) => request.header("x-vault-namespace", namespace),
            None => request,
        })
    }

    /// The status and the JSON of an answer; null if it is none.
    async fn send(&self, request: RequestBuilder) -> Answer<(StatusCode, Value)> {
        let told = |error: reqwest::Error| format!("it does not answer: {}", innermost(&error.without_url()));
        let mut response = request.send().await.map_err(told)?;
        let (status, mut bytes) = (response.status(), Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(told)? {
            if bytes.len() + chunk.len() > MAX_BYTES {
                return Err(format!("its answer is longer than {MAX_BYTES} bytes"));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok((status, serde_json::from_slice(&bytes).unwrap_or_default()))
    }

    async fn token(&self) -> Answer<SecretString> {
        let (role, token_file) = match &self.config.login {
            Login::Token(token) => return Ok(token.clone()),
            Login::Kubernetes { role, token_file } => (role, token_file),
        };
        // One logs in, others wait for it.
        let mut known = self.token.lock().await;
        if let Some((token, until)) = &*known
            && *until > Instant::now()
        {
            return Ok(token.clone());
        }
        let read = tokio::fs::read_to_string(token_file).await;
        let jwt = read.map_err(|error| format!("`{}` can't be read: {error}", token_file.display()))?;
        let login = self.request(Method::POST, &["auth/kubernetes/login"])?;
        let (status, answer) = self.send(login.json(&json!({"role": role, "jwt": jwt.trim()}))).await?;
        let token = answer.pointer("/auth/client_token").and_then(Value::as_str);
        let Some(token) = token.filter(|_| status.is_success()) else {
            return Err(format!("the login as role `{role}` was answered {}", told(status, &answer)));
        };
        let token = SecretString::from(token.to_owned());
        let life = answer.pointer("/auth/lease_duration").and_then(Value::as_u64).unwrap_or(0);
        let life = Duration::from_secs(life).min(LONGEST_LIFE).saturating_sub(MARGIN);
        *known = Some((token.clone(), Instant::now() + life));
        Ok(token)
    }

    /// The fields of a secret; none if there is none.
    async fn secret(&self, kind: &str, name: &str) -> Answer<Option<Value>> {
        let HashiCorpConfig { mount, path, .. } = &self.config;
        // A token may have been revoked meanwhile: once more with a new one.
        for is_last in [false, true] {
            let request = self.request(Method::GET, &[mount, "data", path, kind, name])?;
            let token = self.token().await?;
            let (status, mut answer) = self.send(request.header("x-vault-token", token.expose())).await?;
            match status {
                StatusCode::NOT_FOUND if is_miss(&answer) => return Ok(None),
                StatusCode::FORBIDDEN if !is_last && matches!(self.config.login, Login::Kubernetes { .. }) => {
                    *self.token.lock().await = None;
                }
                status if status.is_success() => {
                    let fields = answer.pointer_mut("/data/data").map(Value::take);
                    let fields = fields
                        .ok_or_else(|| format!("it answered {status}, and no secret of a KV engine of version 2"))?;
                    // Null: the newest version was deleted.
                    return Ok(Some(fields).filter(|fields| !fields.is_null()));
                }
                status => return Err(format!("it answered {}", told(status, &answer))),
            }
        }
        Ok(None)
    }

    fn failed(&self, what: String) -> impl FnOnce(String) -> BackendError + '_ {
        move |why| BackendError { what, place: self.name.clone(), why }
    }
}

/// Whether an answer of 404 is Vault's word that there is no such secret, or none any more. What stands before a Vault that is away has
/// other words, and Vault for an engine that is not there.
fn is_miss(answer: &Value) -> bool {
    answer["errors"] == json!([]) || answer["data"].is_object()
}

/// A status, with what Vault says of it.
fn told(status: StatusCode, answer: &Value) -> String {
    let errors = answer.get("errors").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    // They may have several lines.
    let line =
        |text: &str| -> String { text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect() };
    let errors: Vec<String> = errors.take(3).map(line).collect();
    let errors = if errors.is_empty() { String::new() } else { format!(" ({})", errors.join("; ")) };
    format!("{status}{errors}")
}

/// The connection that the fields of a secret are.
fn connection_of(fields: Value) -> Answer<ImportedConnection> {
    if let Some(uri) = fields.get("conn_uri") {
        return ImportedConnection::new(uri.clone());
    }
    ImportedConnection::new(fields)
}

impl Backend for HashiCorp {
    fn name(&self) -> &str {
        &self.name
    }

    fn variable<'a>(&'a self, key: &'a VariableKey) -> BoxFuture<'a, Result<Option<SecretString>, BackendError>> {
        Box::pin(async move {
            let what = format!("variable `{key}`");
            let found = self.secret("variables", key.as_str()).await.map_err(self.failed(what.clone()))?;
            let text = |fields: Value| match fields.get("value") {
                Some(Value::String(text)) => Ok(text.clone().into()),
                Some(other) if !other.is_null() => Ok(other.to_string().into()),
                _ => Err(self.failed(what.clone())("the secret has no field `value`".to_owned())),
            };
            found.map(text).transpose()
        })
    }

    fn connection<'a>(
        &'a self,
        id: &'a ConnectionId,
    ) -> BoxFuture<'a, Result<Option<ImportedConnection>, BackendError>> {
        Box::pin(async move {
            let what = format!("connection `{id}`");
            let found = self.secret("connections", id.as_str()).await.map_err(self.failed(what.clone()))?;
            found.map(connection_of).transpose().map_err(self.failed(what))
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Found, BackendError>> {
        // To list takes a right that to read does not.
        Box::pin(std::future::ready(Ok(Found { is_partial: true, ..Found::default() })))
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// A Vault that `listener` speaks for.
    fn vault_of(listener: &TcpListener, login: Login) -> HashiCorp {
        HashiCorp::new(HashiCorpConfig {
            url: format!("http://{}", listener.local_addr().unwrap()).parse().unwrap(),
            mount: "secret".to_owned(),
            path: "airlock".to_owned(),
            namespace: None,
            login,
        })
        .unwrap()
    }

    /// What the one answer of a Vault comes to.
    async fn told_by(status: &str, body: &str) -> Answer<Option<Value>> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let vault = vault_of(&listener, Login::Token("t".to_owned().into()));
        let answer = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                assert!(stream.read_buf(&mut asked).await.unwrap() > 0);
            }
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all((head + body).as_bytes()).await.unwrap();
        };
        tokio::join!(vault.secret("variables", "city"), answer).0
    }

    #[tokio::test]
    async fn that_there_is_no_secret_is_vaults_word_alone() {
        for (status, body) in [
            ("404 Not Found", r#"{"errors":[]}"#),
            ("404 Not Found", r#"{"data":{"data":null,"metadata":{"version":2}}}"#),
            ("200 OK", r#"{"data":{"data":null,"metadata":{"version":2}}}"#),
        ] {
            assert_eq!(told_by(status, body).await, Ok(None), "{body}");
        }
        for (status, body, why) in [
            ("404 Not Found", r#"{"errors":["no handler for route \"secret/data/\""]}"#, "no handler for route"),
            (
                "403 Forbidden",
                r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#,
                "403 Forbidden (1 error occurred: * permission denied)",
            ),
            ("404 Not Found", "default backend - 404", "404 Not Found"),
            ("404 Not Found", r#"{"message":"no Route matched"}"#, "404 Not Found"),
            ("200 OK", "<html>sign in</html>", "no secret of a KV engine of version 2"),
            ("200 OK", r#"{"data":{"value":"of version 1"}}"#, "no secret of a KV engine of version 2"),
        ] {
            let said = told_by(status, body).await.unwrap_err();
            assert!(said.contains(why), "{said}");
        }
        let found = told_by("200 OK", r#"{"data":{"data":{"value":"Busan"}}}"#).await;
        assert_eq!(found, Ok(Some(json!({"value": "Busan"}))));
    }

    #[tokio::test]
    async fn a_login_that_says_to_hold_for_ever_is_kept_for_a_day() {
        let folder = tempfile::tempdir().unwrap();
        let token_file = folder.path().join("token");
        std::fs::write(&token_file, "jwt").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let vault = vault_of(&listener, Login::Kubernetes { role: "airlock".to_owned(), token_file });
        // It answers once: who asks a second time has the token already.
        let answer = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !String::from_utf8_lossy(&asked).contains(r#""jwt":"jwt""#) {
                assert!(stream.read_buf(&mut asked).await.unwrap() > 0);
            }
            let body = json!({"auth": {"client_token": "t", "lease_duration": u64::MAX}}).to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.unwrap();
        };
        let (got, ()) = tokio::join!(vault.token(), answer);
        assert_eq!(got.unwrap().expose(), "t");
        assert_eq!(vault.token().await.unwrap().expose(), "t");
        let until = vault.token.lock().await.as_ref().unwrap().1;
        assert!(until <= Instant::now() + LONGEST_LIFE);
    }
}
