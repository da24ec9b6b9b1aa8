//! TLS on the server's own address. Certificate and key are read anew when their files change, and connections that are open stay so.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// A client that takes longer to agree on keys is cut off.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The files are looked at so often at most, when a connection comes.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// With what a client that speaks TLS begins (RFC 8446, 5.1: `handshake`). No request in plain HTTP does.
const HANDSHAKE: u8 = 22;

/// The files of the server's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those between it and its root, as PEM.
    pub cert: PathBuf,
    /// The private key, as PEM.
    pub key: PathBuf,
}

/// Why the files are of no use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("can't read `{}`, which `{setting}` names", path.display())]
    Unreadable { setting: &'static str, path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("there is no certificate in `{}`, which `tls.cert` names", .0.display())]
    NoCertificate(PathBuf),
    #[error("the certificate in `{}` can't be used with the key in `{}`", cert.display(), key.display())]
    Unusable { cert: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("no protocol that is safe can be used")]
    Protocols(#[source] rustls::Error),
}

/// What helps with an error of a client, which `text` is with its causes; none if it is not of TLS.
pub fn hint(text: &str) -> Option<&'static str> {
    const AUTHORITY: &str = "name the file of your authority's certificate by SSL_CERT_FILE";
    const NAME: &str =
        "name the server as its certificate does, or have the name that you use put into the certificate";
    const TIME: &str = "have the server's certificate renewed; if it is a good one, set this machine's clock";
    // In the words of rustls.
    let signs = [
        ("UnknownIssuer", AUTHORITY),
        // Another authority of the same name.
        ("BadSignature", AUTHORITY),
        ("InvalidContentType", "what answers there speaks no TLS: is it http://?"),
        ("NotValidForName", NAME),
        ("not valid for name", NAME),
        ("certificate: Expired", TIME),
        ("certificate expired", TIME),
        ("certificate: NotValidYet", TIME),
        ("certificate not valid yet", TIME),
    ];
    signs.into_iter().find(|(sign, _)| text.contains(*sign)).map(|(_, hint)| hint)
}

/// Agrees on keys with those who connect.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    files: Arc<Files>,
}

/// The certificate as it was read last.
#[derive(Debug)]
struct Files {
    paths: TlsFiles,
    provider: Arc<CryptoProvider>,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    key: Arc<CertifiedKey>,
    stamps: Stamps,
    looked_at: Instant,
}

/// When each file was changed, and its length.
type Stamps = [Option<(SystemTime, u64)>; 2];

impl Tls {
    /// # Errors
    /// If the files hold no certificate with its key.
    pub fn open(paths: TlsFiles) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let stamps = stamps(&paths);
        let key = read(&paths, &provider)?;
        let seen = Mutex::new(Seen { key, stamps, looked_at: Instant::now() });
        let files = Arc::new(Files { paths, provider: Arc::clone(&provider), seen });
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(TlsError::Protocols)?.with_no_client_auth();
        let mut config = config.with_cert_resolver(Arc::clone(&files) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), files })
    }

    /// Agrees on keys with whoever connected.
    ///
    /// # Errors
    /// If they do not, or take too long. Who asks in plain HTTP is told so.
    pub async fn accept(&self, mut socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.look_again(false).await;
        let agree = async {
            let mut first = [0];
            if socket.peek(&mut first).await? > 0 && first[0] != HANDSHAKE {
                refuse_plain(&mut socket).await?;
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not speak TLS"));
            }
            self.acceptor.accept(socket).await
        };
        let agreed = tokio::time::timeout(HANDSHAKE_TIMEOUT, agree).await;
        agreed.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Reads the files anew if they changed. What can't be used is passed over, and said in the log.
    ///
    /// `now`: also if they were looked at a moment ago.
    pub async fn look_again(&self, now: bool) {
        {
            let mut seen = self.files.lock();
            if !now && seen.looked_at.elapsed() < LOOK_INTERVAL {
                return;
            }
            seen.looked_at = Instant::now();
        }
        let files = Arc::clone(&self.files);
        if let Err(error) = tokio::task::spawn_blocking(move || files.reload()).await {
            tracing::error!(%error, "the certificate could not be looked at");
        }
    }
}

/// Says what is wrong to a client that speaks plain HTTP, which otherwise would see a connection that ends.
async fn refuse_plain(socket: &mut TcpStream) -> io::Result<()> {
    const TEXT: &str = "this address speaks TLS only: ask for https://\n";
    // What is not read would take the answer along.
    let mut asked = [0; 8 << 10];
    let _bytes = socket.read(&mut asked).await?;
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{TEXT}",
        TEXT.len()
    );
    socket.write_all(answer.as_bytes()).await?;
    socket.shutdown().await
}

impl Files {
    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reload(&self) {
        let found = stamps(&self.paths);
        if self.lock().stamps == found {
            return;
        }
        match read(&self.paths, &self.provider) {
            Ok(key) => {
                let mut seen = self.lock();
                (seen.key, seen.stamps) = (key, found);
                tracing::info!(cert = %self.paths.cert.display(), "the certificate was read anew");
            }
            // Half of both may be written. It is looked at again with a later connection.
            Err(error) => {
                let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::error!(%error, source, "the certificate changed and can't be used; the one of before is kept");
            }
        }
    }
}

impl ResolvesServerCert for Files {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.lock().key))
    }
}

fn stamps(paths: &TlsFiles) -> Stamps {
    let stamp = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    [stamp(&paths.cert), stamp(&paths.key)]
}

fn read(paths: &TlsFiles, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
    let unreadable = |setting, path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::Unreadable { setting, path, source }
    };
    let certs = CertificateDer::pem_file_iter(&paths.cert).map_err(unreadable("tls.cert", &paths.cert))?;
    let certs = certs.collect::<Result<Vec<_>, _>>().map_err(unreadable("tls.cert", &paths.cert))?;
    if certs.is_empty() {
        return Err(TlsError::NoCertificate(paths.cert.clone()));
    }
    let key = PrivateKeyDer::from_pem_file(&paths.key).map_err(unreadable("tls.key", &paths.key))?;
    let key = CertifiedKey::from_der(certs, key, provider);
    let unusable = |source| TlsError::Unusable { cert: paths.cert.clone(), key: paths.key.clone(), source };
    key.map(Arc::new).map_err(unusable)
}

#[cfg(test)]
mod tests;
