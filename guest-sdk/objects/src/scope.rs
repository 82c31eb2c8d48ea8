//! Handles on their way, beside the bytes of the value that they are part of.
//!
//! serde writes a value as bytes, and a handle is none: what is written is its place among those that travel.

use std::cell::RefCell;

/// What one thread is packing and unpacking.
#[derive(Debug)]
pub struct Luggage<H> {
    /// Those that go with what is being written, if anything is.
    sent: RefCell<Option<Vec<H>>>,
    /// Those that came with what is being read.
    received: RefCell<Vec<H>>,
}

impl<H: Clone> Luggage<H> {
    /// Nothing is on its way.
    #[must_use]
    pub const fn new() -> Self {
        Self { sent: RefCell::new(None), received: RefCell::new(Vec::new()) }
    }

    pub(crate) fn send(&self, handle: &H) -> Result<u32, String> {
        let mut sent = self.sent.borrow_mut();
        let sent = sent
            .as_mut()
            .ok_or("a shared object travels in arguments, results and other shared objects only")?;
        sent.push(handle.clone());
        u32::try_from(sent.len() - 1).map_err(|error| error.to_string())
    }

    pub(crate) fn receive(&self, place: u32) -> Result<H, String> {
        let received = self.received.borrow();
        received.get(place as usize).cloned().ok_or_else(|| format!("no handle came for place {place}"))
    }

    pub(crate) fn begin_sending(&self) -> Option<Vec<H>> {
        self.sent.replace(Some(Vec::new()))
    }

    pub(crate) fn end_sending(&self, before: Option<Vec<H>>) -> Vec<H> {
        self.sent.replace(before).unwrap_or_default()
    }

    /// Those that can be received from now on. Returns those that could be before.
    pub(crate) fn unpack(&self, handles: Vec<H>) -> Vec<H> {
        self.received.replace(handles)
    }
}

impl<H: Clone> Default for Luggage<H> {
    fn default() -> Self {
        Self::new()
    }
}
