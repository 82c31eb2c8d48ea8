//! Calls that wait, may not wait, or end before their answer.

use super::*;

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
    for n in 0..crate::manager::waiting::MAX_WAITERS as u64 {
        bench.waits(host(n), event, Call::Wait, None);
    }
    let one_more = bench.store.call(task(1), event, Call::Wait, Wait::Forever);
    assert!(matches!(one_more, Called::Answered(Err(ObjectError::Quota(_)))), "{one_more:?}");
}

#[test]
fn a_requeued_value_that_did_not_reach_its_task_comes_back_once() {
    let mut bench = Bench::new();
    let queue = bench.queue(None, true);
    bench.now(host(1), queue, Call::Put(["a", "b"].map(value).to_vec())).unwrap();
    let reply = bench.now(task(1), queue, Call::Get(9)).unwrap();
    bench.store.give_back(task(1), queue, Verb::Get, reply);
    bench.store.end_owner(task(1), false);
    assert_eq!(items(&bench.now(host(1), queue, Call::Get(9))), ["a", "b"]);
    assert_eq!(bench.now(host(1), queue, Call::Size), Ok(Reply::Size(0, None)));
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
