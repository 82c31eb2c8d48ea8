//! One task: a fresh instance, its arguments in, its outcome out.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use wasmtime::{
    Engine, Instance, InstancePre, Linker, Memory, Module, ModuleExport, Store, TypedFunc, WasmBacktrace,
};
use wpool_abi::{export, outcome, status};

use super::faults::{BadGuest, Ended, Exited, Refused};
use super::guest_mem::{GuestSlice, read_u32};
use super::handles::Handles;
use super::snapshot::Snapshot;
use super::state::{Duty, Log, TaskState};
use super::{imports, wasi};
use wpool_wire::message::{Frame, Outcome};
use wpool_wire::trap::Trap;

/// The module that a worker serves, with everything that can be looked up once.
pub(super) struct Guest {
    engine: Engine,
    pre: InstancePre<TaskState>,
    memory: ModuleExport,
    alloc: ModuleExport,
    initialize: Option<ModuleExport>,
    tasks: Vec<ModuleExport>,
    fuel: Option<u64>,
    has_start: bool,
    /// The mutable globals, if the guest has an initializer.
    globals: Vec<ModuleExport>,
    snapshot: Option<Snapshot>,
}

/// Whether a worker could serve this module: resolves its imports and exports as a worker does.
pub(crate) fn check_links(module: &wasmtime::Module, tasks: &[String], fuel: bool) -> wasmtime::Result<()> {
    Guest::new(module, tasks, fuel.then_some(0)).map(drop)
}

/// An instance in which no task runs.
pub(super) struct Fresh {
    store: Store<TaskState>,
    /// With its memory; or why there is none.
    instance: wasmtime::Result<(Instance, Memory)>,
}

impl Fresh {
    /// A task begins in it: what was before is not counted. `refuel` is for an instance that another task has
    /// used.
    pub(super) fn begin(&mut self, duty: Duty, handles: Handles, refuel: Option<u64>) {
        self.store.data_mut().begin(duty, handles);
        self.store.set_epoch_deadline(1);
        if let Some(fuel) = refuel {
            self.store.set_fuel(fuel).expect("the engine counts fuel when there is a budget");
        }
    }
}

/// How a call ended, before its outcome is read from the guest's memory.
type Called = wasmtime::Result<(Memory, u32)>;

impl Guest {
    /// Prepares a module. `tasks` are the exports that will be called, by their numbers.
    pub(super) fn new(module: &Module, tasks: &[String], fuel: Option<u64>) -> wasmtime::Result<Self> {
        let engine = module.engine();
        let mut linker = Linker::new(engine);
        imports::define(&mut linker)?;
        wasi::define(&mut linker, module)?;
        let find =
            |name: &str| module.get_export_index(name).ok_or_else(|| BadGuest(format!("no export `{name}`")));
        let initialize = module.get_export_index(export::INITIALIZE);
        Ok(Self {
            engine: engine.clone(),
            pre: linker.instantiate_pre(module)?,
            memory: find(export::MEMORY)?,
            alloc: find(export::ALLOC)?,
            globals: module
                .exports()
                .filter(|export| export.name().starts_with(export::GLOBAL_PREFIX))
                .filter_map(|export| module.get_export_index(export.name()))
                .collect(),
            has_start: false,
            initialize,
            snapshot: None,
            tasks: tasks.iter().map(|name| find(name)).collect::<Result<_, _>>()?,
            fuel,
        })
    }

    /// Tells that the module has a start function, which runs in every instance.
    pub(super) fn with_start(self, has_start: bool) -> Self {
        Self { has_start, ..self }
    }

    /// Has every instance start from a snapshot.
    pub(super) fn with_snapshot(self, snapshot: Snapshot) -> Self {
        Self { snapshot: Some(snapshot), ..self }
    }

    /// Whether code of the guest runs when an instance is made.
    fn runs_at_start(&self) -> bool {
        self.has_start || (self.initialize.is_some() && self.snapshot.is_none())
    }

    /// Makes an instance. What the module itself runs at its start runs here.
    pub(super) async fn instantiate(&self, state: TaskState) -> Fresh {
        let mut store = self.store(state);
        let instance = self.start(&mut store).await;
        Fresh { store, instance }
    }

    /// A store with the limits of a task.
    fn store(&self, state: TaskState) -> Store<TaskState> {
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| state);
        store.epoch_deadline_callback(|mut context| context.data_mut().tick());
        if let Some(fuel) = self.fuel {
            store.set_fuel(fuel).expect("the engine counts fuel when there is a budget");
        }
        store.set_epoch_deadline(1);
        store
    }

    async fn start(&self, store: &mut Store<TaskState>) -> wasmtime::Result<(Instance, Memory)> {
        let instance = self.pre.instantiate_async(&mut *store).await?;
        let memory = instance
            .get_module_export(&mut *store, &self.memory)
            .and_then(wasmtime::Extern::into_memory)
            .ok_or_else(|| BadGuest("`memory` is no memory".to_owned()))?;
        store.data_mut().memory = Some(memory);
        match (&self.snapshot, &self.initialize) {
            (Some(snapshot), _) => {
                let globals = self.globals_of(&instance, store)?;
                snapshot.apply(store, memory, &globals)?;
            }
            (None, Some(initialize)) => {
                let initialize: TypedFunc<(), ()> = function(&instance, store, initialize)?;
                initialize.call_async(&mut *store, ()).await?;
            }
            (None, None) => {}
        }
        Ok((instance, memory))
    }

    fn globals_of(
        &self,
        instance: &Instance,
        store: &mut Store<TaskState>,
    ) -> Result<Vec<wasmtime::Global>, BadGuest> {
        let global = |export: &ModuleExport| {
            let found =
                instance.get_module_export(&mut *store, export).and_then(wasmtime::Extern::into_global);
            found.ok_or_else(|| BadGuest("a global is none".to_owned()))
        };
        self.globals.iter().map(global).collect()
    }

    /// What a call has left behind in an instance, compared with one in which nothing has run.
    pub(super) fn snapshot_of(&self, used: Fresh, state: TaskState) -> wasmtime::Result<Snapshot> {
        let Fresh { mut store, instance } = used;
        let (instance, memory) = instance?;
        let globals = self.globals_of(&instance, &mut store)?;
        let values: Vec<_> = globals.iter().map(|global| global.get(&mut store)).collect();
        let mut fresh = self.store(state);
        let untouched = poll_now(self.pre.instantiate_async(&mut fresh))??;
        let untouched = untouched
            .get_module_export(&mut fresh, &self.memory)
            .and_then(wasmtime::Extern::into_memory)
            .ok_or_else(|| BadGuest("`memory` is no memory".to_owned()))?;
        Ok(Snapshot::capture(untouched.data(&fresh), memory.data(&store), &values)?)
    }

    /// Makes an instance before there is a task for it, if nothing of the guest runs for that.
    pub(super) fn spare(&self, state: TaskState) -> Option<Fresh> {
        if self.runs_at_start() {
            return None;
        }
        // Why an instance cannot be made is told to the task that asks for one.
        poll_now(self.instantiate(state)).ok().filter(|fresh| fresh.instance.is_ok())
    }

    /// Runs one task in an instance, and hands its outcome to `report` while the instance is there to be read.
    /// `args` is none for an export that takes no arguments (a description). The instance is handed back if
    /// the task has returned, with a value or an error of its own: then another could run in it.
    pub(super) async fn run<R>(
        &self,
        fresh: Fresh,
        task: u32,
        args: Option<(&[u8], u32)>,
        report: impl FnOnce(Outcome<'_>, Figures<'_>) -> R,
    ) -> (R, Option<Fresh>) {
        let Fresh { mut store, instance } = fresh;
        let (called, instance) = match instance {
            Ok((instance, memory)) => {
                (self.call(&mut store, &instance, memory, task, args).await, Some((instance, memory)))
            }
            Err(error) => (Err(error), None),
        };
        let left = self.fuel.map(|fuel| fuel - store.get_fuel().unwrap_or(0));
        store.data_mut().go_on();
        let state = store.data();
        let figures = Figures {
            run_ns: u64::try_from(state.clock.elapsed().as_nanos()).unwrap_or(u64::MAX),
            peak_memory: state.usage.peak(),
            fuel: left.unwrap_or(0),
            log: &state.log,
        };
        match called {
            Ok((memory, record)) => {
                let outcome = read_outcome(memory.data(&store), record, state);
                let usable = matches!(outcome, Outcome::Value(..) | Outcome::Error(_));
                let reported = report(outcome, figures);
                let kept =
                    instance.filter(|_| usable).map(|instance| Fresh { store, instance: Ok(instance) });
                (reported, kept)
            }
            Err(error) => (report_failure(&error, state, figures, report), None),
        }
    }

    async fn call(
        &self,
        store: &mut Store<TaskState>,
        instance: &Instance,
        memory: Memory,
        task: u32,
        args: Option<(&[u8], u32)>,
    ) -> Called {
        let task = self
            .tasks
            .get(task as usize)
            .ok_or_else(|| BadGuest(format!("task number {task} does not exist")))?;
        let record = match args {
            Some((args, handles)) => {
                let (ptr, len) = self.place_arguments(instance, store, memory, args, handles).await?;
                let function: TypedFunc<(u32, u32, u32), u32> = function(instance, store, task)?;
                function.call_async(&mut *store, (ptr, len, handles)).await?
            }
            None => {
                let function: TypedFunc<(), u32> = function(instance, store, task)?;
                function.call_async(&mut *store, ()).await?
            }
        };
        Ok((memory, record))
    }

    /// Asks the guest for room, and copies the numbers of the handles and the arguments there.
    async fn place_arguments(
        &self,
        instance: &Instance,
        store: &mut Store<TaskState>,
        memory: Memory,
        args: &[u8],
        handles: u32,
    ) -> wasmtime::Result<(u32, u32)> {
        const HANDLE: usize = 4;
        let len = u32::try_from(args.len() + handles as usize * HANDLE)?;
        if len == 0 {
            return Ok((0, 0));
        }
        let alloc: TypedFunc<u32, u32> = function(instance, store, &self.alloc)?;
        let ptr = alloc.call_async(&mut *store, len).await?;
        if ptr == 0 {
            return Err(BadGuest(format!("its allocator has no room for {len} bytes of arguments")).into());
        }
        let block = GuestSlice::new(ptr, len).write(memory.data_mut(&mut *store))?;
        let (numbers, place) = block.split_at_mut(handles as usize * HANDLE);
        for (number, place) in (0..handles).zip(numbers.chunks_exact_mut(HANDLE)) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        place.copy_from_slice(args);
        Ok((ptr, len))
    }
}

/// The value of a future that waits for nothing.
fn poll_now<F: Future>(future: F) -> Result<F::Output, BadGuest> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Ok(value),
        Poll::Pending => Err(BadGuest("it waits where nothing can".to_owned())),
    }
}

fn function<P: wasmtime::WasmParams, R: wasmtime::WasmResults>(
    instance: &Instance,
    store: &mut Store<TaskState>,
    export: &ModuleExport,
) -> wasmtime::Result<TypedFunc<P, R>> {
    instance
        .get_module_export(&mut *store, export)
        .and_then(wasmtime::Extern::into_func)
        .ok_or_else(|| BadGuest("an export is no function".to_owned()))?
        .typed(&*store)
}

/// What a task used.
pub(super) struct Figures<'a> {
    pub(super) run_ns: u64,
    pub(super) peak_memory: u64,
    pub(super) fuel: u64,
    pub(super) log: &'a Log,
}

/// Reads the record that a call returned, and what it points to.
fn read_outcome<'a>(memory: &'a [u8], record: u32, state: &TaskState) -> Outcome<'a> {
    match try_read_outcome(memory, record, state) {
        Ok(outcome) => outcome,
        // The message has to live somewhere; a broken guest is rare enough to leave it there.
        Err(BadGuest(message)) => Outcome::BadGuest(message.leak()),
    }
}

fn try_read_outcome<'a>(memory: &'a [u8], record: u32, state: &TaskState) -> Result<Outcome<'a>, BadGuest> {
    let field = |n: u32| {
        record
            .checked_add(n * 4)
            .ok_or_else(|| BadGuest("its outcome lies at the end of the address space".to_owned()))
            .and_then(|at| read_u32(memory, at))
    };
    const { assert!(outcome::SIZE == 5 * 4, "the record has the five fields that are read here") };
    let (status, ptr, len) = (field(0)?, field(1)?, field(2)?);
    if len > state.limits.result {
        return Ok(Outcome::OutputLimit { size: u64::from(len) });
    }
    let bytes = GuestSlice::new(ptr, len).read(memory)?;
    let text = || std::str::from_utf8(bytes).map_err(|_| BadGuest("its message is not UTF-8".to_owned()));
    match status {
        status::VALUE => Ok(Outcome::Value(bytes, state.handles.handed_out(memory, field(3)?, field(4)?)?)),
        status::ERROR => Ok(Outcome::Error(bytes)),
        status::BAD_ARGUMENTS => Ok(Outcome::BadArguments(text()?)),
        status::BAD_RESULT => Ok(Outcome::BadResult(text()?)),
        other => Err(BadGuest(format!("its outcome has the unknown status {other}"))),
    }
}

/// Finds the one cause of a call that failed.
fn report_failure<R>(
    error: &wasmtime::Error,
    state: &TaskState,
    figures: Figures<'_>,
    report: impl FnOnce(Outcome<'_>, Figures<'_>) -> R,
) -> R {
    if let Some(panic) = &state.panic {
        return report(Outcome::Panic { message: &panic.message, location: &panic.location }, figures);
    }
    if error.downcast_ref::<Ended>().is_some() {
        return report(Outcome::Killed, figures);
    }
    if let Some(refused) = error.downcast_ref::<Refused>() {
        let outcome = match *refused {
            Refused::Memory { asked } => Outcome::MemoryLimit { asked },
            Refused::Table { asked } => Outcome::TableLimit { asked },
            Refused::Emitted { size } => Outcome::EmitLimit { size },
        };
        return report(outcome, figures);
    }
    if let Some(Exited(code)) = error.downcast_ref::<Exited>() {
        return report(
            Outcome::BadGuest(&format!("it exited with code {code} instead of returning")),
            figures,
        );
    }
    match error.downcast_ref::<wasmtime::Trap>() {
        Some(wasmtime::Trap::Interrupt) if state.order.is_to_end() => report(Outcome::Killed, figures),
        Some(wasmtime::Trap::Interrupt) => report(Outcome::Timeout, figures),
        Some(wasmtime::Trap::OutOfFuel) => report(Outcome::OutOfFuel, figures),
        Some(&trap) => {
            let backtrace = error.downcast_ref::<WasmBacktrace>().map(backtrace_of).unwrap_or_default();
            let backtrace =
                backtrace.iter().map(|(function, offset)| Frame { function, offset: *offset }).collect();
            report(Outcome::Trap { number: trap_of(trap).number(), backtrace }, figures)
        }
        None => report(Outcome::BadGuest(&format!("{error:#}")), figures),
    }
}

fn backtrace_of(backtrace: &WasmBacktrace) -> Vec<(String, Option<u64>)> {
    /// A hostile module may give its functions names of a megabyte.
    const LONGEST_NAME: usize = 200;
    let name = |frame: &wasmtime::FrameInfo| match frame.func_name() {
        Some(name) => rustc_demangle(name).chars().take(LONGEST_NAME).collect(),
        None => format!("function {}", frame.func_index()),
    };
    let offset = |frame: &wasmtime::FrameInfo| frame.module_offset().map(|offset| offset as u64);
    backtrace.frames().iter().map(|frame| (name(frame), offset(frame))).collect()
}

/// The readable form of a mangled name, without the hash at its end.
fn rustc_demangle(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

fn trap_of(trap: wasmtime::Trap) -> Trap {
    match trap {
        wasmtime::Trap::StackOverflow => Trap::StackOverflow,
        wasmtime::Trap::MemoryOutOfBounds => Trap::MemoryOutOfBounds,
        wasmtime::Trap::HeapMisaligned => Trap::HeapMisaligned,
        wasmtime::Trap::TableOutOfBounds => Trap::TableOutOfBounds,
        wasmtime::Trap::IndirectCallToNull => Trap::IndirectCallToNull,
        wasmtime::Trap::BadSignature => Trap::BadSignature,
        wasmtime::Trap::IntegerOverflow => Trap::IntegerOverflow,
        wasmtime::Trap::IntegerDivisionByZero => Trap::IntegerDivisionByZero,
        wasmtime::Trap::BadConversionToInteger => Trap::BadConversionToInteger,
        wasmtime::Trap::UnreachableCodeReached => Trap::UnreachableCodeReached,
        wasmtime::Trap::NullReference => Trap::NullReference,
        wasmtime::Trap::AllocationTooLarge => Trap::AllocationTooLarge,
        _ => Trap::Other,
    }
}
