use super::*;
use crate::{
    executor::finish,
    model::limits::{DagLimits, Resource},
    wire::{AttemptEnd, Level, Line, LineSource, StreamKey, Usage},
};

async fn limited(limits: DagLimits) -> Fixture {
    let fixture = Fixture::pair(serde_json::json!({"hosts": ["example.org"]})).await;
    fixture.shared.ledgers.limit(&fixture.run.dag_id, limits);
    fixture
}

impl Fixture {
    /// An attempt that runs and is counted.
    async fn counted(&self, task: &str) -> Arc<Attempt> {
        let ledger = self.shared.ledgers.of(&self.run.dag_id).unwrap();
        ledger.load(&self.shared.store).await.unwrap();
        let attempt = self.shared.books.open(self.assignment(task, -1), None, Some(ledger));
        attempt.state().phase = Phase::Sent { runner: RUNNER, at: std::time::Instant::now() };
        attempt
    }
}

fn too_large(result: Result<Reply, CallError>) -> String {
    match result {
        Err(CallError::TooLarge(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn push(key: &str, size: usize) -> Call {
    Call::XComPush { key: key.into(), value: text(size) }
}

#[tokio::test]
async fn xcoms_artifacts_and_results_of_all_attempts_count_together() {
    let mut fixture = limited(DagLimits { data_mib_per_day: Some(1), ..DagLimits::default() }).await;
    let (a, b) = (fixture.counted("a").await, fixture.counted("b").await);
    fixture.call(&a, push("small", 1 << 10)).await.unwrap();
    // What goes to object storage is counted once, though it is looked at twice.
    fixture.call(&a, push("large", 700 << 10)).await.unwrap();
    let create = Call::ArtifactCreate { name: "f".into(), media_type: "text/plain".into() };
    let Ok(Reply::Stream { stream, .. }) = fixture.call(&b, create).await else { panic!("it can't be created") };
    let write = |stream: StreamKey, size| Call::ArtifactWrite { stream, chunk: vec![0; size] };
    fixture.call(&b, write(stream, 323 << 10)).await.unwrap();
    let refused = too_large(fixture.call(&b, write(stream, 1)).await);
    assert!(
        refused.starts_with("artifact `f` makes more than the 1 MiB of artifacts and XComs that dag `d`"),
        "{refused}"
    );
    assert!(too_large(fixture.call(&a, push("one", 1)).await).starts_with("xcom `one` makes more than"));
    finish::done(&fixture.shared, &a, AttemptEnd::Success(Some(json("3"))), Usage::default(), None);
    let completion = fixture.completion().await;
    let message = completion.message.unwrap();
    assert!(message.starts_with("its result can't be kept: it makes more than the 1 MiB"), "{message}");
}

#[tokio::test]
async fn host_calls_and_the_network_are_counted() {
    let limits = DagLimits { host_calls_per_day: Some(2), network_mib_per_day: Some(1), ..DagLimits::default() };
    let mut fixture = limited(limits).await;
    let a = fixture.counted("a").await;
    let ask = || Call::HttpRequest {
        method: "POST".into(),
        uri: "http://elsewhere.example/".into(),
        headers: Vec::new(),
        body: vec![0; (1 << 20) - 29],
        timeout_ms: None,
    };
    // It is not granted, and yet it was asked for.
    assert!(matches!(fixture.call(&a, ask()).await, Err(CallError::Denied(_))));
    let refused = too_large(fixture.call(&a, ask()).await);
    assert!(refused.starts_with("this is more than the 1 MiB to and from the network that dag `d`"), "{refused}");
    let refused = too_large(fixture.call(&a, push("k", 1)).await);
    assert!(refused.starts_with("this is more than the 2 host calls that dag `d`"), "{refused}");
}

#[tokio::test]
async fn lines_beyond_the_limit_are_dropped_and_that_is_said_once() {
    let fixture = limited(DagLimits { log_mib_per_day: Some(1), ..DagLimits::default() }).await;
    let a = fixture.counted("a").await;
    let lines = |letter: char| {
        let line = Line {
            at: now(),
            level: Level::Info,
            source: LineSource::Log,
            target: String::new(),
            message: letter.to_string().repeat(400 << 10),
            fields: Vec::new(),
        };
        vec![line]
    };
    for letter in ['1', '2', '3', '4'] {
        fixture.shared.logs.append(&a, &lines(letter));
    }
    let page = fixture.shared.logs.read(&a.id().instance, 1, crate::executor::LogFrom::Line(0), 10).await.unwrap();
    assert_eq!(page.lines.len(), 3);
    assert!(page.lines[2].contains("from here on lines were dropped: they are more than the 1 MiB of logs"));
}

#[tokio::test]
async fn what_was_counted_outlives_the_process() {
    let limits = DagLimits { host_calls_per_day: Some(5), ..DagLimits::default() };
    let fixture = limited(limits).await;
    let of = |ledgers: &crate::executor::ledger::Ledgers| ledgers.of(&fixture.run.dag_id).unwrap();
    let ledger = of(&fixture.shared.ledgers);
    ledger.load(&fixture.shared.store).await.unwrap();
    ledger.spend(Resource::HostCalls, 4).unwrap();
    fixture.shared.closing.cancel();
    fixture.shared.ledgers.keep(&fixture.shared.store, &fixture.shared.closing).await;

    let again = crate::executor::ledger::Ledgers::new(limits);
    let ledger = of(&again);
    assert!(!ledger.is_loaded());
    ledger.load(&fixture.shared.store).await.unwrap();
    ledger.spend(Resource::HostCalls, 2).unwrap_err();
    ledger.spend(Resource::HostCalls, 1).unwrap();
    // Who comes late takes over nothing.
    ledger.load(&fixture.shared.store).await.unwrap();
    ledger.spend(Resource::HostCalls, 1).unwrap_err();
}
