//! Starts the children as a supervisor does.
#![expect(clippy::unwrap_used, reason = "what goes wrong here fails a test")]

use std::{
    collections::VecDeque,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::LazyLock,
    time::Duration,
};

use airlock::{
    model::{ids::Digest, spec::ModuleSpec, time::Timestamp},
    wire::{
        AttemptEnd, AttemptKey, Call, CallError, CallKey, Compiled, FrameReader, FrameWriter, FromRunner, Input,
        Instance, Limits, Line, Reply, RunAttempt, TapeMode, ToRunner, Usage, Value,
    },
};
use tokio::process::{ChildStdin, ChildStdout};

const AIRLOCK: &str = env!("CARGO_BIN_EXE_airlock");

pub const COMPONENT: Digest = Digest([7; 32]);

/// The guests, built.
pub static GUESTS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let target: PathBuf = Path::new(AIRLOCK).ancestors().nth(2).unwrap().into();
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "guests", "--target", "wasm32-wasip2", "--profile", "task"])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(root)
        .status()
        .unwrap();
    assert!(built.success(), "the guests do not build; is the target there? rustup target add wasm32-wasip2");
    std::fs::read(target.join("wasm32-wasip2/task/guests.wasm")).unwrap()
});

/// The guests, compiled once for all tests of a process.
pub static CODE: LazyLock<Vec<u8>> = LazyLock::new(|| match compile(&GUESTS) {
    Compiled::Ready { code, .. } => code,
    Compiled::Refused(text) => panic!("{text}"),
});

/// The guests with another `describe`.
pub fn guests_that_describe(behaviour: &str) -> Vec<u8> {
    let mark = b"guest-describe:";
    let mut wasm = GUESTS.clone();
    let at = wasm.windows(mark.len()).position(|window| window == mark).unwrap() + mark.len();
    wasm[at..at + 17].copy_from_slice(format!("{behaviour:17}").as_bytes());
    wasm
}

/// What a compiler child answers.
pub fn compile(wasm: &[u8]) -> Compiled {
    let mut child = Command::new(AIRLOCK)
        .arg("compile-child")
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // A child that has seen enough reads no further.
        scope.spawn(move || drop(stdin.write_all(wasm)));
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{:?}", output.status);
        let (length, body) = output.stdout.split_first_chunk::<4>().unwrap();
        assert_eq!(u32::from_le_bytes(*length) as usize, body.len());
        postcard::from_bytes(body).unwrap()
    })
}

pub fn module(compiled: Compiled) -> ModuleSpec {
    match compiled {
        Compiled::Ready { module, .. } => serde_json::from_slice(&module).unwrap(),
        Compiled::Refused(text) => panic!("{text}"),
    }
}

pub fn refused(compiled: Compiled) -> String {
    match compiled {
        Compiled::Ready { .. } => panic!("it was not refused"),
        Compiled::Refused(text) => text,
    }
}

/// A runner child with the guests loaded.
pub struct Runner {
    pub child: Child,
    reader: FrameReader<ChildStdout>,
    pub writer: FrameWriter<ChildStdin>,
    attempts: u64,
    early: VecDeque<FromRunner>,
}

/// How an attempt went.
#[derive(Debug)]
pub struct Went {
    pub end: AttemptEnd,
    pub usage: Usage,
    pub lines: Vec<Line>,
}

impl Runner {
    pub async fn start(slots: u32) -> Self {
        let mut runner = Self::start_empty(slots).await;
        runner.send(ToRunner::Load { component: COMPONENT, code: CODE.clone() }).await;
        runner
    }

    pub async fn start_empty(slots: u32) -> Self {
        let mut child = Command::new(AIRLOCK)
            .args(["run-child", &slots.to_string()])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut reader = FrameReader::new(ChildStdout::from_std(child.stdout.take().unwrap()).unwrap());
        let writer = ChildStdin::from_std(child.stdin.take().unwrap()).unwrap();
        assert!(matches!(reader.next().await.unwrap(), Some(FromRunner::Ready)));
        Self { child, reader, writer: FrameWriter::new(writer), attempts: 0, early: VecDeque::new() }
    }

    pub async fn send(&mut self, frame: ToRunner) {
        self.writer.push(&frame).unwrap();
        self.writer.flush().await.unwrap();
    }

    /// The next frame; a test that waits too long for it fails.
    pub async fn next(&mut self) -> FromRunner {
        if let Some(frame) = self.early.pop_front() {
            return frame;
        }
        let next = tokio::time::timeout(Duration::from_mins(1), self.reader.next());
        next.await.expect("a frame within a minute").unwrap().expect("the runner lives")
    }

    /// Whether a frame came that was not asked for yet.
    pub fn has_early(&self) -> bool {
        !self.early.is_empty()
    }

    /// Starts an attempt of `entry` with one input.
    pub async fn run(&mut self, entry: &str, input: &str, limits: Limits) -> AttemptKey {
        self.attempts += 1;
        let attempt = AttemptKey(self.attempts);
        self.send(ToRunner::Run(Box::new(run(attempt, entry, input, limits)))).await;
        attempt
    }

    /// Runs an attempt to its end; `answer` is the supervisor.
    pub async fn finish_with(
        &mut self,
        attempt: AttemptKey,
        mut answer: impl FnMut(Call) -> Option<Result<Reply, CallError>>,
    ) -> Went {
        let mut lines = Vec::new();
        let mut others = VecDeque::new();
        loop {
            match self.next().await {
                FromRunner::Call { attempt: of, call, request } if of == attempt => {
                    if let Some(reply) = answer(request) {
                        self.send(ToRunner::Reply { attempt, call, reply }).await;
                    }
                }
                FromRunner::Log { attempt: of, lines: more } if of == attempt => lines.extend(more),
                FromRunner::Done { attempt: of, end, usage } if of == attempt => {
                    self.early = others;
                    return Went { end, usage, lines };
                }
                other => others.push_back(other),
            }
        }
    }

    /// Runs an attempt to its end that asks for nothing.
    pub async fn finish(&mut self, attempt: AttemptKey) -> Went {
        self.finish_with(attempt, |call| panic!("it asked for {call:?}")).await
    }

    /// Runs `entry` to its end.
    pub async fn go(&mut self, entry: &str, input: &str) -> Went {
        let attempt = self.run(entry, input, LIMITS).await;
        self.finish(attempt).await
    }

    pub async fn ask(
        &mut self,
        entry: &str,
        answer: impl FnMut(Call) -> Option<Result<Reply, CallError>>,
    ) -> AttemptEnd {
        let attempt = self.run(entry, "", LIMITS).await;
        self.finish_with(attempt, answer).await.end
    }

    /// The next call of `attempt`, and its key.
    pub async fn call_of(&mut self, attempt: AttemptKey) -> (CallKey, Call) {
        loop {
            if let FromRunner::Call { attempt: of, call, request } = self.next().await
                && of == attempt
            {
                return (call, request);
            }
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub const LIMITS: Limits =
    Limits { memory_bytes: 64 << 20, timeout_ms: None, log_bytes: 16 << 20, host_calls: 1_000_000 };

pub fn run(attempt: AttemptKey, entry: &str, input: &str, limits: Limits) -> RunAttempt {
    RunAttempt {
        attempt,
        component: COMPONENT,
        entry: entry.to_owned(),
        instance: Instance {
            dag_id: "dag".to_owned(),
            run_id: "manual__1".to_owned(),
            task_id: "the_task".to_owned(),
            map_index: -1,
            try_number: 1,
            max_tries: 2,
            started_at: Timestamp::from_micros(0),
            logical_date: Some(Timestamp::from_micros(5)),
            data_interval_start: None,
            data_interval_end: None,
            run_after: Timestamp::from_micros(7),
            next_run_after: None,
            timezone: "UTC".to_owned(),
            params: "{}".to_owned(),
            traceparent: None,
        },
        inputs: vec![Input { name: "x".to_owned(), value: Some(text(input)) }],
        limits,
        tape: TapeMode::Off,
    }
}

pub fn text(text: &str) -> Value {
    Value { media_type: "text/plain".to_owned(), bytes: text.as_bytes().to_vec() }
}

pub fn success(value: &str) -> AttemptEnd {
    AttemptEnd::Success(Some(text(value)))
}
