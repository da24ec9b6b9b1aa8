//! The one table of who may use which route, for the API and the page alike.
//!
//! A route that is not in it does not exist: the guards refuse it before its handler is asked. Paths are written as
//! routers do, and say nothing of what a handler may refuse besides.

use std::{collections::HashMap, sync::LazyLock};

use crate::model::role::Permission::{
    self, ApprovalAnswer, AssetWrite, AuditRead, BackfillWrite, ConnectionWrite, DagDelete, DagPause, DagUpload,
    GrantWrite, LimitsWrite, PoolWrite, Read, RetentionWrite, RunDelete, RunMark, RunTrigger, SecretRotate,
    SettingRead, SettingsImport, TaskClear, UserWrite, VariableWrite, WarningRead, WebhookWrite, XComWrite,
};

/// What somebody needs to use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing: not even to be known.
    Public,
    /// To have signed in.
    SignedIn,
    /// To have it for all dags; or what needs it is about none.
    Needs(Permission),
    /// To have it for the dag of the path, whose name is `{dag_id}`. `~` instead of a dag is as [`OfDags`](Self::OfDags).
    OfDag(Permission),
    /// To have it for some dag. The handler, who alone knows which dags it is about, keeps to those of the user's
    /// [`DagScope`](super::DagScope).
    OfDags(Permission),
}

use Access::{Needs, OfDag, OfDags, Public, SignedIn};

/// Method, path, access.
pub const ROUTES: &[(&str, &str, Access)] = &[
    // The API.
    ("GET", "/api/v2/version", Public),
    ("GET", "/api/v2/monitor/health", Public),
    ("GET", "/api/v2/monitor/warnings", Needs(WarningRead)),
    ("GET", "/livez", Public),
    ("GET", "/readyz", Public),
    ("GET", "/metrics", Needs(Read)),
    // Editors have no token.
    ("GET", "/schemas/dag.json", Public),
    // They are signed.
    ("POST", "/hooks/{dag_id}", Public),
    ("POST", "/hooks/{dag_id}/{dag_run_id}/{task_id}", Public),
    ("POST", "/auth/token", Public),
    ("POST", "/auth/token/cli", Public),
    ("GET", "/api/v2/auth/login", Public),
    ("DELETE", "/auth/token", SignedIn),
    ("GET", "/openapi.json", SignedIn),
    ("GET", "/api/v2/users/me", SignedIn),
    ("PATCH", "/api/v2/users/me", SignedIn),
    ("POST", "/api/v2/users/me/signOut", SignedIn),
    ("POST", "/api/v2/users/{username}/signOut", Needs(UserWrite)),
    ("GET", "/api/v2/users", Needs(UserWrite)),
    ("POST", "/api/v2/users", Needs(UserWrite)),
    ("PATCH", "/api/v2/users/{username}", Needs(UserWrite)),
    ("DELETE", "/api/v2/users/{username}", Needs(UserWrite)),
    // Of others: for admins, which the handlers ask.
    ("GET", "/api/v2/tokens", SignedIn),
    ("POST", "/api/v2/tokens", SignedIn),
    ("DELETE", "/api/v2/tokens/{token_id}", SignedIn),
    ("GET", "/api/v2/components", OfDags(Read)),
    ("POST", "/api/v2/components", OfDags(DagUpload)),
    ("GET", "/api/v2/components/{digest}", OfDags(Read)),
    ("GET", "/api/v2/components/{digest}/wasm", OfDags(Read)),
    ("GET", "/api/v2/components/{digest}/yaml", OfDags(Read)),
    ("GET", "/api/v2/workers", Needs(Read)),
    // As much as to take slots from a pool.
    ("POST", "/api/v2/workers/{name}/drain", Needs(PoolWrite)),
    // They show a token of their own.
    ("POST", "/api/v2/workers/{name}/leave", Public),
    ("GET", "/api/v2/workers/stream", Public),
    ("GET", "/api/v2/secrets/keys", Needs(SecretRotate)),
    ("POST", "/api/v2/secrets/keys/rotate", Needs(SecretRotate)),
    ("GET", "/api/v2/secrets/sources", Needs(SettingRead)),
    ("GET", "/api/v2/dags", OfDags(Read)),
    ("PATCH", "/api/v2/dags", OfDags(DagPause)),
    ("GET", "/api/v2/dags/{dag_id}", OfDag(Read)),
    ("PATCH", "/api/v2/dags/{dag_id}", OfDag(DagPause)),
    ("DELETE", "/api/v2/dags/{dag_id}", OfDag(DagDelete)),
    ("GET", "/api/v2/dags/{dag_id}/details", OfDag(Read)),
    // Marks of one's own.
    ("POST", "/api/v2/dags/{dag_id}/favorite", OfDag(Read)),
    ("POST", "/api/v2/dags/{dag_id}/unfavorite", OfDag(Read)),
    ("GET", "/api/v2/dags/{dag_id}/grants", OfDag(Read)),
    ("PATCH", "/api/v2/dags/{dag_id}/grants", Needs(GrantWrite)),
    ("POST", "/api/v2/dags/{dag_id}/grants/approve", Needs(GrantWrite)),
    ("POST", "/api/v2/dags/{dag_id}/grants/revoke", Needs(GrantWrite)),
    ("GET", "/api/v2/dags/{dag_id}/nextRuns", OfDag(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagVersions", OfDag(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagVersions/{version_number}", OfDag(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagVersions/{version_number}/differences", OfDag(Read)),
    ("POST", "/api/v2/dags/{dag_id}/dagVersions/{version_number}/rollBack", OfDag(DagUpload)),
    ("GET", "/api/v2/dags/{dag_id}/tasks", OfDag(Read)),
    ("GET", "/api/v2/dags/{dag_id}/tasks/{task_id}", OfDag(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns", OfDag(Read)),
    ("POST", "/api/v2/dags/{dag_id}/dagRuns", OfDag(RunTrigger)),
    // To delete runs needs more, which the handler asks for.
    ("PATCH", "/api/v2/dags/{dag_id}/dagRuns", OfDag(RunMark)),
    ("POST", "/api/v2/dags/{dag_id}/clearDagRuns", OfDag(TaskClear)),
    ("POST", "/api/v2/dags/{dag_id}/dagRuns/list", OfDag(Read)),
    // Of the run that is called so; as below, of the task.
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/list", OfDag(Read)),
    ("PATCH", "/api/v2/dags/{dag_id}/dagRuns/list", OfDag(RunMark)),
    ("DELETE", "/api/v2/dags/{dag_id}/dagRuns/list", OfDag(RunDelete)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}", OfDag(Read)),
    ("PATCH", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}", OfDag(RunMark)),
    ("DELETE", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}", OfDag(RunDelete)),
    ("POST", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/clear", OfDag(TaskClear)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/wait", OfDag(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/triggers", OfDag(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/grid", OfDag(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/artifacts", OfDag(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/callbacks", OfDag(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/hitlDetails", OfDag(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/upstreamAssetEvents", OfDag(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances", OfDag(Read)),
    ("PATCH", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances", OfDag(RunMark)),
    ("PATCH", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskGroupInstances/{group_id}", OfDag(RunMark)),
    ("PATCH", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskGroupInstances/{group_id}/dry_run", OfDag(RunMark)),
    ("POST", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/list", OfDag(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/list", OfDag(Read)),
    ("PATCH", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/list", OfDag(RunMark)),
    ("DELETE", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/list", OfDag(RunDelete)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}", OfDag(Read)),
    ("PATCH", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}", OfDag(RunMark)),
    ("DELETE", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}", OfDag(RunDelete)),
    ("PATCH", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/dry_run", OfDag(RunMark)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/listMapped", OfDag(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/dependencies", OfDag(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/links", OfDag(Read)),
    (
        "GET",
        "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/externalLogUrl/{try_number}",
        OfDag(Read),
    ),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/tries", OfDag(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/tries/{task_try_number}", OfDag(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/logs/{try_number}", OfDag(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/artifacts", OfDag(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/artifacts/{name}", OfDag(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/recordings", OfDag(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/recordings/{try_number}", OfDag(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}", OfDag(Read)),
    ("PATCH", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}", OfDag(RunMark)),
    ("DELETE", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}", OfDag(RunDelete)),
    ("PATCH", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/dry_run", OfDag(RunMark)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/dependencies", OfDag(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/tries", OfDag(Read)),
    (
        "GET",
        "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/tries/{task_try_number}",
        OfDag(Read),
    ),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/hitlDetails", OfDag(Read)),
    (
        "GET",
        "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/hitlDetails/tries/{try_number}",
        OfDag(Read),
    ),
    (
        "PATCH",
        "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/hitlDetails",
        OfDag(ApprovalAnswer),
    ),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries", OfDag(Read)),
    ("POST", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries", OfDag(XComWrite)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries/{xcom_key}", OfDag(Read)),
    (
        "PATCH",
        "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries/{xcom_key}",
        OfDag(XComWrite),
    ),
    (
        "DELETE",
        "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries/{xcom_key}",
        OfDag(XComWrite),
    ),
    (
        "GET",
        "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries/{xcom_key}/content",
        OfDag(Read),
    ),
    ("POST", "/api/v2/dags/{dag_id}/clearTaskInstances", OfDag(TaskClear)),
    ("GET", "/api/v2/dags/{dag_id}/webhook", OfDag(Read)),
    ("PUT", "/api/v2/dags/{dag_id}/webhook", OfDag(WebhookWrite)),
    ("DELETE", "/api/v2/dags/{dag_id}/webhook", OfDag(WebhookWrite)),
    ("GET", "/api/v2/dags/{dag_id}/limits", OfDag(Read)),
    ("PUT", "/api/v2/dags/{dag_id}/limits", Needs(LimitsWrite)),
    ("GET", "/api/v2/dags/{dag_id}/retention", OfDag(Read)),
    ("PUT", "/api/v2/dags/{dag_id}/retention", OfDag(RetentionWrite)),
    ("GET", "/api/v2/grants", Needs(Read)),
    ("GET", "/api/v2/limits", Needs(Read)),
    // What an admin says of a dag needs more, which the handler asks for.
    ("POST", "/api/v2/import", Needs(SettingsImport)),
    ("GET", "/api/v2/retention", Needs(Read)),
    ("POST", "/api/v2/retention/dry_run", Needs(RetentionWrite)),
    ("POST", "/api/v2/retention/run", Needs(RetentionWrite)),
    ("GET", "/api/v2/assets", OfDags(Read)),
    ("GET", "/api/v2/assets/events", OfDags(Read)),
    ("POST", "/api/v2/assets/events", Needs(RunTrigger)),
    ("GET", "/api/v2/assets/aliases", OfDags(Read)),
    ("GET", "/api/v2/assets/aliases/{asset_alias_id}", OfDags(Read)),
    ("GET", "/api/v2/assets/{asset_id}", OfDags(Read)),
    ("POST", "/api/v2/assets/{asset_id}/materialize", OfDags(RunTrigger)),
    ("GET", "/api/v2/assets/{asset_id}/queuedEvents", OfDags(Read)),
    ("DELETE", "/api/v2/assets/{asset_id}/queuedEvents", Needs(AssetWrite)),
    ("GET", "/api/v2/dags/{dag_id}/assets/queuedEvents", OfDag(Read)),
    ("DELETE", "/api/v2/dags/{dag_id}/assets/queuedEvents", OfDag(AssetWrite)),
    ("GET", "/api/v2/dags/{dag_id}/assets/{asset_id}/queuedEvents", OfDag(Read)),
    ("DELETE", "/api/v2/dags/{dag_id}/assets/{asset_id}/queuedEvents", OfDag(AssetWrite)),
    ("GET", "/api/v2/backfills", OfDags(Read)),
    ("POST", "/api/v2/backfills", OfDags(BackfillWrite)),
    ("POST", "/api/v2/backfills/dry_run", OfDags(BackfillWrite)),
    ("GET", "/api/v2/backfills/{backfill_id}", OfDags(Read)),
    ("PUT", "/api/v2/backfills/{backfill_id}/pause", OfDags(BackfillWrite)),
    ("PUT", "/api/v2/backfills/{backfill_id}/unpause", OfDags(BackfillWrite)),
    ("PUT", "/api/v2/backfills/{backfill_id}/cancel", OfDags(BackfillWrite)),
    ("GET", "/api/v2/variables", Needs(Read)),
    ("POST", "/api/v2/variables", Needs(VariableWrite)),
    ("PATCH", "/api/v2/variables", Needs(VariableWrite)),
    ("GET", "/api/v2/variables/{variable_key}", Needs(Read)),
    ("PATCH", "/api/v2/variables/{variable_key}", Needs(VariableWrite)),
    ("DELETE", "/api/v2/variables/{variable_key}", Needs(VariableWrite)),
    // A key may have `/` in it.
    ("GET", "/api/v2/variables/{variable_key}/{*rest}", Needs(Read)),
    ("PATCH", "/api/v2/variables/{variable_key}/{*rest}", Needs(VariableWrite)),
    ("DELETE", "/api/v2/variables/{variable_key}/{*rest}", Needs(VariableWrite)),
    ("GET", "/api/v2/connections", Needs(Read)),
    ("POST", "/api/v2/connections", Needs(ConnectionWrite)),
    ("PATCH", "/api/v2/connections", Needs(ConnectionWrite)),
    ("GET", "/api/v2/connections/{connection_id}", Needs(Read)),
    ("PATCH", "/api/v2/connections/{connection_id}", Needs(ConnectionWrite)),
    ("DELETE", "/api/v2/connections/{connection_id}", Needs(ConnectionWrite)),
    ("POST", "/api/v2/connections/{connection_id}/test", Needs(ConnectionWrite)),
    ("POST", "/api/v2/connections/test", Needs(ConnectionWrite)),
    // A connection may be called `test`.
    ("GET", "/api/v2/connections/test", Needs(Read)),
    ("PATCH", "/api/v2/connections/test", Needs(ConnectionWrite)),
    ("DELETE", "/api/v2/connections/test", Needs(ConnectionWrite)),
    ("GET", "/api/v2/pools", Needs(Read)),
    ("POST", "/api/v2/pools", Needs(PoolWrite)),
    ("PATCH", "/api/v2/pools", Needs(PoolWrite)),
    ("GET", "/api/v2/pools/{pool_name}", Needs(Read)),
    ("PATCH", "/api/v2/pools/{pool_name}", Needs(PoolWrite)),
    ("DELETE", "/api/v2/pools/{pool_name}", Needs(PoolWrite)),
    ("GET", "/api/v2/dagStats", OfDags(Read)),
    ("GET", "/api/v2/dagTags", OfDags(Read)),
    ("GET", "/api/v2/dagWarnings", OfDags(Read)),
    ("GET", "/api/v2/dagSources/{dag_id}", OfDag(Read)),
    ("GET", "/api/v2/importErrors", Needs(Read)),
    ("GET", "/api/v2/importErrors/{import_error_id}", Needs(Read)),
    ("GET", "/api/v2/plugins", Needs(Read)),
    ("GET", "/api/v2/plugins/importErrors", Needs(Read)),
    ("GET", "/api/v2/providers", Needs(Read)),
    ("GET", "/api/v2/jobs", Needs(Read)),
    ("GET", "/api/v2/config", Needs(SettingRead)),
    ("GET", "/api/v2/config/section/{section}/option/{option}", Needs(SettingRead)),
    ("GET", "/api/v2/eventLogs", Needs(AuditRead)),
    ("GET", "/api/v2/eventLogs/{event_log_id}", Needs(AuditRead)),
    ("GET", "/api/v2/events", OfDags(Read)),
    // The page.
    ("GET", "/login", Public),
    ("POST", "/login", Public),
    ("GET", "/login/oidc", Public),
    ("GET", "/login/oidc/callback", Public),
    ("GET", "/static/{version}/{name}", Public),
    ("POST", "/logout", SignedIn),
    ("POST", "/ui/theme", SignedIn),
    ("POST", "/ui/zone", SignedIn),
    ("GET", "/", SignedIn),
    ("GET", "/dags", OfDags(Read)),
    ("GET", "/dags/{dag_id}", OfDag(Read)),
    ("GET", "/dags/{dag_id}/graph", OfDag(Read)),
    ("GET", "/dags/{dag_id}/runs", OfDag(Read)),
    ("GET", "/dags/{dag_id}/calendar", OfDag(Read)),
    // A mark of one's own.
    ("POST", "/dags/{dag_id}/favorite", OfDag(Read)),
    ("GET", "/dags/{dag_id}/backfills", OfDag(Read)),
    ("POST", "/dags/{dag_id}/backfills", OfDag(BackfillWrite)),
    ("POST", "/dags/{dag_id}/backfills/{id}/{verb}", OfDag(BackfillWrite)),
    ("GET", "/dags/{dag_id}/details", OfDag(Read)),
    ("GET", "/dags/{dag_id}/tasks/{task_id}", OfDag(Read)),
    ("GET", "/dags/{dag_id}/versions/{number}", OfDag(Read)),
    ("POST", "/dags/{dag_id}/versions/{number}/roll-back", OfDag(DagUpload)),
    ("GET", "/dags/{dag_id}/grants", OfDag(Read)),
    ("POST", "/dags/{dag_id}/grants", Needs(GrantWrite)),
    ("POST", "/dags/{dag_id}/grants/policy", Needs(GrantWrite)),
    ("GET", "/dags/{dag_id}/webhook", OfDag(Read)),
    ("POST", "/dags/{dag_id}/webhook", OfDag(WebhookWrite)),
    ("GET", "/dags/{dag_id}/webhook/replace", OfDag(WebhookWrite)),
    ("GET", "/dags/{dag_id}/webhook/delete", OfDag(WebhookWrite)),
    ("POST", "/dags/{dag_id}/webhook/delete", OfDag(WebhookWrite)),
    ("GET", "/dags/{dag_id}/limits", Needs(LimitsWrite)),
    ("POST", "/dags/{dag_id}/limits", Needs(LimitsWrite)),
    ("GET", "/dags/{dag_id}/retention", OfDag(RetentionWrite)),
    ("POST", "/dags/{dag_id}/retention", OfDag(RetentionWrite)),
    ("POST", "/dags/{dag_id}/pause", OfDag(DagPause)),
    ("GET", "/dags/{dag_id}/delete", OfDag(DagDelete)),
    ("POST", "/dags/{dag_id}/delete", OfDag(DagDelete)),
    ("GET", "/dags/{dag_id}/trigger", OfDag(RunTrigger)),
    ("POST", "/dags/{dag_id}/trigger", OfDag(RunTrigger)),
    ("GET", "/dags/{dag_id}/runs/{run_id}", OfDag(Read)),
    ("GET", "/dags/{dag_id}/runs/{run_id}/clear", OfDag(TaskClear)),
    ("POST", "/dags/{dag_id}/runs/{run_id}/clear", OfDag(TaskClear)),
    ("GET", "/dags/{dag_id}/runs/{run_id}/mark", OfDag(RunMark)),
    ("POST", "/dags/{dag_id}/runs/{run_id}/mark", OfDag(RunMark)),
    ("GET", "/dags/{dag_id}/runs/{run_id}/delete", OfDag(RunDelete)),
    ("POST", "/dags/{dag_id}/runs/{run_id}/delete", OfDag(RunDelete)),
    ("POST", "/dags/{dag_id}/runs/{run_id}/note", OfDag(RunMark)),
    ("GET", "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}", OfDag(Read)),
    ("GET", "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/log", OfDag(Read)),
    ("GET", "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/artifact", OfDag(Read)),
    ("GET", "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/recording", OfDag(Read)),
    ("GET", "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/clear", OfDag(TaskClear)),
    ("POST", "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/clear", OfDag(TaskClear)),
    ("GET", "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/mark", OfDag(RunMark)),
    ("POST", "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/mark", OfDag(RunMark)),
    ("POST", "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/answer", OfDag(ApprovalAnswer)),
    ("GET", "/components", OfDags(Read)),
    ("POST", "/components", OfDags(DagUpload)),
    ("GET", "/components/{digest}", OfDags(Read)),
    ("GET", "/runs", OfDags(Read)),
    ("GET", "/task-instances", OfDags(Read)),
    ("GET", "/approvals", OfDags(Read)),
    ("GET", "/assets", OfDags(Read)),
    ("GET", "/assets/named", OfDags(Read)),
    ("GET", "/assets/{asset_id}", OfDags(Read)),
    ("POST", "/assets/{asset_id}/event", Needs(RunTrigger)),
    ("GET", "/variables", Needs(Read)),
    ("GET", "/variables/edit", Needs(VariableWrite)),
    ("POST", "/variables/edit", Needs(VariableWrite)),
    ("GET", "/variables/delete", Needs(VariableWrite)),
    ("POST", "/variables/delete", Needs(VariableWrite)),
    ("GET", "/connections", Needs(Read)),
    ("POST", "/connections/test", Needs(ConnectionWrite)),
    ("GET", "/connections/edit", Needs(ConnectionWrite)),
    ("POST", "/connections/edit", Needs(ConnectionWrite)),
    ("GET", "/connections/delete", Needs(ConnectionWrite)),
    ("POST", "/connections/delete", Needs(ConnectionWrite)),
    ("GET", "/workers", Needs(Read)),
    ("POST", "/workers/drain", Needs(PoolWrite)),
    ("GET", "/pools", Needs(Read)),
    ("GET", "/pools/edit", Needs(PoolWrite)),
    ("POST", "/pools/edit", Needs(PoolWrite)),
    ("GET", "/pools/delete", Needs(PoolWrite)),
    ("POST", "/pools/delete", Needs(PoolWrite)),
    ("GET", "/users", Needs(UserWrite)),
    ("GET", "/users/edit", Needs(UserWrite)),
    ("POST", "/users/edit", Needs(UserWrite)),
    ("GET", "/users/delete", Needs(UserWrite)),
    ("POST", "/users/delete", Needs(UserWrite)),
    ("GET", "/audit", Needs(AuditRead)),
    // Of others: for admins, which the handlers ask.
    ("GET", "/password", SignedIn),
    ("POST", "/password", SignedIn),
    ("GET", "/tokens", SignedIn),
    ("GET", "/tokens/sign-out", SignedIn),
    ("POST", "/tokens/sign-out", SignedIn),
    ("GET", "/tokens/new", SignedIn),
    ("POST", "/tokens/new", SignedIn),
    ("GET", "/tokens/revoke", SignedIn),
    ("POST", "/tokens/revoke", SignedIn),
    ("GET", "/ui/events", OfDags(Read)),
    ("GET", "/ui/dags/{dag_id}/grid", OfDag(Read)),
    ("GET", "/ui/dags/{dag_id}/runs/{run_id}/states", OfDag(Read)),
    ("GET", "/ui/dag_versions/{version}/tasks", OfDags(Read)),
    ("GET", "/ui/dag_versions/{version}/graph", OfDags(Read)),
];

/// What somebody needs for the route. None: there is no such route.
pub fn access(method: &str, path: &str) -> Option<Access> {
    static INDEX: LazyLock<HashMap<(&str, &str), Access>> =
        LazyLock::new(|| ROUTES.iter().map(|(method, path, access)| ((*method, *path), *access)).collect());
    let method = if method == "HEAD" { "GET" } else { method };
    INDEX.get(&(method, path)).copied()
}

/// How the audit log calls what a request to the route does; none if it changes nothing of note.
pub fn event(method: &str, path: &str, access: Access) -> Option<&'static str> {
    if matches!(method, "GET" | "HEAD") || path.ends_with("/dry_run") {
        return None;
    }
    match access {
        Needs(Read) | OfDag(Read) | OfDags(Read) | Public => None,
        Needs(permission) | OfDag(permission) | OfDags(permission) => Some(permission.as_str()),
        // What is one's own: how the page looks, one's sessions, one's tokens.
        SignedIn if path.starts_with("/ui/") => None,
        SignedIn if path.contains("/tokens") && !path.ends_with("/sign-out") => Some("token.write"),
        // One's own password.
        SignedIn if method == "PATCH" || path == "/password" => Some(UserWrite.as_str()),
        SignedIn => Some("sign_out"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_stands_in_the_table_once() {
        let mut known = std::collections::BTreeSet::new();
        for (method, path, _) in ROUTES {
            assert!(known.insert((method, path)), "{method} {path}");
        }
        assert_eq!(access("HEAD", "/dags"), Some(OfDags(Read)));
        assert_eq!(access("POST", "/dags"), None);
    }

    /// Whatever changes something is written down.
    #[test]
    fn changes_have_a_name_in_the_audit_log() {
        for (method, path, access) in ROUTES {
            let is_quiet = *method == "GET"
                || *access == Public
                || path.starts_with("/ui/")
                || (*method == "POST" && path.ends_with("/list"))
                || ["/dry_run", "favorite"].iter().any(|end| path.ends_with(end));
            assert_eq!(event(method, path, *access).is_none(), is_quiet, "{method} {path}");
        }
        assert_eq!(event("POST", "/tokens/new", SignedIn), Some("token.write"));
        assert_eq!(event("POST", "/logout", SignedIn), Some("sign_out"));
        for (method, path) in [("PATCH", "/api/v2/users/me"), ("POST", "/password")] {
            assert_eq!(event(method, path, SignedIn), Some("user.write"), "one's own password");
        }
    }

    /// Whoever may only look changes nothing but marks of their own.
    #[test]
    fn changes_need_more_than_to_read() {
        for (method, path, access) in ROUTES {
            let is_question = path.ends_with("/list");
            let is_own = path.ends_with("favorite");
            if *method != "GET" && matches!(access, Needs(Read) | OfDag(Read) | OfDags(Read)) {
                assert!(is_question || is_own, "{method} {path}");
            }
        }
    }
    /// What is about one dag asks for that dag; what can't be given for one dag does not.
    #[test]
    fn routes_of_a_dag_ask_for_that_dag() {
        for (method, path, access) in ROUTES {
            let is_named = path.contains("{dag_id}");
            match access {
                Public | SignedIn => {}
                OfDag(permission) => assert!(is_named && permission.is_of_dag(), "{method} {path}"),
                OfDags(permission) => assert!(!is_named && permission.is_of_dag(), "{method} {path}"),
                Needs(permission) => assert!(!(is_named && permission.is_of_dag()), "{method} {path}"),
            }
        }
    }
}
