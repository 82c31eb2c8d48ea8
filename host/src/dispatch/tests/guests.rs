//! Several guests that share the slots of one pool, and guests that are unloaded.

use super::*;

#[test]
fn an_idle_worker_of_one_guest_is_stopped_for_another() {
    let mut bench = Bench::ready(1);
    bench.handle(Event::Load { guest: OTHER, weight: 1, depth: 0 });
    let actions = bench.handle(Event::Submitted(of(OTHER, range(0, 1))));
    assert_eq!(actions, [Action::Stop(worker(0, 1))]);
    let actions = bench.exited(worker(0, 1), WorkerExit::Code(0), &[], None);
    assert_eq!(spawned(actions), [(worker(0, 2), OTHER)]);
    let actions = bench.handle(Event::WorkerReady(worker(0, 2)));
    assert_eq!(sent(actions, worker(0, 2)), [(0, 1)]);
    assert_eq!(spawned(bench.done(0, 0, Duration::ZERO)), [], "it stays warm");
}

/// How many tasks of two guests end in one worker, if both always have tasks of the same run time.
fn shares(weights: [u32; 2]) -> [u32; 2] {
    let mut bench = Bench::new(fixed(1));
    bench.handle(Event::Load { guest: HOME, weight: weights[0], depth: 0 });
    bench.handle(Event::Load { guest: OTHER, weight: weights[1], depth: 0 });
    bench.handle(Event::Submitted(of(HOME, range(0, 5000))));
    bench.handle(Event::Submitted(Range { job: JobId(2), ..of(OTHER, range(5000, 5000)) }));
    let mut ended = [0, 0];
    let mut generation = 1;
    bench.handle(Event::WorkerReady(worker(0, 1)));
    for _ in 0..4000 {
        let held: Vec<TaskId> =
            bench.dispatcher.tasks_of(worker(0, generation)).map(|(task, _)| task).collect();
        let Some(&task) = held.first() else {
            bench.exited(worker(0, generation), WorkerExit::Code(0), &[], None);
            generation += 1;
            bench.handle(Event::WorkerReady(worker(0, generation)));
            continue;
        };
        ended[usize::from(task.0 >= 5000)] += 1;
        let tasks = vec![(task, Duration::from_millis(3))];
        let actions = bench.handle(Event::Done { worker: worker(0, generation), tasks }).to_vec_debug();
        if actions.contains("Recall") {
            let taken = held[1..].to_vec();
            bench.handle(Event::Recalled { worker: worker(0, generation), taken, why: Recall::Steal });
        }
    }
    ended
}

#[test]
fn guests_share_the_time_by_their_weights() {
    let [a, b] = shares([1, 1]);
    assert!(a.abs_diff(b) < 200, "{a} and {b}");
    let [a, b] = shares([1, 3]);
    assert!((a * 3).abs_diff(b) < 600, "{a} and {b}");
}

#[test]
fn an_unloaded_guest_finishes_and_goes() {
    let mut bench = Bench::ready(1);
    bench.submit(0, 2);
    bench.handle(Event::Unload(HOME));
    assert_eq!(failed(bench.submit(2, 1)), [(2, &TaskError::GuestUnloaded)]);
    bench.done(0, 0, Duration::ZERO);
    assert_eq!(bench.done(0, 1, Duration::ZERO).last(), Some(&Action::Stop(worker(0, 1))));
    assert_eq!(bench.exited(worker(0, 1), WorkerExit::Code(0), &[], None), [Action::Unloaded(HOME)]);
}
