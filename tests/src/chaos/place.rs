//! The processes under test, what they speak to each other by, and whatever starts them again.

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::faults::Fault;
use crate::{
    Database,
    postgres::Postgres,
    proxy::{Mode, Proxy},
    s3::Bucket,
    server::{Builder, SECRET_KEY, Server},
    worker::Worker,
};

const WORKERS_TOKEN: &str = "a token that workers show";
const WORKERS: usize = 3;
/// Attempts at a time, of all processes together.
pub const PARALLELISM: u32 = 12;

/// A server, by the proxies that it is connected by.
struct Member {
    server: Server,
    /// To the database.
    database: Option<Proxy>,
    /// From others.
    door: Option<Proxy>,
    down_until: Option<Instant>,
    stopped_until: Option<Instant>,
}

struct Hand {
    name: String,
    /// None while it is down.
    worker: Option<Worker>,
    down_until: Option<Instant>,
    stopped_until: Option<Instant>,
    log: String,
}

/// All of it.
pub struct Place {
    members: Vec<Member>,
    hands: Vec<Hand>,
    postgres: Option<Postgres>,
    database_down_until: Option<Instant>,
    bucket: Bucket,
    store: Proxy,
    /// When what became of a proxy ends: database, door (by member) or store.
    healing: Vec<(Instant, Link)>,
    database: Database,
    _folder: TempDir,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Database(usize),
    Door(usize),
    Store,
}

impl Place {
    /// Two servers that may lead, one that answers only, and workers, on PostgreSQL and S3; or one server on SQLite.
    pub async fn start(is_cluster: bool) -> Self {
        let folder = TempDir::with_prefix("airlock-chaos-").expect("a temporary folder can be made");
        let bucket = Bucket::local().await;
        let store = Proxy::start().await;
        let (endpoint, ..) = bucket.endpoint();
        store.lead_to(endpoint);
        let storage = bucket.url.replace(&endpoint.to_string(), &store.address().to_string());
        let builder = || {
            let builder = Server::builder()
                .flag("--storage-url", &storage)
                .flag("--parallelism", &PARALLELISM.to_string())
                .env("AIRLOCK_SECRET_KEY", SECRET_KEY)
                .env("AIRLOCK_WORKERS_TOKEN", WORKERS_TOKEN);
            bucket.env.iter().fold(builder, |builder, (name, value)| builder.env(name, value))
        };
        let (mut members, mut postgres) = (Vec::new(), None);
        let database = if is_cluster {
            let server = Postgres::start().await;
            let name = server.database();
            // That nobody listens for the first one shows when it is gone; a door is there still.
            for (kind, has_door) in [("--scheduler", false), ("--scheduler", true), ("--api", true)] {
                members.push(Member::start(builder().switch(kind), has_door, &server, &name).await);
            }
            let url = server.url(&name);
            postgres = Some(server);
            Database::Postgres(url)
        } else {
            let server = builder().start().await;
            let path = server.data_dir().join("airlock.db");
            members.push(Member { server, database: None, door: None, down_until: None, stopped_until: None });
            Database::Sqlite(path)
        };
        let mut place = Self {
            members,
            hands: Vec::new(),
            postgres,
            database_down_until: None,
            bucket,
            store,
            healing: Vec::new(),
            database,
            _folder: folder,
        };
        for number in 0..WORKERS {
            let name = format!("worker-{number}");
            place.hands.push(Hand { name, worker: None, down_until: None, stopped_until: None, log: String::new() });
        }
        place.tend().await;
        place
    }

    pub fn database(&self) -> Database {
        self.database.clone()
    }

    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        self.members.iter().map(|member| &member.server)
    }

    /// An object; none if it is not there.
    pub fn object(&self, key: &str) -> Option<Vec<u8>> {
        self.bucket.read(&format!("files/{key}"))
    }

    /// Lets it go wrong.
    pub fn suffer(&mut self, fault: Fault) {
        let now = Instant::now();
        let (members, hands) = (self.members.len(), self.hands.len());
        match fault {
            Fault::KillServer(which, time) => {
                let member = &mut self.members[which % members];
                // One that was stopped dies as well.
                member.server.kill();
                member.stopped_until = None;
                member.down_until = Some(now + time);
            }
            Fault::KillWorker(which, time) => {
                let hand = &mut self.hands[which % hands];
                hand.end();
                hand.stopped_until = None;
                hand.down_until = Some(now + time);
            }
            Fault::KillRunners(which) => self.members[which % members].server.kill_children(),
            Fault::StopServer(which, time) => {
                let member = &mut self.members[which % members];
                signal(member.server.pid(), Signal::STOP);
                member.stopped_until = Some(now + time);
            }
            Fault::StopWorker(which, time) => {
                let hand = &mut self.hands[which % hands];
                if let Some(worker) = &hand.worker {
                    worker.signal(Signal::STOP);
                    hand.stopped_until = Some(now + time);
                }
            }
            Fault::RestartDatabase(time) => {
                if let (Some(postgres), None) = (&mut self.postgres, self.database_down_until) {
                    postgres.kill();
                    self.database_down_until = Some(now + time);
                }
            }
            Fault::StoreOutage(time) => self.set(Link::Store, Mode::Refuse, time),
            Fault::CutStore => self.store.cut(),
            Fault::CutDatabase(which) => self.cut(Link::Database(which % members)),
            Fault::LoseAnswers(which, time) => self.set(Link::Database(which % members), Mode::Deaf, time),
            Fault::StallDatabase(which, time) => self.set(Link::Database(which % members), Mode::Stall, time),
            Fault::CutServer(which) => self.cut(Link::Door(which % members)),
            Fault::StallServer(which, time) => self.set(Link::Door(which % members), Mode::Stall, time),
        }
    }

    fn proxy(&self, link: Link) -> Option<&Proxy> {
        match link {
            Link::Database(at) => self.members[at].database.as_ref(),
            Link::Door(at) => self.members[at].door.as_ref(),
            Link::Store => Some(&self.store),
        }
    }

    fn cut(&self, link: Link) {
        if let Some(proxy) = self.proxy(link) {
            proxy.cut();
        }
    }

    fn set(&mut self, link: Link, mode: Mode, time: Duration) {
        if let Some(proxy) = self.proxy(link) {
            proxy.set(mode);
            self.healing.retain(|(_, other)| *other != link);
            self.healing.push((Instant::now() + time, link));
        }
    }

    /// Ends faults whose time is over, and starts again whatever has ended.
    pub async fn tend(&mut self) {
        let now = Instant::now();
        let (healed, healing) = std::mem::take(&mut self.healing).into_iter().partition(|(until, _)| *until <= now);
        self.healing = healing;
        let healed: Vec<(Instant, Link)> = healed;
        for (_, link) in healed {
            self.heal(link);
        }
        if let Some(postgres) = self.postgres.as_mut().filter(|_| self.database_down_until.is_some_and(|at| at <= now))
        {
            postgres.restart().await;
            self.database_down_until = None;
        }
        for member in &mut self.members {
            if member.stopped_until.is_some_and(|until| until <= now) {
                signal(member.server.pid(), Signal::CONT);
                member.stopped_until = None;
            }
            if member.server.has_ended() && member.down_until.is_none_or(|until| until <= now) {
                member.server.start_again();
                member.down_until = Some(now + Duration::from_millis(500));
            }
        }
        // By the one that only answers, if there is one: it tells them who leads.
        let url = self.members.last().map(|member| member.server.url.clone()).unwrap_or_default();
        for hand in &mut self.hands {
            if hand.stopped_until.is_some_and(|until| until <= now) {
                hand.worker.iter().for_each(|worker| worker.signal(Signal::CONT));
                hand.stopped_until = None;
            }
            let is_gone = hand.worker.as_mut().is_none_or(Worker::has_ended);
            if is_gone && hand.down_until.is_none_or(|until| until <= now) {
                hand.end();
                hand.worker = Some(Worker::start(&url, WORKERS_TOKEN, &hand.name, PARALLELISM / 3));
                hand.down_until = Some(now + Duration::from_millis(500));
            }
        }
    }

    fn heal(&self, link: Link) {
        if let Some(proxy) = self.proxy(link) {
            // Whoever waits for an answer that was lost would wait for ever.
            let was_lost = matches!(link, Link::Database(_)) && proxy.mode() == Mode::Deaf;
            proxy.set(Mode::Pass);
            if was_lost {
                proxy.cut();
            }
        }
    }

    /// Ends all faults.
    pub async fn calm(&mut self) {
        let now = Instant::now();
        self.healing.iter_mut().for_each(|(until, _)| *until = now);
        self.database_down_until = self.database_down_until.map(|_| now);
        for member in &mut self.members {
            member.stopped_until = member.stopped_until.map(|_| now);
            member.down_until = None;
        }
        for hand in &mut self.hands {
            hand.stopped_until = hand.stopped_until.map(|_| now);
            hand.down_until = None;
        }
        self.tend().await;
    }

    /// Writes down what the processes said.
    pub fn keep_logs(&self, folder: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        for (number, member) in self.members.iter().enumerate() {
            std::fs::write(folder.join(format!("server-{number}.log")), member.server.log())?;
        }
        if let Some(postgres) = &self.postgres {
            std::fs::write(folder.join("postgresql.log"), postgres.log())?;
        }
        for hand in &self.hands {
            let newest = hand.worker.as_ref().map(Worker::log).unwrap_or_default();
            std::fs::write(folder.join(format!("{}.log", hand.name)), format!("{}{newest}", hand.log))?;
        }
        Ok(())
    }
}

impl Member {
    async fn start(builder: Builder, has_door: bool, postgres: &Postgres, name: &str) -> Self {
        let database = Proxy::start().await;
        database.lead_to(SocketAddr::from(([127, 0, 0, 1], postgres.port())));
        let url =
            postgres.url(name).replace(&format!(":{}/", postgres.port()), &format!(":{}/", database.address().port()));
        let mut builder = builder.env("AIRLOCK_DATABASE_URL", &url);
        let door = if has_door { Some(Proxy::start().await) } else { None };
        if let Some(door) = &door {
            builder = builder.env("AIRLOCK_CLUSTER_URL", &format!("http://{}", door.address()));
        }
        let server = builder.start().await;
        if let Some(door) = &door {
            door.lead_to(server.url.trim_start_matches("http://").parse().expect("a server says its address"));
        }
        Self { server, database: Some(database), door, down_until: None, stopped_until: None }
    }
}

impl Hand {
    /// Ends it, and keeps what it said.
    fn end(&mut self) {
        if let Some(mut worker) = self.worker.take() {
            worker.kill();
            self.log += &worker.log();
        }
    }
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended meanwhile.
        let _ = kill_process(pid, signal);
    }
}
