//! The child role that turns a module into an image of machine code. It never runs guest code.
//!
//! It sees the module and nothing else: no cache, no key, no other guest. If it takes too long the
//! parent kills it, and if it needs too much memory the kernel's limit ends it.

mod bake;
mod binary;
mod instrument;

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use wasmtime::{Engine, ExternType, FuncType, Module, ValType};
use wpool_abi::{export, import};

use crate::sandbox;
use crate::snapshot::Snapshot;
use crate::{engine, imports, instance, wasi};
use wpool_wire::codec::{Frame, FrameReader, FrameWriter};
use wpool_wire::message::{
    CompileFailure, CompileReply, CompileRequest, ModuleInfo, compiler, decode, encode,
};
use wpool_wire::{BUILD, PROTOCOL_VERSION};

/// A request is a few numbers and a version.
const MAX_REQUEST: usize = 4096;
/// The longest message that goes back; wasm's own names can be long.
const LONGEST_MESSAGE: usize = 1000;

/// Compiles one module and exits.
pub(crate) fn main() -> ExitCode {
    let detached = sandbox::detach();
    let Some(mut socket) = crate::parent::parent_socket() else { return ExitCode::FAILURE };
    report_panics(&socket);
    let reply = match detached {
        Ok(()) => compile_for(&socket),
        Err(error) => Err(error.into()),
    };
    let reply = reply.unwrap_or_else(|error| CompileReply::Failed(invalid(&error)));
    match send(&mut socket, &reply) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn compile_for(socket: &UnixStream) -> wasmtime::Result<CompileReply> {
    let (request, descriptors) = receive(socket)?;
    if (request.protocol, request.build.as_str()) != (PROTOCOL_VERSION, BUILD) {
        return Ok(CompileReply::Mismatch { protocol: PROTOCOL_VERSION, build: BUILD.to_owned() });
    }
    let got = descriptors.len();
    let mut descriptors = descriptors.into_iter().map(File::from);
    let (Some(module), Some(mut image), snapshot) =
        (descriptors.next(), descriptors.next(), descriptors.next().filter(|_| request.snapshot))
    else {
        return Err(std::io::Error::other(format!("{got} descriptors came with the request")).into());
    };
    sandbox::seal(request.limits.memory)?;
    let mut bytes = Vec::new();
    module.take(request.limits.module).read_to_end(&mut bytes)?;
    let snapshot = snapshot.map(read_snapshot).transpose()?;
    match compile(&bytes, request.fuel, snapshot.as_ref()) {
        Ok((code, info)) => {
            image.write_all(&code)?;
            Ok(CompileReply::Compiled(info))
        }
        Err(failure) => Ok(CompileReply::Failed(failure)),
    }
}

/// A snapshot that a worker has left. It may be anything.
fn read_snapshot(mut file: File) -> wasmtime::Result<Snapshot> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(Snapshot::from_bytes(&bytes)?)
}

fn receive(socket: &UnixStream) -> wasmtime::Result<(CompileRequest, Vec<OwnedFd>)> {
    let mut reader = FrameReader::new(MAX_REQUEST);
    let mut source = crate::parent::WithDescriptors::new(socket);
    loop {
        if let Some(Frame { kind: compiler::REQUEST, payload }) = reader.next_frame()? {
            let request = decode(payload)?;
            return Ok((request, source.into_descriptors()));
        }
        if reader.fill(&mut source)? == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
    }
}

fn send(socket: &mut UnixStream, reply: &CompileReply) -> std::io::Result<()> {
    let mut writer = FrameWriter::default();
    writer.frame(compiler::REPLY, |out| encode(reply, out));
    socket.write_all(writer.bytes())
}

/// A panic of the compiler is a module that it cannot compile, and its message reaches the parent.
fn report_panics(socket: &UnixStream) {
    let Ok(socket) = socket.try_clone() else { return };
    std::panic::set_hook(Box::new(move |info| {
        let message = format!("the compiler panicked: {info}");
        let reply = CompileReply::Failed(CompileFailure::Invalid { message });
        if let Ok(mut socket) = socket.try_clone() {
            // If the parent is gone there is nobody to tell.
            let _gone = send(&mut socket, &reply);
        }
        std::process::abort();
    }));
}

/// Checks a module, compiles it, and says what it is like. With a snapshot it is the module that starts from there.
fn compile(
    bytes: &[u8],
    fuel: bool,
    snapshot: Option<&Snapshot>,
) -> Result<(Vec<u8>, ModuleInfo), CompileFailure> {
    let mut bytes = wat::Parser::new().parse_bytes(None, bytes).map_err(|error| text_error(&error))?;
    if let Some(snapshot) = snapshot {
        let baked = bake::bake(&bytes, snapshot);
        let refused = |message: String| CompileFailure::Invalid { message: shortened(&message) };
        bytes = baked.map_err(refused)?.into();
    }
    let engine = Engine::new(&engine::code_config(fuel)).map_err(|error| invalid(&error))?;
    let mut module = Module::new(&engine, &bytes).map_err(|error| invalid(&error))?;
    check_imports(&module)?;
    check_abi(&module)?;
    let tasks = check_tasks(&module)?;
    let has_init = check_init(&module)?;
    if has_init {
        // What the initializer leaves behind is read from outside, so the outside must be able to see it.
        let bytes = instrument::export_globals(&bytes)
            .map_err(|message| CompileFailure::Invalid { message: shortened(&message) })?;
        module = Module::new(&engine, bytes).map_err(|error| invalid(&error))?;
    }
    check_links(&module, &tasks, fuel)?;
    let code = module.serialize().map_err(|error| invalid(&error))?;
    let info = ModuleInfo { has_init, ..info_of(&module, tasks, has_start(&bytes), code.len()) };
    Ok((code, info))
}

fn invalid(error: &wasmtime::Error) -> CompileFailure {
    CompileFailure::Invalid { message: shortened(&format!("{error:#}")) }
}

fn text_error(error: &wat::Error) -> CompileFailure {
    CompileFailure::Invalid { message: shortened(&error.to_string()) }
}

fn shortened(message: &str) -> String {
    message.chars().take(LONGEST_MESSAGE).collect()
}

/// Refuses imports that nobody offers, the first one by name.
fn check_imports(module: &Module) -> Result<(), CompileFailure> {
    for wanted in module.imports() {
        let known = match wanted.module() {
            import::MODULE => imports::NAMES.contains(&wanted.name()),
            import::WASI => wasi::is_known(wanted.name()),
            _ => false,
        };
        if !known {
            return Err(CompileFailure::UnknownImport {
                module: shortened(wanted.module()),
                name: shortened(wanted.name()),
            });
        }
    }
    Ok(())
}

/// The version of the ABI is the end of an export's name.
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

/// Checks that every task has its two exports, and returns the tasks' names in order.
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

/// Whether the module has an initializer; then it has both of its exports.
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

/// A type as people write it, short enough for a message.
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

/// Links the module as a worker will, so that a wrong type is found before any worker starts.
fn check_links(module: &Module, tasks: &[String], fuel: bool) -> Result<(), CompileFailure> {
    let exports: Vec<String> = tasks.iter().map(|task| format!("{}{task}", export::TASK_PREFIX)).collect();
    instance::check_links(module, &exports, fuel).map_err(|error| invalid(&error))
}

/// Whether a valid module has a start function. The engine does not say.
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
