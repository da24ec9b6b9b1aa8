use std::time::Duration;

use futures_util::StreamExt;

use super::*;
use crate::{
    executor::{LogFrom, LogLine, Logs, finish},
    store::LogChunkRow,
    wire::{AttemptEnd, Level, Line, LineSource, Usage},
};

fn line(message: &str) -> Line {
    Line {
        at: now(),
        level: Level::Info,
        source: LineSource::Stdout,
        target: String::new(),
        message: message.to_owned(),
        fields: Vec::new(),
    }
}

fn append(fixture: &Fixture, attempt: &Attempt, numbers: std::ops::Range<u32>) {
    fixture.shared.logs.append(attempt, &numbers.map(|number| line(&number.to_string())).collect::<Vec<_>>());
}

fn numbers(lines: &[LogLine]) -> Vec<u32> {
    let number = |line: &LogLine| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["event"].as_str().unwrap().parse().unwrap()
    };
    lines.iter().map(number).collect()
}

async fn read(fixture: &Fixture, from: LogFrom, limit: usize) -> (u64, Vec<u32>, u64) {
    let page = fixture.shared.logs.read(&fixture.instance("a", -1), 1, from, limit).await.unwrap();
    (page.first_line, numbers(&page.lines), page.total_lines)
}

/// Waits until all lines are stored, at most `limit` seconds.
async fn stored(fixture: &Fixture, chunks: usize) {
    for _ in 0..500 {
        let found = fixture.shared.store.log_chunk_list(&fixture.instance("a", -1), 1).await.unwrap();
        if found.len() >= chunks {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the log was not stored");
}

#[tokio::test]
async fn a_line_is_read_at_once_and_after_it_was_stored_and_once_only() {
    let fixture = Fixture::pair(serde_json::json!({})).await;
    fixture.shared.tasks.spawn(fixture.shared.logs.clone().write());
    let a = fixture.attempt("a");
    append(&fixture, &a, 0..3);
    assert_eq!(read(&fixture, LogFrom::Line(0), 10).await, (0, vec![0, 1, 2], 3));
    stored(&fixture, 1).await;
    append(&fixture, &a, 3..5);
    assert_eq!(read(&fixture, LogFrom::Line(0), 10).await, (0, vec![0, 1, 2, 3, 4], 5));
    assert_eq!(read(&fixture, LogFrom::Line(1), 3).await, (1, vec![1, 2, 3], 5));
    assert_eq!(read(&fixture, LogFrom::Tail, 3).await, (2, vec![2, 3, 4], 5));
    assert_eq!(read(&fixture, LogFrom::Line(9), 3).await, (9, vec![], 5));
    finish::done(&fixture.shared, &a, AttemptEnd::Success(None), Usage::default(), None);
    assert_eq!(read(&fixture, LogFrom::Line(0), 10).await, (0, vec![0, 1, 2, 3, 4], 5));
    stored(&fixture, 2).await;
    assert_eq!(read(&fixture, LogFrom::Line(0), 10).await, (0, vec![0, 1, 2, 3, 4], 5));
    assert_eq!(read(&fixture, LogFrom::Tail, 1).await, (4, vec![4], 5));
}

#[tokio::test]
async fn a_log_of_many_small_pieces_is_read_several_at_a_time() {
    let fixture = Fixture::pair(serde_json::json!({})).await;
    let storage = Blobs::slow_in_memory(Duration::from_millis(20));
    let frame = |number: u32| zstd::bulk::compress(format!("{{\"event\":\"{number}\"}}\n").as_bytes(), 3).unwrap();
    let (mut object, mut chunks) = (Vec::new(), Vec::new());
    for number in 0..300 {
        let frame = frame(number);
        chunks.push(LogChunkRow {
            instance: fixture.instance("a", -1),
            try_number: 1,
            seq: number,
            blob: "logs/ab/all".into(),
            offset: object.len().try_into().unwrap(),
            length: frame.len().try_into().unwrap(),
            lines: 1,
            created_at: now(),
        });
        object.extend(frame);
    }
    storage.put("logs/ab/all", object.into()).await.unwrap();
    fixture.shared.store.log_chunk_append(&chunks).await.unwrap();
    let logs = Logs::new(fixture.shared.store.clone(), storage, Arc::clone(&fixture.shared.books));
    let start = std::time::Instant::now();
    for (from, limit, first, last) in [
        (LogFrom::Line(0), 1_000, 0_u32, 299_u32),
        (LogFrom::Tail, 250, 50, 299),
        (LogFrom::Line(7), 3, 7, 9),
        (LogFrom::Tail, 1, 299, 299),
        (LogFrom::Line(299), 5, 299, 299),
    ] {
        let page = logs.read(&fixture.instance("a", -1), 1, from, limit).await.unwrap();
        assert_eq!((page.first_line, page.total_lines), (u64::from(first), 300));
        assert_eq!(numbers(&page.lines), (first..=last).collect::<Vec<_>>());
    }
    // One after the other they took eleven seconds.
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_restart_writes_on_where_the_try_stopped() {
    let fixture = Fixture::pair(serde_json::json!({})).await;
    fixture.shared.tasks.spawn(fixture.shared.logs.clone().write());
    let a = fixture.attempt("a");
    append(&fixture, &a, 0..2);
    finish::done(&fixture.shared, &a, AttemptEnd::Later(now()), Usage::default(), None);
    stored(&fixture, 1).await;
    let again = fixture.attempt("a");
    append(&fixture, &again, 2..4);
    stored(&fixture, 2).await;
    assert_eq!(read(&fixture, LogFrom::Line(0), 10).await, (0, vec![0, 1, 2, 3], 4));
}

#[tokio::test]
async fn a_follower_gets_each_line_once_and_ends_with_the_attempt() {
    let fixture = Fixture::pair(serde_json::json!({})).await;
    fixture.shared.tasks.spawn(fixture.shared.logs.clone().write());
    let a = fixture.attempt("a");
    let follow = |from| fixture.shared.logs.follow(fixture.instance("a", -1), 1, from);
    let early = fixture.shared.tasks.spawn(follow(0).map(Result::unwrap).collect::<Vec<_>>());
    let slow = follow(0);
    for n in 0..40 {
        append(&fixture, &a, n * 50..(n + 1) * 50);
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let late = fixture.shared.tasks.spawn(follow(1_990).map(Result::unwrap).collect::<Vec<_>>());
    finish::done(&fixture.shared, &a, AttemptEnd::Success(None), Usage::default(), None);
    let all: Vec<u32> = (0..2_000).collect();
    assert_eq!(numbers(&early.await.unwrap().concat()), all);
    assert_eq!(numbers(&late.await.unwrap().concat()), all[1_990..]);
    assert_eq!(numbers(&slow.map(Result::unwrap).collect::<Vec<_>>().await.concat()), all);
    let after = follow(1_000).map(Result::unwrap).collect::<Vec<_>>().await;
    assert_eq!(numbers(&after.concat()), all[1_000..]);
}

#[tokio::test]
async fn what_is_left_is_stored_at_the_end() {
    let fixture = Fixture::pair(serde_json::json!({})).await;
    let a = fixture.attempt("a");
    append(&fixture, &a, 0..3);
    fixture.shared.logs.close();
    fixture.shared.logs.clone().write().await;
    assert_eq!(fixture.shared.store.log_chunk_list(&fixture.instance("a", -1), 1).await.unwrap().len(), 1);
    assert_eq!(read(&fixture, LogFrom::Line(0), 10).await, (0, vec![0, 1, 2], 3));
}

#[tokio::test]
async fn an_attempt_can_write_no_more_than_its_limit() {
    let fixture = Fixture::pair(serde_json::json!({})).await;
    let a = fixture.attempt("a");
    for _ in 0..400 {
        fixture.shared.logs.append(&a, &[line(&"x".repeat(65_536))]);
    }
    let (_, _, total) = {
        let page = fixture.shared.logs.read(&a.id().instance, 1, LogFrom::Line(0), 1).await.unwrap();
        (page.first_line, page.lines.len(), page.total_lines)
    };
    assert_eq!(total, 319, "20 MiB, of lines that cost 32 bytes beside their texts");
}
