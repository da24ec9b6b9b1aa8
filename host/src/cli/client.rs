//! The commands' side of the HTTP API.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::PathBuf,
    time::Duration,
};

use reqwest::{Method, RequestBuilder, StatusCode, Url};
use serde_json::Value;

use super::{
    error::{CliError, Kind, OrFail, Result},
    output::note,
    tls,
};
use crate::ui::grouped;

/// Which server, for all commands that speak to one.
#[derive(Debug, Clone, clap::Args)]
pub struct ClientArgs {
    /// The server's address.
    #[arg(
        long,
        env = "AIRLOCK_URL",
        value_name = "URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8080",
        value_parser = server_url,
        global = true
    )]
    url: Url,
}

/// Reads the address of a server.
fn server_url(text: &str) -> Result<Url, String> {
    const FORM: &str = "write it as http://127.0.0.1:8080, an address of IPv6 as http://[::1]:8080";
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        Ok(_) => Err(format!("it begins neither with http:// nor with https://; {FORM}")),
        Err(error) => Err(format!("{error}; {FORM}")),
    }
}

/// What helps if something else answers than a server of ours.
const NOT_OURS: &str = "is it an Airlock server that --url or AIRLOCK_URL names? a proxy before it may have answered, \
                        or ask for a sign-in of its own";
/// Of an answer in plain text; a longer one is shown to nobody.
const MAX_LINE_BYTES: usize = 300;
/// How many items a request for a list asks for.
const PAGE: usize = 100;

/// Speaks to one server, as one user.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
    /// Whether the token is that of `AIRLOCK_TOKEN`, before which `airlock login` does nothing.
    is_env_token: bool,
}

/// Query parameters.
pub type Query<'a> = &'a [(&'a str, String)];

impl Client {
    /// A client with the token of `AIRLOCK_TOKEN`, or the one that `airlock login` kept for this server.
    ///
    /// # Errors
    /// If the file of tokens can't be read.
    pub fn new(args: &ClientArgs) -> Result<Self> {
        let mut client = Self::anonymous(args)?;
        client.token = env_token();
        client.is_env_token = client.token.is_some();
        if !client.is_env_token {
            client.token = read_tokens()?.remove(args.url.as_str());
        }
        Ok(client)
    }

    /// A client without a token.
    ///
    /// # Errors
    /// If TLS can't be set up.
    pub fn anonymous(args: &ClientArgs) -> Result<Self> {
        // Fails only if a provider is installed already, which then is this one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .user_agent(concat!("airlock/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .or_fail(Kind::Failed, || "can't set up HTTP".into())?;
        Ok(Self { http, base: args.url.clone(), token: None, is_env_token: false })
    }

    /// The address of `/api/v2/<segments>`, each segment encoded.
    fn url(&self, segments: &[&str]) -> Result<Url> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| {
                CliError::text(Kind::Usage, format!("`{}` is not an address of a server", self.base))
                    .hint("write it as http://127.0.0.1:8080")
            })?
            .pop_if_empty()
            .extend(segments);
        Ok(url)
    }

    /// A request to `segments` under `/api/v2`.
    ///
    /// # Errors
    /// If the server's address can't have a path.
    pub fn request(&self, method: Method, segments: &[&str], query: Query<'_>) -> Result<RequestBuilder> {
        let mut all = vec!["api", "v2"];
        all.extend_from_slice(segments);
        let mut url = self.url(&all)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.http.request(method, url);
        Ok(match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        })
    }

    /// Sends `request` and reads the answer's JSON; `null` if it has none.
    ///
    /// # Errors
    /// If the server can't be reached or does not answer with success.
    pub async fn send(&self, request: RequestBuilder) -> Result<Value> {
        let response = self.exchange(request).await?;
        let text = response.text().await.map_err(|error| self.broke_off(error))?;
        self.read(&text)
    }

    /// An answer's JSON.
    fn read(&self, text: &str) -> Result<Value> {
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(text).map_err(|error| {
            let what = if is_page(text) { "a page of HTML" } else { "something else than JSON" };
            let cause = anyhow::Error::new(error).context(format!("{} answered with {what}", self.shown_base()));
            CliError::new(Kind::Failed, cause).hint(NOT_OURS)
        })
    }

    /// Sends `request`; the answer's status is a success.
    ///
    /// # Errors
    /// If the server can't be reached or does not answer with success.
    pub async fn exchange(&self, request: RequestBuilder) -> Result<reqwest::Response> {
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        Err(self.refusal(status, &text))
    }

    fn unreachable(&self, error: reqwest::Error) -> CliError {
        let (is_connect, is_timeout) = (error.is_connect(), error.is_timeout());
        // The address is in the text once, and a URL may carry a password.
        let cause = anyhow::Error::new(error.without_url());
        let hint = match tls::hint(&format!("{cause:#}")) {
            Some(hint) => hint,
            None if is_connect => "start a server with `airlock serve`, or name one with --url or AIRLOCK_URL",
            None if is_timeout => "try again in a moment",
            // It was connected to, and then did not speak HTTP.
            None if self.base.scheme() == "http" => {
                "if the server there speaks TLS, name it as https://; else try again"
            }
            None => "try again; is it an Airlock server that --url or AIRLOCK_URL names?",
        };
        CliError::new(Kind::Unreachable, cause.context(format!("can't reach {}", self.shown_base()))).hint(hint)
    }

    fn broke_off(&self, error: reqwest::Error) -> CliError {
        let cause = anyhow::Error::new(error.without_url());
        CliError::new(Kind::Unreachable, cause.context(format!("the answer of {} broke off", self.shown_base())))
            .hint("try again")
    }

    fn shown_base(&self) -> String {
        let mut url = self.base.clone();
        // An address without a host has no password to hide.
        let _ = url.set_password(None);
        url.to_string()
    }

    fn refusal(&self, status: StatusCode, text: &str) -> CliError {
        let ours = explain(text).or_else(|| line(text));
        let is_ours = ours.is_some();
        let said = ours.unwrap_or_else(|| {
            format!("{} answered {}", self.shown_base(), status.canonical_reason().unwrap_or("an error"))
        });
        let plain =
            |kind| CliError::text(kind, format!("{said} (HTTP {})", status.as_u16())).of_status(status.as_u16());
        // What has no words of ours is another's answer.
        let error = |kind| if is_ours { plain(kind) } else { plain(kind).hint(NOT_OURS) };
        match status {
            // A sign-in here does not open what stands before the server.
            StatusCode::UNAUTHORIZED if is_page(text) => error(Kind::Denied),
            StatusCode::UNAUTHORIZED if self.is_env_token => error(Kind::Denied).hint(
                "AIRLOCK_TOKEN is set, and this server does not accept it: unset it, and the token of `airlock login` is \
                 used, or set it to another one",
            ),
            StatusCode::UNAUTHORIZED => error(Kind::Denied).hint(
                "sign in with `airlock login`, or set AIRLOCK_TOKEN to a token that `airlock tokens create` made",
            ),
            StatusCode::FORBIDDEN => error(Kind::Denied),
            StatusCode::NOT_FOUND => error(Kind::NotFound),
            StatusCode::TOO_MANY_REQUESTS => error(Kind::Unreachable).hint("try again in a moment"),
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                error(Kind::Unreachable).hint(if is_ours {
                    "try again in a moment"
                } else {
                    "a proxy answered: is the server behind it up? else try again in a moment"
                })
            }
            StatusCode::PAYLOAD_TOO_LARGE if !is_ours => error(Kind::Refused)
                .hint("a proxy takes no bodies of this length: raise its limit (of nginx, `client_max_body_size 64m`)"),
            status if status.is_client_error() => error(Kind::Refused),
            status if status.is_redirection() => {
                error(Kind::Failed).hint("name the server's own address with --url or AIRLOCK_URL")
            }
            _ if is_ours => error(Kind::Failed).hint("the server's log says more"),
            _ => error(Kind::Failed),
        }
    }

    /// # Errors
    /// As [`Client::send`].
    pub async fn get(&self, segments: &[&str], query: Query<'_>) -> Result<Value> {
        self.send(self.request(Method::GET, segments, query)?).await
    }

    /// # Errors
    /// As [`Client::send`].
    pub async fn post(&self, segments: &[&str], body: &Value) -> Result<Value> {
        self.send(self.request(Method::POST, segments, &[])?.json(body)).await
    }

    /// # Errors
    /// As [`Client::send`].
    pub async fn put(&self, segments: &[&str], body: &Value) -> Result<Value> {
        self.send(self.request(Method::PUT, segments, &[])?.json(body)).await
    }

    /// # Errors
    /// As [`Client::send`].
    pub async fn patch(&self, segments: &[&str], body: &Value) -> Result<Value> {
        self.send(self.request(Method::PATCH, segments, &[])?.json(body)).await
    }

    /// # Errors
    /// As [`Client::send`].
    pub async fn delete(&self, segments: &[&str]) -> Result<()> {
        self.exchange(self.request(Method::DELETE, segments, &[])?).await?;
        Ok(())
    }

    /// The first `limit` items of the list at `segments`; they are under `field` in the answer. If there are more, people are
    /// told.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn list(&self, segments: &[&str], query: Query<'_>, field: &str, limit: usize) -> Result<Vec<Value>> {
        let (items, last) = self.part(segments, query, field, limit).await?;
        if let Some(text) = cut(items.len(), limit, &last) {
            note(&text);
        }
        Ok(items)
    }

    /// As [`Client::list`], without a word if there are more; and the rest of the last answer.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn part(
        &self,
        segments: &[&str],
        query: Query<'_>,
        field: &str,
        limit: usize,
    ) -> Result<(Vec<Value>, Value)> {
        let (mut items, mut last) = (Vec::new(), Value::Null);
        while items.len() < limit {
            let page = PAGE.min(limit - items.len());
            let mut query = query.to_vec();
            query.push(("limit", page.to_string()));
            query.push(("offset", items.len().to_string()));
            last = self.get(segments, &query).await?;
            let more = items_of(&mut last, field)?;
            let got = more.len();
            items.extend(more);
            if got < page {
                break;
            }
        }
        Ok((items, last))
    }

    /// The list at `segments`, which has no pages; its items are under `field` in the answer.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn whole_list(&self, segments: &[&str], field: &str) -> Result<Vec<Value>> {
        items_of(&mut self.get(segments, &[]).await?, field)
    }

    /// Exchanges a name and a password for a token.
    ///
    /// # Errors
    /// If the server can't be reached or does not know them.
    pub async fn sign_in(&self, username: &str, password: &str) -> Result<String> {
        let body = serde_json::json!({"username": username, "password": password});
        let answer = self.send(self.http.post(self.url(&["auth", "token"])?).json(&body)).await;
        let answer = answer.map_err(|error| match error.status() {
            // To sign in is what it was about.
            Some(401) => error.hint(format!(
                "the name was `{username}`; --username names another. Who signs in by a provider has no password: make a token \
                 on the page *Tokens*, and set AIRLOCK_TOKEN to it"
            )),
            _ => error,
        })?;
        let token = answer.get("access_token").and_then(Value::as_str);
        token.map(str::to_owned).ok_or_else(|| {
            CliError::text(Kind::Failed, format!("the answer of {} has no token", self.shown_base())).hint(NOT_OURS)
        })
    }
}

/// What people are told of a list that ends at its `limit` if there are more, by its last answer.
fn cut(shown: usize, limit: usize, answer: &Value) -> Option<String> {
    let number = |field: &str| usize::try_from(answer.get(field)?.as_u64()?).ok();
    let total = number("total_entries").filter(|total| shown >= limit && *total > shown)?;
    // Some are not counted any further.
    let total = match number("total_entries_limit") {
        Some(counted) if total > counted => format!("more than {}", grouped(counted)),
        _ => grouped(total),
    };
    Some(format!("{} of {total} shown; --limit shows more", grouped(shown)))
}

/// Takes the items under `field` out of an answer.
fn items_of(answer: &mut Value, field: &str) -> Result<Vec<Value>> {
    match answer.get_mut(field).map(Value::take) {
        Some(Value::Array(items)) => Ok(items),
        _ => Err(CliError::text(Kind::Failed, format!("the answer has no list `{field}`"))
            .hint("is the server of the same version as this command? see `airlock version`")),
    }
}

/// Whether an answer is for browsers.
fn is_page(text: &str) -> bool {
    text.trim_start().starts_with('<')
}

/// What an answer says that is one line for people, as those of a process that does not lead.
fn line(text: &str) -> Option<String> {
    let text = text.trim();
    let is_line = !text.is_empty() && text.len() <= MAX_LINE_BYTES && !text.contains('\n');
    (is_line && !is_page(text) && !text.starts_with(['{', '['])).then(|| super::output::printable(text).into_owned())
}

/// What an error answer says, for people. RFC 9457, and Airflow's `detail`.
fn explain(text: &str) -> Option<String> {
    let body: Value = serde_json::from_str(text).ok()?;
    let said = match body.get("detail").or_else(|| body.get("title"))? {
        Value::String(text) => text.clone(),
        Value::Array(problems) if !problems.is_empty() => {
            problems.iter().map(problem).collect::<Option<Vec<_>>>()?.join("\n")
        }
        other => other.to_string(),
    };
    Some(super::output::printable(&said).into_owned())
}

/// One of the things that are wrong with a request, as Airflow lists them: what, and where in the request.
fn problem(problem: &Value) -> Option<String> {
    let said = problem.get("msg")?.as_str()?;
    let place = problem.get("loc").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let word = |part: &Value| part.as_str().map_or_else(|| part.to_string(), str::to_owned);
    // That it is in the body goes without saying: the command made it.
    let place: Vec<_> = place.iter().map(word).skip_while(|word| word == "body").collect();
    Some(if place.is_empty() { said.to_owned() } else { format!("`{}`: {said}", place.join(".")) })
}

/// The token of `AIRLOCK_TOKEN`: with it, none that is kept is looked for.
pub fn env_token() -> Option<String> {
    std::env::var("AIRLOCK_TOKEN").ok().filter(|token| !token.is_empty())
}

/// The file of tokens: a JSON object from server to token.
fn tokens_path() -> Result<PathBuf> {
    let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let config = config.or_else(|| std::env::home_dir().map(|home| home.join(".config")));
    let config = config.ok_or_else(|| {
        CliError::text(Kind::Failed, "there is no home directory to keep tokens in").hint("set HOME or AIRLOCK_TOKEN")
    })?;
    Ok(config.join("airlock").join("tokens.json"))
}

fn read_tokens() -> Result<BTreeMap<String, String>> {
    // Without a home there are no tokens, and most commands work with AIRLOCK_TOKEN.
    let Ok(path) = tokens_path() else { return Ok(BTreeMap::new()) };
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        other => other.or_fail(Kind::Failed, || format!("can't read `{}`", path.display()))?,
    };
    serde_json::from_str(&text).map_err(|error| {
        CliError::new(Kind::Failed, anyhow::Error::new(error).context(format!("`{}` is damaged", path.display())))
            .hint("remove the file and sign in again with `airlock login`")
    })
}

/// Keeps `token` for the server of `args`, or forgets the one that is kept. Only the user can read the file.
///
/// # Errors
/// If the file can't be written.
pub fn keep_token(args: &ClientArgs, token: Option<String>) -> Result<PathBuf> {
    let path = tokens_path()?;
    let mut tokens = read_tokens()?;
    match token {
        Some(token) => tokens.insert(args.url.to_string(), token),
        None => tokens.remove(args.url.as_str()),
    };
    let write = || -> std::io::Result<()> {
        if let Some(parent) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        // A new file that takes the old one's place: never half written, never with the old one's mode.
        let new = path.with_extension("new");
        let _ = fs::remove_file(&new);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(serde_json::to_string_pretty(&tokens)?.as_bytes())?;
        fs::rename(&new, &path)
    };
    write().or_fail(Kind::Failed, || format!("can't write `{}`", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn client(base: &str) -> Client {
        Client::anonymous(&ClientArgs { url: base.parse().unwrap() }).unwrap()
    }

    #[test]
    fn segments_are_encoded_and_stand_under_the_servers_path() {
        let url = |base: &str, segments: &[&str]| {
            let request = client(base).request(Method::GET, segments, &[("q", "a&b".into())]).unwrap();
            request.build().unwrap().url().to_string()
        };
        assert_eq!(url("http://h", &["dags", "a/../b?c"]), "http://h/api/v2/dags/a%2F..%2Fb%3Fc?q=a%26b");
        assert_eq!(url("http://h/airlock/", &["dags"]), "http://h/airlock/api/v2/dags?q=a%26b");
    }

    #[test]
    fn what_is_wrong_with_a_request_is_said_in_words() {
        for (answer, said) in [
            (r#"{"detail":[{"type":"value_error","loc":["body"],"msg":"line 2: no"}]}"#, "line 2: no"),
            (
                r#"{"detail":[{"loc":["body","conf","n"],"msg":"too small"},{"loc":["query","limit"],"msg":"no"}]}"#,
                "`conf.n`: too small\n`query.limit`: no",
            ),
            (r#"{"detail":"because"}"#, "because"),
            (r#"{"title":"Not Found"}"#, "Not Found"),
        ] {
            assert_eq!(explain(answer).as_deref(), Some(said), "{answer}");
        }
    }

    #[test]
    fn status_decides_the_exit_code() {
        let client = client("http://user:pw@h");
        for (status, kind) in [
            (401, Kind::Denied),
            (403, Kind::Denied),
            (404, Kind::NotFound),
            (409, Kind::Refused),
            (422, Kind::Refused),
            (413, Kind::Refused),
            (500, Kind::Failed),
            (503, Kind::Unreachable),
        ] {
            let error = client.refusal(StatusCode::from_u16(status).unwrap(), r#"{"detail":"because"}"#);
            assert_eq!(error.kind(), kind);
            assert!(error.to_string().starts_with(&format!("error: because (HTTP {status})")), "{error}");
        }
        assert!(!client.refusal(StatusCode::NOT_FOUND, "<html>").to_string().contains("pw"));
    }

    #[test]
    fn a_token_of_the_environment_is_not_mended_by_a_sign_in() {
        let mut client = client("http://h");
        let hint = |client: &Client| client.refusal(StatusCode::UNAUTHORIZED, "").to_string();
        assert!(hint(&client).contains("hint: sign in with `airlock login`"));
        client.is_env_token = true;
        assert!(hint(&client).contains("hint: AIRLOCK_TOKEN is set, and this server does not accept it: unset it"));
    }

    #[test]
    fn the_address_of_a_server_is_a_url_of_http() {
        let host = |text: &str| server_url(text).map(|url| url.host_str().unwrap_or_default().to_owned());
        assert_eq!(host("http://[::1]:8080").as_deref(), Ok("[::1]"));
        assert_eq!(host("https://airlock.example.org/below/").as_deref(), Ok("airlock.example.org"));
        for wrong in ["127.0.0.1:8080", "localhost:8080", "http://::1:8080", "ftp://h", "", "airlock"] {
            let why = host(wrong).unwrap_err();
            assert!(
                why.ends_with("write it as http://127.0.0.1:8080, an address of IPv6 as http://[::1]:8080"),
                "{why}"
            );
        }
    }

    #[test]
    fn an_answer_that_is_not_ours_is_told_as_such() {
        let client = client("http://user:pw@h");
        let page = "<!doctype html><title>Sign in</title>";
        for said in [
            client.read(page).unwrap_err().to_string(),
            client.refusal(StatusCode::NOT_FOUND, page).to_string(),
            client.refusal(StatusCode::UNAUTHORIZED, page).to_string(),
            client.refusal(StatusCode::FORBIDDEN, page).to_string(),
            client.refusal(StatusCode::INTERNAL_SERVER_ERROR, "").to_string(),
        ] {
            assert!(said.contains("\nhint: is it an Airlock server"), "{said}");
            assert!(!said.contains("pw") && said.contains("http://user@h/ answered"), "{said}");
        }
        assert!(client.read(page).unwrap_err().to_string().contains("a page of HTML"));
        let gateway = client.refusal(StatusCode::BAD_GATEWAY, "<html>");
        assert!(gateway.to_string().contains("hint: a proxy answered"), "{gateway}");
        assert_eq!(gateway.kind(), Kind::Unreachable);
        let too_large = client.refusal(StatusCode::PAYLOAD_TOO_LARGE, "<html>").to_string();
        assert!(too_large.contains("hint: a proxy takes no bodies of this length"), "{too_large}");
        // One line is for people.
        let waits = client.refusal(StatusCode::SERVICE_UNAVAILABLE, "no process leads at this moment\n").to_string();
        assert_eq!(waits, "error: no process leads at this moment (HTTP 503)\nhint: try again in a moment");
    }

    /// By no proxy of whoever runs the tests.
    fn direct(base: &str) -> Client {
        let client = client(base);
        Client { http: reqwest::Client::builder().no_proxy().build().unwrap(), ..client }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_and_one_that_is_none_are_told_apart() {
        // A port that was free a moment ago, on an address of IPv6 where there is one.
        let free = |address: &str| std::net::TcpListener::bind((address, 0)).and_then(|socket| socket.local_addr());
        let nobody = free("::1").or_else(|_| free("127.0.0.1")).unwrap();
        let client = direct(&format!("http://{nobody}"));
        let said = client.get(&["dags"], &[]).await.unwrap_err().to_string();
        assert!(said.starts_with(&format!("error: can't reach http://{nobody}/")), "{said}");
        assert!(said.contains("hint: start a server with `airlock serve`"), "{said}");

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let hangs_up = async { while listener.accept().await.is_ok() {} };
        let client = direct(&format!("http://{address}"));
        let said = tokio::select! {
            said = client.get(&["dags"], &[]) => said.unwrap_err().to_string(),
            () = hangs_up => panic!("nobody connects any more"),
        };
        assert!(said.contains("hint: if the server there speaks TLS, name it as https://"), "{said}");
    }

    #[test]
    fn a_list_that_is_cut_says_of_how_many() {
        let said = |shown, limit, answer| cut(shown, limit, &answer);
        let all = |total: u64| json!({"total_entries": total, "total_entries_limit": 10_000});
        assert_eq!(said(1000, 1000, all(10_000)).as_deref(), Some("1,000 of 10,000 shown; --limit shows more"));
        assert_eq!(said(100, 100, all(10_001)).as_deref(), Some("100 of more than 10,000 shown; --limit shows more"));
        assert_eq!(
            said(2, 2, json!({"total_entries": 20_000})).as_deref(),
            Some("2 of 20,000 shown; --limit shows more")
        );
        assert_eq!(said(2, 2, json!({"total_entries": 2})), None, "it is whole");
        assert_eq!(said(2, 5, json!({"total_entries": 3})), None, "another limit would show no more");
        assert_eq!(said(2, 2, json!({})), None, "nobody counted");
    }
}
