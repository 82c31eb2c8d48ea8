//! What becomes of the files of a run: none is lost, none is mistaken for another, and a part is never called the whole.

use std::process::{Child, Stdio};

use wpool_tests::bounded;

use crate::cli::Desk;

fn start(desk: &Desk, arguments: &[&str]) -> Child {
    desk.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_file_is_found_by_its_name_before_it_is_a_pattern() {
    bounded(|| {
        let desk = Desk::new();
        desk.write("a[1].txt", "one");
        desk.write("a1.txt", "two two");
        let said =
            desk.run(&["run", wpool_tests::WORDCOUNT, "-q", "--format", "jsonl", "--map-files", "a[1].txt"]);
        assert!(said.code == Some(0) && said.out.contains("\"words\":1"), "{} {}", said.out, said.err);
    });
}

#[test]
fn a_file_that_changes_while_it_is_read_is_noticed() {
    bounded(|| {
        let desk = Desk::new();
        let lines: String = (0..500_000).map(|n| format!("{n}\n")).collect();
        desk.write("in.jsonl", &lines);
        let run = ["run", wpool_tests::OK_SQUARE, "--map", "in.jsonl", "--output", "out.json"];
        let child = start(&desk, &run);
        crate::until("the output is open, so the inputs were checked", || {
            desk.names().iter().any(|name| name.starts_with(".tmp"))
        });
        desk.write("in.jsonl", &lines[..1000]);
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{err}");
        assert!(err.contains("`in.jsonl` changed while it was read"), "{err}");
        assert!(!desk.path("out.json").exists());
    });
}

#[test]
fn no_input_is_overwritten() {
    bounded(|| {
        let desk = Desk::new();
        desk.write("k", "orig");
        for flag in ["--output", "--logs", "--report"] {
            let said = desk.run(&["run", wpool_tests::WORDCOUNT, "--map-files", "k", flag, "k"]);
            assert_eq!((said.code, desk.read("k").as_str()), (Some(2), "orig"), "{flag}: {}", said.err);
            assert!(said.err.contains("`k` is the file of both"), "{}", said.err);
        }
        std::fs::hard_link(desk.path("k"), desk.path("linked")).unwrap();
        let said = desk.run(&["run", wpool_tests::WORDCOUNT, "--map-files", "k", "--logs", "linked"]);
        assert_eq!((said.code, desk.read("k").as_str()), (Some(2), "orig"), "{}", said.err);
        std::fs::create_dir(desk.path("io")).unwrap();
        desk.write("io/0.json", "7");
        let map = ["--map", "io/0.json", "--input-format", "jsonl", "--results", "io"];
        let said = desk.run(&[&["run", wpool_tests::OK_SQUARE], &map[..]].concat());
        assert_eq!((said.code, desk.read("io/0.json").as_str()), (Some(2), "7"), "{}", said.err);
    });
}

#[test]
fn a_message_that_cannot_be_printed_costs_no_result() {
    bounded(|| {
        let desk = Desk::new();
        let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
        let run = ["run", wpool_tests::OK_LOG, ":::", "1", "2"];
        let output = desk.command(&run).stderr(full()).output().unwrap();
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"[\n1,\n2\n]\n"[..]));
        // What a command was asked for is another matter.
        let output = desk.command(&["inspect", wpool_tests::OK_LOG]).stdout(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    });
}

#[test]
fn csv_says_when_a_quote_is_never_closed_and_keeps_quotes_within_cells() {
    bounded(|| {
        let desk = Desk::new();
        let run =
            ["run", wpool_tests::OK_ECHO, "--task", "json", "-q", "--format", "jsonl", "--map", "in.csv"];
        desk.write("in.csv", "a,b\n1,\"x\n2,y\n");
        let said = desk.run(&run);
        assert_eq!(said.code, Some(2), "{}", said.out);
        assert!(said.err.contains("in.csv:2:1: a quote is never closed"), "{}", said.err);
        desk.write("in.csv", "a,b\n1,\"\"\"x\"\"\"\n7,y\n");
        let said = desk.run(&run);
        let first = "{\"index\":0,\"ok\":{\"a\":1,\"b\":\"\\\"x\\\"\"}}\n";
        assert!(said.out.starts_with(first), "{} {}", said.out, said.err);
    });
}

#[test]
fn a_run_that_stops_early_keeps_the_file_and_counts_what_it_has_left() {
    bounded(|| {
        let desk = Desk::new();
        let inputs: Vec<u64> = (0..50_000).map(|n| if n == 3 { 7 } else { 2 * n }).collect();
        desk.write("in.json", serde_json::to_string(&inputs).unwrap());
        desk.write("out.json", "before");
        let run =
            ["run", wpool_tests::FAIL_ERROR, "--task", "half", "--map", "in.json", "--on-error", "stop"];
        let said = desk.run(&[&run[..], &["--output", "out.json"]].concat());
        assert_eq!((said.code, desk.read("out.json").as_str()), (Some(1), "before"), "{}", said.err);
        let partial: Vec<serde_json::Value> = serde_json::from_str(&desk.read("out.json.partial")).unwrap();
        let kind = |entry: &serde_json::Value| entry["$error"]["kind"].as_str().map(str::to_owned);
        let cancelled = partial.iter().filter(|entry| kind(entry).as_deref() == Some("cancelled")).count();
        let ok = partial.len() - cancelled - 1;
        let not_run = inputs.len() - ok - 1;
        assert!(said.err.contains(&format!("{ok} ok, 1 failed, {not_run} not run")), "{} {ok}", said.err);
    });
}

#[test]
fn a_file_beside_the_results_that_cannot_be_written_costs_none_of_them() {
    bounded(|| {
        let desk = Desk::new();
        let inputs: Vec<u32> = (0..20_000).collect();
        desk.write("in.json", serde_json::to_string(&inputs).unwrap());
        let run = ["run", wpool_tests::OK_SQUARE, "--map", "in.json", "--report", "/dev/full"];
        let said = desk.run(&[&run[..], &["--output", "out.json"]].concat());
        assert_eq!(said.code, Some(2), "{}", said.err);
        assert!(said.err.contains("cannot write `/dev/full`"), "{}", said.err);
        let kept = desk.path("out.json").exists() || desk.path("out.json.partial").exists();
        assert!(kept, "{}", said.err);
    });
}

#[test]
fn a_deadline_leaves_a_file_for_every_known_input() {
    bounded(|| {
        let desk = Desk::new();
        desk.write("in.json", serde_json::to_string(&vec![2_000_000u32; 9_000]).unwrap());
        let run =
            ["run", wpool_tests::SLOW_WORK, "--map", "in.json", "--deadline", "200ms", "--results", "r"];
        let said = desk.run(&run);
        assert_eq!(said.code, Some(1), "{}", said.err);
        assert_eq!(std::fs::read_dir(desk.path("r")).unwrap().count(), 9_000);
        assert!(desk.read("r/8999.json").contains("map_ended"));
    });
}

#[test]
fn the_first_signal_ends_a_run_that_waits_to_open_a_file() {
    bounded(|| {
        let desk = Desk::new();
        let made = std::process::Command::new("mkfifo").arg(desk.path("fifo")).status().unwrap();
        assert!(made.success());
        let run = ["run", wpool_tests::OK_SQUARE, "--output", "fifo", ":::", "1"];
        let mut child = start(&desk, &run);
        let pid = rustix::process::Pid::from_child(&child);
        let waits_in = || std::fs::read_to_string(format!("/proc/{}/wchan", child.id())).unwrap_or_default();
        crate::until("it waits for a reader of the fifo", || waits_in() == "wait_for_partner");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
    });
}

#[test]
fn a_package_is_built_only_if_that_is_allowed() {
    bounded(|| {
        let desk = Desk::new();
        assert_eq!(desk.run(&["new", "hello"]).code, Some(0));
        for command in [
            &["run", "hello", "--no-build", "--call", "greet", "you"][..],
            &["inspect", "hello", "--no-build"],
        ] {
            let said = desk.run(command);
            assert!(said.code == Some(2) && said.err.contains("--no-build was given"), "{}", said.err);
        }
        assert!(!desk.path("hello/target").exists());
    });
}

#[test]
fn a_task_that_does_not_end_is_killed_after_the_grace() {
    use std::io::{BufRead as _, Write as _};
    bounded(|| {
        let desk = Desk::new();
        let run = ["run", wpool_tests::SLOW_WORK, "--map", "-", "--format", "jsonl", "--timeout", "none"];
        let mut command = desk.command(&[&run[..], &["--workers", "1", "--grace", "100ms"]].concat());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"1\n4000000000\n").unwrap();
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.next().unwrap().unwrap().starts_with("{\"index\":0,\"ok\""));
        // The second has begun, or will not begin: it does not end by itself.
        rustix::process::kill_process(
            rustix::process::Pid::from_child(&child),
            rustix::process::Signal::TERM,
        )
        .unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        drop(stdin);
    });
}

#[test]
fn a_file_that_no_task_can_take_is_not_read_whole() {
    bounded(|| {
        let desk = Desk::new();
        let sparse = std::fs::File::create(desk.path("sparse")).unwrap();
        sparse.set_len(1 << 40).unwrap();
        desk.write("small", "a b");
        let run = ["run", wpool_tests::WORDCOUNT, "--format", "jsonl", "--map-files", "sparse", "small"];
        let said = desk.run(&run);
        assert_eq!(said.code, Some(1), "{}", said.err);
        assert!(said.out.contains("cannot read `sparse`: it has more than 67108864 bytes"), "{}", said.out);
        assert!(said.out.contains("\"words\":2"), "the other one ran: {}", said.out);
    });
}

#[test]
fn a_flag_among_the_words_is_pointed_at() {
    bounded(|| {
        let said = Desk::new().run(&["run", wpool_tests::OK_SQUARE, ":::", "1", "--format", "jsonl"]);
        assert_eq!(said.code, Some(2));
        assert!(said.err.contains("hint: flags go before `:::`"), "{}", said.err);
    });
}
