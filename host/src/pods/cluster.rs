//! What is asked of the API of a cluster: pods created and deleted, looked at one by one.

use std::time::Duration;

use k8s_openapi::api::core::v1 as k8s;
use kube::{Api, Client, Config, api::DeleteParams, core::Status};
use serde_json::Value;

use super::read;
use crate::model::{causes::causes, pods::LABEL_INSTALLATION};

/// Any one request.
const REQUEST: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(5);
/// Whom the cluster names as the one who made a pod.
const MANAGER: &str = "airlock";

/// Why a cluster can't be used at all.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("no cluster is known")]
    Unknown(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("no requests can be made of the cluster at `{url}`")]
    Client {
        url: String,
        #[source]
        source: Box<kube::Error>,
    },
}

/// Why a pod was not created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub why: String,
    /// When the cluster wants to be asked again, at the earliest.
    pub after: Option<Duration>,
}

/// A namespace of a cluster.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    namespace: String,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Cluster {
    /// The cluster of `KUBECONFIG` or `~/.kube/config`, or in which this process is; `namespace`: none is theirs.
    ///
    /// # Errors
    /// If there is none, or what is said of it can't be used. No request is made.
    pub async fn connect(namespace: Option<String>) -> Result<Self, ClusterError> {
        // Another part of the process may have done so already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = Config::infer().await.map_err(|error| ClusterError::Unknown(error.into()))?;
        config.connect_timeout = Some(CONNECT);
        // Plans decide when something is tried again.
        config.default_retry = false;
        let url = config.cluster_url.to_string();
        let client =
            Client::try_from(config).map_err(|source| ClusterError::Client { url, source: Box::new(source) })?;
        Ok(Self::of(client, namespace))
    }

    pub(super) fn of(client: Client, namespace: Option<String>) -> Self {
        let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
        Self { client, namespace }
    }

    pub(super) fn api(&self) -> Api<k8s::Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates a pod, or answers the one of `installation` that has its name already.
    pub(super) async fn create(&self, name: &str, manifest: &Value, installation: &str) -> Result<k8s::Pod, Refused> {
        let refused = |why: String| Refused { why: format!("pod `{name}` can't be created: {why}"), after: None };
        // As it is written, with fields that are newer than we are; what the cluster does not know it refuses.
        let path = format!("/api/v1/namespaces/{}/pods?fieldValidation=Strict&fieldManager={MANAGER}", self.namespace);
        let made = http::Request::post(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(manifest.to_string().into_bytes());
        let made = made.map_err(|error| refused(error.to_string()))?;
        let error = match within(self.client.request::<k8s::Pod>(made)).await {
            Ok(pod) => return Ok(pod),
            Err(Failed::Status(status)) if status.reason == "AlreadyExists" => match self.get(name).await? {
                Some(pod) if is_of(&pod, installation) => return Ok(pod),
                Some(_) => return Err(refused("one of that name is there, which is not of this installation".into())),
                None => return Err(refused("one of that name was there until now".into())),
            },
            Err(error) => error,
        };
        Err(Refused { after: error.after(), ..refused(error.to_string()) })
    }

    async fn get(&self, name: &str) -> Result<Option<k8s::Pod>, Refused> {
        look_at(&self.api(), name).await
    }

    /// A pod of the namespace in which this process is, which may be another than that of its fleets.
    pub(super) async fn get_beside_us(&self, name: &str) -> Result<Option<k8s::Pod>, Refused> {
        look_at(&Api::default_namespaced(self.client.clone()), name).await
    }

    /// Deletes a pod, which gets its time to end; one that is not there is deleted.
    pub(super) async fn delete(&self, name: &str) -> Result<(), String> {
        match within(self.api().delete(name, &DeleteParams::default())).await {
            Err(Failed::Status(status)) if status.code == 404 => Ok(()),
            answer => answer.map(drop).map_err(|error| format!("pod `{name}` can't be deleted: {error}")),
        }
    }
}

async fn look_at(api: &Api<k8s::Pod>, name: &str) -> Result<Option<k8s::Pod>, Refused> {
    within(api.get_opt(name))
        .await
        .map_err(|error| Refused { after: error.after(), why: format!("pod `{name}` can't be looked at: {error}") })
}

fn is_of(pod: &k8s::Pod, installation: &str) -> bool {
    let labels = pod.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(LABEL_INSTALLATION)).is_some_and(|label| label == installation)
}

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// The cluster says so.
    #[error("{}", of_status(.0))]
    Status(Box<Status>),
    #[error("the cluster did not answer within {} s", REQUEST.as_secs())]
    Silent,
    #[error("{0}")]
    Other(String),
}

impl Failed {
    fn after(&self) -> Option<Duration> {
        let Self::Status(status) = self else { return None };
        let seconds = status.details.as_ref().map(|details| details.retry_after_seconds).filter(|seconds| *seconds > 0);
        seconds.map(|seconds| Duration::from_secs(seconds.into()))
    }
}

impl From<kube::Error> for Failed {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Status(status),
            other => Self::Other(chain(&other)),
        }
    }
}

fn of_status(status: &Status) -> String {
    let said = [&status.message, &status.reason].into_iter().find(|text| !text.is_empty());
    format!("{} ({})", said.map_or_else(|| "the cluster refuses".to_owned(), |text| read::short(text)), status.code)
}

/// An error and its causes on one line, each once.
fn chain(error: &kube::Error) -> String {
    let told = causes(error).map(ToString::to_string);
    told.reduce(|text, more| if text.contains(&more) { text } else { format!("{text}: {more}") }).unwrap_or_default()
}

pub(super) async fn within<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Failed> {
    match tokio::time::timeout(REQUEST, request).await {
        Ok(answer) => answer.map_err(Failed::from),
        Err(_) => Err(Failed::Silent),
    }
}
