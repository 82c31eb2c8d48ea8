use std::sync::Mutex;
use std::time::{Duration, Instant};

use wpool::{BuildError, Guest, Isolation, Pool, TaskError};
use wpool_tests::{bounded, load, loader};

use crate::WPOOL;

type Words = (Vec<String>, Option<u32>);
type Found = (Option<u32>, u32, u32);

fn words(words: &[&str]) -> Words {
    (words.iter().map(|word| (*word).to_owned()).collect(), None)
}

fn guest(argument: &Words) -> Guest {
    load(WPOOL, wpool_tests::OK_INIT).initialized_with(argument).unwrap()
}

#[test]
fn b65_every_task_starts_from_what_the_initializer_left() {
    bounded(|| {
        let pool = Pool::builder(guest(&words(&["a", "b", "c"]))).workers(2).build().unwrap();
        let look_up = pool.task::<String, Found>("look_up").unwrap();
        let asked = ["b", "x", "c"].iter().cycle().take(300).map(|word| (*word).to_owned());
        let found: Vec<Found> = look_up.map(asked).map(Result::unwrap).collect();
        let expected = [(Some(2), 3, 1), (None, 3, 1), (Some(3), 3, 1)];
        assert!(
            found.iter().zip(expected.iter().cycle()).all(|(found, expected)| found == expected),
            "{found:?}"
        );
    });
}

#[test]
fn what_took_long_is_not_paid_again() {
    bounded(|| {
        let (words, _) = words(&["a"]);
        let slow = guest(&(words, Some(300)));
        let began = Instant::now();
        let pool = Pool::builder(slow.clone()).workers(2).build().unwrap();
        let once = began.elapsed();
        assert!(once > Duration::from_millis(20), "it computes for a while: {once:?}");
        let look_up = pool.task::<String, Found>("look_up").unwrap();
        let (began, tasks) = (Instant::now(), 1000);
        let results = look_up.map(std::iter::repeat_n("a".to_owned(), tasks));
        assert_eq!(results.filter(|found| *found == Ok((Some(1), 1, 1))).count(), tasks);
        assert!(
            began.elapsed() < once * 10,
            "a thousand tasks in {:?}, it once in {once:?}",
            began.elapsed()
        );
        // Nor for another pool of the same guest.
        let began = Instant::now();
        let again = Pool::builder(slow).workers(1).build().unwrap();
        assert!(began.elapsed() < once, "{:?}", began.elapsed());
        let found = again.task::<String, Found>("look_up").unwrap().apply(&"a".to_owned()).unwrap();
        assert_eq!(found, (Some(1), 1, 1));
    });
}

#[test]
fn with_less_isolation_it_runs_once_all_the_same() {
    bounded(|| {
        let builder = Pool::builder(guest(&words(&["a"]))).workers(1).isolation(Isolation::Worker);
        let pool = builder.build().unwrap();
        let look_up = pool.task::<String, Found>("look_up").unwrap();
        let seen: Vec<Found> = look_up.map(["x", "y"].map(str::to_owned)).map(Result::unwrap).collect();
        assert_eq!(seen, [(None, 1, 1), (None, 2, 1)], "the worker keeps what tasks learn");
    });
}

#[test]
fn b65_one_that_fails_is_one_error_for_all_and_starts_nobody() {
    bounded(|| {
        let build = |argument: &Words| Pool::builder(guest(argument)).build().unwrap_err();
        let refused = build(&words(&[]));
        assert_eq!(refused.to_string(), "the guest's initializer failed");
        assert!(
            matches!(&refused, BuildError::Init(TaskError::Guest(error)) if error.message() == "no words")
        );
        let panicked = build(&words(&["panic"]));
        assert!(matches!(panicked, BuildError::Init(TaskError::Panic { .. })), "{panicked:?}");
        let (long, _) = words(&["a"]);
        let late = Pool::builder(guest(&(long, Some(4_000_000)))).timeout(Duration::from_millis(100)).build();
        assert!(matches!(late.unwrap_err(), BuildError::Init(TaskError::Timeout { .. })));
    });
}

#[test]
fn its_argument_is_checked_before_anything_runs() {
    bounded(|| {
        let plain = load(WPOOL, wpool_tests::OK_INIT);
        assert_eq!(plain.initializer().unwrap().name(), "learn");
        let missing = Pool::builder(plain.clone()).build().unwrap_err();
        assert_eq!(
            missing.to_string(),
            "the guest's initializer `learn(words: list<string>, rounds: option<u32>)` needs an argument"
        );
        let wrong = plain.initialized_with(&7u32).unwrap_err();
        assert_eq!(wrong.to_string(), "initializer `learn` takes `(list<string>, option<u32>)`, not `u32`");
        let json = plain.initialized_from_json(b"[[1], null]").unwrap_err();
        assert!(json.to_string().starts_with("the initializer's argument does not fit: "), "{json}");
        let named = plain.initialized_from_json(br#"{"words": ["a"]}"#).unwrap();
        assert_eq!(named.identity(), guest(&words(&["a"])).identity());
        assert_ne!(named.identity(), plain.identity(), "the argument is part of the guest's name");
        let mut limits = wpool::Limits::default();
        limits.arguments = 2;
        let large = Pool::builder(guest(&words(&["a", "b"]))).limits(limits).build().unwrap_err();
        assert!(matches!(large, BuildError::Init(TaskError::BadArguments { .. })), "{large:?}");
        let none = load(WPOOL, wpool_tests::OK_SQUARE).initialized_with(&()).unwrap_err();
        assert_eq!(none.to_string(), "the guest has no initializer");
    });
}

/// Held by each test of the guest `WASI_INIT`: guests of one module share the state of its initializer.
static WASI: Mutex<()> = Mutex::new(());

#[test]
fn without_a_parameter_it_runs_once_for_ever() {
    bounded(|| {
        let _alone = WASI.lock();
        let looked = |loader: wpool::Loader, fuel: Option<u64>| {
            let guest = loader.file(wpool_tests::WASI_INIT).unwrap();
            let pool = Pool::builder(guest).workers(2).fuel(fuel).build().unwrap();
            let looks = pool.task::<(), (u64, u32)>("look").unwrap().map(std::iter::repeat_n((), 50));
            let mut seen: Vec<_> = looks.map(Result::unwrap).collect();
            seen.dedup();
            let [(drawn, 1)] = seen[..] else { panic!("each task starts from the same: {seen:?}") };
            drawn
        };
        let folder = tempfile::tempdir().unwrap();
        let new_cache = || {
            loader(WPOOL).cache(wpool::Cache::at(folder.path().join("entries"), folder.path().join("key")))
        };
        let (here, there) = std::thread::scope(|scope| {
            let there = scope.spawn(|| looked(new_cache(), None));
            (looked(new_cache(), None), there.join().unwrap())
        });
        assert_eq!(here, there, "also for two guests that are loaded at once");
        let first = looked(loader(WPOOL), None);
        assert_eq!(looked(loader(WPOOL), None), first, "it was kept, and did not run again");
        let counting = looked(loader(WPOOL), Some(1 << 40));
        assert_eq!(looked(loader(WPOOL), Some(1 << 40)), counting, "code that counts fuel is kept, too");
        assert_ne!(
            looked(loader(WPOOL).cache(wpool::Cache::none()), None),
            first,
            "where nothing is kept it runs"
        );
    });
}

#[test]
fn what_it_left_may_need_more_memory_than_a_pool_allows() {
    bounded(|| {
        let _alone = WASI.lock();
        let guest = load(WPOOL, wpool_tests::WASI_INIT);
        drop(Pool::builder(guest.clone()).build().unwrap());
        let small = Pool::builder(guest).memory(64 << 10).build().unwrap_err();
        assert!(matches!(small, BuildError::Load(wpool::LoadError::MemoryLimit { .. })), "{small:?}");
    });
}
