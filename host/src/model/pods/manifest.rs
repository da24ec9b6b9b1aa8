//! What a pod of a fleet is.
//!
//! Three layers: what any worker should have, unless the fleet says otherwise; the fleet's template; what is ours to say. Maps are laid
//! upon each other key by key, lists whose elements have names element by element, other values are replaced - as `kubectl` does it with
//! a strategic merge.

use serde_json::{Value, json};

use super::{
    ANNOTATION_SPEC, LABEL_FLEET, LABEL_INSTALLATION, PodName,
    settings::{Fleet, Fleets},
};

/// The container in which the worker is.
pub const CONTAINER: &str = "worker";

/// The pod `name` of `fleet`, as the API takes it; `image`: that of the fleet, or of this process.
pub fn pod(fleets: &Fleets, fleet: &Fleet, name: &PodName, image: &str, installation: &str, spec: &str) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "labels": { "app.kubernetes.io/name": "airlock", "app.kubernetes.io/component": "worker" },
            // One that is idle leaves by itself; one that is not is not to be moved.
            "annotations": { "cluster-autoscaler.kubernetes.io/safe-to-evict": "false" },
        },
        "spec": {
            "terminationGracePeriodSeconds": 3600,
            "automountServiceAccountToken": false,
            "securityContext": { "runAsNonRoot": true, "runAsUser": 10001, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{
                "name": CONTAINER,
                // Why a worker is refused is then seen with its pod.
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": { "drop": ["ALL"] },
                },
                "env": [{ "name": "AIRLOCK_LOG_FORMAT", "value": "json" }],
            }],
        },
    });
    lay(&mut pod, &Value::Object(fleet.template.clone()));
    let full = name.full(installation);
    let text = |name: &str, value: String| json!({ "name": name, "value": value });
    let mut env = vec![
        text("AIRLOCK_WORKERS_URL", fleets.server.clone()),
        text("AIRLOCK_WORKERS_NAME", full.clone()),
        text("AIRLOCK_WORKERS_QUEUES", fleet.queue.to_string()),
        text("AIRLOCK_PARALLELISM", fleet.slots.to_string()),
        // The secret itself is in no pod's spec.
        json!({
            "name": "AIRLOCK_WORKERS_TOKEN",
            "valueFrom": { "secretKeyRef": { "name": fleets.token.name, "key": fleets.token.key } },
        }),
    ];
    env.extend(fleet.attempts.map(|attempts| text("AIRLOCK_WORKERS_ATTEMPTS", attempts.to_string())));
    let mut container = json!({ "name": CONTAINER, "image": image, "args": ["serve", "--worker"], "env": env });
    if let Some(resources) = &fleet.resources {
        container["resources"] = resources.clone();
    }
    // A worker that has left has done its work; what it leaves undone another pod does.
    let mut ours = json!({ "restartPolicy": "Never", "containers": [container] });
    if !fleet.node_selector.is_empty() {
        ours["nodeSelector"] = json!(fleet.node_selector);
    }
    if let Some(account) = &fleet.service_account {
        ours["serviceAccountName"] = json!(account);
    }
    lay(
        &mut pod,
        &json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": full,
                "labels": { LABEL_FLEET: name.fleet, LABEL_INSTALLATION: installation },
                "annotations": { ANNOTATION_SPEC: spec },
            },
            "spec": ours,
        }),
    );
    pod
}

/// Lays `upper` upon `lower`.
fn lay(lower: &mut Value, upper: &Value) {
    match (lower, upper) {
        (Value::Object(lower), Value::Object(upper)) => {
            for (key, value) in upper {
                match lower.get_mut(key) {
                    Some(below) => lay(below, value),
                    None => drop(lower.insert(key.clone(), value.clone())),
                }
            }
        }
        (Value::Array(lower), Value::Array(upper))
            if upper.iter().chain(lower.iter()).all(|one| one["name"].is_string()) =>
        {
            for value in upper {
                match lower.iter_mut().find(|below| below["name"] == value["name"]) {
                    Some(below) => lay(below, value),
                    None => lower.push(value.clone()),
                }
            }
        }
        (lower, upper) => *lower = upper.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Value {
        let fleets = Fleets::parse(text).unwrap();
        let (name, fleet) = fleets.fleets.iter().next().unwrap();
        let name = PodName { fleet: name.clone(), place: 0, generation: 1 };
        pod(&fleets, fleet, &name, "airlock:1", "0f3c5a77", "abc")
    }

    #[test]
    fn a_pod_is_a_worker_of_its_fleet_and_holds_no_secret() {
        let pod = of("{server: 'http://airlock', fleets: {gpu: {max: 1, slots: 2, attempts: 1}}}");
        let (metadata, spec) = (&pod["metadata"], &pod["spec"]);
        assert_eq!(metadata["name"], "airlock-0f3c5a-gpu-0-1");
        assert_eq!(
            (&metadata["labels"][LABEL_FLEET], &metadata["labels"][LABEL_INSTALLATION]),
            (&json!("gpu"), &json!("0f3c5a77"))
        );
        let container = &spec["containers"][0];
        assert_eq!((&container["image"], &container["args"]), (&json!("airlock:1"), &json!(["serve", "--worker"])));
        let env = container["env"].as_array().unwrap();
        let value = |name: &str| env.iter().find(|var| var["name"] == name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(value("AIRLOCK_WORKERS_QUEUES")["value"], "gpu");
        assert_eq!(value("AIRLOCK_WORKERS_ATTEMPTS")["value"], "1");
        assert_eq!(value("AIRLOCK_PARALLELISM")["value"], "2");
        let token = value("AIRLOCK_WORKERS_TOKEN");
        assert_eq!(token["valueFrom"]["secretKeyRef"], json!({ "name": "airlock", "key": "workers-token" }));
        assert_eq!(token.get("value"), None);
        assert_eq!((&spec["restartPolicy"], &spec["securityContext"]["runAsNonRoot"]), (&json!("Never"), &json!(true)));
    }

    #[test]
    fn a_template_adds_to_a_pod_and_changes_all_but_what_is_ours() {
        let pod = of("
server: http://airlock
token: {name: other, key: t}
fleets:
  gpu:
    max: 1
    resources: {limits: {memory: 1Gi}}
    node_selector: {disk: ssd}
    service_account: models
    template:
      metadata: {labels: {team: a, airlock.dev/fleet: mine}, annotations: {x: y}}
      spec:
        restartPolicy: Always
        securityContext: {runAsUser: 7}
        nodeSelector: {zone: b}
        tolerations: [{key: gpu, operator: Exists}]
        volumes: [{name: scratch, emptyDir: {}}]
        containers:
          - name: worker
            env: [{name: TZ, value: UTC}, {name: AIRLOCK_WORKERS_QUEUES, value: mine}, {name: AIRLOCK_LOG_FORMAT, value: text}]
            volumeMounts: [{mountPath: /scratch, name: scratch}]
            securityContext: {capabilities: {drop: [NET_RAW]}}
          - {name: sidecar, image: proxy}
");
        let spec = &pod["spec"];
        assert_eq!(pod["metadata"]["labels"]["team"], "a");
        assert_eq!(pod["metadata"]["labels"][LABEL_FLEET], "gpu");
        let notes = &pod["metadata"]["annotations"];
        assert_eq!((&notes["x"], &notes[ANNOTATION_SPEC]), (&json!("y"), &json!("abc")));
        assert_eq!(spec["restartPolicy"], "Never");
        assert_eq!(spec["nodeSelector"], json!({ "zone": "b", "disk": "ssd" }));
        assert_eq!(
            (&spec["securityContext"]["runAsUser"], &spec["securityContext"]["runAsNonRoot"]),
            (&json!(7), &json!(true))
        );
        assert_eq!((&spec["serviceAccountName"], &spec["tolerations"][0]["key"]), (&json!("models"), &json!("gpu")));
        assert_eq!(spec["containers"].as_array().unwrap().len(), 2);
        let worker = &spec["containers"][0];
        assert_eq!(worker["securityContext"]["capabilities"]["drop"], json!(["NET_RAW"]));
        assert_eq!(worker["resources"]["limits"]["memory"], "1Gi");
        let env: Vec<_> = worker["env"].as_array().unwrap().iter().map(|var| (&var["name"], &var["value"])).collect();
        assert!(env.contains(&(&json!("TZ"), &json!("UTC"))), "{env:?}");
        assert!(env.contains(&(&json!("AIRLOCK_WORKERS_QUEUES"), &json!("gpu"))), "{env:?}");
        assert!(env.contains(&(&json!("AIRLOCK_LOG_FORMAT"), &json!("text"))), "{env:?}");
    }
}
