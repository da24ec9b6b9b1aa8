//! The loop: looks, plans, asks the cluster, tells what is seen.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1 as k8s;
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::Instant,
};

use super::{
    cluster::{Cluster, Refused},
    read,
    watch::{Seen, watch},
};
use crate::{
    model::{
        ids::{Digest, QueueName},
        pods::{
            Fault, FleetName, LABEL_INSTALLATION, Phase, Pod, PodName, manifest,
            plan::{Book, Bucket, Plan, Sight, Worker},
            settings::{Fleet, Fleets},
        },
        time::{Clock, Timestamp},
    },
    scheduler::{self, FleetsSeen, PodState, Workload},
    telemetry::Metrics,
};

/// Requests to the cluster at a time.
const MAX_REQUESTS: usize = 16;
/// Changes of pods that wait to be taken in; more make the watch wait.
const MAX_SEEN: usize = 1_024;
/// Pods that are gone and whose end is still told.
const MAX_GONE: usize = 1_000;
/// Plans follow each other by so much, at the least.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest time between two plans.
const SAFETY: Duration = Duration::from_secs(30);

/// The work there is, and the workers that do it.
pub(super) trait Work: Send + Sync + 'static {
    /// Of a queue, or of all; without fleets.
    fn workload(&self, queue: Option<&QueueName>) -> Workload;
    /// Whether a worker of this name was ever connected.
    fn has_met(&self, worker: &str) -> bool;
    /// Gives a worker no more attempts.
    fn drain(&self, worker: &str);
    fn show(&self, seen: FleetsSeen);
    /// Where it is counted what becomes of pods.
    fn metrics(&self) -> &Metrics;
    /// Waits until there may be other work, or other workers.
    fn changed(&self) -> impl Future<Output = ()> + Send;
}

/// One fleet, and what is known of it.
struct Kept {
    fleet: Fleet,
    /// By which settings its pods are made.
    spec: String,
    book: Book,
    pods: BTreeMap<PodName, Pod>,
}

/// What the cluster answered.
enum Answer {
    Created(PodName, Result<Box<k8s::Pod>, Refused>),
    Deleted(PodName, Result<(), String>),
}

pub(super) struct Keeper<W> {
    settings: Arc<Fleets>,
    cluster: Cluster,
    installation: String,
    work: W,
    /// Those of the settings, and those of which there are pods only.
    fleets: BTreeMap<FleetName, Kept>,
    bucket: Bucket,
    /// Pods that are known by the answer to their creation only, and since when.
    heard: BTreeMap<PodName, Instant>,
    /// How pods ended that are there no more, the last ones.
    gone: VecDeque<(String, String)>,
    /// Why the pods can't be looked at, if they can't.
    blind: Option<String>,
    /// Whether they were seen at any time.
    has_looked: bool,
    asked: JoinSet<Answer>,
    requests: Arc<Semaphore>,
}

impl<W: Work> Keeper<W> {
    pub fn new(settings: Fleets, cluster: Cluster, installation: String, work: W) -> Self {
        let now = Clock.now();
        Self {
            bucket: Bucket::new(settings.creations, now),
            settings: Arc::new(settings),
            cluster,
            installation,
            work,
            fleets: BTreeMap::new(),
            heard: BTreeMap::new(),
            gone: VecDeque::new(),
            blind: None,
            has_looked: false,
            asked: JoinSet::new(),
            requests: Arc::new(Semaphore::new(MAX_REQUESTS)),
        }
    }

    /// Keeps the pods; never ends.
    pub async fn run(mut self) {
        self.begin().await;
        let (tell, mut seen) = mpsc::channel(MAX_SEEN);
        let labels = format!("{LABEL_INSTALLATION}={}", self.installation);
        let mut watching = JoinSet::new();
        watching.spawn(watch(self.cluster.api(), labels, tell));
        loop {
            let look_at = self.turn(Clock.now());
            tokio::time::sleep(PAUSE).await;
            let wait = look_at.map_or(SAFETY, |at| at.since(Clock.now()).min(SAFETY));
            tokio::select! {
                one = seen.recv() => match one {
                    Some(one) => self.take(one, Clock.now()),
                    None => return tracing::error!("nobody looks at the pods any more; start the server again"),
                },
                Some(answer) = self.asked.join_next() => self.answered(answer),
                () = self.work.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
            while let Ok(one) = seen.try_recv() {
                self.take(one, Clock.now());
            }
            while let Some(answer) = self.asked.try_join_next() {
                self.answered(answer);
            }
        }
    }

    /// Takes in the fleets of the settings, for which images have to be known.
    async fn begin(&mut self) {
        let settings = Arc::clone(&self.settings);
        let mut own = None;
        for (name, fleet) in &settings.fleets {
            let image = match &fleet.image {
                Some(image) => image.clone(),
                None => match &own {
                    Some(own) => String::clone(own),
                    None => own.insert(self.own_image().await).clone(),
                },
            };
            let fleet = Fleet { image: Some(image), ..fleet.clone() };
            self.add(name.clone(), fleet);
        }
    }

    fn add(&mut self, name: FleetName, fleet: Fleet) {
        let spec = spec_of(&self.settings, &fleet, &name);
        let book = Book::new(&self.installation);
        self.fleets.insert(name, Kept { fleet, spec, book, pods: BTreeMap::new() });
    }

    /// The image of the pod in which this process is.
    async fn own_image(&self) -> String {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        loop {
            let why = match self.cluster.get_beside_us(&host).await {
                Ok(Some(pod)) => match image_of(&pod) {
                    Some(image) => return image,
                    None => format!("pod `{host}` has no image"),
                },
                Ok(None) => format!("this process is in no pod: there is none called `{host}`"),
                Err(refused) => refused.why,
            };
            tracing::error!(
                why,
                "it is not known of which image pods are to be; name `image` in the file of kubernetes.fleets"
            );
            self.show_nothing(&format!("no `image` is named, and that of this process is not known: {why}"));
            tokio::time::sleep(SAFETY).await;
        }
    }

    /// Plans for each fleet, and does what was planned. Answers when time alone changes something.
    fn turn(&mut self, now: Timestamp) -> Option<Timestamp> {
        let mut connected = BTreeSet::new();
        let mut look_at: Option<Timestamp> = None;
        let mut plans = Vec::new();
        for (name, kept) in &mut self.fleets {
            let full = |pod: &PodName| pod.full(&self.installation);
            // Before it is seen who is connected: whoever connects meanwhile is not one that has left again. And that is looked at
            // once, with what they run: a pod would be started too many for an attempt whose worker is not seen.
            let met: BTreeSet<_> = kept.pods.keys().filter(|pod| self.work.has_met(&full(pod))).cloned().collect();
            // Nobody waits for a fleet that is no more, whose pods may serve any queue.
            let is_gone = kept.fleet.max == 0;
            let load = self.work.workload((!is_gone).then_some(&kept.fleet.queue));
            let workers: BTreeMap<_, _> = load.workers.iter().map(|worker| (worker.name.as_str(), worker)).collect();
            let of_pods: BTreeMap<_, _> = kept
                .pods
                .keys()
                .filter_map(|pod| Some((pod.clone(), seen_worker(workers.get(full(pod).as_str())?))))
                .collect();
            connected.extend(of_pods.keys().cloned());
            let ours: BTreeSet<_> = kept.pods.keys().map(full).collect();
            let others = load.workers.iter().filter(|worker| !ours.contains(&worker.name));
            let others = others.map(|worker| seen_worker(worker).holds());
            let sight = Sight {
                fleet: name,
                pods: &kept.pods,
                workers: &of_pods,
                met: &met,
                others: others.fold(0, u32::saturating_add),
                wanted: if is_gone { 0 } else { load.wanted },
                spec: &kept.spec,
                now,
            };
            // Before the pods were seen it is not known what there is.
            let plan =
                if self.has_looked { kept.book.plan(&kept.fleet, &sight, &mut self.bucket) } else { Plan::default() };
            look_at = look_at.into_iter().chain(plan.look_at).min();
            plans.push(plan);
        }
        for plan in plans {
            self.carry_out(plan);
        }
        // One that is no more, and of which nothing is left.
        self.fleets.retain(|_, kept| kept.fleet.max > 0 || !kept.pods.is_empty());
        self.show(&connected);
        look_at
    }

    fn carry_out(&mut self, plan: Plan) {
        let Plan { create, drain, delete, look_at: _ } = plan;
        for name in create {
            let Some(kept) = self.fleets.get(&name.fleet) else { continue };
            let image = kept.fleet.image.as_deref().unwrap_or_default();
            let manifest = manifest::pod(&self.settings, &kept.fleet, &name, image, &self.installation, &kept.spec);
            let (full, installation) = (name.full(&self.installation), self.installation.clone());
            tracing::info!(pod = full, "a pod is created");
            self.ask(async move |cluster| {
                let created = cluster.create(&full, &manifest, &installation).await;
                Answer::Created(name, created.map(Box::new))
            });
        }
        for name in drain {
            let full = name.full(&self.installation);
            tracing::info!(pod = full, "a pod is no longer needed");
            self.work.drain(&full);
        }
        for name in delete {
            let full = name.full(&self.installation);
            tracing::info!(pod = full, "a pod is deleted");
            self.ask(async move |cluster| Answer::Deleted(name, cluster.delete(&full).await));
        }
    }

    fn ask<F: Future<Output = Answer> + Send + 'static>(&mut self, request: impl FnOnce(Cluster) -> F) {
        let requests = Arc::clone(&self.requests);
        let request = request(self.cluster.clone());
        self.asked.spawn(async move {
            // It is never closed.
            let _one_of = requests.acquire_owned().await;
            request.await
        });
    }

    /// Takes in what was seen of pods.
    fn take(&mut self, seen: Seen, now: Timestamp) {
        match seen {
            Seen::All { pods, asked_at } => {
                let listed: BTreeSet<_> = pods.iter().filter_map(|pod| self.put(pod, now)).collect();
                // One that was created after the question is not part of the answer.
                self.heard.retain(|name, heard_at| *heard_at >= asked_at && !listed.contains(name));
                let is_there = |name: &PodName| listed.contains(name) || self.heard.contains_key(name);
                let lost =
                    self.fleets.values_mut().flat_map(|kept| kept.pods.extract_if(.., |name, _| !is_there(name)));
                for (name, pod) in lost.collect::<Vec<_>>() {
                    self.forget(&name, Some(&pod.phase), &pod.phase, None);
                }
                (self.blind, self.has_looked) = (None, true);
            }
            Seen::One(pod) => {
                self.blind = None;
                if let Some(name) = self.put(&pod, now) {
                    self.heard.remove(&name);
                }
            }
            Seen::Gone(pod) => {
                self.blind = None;
                let Some((name, last)) = read::pod(&pod, &self.installation, now) else { return };
                self.heard.remove(&name);
                let before = self.fleets.get_mut(&name.fleet).and_then(|kept| kept.pods.remove(&name));
                let before = before.as_ref().map(|pod| &pod.phase);
                self.forget(&name, before, &last.phase, read::gone(&pod, now));
            }
            Seen::Nothing(why) => self.blind = Some(why),
        }
    }

    /// Takes in a pod as it is now; its name, if it is ours.
    fn put(&mut self, pod: &k8s::Pod, now: Timestamp) -> Option<PodName> {
        let (name, read) = read::pod(pod, &self.installation, now)?;
        if !self.fleets.contains_key(&name.fleet) {
            self.add(name.fleet.clone(), Fleet::gone());
        }
        let ended = match &read.phase {
            Phase::Ended(_, fault) => Some(fault.clone()),
            Phase::Starting(_) | Phase::Running => None,
        };
        let before = self.fleets.get_mut(&name.fleet)?.pods.insert(name.clone(), read);
        if let Some(fault) = ended {
            self.count_end(&name, before.as_ref().map(|pod| &pod.phase), fault.as_ref());
        }
        Some(name)
    }

    /// Counts a pod that ended, once: not one that had ended `before`, or before this process looked.
    fn count_end(&self, name: &PodName, before: Option<&Phase>, fault: Option<&Fault>) {
        let is_new = match before {
            Some(Phase::Ended(..)) => false,
            Some(Phase::Starting(_) | Phase::Running) => true,
            None => self.has_looked,
        };
        if is_new {
            self.work.metrics().pod_ended(name.fleet.as_str(), fault.map_or("done", Fault::kind));
        }
    }

    /// Remembers for a while how a pod ended that is there no more, and was so `before`.
    fn forget(&mut self, name: &PodName, before: Option<&Phase>, last: &Phase, fault: Option<Fault>) {
        let fault = match last {
            Phase::Ended(_, fault) => fault.clone(),
            Phase::Starting(_) | Phase::Running => fault.or(Some(Fault::Deleted)),
        };
        self.count_end(name, before, fault.as_ref());
        self.gone.push_back((name.full(&self.installation), end_of(fault.as_ref())));
        if self.gone.len() > MAX_GONE {
            self.gone.pop_front();
        }
    }

    fn answered(&mut self, answer: Result<Answer, tokio::task::JoinError>) {
        let now = Clock.now();
        match answer {
            Ok(Answer::Created(name, Ok(pod))) => {
                self.work.metrics().pod_asked_for(name.fleet.as_str(), true);
                let full = name.full(&self.installation);
                let is_gone = self.gone.iter().any(|(gone, _)| *gone == full);
                let is_new = self.fleets.get(&name.fleet).is_some_and(|kept| !kept.pods.contains_key(&name));
                // What the watch has shown meanwhile is newer than this.
                if is_new && !is_gone {
                    self.put(&pod, now);
                    self.heard.insert(name.clone(), Instant::now());
                }
                if let Some(kept) = self.fleets.get_mut(&name.fleet) {
                    kept.book.created(&name);
                }
            }
            Ok(Answer::Created(name, Err(Refused { why, after }))) => {
                self.work.metrics().pod_asked_for(name.fleet.as_str(), false);
                tracing::warn!(fleet = %name.fleet, why, "a pod was not created");
                if let Some(kept) = self.fleets.get_mut(&name.fleet) {
                    kept.book.not_created(&name, why, after, now);
                }
            }
            Ok(Answer::Deleted(_, Ok(()))) => {}
            Ok(Answer::Deleted(name, Err(why))) => {
                tracing::warn!(fleet = %name.fleet, why, "a pod was not deleted");
                if let Some(kept) = self.fleets.get_mut(&name.fleet) {
                    kept.book.not_deleted(&name, now);
                }
            }
            Err(error) => tracing::error!(error = %error, "a request to the cluster ended badly"),
        }
    }

    /// Tells what is seen; the workers of these pods are connected.
    fn show(&self, connected: &BTreeSet<PodName>) {
        let mut ends: BTreeMap<_, _> = self.gone.iter().cloned().collect();
        let (mut fleets, mut asked) = (Vec::new(), BTreeSet::new());
        for (name, kept) in &self.fleets {
            asked.extend(kept.book.creating().map(|pod| pod.full(&self.installation)));
            let pods = kept.pods.iter().map(|(name, pod)| {
                let full = name.full(&self.installation);
                let (state, fault) = match &pod.phase {
                    Phase::Ended(_, fault) => {
                        ends.insert(full.clone(), end_of(fault.as_ref()));
                        (PodState::Ended, fault.as_ref())
                    }
                    Phase::Starting(fault) if pod.is_leaving => (PodState::Leaving, fault.as_ref()),
                    Phase::Starting(fault) => (PodState::Starting, fault.as_ref()),
                    Phase::Running if pod.is_leaving => (PodState::Leaving, None),
                    Phase::Running if connected.contains(name) => (PodState::Running, None),
                    Phase::Running => (PodState::Starting, None),
                };
                let (node, trouble) = (pod.node.clone(), fault.map(Fault::to_string));
                scheduler::Pod { name: full, state, node, created_at: pod.created_at, trouble }
            });
            let blind = self.blind.as_ref().map(|why| format!("the pods can't be looked at: {why}"));
            let trouble = kept.book.trouble().map(str::to_owned).or(blind);
            fleets.push(shown(name, &kept.fleet, trouble, pods.collect()));
        }
        self.work.show(FleetsSeen { fleets, asked, ends });
    }

    /// Tells why nothing is done.
    fn show_nothing(&self, why: &str) {
        let fleets = &self.settings.fleets;
        let fleets = fleets.iter().map(|(name, fleet)| shown(name, fleet, Some(why.to_owned()), Vec::new())).collect();
        self.work.show(FleetsSeen { fleets, ..FleetsSeen::default() });
    }
}

fn shown(name: &FleetName, fleet: &Fleet, trouble: Option<String>, pods: Vec<scheduler::Pod>) -> scheduler::Fleet {
    let Fleet { queue, min, max, slots, .. } = fleet;
    scheduler::Fleet {
        name: name.to_string(),
        queue: queue.clone(),
        min: *min,
        max: *max,
        slots: *slots,
        trouble,
        pods,
    }
}

fn end_of(fault: Option<&Fault>) -> String {
    fault.map_or_else(|| "ended".to_owned(), Fault::to_string)
}

fn seen_worker(worker: &scheduler::Worker) -> Worker {
    let scheduler::Worker { slots, running, loading, is_draining, idle_since, .. } = *worker;
    // It has those, too, also if it takes no more.
    Worker { slots, running: running.saturating_add(loading), is_draining, idle_since }
}

/// A digest of all that a pod of the fleet is, but for its name.
fn spec_of(settings: &Fleets, fleet: &Fleet, name: &FleetName) -> String {
    let name = PodName { fleet: name.clone(), place: 0, generation: 0 };
    let image = fleet.image.as_deref().unwrap_or_default();
    let manifest = manifest::pod(settings, fleet, &name, image, "", "");
    Digest(Sha256::digest(manifest.to_string().as_bytes()).into()).to_string()
}

/// The image of a server's pod: of the container that is called as we are, or of the first.
fn image_of(pod: &k8s::Pod) -> Option<String> {
    let containers = &pod.spec.as_ref()?.containers;
    let named = containers.iter().find(|container| container.name == "airlock");
    named.or(containers.first())?.image.clone()
}
