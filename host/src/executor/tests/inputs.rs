use super::*;
use crate::{
    executor::{
        finish,
        inputs::{InputError, resolve, resolve_now},
    },
    wire::{AttemptEnd, Input, Usage},
};

async fn inputs(fixture: &Fixture, task: &str, map_index: i32) -> Result<Vec<Input>, InputError> {
    let assignment = fixture.assignment(task, map_index);
    match resolve_now(&fixture.shared, &assignment) {
        Some(inputs) => inputs,
        None => resolve(&fixture.shared, &assignment).await,
    }
    .map(|inputs| inputs.inputs)
}

fn value(inputs: &[Input], at: usize) -> Option<&Value> {
    inputs[at].value.as_ref()
}

#[tokio::test]
async fn literals_and_params_are_bound() {
    let nodes = serde_json::json!([
        {"task_id": "a", "entry": "in", "inputs": [
            {"name": "x", "source": {"literal": "[1, 2]"}},
            {"name": "y", "source": {"param": "p"}}]},
        {"task_id": "b", "entry": "in", "inputs": [
            {"name": "x", "source": {"bytes": {"media_type": "text/plain", "base64": "aGk="}}}]},
    ]);
    let fixture = Fixture::new(nodes, serde_json::json!({})).await;
    let a = inputs(&fixture, "a", -1).await.unwrap();
    assert_eq!((value(&a, 0), value(&a, 1)), (Some(&json("[1, 2]")), Some(&json(r#"{"a": [1, "two"]}"#))));
    let b = inputs(&fixture, "b", -1).await.unwrap();
    assert_eq!(value(&b, 0), Some(&Value { media_type: "text/plain".into(), bytes: b"hi".to_vec() }));
}

#[tokio::test]
async fn a_result_is_handed_on_from_memory_and_from_the_database_alike() {
    let mut fixture = Fixture::pair(serde_json::json!({})).await;
    let a = fixture.attempt("a");
    finish::done(&fixture.shared, &a, AttemptEnd::Success(Some(json("1"))), Usage::default(), None);
    let completion = fixture.completion().await;
    let now_known = resolve_now(&fixture.shared, &fixture.assignment("b", -1)).unwrap().unwrap();
    assert_eq!(value(&now_known.inputs, 0), Some(&json("1")));
    fixture.shared.store.commit(&Commit { xcoms: completion.xcoms, now: now(), ..Commit::default() }).await.unwrap();
    fixture.shared.results.forget(&a.id().instance);
    assert!(resolve_now(&fixture.shared, &fixture.assignment("b", -1)).is_none());
    assert_eq!(value(&inputs(&fixture, "b", -1).await.unwrap(), 0), Some(&json("1")));
}

#[tokio::test]
async fn a_large_result_is_handed_on_from_object_storage() {
    let mut fixture = Fixture::pair(serde_json::json!({})).await;
    let a = fixture.attempt("a");
    finish::done(&fixture.shared, &a, AttemptEnd::Success(Some(text(1 << 20))), Usage::default(), None);
    let completion = fixture.completion().await;
    fixture.shared.store.commit(&Commit { xcoms: completion.xcoms, now: now(), ..Commit::default() }).await.unwrap();
    fixture.shared.results.forget(&a.id().instance);
    assert_eq!(value(&inputs(&fixture, "b", -1).await.unwrap(), 0), Some(&text(1 << 20)));
}

#[tokio::test]
async fn a_missing_result_fails_the_attempt_that_requires_it() {
    let nodes = serde_json::json!([{"task_id": "a"},
        {"task_id": "b", "entry": "in", "inputs": [{"name": "x", "source": {"output": "a"}}]},
        {"task_id": "c", "entry": "in", "inputs": [
            {"name": "x", "source": {"literal": "1"}}, {"name": "y", "source": {"output": "a"}}]}]);
    let fixture = Fixture::new(nodes, serde_json::json!({})).await;
    let missing = inputs(&fixture, "b", -1).await.unwrap_err();
    assert_eq!(
        missing,
        InputError {
            message: "input `x` of task `b` is bound to task `a`, which has no result; if it had one, clear it, too, to have it made again".into(),
            retry: false,
        }
    );
    assert_eq!(value(&inputs(&fixture, "c", -1).await.unwrap(), 1), None, "an input that is not required");
}

#[tokio::test]
async fn the_results_of_a_mapped_task_are_a_list_by_map_index() {
    let nodes = serde_json::json!([{"task_id": "a", "expand": [[{"literal": "[0, 1, 2, 3]"}]]},
        {"task_id": "b", "entry": "in", "inputs": [{"name": "x", "source": {"output": "a"}}]}]);
    let fixture = Fixture::new(nodes, serde_json::json!({})).await;
    let instances = (0..4).map(|map_index| InstanceNew {
        key: fixture.instance("a", map_index),
        state: TaskState::Running,
        max_tries: 1,
        placement: Placement::usual(EntryName::new("e").unwrap()),
    });
    let commit = Commit { instances_new: instances.collect(), now: now(), ..Commit::default() };
    fixture.shared.store.commit(&commit).await.unwrap();
    fixture.commit_xcom("a", 3, "return_value", json("\"three\"")).await;
    fixture.commit_xcom("a", 0, "return_value", json("0")).await;
    // Instance 1 was skipped; 2 ended just now.
    fixture.shared.results.put(fixture.instance("a", 2), Some(Arc::new(json("[2]"))));
    assert_eq!(value(&inputs(&fixture, "b", -1).await.unwrap(), 0), Some(&json("[0,[2],\"three\"]")));
}

#[tokio::test]
async fn an_instance_of_a_mapped_task_gets_its_element() {
    let nodes = serde_json::json!([{"task_id": "a"}, {"task_id": "b", "entry": "in",
        "inputs": [{"name": "x", "source": {"element": {"axis": 0, "list": 0}}}], "expand": [[{"output": "a"}]]}]);
    let fixture = Fixture::new(nodes, serde_json::json!({})).await;
    fixture.commit_xcom("a", -1, "return_value", json(r#"["p", {"q": 1}]"#)).await;
    assert_eq!(value(&inputs(&fixture, "b", 1).await.unwrap(), 0), Some(&json(r#"{"q": 1}"#)));
    let missing = inputs(&fixture, "b", 2).await.unwrap_err();
    assert!(!missing.retry && missing.message.contains("has no element 2"), "{}", missing.message);
}
