//! Wait cycles.

use super::*;

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
        // The youngest is not the one that closes the cycle.
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
