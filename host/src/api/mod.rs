//! JSON over HTTP: Airflow's REST API v2 wherever it has the thing, and what it lacks in the same manner.
//!
//! It promises: every route refuses whoever may not use it by the table of `auth::routes`; every
//! error is a `Problem` (RFC 9457) with a `request_id`, also for paths that are not there, bad JSON and panics, and
//! shows nothing of the inside; bodies, pages and times have limits. It decides nothing: a handler extracts, parses
//! into a domain type, makes one call, and views the answer.

mod absent;
mod api_tokens;
mod approvals;
mod artifacts;
mod assets;
pub mod audit;
mod backfills;
mod bulk;
mod callbacks;
mod called_list;
mod components;
pub mod config;
mod connection_tests;
mod connections;
mod cursor;
mod dag_lists;
mod dag_numbers;
mod dag_runs;
mod dag_sources;
mod dag_versions;
mod dags;
mod dependencies;
mod drain;
pub mod error;
mod event_logs;
mod events;
pub mod extract;
mod favorites;
pub mod grants;
mod grid;
pub mod guard;
mod health;
pub mod held;
pub mod identity;
mod import;
mod jobs;
pub mod limits;
mod logs;
mod metrics;
mod names;
mod openapi;
mod paths;
mod patterns;
pub mod permit;
mod pools;
mod ranges;
mod recordings;
pub mod retention;
mod secrets;
mod task_instances;
mod tasks;
#[cfg(test)]
pub(crate) mod tests;
mod tokens;
mod triggers;
mod unserved;
mod users;
mod variables;
mod warnings;
pub mod webhooks;
pub mod workers;
mod xcoms;

use std::{ops::Deref, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::DefaultBodyLimit,
    middleware::{from_fn, from_fn_with_state},
    response::{IntoResponse as _, Response},
    routing::{any, get},
};
use serde::Serialize;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tower_http::{catch_panic::CatchPanicLayer, compression::CompressionLayer};
use utoipa::{Modify, OpenApi as _};
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouterExt},
    routes,
};

use crate::{
    auth::Auth,
    blobs::Blobs,
    model::{build::Build, time::Clock},
    scheduler::{Logs, Scheduler},
    secrets::{SecretString, Secrets},
    store::Store,
    vault::Vault,
};

pub use components::SIGNATURE;
use config::ShownSetting;

/// How the API behaves.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// How long a request may take until its answer begins.
    pub request_timeout: Duration,
    /// The longest JSON body in bytes, but for XComs (8 MiB) and components (64 MiB).
    pub max_body_bytes: usize,
    /// What the server runs with, to be shown.
    pub settings: Arc<[ShownSetting]>,
    /// Whom to take as a worker; none: nobody.
    pub workers: Option<WorkersConfig>,
}

/// What workers must show.
#[derive(Debug, Clone)]
pub struct WorkersConfig {
    pub token: SecretString,
    /// What their runners have to understand and to run.
    pub build: Build,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(30),
            max_body_bytes: 1 << 20,
            settings: Arc::new([]),
            workers: None,
        }
    }
}

/// What the API works with.
pub struct ApiState {
    pub scheduler: Scheduler,
    pub store: Store,
    pub blobs: Blobs,
    pub secrets: Secrets,
    pub vault: Vault,
    pub auth: Auth,
    pub logs: Logs,
    pub clock: Clock,
    /// Held by who reads a variable, a connection or a pool and writes it changed, or deletes it: no change is lost, and none brings back what is gone.
    pub updates: Arc<Mutex<()>>,
    pub config: ApiConfig,
}

impl ApiState {
    pub fn new(scheduler: Scheduler, blobs: Blobs, vault: Vault, auth: Auth, config: ApiConfig) -> Self {
        let (store, secrets, logs) = (vault.store().clone(), vault.secrets().clone(), scheduler.logs().clone());
        Self { scheduler, store, blobs, secrets, vault, auth, logs, clock: Clock, updates: Arc::default(), config }
    }
}

/// The state of all handlers. Cheap to clone.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

/// Bytes of values that are made answers at a time; who asks for more waits.
const MAX_SHOWN_TOGETHER: u32 = 64 << 20;

/// What handlers share.
pub struct Shared {
    state: ApiState,
    names: names::NamesCache,
    webhook_rates: webhooks::Rates,
    /// Bytes of values that are made answers.
    shown: Semaphore,
}

impl Shared {
    /// Waits until values of so many bytes may be made an answer beside those that are. More than all that are at a time are made alone.
    async fn turn(&self, bytes: i64) -> Option<SemaphorePermit<'_>> {
        let bytes = u32::try_from(bytes.max(0)).unwrap_or(MAX_SHOWN_TOGETHER).min(MAX_SHOWN_TOGETHER);
        self.shown.acquire_many(bytes).await.ok()
    }
}

/// Makes an answer away from the threads that serve others: they would wait while long values are opened and written.
async fn made_apart<T: Serialize>(
    make: impl FnOnce() -> Result<T, error::ApiError> + Send + 'static,
) -> Result<Response, error::ApiError> {
    let answer = tokio::task::spawn_blocking(move || Ok(Json(make()?).into_response())).await;
    answer.map_err(|error| error::ApiError::internal(&error))?
}

impl Deref for Api {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Deref for Shared {
    type Target = ApiState;
    fn deref(&self) -> &ApiState {
        &self.state
    }
}

/// All routes, with the document that describes them.
fn routes(config: &ApiConfig) -> OpenApiRouter<Api> {
    let xcom_limit = DefaultBodyLimit::max(xcoms::MAX_BODY_BYTES);
    OpenApiRouter::with_openapi(openapi::Document::openapi())
        .routes(routes!(health::get_version))
        .routes(routes!(health::get_health))
        .routes(routes!(warnings::get_warnings))
        .routes(routes!(health::get_live))
        .routes(routes!(health::get_ready))
        .routes(routes!(metrics::get_metrics))
        .routes(routes!(tokens::create_token, tokens::delete_token))
        .routes(routes!(tokens::create_token_cli))
        .routes(routes!(tokens::login))
        .routes(routes!(users::get_users, users::post_user))
        .routes(routes!(users::get_me, users::patch_me))
        .routes(routes!(users::patch_user, users::delete_user))
        .routes(routes!(users::sign_out_me))
        .routes(routes!(users::sign_out_user))
        .routes(routes!(api_tokens::get_tokens, api_tokens::post_token))
        .routes(routes!(api_tokens::revoke_token))
        .routes(routes!(components::get_components, components::post_component))
        .routes(routes!(components::get_component))
        .routes(routes!(components::get_component_wasm))
        .routes(routes!(components::get_component_yaml))
        .routes(routes!(components::get_dag_schema))
        .routes(routes!(dags::get_dags, dags::patch_dags))
        .routes(routes!(dags::get_dag, dags::patch_dag, dags::delete_dag))
        .routes(routes!(dags::get_dag_details))
        .routes(routes!(favorites::favorite_dag))
        .routes(routes!(favorites::unfavorite_dag))
        .routes(routes!(grants::get_grants))
        .routes(routes!(grants::get_dag_grants, grants::patch_dag_grants))
        .routes(routes!(grants::approve_dag_grants))
        .routes(routes!(grants::revoke_dag_grants))
        .routes(routes!(dags::get_next_runs))
        .routes(routes!(dag_versions::get_dag_versions))
        .routes(routes!(dag_versions::get_dag_version))
        .routes(routes!(dag_versions::get_differences))
        .routes(routes!(dag_versions::roll_back))
        .routes(routes!(dag_lists::get_dag_stats))
        .routes(routes!(dag_lists::get_dag_tags))
        .routes(routes!(dag_lists::list_dag_warnings))
        .routes(routes!(dag_sources::get_dag_source))
        .routes(routes!(tasks::get_tasks))
        .routes(routes!(tasks::get_task))
        .routes(routes!(dag_runs::get_dag_runs, dag_runs::trigger_dag_run, bulk::runs::bulk_dag_runs))
        .routes(routes!(dag_runs::get_list_dag_runs_batch))
        .route(
            "/api/v2/dags/{dag_id}/dagRuns/list",
            get(called_list::get_run).patch(called_list::patch_run).delete(called_list::delete_run),
        )
        .routes(routes!(dag_runs::get_dag_run, dag_runs::patch_dag_run, dag_runs::delete_dag_run))
        .routes(routes!(dag_runs::clear::clear_dag_run))
        .routes(routes!(dag_runs::clear::clear_dag_runs))
        .routes(routes!(dag_runs::wait::wait_dag_run))
        .routes(routes!(triggers::get_triggers))
        .routes(routes!(grid::get_grid))
        .routes(routes!(artifacts::get_run_artifacts))
        .routes(routes!(callbacks::get_callbacks))
        .routes(routes!(task_instances::list::get_task_instances, bulk::task_instances::bulk_task_instances))
        .routes(routes!(task_instances::list::get_task_instances_batch))
        .route(
            "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/list",
            get(called_list::get_task).patch(called_list::patch_task).delete(called_list::delete_task),
        )
        .routes(routes!(
            task_instances::get_task_instance,
            task_instances::mark::patch_task_instance,
            task_instances::delete_task_instance
        ))
        .routes(routes!(task_instances::mark::patch_task_instance_dry_run))
        .routes(routes!(task_instances::mark::patch_task_group_instances))
        .routes(routes!(task_instances::mark::patch_task_group_instances_dry_run))
        .routes(routes!(task_instances::list::get_mapped_task_instances))
        .routes(routes!(task_instances::tries::get_task_instance_tries))
        .routes(routes!(task_instances::tries::get_task_instance_try_details))
        .routes(routes!(
            task_instances::get_mapped_task_instance,
            task_instances::mark::patch_mapped_task_instance,
            task_instances::delete_mapped_task_instance
        ))
        .routes(routes!(task_instances::mark::patch_mapped_task_instance_dry_run))
        .routes(routes!(task_instances::tries::get_mapped_task_instance_tries))
        .routes(routes!(task_instances::tries::get_mapped_task_instance_try_details))
        .routes(routes!(task_instances::clear::post_clear_task_instances))
        .routes(routes!(dependencies::get_task_instance_dependencies))
        .routes(routes!(dependencies::get_mapped_task_instance_dependencies))
        .routes(routes!(approvals::get_hitl_details))
        .routes(routes!(approvals::get_hitl_detail, approvals::update_hitl_detail))
        .routes(routes!(approvals::get_hitl_detail_try_detail))
        .routes(routes!(logs::get_log))
        .routes(routes!(artifacts::get_artifacts))
        .routes(routes!(artifacts::get_artifact))
        .routes(routes!(recordings::get_recordings))
        .routes(routes!(recordings::get_recording))
        .routes(routes!(xcoms::get_xcom_entries, xcoms::create_xcom_entry).layer(xcom_limit))
        .routes(routes!(xcoms::get_xcom_entry, xcoms::update_xcom_entry, xcoms::delete_xcom_entry).layer(xcom_limit))
        .routes(routes!(xcoms::get_xcom_content))
        .routes(routes!(variables::get_variables, variables::post_variable, bulk::settings::bulk_variables))
        .routes(routes!(variables::get_variable, variables::patch_variable, variables::delete_variable))
        .route(
            "/api/v2/variables/{variable_key}/{*rest}",
            get(variables::get_variable).patch(variables::patch_variable).delete(variables::delete_variable),
        )
        .routes(routes!(connections::get_connections, connections::post_connection, bulk::settings::bulk_connections))
        .routes(routes!(connections::get_connection, connections::patch_connection, connections::delete_connection))
        .routes(routes!(connection_tests::post_connection_test))
        .routes(routes!(connection_tests::post_stored_connection_test))
        .route(
            "/api/v2/connections/test",
            get(connection_tests::get_test).patch(connection_tests::patch_test).delete(connection_tests::delete_test),
        )
        .routes(routes!(pools::get_pools, pools::post_pool, bulk::settings::bulk_pools))
        .routes(routes!(pools::get_pool, pools::patch_pool, pools::delete_pool))
        .routes(routes!(assets::get_assets))
        .routes(routes!(assets::get_asset_events, assets::create_asset_event))
        .routes(routes!(assets::aliases::get_asset_aliases))
        .routes(routes!(assets::aliases::get_asset_alias))
        .routes(routes!(assets::get_asset))
        .routes(routes!(assets::materialize::materialize_asset))
        .routes(routes!(assets::get_asset_queued_events, assets::delete_asset_queued_events))
        .routes(routes!(assets::get_dag_asset_queued_events, assets::delete_dag_asset_queued_events))
        .routes(routes!(assets::get_dag_asset_queued_event, assets::delete_dag_asset_queued_event))
        .routes(routes!(assets::get_upstream_asset_events))
        .routes(routes!(webhooks::get_webhook, webhooks::put_webhook, webhooks::delete_webhook))
        .routes(routes!(webhooks::receive_webhook).layer(DefaultBodyLimit::max(webhooks::MAX_BODY_BYTES)))
        .routes(routes!(webhooks::receive_awaited).layer(DefaultBodyLimit::max(webhooks::MAX_BODY_BYTES)))
        .routes(routes!(import::import_settings))
        .routes(routes!(retention::get_retention))
        .routes(routes!(retention::dry_run_retention))
        .routes(routes!(retention::run_retention))
        .routes(routes!(retention::get_dag_retention, retention::put_dag_retention))
        .routes(routes!(limits::get_limits))
        .routes(routes!(limits::get_dag_limits, limits::put_dag_limits))
        .routes(routes!(backfills::list_backfills, backfills::create_backfill))
        .routes(routes!(backfills::create_backfill_dry_run))
        .routes(routes!(backfills::get_backfill))
        .routes(routes!(backfills::pause_backfill))
        .routes(routes!(backfills::unpause_backfill))
        .routes(routes!(backfills::cancel_backfill))
        .routes(routes!(secrets::get_keys))
        .routes(routes!(secrets::rotate_keys))
        .routes(routes!(secrets::get_sources))
        .routes(routes!(absent::get_extra_links))
        .routes(routes!(absent::get_external_log_url))
        .routes(routes!(absent::get_import_errors))
        .routes(routes!(absent::get_import_error))
        .routes(routes!(absent::get_plugins))
        .routes(routes!(absent::get_plugin_import_errors))
        .routes(routes!(absent::get_providers))
        .routes(routes!(jobs::get_jobs))
        .routes(routes!(config::get_config))
        .routes(routes!(config::get_config_value))
        .routes(routes!(event_logs::get_event_logs))
        .routes(routes!(event_logs::get_event_log))
        .routes(routes!(events::get_events))
        .routes(routes!(workers::get_workers))
        .routes(routes!(workers::drain_worker))
        .routes(routes!(workers::leave))
        .routes(routes!(workers::connect_worker))
        .layer(DefaultBodyLimit::max(config.max_body_bytes))
}

/// The document that describes the API (OpenAPI 3.1).
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = routes(&ApiConfig::default()).into_openapi();
    openapi::Common.modify(&mut document);
    document
}

/// The API, ready to be served or merged with the page: its paths begin with `/api/`, `/auth/token`, `/openapi.json`,
/// `/schemas/`, `/hooks/`, `/livez`, `/readyz` or `/metrics`.
///
/// Serve it with `into_make_service_with_connect_info::<SocketAddr>()`, so that guessing is slowed by peer.
pub fn router(state: ApiState) -> Router {
    let document = Arc::new(document());
    let routes: Router<Api> = routes(&state.config).into();
    let api = Api(Arc::new(Shared {
        state,
        names: names::NamesCache::default(),
        webhook_rates: webhooks::Rates::default(),
        shown: Semaphore::new(MAX_SHOWN_TOGETHER as usize),
    }));
    routes
        .route("/openapi.json", get(|| async move { Json((*document).clone()) }))
        .route("/api", any(guard::no_route))
        .route("/api/{*rest}", any(guard::no_route))
        .method_not_allowed_fallback(guard::no_method)
        .layer(from_fn_with_state(api.clone(), guard::authenticate))
        .layer(from_fn_with_state(api.clone(), guard::limit_time))
        .layer(CatchPanicLayer::custom(guard::panicked))
        .layer(from_fn(guard::identify))
        .layer(from_fn(drain::drain))
        .layer(from_fn(held::hold))
        .layer(CompressionLayer::new())
        .with_state(api)
}
