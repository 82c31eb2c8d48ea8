//! The engine's configuration, in two parts: what shapes the compiled code, and how a worker serves it.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Thread;
use std::time::Duration;

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails,
};

use wpool_wire::control::MAX_STARTED;
use wpool_wire::limits::Limits;

/// How many instances there can be in one worker: one for each task that can have begun, and one that is made ahead
/// or being compared.
pub(super) const INSTANCES: u32 = MAX_STARTED + 1;

/// How often the epoch advances while tasks run: the grain of timeouts.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// After so many ticks without work the ticker sleeps until there is some.
const IDLE_TICKS: u32 = 20;

/// Host code that a guest calls runs on the guest's stack, below the guest's own limit.
const HOST_STACK: usize = 256 << 10;

/// Functions in a backtrace.
const BACKTRACE_FRAMES: NonZeroUsize = NonZeroUsize::new(16).unwrap();

/// Bytes of a guest's memory and table that are zeroed in place instead of given back to the kernel.
const KEEP_RESIDENT: usize = 1 << 20;

/// Everything that compiled code depends on. A compiler and a worker must agree on it.
pub(crate) fn code_config(fuel: bool) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .consume_fuel(fuel)
        .wasm_backtrace_max_frames(Some(BACKTRACE_FRAMES))
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .memory_init_cow(true)
        // One memory of 32 bits, one thread, no exceptions: what compilers emit for these targets, and
        // the part of the engine that has had the fewest holes.
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_tail_call(false)
        .wasm_relaxed_simd(false)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false);
    config
}

/// The engine of a worker, which serves one guest under one set of limits.
pub(super) fn serving_engine(limits: &Limits) -> wasmtime::Result<Engine> {
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

/// Advances the epoch while there is work, on a thread of its own.
///
/// A running guest looks at the epoch; nobody else needs a clock that ticks. So an idle worker makes no
/// wake-ups, and a busy one starts no timer per task.
#[derive(Debug, Clone)]
pub(super) struct Ticker {
    shared: Arc<TickerState>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct TickerState {
    /// Whether something runs now.
    busy: AtomicBool,
    /// Goes up whenever something starts to run.
    activity: AtomicU64,
    parked: AtomicBool,
}

impl Ticker {
    pub(super) fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::new(TickerState::default());
        let state = Arc::clone(&shared);
        let engine = engine.weak();
        let handle =
            std::thread::Builder::new().name("ticker".to_owned()).stack_size(64 << 10).spawn(move || {
                while let Some(engine) = engine.upgrade() {
                    engine.increment_epoch();
                    drop(engine);
                    state.rest();
                }
            })?;
        Ok(Self { shared, thread: handle.thread().clone() })
    }

    /// Something starts to run.
    pub(super) fn busy(&self) {
        self.shared.busy.store(true, Ordering::SeqCst);
        self.shared.activity.fetch_add(1, Ordering::SeqCst);
        if self.shared.parked.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
    }

    /// Nothing runs now.
    pub(super) fn idle(&self) {
        self.shared.busy.store(false, Ordering::SeqCst);
    }
}

impl TickerState {
    /// Waits for the next tick: one tick's time while there is work, as long as it takes while there is none.
    fn rest(&self) {
        let seen = self.activity.load(Ordering::SeqCst);
        std::thread::sleep(TICK);
        for _ in 0..IDLE_TICKS {
            if self.busy.load(Ordering::SeqCst) || self.activity.load(Ordering::SeqCst) != seen {
                return;
            }
            std::thread::sleep(TICK);
        }
        // The flag goes up before the last look, and `busy` looks at the flag after it has left its
        // mark, so one of the two sees the other.
        self.parked.store(true, Ordering::SeqCst);
        while !self.busy.load(Ordering::SeqCst) && self.activity.load(Ordering::SeqCst) == seen {
            std::thread::park();
        }
        self.parked.store(false, Ordering::SeqCst);
    }
}
