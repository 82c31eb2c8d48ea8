//! Locks, semaphores, conditions and events.

use super::*;

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
