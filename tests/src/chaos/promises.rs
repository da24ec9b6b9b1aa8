//! The ten promises, each a function over the evidence that answers how it was broken. They know nothing of how Airlock is made.

use std::collections::{BTreeMap, BTreeSet};

use super::evidence::{Asked, Evidence, Instance, Key, Outcome, Run};

/// A promise by its name.
pub struct Promise {
    pub name: &'static str,
    /// How it was broken; empty if it was kept.
    pub broken: fn(&Evidence) -> Vec<String>,
}

/// All of them.
pub const PROMISES: [Promise; 10] = [
    Promise { name: "I1 no lost run", broken: no_lost_run },
    Promise { name: "I2 no double success", broken: no_double_success },
    Promise { name: "I3 one leader", broken: one_leader },
    Promise { name: "I4 legal history", broken: legal_history },
    Promise { name: "I5 nothing stuck", broken: nothing_stuck },
    Promise { name: "I6 acknowledged means there", broken: acknowledged_is_there },
    Promise { name: "I7 limits hold", broken: limits_hold },
    Promise { name: "I8 one run for each date", broken: one_run_for_each_date },
    Promise { name: "I9 order", broken: order },
    Promise { name: "I10 fencing", broken: fencing },
];

/// Trigger rules that wait for all that is directly upstream.
const WAITS_FOR_ALL: &[&str] = &[
    "all_success",
    "all_failed",
    "all_done",
    "all_done_min_one_success",
    "all_skipped",
    "none_failed",
    "none_failed_min_one_success",
    "none_skipped",
];

/// Each acknowledged trigger and each due tick has a run, which ends as its dag ends when nobody disturbs it: well.
pub fn no_lost_run(evidence: &Evidence) -> Vec<String> {
    let runs: BTreeMap<_, _> =
        evidence.runs.iter().map(|run| ((run.dag_id.as_str(), run.run_id.as_str()), run)).collect();
    let mut broken = Vec::new();
    for sent in &evidence.sent {
        let Asked::Run { dag_id, run_id } = &sent.what else { continue };
        let run = runs.get(&(dag_id.as_str(), run_id.as_str()));
        match (sent.outcome, run) {
            (Outcome::Acknowledged, None) => {
                broken.push(format!("run `{run_id}` of `{dag_id}` was acknowledged and is not there"));
            }
            (Outcome::Refused(status), Some(_)) => {
                broken.push(format!("run `{run_id}` of `{dag_id}` was refused with {status} and is there"));
            }
            (Outcome::Refused(status), None) => {
                broken.push(format!(
                    "run `{run_id}` of `{dag_id}` was refused with {status}, and nothing is wrong with it"
                ));
            }
            (Outcome::Acknowledged | Outcome::Unknown, _) => {}
        }
    }
    for run in evidence.runs.iter().filter(|run| run.state != "success") {
        broken.push(format!("run `{}` of `{}` is {}", run.run_id, run.dag_id, run.state));
    }
    for (dag_id, dag) in &evidence.dags {
        let (Some(period), Some(paused_at)) = (dag.period_us, dag.paused_at) else { continue };
        let dates = scheduled(evidence, dag_id);
        let Some(last) = dates.last() else {
            broken.push(format!("`{dag_id}` has no scheduled run"));
            continue;
        };
        for pair in dates.windows(2).filter(|pair| pair[1] - pair[0] > period) {
            broken.push(format!("`{dag_id}` has no run between {} and {}", pair[0], pair[1]));
        }
        // A tick just before the pause may come too late.
        if paused_at - last > 3 * period {
            broken.push(format!("`{dag_id}` has no run after {last}, {} us before it was paused", paused_at - last));
        }
    }
    broken
}

/// The logical dates of the scheduled runs of a dag, sorted.
fn scheduled(evidence: &Evidence, dag_id: &str) -> Vec<i64> {
    let runs = evidence.runs.iter().filter(|run| run.dag_id == dag_id && run.run_type == "scheduled");
    let mut dates: Vec<_> = runs.filter_map(|run| run.logical_date).collect();
    dates.sort_unstable();
    dates
}

/// At most one try of each task instance succeeded.
pub fn no_double_success(evidence: &Evidence) -> Vec<String> {
    let mut successes: BTreeMap<Key<'_>, u32> = BTreeMap::new();
    for instance in evidence.tries.iter().chain(&evidence.instances).filter(|instance| instance.state == "success") {
        *successes.entry(instance.key()).or_default() += 1;
    }
    let twice = successes.into_iter().filter(|(_, count)| *count > 1);
    twice.map(|(key, count)| format!("{key:?} succeeded {count} times")).collect()
}

/// At any instant one process leads, and whoever follows it has a greater epoch.
pub fn one_leader(evidence: &Evidence) -> Vec<String> {
    let mut broken = Vec::new();
    let mut holders: BTreeMap<i64, &str> = BTreeMap::new();
    let mut newest = 0;
    for sample in &evidence.samples {
        if sample.leases.len() > 1 {
            broken.push(format!("two lead at a time: {:?}", sample.leases));
        }
        for lease in &sample.leases {
            let first = *holders.entry(lease.epoch).or_insert(&lease.holder);
            if first != lease.holder {
                broken.push(format!("epoch {} is of {first} and of {}", lease.epoch, lease.holder));
            }
            if lease.epoch < newest {
                broken.push(format!("epoch {} comes after epoch {newest}", lease.epoch));
            }
            newest = newest.max(lease.epoch);
        }
    }
    broken
}

/// Every history is one that the states of tasks and runs allow.
pub fn legal_history(evidence: &Evidence) -> Vec<String> {
    let mut broken = Vec::new();
    let runs: BTreeMap<_, _> = evidence.runs.iter().map(|run| (run.key, run)).collect();
    for run in &evidence.runs {
        let is_over = run.end_date.is_some();
        if run.is_finished() != is_over || run.end_date < run.start_date {
            broken.push(format!("{run:?}"));
        }
    }
    let mut tries: BTreeMap<Key<'_>, Vec<&Instance>> = BTreeMap::new();
    for earlier in &evidence.tries {
        tries.entry(earlier.key()).or_default().push(earlier);
        if !matches!(earlier.state.as_str(), "up_for_retry" | "failed") {
            broken.push(format!("a try that was followed by another is {}: {:?}", earlier.state, earlier.key()));
        }
    }
    for instance in &evidence.instances {
        let key = instance.key();
        let is_over = instance.end_date.is_some() && instance.end_date >= instance.start_date;
        if instance.is_finished() && !is_over {
            broken.push(format!("it is {} without an end: {key:?}", instance.state));
        }
        if instance.try_number > instance.max_tries + 1 {
            broken.push(format!("it has more tries than it may have: {instance:?}"));
        }
        if instance.state == "success" && (instance.try_number < 1 || instance.start_date.is_none()) {
            broken.push(format!("it succeeded without a start: {key:?}"));
        }
        if runs.get(&instance.dag_run).is_some_and(|run| run.is_finished()) && !instance.is_finished() {
            broken.push(format!("its run is over, and it is {}: {key:?}", instance.state));
        }
        let mut earlier: Vec<_> = tries.remove(&key).into_iter().flatten().map(|earlier| earlier.try_number).collect();
        earlier.sort_unstable();
        // A branch takes back what was scheduled for a try that never began.
        let expected: Vec<_> = (1..instance.try_number).collect();
        let expected_begun: Vec<_> = (1..=instance.try_number).collect();
        let took_back = instance.state == "skipped" && earlier == expected_begun;
        if earlier != expected && !took_back {
            broken.push(format!("tries {earlier:?} came before try {}: {key:?}", instance.try_number));
        }
    }
    broken.extend(tries.into_keys().map(|key| format!("it has tries and is not there: {key:?}")));
    broken.extend(went_back(evidence));
    broken
}

/// What went back to where it was before.
fn went_back(evidence: &Evidence) -> Vec<String> {
    let mut broken = Vec::new();
    let mut tries: BTreeMap<Key<'_>, (i64, i64)> = BTreeMap::new();
    let (mut before, mut over) = (BTreeSet::new(), BTreeSet::new());
    for sample in &evidence.samples {
        let unfinished: BTreeSet<_> = sample.unfinished.iter().copied().collect();
        over.extend(before.difference(&unfinished).copied());
        broken.extend(unfinished.intersection(&over).map(|run| format!("run {run} was over and goes on")));
        before = unfinished;
        for live in &sample.live {
            let now = (live.try_number, live.restarts);
            let newest = tries.entry((live.dag_run, &live.task_id, live.map_index)).or_insert(now);
            if now < *newest {
                broken.push(format!("{live:?} comes after try and restart {newest:?}"));
            }
            *newest = now.max(*newest);
        }
    }
    broken
}

/// After the last fault all came to rest, in time, and nothing waits for ever.
pub fn nothing_stuck(evidence: &Evidence) -> Vec<String> {
    let mut broken: Vec<_> = evidence.left_over.clone();
    match evidence.at_rest_after {
        Some(after) if after <= evidence.rest_limit => {}
        Some(after) => {
            broken.push(format!("it came to rest after {after:?}, and {:?} are allowed", evidence.rest_limit));
        }
        None => broken.push(format!("it did not come to rest within {:?}", evidence.rest_limit)),
    }
    let unfinished = evidence.instances.iter().filter(|instance| !instance.is_finished());
    broken.extend(unfinished.map(|instance| format!("it is still {}: {:?}", instance.state, instance.key())));
    let unfinished = evidence.runs.iter().filter(|run| !run.is_finished());
    broken.extend(unfinished.map(|run| format!("run `{}` of `{}` is still {}", run.run_id, run.dag_id, run.state)));
    broken
}

/// What was acknowledged, and what a success left, reads back as it was written.
pub fn acknowledged_is_there(evidence: &Evidence) -> Vec<String> {
    let mut broken = Vec::new();
    for sent in &evidence.sent {
        let Asked::Variable { key, value, found } = &sent.what else { continue };
        let is_there = found.as_ref() == Some(value);
        if sent.outcome == Outcome::Acknowledged && !is_there {
            broken.push(format!("variable `{key}` was acknowledged as `{value}` and is {found:?}"));
        }
    }
    for output in evidence.outputs.iter().filter(|output| output.blob.is_some()) {
        let is_whole = output.found.as_ref().is_some_and(|found| {
            found.size_bytes == output.size_bytes && output.sha256.as_ref().is_none_or(|digest| *digest == found.sha256)
        });
        if !is_whole {
            broken.push(format!(
                "the object of `{}` of {:?} is not what it was: {output:?}",
                output.name,
                output.key()
            ));
        }
    }
    let mut next: BTreeMap<(i64, &str, i64, i64), i64> = BTreeMap::new();
    for chunk in &evidence.chunks {
        if chunk.object_bytes.is_none_or(|size| size < chunk.offset_bytes + chunk.length_bytes) {
            broken.push(format!("a piece of log is not there: {chunk:?}"));
        }
        let next = next.entry((chunk.dag_run, &chunk.task_id, chunk.map_index, chunk.try_number)).or_default();
        if chunk.seq != *next {
            broken.push(format!("piece {next} of a log is missing: {chunk:?}"));
        }
        *next = chunk.seq + 1;
    }
    broken
}

/// No limit was exceeded at any instant that was seen.
pub fn limits_hold(evidence: &Evidence) -> Vec<String> {
    let mut broken = Vec::new();
    for sample in &evidence.samples {
        for (pool, taken) in &sample.pools {
            if let Some(Some(slots)) =
                evidence.pools.get(pool).filter(|slots| slots.is_some_and(|slots| *taken > slots))
            {
                broken.push(format!("{taken} of {slots} slots of pool `{pool}` are taken"));
            }
        }
        let mut all = 0;
        for (run, dag_id, count) in &sample.tasks {
            all += count;
            if evidence.dags.get(dag_id).is_some_and(|dag| *count > dag.max_active_tasks) {
                broken.push(format!("{count} tasks of run {run} of `{dag_id}` are active"));
            }
        }
        if all > evidence.parallelism {
            broken.push(format!("{all} attempts at a time"));
        }
        for (dag_id, count) in &sample.active_runs {
            if evidence.dags.get(dag_id).is_some_and(|dag| *count > dag.max_active_runs) {
                broken.push(format!("{count} runs of `{dag_id}` are running"));
            }
        }
    }
    broken
}

/// A date of a dag has one run, scheduled runs are for the dates of the schedule only, and a run that a task asks for is there once.
pub fn one_run_for_each_date(evidence: &Evidence) -> Vec<String> {
    let mut broken = Vec::new();
    let (mut dates, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for Run { dag_id, run_id, logical_date, .. } in &evidence.runs {
        if !ids.insert((dag_id, run_id)) {
            broken.push(format!("`{dag_id}` has two runs `{run_id}`"));
        }
        if logical_date.is_some_and(|date| !dates.insert((dag_id, date))) {
            broken.push(format!("`{dag_id}` has two runs of the date {logical_date:?}"));
        }
    }
    for (parent, child) in &evidence.starts {
        let count = |dag_id: &String| evidence.runs.iter().filter(|run| run.dag_id == *dag_id).count();
        if count(parent) != count(child) {
            broken.push(format!("{} runs of `{parent}` started {} of `{child}`", count(parent), count(child)));
        }
    }
    for (dag_id, dag) in &evidence.dags {
        let Some(period) = dag.period_us else { continue };
        for pair in scheduled(evidence, dag_id).windows(2).filter(|pair| (pair[1] - pair[0]) % period != 0) {
            broken.push(format!("a run of `{dag_id}` is between two dates: {pair:?}"));
        }
    }
    broken
}

/// No attempt started before what it waits for was committed.
pub fn order(evidence: &Evidence) -> Vec<String> {
    let dag_ids: BTreeMap<_, _> = evidence.runs.iter().map(|run| (run.key, run.dag_id.as_str())).collect();
    let mut of_task: BTreeMap<(i64, &str), BTreeMap<i64, &Instance>> = BTreeMap::new();
    for instance in &evidence.instances {
        of_task.entry((instance.dag_run, &instance.task_id)).or_default().insert(instance.map_index, instance);
    }
    let mut started: BTreeMap<Key<'_>, i64> = BTreeMap::new();
    for attempt in evidence.tries.iter().chain(&evidence.instances) {
        // What was skipped before it began has no start.
        if let Some(at) = attempt.start_date {
            let first = started.entry(attempt.key()).or_insert(at);
            *first = at.min(*first);
        }
    }
    let mut broken = Vec::new();
    for ((run, upstream), instances) in &of_task {
        let Some(dag) = dag_ids.get(run).and_then(|dag_id| evidence.dags.get(*dag_id)) else { continue };
        let downstream = dag.tasks.get(*upstream).into_iter().flat_map(|task| &task.downstream);
        for task_id in downstream {
            let rule = dag.tasks.get(task_id).map_or("", |task| task.trigger_rule.as_str());
            if !WAITS_FOR_ALL.contains(&rule) {
                continue;
            }
            for next in of_task.get(&(*run, task_id.as_str())).into_iter().flat_map(BTreeMap::values) {
                let Some(start) = started.get(&next.key()) else { continue };
                // In a mapped group an element waits for itself alone.
                let same = instances.get(&next.map_index).filter(|_| next.map_index >= 0);
                let waits_for = same.map_or_else(|| instances.values().collect::<Vec<_>>(), |same| vec![same]);
                for before in waits_for {
                    if !before.is_finished() || before.end_date.is_none_or(|end| end > *start) {
                        broken.push(format!("{:?} started before {:?} was over", next.key(), before.key()));
                    }
                }
            }
        }
    }
    broken
}

/// Nothing is recorded but what the try that won recorded, together with its end.
pub fn fencing(evidence: &Evidence) -> Vec<String> {
    let mut broken = Vec::new();
    let instances: BTreeMap<_, _> = evidence.instances.iter().map(|instance| (instance.key(), instance)).collect();
    for output in &evidence.outputs {
        let what = format!("`{}` of {:?}", output.name, output.key());
        let Some(instance) = instances.get(&output.key()) else {
            broken.push(format!("{what} is of nobody"));
            continue;
        };
        if instance.state != "success" {
            broken.push(format!("{what} is there, and its task is {}", instance.state));
        }
        if output.try_number.is_some_and(|number| number != instance.try_number) {
            broken.push(format!("{what} is of try {:?}, and try {} won", output.try_number, instance.try_number));
        }
        if output.committed_at.is_some() && output.committed_at != instance.end_date {
            broken.push(format!("{what} was not committed with the success"));
        }
    }
    let runs: BTreeSet<_> = evidence.runs.iter().map(|run| run.key).collect();
    let keys = evidence.instances.iter().map(|instance| instance.dag_run);
    let keys: BTreeSet<_> = keys.chain(evidence.chunks.iter().map(|chunk| chunk.dag_run)).collect();
    broken.extend(keys.difference(&runs).map(|run| format!("rows name run {run}, which is not there")));
    broken
}

#[cfg(test)]
mod tests;
