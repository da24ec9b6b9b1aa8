//! A guest's store: what it may use of the process, and one call into it.

use std::sync::Arc;

use wasmtime::{
    AsContextMut, Engine, ResourceLimiter, Result, Store, StoreContextMut, UpdateDeadline, component::ResourceTable,
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView, clocks::WasiClocksCtxView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::{
    attempt::Attempt,
    imports::http::Hooks,
    log::Output,
    tape::{self, Clocks, Waits},
};
use crate::wire::LineSource;

/// Streams, pollables and other things of the host that a guest holds at a time.
const MAX_RESOURCES: usize = 1_000;

/// Handles in the guest's own tables.
const MAX_HANDLES: usize = 10_000;

/// Table elements in all.
pub const MAX_TABLE_ELEMENTS: usize = 100_000;

/// Bytes of one call for randomness.
const MAX_RANDOM_BYTES: u64 = 1 << 20;

/// The least and the most that a guest may hand to the host in one call; between them it is its memory. An XCom may
/// have 256 MiB, and what is around it must fit into a frame with it.
const MIN_HOSTCALL_BYTES: usize = 16 << 20;
const MAX_HOSTCALL_BYTES: usize = (256 << 20) + (64 << 10);
const _: () = assert!(MAX_HOSTCALL_BYTES + (64 << 10) <= crate::wire::MAX_FRAME_BYTES);
const _: () = assert!(MAX_HOSTCALL_BYTES / size_of::<String>() < crate::wire::MAX_NUMBERS);

/// What belongs to a store.
pub struct Guest {
    pub attempt: Arc<Attempt>,
    pub table: ResourceTable,
    pub limiter: Limiter,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

impl Guest {
    /// `wasi:io/poll` of this guest.
    pub fn waits(&mut self) -> Waits<'_> {
        Waits { table: &mut self.table, attempt: &self.attempt }
    }

    /// `wasi:clocks/monotonic-clock` of this guest.
    pub fn clocks(&mut self) -> Clocks<'_> {
        Clocks {
            view: WasiClocksCtxView { ctx: self.wasi.clocks(), table: &mut self.table },
            tape: self.attempt.tape(),
        }
    }
}

/// A fresh store for one attempt.
///
/// The guest has clocks, randomness and outputs that end in its log; no environment, arguments, input, files or sockets.
/// It gives way to others at each tick of the engine's epoch, when `at_tick` lets it go on.
pub fn store(
    engine: &Engine,
    attempt: Arc<Attempt>,
    memory_bytes: u64,
    mut at_tick: impl FnMut() -> Result<()> + Send + Sync + 'static,
) -> Store<Guest> {
    let memory_bytes = usize::try_from(memory_bytes).unwrap_or(usize::MAX);
    let mut wasi = WasiCtx::builder();
    if let Some(tape) = attempt.tape() {
        tape::give(tape, &mut wasi);
    }
    let wasi = wasi
        .stdout(Output { attempt: attempt.clone(), source: LineSource::Stdout })
        .stderr(Output { attempt: attempt.clone(), source: LineSource::Stderr })
        .max_random_size(MAX_RANDOM_BYTES)
        // These three are the defaults, which must never change unseen.
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .build();
    let mut table = ResourceTable::new();
    table.set_max_capacity(MAX_RESOURCES);
    let guest = Guest {
        hooks: Hooks::new(attempt.clone()),
        attempt,
        table,
        limiter: Limiter { limit: memory_bytes, ..Limiter::default() },
        wasi,
        http: WasiHttpCtx::new(),
    };
    let mut store = Store::new(engine, guest);
    store.limiter(|guest| &mut guest.limiter);
    store.set_hostcall_fuel(memory_bytes.clamp(MIN_HOSTCALL_BYTES, MAX_HOSTCALL_BYTES));
    store.set_max_component_handles(MAX_HANDLES);
    store.epoch_deadline_callback(move |_: StoreContextMut<'_, Guest>| {
        at_tick()?;
        // Tokio's own way to yield: it looks at sockets and timers before it comes back to the guest.
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    });
    store.as_context_mut().set_epoch_deadline(1);
    store
}

/// Counts a store's memories and tables together.
#[derive(Debug, Default)]
pub struct Limiter {
    limit: usize,
    memory: usize,
    /// The most memory it had at a time.
    pub peak: usize,
    tables: usize,
    /// What was refused first, if something was.
    pub denied: Option<Denied>,
}

/// A limit that a guest ran into. It is told by a failed allocation, and mostly aborts without a word of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    Memory { limit: usize },
    Table,
}

impl std::fmt::Display for Denied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Memory { limit } => {
                write!(f, "out of memory: the task asked for more than its limit of {} MiB", limit >> 20)
            }
            Self::Table => write!(f, "the task asked for more than {MAX_TABLE_ELEMENTS} table elements"),
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        let memory = self.memory.saturating_add(desired.saturating_sub(current));
        if memory > self.limit {
            self.denied.get_or_insert(Denied::Memory { limit: self.limit });
            return Ok(false);
        }
        self.memory = memory;
        self.peak = self.peak.max(memory);
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        let tables = self.tables.saturating_add(desired.saturating_sub(current));
        if tables > MAX_TABLE_ELEMENTS {
            self.denied.get_or_insert(Denied::Table);
            return Ok(false);
        }
        self.tables = tables;
        Ok(true)
    }

    fn instances(&self) -> usize {
        64
    }

    fn tables(&self) -> usize {
        32
    }

    fn memories(&self) -> usize {
        16
    }
}
