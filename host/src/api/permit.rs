//! How far somebody gets with a request: by the table of routes, and by what the user may do with the dag that it is about. For
//! the API and the page alike.

use axum::{
    extract::{FromRequestParts, Request},
    http::{StatusCode, request::Parts},
};

use futures_util::{FutureExt as _, Stream, StreamExt as _};

use super::identity::Denied;
use crate::{
    auth::{Auth, AuthError, Credential, CurrentUser, DagScope, routes::Access},
    model::{
        ids::DagId,
        role::{Permission, Role},
    },
};

/// Of an answer that goes on: a proxy that gathers it, or one that compresses it, would hold back what is told.
pub const UNBUFFERED: [(&str, &str); 2] = [("x-accel-buffering", "no"), ("cache-control", "no-store, no-transform")];

/// Who sends a request, and what its route needs: what the guard knows, for handlers whose requests are about more than the dag
/// of the path, or last.
#[derive(Clone)]
pub struct Visitor {
    pub auth: Auth,
    pub user: CurrentUser,
    credential: Credential,
    needed: Permission,
}

impl Visitor {
    /// Streams `items` as long as the visitor may listen: until the session or token ends, or may do something else.
    ///
    /// # Errors
    /// If too much is listened to already.
    pub fn listen<S: Stream + Send>(self, items: S) -> Result<impl Stream<Item = S::Item> + Send + use<S>, AuthError> {
        let place = self.auth.listen(&self.user)?;
        let items = items.map(move |item| {
            // It is given back when the stream is dropped.
            let _ = &place;
            item
        });
        Ok(items.take_until(self.until_changed().boxed()))
    }

    /// Returns once the visitor is somebody else: the session or token ended, or may do something else by now.
    async fn until_changed(self) {
        self.auth.until_changed(&self.credential, &self.user).await;
    }

    /// The dags that the request may be about.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn scope(&self) -> Result<DagScope, Denied> {
        self.scope_of(self.needed).await
    }

    /// The dags that it may be about where it does what needs `permission`.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn scope_of(&self, permission: Permission) -> Result<DagScope, Denied> {
        Ok(self.auth.scope(&self.user, permission).await.map_err(AuthError::from)?)
    }
}

/// Lets a request through to its handler, and puts into it who sends it.
///
/// # Errors
/// If the user may not do what the route does, or not with the dag that the path names.
pub async fn permit(
    auth: &Auth,
    (mut user, credential): (CurrentUser, Credential),
    access: Access,
    path: &str,
    request: &mut Request,
) -> Result<CurrentUser, Denied> {
    let mut needs = None;
    match access {
        Access::Public | Access::SignedIn => {}
        Access::Needs(needed) => {
            needs = Some(needed);
            if !user.may(needed) {
                return Err(Denied::Forbidden { needed, role: user.role() });
            }
        }
        Access::OfDags(needed) => {
            needs = Some(needed);
            check_any(&user, needed)?;
        }
        Access::OfDag(needed) => {
            needs = Some(needed);
            match named_dag(path, request.uri().path()) {
                Named::All => check_any(&user, needed)?,
                Named::One(dag_id) => {
                    let role = auth.role_on(&user, &dag_id).await.map_err(AuthError::from)?;
                    user.on_dag = Some(role);
                    if !user.may(Permission::Read) {
                        return Err(Denied::NoDag(dag_id));
                    }
                    if !user.may(needed) {
                        return Err(Denied::Forbidden { needed, role });
                    }
                }
                // The handler says what is wrong with it.
                Named::Nothing if user.role().may(needed) => {}
                Named::Nothing => return Err(Denied::Forbidden { needed, role: user.role() }),
            }
        }
    }
    let extensions = request.extensions_mut();
    extensions.insert(user.clone());
    if let Some(needed) = needs {
        extensions.insert(Visitor { auth: auth.clone(), user: user.clone(), credential, needed });
    }
    Ok(user)
}

/// A route about several dags, or about one that its path does not name, leaves those out that are not the user's.
fn check_any(user: &CurrentUser, needed: Permission) -> Result<(), Denied> {
    if needed == Permission::Read || user.dags.may_somewhere(needed) {
        return Ok(());
    }
    Err(Denied::Forbidden { needed, role: user.dags.strongest().max(Role::Member) })
}

/// What stands for `{dag_id}` in a path.
enum Named {
    One(DagId),
    /// `~`
    All,
    /// What can't be a dag's id.
    Nothing,
}

fn named_dag(route: &str, path: &str) -> Named {
    let mut parts = route.split('/').zip(path.split('/'));
    let Some((_, given)) = parts.find(|(name, _)| *name == "{dag_id}") else { return Named::Nothing };
    match percent_encoding::percent_decode_str(given).decode_utf8() {
        Ok(name) if name == "~" => Named::All,
        Ok(name) => DagId::new(&name).map_or(Named::Nothing, Named::One),
        Err(_) => Named::Nothing,
    }
}

/// Without a guard there is nobody.
impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, StatusCode> {
        parts.extensions.get::<Self>().cloned().ok_or(StatusCode::UNAUTHORIZED)
    }
}

/// The dags that a request may be about, looked up when its handler asks.
pub struct Scoped(pub DagScope);

impl<S: Send + Sync> FromRequestParts<S> for Scoped {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, StatusCode> {
        let visitor = Visitor::from_request_parts(parts, state).await?;
        visitor.scope().await.map(Self).map_err(|error| {
            tracing::error!(error = %error, "what a user may see could not be read");
            StatusCode::SERVICE_UNAVAILABLE
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dag_is_found_in_a_path_as_the_router_finds_it() {
        let route = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}";
        let one = |path: &str| match named_dag(route, path) {
            Named::One(dag_id) => dag_id.to_string(),
            Named::All => "~".to_owned(),
            Named::Nothing => String::new(),
        };
        assert_eq!(one("/api/v2/dags/load/dagRuns/x"), "load");
        assert_eq!(one("/api/v2/dags/%6Coad/dagRuns/x"), "load");
        assert_eq!(one("/api/v2/dags/~/dagRuns/~"), "~");
        assert_eq!(one("/api/v2/dags/%7e/dagRuns/~"), "~");
        for nothing in ["%2F", "a b", "%ff", "", "a%00"] {
            assert_eq!(one(&format!("/api/v2/dags/{nothing}/dagRuns/x")), "", "{nothing}");
        }
    }
}
