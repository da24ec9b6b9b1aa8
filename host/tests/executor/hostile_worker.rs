//! What a worker may say that is not one of ours: it has the token, or is a runner from whose sandbox somebody got out. It harms its own
//! attempts, and nobody else's.

use std::time::{Duration, Instant};

use airlock::{
    executor::{AttemptResult, ExecutorConfig, Hello},
    model::{
        queue::{Queues, Room},
        time::Timestamp,
    },
    wire::{
        AttemptEnd, AttemptKey, Call, CallKey, FrameReader, FromRunner, Level, Line, LineSource, MAX_FRAME_BYTES,
        RunAttempt, StreamKey, Tape, ToRunner, Usage, Value, frame,
    },
};
use serde_json::json;
use tokio::{
    io::{AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf},
    task::JoinSet,
    time::timeout,
};
use uuid::Uuid;

use super::{failed, harness::Harness};

/// How long a worker may be silent here.
const PATIENCE: Duration = Duration::from_secs(3);
const SOON: Duration = Duration::from_secs(20);

/// A worker in the hands of somebody else.
struct Peer {
    from: FrameReader<ReadHalf<DuplexStream>>,
    to: WriteHalf<DuplexStream>,
    /// The supervisor's side of its stream.
    served: JoinSet<Result<(), String>>,
}

impl Peer {
    fn new(harness: &Harness) -> Self {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let executor = harness.executor.clone();
        let hello = Hello {
            name: "mallory".into(),
            process: Uuid::new_v4(),
            room: Room::of(1, None),
            queues: Queues::All,
            attempts: None,
        };
        let mut served = JoinSet::new();
        served.spawn(async move { executor.serve_worker(hello, theirs).await });
        let (from, to) = tokio::io::split(ours);
        Self { from: FrameReader::new(from), to, served }
    }

    async fn ready(harness: &Harness) -> Self {
        let mut peer = Self::new(harness);
        peer.say(&FromRunner::Ready).await;
        peer
    }

    /// Whether the supervisor took it does not matter.
    async fn write(&mut self, bytes: &[u8]) {
        let _ = timeout(SOON, self.to.write_all(bytes)).await;
    }

    async fn say(&mut self, message: &FromRunner) {
        self.write(&frame(message).unwrap()).await;
    }

    async fn hear(&mut self) -> ToRunner {
        timeout(SOON, self.from.next()).await.expect("the supervisor says something").unwrap().unwrap()
    }

    /// Waits for an attempt.
    async fn run(&mut self) -> RunAttempt {
        loop {
            match self.hear().await {
                ToRunner::Run(run) => return *run,
                ToRunner::Ping => self.say(&FromRunner::Pong).await,
                _ => {}
            }
        }
    }

    async fn done(&mut self, attempt: AttemptKey, end: AttemptEnd) {
        self.say(&FromRunner::Done { attempt, end, usage: Usage::default() }).await;
    }

    /// Why its stream ended, which it does soon.
    async fn ended(&mut self) -> String {
        let ended = timeout(SOON, self.served.join_next()).await.expect("its stream ends");
        ended.unwrap().unwrap().expect_err("it was not asked to leave")
    }
}

async fn of_workers(nodes: serde_json::Value) -> Harness {
    let settings = |config| ExecutorConfig { runners: 0, runner_silence: PATIENCE, ..config };
    Harness::with(nodes, settings).await
}

fn two_tasks() -> serde_json::Value {
    json!([{"task_id": "a", "entry": "noop"}, {"task_id": "b", "entry": "noop"}])
}

fn line(text: &str) -> Line {
    Line {
        at: Timestamp::from_micros(i64::MAX),
        level: Level::Info,
        source: LineSource::Airlock,
        target: String::new(),
        message: text.into(),
        fields: Vec::new(),
    }
}

fn get(attempt: AttemptKey, call: u32) -> FromRunner {
    FromRunner::Call { attempt, call: CallKey(call), request: Call::VariableGet { key: "k".into() } }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_does_not_keep_to_the_protocol_is_let_go() {
    let mut harness = of_workers(two_tasks()).await;
    let ready = frame(&FromRunner::Ready).unwrap();
    let pong = frame(&FromRunner::Pong).unwrap();
    let length = |bytes: usize| u32::try_from(bytes).unwrap().to_le_bytes().to_vec();
    let texts = frame(&FromRunner::Log { attempt: AttemptKey(1), lines: vec![line("x"); 100] }).unwrap();
    for (what, bytes) in [
        ("nothing", vec![]),
        ("a frame before it is ready", pong.clone()),
        ("a first frame that is large", length(1 << 20)),
        ("half a head", vec![1, 0]),
        ("half a frame", [ready.clone(), length(100), vec![0; 50]].concat()),
        ("a frame above the limit", [ready.clone(), length(MAX_FRAME_BYTES + 1)].concat()),
        ("the largest length", [ready.clone(), vec![0xff; 4]].concat()),
        ("ready twice", [ready.clone(), ready.clone()].concat()),
        ("an empty frame", [ready.clone(), length(0)].concat()),
        ("no such message", [ready.clone(), length(1), vec![0x7f]].concat()),
        ("a number that does not end", [ready.clone(), length(20), vec![0xff; 20]].concat()),
        ("a text longer than its frame", [ready.clone(), length(8), vec![3, 1, 0xff, 0xff, 0xff, 0x7f, 0, 0]].concat()),
        (
            "a frame cut in its middle",
            [ready.clone(), length(texts.len() / 2), texts[4..texts.len() / 2 + 4].to_vec()].concat(),
        ),
        ("a page", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec()),
    ] {
        let mut peer = Peer::new(&harness);
        peer.write(&bytes).await;
        if ["nothing", "half a head", "half a frame"].contains(&what) {
            peer.to.shutdown().await.unwrap();
        }
        let ended = timeout(SOON, peer.served.join_next()).await;
        let ended = ended.unwrap_or_else(|_| panic!("{what}: it is still served")).unwrap().unwrap();
        assert!(ended.is_err(), "{what}");
    }
    // Whoever comes next is served.
    harness.dispatch(&["a"]);
    let mut peer = Peer::ready(&harness).await;
    let run = peer.run().await;
    peer.done(run.attempt, AttemptEnd::Success(None)).await;
    assert_eq!(harness.completion().await.result, AttemptResult::Success);
    harness.executor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_speaks_for_its_own_attempts_only() {
    let mut harness = of_workers(two_tasks()).await;
    let (mut one, mut other) = (Peer::ready(&harness).await, Peer::ready(&harness).await);
    harness.dispatch(&["a", "b"]);
    let (mine, theirs) = (one.run().await, other.run().await);
    assert_ne!(mine.attempt, theirs.attempt);
    let keys = [theirs.attempt, AttemptKey(0), AttemptKey(u64::MAX), AttemptKey(theirs.attempt.0 + 1_000)];
    for attempt in keys {
        one.say(&get(attempt, 1)).await;
        one.say(&FromRunner::Log { attempt, lines: vec![line("I was here")] }).await;
        one.say(&FromRunner::Used { attempt, cpu_us: u64::MAX }).await;
        one.say(&FromRunner::Tape { attempt, tape: Some(Box::new(Tape::default())) }).await;
        for end in [
            AttemptEnd::Success(Some(Value { media_type: "application/json".into(), bytes: b"666".into() })),
            AttemptEnd::Killed,
            AttemptEnd::NotRun("no".into()),
        ] {
            one.done(attempt, end).await;
        }
    }
    // Streams of another attempt are not its own either: the number of one is nothing here.
    let write = Call::ArtifactWrite { stream: StreamKey(1), chunk: vec![0; 10] };
    one.say(&FromRunner::Call { attempt: mine.attempt, call: CallKey(2), request: write }).await;
    let answered = loop {
        match one.hear().await {
            ToRunner::Reply { attempt, call, reply } => break (attempt, call, reply),
            ToRunner::Ping => one.say(&FromRunner::Pong).await,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((answered.0, answered.1), (mine.attempt, CallKey(2)));
    assert!(answered.2.is_err());
    other.done(theirs.attempt, AttemptEnd::Success(None)).await;
    let completion = harness.completion().await;
    assert_eq!((completion.result, completion.xcoms.len()), (AttemptResult::Success, 0));
    let task = completion.id.instance.task_id.to_string();
    let log = harness.read(&task).await;
    assert!(!log.concat().contains("I was here"), "{log:?}");

    // An end is one end, and what comes after it is nothing.
    for _ in 0..3 {
        one.done(mine.attempt, AttemptEnd::Fatal("enough".into())).await;
        one.say(&FromRunner::Log { attempt: mine.attempt, lines: vec![line("I was here")] }).await;
    }
    let completion = harness.completion().await;
    assert_eq!(completion.result, failed(false));
    one.say(&get(mine.attempt, 3)).await;
    harness.dispatch(&["a", "b"]);
    let (one_more, another) = (one.run().await, other.run().await);
    assert!(![mine.attempt, theirs.attempt].contains(&one_more.attempt));
    one.done(one_more.attempt, AttemptEnd::Success(None)).await;
    other.done(another.attempt, AttemptEnd::Success(None)).await;
    for _ in 0..2 {
        assert_eq!(harness.completion().await.result, AttemptResult::Success);
    }
    assert_eq!(harness.executor.workload(None).running, 0);
    harness.executor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_reads_no_answers_is_asked_for_no_more_and_let_go() {
    let mut harness = of_workers(two_tasks()).await;
    let mut peer = Peer::ready(&harness).await;
    harness.dispatch(&["a"]);
    let run = peer.run().await;
    let ask = frame(&get(run.attempt, 1)).unwrap();
    let pong = frame(&FromRunner::Pong).unwrap();
    let mut asked = 0_u32;
    let flood = async {
        // It is alive, and says so.
        while peer.to.write_all(&ask).await.is_ok() && peer.to.write_all(&pong).await.is_ok() {
            asked += 1;
        }
    };
    timeout(SOON, flood).await.expect("it is cut off");
    // What fits into the pipe both ways, what is under way, and what waits.
    assert!(asked < 20_000, "{asked} calls were taken in");
    assert!(peer.ended().await.contains("does not answer"));
    assert_eq!(harness.completion().await.result, AttemptResult::Lost);
    harness.executor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_frame_may_be_slow_and_not_endless() {
    let mut harness = of_workers(two_tasks()).await;
    let mut peer = Peer::ready(&harness).await;
    harness.dispatch(&["a"]);
    let run = peer.run().await;
    // 36 MiB in 6 seconds, which is twice its patience: nothing else can be said meanwhile.
    let value = Value { media_type: "text/plain".into(), bytes: vec![b'x'; 36 << 20] };
    let push = Call::XComPush { key: "large".into(), value };
    let bytes = frame(&FromRunner::Call { attempt: run.attempt, call: CallKey(1), request: push }).unwrap();
    for piece in bytes.chunks(3 << 20) {
        peer.write(piece).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let reply = loop {
        if let ToRunner::Reply { reply, .. } = peer.hear().await {
            break reply;
        }
    };
    assert!(reply.is_ok(), "{reply:?}");
    peer.done(run.attempt, AttemptEnd::Success(None)).await;
    let completion = harness.completion().await;
    assert_eq!((completion.result, completion.xcoms.len()), (AttemptResult::Success, 1));

    // A byte now and then is no sign of life.
    harness.dispatch(&["b"]);
    peer.run().await;
    peer.write(&u32::try_from(200 << 20).unwrap().to_le_bytes()).await;
    let start = Instant::now();
    let trickle = async {
        while peer.to.write_all(&[0]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(SOON, trickle).await.expect("it is cut off");
    assert!(start.elapsed() > PATIENCE / 2, "{:?}", start.elapsed());
    assert!(peer.ended().await.contains("does not answer"));
    assert_eq!(harness.completion().await.result, AttemptResult::Lost);
    harness.executor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_keep_the_room_of_large_frames_delay_other_large_ones_only() {
    let mut harness = of_workers(two_tasks()).await;
    harness.dispatch(&["a"]);
    let mut honest = Peer::ready(&harness).await;
    let run = honest.run().await;
    let mut greedy = Vec::new();
    for _ in 0..3 {
        let mut peer = Peer::ready(&harness).await;
        peer.write(&u32::try_from(MAX_FRAME_BYTES).unwrap().to_le_bytes()).await;
        greedy.push(peer);
    }
    // What is small needs no room; what is large waits, and its worker hears from its supervisor meanwhile.
    honest.say(&get(run.attempt, 1)).await;
    assert!(matches!(honest.hear().await, ToRunner::Ping | ToRunner::Reply { .. }));
    let value = Value { media_type: "text/plain".into(), bytes: vec![b'x'; 1 << 20] };
    let push = Call::XComPush { key: "large".into(), value };
    honest.say(&FromRunner::Call { attempt: run.attempt, call: CallKey(2), request: push }).await;
    loop {
        match honest.hear().await {
            ToRunner::Reply { call: CallKey(2), reply, .. } => break assert!(reply.is_ok(), "{reply:?}"),
            ToRunner::Ping => honest.say(&FromRunner::Pong).await,
            _ => {}
        }
    }
    honest.done(run.attempt, AttemptEnd::Success(None)).await;
    assert_eq!(harness.completion().await.result, AttemptResult::Success);
    for peer in &mut greedy {
        assert!(peer.ended().await.contains("does not answer"));
    }
    harness.executor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_says_at_length_is_cut_and_counted() {
    let mut harness = of_workers(two_tasks()).await;
    let mut peer = Peer::ready(&harness).await;
    harness.dispatch(&["a"]);
    let run = peer.run().await;
    // Lines whose texts are where nobody looks: 40 MiB of fields, of targets, of nothing.
    let long = "x".repeat(1 << 20);
    let many = Line { fields: vec![(long.clone(), String::new())], ..line("") };
    let target = Line { target: long.clone(), ..line("") };
    for lines in [vec![many; 10], vec![target; 5], vec![line(""); 400_000], vec![line("late"); 400_000]] {
        peer.say(&FromRunner::Log { attempt: run.attempt, lines }).await;
    }
    peer.done(run.attempt, AttemptEnd::Fatal(long.repeat(20))).await;
    let completion = harness.completion().await;
    assert_eq!(completion.result, failed(false));
    assert!(completion.message.unwrap().len() <= 2_000);
    let page =
        harness.executor.logs().read(&harness.id("a").instance, 1, airlock::executor::LogFrom::Line(0), 1_000).await;
    let page = page.unwrap();
    // Ten with fields that are too long, five with a target that is cut, and the end.
    assert_eq!(page.total_lines, 16, "{:?}", page.lines.last());
    assert!(page.lines.iter().all(|line| line.len() < 200 << 10));

    harness.dispatch(&["b"]);
    let run = peer.run().await;
    let backtrace = vec![long; 70];
    peer.done(run.attempt, AttemptEnd::Trapped { message: String::new(), backtrace }).await;
    assert_eq!(harness.completion().await.result, failed(true));
    let lines = harness.read("b").await;
    assert!(lines.len() <= 65 && lines.iter().all(|line| line.len() < 200 << 10), "{}", lines.len());
    harness.executor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_a_worker_refuses_is_made_anew_a_few_times_only() {
    let mut harness = of_workers(two_tasks()).await;
    let mut peer = Peer::ready(&harness).await;
    harness.dispatch(&["a"]);
    let mut loads = 0;
    let completion = loop {
        tokio::select! {
            completion = harness.completion() => break completion,
            message = peer.from.next::<ToRunner>() => match message.unwrap().unwrap() {
                ToRunner::Load { component, .. } => {
                    loads += 1;
                    peer.say(&FromRunner::LoadFailed { component, message: "y".repeat(1 << 20) }).await;
                }
                ToRunner::Run(run) => peer.done(run.attempt, AttemptEnd::NotRun("it is not loaded".into())).await,
                ToRunner::Ping => peer.say(&FromRunner::Pong).await,
                _ => {}
            },
        }
    };
    assert_eq!(completion.result, failed(true));
    assert!(loads <= 10, "{loads} times");
    harness.executor.shutdown().await;
}
