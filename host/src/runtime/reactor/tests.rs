//! The reactor over a socket pair: frames, violations, ends, wake-ups, leaders.

use std::io::Write as _;

use wpool_wire::codec::FrameWriter;

use super::*;

const WORKER: WorkerId = WorkerId { slot: 3, generation: 7 };

/// Remembers the news. The conversation counts the frames.
#[derive(Default)]
struct Heard {
    frames: Vec<(WorkerId, u32, u8, Vec<u8>)>,
    violations: Vec<String>,
    closed: usize,
    exited: usize,
    refuses: Option<u8>,
}

impl WorkerNews for Heard {
    type Conversation = u32;

    fn frame(&mut self, worker: WorkerId, count: &mut u32, frame: &Frame<'_>) -> Result<(), BadMessage> {
        *count += 1;
        self.frames.push((worker, *count, frame.kind, frame.payload.to_vec()));
        if self.refuses == Some(frame.kind) { Err(BadMessage("refused".to_owned())) } else { Ok(()) }
    }

    fn violated(&mut self, _: WorkerId, what: String) {
        self.violations.push(what);
    }

    fn writable(&mut self, _: WorkerId) {}

    fn closed(&mut self, _: WorkerId) {
        self.closed += 1;
    }

    fn exited(&mut self, _: WorkerId) {
        self.exited += 1;
    }
}

fn registered() -> (Reactor<u32>, UnixStream) {
    let (reactor, _ours, theirs) = registered_and_held();
    (reactor, theirs)
}

/// The same, with our end held by a link, too.
fn registered_and_held() -> (Reactor<u32>, Arc<UnixStream>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let (reactor, ours) = (Reactor::new().unwrap(), Arc::new(ours));
    reactor.register(WORKER, Arc::clone(&ours), 100, 0).unwrap();
    (reactor, ours, theirs)
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut writer = FrameWriter::default();
    writer.frame(kind, |out| out.extend_from_slice(payload));
    writer.bytes().to_vec()
}

/// Reads until `enough`.
fn poll(reactor: &Reactor<u32>, heard: &mut Heard, enough: impl Fn(&Heard) -> bool) {
    let mut readers = reactor.readers.lock();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !enough(heard) {
        assert!(Instant::now() < deadline, "the news do not come");
        reactor.poll(&mut readers, Some(deadline), heard);
    }
}

#[test]
fn frames_are_passed_on_whole_with_their_conversation() {
    let (reactor, mut theirs) = registered();
    let mut heard = Heard::default();
    let bytes = [frame(1, b"first"), frame(2, b"second")].concat();
    let (now, later) = bytes.split_at(15);
    theirs.write_all(now).unwrap();
    poll(&reactor, &mut heard, |heard| heard.frames.len() == 1);
    theirs.write_all(later).unwrap();
    poll(&reactor, &mut heard, |heard| heard.frames.len() == 2);
    assert_eq!(heard.frames, [(WORKER, 1, 1, b"first".to_vec()), (WORKER, 2, 2, b"second".to_vec())]);
}

#[test]
fn nothing_is_read_after_a_violation() {
    for bad in [frame(9, b"refused"), frame(1, &[0; 101])] {
        let (reactor, _held, mut theirs) = registered_and_held();
        let mut heard = Heard { refuses: Some(9), ..Heard::default() };
        theirs.write_all(&[bad, frame(1, b"later")].concat()).unwrap();
        poll(&reactor, &mut heard, |heard| heard.closed == 1);
        assert_eq!(heard.violations.len(), 1);
        assert!(heard.frames.iter().all(|(_, _, kind, _)| *kind == 9));
        theirs.write_all(&frame(1, b"even later")).unwrap();
        reactor.interest.wake();
        reactor.poll(&mut reactor.readers.lock(), None, &mut heard);
        assert_eq!(heard.closed, 1, "its events are not watched any more");
    }
}

#[test]
fn the_end_of_the_stream_is_news() {
    let (reactor, mut theirs) = registered();
    let mut heard = Heard::default();
    theirs.write_all(&frame(1, b"last")).unwrap();
    drop(theirs);
    poll(&reactor, &mut heard, |heard| heard.closed == 1);
    assert_eq!((heard.frames.len(), heard.exited), (1, 0));
}

#[test]
fn what_was_sent_before_the_exit_is_read_before_the_exit_is_news() {
    let (reactor, mut theirs) = registered();
    let mut heard = Heard::default();
    theirs.write_all(&frame(1, b"last words")).unwrap();
    let mut readers = reactor.readers.lock();
    readers.0.extend(reactor.registered.lock().drain(..));
    // The other end stays open, as in a process that the worker has started.
    readers.process_ended(WORKER, &reactor.interest, &mut heard);
    assert_eq!((heard.frames.len(), heard.closed, heard.exited), (1, 1, 1));
}

#[test]
fn a_dead_workers_socket_that_others_write_to_is_read_to_its_end_and_no_further() {
    let (reactor, mut theirs) = registered();
    let mut heard = Heard::default();
    theirs.write_all(&frame(1, b"last words")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // A process that the worker has left behind.
        let survivor = scope.spawn(|| {
            theirs.set_nonblocking(true).unwrap();
            while !stop.load(Ordering::SeqCst) {
                let _full = theirs.write_all(&frame(2, b"noise"));
            }
        });
        let mut readers = reactor.readers.lock();
        readers.0.extend(reactor.registered.lock().drain(..));
        readers.process_ended(WORKER, &reactor.interest, &mut heard);
        stop.store(true, Ordering::SeqCst);
        survivor.join().unwrap();
    });
    assert_eq!((heard.frames[0].2, heard.exited), (1, 1));
}

#[test]
fn a_wake_up_ends_the_wait_once() {
    let (reactor, _theirs) = registered();
    reactor.interest.wake();
    reactor.poll(&mut reactor.readers.lock(), None, &mut Heard::default());
    let began = Instant::now();
    let deadline = Some(began + Duration::from_millis(5));
    reactor.poll(&mut reactor.readers.lock(), deadline, &mut Heard::default());
    assert!(began.elapsed() >= Duration::from_millis(5), "the wake-up was forgotten");
}

#[test]
fn a_leader_reads_until_it_is_done_and_one_leads_at_a_time() {
    let (reactor, mut theirs) = registered();
    let count = std::sync::atomic::AtomicUsize::new(0);
    struct Counts<'a>(&'a std::sync::atomic::AtomicUsize);
    impl WorkerNews for Counts<'_> {
        type Conversation = u32;
        fn frame(&mut self, _: WorkerId, _: &mut u32, _: &Frame<'_>) -> Result<(), BadMessage> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
        fn violated(&mut self, _: WorkerId, _: String) {}
        fn writable(&mut self, _: WorkerId) {}
        fn closed(&mut self, _: WorkerId) {}
        fn exited(&mut self, _: WorkerId) {}
    }
    std::thread::scope(|scope| {
        let leader = scope.spawn(|| {
            reactor.lead(|| count.load(Ordering::SeqCst) == 2, None, &mut Counts(&count));
        });
        while !reactor.led.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        reactor.lead(|| panic!("it does not lead"), None, &mut Counts(&count));
        theirs.write_all(&frame(1, b"one")).unwrap();
        theirs.write_all(&frame(1, b"two")).unwrap();
        leader.join().unwrap();
    });
    assert!(!reactor.led.load(Ordering::SeqCst));
}

#[test]
fn a_leader_whose_result_came_from_elsewhere_is_woken() {
    let (reactor, _theirs) = registered();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let leader =
            scope.spawn(|| reactor.lead(|| done.load(Ordering::SeqCst), None, &mut Heard::default()));
        while !reactor.led.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        done.store(true, Ordering::SeqCst);
        reactor.wake_other_leader();
        leader.join().unwrap();
    });
}
