//! Writes results: as an array with errors at the indices of their inputs, or as a line per result.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use serde::Deserializer as _;
use serde::de::{Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use wpool::{Signature, TaskError};

use crate::target::Target;

/// The notation of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// One array.
    Json,
    /// One line per result.
    Jsonl,
    /// The value alone, of a single call.
    Value,
}

/// The open output of a run.
pub(crate) struct Output {
    sink: Sink,
    format: Format,
    written: u64,
    /// Inputs whose tasks were cancelled. In an array each has its place before the next result, and none after the
    /// last one.
    cancelled: u64,
    /// The last result, as an element of an array.
    text: Vec<u8>,
}

enum Sink {
    Stdout(BufWriter<io::Stdout>),
    File(BufWriter<Target>),
    Nowhere(io::Sink),
}

impl Output {
    /// Opens a file, which appears at `path` when it is whole, or standard output without a path.
    pub(crate) fn open(path: Option<&Path>, format: Format) -> io::Result<Self> {
        let sink = match path {
            None => Sink::Stdout(BufWriter::with_capacity(1 << 16, io::stdout())),
            Some(path) => Sink::File(BufWriter::with_capacity(1 << 16, Target::open(path)?)),
        };
        Ok(Self { sink, format, written: 0, cancelled: 0, text: Vec::new() })
    }

    /// An output that nothing is written to.
    pub(crate) fn nowhere(format: Format) -> Self {
        Self { sink: Sink::Nowhere(io::sink()), format, written: 0, cancelled: 0, text: Vec::new() }
    }

    /// The last result, as an element of an array.
    pub(crate) fn last_element(&self) -> &[u8] {
        &self.text
    }

    /// Keeps the place of an input whose task was cancelled, in an array in the order of the inputs.
    pub(crate) fn cancelled(&mut self) {
        self.cancelled += 1;
    }

    /// Writes one result. Returns it as it is shown: a value that does not match the task's description is an error.
    pub(crate) fn write(
        &mut self,
        index: u64,
        result: Result<&[u8], &TaskError>,
        signature: &Signature,
    ) -> io::Result<Result<(), TaskError>> {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        let shown = match result {
            Ok(bytes) => signature
                .value_to_json(bytes, &mut text)
                .map_err(|error| TaskError::BadResult { message: error.to_string() }),
            Err(error) => Err(error.clone()),
        };
        if self.format == Format::Json {
            self.fill_places(signature)?;
        }
        if let Err(error) = &shown {
            text = failed(error, signature).into_bytes();
        }
        let written = match (self.format, &shown) {
            (Format::Json, Ok(())) => {
                if let Cow::Owned(escaped) = escape_error_key(&text) {
                    text = escaped;
                }
                self.element(&text)
            }
            (Format::Json, Err(_)) => self.element(&text),
            (Format::Value, Ok(())) => self.line(&[&text]),
            (Format::Value, Err(_)) => Ok(()),
            (Format::Jsonl, Ok(())) => {
                self.line(&[format!("{{\"index\":{index},\"ok\":").as_bytes(), &text, b"}"])
            }
            (Format::Jsonl, Err(error)) => {
                let error = error_object(error, signature);
                self.line(&[format!("{{\"index\":{index},\"error\":{error}}}").as_bytes()])
            }
        };
        self.text = text;
        self.written += 1;
        written.map(|()| shown)
    }

    /// Writes the error of each cancelled task before the next result.
    fn fill_places(&mut self, signature: &Signature) -> io::Result<()> {
        for _ in 0..std::mem::take(&mut self.cancelled) {
            self.element(failed(&TaskError::Cancelled, signature).as_bytes())?;
            self.written += 1;
        }
        Ok(())
    }

    fn element(&mut self, text: &[u8]) -> io::Result<()> {
        let before: &[u8] = if self.written == 0 { b"[\n" } else { b",\n" };
        let sink = self.sink();
        sink.write_all(before)?;
        sink.write_all(text)
    }

    fn line(&mut self, pieces: &[&[u8]]) -> io::Result<()> {
        let sink = self.sink();
        pieces.iter().try_for_each(|piece| sink.write_all(piece))?;
        sink.write_all(b"\n")
    }

    fn sink(&mut self) -> &mut dyn Write {
        match &mut self.sink {
            Sink::Stdout(out) => out,
            Sink::Nowhere(out) => out,
            Sink::File(out) => out,
        }
    }

    /// Whether another process may read the results as they come: not those of a file that appears when it is whole.
    pub(crate) fn is_followed(&self) -> bool {
        match &self.sink {
            Sink::Stdout(_) => true,
            Sink::Nowhere(_) => false,
            Sink::File(out) => matches!(out.get_ref(), Target::Direct(_)),
        }
    }

    /// A duplicate of the descriptor, if another process may read from it.
    pub(crate) fn descriptor(&self) -> Option<OwnedFd> {
        match &self.sink {
            Sink::Stdout(out) => out.get_ref().as_fd().try_clone_to_owned().ok(),
            Sink::Nowhere(_) => None,
            Sink::File(out) => match out.get_ref() {
                Target::Direct(file) => file.as_fd().try_clone_to_owned().ok(),
                Target::Whole(..) => None,
            },
        }
    }

    /// Passes on what was written, unless it goes to a file that appears only when it is whole.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Sink::Stdout(out) => out.flush(),
            Sink::Nowhere(_) => Ok(()),
            Sink::File(out) if matches!(out.get_ref(), Target::Direct(_)) => out.flush(),
            Sink::File(_) => Ok(()),
        }
    }

    /// Ends the output. If it is not `whole`, a file at the path stays as it is, and the results go to a file beside
    /// it, whose path is returned.
    pub(crate) fn finish(mut self, whole: bool) -> io::Result<Option<PathBuf>> {
        if self.format == Format::Json {
            let end: &[u8] = if self.written == 0 { b"[]\n" } else { b"\n]\n" };
            self.sink().write_all(end)?;
        }
        match self.sink {
            Sink::Stdout(mut out) => out.flush().map(|()| None),
            Sink::Nowhere(_) => Ok(None),
            Sink::File(out) => {
                let target = out.into_inner().map_err(io::IntoInnerError::into_error)?;
                if whole { target.finish().map(|()| None) } else { target.finish_partial() }
            }
        }
    }
}

/// Returns the element of a failed result.
fn failed(error: &TaskError, signature: &Signature) -> String {
    format!("{{\"$error\":{}}}", error_object(error, signature))
}

/// Escapes a value's own key `$error` with one more `$`, so that it cannot be taken for a failed result.
fn escape_error_key(text: &[u8]) -> Cow<'_, [u8]> {
    let is_error_key = |key: &str| key.starts_with('$') && key.trim_start_matches('$') == "error";
    let contains = |needle: &[u8]| text.windows(needle.len()).any(|window| window == needle);
    if !text.starts_with(b"{") || !contains(b"$error\"") {
        return text.into();
    }
    let mut out = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    match deserializer.deserialize_map(Renamed { is_error_key, out: &mut out }) {
        Ok(()) => out.into(),
        Err(_) => text.into(),
    }
}

/// Copies an object, whose keys are escaped. The values stay text: a tree of them would need many times the memory.
struct Renamed<'o, F> {
    is_error_key: F,
    out: &'o mut Vec<u8>,
}

impl<'de, F: Fn(&str) -> bool> Visitor<'de> for Renamed<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        self.out.push(b'{');
        while let Some(key) = object.next_key::<String>()? {
            let value: &RawValue = object.next_value()?;
            let before = if self.out.len() == 1 { "" } else { "," };
            let escape = if (self.is_error_key)(&key) { "$" } else { "" };
            let key = Value::from(format!("{escape}{key}"));
            write!(self.out, "{before}{key}:{value}").map_err(A::Error::custom)?;
        }
        self.out.push(b'}');
        Ok(())
    }
}

/// Returns the JSON object of a failed result: its kind, a message, and the values that belong to the kind.
pub(crate) fn error_object(error: &TaskError, signature: &Signature) -> String {
    let mut object = error_values(error).to_string();
    if let Some(value) = guests_error(error, signature) {
        object.pop();
        object.push_str(",\"value\":");
        object.push_str(&value);
        object.push('}');
    }
    object
}

/// The error that a task has returned, in JSON, if its type is described.
fn guests_error(error: &TaskError, signature: &Signature) -> Option<String> {
    let TaskError::Guest(guest) = error else { return None };
    let mut text = Vec::new();
    signature.error_to_json(guest.value()?, &mut text).ok().filter(|described| *described)?;
    String::from_utf8(text).ok()
}

fn error_values(error: &TaskError) -> Value {
    let mut object = json!({"kind": error.kind(), "message": error.to_string()});
    let extra = match error {
        TaskError::Panic { location, .. } => Some(json!({"location": location})),
        TaskError::Trap { trap, backtrace } => {
            let frames: Vec<Value> = backtrace
                .iter()
                .map(|frame| json!({"function": frame.function, "offset": frame.offset}))
                .collect();
            Some(json!({"trap": trap.name(), "backtrace": frames}))
        }
        TaskError::Exited { code } => Some(json!({"code": code})),
        TaskError::Timeout { limit, clock } => {
            Some(json!({"limit_ms": limit.as_secs_f64() * 1e3, "clock": clock.name()}))
        }
        TaskError::WorkerLost { cause, phase, earlier } => {
            let earlier: Vec<String> = earlier.iter().map(ToString::to_string).collect();
            Some(json!({"cause": cause.to_string(), "phase": phase.to_string(), "earlier": earlier}))
        }
        TaskError::OutOfFuel { limit } => Some(json!({"limit": limit})),
        TaskError::MemoryLimit { limit, asked } | TaskError::TableLimit { limit, asked } => {
            Some(json!({"limit": limit, "asked": asked}))
        }
        TaskError::Denied { capability } => Some(json!({"policy": capability.name()})),
        TaskError::OutputLimit { limit, size } | TaskError::EmitLimit { limit, size } => {
            Some(json!({"limit": limit, "size": size}))
        }
        _ => None,
    };
    if let (Value::Object(object), Some(Value::Object(extra))) = (&mut object, extra) {
        object.extend(extra);
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_own_error_key_is_escaped() {
        for (text, expected) in [
            (r#"{"$error":1}"#, r#"{"$$error":1}"#),
            (r#"{"b":1,"$$error":2,"a":3}"#, r#"{"b":1,"$$$error":2,"a":3}"#),
            (r#"{"error":1}"#, r#"{"error":1}"#),
            (r#"["$error"]"#, r#"["$error"]"#),
            (r#"{"a":{"$error":1}}"#, r#"{"a":{"$error":1}}"#),
        ] {
            assert_eq!(String::from_utf8_lossy(&escape_error_key(text.as_bytes())), expected);
        }
    }
}
