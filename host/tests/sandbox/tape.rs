//! What is recorded of time and chance, and what a guest sees when it is played.

use std::time::Instant;

use airlock::wire::{AttemptEnd, AttemptKey, FromRunner, Tape, TapeMode, ToRunner};

use crate::children::{LIMITS, Runner, Went, run};

/// Runs `entry` to its end with this tape; what was recorded, if it was.
async fn taped(runner: &mut Runner, entry: &str, input: &str, tape: TapeMode) -> (Went, Option<Box<Tape>>) {
    let attempt = AttemptKey(1_000);
    let mut run = run(attempt, entry, input, LIMITS);
    run.tape = tape;
    runner.send(ToRunner::Run(Box::new(run))).await;
    let went = runner.finish(attempt).await;
    let mut recorded = None;
    if runner.has_early() {
        match runner.next().await {
            FromRunner::Tape { tape, .. } => recorded = tape,
            other => panic!("{other:?}"),
        }
    }
    (went, recorded)
}

const RECORD: TapeMode = TapeMode::Record { max_bytes: 1 << 20 };

#[tokio::test]
async fn what_is_played_is_what_was_recorded() {
    let mut runner = Runner::start(2).await;
    for (entry, input) in
        [("random", ""), ("print", ""), ("flood", "500"), ("long_line", ""), ("panic", ""), ("trap", "")]
    {
        let (first, tape) = taped(&mut runner, entry, input, RECORD).await;
        let play = TapeMode::Play { tape: tape.expect(entry), stops: false };
        for _ in 0..2 {
            let (again, recorded) = taped(&mut runner, entry, input, play.clone()).await;
            assert_eq!((&again.end, &again.lines), (&first.end, &first.lines), "{entry}");
            assert!(recorded.is_none(), "a replay is not recorded");
        }
    }
}

#[tokio::test]
async fn nobody_waits_for_what_was_slept() {
    let mut runner = Runner::start(2).await;
    let (went, tape) = taped(&mut runner, "sleep", "1500", RECORD).await;
    assert_eq!(went.end, AttemptEnd::Success(None));
    assert!(went.usage.wall_us > 1_400_000);
    let begin = Instant::now();
    let (went, _) = taped(&mut runner, "sleep", "1500", TapeMode::Play { tape: tape.unwrap(), stops: false }).await;
    assert_eq!(went.end, AttemptEnd::Success(None));
    assert!(begin.elapsed().as_millis() < 1_000, "{:?}", begin.elapsed());
    // A guest that left its tape sleeps little, and its clock goes on all the same.
    let empty = TapeMode::Play { tape: Box::default(), stops: false };
    let (went, _) = taped(&mut runner, "sleep", "3600000", empty).await;
    assert_eq!(went.end, AttemptEnd::Success(None));
    // One that was ended while it slept is ended there.
    let stopped = TapeMode::Play { tape: Box::default(), stops: true };
    let (went, _) = taped(&mut runner, "sleep", "3600000", stopped).await;
    assert_eq!(went.end, AttemptEnd::Killed);
}

#[tokio::test]
async fn a_tape_that_is_too_long_is_dropped_and_the_attempt_goes_on() {
    let mut runner = Runner::start(2).await;
    let (went, tape) = taped(&mut runner, "flood", "500", TapeMode::Record { max_bytes: 100 }).await;
    assert_eq!(went.end, AttemptEnd::Success(None));
    assert_eq!((went.lines.len(), tape), (500, None));
}
