//! Who is told how runs and tasks end: by a real webhook and a real mail, also after the server was killed.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use airlock_tests::{Client, Peer, Server, Shell, build, peer::Taken, until};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
    task::JoinSet,
};

const DAG: &str = "
dag_id: told
deadline: 1s
on_success: chat
on_failure: [chat, mail]
on_deadline: chat
default_args: {retry_delay: 0s}
params: {skip: false}
tasks:
  flaky: {uses: control/fail_first_n, with: {n: 1}, retries: 1, on_retry: chat, on_success: chat}
  fails: {uses: control/fail, with: {message: no such shop}, needs: [flaky], on_failure: chat, on_skipped: chat}
  never: {uses: control/empty, needs: [fails], on_failure: chat, on_skipped: chat}
";

/// A mail server that takes one mail after the other.
async fn mailbox() -> (u16, Arc<Mutex<Vec<String>>>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mails = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&mails);
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::new(stream);
            stream.write_all(b"220 hello\r\n").await.unwrap();
            let (mut mail, mut in_data) = (String::new(), false);
            let mut line = String::new();
            while stream.read_line(&mut line).await.is_ok_and(|length| length > 0) {
                mail.push_str(&line);
                let answer = match line.trim_end() {
                    "." if in_data => {
                        kept.lock().unwrap().push(std::mem::take(&mut mail));
                        in_data = false;
                        "250 kept\r\n"
                    }
                    _ if in_data => "",
                    "DATA" => {
                        in_data = true;
                        "354 go on\r\n"
                    }
                    "QUIT" => "221 bye\r\n",
                    _ => "250 ok\r\n",
                };
                stream.write_all(answer.as_bytes()).await.unwrap();
                line.clear();
            }
        }
    });
    (port, mails, serving)
}

async fn set_connection(client: &Client, id: &str, fields: Value) {
    let mut body = fields;
    body["connection_id"] = json!(id);
    client.post("/api/v2/connections", &body).await.ok();
}

/// The callbacks of a run as `event of task: state`, in order.
async fn told(client: &Client, run_id: &str) -> Vec<String> {
    let path = format!("/api/v2/dags/told/dagRuns/{run_id}/callbacks");
    let callbacks = client.get(&path).await.ok()["callbacks"].clone();
    let line = |callback: &Value| {
        let text = |field: &str| callback[field].as_str().unwrap_or("run").to_owned();
        format!("{} of {} by {}: {}", text("event"), text("task_id"), text("target"), text("state"))
    };
    callbacks.as_array().unwrap().iter().map(line).collect()
}

#[tokio::test]
async fn people_are_told_what_happened_and_once() {
    let hook = Peer::start(&[]).await;
    let (mail_port, mails, _mail) = mailbox().await;
    let server = Server::start().await;
    let client = server.client().await;
    let chat = json!({"conn_type": "http", "host": "127.0.0.1", "port": hook.port, "password": "s3cret-token",
        "extra": json!({"endpoint": "/hook", "headers": {"x-team": "data"}}).to_string()});
    set_connection(&client, "chat", chat).await;
    let extra = json!({"from_email": "airlock@example.org", "to": ["ops@example.org"], "disable_ssl": true, "disable_tls": true});
    let mail = json!({"conn_type": "smtp", "host": "127.0.0.1", "port": mail_port, "extra": extra.to_string()});
    set_connection(&client, "mail", mail).await;
    client.upload(build::component("control")).await.ok();
    client.upload(DAG.into()).await.ok();

    let run_id = client.trigger("told", json!({})).await;
    assert_eq!(client.finished("told", &run_id).await["state"], "failed");
    let expected = [
        "failure of fails by chat: delivered",
        "failure of run by chat: delivered",
        "failure of run by mail: delivered",
        "retry of flaky by chat: delivered",
        "success of flaky by chat: delivered",
    ];
    until("all are told", Duration::from_secs(20), async || {
        let mut told = told(&client, &run_id).await;
        told.sort();
        (told == expected).then_some(())
    })
    .await;
    let posted = hook.taken();
    assert_eq!(posted.len(), 4, "{posted:?}");
    let Taken { head, body } = posted.iter().find(|taken| taken.body["task_id"] == "fails").unwrap();
    assert!(head.starts_with("POST /hook HTTP/1.1"), "{head}");
    assert!(head.contains("authorization: Bearer s3cret-token") && head.contains("x-team: data"), "{head}");
    assert_eq!(
        (&body["event"], &body["try_number"], &body["message"]),
        (&json!("failure"), &json!(1), &json!("no such shop"))
    );
    let text = body["text"].as_str().unwrap();
    assert!(text.starts_with("task fails, run ") && text.ends_with("of dag told failed: no such shop"), "{text}");
    let mails = mails.lock().unwrap().clone();
    assert!(
        mails.len() == 1 && mails[0].contains("To: ops@example.org") && mails[0].contains("dag_id: told"),
        "{mails:?}"
    );

    let shell = Shell::signed_in(&server).await;
    assert!(shell.run(&["runs", "callbacks", "told", &run_id]).await.ok().contains("mail"));
    let page = client.request(reqwest::Method::GET, &format!("/dags/told/runs/{run_id}")).send().await.unwrap();
    assert!(page.text().await.unwrap().contains("Callbacks"));
}

const ASKING: &str = "
dag_id: told
default_args: {on_question: [chat, 'dag:answering'], retry_delay: 0s}
tasks:
  ship: {uses: control/approve, with: {subject: Ship it?}}
  share: {uses: control/ask, with: {subject: How many?, options: [some, all]}}
  paid: {uses: control/wait_for_webhook}
---
dag_id: answering
params: {message: ''}
tasks:
  t: {uses: control/empty}
";

/// Once for each question, also if the server is killed between; nobody is told what another system answers.
#[tokio::test]
async fn who_is_asked_is_told_so_once() {
    let hook = Peer::start(&[]).await;
    let mut server = Server::start().await;
    let client = server.client().await;
    set_connection(&client, "chat", json!({"conn_type": "http", "host": "127.0.0.1", "port": hook.port})).await;
    client.upload(build::component("control")).await.ok();
    client.upload(ASKING.into()).await.ok();
    let run_id = client.trigger("told", json!({})).await;
    let expected = [
        "question of share by chat: delivered",
        "question of share by dag:answering: delivered",
        "question of ship by chat: delivered",
        "question of ship by dag:answering: delivered",
    ];
    let all_told = async |client: &Client| {
        until("all are told", Duration::from_secs(20), async || {
            let mut told = told(client, &run_id).await;
            told.sort();
            (told == expected).then_some(())
        })
        .await;
    };
    all_told(&client).await;
    let text = |taken: &Taken| taken.body["text"].as_str().unwrap_or_default().to_owned();
    assert!(hook.taken().iter().any(|taken| text(taken).ends_with("of dag told waits for an answer: Ship it?")));
    let runs = client.get("/api/v2/dags/answering/dagRuns").await.ok();
    assert_eq!(runs["total_entries"], 2, "{runs}");
    server.kill();
    server.restart().await;
    let client = server.client().await;
    // It waits on, and is asked no second time; a try that is made again asks again.
    let clear = json!({"dry_run": false, "only_failed": false, "task_ids": ["ship"], "dag_run_id": run_id});
    client.post("/api/v2/dags/told/clearTaskInstances", &clear).await.ok();
    until("it is asked again", Duration::from_secs(20), async || {
        let told = told(&client, &run_id).await;
        (told.iter().filter(|line| *line == "question of ship by chat: delivered").count() == 2).then_some(())
    })
    .await;
    assert_eq!(told(&client, &run_id).await.iter().filter(|line| line.contains("share by chat")).count(), 1);
}

#[tokio::test]
async fn a_dag_is_run_by_what_it_is_told_once_and_also_after_a_crash() {
    let mut server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("control")).await.ok();
    let fails = "dag_id: told\non_failure: dag:mend\ntasks: {t: {uses: control/fail, with: {message: no shop}, on_failure: dag:mend}}\n";
    client.upload(fails.into()).await.ok();
    let run_id = client.trigger("told", json!({})).await;
    client.finished("told", &run_id).await;
    until("there is no such dag", Duration::from_secs(20), async || {
        let told = client.get(&format!("/api/v2/dags/told/dagRuns/{run_id}/callbacks")).await.ok();
        let errors = told["callbacks"].as_array()?.iter().filter_map(|callback| callback["error"].as_str()).count();
        (errors == 2).then_some(())
    })
    .await;
    client.upload("dag_id: mend\nparams: {event: none, task_id: {type: string, default: the run}}\ntasks: {t: {uses: control/empty}}\n".into()).await.ok();
    server.kill();
    server.restart().await;
    let client = server.client().await;
    until("both are told", Duration::from_mins(1), async || {
        let mut told = told(&client, &run_id).await;
        told.sort();
        (told == ["failure of run by dag:mend: delivered", "failure of t by dag:mend: delivered"]).then_some(())
    })
    .await;
    let runs = client.get("/api/v2/dags/mend/dagRuns").await.ok();
    let mut ids: Vec<_> =
        runs["dag_runs"].as_array().unwrap().iter().map(|run| run["dag_run_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["callback__1__0_failure", "callback__1_t_1_failure"]);
    for run in ids {
        assert_eq!(client.finished("mend", run).await["state"], "success");
    }
    let of_task = client.get("/api/v2/dags/mend/dagRuns/callback__1_t_1_failure").await.ok();
    assert_eq!(of_task["conf"]["message"], "no shop");
    assert_eq!(of_task["conf"]["dag_run_id"], run_id.as_str());
    let of_run = client.get("/api/v2/dags/mend/dagRuns/callback__1__0_failure").await.ok();
    assert_eq!(of_task["conf"]["task_id"], "t");
    assert!(!of_run["conf"].get("task_id").is_some_and(Value::is_null), "{of_run}");
    let triggers = client.get("/api/v2/dags/mend/dagRuns/callback__1__0_failure/triggers").await.ok();
    assert_eq!(triggers["triggering_task"]["dag_run_id"], run_id.as_str());
    assert_eq!(triggers["triggering_task"]["task_id"], Value::Null);
    for page in [format!("/dags/told/runs/{run_id}"), "/dags/mend/runs/callback__1__0_failure".into()] {
        let page = client.request(reqwest::Method::GET, &page).send().await.unwrap().text().await.unwrap();
        assert!(page.contains(&run_id) && page.contains("callback__1_"), "{page}");
    }
}

#[tokio::test]
async fn a_callback_outlives_the_server_and_a_hook_that_fails() {
    let hook = Peer::start(&[503]).await;
    let mut server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("control")).await.ok();
    client.upload("dag_id: told\non_success: chat\ntasks: {t: {uses: control/empty}}\n".into()).await.ok();
    // There is no such connection yet.
    let run_id = client.trigger("told", json!({})).await;
    assert_eq!(client.finished("told", &run_id).await["state"], "success");
    let path = format!("/api/v2/dags/told/dagRuns/{run_id}/callbacks");
    let error = until("it was tried", Duration::from_secs(20), async || {
        client.get(&path).await.ok()["callbacks"][0]["error"].as_str().map(ToOwned::to_owned)
    })
    .await;
    assert_eq!(error, "there is no connection `chat`");
    set_connection(&client, "chat", json!({"conn_type": "http", "host": hook.url("/x")})).await;
    server.kill();
    server.restart().await;
    let client = server.client().await;
    // The first answer is 503, so that it is told twice, 10 s and 20 s after the first attempt.
    until("it is told", Duration::from_mins(1), async || {
        (told(&client, &run_id).await == ["success of run by chat: delivered"]).then_some(())
    })
    .await;
    let posted = hook.taken();
    assert_eq!(posted.len(), 2);
    let id = |at: usize| posted[at].head.lines().find(|line| line.starts_with("idempotency-key")).unwrap().to_owned();
    assert_eq!(id(0), id(1));
}

#[tokio::test]
async fn a_run_that_misses_its_deadline_goes_on() {
    let hook = Peer::start(&[]).await;
    let server = Server::start().await;
    let client = server.client().await;
    set_connection(&client, "chat", json!({"conn_type": "http", "host": "127.0.0.1", "port": hook.port})).await;
    client.upload(build::component("control")).await.ok();
    let slow =
        "dag_id: told\ndeadline: 500ms\non_deadline: chat\ntasks: {t: {uses: control/sleep, with: {duration: 2s}}}\n";
    client.upload(slow.into()).await.ok();
    let run_id = client.trigger("told", json!({})).await;
    assert_eq!(client.finished("told", &run_id).await["state"], "success");
    assert_eq!(told(&client, &run_id).await, ["deadline of run by chat: delivered"]);
    assert!(hook.taken()[0].body["text"].as_str().unwrap().ends_with("is not finished by its deadline"));
    // One that has time enough is told of nothing.
    let quick = slow.replace("500ms", "1h").replace("2s", "1ms");
    client.upload(quick.into()).await.ok();
    let run_id = client.trigger("told", json!({})).await;
    client.finished("told", &run_id).await;
    assert_eq!(told(&client, &run_id).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_can_not_be_told_is_refused() {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("control")).await.ok();
    let dag = |line: &str| format!("dag_id: told\n{line}\ntasks: {{t: {{uses: control/empty}}}}\n");
    let refused = client.upload(dag("on_deadline: chat").into()).await.refused(422);
    assert!(refused.contains("needs a deadline"), "{refused}");
    let refused = client.upload(dag("on_failure: a/b").into()).await.refused(422);
    assert!(refused.contains("connection id `a/b`"), "{refused}");
    let refused = client.upload(dag("on_failure: dag:told").into()).await.refused(422);
    assert!(refused.contains("would start itself"), "{refused}");
}
