//! What the machine can do at best, without Airlock.

use std::{
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use airlock_tests::build;
use rusqlite::Connection;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store,
    component::{Component, Linker, ResourceTable, ResourceType, types::ComponentItem},
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::measure::median;

/// How many commits are made to learn what one takes.
const COMMITS: u32 = 1_000;
const CALLS: u32 = 2_000;
/// Small ones are compiled in a tenth of a second.
const COMPILATIONS: u32 = 5;

/// One durable transaction that changes one row: SQLite by itself, on one thread, on the disk that servers use. The median.
pub fn commit() -> Duration {
    let folder = tempfile::TempDir::with_prefix("airlock-bench-").expect("a temporary folder can be made");
    let database = open(&folder.path().join("bare.db"));
    database.execute_batch("CREATE TABLE task (id INTEGER PRIMARY KEY, state TEXT)").expect("a table can be made");
    let mut insert = database.prepare("INSERT INTO task VALUES (?1, 'none')").expect("the statement is SQL");
    for id in 0..1_000 {
        insert.execute([id]).expect("a row can be inserted");
    }
    let mut update = database.prepare("UPDATE task SET state = ?2 WHERE id = ?1").expect("the statement is SQL");
    let mut samples = Vec::new();
    for id in 0..COMMITS {
        let begin = Instant::now();
        update.execute((id, "success")).expect("a row can be changed");
        samples.push(begin.elapsed());
    }
    median(&mut samples)
}

fn open(path: &Path) -> Connection {
    let database = Connection::open(path).expect("a database can be made");
    database
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
        .expect("the database takes its settings");
    database
}

mod bindings {
    wasmtime::component::bindgen!({ path: "../../wit", world: "airlock:task/task" });
}

use bindings::{TaskPre, exports::airlock::task::runner as wit};

struct Guest {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Wasmtime by itself, set up as in Airlock where that changes the code or its start: a pool, and code that can be interrupted.
fn engine() -> Engine {
    let mut pool = PoolingAllocationConfig::new();
    pool.pagemap_scan(Enabled::Auto).linear_memory_keep_resident(1 << 20).table_keep_resident(64 << 10);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .epoch_interruption(true)
        .concurrency_support(false);
    Engine::new(&config).expect("wasmtime runs here")
}

/// One task of the component `bench`, instantiated in a fresh store and called, on one thread. The median.
pub fn call(entry: &str, inputs: &[(&str, &str)]) -> Duration {
    let engine = engine();
    let component = Component::new(&engine, build::component("bench")).expect("the component compiles");
    let mut linker = Linker::<Guest>::new(&engine);
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker).expect("WASI can be linked");
    link_stubs(&mut linker, &component).expect("imports can be linked");
    let task = TaskPre::new(linker.instantiate_pre(&component).expect("the component links")).expect("it is a task");
    let value = |json: &str| wit::Value { media_type: "application/json".to_owned(), bytes: json.as_bytes().to_vec() };
    let input = |(name, json): &(&str, &str)| wit::Input { name: (*name).to_owned(), value: Some(value(json)) };
    let inputs: Vec<_> = inputs.iter().map(input).collect();
    let instance = instance();
    let mut samples = Vec::new();
    let begin = Instant::now();
    while samples.len() < CALLS as usize && begin.elapsed() < Duration::from_secs(1) {
        let begin = Instant::now();
        let guest = Guest { wasi: WasiCtx::builder().build(), table: ResourceTable::new() };
        let mut store = Store::new(&engine, guest);
        store.set_epoch_deadline(1 << 60);
        let task = task.instantiate(&mut store).expect("there is room for an instance");
        let outcome = task.airlock_task_runner().call_run(&mut store, entry, &instance, &inputs);
        assert!(matches!(outcome, Ok(Ok(wit::Outcome::Success(_)))), "`{entry}` fails: {outcome:?}");
        drop(black_box(store));
        samples.push(begin.elapsed());
    }
    median(&mut samples)
}

/// What Airlock gives to a task: there, but not to be called. (Wasmtime's own way would do the same to those interfaces of WASI
/// that the component knows under another version.)
fn link_stubs(linker: &mut Linker<Guest>, component: &Component) -> wasmtime::Result<()> {
    let engine = linker.engine().clone();
    for (name, import) in component.component_type().imports(&engine) {
        let ComponentItem::ComponentInstance(interface) = import.ty else { continue };
        if !name.starts_with("airlock:") && !name.starts_with("wasi:http") {
            continue;
        }
        let mut stubs = linker.instance(name)?;
        for (name, export) in interface.exports(&engine) {
            match export.ty {
                ComponentItem::ComponentFunc(_) => {
                    stubs.func_new(name, |_, _, _, _| wasmtime::bail!("a bare call has no host"))?;
                }
                ComponentItem::Resource(_) => stubs.resource(name, ResourceType::host::<()>(), |_, _| Ok(()))?,
                _ => {}
            }
        }
    }
    Ok(())
}

fn instance() -> wit::Instance {
    wit::Instance {
        dag_id: "bench".to_owned(),
        run_id: "manual__2026-01-01T00:00:00+00:00".to_owned(),
        task_id: "task".to_owned(),
        map_index: -1,
        try_number: 1,
        max_tries: 1,
        started_at: 0,
        logical_date: None,
        data_interval_start: None,
        data_interval_end: None,
        run_after: 0,
        next_run_after: None,
        timezone: "UTC".to_owned(),
        params: "{}".to_owned(),
        traceparent: None,
    }
}

/// Wasm to native code, on all cores. The median.
pub fn compile(wasm: &[u8]) -> Duration {
    let engine = engine();
    let mut samples: Vec<_> = (0..COMPILATIONS)
        .map(|_| {
            let begin = Instant::now();
            black_box(engine.precompile_component(wasm).expect("the component compiles"));
            begin.elapsed()
        })
        .collect();
    median(&mut samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_can_do_is_found_out() {
        assert!(call("noop", &[]) > Duration::ZERO);
        assert!(commit() > Duration::ZERO);
    }
}
