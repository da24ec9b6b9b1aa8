//! What reads for a request ends in time.

use std::time::Instant;

use futures_util::future::join_all;

use super::*;
use crate::store::asked;

/// It never ends.
const ENDLESS: &str =
    "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c WHERE n < 0";
/// It takes some seconds, longer than a request may.
const LONG: &str =
    "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 20000000) SELECT count(*) FROM c";

async fn count(store: &Store, statement: &'static str) -> Result<i64, StoreError> {
    Ok(db::query_scalar(statement).fetch_one(store.readers()).await?)
}

fn is_too_slow(done: &Result<i64, StoreError>) -> bool {
    matches!(done, Err(StoreError::TooSlow(_)))
}

#[tokio::test]
async fn what_reads_for_a_request_ends_and_leaves_a_connection_that_reads_on() {
    let store = TestStore::with_runs(1..=2).await;
    let begun = Instant::now();
    let done = join_all((0..5).map(|_| asked(count(&store, ENDLESS)))).await;
    assert!(done.iter().all(is_too_slow), "{done:?}");
    assert!(begun.elapsed() < asked::READ_LIMIT * 5, "{:?}", begun.elapsed());
    for _ in 0..5 {
        assert_eq!(asked(count(&store, "SELECT count(*) FROM dag_run")).await.unwrap(), 2);
    }
}

#[tokio::test]
async fn what_the_scheduler_reads_takes_as_long_as_it_takes() {
    let store = TestStore::with_runs(1..=2).await;
    let (held, own) = tokio::join!(join_all((0..5).map(|_| asked(count(&store, ENDLESS)))), async {
        let begun = Instant::now();
        let few = count(&store, "SELECT count(*) FROM dag_run").await.unwrap();
        let waited = begun.elapsed();
        (few, waited, count(&store, LONG).await.unwrap(), begun.elapsed())
    });
    assert!(held.iter().all(is_too_slow), "{held:?}");
    // Requests that hold all of their connections are in nobody else's way.
    let (few, waited, many, took) = own;
    assert!(few == 2 && waited < asked::READ_LIMIT, "{own:?}");
    assert!(many == 20_000_000 && took > asked::READ_LIMIT, "{own:?}");
}

#[tokio::test]
async fn a_statement_timeout_of_the_database_ends_nothing_of_the_scheduler() {
    const LONGER: &str = "SELECT count(*) FROM pg_sleep(0.3)";
    let folder = tempfile::tempdir().unwrap();
    let StoreConfig { place: StorePlace::Postgres(url), synchronous } = config(&folder).await else { return };
    let place = StorePlace::Postgres(format!("{url}%20-c%20statement_timeout%3D100"));
    let store = Store::open(&StoreConfig { place, synchronous }).await.unwrap();
    assert_eq!(count(&store, LONGER).await.unwrap(), 1);
    {
        let mut writer = store.writer().await.unwrap();
        let mut transaction = writer.begin().await.unwrap();
        let slept: i64 = db::query_scalar(LONGER).fetch_one(&mut *transaction).await.unwrap();
        assert_eq!(slept, 1);
    }
    // What is read for a request ends in time as ever.
    assert!(is_too_slow(&asked(count(&store, "SELECT count(*) FROM pg_sleep(30)")).await));
}
