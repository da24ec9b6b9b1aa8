//! A run of the dag that makes an asset.

use std::collections::BTreeSet;

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    super::{
        Api,
        dag_runs::{DagRunResponse, TriggerDagRunBody, show},
        error::ApiError,
        extract,
        extract::Path,
        paths::AssetPath,
        permit::Scoped,
    },
    find_seen,
};
use crate::{
    auth::{Audit, CurrentUser},
    model::{ids::RunId, time::Timestamp},
    scheduler::RunRequest,
};

/// Airflow: `MaterializeAssetBody`. As for a run, but that nothing must be said.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MaterializeAssetBody {
    #[schema(value_type = Option<DateTime<Utc>>)]
    logical_date: Option<Timestamp>,
    #[schema(value_type = Option<String>)]
    dag_run_id: Option<RunId>,
    #[schema(value_type = Option<DateTime<Utc>>)]
    data_interval_start: Option<Timestamp>,
    #[schema(value_type = Option<DateTime<Utc>>)]
    data_interval_end: Option<Timestamp>,
    /// The run does not start before it.
    #[schema(value_type = Option<DateTime<Utc>>)]
    run_after: Option<Timestamp>,
    /// Values for the dag's params.
    conf: Option<Map<String, Value>>,
    note: Option<String>,
    /// Not supported: must be null.
    partition_key: Option<String>,
}

impl From<MaterializeAssetBody> for TriggerDagRunBody {
    fn from(body: MaterializeAssetBody) -> Self {
        let MaterializeAssetBody {
            logical_date,
            dag_run_id,
            data_interval_start,
            data_interval_end,
            run_after,
            conf,
            note,
            partition_key,
        } = body;
        Self { logical_date, dag_run_id, data_interval_start, data_interval_end, run_after, conf, note, partition_key }
    }
}

/// Creates a run of the one dag whose tasks make the asset. 409 if several dags do, 404 if none does.
#[utoipa::path(
    post, path = "/api/v2/assets/{asset_id}/materialize", tag = "Asset", params(AssetPath),
    request_body = Option<MaterializeAssetBody>, responses((status = 200, body = DagRunResponse)),
)]
pub async fn materialize_asset(
    State(api): State<Api>,
    audit: Audit,
    user: CurrentUser,
    Scoped(scope): Scoped,
    Path(path): Path<AssetPath>,
    extract::OptionalJson(body): extract::OptionalJson<MaterializeAssetBody>,
) -> Result<Json<DagRunResponse>, ApiError> {
    let (row, references) = find_seen(&api, &scope, path.asset_id).await?;
    let makers: BTreeSet<_> =
        references.iter().filter(|reference| reference.kind == "outlet").map(|reference| &reference.dag_id).collect();
    let mut makers = makers.into_iter();
    let dag_id = match (makers.next(), makers.next()) {
        (Some(dag_id), None) => dag_id,
        (None, _) => return Err(ApiError::not_found(format!("no task of a dag makes asset `{}`", row.name))),
        (Some(one), Some(other)) => {
            let why = "and maybe more make it; trigger the one that you mean";
            return Err(ApiError::conflict(format!("asset `{}`: dags `{one}`, `{other}` {why}", row.name)));
        }
    };
    scope.check(dag_id)?;
    let request = RunRequest {
        user: Some(user.username),
        ..RunRequest::try_from(TriggerDagRunBody::from(body.unwrap_or_default()))?
    };
    audit.about(dag_id.as_str(), None, None);
    let run = api.scheduler.trigger(dag_id, request).await?;
    Ok(Json(show(&api, run).await?))
}
