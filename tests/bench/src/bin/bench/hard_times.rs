//! How a pool does when things are not as they should be: one task of many is long, tasks are ended, workers die.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use wpool::{Guest, Pool, TaskFuture};

use super::{Result, Row, median, per_second};

/// Inputs of the map during which workers are killed.
const MAP: i64 = 2_000_000;
/// How often one of them is.
const KILL_EVERY: Duration = Duration::from_millis(50);
/// How long the long task of many runs, and the others.
const LONG_MS: u64 = 1000;
const QUICK_US: u64 = 500;

/// Measures all of it. `guests` is the folder of the modules.
pub(super) fn measure(guests: &Path, rounds: usize, rows: &mut Vec<Row>) -> Result<()> {
    let slow = Guest::from_file(guests.join("slow_work.wasm"))?;
    let ended = Guest::from_file(guests.join("slow_end.wasm"))?;
    let square = Guest::from_file(guests.join("ok_square.wasm"))?;
    skew(&slow, rounds, rows)?;
    ends(&ended, rounds, rows)?;
    terminate(&slow, rounds, rows)?;
    killing(&square, rows)
}

fn row(what: &'static str, value: f64, unit: &'static str, beside: &str) -> Row {
    Row { what, value, unit, beside: beside.to_owned() }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// One long task among many quick ones, at the beginning, in the middle, and at the end of a map.
fn skew(guest: &Guest, rounds: usize, rows: &mut Vec<Row>) -> Result<()> {
    let pool = Pool::builder(guest.clone()).workers(2).build()?;
    let work = pool.task::<u32, u64>("work")?;
    let began = Instant::now();
    work.apply(&50_000)?;
    let per_ms = 50_000.0 / ms(began.elapsed());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of rounds")]
    let amount = |us: u64| (per_ms * us as f64 / 1e3) as u32;
    let (long, quick) = (amount(LONG_MS * 1000), amount(QUICK_US));
    let mut late = Vec::new();
    for _ in 0..rounds {
        for place in [0, 500, 999] {
            let (mut ended, mut of_long) = (Instant::now(), Instant::now());
            let inputs = (0..1000).map(|n| if n == place { long } else { quick });
            let pool_task = pool.raw_task("work")?;
            let inputs = inputs.map(|n| {
                pool_task.signature().arguments_from_json(n.to_string().as_bytes()).map_err(|e| e.to_string())
            });
            for (index, completed) in pool_task.imap_unordered(inputs) {
                completed.result?;
                ended = Instant::now();
                if index == place {
                    of_long = ended;
                }
            }
            late.push(ms(ended - of_long));
        }
    }
    rows.push(row(
        "a map's end after the end of its one long task",
        median(late),
        "ms",
        "1 s among 999 of 0.5 ms",
    ));
    Ok(())
}

fn begun<R>(future: &TaskFuture<R>) {
    while !future.running() {
        std::hint::spin_loop();
    }
}

/// How long after its order or its limit an endless loop ends.
fn ends(guest: &Guest, rounds: usize, rows: &mut Vec<Row>) -> Result<()> {
    let pool = Pool::builder(guest.clone()).workers(2).build()?;
    let forever = pool.task::<(), ()>("forever")?;
    let (mut kills, mut timeouts) = (Vec::new(), Vec::new());
    let limit = Duration::from_millis(100);
    for _ in 0..rounds * 10 {
        let future = forever.submit(&())?;
        begun(&future);
        let began = Instant::now();
        future.kill();
        future.completed();
        kills.push(ms(began.elapsed()));
        let late = forever.clone().timeout(limit).submit(&())?;
        begun(&late);
        let began = Instant::now();
        late.completed();
        timeouts.push(ms(began.elapsed()) - ms(limit));
    }
    let replaced = format!("{} workers were replaced", pool.stats().workers_lost);
    rows.push(row("a kill to the end of an endless loop", median(kills), "ms", &replaced));
    rows.push(row("a run's end after its time was over", median(timeouts), "ms", "with a limit of 100 ms"));
    Ok(())
}

fn terminate(guest: &Guest, rounds: usize, rows: &mut Vec<Row>) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let pool = Pool::builder(guest.clone()).workers(2).max_queued(200_000).build()?;
        let work = pool.task::<u32, u64>("work")?;
        let queued =
            (0..100_000).map(|_| work.submit(&1_000_000)).collect::<std::result::Result<Vec<_>, _>>()?;
        let began = Instant::now();
        pool.terminate();
        pool.join()?;
        times.push(ms(began.elapsed()));
        assert!(queued.iter().all(TaskFuture::done), "a task was lost");
    }
    rows.push(row("terminate and join with 100,000 tasks queued", median(times), "ms", ""));
    Ok(())
}

/// A map during which a worker is killed again and again, beside one that is left in peace.
fn killing(guest: &Guest, rows: &mut Vec<Row>) -> Result<()> {
    let pool = Pool::builder(guest.clone()).workers(2).build()?;
    let square = pool.task::<i64, i64>("square")?;
    let map = || -> Result<f64> {
        let began = Instant::now();
        for (n, result) in (0..).zip(square.map(0..MAP)) {
            assert_eq!(result?, n * n, "a wrong result");
        }
        Ok(per_second(MAP, began))
    };
    let peace = map()?;
    let stop = AtomicBool::new(false);
    let (rate, kills) = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            let mut kills = 0;
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(KILL_EVERY);
                let victim = pool
                    .worker_pids()
                    .into_iter()
                    .next()
                    .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
                kills += i32::from(
                    victim.is_some_and(|pid| rustix::process::kill_process(pid, Signal::KILL).is_ok()),
                );
            }
            kills
        });
        let rate = map();
        stop.store(true, Ordering::Relaxed);
        (rate, killer.join())
    });
    let (rate, kills) = (rate?, kills.map_err(|_| "the killer has died")?);
    let beside = format!("{:.2} of the rate in peace, {kills} kills", rate / peace);
    rows.push(row("a map of 2 million, a worker killed every 50 ms", rate, "tasks/s", &beside));
    Ok(())
}
