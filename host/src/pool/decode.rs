//! Turns the bytes of a result into a value, and the grants in it into handles.

use serde::de::DeserializeOwned;
use wpool_schema::Schema;

use super::objects::handle::Handle;
use crate::error::TaskError;
use crate::runtime::Completed;

/// Decodes the value of a typed task, or returns the task's error.
pub(super) fn decode<R: DeserializeOwned + Schema>(completed: &Completed) -> Result<R, TaskError> {
    let bytes = completed.result.as_deref().map_err(TaskError::clone)?;
    wpool_schema::check_bounds::<R>(bytes)
        .map_err(|excess| TaskError::BadResult { message: excess.to_string() })?;
    let read = || match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(TaskError::BadResult { message: format!("{} bytes are left over", rest.len()) }),
        Err(error) => Err(TaskError::BadResult { message: error.to_string() }),
    };
    let grants = completed.grants.as_slice();
    if grants.is_empty() {
        return read();
    }
    let handles = grants.iter().cloned().map(Handle::new).collect();
    <Handle as wpool_objects::Handle>::resolving(handles, read)
}
