//! A real client over TLS, with certificates that are made here.

use std::net::SocketAddr;

use axum::{Router, extract::Request, http::header, routing::get};
use rcgen::{CertifiedKey as Made, generate_simple_self_signed};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::oneshot};

use super::*;
use crate::{
    api::identity::{is_https, peer_of},
    cli::http::{self, Front},
    model::proxies::TrustedProxies,
};

#[test]
fn errors_of_a_client_say_what_helps() {
    use rustls::{CertificateError, Error, InvalidMessage};
    let hint = |error: Error| hint(&format!("client error (Connect): {error}")).unwrap_or_default();
    let of_certificate = |why| hint(Error::InvalidCertificate(why));
    assert!(of_certificate(CertificateError::UnknownIssuer).contains("SSL_CERT_FILE"));
    assert!(of_certificate(CertificateError::BadSignature).contains("SSL_CERT_FILE"));
    assert!(of_certificate(CertificateError::NotValidForName).contains("as its certificate does"));
    assert!(of_certificate(CertificateError::Expired).contains("renewed"));
    assert!(of_certificate(CertificateError::NotValidYet).contains("clock"));
    assert!(hint(InvalidMessage::InvalidContentType.into()).contains("http://"));
    assert_eq!(super::hint("tcp connect error: Connection refused (os error 111)"), None);
}

fn write(folder: &TempDir) -> (TlsFiles, reqwest::Certificate) {
    let Made { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsFiles { cert: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    fs::write(&files.cert, cert.pem()).unwrap();
    fs::write(&files.key, signing_key.serialize_pem()).unwrap();
    (files, reqwest::Certificate::from_pem(cert.pem().as_bytes()).unwrap())
}

fn client(root: &reqwest::Certificate) -> reqwest::Client {
    let _ = ring::default_provider().install_default();
    reqwest::Client::builder().tls_certs_only([root.clone()]).no_proxy().build().unwrap()
}

/// What a handler sees of where a request comes from.
async fn told(request: Request) -> String {
    let peer = peer_of(request.extensions()).unwrap();
    let host = request.headers().get(header::HOST).map_or("none", |host| host.to_str().unwrap());
    format!("{peer} {} {host}", is_https(request.headers()))
}

async fn serve(front: Front) -> (SocketAddr, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    #[expect(clippy::disallowed_methods, reason = "it ends when the test drops its sender")]
    tokio::spawn(http::serve(listener, Router::new().route("/", get(told)), front, async move {
        let _ = stopped.await;
    }));
    (address, stop)
}

#[tokio::test]
async fn a_certificate_is_changed_while_connections_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (files, first) = write(&folder);
    let tls = Tls::open(files.clone()).unwrap();
    let (address, _stop) = serve(Front { tls: Some(tls.clone()), ..Front::default() }).await;
    let url = format!("https://localhost:{}/", address.port());
    let old = client(&first);
    let answer = old.get(&url).send().await.unwrap();
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    assert_eq!(answer.headers()["strict-transport-security"], "max-age=31536000");
    assert_eq!(answer.text().await.unwrap(), format!("127.0.0.1 true localhost:{}", address.port()));
    let plain = reqwest::Client::builder().tls_certs_only([first.clone()]).http1_only().no_proxy().build().unwrap();
    assert_eq!(plain.get(&url).send().await.unwrap().version(), reqwest::Version::HTTP_11);
    let told = reqwest::get(url.replace("https", "http")).await.unwrap();
    assert_eq!(told.status(), 400, "it speaks TLS only");
    assert_eq!(told.text().await.unwrap(), "this address speaks TLS only: ask for https://\n");

    // What can't be used changes nothing.
    fs::write(&files.cert, "nonsense").unwrap();
    tls.look_again(true).await;
    assert!(client(&first).get(&url).send().await.is_ok());

    let (_, second) = write(&folder);
    tls.look_again(true).await;
    assert!(client(&second).get(&url).send().await.is_ok(), "whoever comes now is shown the new one");
    assert!(client(&first).get(&url).send().await.is_err());
    assert!(old.get(&url).send().await.is_ok(), "a connection of before stays");
}

#[test]
fn files_that_can_not_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (files, _) = write(&folder);
    let other = tempfile::tempdir().unwrap();
    let (other, _) = write(&other);
    let nothing = folder.path().join("nothing.pem");
    fs::write(&nothing, "").unwrap();
    for (files, what) in [
        (TlsFiles { cert: folder.path().join("none.pem"), ..files.clone() }, "none.pem`, which `tls.cert` names"),
        (TlsFiles { cert: nothing.clone(), ..files.clone() }, "no certificate in"),
        (TlsFiles { key: nothing, ..files.clone() }, "which `tls.key` names"),
        (TlsFiles { key: other.key, ..files }, "can't be used with the key"),
    ] {
        let Err(error) = Tls::open(files) else { panic!("{what}") };
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[tokio::test]
async fn only_a_trusted_proxy_says_where_a_request_comes_from() {
    let ask = async |proxies: &str, headers: &[(&'static str, &str)]| {
        let proxies: TrustedProxies = proxies.parse().unwrap();
        let (address, _stop) = serve(Front { proxies, ..Front::default() }).await;
        let _ = ring::default_provider().install_default();
        let mut request = reqwest::Client::builder().no_proxy().build().unwrap().get(format!("http://{address}/"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        let is_strict = answer.headers().contains_key("strict-transport-security");
        (answer.text().await.unwrap().rsplit_once(' ').unwrap().0.to_owned(), is_strict)
    };
    let forwarded = [("x-forwarded-for", "6.6.6.6, 192.0.2.7"), ("x-forwarded-proto", "https")];
    assert_eq!(ask("", &forwarded).await, ("127.0.0.1 false".to_owned(), false));
    assert_eq!(ask("10.0.0.0/8", &forwarded).await, ("127.0.0.1 false".to_owned(), false));
    assert_eq!(ask("127.0.0.1", &forwarded).await, ("192.0.2.7 true".to_owned(), true));
    assert_eq!(ask("127.0.0.0/8,192.0.2.0/24", &forwarded).await, ("6.6.6.6 true".to_owned(), true));
    assert_eq!(ask("127.0.0.1", &[]).await, ("127.0.0.1 false".to_owned(), false));
}
