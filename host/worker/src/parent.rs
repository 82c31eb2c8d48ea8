//! The start of a child process in either role, and its connection to the parent.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde::de::DeserializeOwned;
use wpool_wire::codec::{Frame, FrameReader};
use wpool_wire::message::decode;

use crate::sandbox;

/// The maximum number of descriptors that come with the bytes of one read. No message carries more.
const MAX_DESCRIPTORS: usize = 4;

/// The reason why a role has failed, as text.
pub(crate) enum Failure<'a> {
    Error(&'a str),
    Panic(&'a str),
}

/// Runs a role: detaches the process, connects to the parent, and calls `role`.
///
/// `report` sends a failure to the parent, which is an error of `role` or a panic of any thread. It returns the exit code
/// for an error; a panic aborts the process.
pub(crate) fn run_role(
    role: fn(&UnixStream) -> wasmtime::Result<()>,
    report: fn(&UnixStream, Failure<'_>) -> ExitCode,
) -> ExitCode {
    // SAFETY: no descriptor from 3 on may have an owner that is used afterwards. This crate has opened none before this
    // statement. Owners in the program are not used again: it has no other thread yet, because `wpool::init` stands
    // first in its `main`, and `init` exits with the code that is returned here instead of returning.
    let detached = unsafe { sandbox::detach() };
    let Some(socket) = parent_socket() else { return ExitCode::FAILURE };
    report_panics(&socket, report);
    match detached.map_err(wasmtime::Error::from).and_then(|()| role(&socket)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&socket, Failure::Error(&format!("{error:#}"))),
    }
}

/// Returns the socket to the parent, which is descriptor 0; `None` if it is no socket, because no pool has started this
/// process.
fn parent_socket() -> Option<UnixStream> {
    let stdin = io::stdin();
    rustix::net::sockopt::socket_type(stdin.as_fd()).ok()?;
    Some(UnixStream::from(stdin.as_fd().try_clone_to_owned().ok()?))
}

fn report_panics(socket: &UnixStream, report: fn(&UnixStream, Failure<'_>) -> ExitCode) {
    let Ok(socket) = socket.try_clone() else { return };
    std::panic::set_hook(Box::new(move |info| {
        report(&socket, Failure::Panic(&info.to_string()));
        std::process::abort();
    }));
}

/// The first message of the parent.
pub(crate) struct FirstMessage<T> {
    pub(crate) message: T,
    /// The descriptors that came with it, in order.
    pub(crate) descriptors: Vec<OwnedFd>,
    /// The reader, which may hold later frames.
    pub(crate) reader: FrameReader,
}

/// Waits for the first message of the parent, whose frames have at most `max_payload` bytes. `name` names the message,
/// which has the kind `kind`, in the error for a frame of another kind.
pub(crate) fn receive_first<T: DeserializeOwned>(
    socket: &UnixStream,
    kind: u8,
    name: &str,
    max_payload: usize,
) -> wasmtime::Result<FirstMessage<T>> {
    let mut reader = FrameReader::new(max_payload);
    let mut source = DescriptorReader::new(socket);
    loop {
        if let Some(Frame { kind: found, payload }) = reader.next_frame()? {
            if found != kind {
                return Err(io::Error::other(format!("a frame of kind {found} before the {name}")).into());
            }
            let message = decode(payload)?;
            return Ok(FirstMessage { message, descriptors: source.descriptors.into(), reader });
        }
        if reader.fill(&mut source)? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

/// Reads from a socket, and keeps the descriptors that come with the bytes.
#[derive(Debug)]
pub(crate) struct DescriptorReader<'a> {
    socket: &'a UnixStream,
    descriptors: VecDeque<OwnedFd>,
}

impl<'a> DescriptorReader<'a> {
    pub(crate) fn new(socket: &'a UnixStream) -> Self {
        Self { socket, descriptors: VecDeque::new() }
    }

    pub(crate) fn socket(&self) -> &'a UnixStream {
        self.socket
    }

    /// Takes the oldest descriptor; `None` if all that have come were taken.
    pub(crate) fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }
}

impl Read for DescriptorReader<'_> {
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

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use wpool_wire::codec::FrameWriter;
    use wpool_wire::message::{Fatal, encode};

    use super::*;

    fn received(kinds: &[u8]) -> wasmtime::Result<FirstMessage<Fatal>> {
        let (mut parent, child) = UnixStream::pair().unwrap();
        let mut writer = FrameWriter::default();
        for kind in kinds {
            writer.frame(*kind, |out| encode(&Fatal { message: "hello".to_owned() }, out));
        }
        parent.write_all(writer.bytes()).unwrap();
        drop(parent);
        receive_first(&child, 1, "hello", 1 << 10)
    }

    #[test]
    fn the_first_message_leaves_later_frames_in_the_reader() {
        let FirstMessage { message, descriptors, mut reader } = received(&[1, 2]).unwrap();
        assert_eq!((message.message.as_str(), descriptors.len()), ("hello", 0));
        assert_eq!(reader.next_frame().unwrap().map(|frame| frame.kind), Some(2));
    }

    #[test]
    fn another_frame_or_the_end_of_the_stream_is_an_error() {
        let error = |kinds: &[u8]| received(kinds).err().unwrap().to_string();
        assert_eq!(error(&[3, 1]), "a frame of kind 3 before the hello");
        assert!(received(&[]).is_err());
    }
}
