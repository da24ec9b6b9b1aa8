//! What an attempt does, by the name of its entry.

use std::{
    hash::{BuildHasher, RandomState},
    hint::black_box,
    io::Write,
    time::Duration,
};

use crate::{
    bindings::{
        airlock::task::{
            artifacts, connections, log,
            types::{Error, Value},
            variables, xcom,
        },
        exports::airlock::task::runner::{Failure, Input, Instance, Outcome, Wake},
    },
    http,
};

pub fn run(entry: &str, instance: &Instance, inputs: Vec<Input>) -> Result<Outcome, Failure> {
    match entry {
        "noop" => Ok(Outcome::Success(None)),
        "echo" => Ok(Outcome::Success(inputs.into_iter().find_map(|input| input.value))),
        "instance" => text(&format!("{instance:?}")),
        "fib" => text(&fib(black_box(number(&inputs)?)).to_string()),
        "skip" => Ok(Outcome::Skipped(Some("nothing to do".to_owned()))),
        "branch" => Ok(Outcome::Branch(vec!["left".to_owned()])),
        "later" => Ok(Outcome::Later(Wake::At(instance.run_after + 60_000_000))),
        "retryable" => Err(Failure::Retryable("try again".to_owned())),
        "fatal" => Err(Failure::Fatal("give up".to_owned())),

        "loop" => loop {
            black_box(());
        },
        "recurse" => text(&recurse(black_box(1)).to_string()),
        "allocate" => allocate(),
        "big_result" => {
            let bytes = vec![b'x'; usize::try_from(number(&inputs)?).unwrap_or(0)];
            Ok(Outcome::Success(Some(Value { media_type: "text/plain".to_owned(), bytes })))
        }
        "panic" => give_up(&instance.task_id),
        "exit" => std::process::exit(3),
        "trap" => outer(black_box(0)),
        "sleep" => {
            std::thread::sleep(Duration::from_millis(u64::from(number(&inputs)?)));
            Ok(Outcome::Success(None))
        }

        "print" => {
            println!("to stdout");
            eprintln!("to stderr");
            print!("no line end");
            // A component has no end at which the standard library would do so.
            let _ = std::io::stdout().flush();
            log::emit(log::Level::Warn, "guests", "to the log", &[("key".to_owned(), "value".to_owned())]);
            Ok(Outcome::Success(None))
        }
        "print_and_wait" => {
            println!("waiting");
            std::thread::sleep(Duration::from_secs(3600));
            Ok(Outcome::Success(None))
        }
        "print_and_ask" => {
            println!("before");
            answer(variables::get("a/b").map(String::into_bytes))
        }
        "flood" => {
            let line = "x".repeat(1023);
            for _ in 0..number(&inputs)? {
                println!("{line}");
            }
            Ok(Outcome::Success(None))
        }
        "flood_log" => {
            for n in 0..number(&inputs)? {
                log::emit(log::Level::Info, "guests", &n.to_string(), &[]);
            }
            Ok(Outcome::Success(None))
        }
        "long_line" => {
            println!("{}", "y".repeat(200_000));
            println!("after");
            Ok(Outcome::Success(None))
        }

        "variable" => answer(variables::get("a/b").map(String::into_bytes)),
        "variables" => {
            for _ in 0..number(&inputs)? {
                variables::get("a").map_err(|error| Failure::Fatal(format!("{error:?}")))?;
            }
            Ok(Outcome::Success(None))
        }
        "connection" => answer(connections::get("db").map(|c| format!("{}:{:?}", c.id, c.password).into_bytes())),
        "push" => {
            let value = Value { media_type: "text/plain".to_owned(), bytes: vec![b'v'; 1024] };
            answer(xcom::push("pushed", &value).map(|()| Vec::new()))
        }
        "pull" => answer(
            xcom::pull(&xcom::Source { task_id: "t".to_owned(), map_index: None, key: "k".to_owned() })
                .map(|value| value.bytes),
        ),
        "pull_runs" => answer(xcom::pull_runs("t", "k", 1, 2).map(|values| {
            values.iter().flat_map(|value| format!("{}={:?};", value.run_id, value.value.bytes).into_bytes()).collect()
        })),
        "artifact_write" => artifact_write(),
        "artifact_read" => artifact_read(),
        "artifact_drop" => {
            drop(artifacts::create("dropped", "text/plain").map_err(|error| Failure::Fatal(format!("{error:?}")))?);
            Ok(Outcome::Success(None))
        }
        "http" => http::fetch(b"ping"),
        "http_big_body" => http::fetch(&vec![0; 17 << 20]),
        "environment" => {
            let files = std::fs::read_dir("/").map_err(|error| error.kind());
            let socket = std::net::TcpStream::connect("127.0.0.1:80").map_err(|error| error.kind());
            let (environment, arguments) = (std::env::vars().count(), std::env::args().count());
            text(&format!("{environment} {arguments} {:?} {:?}", files.err(), socket.err()))
        }
        "random" => text(&RandomState::new().hash_one(1).to_string()),
        _ => Err(Failure::Fatal(format!("no entry `{entry}`"))),
    }
}

fn text(text: &str) -> Result<Outcome, Failure> {
    Ok(Outcome::Success(Some(Value { media_type: "text/plain".to_owned(), bytes: text.as_bytes().to_vec() })))
}

fn answer(answer: Result<Vec<u8>, Error>) -> Result<Outcome, Failure> {
    match answer {
        Ok(bytes) => Ok(Outcome::Success(Some(Value { media_type: "text/plain".to_owned(), bytes }))),
        Err(error) => Err(Failure::Fatal(format!("{error:?}"))),
    }
}

fn number(inputs: &[Input]) -> Result<u32, Failure> {
    inputs
        .iter()
        .find_map(|input| input.value.as_ref())
        .and_then(|value| std::str::from_utf8(&value.bytes).ok()?.parse().ok())
        .ok_or_else(|| Failure::Fatal("the input is not a number".to_owned()))
}

fn fib(n: u32) -> u64 {
    if n < 2 { u64::from(n) } else { fib(n - 1) + fib(n - 2) }
}

#[inline(never)]
fn recurse(n: u64) -> u64 {
    let frame = black_box([n; 64]);
    if n == 0 { 0 } else { recurse(black_box(n + 1)) + frame[7] }
}

fn allocate() -> Result<Outcome, Failure> {
    let mut all = Vec::new();
    loop {
        all.push(black_box(vec![1_u8; 1 << 20]));
    }
}

#[inline(never)]
fn give_up(task_id: &str) -> ! {
    panic!("the guest gave up on {task_id}")
}

#[inline(never)]
fn outer(n: u32) -> Result<Outcome, Failure> {
    let answer = inner(black_box(n));
    text(&black_box(answer).to_string())
}

#[inline(never)]
fn inner(n: u32) -> u32 {
    if black_box(n) == 0 {
        std::arch::wasm32::unreachable()
    }
    black_box(n)
}

fn artifact_write() -> Result<Outcome, Failure> {
    let written = artifacts::create("dir/file.bin", "application/octet-stream").and_then(|writer| {
        for n in 0..3_u8 {
            writer.write(&vec![n; 1 << 20])?;
        }
        writer.finish()
    });
    answer(written.map(|size| size.to_string().into_bytes()))
}

fn artifact_read() -> Result<Outcome, Failure> {
    let read = artifacts::open("t", None, "dir/file.bin").and_then(|reader| {
        let mut all = Vec::new();
        loop {
            let chunk = reader.read(1 << 20)?;
            if chunk.is_empty() {
                return Ok(format!("{} of {}", all.len(), reader.size()).into_bytes());
            }
            all.extend(chunk);
        }
    });
    answer(read)
}
