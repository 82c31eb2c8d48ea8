//! The calls that are no tasks: descriptions and the initializer. Nothing else runs meanwhile.

use std::fs::File;
use std::io::{self, Write as _};

use wpool_wire::message::{Described, Initialized, Outcome, encode, from_worker};

use super::runner::Runner;
use crate::outcome::Figures;
use crate::poll::block_on;

/// Calls the description of each of the `tasks` tasks, up to the first that fails, and sends the result.
pub(super) fn describe(runner: &Runner, tasks: u32) -> io::Result<()> {
    let output = &runner.shared().output;
    let mut descriptions = Vec::new();
    for task in 0..tasks {
        match description(runner, task) {
            Ok(bytes) => descriptions.push(bytes),
            Err(failed) => return output.send(from_worker::DESCRIBED, |out| out.extend_from_slice(&failed)),
        }
    }
    let result = Ok(descriptions.iter().map(Vec::as_slice).collect());
    output.send(from_worker::DESCRIBED, |out| encode(&Described { result }, out))
}

/// Returns the description of a task, or the encoded message of a failure.
fn description(runner: &Runner, task: u32) -> Result<Vec<u8>, Vec<u8>> {
    let report = |outcome: Outcome<'_>, _: Figures<'_>| match outcome {
        Outcome::Value(bytes, _) => Ok(bytes.to_vec()),
        failed => {
            let mut bytes = Vec::new();
            encode(&Described { result: Err(failed) }, &mut bytes);
            Err(bytes)
        }
    };
    block_on(async {
        let instance = runner.guest().instantiate(runner.new_state()).await;
        runner.guest().run(instance, task, None, report).await.0
    })
}

/// Runs the initializer, which is the hello's only task, writes its snapshot to `file`, and sends the result.
pub(super) fn initialize(runner: &Runner, arguments: &[u8], file: Option<&File>) -> io::Result<()> {
    let report = |outcome: Outcome<'_>, _: Figures<'_>| match outcome {
        Outcome::Value(..) => None,
        failed => {
            let mut bytes = Vec::new();
            encode(&Initialized { result: Err(failed) }, &mut bytes);
            Some(bytes)
        }
    };
    let (failed, used) = block_on(async {
        let instance = runner.guest().instantiate(runner.new_state()).await;
        runner.guest().run(instance, 0, Some((arguments, 0)), report).await
    });
    let output = &runner.shared().output;
    if let Some(bytes) = failed {
        return output.send(from_worker::INITIALIZED, |out| out.extend_from_slice(&bytes));
    }
    let snapshot = used.map(|used| runner.guest().snapshot_of(used, runner.new_state()));
    let written = match (snapshot, file) {
        (Some(Ok(snapshot)), Some(mut file)) => Ok(file.write_all(&snapshot.to_bytes())?),
        (Some(Err(error)), _) => Err(format!("{error:#}")),
        (None, _) | (_, None) => Err("there is nothing to take a snapshot of".to_owned()),
    };
    let result = written.as_ref().copied().map_err(|message| Outcome::BadGuest(message));
    output.send(from_worker::INITIALIZED, |out| encode(&Initialized { result }, out))
}
