//! `airlock serve`, started on a folder of its own.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    authority::{self, Authority, Issued},
    build, family,
    http::Client,
    postgres,
    wait::until,
};

/// The password of `admin` on every server of the tests.
pub const ADMIN_PASSWORD: &str = "correct horse battery staple";

/// Of all servers on one database: 32 bytes.
pub const SECRET_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Names a database of PostgreSQL in which each server is to have a schema of its own.
const DATABASE: &str = "AIRLOCK_TEST_DATABASE_URL";
pub(crate) const SERVERS_DATABASE: &str = "AIRLOCK_DATABASE_URL";

/// A server, and the folder that it keeps its data in. Ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    folder: TempDir,
    config: Config,
    child: Child,
    /// As `http://127.0.0.1:40123`; the same after a restart.
    pub url: String,
}

#[derive(Debug, Clone, Default)]
struct Config {
    args: Vec<OsString>,
    env: Vec<(String, String)>,
    /// None: a port that is free.
    port: Option<u16>,
    /// The data's folder is a file system of this size, which only the server sees.
    disk: Option<String>,
    /// None: the one under test.
    binary: Option<PathBuf>,
    /// Whom its clients trust, if it speaks TLS.
    root: Option<PathBuf>,
}

/// How a server is to be started.
#[derive(Debug, Default)]
pub struct Builder {
    config: Config,
}

impl Builder {
    /// Adds a flag and its value, as `("--parallelism", "4")`.
    #[must_use]
    pub fn flag(mut self, flag: &str, value: &str) -> Self {
        self.config.args.extend([flag.into(), value.into()]);
        self
    }

    /// Adds a flag without a value.
    #[must_use]
    pub fn switch(mut self, flag: &str) -> Self {
        self.config.args.push(flag.into());
        self
    }

    /// Adds a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.config.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes this port, where others have to know it before the server does.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.config.port = Some(port);
        self
    }

    /// Puts the data on a disk of its own of `size`, as `64m`.
    #[must_use]
    pub fn on_disk_of(mut self, size: &str) -> Self {
        self.config.disk = Some(size.to_owned());
        self
    }

    /// Speaks TLS with this certificate of `authority`, and trusts that one.
    #[must_use]
    pub fn tls(mut self, authority: &Authority, issued: &Issued) -> Self {
        let root = authority.root();
        for (name, path) in
            [("AIRLOCK_TLS_CERT", &issued.cert), ("AIRLOCK_TLS_KEY", &issued.key), ("SSL_CERT_FILE", &root)]
        {
            self = self.env(name, &path.to_string_lossy());
        }
        self.config.root = Some(root);
        self
    }

    /// Starts this copy of the binary.
    #[must_use]
    pub fn binary(mut self, path: &Path) -> Self {
        self.config.binary = Some(path.to_owned());
        self
    }

    /// Starts the server, which is to end by itself: what it says.
    pub async fn ends(self) -> String {
        let mut server = self.spawned();
        until("the server's end", Duration::from_secs(30), async || server.has_ended().then_some(())).await;
        server.log()
    }

    /// Starts the server and waits until it is healthy.
    pub async fn start(self) -> Server {
        let mut server = self.spawned();
        server.url = server.address().await;
        server.healthy().await;
        server
    }

    fn spawned(self) -> Server {
        let folder = TempDir::with_prefix("airlock-test-").expect("a temporary folder can be made");
        let mut config = self.config;
        if let (Ok(url), None) = (std::env::var(DATABASE), config.env.iter().find(|(name, _)| name == SERVERS_DATABASE))
        {
            config.env.push((SERVERS_DATABASE.to_owned(), postgres::schema(&url, folder.path())));
        }
        let child = spawn(folder.path(), &config, &format!("127.0.0.1:{}", config.port.unwrap_or(0)));
        Server { folder, config, child, url: String::new() }
    }
}

impl Server {
    /// A server with the settings that users have.
    pub async fn start() -> Self {
        Builder::default().start().await
    }

    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A client that has signed in as `admin`.
    pub async fn client(&self) -> Client {
        self.anonymous().sign_in("admin", ADMIN_PASSWORD).await
    }

    /// A client that has not signed in.
    pub fn anonymous(&self) -> Client {
        let mut client = Client::anonymous(&self.url);
        if let Some(root) = &self.config.root {
            client.http = authority::client(root);
        }
        client
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// None: its database is SQLite's.
    pub fn postgres_url(&self) -> Option<String> {
        self.config.env.iter().find(|(name, _)| name == SERVERS_DATABASE).map(|(_, url)| url.clone())
    }

    /// Stops the server and takes all from it that it kept, but for objects that are elsewhere.
    pub async fn lose_all(&mut self) {
        self.stop().await;
        fs::remove_dir_all(self.data_dir()).expect("the temporary folder can be written");
        if let Some(url) = self.postgres_url() {
            postgres::empty(&url);
        }
    }

    /// What the server wrote to standard error since its first start.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends the server as a power cut would.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Whether its process is gone.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks the server to end and waits until it has.
    pub async fn stop(&mut self) -> ExitStatus {
        signal(&self.child, Signal::TERM);
        until("the server's end", Duration::from_secs(30), async || self.child.try_wait().ok().flatten()).await
    }

    /// Starts the server again on the same folder and the same address, after [`kill`](Self::kill) or
    /// [`stop`](Self::stop), and waits until it is healthy. Answers how long that took.
    pub async fn restart(&mut self) -> Duration {
        let start = Instant::now();
        self.start_again();
        self.healthy().await;
        start.elapsed()
    }

    /// As [`restart`](Self::restart), without waiting: it may end at once.
    pub fn start_again(&mut self) {
        let address = self.url.split_once("://").map_or("", |(_, address)| address).to_owned();
        self.child = spawn(self.folder.path(), &self.config, &address);
    }

    /// A file on the server's own disk, as this process can reach it.
    fn filler(&self) -> PathBuf {
        let data = self.data_dir();
        let data = data.strip_prefix("/").unwrap_or(&data);
        Path::new("/proc").join(self.pid().to_string()).join("root").join(data).join("filler")
    }

    /// Leaves no byte free on the server's own disk.
    pub fn fill_disk(&self) {
        let mut file = File::create(self.filler()).expect("the server's disk can be reached");
        for size in [1 << 20, 4 << 10, 1] {
            let piece = vec![0; size];
            while file.write_all(&piece).is_ok() {}
        }
    }

    /// Gives the space back.
    pub fn empty_disk(&self) {
        fs::remove_file(self.filler()).expect("the server's disk can be reached");
    }

    async fn address(&mut self) -> String {
        let stdout = self.folder.path().join("stdout");
        until("the server's address", Duration::from_secs(30), async || {
            self.assert_alive();
            let text = fs::read_to_string(&stdout).ok()?;
            let url =
                text.split_whitespace().find(|word| word.starts_with("http://") || word.starts_with("https://"))?;
            Some(url.trim_end_matches('/').to_owned())
        })
        .await
    }

    async fn healthy(&mut self) {
        let client = self.anonymous();
        until("a healthy server", Duration::from_secs(30), async || {
            self.assert_alive();
            let request = client.request(reqwest::Method::GET, "/api/v2/monitor/health");
            let answer = client.try_send(request).await?;
            (answer.status.is_success() && answer.body["scheduler"]["status"] == "healthy").then_some(())
        })
        .await;
    }

    fn assert_alive(&mut self) {
        if let Ok(Some(status)) = self.child.try_wait() {
            panic!("the server ended with {status}:\n{}", self.log());
        }
    }

    /// Kills the server's children: its runners and compilers.
    pub fn kill_children(&self) {
        family::kill_children(self.pid());
    }

    /// Every process of the server: itself and its children.
    pub fn processes(&self) -> Vec<u32> {
        family::family(self.pid())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The children end with their parent's end of the socket; a signal lets the server remove what it must.
        signal(&self.child, Signal::TERM);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(5) {
            if !matches!(self.child.try_wait(), Ok(None)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- the server's standard error ----\n{}", self.log());
        }
    }
}

fn signal(child: &Child, signal: Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // A child that has ended already needs no signal.
        let _ = kill_process(pid, signal);
    }
}

fn spawn(folder: &Path, config: &Config, listen: &str) -> Child {
    let open = |name: &str| {
        let file = File::options().create(true).append(true).open(folder.join(name));
        Stdio::from(file.expect("the temporary folder can be written"))
    };
    let mut command = match &config.disk {
        None => Command::new(config.binary.clone().unwrap_or_else(|| build::binary().to_owned())),
        Some(size) => {
            // In a mount namespace of its own: needs no rights, and is gone with the process.
            let mount = format!("mount -t tmpfs -o size={size} none \"$1\" && shift && exec \"$@\"");
            fs::create_dir_all(folder.join("data")).expect("the temporary folder can be written");
            let mut command = Command::new("unshare");
            command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &mount, "sh"]);
            command.arg(folder.join("data")).arg(build::binary());
            command
        }
    };
    command
        .arg("serve")
        .arg("--data-dir")
        .arg(folder.join("data"))
        .args(["--listen", listen])
        .args(&config.args)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("AIRLOCK_ADMIN_PASSWORD", ADMIN_PASSWORD)
        .envs(config.env.iter().cloned())
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(open("stdout"))
        .stderr(open("stderr"))
        .spawn()
        .expect("the binary can be started")
}
