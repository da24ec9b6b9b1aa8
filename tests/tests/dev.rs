//! `airlock dev`: what is written is run at each save.

use std::time::Duration;

use airlock_tests::{Server, Shell, build};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    task::JoinSet,
};

fn nightly(message: &str) -> String {
    format!(
        "dag_id: nightly\ntasks:\n  one: {{uses: control/empty}}\n  two: {{uses: control/fail, needs: [one], with: {{message: {message}}}}}\n"
    )
}

#[tokio::test]
async fn a_save_is_uploaded_and_run_and_its_logs_are_shown() {
    let server = Server::start().await;
    let shell = Shell::signed_in(&server).await;
    let control = build::component_path("control").to_string_lossy().into_owned();
    let file = shell.file("nightly.yaml", &nightly("first"));
    let told = shell.run(&["dev", "--once", &file, &control]).await;
    assert_eq!(told.code, 1, "the run failed");
    assert!(told.out.contains("two | ") && told.out.contains("first"), "{}", told.out);

    let mut dev = tokio::process::Command::from(shell.command(&["dev", &file])).kill_on_drop(true).spawn().unwrap();
    let mut out = BufReader::new(dev.stdout.take().unwrap()).lines();
    let mut err = BufReader::new(dev.stderr.take().unwrap()).lines();
    let mut reading = JoinSet::new();
    reading.spawn(async move {
        let mut notes = Vec::new();
        while let Ok(Some(line)) = err.next_line().await {
            notes.push(line);
        }
        notes
    });
    let mut until = async |part: &str| {
        let found = async { while !out.next_line().await.unwrap().unwrap().contains(part) {} };
        tokio::time::timeout(Duration::from_secs(30), found).await.expect(part);
    };
    // Nothing changed since it was uploaded, but for this command it is new.
    until("first").await;
    for message in ["second", "third"] {
        std::fs::write(&file, nightly(message)).unwrap();
        until(message).await;
    }
    std::fs::write(&file, "dag_id: nightly\ntasks: 7\n").unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    std::fs::write(&file, nightly("mended")).unwrap();
    until("mended").await;
    dev.kill().await.unwrap();
    let notes = reading.join_next().await.unwrap().unwrap().join("\n");
    assert!(notes.contains("line 2, column 8") && notes.contains("waiting for a save"), "{notes}");
}

#[tokio::test]
async fn a_run_is_followed_over_a_restart_of_the_server() {
    let mut server = Server::start().await;
    let shell = Shell::signed_in(&server).await;
    let control = build::component_path("control").to_string_lossy().into_owned();
    let slow = "dag_id: slow\ntasks:\n  one: {uses: control/sleep, with: {duration: 3s}}\n  two: {uses: control/fail, needs: [one], with: {message: after}}\n";
    let file = shell.file("slow.yaml", slow);
    let dev = shell.command(&["dev", "--once", &file, &control]);
    let mut dev = tokio::process::Command::from(dev).kill_on_drop(true).spawn().unwrap();
    let mut err = BufReader::new(dev.stderr.take().unwrap()).lines();
    while !err.next_line().await.unwrap().unwrap().starts_with("run `") {}
    server.kill();
    server.restart().await;
    let mut notes = Vec::new();
    while let Some(line) = err.next_line().await.unwrap() {
        notes.push(line);
    }
    let out = String::from_utf8(dev.wait_with_output().await.unwrap().stdout).unwrap();
    assert!(notes.iter().any(|note| note.contains("ended as failed")), "{notes:?}");
    assert!(out.contains("two | ") && out.contains("after"), "{out}");
}

#[tokio::test]
async fn what_can_not_be_run_is_said() {
    let server = Server::start().await;
    let shell = Shell::signed_in(&server).await;
    let told = shell.run(&["dev", "--once", "/nowhere"]).await.failed(2);
    assert!(told.contains("/nowhere"), "{told}");
    let control = build::component_path("control").to_string_lossy().into_owned();
    let told = shell.run(&["dev", "--once", &control, "--dag", "other"]).await.failed(3);
    assert!(told.contains("`other`"), "{told}");
}
