use std::time::Duration;

use wpool::{
    BuildError, Capability, Clock, ClockPolicy, GuestSettings, Process, RandomPolicy, Status, SubTasks,
    TaskError,
};
use wpool_tests::{bounded, load, pool};

use crate::{WPOOL, call, until};

const MS: Duration = Duration::from_millis(1);

#[test]
fn clocks_go_and_sleeps_last() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_TIME).workers(1).build().unwrap();
        let nap = pool.task::<u64, u64>("nap").unwrap();
        for milliseconds in [0, 1, 30] {
            let future = nap.submit(&milliseconds).unwrap();
            assert!(future.result().unwrap() >= milliseconds);
            let figures = future.figures().unwrap();
            let asked = Duration::from_millis(milliseconds);
            assert!(figures.run >= asked, "sleeping is running: {figures:?}");
        }
        let blink = pool.task::<(), bool>("blink").unwrap();
        assert!(blink.submit(&()).unwrap().result().unwrap(), "a short sleep is as long as a tick");
        let today = call::<_, u64>(&pool, "today", &()).result().unwrap();
        let here = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert!(here.abs_diff(today) < 60, "{today}");
    });
}

#[test]
fn sleepers_leave_their_worker_to_others() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_TIME).workers(1).build().unwrap();
        let nap = pool.task::<u64, u64>("nap").unwrap();
        let long = nap.submit(&100_000).unwrap();
        until("it sleeps", || long.status() == Status::Running);
        assert!(nap.submit(&1).unwrap().result().unwrap() >= 1);
        assert!(!long.done());
        long.kill();
        assert_eq!(long.result(), Err(TaskError::Killed));
        assert_eq!(pool.stats().workers_started, 1);
    });
}

#[test]
fn a_timeout_ends_a_sleep_through_both_doors() {
    bounded(|| {
        let late = Err(TaskError::Timeout { clock: Clock::Run, limit: 50 * MS });
        for (guest, task) in [(wpool_tests::OK_TIME, "nap"), (wpool_tests::WASI_STD, "sleep")] {
            let pool = pool(WPOOL, guest).workers(1).timeout(50 * MS).build().unwrap();
            let sleep = pool.task::<u64, u64>(task).unwrap();
            let future = sleep.submit(&1_000_000).unwrap();
            assert_eq!(future.result(), late, "{task}");
            assert!(future.figures().unwrap().run < 30_000 * MS, "{task}");
            assert_eq!(pool.stats().workers_started, 1, "the worker goes on");
        }
    });
}

#[test]
fn with_a_grace_a_sleeper_is_woken() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_TIME).workers(1).grace(60_000 * MS).build().unwrap();
        let nap = pool.task::<(), bool>("nap_until_cancelled").unwrap();
        let killed = nap.submit(&()).unwrap();
        until("it sleeps", || killed.status() == Status::Running);
        killed.kill();
        assert_eq!(killed.result(), Ok(true));
        assert_eq!(nap.timeout(50 * MS).submit(&()).unwrap().result(), Ok(true), "its time was over");
    });
}

/// The numbers that a map draws, on some workers.
fn drawn(workers: usize, random: RandomPolicy) -> Vec<u64> {
    let pool = pool(WPOOL, wpool_tests::OK_TIME).workers(workers).random(random).build().unwrap();
    let draw = pool.task::<u32, u64>("draw").unwrap();
    draw.map(0..50).collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_seed_repeats_the_numbers_of_every_task() {
    bounded(|| {
        let seeded = drawn(1, RandomPolicy::Seeded(7));
        assert_eq!(drawn(3, RandomPolicy::Seeded(7)), seeded);
        assert_ne!(drawn(1, RandomPolicy::Seeded(8)), seeded);
        let different: std::collections::HashSet<_> = seeded.iter().collect();
        assert_eq!(different.len(), 50, "every task has its own");
        assert_ne!(drawn(1, RandomPolicy::Os), drawn(1, RandomPolicy::Os));
        let process = || {
            let settings = GuestSettings::new().random(RandomPolicy::Seeded(7));
            let guest = load(WPOOL, wpool_tests::OK_TIME);
            let process = Process::builder(guest).settings(settings).start::<u32, u64>("draw", &1).unwrap();
            process.result().unwrap()
        };
        assert_eq!(process(), process());
        assert_eq!(process(), seeded[0], "the first task of its pool");
    });
}

#[test]
fn a_seed_repeats_the_numbers_of_sub_tasks_and_of_what_follows_them() {
    bounded(|| {
        let run = || {
            let pool = pool(WPOOL, wpool_tests::OK_TIME)
                .random(RandomPolicy::Seeded(1))
                .sub_tasks(SubTasks::default())
                .build()
                .unwrap();
            let below = pool.task::<(), (u64, u64)>("draw_below").unwrap();
            let below = [(); 2].map(|()| below.submit(&()).unwrap()).map(|future| future.result().unwrap());
            let after = call::<_, u64>(&pool, "draw", &0u32).result().unwrap();
            (below, after)
        };
        let ([first, second], after) = run();
        assert_eq!(run(), ([first, second], after));
        let all = std::collections::HashSet::from([first.0, first.1, second.0, second.1, after]);
        assert_eq!(all.len(), 5);
    });
}

#[test]
fn getrandom_and_wasi_draw_from_the_same_source() {
    bounded(|| {
        let hits = |random| {
            let pool = pool(WPOOL, wpool_tests::PI).random(random).build().unwrap();
            let hits = pool.task::<u32, u32>("hits").unwrap();
            hits.map([10_000; 4]).collect::<Result<Vec<u32>, _>>().unwrap()
        };
        let seeded = hits(RandomPolicy::Seeded(3));
        assert_eq!(hits(RandomPolicy::Seeded(3)), seeded);
        for hits in seeded.iter().chain(&hits(RandomPolicy::Os)) {
            assert!((7_500..8_200).contains(hits), "about pi quarters of 10,000: {hits}");
        }
        let wasi = |random| {
            let pool = pool(WPOOL, wpool_tests::WASI_STD).random(random).build().unwrap();
            call::<_, u64>(&pool, "random", &()).result().unwrap()
        };
        assert_eq!(wasi(RandomPolicy::Seeded(3)), wasi(RandomPolicy::Seeded(3)));
        assert_ne!(wasi(RandomPolicy::Seeded(3)), wasi(RandomPolicy::Seeded(4)));
    });
}

#[test]
fn a_denied_call_names_its_policy() {
    bounded(|| {
        let denied = |capability| Err(TaskError::Denied { capability });
        for (guest, sleep) in [(wpool_tests::OK_TIME, "nap"), (wpool_tests::WASI_STD, "sleep")] {
            let pool = pool(WPOOL, guest).clock(ClockPolicy::Denied).build().unwrap();
            let slept = call::<_, u64>(&pool, sleep, &1u64).result();
            assert_eq!(slept, denied(Capability::Clock), "{sleep}");
        }
        let numbers = pool(WPOOL, wpool_tests::OK_TIME).random(RandomPolicy::Denied).build().unwrap();
        let error = call::<_, u64>(&numbers, "draw", &1u32).result().unwrap_err();
        assert_eq!(error, TaskError::Denied { capability: Capability::Random });
        assert_eq!(
            error.to_string(),
            "denied: random numbers are denied by the policy `random` of the guest"
        );
        assert!(error.is_guest_fault() && !error.is_retryable());
        let wasi = pool(WPOOL, wpool_tests::WASI_STD).random(RandomPolicy::Denied).build().unwrap();
        let random = call::<_, u64>(&wasi, "random", &()).result();
        assert_eq!(random, denied(Capability::Random));
        let pi = pool(WPOOL, wpool_tests::PI).random(RandomPolicy::Denied).build().unwrap();
        let hits = call::<_, u32>(&pi, "hits", &1u32).result();
        assert_eq!(hits, Err(TaskError::Denied { capability: Capability::Random }));
        let nap = call::<_, u64>(&numbers, "nap", &1u64).result();
        assert!(nap.is_ok(), "the other policy still allows");
    });
}

type Who = Option<(String, u32, u32)>;

#[test]
fn a_worker_is_known_to_the_host_and_by_permission_to_the_guest() {
    bounded(|| {
        let who = |info| {
            let pool = pool(WPOOL, wpool_tests::OK_TIME).workers(1).worker_info(info).build().unwrap();
            let future = pool.task::<(), Who>("who").unwrap().submit(&()).unwrap();
            let (said, figures) = (future.result().unwrap(), future.figures().unwrap());
            assert_eq!(figures.pid, pool.worker_pids().first().copied());
            (said, figures.worker.unwrap().to_string(), figures.pid.unwrap())
        };
        let (said, name, pid) = who(true);
        assert_eq!(said, Some((name, pid, std::process::id())));
        assert_eq!(who(false).0, None, "a guest learns no process id that it need not know");
    });
}

#[test]
fn a_seed_repeats_what_an_initializer_draws() {
    bounded(|| {
        let drawn = |random| {
            let pool = pool(WPOOL, wpool_tests::WASI_INIT).random(random).build().unwrap();
            call::<_, (u64, u32)>(&pool, "look", &()).result().unwrap().0
        };
        let seeded = drawn(RandomPolicy::Seeded(5));
        assert_eq!(drawn(RandomPolicy::Seeded(5)), seeded);
        assert_ne!(drawn(RandomPolicy::Seeded(6)), seeded);
        assert_ne!(drawn(RandomPolicy::Os), seeded, "no image of another policy is used");
        let denied = pool(WPOOL, wpool_tests::WASI_INIT).random(RandomPolicy::Denied).build().unwrap_err();
        let random = TaskError::Denied { capability: Capability::Random };
        assert!(matches!(&denied, BuildError::Init(error) if *error == random), "{denied:?}");
    });
}

#[test]
fn tasks_that_sleep_with_much_memory_make_no_other_fail() {
    const MEMORY: u32 = 16 << 20;
    bounded(|| {
        let builder = pool(WPOOL, wpool_tests::OK_TIME).workers(1).memory(u64::from(MEMORY));
        let pool = builder.build().unwrap();
        let hold = pool.task::<(u32, u64), u32>("hold").unwrap();
        // Four times a task's memory is what a worker has.
        let hogs: Vec<_> = (0..8).map(|_| hold.submit(&(MEMORY - (2 << 20), 300)).unwrap()).collect();
        let others: Vec<_> = (0..40).map(|_| hold.submit(&(8 << 20, 0)).unwrap()).collect();
        assert!(others.iter().all(|other| other.result() == Ok(8 << 20)));
        assert!(hogs.iter().all(|hog| hog.result() == Ok(MEMORY - (2 << 20))));
    });
}
