//! Which pods of a fleet to create, to drain and to delete.
//!
//! ```text
//!  create --> starting --worker connects--> at work --idle, drained--> ended --after a while--> deleted
//!                |                              |
//!                +-- too late: deleted          +-- worker lost for too long: deleted
//! ```
//!
//! It promises: a fleet never has more pods that live than it may; one place is one pod's at a time; creations keep to the rate; where
//! creations fail the next ones wait, longer each time; pods that somebody waits for stay. It has no memory that matters: a [`Book`] that
//! is lost is made again from what the cluster shows.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    Fault, FleetName, Phase, Pod, PodName,
    settings::{Fleet, Rate},
};
use crate::model::time::Timestamp;

/// A worker whose connection is lost comes back within this, if its pod and the way to it are well: it tries every 5 seconds.
const RECONNECT: Duration = Duration::from_secs(15);
/// A pod whose worker was here and stays away for so long is given up.
const AWAY: Duration = Duration::from_mins(1);
/// The first pause after creations failed, and the longest: each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_mins(5);
/// Deletions that failed are tried again after this.
const DELETE_AGAIN: Duration = Duration::from_secs(5);
/// Pods that ended and are kept to be looked at, whatever the fleet says.
const MAX_ENDED: usize = 20;

/// What is seen of a fleet.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    pub fleet: &'a FleetName,
    pub pods: &'a BTreeMap<PodName, Pod>,
    /// The workers of its pods that are connected.
    pub workers: &'a BTreeMap<PodName, Worker>,
    /// Pods whose worker was connected at any time.
    pub met: &'a BTreeSet<PodName>,
    /// Slots of other workers that serve its queue.
    pub others: u32,
    /// Slots that there is work for.
    pub wanted: u32,
    /// By which settings its pods are to be made.
    pub spec: &'a str,
    pub now: Timestamp,
}

/// A worker that is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Worker {
    pub slots: u32,
    /// Attempts that it has.
    pub running: u32,
    pub is_draining: bool,
    /// Since when it runs nothing; none: it does.
    pub idle_since: Option<Timestamp>,
}

impl Worker {
    /// Slots for which there need not be another worker.
    pub fn holds(&self) -> u32 {
        if self.is_draining { self.running } else { self.slots }
    }
}

/// What is to be done now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub create: Vec<PodName>,
    /// Their workers get no more attempts, and leave.
    pub drain: Vec<PodName>,
    pub delete: Vec<PodName>,
    /// When time alone changes what is to be done.
    pub look_at: Option<Timestamp>,
}

impl Plan {
    fn look(&mut self, at: Timestamp) {
        self.look_at = Some(self.look_at.map_or(at, |before| before.min(at)));
    }
}

/// How many creations there may be: a token bucket.
#[derive(Debug, Clone)]
pub struct Bucket {
    rate: Rate,
    /// Millionths of a creation.
    level: u64,
    at: Timestamp,
}

const WHOLE: u64 = 1_000_000;

impl Bucket {
    /// A full one.
    pub fn new(rate: Rate, now: Timestamp) -> Self {
        Self { rate, level: u64::from(rate.burst.get()) * WHOLE, at: now }
    }

    /// One creation, or when there is one.
    fn take(&mut self, now: Timestamp) -> Result<(), Timestamp> {
        let (per_second, full) = (u64::from(self.rate.per_second.get()), u64::from(self.rate.burst.get()) * WHOLE);
        // Microseconds times creations a second are millionths of creations.
        let gained = u64::try_from(now.since(self.at).as_micros()).unwrap_or(u64::MAX).saturating_mul(per_second);
        self.level = self.level.saturating_add(gained).min(full);
        self.at = self.at.max(now);
        match self.level.checked_sub(WHOLE) {
            Some(rest) => {
                self.level = rest;
                Ok(())
            }
            None => Err(now.after(Duration::from_micros((WHOLE - self.level).div_ceil(per_second)))),
        }
    }
}

/// What is remembered of a fleet.
#[derive(Debug, Clone)]
pub struct Book {
    /// See [`PodName::full`].
    installation: String,
    /// Creations that were asked for and not answered.
    creating: BTreeSet<PodName>,
    /// Deletions that were asked for and not refused, of pods that are still seen.
    deleting: BTreeSet<PodName>,
    /// The last generation of each place.
    generations: BTreeMap<u32, u64>,
    /// Pods that were seen before they ended.
    seen_alive: BTreeSet<PodName>,
    /// When each pod was seen first: when it was created the cluster's clock says, which may be far from this one.
    found_at: BTreeMap<PodName, Timestamp>,
    /// When the worker of each pod was connected last.
    connected_at: BTreeMap<PodName, Timestamp>,
    /// Failures since a worker connected.
    failures: u32,
    retry_at: Option<Timestamp>,
    /// No deletions before this.
    delete_at: Option<Timestamp>,
    trouble: Option<String>,
}

impl Book {
    pub fn new(installation: &str) -> Self {
        Self {
            installation: installation.to_owned(),
            creating: BTreeSet::new(),
            deleting: BTreeSet::new(),
            generations: BTreeMap::new(),
            seen_alive: BTreeSet::new(),
            found_at: BTreeMap::new(),
            connected_at: BTreeMap::new(),
            failures: 0,
            retry_at: None,
            delete_at: None,
            trouble: None,
        }
    }

    /// The cluster has the pod, whoever created it. To be called when it is among those that are seen.
    pub fn created(&mut self, name: &PodName) {
        self.creating.remove(name);
        self.seen_alive.insert(name.clone());
        self.note(name);
        self.trouble = None;
    }

    /// The cluster does not have the pod, or does not say so. `after`: when it wants to be asked again, at the earliest.
    pub fn not_created(&mut self, name: &PodName, why: String, after: Option<Duration>, now: Timestamp) {
        self.creating.remove(name);
        self.fail(why, now);
        let after = after.map(|after| now.after(after.min(MAX_PAUSE)));
        self.retry_at = self.retry_at.max(after);
    }

    /// The pod was not deleted: it is asked for again, a little later.
    pub fn not_deleted(&mut self, name: &PodName, now: Timestamp) {
        self.deleting.remove(name);
        self.delete_at = Some(now.after(DELETE_AGAIN));
    }

    /// Pods that were asked for, which may be there by now.
    pub fn creating(&self) -> impl Iterator<Item = &PodName> {
        self.creating.iter()
    }

    /// What is wrong with the fleet, if anything is.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// A pod of this name was there.
    fn note(&mut self, name: &PodName) {
        let last = self.generations.entry(name.place).or_default();
        *last = name.generation.max(*last);
    }

    /// Those that fail together count as one.
    fn fail(&mut self, why: String, now: Timestamp) {
        self.trouble = Some(why);
        if self.retry_at.is_some_and(|at| at > now) {
            return;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16)).min(MAX_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(now.after(pause));
    }

    /// Decides, and notes what it decided.
    pub fn plan(&mut self, fleet: &Fleet, sight: &Sight<'_>, bucket: &mut Bucket) -> Plan {
        let mut plan = Plan::default();
        self.look_at_workers(sight);
        self.clean_up(fleet, sight, &mut plan);
        let held = self.look_after(fleet, sight, &mut plan);
        self.shrink(fleet, sight, &held, &mut plan);
        self.grow(fleet, sight, &held, bucket, &mut plan);
        plan
    }

    fn look_at_workers(&mut self, sight: &Sight<'_>) {
        let is_there = |name: &PodName| sight.pods.contains_key(name);
        self.deleting.retain(is_there);
        self.seen_alive.retain(is_there);
        self.found_at.retain(|name, _| is_there(name));
        self.connected_at.retain(|name, _| is_there(name));
        for name in sight.pods.keys() {
            self.note(name);
            self.found_at.entry(name.clone()).or_insert(sight.now);
        }
        for (name, pod) in sight.pods {
            if !matches!(pod.phase, Phase::Ended(..)) {
                self.seen_alive.insert(name.clone());
            }
        }
        for name in sight.workers.keys().filter(|name| is_there(name)) {
            if self.connected_at.insert(name.clone(), sight.now).is_none() {
                (self.failures, self.retry_at, self.trouble) = (0, None, None);
            }
        }
    }

    /// Pods that ended.
    fn clean_up(&mut self, fleet: &Fleet, sight: &Sight<'_>, plan: &mut Plan) {
        let ended = sight.pods.iter().filter_map(|(name, pod)| match &pod.phase {
            Phase::Ended(at, fault) if !pod.is_leaving => Some((*at, name, fault)),
            _ => None,
        });
        let mut ended: Vec<_> = ended.collect();
        ended.sort_by_key(|(at, name, _)| (*at, *name));
        let too_many = ended.len().saturating_sub(MAX_ENDED);
        for (index, (at, name, fault)) in ended.into_iter().enumerate() {
            if self.seen_alive.remove(name) && !self.was_here(name, sight) {
                let fault = fault.as_ref().map_or_else(|| "ended".to_owned(), Fault::to_string);
                let why = format!("pod `{}` {fault}, before its worker was here", name.full(&self.installation));
                self.fail(why, sight.now);
            }
            let until = at.after(fleet.keep);
            if index < too_many || until <= sight.now {
                self.delete(name, sight.now, plan);
            } else {
                plan.look(until);
            }
        }
    }

    /// Pods that live: gives up those whose worker is not here in time, and tells what the others hold.
    fn look_after(&mut self, fleet: &Fleet, sight: &Sight<'_>, plan: &mut Plan) -> Held {
        let mut held = Held { slots: sight.others, ..Held::default() };
        for name in self.creating.iter().filter(|name| !sight.pods.contains_key(name)) {
            held.places.insert(name.place);
            held.live += 1;
            held.slots = held.slots.saturating_add(fleet.slots_of_new());
        }
        for (name, pod) in sight.pods {
            let fault = match &pod.phase {
                Phase::Ended(..) => continue,
                Phase::Starting(fault) => fault.as_ref(),
                Phase::Running => None,
            };
            held.places.insert(name.place);
            let worker = sight.workers.get(name);
            let is_leaving = pod.is_leaving || self.deleting.contains(name);
            if let Some(worker) = worker {
                let worker = Worker { is_draining: is_leaving || worker.is_draining, ..*worker };
                held.live += u32::from(!worker.is_draining);
                held.slots = held.slots.saturating_add(worker.holds());
                continue;
            }
            if is_leaving {
                continue;
            }
            let connected_at = self.connected_at.get(name);
            let since = connected_at.or_else(|| self.found_at.get(name)).copied().unwrap_or(sight.now);
            let until = since.after(if connected_at.is_some() { AWAY } else { fleet.start });
            if until <= sight.now {
                let full = name.full(&self.installation);
                let why = match fault {
                    Some(fault) => format!("pod `{full}` {fault}"),
                    None if connected_at.is_some() => format!("the worker of pod `{full}` stays away"),
                    None => format!("the worker of pod `{full}` was not here within {} s", fleet.start.as_secs()),
                };
                self.fail(why, sight.now);
                self.delete(name, sight.now, plan);
                continue;
            }
            plan.look(until);
            held.live += 1;
            held.is_blocked |= fault.is_some_and(Fault::is_of_all);
            match connected_at.map(|at| at.after(RECONNECT)) {
                Some(soon) if soon <= sight.now => {}
                soon => {
                    held.slots = held.slots.saturating_add(fleet.slots_of_new());
                    if let Some(soon) = soon {
                        plan.look(soon);
                    }
                }
            }
        }
        held
    }

    /// Lets pods go that are of settings of before, too many, or idle.
    fn shrink(&mut self, fleet: &Fleet, sight: &Sight<'_>, held: &Held, plan: &mut Plan) {
        let mut spare = held.slots.saturating_sub(sight.wanted);
        let mut live = held.live;
        // The places at the end are let go first, so that names stay few.
        for (name, pod) in sight.pods.iter().rev() {
            let is_going = pod.is_leaving || self.deleting.contains(name) || matches!(pod.phase, Phase::Ended(..));
            let worker = sight.workers.get(name);
            if is_going || worker.is_some_and(|worker| worker.is_draining) {
                continue;
            }
            let is_unwanted = name.place >= fleet.max || pod.spec != sight.spec;
            match worker {
                Some(_) if is_unwanted => plan.drain.push(name.clone()),
                None if is_unwanted && !self.connected_at.contains_key(name) => self.delete(name, sight.now, plan),
                Some(worker) => {
                    let Some(idle_since) = worker.idle_since.filter(|_| worker.running == 0) else { continue };
                    if live <= fleet.min || worker.slots > spare {
                        continue;
                    }
                    let until = idle_since.after(fleet.idle);
                    if until > sight.now {
                        plan.look(until);
                        continue;
                    }
                    (live, spare) = (live - 1, spare - worker.slots);
                    plan.drain.push(name.clone());
                }
                None => {}
            }
        }
    }

    /// Creates pods for what waits, and up to the least number.
    fn grow(&mut self, fleet: &Fleet, sight: &Sight<'_>, held: &Held, bucket: &mut Bucket, plan: &mut Plan) {
        let missing = sight.wanted.saturating_sub(held.slots).div_ceil(fleet.slots_of_new().max(1));
        let missing = missing.max(fleet.min.saturating_sub(held.live));
        if missing == 0 && self.retry_at.is_none_or(|at| at <= sight.now) {
            // Nobody waits for what went wrong.
            self.trouble = None;
        }
        if missing == 0 || held.is_blocked {
            return;
        }
        if let Some(at) = self.retry_at.filter(|at| *at > sight.now) {
            return plan.look(at);
        }
        let free = (0..fleet.max).filter(|place| !held.places.contains(place));
        for place in free.take(missing as usize) {
            if let Err(at) = bucket.take(sight.now) {
                return plan.look(at);
            }
            let generation = self.generations.get(&place).map_or(0, |last| last + 1);
            let name = PodName { fleet: sight.fleet.clone(), place, generation };
            self.creating.insert(name.clone());
            plan.create.push(name);
        }
    }

    fn was_here(&self, name: &PodName, sight: &Sight<'_>) -> bool {
        sight.met.contains(name) || self.connected_at.contains_key(name)
    }

    fn delete(&mut self, name: &PodName, now: Timestamp, plan: &mut Plan) {
        if let Some(at) = self.delete_at.filter(|at| *at > now) {
            return plan.look(at);
        }
        if self.deleting.insert(name.clone()) {
            plan.delete.push(name.clone());
        }
    }
}

/// What the pods that live hold.
#[derive(Debug, Default)]
struct Held {
    /// Slots, with those that are about to be.
    slots: u32,
    /// Pods that stay.
    live: u32,
    places: BTreeSet<u32>,
    /// No other pod would start either.
    is_blocked: bool,
}

#[cfg(test)]
mod tests;
