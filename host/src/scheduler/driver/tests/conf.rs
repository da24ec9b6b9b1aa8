//! What runs were given, while they wait: there may be very many, with very much.

use super::*;
use crate::scheduler::ClearRequest;

/// A dag of which one run may run at a time.
fn one_by_one(id: &str, concurrency: Option<serde_json::Value>) -> serde_json::Value {
    let mut dag = dag(id, &["x"]);
    dag["max_active_runs"] = 1.into();
    dag["concurrency"] = concurrency.into();
    dag
}

fn long(letter: &str, bytes: usize) -> String {
    serde_json::json!({ "c": letter, "rest": letter.repeat(bytes) }).to_string()
}

impl World {
    async fn trigger_given(&mut self, run_id: &str, date: Timestamp, conf: &str) -> DagRunRow {
        let run_id = Some(RunId::new(run_id).unwrap());
        let request =
            RunRequest { run_id, logical_date: Some(date), triggered_by: "rest_api", ..RunRequest::default() };
        let (request, checked_at, conf) = (Box::new(request), self.now, conf.into());
        self.ask(|reply| Request::Trigger { dag_id: dag_id("a"), request, conf, checked_at, reply }).await.unwrap()
    }

    fn waiting_bytes(&self) -> usize {
        self.driver.queued.values().filter_map(|row| row.conf.as_ref()).map(|conf| conf.len()).sum()
    }

    fn given(&self, run: &DagRunRow) -> &str {
        &self.driver.runs[&run.key].context.params
    }
}

#[tokio::test]
async fn runs_that_wait_leave_a_long_conf_in_the_database_and_start_with_it() {
    let mut world = World::new(vec![one_by_one("a", None)]).await;
    let confs = ["p", "q", "r"].map(|letter| long(letter, 1 << 20));
    let mut runs = Vec::new();
    for (number, conf) in confs.iter().enumerate() {
        let run = world.trigger_given(&format!("run-{number}"), at(number as u64), conf).await;
        assert_eq!(run.conf.as_deref(), Some(conf.as_str()), "who asks for a run is told what it was given");
        runs.push(run);
    }
    assert_eq!((world.driver.queued.len(), world.waiting_bytes()), (2, 0));

    world.end(&runs[0], "x", AttemptResult::Success).await;
    assert_eq!(world.given(&runs[1]), confs[1]);
    world.crash().await;
    assert_eq!((world.driver.queued.len(), world.waiting_bytes()), (1, 0));
    assert_eq!(world.given(&runs[1]), confs[1]);
    world.end(&runs[1], "x", AttemptResult::Success).await;
    assert_eq!(world.given(&runs[2]), confs[2]);
}

#[tokio::test]
async fn runs_that_wait_for_their_key_have_it_without_their_conf() {
    let keyed = one_by_one("a", Some(serde_json::json!({ "key": "{{ conf.c }}", "limit": 1 })));
    let keyed = {
        let mut dag = keyed;
        dag["max_active_runs"] = 9.into();
        dag
    };
    let mut world = World::new(vec![keyed]).await;
    let mut runs = Vec::new();
    for (number, letter) in ["p", "p", "q", "q"].into_iter().enumerate() {
        runs.push(world.trigger_given(&format!("run-{number}"), at(number as u64), &long(letter, 100_000)).await);
    }
    let which = |world: &World| runs.iter().map(|run| world.runs(run, "x")).collect::<Vec<_>>();
    assert_eq!((which(&world), world.waiting_bytes()), (vec![true, false, true, false], 0));
    // Their keys are told anew.
    world.ask(|reply| Request::ReloadDags { dag_ids: vec![dag_id("a")], reply }).await.unwrap();
    assert_eq!((which(&world), world.waiting_bytes()), (vec![true, false, true, false], 0));
    world.end(&runs[2], "x", AttemptResult::Success).await;
    assert_eq!(which(&world), [true, false, false, true]);
    world.crash().await;
    assert_eq!((which(&world), world.waiting_bytes()), (vec![true, false, false, true], 0));
    world.end(&runs[0], "x", AttemptResult::Success).await;
    assert_eq!(which(&world), [false, true, false, true]);
}

#[tokio::test]
async fn cleared_runs_that_wait_are_not_loaded() {
    let mut world = World::new(vec![one_by_one("a", None)]).await;
    let conf = long("p", 30 << 20);
    let mut runs = Vec::new();
    for number in 0..3 {
        let run = world.trigger_given(&format!("run-{number}"), at(number), &conf).await;
        world.end(&run, "x", AttemptResult::Success).await;
        runs.push(run);
    }
    let clear = |run_id: Option<&DagRunRow>| {
        let of_one = ClearRequest::of_run(dag_id("a"), RunId::new("any").unwrap());
        Box::new(ClearRequest { run_id: run_id.map(|run| run.run_id.clone()), ..of_one })
    };
    let request = clear(None);
    let Err(RequestError::Invalid(why)) = world.ask(|reply| Request::Clear { request, reply }).await else { panic!() };
    assert!(why.contains("64 MiB of conf"), "{why}");
    assert_eq!((world.driver.queued.len(), world.driver.runs.len()), (0, 0));

    for run in &runs {
        let request = clear(Some(run));
        world.ask(|reply| Request::Clear { request, reply }).await.unwrap();
    }
    assert_eq!((world.driver.queued.len(), world.driver.runs.len(), world.waiting_bytes()), (2, 1, 0));
    for run in &runs {
        assert_eq!(world.given(run), conf);
        world.end(run, "x", AttemptResult::Success).await;
    }
}

#[tokio::test]
async fn runs_that_wait_and_are_cleared_still_wait_for_their_place() {
    let mut world = World::new(vec![one_by_one("a", None)]).await;
    let first = world.trigger("a", "first", None).await;
    let second = world.trigger("a", "second", None).await;
    let third = world.trigger("a", "third", None).await;
    let request = Box::new(ClearRequest::of_run(dag_id("a"), second.run_id.clone()));
    let _ = world.ask(|reply| Request::Clear { request, reply }).await.unwrap();
    assert!(world.runs(&first, "x") && !world.runs(&second, "x") && !world.runs(&third, "x"));
    for run in [&first, &second, &third] {
        assert!(world.runs(run, "x"), "{}", run.run_id);
        world.end(run, "x", AttemptResult::Success).await;
    }
}
