//! The shared objects of a run, and the files that they are written to: a queue as it fills, others at the end.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::thread::JoinHandle;

use wpool::{Manager, NamedError, NamedObjects, ObjectSpec};

use crate::exit_code::{BAD_INPUT, Failure};
use crate::target::Target;

/// The declared objects, and the files to write them to.
#[derive(Debug)]
pub(crate) struct Objects {
    pub(crate) named: NamedObjects,
    drains: Vec<ObjectFile>,
    dumps: Vec<ObjectFile>,
}

/// An object, and the file that it is written to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ObjectFile {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

impl Objects {
    /// Declares the objects, and checks that those with a file can be written to it: queues are drained, others dumped.
    pub(crate) fn declare(
        specs: impl Iterator<Item = Result<(String, ObjectSpec), Failure>>,
        drains: Vec<ObjectFile>,
        dumps: Vec<ObjectFile>,
    ) -> Result<Self, Failure> {
        let named = NamedObjects::default();
        for spec in specs {
            let (name, spec) = spec?;
            named.declare(&name, spec).map_err(Failure::input)?;
        }
        for (nth, drain) in drains.iter().enumerate() {
            named.check_queue(&drain.name).map_err(Failure::input)?;
            if drains[..nth].iter().chain(&dumps).any(|other| other.name == drain.name) {
                return Err(Failure::input(format!(
                    "`{}` can be drained once, and then holds nothing to dump",
                    drain.name
                )));
            }
        }
        for dump in &dumps {
            named.check_holds(&dump.name).map_err(Failure::input)?;
        }
        Ok(Self { named, drains, dumps })
    }

    /// Makes the objects, and begins to drain the queues.
    pub(crate) fn start(&self, manager: &Manager) -> Result<StartedObjects<'_>, Failure> {
        self.named.attach(manager);
        let drains = self.drains.iter().map(|drain| Drain::start(&self.named, drain));
        Ok(StartedObjects {
            drains: drains.collect::<Result<_, _>>()?,
            named: &self.named,
            dumps: self.dumps.iter().map(Dump::open).collect::<Result<_, _>>()?,
        })
    }
}

/// The objects of a run that has begun.
pub(crate) struct StartedObjects<'a> {
    named: &'a NamedObjects,
    drains: Vec<Drain<'a>>,
    dumps: Vec<Dump<'a>>,
}

impl StartedObjects<'_> {
    /// Writes what is left, as far as possible. To be called when no task runs any more. Returns the first error.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let mut outcome = Ok(());
        for drain in self.drains {
            let drained = drain.finish(self.named);
            outcome = outcome.and(drained);
        }
        for dump in self.dumps {
            let dumped = dump.finish(self.named);
            outcome = outcome.and(dumped);
        }
        outcome
    }
}

/// A queue that is written to a file as it fills.
struct Drain<'a> {
    file: &'a ObjectFile,
    thread: JoinHandle<Result<(), DrainError>>,
}

#[derive(Debug)]
enum DrainError {
    Object(NamedError),
    File(io::Error),
}

impl<'a> Drain<'a> {
    fn start(named: &NamedObjects, file: &'a ObjectFile) -> Result<Self, Failure> {
        let out =
            Target::open_direct(&file.path).map_err(|error| Failure::cannot_write(&file.path, error))?;
        let (named, queue) = (named.clone(), file.name.clone());
        let thread = std::thread::Builder::new().name(format!("drain {queue}")).spawn(move || {
            let drained = drain(&named, &queue, out);
            // A task that puts a value must fail now, as nothing takes it out any more.
            named.close(&queue).map_err(DrainError::Object).and(drained)
        });
        Ok(Self { file, thread: thread.map_err(Failure::start)? })
    }

    /// Closes the queue, and waits until its last value is written.
    fn finish(self, named: &NamedObjects) -> Result<(), Failure> {
        let ObjectFile { name, path } = self.file;
        named.close(name).map_err(failed)?;
        match self.thread.join() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(DrainError::Object(error))) => Err(failed(error)),
            Ok(Err(DrainError::File(error))) => Err(Failure::cannot_write(path, error)),
            Err(_) => Err(Failure::input(format!("`{name}` could not be drained"))),
        }
    }
}

/// Writes the values of a queue to a file until the queue is closed and empty.
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

/// An object that is written to a file at the end. The file is opened before, when nothing is lost if that fails.
struct Dump<'a> {
    file: &'a ObjectFile,
    target: Target,
}

impl<'a> Dump<'a> {
    fn open(file: &'a ObjectFile) -> Result<Self, Failure> {
        let target = Target::open(&file.path).map_err(|error| Failure::cannot_write(&file.path, error))?;
        Ok(Self { file, target })
    }

    fn finish(mut self, named: &NamedObjects) -> Result<(), Failure> {
        let text = named.to_json(&self.file.name).map_err(failed)?;
        let written = writeln!(self.target, "{text}").and_then(|()| self.target.finish());
        written.map_err(|error| Failure::cannot_write(&self.file.path, error))
    }
}

fn failed(error: NamedError) -> Failure {
    Failure::of(BAD_INPUT, error)
}
