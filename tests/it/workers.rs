use std::collections::HashSet;
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use wpool::{Clock, TaskError};
use wpool_tests::{bounded, pool};

use crate::WPOOL;

/// The worker processes that a process has started.
fn workers_of(parent: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let Some(rest) = stat.rsplit(") ").next() else { continue };
        let mut fields = rest.split(' ');
        let (state, ppid) = (fields.next(), fields.next().and_then(|ppid| ppid.parse::<u32>().ok()));
        let role = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if ppid == Some(parent) && state != Some("Z") && role.starts_with(b"wpool __worker") {
            found.push(pid);
        }
    }
    found
}

/// How long a process has computed, in hundredths of a second.
fn ticks_of(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

/// A run of the command whose workers can be told from those of other tests.
struct Run {
    child: std::process::Child,
    folder: tempfile::TempDir,
}

impl Run {
    fn start(guest: &str, inputs: &str, workers: &str, extra: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("inputs.json"), inputs).unwrap();
        let in_folder = |program: &str| {
            let mut command = std::process::Command::new(program);
            command.current_dir(folder.path()).env("HOME", folder.path());
            command
        };
        // From here on the guest is cached, and every worker is one of the pool's.
        assert!(in_folder(WPOOL).args(["inspect", guest]).output().unwrap().status.success());
        // A shell's background jobs ignore SIGQUIT, and so does this run.
        let child = in_folder("sh")
            .args(["-c", r#"trap "" QUIT; exec "$0" "$@""#, WPOOL])
            .args(["run", guest, "--workers", workers, "--map", "inputs.json", "--output", "out.json"])
            .args(extra)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    fn workers(&self) -> Vec<u32> {
        workers_of(self.child.id())
    }

    /// Waits until there is a worker.
    fn first_worker(&mut self) -> u32 {
        let began = Instant::now();
        loop {
            if let Some(worker) = self.workers().first() {
                return *worker;
            }
            assert!(self.child.try_wait().unwrap().is_none(), "the run has ended");
            assert!(began.elapsed() < Duration::from_secs(60), "no worker has started");
            std::thread::yield_now();
        }
    }

    /// Waits until a worker has computed for a while: a task runs.
    fn busy_worker(&mut self) -> u32 {
        let began = Instant::now();
        loop {
            let worker = self.first_worker();
            if ticks_of(worker) >= 20 {
                return worker;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "no worker has anything to do");
            std::thread::yield_now();
        }
    }

    fn finish(self) -> (Option<i32>, String, String) {
        let out = self.folder.path().join("out.json");
        let done = self.child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
        (done.status.code(), fs::read_to_string(out).unwrap_or_default(), stderr)
    }
}

fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // It may have ended by itself.
    let _gone = rustix::process::kill_process(pid, signal);
}

#[test]
fn killing_workers_during_a_map_loses_and_doubles_nothing() {
    bounded(|| {
        let count = 200_000;
        let inputs: Vec<String> = (0..count).map(|n| n.to_string()).collect();
        let mut run = Run::start(wpool_tests::OK_SQUARE, &format!("[{}]", inputs.join(",")), "2", &[]);
        let mut killed = 0;
        while run.child.try_wait().unwrap().is_none() {
            // Each worker is killed once it has worked for a while.
            if let Some(&worker) = run.workers().iter().find(|&&worker| ticks_of(worker) >= 3) {
                kill(worker, Signal::KILL);
                killed += 1;
            }
            std::thread::yield_now();
        }
        let (code, out, stderr) = run.finish();
        let results: Vec<serde_json::Value> = serde_json::from_str(&out).unwrap();
        let right = (0u64..).zip(&results).filter(|(n, value)| value.as_u64() == Some(n * n)).count();
        assert_eq!(results.len(), count);
        assert_eq!((right, code), (count, Some(0)), "{stderr}");
        assert!(killed > 0, "{stderr}");
    });
}

#[test]
fn a_worker_inherits_nothing() {
    bounded(|| {
        // A descriptor and a variable that a careless parent leaves open.
        let secret = fs::File::open("/proc/self/status").unwrap();
        rustix::io::fcntl_setfd(&secret, rustix::io::FdFlags::empty()).unwrap();
        let mut run = Run::start(wpool_tests::SLOW_WORK, "[4000000, 4000000]", "2", &[]);
        let worker = run.first_worker();
        let root = format!("/proc/{worker}");
        // While it starts a thread the C library blocks all signals.
        let sealed = |status: &str| status.contains("NoNewPrivs:\t1") && !status.contains("SigBlk:\tffff");
        let began = Instant::now();
        let status = loop {
            match fs::read_to_string(format!("{root}/status")) {
                Ok(status) if sealed(&status) => break status,
                _ => assert!(began.elapsed() < Duration::from_secs(20), "the worker never seals itself"),
            }
            std::thread::yield_now();
        };
        assert_eq!(fs::read(format!("{root}/environ")).unwrap(), b"", "no environment");
        let signals = |kind: &str| {
            let mask = status.lines().find_map(|line| line.strip_prefix(kind)).unwrap();
            // The C library keeps the signals 32 and 33 for itself, and lets nobody change them.
            u64::from_str_radix(mask.trim(), 16).unwrap() & !(0b11 << 31)
        };
        let sigpipe_alone = 1 << (Signal::PIPE.as_raw() - 1);
        assert_eq!((signals("SigIgn:"), signals("SigBlk:")), (sigpipe_alone, 0), "{status}");
        assert_eq!(fs::read_link(format!("{root}/cwd")).unwrap().to_str(), Some("/"));
        let mut names: Vec<String> = fs::read_dir(format!("{root}/fd"))
            .unwrap()
            .flatten()
            .filter_map(|fd| fs::read_link(fd.path()).ok()?.to_str().map(str::to_owned))
            .collect();
        names.sort();
        assert!(
            names.iter().all(|name| ["socket:", "/dev/null", "/memfd:", "anon_inode:", "/proc/"]
                .iter()
                .any(|ok| name.starts_with(ok))),
            "{names:?}"
        );
        assert!(!names.iter().any(|name| name.ends_with("/status")), "{names:?}");
        let sockets: HashSet<&String> = names.iter().filter(|name| name.starts_with("socket:")).collect();
        assert_eq!(sockets.len(), 1, "one connection, to the parent: {names:?}");
        kill(run.child.id(), Signal::KILL);
        run.finish();
    });
}

#[test]
fn workers_die_with_their_parent() {
    bounded(|| {
        let mut run =
            Run::start(wpool_tests::SLOW_WORK, "[4000000, 4000000, 4000000]", "2", &["--timeout", "none"]);
        run.first_worker();
        let workers = run.workers();
        kill(run.child.id(), Signal::KILL);
        run.finish();
        let began = Instant::now();
        let alive = |pid: &u32| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|role| role.starts_with(b"wpool __worker"))
        };
        while workers.iter().any(alive) {
            assert!(began.elapsed() < Duration::from_secs(10), "a worker has outlived its parent");
            std::thread::yield_now();
        }
    });
}

#[test]
fn a_stopped_worker_is_ended_when_its_task_is_due() {
    bounded(|| {
        let mut run = Run::start(wpool_tests::SLOW_WORK, "[300000, 300000]", "1", &["--timeout", "1s"]);
        let worker = run.first_worker();
        // Stopped for good: the worker's own clock stands still, the parent's does not.
        kill(worker, Signal::STOP);
        let (code, out, stderr) = run.finish();
        let results: Vec<serde_json::Value> = serde_json::from_str(&out).unwrap();
        assert_eq!(results.len(), 2, "{stderr}");
        assert!(code.is_some_and(|code| code < 2), "{stderr}");
    });
}

#[test]
fn a_worker_that_is_stopped_while_its_task_sleeps_is_ended_when_the_task_is_due() {
    bounded(|| {
        let timeout = Duration::from_secs(1);
        let pool = pool(WPOOL, wpool_tests::OK_TIME).workers(1).timeout(timeout).build().unwrap();
        let nap = pool.task::<u64, u64>("nap").unwrap();
        nap.apply(&0).unwrap();
        let sleeping = nap.submit(&60_000).unwrap();
        crate::until("it sleeps", || sleeping.running());
        kill(pool.worker_pids()[0], Signal::STOP);
        // Its worker's clock stands still, and so does what the worker says of itself.
        assert_eq!(sleeping.result(), Err(TaskError::Timeout { clock: Clock::Run, limit: timeout }));
        assert!(nap.apply(&0).is_ok(), "another worker goes on");
    });
}

#[test]
fn a_stopped_worker_does_not_hold_up_the_end_of_its_pool() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_SQUARE).workers(1).build().unwrap();
        assert_eq!(pool.task::<i64, i64>("square").unwrap().apply(&3).unwrap(), 9);
        let worker = pool.worker_pids()[0];
        kill(worker, Signal::STOP);
        drop(pool);
        assert!(!std::path::Path::new(&format!("/proc/{worker}")).exists(), "it was killed and collected");
    });
}

#[test]
fn an_interrupt_keeps_what_is_done() {
    bounded(|| {
        let inputs = vec!["20000"; 200_000].join(",");
        let mut run = Run::start(wpool_tests::SLOW_WORK, &format!("[{inputs}]"), "2", &["--timeout", "none"]);
        // Before its first task a run has nothing to write.
        run.busy_worker();
        kill(run.child.id(), Signal::INT);
        let partial = run.folder.path().join("out.json.partial");
        let folder = run.folder.path().to_owned();
        let status = run.child.wait().unwrap();
        assert_eq!(status.code(), Some(130));
        assert!(!folder.join("out.json").exists(), "the output is whole or not there");
        let done: Vec<serde_json::Value> =
            serde_json::from_str(&fs::read_to_string(partial).unwrap()).unwrap();
        assert!(done.len() < 200_000 && done.last().is_some_and(serde_json::Value::is_u64), "{done:?}");
        // A worker may have ended a later task than the other one, which had some before that in its queue.
        let is_cancelled = |value: &serde_json::Value| value["$error"]["kind"] == "cancelled";
        assert!(done.iter().all(|value| value.is_u64() || is_cancelled(value)), "{done:?}");
    });
}

#[test]
fn a_termination_finishes_what_runs() {
    bounded(|| {
        let inputs = r#"["fine", "loop", "fine", "fine"]"#;
        let mut run = Run::start(wpool_tests::FAIL_MIXED, inputs, "1", &["--timeout", "2s"]);
        run.busy_worker();
        kill(run.child.id(), Signal::TERM);
        let partial = run.folder.path().join("out.json.partial");
        let status = run.child.wait().unwrap();
        assert_eq!(status.code(), Some(130));
        let done: Vec<serde_json::Value> =
            serde_json::from_str(&fs::read_to_string(partial).unwrap()).unwrap();
        assert_eq!(done[0], "ZmluZQ==");
        assert_eq!(done[1]["$error"]["kind"], "timeout", "what had begun goes on to its end");
        assert_eq!(done.len(), 2, "what had not begun does not run");
    });
}

#[test]
fn a_second_interrupt_ends_everything_at_once() {
    bounded(|| {
        let mut run = Run::start(wpool_tests::FAIL_MIXED, r#"["loop", "loop"]"#, "1", &["--timeout", "none"]);
        let worker = run.busy_worker();
        let again = Instant::now();
        // Whichever signal comes second ends the run, so more of them do no harm.
        while run.child.try_wait().unwrap().is_none() {
            kill(run.child.id(), Signal::INT);
            std::thread::yield_now();
            assert!(again.elapsed() < Duration::from_secs(30), "the run goes on");
        }
        assert_eq!(run.child.wait().unwrap().code(), Some(130));
        while fs::read(format!("/proc/{worker}/cmdline")).is_ok_and(|role| !role.is_empty()) {
            assert!(again.elapsed() < Duration::from_secs(30), "the worker goes on");
            std::thread::yield_now();
        }
    });
}

#[test]
fn a_file_that_changes_while_it_is_read_is_an_error_of_the_input() {
    bounded(|| {
        let inputs = format!("[4000000{}]", ",1".repeat(50_000));
        let mut run = Run::start(wpool_tests::SLOW_WORK, &inputs, "1", &["--timeout", "3s"]);
        run.busy_worker();
        // The second reading cannot be this far, because the first result is not there yet.
        let file = run.folder.path().join("inputs.json");
        let file = fs::OpenOptions::new().write(true).open(file).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"\"damage\"", inputs.len() as u64 - 100).unwrap();
        let (code, out, stderr) = run.finish();
        assert_eq!((code, out.as_str()), (Some(2), ""), "{stderr}");
        assert!(stderr.contains("`inputs.json` changed while it was read"), "{stderr}");
    });
}

#[test]
fn a_pool_leaves_no_process_behind() {
    bounded(|| {
        for round in 0..10 {
            let pool = pool(WPOOL, wpool_tests::OK_SQUARE).build().unwrap();
            let square = pool.task::<i64, i64>("square").unwrap();
            if round % 2 == 0 {
                assert_eq!(square.submit(&3).unwrap().result(), Ok(9));
            } else {
                pool.terminate();
            }
        }
    });
}

#[test]
fn a_program_that_is_no_worker_is_a_clear_error() {
    bounded(|| {
        let guest = wpool_tests::load(WPOOL, wpool_tests::OK_SQUARE);
        drop(guest);
        let loader =
            wpool::Loader::new().cache(wpool::Cache::none()).executable(wpool::Executable::at("/bin/true"));
        let error = loader.file(wpool_tests::OK_SQUARE).unwrap_err();
        assert_eq!(error.to_string(), "the compiler was lost: it exited with code 0");
        let loader = wpool::Loader::new().executable(wpool::Executable::at("/no/such/program"));
        let error = loader.file(wpool_tests::OK_SQUARE).unwrap_err();
        assert!(error.to_string().starts_with("cannot start `/no/such/program`: "), "{error}");
        // Zero workers, an empty queue, a stack of nothing.
        let zero = pool(WPOOL, wpool_tests::OK_SQUARE).workers(0).build().unwrap_err();
        assert_eq!(zero.to_string(), "workers cannot be 0: no worker would run the tasks");
        let empty = pool(WPOOL, wpool_tests::OK_SQUARE).max_queued(0).build().unwrap_err();
        assert_eq!(empty.to_string(), "max_queued cannot be 0: no task could ever be submitted");
        let small = pool(WPOOL, wpool_tests::OK_SQUARE).memory(1000).build().unwrap_err();
        assert_eq!(small.to_string(), "cannot prepare the guest");
    });
}
