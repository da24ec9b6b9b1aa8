//! The one table of who may use which route, for the API and the page alike.
//!
//! A route that is not in it does not exist: the guards refuse it before its handler is asked. Paths are written as
//! routers do, and say nothing of what a handler may refuse besides.

use std::{collections::HashMap, sync::LazyLock};

use crate::model::role::Permission::{
    self, ApprovalAnswer, AssetWrite, AuditRead, BackfillWrite, ConnectionWrite, DagDelete, DagPause, DagUpload,
    GrantWrite, PoolWrite, Read, RetentionWrite, RunDelete, RunMark, RunTrigger, SecretRotate, SettingRead,
    SettingsImport, TaskClear, UserWrite, VariableWrite, WebhookWrite, XComWrite,
};

/// What somebody needs to use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing: not even to be known.
    Public,
    /// To have signed in.
    SignedIn,
    Needs(Permission),
}

use Access::{Needs, Public, SignedIn};

/// Method, path, access.
pub const ROUTES: &[(&str, &str, Access)] = &[
    // The API.
    ("GET", "/api/v2/version", Public),
    ("GET", "/api/v2/monitor/health", Public),
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
    ("DELETE", "/auth/token", SignedIn),
    ("GET", "/openapi.json", SignedIn),
    ("GET", "/api/v2/users/me", SignedIn),
    ("PATCH", "/api/v2/users/me", SignedIn),
    ("GET", "/api/v2/users", Needs(UserWrite)),
    ("POST", "/api/v2/users", Needs(UserWrite)),
    ("PATCH", "/api/v2/users/{username}", Needs(UserWrite)),
    ("DELETE", "/api/v2/users/{username}", Needs(UserWrite)),
    // Of others: for admins, which the handlers ask.
    ("GET", "/api/v2/tokens", SignedIn),
    ("POST", "/api/v2/tokens", SignedIn),
    ("DELETE", "/api/v2/tokens/{token_id}", SignedIn),
    ("GET", "/api/v2/components", Needs(Read)),
    ("POST", "/api/v2/components", Needs(DagUpload)),
    ("GET", "/api/v2/components/{digest}", Needs(Read)),
    ("GET", "/api/v2/components/{digest}/wasm", Needs(Read)),
    ("GET", "/api/v2/components/{digest}/yaml", Needs(Read)),
    ("GET", "/api/v2/secrets/keys", Needs(SecretRotate)),
    ("POST", "/api/v2/secrets/keys/rotate", Needs(SecretRotate)),
    ("GET", "/api/v2/secrets/sources", Needs(SettingRead)),
    ("GET", "/api/v2/dags", Needs(Read)),
    ("PATCH", "/api/v2/dags", Needs(DagPause)),
    ("GET", "/api/v2/dags/{dag_id}", Needs(Read)),
    ("PATCH", "/api/v2/dags/{dag_id}", Needs(DagPause)),
    ("DELETE", "/api/v2/dags/{dag_id}", Needs(DagDelete)),
    ("GET", "/api/v2/dags/{dag_id}/details", Needs(Read)),
    ("GET", "/api/v2/dags/{dag_id}/grants", Needs(Read)),
    ("PATCH", "/api/v2/dags/{dag_id}/grants", Needs(GrantWrite)),
    ("POST", "/api/v2/dags/{dag_id}/grants/approve", Needs(GrantWrite)),
    ("POST", "/api/v2/dags/{dag_id}/grants/revoke", Needs(GrantWrite)),
    ("GET", "/api/v2/dags/{dag_id}/nextRuns", Needs(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagVersions", Needs(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagVersions/{version_number}", Needs(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagVersions/{version_number}/differences", Needs(Read)),
    ("POST", "/api/v2/dags/{dag_id}/dagVersions/{version_number}/rollBack", Needs(DagUpload)),
    ("GET", "/api/v2/dags/{dag_id}/tasks", Needs(Read)),
    ("GET", "/api/v2/dags/{dag_id}/tasks/{task_id}", Needs(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns", Needs(Read)),
    ("POST", "/api/v2/dags/{dag_id}/dagRuns", Needs(RunTrigger)),
    ("POST", "/api/v2/dags/{dag_id}/dagRuns/list", Needs(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}", Needs(Read)),
    ("PATCH", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}", Needs(RunMark)),
    ("DELETE", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}", Needs(RunDelete)),
    ("POST", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/clear", Needs(TaskClear)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/wait", Needs(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/triggers", Needs(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/grid", Needs(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/artifacts", Needs(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/callbacks", Needs(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/hitlDetails", Needs(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/upstreamAssetEvents", Needs(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances", Needs(Read)),
    ("POST", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/list", Needs(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}", Needs(Read)),
    ("PATCH", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}", Needs(RunMark)),
    ("PATCH", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/dry_run", Needs(RunMark)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/listMapped", Needs(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/dependencies", Needs(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/tries", Needs(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/tries/{task_try_number}", Needs(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/logs/{try_number}", Needs(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/artifacts", Needs(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/artifacts/{name}", Needs(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/recordings", Needs(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/recordings/{try_number}", Needs(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}", Needs(Read)),
    ("PATCH", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}", Needs(RunMark)),
    ("PATCH", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/dry_run", Needs(RunMark)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/dependencies", Needs(Read)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/tries", Needs(Read)),
    (
        "GET",
        "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/tries/{task_try_number}",
        Needs(Read),
    ),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/hitlDetails", Needs(Read)),
    (
        "PATCH",
        "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/hitlDetails",
        Needs(ApprovalAnswer),
    ),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries", Needs(Read)),
    ("POST", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries", Needs(XComWrite)),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries/{xcom_key}", Needs(Read)),
    (
        "PATCH",
        "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries/{xcom_key}",
        Needs(XComWrite),
    ),
    (
        "DELETE",
        "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries/{xcom_key}",
        Needs(XComWrite),
    ),
    (
        "GET",
        "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries/{xcom_key}/content",
        Needs(Read),
    ),
    ("POST", "/api/v2/dags/{dag_id}/clearTaskInstances", Needs(TaskClear)),
    ("GET", "/api/v2/dags/{dag_id}/webhook", Needs(Read)),
    ("PUT", "/api/v2/dags/{dag_id}/webhook", Needs(WebhookWrite)),
    ("DELETE", "/api/v2/dags/{dag_id}/webhook", Needs(WebhookWrite)),
    ("GET", "/api/v2/dags/{dag_id}/retention", Needs(Read)),
    ("PUT", "/api/v2/dags/{dag_id}/retention", Needs(RetentionWrite)),
    ("POST", "/api/v2/import", Needs(SettingsImport)),
    ("GET", "/api/v2/retention", Needs(Read)),
    ("POST", "/api/v2/retention/dry_run", Needs(RetentionWrite)),
    ("POST", "/api/v2/retention/run", Needs(RetentionWrite)),
    ("GET", "/api/v2/assets", Needs(Read)),
    ("GET", "/api/v2/assets/events", Needs(Read)),
    ("POST", "/api/v2/assets/events", Needs(RunTrigger)),
    ("GET", "/api/v2/assets/{asset_id}", Needs(Read)),
    ("GET", "/api/v2/assets/{asset_id}/queuedEvents", Needs(Read)),
    ("DELETE", "/api/v2/assets/{asset_id}/queuedEvents", Needs(AssetWrite)),
    ("GET", "/api/v2/dags/{dag_id}/assets/queuedEvents", Needs(Read)),
    ("DELETE", "/api/v2/dags/{dag_id}/assets/queuedEvents", Needs(AssetWrite)),
    ("GET", "/api/v2/dags/{dag_id}/assets/{asset_id}/queuedEvents", Needs(Read)),
    ("DELETE", "/api/v2/dags/{dag_id}/assets/{asset_id}/queuedEvents", Needs(AssetWrite)),
    ("GET", "/api/v2/backfills", Needs(Read)),
    ("POST", "/api/v2/backfills", Needs(BackfillWrite)),
    ("POST", "/api/v2/backfills/dry_run", Needs(BackfillWrite)),
    ("GET", "/api/v2/backfills/{backfill_id}", Needs(Read)),
    ("PUT", "/api/v2/backfills/{backfill_id}/pause", Needs(BackfillWrite)),
    ("PUT", "/api/v2/backfills/{backfill_id}/unpause", Needs(BackfillWrite)),
    ("PUT", "/api/v2/backfills/{backfill_id}/cancel", Needs(BackfillWrite)),
    ("GET", "/api/v2/variables", Needs(Read)),
    ("POST", "/api/v2/variables", Needs(VariableWrite)),
    ("GET", "/api/v2/variables/{variable_key}", Needs(Read)),
    ("PATCH", "/api/v2/variables/{variable_key}", Needs(VariableWrite)),
    ("DELETE", "/api/v2/variables/{variable_key}", Needs(VariableWrite)),
    ("GET", "/api/v2/connections", Needs(Read)),
    ("POST", "/api/v2/connections", Needs(ConnectionWrite)),
    ("GET", "/api/v2/connections/{connection_id}", Needs(Read)),
    ("PATCH", "/api/v2/connections/{connection_id}", Needs(ConnectionWrite)),
    ("DELETE", "/api/v2/connections/{connection_id}", Needs(ConnectionWrite)),
    ("GET", "/api/v2/pools", Needs(Read)),
    ("POST", "/api/v2/pools", Needs(PoolWrite)),
    ("GET", "/api/v2/pools/{pool_name}", Needs(Read)),
    ("PATCH", "/api/v2/pools/{pool_name}", Needs(PoolWrite)),
    ("DELETE", "/api/v2/pools/{pool_name}", Needs(PoolWrite)),
    ("GET", "/api/v2/eventLogs", Needs(AuditRead)),
    ("GET", "/api/v2/eventLogs/{event_log_id}", Needs(AuditRead)),
    ("GET", "/api/v2/events", Needs(Read)),
    // The page.
    ("GET", "/login", Public),
    ("POST", "/login", Public),
    ("GET", "/static/{version}/{name}", Public),
    ("POST", "/logout", SignedIn),
    ("POST", "/ui/theme", SignedIn),
    ("POST", "/ui/zone", SignedIn),
    ("GET", "/", SignedIn),
    ("GET", "/dags", Needs(Read)),
    ("GET", "/dags/{dag_id}", Needs(Read)),
    ("GET", "/dags/{dag_id}/graph", Needs(Read)),
    ("GET", "/dags/{dag_id}/runs", Needs(Read)),
    ("GET", "/dags/{dag_id}/backfills", Needs(Read)),
    ("POST", "/dags/{dag_id}/backfills", Needs(BackfillWrite)),
    ("POST", "/dags/{dag_id}/backfills/{id}/{verb}", Needs(BackfillWrite)),
    ("GET", "/dags/{dag_id}/details", Needs(Read)),
    ("GET", "/dags/{dag_id}/tasks/{task_id}", Needs(Read)),
    ("GET", "/dags/{dag_id}/versions/{number}", Needs(Read)),
    ("POST", "/dags/{dag_id}/versions/{number}/roll-back", Needs(DagUpload)),
    ("GET", "/dags/{dag_id}/grants", Needs(Read)),
    ("POST", "/dags/{dag_id}/grants", Needs(GrantWrite)),
    ("POST", "/dags/{dag_id}/grants/policy", Needs(GrantWrite)),
    ("GET", "/dags/{dag_id}/webhook", Needs(Read)),
    ("POST", "/dags/{dag_id}/webhook", Needs(WebhookWrite)),
    ("POST", "/dags/{dag_id}/webhook/delete", Needs(WebhookWrite)),
    ("GET", "/dags/{dag_id}/retention", Needs(RetentionWrite)),
    ("POST", "/dags/{dag_id}/retention", Needs(RetentionWrite)),
    ("POST", "/dags/{dag_id}/pause", Needs(DagPause)),
    ("GET", "/dags/{dag_id}/delete", Needs(DagDelete)),
    ("POST", "/dags/{dag_id}/delete", Needs(DagDelete)),
    ("GET", "/dags/{dag_id}/trigger", Needs(RunTrigger)),
    ("POST", "/dags/{dag_id}/trigger", Needs(RunTrigger)),
    ("GET", "/dags/{dag_id}/runs/{run_id}", Needs(Read)),
    ("GET", "/dags/{dag_id}/runs/{run_id}/clear", Needs(TaskClear)),
    ("POST", "/dags/{dag_id}/runs/{run_id}/clear", Needs(TaskClear)),
    ("GET", "/dags/{dag_id}/runs/{run_id}/mark", Needs(RunMark)),
    ("POST", "/dags/{dag_id}/runs/{run_id}/mark", Needs(RunMark)),
    ("GET", "/dags/{dag_id}/runs/{run_id}/delete", Needs(RunDelete)),
    ("POST", "/dags/{dag_id}/runs/{run_id}/delete", Needs(RunDelete)),
    ("POST", "/dags/{dag_id}/runs/{run_id}/note", Needs(RunMark)),
    ("GET", "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}", Needs(Read)),
    ("GET", "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/log", Needs(Read)),
    ("GET", "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/artifact", Needs(Read)),
    ("GET", "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/recording", Needs(Read)),
    ("GET", "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/clear", Needs(TaskClear)),
    ("POST", "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/clear", Needs(TaskClear)),
    ("GET", "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/mark", Needs(RunMark)),
    ("POST", "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/mark", Needs(RunMark)),
    ("POST", "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/answer", Needs(ApprovalAnswer)),
    ("GET", "/components", Needs(Read)),
    ("POST", "/components", Needs(DagUpload)),
    ("GET", "/components/{digest}", Needs(Read)),
    ("GET", "/approvals", Needs(Read)),
    ("GET", "/assets", Needs(Read)),
    ("GET", "/assets/named", Needs(Read)),
    ("GET", "/assets/{asset_id}", Needs(Read)),
    ("POST", "/assets/{asset_id}/event", Needs(RunTrigger)),
    ("GET", "/variables", Needs(Read)),
    ("GET", "/variables/edit", Needs(VariableWrite)),
    ("POST", "/variables/edit", Needs(VariableWrite)),
    ("GET", "/variables/delete", Needs(VariableWrite)),
    ("POST", "/variables/delete", Needs(VariableWrite)),
    ("GET", "/connections", Needs(Read)),
    ("GET", "/connections/edit", Needs(ConnectionWrite)),
    ("POST", "/connections/edit", Needs(ConnectionWrite)),
    ("GET", "/connections/delete", Needs(ConnectionWrite)),
    ("POST", "/connections/delete", Needs(ConnectionWrite)),
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
    ("GET", "/tokens/new", SignedIn),
    ("POST", "/tokens/new", SignedIn),
    ("GET", "/tokens/revoke", SignedIn),
    ("POST", "/tokens/revoke", SignedIn),
    ("GET", "/ui/events", Needs(Read)),
    ("GET", "/ui/dags/{dag_id}/grid", Needs(Read)),
    ("GET", "/ui/dags/{dag_id}/runs/{run_id}/states", Needs(Read)),
    ("GET", "/ui/dag_versions/{version}/tasks", Needs(Read)),
    ("GET", "/ui/dag_versions/{version}/graph", Needs(Read)),
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
        Needs(Read) | Public => None,
        Needs(permission) => Some(permission.as_str()),
        // What is one's own: how the page looks, one's sessions, one's tokens.
        SignedIn if path.starts_with("/ui/") => None,
        SignedIn if path.contains("/tokens") => Some("token.write"),
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
        assert_eq!(access("HEAD", "/dags"), Some(Needs(Read)));
        assert_eq!(access("POST", "/dags"), None);
    }

    /// Whatever changes something is written down.
    #[test]
    fn changes_have_a_name_in_the_audit_log() {
        for (method, path, access) in ROUTES {
            let is_quiet = *method == "GET"
                || *access == Public
                || path.starts_with("/ui/")
                || ["/list", "/dry_run"].iter().any(|end| path.ends_with(end));
            assert_eq!(event(method, path, *access).is_none(), is_quiet, "{method} {path}");
        }
        assert_eq!(event("POST", "/tokens/new", SignedIn), Some("token.write"));
        assert_eq!(event("POST", "/logout", SignedIn), Some("sign_out"));
    }

    /// Whoever may only look changes nothing.
    #[test]
    fn changes_need_more_than_to_read() {
        for (method, path, access) in ROUTES {
            let is_question = path.ends_with("/list");
            if *method != "GET" && *access == Needs(Read) {
                assert!(is_question, "{method} {path}");
            }
        }
    }
}
