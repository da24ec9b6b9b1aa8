//! Components: upload, list, get, download.

use std::collections::BTreeMap;

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Api,
    artifacts::attachment,
    audit,
    error::ApiError,
    extract::{Paging, Path, Query},
    paths::ComponentPath,
    permit::Scoped,
};
use crate::{
    auth::{Audit, CurrentUser, DagScope},
    blobs::keys,
    model::{
        dag_warning::DagWarning,
        grants::Grant,
        ids::Digest,
        provenance::{Label, Package, Producer, Provenance},
        spec::{ComponentKind, EntrySpec},
        yaml,
    },
    scheduler::{GrantsDifference, IntakeError, MAX_UPLOAD_BYTES, Upload},
    store::ComponentRow,
};

/// The header of an upload with its signature.
pub const SIGNATURE: HeaderName = HeaderName::from_static("x-airlock-component-signature");

/// What an upload did.
#[derive(Debug, Serialize, ToSchema)]
pub struct UploadResponse {
    /// SHA-256 of the bytes, in hexadecimal digits: the component's name.
    digest: String,
    size_bytes: usize,
    /// Whether these bytes were new.
    created: bool,
    /// The task types that it carries.
    entries: Vec<String>,
    dags: Vec<UploadedDagResponse>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct UploadedDagResponse {
    dag_id: String,
    version_number: i64,
    /// Whether the dag is new.
    created: bool,
    /// Whether the dag has a new version.
    changed: bool,
    is_paused: bool,
    /// What will not do as things stand, as a pool that is not there.
    warnings: Vec<String>,
    /// How its requests to reach something differ from those of the version before.
    grants: GrantsDifferenceResponse,
}

/// What a version asks to reach, beside the version before it.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct GrantsDifferenceResponse {
    #[schema(value_type = Vec<String>)]
    added: Vec<Grant>,
    #[schema(value_type = Vec<String>)]
    removed: Vec<Grant>,
    /// What waits for an admin, new or not. Until then the dag runs without it.
    #[schema(value_type = Vec<String>)]
    pending: Vec<Grant>,
}

impl From<GrantsDifference> for GrantsDifferenceResponse {
    fn from(difference: GrantsDifference) -> Self {
        let GrantsDifference { added, removed, pending } = difference;
        Self { added, removed, pending }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ComponentResponse {
    digest: String,
    /// `wasm`, or `yaml` for dags of other components' entries.
    kind: &'static str,
    /// What dags in YAML call it, as in `uses: name/entry`; null if it is YAML itself.
    name: Option<String>,
    /// Its package's version, by its own words.
    version: Option<String>,
    size_bytes: i64,
    /// Which SDK made it, by its own words.
    sdk: String,
    uploaded_at: DateTime<Utc>,
    uploaded_by: String,
    /// Whose signature it came with, by the name in the setting `components.signers`.
    signer: Option<String>,
    /// The dags that it brought.
    dag_ids: Vec<String>,
    entries: Vec<EntryResponse>,
}

/// A task type.
#[derive(Debug, Serialize, ToSchema)]
pub struct EntryResponse {
    name: String,
    doc: Option<String>,
    inputs: Vec<ParameterResponse>,
    /// JSON Schema of its result.
    output: Option<Value>,
}

/// An input of a task type.
#[derive(Debug, Serialize, ToSchema)]
pub struct ParameterResponse {
    name: String,
    /// JSON Schema.
    schema: Value,
    required: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ComponentDetailsResponse {
    #[serde(flatten)]
    component: ComponentResponse,
    /// Null of dags in YAML, and of what was uploaded before this was read (upload it again).
    provenance: Option<ProvenanceResponse>,
}

/// Where a component comes from, by its own words: nobody vouches for them, but for the signer of the whole.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProvenanceResponse {
    /// What `wasm-tools metadata add` writes: `authors`, `description`, `homepage`, `licenses`, `revision`, `source`, `version`.
    labels: BTreeMap<String, String>,
    /// Languages and tools, of all modules in it.
    producers: Vec<ProducerResponse>,
    /// What it was built of, as `cargo auditable` embeds it; null: it embeds no list.
    packages: Option<Vec<PackageResponse>>,
    /// What is there and can't be shown, and why.
    notes: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ProducerResponse {
    /// `language`, `processed-by` or `sdk`.
    field: String,
    name: String,
    version: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PackageResponse {
    name: String,
    version: String,
    /// `crates.io`, `local`, `git`, `registry` or what else it says.
    source: String,
    /// Needed to build, and not in the code.
    is_build: bool,
}

impl From<Provenance> for ProvenanceResponse {
    fn from(provenance: Provenance) -> Self {
        let Provenance { labels, producers, packages, notes } = provenance;
        let producer = |Producer { field, name, version }| ProducerResponse { field, name, version };
        let package = |Package { name, version, source, is_build }| PackageResponse { name, version, source, is_build };
        Self {
            labels: labels.into_iter().map(|Label { name, value }| (name, value)).collect(),
            producers: producers.into_iter().map(producer).collect(),
            packages: packages.map(|packages| packages.into_iter().map(package).collect()),
            notes: notes.into_iter().collect(),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ComponentCollectionResponse {
    components: Vec<ComponentResponse>,
    total_entries: i64,
}

impl From<&EntrySpec> for EntryResponse {
    fn from(entry: &EntrySpec) -> Self {
        let schema = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
        Self {
            name: entry.name.clone(),
            doc: entry.doc.clone(),
            inputs: entry
                .inputs
                .iter()
                .map(|input| ParameterResponse {
                    name: input.name.clone(),
                    schema: schema(&input.schema),
                    required: input.required,
                })
                .collect(),
            output: entry.output.as_deref().map(schema),
        }
    }
}

impl From<ComponentRow> for ComponentResponse {
    fn from(row: ComponentRow) -> Self {
        Self {
            digest: row.digest.to_string(),
            kind: row.module.kind.as_str(),
            name: Some(&row.module.name).filter(|name| !name.is_empty()).cloned(),
            version: Some(&row.module.version).filter(|version| !version.is_empty()).cloned(),
            size_bytes: row.size_bytes,
            sdk: row.module.sdk.clone(),
            uploaded_at: row.uploaded_at.to_utc(),
            uploaded_by: row.uploaded_by,
            signer: row.signer,
            dag_ids: row.dag_ids.iter().map(ToString::to_string).collect(),
            entries: row.module.entries.iter().map(EntryResponse::from).collect(),
        }
    }
}

/// The signature of a header: a header has no lines, so it is in base64.
fn read_signature(header: &HeaderValue) -> Result<String, ApiError> {
    let bytes = BASE64_STANDARD.decode(header.as_bytes()).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| {
        let msg = "it must be the text that `minisign -Sm FILE` writes to `FILE.minisig`, in base64";
        ApiError::invalid(["header", SIGNATURE.as_str()], msg)
    })
}

/// Reads the body.
async fn receive(request: Request, mut upload: Upload) -> Result<Upload, ApiError> {
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > MAX_UPLOAD_BYTES as u64) {
        return Err(IntakeError::TooLarge.into());
    }
    let mut body = request.into_body().into_data_stream();
    while let Some(piece) = body.next().await {
        upload.push(&piece.map_err(|_| ApiError::bad_request("the body could not be read to its end"))?)?;
    }
    Ok(upload)
}

/// Uploads a component, or dags in YAML. The dags are active when this answers: 201, or 200 if nothing changed.
#[utoipa::path(
    post, path = "/api/v2/components", tag = "Component",
    params(("x-airlock-component-signature" = Option<String>, Header, description = "what `minisign -Sm FILE` writes to `FILE.minisig`, in base64")),
    request_body(content((Vec<u8> = "application/wasm"), (String = "application/yaml"))),
    responses((status = 201, body = UploadResponse), (status = 200, description = "nothing changed", body = UploadResponse)),
)]
pub async fn post_component(
    State(api): State<Api>,
    audit: Audit,
    user: CurrentUser,
    request: Request,
) -> Result<(StatusCode, Json<UploadResponse>), ApiError> {
    let signature = request.headers().get(SIGNATURE).map(read_signature).transpose()?;
    let mut upload = receive(request, api.scheduler.upload(&user.username)?).await?;
    let wasm = upload.take();
    if wasm.is_empty() {
        return Err(ApiError::invalid(["body"], "the body is empty; send the bytes of a component, or dags in YAML"));
    }
    let size_bytes = wasm.len();
    let mut deployed = api.scheduler.deploy(wasm, signature.as_deref(), &user.uploader()).await?;
    drop(upload);
    audit::uploaded(&audit, &deployed);
    let is_change = deployed.is_change();
    let mut dags = Vec::with_capacity(deployed.dags.len());
    for dag in deployed.dags {
        let row = api.store.dag_get(&dag.dag_id).await?;
        let warnings = match &row {
            Some(row) => api.scheduler.dag_warnings(&row.spec).await?,
            None => Vec::new(),
        };
        dags.push(UploadedDagResponse {
            warnings: warnings.iter().map(DagWarning::to_string).collect(),
            grants: deployed.grants.remove(&dag.dag_id).map(Into::into).unwrap_or_default(),
            dag_id: dag.dag_id.to_string(),
            version_number: dag.version_number,
            created: dag.created,
            changed: dag.changed,
            is_paused: row.is_some_and(|row| row.is_paused),
        });
    }
    let status = if is_change { StatusCode::CREATED } else { StatusCode::OK };
    let answer = UploadResponse {
        digest: deployed.digest.to_string(),
        size_bytes,
        created: deployed.created,
        entries: deployed.entries,
        dags,
    };
    Ok((status, Json(answer)))
}

/// A component that brought a dag which may be seen, or none, with those of its dags that may be.
async fn find(api: &Api, scope: &DagScope, digest: Digest) -> Result<ComponentRow, ApiError> {
    let row = api.store.component_get(digest).await?.and_then(|row| scope.of_component(row));
    row.ok_or_else(|| ApiError::not_found(format!("component `{digest}` does not exist")))
}

/// Components, newest first.
#[utoipa::path(
    get, path = "/api/v2/components", tag = "Component", params(Paging),
    responses((status = 200, body = ComponentCollectionResponse)),
)]
pub async fn get_components(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Query(paging): Query<Paging>,
) -> Result<Json<ComponentCollectionResponse>, ApiError> {
    let listed = api.store.component_list(scope.seen(), paging.in_order(&["-uploaded_at"])?).await?;
    let seen = listed.items.into_iter().filter_map(|row| scope.of_component(row));
    let components = seen.map(ComponentResponse::from).collect();
    Ok(Json(ComponentCollectionResponse { components, total_entries: listed.total }))
}

/// A component, and what it says of where it comes from.
#[utoipa::path(
    get, path = "/api/v2/components/{digest}", tag = "Component", params(ComponentPath),
    responses((status = 200, body = ComponentDetailsResponse)),
)]
pub async fn get_component(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Path(path): Path<ComponentPath>,
) -> Result<Json<ComponentDetailsResponse>, ApiError> {
    let component = find(&api, &scope, path.digest).await?.into();
    let provenance = api.store.component_provenance(path.digest).await?.map(Into::into);
    Ok(Json(ComponentDetailsResponse { component, provenance }))
}

/// A component's bytes, as they were uploaded.
#[utoipa::path(
    get, path = "/api/v2/components/{digest}/wasm", tag = "Component", params(ComponentPath),
    responses((status = 200, content_type = "application/wasm", body = Vec<u8>)),
)]
pub async fn get_component_wasm(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Path(path): Path<ComponentPath>,
) -> Result<Response, ApiError> {
    content(&api, &scope, path.digest, ComponentKind::Wasm).await
}

/// The text of dags in YAML, as it was uploaded.
#[utoipa::path(
    get, path = "/api/v2/components/{digest}/yaml", tag = "Component", params(ComponentPath),
    responses((status = 200, content_type = "application/yaml", body = Vec<u8>)),
)]
pub async fn get_component_yaml(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Path(path): Path<ComponentPath>,
) -> Result<Response, ApiError> {
    content(&api, &scope, path.digest, ComponentKind::Yaml).await
}

/// A component whose bytes may be shown.
///
/// # Errors
/// If there is none, or one of its dags may not be seen.
pub async fn readable(api: &Api, scope: &DagScope, digest: Digest) -> Result<ComponentRow, ApiError> {
    let row = api.store.component_get(digest).await?;
    // It is the code of all its dags.
    if let Some(row) = &row
        && !row.dag_ids.iter().all(|dag_id| scope.sees(dag_id))
        && scope.of_component(row.clone()).is_some()
    {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "the component carries dags that you may not see, so that its code can't be shown",
        ));
    }
    find(api, scope, digest).await
}

async fn content(api: &Api, scope: &DagScope, digest: Digest, kind: ComponentKind) -> Result<Response, ApiError> {
    let row = readable(api, scope, digest).await?;
    let is = row.module.kind.as_str();
    if row.module.kind != kind {
        let message = format!("component `{digest}` is not {}; get `/api/v2/components/{digest}/{is}`", kind.as_str());
        return Err(ApiError::not_found(message));
    }
    let read = api.blobs.stream(&keys::component(&digest, kind)).await?;
    let read = read.ok_or_else(|| ApiError::unavailable("the component is not in object storage"))?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind.media_type())),
        (header::CONTENT_DISPOSITION, attachment(&format!("{digest}.{is}"))),
        (header::CONTENT_LENGTH, HeaderValue::from(read.size_bytes)),
    ];
    Ok((headers, Body::from_stream(read.stream)).into_response())
}

/// The JSON Schema of dags in YAML, for editors.
#[utoipa::path(
    get, path = "/schemas/dag.json", tag = "Component", security(()),
    responses((status = 200, description = "a JSON Schema, draft 2020-12", body = Value)),
)]
pub async fn get_dag_schema() -> Json<Value> {
    Json(yaml::json_schema())
}
