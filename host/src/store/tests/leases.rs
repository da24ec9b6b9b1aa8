//! Who leads, and what becomes of what is written by who does no longer. SQLite has no leases.

use std::time::{Duration, Instant};

use sqlx::{ConnectOptions as _, postgres::PgConnectOptions};

use super::*;

impl TestStore {
    /// Leads as `holder`, until the next one asks for the lease.
    async fn lead(store: &Store, holder: &str) -> i64 {
        loop {
            if let Some(epoch) = store.lease_take(holder, "http://x", Duration::ZERO, None).await.unwrap() {
                store.fence(holder, epoch, Instant::now() + Duration::from_mins(1));
                return epoch;
            }
        }
    }
}

#[tokio::test]
async fn whatever_is_written_by_a_leader_of_before_is_refused() {
    if !StoreConfig::tests_use_postgres() {
        return;
    }
    let before = TestStore::new().await;
    let version = before.deployed(&["a"]).await[0].version;
    let after = Store::open(&config(&before.folder).await).await.unwrap();
    let commit = |key| Commit { dag_runs_new: vec![run(key, "a", version)], now: at(1), ..Commit::default() };

    let epoch = TestStore::lead(&before, "before").await;
    before.setting_put("word", b"before").await.unwrap();
    before.commit(&commit(1)).await.unwrap();
    assert_eq!(TestStore::lead(&after, "after").await, epoch + 1);

    // A statement, a transaction of several, and the commit of a turn.
    assert!(matches!(before.setting_put("word", b"late").await, Err(StoreError::Fenced)));
    assert!(matches!(before.data_key_put([1; 8], b"late", at(1)).await, Err(StoreError::Fenced)));
    assert!(matches!(before.commit(&commit(2)).await, Err(StoreError::Fenced)));
    assert!(!before.lease_renew("before", Duration::ZERO).await.unwrap());
    assert_eq!(after.setting_get("word").await.unwrap().as_deref(), Some(b"before".as_slice()));
    assert_eq!(after.data_key_list().await.unwrap().len(), 0);
    assert_eq!(after.dag_run_next_key().await.unwrap(), 2);
    after.commit(&commit(2)).await.unwrap();
}

#[tokio::test]
async fn what_is_set_for_people_is_not_for_this_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder).await;
    let StorePlace::Postgres(url) = &mut config.place else { return };
    // Behind the schema, in the same options.
    url.push_str("%20-c%20default_transaction_isolation%3Drepeatable%5C%20read%20-c%20lock_timeout%3D9s");
    url.push_str("%20-c%20standard_conforming_strings%3Doff");
    let store = Store::open(&config).await.unwrap();
    let set = "SELECT current_setting('default_transaction_isolation') || ', ' || current_setting('lock_timeout') \
        || ', ' || current_setting('standard_conforming_strings') || ', ' || current_setting('statement_timeout')";
    let written = async || {
        let mut writer = store.writer().await.unwrap();
        db::query_scalar::<String>(set).fetch_one(&mut writer.connection).await.unwrap()
    };
    assert_eq!(written().await, "read committed, 0, on, 0", "else a leader of before would see the lease of before");
    store.writer().await.unwrap().connection.run("SELECT pg_terminate_backend(pg_backend_pid())").await.unwrap_err();
    store.writer().await.unwrap().begin().await.map(drop).unwrap();
    assert_eq!(written().await, "read committed, 0, on, 0", "on another connection, too");
    let read = async || db::query_scalar::<String>(set).fetch_one(store.readers()).await.unwrap();
    assert_eq!(read().await, "read committed, 0, on, 0");
    assert_eq!(asked(read()).await, "read committed, 0, on, 2s");
}

#[tokio::test]
async fn a_database_that_can_only_be_read_is_refused_with_what_to_do() {
    let store = TestStore::new().await;
    let mut config = config(&store.folder).await;
    let StorePlace::Postgres(url) = &mut config.place else { return };
    // As it is on a standby.
    url.push_str("%20-c%20default_transaction_read_only%3Don");
    let error = Store::open(&config).await.unwrap_err();
    assert!(error.to_string().contains("name the primary in `database.url`"), "{error:?}");
}

#[tokio::test]
async fn a_database_that_lets_nobody_in_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let StorePlace::Postgres(url) = config(&folder).await.place else { return };
    let options: PgConnectOptions = url.parse().unwrap();
    // As while it is renamed, or its password changes.
    for options in [options.clone().database("nowhere"), options.username("nobody_here")] {
        let error = StoreError::from(options.connect().await.unwrap_err());
        assert!(error.is_transient(), "{error:?}");
    }
}
