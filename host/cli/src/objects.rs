//! Shared objects that flags declare, and what is written of them: a queue as it fills, others at the end.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use wpool::{Manager, NamedError, NamedObjects, ObjectSpec};

use crate::args::{Assigned, Counted, ObjectArgs};
use crate::exit_code::Failure;
use crate::target::Target;

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
        for Assigned(name, _) in &args.drain {
            named.check_queue(name).map_err(Failure::input)?;
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
            let file = File::create(&path).map_err(|error| cannot_write(&path, error))?;
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
    while named.drain(queue, &mut lines).map_err(DrainError::Object)? {
        file.write_all(&lines).map_err(DrainError::File)?;
        lines.clear();
    }
    Ok(())
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
    /// Nothing runs any more: writes what is left.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        for Drain { queue, path, thread } in self.drains {
            self.named.close(&queue).map_err(failed)?;
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(DrainError::Object(error))) => return Err(failed(error)),
                Ok(Err(DrainError::File(error))) => return Err(cannot_write(&path, error)),
                Err(_) => return Err(Failure::input(format!("`{queue}` could not be drained"))),
            }
        }
        for Assigned(name, path) in self.dumps {
            let path = PathBuf::from(path);
            let mut text = self.named.to_json(&name).map_err(failed)?;
            text.push('\n');
            let write = || {
                let mut target = Target::open(&path)?;
                target.write_all(text.as_bytes())?;
                target.finish()
            };
            write().map_err(|error| cannot_write(&path, error))?;
        }
        Ok(())
    }
}

fn failed(error: NamedError) -> Failure {
    Failure::input(&error).caused_by(std::error::Error::source(&error))
}

fn cannot_write(path: &Path, error: io::Error) -> Failure {
    Failure::input(format!("cannot write `{}`: {error}", path.display()))
}
