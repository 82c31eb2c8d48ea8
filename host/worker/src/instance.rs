//! The guest's module, its instances, and the run of a task in one.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use wasmtime::{Engine, Instance, InstancePre, Linker, Memory, Module, ModuleExport, Store, TypedFunc};
use wpool_abi::export;
use wpool_wire::message::Outcome;

use crate::guest_error::BadGuest;
use crate::guest_mem::GuestSlice;
use crate::outcome::{Figures, report_failure, report_returned};
use crate::snapshot::Snapshot;
use crate::state::{HandleTable, TaskSpec, TaskState};
use crate::{imports, poll};

/// The module of a worker's guest, linked, with its exports looked up.
pub(crate) struct GuestModule {
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
    /// The snapshot that is written into each new instance.
    snapshot: Option<Snapshot>,
}

/// Resolves the imports and exports of a module as a worker does.
///
/// # Errors
/// If a worker could not serve the module.
pub(crate) fn check_links(module: &Module, tasks: &[String], fuel: bool) -> wasmtime::Result<()> {
    GuestModule::new(module, tasks, fuel.then_some(0)).map(drop)
}

/// An instance in which no task runs.
pub(crate) struct IdleInstance {
    store: Store<TaskState>,
    /// The instance with its memory; or the error of making it, which becomes the outcome of the task.
    instance: wasmtime::Result<(Instance, Memory)>,
}

impl IdleInstance {
    /// Prepares the instance for a task. `refuel` is the fuel to set, for an instance that an earlier task has used.
    pub(crate) fn start(&mut self, spec: &TaskSpec, handles: HandleTable, refuel: Option<u64>) {
        self.store.data_mut().start(spec, handles);
        self.store.set_epoch_deadline(1);
        if let Some(fuel) = refuel {
            self.store.set_fuel(fuel).expect("the engine counts fuel when there is a budget");
        }
    }
}

/// The result of a call: the guest's memory, and the address of the outcome record in it.
type Called = wasmtime::Result<(Memory, u32)>;

impl GuestModule {
    /// Links a module. `tasks` are the exports to call, which `run` names by their indices.
    pub(crate) fn new(module: &Module, tasks: &[String], fuel: Option<u64>) -> wasmtime::Result<Self> {
        let engine = module.engine();
        let mut linker = Linker::new(engine);
        imports::define(&mut linker, module)?;
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

    /// Sets whether the module has a start function, which runs in every new instance.
    pub(crate) fn with_start(self, has_start: bool) -> Self {
        Self { has_start, ..self }
    }

    /// Sets the snapshot that every instance starts from.
    pub(crate) fn with_snapshot(self, snapshot: Snapshot) -> Self {
        Self { snapshot: Some(snapshot), ..self }
    }

    /// Returns whether the guest's code runs when an instance is made.
    fn runs_at_start(&self) -> bool {
        self.has_start || (self.initialize.is_some() && self.snapshot.is_none())
    }

    /// Makes an instance, in which the module's start function and `_initialize` have run.
    pub(crate) async fn instantiate(&self, state: TaskState) -> IdleInstance {
        let mut store = self.new_store(state);
        let instance = self.initialized_instance(&mut store).await;
        IdleInstance { store, instance }
    }

    /// Makes a store with the limits of a task.
    fn new_store(&self, state: TaskState) -> Store<TaskState> {
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| state);
        store.epoch_deadline_callback(|mut context| context.data_mut().tick());
        if let Some(fuel) = self.fuel {
            store.set_fuel(fuel).expect("the engine counts fuel when there is a budget");
        }
        store.set_epoch_deadline(1);
        store
    }

    async fn initialized_instance(
        &self,
        store: &mut Store<TaskState>,
    ) -> wasmtime::Result<(Instance, Memory)> {
        let instance = self.pre.instantiate_async(&mut *store).await?;
        let memory = self.memory_of(&instance, store)?;
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

    fn memory_of(&self, instance: &Instance, store: &mut Store<TaskState>) -> Result<Memory, BadGuest> {
        let found = instance.get_module_export(store, &self.memory).and_then(wasmtime::Extern::into_memory);
        found.ok_or_else(|| BadGuest("`memory` is no memory".to_owned()))
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

    /// Makes a snapshot of the difference between a used instance and a new one.
    pub(crate) fn snapshot_of(&self, used: IdleInstance, state: TaskState) -> wasmtime::Result<Snapshot> {
        let IdleInstance { mut store, instance } = used;
        let (instance, memory) = instance?;
        let globals = self.globals_of(&instance, &mut store)?;
        let values: Vec<_> = globals.iter().map(|global| global.get(&mut store)).collect();
        let mut new_store = self.new_store(state);
        let new_instance = poll_now(self.pre.instantiate_async(&mut new_store))??;
        let initial = self.memory_of(&new_instance, &mut new_store)?;
        Ok(Snapshot::capture(initial.data(&new_store), memory.data(&store), &values)?)
    }

    /// Makes an instance for a later task. `None` if code of the guest would run for that, or if it fails: the task
    /// then makes its own instance, and gets the error.
    pub(crate) fn prewarm(&self, state: TaskState) -> Option<IdleInstance> {
        if self.runs_at_start() {
            return None;
        }
        poll_now(self.instantiate(state)).ok().filter(|idle| idle.instance.is_ok())
    }

    /// Runs the task with the index `task`, and passes its outcome to `report` while the instance exists. `args` are
    /// the encoded arguments and the number of handles; `None` for an export without arguments, a description. Returns
    /// the instance if another task can run in it.
    pub(crate) async fn run<R>(
        &self,
        idle: IdleInstance,
        task: u32,
        args: Option<(&[u8], u32)>,
        report: impl FnOnce(Outcome<'_>, Figures<'_>) -> R,
    ) -> (R, Option<IdleInstance>) {
        let IdleInstance { mut store, instance } = idle;
        let (called, instance) = match instance {
            Ok((instance, memory)) => {
                (self.call(&mut store, &instance, memory, task, args).await, Some((instance, memory)))
            }
            Err(error) => (Err(error), None),
        };
        let fuel = self.fuel.map_or(0, |fuel| fuel - store.get_fuel().unwrap_or(0));
        store.data_mut().resume_clock();
        let state = store.data();
        let figures = Figures::new(state, fuel);
        match called {
            Ok((memory, record)) => {
                let (reported, reusable) =
                    report_returned(memory.data(&store), record, state, figures, report);
                let kept = instance.filter(|_| reusable);
                (reported, kept.map(|instance| IdleInstance { store, instance: Ok(instance) }))
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

    /// Allocates a block in the guest, and copies the indices of the handles and the arguments there.
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
        let (indices, rest) = block.split_at_mut(handles as usize * HANDLE);
        for (index, bytes) in (0..handles).zip(indices.chunks_exact_mut(HANDLE)) {
            bytes.copy_from_slice(&index.to_le_bytes());
        }
        rest.copy_from_slice(args);
        Ok((ptr, len))
    }
}

/// Returns the output of a future that is never suspended.
fn poll_now<F: Future>(future: F) -> Result<F::Output, BadGuest> {
    match poll::once(pin!(future)) {
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
