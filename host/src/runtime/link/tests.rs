//! Links over a socket pair, and a process that is none for other tests.

use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::ids::TaskId;

/// A process that is none: it ends when it is told to, or when the test says that another process has killed it.
#[derive(Default)]
struct NoProcess {
    signalled: Option<Signal>,
    killed_outside: Arc<AtomicBool>,
}

/// The worker's side of a link, and a switch that kills it from outside.
pub(in super::super) struct Peer {
    pub(in super::super) socket: UnixStream,
    pub(in super::super) control: ControlPage,
    pub(in super::super) killed_outside: Arc<AtomicBool>,
}

impl WorkerProcess for NoProcess {
    fn pid(&self) -> u32 {
        0
    }

    fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn resident(&self) -> Option<u64> {
        None
    }

    fn signal(&mut self, signal: Signal) {
        self.signalled.get_or_insert(signal);
    }

    fn try_wait(&mut self) -> Option<WorkerExit> {
        if self.killed_outside.load(Ordering::Relaxed) {
            return Some(WorkerExit::Signal { signal: Signal::KILL.as_raw(), by_pool: false });
        }
        self.signalled.map(|signal| WorkerExit::Signal { signal: signal.as_raw(), by_pool: true })
    }
}

/// A link over a socket pair.
pub(in super::super) fn link() -> (Link, Peer) {
    let (ours, socket) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let (control, file) = ControlPage::create().unwrap();
    let ready_by = Instant::now() + std::time::Duration::from_secs(10);
    let process = NoProcess::default();
    let killed_outside = Arc::clone(&process.killed_outside);
    let link = Link::new(Box::new(process), Arc::new(ours), control, ready_by);
    let control = ControlPage::open(&file.into()).unwrap();
    (link, Peer { socket, control, killed_outside })
}

const WORKER: WorkerId = WorkerId { slot: 0, generation: 1 };

fn linked() -> (Links, UnixStream, Interest) {
    let (link, Peer { socket: theirs, .. }) = link();
    let interest = Interest::new().unwrap();
    interest.add_socket(WORKER, link.as_fd()).unwrap();
    let mut links = Links::default();
    links.insert(WORKER, link);
    (links, theirs, interest)
}

#[test]
fn frames_of_a_turn_are_written_together() {
    let (mut links, mut theirs, interest) = linked();
    theirs.set_nonblocking(true).unwrap();
    links.send(WORKER, 7, |out| out.push(1));
    links.send(WORKER, 8, |out| out.push(2));
    let mut bytes = [0; 64];
    assert!(theirs.read(&mut bytes).is_err(), "nothing before the end of the turn");
    links.flush(&interest);
    assert_eq!(theirs.read(&mut bytes).unwrap(), 18);
}

#[test]
fn what_a_full_socket_leaves_is_written_when_it_takes_more() {
    let (mut links, mut theirs, interest) = linked();
    let frame = vec![9; 4 << 20];
    links.send(WORKER, 7, |out| out.extend_from_slice(&frame));
    links.flush(&interest);
    assert!(links.get(WORKER).unwrap().sent > 0, "a part was written");
    let mut got = 0;
    let mut bytes = vec![0; 1 << 16];
    while got < frame.len() + 8 {
        got += theirs.read(&mut bytes).unwrap();
        links.writable(WORKER, &interest);
        links.flush(&interest);
    }
    let link = links.get(WORKER).unwrap();
    assert_eq!((got, link.out.len(), link.sent), (frame.len() + 8, 0, 0));
}

#[test]
fn unsent_answers_are_counted_until_all_is_written() {
    let (mut links, mut theirs, interest) = linked();
    let answer = vec![9; 4 << 20];
    links.send(WORKER, 7, |out| out.push(1));
    let answer = Answer { task: TaskId(1), bytes: &answer, granted: Vec::new() };
    links.writer(WORKER).unwrap().answer(&answer);
    links.flush(&interest);
    assert!(links.get(WORKER).unwrap().unsent_answers() > 4 << 20, "tasks do not count");
    let mut bytes = vec![0; 1 << 16];
    while links.get(WORKER).unwrap().unsent_answers() > 0 {
        assert!(theirs.read(&mut bytes).unwrap() > 0);
        links.writable(WORKER, &interest);
        links.flush(&interest);
    }
}

#[test]
fn a_worker_that_closed_its_end_may_exit_by_itself_before_it_is_killed() {
    let (mut links, theirs, interest) = linked();
    links.get_mut(WORKER).unwrap().hello_answered();
    drop(theirs);
    links.send(WORKER, 7, |out| out.push(1));
    assert!(links.flush(&interest), "the driver has to look at the clock earlier");
    assert_eq!(links.get_mut(WORKER).unwrap().exit(), None, "the pool does not take the blame");
    let due = links.next_overdue().unwrap();
    assert!(due <= Instant::now() + EXIT_TIMEOUT);
    links.kill_overdue(due);
    assert!(matches!(links.get_mut(WORKER).unwrap().exit(), Some(WorkerExit::Signal { signal: 9, .. })));
}

#[test]
fn a_worker_that_does_not_stop_is_killed() {
    let (mut links, _theirs, _interest) = linked();
    let exit_by = Instant::now() + Duration::from_secs(60);
    links.stop(WORKER, exit_by);
    links.get_mut(WORKER).unwrap().hello_answered();
    assert_eq!(links.next_overdue(), Some(exit_by), "also if it answers the hello after that");
    links.kill_overdue(exit_by);
    assert_eq!(links.get(WORKER).unwrap().exit_reason(), Some("it was told to stop and did not exit"));
    assert!(links.get_mut(WORKER).unwrap().exit().is_some());
}

#[test]
fn a_violation_is_the_reason_of_the_exit() {
    let (mut links, _theirs, _interest) = linked();
    let link = links.get_mut(WORKER).unwrap();
    link.violated("it lied".to_owned());
    link.violated("again".to_owned());
    assert_eq!(link.exit(), Some(WorkerExit::Violation("it lied".to_owned())));
}

#[test]
fn a_worker_is_killed_when_it_is_overdue_and_not_before() {
    let (mut links, _theirs, _interest) = linked();
    let due = links.next_overdue().unwrap();
    links.kill_overdue(due - std::time::Duration::from_millis(1));
    assert_eq!(links.get_mut(WORKER).unwrap().exit(), None);
    links.kill_overdue(due);
    assert_eq!(links.get(WORKER).unwrap().exit_reason(), Some("it did not start within 10 s"));
    assert!(links.get_mut(WORKER).unwrap().exit().is_some() && links.next_overdue().is_none());
}

#[test]
fn a_worker_that_was_to_end_before_it_was_started_is_killed_at_once() {
    let (mut links, (link, _peer)) = (Links::default(), link());
    links.kill(WORKER);
    links.insert(WORKER, link);
    assert!(links.get_mut(WORKER).unwrap().exit().is_some());
    assert!(!links.take_cancelled(WORKER));
}

#[test]
fn a_buffer_that_never_drains_does_not_grow() {
    const PART: usize = 64 << 10;
    let (mut links, mut theirs, interest) = linked();
    let mut longest = 0;
    // Four mebibytes are ahead of the reader, and what it reads is sent anew: the buffer never gets empty.
    links.send(WORKER, 7, |out| out.resize(4 << 20, 9));
    links.flush(&interest);
    for _ in 0..1000 {
        theirs.read_exact(&mut vec![0; PART]).unwrap();
        links.send(WORKER, 7, |out| out.extend_from_slice(&[9; PART]));
        links.flush(&interest);
        links.writable(WORKER, &interest);
        let link = links.get(WORKER).unwrap();
        assert!(link.sent < link.out.len(), "it is behind all the time");
        longest = longest.max(link.out.len());
    }
    assert!(longest < 16 << 20, "{longest} bytes");
}
