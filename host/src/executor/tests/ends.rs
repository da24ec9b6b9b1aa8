use super::*;
use crate::{
    executor::{AttemptResult, Executor, LogFrom, finish},
    wire::{AttemptEnd, Usage},
};

fn done(fixture: &Fixture, attempt: &Arc<Attempt>, end: AttemptEnd) {
    finish::done(&fixture.shared, attempt, end, Usage::default(), None);
}

async fn end(end: AttemptEnd) -> Completion {
    let mut fixture = Fixture::pair(serde_json::json!({})).await;
    let a = fixture.attempt("a");
    done(&fixture, &a, end);
    fixture.completion().await
}

#[tokio::test]
async fn objects_that_can_not_be_deleted_now_are_left_to_the_collector() {
    let mut fixture = Fixture::pair(serde_json::json!({})).await;
    let folder = tempfile::tempdir().unwrap();
    let storage = Blobs::open(&format!("file://{}", folder.path().display())).unwrap();
    Arc::get_mut(&mut fixture.shared).unwrap().blobs = storage;
    // A folder is no file that can be deleted.
    std::fs::create_dir_all(folder.path().join("artifacts/ab/left")).unwrap();
    fixture.shared.discard(vec!["artifacts/ab/left".into()]);
    fixture.shared.tasks.close();
    fixture.shared.tasks.wait().await;
    assert_eq!(fixture.shared.store.garbage_list(9).await.unwrap(), ["artifacts/ab/left"]);
}

#[tokio::test]
async fn each_end_has_its_result() {
    let table = [
        (AttemptEnd::Success(None), AttemptResult::Success, None),
        (AttemptEnd::Skipped(Some("no data".into())), AttemptResult::Skipped, Some("no data")),
        (
            AttemptEnd::Branch(vec!["b".into(), "b".into()]),
            AttemptResult::Branch(vec![TaskId::new("b").unwrap()]),
            None,
        ),
        (AttemptEnd::Later(now()), AttemptResult::Later(now()), None),
        (AttemptEnd::Retryable("why".into()), AttemptResult::Failed { retry: true }, Some("why")),
        (AttemptEnd::Fatal("why".into()), AttemptResult::Failed { retry: false }, Some("why")),
        (
            AttemptEnd::Trapped { message: "unreachable".into(), backtrace: vec!["f".into()] },
            AttemptResult::Failed { retry: true },
            Some("unreachable"),
        ),
        (
            AttemptEnd::TimedOut { limit_ms: 5 },
            AttemptResult::Failed { retry: true },
            Some("task `a` ran longer than its limit of 5 ms"),
        ),
        (AttemptEnd::Killed, AttemptResult::Lost, Some("its runner process is gone")),
        (
            AttemptEnd::Branch(vec!["a".into()]),
            AttemptResult::Failed { retry: false },
            Some("task `a` branched to `a`, which is not downstream of it"),
        ),
        (
            AttemptEnd::Success(Some(json("{"))),
            AttemptResult::Failed { retry: false },
            Some(
                "the result can't be used: its media type is application/json, and it is not valid JSON: EOF while \
                 parsing an object at line 1 column 1",
            ),
        ),
    ];
    for (given, result, message) in table {
        let shown = format!("{given:?}");
        let completion = end(given).await;
        assert_eq!((completion.result, completion.message.as_deref()), (result, message), "{shown}");
    }
}

#[tokio::test]
async fn a_large_result_is_stored_and_a_small_one_is_handed_over() {
    for (size, is_inline) in [(65_536, true), (65_537, false)] {
        let mut fixture = Fixture::pair(serde_json::json!({})).await;
        let a = fixture.attempt("a");
        done(&fixture, &a, AttemptEnd::Success(Some(text(size))));
        let completion = fixture.completion().await;
        match &completion.xcoms[0].body {
            XComBody::Inline(bytes) => assert!(is_inline && bytes.len() == size),
            XComBody::Blob(blob) => {
                assert!(!is_inline);
                assert_eq!(fixture.shared.blobs.get(blob).await.unwrap().unwrap().len(), size);
            }
        }
    }
}

#[tokio::test]
async fn a_result_above_the_limit_fails_the_attempt() {
    let mut fixture = Fixture::pair(serde_json::json!({})).await;
    let a = fixture.attempt("a");
    done(&fixture, &a, AttemptEnd::Success(Some(text((256 << 20) + 1))));
    let completion = fixture.completion().await;
    assert_eq!(completion.result, AttemptResult::Failed { retry: false });
    assert!(completion.message.unwrap().contains("268435456"));
}

#[tokio::test]
async fn the_list_that_others_are_mapped_over_is_counted() {
    let nodes = serde_json::json!([{"task_id": "a"}, {"task_id": "b", "entry": "in",
        "inputs": [{"name": "x", "source": {"element": {"axis": 0, "list": 0}}}], "expand": [[{"output": "a"}]]}]);
    for (value, length) in [("[1,2,3]", Some(3)), ("[]", Some(0)), ("{}", None)] {
        let mut fixture = Fixture::new(nodes.clone(), serde_json::json!({})).await;
        let a = fixture.attempt("a");
        done(&fixture, &a, AttemptEnd::Success(Some(json(value))));
        assert_eq!(fixture.completion().await.list_length, length, "{value}");
    }
    let mut fixture = Fixture::pair(serde_json::json!({})).await;
    let a = fixture.attempt("a");
    done(&fixture, &a, AttemptEnd::Success(Some(json("[1]"))));
    assert_eq!(fixture.completion().await.list_length, None, "nobody asks for it");
}

#[tokio::test]
async fn a_trap_is_shown_with_its_backtrace() {
    let mut fixture = Fixture::pair(serde_json::json!({})).await;
    let a = fixture.attempt("a");
    let backtrace = vec!["app::inner".to_owned(), "app::outer".to_owned()];
    done(&fixture, &a, AttemptEnd::Trapped { message: "unreachable".into(), backtrace });
    fixture.completion().await;
    let page = fixture.shared.logs.read(&a.id().instance, 1, LogFrom::Tail, 10).await.unwrap();
    let events: Vec<String> = page
        .lines
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["event"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(events, ["unreachable", "  0: app::inner", "  1: app::outer"]);
}

#[tokio::test]
async fn an_attempt_has_one_event_whatever_comes_after_it() {
    let mut fixture = Fixture::pair(serde_json::json!({})).await;
    let a = fixture.attempt("a");
    done(&fixture, &a, AttemptEnd::Success(None));
    done(&fixture, &a, AttemptEnd::Fatal("late".into()));
    finish::lost(&fixture.shared, a.key, None);
    assert_eq!(fixture.completion().await.result, AttemptResult::Success);
    assert!(fixture.events.try_recv().is_err());
    assert_eq!(a.effects(|_| ()), None, "and takes nothing in any more");
}

#[tokio::test]
async fn a_kill_ends_what_waits_and_forgets_what_is_over() {
    let mut fixture = Fixture::pair(serde_json::json!({})).await;
    let executor = Executor { shared: Arc::clone(&fixture.shared) };
    let waiting = fixture.shared.books.open(fixture.assignment("a", -1), None, None);
    executor.kill(waiting.id());
    assert_eq!(fixture.completion().await.result, AttemptResult::Killed);
    let a = fixture.attempt("a");
    executor.kill(a.id());
    assert!(fixture.events.try_recv().is_err(), "its runner has to end it");
    done(&fixture, &a, AttemptEnd::Killed);
    assert_eq!(fixture.completion().await.result, AttemptResult::Killed);
    let a = fixture.attempt("a");
    done(&fixture, &a, AttemptEnd::Success(Some(json("1"))));
    fixture.completion().await;
    assert!(fixture.shared.results.get(&a.id().instance).is_some());
    executor.kill(a.id());
    assert!(fixture.shared.results.get(&a.id().instance).is_none());
}
