//! What somebody may do with dags that the path of a request does not name.

use super::{Auth, CurrentUser};
use crate::{
    model::{
        dag_access::DagSet,
        ids::DagId,
        role::{Permission, Role},
    },
    store::{ComponentRow, StoreError},
};

/// Why something with a dag is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotYours {
    /// To whoever may not see it, it is not there.
    #[error("dag `{0}` does not exist")]
    Unknown(DagId),
    #[error("this needs the permission `{needed}` on dag `{dag_id}`, which {} have", needed.holders())]
    Forbidden { needed: Permission, dag_id: DagId },
}

/// The dags that a request may be about.
#[derive(Debug, Clone)]
pub struct DagScope {
    needed: Permission,
    seen: DagSet,
    held: DagSet,
}

impl DagScope {
    /// Those that may be seen.
    pub fn seen(&self) -> &DagSet {
        &self.seen
    }

    /// Those with which may be done what the request does.
    pub fn held(&self) -> &DagSet {
        &self.held
    }

    pub fn sees(&self, dag_id: &DagId) -> bool {
        self.seen.contains(dag_id)
    }

    /// What may be seen of a component: it, with those of its dags that may be. None: it brought dags, and none of those may be.
    pub fn of_component(&self, row: ComponentRow) -> Option<ComponentRow> {
        let brought_dags = !row.dag_ids.is_empty();
        let dag_ids: Vec<_> = row.dag_ids.into_iter().filter(|dag_id| self.sees(dag_id)).collect();
        (!brought_dags || !dag_ids.is_empty()).then_some(ComponentRow { dag_ids, ..row })
    }

    /// # Errors
    /// If the request may not be about this dag.
    pub fn check(&self, dag_id: &DagId) -> Result<(), NotYours> {
        if self.held.contains(dag_id) {
            Ok(())
        } else if self.seen.contains(dag_id) {
            Err(NotYours::Forbidden { needed: self.needed, dag_id: dag_id.clone() })
        } else {
            Err(NotYours::Unknown(dag_id.clone()))
        }
    }
}

impl Auth {
    /// The user's role on a dag. Asks for its tags only if they count.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn role_on(&self, user: &CurrentUser, dag_id: &DagId) -> Result<Role, StoreError> {
        let tags = if user.dags.asks_for_tags() { self.inner.store.dag_tags(dag_id).await? } else { Vec::new() };
        Ok(user.dags.role_on(dag_id, &tags))
    }

    /// The dags with which the user may do what needs `permission`. Asks the store only if not all are alike to the user.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn scope(&self, user: &CurrentUser, needed: Permission) -> Result<DagScope, StoreError> {
        let access = &user.dags;
        if access.general().may(needed) && access.general().may(Permission::Read) {
            return Ok(DagScope { needed, seen: DagSet::all(), held: DagSet::all() });
        }
        let dags = if access.is_general() { Vec::new() } else { self.inner.store.dag_tags_all().await? };
        let of = |permission| access.those(permission, &dags);
        Ok(DagScope { needed, seen: of(Permission::Read), held: of(needed) })
    }
}
