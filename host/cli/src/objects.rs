//! Shared objects that flags declare, and what is written of them: a queue as it fills, others at the end.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use wpool::{Manager, NamedError, NamedObjects, ObjectSpec};

use crate::args::{Assigned, Counted, ObjectArgs, RunArgs};
use crate::exit_code::Failure;
use crate::target::{Target, is_own_stream};

/// What was declared, and what is to be written where.
#[derive(Debug)]
pub(crate) struct Objects {
    pub(crate) named: NamedObjects,
    drains: Vec<Assigned>,
    dumps: Vec<Assigned>,
}

impl Objects {
    /// Takes what was typed, and looks whether it makes sense.
    pub(crate) fn declare(args: &ObjectArgs) -> Result<Self, Failure> {
        let named = NamedObjects::default();
        let declare = |name: &str, spec| named.declare(name, spec).map_err(Failure::input);
        for Counted(name, capacity) in &args.queue {
            declare(name, ObjectSpec::Queue(*capacity))?;
        }
        for (names, spec) in [
            (&args.dict, ObjectSpec::Dict),
            (&args.list, ObjectSpec::List),
            (&args.event, ObjectSpec::Event),
            (&args.lock, ObjectSpec::Lock),
        ] {
            names.iter().try_for_each(|name| declare(name, spec.clone()))?;
        }
        for Assigned(name, text) in &args.value {
            if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
                return Err(Failure::input(format!("the first value of `{name}` is no JSON: {error}")));
            }
            declare(name, ObjectSpec::Value(text.clone()))?;
        }
        for Counted(name, count) in &args.semaphore {
            declare(name, ObjectSpec::Semaphore(count.unwrap_or(1)))?;
        }
        for Counted(name, parties) in &args.barrier {
            let parties = u32::try_from(parties.unwrap_or(1)).map_err(Failure::input)?;
            declare(name, ObjectSpec::Barrier(parties))?;
        }
        for Counted(name, len) in &args.shared_array {
            let len = usize::try_from(len.unwrap_or(1)).map_err(Failure::input)?;
            declare(name, ObjectSpec::SharedArray(len))?;
        }
        for Assigned(name, path) in &args.broadcast {
            let bytes = std::fs::read(path)
                .map_err(|error| Failure::input(format!("cannot read `{path}`: {error}")))?;
            declare(name, ObjectSpec::Broadcast(bytes))?;
        }
        for (nth, Assigned(name, _)) in args.drain.iter().enumerate() {
            named.check_queue(name).map_err(Failure::input)?;
            let again = args.drain[..nth].iter().chain(&args.dump).any(|Assigned(other, _)| other == name);
            if again {
                return Err(Failure::input(format!(
                    "`{name}` can be drained once, and then holds nothing to dump"
                )));
            }
        }
        for Assigned(name, _) in &args.dump {
            named.check_holds(name).map_err(Failure::input)?;
        }
        Ok(Self { named, drains: args.drain.clone(), dumps: args.dump.clone() })
    }

    /// Makes the objects, and begins to write what comes out of the queues.
    pub(crate) fn start(self, manager: &Manager) -> Result<Started, Failure> {
        self.named.attach(manager);
        let mut drains = Vec::new();
        for Assigned(name, path) in self.drains {
            let path = PathBuf::from(path);
            let file = Target::open_direct(&path).map_err(|error| Failure::cannot_write(&path, &error))?;
            let named = self.named.clone();
            let queue = name.clone();
            let thread = std::thread::Builder::new().name(format!("drain {name}")).spawn(move || {
                let drained = drain(&named, &queue, file);
                // Whoever still puts something in has to hear that nobody takes it.
                named.close(&queue).map_err(DrainError::Object).and(drained)
            });
            let thread = thread.map_err(|error| Failure::start(&error))?;
            drains.push(Drain { queue: name, path, thread });
        }
        Ok(Started { named: self.named, drains, dumps: self.dumps })
    }
}

fn drain(named: &NamedObjects, queue: &str, mut file: File) -> Result<(), DrainError> {
    let mut lines = Vec::new();
    loop {
        let more = named.drain(queue, &mut lines).map_err(DrainError::Object)?;
        file.write_all(&lines).map_err(DrainError::File)?;
        lines.clear();
        if !more {
            return Ok(());
        }
    }
}

#[derive(Debug)]
enum DrainError {
    Object(NamedError),
    File(io::Error),
}

/// A queue that is written to a file as it fills.
struct Drain {
    queue: String,
    path: PathBuf,
    thread: JoinHandle<Result<(), DrainError>>,
}

/// A run's objects.
pub(crate) struct Started {
    pub(crate) named: NamedObjects,
    drains: Vec<Drain>,
    dumps: Vec<Assigned>,
}

impl Started {
    /// Nothing runs any more: writes what is left, all that can be. The first error is told.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let mut outcome = Ok(());
        for Drain { queue, path, thread } in self.drains {
            let drained = self.named.close(&queue).map_err(failed).and_then(|()| match thread.join() {
                Ok(Ok(())) => Ok(()),
                Ok(Err(DrainError::Object(error))) => Err(failed(error)),
                Ok(Err(DrainError::File(error))) => Err(Failure::cannot_write(&path, &error)),
                Err(_) => Err(Failure::input(format!("`{queue}` could not be drained"))),
            });
            outcome = outcome.and(drained);
        }
        for Assigned(name, path) in &self.dumps {
            let dumped = dump(&self.named, name, Path::new(path));
            outcome = outcome.and(dumped);
        }
        outcome
    }
}

fn dump(named: &NamedObjects, name: &str, path: &Path) -> Result<(), Failure> {
    let mut text = named.to_json(name).map_err(failed)?;
    text.push('\n');
    let write = || {
        let mut target = Target::open(path)?;
        target.write_all(text.as_bytes())?;
        target.finish()
    };
    write().map_err(|error| Failure::cannot_write(path, &error))
}

/// Checks that no two files of a run are one: the later would overwrite the other.
pub(crate) fn check_files(args: &RunArgs) -> Result<(), Failure> {
    let input = args.map.as_deref().map(|path| ("--map", path));
    let written = [("--output", &args.output), ("--report", &args.report), ("--resume", &args.resume)];
    let written = written.into_iter().filter_map(|(flag, path)| Some((flag, path.as_deref()?)));
    let objects = &args.objects;
    let drains = objects.drain.iter().map(|Assigned(_, path)| ("--drain", Path::new(path)));
    let dumps = objects.dump.iter().map(|Assigned(_, path)| ("--dump", Path::new(path)));
    let read = objects.broadcast.iter().map(|Assigned(_, path)| ("--broadcast", Path::new(path)));
    let mut files: Vec<(&str, PathBuf)> = Vec::new();
    for (flag, path) in input.into_iter().chain(read).chain(written).chain(drains).chain(dumps) {
        if !is_plain(path) {
            continue;
        }
        let real = real(path);
        let reads = |flag| matches!(flag, "--map" | "--broadcast");
        let other = files.iter().find(|(other, known)| *known == real && !(reads(flag) && reads(other)));
        if let Some((other, _)) = other {
            return Err(Failure::input(format!(
                "`{}` is the file of both {other} and {flag}",
                path.display()
            )));
        }
        files.push((flag, real));
    }
    Ok(())
}

/// Whether a path leads to a regular file of its own, or will.
fn is_plain(path: &Path) -> bool {
    path != Path::new("-")
        && !is_own_stream(path)
        && std::fs::metadata(path).map_or(true, |metadata| metadata.is_file())
}

/// A path without links, whether its file is there or not.
fn real(path: &Path) -> PathBuf {
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let beside = || Some(std::fs::canonicalize(folder).ok()?.join(path.file_name()?));
    std::fs::canonicalize(path).ok().or_else(beside).unwrap_or_else(|| path.to_owned())
}

fn failed(error: NamedError) -> Failure {
    Failure::input(&error).caused_by(std::error::Error::source(&error))
}
