//! Mapped tasks and groups.

use super::*;
use crate::{
    model::ids::XComKey,
    scheduler::ClearRequest,
    store::{XComBody, XComNew},
};

fn element(run: &DagRunRow, task: &str, map_index: i32) -> InstanceKey {
    InstanceKey { map_index, ..instance(run, task) }
}

#[tokio::test]
async fn an_instance_that_returns_nothing_is_no_element_of_the_list() {
    let mut dag = dag("a", &["m", "n"]);
    dag["nodes"][0]["expand"] = serde_json::json!([[{"literal": "[1, 2, 3]"}]]);
    dag["nodes"][1]["expand"] = serde_json::json!([[{"output": "m"}]]);
    let mut world = World::new(vec![dag]).await;
    let run = world.trigger("a", "run", None).await;
    let ends = [true, false, true].into_iter().zip(0..).map(|(has_result, map_index)| {
        let key = element(&run, "m", map_index);
        let ExecutorEvent::Finished(mut end) = world.ended_of(&key, AttemptResult::Success) else { panic!() };
        end.xcoms.extend(has_result.then(|| XComNew {
            instance: key,
            key: XComKey::return_value(),
            media_type: "application/json".into(),
            size_bytes: 1,
            body: XComBody::Inline(b"1".to_vec()),
        }));
        ExecutorEvent::Finished(end)
    });
    let ends = ends.collect();
    world.turn(Vec::new(), ends).await;
    let last = world.store.task_instance_last_map_index(run.key, &task_id("n")).await.unwrap();
    assert_eq!(last, 1, "as many as there are results");
}

#[tokio::test]
async fn an_instance_that_was_removed_is_no_element_of_the_list() {
    async fn end_list(world: &mut World, run: &DagRunRow, length: u32) {
        let ExecutorEvent::Finished(mut end) = world.ended(run, "list", AttemptResult::Success) else { panic!() };
        end.list_length = Some(length);
        world.turn(Vec::new(), vec![ExecutorEvent::Finished(end)]).await;
    }
    // `z` keeps the run running.
    let mut dag = dag("a", &["list", "m", "z"]);
    dag["nodes"][1]["expand"] = serde_json::json!([[{"output": "list"}]]);
    let mut world = World::new(vec![dag]).await;
    let run = world.trigger("a", "run", None).await;
    end_list(&mut world, &run, 2).await;
    for map_index in [0, 1] {
        let end = world.ended_of(&element(&run, "m", map_index), AttemptResult::Success);
        world.turn(Vec::new(), vec![end]).await;
    }
    assert_eq!(world.store.task_instance_last_element(run.key, &task_id("m")).await.unwrap(), 1);
    let of_run = ClearRequest::of_run(run.dag_id.clone(), run.run_id.clone());
    let request = Box::new(ClearRequest { tasks: vec![(task_id("list"), None)], ..of_run });
    world.ask(|reply| Request::Clear { request, reply }).await.unwrap();
    end_list(&mut world, &run, 1).await;
    assert_eq!(world.store.task_instance_last_map_index(run.key, &task_id("m")).await.unwrap(), 1, "its row stays");
    assert_eq!(world.store.task_instance_last_element(run.key, &task_id("m")).await.unwrap(), 0);
}

#[tokio::test]
async fn an_instance_of_a_mapped_group_is_cleared_with_those_of_its_map_index() {
    let mut dag = dag("a", &["g.a", "g.b"]);
    for node in dag["nodes"].as_array_mut().unwrap() {
        node["group"] = "g".into();
    }
    dag["edges"] = serde_json::json!([["g.a", "g.b"]]);
    dag["groups"] = serde_json::json!([{"group_id": "g", "expand": [[{"literal": "[1, 2]"}]]}]);
    let mut world = World::new(vec![dag]).await;
    let run = world.trigger("a", "run", None).await;
    for (task, map_index) in [("g.a", 0), ("g.a", 1), ("g.b", 0), ("g.b", 1)] {
        let end = world.ended_of(&element(&run, task, map_index), AttemptResult::Success);
        world.turn(Vec::new(), vec![end]).await;
    }
    let of_run = ClearRequest::of_run(run.dag_id.clone(), run.run_id.clone());
    let request = Box::new(ClearRequest { tasks: vec![(task_id("g.a"), Some(1))], downstream: true, ..of_run });
    let cleared = world.ask(|reply| Request::Clear { request, reply }).await.unwrap();
    assert_eq!(cleared, [element(&run, "g.a", 1), element(&run, "g.b", 1)]);
}
