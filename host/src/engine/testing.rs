//! Dags and runs for tests.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Attempt, Command, Event, InstanceChange, InstanceId, InstanceSnapshot, Outcome, RunIdentity, RunSnapshot, RunState,
};
use crate::model::{
    dag::{Catalog, Dag},
    grants::DEFAULT_MEMORY_MIB,
    ids::{RunId, TaskId},
    spec::{DagSpec, EntrySpec, ExpandSpec, GrantsSpec, ListSpec, NodeSpec},
    state::{RunState as State, TaskState},
    time::Timestamp,
};

pub fn node(task_id: &str) -> NodeSpec {
    NodeSpec { retry_delay_ms: 0, retry_backoff: 0.0, ..NodeSpec::new(task_id, "noop") }
}

/// Expanded over one list of `length` elements that is written in the dag.
pub fn over_literal(length: u32) -> ExpandSpec {
    ExpandSpec { axes: vec![vec![literal(length)]] }
}

/// Expanded over what `task_id` returns.
pub fn over_output(task_id: &str) -> ExpandSpec {
    ExpandSpec { axes: vec![vec![ListSpec::Output(task_id.to_owned())]] }
}

/// A list of `length` numbers.
pub fn literal(length: u32) -> ListSpec {
    let elements: Vec<_> = (0..length).map(|n| n.to_string()).collect();
    ListSpec::Literal(format!("[{}]", elements.join(",")))
}

pub fn spec(nodes: Vec<NodeSpec>, edges: &[(&str, &str)]) -> DagSpec {
    DagSpec {
        max_active_runs: 1,
        grants: GrantsSpec { memory_mib: Some(DEFAULT_MEMORY_MIB), ..GrantsSpec::default() },
        nodes,
        edges: edges.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect(),
        ..DagSpec::new("d")
    }
}

pub fn build(spec: &DagSpec) -> Arc<Dag> {
    let entry = EntrySpec::new("noop");
    Arc::new(Dag::from_spec(spec, &Catalog::new(&[entry])).unwrap())
}

pub fn identity() -> RunIdentity {
    RunIdentity { run_id: RunId::new("manual__1").unwrap(), logical_date: None }
}

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + seconds * 1_000_000)
}

/// A driver in small: keeps what was persisted, and who is ready.
#[derive(Debug, Clone)]
pub struct Driver {
    pub state: RunState,
    pub rows: BTreeMap<InstanceId, InstanceSnapshot>,
    pub messages: BTreeMap<InstanceId, String>,
    pub run: RunSnapshot,
    pub run_message: Option<String>,
    pub ready: Vec<InstanceId>,
    /// Attempts that were started and did not end, and whether each was told to.
    pub flying: BTreeMap<Attempt, bool>,
    pub now: Timestamp,
    /// Everything that was commanded.
    pub log: Vec<Command>,
    pub archived: Vec<(InstanceId, InstanceSnapshot)>,
}

impl Driver {
    pub fn new(dag: Arc<Dag>) -> Self {
        let state = RunState::new(dag, &identity(), at(0));
        let rows = state.instances().map(|id| (id, state.instance(id).unwrap())).collect();
        let run = state.row().clone();
        Self {
            state,
            rows,
            messages: BTreeMap::new(),
            run,
            run_message: None,
            ready: Vec::new(),
            flying: BTreeMap::new(),
            now: at(0),
            log: Vec::new(),
            archived: Vec::new(),
        }
    }

    pub fn started(dag: Arc<Dag>) -> Self {
        let mut driver = Self::new(dag);
        driver.apply(&Event::Start);
        driver
    }

    pub fn apply(&mut self, event: &Event) {
        let commands = self.state.apply(event, self.now);
        for command in &commands {
            match command {
                Command::Persist(change) => self.persist(change),
                Command::Delete(id) => assert!(self.rows.remove(id).is_some(), "{id:?} has a row to go"),
                Command::Run(change) => {
                    self.run = change.row.clone();
                    self.run_message.clone_from(&change.message);
                }
                Command::Ready(id) => {
                    assert!(!self.ready.contains(id), "{id:?} is ready once");
                    assert!(!self.flying.keys().any(|attempt| attempt.instance == *id), "one attempt at a time");
                    self.ready.push(*id);
                }
                Command::Withdraw(id) => self.ready.retain(|other| other != id),
                Command::Release(id) => {
                    let before = self.flying.len();
                    self.flying.retain(|attempt, _| attempt.instance != *id);
                    assert_eq!(before, self.flying.len() + 1, "{id:?} held slots");
                }
                Command::Kill(attempt) => *self.flying.get_mut(attempt).expect("it flies") = true,
                Command::WakeAt(_) => {}
            }
        }
        self.log.extend(commands);
        assert_eq!(self.run, *self.state.row());
    }

    fn persist(&mut self, change: &InstanceChange) {
        let before = self.rows.insert(change.instance, change.row.clone());
        assert_eq!(before.is_none(), change.is_new, "{change:?}");
        if change.archive {
            self.archived.extend(before.map(|before| (change.instance, before)));
        }
        match &change.message {
            Some(message) => self.messages.insert(change.instance, message.clone()),
            None => self.messages.remove(&change.instance),
        };
    }

    pub fn start(&mut self, id: InstanceId) -> Attempt {
        self.ready.retain(|other| *other != id);
        let attempt = self.state.attempt(id).unwrap();
        assert!(self.flying.insert(attempt, false).is_none());
        self.apply(&Event::Started(id));
        attempt
    }

    pub fn end(&mut self, attempt: Attempt, outcome: Outcome) {
        self.apply(&Event::Finished { attempt, outcome, message: None });
    }

    /// Starts a ready instance and ends it so.
    pub fn play(&mut self, task: &str, outcome: Outcome) {
        let id = self.id(task);
        assert!(self.ready.contains(&id), "{task} is ready");
        let attempt = self.start(id);
        self.end(attempt, outcome);
    }

    pub fn succeed(&mut self, task: &str) {
        self.play(task, Outcome::Success { list_length: None, has_result: true });
    }

    /// Advances to the next timer.
    pub fn sleep(&mut self) {
        self.now = self.state.wake_at().expect("something waits");
        self.apply(&Event::Timer);
    }

    /// Reads `task` or `task[index]`.
    pub fn id(&self, name: &str) -> InstanceId {
        let (task, map_index) = match name.strip_suffix(']').and_then(|name| name.split_once('[')) {
            Some((task, index)) => (task, index.parse().unwrap()),
            None => (name, -1),
        };
        InstanceId { node: self.state.dag().index(&TaskId::new(task).unwrap()).expect(task), map_index }
    }

    pub fn state_of(&self, name: &str) -> TaskState {
        self.rows[&self.id(name)].state
    }

    pub fn run_state(&self) -> State {
        self.run.state
    }

    /// Loses the process and starts again from what was persisted.
    pub fn crash(&mut self) {
        let dag = self.state.dag().clone();
        let rows: Vec<_> =
            self.rows.iter().map(|(id, row)| (dag.node(id.node).task_id.clone(), id.map_index, row.clone())).collect();
        self.ready.clear();
        self.flying.clear();
        self.state = RunState::restore(dag, &identity(), self.run.clone(), rows);
        self.apply(&Event::Resume);
    }
}
