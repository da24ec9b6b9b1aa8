//! A kubelet in small, and the scheduler before it: starts the worker of each pod as a process.

use std::{
    collections::BTreeMap,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::{name, namespace::Namespace, phase};
use crate::build;

/// How often it looks.
const LOOK: Duration = Duration::from_millis(25);
/// An image that is nowhere.
const NO_IMAGE: &str = "nowhere";

/// Starts and ends the workers of pods.
#[derive(Debug)]
pub(super) struct Kubelet {
    namespace: Namespace,
    token: String,
    running: Mutex<BTreeMap<String, Child>>,
}

impl Kubelet {
    /// One of a namespace whose Secret `airlock` holds `token`.
    pub fn new(namespace: Namespace, token: &str) -> Self {
        Self { namespace, token: token.to_owned(), running: Mutex::default() }
    }

    /// Kills the process of a pod, and says nothing.
    pub fn kill(&self, pod: &str) {
        drop(self.running().remove(pod));
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Child>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub async fn run(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            // One that does not answer is asked again.
            let Some(pods) = self.namespace.pods().await else { continue };
            // What was deleted by force is killed.
            self.running().retain(|running, _| pods.iter().any(|pod| name(pod) == running));
            for pod in pods {
                self.look_at(&pod).await;
            }
        }
    }

    async fn look_at(&self, pod: &Value) {
        let (name, is_leaving) = (name(pod), !pod["metadata"]["deletionTimestamp"].is_null());
        let ended = self.running().get_mut(name).and_then(|child| child.try_wait().ok().flatten());
        if let Some(status) = ended {
            self.running().remove(name);
            let code = status.code().unwrap_or(137);
            let state =
                json!({ "terminated": { "exitCode": code, "reason": if code == 0 { "Completed" } else { "Error" } } });
            let phase = if code == 0 { "Succeeded" } else { "Failed" };
            let status = json!({ "phase": phase, "containerStatuses": container(&state) });
            self.namespace.put_status(name, &status).await;
        }
        let pid = self.running().get(name).and_then(Child::id);
        match (is_leaving, pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw)) {
            (true, Some(pid)) => drop(kill_process(pid, Signal::TERM)),
            (true, None) => drop(self.namespace.remove(name).await),
            (false, None) if phase(pod) == "Pending" => self.start(name, pod).await,
            (false, _) => {}
        }
    }

    async fn start(&self, name: &str, pod: &Value) {
        let spec = &pod["spec"];
        let worker = &spec["containers"][0];
        let waiting = |reason: &str, message: &str| {
            let state = json!({ "waiting": { "reason": reason, "message": message } });
            json!({ "phase": "Pending", "containerStatuses": container(&state) })
        };
        let status = if spec["nodeSelector"]["disk"] == "none" {
            let message = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.";
            let condition =
                json!({ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message });
            json!({ "phase": "Pending", "conditions": [condition] })
        } else if spec["nodeName"].is_null() && !self.namespace.bind(name).await.status.is_success() {
            // It is gone by now.
            return;
        } else if worker["image"] == NO_IMAGE {
            waiting("ErrImagePull", "nowhere: not found")
        } else {
            let env = worker["env"].as_array().cloned().unwrap_or_default();
            let value = |var: &Value| match var["valueFrom"]["secretKeyRef"]["name"].as_str() {
                Some("airlock") => Some(self.token.clone()),
                Some(_) => None,
                None => var["value"].as_str().map(str::to_owned),
            };
            let env: Option<Vec<_>> =
                env.iter().map(|var| Some((var["name"].as_str()?.to_owned(), value(var)?))).collect();
            match env {
                None => waiting("CreateContainerConfigError", "secret \"missing\" not found"),
                Some(env) => {
                    let args = worker["args"].as_array().cloned().unwrap_or_default();
                    let child = Command::new(build::binary())
                        .args(args.iter().filter_map(Value::as_str))
                        .env_clear()
                        .envs(env)
                        .stdin(Stdio::null())
                        .stdout(Stdio::null())
                        .stderr(Stdio::null())
                        .kill_on_drop(true)
                        .spawn()
                        .expect("the binary can be started");
                    self.running().insert(name.to_owned(), child);
                    json!({ "phase": "Running", "containerStatuses": container(&json!({ "running": {} })) })
                }
            }
        };
        if pod["status"] != status {
            self.namespace.put_status(name, &status).await;
        }
    }
}

/// The state of a pod's only container.
pub(super) fn container(state: &Value) -> Value {
    json!([{ "name": "worker", "image": "airlock", "imageID": "", "ready": false, "restartCount": 0, "state": state }])
}
