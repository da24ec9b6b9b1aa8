//! What `describe` does, well or badly.

use std::hint::black_box;

use crate::bindings::{
    airlock::task::types::Value,
    exports::airlock::task::runner::{
        Binding, Dag, Entry, Grants, Module, Node, Param, Parameter, Role, Schedule, Source, TriggerRule, WeightRule,
    },
};

/// A test overwrites what follows the colon.
static BEHAVIOUR: [u8; 32] = *b"guest-describe:ok               ";

pub fn describe() -> Result<Module, String> {
    let behaviour = std::str::from_utf8(&black_box(&BEHAVIOUR)[15..]).map_err(|error| error.to_string())?.trim_end();
    match behaviour {
        "ok" => Ok(module(3)),
        "error" => Err("the guest does not feel like it".to_owned()),
        "loop" => loop {
            black_box(());
        },
        "sleep" => {
            std::thread::sleep(std::time::Duration::from_secs(3600));
            Ok(module(1))
        }
        "trap" => panic!("describe had enough"),
        "allocate" => {
            let mut all = Vec::new();
            for _ in 0..4096 {
                all.push(vec![1_u8; 1 << 20]);
            }
            Err(format!("it got {} MiB", black_box(all).len()))
        }
        "nodes" => Ok(module(100_001)),
        "many" => Ok(module(10_000)),
        "text" => {
            let mut module = module(1);
            module.dags[0].doc = Some("x".repeat(2 << 20));
            Ok(module)
        }
        "json" => {
            let mut module = module(1);
            let value = Value { media_type: "application/json".to_owned(), bytes: b"{nope".to_vec() };
            module.dags[0].nodes[0].inputs = vec![Binding { name: "x".to_owned(), source: Source::Literal(value) }];
            Ok(module)
        }
        "variable" => Err(format!("{:?}", crate::bindings::airlock::task::variables::get("a"))),
        other => Err(format!("no behaviour `{other}`")),
    }
}

fn module(nodes: usize) -> Module {
    let entry = Entry {
        name: "noop".to_owned(),
        doc: Some("Does nothing.".to_owned()),
        inputs: vec![Parameter { name: "x".to_owned(), schema: "{}".to_owned(), required: false }],
        output: None,
    };
    let dag = Dag {
        dag_id: "guests".to_owned(),
        display_name: None,
        description: None,
        doc: None,
        owners: vec!["tests".to_owned()],
        tags: Vec::new(),
        schedule: Schedule::Manual,
        timezone: "UTC".to_owned(),
        start: None,
        end: None,
        catchup: false,
        jitter: None,
        max_active_runs: 16,
        max_active_tasks: 16,
        run_timeout: None,
        fail_fast: false,
        max_consecutive_failed_dag_runs: 0,
        deadline: None,
        callbacks: Vec::new(),
        paused_upon_creation: None,
        allowed_run_types: Vec::new(),
        record: None,
        params: vec![Param { name: "p".to_owned(), schema: "{}".to_owned(), default: Some("1".to_owned()) }],
        grants: Grants {
            variables: vec!["a".to_owned()],
            connections: Vec::new(),
            connection_secrets: Vec::new(),
            hosts: Vec::new(),
            dags: Vec::new(),
            memory_mib: None,
        },
        nodes: (0..nodes).map(node).collect(),
        edges: (1..nodes).map(|n| (format!("t{}", n - 1), format!("t{n}"))).collect(),
        labels: Vec::new(),
        groups: Vec::new(),
        assets: Vec::new(),
        asset_schedule: Vec::new(),
        concurrency: None,
    };
    let (name, version, sdk) = ("guests".to_owned(), "1".to_owned(), "guests".to_owned());
    Module { name, version, sdk, entries: vec![entry], dags: vec![dag] }
}

fn node(n: usize) -> Node {
    Node {
        task_id: format!("t{n}"),
        entry: "noop".to_owned(),
        display_name: None,
        doc: None,
        inputs: Vec::new(),
        retries: 0,
        retry_delay: 0,
        retry_backoff: 0.0,
        max_retry_delay: None,
        timeout: None,
        trigger_rule: TriggerRule::AllSuccess,
        pool: "default_pool".to_owned(),
        pool_slots: 1,
        queue: None,
        priority_weight: 1,
        depends_on_past: false,
        wait_for_downstream: false,
        max_active_tis_per_dag: None,
        max_active_tis_per_dagrun: None,
        cache: None,
        record: None,
        callbacks: Vec::new(),
        role: Role::Work,
        group: None,
        expand: None,
        outlets: Vec::new(),
        inlets: Vec::new(),
        map_index_template: None,
        weight_rule: WeightRule::Absolute,
        concurrency: None,
    }
}
