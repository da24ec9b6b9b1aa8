//! Components that are none, or that mean harm before they run.

use std::time::{Duration, Instant};

use airlock_tests::{Client, Server, build, until};
use arbitrary::{Arbitrary as _, Unstructured};
use reqwest::Method;
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, task::JoinSet, time::timeout};

use super::{SOON, assert_unharmed, bytes, connect, raw, resident_mib, said, status, user};

fn head(server: &Server, token: &str, more: &str) -> String {
    let host = server.url.trim_start_matches("http://");
    format!(
        "POST /api/v2/components HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\
         content-type: application/wasm\r\n{more}\r\n"
    )
}

/// Files that the server has open, but for connections to its database, which come and go.
fn open_files(server: &Server) -> usize {
    let files = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
    let is_database = |path: &std::path::Path| path.to_string_lossy().contains("airlock.db");
    files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok()).filter(|path| !is_database(path)).count()
}

async fn assert_nothing_stored(client: &Client) {
    for (path, field) in [("/api/v2/components", "components"), ("/api/v2/dags", "dags")] {
        assert_eq!(client.list(path, field).await.len(), 0, "{path}");
    }
}

#[tokio::test]
async fn up_002_up_003_up_006_up_028_broken_and_strange_bytes_are_refused_and_leave_nothing() {
    let server = Server::start().await;
    let client = server.client().await;
    let pid = server.pid();
    let noise: Vec<u8> = (0..1_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect();
    client.upload(noise).await.refused(422);
    let files = open_files(&server);

    let whole = build::component("hello");
    for part in 0..100 {
        client.upload(whole[..whole.len() * part / 100].to_vec()).await.refused(422);
    }

    // A program for WASI preview 1, as far as its imports: told what to build instead.
    let import = [&[1][..], &[22], b"wasi_snapshot_preview1", &[9], b"proc_exit", &[0, 0]].concat();
    let preview1 = [bytes::MODULE, &bytes::section(1, &[1, 0x60, 1, 0x7f, 0]), &bytes::section(2, &import)].concat();
    let detail = client.upload(preview1).await.refused(422);
    assert!(detail.contains("core module") && detail.contains("wasm32-wasip2"), "{detail}");

    // Imports of an instance type with names that are no names.
    let longest = "n".repeat(100_000);
    for name in [&b"\xff\xfe"[..], b"a\0b", "\u{202e}gpj".as_bytes(), longest.as_bytes()] {
        let imported = [&[1][..], &[0], &bytes::leb(name.len()), name, &[1, 0]].concat();
        let component =
            [bytes::COMPONENT, &bytes::section(7, &[1, 0x40, 0, 1, 0]), &bytes::section(10, &imported)].concat();
        let detail = client.upload(component).await.refused(422);
        assert!(detail.len() < 1_000 && !detail.contains('\0') && !detail.contains('\u{202e}'), "{detail:?}");
    }
    assert_nothing_stored(&client).await;
    // Of more than a hundred uploads each would have left one; a connection or a runner may have come meanwhile.
    until("the files to be closed", SOON, async || (open_files(&server) <= files + 20).then_some(())).await;
    let left: Vec<_> = std::fs::read_dir(server.data_dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("tmp")), "{left:?}");
    assert_unharmed(&server, pid).await;
}

#[tokio::test]
async fn up_011_a_length_that_is_too_large_is_refused_before_a_byte_is_read() {
    let server = Server::start().await;
    let client = server.client().await;
    let (before, start) = (resident_mib(&server), Instant::now());
    let token = client.token.as_deref().unwrap();
    for length in ["3000000000", "18446744073709551615", "99999999999999999999999999"] {
        let head = head(&server, token, &format!("content-length: {length}\r\nexpect: 100-continue\r\n"));
        let answer = raw(&server, head.as_bytes()).await;
        assert!(matches!(status(&answer), 400 | 413 | 431), "{length}: {answer}");
    }
    for wrong in [
        "content-length: -1\r\n",
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
    ] {
        let answer = raw(&server, (head(&server, token, wrong) + "0\r\n\r\n").as_bytes()).await;
        assert!((400..500).contains(&status(&answer)), "{wrong}: {answer}");
    }
    assert!(start.elapsed() < 4 * SOON && resident_mib(&server) < before + 64);
    assert_nothing_stored(&client).await;
}

/// Sends `body` to the page's upload form.
async fn to_form(server: &Server, cookie: &str, boundary: &str, body: Vec<u8>) -> u16 {
    let client = Client::anonymous(&server.url);
    let request = client
        .request(Method::POST, "/components")
        .header("cookie", cookie)
        .header("sec-fetch-site", "same-origin")
        .header("content-type", format!("multipart/form-data; boundary={boundary}"));
    // Headers as long as this are refused with the connection.
    client.try_send(request.body(body)).await.map_or(400, |answer| answer.status.as_u16())
}

#[tokio::test]
async fn up_014_forms_of_many_parts_and_long_heads_are_refused() {
    let server = Server::start().await;
    let cookie = super::sign_in::cookie(&server).await;
    let part = |name: &str, content: &str| {
        format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{content}\r\n")
    };
    let many = (0..10_000).map(|n| part(&format!("p{n}"), "x")).collect::<Vec<_>>().concat() + "--b--\r\n";
    let (before, start) = (resident_mib(&server), Instant::now());
    for (what, boundary, body) in [
        ("10,000 parts", "b", many),
        ("a part with a head of 10 MiB", "b", format!("--b\r\nx: {}\r\n\r\nx\r\n--b--\r\n", "y".repeat(10 << 20))),
        ("a boundary of 70 KiB", "b".repeat(70 << 10).as_str(), part("component", "x")),
        ("no end", "b", part("component", "x")),
        ("nothing", "b", String::new()),
        ("a component that is none", "b", part("component", "dag_id: [") + "--b--\r\n"),
    ] {
        let status = to_form(&server, &cookie, boundary, body.into_bytes()).await;
        assert!((400..500).contains(&status), "{what}: {status}");
    }
    assert!(start.elapsed() < 6 * SOON, "{:?}", start.elapsed());
    assert!(resident_mib(&server) < before + 256, "{} MiB", resident_mib(&server));
    assert_nothing_stored(&server.client().await).await;
}

#[tokio::test]
async fn up_018_up_020_compile_bombs_are_refused_before_they_are_compiled() {
    let server = Server::start().await;
    let client = server.client().await;
    let pid = server.pid();
    let ifs = [0x41, 0, 0x04, 0x40, 0x0b];
    let br_table = [vec![0x41, 0, 0x0e], bytes::leb(5_000_000), vec![0; 5_000_001], vec![0x0b]].concat();
    let mut bombs = vec![
        ("one straight function", bytes::functions(1, 1, &[[0x20, 0, 0x1a].repeat(2_500_000), vec![0x0b]].concat())),
        ("300,000 ifs", bytes::functions(1, 64, &[ifs.repeat(300_000), vec![0x0b]].concat())),
        ("40,000 locals under 200,000 ifs", bytes::functions(1, 40_000, &[ifs.repeat(200_000), vec![0x0b]].concat())),
        ("a table of 5,000,000 targets", bytes::functions(1, 1, &br_table)),
        ("200,000 functions", bytes::functions(200_000, 0, &[0x0b])),
    ];
    for loops in [500, 1_000, 2_000] {
        bombs.push(("nested loops", bytes::functions(1, 64, &bytes::nested(&[0x03, 0x40], loops))));
    }
    for levels in [100, 5_000, 20_000, 100_000] {
        bombs.push(("nested components", bytes::nested_components(levels)));
    }
    for (what, bomb) in bombs {
        let start = Instant::now();
        client.upload(bomb).await.refused(422);
        assert!(start.elapsed() < SOON, "{what} took {:?}", start.elapsed());
    }
    assert_nothing_stored(&client).await;
    assert_unharmed(&server, pid).await;
}

/// Of an otherwise good component: what compiles, and only then does harm.
#[tokio::test]
async fn up_023_up_030_memories_and_start_functions_meet_the_limits_of_describe() {
    let server = Server::start().await;
    let client = server.client().await;
    let pid = server.pid();
    let whole = build::component("hello");
    let memory = |limits: &[u8]| {
        let body = [&[1][..], limits].concat();
        bytes::with_module(&whole, |parts| {
            parts.iter_mut().find(|(id, _)| *id == 5).expect("it has a memory").1 = body;
        })
    };
    let huge = [&[0][..], &bytes::leb(65_536)].concat();
    let wider = [&[4][..], &bytes::leb(1 << 48)].concat();
    let two = [&[2, 0][..], &bytes::leb(65_536), &[0], &bytes::leb(65_536)].concat();
    let endless = |operators: &[u8]| bytes::with_module(&whole, |parts| bytes::start_with(parts, operators));
    let twice = bytes::with_module(&whole, |parts| {
        parts.iter_mut().find(|(id, _)| *id == 5).expect("it has a memory").1 = two;
    });
    for (what, component) in [
        ("4 GiB", memory(&huge)),
        ("2^48 pages", memory(&wider)),
        ("two memories", twice),
        ("a start function that never ends", endless(&[0x03, 0x40, 0x0c, 0, 0x0b, 0x0b])),
        ("a start function that traps", endless(&[0x00, 0x0b])),
    ] {
        let start = Instant::now();
        let detail = client.upload(component).await.refused(422);
        assert!(start.elapsed() < 3 * SOON, "{what} took {:?}", start.elapsed());
        assert!(!detail.contains("does not export"), "{what} was refused for what it is not: {detail}");
    }
    assert_nothing_stored(&client).await;
    // That the changed component is refused for the change alone:
    client.upload(endless(&[0x0b])).await.ok();
    assert_unharmed(&server, pid).await;
}

#[tokio::test]
async fn up_037_slow_uploads_keep_nobody_waiting_and_are_cut_off() {
    let server = Server::start().await;
    let (slow, other) = (server.client().await, user(&server, "bob", "author").await);
    let pid = server.pid();
    let mut sockets = Vec::new();
    for _ in 0..200 {
        let mut socket = connect(&server).await;
        let head = head(&server, slow.token.as_deref().unwrap(), "content-length: 1000000\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        sockets.push(socket);
    }
    let start = Instant::now();
    for round in 0..2 {
        for socket in &mut sockets {
            socket.write_all(b"x").await.unwrap();
        }
        let uploaded = timeout(SOON, other.upload(format!("dag_id: d\ntasks: {{}}\n# {round}\n").into())).await;
        assert_ne!(uploaded.expect("it waits for nobody").status, 401);
    }
    assert_unharmed(&server, pid).await;
    // The slow are told so once their time is over.
    let mut first = sockets.remove(0);
    let answer = said(&mut first, Duration::from_mins(1)).await;
    assert!((400..500).contains(&status(&answer)), "{answer}");
    assert!(
        start.elapsed() > Duration::from_secs(15) && start.elapsed() < Duration::from_secs(50),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn up_039_who_may_not_upload_stores_nothing_and_is_written_down() {
    let server = Server::start().await;
    let admin = server.client().await;
    let hello = build::component("hello");
    Client::anonymous(&server.url).upload(hello.clone()).await.refused(401);
    user(&server, "vera", "viewer").await.upload(hello.clone()).await.refused(403);
    user(&server, "mel", "member").await.upload(hello.clone()).await.refused(403);
    let cookie = super::sign_in::cookie(&server).await;
    for origin in [None, Some("https://evil.example"), Some("null")] {
        let client = Client::anonymous(&server.url);
        let mut request = client.request(Method::POST, "/api/v2/components").header("cookie", &cookie);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        client.send(request.body(hello.clone())).await.refused(403);
    }
    assert_nothing_stored(&admin).await;
    let denied = admin.list("/api/v2/eventLogs", "event_logs").await;
    assert!(denied.iter().any(|event| event["owner"] == "vera"), "{denied:?}");
}

/// Components that take a while to compile: of many functions that are just small enough.
fn slow_component(salt: usize) -> Vec<u8> {
    bytes::with_module(&build::component("guests"), |parts| {
        let work: Vec<u8> = [0x41, 1, 0x41, 2, 0x6a, 0x1a].repeat(20_000 + salt);
        for _ in 0..10 {
            bytes::start_with(parts, &[&work[..], &[0x0b]].concat());
            // Only the last may be a start function.
            parts.retain(|(id, _)| *id != 8);
        }
    })
}

#[tokio::test]
async fn up_042_a_queue_of_uploads_of_one_keeps_nobody_else_waiting() {
    let server = Server::start().await;
    let (flooder, other) = (server.client().await, user(&server, "bob", "author").await);
    let pid = server.pid();
    let alone = Instant::now();
    flooder.upload(slow_component(0)).await.ok();
    let alone = alone.elapsed();

    let mut flood = JoinSet::new();
    for salt in 1..=50 {
        let flooder = flooder.clone();
        flood.spawn(async move { flooder.upload(slow_component(salt)).await.status.as_u16() });
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let start = Instant::now();
    other.upload(build::component("hello")).await.ok();
    assert!(start.elapsed() < 6 * alone + SOON, "{:?}, alone {alone:?}", start.elapsed());
    // More than the queue holds are told to come again.
    let mut statuses = Vec::new();
    while statuses.len() < 18 {
        statuses.push(flood.join_next().await.unwrap().unwrap());
    }
    assert!(statuses.iter().filter(|status| **status == 429).count() >= 15, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 200 | 201 | 429)), "{statuses:?}");
    flood.abort_all();
    assert_unharmed(&server, pid).await;
}

#[tokio::test]
async fn up_043_a_compiler_that_is_killed_fails_its_upload_and_no_other() {
    let server = Server::start().await;
    let client = server.client().await;
    let pid = server.pid();
    let before = server.processes();
    let mut upload = JoinSet::new();
    upload.spawn({
        let client = client.clone();
        async move { client.upload(slow_component(0)).await }
    });
    let compiler = until("the compiler's start", SOON, async || {
        server.processes().into_iter().find(|pid| {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            !before.contains(pid) && String::from_utf8_lossy(&command).contains("compile-child")
        })
    })
    .await;
    std::process::Command::new("kill").args(["-9", &compiler.to_string()]).status().unwrap();
    let answer = upload.join_next().await.unwrap().unwrap();
    assert!(matches!(answer.status.as_u16(), 422 | 503), "{answer:?}");
    assert_unharmed(&server, pid).await;
    client.upload(slow_component(0)).await.ok();
}

#[tokio::test]
async fn de_010_names_that_look_like_routes_open_none() {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("hostile")).await.ok();
    let names =
        ["health", "ready", "readyz", "livez", "configs", "login", "static", "metrics", "openapi.json", "version"];
    let mut paths = Vec::new();
    for name in names {
        client.post("/api/v2/variables", &json!({"key": name, "value": "x"})).await.ok();
        client.post("/api/v2/connections", &json!({"connection_id": name, "conn_type": "http"})).await.ok();
        client.post("/api/v2/pools", &json!({"name": name, "slots": 1})).await.ok();
        paths.extend(["variables", "connections", "pools"].map(|kind| format!("/api/v2/{kind}/{name}")));
        for prefix in ["/api/v2/dags", "/api/v2/dags/canary/tasks", "/api/v2/dags/canary/dagRuns", "/api/v2/components"]
        {
            paths.push(format!("{prefix}/{name}"));
        }
        paths.push(format!("/api/v2/variables/x/{name}"));
        paths.push(format!("/api/v2/variables/..%2f{name}"));
    }
    let stranger = Client::anonymous(&server.url);
    for path in paths {
        stranger.get(&path).await.refused(401);
    }
}

#[tokio::test]
async fn de_016_sc_022_numbers_out_of_range_are_refused_and_none_overflows() {
    let server = Server::start().await;
    let client = server.client().await;
    let pid = server.pid();
    client.upload(build::component("control")).await.ok();
    let huge = ["4294967296", "18446744073709551615", "9223372036854775808", "-1", "1e400", ".nan", "\"x\""];
    let of_task = ["retries", "pool_slots", "max_active_tis_per_dag"];
    let of_dag = ["max_active_runs", "max_active_tasks"];
    let text = |dag: &str, task: &str| format!("dag_id: d\n{dag}\ntasks: {{t: {{uses: control/wait_until{task}}}}}\n");
    for number in huge {
        for field in of_task {
            client.upload(text("", &format!(", {field}: {number}")).into()).await.refused(422);
        }
        for field in of_dag {
            client.upload(text(&format!("{field}: {number}"), "").into()).await.refused(422);
        }
    }
    for field in of_dag {
        client.upload(text(&format!("{field}: 0"), "").into()).await.refused(422);
    }
    for length in ["0s", "-5s", "9223372036854775808ms", "1000000000000000d", "1e30s", "s"] {
        for field in ["timeout", "retry_delay", "max_retry_delay"] {
            let answer = client.upload(text("", &format!(", {field}: {length}")).into()).await;
            assert!(answer.status == 422, "{field}: {length}: {answer:?}");
        }
    }
    assert_unharmed(&server, pid).await;
}

/// Of a real component: bits that are flipped, pieces that are doubled, cut out and overwritten. What still is a component is taken.
#[tokio::test]
async fn mutated_components_are_refused_or_run_and_the_server_stays() {
    let server = Server::start().await;
    let client = server.client().await;
    let pid = server.pid();
    let whole = build::component("hello");
    let mut state = 1_u64;
    let mut below = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((state >> 33) % bound as u64).unwrap()
    };
    let mut taken = 0;
    for round in 0..120 {
        let mut mutated = whole.clone();
        for _ in 0..=below(3) {
            let at = below(mutated.len() - 16);
            match below(5) {
                0 | 1 => mutated[at] ^= 1 << below(8),
                2 => mutated[at..at + 4].fill(0xff),
                3 => drop(mutated.drain(at..at + 1 + below(8))),
                _ => {
                    let piece = mutated[at..at + 8].to_vec();
                    mutated.splice(at..at, piece);
                }
            }
        }
        let answer = client.upload(mutated).await;
        taken += u32::from(answer.status.is_success());
        assert!(matches!(answer.status.as_u16(), 200 | 201 | 422), "{round}: {answer:?}");
    }
    println!("120 mutated components: {taken} were taken, the others refused; 0 answers of 5xx, 0 restarts");
    assert_unharmed(&server, pid).await;
}

/// How many are made up, in all.
const MADE_UP: &str = "AIRLOCK_FUZZ_COMPONENTS";

/// A component that exports what a runner calls, by name alone, around a core module: what is refused late.
fn around(module: &[u8]) -> Vec<u8> {
    const NAME: &[u8] = b"airlock:task/runner@0.1.0";
    // An instance without exports, and its export.
    let export = [&[1, 0][..], &bytes::leb(NAME.len()), NAME, &[5, 0, 0]].concat();
    [bytes::COMPONENT, &bytes::section(1, module), &bytes::section(5, &[1, 1, 0]), &bytes::section(11, &export)]
        .concat()
}

#[tokio::test]
async fn made_up_components_are_refused_and_the_server_stays() {
    let count: u32 = std::env::var(MADE_UP).ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let server = Server::start().await;
    let client = server.client().await;
    let pid = server.pid();
    let mut state = 7_u64;
    let mut noise = || {
        let mut bytes = vec![0; 8 << 10];
        for byte in &mut bytes {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (state >> 56).to_le_bytes()[0];
        }
        bytes
    };
    let (mut made, mut late) = (0, 0);
    while made < count {
        let noise = noise();
        let mut noise = Unstructured::new(&noise);
        let wasm = if made % 3 == 0 {
            wasm_smith::Component::arbitrary(&mut noise).ok().map(|component| component.to_bytes())
        } else {
            let module = wasm_smith::Module::new(wasm_smith::Config::default(), &mut noise).ok();
            module.map(|module| around(&module.to_bytes()))
        };
        let Some(wasm) = wasm else { continue };
        made += 1;
        let said = client.upload(wasm).await.refused(422);
        late += u32::from(said.contains("does not fit this airlock"));
    }
    println!(
        "{made} components made up by wasm-smith: all refused, {late} after they were compiled; 0 answers of 5xx, 0 restarts"
    );
    assert!(late > 0, "none was compiled");
    assert_nothing_stored(&client).await;
    assert_unharmed(&server, pid).await;
}
