//! Runs that timetables make.

use super::*;
use crate::store::{DagRunFilter, Page};

/// A dag that is due at half past each hour, and does not say since when.
fn half_past(id: &str) -> serde_json::Value {
    let mut hourly = dag(id, &["x"]);
    hourly["schedule"] = serde_json::json!({"cron": {"expressions": ["30 * * * *"], "data_interval": false}});
    hourly
}

impl World {
    async fn dates(&self, dag: &str) -> Vec<Timestamp> {
        let runs = self.store.dag_run_list(&DagRunFilter::of_dag(dag_id(dag)), Page::first(10)).await.unwrap();
        runs.items.into_iter().filter_map(|run| run.logical_date).collect()
    }
}

#[tokio::test]
async fn a_dag_without_a_start_begins_with_the_first_tick_since_it_is_there_and_not_paused() {
    let mut world = World::new(vec![half_past("d"), half_past("p")]).await;
    world.ask(|reply| Request::SetPaused { dag_id: dag_id("p"), paused: true, reply }).await.unwrap();
    // The loop never looks at the very instant of a tick.
    world.pass(1_801).await;
    assert_eq!((world.dates("d").await, world.dates("p").await), (vec![at(1_800)], Vec::new()));
    world.ask(|reply| Request::SetPaused { dag_id: dag_id("p"), paused: false, reply }).await.unwrap();
    world.crash().await;
    assert_eq!(world.dates("p").await, Vec::new());
    world.pass(3_600).await;
    assert_eq!(world.dates("p").await, [at(5_400)]);
}
