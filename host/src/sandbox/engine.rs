//! The one way to set wasmtime up, so that code from the compiler child loads in the runner.

use std::time::Duration;

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Result, Strategy,
    WasmBacktraceDetails,
};

use super::guest::MAX_TABLE_ELEMENTS;

/// How often a guest that is busy in its own code gives way to others, and its limits are looked at.
pub const TICK: Duration = Duration::from_millis(1);

/// The most linear memory that an attempt may be given. `wit/task.wit`: `grants.memory-mib`.
const MAX_MEMORY_BYTES: usize = 4 << 30;

/// For calls of a guest, and of the host below them. Python gets 300 calls by way of C deep in 512 KiB; in 2 MiB its own limits of 1,000
/// calls and 1 MiB come first, which are exceptions.
const GUEST_STACK_BYTES: usize = 2 << 20;
const HOST_STACK_BYTES: usize = 3 << 19;

/// Core instances, memories and tables of one component. Seen: Python has 14, 1 and 2, and 38 core instances without WASI; each
/// extension in C is one more.
const MAX_CORE_INSTANCES: u32 = 64;
const MAX_MEMORIES: u32 = 4;
const MAX_TABLES: u32 = 12;

/// An engine whose pool has room for `slots` attempts at a time.
///
/// Where the system grants no address space for a pool (4 GiB for each memory), the engine works without one, at twice the
/// cost of an attempt; the second value says why.
///
/// # Errors
/// If wasmtime does not run on this machine.
pub fn engine(slots: u32) -> Result<(Engine, Option<String>)> {
    let mut config = config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(slots)));
    match Engine::new(&config) {
        Ok(engine) => Ok((engine, None)),
        Err(error) => {
            config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
            Ok((Engine::new(&config)?, Some(format!("no pool for {slots} attempts, each will cost more: {error:#}"))))
        }
    }
}

/// An engine that runs nothing.
///
/// # Errors
/// If wasmtime does not run on this machine.
pub fn compiler() -> Result<Engine> {
    Engine::new(&config())
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(true)
        .concurrency_support(false)
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .max_wasm_stack(GUEST_STACK_BYTES)
        .async_stack_size(GUEST_STACK_BYTES + HOST_STACK_BYTES)
        // Costs little only together with `async_stack_keep_resident`.
        .async_stack_zeroing(true)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        .relaxed_simd_deterministic(true);
    config
}

fn pool(slots: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_stacks(slots)
        // Only counted: nothing is reserved for them.
        .total_core_instances(slots * MAX_CORE_INSTANCES)
        .total_memories((slots * 2).max(MAX_MEMORIES))
        .total_tables((slots * 4).max(MAX_TABLES))
        .max_core_instances_per_component(MAX_CORE_INSTANCES)
        .max_memories_per_component(MAX_MEMORIES)
        .max_tables_per_component(MAX_TABLES)
        .max_memory_size(MAX_MEMORY_BYTES)
        .table_elements(MAX_TABLE_ELEMENTS)
        .async_stack_keep_resident(16 << 10);
    if kernel_scans_pagemaps() {
        pool.pagemap_scan(Enabled::Auto).linear_memory_keep_resident(1 << 20).table_keep_resident(64 << 10);
    } else {
        // Without the scan, memory that is kept must be written over whole, which costs more than it saves.
        pool.decommit_batch_size(16);
    }
    pool
}

/// Whether the kernel has the ioctl `PAGEMAP_SCAN`: Linux 6.7.
fn kernel_scans_pagemaps() -> bool {
    let name = rustix::system::uname();
    let Ok(release) = name.release().to_str() else { return false };
    let mut numbers = release.split(['.', '-', '+']).map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 7)
}

#[cfg(test)]
mod tests {
    use wasmtime::component::Component;

    use super::*;
    use crate::sandbox::testing::{COMPONENT, MODULE, leb, section};

    #[test]
    fn the_pool_has_room_for_what_a_guest_may_have() {
        let (engine, _) = engine(1).unwrap();
        let core_instances =
            [&leb(MAX_CORE_INSTANCES as usize)[..], &[0_u8; 3].repeat(MAX_CORE_INSTANCES as usize)].concat();
        let many_instances = [COMPONENT, &section(1, MODULE), &section(2, &core_instances)].concat();
        let table = section(4, &[&[1, 0x70, 0][..], &leb(MAX_TABLE_ELEMENTS)].concat());
        let large_table = [COMPONENT, &section(1, &[MODULE, &table].concat()), &section(2, &[1, 0, 0, 0])].concat();
        for wasm in [many_instances, large_table] {
            Component::from_binary(&engine, &wasm).unwrap();
        }
    }
}
