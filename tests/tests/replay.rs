//! Recordings and replays, through the real binary: what a task saw is what it sees again.

use airlock_tests::{Client, Server, Shell, build};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};

const PASSWORD: &str = "hunter2-4711";
/// Of PASSWORD.
const PASSWORD_BASE64: &str = "aHVudGVyMi00NzEx";
const TOKEN: &str = "sesame-open-0815";

/// The component, but that its task `breaks` behaves otherwise.
fn behaving(behaviour: &str) -> Vec<u8> {
    let mut wasm = build::component("shapes");
    let known = b"behaviour: break";
    let at = wasm.windows(known.len()).position(|window| window == known).expect("the component says how it behaves");
    wasm[at..at + known.len()].copy_from_slice(format!("behaviour: {behaviour}").as_bytes());
    wasm
}

/// A server whose answer depends on when it is asked, and that tells secrets.
async fn web() -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        for count in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4_096];
            let _ = stream.read(&mut request).await;
            let body = format!("answer {count}: {PASSWORD} is {PASSWORD_BASE64}");
            let (head, rest) = body.split_at(15);
            let length = body.len();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{head}");
            let _ = stream.write_all(head.as_bytes()).await;
            tokio::time::sleep(std::time::Duration::from_millis(30)).await;
            let _ = stream.write_all(rest.as_bytes()).await;
        }
    });
    (address, serving)
}

/// A server with all that the dag needs, and a run of it that is over.
async fn recorded(server: Server, wasm: Vec<u8>) -> (Server, Client, Shell, String) {
    let client = server.client().await;
    client.upload(wasm).await.ok();
    for (key, value) in [("region", "eu-west"), ("api_token", TOKEN)] {
        client.post("/api/v2/variables", &json!({"key": key, "value": value})).await.ok();
    }
    let connection = json!({"connection_id": "db", "conn_type": "generic", "password": PASSWORD});
    client.post("/api/v2/connections", &connection).await.ok();
    let (url, _web) = web().await;
    let run_id = client.trigger("recorded", json!({"url": url})).await;
    client.finished("recorded", &run_id).await;
    let shell = Shell::signed_in(&server).await;
    (server, client, shell, run_id)
}

async fn server() -> Server {
    Server::builder().flag("--egress-allow-private", "true").start().await
}

async fn log(client: &Client, run_id: &str) -> Vec<Value> {
    let path = format!("/api/v2/dags/recorded/dagRuns/{run_id}/taskInstances/breaks/logs/1?full_content=true");
    client.get(&path).await.ok()["content"].as_array().unwrap().clone()
}

/// Lines of a log, as the task wrote them; and the words of those that Airlock added.
fn parts(lines: &[Value]) -> (Vec<Value>, Vec<Value>) {
    let (own, task): (Vec<_>, Vec<_>) = lines.iter().cloned().partition(|line| line["source"] == "airlock");
    (task, own.into_iter().map(|line| line["event"].clone()).collect())
}

fn json_lines(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn recording(client: &Client, run_id: &str) -> reqwest::Response {
    let path = format!("/api/v2/dags/recorded/dagRuns/{run_id}/taskInstances/breaks/recordings/1");
    client.request(Method::GET, &path).send().await.unwrap()
}

#[tokio::test]
async fn a_failed_attempt_is_replayed_bit_for_bit_without_the_world() {
    let (mut server, client, shell, run_id) = recorded(server().await, build::component("shapes")).await;
    let original = log(&client, &run_id).await;
    let (task, own) = parts(&original);
    assert!(task.len() >= 5 && own.iter().any(|line| line.as_str().unwrap().contains("panicked")), "{original:?}");
    assert!(own.iter().any(|line| line.as_str().unwrap().contains("denied")), "{own:?}");

    let wasm = shell.path().join("shapes.wasm");
    std::fs::write(&wasm, build::component("shapes")).unwrap();
    let wasm = wasm.to_string_lossy().into_owned();
    let args = ["replay", "recorded", &run_id, "breaks", "--output", "json"];
    let mut replayed = json_lines(&shell.run(&[&args[..], &["--save", "r"]].concat()).await.ok());
    let end = replayed.pop().unwrap();
    assert_eq!(end["same"], true, "{end}");
    assert!(end["end"].as_str().unwrap().contains("index out of bounds"), "{end}");
    assert_eq!(parts(&replayed), (task.clone(), own), "{replayed:?}");

    // No server is needed.
    server.kill();
    let args = ["replay", "--recording", "r", "--component", &wasm, "--output", "json"];
    let mut again = json_lines(&shell.run(&args).await.ok());
    again.pop();
    assert_eq!(parts(&again).0, task);
}

#[tokio::test]
async fn a_recording_holds_no_secret() {
    let (_server, client, shell, run_id) = recorded(server().await, build::component("shapes")).await;
    let answer = recording(&client, &run_id).await;
    assert_eq!(answer.headers()["content-disposition"].to_str().unwrap().matches("breaks-1.recording").count(), 2);
    let bytes = answer.bytes().await.unwrap();
    let line_end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
    let plain = zstd::stream::decode_all(&bytes[line_end + 1..]).unwrap();
    let holds = |text: &str| plain.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("eu-west") && holds("answer 0"), "what is no secret is there");
    assert!(!holds(PASSWORD) && !holds(PASSWORD_BASE64) && !holds(TOKEN));
    assert!(!holds(&PASSWORD[..8]), "also where pieces of a response meet");

    let done = shell.run(&["replay", "recorded", &run_id, "breaks"]).await;
    assert!(done.err.contains("variable `api_token`") && done.err.contains("connection `db`"), "{}", done.err);
    let args = [
        "replay",
        "recorded",
        &run_id,
        "breaks",
        "--variable",
        "api_token=other-token",
        "--password",
        "db=other-password",
    ];
    let done = shell.run(&args).await;
    assert!(!done.err.contains("note:") && done.out.contains("with *** and ***"), "{}{}", done.out, done.err);
    assert!(!done.out.contains("other-"), "what is given is masked, too");
}

#[tokio::test]
async fn another_component_meets_yesterdays_input() {
    let (_server, _client, shell, run_id) = recorded(server().await, build::component("shapes")).await;
    let file = |behaviour: &str| {
        let path = shell.path().join(format!("{behaviour}.wasm"));
        std::fs::write(&path, behaving(behaviour)).unwrap();
        path.to_string_lossy().into_owned()
    };
    let (fixed, other) = (file("fixed"), file("other"));
    let done = shell.run(&["replay", "recorded", &run_id, "breaks", "--try", "1", "--component", &fixed]).await;
    assert!(done.out.contains("end: success, with \"") && done.out.contains("after "), "{}{}", done.out, done.err);
    assert!(done.failed(1).contains("did not end as it was recorded"));
    let why = shell.run(&["replay", "recorded", &run_id, "breaks", "--component", &other]).await.failed(1);
    assert!(why.contains("diverged") && why.contains("`never/asked`") && why.contains("nothing more"), "{why}");
    let given = ["--variable", "never/asked=now"];
    let args = [&["replay", "recorded", &run_id, "breaks", "--component", &other], &given[..]].concat();
    let done = shell.run(&args).await;
    assert!(done.out.contains("success, with \"***\"") || done.out.contains("success, with \"now\""), "{}", done.out);
}

#[tokio::test]
async fn an_attempt_that_ran_too_long_ends_where_it_did() {
    let server = server().await;
    let (_server, _client, shell, run_id) = recorded(server, behaving("stuck")).await;
    let begin = std::time::Instant::now();
    let out = shell.run(&["replay", "recorded", &run_id, "breaks"]).await.ok();
    assert!(out.contains("end: stopped after its limit of 30000 ms"), "{out}");
    assert!(begin.elapsed().as_secs() < 25, "nobody waits for what is over");
}

#[tokio::test]
async fn what_is_not_recorded_too_large_or_damaged_is_said() {
    let server = Server::builder().flag("--egress-allow-private", "true").flag("--recording-max-bytes", "1024");
    let (_server, client, shell, run_id) = recorded(server.start().await, build::component("shapes")).await;
    let (_, own) = parts(&log(&client, &run_id).await);
    let told = own.iter().filter(|line| line.as_str().unwrap().contains("larger than 1 KiB and was dropped"));
    assert_eq!(told.count(), 1, "{own:?}");
    let instances = client.instances("recorded", &run_id).await;
    assert!(instances.iter().any(|instance| instance["task_id"] == "breaks" && instance["state"] == "failed"));
    let why = shell.run(&["replay", "recorded", &run_id, "breaks"]).await.failed(3);
    assert!(why.contains("no try of task `breaks` was recorded") && why.contains("record = "), "{why}");
    let why = shell.run(&["replay", "recorded", &run_id, "numbers", "--try", "1"]).await.failed(3);
    assert!(why.contains("was not recorded"), "{why}");
    let file = shell.file("bad", "airlock-recording 1 0.1.0\nnot what it was");
    let why = shell.run(&["replay", "--recording", &file]).await.failed(2);
    assert!(why.contains("damaged"), "{why}");
    let file = shell.file("foreign", "{}");
    let why = shell.run(&["replay", "--recording", &file]).await.failed(2);
    assert!(why.contains("not a recording"), "{why}");
}

#[tokio::test]
async fn all_attempts_can_be_recorded_and_go_with_their_run() {
    let server = Server::builder().flag("--recording-default", "always").start().await;
    let client = server.client().await;
    client.upload(build::component("shapes")).await.ok();
    let run_id = client.trigger("mapped", json!({"length": 2})).await;
    client.finished("mapped", &run_id).await;
    let path = format!("/api/v2/dags/mapped/dagRuns/{run_id}/taskInstances/double/recordings?map_index=1");
    let listed = client.get(&path).await.ok();
    assert_eq!((&listed["total_entries"], &listed["recordings"][0]["try_number"]), (&json!(1), &json!(1)));
    let page = client.request(Method::GET, &format!("/dags/mapped/runs/{run_id}/tasks/double?map_index=1"));
    let page = page.send().await.unwrap().text().await.unwrap();
    assert!(page.contains("airlock replay mapped") && page.contains("--map-index 1 --try 1"), "{page}");
    let shell = Shell::signed_in(&server).await;
    let out = shell.run(&["replay", "mapped", &run_id, "double", "--map-index", "1"]).await.ok();
    assert_eq!(out, "end: success, with 2\n");

    let blobs = server.data_dir().join("blobs").join("recordings");
    let count = || walk(&blobs);
    assert_eq!(count(), 4);
    client.delete(&format!("/api/v2/dags/mapped/dagRuns/{run_id}")).await;
    airlock_tests::until("recordings are deleted", std::time::Duration::from_secs(30), async || {
        (count() == 0).then_some(())
    })
    .await;
}

/// How many files are below `folder`.
fn walk(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { walk(&entry.path()) } else { 1 }).sum()
}
