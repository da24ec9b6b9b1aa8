//! Runs a recorded attempt again: in the same sandbox, with the recording in place of the world.
//!
//! No server, no database and no network is needed. The same component sees the same things in the same order, so that it
//! says the same; another one is answered as far as the recording knows, and told apart where it does not.

mod answers;

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::{process::Child, time::Instant};

use self::answers::{Answers, Said};
pub use self::answers::{Given, Placeholder};
use super::{
    CompileError, LogLine,
    compiler::Compiler,
    finish,
    logs::line,
    own_binary,
    recording::{Recording, mask_end},
    runner,
};
use crate::{
    model::{ids::Digest, time::Clock},
    secrets::Masker,
    wire::{
        AttemptEnd, AttemptKey, CallError, FrameError, FrameReader, FrameWriter, FromRunner, Level, Line, LineSource,
        RunAttempt, TapeMode, ToRunner,
    },
};

/// How long the component may take to compile, as for an upload.
const COMPILE_TIMEOUT: Duration = Duration::from_secs(125);
/// What a runner gets on top of the attempt's own limit.
const GRACE: Duration = Duration::from_secs(15);
/// Lines about missing grants, as many as in a log.
const MAX_DENIED_LINES: u32 = 20;

/// What is run again, and how.
#[derive(Debug)]
pub struct Replay {
    /// The program that is started as children; none: this process's own.
    pub binary: Option<PathBuf>,
    pub recording: Recording,
    /// The component: the one that was recorded, or another.
    pub wasm: Bytes,
    pub given: Given,
}

/// Why nothing was run, or not to an end.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("the component can't be used")]
    Compile(#[from] CompileError),
    #[error("the sandbox can't be started")]
    Start(#[source] std::io::Error),
    #[error("the sandbox can't use the component: {0}")]
    Load(String),
    #[error("the sandbox is gone")]
    Gone,
    #[error("the sandbox can't be spoken to")]
    Frame(#[from] FrameError),
}

/// How it went.
#[derive(Debug)]
pub struct Replayed {
    pub end: AttemptEnd,
    /// How the recorded attempt ended.
    pub recorded: AttemptEnd,
    /// Where the task did what the recording does not know, if that ended it.
    pub diverged: Option<String>,
    /// Secrets that the task asked for and did not see.
    pub placeholders: Vec<Placeholder>,
}

impl Replayed {
    /// Whether it ended as it was recorded.
    pub fn is_same(&self) -> bool {
        self.diverged.is_none() && self.end == self.recorded
    }
}

impl Replay {
    /// Runs it; `each` is called with each line of the log.
    ///
    /// # Errors
    /// If the component does not compile, or the sandbox can't be started.
    pub async fn run(self, mut each: impl FnMut(LogLine)) -> Result<Replayed, ReplayError> {
        let binary = match self.binary {
            Some(binary) => binary,
            None => own_binary().map_err(ReplayError::Start)?,
        };
        let (_, code) = Compiler::new(binary.clone(), COMPILE_TIMEOUT, 1).compile(self.wasm.clone()).await?;
        let Recording { run, calls, tape, end: recorded } = self.recording;
        let is_original = Digest(Sha256::digest(&self.wasm).into()) == run.component;
        let was_stopped = matches!(recorded, AttemptEnd::TimedOut { .. } | AttemptEnd::Killed);
        let mode = TapeMode::Play { tape: Box::new(tape), stops: is_original && was_stopped };
        let run = RunAttempt { attempt: AttemptKey(1), tape: mode, ..run };
        let (task_id, timeout) = (run.instance.task_id.clone(), run.limits.timeout_ms.map(Duration::from_millis));
        let component = run.component;

        let (mut child, from, to) = runner::start(&binary, 1, None).map_err(ReplayError::Start)?;
        let mut talk = Talk {
            frames: FrameReader::new(from),
            to: FrameWriter::new(to),
            answers: Answers::new(calls, self.given),
            denied: 0,
            stopped: false,
            diverged: None,
        };
        talk.send(&ToRunner::Load { component, code }).await?;
        talk.send(&ToRunner::Run(Box::new(run))).await?;
        let until = timeout.map(|timeout| Instant::now() + timeout + GRACE);
        let end = talk.listen(until, &mut each).await;
        end_child(&mut child).await;
        let mut end = end?;
        if was_stopped && is_original && talk.diverged.is_none() && (talk.stopped || end == AttemptEnd::Killed) {
            end = recorded.clone();
        }
        for line in last_lines(&end, &task_id, talk.answers.log_masker()) {
            each(line);
        }
        mask_end(talk.answers.secrets_masker(), &mut end);
        Ok(Replayed { end, recorded, diverged: talk.diverged, placeholders: talk.answers.placeholders() })
    }
}

async fn end_child(child: &mut Child) {
    // Nothing of it is of use any more.
    let _ = child.kill().await;
}

/// The conversation with the runner.
struct Talk<R, W> {
    frames: FrameReader<R>,
    to: FrameWriter<W>,
    answers: Answers,
    denied: u32,
    /// The attempt was ended where the recorded one was.
    stopped: bool,
    diverged: Option<String>,
}

impl<R: tokio::io::AsyncRead + Unpin, W: tokio::io::AsyncWrite + Unpin> Talk<R, W> {
    async fn send(&mut self, frame: &ToRunner) -> Result<(), ReplayError> {
        self.to.push(frame)?;
        Ok(self.to.flush().await?)
    }

    async fn listen(
        &mut self,
        until: Option<Instant>,
        each: &mut impl FnMut(LogLine),
    ) -> Result<AttemptEnd, ReplayError> {
        loop {
            let next = self.frames.next::<FromRunner>();
            let frame = match until {
                Some(until) => tokio::time::timeout_at(until, next).await.map_err(|_| ReplayError::Gone)?,
                None => next.await,
            };
            match frame?.ok_or(ReplayError::Gone)? {
                FromRunner::Ready | FromRunner::Pong | FromRunner::Tape { .. } | FromRunner::Used { .. } => {}
                FromRunner::LoadFailed { message, .. } => return Err(ReplayError::Load(message)),
                FromRunner::Log { lines, .. } => {
                    for line in &lines {
                        each(line::render(line, Some(self.answers.log_masker())));
                    }
                }
                FromRunner::Done { end, .. } => return Ok(end),
                FromRunner::Call { attempt, call, request } => match self.answers.answer(&request) {
                    Said::Nothing => {}
                    Said::Reply(reply) => {
                        if let Err(CallError::Denied(why)) = &reply {
                            self.denied += 1;
                            if self.denied <= MAX_DENIED_LINES {
                                let text = self.answers.log_masker().mask(&format!("denied: {why}")).into_owned();
                                each(own_line(Level::Warn, text));
                            }
                        }
                        self.send(&ToRunner::Reply { attempt, call, reply }).await?;
                    }
                    Said::Stopped => {
                        self.stopped = true;
                        self.send(&ToRunner::Kill { attempt }).await?;
                    }
                    Said::Diverged(why) => {
                        self.diverged.get_or_insert(why);
                        self.send(&ToRunner::Kill { attempt }).await?;
                    }
                },
            }
        }
    }
}

/// What a log says about an attempt's end.
fn last_lines(end: &AttemptEnd, task_id: &str, masker: &Masker) -> Vec<LogLine> {
    let Some((level, lines)) = finish::last_words(end.clone(), task_id) else { return Vec::new() };
    lines.iter().map(|text| own_line(level, masker.mask(text).into_owned())).collect()
}

fn own_line(level: Level, message: String) -> LogLine {
    let line = Line {
        at: Clock.now(),
        level,
        source: LineSource::Airlock,
        target: String::new(),
        message,
        fields: Vec::new(),
    };
    line::render(&line, None)
}
