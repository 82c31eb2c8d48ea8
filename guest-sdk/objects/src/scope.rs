//! [`HandleScope`]: the handles beside the bytes of a value that is being encoded or decoded.
//!
//! serde writes a value as bytes, which cannot hold a handle. The bytes hold the handle's position in a list that goes
//! with them, and the scope is that list.

use std::cell::RefCell;

/// The handles of the values that one thread is encoding and decoding.
#[derive(Debug)]
pub struct HandleScope<H> {
    /// The handles attached to the value that is being encoded; `None` if none is.
    attached: RefCell<Option<Vec<H>>>,
    /// The handles that came with the value that is being decoded.
    received: RefCell<Vec<H>>,
}

impl<H: Clone> HandleScope<H> {
    /// Returns the scope of a thread that encodes and decodes nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { attached: RefCell::new(None), received: RefCell::new(Vec::new()) }
    }

    pub(crate) fn attach(&self, handle: &H) -> Result<u32, String> {
        let mut attached = self.attached.borrow_mut();
        let attached = attached
            .as_mut()
            .ok_or("a shared object travels in arguments, results and other shared objects only")?;
        attached.push(handle.clone());
        u32::try_from(attached.len() - 1).map_err(|error| error.to_string())
    }

    pub(crate) fn resolve(&self, position: u32) -> Result<H, String> {
        let received = self.received.borrow();
        received.get(position as usize).cloned().ok_or_else(|| format!("no handle came for place {position}"))
    }

    /// Replaces the attached handles, and returns the former ones.
    pub(crate) fn replace_attached(&self, handles: Option<Vec<H>>) -> Option<Vec<H>> {
        self.attached.replace(handles)
    }

    /// Replaces the received handles, and returns the former ones.
    pub(crate) fn replace_received(&self, handles: Vec<H>) -> Vec<H> {
        self.received.replace(handles)
    }
}

impl<H: Clone> Default for HandleScope<H> {
    fn default() -> Self {
        Self::new()
    }
}
