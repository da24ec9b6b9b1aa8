//! An S3 server that really speaks HTTP: `s3s-fs`, in this process.
//!
//! Its known gaps (racing conditional puts, conditional gets, listing while deleting) are of no use to Airlock: the
//! database decides who wins, and keys are never written twice.

use std::{fs, net::SocketAddr, path::PathBuf, time::SystemTime};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinSet};

const ACCESS_KEY: &str = "AIRLOCKTEST";
const SECRET_KEY: &str = "airlock-test-secret";

/// A bucket, as the server's settings name it.
#[derive(Debug)]
pub struct Bucket {
    /// For `--storage-url`.
    pub url: String,
    /// Credentials, as variables.
    pub env: Vec<(String, String)>,
    local: Option<Local>,
}

/// The one bucket of a server in this process.
pub const BUCKET: &str = "airlock";

#[derive(Debug)]
struct Local {
    folder: TempDir,
    address: SocketAddr,
    serving: Option<JoinSet<()>>,
}

impl Bucket {
    /// The bucket that `AIRLOCK_TEST_S3_URL` names (credentials in `AWS_*`), or one of a server in this process.
    pub async fn open() -> Self {
        if let Ok(url) = std::env::var("AIRLOCK_TEST_S3_URL") {
            let env = std::env::vars().filter(|(name, _)| name.starts_with("AWS_")).collect();
            return Self { url, env, local: None };
        }
        Self::local().await
    }

    /// A bucket of a server in this process, which can be taken down.
    pub async fn local() -> Self {
        let folder = TempDir::with_prefix("airlock-s3-").expect("a temporary folder can be made");
        std::fs::create_dir(folder.path().join(BUCKET)).expect("the temporary folder can be written");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let mut local = Local { folder, address, serving: None };
        local.serve(listener);
        Self {
            url: format!(
                "s3://{BUCKET}/files?endpoint=http://{address}&region=us-east-1&allow_http=true&path_style=true"
            ),
            env: vec![
                ("AWS_ACCESS_KEY_ID".into(), ACCESS_KEY.into()),
                ("AWS_SECRET_ACCESS_KEY".into(), SECRET_KEY.into()),
            ],
            local: Some(local),
        }
    }

    /// Where the server of this process listens, as `127.0.0.1:40123`, and its keys.
    pub fn endpoint(&self) -> (SocketAddr, &'static str, &'static str) {
        (self.local.as_ref().expect("only a local server has keys of its own").address, ACCESS_KEY, SECRET_KEY)
    }

    /// Puts an object, past the server.
    pub fn put(&self, key: &str, content: &str) {
        let local = self.local.as_ref().expect("only a local server has a folder");
        std::fs::write(local.folder.path().join(BUCKET).join(key), content)
            .expect("the temporary folder can be written");
    }

    /// Puts an object, past the server, written at `at`; none: now.
    pub fn put_dated(&self, key: &str, content: &[u8], at: Option<SystemTime>) {
        let path = self.path(key);
        let folder = path.parent().expect("a key is below the bucket");
        fs::create_dir_all(folder).expect("the temporary folder can be written");
        fs::write(&path, content).expect("the temporary folder can be written");
        if let Some(at) = at {
            let file = fs::File::options().append(true).open(&path).expect("it was written");
            file.set_modified(at).expect("it is ours");
        }
    }

    /// Reads an object, past the server; none if it is not there.
    pub fn read(&self, key: &str) -> Option<Vec<u8>> {
        fs::read(self.path(key)).ok()
    }

    /// Deletes an object, or all below a prefix, past the server.
    pub fn delete(&self, key: &str) {
        let path = self.path(key);
        let deleted = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        deleted.expect("it is there");
    }

    /// The objects below a prefix, past the server.
    pub fn keys_below(&self, prefix: &str) -> Vec<String> {
        let mut folders = vec![prefix.to_owned()];
        let mut keys = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(self.path(&folder)).into_iter().flatten().flatten() {
                let key = format!("{folder}/{}", entry.file_name().to_string_lossy());
                if entry.path().is_dir() { folders.push(key) } else { keys.push(key) }
            }
        }
        keys
    }

    fn path(&self, key: &str) -> PathBuf {
        let local = self.local.as_ref().expect("only a local server has a folder");
        local.folder.path().join(BUCKET).join(key)
    }

    /// Takes the server down: connections are refused. Only a server of this process can be taken down.
    pub fn go_down(&mut self) {
        self.local.as_mut().expect("only a local server can be taken down").serving = None;
    }

    /// Brings it up again.
    pub async fn come_back(&mut self) {
        let local = self.local.as_mut().expect("only a local server can come back");
        let listener = TcpListener::bind(local.address).await.expect("the port is still free");
        local.serve(listener);
    }
}

impl Local {
    fn serve(&mut self, listener: TcpListener) {
        let files = s3s_fs::FileSystem::new(self.folder.path()).expect("the temporary folder can be read");
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = service.build();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            // Dropped with this task, and with them their sockets.
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let service = service.clone();
                connections.spawn(async move {
                    let server = Builder::new(TokioExecutor::new());
                    // A client that goes away is no fault of the server.
                    let _ = server.serve_connection(TokioIo::new(socket), service).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        self.serving = Some(serving);
    }
}
