//! Connections, heads and frames that no decent client sends.

use std::time::{Duration, Instant};

use airlock_tests::{Client, Server, build, until};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
};

use super::{SOON, assert_unharmed, connect, peak_mib, raw, resident_mib, said, status};

/// HTTP/2: the preface and empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[tokio::test]
async fn ap_014_whoever_says_nothing_is_cut_off_and_one_address_has_not_all_connections() {
    // Each connection is a file of this process, too.
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let server = Server::start().await;
    let pid = server.pid();
    // More than one address may have, and each says nothing that ends.
    let mut idle = Vec::new();
    for n in 0..1_100 {
        let mut socket = connect(&server).await;
        let opening: &[u8] = [&b""[..], b"PRI * HT", b"GET / HTTP/1.1\r\nhost: x\r\nx: "][n % 3];
        let _ = socket.write_all(opening).await;
        idle.push(socket);
    }
    // From elsewhere one gets in.
    let elsewhere = reqwest::Client::builder().local_address(Some([127, 0, 0, 2].into())).build().unwrap();
    let start = Instant::now();
    let answer = elsewhere.get(format!("{}/livez", server.url)).send().await.unwrap();
    assert!(answer.status().is_success() && start.elapsed() < SOON);
    // After half a minute they are gone, and whoever is at the first address gets in, too.
    until("the idle to be cut off", Duration::from_mins(1), async || {
        let client = Client::anonymous(&server.url);
        client.try_send(client.request(reqwest::Method::GET, "/livez")).await
    })
    .await;
    for (n, mut socket) in idle.into_iter().take(6).enumerate() {
        let end = tokio::time::timeout(Duration::from_mins(1), async {
            while let Ok(1..) = socket.read(&mut [0; 99]).await {}
        });
        assert!(end.await.is_ok(), "connection {n} goes on");
    }
    assert_unharmed(&server, pid).await;
}

#[tokio::test]
async fn bodies_of_one_address_do_not_fill_the_memory() {
    let server = Server::start().await;
    let pid = server.pid();
    let before = resident_mib(&server);
    // Of strangers, each as large as a body may be, but for its last byte.
    let head =
        "POST /auth/token HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1048576\r\n\r\n";
    let body = vec![b' '; (1 << 20) - 1];
    let sent = async || {
        let mut socket = connect(&server).await;
        let sent = async { socket.write_all(head.as_bytes()).await.is_ok() && socket.write_all(&body).await.is_ok() };
        let _ = tokio::time::timeout(SOON, sent).await;
        socket
    };
    let mut sockets = Vec::new();
    for _ in 0..400 {
        sockets.push(sent().await);
    }
    let after = resident_mib(&server);
    assert!(after < before + 256, "{before} MiB, and {after} MiB with what was sent");
    // Those that were refused at the same moment left room, which the next ones fill.
    let refused = until("one of them to be refused", 2 * SOON, async || {
        sockets.push(sent().await);
        Some(said(sockets.last_mut()?, Duration::from_secs(1)).await).filter(|answer| !answer.is_empty())
    })
    .await;
    assert_eq!(status(&refused), 429, "{refused}");
    assert!(refused.contains("retry-after: 1") && refused.contains("too much of your address"), "{refused}");
    // From elsewhere one is heard, and here, too, when those are gone.
    let sign_in = async |address: [u8; 4]| {
        let client = reqwest::Client::builder().local_address(Some(address.into())).build().unwrap();
        let body = serde_json::json!({"username": "nobody", "password": "x".repeat(1_000_000)});
        client.post(format!("{}/auth/token", server.url)).json(&body).send().await.unwrap().status().as_u16()
    };
    let answer = sign_in([127, 0, 0, 2]).await;
    assert!([401, 422].contains(&answer), "{answer}");
    assert_eq!(sign_in([127, 0, 0, 1]).await, 429);
    drop(sockets);
    until("what was sent to be forgotten", SOON, async || (sign_in([127, 0, 0, 1]).await == answer).then_some(()))
        .await;
    assert_unharmed(&server, pid).await;
}

/// Where the XComs of a task are that ran.
async fn xcoms(client: &Client) -> String {
    client.upload(build::component("hello")).await.ok();
    let run_id = client.trigger("hello", json!({})).await;
    client.finished("hello", &run_id).await;
    format!("/api/v2/dags/hello/dagRuns/{run_id}/taskInstances/say/xcomEntries")
}

#[tokio::test]
async fn answers_that_nobody_takes_do_not_fill_the_memory() {
    let server = Server::start().await;
    let (client, pid) = (server.client().await, server.pid());
    let xcoms = xcoms(&client).await;
    client.post(&xcoms, &json!({"key": "large", "value": "y".repeat(7 << 20)})).await.ok();
    let before = resident_mib(&server);
    let token = client.token.as_deref().unwrap();
    for more in ["", "accept-encoding: gzip\r\n"] {
        let mut sockets = Vec::new();
        for _ in 0..80 {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(4_096).unwrap();
            let mut socket = socket.connect(server.url.trim_start_matches("http://").parse().unwrap()).await.unwrap();
            let head = format!("GET {xcoms}/large HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n{more}\r\n");
            socket.write_all(head.as_bytes()).await.unwrap();
            let mut begin = [0; 12];
            socket.read_exact(&mut begin).await.unwrap();
            sockets.push((socket, String::from_utf8_lossy(&begin).into_owned()));
        }
        let after = resident_mib(&server);
        assert!(after < before + 300, "{before} MiB, and {after} MiB with answers that nobody takes");
        // What is compressed to nothing is taken by the system.
        let refused = sockets.iter().filter(|(_, begin)| begin.ends_with("429")).count();
        assert_eq!(refused > 0, more.is_empty(), "{refused}");
        assert!(sockets[0].1.ends_with("200"));
        drop(sockets);
    }
    let value = until("the answers to be forgotten", SOON, async || {
        let answer = client.get(&format!("{xcoms}/large")).await;
        (answer.status == 200).then(|| answer.body["value"].clone())
    });
    assert_eq!(value.await.as_str().map(str::len), Some(7 << 20));
    assert_unharmed(&server, pid).await;
}

#[tokio::test]
async fn values_of_many_elements_are_shown_to_many_at_a_time() {
    let server = Server::start().await;
    let (client, pid) = (server.client().await, server.pid());
    let xcoms = xcoms(&client).await;
    let value = format!("[{}0]", "0,".repeat(3 << 20));
    let body = format!(r#"{{"key": "zeros", "value": {value}}}"#);
    let request = client.request(reqwest::Method::POST, &xcoms).header("content-type", "application/json").body(body);
    assert_eq!(request.send().await.unwrap().status(), 201);
    let before = resident_mib(&server);
    let path = format!("{xcoms}/zeros");
    let ask = async || client.request(reqwest::Method::GET, &path).send().await.unwrap().bytes().await.unwrap().len();
    let (peak, lengths) = peak_mib(&server, futures_util::future::join_all((0..14).map(|_| ask()))).await;
    assert!(lengths.iter().all(|length| *length > value.len()), "{lengths:?}");
    assert!(peak < before + 600, "{before} MiB, and {peak} MiB while 14 were shown {} MiB", value.len() >> 20);
    assert_unharmed(&server, pid).await;
}

/// Values that are a byte each take eighty times as much as a tree.
#[tokio::test]
async fn bodies_of_many_values_do_not_fill_the_memory() {
    let server = Server::start().await;
    let (client, pid) = (server.client().await, server.pid());
    client.upload(build::component("hello")).await.ok();
    let run_id = client.trigger("hello", json!({})).await;
    client.finished("hello", &run_id).await;
    let zeros = |bytes: usize| format!("[{}0]", "0,".repeat(bytes / 2));
    let post = async |path: &str, body: String| {
        let request = client.request(reqwest::Method::POST, path).header("content-type", "application/json");
        request.body(body).send().await.unwrap().status().as_u16()
    };
    let runs = "/api/v2/dags/hello/dagRuns";
    let conf = format!(r#"{{"logical_date": null, "conf": {{"x": {}}}}}"#, zeros(1_000_000));
    let alone = post(runs, conf.clone()).await;
    assert!([200, 422].contains(&alone), "{alone}");

    let before = resident_mib(&server);
    let many = futures_util::future::join_all((0..40).map(|_| post(runs, conf.clone())));
    let (peak, statuses) = peak_mib(&server, many).await;
    assert!(statuses.iter().all(|status| [alone, 429].contains(status)), "{statuses:?}");
    assert!(peak < before + 400, "{before} MiB, and {peak} MiB with 40 bodies");

    // Values of XComs are never read into a tree.
    let xcoms = format!("{runs}/{run_id}/taskInstances/say/xcomEntries");
    let value = zeros(6 << 20);
    let keys = (0..8).map(|n| post(&xcoms, format!(r#"{{"key": "zeros_{n}", "value": {value}}}"#)));
    let (peak, statuses) = peak_mib(&server, futures_util::future::join_all(keys)).await;
    assert!(statuses.iter().all(|status| *status == 201), "{statuses:?}");
    assert!(peak < before + 800, "{before} MiB, and {peak} MiB with 8 values");
    let deep = format!(r#"{{"key": "deep", "value": {}{}}}"#, "[".repeat(200), "]".repeat(200));
    assert_eq!(post(&xcoms, deep).await, 422);
    assert_unharmed(&server, pid).await;
}

#[tokio::test]
async fn lists_of_long_values_do_not_fill_the_memory() {
    let server = Server::start().await;
    let (client, pid) = (server.client().await, server.pid());
    let long = "v".repeat(1_000_000);
    for number in 0..16 {
        client.post("/api/v2/variables", &json!({"key": format!("long/{number}"), "value": long})).await.ok();
        let connection = json!({"connection_id": format!("c{number}"), "conn_type": "http", "extra": format!("{{\"x\": \"{long}\"}}")});
        client.post("/api/v2/connections", &connection).await.ok();
    }
    let before = resident_mib(&server);
    for path in ["/api/v2/variables?limit=100", "/api/v2/connections?limit=100", "/variables", "/connections"] {
        let get = async || {
            let answer = client.request(reqwest::Method::GET, path).send().await.unwrap();
            let status = answer.status().as_u16();
            // A connection that is closed has told enough.
            let _ = answer.bytes().await;
            status
        };
        let many = futures_util::future::join_all((0..24).map(|_| get()));
        let (peak, statuses) = peak_mib(&server, many).await;
        // Who waits for longer than a request may take is told so.
        assert!(statuses.iter().all(|status| [200, 429, 504].contains(status)), "{path}: {statuses:?}");
        assert!(peak < before + 500, "{path}: {before} MiB, and {peak} MiB with 24 lists");
    }
    assert_unharmed(&server, pid).await;
}

#[tokio::test]
async fn heads_that_are_too_long_or_wrong_are_refused() {
    let server = Server::start().await;
    let pid = server.pid();
    let before = resident_mib(&server);
    let many = (0..10_000).map(|n| format!("x-{n}: y\r\n")).collect::<Vec<_>>().concat();
    for head in [
        format!("GET /livez HTTP/1.1\r\nhost: x\r\n{many}\r\n"),
        format!("GET /livez HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(4 << 20)),
        format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "y".repeat(1 << 20)),
        "GET /livez HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n".to_owned(),
        "GET /livez HTTP/1.1\r\nhost: x\r\nx\0y: z\r\n\r\n".to_owned(),
        "GET /livez HTTP/9.9\r\n\r\n".to_owned(),
        "GET /a b HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
        "\0\u{1b}[2J\r\n\r\n".to_owned(),
        "POST /auth/token HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nZZZZ\r\n".to_owned(),
        "POST /auth/token HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n".to_owned(),
        "POST /auth/token HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\ncontent-length: 3\r\n\r\nabc"
            .to_owned(),
    ] {
        let answer = raw(&server, head.as_bytes()).await;
        let shown: String = head.chars().take(60).collect();
        assert!(
            answer.is_empty() || (400..500).contains(&status(&answer)) || status(&answer) == 505,
            "{shown}: {answer}"
        );
    }
    assert!(resident_mib(&server) < before + 64, "{} MiB", resident_mib(&server));
    assert!(!server.log().contains("\u{1b}[2J"));
    assert_unharmed(&server, pid).await;
}

#[tokio::test]
async fn floods_of_http2_frames_are_cut_off() {
    let server = Server::start().await;
    let pid = server.pid();
    let before = resident_mib(&server);
    // `:method GET`, `:scheme http`, `:path /`, `:authority x`: of HPACK's static table.
    let headers = [0x82, 0x86, 0x84, 0x41, 1, b'x'];
    let resets = |n: u32| {
        let stream = 2 * n + 1;
        [frame(1, 5, stream, &headers), frame(3, 0, stream, &[0, 0, 0, 8])].concat()
    };
    let many = |of: &dyn Fn(u32) -> Vec<u8>| (0..50_000).flat_map(of).collect::<Vec<u8>>();
    for (what, flood) in [
        ("rapid resets", many(&resets)),
        ("settings", many(&|_| frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]))),
        ("pings", many(&|_| frame(6, 0, 0, &[0; 8]))),
        ("empty data", [frame(1, 4, 1, &headers), many(&|_| frame(0, 0, 1, &[]))].concat()),
        ("continuations", [frame(1, 0, 1, &headers), many(&|_| frame(9, 0, 1, &[0, 1, b'a', 1, b'b']))].concat()),
        ("an endless head", [frame(1, 0, 1, &headers), many(&|_| frame(9, 0, 1, &[]))].concat()),
        ("priorities", many(&|n| frame(2, 0, 2 * n + 1, &[0, 0, 0, 0, 1]))),
        ("a frame that is too large", frame(0, 0, 1, &vec![0; 1 << 20])),
        ("a window that overflows", many(&|_| frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff]))),
        ("unknown frames", many(&|_| frame(0xee, 0, 0, b"x"))),
    ] {
        let mut socket = connect(&server).await;
        let _ = socket.write_all(PREFACE).await;
        let start = Instant::now();
        // Whoever answers each ping is not read either.
        let _ = tokio::time::timeout(SOON, socket.write_all(&flood)).await;
        let _ = said(&mut socket, Duration::from_millis(200)).await;
        drop(socket);
        assert!(start.elapsed() < 3 * SOON, "{what}: {:?}", start.elapsed());
        assert!(resident_mib(&server) < before + 128, "{what}: {} MiB", resident_mib(&server));
        assert_unharmed(&server, pid).await;
    }
}

#[tokio::test]
async fn one_user_does_not_listen_to_everything() {
    let server = Server::start().await;
    let (greedy, other) = (server.client().await, super::user(&server, "bob", "viewer").await);
    let mut streams = Vec::new();
    let mut refused = 0;
    for _ in 0..140 {
        let answer = greedy.request(reqwest::Method::GET, "/api/v2/events").send().await.unwrap();
        refused += u32::from(answer.status() == 429);
        streams.push(answer);
    }
    assert_eq!(refused, 12);
    assert!(other.request(reqwest::Method::GET, "/api/v2/events").send().await.unwrap().status().is_success());
    // What is closed is free again.
    streams.clear();
    until("the places to be free", SOON, async || {
        let answer = greedy.request(reqwest::Method::GET, "/api/v2/events").send().await.unwrap();
        answer.status().is_success().then_some(())
    })
    .await;
}
