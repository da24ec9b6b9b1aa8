//! The workloads, one function each. A server of its own for each, with the settings that users have unless the function
//! says otherwise. A bare commit is measured before and after what is compared with it, and the faster one counts: a disk that
//! others use must not make a goal easier.

use std::{pin::Pin, thread, time::Duration};

use airlock_tests::{Server, build, until};
use futures_util::{StreamExt, stream};
use serde_json::json;

use crate::{
    bare, cluster, history,
    http::{Bench, run_path},
    measure::{cpu, median, ms, per_second, percentile, pss_mib, timed, wall_us, watching_memory},
    report::{Figure, Goal, Unit},
    retention,
};

/// A workload that has not begun.
type Workload = Pin<Box<dyn Future<Output = Vec<Figure>>>>;

/// Those that take long, and run only if they are named.
pub const LONG: &[&str] = &["retention"];

/// All of them, by name: those of one server on SQLite, or those of several processes on PostgreSQL.
pub fn all(postgres: bool) -> Vec<(&'static str, Workload)> {
    if postgres {
        return vec![("cluster", Box::pin(cluster::cluster())), ("retention", Box::pin(retention::retention(true)))];
    }
    vec![
        ("chain", Box::pin(chain())),
        ("compute", Box::pin(compute())),
        ("fan", Box::pin(fan())),
        ("shapes", Box::pin(shapes())),
        ("fan-normal", Box::pin(fan_normal())),
        ("runs", Box::pin(runs())),
        ("sleepers", Box::pin(sleepers())),
        ("busy", Box::pin(busy())),
        ("grid", Box::pin(grid())),
        ("upload", Box::pin(upload())),
        ("idle", Box::pin(idle())),
        ("history", Box::pin(history::history())),
        ("retention", Box::pin(retention::retention(false))),
    ]
}

/// Each task commits once: its start is in the commit of the end before it.
async fn chain() -> Vec<Figure> {
    let bench = Bench::start(&[]).await;
    bench.run("chain_40").await;
    let commit = bare::commit();
    let mut totals = bench.runs("chain_40", 20).await;
    let (commit, call) = (commit.min(bare::commit()), bare::call("fib", &[("n", "10"), ("before", "null")]));
    let goal = Goal::AtMost(2.0 * 40.0 * ms(commit + call));
    let total =
        Figure::new("40 tasks in a row", "median of 20 runs", Unit::Milliseconds, ms(median(&mut totals)), goal);
    vec![total.beside(format!("40 x (commit {} us + call {} us)", commit.as_micros(), call.as_micros()))]
}

async fn compute() -> Vec<Figure> {
    let bench = Bench::start(&[]).await;
    bench.run("chain_10_fib_33").await;
    let mut totals = bench.runs("chain_10_fib_33", 10).await;
    let call = bare::call("fib", &[("n", "33"), ("before", "null")]);
    let goal = Goal::AtMost(1.1 * 10.0 * ms(call));
    let total =
        Figure::new("10 x fib(33) in a row", "median of 10 runs", Unit::Milliseconds, ms(median(&mut totals)), goal);
    vec![total.beside(format!("10 x call {:.2} ms", ms(call)))]
}

/// Many tasks in one run.
async fn fan() -> Vec<Figure> {
    let bench = Bench::start(&[]).await;
    bench.runs("fan_1000", 2).await;
    let commit = bare::commit();
    let thousand = per_second(1_000, median(&mut bench.runs("fan_1000", 9).await));
    let commit = commit.min(bare::commit());
    let diamond = median(&mut bench.runs("diamond_300", 9).await);
    let wide = per_second(10_000, median(&mut bench.runs("wide_10000", 3).await));
    let (huge, memory) = watching_memory(&bench.server, bench.run("wide_100000")).await;
    let huge = per_second(100_000, huge);
    let half = Goal::AtLeast(thousand / 2.0);
    let tasks = |workload, what, measured, goal| Figure::new(workload, what, Unit::TasksPerSecond, measured, goal);
    vec![
        tasks("1,000 tasks in a run", "synchronous=FULL, median of 9 runs", thousand, Goal::AtLeast(10_000.0))
            .beside(format!("a commit takes {} us", commit.as_micros())),
        Figure::new("1 -> 298 -> 1", "median of 9 runs", Unit::Milliseconds, ms(diamond), Goal::AtMost(100.0)),
        tasks("10,000 tasks in a run", "median of 3 runs", wide, half),
        tasks("100,000 tasks in a run", "one run", huge, half),
        Figure::new("100,000 tasks in a run", "most memory (PSS)", Unit::Mib, memory, Goal::AtMost(600.0)),
    ]
}

/// What the engine makes of a list, and what waits, beside tasks that are plain.
async fn shapes() -> Vec<Figure> {
    let bench = Bench::start(&[]).await;
    bench.runs("fan_1000", 2).await;
    let plain = per_second(1_000, median(&mut bench.runs("fan_1000", 9).await));
    // A second is what they wait; the pokes that count are those after it.
    let waited = median(&mut bench.runs("pokes_1000", 9).await).saturating_sub(Duration::from_secs(1));
    let pokes = per_second(1_000, waited);
    let (mut nodes, mut instances) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        nodes.push(bench.run("wide_10000").await);
        instances.push(bench.run("mapped_10000").await);
    }
    let nodes = per_second(10_000, median(&mut nodes));
    let instances = per_second(10_000, median(&mut instances));
    let figure = |workload, what, measured, goal, limit: f64, of| {
        Figure::new(workload, what, Unit::TasksPerSecond, measured, goal).beside(format!("{limit:.0} {of} a second"))
    };
    vec![
        figure(
            "10,000 instances of a mapped task",
            "median of 3 runs",
            instances,
            Goal::AtLeast(nodes),
            nodes,
            "tasks of a run of 10,000",
        ),
        figure(
            "1,000 sensors",
            "pokes, median of 9 runs",
            pokes,
            Goal::AtLeast(plain),
            plain,
            "tasks of a run of 1,000",
        ),
    ]
}

async fn fan_normal() -> Vec<Figure> {
    let bench = Bench::start(&[("--database-synchronous", "normal")]).await;
    bench.runs("fan_1000", 2).await;
    let thousand = per_second(1_000, median(&mut bench.runs("fan_1000", 9).await));
    let goal = Goal::AtLeast(30_000.0);
    let call = bare::call("noop", &[]);
    let cores = u32::try_from(cores()).unwrap_or(1);
    let figure = Figure::new(
        "1,000 tasks in a run",
        "synchronous=NORMAL, median of 9 runs",
        Unit::TasksPerSecond,
        thousand,
        goal,
    );
    vec![figure.beside(format!("bare calls on all cores: {:.0}/s", per_second(cores, call)))]
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Requests from twenty clients, each with the next as soon as it has its answer. A task tells by its own clock when it
/// started.
async fn runs() -> Vec<Figure> {
    const RUNS: usize = 1_000;
    const AT_A_TIME: usize = 20;
    let bench = Bench::start(&[]).await;
    let trigger = || async {
        let sent_at = wall_us();
        (bench.client.trigger("one_task", json!({})).await, sent_at)
    };
    let commit = bare::commit();
    stream::iter(0..100).map(|_| trigger()).buffer_unordered(AT_A_TIME).collect::<Vec<_>>().await;
    let sent: Vec<_> = stream::iter(0..RUNS).map(|_| trigger()).buffer_unordered(AT_A_TIME).collect().await;
    let mut waits = Vec::with_capacity(RUNS);
    for (run_id, sent_at) in sent {
        bench.client.finished("one_task", &run_id).await;
        let started_at = bench.client.xcom("one_task", &run_id, "clock", "return_value").await;
        let started_at = started_at.as_i64().expect("the task tells the time");
        waits.push(Duration::from_micros(u64::try_from(started_at - sent_at).unwrap_or(0)));
    }
    let commit = commit.min(bare::commit());
    let (p50, p99) = (percentile(&mut waits, 0.5), percentile(&mut waits, 0.99));
    let workload = "1,000 runs by POST, 20 at a time";
    let figure = |what, measured, goal| Figure::new(workload, what, Unit::Milliseconds, ms(measured), goal);
    vec![
        figure("request to task started, p50", p50, Goal::AtMost(3.0 * ms(commit)))
            .beside(format!("a commit takes {} us", commit.as_micros())),
        figure("request to task started, p99", p99, Goal::AtMost(20.0)),
    ]
}

async fn sleepers() -> Vec<Figure> {
    let bench = Bench::start(&[("--parallelism", "1000")]).await;
    bench.set_default_pool(1_000).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = pss_mib(&bench.server);
    let (time, memory) = watching_memory(&bench.server, bench.run("sleepers")).await;
    let workload = "1,000 tasks wait 1 s in a host call";
    vec![
        Figure::new(workload, "one run, parallelism 1,000", Unit::Milliseconds, ms(time), Goal::AtMost(2_000.0))
            .beside("1 s"),
        Figure::new(workload, "more memory (PSS)", Unit::Mib, memory - before, Goal::AtMost(100.0)),
    ]
}

/// One endless loop, then one for each core, and beside them what others want.
async fn busy() -> Vec<Figure> {
    let bench = Bench::start(&[]).await;
    bench.runs("chain_40", 3).await;
    let alone = median(&mut bench.runs("chain_40", 20).await);
    let mut beside_one = None;
    let mut loops = Vec::new();
    for _ in 0..cores() {
        let run_id = bench.client.trigger("busy", json!({})).await;
        until("a busy task", Duration::from_secs(10), async || {
            let instances = bench.client.instances("busy", &run_id).await;
            (instances[0]["state"] == "running").then_some(())
        })
        .await;
        loops.push(run_id);
        if beside_one.is_none() {
            bench.run("chain_40").await;
            beside_one = Some(median(&mut bench.runs("chain_40", 20).await));
        }
    }
    bench.run("chain_40").await;
    let beside = median(&mut bench.runs("chain_40", 20).await);
    let paths = [
        "/api/v2/dags?limit=50".to_owned(),
        "/api/v2/dags/chain_40/dagRuns?limit=50".to_owned(),
        run_path("busy", &loops[0]),
    ];
    let mut answers = Vec::new();
    for _ in 0..200 {
        answers.extend(bench.gets(&paths, paths.len()).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for run_id in loops {
        bench.client.patch(&run_path("busy", &run_id), &json!({"state": "failed"})).await.ok();
    }
    let slower = |workload: &'static str, beside: Duration, goal: f64| {
        let times = beside.as_secs_f64() / alone.as_secs_f64();
        let figure = Figure::new(workload, "40 tasks in a row, slower by", Unit::Times, times, Goal::AtMost(goal));
        figure.beside(format!("alone {:.1} ms, beside {:.1} ms", ms(alone), ms(beside)))
    };
    let workload = "an endless task per core";
    vec![
        slower("an endless task", beside_one.unwrap_or(beside), 1.1),
        slower(workload, beside, 3.0),
        Figure::new(
            workload,
            "API answers, p99",
            Unit::Milliseconds,
            ms(percentile(&mut answers, 0.99)),
            Goal::AtMost(50.0),
        ),
    ]
}

/// What the API and the page ask for to draw a run.
async fn grid() -> Vec<Figure> {
    let bench = Bench::start(&[]).await;
    let (run_id, _) = bench.run_of("wide_10000").await;
    let paths = [
        format!("{}/grid", run_path("wide_10000", &run_id)),
        format!("/ui/dags/wide_10000/runs/{run_id}/states"),
        "/ui/dags/wide_10000/grid?runs=1".to_owned(),
    ];
    let (mut slowest, mut largest) = (Duration::ZERO, 0);
    for path in &paths {
        let (_, bytes) = bench.get(path).await;
        largest = largest.max(bytes);
        slowest = slowest.max(percentile(&mut bench.gets(std::slice::from_ref(path), 100).await, 0.95));
    }
    let workload = "grid of a run of 10,000 tasks";
    #[expect(clippy::cast_precision_loss, reason = "some thousand bytes")]
    let kib = largest as f64 / 1_024.0;
    vec![
        Figure::new(workload, "answers, p95", Unit::Milliseconds, ms(slowest), Goal::AtMost(20.0)),
        Figure::new(workload, "compressed", Unit::Kib, kib, Goal::AtMost(10.0)),
    ]
}

/// From the first byte sent to the answer, which says that the dag is active.
async fn upload() -> Vec<Figure> {
    let server = Server::start().await;
    let client = server.client().await;
    let mut times = Vec::new();
    for nonce in 0..6 {
        let wasm = with_nonce(build::component("hello"), nonce);
        let (answer, time) = timed(client.upload(wasm)).await;
        answer.ok();
        times.push(time);
    }
    // The first has the pages of the binary to read.
    times.remove(0);
    let wasm = build::component("hello");
    let compile = bare::compile(&wasm);
    let figure = Figure::new(
        "upload of a component until its dag is active",
        format!("{} KiB, median of 5", wasm.len() >> 10),
        Unit::Milliseconds,
        ms(median(&mut times)),
        Goal::AtMost(2.0 * ms(compile)),
    );
    vec![figure.beside(format!("compiling takes {:.0} ms", ms(compile)))]
}

/// The component with a custom section that makes it another one.
fn with_nonce(mut wasm: Vec<u8>, nonce: u8) -> Vec<u8> {
    wasm.extend([0, 7, 5]);
    wasm.extend(b"nonce");
    wasm.push(nonce);
    wasm
}

/// A new server on an empty folder, without load.
async fn idle() -> Vec<Figure> {
    const WATCHED: Duration = Duration::from_secs(20);
    let mut starts = Vec::new();
    for _ in 0..4 {
        starts.push(timed(Server::start()).await.1);
    }
    let server = Server::start().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = cpu(&server);
    tokio::time::sleep(WATCHED).await;
    let share = 100.0 * cpu(&server).saturating_sub(before).as_secs_f64() / WATCHED.as_secs_f64();
    let workload = "idle";
    vec![
        Figure::new(workload, "all processes (PSS)", Unit::Mib, pss_mib(&server), Goal::AtMost(60.0)),
        Figure::new(workload, "of one core", Unit::Percent, share, Goal::AtMost(0.2)),
        Figure::new(
            workload,
            "first start until healthy, median of 4",
            Unit::Milliseconds,
            ms(median(&mut starts)),
            Goal::AtMost(500.0),
        ),
    ]
}
