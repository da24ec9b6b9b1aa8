//! How a request comes into the audit log, for the API and the page alike.

use axum::{
    extract::{FromRequestParts, Request},
    http::request::Parts,
    middleware::Next,
    response::Response,
};
use tracing::Instrument;

use super::identity::{Denied, peer_of};
use crate::{
    auth::{
        Audit, Auth, CurrentUser,
        routes::{Access, event},
    },
    scheduler::Deployed,
    store::{EventNew, StoreError},
};

/// A request that changes nothing of note has one that goes nowhere.
impl<S: Send + Sync> FromRequestParts<S> for Audit {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// The entry of a request to the route `path`; its parameters say what it is about.
fn entry(auth: &Auth, word: &str, user: &CurrentUser, request: &Request, path: &str) -> EventNew {
    let mut entry = auth.event(word, Some(user), peer_of(request.extensions()), format!("{} {path}", request.method()));
    // The last one may have more of them.
    let given = request.uri().path().splitn(path.split('/').count(), '/');
    for (name, given) in path.split('/').zip(given) {
        let Some(name) = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')) else { continue };
        let given = percent_encoding::percent_decode_str(given).decode_utf8_lossy();
        let given: String = given.chars().take(250).collect();
        match name {
            "dag_id" => entry.dag_id = Some(given),
            "dag_run_id" | "run_id" => entry.run_id = Some(given),
            "task_id" => entry.task_id = Some(given),
            "map_index" => entry.map_index = given.parse().ok(),
            "*rest" => entry.object = entry.object.take().map(|begin| format!("{begin}/{given}")),
            _ => entry.object = Some(given),
        }
    }
    entry
}

/// Runs the handler, and writes what it changed before it is answered, unless that was committed with the change itself.
/// It is carried out to its end even if the client goes
/// away: who hangs up must not escape the log.
///
/// # Errors
/// If the log can't be written; the change is done.
pub async fn audited(
    auth: &Auth,
    (user, access): (&CurrentUser, Access),
    path: &str,
    mut request: Request,
    next: Next,
) -> Result<Response, StoreError> {
    let Some(word) = event(request.method().as_str(), path, access) else { return Ok(next.run(request).await) };
    let audit = Audit::new(entry(auth, word, user, &request, path));
    request.extensions_mut().insert(audit.clone());
    let auth = auth.clone();
    let changing = async move {
        let response = audit.clone().scope(next.run(request)).await;
        let status = response.status();
        let is_done = status.is_success() || status.is_redirection() || audit.has_begun();
        if let Some(event) = audit.take().filter(|_| is_done) {
            auth.record(event).await?;
        }
        Ok(response)
    };
    #[expect(clippy::disallowed_methods, reason = "it is waited for, unless the client has gone")]
    let done = tokio::spawn(changing.in_current_span()).await;
    // Nothing aborts it, so that it panicked.
    done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// The entry of a request that was refused because of the user's role.
pub fn refusal(auth: &Auth, denied: &Denied, user: &CurrentUser, path: &str, request: &Request) -> Option<EventNew> {
    match denied {
        Denied::Forbidden { needed, .. } => Some(entry(auth, needed.as_str(), user, request, path)),
        Denied::NoToken
        | Denied::UnknownToken
        | Denied::ForeignOrigin
        | Denied::NoDag(_)
        | Denied::NotYours(_)
        | Denied::Failed(_) => None,
    }
}

/// An upload that changed nothing is no entry; of another the entry is committed with it.
pub fn uploaded(audit: &Audit, deployed: &Deployed) {
    if !deployed.is_change() {
        audit.nothing();
    }
}
