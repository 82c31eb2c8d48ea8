//! Measures everything in one run, prints a table, and writes the same as JSON.
//!
//! usage: bench [--rounds N] [--json FILE] [--only map|trip|start|memory|objects|hard]. Every figure is the median of the rounds; the comparisons are
//! made in the same run, in turn, so that a machine that is busy is busy for both sides.
#![expect(clippy::print_stdout, reason = "it prints its table")]

mod hard_times;
mod objects;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};
use wpool::{Guest, Pool};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Tasks of one map.
const MAP: i64 = 1_000_000;
/// Calls of one round of round trips.
const TRIPS: i64 = 20_000;
/// Seconds that one copy of the limit runs.
const LIMIT_SECONDS: &str = "2";

struct Row {
    what: &'static str,
    value: f64,
    unit: &'static str,
    beside: String,
}

fn main() -> Result<()> {
    wpool::init();
    let mut rounds = 5;
    let mut json_file = PathBuf::from("target/bench.json");
    let mut only = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or("a flag without a value")?;
        match argument.as_str() {
            "--rounds" => rounds = value.parse()?,
            "--json" => json_file = value.into(),
            "--only" => only = Some(value),
            other => return Err(format!("unknown flag {other}").into()),
        }
    }
    build_programs()?;
    let module = build_guest()?;
    let guest = Guest::from_file(&module)?;
    let mut rows = Vec::new();
    let wanted = |what: &str| only.as_deref().is_none_or(|only| only == what);
    if wanted("map") {
        measure_map(&guest, &module, rounds, &mut rows)?;
    }
    if wanted("trip") {
        measure_round_trip(&guest, rounds, &mut rows)?;
    }
    if wanted("start") {
        measure_start(&guest, rounds, &mut rows)?;
    }
    if wanted("memory") {
        measure_memory(&guest, &mut rows)?;
    }
    if wanted("objects") {
        let folder = module.parent().ok_or("a module lies in a folder")?;
        objects::measure(folder, rounds, &mut rows)?;
    }
    if wanted("hard") {
        let folder = module.parent().ok_or("a module lies in a folder")?;
        hard_times::measure(folder, rounds, &mut rows)?;
    }
    if only.is_none() {
        measure_peers(&mut rows);
    }
    print_table(&rows);
    let values: Vec<Value> = rows
        .iter()
        .map(|row| json!({"what": row.what, "value": row.value, "unit": row.unit, "beside": row.beside}))
        .collect();
    std::fs::write(&json_file, format!("{:#}\n", Value::from(values)))?;
    println!("\nwritten to {}", json_file.display());
    Ok(())
}

fn manifest() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The comparisons are programs of their own, and `cargo run` builds only this one.
fn build_programs() -> Result<()> {
    let status = Command::new("cargo")
        .args(["build", "--release", "--quiet", "-p", "wpool-bench", "--bins"])
        .current_dir(manifest())
        .status()?;
    if status.success() { Ok(()) } else { Err("the comparisons do not build".into()) }
}

fn build_guest() -> Result<PathBuf> {
    let guests = manifest().join("../../guests");
    let status = Command::new("cargo")
        .args(["build", "--release", "--quiet", "-p", "behaviours", "--bins"])
        .args(["--target", "wasm32-unknown-unknown"])
        .env_remove("CARGO_TARGET_DIR")
        .current_dir(&guests)
        .status()?;
    if !status.success() {
        return Err("the guest does not build".into());
    }
    Ok(guests.join("target/wasm32-unknown-unknown/release/ok_square.wasm"))
}

fn sibling(name: &str) -> Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name(name))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn per_second(count: i64, began: Instant) -> f64 {
    count as f64 / began.elapsed().as_secs_f64()
}

/// Two copies of the limit at once; the sum of their rates.
fn limit(module: &Path) -> Result<f64> {
    let program = sibling("in_process_limit")?;
    let start = || Command::new(&program).arg(module).arg(LIMIT_SECONDS).stdout(Stdio::piped()).spawn();
    let copies = [start()?, start()?];
    let mut sum = 0.0;
    for copy in copies {
        let output = copy.wait_with_output()?;
        sum += String::from_utf8_lossy(&output.stdout).trim().parse::<f64>()?;
    }
    Ok(sum)
}

fn measure_map(guest: &Guest, module: &Path, rounds: usize, rows: &mut Vec<Row>) -> Result<()> {
    let pool = Pool::builder(guest.clone()).workers(2).build()?;
    let square = pool.task::<i64, i64>("square")?;
    let (mut rates, mut limits, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let began = Instant::now();
        for (n, result) in (0..).zip(square.map(0..MAP)) {
            assert_eq!(result?, n * n, "a wrong result");
        }
        let rate = per_second(MAP, began);
        let limit = limit(module)?;
        ratios.push(rate / limit);
        rates.push(rate);
        limits.push(limit);
    }
    rows.push(Row {
        what: "map, a fresh instance per task",
        value: median(rates),
        unit: "tasks/s",
        beside: format!("{:.2} of the limit", median(ratios)),
    });
    rows.push(Row {
        what: "the limit: two loops on the engine alone",
        value: median(limits),
        unit: "instances/s",
        beside: String::new(),
    });
    Ok(())
}

/// Microseconds of a bare round trip between two processes, on the average of so many.
fn ping_pong(trips: i64) -> Result<f64> {
    let output = Command::new(sibling("ping_pong")?).arg(trips.to_string()).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
}

fn measure_round_trip(guest: &Guest, rounds: usize, rows: &mut Vec<Row>) -> Result<()> {
    let pool = Pool::builder(guest.clone()).workers(2).build()?;
    let square = pool.task::<i64, i64>("square")?;
    let (mut trips, mut bare, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let began = Instant::now();
        for n in 0..TRIPS {
            assert_eq!(square.submit(&n)?.result()?, n * n, "a wrong result");
        }
        let trip = 1e6 / per_second(TRIPS, began);
        let ping = ping_pong(TRIPS)?;
        ratios.push(trip / ping);
        trips.push(trip);
        bare.push(ping);
    }
    rows.push(Row {
        what: "submit and result, one after the other",
        value: median(trips),
        unit: "us",
        beside: format!("{:.2} bare round trips", median(ratios)),
    });
    rows.push(Row {
        what: "a bare round trip between two processes",
        value: median(bare),
        unit: "us",
        beside: String::new(),
    });
    Ok(())
}

fn measure_start(guest: &Guest, rounds: usize, rows: &mut Vec<Row>) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..rounds * 4 {
        let began = Instant::now();
        let pool = Pool::builder(guest.clone()).workers(2).build()?;
        assert_eq!(pool.task::<i64, i64>("square")?.submit(&7)?.result()?, 49, "a wrong result");
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    rows.push(Row {
        what: "pool built to first result",
        value: median(times),
        unit: "ms",
        beside: String::new(),
    });
    Ok(())
}

/// The proportional memory of idle workers that have run something.
fn measure_memory(guest: &Guest, rows: &mut Vec<Row>) -> Result<()> {
    let pool = Pool::builder(guest.clone()).workers(2).build()?;
    let square = pool.task::<i64, i64>("square")?;
    square.map(0..10_000).try_for_each(|result| result.map(drop))?;
    let own = std::process::id().to_string();
    let mut sizes = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let path = entry.path();
        let Ok(status) = std::fs::read_to_string(path.join("status")) else { continue };
        let is_child =
            status.lines().any(|line| line.strip_prefix("PPid:").is_some_and(|pid| pid.trim() == own));
        let Ok(rollup) = std::fs::read_to_string(path.join("smaps_rollup")) else { continue };
        if is_child {
            let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default();
            let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
            sizes.push(kib / 1024.0);
        }
    }
    if !sizes.is_empty() {
        rows.push(Row {
            what: "an idle worker's memory (PSS)",
            value: median(sizes),
            unit: "MiB",
            beside: String::new(),
        });
    }
    Ok(())
}

/// Python's and Node's pools, where they are installed.
fn measure_peers(rows: &mut Vec<Row>) {
    let scripts = manifest().join("peers");
    let ours = rows.first().map_or(0.0, |row| row.value);
    for (program, script, what) in [
        ("python3", "python_pool.py", "Python's ProcessPoolExecutor.map, one by one"),
        ("node", "node_pool.mjs", "Node's worker_threads, a pool of two"),
    ] {
        let output = Command::new(program).arg(scripts.join(script)).stderr(Stdio::null()).output();
        let rate =
            output.ok().and_then(|output| String::from_utf8(output.stdout).ok()?.trim().parse::<f64>().ok());
        if let Some(rate) = rate {
            rows.push(Row {
                what,
                value: rate,
                unit: "tasks/s",
                beside: format!("a map here is {:.1} times as fast", ours / rate),
            });
        }
    }
}

fn print_table(rows: &[Row]) {
    let width = rows.iter().map(|row| row.what.len()).max().unwrap_or(0);
    for row in rows {
        let value =
            if row.value >= 1000.0 { format!("{:.0}", row.value) } else { format!("{:.2}", row.value) };
        println!("{:<width$}  {value:>10} {:<11}  {}", row.what, row.unit, row.beside);
    }
}
