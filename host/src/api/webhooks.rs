//! Webhooks: other systems start runs of a dag, without a user of their own.
//!
//! Who does not know the secret learns nothing: a dag that is not there, one without a webhook, a wrong signature and an
//! old one are answered alike.

use std::{
    hash::Hash,
    net::IpAddr,
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode},
};
use chrono::{DateTime, Utc};
use lru::LruCache;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    Api,
    dag_runs::{DagRunResponse, find_run},
    dags::find_dag,
    error::ApiError,
    extract::{Path, Query},
    identity::Peer,
    names::Names,
    paths::{DagPath, MapIndex, TaskPath},
};
use crate::{
    auth::{Audit, CurrentUser, WEBHOOK_USER},
    model::{
        approval::Answer,
        ids::{DagId, RunId},
        proxies::network_of,
        time::Timestamp,
    },
    scheduler::{AnswerRequest, RequestError, RunRequest},
    secrets::{
        SecretString, Secrets,
        hook::{self, Signed},
        place,
    },
    store::{DagRunRow, InstanceKey, Store, StoreError, WebhookRow},
};

/// The longest payload.
pub const MAX_BODY_BYTES: usize = 1 << 20;
/// How far a sender's clock may be off, and how long a signature is good.
const TOLERANCE: Duration = Duration::from_mins(5);
/// Payloads of a dag that are taken at once, and those of a peer that are refused for their signatures; then one every [`REFILL`].
const BURST: u32 = 60;
const REFILL: Duration = Duration::from_secs(1);
/// Dags, and peers, whose rates are remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).expect("it is not zero");
const MAX_KEY_CHARS: usize = 255;
/// The field of a question that a payload answers.
const PAYLOAD: &str = "payload";

/// A dag's webhook.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookResponse {
    dag_id: String,
    /// Where payloads go, by POST.
    path: String,
    created_at: DateTime<Utc>,
    created_by: String,
    /// Told once, when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// How much is taken still: of what is signed by dag, of what is not by peer.
#[derive(Debug, Default)]
pub struct Rates {
    signed: Rate<DagId>,
    refused: Rate<IpAddr>,
}

/// How much each may still send, as the instant at which it may send all again.
#[derive(Debug)]
struct Rate<K: Hash + Eq>(Mutex<LruCache<K, Timestamp>>);

impl<K: Hash + Eq> Default for Rate<K> {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(REMEMBERED)))
    }
}

impl<K: Hash + Eq + Clone> Rate<K> {
    /// Takes one payload, or says how long to wait.
    fn take(&self, of: &K, now: Timestamp) -> Result<(), Duration> {
        let mut rates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = rates.get_or_insert_mut(of.clone(), || now);
        let next = (*full_at).max(now).after(REFILL);
        let over = next.since(now).saturating_sub(REFILL * BURST);
        if over.is_zero() {
            *full_at = next;
            Ok(())
        } else {
            Err(over)
        }
    }

    /// Takes one back: it was good.
    fn give_back(&self, of: &K) {
        let mut rates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(full_at) = rates.get_mut(of) {
            *full_at = full_at.before(REFILL);
        }
    }
}

impl WebhookResponse {
    fn new(row: WebhookRow, secret: Option<String>) -> Self {
        Self {
            path: format!("/hooks/{}", row.dag_id),
            dag_id: row.dag_id.to_string(),
            created_at: row.created_at.to_utc(),
            created_by: row.created_by,
            secret,
        }
    }
}

#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/webhook", tag = "Webhook", params(DagPath),
    responses((status = 200, body = WebhookResponse)),
)]
pub async fn get_webhook(State(api): State<Api>, Path(path): Path<DagPath>) -> Result<Json<WebhookResponse>, ApiError> {
    find_dag(&api, &path.dag_id).await?;
    let row = api.store.webhook_get(&path.dag_id).await?.ok_or_else(|| none(&path.dag_id))?;
    Ok(Json(WebhookResponse::new(row, None)))
}

/// Makes a dag's webhook, or gives it a new secret; the old one is good no more. The secret is told in this answer only.
#[utoipa::path(
    put, path = "/api/v2/dags/{dag_id}/webhook", tag = "Webhook", params(DagPath),
    responses((status = 200, body = WebhookResponse)),
)]
pub async fn put_webhook(
    State(api): State<Api>,
    user: CurrentUser,
    Path(path): Path<DagPath>,
) -> Result<Json<WebhookResponse>, ApiError> {
    find_dag(&api, &path.dag_id).await?;
    let (row, secret) = make(&api.store, &api.secrets, path.dag_id, user.username, api.clock.now()).await?;
    Ok(Json(WebhookResponse::new(row, Some(secret))))
}

/// Makes the webhook of a dag that is there, or gives it a new secret, which is told with it.
///
/// # Errors
/// If the store can't be written.
pub async fn make(
    store: &Store,
    secrets: &Secrets,
    dag_id: DagId,
    created_by: String,
    created_at: Timestamp,
) -> Result<(WebhookRow, String), StoreError> {
    let secret = hook::generate();
    let sealed = secrets.seal(&place::webhook(&dag_id), secret.as_bytes());
    let row = WebhookRow { dag_id, sealed, created_at, created_by };
    Audit::settle();
    store.webhook_put(&row).await?;
    Ok((row, secret))
}

#[utoipa::path(
    delete, path = "/api/v2/dags/{dag_id}/webhook", tag = "Webhook", params(DagPath),
    responses((status = 204)),
)]
pub async fn delete_webhook(State(api): State<Api>, Path(path): Path<DagPath>) -> Result<StatusCode, ApiError> {
    Audit::settle();
    if api.store.webhook_delete(&path.dag_id).await? { Ok(StatusCode::NO_CONTENT) } else { Err(none(&path.dag_id)) }
}

fn none(dag_id: &DagId) -> ApiError {
    ApiError::not_found(format!(
        "dag `{dag_id}` has no webhook; make one on its page, or by `airlock dags webhook {dag_id} --create`"
    ))
}

/// Starts a run with the payload, a JSON object, as its params.
///
/// Headers: `X-Airlock-Timestamp`, the seconds since 1970; `X-Airlock-Signature`, `sha256=` and the HMAC-SHA256 of the timestamp,
/// what stands behind `/hooks/`, the key (or nothing) and the body, with line feeds between them; `Idempotency-Key`, at most 255
/// characters, optional: the same key is answered the same run.
#[utoipa::path(
    post, path = "/hooks/{dag_id}", tag = "Webhook", params(DagPath), request_body = Object,
    responses((status = 201, body = DagRunResponse), (status = 200, body = DagRunResponse)),
)]
pub async fn receive_webhook(
    State(api): State<Api>,
    Path(path): Path<DagPath>,
    peer: Peer,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<DagRunResponse>), ApiError> {
    let dag_id = path.dag_id;
    let (payload, signature) = signed(&api, &dag_id, dag_id.as_str(), peer, &headers, body).await?;
    let delivery = delivery(&headers, &signature)?;
    let run_id =
        RunId::new(&format!("webhook__{delivery}")).map_err(|error| ApiError::bad_request(error.to_string()))?;
    let conf = match payload {
        Value::Object(conf) => conf,
        Value::Null => Map::new(),
        _ => return Err(ApiError::invalid(["body"], "the payload is not a JSON object")),
    };
    if let Some(run) = api.store.dag_run_get(&dag_id, &run_id).await? {
        return same(&api, run, &conf).await;
    }
    let request = RunRequest {
        run_id: Some(run_id.clone()),
        conf: conf.clone(),
        // Airflow's clients know no other word for it.
        triggered_by: "rest_api",
        user: Some(WEBHOOK_USER.to_owned()),
        ..RunRequest::default()
    };
    match api.scheduler.trigger(&dag_id, request).await {
        Ok(run) => Ok((StatusCode::CREATED, Json(show(&api, run).await?))),
        Err(conflict @ RequestError::Conflict(_)) => {
            // The same key came twice at a time.
            let run = api.store.dag_run_get(&dag_id, &run_id).await?;
            same(&api, run.ok_or(conflict)?, &conf).await
        }
        Err(error) => Err(error.into()),
    }
}

/// Hands the payload, any JSON, to a task that waits for it, which goes on then.
///
/// The headers are those of `/hooks/{dag_id}`. The same payload again is answered as the first was; with the same key it answers
/// no other question of the task either.
#[utoipa::path(
    post, path = "/hooks/{dag_id}/{dag_run_id}/{task_id}", tag = "Webhook", params(TaskPath, MapIndex), request_body = Object,
    responses((status = 204, description = "the task goes on")),
)]
pub async fn receive_awaited(
    State(api): State<Api>,
    Path(path): Path<TaskPath>,
    Query(MapIndex { map_index }): Query<MapIndex>,
    peer: Peer,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, ApiError> {
    let task = format!("{}/{}/{}", path.dag_id, path.dag_run_id, path.task_id);
    let target = if map_index < 0 { task } else { format!("{task}/{map_index}") };
    let (payload, signature) = signed(&api, &path.dag_id, &target, peer, &headers, body).await?;
    let delivery = delivery(&headers, &signature)?;
    let run = find_run(&api, &path.dag_id, &path.dag_run_id).await?;
    let request = AnswerRequest {
        dag_id: path.dag_id,
        run_id: path.dag_run_id,
        task_id: path.task_id.clone(),
        map_index,
        chosen: vec!["received".to_owned()],
        values: Map::from_iter([(PAYLOAD.to_owned(), payload.clone())]),
        username: WEBHOOK_USER.to_owned(),
        delivery: Some(delivery),
    };
    match api.scheduler.approval_answer(request).await {
        Ok(answer) if is_of(&answer, &payload) => Ok(StatusCode::NO_CONTENT),
        Ok(_) => Err(ApiError::conflict(
            "a question of the task was answered with this `Idempotency-Key` and another payload; send another key",
        )),
        Err(conflict @ RequestError::Conflict(_)) => {
            // It came twice.
            let instance = InstanceKey { dag_run: run.key, task_id: path.task_id, map_index };
            let asked = api.store.approval_list_of(&instance, None, 1).await?.pop();
            let is_answered = asked.and_then(|asked| asked.answer).is_some_and(|answer| is_of(&answer, &payload));
            if is_answered { Ok(StatusCode::NO_CONTENT) } else { Err(conflict.into()) }
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether it is what a delivery of this payload answered. The question may have other fields, which have their defaults.
fn is_of(answer: &Answer, payload: &Value) -> bool {
    let values: Value = serde_json::from_str(&answer.values).unwrap_or_default();
    answer.username == WEBHOOK_USER && values.get(PAYLOAD) == Some(payload)
}

/// What was sent, as JSON (null if it is empty), and its signature, which is good for `target`.
async fn signed(
    api: &Api,
    dag_id: &DagId,
    target: &str,
    Peer(peer): Peer,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(Value, String), ApiError> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            ApiError::too_large(format!("the payload is longer than {MAX_BODY_BYTES} bytes"))
        }
        _ => ApiError::bad_request("the payload could not be read"),
    })?;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (timestamp, signature) = (header("x-airlock-timestamp"), header("x-airlock-signature"));
    let (now, peer) = (api.clock.now(), peer.map(network_of));
    if let Some(peer) = &peer {
        api.webhook_rates.refused.take(peer, now).map_err(too_many)?;
    }
    let secret = match api.store.webhook_get(dag_id).await? {
        Some(row) => Some(api.secrets.unseal(&place::webhook(dag_id), &row.sealed)?),
        None => None,
    };
    let (Some(timestamp), Some(signature)) = (timestamp, signature) else { return Err(refused()) };
    // One that is not there takes as long.
    let is_known = secret.is_some();
    let secret = secret.unwrap_or_else(|| SecretString::from(String::new()));
    let key = header("idempotency-key").unwrap_or_default();
    let signature = hook::verify(&secret, Signed { timestamp, target, key, body: &body }, signature);
    let Some(signature) = signature.filter(|_| is_known && is_fresh(timestamp, now)) else { return Err(refused()) };
    if let Some(peer) = &peer {
        api.webhook_rates.refused.give_back(peer);
    }
    api.webhook_rates.signed.take(dag_id, now).map_err(too_many)?;
    let payload = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&body)
            .map_err(|error| ApiError::invalid(["body"], format!("the payload is not JSON: {error}")))?
    };
    Ok((payload, signature))
}

/// What names the delivery: its key or, without one, its signature, for a copy of the very same request is worth nothing.
fn delivery(headers: &HeaderMap, signature: &str) -> Result<String, ApiError> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(hook::fingerprint(&["", signature])) };
    let key = key.to_str().unwrap_or_default();
    if key.is_empty() || key.chars().count() > MAX_KEY_CHARS {
        return Err(ApiError::bad_request("`Idempotency-Key` must have 1 to 255 characters"));
    }
    Ok(hook::fingerprint(&[key]))
}

async fn same(
    api: &Api,
    run: DagRunRow,
    conf: &Map<String, Value>,
) -> Result<(StatusCode, Json<DagRunResponse>), ApiError> {
    let known = serde_json::from_str::<Map<String, Value>>(run.conf.as_deref().unwrap_or_default()).unwrap_or_default();
    if known != *conf {
        return Err(ApiError::conflict(format!(
            "run `{}` was started with this `Idempotency-Key` and another payload; send another key",
            run.run_id
        )));
    }
    Ok((StatusCode::OK, Json(show(api, run).await?)))
}

async fn show(api: &Api, run: DagRunRow) -> Result<DagRunResponse, ApiError> {
    let names = Names::of_versions(api, [run.version]).await?;
    Ok(DagRunResponse::new(run, &names, api.clock.now()))
}

fn is_fresh(timestamp: &str, now: Timestamp) -> bool {
    let Some(us) = timestamp.parse::<i64>().ok().and_then(|seconds| seconds.checked_mul(1_000_000)) else {
        return false;
    };
    let at = Timestamp::from_micros(us);
    at.since(now).max(now.since(at)) <= TOLERANCE
}

fn refused() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", "there is no such webhook, or the signature is not good")
}

fn too_many(wait: Duration) -> ApiError {
    ApiError::too_many(format!("too many payloads at once; wait {} s", wait.as_secs().max(1)), wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_good_for_five_minutes_either_way() {
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        for (timestamp, fresh) in [
            ("1700000000", true),
            ("1699999700", true),
            ("1700000300", true),
            ("1699999699", false),
            ("1700000301", false),
            ("x", false),
            ("9223372036854775807", false),
        ] {
            assert_eq!(is_fresh(timestamp, now), fresh, "{timestamp}");
        }
    }

    #[test]
    fn an_answer_is_known_by_its_payload_whatever_other_fields_have() {
        let answer = |values: &str, username: &str| Answer {
            chosen: Vec::new(),
            values: values.to_owned(),
            username: username.to_owned(),
            at: Timestamp::from_micros(0),
        };
        let payload = serde_json::json!({"amount": 7});
        for (values, username, is_it) in [
            (r#"{"payload": {"amount": 7}}"#, WEBHOOK_USER, true),
            (r#"{"payload": {"amount": 7}, "note": ""}"#, WEBHOOK_USER, true),
            (r#"{"payload": {"amount": 8}}"#, WEBHOOK_USER, false),
            (r#"{"payload": {"amount": 7}}"#, "ann", false),
        ] {
            assert_eq!(is_of(&answer(values, username), &payload), is_it, "{values} {username}");
        }
    }

    #[test]
    fn a_burst_is_taken_and_then_one_a_second() {
        let (rates, dag_id) = (Rate::default(), DagId::new("d").unwrap());
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        for _ in 0..BURST {
            assert_eq!(rates.take(&dag_id, now), Ok(()));
        }
        assert_eq!(rates.take(&dag_id, now), Err(REFILL));
        assert_eq!(rates.take(&DagId::new("e").unwrap(), now), Ok(()));
        assert_eq!(rates.take(&dag_id, now.after(REFILL)), Ok(()));
        rates.give_back(&dag_id);
        assert_eq!(rates.take(&dag_id, now.after(REFILL)), Ok(()));
        assert!(rates.take(&dag_id, now.after(REFILL)).is_err());
    }
}
