//! What dags may reach: how their requests stand, and what admins decide about them.

use std::collections::BTreeSet;

use super::{Change, RequestError, Scheduler, no_dag};
use crate::{
    model::{
        grants::{Decisions, Grant, GrantError, Grants, GrantsPolicy, Verdict},
        ids::DagId,
        spec::DagSpec,
    },
    store::GrantsChanged,
};

/// What an admin decides about a dag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantsDecision {
    /// It may reach this, as far as it asks for it.
    Approve(BTreeSet<Grant>),
    /// It may not, whatever the policy says.
    Revoke(BTreeSet<Grant>),
    /// Which of its requests wait; none: as the server's setting says.
    Policy(Option<GrantsPolicy>),
}

/// How the requests of a new version differ from those before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantsDifference {
    pub added: Vec<Grant>,
    pub removed: Vec<Grant>,
    /// What waits for an admin, whether it is new or not.
    pub pending: Vec<Grant>,
}

impl Scheduler {
    /// Which requests wait for an admin, where a dag has no policy of its own.
    pub fn grants_policy(&self) -> &GrantsPolicy {
        &self.config.grants_policy
    }

    /// How the requests of a dag's newest version stand.
    pub fn grants_verdict(&self, spec: &DagSpec, decisions: &Decisions) -> Verdict {
        // A spec that is stored was valid once; what is not any more is granted nothing.
        let requested = Grants::from_dag_spec(spec).unwrap_or_else(|_| Grants::none());
        decisions.decide(&requested, &self.config.grants_policy)
    }

    /// Decides about a dag in the name of `user`: attempts that start after it has returned have what was decided.
    ///
    /// # Errors
    /// If there is no such dag, or more would be decided about it than can be.
    pub async fn grants_decide(
        &self,
        dag_id: &DagId,
        decision: GrantsDecision,
        user: &str,
    ) -> Result<(), RequestError> {
        let change = |decisions: &mut Decisions| -> Result<(), GrantError> {
            match &decision {
                GrantsDecision::Approve(grants) => decisions.approve(grants)?,
                GrantsDecision::Revoke(grants) => decisions.revoke(grants)?,
                GrantsDecision::Policy(policy) => decisions.policy.clone_from(policy),
            }
            Ok(())
        };
        match self.store.dag_decisions_change(dag_id, (user, self.clock.now()), change).await? {
            GrantsChanged::Done => {
                self.reload_dags(vec![dag_id.clone()]).await?;
                self.publish(vec![Change::Dag { dag_id: dag_id.clone() }]);
                Ok(())
            }
            GrantsChanged::NoDag => Err(no_dag(dag_id)),
            GrantsChanged::Refused(error) => Err(RequestError::Invalid(error.to_string())),
        }
    }

    /// What `spec` asks for beyond `before`, the version before it, and no more.
    pub(super) fn grants_difference(
        &self,
        before: Option<&DagSpec>,
        spec: &DagSpec,
        decisions: &Decisions,
    ) -> GrantsDifference {
        let requested = |spec: &DagSpec| Grants::from_dag_spec(spec).unwrap_or_else(|_| Grants::none());
        let (added, removed) = requested(spec).compare(&before.map_or_else(Grants::none, requested));
        let pending = self.grants_verdict(spec, decisions).pending().cloned().collect();
        GrantsDifference { added, removed, pending }
    }
}
