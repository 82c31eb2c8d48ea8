//! Tasks that are cancelled or killed, and pools that are closed or terminated.

use super::*;

#[test]
fn a_queued_task_is_cancelled_and_a_sent_one_recalled() {
    let mut bench = Bench::ready(1);
    bench.submit(0, 3);
    assert_eq!(failed(bench.handle(Event::Cancel(TaskId(2)))), [(2, &TaskError::Cancelled)]);
    let recall = bench.handle(Event::Cancel(TaskId(0))).to_vec_debug();
    assert!(recall.contains("Recall") && recall.contains("Cancel"), "{recall}");
    let taken = vec![TaskId(0)];
    let actions = bench.handle(Event::Recalled { worker: worker(0, 1), taken, why: Recall::Cancel });
    assert_eq!(failed(actions), [(0, &TaskError::Cancelled)]);
    assert_eq!(sent(actions, worker(0, 1)), [(1, 1)], "the worker has room");
    assert!(bench.handle(Event::Cancel(TaskId(0))).is_empty(), "once is enough");
}

#[test]
fn a_task_that_is_killed_is_taken_back_or_told_to_end_or_ended_with_its_worker() {
    let mut bench = Bench::ready(1);
    bench.submit(0, 3);
    assert_eq!(failed(bench.handle(Event::Kill(TaskId(2)))), [(2, &TaskError::Cancelled)]);
    // It has begun, so it cannot be taken back, and is told to end.
    bench.handle(Event::Kill(TaskId(0)));
    let recalled = |taken| Event::Recalled { worker: worker(0, 1), taken, why: Recall::End };
    assert_eq!(
        bench.handle(recalled(vec![])),
        [Action::EndTask { worker: worker(0, 1), task: TaskId(0), claim: 0 }]
    );
    assert_eq!(bench.handle(Event::Kill(TaskId(0))), [], "once is enough");
    let actions = bench.done(0, 0, Duration::ZERO);
    assert!(matches!(
        &actions[0],
        Action::Complete { end: TaskEnd { reason: Some(TaskError::Killed), .. }, .. }
    ));
    // This one does not listen.
    bench.handle(Event::Kill(TaskId(1)));
    bench.handle(recalled(vec![]));
    bench.now = bench.dispatcher.next_deadline().unwrap();
    while !bench.handle(Event::Tick).contains(&Action::Kill(worker(0, 1))) {
        bench.now = bench.dispatcher.next_deadline().expect("it is ended by force");
    }
    assert_eq!(failed(bench.exited(worker(0, 1), BY_POOL, &[1], Some(1))), [(1, &TaskError::Killed)]);
}

#[test]
fn closing_finishes_what_is_there_and_lets_the_workers_go() {
    let mut bench = Bench::ready(2);
    bench.submit(0, 3);
    assert!(bench.handle(Event::Close).is_empty());
    bench.done(
        0,
        if sent(&bench.actions, worker(0, 1)).is_empty() { 0 } else { 1 },
        Duration::from_millis(1),
    );
    let mut stopped = 0;
    for task in 0..3 {
        for slot in 0..2 {
            stopped += bench
                .done(slot, task, Duration::from_millis(1))
                .iter()
                .filter(|a| matches!(a, Action::Stop(_)))
                .count();
        }
    }
    assert_eq!(stopped, 2);
    bench.exited(worker(0, 1), WorkerExit::Code(0), &[], None);
    assert!(!bench.dispatcher.is_finished());
    bench.exited(worker(1, 1), WorkerExit::Code(0), &[], None);
    assert!(bench.dispatcher.is_finished());
}

#[test]
fn terminating_fails_everything_at_once() {
    let mut bench = Bench::ready(2);
    bench.submit(0, 100);
    let actions = bench.handle(Event::Terminate);
    let tasks: u32 =
        actions.iter().map(|a| if let Action::Fail { range, .. } = a { range.count } else { 0 }).sum();
    assert_eq!(tasks, 100);
    assert_eq!(actions.iter().filter(|a| matches!(a, Action::Kill(_))).count(), 2);
    assert_eq!(failed(bench.submit(100, 1)), [(100, &TaskError::PoolClosed)]);
}

#[test]
fn a_task_that_is_killed_while_it_is_stolen_does_not_run_again() {
    let mut bench = Bench::ready(2);
    let mut chunk = range(0, 4);
    chunk.policy.chunk = Some(2);
    bench.handle(Event::Submitted(chunk));
    let recalled = |taken, why| Event::Recalled { worker: worker(0, 1), taken, why };
    assert_eq!(sent(&bench.actions, worker(0, 1)), [(0, 2)]);
    // The task is back already, and the dispatcher does not know it yet.
    bench.handle(Event::Kill(TaskId(1)));
    let actions = bench.handle(recalled(vec![TaskId(1)], Recall::Steal));
    assert_eq!(failed(actions), [(1, &TaskError::Cancelled)]);
    assert_eq!((sent(actions, worker(0, 1)), sent(actions, worker(1, 1))), (vec![], vec![]));
    assert_eq!(bench.handle(recalled(vec![], Recall::End)), []);
}
