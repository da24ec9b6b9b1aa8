//! Against a cluster that is a function.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Method, Request, Response};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{
    cluster::{Cluster, Refused},
    keeper::{Keeper, Work},
};
use crate::{
    model::{ids::QueueName, pods::settings::Fleets},
    scheduler::{FleetsSeen, Workload},
    telemetry::{Gauges, Metrics},
};

const INSTALLATION: &str = "0f3c5a77";

/// What was asked: method, path with query, body.
type Asked = (Method, String, Value);

/// A cluster that answers as it is told, and what it was asked.
fn cluster(answer: impl Fn(&Asked) -> (u16, Value) + Send + Sync + 'static) -> (Cluster, Arc<Mutex<Vec<Asked>>>) {
    let (answer, all) = (Arc::new(answer), Arc::<Mutex<Vec<Asked>>>::default());
    let kept = Arc::clone(&all);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (answer, kept) = (Arc::clone(&answer), Arc::clone(&kept));
        async move {
            let (parts, body) = request.into_parts();
            let bytes = body.collect_bytes().await?;
            let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
            let asked = (parts.method, path, serde_json::from_slice(&bytes).unwrap_or(Value::Null));
            let (status, body) = answer(&asked);
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
            let response = Response::builder().status(status).body(Body::from(format!("{body}\n").into_bytes()));
            Ok::<_, kube::Error>(response.unwrap())
        }
    });
    (Cluster::of(Client::new(service, "airlock"), Some("jobs".into())), all)
}

fn status(code: u16, reason: &str) -> (u16, Value) {
    (code, json!({ "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "so it is" }))
}

fn pod(name: &str, installation: &str) -> Value {
    json!({ "metadata": { "name": name, "labels": { "airlock.dev/installation": installation } } })
}

#[tokio::test]
async fn a_pod_is_created_as_it_is_written_and_one_of_ours_taken_for_it() {
    for (answers, wanted) in [
        (vec![(201, pod("a", INSTALLATION))], Ok("a")),
        // Asked for before, by this process or by another.
        (vec![status(409, "AlreadyExists"), (200, pod("a", INSTALLATION))], Ok("a")),
        (vec![status(409, "AlreadyExists"), (200, pod("a", "another"))], Err("which is not of this installation")),
        (vec![status(409, "AlreadyExists"), status(404, "NotFound")], Err("was there until now")),
        (vec![status(409, "Conflict")], Err("pod `a` can't be created: so it is (409)")),
        (vec![status(403, "Forbidden")], Err("pod `a` can't be created: so it is (403)")),
        (vec![(503, json!("a proxy's page"))], Err("503")),
    ] {
        let left = Mutex::new(answers.clone().into_iter());
        let (cluster, asked) = cluster(move |_| left.lock().unwrap().next().unwrap());
        let created = cluster.create("a", &json!({ "spec": { "field": "of tomorrow" } }), INSTALLATION).await;
        match (created, wanted) {
            (Ok(pod), Ok(name)) => assert_eq!(pod.metadata.name.as_deref(), Some(name)),
            (Err(Refused { why, .. }), Err(text)) => assert!(why.contains(text), "{why}"),
            (created, wanted) => panic!("{created:?}, and not {wanted:?}, by {answers:?}"),
        }
        let asked = asked.lock().unwrap();
        let (method, path, body) = &asked[0];
        assert_eq!((method, body), (&Method::POST, &json!({ "spec": { "field": "of tomorrow" } })));
        assert_eq!(path, "/api/v1/namespaces/jobs/pods?fieldValidation=Strict&fieldManager=airlock");
    }
}

#[tokio::test]
async fn a_cluster_that_is_busy_says_when_to_come_again() {
    let (cluster, _) = cluster(|_| {
        let (code, mut body) = status(429, "TooManyRequests");
        body["details"] = json!({ "retryAfterSeconds": 7 });
        (code, body)
    });
    let refused = cluster.create("a", &json!({}), INSTALLATION).await.unwrap_err();
    assert_eq!(refused.after, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_pod_that_is_not_there_is_deleted() {
    for (code, reason, is_deleted) in [(200, "", true), (404, "NotFound", true), (500, "InternalError", false)] {
        let (cluster, _) =
            cluster(move |_| if code == 200 { (200, pod("a", INSTALLATION)) } else { status(code, reason) });
        assert_eq!(cluster.delete("a").await.is_ok(), is_deleted, "{code}");
    }
}

/// Work that waits on a queue, and nobody who does it.
#[derive(Default)]
struct Waiting {
    shown: Arc<Mutex<FleetsSeen>>,
    told: Notify,
    metrics: Metrics,
}

impl Work for Waiting {
    fn workload(&self, queue: Option<&QueueName>) -> Workload {
        let wanted = if queue.is_some_and(|queue| queue.as_str() == "gpu") { 2 } else { 0 };
        Workload { wanted, waiting: wanted, ..Workload::default() }
    }

    fn has_met(&self, _: &str) -> bool {
        false
    }

    fn drain(&self, worker: &str) {
        panic!("{worker} is not here");
    }

    fn show(&self, seen: FleetsSeen) {
        *self.shown.lock().unwrap() = seen;
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    async fn changed(&self) {
        self.told.notified().await;
    }
}

/// Runs a keeper until what was asked and what it shows are so.
async fn keep(
    answer: impl Fn(&Asked) -> (u16, Value) + Send + Sync + 'static,
    is_so: impl Fn(&[Asked], &FleetsSeen) -> bool,
) -> Vec<Asked> {
    let fleets = "{server: 'http://airlock', image: x, fleets: {gpu: {max: 3}, other: {max: 3}}}";
    keep_of(fleets, answer, is_so).await
}

async fn keep_of(
    fleets: &str,
    answer: impl Fn(&Asked) -> (u16, Value) + Send + Sync + 'static,
    is_so: impl Fn(&[Asked], &FleetsSeen) -> bool,
) -> Vec<Asked> {
    keep_and_count(fleets, answer, |asked, shown, _| is_so(asked, shown)).await
}

/// As [`keep_of`], with the figures as they are told.
async fn keep_and_count(
    fleets: &str,
    answer: impl Fn(&Asked) -> (u16, Value) + Send + Sync + 'static,
    is_so: impl Fn(&[Asked], &FleetsSeen, &str) -> bool,
) -> Vec<Asked> {
    let (cluster, asked) = cluster(answer);
    let fleets = Fleets::parse(fleets).unwrap();
    let work = Waiting::default();
    let (shown, metrics) = (Arc::clone(&work.shown), work.metrics.clone());
    let keeper = Keeper::new(fleets, cluster, INSTALLATION.into(), work);
    let done = async {
        let figures = || metrics.render(&Gauges::default());
        while !is_so(&asked.lock().unwrap(), &shown.lock().unwrap(), &figures()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = keeper.run() => panic!("it ends"),
        () = done => {}
        () = tokio::time::sleep(Duration::from_secs(20)) => panic!("{:?} {:?}", asked.lock().unwrap(), shown.lock().unwrap()),
    }
    asked.lock().unwrap().clone()
}

fn list(pods: &[Value]) -> (u16, Value) {
    (200, json!({ "metadata": { "resourceVersion": "7" }, "items": pods }))
}

fn names_created(asked: &[Asked]) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    for (_, _, body) in asked.iter().filter(|(method, ..)| method == Method::POST) {
        *names.entry(body["metadata"]["name"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    names
}

#[tokio::test]
async fn what_waits_is_given_pods_once_those_that_are_there_are_known() {
    let there = pod("airlock-0f3c5a-gpu-0-4", INSTALLATION);
    let asked = keep(
        move |(method, path, body)| match method {
            &Method::POST => (201, body.clone()),
            // A watch that ends at once.
            _ if path.contains("watch=true") => {
                (200, json!({ "type": "BOOKMARK", "object": { "metadata": { "resourceVersion": "8" } } }))
            }
            _ => list(std::slice::from_ref(&there)),
        },
        |asked, _| names_created(asked).len() == 2 && asked.iter().any(|(method, ..)| method == Method::DELETE),
    )
    .await;
    assert_eq!(asked[0].0, Method::GET, "it looks first");
    assert!(asked[0].1.contains("labelSelector=airlock.dev%2Finstallation%3D0f3c5a77"), "{}", asked[0].1);
    // The one that is there is of settings of before and gives way; place 0 is its as long as it lives.
    assert_eq!(
        names_created(&asked).into_keys().collect::<Vec<_>>(),
        ["airlock-0f3c5a-gpu-1-0", "airlock-0f3c5a-gpu-2-0"]
    );
    assert!(asked.iter().any(|(method, path, _)| method == Method::DELETE && path.contains("gpu-0-4")), "{asked:?}");
}

#[tokio::test]
async fn refused_creations_are_tried_again_under_their_names() {
    let asked = keep(
        |(method, path, _)| match method {
            &Method::POST => status(403, "Forbidden"),
            _ if path.contains("watch=true") => status(410, "Expired"),
            _ => list(&[]),
        },
        |asked, shown| {
            let trouble = shown.fleets.first().and_then(|fleet| fleet.trouble.as_deref()).unwrap_or_default();
            trouble.contains("so it is (403)")
                && names_created(asked).values().all(|count| *count == 2)
                && !names_created(asked).is_empty()
        },
    )
    .await;
    assert_eq!(
        names_created(&asked).into_keys().collect::<Vec<_>>(),
        ["airlock-0f3c5a-gpu-0-0", "airlock-0f3c5a-gpu-1-0"]
    );
}

#[tokio::test]
async fn where_pods_can_not_be_looked_at_none_are_created() {
    let asked = keep(
        |_| status(403, "Forbidden"),
        |_, shown| {
            shown
                .fleets
                .iter()
                .all(|fleet| fleet.trouble.as_deref().is_some_and(|why| why.contains("can't be looked at")))
                && !shown.fleets.is_empty()
        },
    )
    .await;
    assert_eq!(names_created(&asked), BTreeMap::new());
}

#[tokio::test]
async fn pods_have_the_image_of_the_server_unless_one_is_named() {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // Where the server is, not where its fleets are.
    let own = format!("/api/v1/namespaces/airlock/pods/{host}");
    let server = json!({ "metadata": { "name": host }, "spec": { "containers": [
        { "name": "proxy", "image": "proxy:1" }, { "name": "airlock", "image": "airlock:7" },
    ] } });
    let asked = keep_of(
        "{server: 'http://airlock', fleets: {gpu: {max: 1}}}",
        move |(method, path, body)| match method {
            &Method::POST => (201, body.clone()),
            _ if *path == own => (200, server.clone()),
            _ if path.contains("watch=true") => status(410, "Expired"),
            _ => list(&[]),
        },
        |asked, _| !names_created(asked).is_empty(),
    )
    .await;
    let created = asked.iter().find(|(method, ..)| method == Method::POST).unwrap();
    assert_eq!(created.2["spec"]["containers"][0]["image"], "airlock:7");
}

#[tokio::test]
async fn creations_and_ends_of_pods_are_counted_once_by_why() {
    let phase = |name: &str, phase: &str, reason: &str| {
        let mut pod = pod(name, INSTALLATION);
        pod["metadata"]["creationTimestamp"] = json!("2026-11-22T07:00:00Z");
        pod["metadata"]["resourceVersion"] = json!("9");
        pod["status"] = json!({ "phase": phase, "reason": reason });
        pod
    };
    let looks = Mutex::new(0);
    let refusals = Mutex::new(1);
    keep_and_count(
        "{server: 'http://airlock', image: x, fleets: {gpu: {max: 3}}}",
        move |(method, path, body)| match *method {
            Method::POST => {
                let mut refusals = refusals.lock().unwrap();
                if *refusals > 0 {
                    *refusals -= 1;
                    return status(403, "Forbidden");
                }
                (201, body.clone())
            }
            Method::DELETE => (200, json!({})),
            _ if path.contains("watch=true") => status(410, "Expired"),
            _ => {
                let mut looks = looks.lock().unwrap();
                *looks += 1;
                // One had ended before, and is nobody's; the others run, and then have ended.
                let old = phase("airlock-0f3c5a-gpu-0-1", "Failed", "Evicted");
                match *looks {
                    1 => list(&[
                        old,
                        phase("airlock-0f3c5a-gpu-1-1", "Running", ""),
                        phase("airlock-0f3c5a-gpu-2-1", "Running", ""),
                    ]),
                    2 => list(&[old, phase("airlock-0f3c5a-gpu-1-1", "Failed", "Evicted")]),
                    _ => list(&[phase("airlock-0f3c5a-gpu-1-1", "Failed", "Evicted")]),
                }
            }
        },
        |_, _, figures| {
            [
                r#"airlock_pod_ends_total{fleet="gpu",reason="evicted"} 1"#,
                r#"airlock_pod_ends_total{fleet="gpu",reason="deleted"} 1"#,
                r#"airlock_pod_creations_total{fleet="gpu",result="refused"} 1"#,
                r#"airlock_pod_creations_total{fleet="gpu",result="created"}"#,
            ]
            .iter()
            .all(|line| figures.contains(line))
        },
    )
    .await;
}
