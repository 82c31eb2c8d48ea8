use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use wpool_tests::bounded;

use crate::cli::{Desk, Said};

/// A run whose input and output are pipes of this test.
struct Piped {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Piped {
    fn start(desk: &Desk, arguments: &[&str]) -> Self {
        let mut command = desk.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, stdin, stdout: BufReader::new(stdout) }
    }

    fn say(&mut self, text: &str) {
        self.stdin.write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for the end, with the input still open.
    fn end(mut self) -> Said {
        let mut out = String::new();
        self.stdout.read_to_string(&mut out).unwrap();
        let Said { code, err, .. } = Said::from(self.child.wait_with_output().unwrap());
        Said { code, out, err }
    }
}

const SQUARE: &str = wpool_tests::OK_SQUARE;

#[test]
fn a_result_does_not_wait_for_the_next_input() {
    bounded(|| {
        let desk = Desk::new();
        let mut run = Piped::start(&desk, &["run", SQUARE, "--map", "-", "--format", "jsonl"]);
        for number in 2..5 {
            run.say(&format!("{number}\n"));
            assert_eq!(run.line(), format!("{{\"index\":{},\"ok\":{}}}\n", number - 2, number * number));
        }
        drop(run.stdin);
        assert_eq!(run.child.wait().unwrap().code(), Some(0));
        // An array, whose last item is cut out when a comma or its end follows.
        let mut run = Piped::start(&desk, &["run", SQUARE, "--map", "-"]);
        run.say("[3,");
        let mut first = [0; 3];
        run.stdout.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"[\n9");
        run.say(" 4]");
        drop(run.stdin);
        run.stdout.read_exact(&mut first).unwrap();
        assert_eq!(&first, b",\n1");
    });
}

#[test]
fn a_result_of_a_file_does_not_wait_for_the_tasks_after_it() {
    bounded(|| {
        let desk = Desk::new();
        // The second one never ends.
        desk.write("in.json", "[0, 4000000000]");
        for format in ["json", "jsonl"] {
            let arguments = ["run", wpool_tests::SLOW_WORK, "--map", "in.json", "--timeout", "none"];
            let mut run = Piped::start(&desk, &[&arguments[..], &["--format", format]].concat());
            let mut first = [0; 3];
            run.stdout.read_exact(&mut first).unwrap();
            assert!(&first == b"[\n0" || &first == b"{\"i");
            run.child.kill().unwrap();
            run.child.wait().unwrap();
        }
    });
}

#[test]
fn an_interrupt_does_not_wait_for_the_next_input() {
    bounded(|| {
        let desk = Desk::new();
        let run = Piped::start(&desk, &["run", SQUARE, "--map", "-", "--output", "out.json"]);
        crate::until("the run has begun", || desk.names().iter().any(|name| name.starts_with(".tmp")));
        run.signal(rustix::process::Signal::INT);
        assert_eq!(run.end().code, Some(130));
        // Nothing was done, so that there may be no part either.
        assert!(!desk.names().iter().any(|name| name == "out.json" || name.starts_with(".tmp")));
        let mut run = Piped::start(&desk, &["run", SQUARE, "--map", "-", "--format", "jsonl"]);
        run.say("1\n");
        run.line();
        run.signal(rustix::process::Signal::INT);
        let said = run.end();
        assert_eq!((said.code, said.out.as_str()), (Some(130), ""), "{}", said.err);
    });
}

#[test]
fn the_second_signal_leaves_no_temporary_file() {
    bounded(|| {
        let desk = Desk::new();
        desk.write("in.json", "[4000000000]");
        let arguments = ["run", wpool_tests::SLOW_WORK, "--map", "in.json", "--timeout", "none"];
        let run = Piped::start(&desk, &[&arguments[..], &["--output", "out.json"]].concat());
        crate::until("the output is there", || desk.names().iter().any(|name| name.starts_with(".tmp")));
        let stop = rustix::process::Signal::INT;
        // The first one waits for the task. Signals that come together are one, so it is sent until the end.
        let pid = rustix::process::Pid::from_child(&run.child);
        let said = std::thread::scope(|scope| {
            let ended = scope.spawn(|| run.end());
            while !ended.is_finished() {
                let _gone = rustix::process::kill_process(pid, stop);
                std::thread::yield_now();
            }
            ended.join().unwrap()
        });
        assert_eq!(said.code, Some(130), "{}", said.err);
        assert_eq!(desk.names().iter().filter(|name| name.starts_with(".tmp")).count(), 0);
    });
}

#[test]
fn a_reader_that_leaves_ends_a_run_that_has_nothing_to_write() {
    bounded(|| {
        let desk = Desk::new();
        let mut run = Piped::start(&desk, &["run", SQUARE, "--map", "-", "--format", "jsonl"]);
        run.say("7\n");
        assert_eq!(run.line(), "{\"index\":0,\"ok\":49}\n");
        let Piped { child, stdin, stdout } = run;
        drop(stdout);
        let said = Said::from(child.wait_with_output().unwrap());
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
        drop(stdin);
        // The same while a task runs that never ends, and of a pipe with a name.
        desk.write("in.json", "[4000000000]");
        let fifo = desk.path("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
        let arguments = ["run", wpool_tests::SLOW_WORK, "--map", "in.json", "--timeout", "none"];
        let run = Piped::start(&desk, &[&arguments[..], &["--output", "fifo"]].concat());
        drop(std::fs::File::open(fifo).unwrap());
        let said = run.end();
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    });
}

#[test]
fn a_journal_has_each_result_before_the_next_one_comes() {
    bounded(|| {
        let desk = Desk::new();
        let arguments = ["run", SQUARE, "--map", "-", "--resume", "journal", "--output", "out.json"];
        let mut run = Piped::start(&desk, &arguments);
        run.say("3\n");
        let size = || std::fs::metadata(desk.path("journal")).map_or(0, |file| file.len());
        // A head of 16 bytes, and a record of 36 bytes beside its value.
        crate::until("the journal has the result", || size() > 16 + 36);
        run.child.kill().unwrap();
        run.child.wait().unwrap();
        let said = desk.run_with_input(&[&arguments[..], &["--report", "report"]].concat(), b"3\n");
        assert_eq!((said.code, desk.read("out.json").as_str()), (Some(0), "[\n9\n]\n"), "{}", said.err);
        assert!(desk.read("report").contains("\"tasks\":[\n]"), "it was not run again");
    });
}

#[test]
fn lines_of_a_log_are_shown_while_their_task_runs_and_once() {
    bounded(|| {
        let desk = Desk::new();
        // The second one never ends.
        desk.write("in.json", "[[0, 0], [2, 4000000000]]");
        let arguments = ["run", wpool_tests::SLOW_LOG, "--map", "in.json", "--timeout", "none"];
        let mut run = Piped::start(&desk, &arguments);
        let mut err = BufReader::new(run.child.stderr.take().unwrap()).lines();
        let mut lines: Vec<String> = (0..3).map(|_| err.next().unwrap().unwrap()).collect();
        lines.sort_unstable();
        assert_eq!(lines, ["[0] info: end", "[1] info: line 0", "[1] info: line 1"]);
        run.child.kill().unwrap();
        run.child.wait().unwrap();
        let mut run =
            Piped::start(&desk, &["run", wpool_tests::SLOW_LOG, "--call", "tell", "1", "4000000000"]);
        let mut err = BufReader::new(run.child.stderr.take().unwrap()).lines();
        assert_eq!(err.next().unwrap().unwrap(), "info: line 0");
        run.child.kill().unwrap();
        run.child.wait().unwrap();
        // Those that end have each line once, whether it was shown before their end or not.
        desk.write("in.json", "[[2, 100000], [1, 0], [0, 50000]]");
        let said = desk.run(&["run", wpool_tests::SLOW_LOG, "--map", "in.json", "--logs", "log"]);
        assert_eq!(said.code, Some(0), "{}", said.err);
        let mut lines: Vec<String> = desk.read("log").lines().map(str::to_owned).collect();
        lines.sort_unstable();
        let expected =
            ["[0] info: end", "[0] info: line 0", "[0] info: line 1", "[1] info: end", "[1] info: line 0"];
        assert_eq!(lines[..5], expected);
        assert_eq!(lines[5..], ["[2] info: end"]);
        let said = desk.run(&["run", wpool_tests::SLOW_LOG, "--call", "tell", "1", "100000"]);
        assert_eq!(said.err, "info: line 0\ninfo: end\n");
        // A log that floods is cut as ever.
        let flood = ["run", wpool_tests::SLOW_LOG, "--call", "tell", "1000000", "0", "--max-log", "1kB"];
        let said = desk.run(&flood);
        assert_eq!(said.code, Some(0), "{}", said.err);
        assert!(said.err.len() < 1200 && said.err.ends_with(" bytes of log were dropped\n"), "{}", said.err);
    });
}
