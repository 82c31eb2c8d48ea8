//! Barriers and their actions.

use super::*;

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
