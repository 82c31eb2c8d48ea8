//! The state of reading a value from JSON: its types, the path to the current part, and the objects that it can name.

use std::cell::RefCell;

use wpool_abi::HandleType;

use super::error::JsonError;
use crate::guest::types::Types;

/// Finds the shared object of this name, checks that it is of this type, and returns the index of its handle.
pub(crate) type Objects<'o> = &'o dyn Fn(&str, &HandleType) -> Result<u32, String>;

/// Finds no object, for arguments that cannot name any.
pub(crate) fn no_objects(name: &str, _: &HandleType) -> Result<u32, String> {
    Err(format!("no shared object is named `{name}`"))
}

/// One step from a value to a part of it.
pub(super) enum Step {
    Field(String),
    Param(String),
    Index(usize),
}

/// The state that is shared by the readers of all parts of a value.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) types: &'a Types,
    /// The steps to the part that is being read.
    pub(super) path: &'a RefCell<Vec<Step>>,
    pub(super) objects: Objects<'a>,
    /// The length that the output may have.
    pub(super) most: usize,
}

impl Context<'_> {
    /// Reads the part that is one step down. After an error the path stays as it is, for the report.
    pub(super) fn within<T, E>(&self, step: Step, read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.path.borrow_mut().push(step);
        let value = read()?;
        self.path.borrow_mut().pop();
        Ok(value)
    }
}

/// Turns an error of serde_json into ours: the expected type comes first, and the position has fields of its own.
pub(super) fn describe_error(error: &serde_json::Error, steps: &[Step]) -> JsonError {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let text = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
    let wrong = text.strip_prefix("invalid type: ").or_else(|| text.strip_prefix("invalid value: "));
    let message = match wrong.and_then(|rest| rest.rsplit_once(", expected ")) {
        Some((got, expected)) => format!("expected {expected}, got {got}"),
        None => text.to_owned(),
    };
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Field(name) => path.push_str(&format!(".{name}")),
            Step::Param(name) => path.push_str(name),
            Step::Index(index) => path.push_str(&format!("[{index}]")),
        }
    }
    JsonError {
        message,
        path,
        line,
        column,
        syntax: error.is_syntax() || error.is_eof(),
        unknown_object: false,
    }
}
