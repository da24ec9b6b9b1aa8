//! Certificates, and whoever issues them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
    date_time_ymd,
};
use tempfile::TempDir;

/// Issues certificates for servers on this machine.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as files.
#[derive(Debug, Clone)]
pub struct Issued {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// One of this name.
    pub fn new(name: &str) -> Self {
        let folder = TempDir::with_prefix("airlock-authority-").expect("a temporary folder can be made");
        let mut params = CertificateParams::new([]).expect("it has no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named(name);
        let key = key();
        let root = params.self_signed(&key).expect("a certificate can be signed").pem();
        fs::write(folder.path().join("root.pem"), &root).expect("the temporary folder can be written");
        Self { folder, issuer: Issuer::new(params, key) }
    }

    /// Its own certificate: those who trust it trust what it issues.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    /// A certificate for `name`, until the end of `year`.
    pub fn issue(&self, name: &str, year: i32) -> Issued {
        let mut params = CertificateParams::new([name.to_owned()]).expect("it is a name");
        params.distinguished_name = named(name);
        params.not_after = date_time_ymd(year, 12, 31);
        let key = key();
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate can be signed");
        let file = |what: &str| self.folder.path().join(format!("{name}-{year}-{what}.pem"));
        let issued = Issued { cert: file("cert"), key: file("key") };
        fs::write(&issued.cert, cert.pem()).expect("the temporary folder can be written");
        fs::write(&issued.key, key.serialize_pem()).expect("the temporary folder can be written");
        issued
    }
}

/// A client that trusts whoever is in this file of PEM, and nobody else.
pub(crate) fn client(root: &Path) -> reqwest::Client {
    let root = fs::read(root).expect("the authority is there");
    let root = reqwest::Certificate::from_pem(&root).expect("it is a certificate");
    reqwest::Client::builder().tls_certs_only([root]).no_proxy().build().expect("a client can be made")
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key can be made")
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}
