//! The schema's history. What was released never changes.

use sqlx::{
    AssertSqlSafe, SqlSafeStr as _,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
    postgres::PgConnection,
    sqlite::SqliteConnection,
};

use super::{StoreError, error::READ_ONLY};

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
    (84, "asset aliases", include_str!("../../../migrations/sqlite/0084_asset_aliases.sql")),
    (86, "component provenance", include_str!("../../../migrations/sqlite/0086_component_provenance.sql")),
    (87, "dag limits", include_str!("../../../migrations/sqlite/0087_dag_limits.sql")),
    (90, "component dags", include_str!("../../../migrations/sqlite/0090_component_dags.sql")),
    (93, "data retention", include_str!("../../../migrations/sqlite/0093_data_retention.sql")),
    (94, "dag favorites", include_str!("../../../migrations/sqlite/0094_dag_favorites.sql")),
    (95, "failed by run_after", include_str!("../../../migrations/sqlite/0095_failed_by_run_after.sql")),
    (96, "dag display name", include_str!("../../../migrations/sqlite/0096_dag_display_name.sql")),
    (97, "asset events by time", include_str!("../../../migrations/sqlite/0097_asset_events_by_time.sql")),
    (99, "lost attempts", include_str!("../../../migrations/sqlite/0099_lost_attempts.sql")),
    (100, "hostname", include_str!("../../../migrations/sqlite/0100_hostname.sql")),
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
    (84, "asset aliases", include_str!("../../../migrations/postgres/0084_asset_aliases.sql")),
    (86, "component provenance", include_str!("../../../migrations/postgres/0086_component_provenance.sql")),
    (87, "dag limits", include_str!("../../../migrations/postgres/0087_dag_limits.sql")),
    (90, "component dags", include_str!("../../../migrations/postgres/0090_component_dags.sql")),
    (93, "data retention", include_str!("../../../migrations/postgres/0093_data_retention.sql")),
    (94, "dag favorites", include_str!("../../../migrations/postgres/0094_dag_favorites.sql")),
    (95, "failed by run_after", include_str!("../../../migrations/postgres/0095_failed_by_run_after.sql")),
    (96, "dag display name", include_str!("../../../migrations/postgres/0096_dag_display_name.sql")),
    (97, "asset events by time", include_str!("../../../migrations/postgres/0097_asset_events_by_time.sql")),
    (98, "orders", include_str!("../../../migrations/postgres/0098_orders.sql")),
    (99, "lost attempts", include_str!("../../../migrations/postgres/0099_lost_attempts.sql")),
    (100, "hostname", include_str!("../../../migrations/postgres/0100_hostname.sql")),
];

/// Since this one processes that share a database agree by a lease on who writes.
const LEASE: i64 = 80;

/// How a database's schema stands to this version's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// It has yet to be brought up to date. `is_shared`: other processes, perhaps of the version that made it, know of leases and may lead.
    Older {
        is_shared: bool,
    },
    Current,
    /// Its last migration is unknown here.
    Newer {
        found: i64,
        known: i64,
    },
}

/// The numbers of SQLite's migrations that this version knows, and that a database which it has opened went through.
pub fn migrations() -> impl Iterator<Item = i64> {
    SQLITE.iter().map(|(number, ..)| *number)
}

/// Judges a database by the migrations that it went through.
fn age(known: &Steps, applied: &[i64]) -> Age {
    let is_known = |number: &i64| known.iter().any(|(known, ..)| known == number);
    if let Some(found) = applied.iter().filter(|number| !is_known(number)).max() {
        return Age::Newer { found: *found, known: known.iter().map(|(number, ..)| *number).max().unwrap_or(0) };
    }
    if known.iter().all(|(number, ..)| applied.contains(number)) {
        return Age::Current;
    }
    Age::Older { is_shared: applied.contains(&LEASE) }
}

const APPLIED: &str = "SELECT version FROM _sqlx_migrations";

pub(super) async fn sqlite_age(connection: &mut SqliteConnection) -> sqlx::Result<Age> {
    let has_any = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '_sqlx_migrations')";
    let has_any: bool = sqlx::query_scalar(has_any).fetch_one(&mut *connection).await?;
    let applied = if has_any { sqlx::query_scalar(APPLIED).fetch_all(connection).await? } else { Vec::new() };
    Ok(age(SQLITE, &applied))
}

pub(super) async fn postgres_age(connection: &mut PgConnection) -> sqlx::Result<Age> {
    let has_any = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";
    let has_any: bool = sqlx::query_scalar(has_any).fetch_one(&mut *connection).await?;
    let applied = if has_any { sqlx::query_scalar(APPLIED).fetch_all(connection).await? } else { Vec::new() };
    Ok(age(POSTGRES, &applied))
}

/// Brings the schema up to date. Of several processes that start, one does it and the others wait.
///
/// [`Migrator::run`] would do, but for the compiler, which does not see that its future is `Send`.
///
/// What a newer version made is to be refused before.
pub(super) async fn update_sqlite(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    migrator(SQLITE, None).run_direct(None, connection, false).await.map_err(StoreError::Migrate)
}

/// As [`update_sqlite`], but refuses what a newer version made. With an `epoch` each step is undone unless that epoch leads: a process that was stopped before it, and comes back,
/// changes nothing under another leader.
pub(super) async fn update_postgres(connection: &mut PgConnection, epoch: Option<i64>) -> Result<(), StoreError> {
    postgres_age(connection).await?.refuse_newer()?;
    migrator(POSTGRES, epoch).run_direct(None, connection, false).await.map_err(failed)
}

/// A database that can only be read is refused the table of its migrations, which is made unless it is there, whatever its schema is.
fn failed(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(sqlx::Error::Database(error)) if error.code().as_deref() == Some(READ_ONLY) => {
            StoreError::ReadOnly(sqlx::Error::Database(error))
        }
        error => StoreError::Migrate(error),
    }
}

impl Age {
    pub fn refuse_newer(self) -> Result<(), StoreError> {
        match self {
            Self::Newer { found, known } => Err(StoreError::Newer { found, known }),
            Self::Older { .. } | Self::Current => Ok(()),
        }
    }
}

fn migrator(steps: &'static Steps, epoch: Option<i64>) -> Migrator {
    let migrations = steps.iter().map(|(number, name, statements)| {
        let plain = sqlx::SqlSafeStr::into_sql_str(*statements);
        let step = Migration::new(*number, (*name).into(), MigrationType::Simple, plain, false);
        match epoch {
            // Its checksum stays that of the plain statements.
            Some(epoch) => {
                let fenced = AssertSqlSafe(format!("SELECT airlock_fence({epoch});\n{statements}")).into_sql_str();
                Migration { sql: fenced, ..step }
            }
            None => step,
        }
    });
    Migrator { migrations: migrations.collect::<Vec<_>>().into(), ..Migrator::DEFAULT }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What only PostgreSQL needs.
    const OF_POSTGRES: [i64; 2] = [LEASE, 98];

    #[test]
    fn a_schema_is_judged_by_the_migrations_that_it_went_through() {
        let numbers = |steps: &Steps| steps.iter().map(|(number, ..)| *number).collect::<Vec<_>>();
        let all = numbers(POSTGRES);
        let known = *all.last().unwrap();
        assert_eq!(age(POSTGRES, &[]), Age::Older { is_shared: false });
        assert_eq!(age(POSTGRES, &[1, 73]), Age::Older { is_shared: false });
        assert_eq!(age(POSTGRES, &all[..all.len() - 1]), Age::Older { is_shared: true });
        assert_eq!(age(POSTGRES, &all), Age::Current);
        let newer = [all.as_slice(), &[known + 1, known + 7]].concat();
        assert_eq!(age(POSTGRES, &newer), Age::Newer { found: known + 7, known });
        // One of a branch that was never released.
        assert_eq!(age(SQLITE, &[1, 4]), Age::Newer { found: 4, known: *numbers(SQLITE).last().unwrap() });
    }

    #[test]
    fn migrations_of_both_databases_are_in_order_and_have_the_same_numbers_since_the_first() {
        for steps in [SQLITE, POSTGRES] {
            assert!(steps.is_sorted_by(|one, next| one.0 < next.0));
        }
        let since = |steps: &'static Steps| {
            let of_both = |number: i64| number > 69 && !OF_POSTGRES.contains(&number);
            steps.iter().filter(move |(number, ..)| of_both(*number)).map(|(number, name, _)| (number, name))
        };
        assert!(since(SQLITE).eq(since(POSTGRES)));
    }
}
