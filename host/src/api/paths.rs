//! The parameters of the routes' paths.

use serde::Deserialize;
use utoipa::IntoParams;

use super::extract::Scope;
use crate::model::ids::{ConnectionId, DagId, Digest, NameError, PoolName, RunId, TaskId, VariableKey, XComKey};

macro_rules! path {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty = $shown:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Deserialize, IntoParams)]
        #[into_params(parameter_in = Path)]
        pub struct $name { $(#[param(value_type = $shown)] pub $field: $type,)* }
    };
}

path!(DagPath { dag_id: DagId = String });
path!(
    /// `~` stands for all dags.
    DagScopePath { dag_id: Scope<DagId> = String, });
path!(DagTaskPath { dag_id: DagId = String, task_id: TaskId = String });
path!(DagVersionPath { dag_id: DagId = String, version_number: i64 = i64 });
path!(RunPath { dag_id: DagId = String, dag_run_id: RunId = String });
path!(
    /// `~` stands for all dags, or all runs.
    RunScopePath { dag_id: Scope<DagId> = String, dag_run_id: Scope<RunId> = String, });
path!(
    #[expect(clippy::struct_field_names, reason = "the names are the path's")]
    TaskPath { dag_id: DagId = String, dag_run_id: RunId = String, task_id: TaskId = String }
);
path!(
    /// `~` stands for all dags, runs or tasks.
    #[expect(clippy::struct_field_names, reason = "the names are the path's")]
    TaskScopePath { dag_id: Scope<DagId> = String, dag_run_id: Scope<RunId> = String, task_id: Scope<TaskId> = String, });
path!(
    #[expect(clippy::struct_field_names, reason = "the names are the path's")]
    GroupPath { dag_id: DagId = String, dag_run_id: RunId = String, group_id: TaskId = String }
);

/// A path that goes on behind a task.
macro_rules! path_behind_task {
    ($name:ident { $($field:ident: $type:ty = $shown:ty),+ $(,)? }) => {
        path!($name {
            dag_id: DagId = String,
            dag_run_id: RunId = String,
            task_id: TaskId = String,
            $($field: $type = $shown),+
        });

        impl $name {
            /// The task, and what stands behind it.
            pub fn split(self) -> (TaskPath, $($type),+) {
                let Self { dag_id, dag_run_id, task_id, $($field),+ } = self;
                (TaskPath { dag_id, dag_run_id, task_id }, $($field),+)
            }
        }
    };
}

path_behind_task!(InstancePath { map_index: i32 = i32 });
path_behind_task!(TryPath { try_number: u32 = u32 });
path_behind_task!(TaskTryPath { task_try_number: u32 = u32 });
path_behind_task!(InstanceTryPath { map_index: i32 = i32, task_try_number: u32 = u32 });
path_behind_task!(HitlTryPath { map_index: i32 = i32, try_number: u32 = u32 });
path_behind_task!(XComPath { xcom_key: XComKey = String });
path_behind_task!(ArtifactPath { name: String = String });

path!(AssetPath { asset_id: i64 = i64 });
path!(AliasPath { asset_alias_id: i64 = i64 });
path!(ConfigPath { section: String = String, option: String = String });
path!(ImportErrorPath { import_error_id: i64 = i64 });
path!(DagAssetPath { dag_id: DagId = String, asset_id: i64 = i64 });
path!(ConnectionPath { connection_id: ConnectionId = String });
path!(PoolPath { pool_name: PoolName = String });
path!(ComponentPath { digest: Digest = String });
path!(UserPath { username: String = String });
path!(EventLogPath { event_log_id: i64 = i64 });
path!(TokenPath { token_id: i64 = i64 });

/// As in Airflow, `/` in the key need not be percent-encoded.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(try_from = "VariableParts")]
#[into_params(parameter_in = Path)]
pub struct VariablePath {
    #[param(value_type = String)]
    pub variable_key: VariableKey,
}

/// A key as it stands in the path: up to its first `/`, and what is behind that.
#[derive(Deserialize)]
struct VariableParts {
    variable_key: String,
    rest: Option<String>,
}

impl TryFrom<VariableParts> for VariablePath {
    type Error = NameError;

    fn try_from(parts: VariableParts) -> Result<Self, NameError> {
        let key = match parts.rest {
            Some(rest) => format!("{}/{rest}", parts.variable_key),
            None => parts.variable_key,
        };
        VariableKey::new(&key).map(|variable_key| Self { variable_key })
    }
}

/// Which instance of a mapped task.
#[derive(Debug, Clone, Copy, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct MapIndex {
    /// -1: the instance of a task that is not mapped.
    #[serde(default = "MapIndex::unmapped")]
    #[param(required = false)]
    pub map_index: i32,
}

impl MapIndex {
    fn unmapped() -> i32 {
        -1
    }
}
