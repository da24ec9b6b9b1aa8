//! A minute of `cargo xtask chaos`: everything that can go wrong does, and no promise is broken.

use std::time::Duration;

use airlock_tests::chaos::{self, Options};

async fn chaos_of(seed: u64, sqlite: bool) {
    let seed = std::env::var("AIRLOCK_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(seed);
    let report = chaos::run(Options { time: Duration::from_mins(1), seed, sqlite }).await;
    println!("{report}");
    assert!(report.is_well(), "{report}");
    assert!(report.acknowledged > 50, "the load was a load");
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_are_kept_on_postgresql_and_s3() {
    chaos_of(1, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_are_kept_on_sqlite() {
    chaos_of(2, true).await;
}
