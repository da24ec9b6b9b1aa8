//! What a pod of the API says, in our words.

use k8s_openapi::{api::core::v1 as k8s, apimachinery::pkg::apis::meta::v1::Time};

use crate::model::{
    pods::{ANNOTATION_SPEC, Fault, Phase, Pod, PodName, manifest::CONTAINER},
    time::Timestamp,
};

/// Why a container waits whose image can't be had (Kubernetes: pkg/kubelet/images/types.go).
const IMAGE: [&str; 6] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
];
/// Why a container waits that can't be made (pkg/kubelet/kuberuntime, pkg/kubelet/container).
const CONFIGURATION: [&str; 5] = [
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "PreCreateHookError",
    "PostStartHookError",
];

/// The longest text of the cluster that is shown.
const MAX_CHARS: usize = 400;

/// The pod's name and state; none if it is not of `installation`. `now`: for what the cluster gives no time.
pub(super) fn pod(pod: &k8s::Pod, installation: &str, now: Timestamp) -> Option<(PodName, Pod)> {
    let name = PodName::parse(pod.metadata.name.as_deref()?, installation)?;
    let spec = pod.metadata.annotations.as_ref().and_then(|notes| notes.get(ANNOTATION_SPEC)).cloned();
    let read = Pod {
        phase: phase(pod, now),
        is_leaving: pod.metadata.deletion_timestamp.is_some(),
        spec: spec.unwrap_or_default(),
        created_at: pod.metadata.creation_timestamp.as_ref().map_or(now, instant),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
    };
    Some((name, read))
}

/// Why a pod is there no more that was there until now.
pub(super) fn gone(pod: &k8s::Pod, now: Timestamp) -> Option<Fault> {
    match phase(pod, now) {
        Phase::Ended(_, fault) => fault,
        Phase::Starting(_) | Phase::Running => Some(disruption(pod).unwrap_or(Fault::Deleted)),
    }
}

/// What the cluster says, as much as can be shown.
pub(super) fn short(text: &str) -> String {
    let text = text.trim();
    let mut shown: String = text.chars().take(MAX_CHARS).collect();
    if shown.len() < text.len() {
        shown.push_str(" ...");
    }
    shown
}

fn said(text: Option<&String>) -> String {
    text.map(|text| short(text)).unwrap_or_default()
}

fn instant(time: &Time) -> Timestamp {
    Timestamp::from_micros(time.0.as_microsecond())
}

fn phase(pod: &k8s::Pod, now: Timestamp) -> Phase {
    let Some(status) = &pod.status else { return Phase::Starting(None) };
    let ended = terminated(status, CONTAINER);
    let at = || {
        let of_container = ended.and_then(|ended| ended.finished_at.as_ref());
        let of_condition = condition(status, "DisruptionTarget").and_then(|is| is.last_transition_time.as_ref());
        of_container.or(of_condition).map_or(now, instant)
    };
    let is_oom = ended.is_some_and(|ended| ended.reason.as_deref() == Some("OOMKilled"));
    match status.phase.as_deref() {
        // Its container may have been told to end by the system while its process ended well.
        Some("Succeeded") => Phase::Ended(at(), is_oom.then(|| oom(pod))),
        Some("Failed") => Phase::Ended(at(), Some(failure(pod, status))),
        // Others of its containers may go on.
        Some("Running" | "Unknown") => match ended {
            Some(ended) if ended.exit_code == 0 && !is_oom => Phase::Ended(at(), None),
            Some(_) => Phase::Ended(at(), Some(failure(pod, status))),
            None => Phase::Running,
        },
        _ => Phase::Starting(hindrance(status)),
    }
}

/// What keeps a pod from starting.
fn hindrance(status: &k8s::PodStatus) -> Option<Fault> {
    if let Some(scheduled) = condition(status, "PodScheduled")
        && scheduled.status == "False"
        && scheduled.reason.as_deref() == Some("Unschedulable")
    {
        return Some(Fault::Unschedulable(said(scheduled.message.as_ref())));
    }
    let containers = [&status.init_container_statuses, &status.container_statuses];
    let waiting = containers.into_iter().flatten().flatten().filter_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref()?;
        let why = waiting.message.as_ref().map_or_else(|| reason.to_owned(), |message| short(message));
        if IMAGE.contains(&reason) {
            return Some(Fault::Image { image: container.image.clone(), why });
        }
        CONFIGURATION.contains(&reason).then_some(Fault::Configuration(why))
    });
    waiting.into_iter().next()
}

/// Why a pod failed.
fn failure(pod: &k8s::Pod, status: &k8s::PodStatus) -> Fault {
    let ended = terminated(status, CONTAINER);
    if ended.is_some_and(|ended| ended.reason.as_deref() == Some("OOMKilled")) {
        return oom(pod);
    }
    if let Some(fault) = disruption(pod) {
        return fault;
    }
    let message = said(status.message.as_ref());
    match status.reason.as_deref() {
        Some("Evicted") => return Fault::Evicted(message),
        Some("Preempting") => return Fault::Preempted(message),
        Some("NodeLost" | "NodeShutdown" | "Shutdown" | "Terminated") => return Fault::NodeLost(message),
        Some(reason) => {
            return Fault::Other(if message.is_empty() { reason.to_owned() } else { format!("{reason}: {message}") });
        }
        None => {}
    }
    match ended {
        Some(ended) => exited(ended),
        None => Fault::Other(before(status).unwrap_or(message)),
    }
}

fn exited(ended: &k8s::ContainerStateTerminated) -> Fault {
    // The last lines of its log, of which the last one says why.
    let last = ended.message.as_deref().and_then(|message| message.trim().lines().next_back());
    let reason = ended.reason.as_deref().filter(|reason| !["Error", "Completed"].contains(reason));
    Fault::Exited { code: ended.exit_code, why: short(last.or(reason).unwrap_or_default()) }
}

/// Which container of a template's failed before the worker began.
fn before(status: &k8s::PodStatus) -> Option<String> {
    status.init_container_statuses.iter().flatten().find_map(|container| {
        let ended = container.state.as_ref()?.terminated.as_ref().filter(|ended| ended.exit_code != 0)?;
        Some(format!("its container `{}` {}", container.name, exited(ended)))
    })
}

/// What was done to a pod from outside (Kubernetes: pod disruption conditions).
fn disruption(pod: &k8s::Pod) -> Option<Fault> {
    let target = condition(pod.status.as_ref()?, "DisruptionTarget").filter(|target| target.status == "True")?;
    let message = said(target.message.as_ref());
    Some(match target.reason.as_deref() {
        Some("PreemptionByScheduler") => Fault::Preempted(message),
        Some("DeletionByTaintManager" | "DeletionByPodGC") => Fault::NodeLost(message),
        // By the API, by a kubelet that is short of something.
        _ => Fault::Evicted(message),
    })
}

fn oom(pod: &k8s::Pod) -> Fault {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let limits = containers.filter(|container| container.name == CONTAINER).find_map(|container| {
        container.resources.as_ref()?.limits.as_ref()?.get("memory").map(|memory| memory.0.clone())
    });
    Fault::OomKilled { limit: limits }
}

fn terminated<'a>(status: &'a k8s::PodStatus, name: &str) -> Option<&'a k8s::ContainerStateTerminated> {
    let container = status.container_statuses.iter().flatten().find(|container| container.name == name)?;
    container.state.as_ref()?.terminated.as_ref()
}

fn condition<'a>(status: &'a k8s::PodStatus, kind: &str) -> Option<&'a k8s::PodCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(status: &Value) -> Phase {
        let of_api = json!({
            "metadata": { "name": "airlock-0f3c5a-gpu-0-1" },
            "spec": { "containers": [{
                "name": "worker", "image": "airlock:1", "resources": { "limits": { "memory": "256Mi" } },
            }] },
            "status": status,
        });
        let (_, read) = pod(&serde_json::from_value(of_api).unwrap(), "0f3c5a77", Timestamp::from_micros(7)).unwrap();
        read.phase
    }

    fn container(state: &Value) -> Value {
        json!([{ "name": "worker", "image": "airlock:1", "imageID": "", "ready": false, "restartCount": 0, "state": state }])
    }

    /// Statuses as clusters write them.
    #[test]
    fn each_fault_is_told_from_the_others() {
        let terminated =
            |code: i32, reason: &str| container(&json!({ "terminated": { "exitCode": code, "reason": reason } }));
        let waiting = |reason: &str, message: &str| json!({ "phase": "Pending", "containerStatuses": container(&json!({ "waiting": { "reason": reason, "message": message } })) });
        let disrupted = |reason: &str| {
            let condition =
                json!({ "type": "DisruptionTarget", "status": "True", "reason": reason, "message": "so it is" });
            json!({ "phase": "Failed", "conditions": [condition], "containerStatuses": terminated(137, "Error") })
        };
        let ended = |fault: Option<Fault>| Phase::Ended(Timestamp::from_micros(7), fault);
        let text = str::to_owned;
        for (status, phase) in [
            (json!({ "phase": "Pending" }), Phase::Starting(None)),
            (json!({ "phase": "Running" }), Phase::Running),
            // Nobody hears of its node.
            (json!({ "phase": "Unknown" }), Phase::Running),
            (json!({ "phase": "Succeeded", "containerStatuses": terminated(0, "Completed") }), ended(None)),
            // A sidecar goes on.
            (json!({ "phase": "Running", "containerStatuses": terminated(0, "Completed") }), ended(None)),
            (
                json!({ "phase": "Failed", "containerStatuses": terminated(137, "OOMKilled") }),
                ended(Some(Fault::OomKilled { limit: Some(text("256Mi")) })),
            ),
            (
                json!({ "phase": "Succeeded", "containerStatuses": terminated(0, "OOMKilled") }),
                ended(Some(Fault::OomKilled { limit: Some(text("256Mi")) })),
            ),
            (
                json!({ "phase": "Failed", "containerStatuses": terminated(4, "Error") }),
                ended(Some(Fault::Exited { code: 4, why: String::new() })),
            ),
            (
                json!({ "phase": "Failed", "containerStatuses": container(&json!({
                    "terminated": { "exitCode": 4, "reason": "Error", "message": "a line\nerror: the token of workers is wrong\n" },
                })) }),
                ended(Some(Fault::Exited { code: 4, why: text("error: the token of workers is wrong") })),
            ),
            (
                json!({ "phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory." }),
                ended(Some(Fault::Evicted(text("The node was low on resource: memory.")))),
            ),
            (
                json!({ "phase": "Failed", "reason": "NodeShutdown", "message": "bye" }),
                ended(Some(Fault::NodeLost(text("bye")))),
            ),
            (
                json!({ "phase": "Failed", "reason": "DeadlineExceeded", "message": "too long" }),
                ended(Some(Fault::Other(text("DeadlineExceeded: too long")))),
            ),
            (
                json!({ "phase": "Failed", "containerStatuses": container(&json!({ "waiting": { "reason": "PodInitializing" } })),
                    "initContainerStatuses": [{
                        "name": "fetch", "image": "fetch:1", "imageID": "", "ready": false, "restartCount": 0,
                        "state": { "terminated": { "exitCode": 3, "reason": "Error", "message": "no route to it\n" } },
                    }] }),
                ended(Some(Fault::Other(text("its container `fetch` ended with code 3: no route to it")))),
            ),
            (disrupted("PreemptionByScheduler"), ended(Some(Fault::Preempted(text("so it is"))))),
            (disrupted("DeletionByTaintManager"), ended(Some(Fault::NodeLost(text("so it is"))))),
            (disrupted("TerminationByKubelet"), ended(Some(Fault::Evicted(text("so it is"))))),
            (
                waiting("ImagePullBackOff", "Back-off pulling image"),
                Phase::Starting(Some(Fault::Image { image: text("airlock:1"), why: text("Back-off pulling image") })),
            ),
            (
                waiting("CreateContainerConfigError", "secret \"airlock\" not found"),
                Phase::Starting(Some(Fault::Configuration(text("secret \"airlock\" not found")))),
            ),
            (waiting("ContainerCreating", ""), Phase::Starting(None)),
            (
                json!({ "phase": "Pending", "conditions": [{
                    "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available",
                }] }),
                Phase::Starting(Some(Fault::Unschedulable(text("0/3 nodes are available")))),
            ),
        ] {
            assert_eq!(read(&status), phase, "{status}");
        }
    }

    #[test]
    fn a_pod_that_is_gone_was_deleted_unless_more_is_known() {
        let of = |status: Value| {
            let pod: k8s::Pod = serde_json::from_value(json!({ "metadata": {}, "status": status })).unwrap();
            gone(&pod, Timestamp::from_micros(0))
        };
        assert_eq!(of(json!({ "phase": "Running" })), Some(Fault::Deleted));
        let conditions = json!([{ "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI" }]);
        assert_eq!(of(json!({ "phase": "Running", "conditions": conditions })), Some(Fault::Evicted(String::new())));
        assert_eq!(of(json!({ "phase": "Succeeded" })), None);
    }
}
