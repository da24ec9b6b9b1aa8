//! The compiler child: one component in, one frame out. The protocol stands in [the room's page](super).
//!
//! The steps, cheapest first, so that what is refused costs little: size, structure, compiling, linking, `describe`.

use std::{
    io::{self, Read, Write},
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Runtime;
use wasmtime::{
    Engine,
    component::{Component, Linker},
};

use super::{
    COMPILE_CPU_S, COMPILE_WALL_S, MAX_COMPONENT_BYTES,
    attempt::{Attempt, lock},
    bindings::TaskPre,
    check, confine, describe, engine, failure,
    guest::{self, Guest},
    imports, provenance,
    ticker::Ticker,
};
use crate::wire::{AttemptKey, Compiled, Limits, frame};

/// Writable private memory for compiling: so much, and so much for each core, as each compiles a function.
const MEMORY_BYTES: u64 = 2 << 30;
const MEMORY_BYTES_OF_CORE: u64 = 256 << 20;

/// `wit/task.wit`: `describe`.
const DESCRIBE_MEMORY_BYTES: u64 = 128 << 20;
const DESCRIBE_CPU: Duration = Duration::from_secs(2);
/// Of a machine that has other things to do, too.
const DESCRIBE_WALL: Duration = Duration::from_secs(20);

/// How often time, memory and the supervisor's life are looked at.
const WATCH: Duration = Duration::from_millis(50);

/// Answers one component.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("airlock compile-child: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let memory_bytes = MEMORY_BYTES + cores * MEMORY_BYTES_OF_CORE;
    let mut notes = confine::limit(&confine::Limits {
        // The system's limit is behind the child's own, which can still say what happened.
        cpu_s: Some(COMPILE_CPU_S + 2),
        memory_bytes: Some(memory_bytes + memory_bytes / 4),
        open_files: 64,
        nice: 10,
    });
    let (engine, no_pool) = engine::engine(1)?;
    notes.extend(no_pool);
    let linker = imports::linker(&engine)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let statm = std::fs::File::open("/proc/self/statm").ok();
    // Rustix looks these up at their first use, in files.
    let _ = (rustix::param::page_size(), cpu_time());
    notes.extend(confine::seal());
    for note in notes {
        eprintln!("airlock compile-child: {note}");
    }

    let answer = Arc::new(Answer(Mutex::new(false)));
    let watched = answer.clone();
    let stage = Arc::new(AtomicBool::new(false));
    let watched_stage = stage.clone();
    thread::Builder::new()
        .name("watch".to_owned())
        .spawn(move || watch(&watched, statm.as_ref(), memory_bytes, &watched_stage))?;

    let compiled = match read() {
        Ok(wasm) => compile(&runtime, &engine, &linker, &wasm, &stage),
        Err(refused) => Err(refused),
    };
    let compiled = match compiled {
        Ok(ready) => ready,
        Err(refused) => Compiled::Refused(refused),
    };
    answer.give(&compiled)?;
    // What a thread of the compiler still does is of no use.
    std::process::exit(0)
}

/// The one frame on stdout, which whoever comes first gives.
struct Answer(Mutex<bool>);

impl Answer {
    fn give(&self, compiled: &Compiled) -> Result<(), Box<dyn std::error::Error>> {
        let mut given = lock(&self.0);
        if !*given {
            *given = true;
            let frame = frame(compiled)?;
            let mut stdout = io::stdout().lock();
            stdout.write_all(&frame)?;
            stdout.flush()?;
        }
        Ok(())
    }
}

/// Ends the process when it takes more than it may, or when nobody waits for it any more.
fn watch(answer: &Answer, statm: Option<&std::fs::File>, memory_bytes: u64, describing: &AtomicBool) {
    let parent = rustix::process::getppid();
    let begin = Instant::now();
    loop {
        thread::sleep(WATCH);
        if rustix::process::getppid() != parent {
            std::process::exit(1);
        }
        let doing = if describing.load(Ordering::Relaxed) { "describing itself" } else { "compiling" };
        let much = if cpu_time() > Duration::from_secs(COMPILE_CPU_S) {
            format!("{COMPILE_CPU_S} s of CPU time")
        } else if begin.elapsed() > Duration::from_secs(COMPILE_WALL_S) {
            format!("{COMPILE_WALL_S} s")
        } else if statm.and_then(private_bytes).is_some_and(|bytes| bytes > memory_bytes) {
            format!("{} MiB of memory", memory_bytes >> 20)
        } else {
            continue;
        };
        let refused = format!("the component takes more than {much} for {doing}; make it smaller or simpler");
        if let Err(error) = answer.give(&Compiled::Refused(refused)) {
            eprintln!("airlock compile-child: {error}");
        }
        std::process::exit(0);
    }
}

/// CPU time of all threads of the process.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// Resident memory that is not shared with a file.
fn private_bytes(statm: &std::fs::File) -> Option<u64> {
    let mut text = [0; 128];
    let length = rustix::io::pread(statm, &mut text, 0).ok()?;
    let mut numbers = std::str::from_utf8(&text[..length]).ok()?.split(' ').skip(1);
    let resident: u64 = numbers.next()?.parse().ok()?;
    let shared: u64 = numbers.next()?.parse().ok()?;
    Some((resident - shared.min(resident)) * rustix::param::page_size() as u64)
}

fn read() -> Result<Vec<u8>, String> {
    let mut wasm = Vec::new();
    let most = MAX_COMPONENT_BYTES as u64 + 1;
    io::stdin().lock().take(most).read_to_end(&mut wasm).map_err(|error| format!("the upload broke off: {error}"))?;
    if wasm.len() > MAX_COMPONENT_BYTES {
        return Err(format!(
            "the component is larger than {} MiB; build it with optimisation and without debug information",
            MAX_COMPONENT_BYTES >> 20
        ));
    }
    Ok(wasm)
}

/// What the component is, or why it is refused.
fn compile(
    runtime: &Runtime,
    engine: &Engine,
    linker: &Linker<Guest>,
    wasm: &[u8],
    describing: &AtomicBool,
) -> Result<Compiled, String> {
    check::check(wasm)?;
    let provenance = provenance::read(wasm);
    let component =
        Component::from_binary(engine, wasm).map_err(|error| format!("the component does not compile: {error:#}"))?;
    let pre = linker.instantiate_pre(&component).and_then(TaskPre::new).map_err(|error| {
        format!(
            "the component does not fit this airlock: {error:#}; build it with the SDK, or `wit/task.wit`, of this version"
        )
    })?;
    describing.store(true, Ordering::Relaxed);
    let module = describe(runtime, engine, &pre)?;
    let not_text = |error| format!("`describe` answered what is not text: {error}");
    let module = serde_json::to_vec(&module).map_err(not_text)?;
    let provenance = serde_json::to_vec(&provenance).map_err(not_text)?;
    let code = component.serialize().map_err(|error| format!("the component does not compile: {error:#}"))?;
    Ok(Compiled::Ready { module, provenance, code })
}

/// Calls `describe` in a store without any grant.
fn describe(
    runtime: &Runtime,
    engine: &Engine,
    pre: &TaskPre<Guest>,
) -> Result<crate::model::spec::ModuleSpec, String> {
    let limits =
        Limits { memory_bytes: DESCRIBE_MEMORY_BYTES, timeout_ms: None, log_bytes: 1 << 20, host_calls: 10_000 };
    let attempt = Arc::new(Attempt::new(AttemptKey(0), &limits, None, None));
    let cpu_until = cpu_time() + DESCRIBE_CPU;
    let too_busy = format!("it ran longer than {} s of CPU time", DESCRIBE_CPU.as_secs());
    let mut store = guest::store(engine, attempt, limits.memory_bytes, move || {
        if cpu_time() > cpu_until { Err(wasmtime::Error::msg(too_busy.clone())) } else { Ok(()) }
    });
    let ticker = Ticker::start(engine.clone(), 1).map_err(|error| error.to_string())?;
    let answer = runtime.block_on(async {
        let call = async {
            let task = pre.instantiate_async(&mut store).await?;
            task.airlock_task_runner().call_describe(&mut store).await
        };
        let call = ticker.watch(call, None);
        tokio::time::timeout(DESCRIBE_WALL, call).await
    });
    match answer {
        Ok(Ok(Ok(module))) => describe::module(module),
        Ok(Ok(Err(text))) => {
            Err(format!("`describe` answered an error: {}", text.chars().take(4_000).collect::<String>()))
        }
        Ok(Err(error)) => {
            let failure = failure::explain(&error, &store);
            let mut text = format!("`describe` failed: {}", failure.message);
            for frame in failure.backtrace {
                text.push_str("\n  at ");
                text.push_str(&frame);
            }
            Err(text)
        }
        Err(_) => Err(format!(
            "`describe` took longer than {} s; it must only say what the component carries",
            DESCRIBE_WALL.as_secs()
        )),
    }
}
