//! The engine's configuration, in two parts: one shapes the compiled code, the other serves it in a worker.

use std::num::NonZeroUsize;

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails,
};
use wpool_wire::control::MAX_STARTED;
use wpool_wire::limits::Limits;

/// The maximum number of instances in a worker: one for each started task, and one that is pre-warmed or compared with
/// a used one.
const INSTANCES: u32 = MAX_STARTED + 1;

/// The part of a fibre's stack behind the guest's own limit, for the host functions that the guest calls.
const HOST_STACK: usize = 256 << 10;

/// The maximum number of functions in a backtrace.
const BACKTRACE_FRAMES: NonZeroUsize = NonZeroUsize::new(16).unwrap();

/// The bytes of a guest's memory, table and stack that are zeroed in place instead of returned to the kernel.
const KEEP_RESIDENT: usize = 1 << 20;

/// Returns the settings that the compiled code depends on, which a compiler and a worker have to share.
pub(crate) fn code_config(fuel: bool) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .consume_fuel(fuel)
        .wasm_backtrace_max_frames(Some(BACKTRACE_FRAMES))
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .memory_init_cow(true)
        // One memory of 32 bits and one thread are what compilers emit for guests, and the part of the engine that has
        // had the fewest vulnerabilities.
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_tail_call(false)
        .wasm_relaxed_simd(false)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false);
    config
}

/// Makes the engine of a worker, which serves one guest under one set of limits.
pub(crate) fn serving_engine(limits: &Limits) -> wasmtime::Result<Engine> {
    let memory = usize::try_from(limits.memory_bytes())?.next_multiple_of(64 << 10);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(INSTANCES)
        .total_memories(INSTANCES)
        .total_tables(INSTANCES)
        .total_stacks(INSTANCES)
        .max_memories_per_module(1)
        .max_tables_per_module(1)
        .max_core_instance_size(1 << 20)
        .max_memory_size(memory)
        .table_elements(limits.table as usize)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(KEEP_RESIDENT)
        .async_stack_keep_resident(KEEP_RESIDENT)
        .max_unused_warm_slots(4)
        .pagemap_scan(Enabled::Auto);
    let stack = limits.stack as usize;
    let mut config = code_config(limits.fuel.is_some());
    config
        .max_wasm_stack(stack)
        .async_stack_size((stack + HOST_STACK).next_multiple_of(4096))
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config.enable_compiler(false);
    Engine::new(&config)
}
