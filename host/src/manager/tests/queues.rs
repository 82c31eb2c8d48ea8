//! Queues and pipes.

use super::*;

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
    assert_eq!(bench.answer(d), Some(Err(ObjectError::Full)));
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
    assert_eq!(bench.now(task(1), writer, Call::Get(1)), Err(ObjectError::NoRight));
    bench.now(task(1), writer, put("on")).unwrap();
    let [here, there] = bench.store.make_pipe(true);
    let waits = bench.waits(task(1), there, Call::Get(1), None);
    bench.now(task(2), here, Call::Close).unwrap();
    assert_eq!(bench.answer(waits), Some(Err(ObjectError::Closed)), "the other end hears of it");
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
fn a_long_put_that_waits_is_worked_off_value_by_value() {
    const MANY: u32 = 100_000;
    let mut bench = Bench::new();
    let queue = bench.queue(Some(1), false);
    let values: Vec<Stored> = (0..MANY).map(|n| value(&n.to_string())).collect();
    let ticket = bench.waits(task(1), queue, Call::Put(values), None);
    // Each makes room for one more. To move all others up each time took longer than this test may.
    for n in 0..MANY {
        let taken = bench.now(task(2), queue, Call::Get(1));
        assert_eq!(items(&taken), [n.to_string()]);
    }
    assert_eq!(bench.answer(ticket), Some(Ok(Reply::Done)));
}

#[test]
fn values_that_tasks_have_taken_are_bounded_together() {
    let mut bench = Bench::new();
    let queue = bench.queue(None, true);
    let large = || Call::Put(vec![Item { bytes: vec![0; 60 << 20], handles: Vec::new() }]);
    for n in 0..4 {
        assert_eq!(bench.now(host(1), queue, large()), Ok(Reply::Done));
        assert!(bench.now(task(n), queue, Call::Get(1)).is_ok());
    }
    assert_eq!(bench.now(host(1), queue, large()), Err(ObjectError::Full), "any of them may come back");
    assert_eq!(bench.now(task(0), queue, Call::TaskDone(1)), Ok(Reply::Done));
    assert_eq!(bench.now(host(1), queue, large()), Ok(Reply::Done));
}
