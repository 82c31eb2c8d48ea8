//! The role that turns a module into an image of machine code. It never runs guest code.
//!
//! It gets one module, and a snapshot to embed if there is one: no cache, no key, no other guest. The parent kills it if
//! it takes too long, and the sandbox limits its memory.

mod binary;
mod embed_snapshot;
mod instrument;

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use wasmtime::{Engine, ExternType, FuncType, Module, ValType};
use wpool_abi::export;
use wpool_wire::codec::FrameWriter;
use wpool_wire::message::{CompileFailure, CompileReply, CompileRequest, ModuleInfo, compiler, encode};
use wpool_wire::{BUILD, PROTOCOL_VERSION};

use crate::parent::{Failure, receive_first, run_role};
use crate::snapshot::Snapshot;
use crate::{engine, imports, instance, sandbox};

/// The maximum size of a request, which consists of a few numbers and a version.
const MAX_REQUEST: usize = 4096;
/// The maximum length of a message in the reply, in characters. It may contain names from the module.
const LONGEST_MESSAGE: usize = 1000;

/// Runs the role for one module.
pub(crate) fn main() -> ExitCode {
    run_role(run, report)
}

fn run(socket: &UnixStream) -> wasmtime::Result<()> {
    let first = receive_first::<CompileRequest>(socket, compiler::REQUEST, "request", MAX_REQUEST)?;
    let request = first.message;
    if !request.is_ours() {
        let reply = CompileReply::Mismatch { protocol: PROTOCOL_VERSION, build: BUILD.to_owned() };
        return Ok(send(socket, &reply)?);
    }
    let count = first.descriptors.len();
    let mut descriptors = first.descriptors.into_iter().map(File::from);
    let (Some(module), Some(mut image), snapshot) =
        (descriptors.next(), descriptors.next(), descriptors.next().filter(|_| request.snapshot))
    else {
        return Err(io::Error::other(format!("{count} descriptors came with the request")).into());
    };
    sandbox::seal(request.limits.memory)?;
    let mut bytes = Vec::new();
    module.take(request.limits.module).read_to_end(&mut bytes)?;
    let snapshot = snapshot.map(Snapshot::read_from).transpose()?;
    let reply = match compile(&bytes, request.fuel, snapshot.as_ref()) {
        Ok((code, info)) => {
            image.write_all(&code)?;
            CompileReply::Compiled(info)
        }
        Err(failure) => CompileReply::Failed(failure),
    };
    Ok(send(socket, &reply)?)
}

/// Reports a failure as a module that cannot be compiled.
fn report(socket: &UnixStream, failure: Failure<'_>) -> ExitCode {
    let failure = match failure {
        Failure::Error(message) => invalid_text(message),
        Failure::Panic(message) => invalid_text(&format!("the compiler panicked: {message}")),
    };
    match send(socket, &CompileReply::Failed(failure)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn send(mut socket: &UnixStream, reply: &CompileReply) -> io::Result<()> {
    let mut writer = FrameWriter::default();
    writer.frame(compiler::REPLY, |out| encode(reply, out));
    socket.write_all(writer.bytes())
}

/// Checks and compiles a module, after it has embedded `snapshot`, if there is one. Returns the machine code.
fn compile(
    bytes: &[u8],
    fuel: bool,
    snapshot: Option<&Snapshot>,
) -> Result<(Vec<u8>, ModuleInfo), CompileFailure> {
    let parsed = wat::Parser::new().parse_bytes(None, bytes);
    let mut bytes = parsed.map_err(|error| invalid_text(&error.to_string()))?;
    if let Some(snapshot) = snapshot {
        let embedded = embed_snapshot::embed(&bytes, snapshot);
        bytes = embedded.map_err(|message| invalid_text(&message))?.into();
    }
    let engine = Engine::new(&engine::code_config(fuel)).map_err(|error| invalid(&error))?;
    let mut module = Module::new(&engine, &bytes).map_err(|error| invalid(&error))?;
    check_imports(&module)?;
    check_abi(&module)?;
    let tasks = check_tasks(&module)?;
    let has_init = check_init(&module)?;
    if has_init {
        // The worker that runs the initializer reads the globals by their exports.
        let bytes = instrument::export_globals(&bytes).map_err(|message| invalid_text(&message))?;
        module = Module::new(&engine, bytes).map_err(|error| invalid(&error))?;
    }
    check_links(&module, &tasks, fuel)?;
    let code = module.serialize().map_err(|error| invalid(&error))?;
    let info = ModuleInfo { has_init, ..info_of(&module, tasks, has_start(&bytes), code.len()) };
    Ok((code, info))
}

fn invalid(error: &wasmtime::Error) -> CompileFailure {
    invalid_text(&format!("{error:#}"))
}

fn invalid_text(message: &str) -> CompileFailure {
    CompileFailure::Invalid { message: shortened(message) }
}

fn shortened(message: &str) -> String {
    message.chars().take(LONGEST_MESSAGE).collect()
}

/// Refuses imports that a worker does not have. The error names the first.
fn check_imports(module: &Module) -> Result<(), CompileFailure> {
    match module.imports().find(|import| !imports::is_known(import.module(), import.name())) {
        None => Ok(()),
        Some(unknown) => Err(CompileFailure::UnknownImport {
            module: shortened(unknown.module()),
            name: shortened(unknown.name()),
        }),
    }
}

/// Checks the version of the ABI, which is the end of an export's name.
fn check_abi(module: &Module) -> Result<(), CompileFailure> {
    let expected = format!("{}{}", export::VERSION_PREFIX, wpool_abi::VERSION);
    if module.get_export(&expected).is_some() {
        return Ok(());
    }
    let other =
        module.exports().find_map(|export| export.name().strip_prefix(export::VERSION_PREFIX).map(shortened));
    match other {
        Some(found) => Err(CompileFailure::WrongAbi { found }),
        None => Err(CompileFailure::MissingExport { name: expected }),
    }
}

/// Checks that every task has its two exports, and returns the names of the tasks, sorted.
fn check_tasks(module: &Module) -> Result<Vec<String>, CompileFailure> {
    let engine = module.engine();
    let function = |params: usize, results: usize| {
        FuncType::new(engine, (0..params).map(|_| ValType::I32), (0..results).map(|_| ValType::I32))
    };
    match module.get_export(export::MEMORY) {
        Some(ExternType::Memory(_)) => {}
        Some(other) => return Err(wrong_type(export::MEMORY, &other, "memory")),
        None => return Err(CompileFailure::MissingExport { name: export::MEMORY.to_owned() }),
    }
    check_function(module, export::ALLOC, &function(1, 1))?;
    let mut tasks: Vec<String> = module
        .exports()
        .filter_map(|export| export.name().strip_prefix(export::TASK_PREFIX).map(str::to_owned))
        .collect();
    tasks.sort();
    for task in &tasks {
        check_function(module, &format!("{}{task}", export::TASK_PREFIX), &function(3, 1))?;
        check_function(module, &format!("{}{task}", export::DESCRIBE_PREFIX), &function(0, 1))?;
    }
    Ok(tasks)
}

/// Returns whether the module has an initializer, and checks both exports of one.
fn check_init(module: &Module) -> Result<bool, CompileFailure> {
    if module.get_export(export::INIT).is_none() {
        return Ok(false);
    }
    let engine = module.engine();
    let function = |params: usize| FuncType::new(engine, (0..params).map(|_| ValType::I32), [ValType::I32]);
    check_function(module, export::INIT, &function(3))?;
    check_function(module, export::DESCRIBE_INIT, &function(0))?;
    Ok(true)
}

fn check_function(module: &Module, name: &str, expected: &FuncType) -> Result<(), CompileFailure> {
    match module.get_export(name) {
        Some(ExternType::Func(found)) if found.matches(expected) => Ok(()),
        Some(other) => Err(wrong_type(name, &other, &show(&ExternType::Func(expected.clone())))),
        None => Err(CompileFailure::MissingExport { name: shortened(name) }),
    }
}

fn wrong_type(name: &str, found: &ExternType, expected: &str) -> CompileFailure {
    CompileFailure::WrongType {
        export: true,
        name: shortened(name),
        found: show(found),
        expected: expected.to_owned(),
    }
}

/// Returns the text form of a type, short enough for a message.
fn show(ty: &ExternType) -> String {
    match ty {
        ExternType::Func(function) => {
            let text = function.to_string();
            let inner = text.strip_prefix("(type ").and_then(|text| text.strip_suffix(')'));
            shortened(inner.unwrap_or(&text))
        }
        ExternType::Global(global) => format!("global {}", global.content()),
        ExternType::Table(_) => "table".to_owned(),
        ExternType::Memory(_) => "memory".to_owned(),
        _ => "tag".to_owned(),
    }
}

/// Links the module as a worker will, so that a wrong type is an error before a worker starts.
fn check_links(module: &Module, tasks: &[String], fuel: bool) -> Result<(), CompileFailure> {
    let exports: Vec<String> = tasks.iter().map(|task| format!("{}{task}", export::TASK_PREFIX)).collect();
    instance::check_links(module, &exports, fuel).map_err(|error| invalid(&error))
}

/// Returns whether a valid module has a start function, which the engine does not tell.
fn has_start(bytes: &[u8]) -> bool {
    let payloads = wasmparser::Parser::new(0).parse_all(bytes);
    payloads.flatten().any(|payload| matches!(payload, wasmparser::Payload::StartSection { .. }))
}

fn info_of(module: &Module, tasks: Vec<String>, has_start: bool, image_len: usize) -> ModuleInfo {
    let (memory_min, memory_max) = match module.get_export(export::MEMORY) {
        Some(ExternType::Memory(memory)) => {
            (memory.minimum() * memory.page_size(), memory.maximum().map(|pages| pages * memory.page_size()))
        }
        _ => (0, None),
    };
    ModuleInfo {
        has_init: false,
        imports: module
            .imports()
            .map(|import| (shortened(import.module()), shortened(import.name()), show(&import.ty())))
            .collect(),
        memory_min,
        memory_max,
        has_start,
        tasks,
        image_len: image_len as u64,
    }
}
