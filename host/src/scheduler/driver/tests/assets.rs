//! Assets: who makes them, and the runs that are made for them.

use super::*;
use crate::{
    model::{ids::AssetName, state::RunType, wait::Wait},
    store::{DagRunFilter, Page, QueuedEventFilter},
};

/// A dag whose task `x` makes these assets.
fn maker(id: &str, outlets: &[&str]) -> serde_json::Value {
    let mut maker = dag(id, &["x"]);
    maker["nodes"][0]["outlets"] = serde_json::json!(outlets);
    maker["assets"] = assets(outlets);
    maker
}

fn assets(names: &[&str]) -> serde_json::Value {
    names.iter().map(|name| serde_json::json!({"name": name, "uri": name, "group": "asset"})).collect()
}

/// A dag that runs after these, one run at a time.
fn consumer(id: &str, condition: serde_json::Value, names: &[&str]) -> serde_json::Value {
    let mut consumer = dag(id, &["c"]);
    consumer["asset_schedule"] = condition;
    consumer["assets"] = assets(names);
    consumer["max_active_runs"] = 1.into();
    consumer
}

impl World {
    async fn make(&mut self, dag: &str, run_id: &str) {
        let run = self.trigger(dag, run_id, None).await;
        self.end(&run, "x", AttemptResult::Success).await;
    }

    async fn runs_of(&self, dag: &str) -> Vec<DagRunRow> {
        let filter = DagRunFilter::of_dag(dag_id(dag));
        self.store.dag_run_list(&filter, Page::first(100)).await.unwrap().items
    }

    /// The assets of the events that a run consumed.
    async fn consumed(&self, run: &DagRunRow) -> Vec<String> {
        let events = self.store.asset_event_list_of_run(run.key, 100).await.unwrap();
        events.into_iter().map(|event| event.name.to_string()).collect()
    }

    async fn pause(&mut self, dag: &str, paused: bool) {
        let dag_id = dag_id(dag);
        self.ask(|reply| Request::SetPaused { dag_id, paused, reply }).await.unwrap();
    }
}

async fn both() -> World {
    let condition = serde_json::json!({"all": [{"asset": "a"}, {"asset": "b"}]});
    World::new(vec![maker("ma", &["a"]), maker("mb", &["b"]), consumer("c", condition, &["a", "b"])]).await
}

#[tokio::test]
async fn a_run_is_made_when_all_were_updated_and_consumes_what_came() {
    let mut world = both().await;
    world.make("ma", "1").await;
    world.make("ma", "2").await;
    assert_eq!(world.runs_of("c").await.len(), 0);
    world.make("mb", "1").await;
    let runs = world.runs_of("c").await;
    assert_eq!((runs.len(), runs[0].run_type, runs[0].triggered_by.as_str()), (1, RunType::AssetTriggered, "asset"));
    assert_eq!(runs[0].logical_date, None);
    assert_eq!(world.consumed(&runs[0]).await, ["a", "a", "b"]);
    assert!(world.store.asset_queue_names().await.unwrap().is_empty());
    assert!(world.runs(&runs[0], "c"));
}

#[tokio::test]
async fn what_comes_while_a_run_is_active_is_consumed_by_one_run_after_it() {
    let mut world = both().await;
    for number in ["1", "2", "3"] {
        world.make("ma", number).await;
        world.make("mb", number).await;
    }
    let first = world.runs_of("c").await;
    assert_eq!(first.len(), 1);
    world.end(&first[0], "c", AttemptResult::Success).await;
    let runs = world.runs_of("c").await;
    assert_eq!(runs.len(), 2);
    assert_eq!(world.consumed(&runs[1]).await, ["a", "b", "a", "b"]);
}

#[tokio::test]
async fn no_event_is_lost_while_the_dag_is_paused_or_the_server_dead() {
    let mut world = both().await;
    world.pause("c", true).await;
    world.make("ma", "1").await;
    world.crash().await;
    world.make("mb", "1").await;
    world.crash().await;
    assert_eq!(world.runs_of("c").await.len(), 0);
    world.pause("c", false).await;
    let runs = world.runs_of("c").await;
    assert_eq!(world.consumed(&runs[0]).await, ["a", "b"]);
    world.crash().await;
    assert_eq!(world.runs_of("c").await.len(), 1, "they were consumed");
}

#[tokio::test]
async fn what_does_not_succeed_makes_nothing_and_extras_are_kept() {
    let mut world = both().await;
    let failed = world.trigger("ma", "1", None).await;
    world.end(&failed, "x", AttemptResult::Failed { retry: false }).await;
    let skipped = world.trigger("ma", "2", None).await;
    world.end(&skipped, "x", AttemptResult::Skipped).await;
    assert!(world.store.asset_queue_names().await.unwrap().is_empty());
    let run = world.trigger("ma", "3", None).await;
    let mut end = world.ended(&run, "x", AttemptResult::Success);
    if let ExecutorEvent::Finished(completion) = &mut end {
        completion.asset_extras.insert(AssetName::new("a").unwrap(), r#"{"rows":3}"#.into());
    }
    world.turn(Vec::new(), vec![end]).await;
    let events =
        world.store.asset_event_list(&crate::store::AssetEventFilter::default(), Page::first(10)).await.unwrap();
    assert_eq!((events.total, events.items[0].extra.as_str()), (1, r#"{"rows":3}"#));
    assert_eq!(events.items[0].source_run_id.as_ref().unwrap().as_str(), "3");
}

#[tokio::test]
async fn events_are_made_and_dropped_by_hand() {
    let mut world = both().await;
    let asset = AssetName::new("a").unwrap();
    let by_hand = |reply| Request::AssetEvent { asset: asset.clone(), extra: "{}".into(), user: "ann".into(), reply };
    world.ask(by_hand).await.unwrap();
    let which = QueuedEventFilter { dag_id: Some(dag_id("c")), ..QueuedEventFilter::default() };
    let dropped = world.ask(|reply| Request::AssetQueueDelete { which, reply }).await;
    assert_eq!(dropped.unwrap(), 1);
    world.make("mb", "1").await;
    assert_eq!(world.runs_of("c").await.len(), 0);
    let unknown = AssetName::new("x").unwrap();
    let refused =
        world.ask(|reply| Request::AssetEvent { asset: unknown, extra: "{}".into(), user: "ann".into(), reply }).await;
    assert!(matches!(refused, Err(RequestError::NotFound(_))));
    let mut through = maker("m", &["tables"]);
    through["assets"][0]["is_alias"] = true.into();
    let mut world = World::new(vec![through]).await;
    let alias = AssetName::new("tables").unwrap();
    let refused =
        world.ask(|reply| Request::AssetEvent { asset: alias, extra: "{}".into(), user: "ann".into(), reply }).await;
    assert!(matches!(refused, Err(RequestError::Invalid(_))));
}

#[tokio::test]
async fn an_asset_counts_as_updated_while_one_of_its_events_is_left() {
    let mut world = both().await;
    world.make("ma", "1").await;
    world.pass(1).await;
    world.make("ma", "2").await;
    let queued = world.store.asset_queue_list(&QueuedEventFilter::default()).await.unwrap();
    let which = QueuedEventFilter { before: Some(queued[1].timestamp), ..QueuedEventFilter::default() };
    assert_eq!(world.ask(|reply| Request::AssetQueueDelete { which, reply }).await.unwrap(), 1);
    world.make("mb", "1").await;
    assert_eq!(world.runs_of("c").await.len(), 1);
}

#[tokio::test]
async fn what_comes_in_the_turn_in_which_events_are_dropped_is_known_as_it_is_stored() {
    let mut world = both().await;
    world.make("ma", "1").await;
    let (reply, _told) = Reply::new();
    let event =
        Request::AssetEvent { asset: AssetName::new("a").unwrap(), extra: "{}".into(), user: "ann".into(), reply };
    let (reply, dropped) = Reply::new();
    let drop = Request::AssetQueueDelete { which: QueuedEventFilter::default(), reply };
    world.turn(vec![event, drop], Vec::new()).await;
    assert_eq!(dropped.await.unwrap().unwrap(), 2);
    world.make("mb", "1").await;
    let known = world.runs_of("c").await.len();
    world.crash().await;
    assert_eq!((known, world.runs_of("c").await.len()), (0, 0));
}

#[tokio::test]
async fn events_are_dropped_when_the_database_is_there_again_and_nothing_is_restarted() {
    let mut world = both().await;
    world.make("ma", "1").await;
    let run = world.trigger("mb", "1", None).await;
    world.store.plan_absence();
    let which = QueuedEventFilter::default();
    assert_eq!(world.ask(|reply| Request::AssetQueueDelete { which, reply }).await.unwrap(), 1);
    assert!(world.runs(&run, "x"));
}

#[tokio::test]
async fn a_task_waits_for_an_asset() {
    let mut waiter = dag("w", &["w"]);
    waiter["nodes"][0]["inlets"] = serde_json::json!(["a"]);
    waiter["assets"] = assets(&["a"]);
    let mut world = World::new(vec![maker("ma", &["a"]), waiter]).await;
    world.make("ma", "before").await;
    world.pass(1).await;
    let run = world.trigger("w", "w", None).await;
    let since = world.now;
    let wait = |since| AttemptResult::Wait(Wait::Asset { asset: AssetName::new("a").unwrap(), since }, at(3_600));
    world.end(&run, "w", wait(since)).await;
    assert!(!world.runs(&run, "w"));
    world.crash().await;
    world.pass(1).await;
    world.make("ma", "after").await;
    assert!(world.runs(&run, "w"));
    assert_eq!(world.waits().await, 0);
    world.end(&run, "w", wait(since)).await;
    assert!(world.runs(&run, "w"), "it has come already");
}
