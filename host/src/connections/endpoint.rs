//! A connection as the place that HTTP requests go to: its base URL, and the credentials that each request gets.

use std::net::Ipv6Addr;

use reqwest::{
    Client, Request, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
};
use serde_json::Value;

use super::{Connection, Connections, tokens::Grant};
use crate::{blobs::Signer, secrets::SecretString};

/// Where requests by a connection go, and what is added to them.
///
/// The host is a URL or a host's name, of `schema` (or the connection's type, or `http`) and `port`. The extra may have
/// `headers`, added to each request, and `auth`: `none`, `basic`, `bearer`, `header`, `oauth2` or `sigv4`. Without it a
/// password with a login is basic authentication, one without is a bearer token, and a connection of type `aws` signs.
#[derive(Debug)]
pub struct Endpoint {
    base: Url,
    headers: HeaderMap,
    auth: Auth,
}

#[derive(Debug)]
enum Auth {
    None,
    /// One header with all of its value.
    Header(HeaderName, HeaderValue),
    OAuth2(Grant),
    SigV4(Keys),
}

#[derive(Debug)]
struct Keys {
    key_id: String,
    secret_key: SecretString,
    session_token: Option<SecretString>,
    region: String,
    service: String,
}

/// Why no request can be made by a connection; the text is for people, and holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The connection is not what it should be.
    #[error("{0}")]
    Wrong(String),
    /// The other side did not give what a request needs.
    #[error("{0}")]
    Unavailable(String),
}

impl Endpoint {
    /// # Errors
    /// If the connection has no host, or what it says of authentication can't be.
    pub fn of(connection: &Connection) -> Result<Self, EndpointError> {
        let wrong = |what: &str| EndpointError::Wrong(format!("connection `{}` {what}", connection.row.id));
        let extra = connection.extra();
        if connection.extra.is_some() && !extra.is_object() {
            return Err(wrong("has an extra that is no JSON object"));
        }
        let text = |field: &str| extra.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
        let base = base(connection, text("endpoint_url")).map_err(wrong)?;
        let mut headers = HeaderMap::new();
        if let Some(Value::Object(fields)) = extra.get("headers") {
            for (name, value) in fields {
                let value = value.as_str().and_then(secret_header);
                match (HeaderName::try_from(name.as_str()), value) {
                    (Ok(name), Some(value)) => drop(headers.insert(name, value)),
                    _ => return Err(wrong(&format!("has a header `{name}` that can't be sent"))),
                }
            }
        }
        let login = connection.row.login.as_deref().filter(|login| !login.is_empty());
        let password = connection.password.as_ref();
        let usual = match (connection.row.conn_type.as_str(), login, password) {
            ("aws" | "s3", Some(_), Some(_)) => "sigv4",
            (_, Some(_), _) => "basic",
            (_, None, Some(_)) => "bearer",
            (_, None, None) => "none",
        };
        let header = |name: HeaderName, value: String| {
            let value = secret_header(&value).ok_or_else(|| wrong("has a password that can't be sent in a header"))?;
            Ok(Auth::Header(name, value))
        };
        let needed = || password.ok_or_else(|| wrong("has no password"));
        let login_needed = || login.ok_or_else(|| wrong("has no login"));
        let auth = match text("auth").unwrap_or(usual) {
            "none" => Auth::None,
            "basic" => header(AUTHORIZATION, basic(login.unwrap_or_default(), password))?,
            "bearer" => header(AUTHORIZATION, format!("Bearer {}", needed()?.expose()))?,
            "header" => {
                let name = text("auth_header").ok_or_else(|| wrong("lacks `auth_header` in its extra"))?;
                let name = HeaderName::try_from(name).map_err(|_| wrong("has an `auth_header` that is no header"))?;
                header(name, needed()?.expose().to_owned())?
            }
            "oauth2" => Auth::OAuth2(Grant {
                token_url: text("token_url")
                    .and_then(|url| Url::parse(url).ok())
                    .filter(|url| matches!(url.scheme(), "http" | "https"))
                    .ok_or_else(|| wrong("needs a `token_url` in its extra, an http or https URL"))?,
                client_id: login_needed()?.to_owned(),
                client_secret: needed()?.clone(),
                scope: text("scope").map(ToOwned::to_owned),
                audience: text("audience").map(ToOwned::to_owned),
            }),
            "sigv4" => {
                let keys = Keys {
                    key_id: login_needed()?.to_owned(),
                    secret_key: needed()?.clone(),
                    session_token: text("aws_session_token").map(|token| token.to_owned().into()),
                    region: text("region_name").unwrap_or("us-east-1").to_owned(),
                    service: text("service").unwrap_or("s3").to_owned(),
                };
                let plain = |text: &str| text.chars().all(|c| c.is_ascii_graphic());
                let token = keys.session_token.as_ref().map_or("", SecretString::expose);
                if ![&keys.key_id, &keys.region, &keys.service, token].into_iter().all(plain) {
                    return Err(wrong("has keys that can't be sent in a header"));
                }
                Auth::SigV4(keys)
            }
            other => {
                return Err(wrong(&format!(
                    "has an unknown `auth` in its extra, `{other}`; there are none, basic, bearer, header, oauth2, sigv4"
                )));
            }
        };
        Ok(Self { base, headers, auth })
    }

    /// The connection's own URL.
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// The URL of `path` below the connection's, with its query.
    pub fn url(&self, path: &str, query: Option<&str>) -> Url {
        let mut url = self.base.clone();
        let joined = format!("{}/{}", url.path().trim_end_matches('/'), path.trim_start_matches('/'));
        url.set_path(&joined);
        url.set_query(query);
        url
    }

    /// Adds the credentials to `request`, in place of what it brought in their stead. Answers those that were got for it.
    ///
    /// # Errors
    /// If a token is needed and not given, or the request can't be signed.
    pub async fn authorize(
        &self,
        connections: &Connections,
        client: &Client,
        request: &mut Request,
    ) -> Result<Option<SecretString>, EndpointError> {
        for (name, value) in &self.headers {
            request.headers_mut().insert(name, value.clone());
        }
        match &self.auth {
            Auth::None => Ok(None),
            Auth::Header(name, value) => {
                request.headers_mut().insert(name, value.clone());
                Ok(None)
            }
            Auth::OAuth2(grant) => {
                let token = connections.tokens.get(client, grant).await.map_err(EndpointError::Unavailable)?;
                let value = secret_header(&format!("Bearer {}", token.expose()));
                let value = value.ok_or_else(|| EndpointError::Unavailable("the token can't be sent".to_owned()))?;
                request.headers_mut().insert(AUTHORIZATION, value);
                Ok(Some(token))
            }
            Auth::SigV4(Keys { key_id, secret_key, session_token, region, service }) => {
                let session_token = session_token.as_ref().map(SecretString::expose);
                let signer = Signer { key_id, secret_key: secret_key.expose(), session_token, region, service };
                signer.sign(request).map_err(|error| EndpointError::Wrong(error.to_string()))?;
                Ok(None)
            }
        }
    }
}

/// The connection's own URL. `endpoint_url` is that of an `aws` connection, whose host is often empty.
pub(super) fn base(connection: &Connection, endpoint_url: Option<&str>) -> Result<Url, &'static str> {
    let row = &connection.row;
    let host = row.host.as_deref().filter(|host| !host.is_empty()).or(endpoint_url).ok_or("has no host")?;
    let text = if host.contains("://") {
        host.to_owned()
    } else {
        // As people write it, without the brackets of URLs.
        let address = host.parse::<Ipv6Addr>().map(|address| format!("[{address}]"));
        let host = address.as_deref().unwrap_or(host);
        let scheme = row.schema.as_deref().or(Some(&row.conn_type)).filter(|name| matches!(*name, "http" | "https"));
        format!("{}://{host}", scheme.unwrap_or("http"))
    };
    let mut url = Url::parse(&text).map_err(|_| "has a host that is no URL")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("is neither http nor https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has a user in its URL; write it as login and password");
    }
    if row.port.is_some() {
        url.set_port(row.port).map_err(|()| "has a host that takes no port")?;
    }
    Ok(url)
}

/// RFC 7617
fn basic(login: &str, password: Option<&SecretString>) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let password = password.map_or("", SecretString::expose);
    format!("Basic {}", STANDARD.encode(format!("{login}:{password}")))
}

fn secret_header(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{model::time::Timestamp, store::ConnectionRow};

    fn connection(
        conn_type: &str,
        host: &str,
        login: Option<&str>,
        password: Option<&str>,
        extra: &Value,
    ) -> Connection {
        Connection {
            row: ConnectionRow {
                id: "c".parse().unwrap(),
                conn_type: conn_type.into(),
                description: None,
                host: Some(host.into()),
                schema: None,
                login: login.map(Into::into),
                port: None,
                sealed_password: None,
                sealed_extra: None,
                updated_at: Timestamp::from_micros(0),
            },
            password: password.map(|text| text.to_owned().into()),
            extra: (!extra.is_null()).then(|| extra.to_string().into()),
        }
    }

    fn header_of(connection: &Connection) -> Option<(String, String)> {
        match Endpoint::of(connection).unwrap().auth {
            Auth::Header(name, value) => Some((name.to_string(), value.to_str().unwrap().to_owned())),
            _ => None,
        }
    }

    #[test]
    fn what_is_added_follows_from_the_connection() {
        let host = "api.example.org";
        let own = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
        let basic = connection("http", host, Some("ada"), Some("pw"), &Value::Null);
        assert_eq!(header_of(&basic), own("authorization", "Basic YWRhOnB3"));
        let bearer = connection("http", host, None, Some("pw"), &Value::Null);
        assert_eq!(header_of(&bearer), own("authorization", "Bearer pw"));
        let header = connection("http", host, None, Some("pw"), &json!({"auth": "header", "auth_header": "x-api-key"}));
        assert_eq!(header_of(&header), own("x-api-key", "pw"));
        let none = connection("http", host, Some("ada"), Some("pw"), &json!({"auth": "none"}));
        assert!(matches!(Endpoint::of(&none).unwrap().auth, Auth::None));
        let aws = connection("aws", host, Some("id"), Some("key"), &json!({"region_name": "eu-west-1"}));
        assert!(matches!(Endpoint::of(&aws).unwrap().auth, Auth::SigV4(keys) if keys.region == "eu-west-1"));
    }

    #[test]
    fn a_connection_that_can_not_serve_is_refused_and_says_why() {
        let refused = |conn_type: &str, host: &str, login, password, extra: Value| {
            Endpoint::of(&connection(conn_type, host, login, password, &extra)).unwrap_err().to_string()
        };
        assert!(refused("http", "", None, None, Value::Null).ends_with("has no host"));
        assert!(refused("http", "ftp://x", None, None, Value::Null).contains("neither http nor https"));
        assert!(refused("http", "http://a:b@x", None, None, Value::Null).contains("user in its URL"));
        assert!(refused("http", "x", None, None, json!({"auth": "magic"})).contains("`magic`"));
        assert!(refused("http", "x", None, None, json!({"auth": "bearer"})).contains("no password"));
        assert!(refused("http", "x", Some("id"), Some("s"), json!({"auth": "oauth2"})).contains("token_url"));
        assert!(refused("http", "x", None, None, json!({"headers": {"a b": "c"}})).contains("`a b`"));
        assert!(refused("http", "x", None, Some("line\nbreak"), Value::Null).contains("can't be sent"));
    }

    #[test]
    fn a_host_may_be_an_address_of_ipv6() {
        for (host, url) in [
            ("::1", "http://[::1]:8080/"),
            ("[::1]", "http://[::1]:8080/"),
            ("http://[2001:db8::1]/api", "http://[2001:db8::1]:8080/api"),
        ] {
            let mut connection = connection("http", host, None, None, &Value::Null);
            connection.row.port = Some(8080);
            assert_eq!(Endpoint::of(&connection).unwrap().base().as_str(), url);
        }
    }

    #[test]
    fn paths_stay_below_the_base() {
        let endpoint = Endpoint::of(&connection("https", "api.example.org/v1/", None, None, &Value::Null)).unwrap();
        assert_eq!(endpoint.url("/users", Some("a=b")).as_str(), "https://api.example.org/v1/users?a=b");
        assert_eq!(endpoint.url("/", None).as_str(), "https://api.example.org/v1/");
        // Whoever parsed the request's URL has removed dots already; ones that are left do not lead out either.
        assert_eq!(endpoint.url("//evil.example.org/x", None).host_str(), Some("api.example.org"));
        assert_eq!(endpoint.url("@evil.example.org/x", None).host_str(), Some("api.example.org"));
    }
}
