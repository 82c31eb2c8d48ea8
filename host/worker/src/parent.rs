//! The connection to the parent, as both child roles find it: a socket, and the descriptors that come with its bytes.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

/// More descriptors than any first message carries.
const MAX_DESCRIPTORS: usize = 4;

/// The socket to the parent, on descriptor 0. None if a person has typed the hidden argument.
pub(crate) fn parent_socket() -> Option<UnixStream> {
    let stdin = io::stdin();
    rustix::net::sockopt::socket_type(stdin.as_fd()).ok()?;
    Some(UnixStream::from(stdin.as_fd().try_clone_to_owned().ok()?))
}

/// Reads from a socket and keeps the descriptors that come along.
#[derive(Debug)]
pub(crate) struct WithDescriptors<'a> {
    socket: &'a UnixStream,
    descriptors: VecDeque<OwnedFd>,
}

impl<'a> WithDescriptors<'a> {
    pub(crate) fn new(socket: &'a UnixStream) -> Self {
        Self { socket, descriptors: VecDeque::new() }
    }

    pub(crate) fn into_descriptors(self) -> Vec<OwnedFd> {
        self.descriptors.into()
    }

    pub(crate) fn socket(&self) -> &'a UnixStream {
        self.socket
    }

    /// The first of the descriptors that have come and nobody has taken.
    pub(crate) fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }
}

impl Read for WithDescriptors<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut pieces = [IoSliceMut::new(buffer)];
        let received =
            rustix::net::recvmsg(self.socket, &mut pieces, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        Ok(received.bytes)
    }
}
