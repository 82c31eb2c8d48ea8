//! The limit: one thread that makes a fresh instance per call with the engine alone, and no process, queue,
//! result or wall around it. Two copies at once are what two workers could reach at most.
//!
//! usage: in_process_limit MODULE SECONDS; prints instances per second.
#![expect(clippy::print_stdout, reason = "its output is its result")]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, Linker, Module, PoolingAllocationConfig, Store,
    UpdateDeadline,
};

fn main() -> wasmtime::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let module = arguments.next().expect("a module");
    let seconds: f64 = arguments.next().and_then(|text| text.parse().ok()).expect("a number of seconds");
    // The same settings as a worker's, so that only what is around the calls differs.
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(64)
        .total_memories(64)
        .total_tables(64)
        .total_stacks(64)
        .max_memory_size(256 << 20)
        .linear_memory_keep_resident(1 << 20)
        .table_keep_resident(1 << 20)
        .async_stack_keep_resident(1 << 20)
        .max_unused_warm_slots(4)
        .pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config.epoch_interruption(true).allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config.async_stack_size(768 << 10);
    let engine = Engine::new(&config)?;
    let module = Module::from_file(&engine, module)?;
    let mut linker: Linker<()> = Linker::new(&engine);
    linker.func_wrap("wpool", "log", |_: u32, _: u32, _: u32| {})?;
    linker.func_wrap("wpool", "panic", |_: u32, _: u32, _: u32, _: u32| {})?;
    let pre = linker.instantiate_pre(&module)?;
    let export = |name| module.get_export_index(name).expect("an export of the guest");
    let (memory, alloc, task) = (export("memory"), export("wpool_alloc"), export("wpool_task:square"));
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let began = Instant::now();
    let mut count = 0u64;
    while !count.is_multiple_of(256) || Instant::now() < end {
        let argument = [u8::try_from(count % 64).expect("below 64") * 2];
        block_on(async {
            let mut store = Store::new(&engine, ());
            store.set_epoch_deadline(1);
            store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Continue(1)));
            let instance = pre.instantiate_async(&mut store).await?;
            let memory =
                instance.get_module_export(&mut store, &memory).and_then(wasmtime::Extern::into_memory);
            let memory = memory.expect("the guest's memory");
            let alloc = instance.get_module_export(&mut store, &alloc).and_then(wasmtime::Extern::into_func);
            let alloc = alloc.expect("the guest's allocator").typed::<u32, u32>(&store)?;
            let ptr = alloc.call_async(&mut store, 1).await?;
            memory.write(&mut store, ptr as usize, &argument)?;
            let task = instance.get_module_export(&mut store, &task).and_then(wasmtime::Extern::into_func);
            let task = task.expect("the guest's task").typed::<(u32, u32, u32), u32>(&store)?;
            let outcome = task.call_async(&mut store, (ptr, 1, 0)).await?;
            let mut record = [0; 12];
            memory.read(&store, outcome as usize, &mut record)?;
            assert_eq!(record[0], 0, "the task succeeds");
            Ok::<_, wasmtime::Error>(())
        })?;
        count += 1;
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = count as f64 / began.elapsed().as_secs_f64();
    println!("{rate}");
    Ok(())
}

/// Nothing here waits, so one look is enough.
fn block_on<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("nothing here waits"),
    }
}
