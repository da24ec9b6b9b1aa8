//! The schema's history. What was released never changes.

use sqlx::{
    migrate::{MigrateError, Migration, MigrationType, Migrator},
    postgres::PgConnection,
    sqlite::SqliteConnection,
};

/// A migration of each database: number, name, statements.
type Steps = [(i64, &'static str, &'static str)];

const SQLITE: &Steps = &[
    (1, "first", include_str!("../../../migrations/sqlite/0001_first.sql")),
    (2, "libraries", include_str!("../../../migrations/sqlite/0002_libraries.sql")),
    (3, "callbacks", include_str!("../../../migrations/sqlite/0003_callbacks.sql")),
    (10, "waits and origins", include_str!("../../../migrations/sqlite/0010_waits_and_origins.sql")),
    (11, "assets", include_str!("../../../migrations/sqlite/0011_assets.sql")),
    (12, "webhooks", include_str!("../../../migrations/sqlite/0012_webhooks.sql")),
    (13, "approvals", include_str!("../../../migrations/sqlite/0013_approvals.sql")),
    (20, "pause_reason", include_str!("../../../migrations/sqlite/0020_pause_reason.sql")),
    (21, "backfill", include_str!("../../../migrations/sqlite/0021_backfill.sql")),
    (30, "recordings", include_str!("../../../migrations/sqlite/0030_recordings.sql")),
    (31, "cached results", include_str!("../../../migrations/sqlite/0031_cached_results.sql")),
    (32, "retention", include_str!("../../../migrations/sqlite/0032_retention.sql")),
    (40, "rendered fields", include_str!("../../../migrations/sqlite/0040_rendered_fields.sql")),
    (50, "callbacks by runs", include_str!("../../../migrations/sqlite/0050_callbacks_by_runs.sql")),
    (60, "roles", include_str!("../../../migrations/sqlite/0060_roles.sql")),
    (61, "api tokens", include_str!("../../../migrations/sqlite/0061_api_tokens.sql")),
    (62, "event log", include_str!("../../../migrations/sqlite/0062_event_log.sql")),
    (63, "grants", include_str!("../../../migrations/sqlite/0063_grants.sql")),
    (64, "data keys", include_str!("../../../migrations/sqlite/0064_data_keys.sql")),
    (69, "event log retention", include_str!("../../../migrations/sqlite/0069_event_log_retention.sql")),
    (73, "dag permissions", include_str!("../../../migrations/sqlite/0073_dag_permissions.sql")),
    (74, "component signer", include_str!("../../../migrations/sqlite/0074_component_signer.sql")),
    (81, "verdict", include_str!("../../../migrations/sqlite/0081_verdict.sql")),
    (82, "identity", include_str!("../../../migrations/sqlite/0082_identity.sql")),
    (83, "callback subject", include_str!("../../../migrations/sqlite/0083_callback_subject.sql")),
    (86, "component provenance", include_str!("../../../migrations/sqlite/0086_component_provenance.sql")),
    (90, "component dags", include_str!("../../../migrations/sqlite/0090_component_dags.sql")),
];

/// The first is what SQLite's make up to 69; from then on a change of both has the same number in both.
const POSTGRES: &Steps = &[
    (1, "first", include_str!("../../../migrations/postgres/0001_first.sql")),
    (73, "dag permissions", include_str!("../../../migrations/postgres/0073_dag_permissions.sql")),
    (74, "component signer", include_str!("../../../migrations/postgres/0074_component_signer.sql")),
    (80, "lease", include_str!("../../../migrations/postgres/0080_lease.sql")),
    (81, "verdict", include_str!("../../../migrations/postgres/0081_verdict.sql")),
    (82, "identity", include_str!("../../../migrations/postgres/0082_identity.sql")),
    (83, "callback subject", include_str!("../../../migrations/postgres/0083_callback_subject.sql")),
    (86, "component provenance", include_str!("../../../migrations/postgres/0086_component_provenance.sql")),
    (90, "component dags", include_str!("../../../migrations/postgres/0090_component_dags.sql")),
];

/// The numbers of SQLite's migrations that this version knows, and that a database which it has opened went through.
pub fn migrations() -> impl Iterator<Item = i64> {
    SQLITE.iter().map(|(number, ..)| *number)
}

/// Brings the schema up to date. Of several processes that start, one does it and the others wait.
///
/// [`Migrator::run`] would do, but for the compiler, which does not see that its future is `Send`.
pub(super) async fn update_sqlite(connection: &mut SqliteConnection) -> Result<(), MigrateError> {
    migrator(SQLITE).run_direct(None, connection, false).await
}

/// As [`update_sqlite`].
pub(super) async fn update_postgres(connection: &mut PgConnection) -> Result<(), MigrateError> {
    migrator(POSTGRES).run_direct(None, connection, false).await
}

fn migrator(steps: &'static Steps) -> Migrator {
    let migrations = steps.iter().map(|(number, name, statements)| {
        let statements = sqlx::SqlSafeStr::into_sql_str(*statements);
        Migration::new(*number, (*name).into(), MigrationType::Simple, statements, false)
    });
    Migrator { migrations: migrations.collect::<Vec<_>>().into(), ..Migrator::DEFAULT }
}
