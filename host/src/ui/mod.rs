//! The web page: server-rendered HTML, plain forms, and a handful of scripts that draw what HTML can't.
//!
//! It promises: every page can be read and every action done without JavaScript; every state of a page is a URL; text
//! from outside is text, never markup; no page renders more than some hundred rows, however large a run is. Templates and
//! assets live in `web/`; nothing in them is inline, so that the content security policy can forbid it.
//!
//! A handler reads rows, makes a view (a plain struct) and renders it. What is drawn by scripts comes from [`data`] and
//! [`events`]; what they need of a dag_version is a [`shape::Shape`].

pub mod ansi;
mod assets;
mod data;
pub mod doc;
mod error;
mod events;
mod fold;
mod graph;
pub mod layout;
mod links;
pub mod log;
mod pages;
mod schema_form;
mod shape;
mod shell;
mod show;
#[cfg(test)]
mod tests;
mod timeline;

pub use self::show::grouped;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header, request::Parts, uri::PathAndQuery},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde_json::json;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tower_http::{catch_panic::CatchPanicLayer, compression::CompressionLayer};

use self::{
    error::UiError,
    shape::Shapes,
    shell::{Frame, Warnings, go_and_warn, notice_told},
};
use crate::{
    api::{
        ApiState, audit,
        held::hold,
        identity::{Denied, same_origin},
        permit::permit,
    },
    auth::{
        Auth, AuthError, Credential, CurrentUser, NotYours,
        routes::{self, Access},
    },
    blobs::Blobs,
    model::{
        ids::{DagId, RunId},
        limits::DagLimits,
        retention::DagRetention,
        role::Permission,
        state::{RunState, TaskState},
        time::Clock,
    },
    scheduler::{Logs, Scheduler},
    secrets::Secrets,
    store::{DagRow, DagRunRow, Store},
    vault::Vault,
};

/// The largest component that the upload form takes.
const MAX_UPLOAD_BYTES: usize = 64 << 20;
/// The largest other form.
const MAX_FORM_BYTES: usize = 2 << 20;

/// What the page works with. Cheap to clone.
#[derive(Clone)]
pub struct UiState {
    pub scheduler: Scheduler,
    pub store: Store,
    pub blobs: Blobs,
    pub secrets: Secrets,
    pub vault: Vault,
    pub auth: Auth,
    pub logs: Logs,
    pub clock: Clock,
    /// See [`ApiState::updates`].
    pub updates: Arc<Mutex<()>>,
    /// Ends the streams of open pages, so that a server can stop.
    pub stopping: CancellationToken,
    pub shapes: Shapes,
}

impl UiState {
    /// What the API works with, too.
    pub fn new(api: &ApiState, stopping: CancellationToken) -> Self {
        Self {
            scheduler: api.scheduler.clone(),
            store: api.store.clone(),
            blobs: api.blobs.clone(),
            secrets: api.secrets.clone(),
            vault: api.vault.clone(),
            auth: api.auth.clone(),
            logs: api.logs.clone(),
            clock: api.clock,
            updates: Arc::clone(&api.updates),
            stopping,
            shapes: Shapes::default(),
        }
    }

    async fn dag(&self, dag_id: &DagId) -> Result<DagRow, UiError> {
        self.store.dag_get(dag_id).await?.ok_or_else(|| UiError::NotFound(format!("dag `{dag_id}` does not exist")))
    }

    async fn run(&self, dag_id: &DagId, run_id: &RunId) -> Result<DagRunRow, UiError> {
        self.store
            .dag_run_get(dag_id, run_id)
            .await?
            .ok_or_else(|| UiError::NotFound(format!("dag_run `{run_id}` of dag `{dag_id}` does not exist")))
    }
}

/// The letter of the task state that looks like a run's.
fn run_letter(state: RunState) -> u8 {
    match state {
        RunState::Queued => TaskState::Queued,
        RunState::Running => TaskState::Running,
        RunState::Success => TaskState::Success,
        RunState::Failed => TaskState::Failed,
    }
    .letter()
}

/// All pages, and a page for whatever is not there.
pub fn router(ui: UiState) -> Router {
    use pages::{
        approvals, assets as asset_pages, change, components, connections,
        dag::{self, numbers},
        dags, pools, run, runs, sign_in, task, task_instances, tokens, trigger, users, variables, workers,
    };

    let form = DefaultBodyLimit::max(MAX_FORM_BYTES);
    let pages = Router::new()
        .route("/", get(async || Redirect::to("/dags")))
        .route("/login", get(sign_in::show).post(sign_in::sign_in))
        .route("/login/oidc", get(sign_in::begin))
        .route("/login/oidc/callback", get(sign_in::finish))
        .route("/logout", post(sign_in::sign_out))
        .route("/static/{version}/{name}", get(assets::get))
        .route("/dags", get(dags::list))
        .route("/dags/{dag_id}", get(dag::grid))
        .route("/dags/{dag_id}/graph", get(dag::graph))
        .route("/dags/{dag_id}/runs", get(dag::runs))
        .route("/dags/{dag_id}/calendar", get(dag::calendar))
        .route("/dags/{dag_id}/backfills", get(dag::backfills).post(dag::create_backfill))
        .route("/dags/{dag_id}/backfills/{id}/{verb}", post(dag::change_backfill))
        .route("/dags/{dag_id}/details", get(dag::details))
        .route("/dags/{dag_id}/tasks/{task_id}", get(dag::task))
        .route("/dags/{dag_id}/versions/{number}", get(dag::version::show))
        .route("/dags/{dag_id}/versions/{number}/roll-back", post(dag::version::roll_back))
        .route("/dags/{dag_id}/grants", get(dag::grants::show).post(dag::grants::decide))
        .route("/dags/{dag_id}/grants/policy", post(dag::grants::set_policy))
        .route("/dags/{dag_id}/webhook", get(dag::webhook::show).post(dag::webhook::make))
        .route("/dags/{dag_id}/webhook/delete", get(dag::webhook::confirm_delete).post(dag::webhook::delete))
        .route("/dags/{dag_id}/webhook/replace", get(dag::webhook::confirm_replace))
        .route("/dags/{dag_id}/limits", get(numbers::edit::<DagLimits>).post(numbers::save::<DagLimits>))
        .route("/dags/{dag_id}/retention", get(numbers::edit::<DagRetention>).post(numbers::save::<DagRetention>))
        .route("/dags/{dag_id}/pause", post(dag::pause))
        .route("/dags/{dag_id}/favorite", post(dag::favorite))
        .route("/dags/{dag_id}/delete", get(dag::confirm_delete).post(dag::delete))
        .route("/dags/{dag_id}/trigger", get(trigger::show).post(trigger::trigger))
        .route("/dags/{dag_id}/runs/{run_id}", get(run::show))
        .route("/dags/{dag_id}/runs/{run_id}/clear", get(run::actions::preview_clear).post(run::actions::clear))
        .route("/dags/{dag_id}/runs/{run_id}/mark", get(run::actions::confirm_mark).post(run::actions::mark))
        .route("/dags/{dag_id}/runs/{run_id}/delete", get(run::actions::confirm_delete).post(run::actions::delete))
        .route("/dags/{dag_id}/runs/{run_id}/note", post(run::actions::note))
        .route("/dags/{dag_id}/runs/{run_id}/tasks/{task_id}", get(task::show))
        .route("/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/log", get(task::raw_log))
        .route("/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/artifact", get(task::artifact))
        .route("/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/recording", get(task::recording))
        .route("/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/clear", get(change::preview_clear).post(change::clear))
        .route("/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/mark", get(change::preview_mark).post(change::mark))
        .route("/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/answer", post(approvals::answer))
        .route(
            "/components",
            get(components::list).post(components::upload).layer(DefaultBodyLimit::max(MAX_UPLOAD_BYTES)),
        )
        .route("/components/{digest}", get(components::show))
        .route("/runs", get(runs::list))
        .route("/task-instances", get(task_instances::list))
        .route("/approvals", get(approvals::list))
        .route("/assets", get(asset_pages::list))
        .route("/assets/named", get(asset_pages::named_one))
        .route("/assets/{asset_id}", get(asset_pages::show))
        .route("/assets/{asset_id}/event", post(asset_pages::update))
        .route("/variables", get(variables::list))
        .route("/variables/edit", get(variables::edit).post(variables::save))
        .route("/variables/delete", get(variables::confirm_delete).post(variables::delete))
        .route("/connections", get(connections::list))
        .route("/connections/edit", get(connections::edit).post(connections::save))
        .route("/connections/test", post(connections::test))
        .route("/connections/delete", get(connections::confirm_delete).post(connections::delete))
        .route("/workers", get(workers::list))
        .route("/workers/drain", post(workers::drain))
        .route("/pools", get(pools::list))
        .route("/pools/edit", get(pools::edit).post(pools::save))
        .route("/pools/delete", get(pools::confirm_delete).post(pools::delete))
        .route("/users", get(users::list))
        .route("/users/edit", get(users::edit).post(users::save))
        .route("/users/delete", get(users::confirm_delete).post(users::delete))
        .route("/audit", get(pages::audit::list))
        .route("/password", get(users::ask_password).post(users::change_password))
        .route("/tokens", get(tokens::list))
        .route("/tokens/sign-out", get(tokens::confirm_sign_out).post(tokens::sign_out))
        .route("/tokens/new", get(tokens::ask).post(tokens::make))
        .route("/tokens/revoke", get(tokens::confirm_revoke).post(tokens::revoke))
        .route("/ui/theme", post(sign_in::theme))
        .route("/ui/zone", post(sign_in::zone))
        .route("/ui/events", get(events::events))
        .route("/ui/dags/{dag_id}/grid", get(data::grid))
        .route("/ui/dags/{dag_id}/runs/{run_id}/states", get(data::states))
        .route("/ui/dag_versions/{version}/tasks", get(data::version_tasks))
        .route("/ui/dag_versions/{version}/graph", get(data::version_graph))
        .fallback(async || UiError::NotFound("There is no page at this address.".into()));
    pages
        .layer(form)
        .layer(CatchPanicLayer::new())
        .layer(from_fn_with_state(ui.clone(), guard))
        .layer(from_fn(hold))
        .layer(CompressionLayer::new())
        .layer(from_fn(headers))
        .with_state(ui)
}

/// What every answer carries, unless its handler knows better.
static HEADERS: [(HeaderName, HeaderValue); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
    ),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in &HEADERS {
        response.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
    response
}

/// Lets only those in who have signed in, asks the others to, and turns what goes wrong into a page.
async fn guard(State(ui): State<UiState>, mut request: Request, next: Next) -> Response {
    let found = ui.auth.identify(request.method(), request.headers()).await;
    if let Ok((user, _)) = &found {
        request.extensions_mut().insert(user.clone());
        if user.may(Permission::WarningRead) {
            request.extensions_mut().insert(Warnings(ui.scheduler.warnings()));
        }
    }
    let (parts, body) = request.into_parts();
    let frame = Frame::of(&parts);
    let refusal = match &found {
        Ok(_) => None,
        Err(denied) => refusal(denied, &parts),
    };
    let request = Request::from_parts(parts, body);
    let response = match (refusal, found) {
        (Some(response), _) => response,
        (None, Ok(found)) => serve(&ui, found, request, next).await,
        (None, Err(_)) => next.run(request).await,
    };
    let has_notice = frame.has_notice();
    let mut response = error::as_page(response, frame);
    if has_notice {
        notice_told(&mut response);
    }
    response
}

/// Answers a user as far as the user's role goes, and writes down what changes. A page that is not in the table is nobody's.
async fn serve(ui: &UiState, found: (CurrentUser, Credential), mut request: Request, next: Next) -> Response {
    // What is no page at all is told so by the router.
    let Some(path) = request.extensions().get::<MatchedPath>().cloned() else { return next.run(request).await };
    let path = path.as_str();
    let Some(access) = routes::access(request.method().as_str(), path) else {
        return error::refuse(StatusCode::METHOD_NOT_ALLOWED, "This address does not take that.");
    };
    let user = found.0.clone();
    let is_change = routes::event(request.method().as_str(), path, access).is_some();
    match permit(&ui.auth, found, access, path, &mut request).await {
        Ok(user) => {
            let done = audit::audited(&ui.auth, (&user, access), path, request, next).await;
            if is_change {
                ui.scheduler.changed_otherwise();
            }
            done.unwrap_or_else(|error| UiError::from(error).into_response())
        }
        Err(denied) => {
            let event = audit::refusal(&ui.auth, &denied, &user, path, &request);
            if let Some(event) = event {
                ui.auth.record_denial(event).await;
            }
            refused(&denied)
        }
    }
}

/// What the table of routes says about the request; none if there is no such page.
fn access_of(parts: &Parts) -> Option<Access> {
    let path = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str)?;
    routes::access(parts.method.as_str(), path)
}

/// What somebody gets who did not show who they are; none if they may go on.
fn refusal(denied: &Denied, parts: &Parts) -> Option<Response> {
    let path = parts.uri.path();
    let is_public = access_of(parts) == Some(Access::Public);
    match denied {
        Denied::NoToken | Denied::UnknownToken if is_public => {
            // Signing somebody in from another site would make them work in a stranger's name.
            let says_where_from = ["sec-fetch-site", "origin"].iter().any(|name| parts.headers.contains_key(*name));
            let is_foreign = !parts.method.is_safe() && says_where_from && !same_origin(&parts.headers);
            is_foreign.then(|| error::refuse(StatusCode::FORBIDDEN, &Denied::ForeignOrigin.to_string()))
        }
        // Nobody signs out who has not signed in.
        Denied::NoToken | Denied::UnknownToken if path == "/logout" => Some(Redirect::to("/login").into_response()),
        Denied::NoToken | Denied::UnknownToken if parts.method != Method::GET => {
            let from = parts.headers.get(header::REFERER).and_then(|from| from.to_str().ok());
            let from: Option<Uri> = from.and_then(|from| from.parse().ok());
            let here = from.as_ref().and_then(Uri::path_and_query).map_or("/dags", PathAndQuery::as_str);
            let login = links::with_query("/login", &[("next", links::local(here))]);
            Some(go_and_warn(&login, "The session is over, and nothing was changed. Sign in, and do it again."))
        }
        Denied::NoToken | Denied::UnknownToken if path.starts_with("/ui/") => {
            Some((StatusCode::UNAUTHORIZED, Json(json!({ "detail": denied.to_string() }))).into_response())
        }
        Denied::NoToken | Denied::UnknownToken => {
            let here = parts.uri.path_and_query().map_or("/dags", PathAndQuery::as_str);
            Some(Redirect::to(&links::with_query("/login", &[("next", links::local(here))])).into_response())
        }
        _ => Some(refused(denied)),
    }
}

/// What somebody gets who is known, and may not do it.
fn refused(denied: &Denied) -> Response {
    let status = match denied {
        Denied::NoToken | Denied::UnknownToken => StatusCode::UNAUTHORIZED,
        Denied::ForeignOrigin | Denied::Forbidden { .. } | Denied::NotYours(NotYours::Forbidden { .. }) => {
            StatusCode::FORBIDDEN
        }
        Denied::NoDag(_) | Denied::NotYours(NotYours::Unknown(_)) => StatusCode::NOT_FOUND,
        Denied::Failed(AuthError::Store(error)) => return UiError::from(error).into_response(),
        Denied::Failed(error) => return UiError::internal(error.to_string()).into_response(),
    };
    error::refuse(status, &denied.to_string())
}
