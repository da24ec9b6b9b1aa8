//! A namespace, as whoever may do everything in it sees it.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{Client, http::Answer};

/// The node on which all pods are. There is no such object: an API server alone does not look for one.
const NODE: &str = "airlock-test";
/// What a server may do in its namespace, as people are told to allow it.
const RIGHTS: &str = include_str!("../../../docs/deploy/kubernetes-fleets/rights.yaml");
/// For so long, in seconds, a server's token is good.
const TOKEN_SECONDS: u32 = 3600;

#[derive(Debug, Clone)]
pub(super) struct Namespace {
    pub api: Client,
    pub name: String,
}

impl Namespace {
    /// Makes one in the cluster of this kubeconfig. Answers it too, and the kubeconfig of a server there: the account that people are told to make.
    ///
    /// Its pods have to keep to the standard `restricted`.
    pub async fn make(kubeconfig: &Path) -> (Self, Value) {
        let text = std::fs::read_to_string(kubeconfig).expect("AIRLOCK_TEST_KUBECONFIG names a file");
        let mut config: Value = serde_json::from_str(&text).expect("AIRLOCK_TEST_KUBECONFIG is JSON");
        let cluster = config["clusters"][0]["cluster"].take();
        let mut api = Client::anonymous(cluster["server"].as_str().expect("it names a server"));
        api.token = config["users"][0]["user"]["token"].as_str().map(str::to_owned);
        // That a server looks at certificates is for the server to show.
        let client = reqwest::Client::builder().danger_accept_invalid_certs(true).build();
        api.http = client.expect("a client can be made");

        let name = format!("airlock-test-{:08x}", rand::random::<u32>());
        let own = Self { api, name };
        let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
        own.api.post("/api/v1/namespaces", &json!({ "metadata": { "name": own.name, "labels": labels } })).await.ok();
        // A controller makes it, where there is one.
        let account = own.api.post(&own.path("serviceaccounts"), &json!({ "metadata": { "name": "default" } })).await;
        assert!(account.status.is_success() || account.status == 409, "{account:?}");
        for object in RIGHTS.split("---\n") {
            own.apply(object).await.ok();
        }
        let asked = json!({ "spec": { "expirationSeconds": TOKEN_SECONDS } });
        let token = own.api.post(&own.path("serviceaccounts/airlock/token"), &asked).await.ok();
        let user = json!({ "token": token["status"]["token"] });
        let kubeconfig = self::kubeconfig(&cluster, &user, &own.name);
        (own, kubeconfig)
    }

    /// Makes an object that is written in YAML, or changes it to be so.
    async fn apply(&self, object: &str) -> Answer {
        const PATHS: [(&str, &str, &str); 3] = [
            ("ServiceAccount", "/api/v1", "serviceaccounts/airlock"),
            ("Role", "/apis/rbac.authorization.k8s.io/v1", "roles/airlock-pods"),
            ("RoleBinding", "/apis/rbac.authorization.k8s.io/v1", "rolebindings/airlock-pods"),
        ];
        let known = PATHS.iter().find(|(kind, ..)| object.contains(&format!("\nkind: {kind}\n")));
        let (_, group, name) = known.expect("an account, a role or its binding");
        let path = format!("{group}/namespaces/{}/{name}?fieldManager=airlock-test&fieldValidation=Strict", self.name);
        let request = self.api.request(Method::PATCH, &path).header("content-type", "application/apply-patch+yaml");
        self.api.send(request.body(object.to_owned())).await
    }

    fn path(&self, of: &str) -> String {
        format!("/api/v1/namespaces/{}/{of}", self.name)
    }

    /// All pods of Airlock; none if the cluster does not answer.
    pub async fn pods(&self) -> Option<Vec<Value>> {
        let path = self.path("pods?labelSelector=app.kubernetes.io/name=airlock");
        let answer = self.api.try_send(self.api.request(Method::GET, &path)).await?;
        answer.body["items"].as_array().cloned()
    }

    pub async fn put_status(&self, pod: &str, status: &Value) {
        let request = self.api.request(Method::PATCH, &self.path(&format!("pods/{pod}/status")));
        let request = request.header("content-type", "application/merge-patch+json");
        // It may be gone.
        if let Some(answer) = self.api.try_send(request.body(json!({ "status": status }).to_string())).await {
            assert!(answer.status.is_success() || answer.status == 404, "{status}: {answer:?}");
        }
    }

    /// Gives a pod a node, as a scheduler does.
    pub async fn bind(&self, pod: &str) -> Answer {
        let target = json!({ "apiVersion": "v1", "kind": "Node", "name": NODE });
        let binding = json!({ "apiVersion": "v1", "kind": "Binding", "metadata": { "name": pod }, "target": target });
        self.api.post(&self.path(&format!("pods/{pod}/binding")), &binding).await
    }

    /// Takes a pod away, as the kubelet does with one that has ended.
    pub async fn remove(&self, pod: &str) -> Answer {
        self.api.delete(&self.path(&format!("pods/{pod}?gracePeriodSeconds=0"))).await
    }
}

/// What somebody is told who uses a namespace.
pub(super) fn kubeconfig(cluster: &Value, user: &Value, namespace: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{ "name": "test", "cluster": cluster }],
        "users": [{ "name": "test", "user": user }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test", "namespace": namespace } }],
    })
}
