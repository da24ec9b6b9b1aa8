//! The fleets of pods that the server is to keep.

use std::fs;

use super::{
    error::{CliError, Kind, OrFail, Result},
    settings::ServeConfig,
};
use crate::{model::pods::settings::Fleets, pods::Cluster};

/// The fleets of the settings, and the cluster that they are in; none if the settings name none.
///
/// # Errors
/// If something about them is wrong. Nothing is asked of the cluster.
pub async fn open(config: &ServeConfig) -> Result<Option<(Fleets, Cluster)>> {
    let Some(path) = &config.kubernetes_fleets else { return Ok(None) };
    let shown = path.display();
    let refuse = |why: String| CliError::text(Kind::Usage, format!("the fleets of `{shown}` can't be kept: {why}"));
    let text = fs::read_to_string(path).or_fail(Kind::Usage, || format!("can't read the fleets of `{shown}`"))?;
    let fleets = Fleets::parse(&text).map_err(refuse)?;
    if config.workers_token.is_none() {
        return Err(refuse("`workers.token` is not set, without which no worker is let in".into())
            .hint("set AIRLOCK_WORKERS_TOKEN, and put the same into the Secret that `token` names"));
    }
    let local = config.local_queues();
    let here = fleets.fleets.iter().find(|(_, fleet)| config.workers_local && local.serve(&fleet.queue));
    if let Some((name, fleet)) = here {
        return Err(refuse(format!(
            "fleet `{name}`: this server runs the tasks of its queue `{}` itself",
            fleet.queue
        ))
        .hint(
            "name another queue, or leave it out of AIRLOCK_WORKERS_QUEUES; AIRLOCK_WORKERS_LOCAL=false runs none here",
        ));
    }
    let cluster = Cluster::connect(fleets.namespace.clone()).await;
    let cluster = cluster.or_fail(Kind::Usage, || format!("the fleets of `{shown}` can't be kept"))?;
    Ok(Some((fleets, cluster)))
}
