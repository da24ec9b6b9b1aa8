//! Dags that do what no dag should, one for each limit that must hold, and a canary that must not notice.

use std::{hint::black_box, io::Write};

use airlock_sdk::{prelude::*, serde_json};

/// Never ends by itself.
#[task(timeout = "2s")]
fn spin() {
    loop {
        black_box(());
    }
}

/// Waits in a host call for longer than it may.
#[task(timeout = "2s")]
fn oversleep() {
    std::thread::sleep(std::time::Duration::from_hours(1));
}

/// Calls itself for ever.
#[task]
fn recurse() -> u64 {
    #[inline(never)]
    fn deeper(n: u64) -> u64 {
        let frame = black_box([n; 64]);
        if n == u64::MAX { 0 } else { deeper(black_box(n + 1)) + frame[7] }
    }
    deeper(black_box(0))
}

/// Takes memory for ever.
#[task]
fn allocate() -> usize {
    let mut all = Vec::new();
    loop {
        all.push(black_box(vec![1_u8; 1 << 20]));
        if all.is_empty() {
            return 0;
        }
    }
}

/// Prints far more than a log may hold.
#[task]
fn flood() {
    let line = "x".repeat(1_023);
    for _ in 0..64 << 10 {
        println!("{line}");
    }
}

/// Prints a line that does not end.
#[task]
fn endless_line() -> Result<()> {
    let part = vec![b'y'; 64 << 10];
    for _ in 0..256 {
        std::io::stdout().write_all(&part)?;
    }
    println!();
    Ok(())
}

/// Leaves more artifacts than it may.
#[task]
fn litter() -> Result<()> {
    for n in 0..1_001 {
        artifacts::write(&format!("{n}.txt"), "text/plain", "x")?;
    }
    Ok(())
}

/// Keeps megabytes for ever.
#[task]
fn hoard() -> Result<()> {
    let megabyte = vec![b'z'; 1 << 20];
    for n in 0..1_000 {
        artifacts::write(&format!("{n}.bin"), "application/octet-stream", &megabyte)?;
    }
    Ok(())
}

/// Returns more than a result may be.
#[task]
fn huge_result() -> Bytes {
    Bytes::new("application/octet-stream", vec![0; 200 << 20])
}

#[task]
fn panics(ctx: &Context) {
    panic!("the guest gave up in {}", ctx.task_id());
}

#[task]
fn exits() {
    std::process::exit(0);
}

/// Reads a variable that its dag was not granted.
#[task]
fn reads_variable() -> Result<String> {
    Ok(variables::get("other_teams_password")?)
}

/// Reads a connection that its dag was not granted.
#[task]
fn reads_connection() -> Result<String> {
    Ok(connections::get("other_teams_database")?.conn_type)
}

/// Asks a host that its dag was not granted.
#[task]
fn calls_host() -> Result<String> {
    call("127.0.0.1:80").map_err(Error::new)
}

/// Asks a host that its dag was granted.
#[task]
fn asks(authority: String) -> Result<String> {
    call(&authority).map_err(Error::new)
}

/// Calls the host as often as it can, in the cheapest way that there is.
#[task(timeout = "2s")]
fn storm() -> u128 {
    let start = std::time::Instant::now();
    let mut sum = 0;
    for _ in 0..100_000_000_u32 {
        sum += start.elapsed().as_nanos();
    }
    sum
}

/// Logs as many lines as it can through the host's own interface.
#[task(timeout = "2s")]
fn chatter() {
    for n in 0..u32::MAX {
        info!("line {n}");
    }
}

/// Starts more runs than it may.
#[task]
fn spawn_flood() -> Result<u32> {
    for n in 0..1_000_000_u32 {
        dags::trigger("victim").param("text", format!("{n}")).start()?;
    }
    Ok(0)
}

/// Looks for what others left in the memory that it is given.
#[task]
fn peek() -> Result<usize> {
    look().map_err(Error::new)
}

/// How many words of fresh memory are not zero.
#[cfg(target_family = "wasm")]
fn look() -> std::result::Result<usize, String> {
    const PAGE: usize = 64 << 10;
    let first = core::arch::wasm32::memory_grow(0, 512);
    if first == usize::MAX {
        return Err("it may not grow".to_owned());
    }
    // The allocator knows nothing of these pages: they are what the host gave.
    let words = (first * PAGE..(first + 512) * PAGE).step_by(8);
    let found = words.filter(|at| read_word(black_box(*at as *const u64)) != 0).count();
    // For whoever comes next.
    let mark = vec![0xa5_u8; 8 << 20];
    if black_box(mark).is_empty() { Err("it has no memory".to_owned()) } else { Ok(found) }
}

#[cfg(target_family = "wasm")]
#[expect(unsafe_code, reason = "to read what is nobody's is the attack")]
fn read_word(at: *const u64) -> u64 {
    // SAFETY: the page was added by `memory.grow`, and nobody writes to it.
    unsafe { at.read_volatile() }
}

#[cfg(not(target_family = "wasm"))]
fn look() -> std::result::Result<usize, String> {
    Err("natively all memory is one's own".to_owned())
}

/// Returns what confuses whoever takes data for code.
#[task]
fn gadget() -> Result<serde_json::Value> {
    Ok(serde_json::from_str(
        r#"{"__class__": "os.system", "__type": "airflow.models.Connection", "__proto__": {"polluted": true},
            "constructor": {"prototype": {"polluted": true}}, "html": "<img src=x onerror=alert(1)>", "jinja": "{{7*7}}${7*7}"}"#,
    )?)
}

/// Asks for what it was not granted, by names that lead elsewhere.
#[task]
fn guesses() -> Result<Vec<String>> {
    let names =
        ["../other", "other_teams_password", "*", "", "a/../../b", "other_teams_password\0", "nothing", "%2e%2e"];
    let mut said = Vec::new();
    for name in names {
        match variables::get(name) {
            Ok(value) => bail!("`{name}` is {value}"),
            Err(error) => said.push(error.to_string()),
        }
    }
    for n in 0..10_000_u32 {
        ensure!(variables::get(&format!("guess{n}")).is_err(), "it is there");
    }
    Ok(said)
}

/// Leaves its last line without an end.
#[task]
fn murmurs() {
    println!("a whole line");
    print!("half a line");
}

/// Opens a socket, a file, the environment.
#[task]
fn looks_around() -> Result<String> {
    ensure!(std::net::TcpStream::connect("127.0.0.1:80").is_err(), "it opened a socket");
    ensure!(std::fs::read("/etc/passwd").is_err(), "it read a file");
    ensure!(std::env::vars().count() == 0, "it has an environment");
    Ok("nothing to see".to_owned())
}

/// Tells a secret that it was granted.
#[task]
fn tells_secret() -> Result<usize> {
    let secret = variables::get("api_password")?;
    println!("the secret is {secret}, so it is");
    let (front, back) = secret.split_at(secret.len() / 2);
    print!("{front}");
    std::io::stdout().flush()?;
    println!("{back}");
    ensure!(secret.is_empty(), "no good: {secret}");
    Ok(secret.len())
}

/// Fails twice, in ways that help or do not.
#[task(retries = 2, retry_delay = "100ms")]
fn third_time(ctx: &Context) -> Result<u32> {
    ensure!(ctx.try_number() >= 3, "not yet");
    Ok(ctx.try_number())
}

/// Returns a counter that must not outlive an attempt.
#[task]
fn counts() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    COUNT.fetch_add(1, Ordering::SeqCst) + 1
}

/// Answers what it was given.
#[task]
fn echo(text: String) -> String {
    text
}

/// Takes a moment, so that somebody can look.
#[task]
fn slow(ctx: &Context, steps: u32) -> Result<u32> {
    for step in 0..steps {
        info!("step {step} of {}", ctx.task_id());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    xcom::push("steps", &steps)?;
    Ok(steps)
}

#[task]
fn sum(a: u32, b: u32) -> u32 {
    a + b
}

macro_rules! one_task_dags {
    ($($dag:ident = $task:ident,)*) => {
        $(#[dag]
        fn $dag(dag: &Dag) {
            $task(dag);
        })*
    };
}

one_task_dags! {
    hostile_spin = spin,
    hostile_oversleep = oversleep,
    hostile_recurse = recurse,
    hostile_allocate = allocate,
    hostile_flood = flood,
    hostile_endless_line = endless_line,
    hostile_litter = litter,
    hostile_hoard = hoard,
    hostile_huge_result = huge_result,
    hostile_panics = panics,
    hostile_exits = exits,
    hostile_reads_variable = reads_variable,
    hostile_reads_connection = reads_connection,
    hostile_calls_host = calls_host,
    hostile_looks_around = looks_around,
    retried = third_time,
    counted = counts,
    murmuring = murmurs,
    hostile_storm = storm,
    hostile_chatter = chatter,
    hostile_peek = peek,
    hostile_gadget = gadget,
    hostile_guesses = guesses,
}

/// Would start runs without end.
#[dag(dags = ["victim"])]
fn hostile_spawn_flood(dag: &Dag) {
    spawn_flood(dag);
}

/// Whose runs are started.
#[dag(max_active_runs = 1)]
fn victim(dag: &Dag) {
    echo(dag, dag.param_with_default("text", "tweet".to_owned()));
}

/// Speaks HTTP to a server on this machine, which the dag was granted and the operator has to allow.
#[dag(hosts = ["127.0.0.1:*"])]
fn neighbourly(dag: &Dag) {
    asks(dag, dag.param::<String>("authority"));
}

/// Has a secret, and can't keep it.
#[dag(variables = ["api_password"])]
fn hostile_tells_secret(dag: &Dag) {
    tells_secret(dag);
}

/// Takes longer than it may, task by task.
#[dag(run_timeout = "1s")]
fn overdue(dag: &Dag) {
    let first = slow(dag, 100);
    slow(dag, first).id("never");
}

/// What must go on, whatever the others do.
#[dag]
fn canary(dag: &Dag) {
    let text = dag.param_with_default("text", "tweet".to_owned());
    echo(dag, echo(dag, text));
}

/// Some work for a while: two slow tasks and their sum, for looking on and for being interrupted.
#[dag(display_name = "Bees at work", max_active_runs = 1_000)]
fn busy_bees(dag: &Dag) {
    let steps = dag.param_with_default("steps", 3_u32).description("Tenths of a second that each takes.");
    let (a, b) = (slow(dag, steps).id("slow_a"), slow(dag, steps).id("slow_b"));
    sum(dag, a, b);
}

#[cfg(target_family = "wasm")]
fn call(authority: &str) -> std::result::Result<String, String> {
    use wasip2::http::{
        outgoing_handler,
        types::{Fields, OutgoingRequest, Scheme},
    };
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).map_err(|()| "scheme")?;
    request.set_authority(Some(authority)).map_err(|()| "authority")?;
    request.set_path_with_query(Some("/")).map_err(|()| "path")?;
    let response = outgoing_handler::handle(request, None).map_err(|error| error.to_string())?;
    response.subscribe().block();
    let response = response.get().ok_or("no response")?.map_err(|()| "taken")?;
    response.map(|response| response.status().to_string()).map_err(|error| error.to_string())
}

#[cfg(not(target_family = "wasm"))]
fn call(_authority: &str) -> std::result::Result<String, String> {
    Err("natively there is no host to ask".to_owned())
}

airlock_sdk::export!(
    dags = [
        hostile_spin,
        hostile_oversleep,
        hostile_recurse,
        hostile_allocate,
        hostile_flood,
        hostile_endless_line,
        hostile_litter,
        hostile_hoard,
        hostile_huge_result,
        hostile_panics,
        hostile_exits,
        hostile_reads_variable,
        hostile_reads_connection,
        hostile_calls_host,
        hostile_looks_around,
        hostile_tells_secret,
        retried,
        counted,
        murmuring,
        hostile_storm,
        hostile_chatter,
        hostile_peek,
        hostile_gadget,
        hostile_guesses,
        hostile_spawn_flood,
        victim,
        neighbourly,
        overdue,
        canary,
        busy_bees,
    ]
);
