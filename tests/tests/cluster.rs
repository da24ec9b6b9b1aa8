//! Several processes on one PostgreSQL: one leads, any answers, and the loss of any loses nothing.

use std::{
    fs,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use airlock_tests::{
    Server, Worker, build,
    postgres::{self, Postgres},
    server::{Builder, SECRET_KEY},
    until,
};
use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::{JoinHandle, JoinSet};

use crate::load::{all_ended_right, load};

/// How long the others wait for a leader that is gone, and some more: the machine is shared.
const TAKE_OVER: Duration = Duration::from_secs(30);

/// A database, and a storage, for several processes.
pub struct Place {
    postgres: Postgres,
    database: String,
    storage: TempDir,
}

impl Place {
    pub async fn new() -> Self {
        let postgres = Postgres::start().await;
        let database = postgres.database();
        Self { postgres, database, storage: TempDir::new().unwrap() }
    }

    pub fn process(&self) -> Builder {
        self.keyless().env("AIRLOCK_SECRET_KEY", SECRET_KEY)
    }

    /// A process that nobody gave the key.
    fn keyless(&self) -> Builder {
        Server::builder()
            .env("AIRLOCK_DATABASE_URL", &self.postgres.url(&self.database))
            .env("AIRLOCK_STORAGE_URL", &self.storage_url())
    }

    pub fn storage_url(&self) -> String {
        format!("file://{}", self.storage.path().display())
    }

    pub fn epoch(&self) -> i64 {
        self.sql("SELECT epoch FROM lease").parse().unwrap()
    }

    /// Who leads, and until when by the database's clock.
    fn lease(&self) -> (String, i64) {
        let lease = self.sql("SELECT holder, expires_at FROM lease");
        let (holder, expires_at) = lease.split_once('|').unwrap();
        (holder.to_owned(), expires_at.parse().unwrap())
    }

    /// Waits until another process than `holder` leads; when that was, by the database's clock.
    async fn is_led_by_another_than(&self, holder: &str) -> i64 {
        until("another leader", TAKE_OVER, async || {
            let seen = self.sql("SELECT holder, airlock_now() FROM lease");
            let (now, at) = seen.split_once('|').unwrap();
            (now != holder).then(|| at.parse().unwrap())
        })
        .await
    }

    /// For the database the leader, which was killed, is there still for some seconds, as if its machine had vanished: its lease names its address
    /// until then.
    async fn outlive_leader(&self) -> JoinHandle<Option<String>> {
        let (holder, _) = self.lease();
        self.sql("UPDATE lease SET expires_at = airlock_now() + 4000000");
        let url = self.url();
        let connected = tokio::task::spawn_blocking(move || {
            let statement = format!("SELECT pg_advisory_lock_shared(hashtextextended('{holder}', 0)), pg_sleep(6)");
            postgres::ask(&url, &statement)
        });
        let locks = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) \
             WHERE locktype = 'advisory' AND application_name = 'psql'";
        until("the connection", TAKE_OVER, async || (self.sql(locks) == "1").then_some(())).await;
        connected
    }

    /// What statements answer, past the processes.
    pub fn sql(&self, statements: &str) -> String {
        self.postgres.sql(&self.database, statements)
    }

    /// The database.
    pub fn url(&self) -> String {
        self.postgres.url(&self.database)
    }
}

/// Waits until a process answers for whoever leads.
pub async fn is_led(server: &Server) {
    let client = server.anonymous();
    until("a leader", TAKE_OVER, async || {
        let answer = client.try_send(client.request(Method::GET, "/api/v2/monitor/health")).await?;
        answer.status.is_success().then_some(())
    })
    .await;
}

#[tokio::test]
async fn any_process_answers_and_another_takes_over_from_one_that_is_killed() {
    let place = Place::new().await;
    let mut first = place.process().start().await;
    let second = place.process().start().await;
    let api = place.process().switch("--api").start().await;

    // What one was told, all know: the others ask it.
    let client = api.client().await;
    client.upload(build::component("hostile")).await.ok();
    let run_id = second.client().await.trigger("canary", json!({"text": "hello"})).await;
    assert_eq!(client.finished("canary", &run_id).await["state"], "success");

    let epoch = place.epoch();
    let accepted = Arc::new(Mutex::new(Vec::new()));
    let mut loads = JoinSet::new();
    for _ in 0..2 {
        loads.spawn(load(client.clone(), Arc::clone(&accepted)));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (holder, lease_ends_at) = place.lease();
    first.kill();
    let killed = Instant::now();
    let taken_at = place.is_led_by_another_than(&holder).await;
    assert!(taken_at < lease_ends_at, "its process is gone: nobody waits for the end of its lease");
    is_led(&api).await;
    println!("led again after {:?}", killed.elapsed());
    tokio::time::sleep(Duration::from_secs(2)).await;
    loads.shutdown().await;
    assert_eq!(place.epoch(), epoch + 1);
    let accepted = accepted.lock().unwrap().clone();
    assert!(accepted.len() > 10, "the load was a load: {}", accepted.len());
    all_ended_right(&client, &accepted).await;

    // One that comes back waits for its turn.
    first.restart().await;
    assert_eq!(place.epoch(), epoch + 1);
    for server in [&first, &second] {
        let stranger = server.anonymous();
        let answer = stranger.send(stranger.request(Method::GET, "/cluster/presence")).await;
        assert_eq!(answer.status, 404, "who a process is it says to others of its kind");
    }
}

#[tokio::test]
async fn a_process_that_is_started_again_leads_at_once() {
    let place = Place::new().await;
    let mut server = place.process().start().await;
    server.kill();
    let (holder, lease_ends_at) = place.lease();
    server.start_again();
    let taken_at = place.is_led_by_another_than(&holder).await;
    assert!(taken_at < lease_ends_at, "nobody else answers at its address");
}

#[tokio::test]
async fn a_process_that_comes_back_at_its_address_does_not_ask_itself() {
    let place = Place::new().await;
    let mut server = place.process().start().await;
    let client = server.client().await;
    server.kill();
    let connected = place.outlive_leader().await;
    server.start_again();
    let health = || client.try_send(client.request(Method::GET, "/api/v2/monitor/health"));
    let mut waited = 0;
    until("its turn to lead", TAKE_OVER, async || {
        let answer = health().await?;
        waited += u32::from(answer.status == 503);
        answer.status.is_success().then_some(())
    })
    .await;
    assert!(waited > 0, "it waits for the end of the lease");
    for _ in 0..50 {
        assert!(health().await.expect("its connections are its clients'").status.is_success());
    }
    connected.await.unwrap().expect("the connection was there all the time");
}

#[tokio::test]
async fn a_process_that_was_stopped_and_comes_back_changes_nothing() {
    let place = Place::new().await;
    let first = place.process().start().await;
    let second = place.process().start().await;
    let client = second.client().await;
    client.upload(build::component("hostile")).await.ok();
    let run_id = first.client().await.trigger("busy_bees", json!({"steps": 30})).await;

    let pid = Pid::from_raw(i32::try_from(first.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let (holder, lease_ends_at) = place.lease();
    let taken_at = place.is_led_by_another_than(&holder).await;
    assert!(taken_at > lease_ends_at, "it is not gone");
    is_led(&second).await;
    assert_eq!(client.finished("busy_bees", &run_id).await["state"], "success");
    let epoch = place.epoch();
    kill_process(pid, Signal::CONT).unwrap();
    // It notices, and ends.
    let mut first = first;
    until("the end of the process that no longer leads", TAKE_OVER, async || first.has_ended().then_some(())).await;
    assert_eq!(place.epoch(), epoch);
    all_ended_right(&client, &[("busy_bees".to_owned(), run_id)]).await;
}

#[tokio::test]
async fn a_restart_of_postgresql_delays_and_loses_nothing() {
    let mut place = Place::new().await;
    let server = place.process().start().await;
    let _second = place.process().start().await;
    let (holder, _) = place.lease();
    let client = server.client().await;
    client.upload(build::component("hostile")).await.ok();
    let accepted = Arc::new(Mutex::new(Vec::new()));
    let mut loads = JoinSet::new();
    loads.spawn(load(client.clone(), Arc::clone(&accepted)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    place.postgres.kill();
    tokio::time::sleep(Duration::from_secs(1)).await;
    place.postgres.restart().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    loads.shutdown().await;
    let accepted = accepted.lock().unwrap().clone();
    assert!(accepted.len() > 5, "the load was a load: {}", accepted.len());
    all_ended_right(&client, &accepted).await;
    assert_eq!(place.lease().0, holder, "whose connections ended may be there all the same");
}

#[tokio::test]
async fn a_leader_whose_database_lost_its_last_commits_ends_and_the_next_goes_on_from_what_is_left() {
    let mut place = Place::new().await;
    let mut server = place.process().start().await;
    let client = server.client().await;
    client.upload(build::component("hostile")).await.ok();
    let run_id = client.trigger("busy_bees", json!({"steps": 20})).await;
    place.postgres.copy().await;
    assert_eq!(client.finished("busy_bees", &run_id).await["state"], "success");

    place.postgres.fail_over().await;
    // It has nothing to do, and to write, any more.
    until("the end of who led", TAKE_OVER, async || server.has_ended().then_some(())).await;
    assert!(server.log().contains("its last commits may be lost"), "{}", server.log());
    assert_ne!(place.sql("SELECT state FROM dag_run"), "success");
    let (_, lease_ends_at) = place.lease();
    assert_eq!(lease_ends_at, 0, "the next one need not wait");

    server.restart().await;
    is_led(&server).await;
    all_ended_right(&client, &[("busy_bees".to_owned(), run_id)]).await;
}

#[tokio::test]
async fn a_leader_that_does_not_wait_for_the_disk_ends_when_postgresql_crashes() {
    let mut place = Place::new().await;
    let mut server = place.process().flag("--database-synchronous", "normal").start().await;
    is_led(&server).await;
    place.postgres.kill();
    place.postgres.restart().await;
    until("the end of who led", TAKE_OVER, async || server.has_ended().then_some(())).await;
    assert!(server.log().contains("its last commits may be lost"), "{}", server.log());
}

#[tokio::test]
async fn a_database_is_moved_from_sqlite() {
    let place = Place::new().await;
    let mut old = Server::builder().env("AIRLOCK_SECRET_KEY", SECRET_KEY).start().await;
    let client = old.client().await;
    client.upload(build::component("hostile")).await.ok();
    let run_id = client.trigger("canary", json!({"text": "before"})).await;
    client.finished("canary", &run_id).await;
    old.stop().await;

    let data = old.data_dir();
    let url = place.postgres.url(&place.database);
    let shell = airlock_tests::Shell::new();
    let arguments = ["db", "move", "--data-dir", data.to_str().unwrap(), "--to", &url];
    shell.run(&arguments).await.ok();
    let again = shell.run(&arguments).await;
    assert!(again.code != 0 && again.err.contains("an empty one"), "{again:?}");
    let elsewhere = place.postgres.url(&place.postgres.database());
    let arguments = ["db", "move", "--data-dir", data.to_str().unwrap(), "--to", &elsewhere];
    let said = shell.run(&arguments).await.failed(4);
    assert!(said.contains(&format!("was moved to `{}@", place.database)), "{said}");

    // Who forgets to name the new one does not go on with what does not hold any more.
    old.start_again();
    until("the old server's end", TAKE_OVER, async || old.has_ended().then_some(())).await;
    let said = old.log();
    assert!(said.contains(&format!("was moved to `{}@", place.database)) && said.contains("db take-back"), "{said}");

    let mut new = place.process().env("AIRLOCK_STORAGE_URL", &format!("file://{}/blobs", data.display())).start().await;
    let client = new.client().await;
    let run = client.get(&format!("/api/v2/dags/canary/dagRuns/{run_id}")).await.ok();
    assert_eq!(run["state"], "success");
    let log =
        client.text(&format!("/api/v2/dags/canary/dagRuns/{run_id}/taskInstances/echo/logs/1"), "text/plain").await;
    assert!(!log.is_empty());
    let after = client.trigger("canary", json!({"text": "after"})).await;
    assert_eq!(client.finished("canary", &after).await["state"], "success");

    new.stop().await;
    let back = ["db", "take-back", "--data-dir", data.to_str().unwrap()];
    shell.run(&back).await.ok();
    assert!(shell.run(&back).await.failed(4).contains("was not moved"));
    old.restart().await;
    let run = old.client().await.get(&format!("/api/v2/dags/canary/dagRuns/{run_id}")).await.ok();
    assert_eq!(run["state"], "success");
}

#[tokio::test]
async fn a_process_with_another_storage_or_key_is_refused_before_anything_is_lost() {
    let place = Place::new().await;
    let first = place.process().start().await;
    let client = first.client().await;
    client.upload(build::component("hostile")).await.ok();

    // Without `storage.url` it would store in its own folder, which nobody else sees.
    let elsewhere = TempDir::new().unwrap();
    let url = format!("file://{}", elsewhere.path().display());
    let said = place.process().env("AIRLOCK_STORAGE_URL", &url).ends().await;
    for part in [
        &format!("the object storage `{url}` is not that of this database"),
        &format!("are in `{}`", place.storage_url()),
        "set AIRLOCK_STORAGE_URL (storage.url) as all servers",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(fs::read_dir(elsewhere.path()).unwrap().next().is_none(), "nothing is stored there");
    // One that never leads has no use for it.
    let api = place.process().env("AIRLOCK_STORAGE_URL", &url).switch("--api").start().await;
    drop(api);

    let key = "HxAREhMUFRYXGBkaGxwdHgABAgMEBQYHCAkKCwwNDg8=";
    let said = place.process().env("AIRLOCK_SECRET_KEY", key).ends().await;
    assert!(said.contains("all servers on one database have the same"), "{said}");
    let data = TempDir::new().unwrap();
    let keyless = airlock_tests::Shell::new()
        .env("AIRLOCK_DATABASE_URL", &place.url())
        .env("AIRLOCK_STORAGE_URL", &place.storage_url());
    let refused = keyless.run(&["serve", "--data-dir", data.path().to_str().unwrap(), "--listen", "127.0.0.1:0"]).await;
    let said = refused.failed(1);
    assert!(said.contains("there is no secret key: none is named"), "{said}");
    let left: Vec<_> = fs::read_dir(data.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"], "it made no key of its own");

    // One that began to wait before there was a key is told as soon as there is one, and not when it is needed.
    let check = place.sql("WITH gone AS (DELETE FROM setting WHERE name = 'key_check' RETURNING value) SELECT encode(value, 'hex') FROM gone");
    let mut early = place.keyless().start().await;
    place.sql(&format!("INSERT INTO setting (name, value) VALUES ('key_check', decode('{check}', 'hex'))"));
    until("the keyless server's end", TAKE_OVER, async || early.has_ended().then_some(())).await;
    assert!(early.log().contains("there is no secret key: none is named"), "{}", early.log());
    assert!(!early.data_dir().join("secret.key").exists());

    // What another database has marked is told from what nobody has.
    let other = Place::new().await;
    drop(other.process().start().await);
    let said = place.process().env("AIRLOCK_STORAGE_URL", &other.storage_url()).ends().await;
    assert!(said.contains("is another database's"), "{said}");
    let run_id = client.trigger("canary", json!({"text": "still there"})).await;
    assert_eq!(client.finished("canary", &run_id).await["state"], "success");
}

#[tokio::test]
async fn a_storage_that_was_moved_is_the_same_and_one_that_lost_its_mark_is_adopted() {
    let mut server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("hostile")).await.ok();
    let shell = airlock_tests::Shell::new();
    let data = server.data_dir();
    let (blobs, data) = (data.join("blobs"), data.to_str().unwrap());
    server.stop().await;

    // All of it is moved, the mark too.
    let moved = TempDir::new().unwrap();
    let to = moved.path().join("objects");
    fs::rename(&blobs, &to).unwrap();
    let url = format!("file://{}", to.display());
    let shell_of = |url: &str| airlock_tests::Shell::new().env("AIRLOCK_STORAGE_URL", url);
    shell_of(&url).run(&["storage", "check", "--data-dir", data]).await.ok();
    let refused = shell.run(&["storage", "check", "--data-dir", data]).await.failed(4);
    assert!(
        refused.contains("has lost the mark of this database") && refused.contains("airlock storage adopt"),
        "{refused}"
    );
    server.start_again();
    until("the refused server's end", TAKE_OVER, async || server.has_ended().then_some(())).await;

    fs::remove_dir_all(&blobs).unwrap();
    fs::rename(&to, &blobs).unwrap();
    fs::remove_file(blobs.join("airlock-storage")).unwrap();
    let refused = shell.run(&["storage", "check", "--data-dir", data]).await.failed(4);
    assert!(refused.contains("has lost the mark of this database"), "{refused}");
    let adopted = shell.run(&["storage", "adopt", "--data-dir", data, "-o", "json"]).await.json();
    assert!(adopted["storage"].as_str().unwrap().ends_with("/blobs"), "{adopted}");
    server.restart().await;
    let run_id = server.client().await.trigger("canary", json!({"text": "there"})).await;
    assert_eq!(server.client().await.finished("canary", &run_id).await["state"], "success");
    let refused = shell.run(&["storage", "adopt", "--data-dir", data]).await.failed(4);
    assert!(refused.contains("another `airlock serve` works on"), "{refused}");
}

#[tokio::test]
async fn settings_that_are_not_the_leaders_are_named() {
    let place = Place::new().await;
    let _leader = place.process().flag("--parallelism", "7").env("AIRLOCK_WORKERS_TOKEN", "one").start().await;
    let other = place.process().flag("--parallelism", "8").flag("--log-level", "debug").start().await;
    let said = until("what differs", TAKE_OVER, async || {
        other.log().lines().find(|line| line.contains("not those of the process that leads")).map(str::to_owned)
    })
    .await;
    assert!(
        said.contains("`parallelism` (here `8`, there `7`), `workers.token` (here not set, there `***`)"),
        "{said}"
    );
    assert!(!said.contains("log.level") && !said.contains("listen"), "these are each one's own: {said}");
    let refused = {
        let shell = airlock_tests::Shell::new().env("AIRLOCK_DATABASE_URL", &place.url());
        let shell = shell.env("AIRLOCK_SECRET_KEY", SECRET_KEY).env("AIRLOCK_STORAGE_URL", "file:///tmp/elsewhere");
        let nowhere = shell.run(&["storage", "adopt"]).await.failed(3);
        assert!(nowhere.contains("can't use the data directory `airlock-data`"), "{nowhere}");
        shell.run(&["storage", "adopt", "--data-dir", "."]).await.failed(4)
    };
    assert!(refused.contains("a server leads, at `http://127.0.0.1:"), "{refused}");
}

#[tokio::test]
async fn a_worker_is_told_to_wait_while_the_lease_names_whom_it_asks() {
    let place = Place::new().await;
    let token = "a token that workers show";
    let mut server = place.process().env("AIRLOCK_WORKERS_TOKEN", token).start().await;
    server.kill();
    let outlived = place.outlive_leader().await;
    server.start_again();
    let worker = Worker::start(&server.url, token, "early", 1);
    until("what the worker is told", TAKE_OVER, async || {
        worker.log().contains("503 Service Unavailable: no process leads at this moment").then_some(())
    })
    .await;
    until("its server", TAKE_OVER, async || worker.log().contains("working").then_some(())).await;
    assert!(!worker.log().contains("is no longer, or not yet"), "{}", worker.log());
    outlived.await.unwrap().expect("the connection was there all the time");
}
