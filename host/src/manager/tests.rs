//! The store under a clock of the test's own: single cases here, random ones beside a simple reference in `models`.

mod models;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use std::sync::Arc;

use wpool_abi::object::{Call, Item, Kind, ObjectError, Reply, Rights, Verb, Wait};

use crate::ids::TaskId;

use super::*;

/// A store, its clock, and the answers of calls that have waited.
struct Bench {
    store: Store,
    now: Instant,
    answers: HashMap<Ticket, Answer>,
}

fn host(n: u64) -> Owner {
    Owner::Host(n)
}

fn task(n: u64) -> Owner {
    Owner::Task(TaskId(n))
}

fn value(text: &str) -> Stored {
    Item { bytes: text.as_bytes().to_vec(), handles: Vec::new() }
}

fn put(text: &str) -> Call<Stored> {
    Call::Put(vec![value(text)])
}

fn items(answer: &Answer) -> Vec<String> {
    let Ok(Reply::Items(items, _)) = answer else { panic!("{answer:?}") };
    items.iter().map(|item| String::from_utf8(item.bytes.clone()).unwrap()).collect()
}

impl Bench {
    fn new() -> Self {
        Self { store: Store::default(), now: Instant::now(), answers: HashMap::new() }
    }

    fn queue(&mut self, capacity: Option<u64>, requeue: bool) -> ObjectId {
        self.store.make(ObjectInit::Queue { capacity, requeue })
    }

    fn gather(&mut self) {
        for (ticket, _, answer) in self.store.take_answered() {
            assert!(self.answers.insert(ticket, answer).is_none(), "a ticket is answered once");
        }
    }

    /// Makes a call that may not wait, and returns its answer.
    fn now(&mut self, owner: Owner, id: ObjectId, call: Call<Stored>) -> Answer {
        let called = self.store.call(owner, id, call, Wait::NonBlocking);
        self.gather();
        match called {
            Called::Answered(answer) => answer,
            Called::Waits(_) => panic!("it was not to wait"),
        }
    }

    /// Makes a call that must wait. `time` is its timeout in milliseconds.
    fn waits(&mut self, owner: Owner, id: ObjectId, call: Call<Stored>, time: Option<u64>) -> Ticket {
        let deadline = time.map(|time| self.now + Duration::from_millis(time));
        let wait = deadline.map_or(Wait::Forever, Wait::Timeout);
        let called = self.store.call(owner, id, call, wait);
        self.gather();
        match called {
            Called::Waits(ticket) => ticket,
            Called::Answered(answer) => panic!("it need not wait: {answer:?}"),
        }
    }

    fn end(&mut self, owner: Owner, success: bool) {
        self.store.end_owner(owner, success);
        self.gather();
    }

    fn later(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.store.expire(self.now);
        self.gather();
    }

    fn answer(&mut self, ticket: Ticket) -> Option<Answer> {
        self.answers.remove(&ticket)
    }
}

#[test]
fn a_queue_is_first_in_first_out_and_full_at_its_capacity() {
    let mut bench = Bench::new();
    let queue = bench.queue(Some(2), false);
    assert_eq!(bench.now(host(1), queue, Call::Get(1)), Err(ObjectError::Empty));
    for text in ["a", "b"] {
        assert_eq!(bench.now(host(1), queue, put(text)), Ok(Reply::Done));
    }
    assert_eq!(bench.now(host(1), queue, put("c")), Err(ObjectError::Full));
    let (c, d) =
        (bench.waits(task(1), queue, put("c"), None), bench.waits(task(2), queue, put("d"), Some(5)));
    assert_eq!(items(&bench.now(host(1), queue, Call::Get(1))), ["a"]);
    assert_eq!((bench.answer(c), bench.answer(d)), (Some(Ok(Reply::Done)), None));
    bench.later(4);
    assert_eq!(bench.answer(d), None);
    bench.later(1);
    assert_eq!(bench.answer(d), Some(Err(ObjectError::TimedOut)));
    assert_eq!(items(&bench.now(host(1), queue, Call::Get(9))), ["b", "c"]);
    assert_eq!(bench.now(host(1), queue, Call::Size), Ok(Reply::Size(0, Some(2))));
}

#[test]
fn the_call_that_waits_longest_is_served_first() {
    let mut bench = Bench::new();
    let queue = bench.queue(None, false);
    let waiting: Vec<Ticket> = (0..3).map(|n| bench.waits(task(n), queue, Call::Get(1), None)).collect();
    bench.now(host(1), queue, Call::Put(vec![value("a"), value("b")])).unwrap();
    let got: Vec<_> = waiting.iter().map(|ticket| bench.answer(*ticket)).collect();
    assert_eq!(items(got[0].as_ref().unwrap()), ["a"]);
    assert_eq!(items(got[1].as_ref().unwrap()), ["b"]);
    assert_eq!(got[2], None);
    assert_eq!(bench.now(host(1), queue, Call::Close), Ok(Reply::Done));
    assert_eq!(bench.answer(waiting[2]), Some(Err(ObjectError::Closed)));
    assert_eq!(bench.now(host(1), queue, put("c")), Err(ObjectError::Closed));
}

#[test]
fn join_waits_for_what_was_put_to_be_worked_off() {
    let mut bench = Bench::new();
    let queue = bench.queue(None, false);
    assert_eq!(bench.now(host(1), queue, Call::Join), Ok(Reply::Done));
    bench.now(host(1), queue, Call::Put(vec![value("a"), value("b")])).unwrap();
    let join = bench.waits(host(2), queue, Call::Join, None);
    bench.now(task(1), queue, Call::Get(2)).unwrap();
    bench.now(task(1), queue, Call::TaskDone(1)).unwrap();
    assert_eq!(bench.answer(join), None);
    bench.now(task(1), queue, Call::TaskDone(1)).unwrap();
    assert_eq!(bench.answer(join), Some(Ok(Reply::Done)));
    assert_eq!(bench.now(task(1), queue, Call::TaskDone(1)), Err(ObjectError::TooOften));
}

#[test]
fn what_a_failed_task_took_comes_back_marked_if_the_queue_requeues() {
    let mut bench = Bench::new();
    let queue = bench.queue(None, true);
    bench.now(host(1), queue, Call::Put(vec![value("a"), value("b"), value("c")])).unwrap();
    bench.now(task(1), queue, Call::Get(2)).unwrap();
    bench.end(task(1), false);
    let Ok(Reply::Items(again, true)) = bench.now(task(2), queue, Call::Get(2)) else { panic!("not marked") };
    assert_eq!(again, [value("a"), value("b")]);
    bench.end(task(2), true);
    assert_eq!(bench.now(task(3), queue, Call::Get(9)), Ok(Reply::Items(vec![value("c")], false)));
    let plain = bench.queue(None, false);
    bench.now(host(1), plain, put("a")).unwrap();
    bench.now(task(1), plain, Call::Get(1)).unwrap();
    bench.end(task(1), false);
    assert_eq!(bench.now(task(2), plain, Call::Get(1)), Err(ObjectError::Empty), "at most once");
}

#[test]
fn a_lock_is_one_owners_and_the_next_one_learns_how_it_was_left() {
    let mut bench = Bench::new();
    let lock = bench.store.make(ObjectInit::Lock { reentrant: false });
    assert_eq!(bench.now(task(1), lock, Call::Release(1)), Err(ObjectError::NotHeld));
    assert_eq!(bench.now(task(1), lock, Call::Acquire), Ok(Reply::Flag(false)));
    assert_eq!(bench.now(task(2), lock, Call::Acquire), Err(ObjectError::Held));
    assert_eq!(bench.now(task(2), lock, Call::Release(1)), Err(ObjectError::NotHeld), "a stranger");
    assert_eq!(bench.now(host(1), lock, Call::State), Ok(Reply::Flag(true)));
    let next = bench.waits(task(2), lock, Call::Acquire, None);
    bench.end(task(1), false);
    assert_eq!(bench.answer(next), Some(Ok(Reply::Flag(true))), "it is poisoned");
    bench.now(task(2), lock, Call::ClearPoison).unwrap();
    bench.end(task(2), true);
    assert_eq!(bench.now(task(3), lock, Call::Acquire), Ok(Reply::Flag(false)));
}

#[test]
fn a_reentrant_lock_wants_as_many_releases() {
    let mut bench = Bench::new();
    let lock = bench.store.make(ObjectInit::Lock { reentrant: true });
    for _ in 0..3 {
        assert_eq!(bench.now(task(1), lock, Call::Acquire), Ok(Reply::Flag(false)));
    }
    let other = bench.waits(task(2), lock, Call::Acquire, None);
    bench.now(task(1), lock, Call::Release(2)).unwrap();
    assert_eq!(bench.answer(other), None);
    bench.now(task(1), lock, Call::Release(1)).unwrap();
    assert_eq!(bench.answer(other), Some(Ok(Reply::Flag(false))));
    assert_eq!(bench.now(task(1), lock, Call::Release(1)), Err(ObjectError::NotHeld));
}

#[test]
fn a_semaphore_counts_and_a_bounded_one_has_an_end() {
    let mut bench = Bench::new();
    let [free, bounded] =
        [false, true].map(|bounded| bench.store.make(ObjectInit::Semaphore { count: 1, bounded }));
    for semaphore in [free, bounded] {
        assert_eq!(bench.now(task(1), semaphore, Call::Acquire), Ok(Reply::Flag(false)));
        assert_eq!(bench.now(task(2), semaphore, Call::Acquire), Err(ObjectError::Held));
        let waits = bench.waits(task(2), semaphore, Call::Acquire, None);
        bench.end(task(1), false);
        assert_eq!(bench.answer(waits), Some(Ok(Reply::Flag(false))), "what a dead task held is free");
        assert_eq!(bench.now(task(2), semaphore, Call::Release(1)), Ok(Reply::Done));
    }
    assert_eq!(bench.now(host(1), bounded, Call::Release(1)), Err(ObjectError::TooOften));
    assert_eq!(bench.now(host(1), free, Call::Release(2)), Ok(Reply::Done));
    assert_eq!(bench.now(host(1), free, Call::Size), Ok(Reply::Size(3, None)));
}

#[test]
fn a_condition_gives_the_lock_away_and_back() {
    let mut bench = Bench::new();
    let condition = bench.store.make(ObjectInit::Condition);
    assert_eq!(bench.now(task(1), condition, Call::Wait), Err(ObjectError::NotHeld));
    assert_eq!(bench.now(task(1), condition, Call::Notify(1)), Err(ObjectError::NotHeld));
    let wait = |bench: &mut Bench, n: u64, time: Option<u64>| {
        bench.now(task(n), condition, Call::Acquire).unwrap();
        bench.waits(task(n), condition, Call::Wait, time)
    };
    let asleep: Vec<Ticket> = (1..=3).map(|n| wait(&mut bench, n, None)).collect();
    let late = wait(&mut bench, 4, Some(10));
    bench.now(host(1), condition, Call::Acquire).unwrap();
    assert_eq!(bench.now(host(1), condition, Call::Notify(2)), Ok(Reply::Number(2)));
    bench.later(10);
    assert!(bench.answers.is_empty(), "the lock is held");
    bench.now(host(1), condition, Call::Release(1)).unwrap();
    assert_eq!(bench.answer(asleep[0]), Some(Ok(Reply::Flag(true))));
    assert!(bench.answers.is_empty(), "one at a time");
    bench.now(task(1), condition, Call::Release(1)).unwrap();
    assert_eq!(bench.answer(asleep[1]), Some(Ok(Reply::Flag(true))));
    bench.now(task(2), condition, Call::Release(1)).unwrap();
    assert_eq!(bench.answer(late), Some(Ok(Reply::Flag(false))), "in vain, and with the lock");
    assert_eq!(bench.now(task(4), condition, Call::Notify(u32::MAX)), Ok(Reply::Number(1)));
    bench.end(task(4), true);
    assert_eq!(bench.answer(asleep[2]), Some(Ok(Reply::Flag(true))));
}

#[test]
fn a_call_that_may_not_wait_leaves_no_trace() {
    let mut bench = Bench::new();
    let condition = bench.store.make(ObjectInit::Condition);
    bench.now(task(1), condition, Call::Acquire).unwrap();
    assert_eq!(bench.now(task(1), condition, Call::Wait), Ok(Reply::Flag(false)), "and has the lock");
    assert_eq!(bench.now(task(1), condition, Call::Notify(9)), Ok(Reply::Number(0)), "no call is asleep");
    assert_eq!(bench.now(task(2), condition, Call::Acquire), Err(ObjectError::Held));
    bench.end(task(1), true);
    assert_eq!(bench.now(task(2), condition, Call::Acquire), Ok(Reply::Flag(false)));
    let barrier = bench.store.make(ObjectInit::Barrier { parties: 2, acts: false });
    assert_eq!(bench.now(task(1), barrier, Call::Wait), Err(ObjectError::TimedOut));
    assert_eq!(bench.now(task(1), barrier, Call::State), Ok(Reply::Flag(true)), "its time was over at once");
    bench.now(task(1), barrier, Call::Reset).unwrap();
    assert_eq!(bench.now(task(1), barrier, Call::Size), Ok(Reply::Size(0, Some(2))));
}

#[test]
fn an_event_wakes_all_and_can_be_cleared() {
    let mut bench = Bench::new();
    let event = bench.store.make(ObjectInit::Event);
    let waiting: Vec<Ticket> = (0..5).map(|n| bench.waits(task(n), event, Call::Wait, None)).collect();
    // A call that may wait need not.
    assert!(matches!(
        bench.store.call(host(1), event, Call::Flag(true), Wait::Forever),
        Called::Answered(Ok(_))
    ));
    bench.gather();
    assert!(waiting.iter().all(|ticket| bench.answer(*ticket) == Some(Ok(Reply::Flag(true)))));
    assert_eq!(bench.now(task(9), event, Call::Wait), Ok(Reply::Flag(true)));
    bench.now(host(1), event, Call::Flag(false)).unwrap();
    assert_eq!(bench.now(host(1), event, Call::State), Ok(Reply::Flag(false)));
    assert_eq!(bench.now(task(9), event, Call::Wait), Err(ObjectError::TimedOut));
}

#[test]
fn a_barrier_is_passed_together_and_broken_by_a_call_that_ends() {
    let mut bench = Bench::new();
    let barrier = bench.store.make(ObjectInit::Barrier { parties: 3, acts: false });
    let two = |bench: &mut Bench| [1, 2].map(|n| bench.waits(task(n), barrier, Call::Wait, Some(50)));
    for _ in 0..10 {
        let inside = two(&mut bench);
        let last = bench.now(task(3), barrier, Call::Wait);
        let indices = inside.map(|ticket| bench.answer(ticket).unwrap());
        assert_eq!(indices, [Ok(Reply::Number(0)), Ok(Reply::Number(1))]);
        assert_eq!(last, Ok(Reply::Number(2)));
    }
    let broken = |bench: &mut Bench, inside: [Ticket; 2]| {
        let answers = inside.map(|ticket| bench.answer(ticket));
        assert!(answers.contains(&Some(Err(ObjectError::Broken))), "{answers:?}");
        assert_eq!(bench.now(host(1), barrier, Call::State), Ok(Reply::Flag(true)));
        assert_eq!(bench.now(task(3), barrier, Call::Wait), Err(ObjectError::Broken));
        bench.now(host(1), barrier, Call::Reset).unwrap();
    };
    let inside = two(&mut bench);
    bench.end(task(1), false);
    broken(&mut bench, inside);
    let inside = two(&mut bench);
    bench.later(50);
    broken(&mut bench, inside);
    let inside = two(&mut bench);
    bench.now(host(1), barrier, Call::Abort).unwrap();
    broken(&mut bench, inside);
    let inside = two(&mut bench);
    bench.now(host(1), barrier, Call::Reset).unwrap();
    assert_eq!(inside.map(|ticket| bench.answer(ticket)), [1, 2].map(|_| Some(Err(ObjectError::Broken))));
    assert_eq!(bench.now(host(1), barrier, Call::State), Ok(Reply::Flag(false)), "as new");
    let alone = bench.store.make(ObjectInit::Barrier { parties: 1, acts: false });
    assert_eq!(bench.now(task(1), alone, Call::Wait), Ok(Reply::Number(0)));
}

#[test]
fn what_goes_into_one_end_of_a_pipe_comes_out_of_the_other() {
    let mut bench = Bench::new();
    let [a, b] = bench.store.make_pipe(true);
    bench.now(host(1), a, put("there")).unwrap();
    bench.now(task(1), b, put("")).unwrap();
    assert_eq!(items(&bench.now(task(1), b, Call::Get(1))), ["there"]);
    assert_eq!(items(&bench.now(host(1), a, Call::Get(1))), [""]);
    assert_eq!(bench.now(host(1), a, Call::Poll), Err(ObjectError::Empty));
    bench.now(host(1), a, put("last")).unwrap();
    bench.store.remove(a);
    assert_eq!(bench.now(task(1), b, Call::Poll), Ok(Reply::Flag(true)));
    assert_eq!(items(&bench.now(task(1), b, Call::Get(1))), ["last"]);
    assert_eq!(bench.now(task(1), b, Call::Get(1)), Err(ObjectError::Closed), "the end of the file");
    assert_eq!(bench.now(task(1), b, put("anybody?")), Err(ObjectError::Closed));
    let [reader, writer] = bench.store.make_pipe(false);
    assert_eq!(bench.now(task(1), reader, put("back")), Err(ObjectError::NoRight));
    bench.now(task(1), writer, put("on")).unwrap();
    let waits = bench.waits(task(1), writer, Call::Get(1), None);
    bench.now(task(2), reader, Call::Close).unwrap();
    assert_eq!(bench.answer(waits), Some(Err(ObjectError::Closed)), "the other end hears of it");
}

#[test]
fn a_dictionary_does_what_dictionaries_do() {
    let mut bench = Bench::new();
    let dict = bench.store.make(ObjectInit::Dict);
    let insert =
        |key: &str, text: &str, replace| Call::Insert { key: key.into(), value: value(text), replace };
    assert_eq!(bench.now(task(1), dict, insert("k", "1", true)), Ok(Reply::Found(None)));
    assert_eq!(bench.now(task(1), dict, insert("k", "2", false)), Ok(Reply::Found(Some(value("1")))));
    assert_eq!(bench.now(task(1), dict, insert("k", "3", true)), Ok(Reply::Found(Some(value("1")))));
    assert_eq!(bench.now(task(1), dict, Call::Look("k".into())), Ok(Reply::Found(Some(value("3")))));
    assert_eq!(bench.now(task(1), dict, Call::Keys), Ok(Reply::Keys(vec!["k".into()])));
    assert_eq!(bench.now(task(1), dict, Call::Remove("k".into())), Ok(Reply::Found(Some(value("3")))));
    assert_eq!(bench.now(task(1), dict, Call::Size), Ok(Reply::Size(0, None)));
    assert_eq!(bench.now(task(1), dict, Call::Acquire), Err(ObjectError::WrongKind));
    let huge = Item { bytes: vec![0; 65 << 20], handles: Vec::new() };
    let huge = Call::Insert { key: "k".into(), value: huge, replace: true };
    assert!(matches!(bench.now(task(1), dict, huge), Err(ObjectError::Quota(_))));
}

#[test]
fn a_list_grows_and_an_array_does_not() {
    let mut bench = Bench::new();
    let list = bench.store.make(ObjectInit::List);
    bench.now(task(1), list, Call::Extend(vec![value("a"), value("c")])).unwrap();
    bench.now(task(1), list, Call::InsertAt(1, value("b"))).unwrap();
    assert_eq!(bench.now(task(1), list, Call::At(-1)), Ok(Reply::Found(Some(value("c")))));
    assert_eq!(bench.now(task(1), list, Call::SetAt(0, value("A"))), Ok(Reply::Found(Some(value("a")))));
    assert_eq!(bench.now(task(1), list, Call::At(3)), Err(ObjectError::NotFound));
    assert_eq!(bench.now(task(1), list, Call::RemoveAt(0)), Ok(Reply::Found(Some(value("A")))));
    assert_eq!(items(&bench.now(task(1), list, Call::All)), ["b", "c"]);
    let array = bench.store.make(ObjectInit::Array { values: vec![value("x"); 2] });
    assert_eq!(bench.now(task(1), array, Call::Extend(vec![value("y")])), Err(ObjectError::WrongKind));
    let swap = |expected: &str| Call::Swap { at: 1, expected: expected.into(), value: value("y") };
    assert_eq!(bench.now(task(1), array, swap("x")), Ok(Reply::Found(Some(value("x")))));
    assert_eq!(bench.now(task(1), array, swap("x")), Ok(Reply::Found(None)), "another swap was quicker");
}

#[test]
fn a_wait_cycle_is_found_and_its_youngest_owner_fails() {
    for members in [2, 5] {
        let mut bench = Bench::new();
        let locks: Vec<ObjectId> =
            (0..members).map(|_| bench.store.make(ObjectInit::Lock { reentrant: false })).collect();
        for (n, lock) in (0..members).zip(&locks) {
            bench.now(task(n), *lock, Call::Acquire).unwrap();
        }
        let next = |n: u64| locks[usize::try_from((n + 1) % members).unwrap()];
        // The youngest is not the one that closes the ring.
        let waits: Vec<Ticket> =
            (1..members).map(|n| bench.waits(task(n), next(n), Call::Acquire, None)).collect();
        assert!(bench.answers.is_empty());
        let closes = bench.store.call(task(0), next(0), Call::Acquire, Wait::Forever);
        bench.gather();
        let Called::Waits(oldest) = closes else { panic!("{closes:?}") };
        let youngest = bench.answer(*waits.last().unwrap());
        let Some(Err(ObjectError::Deadlock(who))) = youngest else { panic!("{youngest:?}") };
        assert!((0..members).all(|n| who.contains(&format!("task {n}"))), "{who}");
        // When the youngest has ended the others get their locks, one after the other.
        for n in (1..members).rev() {
            bench.end(task(n), false);
        }
        assert_eq!(bench.answer(oldest), Some(Ok(Reply::Flag(true))));
    }
}

#[test]
fn an_owner_that_waits_for_itself_is_a_cycle_too() {
    let mut bench = Bench::new();
    let lock = bench.store.make(ObjectInit::Lock { reentrant: false });
    bench.now(task(1), lock, Call::Acquire).unwrap();
    let again = bench.waits(task(1), lock, Call::Acquire, None);
    assert!(matches!(bench.answer(again), Some(Err(ObjectError::Deadlock(_)))));
}

#[test]
fn an_object_without_grants_is_removed_with_its_contents() {
    let mut bench = Bench::new();
    let released = Arc::new(Released::default());
    let (outer, inner) = (bench.queue(None, false), bench.queue(None, false));
    let grants = [outer, inner].map(|id| Grant::new(id, Kind::Dict, &released));
    let carries = Item { bytes: Vec::new(), handles: vec![grants[1].narrowed(Rights::READ)] };
    bench.now(host(1), outer, Call::Put(vec![carries])).unwrap();
    drop(grants);
    assert_eq!(released.take(), [outer]);
    bench.store.remove(outer);
    assert_eq!(released.take(), [inner], "its contents go with it");
    bench.store.remove(inner);
    assert_eq!(bench.now(host(1), inner, Call::Size), Err(ObjectError::BadHandle));
}

#[test]
fn one_call_wakes_ten_thousand() {
    let mut bench = Bench::new();
    let event = bench.store.make(ObjectInit::Event);
    let waiting: Vec<Ticket> =
        (0..10_000).map(|n| bench.waits(host(n), event, Call::Wait, Some(1000))).collect();
    bench.now(task(1), event, Call::Flag(true)).unwrap();
    assert!(waiting.iter().all(|ticket| bench.answer(*ticket) == Some(Ok(Reply::Flag(true)))));
    assert_eq!(bench.store.next_deadline(), None);
}

#[test]
fn one_too_many_does_not_wait() {
    let mut bench = Bench::new();
    let event = bench.store.make(ObjectInit::Event);
    for n in 0..waiting::MAX_WAITERS as u64 {
        bench.waits(host(n), event, Call::Wait, None);
    }
    let one_more = bench.store.call(task(1), event, Call::Wait, Wait::Forever);
    assert!(matches!(one_more, Called::Answered(Err(ObjectError::Quota(_)))), "{one_more:?}");
}

#[test]
fn the_action_runs_once_a_round_before_the_parties_pass() {
    let mut bench = Bench::new();
    let barrier = bench.store.make(ObjectInit::Barrier { parties: 2, acts: true });
    let mut first = bench.waits(task(1), barrier, Call::Wait, None);
    for round in 0..3 {
        assert_eq!(bench.store.take_pending_actions(), []);
        let second = bench.waits(task(2), barrier, Call::Wait, None);
        assert_eq!(bench.store.take_pending_actions(), [(barrier, round)]);
        let early = bench.waits(task(3), barrier, Call::Wait, None);
        assert_eq!(
            (bench.answer(first), bench.answer(second), bench.store.take_pending_actions()),
            (None, None, vec![])
        );
        bench.store.end_action(barrier, round, true);
        bench.gather();
        let indices = [first, second].map(|ticket| bench.answer(ticket));
        assert_eq!(indices, [0, 1].map(|n| Some(Ok(Reply::Number(n)))));
        assert_eq!(bench.answer(early), None, "it is of the next round");
        first = early;
    }
}

#[test]
fn a_barrier_whose_action_fails_is_broken() {
    let mut bench = Bench::new();
    let barrier = bench.store.make(ObjectInit::Barrier { parties: 2, acts: true });
    let come = |bench: &mut Bench| [1, 2].map(|n| bench.waits(task(n), barrier, Call::Wait, None));
    let inside = come(&mut bench);
    assert_eq!(bench.store.take_pending_actions(), [(barrier, 0)]);
    bench.now(host(1), barrier, Call::Reset).unwrap();
    assert_eq!(inside.map(|ticket| bench.answer(ticket)), [1, 2].map(|_| Some(Err(ObjectError::Broken))));
    let inside = come(&mut bench);
    bench.store.end_action(barrier, 0, true);
    bench.gather();
    assert_eq!(
        inside.map(|ticket| bench.answer(ticket)),
        [None, None],
        "that action was of a round that failed"
    );
    assert_eq!(bench.store.take_pending_actions(), [(barrier, 1)]);
    bench.store.end_action(barrier, 1, false);
    bench.gather();
    assert_eq!(inside.map(|ticket| bench.answer(ticket)), [1, 2].map(|_| Some(Err(ObjectError::Broken))));
    assert_eq!(bench.now(host(1), barrier, Call::State), Ok(Reply::Flag(true)));
}

#[test]
fn a_wait_cycle_may_lead_through_sub_tasks_whichever_wait_closes_it() {
    for lock_first in [true, false] {
        let mut bench = Bench::new();
        let lock = bench.store.make(ObjectInit::Lock { reentrant: false });
        bench.now(task(1), lock, Call::Acquire).unwrap();
        // Task 1 holds the lock and waits for task 2, which waits for task 3, which waits for the lock.
        bench.store.set_dependency(task(2), task(3));
        let waits = if lock_first {
            let waits = bench.waits(task(3), lock, Call::Acquire, None);
            bench.store.set_dependency(task(1), task(2));
            waits
        } else {
            bench.store.set_dependency(task(1), task(2));
            let called = bench.store.call(task(3), lock, Call::Acquire, Wait::Forever);
            let Called::Waits(ticket) = called else { panic!("{called:?}") };
            ticket
        };
        bench.gather();
        let answer = bench.answer(waits);
        let Some(Err(ObjectError::Deadlock(who))) = answer else { panic!("{answer:?}") };
        for member in 1..=3 {
            assert!(who.contains(&format!("task {member}")), "{who}");
        }
        bench.store.clear_dependency(task(2));
        assert!(matches!(bench.store.call(task(2), lock, Call::Acquire, Wait::Forever), Called::Waits(_)));
    }
}

#[test]
fn values_that_are_worked_off_are_not_requeued() {
    let mut bench = Bench::new();
    let queue = bench.queue(None, true);
    bench.now(host(1), queue, Call::Put(["a", "b", "c"].map(value).to_vec())).unwrap();
    assert_eq!(items(&bench.now(task(1), queue, Call::Get(3))), ["a", "b", "c"]);
    bench.now(task(1), queue, Call::TaskDone(2)).unwrap();
    bench.end(task(1), false);
    let again = bench.now(host(1), queue, Call::Get(3));
    assert_eq!(again, Ok(Reply::Items(vec![value("c")], true)));
}

#[test]
fn the_values_that_a_task_has_taken_are_bounded() {
    let mut bench = Bench::new();
    let queue = bench.queue(None, true);
    let large = || Call::Put(vec![Item { bytes: vec![0; 1 << 20], handles: Vec::new() }]);
    for _ in 0..64 {
        bench.now(host(1), queue, large()).unwrap();
        bench.now(task(1), queue, Call::Get(1)).unwrap();
    }
    bench.now(host(1), queue, large()).unwrap();
    assert!(matches!(bench.now(task(1), queue, Call::Get(1)), Err(ObjectError::Quota(_))));
    bench.now(task(1), queue, Call::TaskDone(1)).unwrap();
    assert!(bench.now(task(1), queue, Call::Get(1)).is_ok());
}

#[test]
fn a_reply_that_did_not_reach_its_owner_is_given_back() {
    let mut bench = Bench::new();
    let (queue, lock) = (bench.queue(None, false), bench.store.make(ObjectInit::Lock { reentrant: false }));
    let got = bench.waits(host(1), queue, Call::Get(2), None);
    bench.now(host(2), queue, Call::Put(["a", "b"].map(value).to_vec())).unwrap();
    bench.now(host(2), queue, put("c")).unwrap();
    let Some(Ok(reply)) = bench.answer(got) else { panic!("it has got something") };
    bench.store.give_back(host(1), queue, Verb::Get, reply);
    assert_eq!(items(&bench.now(host(2), queue, Call::Get(9))), ["a", "b", "c"]);
    bench.now(host(2), lock, Call::Acquire).unwrap();
    let held = bench.waits(host(1), lock, Call::Acquire, None);
    bench.now(host(2), lock, Call::Release(1)).unwrap();
    let Some(Ok(reply)) = bench.answer(held) else { panic!("it holds the lock") };
    bench.store.give_back(host(1), lock, Verb::Acquire, reply);
    assert_eq!(bench.now(host(2), lock, Call::State), Ok(Reply::Flag(false)));
}

#[test]
fn a_notification_outlives_the_task_that_got_it() {
    let mut bench = Bench::new();
    let condition = bench.store.make(ObjectInit::Condition);
    let asleep = [1, 2].map(|n| {
        bench.now(task(n), condition, Call::Acquire).unwrap();
        bench.waits(task(n), condition, Call::Wait, None)
    });
    bench.now(host(1), condition, Call::Acquire).unwrap();
    assert_eq!(bench.now(host(1), condition, Call::Notify(1)), Ok(Reply::Number(1)));
    // The one that was woken dies before it has the lock.
    bench.end(task(1), false);
    bench.now(host(1), condition, Call::Release(1)).unwrap();
    assert_eq!(asleep.map(|ticket| bench.answer(ticket)), [None, Some(Ok(Reply::Flag(true)))]);
}

#[test]
fn a_wait_cycle_that_a_timeout_closes_is_broken() {
    let mut bench = Bench::new();
    let (condition, lock) =
        (bench.store.make(ObjectInit::Condition), bench.store.make(ObjectInit::Lock { reentrant: false }));
    bench.now(task(1), lock, Call::Acquire).unwrap();
    bench.now(task(1), condition, Call::Acquire).unwrap();
    let slept = bench.waits(task(1), condition, Call::Wait, Some(10));
    bench.now(task(2), condition, Call::Acquire).unwrap();
    let second = bench.waits(task(2), lock, Call::Acquire, None);
    assert_eq!((bench.answer(slept), bench.answer(second)), (None, None), "the timeout may break it");
    bench.later(10);
    assert!(matches!(bench.answer(second), Some(Err(ObjectError::Deadlock(_)))), "the youngest fails");
    bench.end(task(2), false);
    assert!(bench.answer(slept).is_some());
}

#[test]
fn closing_either_end_ends_a_pipe_both_ways() {
    let mut bench = Bench::new();
    let [a, b] = bench.store.make_pipe(true);
    bench.now(task(1), b, put("before")).unwrap();
    bench.now(host(1), a, Call::Close).unwrap();
    assert_eq!(bench.now(task(1), b, put("after")), Err(ObjectError::Closed));
    assert_eq!(bench.now(task(1), b, Call::Get(1)), Err(ObjectError::Closed));
    assert_eq!(items(&bench.now(host(1), a, Call::Get(1))), ["before"], "what was sent can be received");
}

#[test]
fn a_permit_that_its_owner_has_disowned_is_not_released_at_its_end() {
    let mut bench = Bench::new();
    let semaphore = bench.store.make(ObjectInit::Semaphore { count: 1, bounded: true });
    bench.now(task(1), semaphore, Call::Acquire).unwrap();
    bench.now(task(1), semaphore, Call::Disown).unwrap();
    assert_eq!(bench.now(task(1), semaphore, Call::Disown), Err(ObjectError::NotHeld));
    bench.now(task(2), semaphore, Call::Release(1)).unwrap();
    bench.now(task(3), semaphore, Call::Acquire).unwrap();
    bench.end(task(1), false);
    assert_eq!(bench.now(host(1), semaphore, Call::Size), Ok(Reply::Size(0, Some(1))));
}
