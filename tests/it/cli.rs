use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use wpool_tests::bounded;

use crate::WPOOL;

#[test]
fn the_readme_is_true() {
    bounded(|| transcripts(&["README.md"]));
}

/// Runs the console blocks of pages in the repository's root, or, where a folder `PAGE.out` says what the commands leave
/// behind, in a folder of their own.
pub(crate) fn transcripts(pages: &[&str]) {
    let home = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::env::set_current_dir(root).unwrap();
    let cases = trycmd::TestCases::new();
    cases
        .register_bin("wpool", Path::new(WPOOL))
        .env("HOME", home.path().display().to_string())
        .env("CARGO_HOME", cargo_home())
        .env("RUSTUP_HOME", rustup_home());
    for page in pages {
        cases.case(page);
    }
    cases.run();
}

/// Where cargo and rustup keep things, for a command whose HOME is another.
fn cargo_home() -> String {
    home_of("CARGO_HOME", ".cargo")
}

fn rustup_home() -> String {
    home_of("RUSTUP_HOME", ".rustup")
}

fn home_of(variable: &str, fallback: &str) -> String {
    let named = std::env::var_os(variable).map(PathBuf::from);
    named.or_else(|| Some(std::env::home_dir()?.join(fallback))).unwrap_or_default().display().to_string()
}

/// A folder to run the command in.
pub(crate) struct Desk(tempfile::TempDir);

impl Desk {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        std::fs::write(self.path(name), content).unwrap();
        self
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// The names of the files.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(WPOOL);
        command.args(arguments).current_dir(self.0.path()).env("HOME", self.0.path()).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        Said::from(self.command(arguments).output().unwrap())
    }

    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Said {
        use std::io::Write as _;
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || {
            // The command may stop reading early.
            let _stopped = stdin.write_all(&input);
        });
        let said = Said::from(child.wait_with_output().unwrap());
        writer.join().unwrap();
        said
    }
}

/// What a run said: exit code, standard output, standard error.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

const SQUARE: &str = wpool_tests::OK_SQUARE;
const ECHO: &str = wpool_tests::OK_ECHO;

#[test]
fn inputs_come_as_an_array_or_as_lines_from_a_file_or_a_pipe() {
    bounded(|| {
        let desk = Desk::new();
        desk.write("a.json", "[1, 2,\n 3]").write("a.jsonl", "1\n\n2\n3").write("plain", "1\n2\n3\n");
        let expected = "[\n1,\n4,\n9\n]\n";
        for file in ["a.json", "a.jsonl", "plain"] {
            let said = desk.run(&["run", SQUARE, "--map", file]);
            assert_eq!((said.code, said.out.as_str()), (Some(0), expected), "{file}: {}", said.err);
            assert!(said.err.contains("3 tasks in ") && said.err.contains(": 3 ok"), "{}", said.err);
        }
        for input in ["[1,2,3]", "1\n2\n3"] {
            let said = desk.run_with_input(&["run", SQUARE, "--map", "-"], input.as_bytes());
            assert_eq!((said.code, said.out.as_str()), (Some(0), expected), "{}", said.err);
        }
        let said = desk.run_with_input(&["run", SQUARE, "--map", "-"], b"[]");
        assert_eq!((said.code, said.out.as_str()), (Some(0), "[]\n"));
    });
}

#[test]
fn a_misfit_in_a_file_is_refused_before_anything_runs() {
    bounded(|| {
        let desk = Desk::new();
        for (content, message) in [
            ("[1,\n  \"x\"]", "in.json:2:3: inputs[1]: expected i64, got string \"x\""),
            ("[1, 2.5]", "in.json:1:5: inputs[1]: expected i64, got floating point `2.5`"),
            ("[9223372036854775808]", "inputs[0]: expected i64, got integer `9223372036854775808`"),
            ("[NaN]", "inputs[0]: expected value"),
            ("[1 2]", "in.json:1:4: inputs[0]: trailing characters"),
            ("[1,]", "in.json:1:4: expected a value"),
            ("[1", "in.json:1:3: the array has no end"),
            ("", "in.json:1:1: the input is empty; an array without items is []"),
            ("{}", "in.json:1:1: expected an array, got `{`"),
        ] {
            desk.write("in.json", content);
            let said = desk.run(&["run", SQUARE, "--map", "in.json", "--output", "out.json"]);
            assert_eq!(said.code, Some(2), "{content}: {}", said.err);
            assert!(said.err.contains(message), "{content}: {}", said.err);
            assert!(!desk.path("out.json").exists());
        }
        desk.write("in.json", b"[\"\xff\"]");
        let said = desk.run(&["run", ECHO, "--task", "bytes", "--map", "in.json"]);
        assert!(
            said.code == Some(2) && said.err.contains("inputs[0]: invalid unicode code point"),
            "{}",
            said.err
        );
        desk.write("in.json", format!("[{}{}]", "[".repeat(1_000_000), "]".repeat(1_000_000)));
        let said = desk.run(&["run", ECHO, "--task", "tree", "--map", "in.json"]);
        assert!(said.code == Some(2) && said.err.contains("inputs[0]"), "{}", said.err);
        desk.write("in.json", r#"[{"name":"a","name":"b","children":[]}]"#);
        let said = desk.run(&["run", ECHO, "--task", "tree", "--map", "in.json"]);
        assert!(said.err.contains("inputs[0]: duplicate field `name`"), "{}", said.err);
    });
}

#[test]
fn in_a_pipe_a_misfit_is_that_items_and_damage_ends_the_input() {
    bounded(|| {
        let desk = Desk::new();
        let run = ["run", SQUARE, "--map", "-", "--format", "jsonl"];
        let said = desk.run_with_input(&run, b"1\n\"x\"\n3\n");
        assert_eq!(said.code, Some(1), "{}", said.err);
        let lines: Vec<serde_json::Value> =
            said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["ok"], 1);
        assert_eq!(lines[1]["error"]["kind"], "bad_arguments");
        assert!(
            lines[1]["error"]["message"].as_str().unwrap().contains("2:1: inputs[1]: expected i64"),
            "{}",
            said.out
        );
        assert_eq!(lines[2]["ok"], 9);
        let said = desk.run_with_input(&["run", SQUARE, "--map", "-"], b"[1,2");
        assert_eq!((said.code, said.out.as_str()), (Some(2), "[\n1\n]\n"), "{}", said.err);
        assert!(said.err.contains("standard input:1:5: the array has no end"), "{}", said.err);
    });
}

#[test]
fn failed_results_stay_in_their_places() {
    bounded(|| {
        let desk = Desk::new();
        desk.write("in.json", r#"["fine","loop","panic","fine","huge_result"]"#);
        let run =
            ["run", wpool_tests::FAIL_MIXED, "--map", "in.json", "--timeout", "100ms", "--max-result", "1kB"];
        let said = desk.run(&run);
        assert_eq!(said.code, Some(1), "{}", said.err);
        assert!(said.err.contains("2 ok, 3 failed"), "{}", said.err);
        let results: Vec<serde_json::Value> = serde_json::from_str(&said.out).unwrap();
        assert_eq!((&results[0], &results[3]), (&"ZmluZQ==".into(), &"ZmluZQ==".into()));
        assert_eq!(results[1]["$error"]["kind"], "timeout");
        assert_eq!(
            results[2]["$error"]["message"].as_str().unwrap().split(": ").last(),
            Some("no luck with 7")
        );
        assert_eq!(results[4]["$error"]["limit"], 1000);
        let stopped = desk.run(&[&run[..], &["--on-error", "stop", "--workers", "1"]].concat());
        assert_eq!(stopped.code, Some(1));
        assert!(stopped.err.contains(" failed"), "{}", stopped.err);
    });
}

#[test]
fn a_deadline_says_which_inputs_it_has_cut_off() {
    bounded(|| {
        let desk = Desk::new();
        desk.write("in.json", serde_json::to_string(&vec![2_000_000u32; 20_000]).unwrap());
        let run =
            ["run", wpool_tests::SLOW_WORK, "--map", "in.json", "--deadline", "300ms", "--timeout", "none"];
        let said = desk.run(&[&run[..], &["--output", "out.json"]].concat());
        assert_eq!(said.code, Some(1), "{}", said.err);
        assert!(said.err.contains("error: the deadline of 300ms has passed: "), "{}", said.err);
        let taken: u64 =
            said.err.split("has passed: ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!(said.err.contains(&format!("{taken} inputs were taken, {} more were not", 20_000 - taken)));
        assert!(!desk.path("out.json").exists(), "a part is not the whole");
        let partial: Vec<serde_json::Value> = serde_json::from_str(&desk.read("out.json.partial")).unwrap();
        assert_eq!(partial.len(), 20_000, "each input that is known has its entry");
        let untaken = |entry: &&serde_json::Value| entry["$error"]["kind"] == "map_ended";
        assert_eq!(partial.iter().filter(untaken).count() as u64, 20_000 - taken);
        assert!(
            partial.iter().skip(usize::try_from(taken).unwrap()).all(|entry| untaken(&entry)),
            "they stand at the end"
        );
        // A deadline that is not met changes nothing.
        desk.write("few.json", "[1, 2, 3]");
        let said = desk.run(&["run", wpool_tests::SLOW_WORK, "--map", "few.json", "--deadline", "60s"]);
        assert_eq!(said.code, Some(0), "{}", said.err);
    });
}

#[test]
fn every_result_stands_at_the_index_of_its_input_after_a_stop() {
    bounded(|| {
        let desk = Desk::new();
        // The only odd number fails while later tasks run in the other workers, and some of those between are cancelled.
        let inputs: Vec<u64> = (0..2000).map(|n| if n == 3 { 7 } else { 2 * n }).collect();
        desk.write("in.json", serde_json::to_string(&inputs).unwrap());
        let half = [wpool_tests::FAIL_ERROR, "--task", "half"];
        let run =
            [&["run"], &half[..], &["--map", "in.json", "--workers", "3", "--on-error", "stop"]].concat();
        for _ in 0..10 {
            let said = desk.run(&run);
            assert_eq!(said.code, Some(1), "{}", said.err);
            let results: Vec<serde_json::Value> = serde_json::from_str(&said.out).unwrap();
            assert_eq!(results[3]["$error"]["kind"], "guest", "{}", said.out);
            for (index, result) in results.iter().enumerate().filter(|(index, _)| *index != 3) {
                assert!(*result == index || result["$error"]["kind"] == "cancelled", "{index}: {result}");
            }
            assert_ne!(results.last().unwrap()["$error"]["kind"], "cancelled", "none after the last result");
        }
    });
}

#[test]
fn an_own_value_with_the_key_of_an_error_is_escaped() {
    bounded(|| {
        let desk = Desk::new();
        let said = desk.run_with_input(
            &["run", ECHO, "--task", "json", "--map", "-"],
            br#"[{"$error":1,"a":{"$error":2}}]"#,
        );
        assert_eq!(said.out, "[\n{\"$$error\":1,\"a\":{\"$error\":2}}\n]\n", "{}", said.err);
    });
}

#[test]
fn output_report_and_logs_go_where_they_are_told() {
    bounded(|| {
        let desk = Desk::new();
        desk.write("in.json", "[1, 2, 0]");
        let run = [
            "run",
            wpool_tests::OK_LOG,
            "--map",
            "in.json",
            "--output",
            "out.json",
            "--report",
            "report.json",
        ];
        let said = desk.run(&[&run[..], &["--logs", "log.txt"]].concat());
        assert_eq!((said.code, said.out.as_str()), (Some(0), ""), "{}", said.err);
        assert_eq!(desk.read("out.json"), "[\n1,\n2,\n0\n]\n");
        assert_eq!(desk.read("log.txt"), "[0] info: line 0\n[1] info: line 0\n[1] warn: line 1\n");
        let report: serde_json::Value = serde_json::from_str(&desk.read("report.json")).unwrap();
        assert_eq!(report["totals"]["succeeded"], 3);
        assert_eq!(report["tasks"][2]["index"], 2);
        assert!(report["tasks"][0]["run_us"].as_f64().unwrap() > 0.0);
        assert!(desk.run(&run).err.contains("[1] warn: line 1"));
        assert!(!desk.run(&[&run[..], &["--logs", "off"]].concat()).err.contains("line 1"));
    });
}

#[test]
fn files_are_inputs_by_their_content() {
    bounded(|| {
        let desk = Desk::new();
        desk.write("a.txt", "one two\ntwo").write("b.txt", "").write("c.bin", b"\xff");
        let said = desk.run(&["run", wpool_tests::WORDCOUNT, "--map-files", "*.txt", "c.bin"]);
        assert_eq!(said.code, Some(1), "{}", said.err);
        let results: Vec<serde_json::Value> = serde_json::from_str(&said.out).unwrap();
        assert_eq!(results[0]["words"], 3);
        assert_eq!(results[0]["top"][0], serde_json::json!(["two", 2]));
        assert_eq!(results[1]["words"], 0);
        assert!(results[2]["$error"]["message"].as_str().unwrap().contains("UTF-8"));
        let said = desk.run(&["run", SQUARE, "--map-files", "*.txt"]);
        assert!(
            said.code == Some(2) && said.err.contains("does not take one string or bytes"),
            "{}",
            said.err
        );
        assert_eq!(desk.run(&["run", SQUARE, "--map-files", "*.none"]).code, Some(2));
    });
}

#[test]
fn pictures_become_thumbnails() {
    bounded(|| {
        let pictures = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/inputs/pictures/*");
        let said = Desk::new().run(&["run", wpool_tests::THUMBNAIL, "--map-files", pictures]);
        assert_eq!(said.code, Some(0), "{}", said.err);
        let results: Vec<serde_json::Value> = serde_json::from_str(&said.out).unwrap();
        assert_eq!(results[0]["original"], serde_json::json!([320, 200]));
        assert_eq!((&results[1]["width"], &results[1]["height"]), (&64.into(), &48.into()));
        assert!(results[1]["png"].as_str().unwrap().starts_with("iVBORw0KGgo"), "a PNG file in base64");
    });
}

#[test]
fn bad_usage_says_what_is_wrong() {
    bounded(|| {
        let desk = Desk::new();
        desk.write("in.json", "[1]");
        let run = |arguments: &[&str]| desk.run(&[&["run", SQUARE, "--map", "in.json"], arguments].concat());
        let said = run(&["--workers", "0"]);
        assert!(said.code == Some(2) && said.err.contains("workers cannot be 0"), "{}", said.err);
        let said = run(&["--timeout", "soon"]);
        assert!(said.code == Some(2) && said.err.contains("a time is a number with"), "{}", said.err);
        let said = run(&["--task", "sqare"]);
        assert!(said.code == Some(2) && said.err.contains("did you mean `square`?"), "{}", said.err);
        assert!(said.err.contains("hint: run `wpool inspect GUEST`"), "{}", said.err);
        let said = run(&["--output", "in.json"]);
        assert!(said.code == Some(2) && said.err.contains("would replace the input"), "{}", said.err);
        let said = desk.run(&["run", ECHO, "--map", "in.json"]);
        assert!(said.code == Some(2) && said.err.contains("tree(tree: Tree) -> Tree"), "{}", said.err);
        let said = desk.run(&["run", "nothing.wasm", "--map", "in.json"]);
        assert!(said.code == Some(3) && said.err.contains("cannot load `nothing.wasm`"), "{}", said.err);
        let said = run(&["--memory", "64KiB"]);
        assert!(said.code == Some(3) && said.err.contains("the guest starts with"), "{}", said.err);
        assert_eq!(desk.run(&[]).code, Some(2));
        assert_eq!(desk.run(&["--help"]).code, Some(0));
    });
}

/// Exit code 2 does not mean that nothing ran: the README's list of codes says when tasks may have run.
#[test]
fn a_file_that_cannot_be_written_is_reported_after_the_tasks_have_run() {
    bounded(|| {
        let desk = Desk::new();
        desk.write("in.json", "[2]");
        let run = |flags: &[&str]| {
            let said = desk.run(&[&["run", wpool_tests::OK_LOG, "--map", "in.json"], flags].concat());
            assert_eq!(said.code, Some(2), "{}", said.err);
            assert!(
                said.err.contains("error: cannot write `/dev/full`: No space left on device"),
                "{}",
                said.err
            );
            assert!(said.err.contains("[0] info: line 0"), "the task has run: {}", said.err);
            said.out
        };
        assert_eq!(run(&["--output", "/dev/full"]), "");
        assert_eq!(run(&["--report", "/dev/full"]), "[\n2\n]\n");
        assert_eq!(run(&["--list", "list", "--dump", "list=/dev/full"]), "[\n2\n]\n");
        let readme = include_str!("../../README.md");
        assert!(readme.contains("tasks may have run if a stream turns bad midway"), "of code 2");
        // Before any task runs, the same code leaves no trace of one.
        let said = desk.run(&["run", wpool_tests::OK_LOG, "--map", "in.json", "--output", "none/out.json"]);
        assert!(said.code == Some(2) && !said.err.contains("line 0"), "{}", said.err);
    });
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    bounded(|| {
        let desk = Desk::new();
        let inputs: Vec<String> = (0..100_000).map(|n| n.to_string()).collect();
        desk.write("in.json", format!("[{}]", inputs.join(",")));
        let mut command = desk.command(&["run", SQUARE, "--map", "in.json"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let said = Said::from(child.wait_with_output().unwrap());
        assert_eq!(said.code, Some(0), "{}", said.err);
        assert!(!said.err.contains("panicked"), "{}", said.err);
    });
}

#[test]
fn a_new_package_builds_and_runs() {
    bounded(|| {
        let desk = Desk::new();
        let said = desk.run(&["new", "hello"]);
        assert_eq!(
            (said.code, said.out.as_str()),
            (Some(0), "made hello\ntry: wpool run hello --map hello/inputs.json\n")
        );
        let mut command = desk.command(&["run", "hello", "--map", "hello/inputs.json"]);
        let output =
            command.env("CARGO_HOME", cargo_home()).env("RUSTUP_HOME", rustup_home()).output().unwrap();
        let said = Said::from(output);
        assert_eq!(
            (said.code, said.out.as_str()),
            (Some(0), "[\n\"Hello, World!\",\n\"Hello, wpool!\"\n]\n"),
            "{}",
            said.err
        );
        assert_eq!(desk.run(&["new", "hello"]).code, Some(2));
        assert_eq!(desk.run(&["new", "1bad"]).code, Some(2));
    });
}

#[test]
fn inspect_and_cache_show_what_is_there() {
    bounded(|| {
        let desk = Desk::new();
        let said = desk.run(&["inspect", ECHO, "--json"]);
        let seen: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        let tasks = seen["tasks"].as_array().unwrap();
        let repeat = tasks.iter().find(|task| task["name"] == "repeat").unwrap();
        assert_eq!(repeat["parameters"][2], serde_json::json!({"name": "end", "type": "option<char>"}));
        assert_eq!(repeat["schema"]["input"]["anyOf"][1]["required"], serde_json::json!(["text", "times"]));
        assert_eq!(repeat["schema"]["result"]["type"], "string");
        assert_eq!(seen["imports"][0]["module"], "wpool");
        assert!(
            desk.run(&["inspect", ECHO])
                .out
                .contains("repeat(text: string, times: u32, end: option<char>) -> string")
        );
        assert!(desk.run(&["cache"]).out.contains("1 compiled guests"));
        assert_eq!(desk.run(&["cache", "clear"]).out, "removed 1 compiled guests\n");
        assert!(desk.run(&["cache"]).out.contains("0 compiled guests"));
        let said = desk.run(&["inspect", wpool_tests::FAIL_ERROR]);
        assert!(said.out.contains("-> result<"), "{}", said.out);
        assert_eq!(desk.run(&["inspect", ECHO, "--rust", "--json"]).code, Some(2));
    });
}

#[test]
fn a_task_can_be_called_once() {
    bounded(|| {
        let desk = Desk::new();
        let said = desk.run(&["run", SQUARE, "--call", "square", "-7"]);
        assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (Some(0), "49\n", ""));
        let repeat = |arguments: &[&str]| desk.run(&[&["run", ECHO, "--call", "repeat"], arguments].concat());
        assert_eq!(repeat(&["ab", "2", "null"]).out, "\"abab\"\n");
        assert_eq!(repeat(&["\"a b\"", "1", "\"!\""]).out, "\"a b!\"\n");
        let said = repeat(&["ab", "2"]);
        assert_eq!(said.code, Some(2));
        assert!(said.err.contains("takes 3 arguments, got 2"), "{}", said.err);
        let said = repeat(&["ab", "x", "null"]);
        assert!(said.code == Some(2) && said.err.contains("the arguments do not fit"), "{}", said.err);
        assert_eq!(desk.run(&["run", ECHO, "--call", "nothing"]).out, "null\n");
        let said = desk.run(&["run", wpool_tests::FAIL_ERROR, "--call", "half", "3"]);
        assert_eq!((said.code, said.err.as_str()), (Some(1), "error: `half` failed: odd\n"));
        let said = desk.run(&["run", wpool_tests::OK_LOG, "--call", "log", "2"]);
        assert_eq!((said.out.as_str(), said.err.as_str()), ("2\n", "info: line 0\nwarn: line 1\n"));
        let said = desk.run(&["run", SQUARE, "--call", "sqare", "1"]);
        assert!(said.code == Some(2) && said.err.contains("did you mean `square`?"), "{}", said.err);
        let endless = ["run", wpool_tests::FAIL_MIXED, "--call", "act", "loop", "--timeout", "none"];
        let said = desk.run(&[&endless[..], &["--deadline", "200ms"]].concat());
        assert_eq!(said.code, Some(1), "{}", said.err);
        assert!(said.err.contains("took longer than 200ms"), "{}", said.err);
        for of_a_map in ["--unordered", "--results=x", "--retry=1", "--halt=fail=1", "--on-error=stop"] {
            let said = desk.run(&["run", SQUARE, "--call", "square", "7", of_a_map]);
            assert!(said.code == Some(2) && said.err.contains("cannot be used with"), "{}", said.err);
        }
    });
}

#[test]
fn a_run_that_was_killed_goes_on_where_it_was() {
    bounded(|| {
        let desk = Desk::new();
        // Long enough that a busy machine does not miss the moment to kill it.
        let inputs: Vec<String> = (0..300).map(|n| (5000 + n * 7).to_string()).collect();
        desk.write("in.json", format!("[{}]", inputs.join(",")));
        let run = ["run", wpool_tests::SLOW_WORK, "--map", "in.json", "--workers", "1"];
        let whole = desk.run(&[&run[..], &["--output", "whole.json"]].concat());
        assert_eq!(whole.code, Some(0), "{}", whole.err);
        let resumed = [&run[..], &["--output", "resumed.json", "--resume", "journal"]].concat();
        let size = || std::fs::metadata(desk.path("journal")).map_or(0, |file| file.len());
        // Each run is killed as soon as it has finished some of them.
        for _ in 0..3 {
            let before = size();
            let mut child = desk.command(&resumed).stderr(Stdio::null()).spawn().unwrap();
            while size() < before + 600 && child.try_wait().unwrap().is_none() {
                std::thread::yield_now();
            }
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(!desk.path("resumed.json").exists() && size() > 600);
        let report = [&resumed[..], &["--report", "report.json"]].concat();
        let said = desk.run(&report);
        assert_eq!(said.code, Some(0), "{}", said.err);
        assert!(said.err.contains("300 tasks") && said.err.contains("300 ok"), "{}", said.err);
        assert_eq!(desk.read("resumed.json"), desk.read("whole.json"), "not a byte is different");
        let report: serde_json::Value = serde_json::from_str(&desk.read("report.json")).unwrap();
        assert!(report["tasks"].as_array().unwrap().len() < 280, "some were not run again");
        // Another limit, another guest, another input: none of them believes the journal.
        let said = desk.run(&[&resumed[..], &["--timeout", "59s"]].concat());
        assert!(said.code == Some(0) && desk.read("resumed.json") == desk.read("whole.json"));
        desk.write("in.json", desk.read("in.json").replace("[5000,", "[5001,"));
        desk.run(&resumed);
        assert_ne!(desk.read("resumed.json"), desk.read("whole.json"));
        desk.write("letter", "Dear reader");
        let said = desk.run(&[&run[..], &["--resume", "letter"]].concat());
        assert!(said.code == Some(2) && said.err.contains("it is no journal of wpool"), "{}", said.err);
    });
}

#[test]
fn clocks_and_isolation_are_flags() {
    bounded(|| {
        let desk = Desk::new();
        desk.write("in.json", "[1, 90000000, 1]");
        let run = ["run", wpool_tests::SLOW_WORK, "--map", "in.json", "--workers", "1"];
        let errors = |flags: &[&str]| {
            let said = desk.run(&[&run[..], flags].concat());
            assert_eq!(said.code, Some(1), "{}", said.err);
            let results: Vec<serde_json::Value> = serde_json::from_str(&said.out).unwrap();
            results
                .iter()
                .map(|result| result["$error"]["clock"].as_str().map(str::to_owned))
                .collect::<Vec<_>>()
        };
        let (run_clock, total) = (Some("run".to_owned()), Some("total".to_owned()));
        assert_eq!(errors(&["--timeout", "100ms"]), [None, run_clock, None]);
        assert_eq!(errors(&["--deadline", "500ms"])[1], total);
        let queue = errors(&["--timeout", "300ms", "--queue-timeout", "100ms"]);
        assert_eq!(queue[2].as_deref(), Some("queue"));
        desk.write("names.json", "[\"a\", \"b\", \"c\"]");
        let note = |flags: &[&str]| {
            let run =
                ["run", wpool_tests::OK_STATE, "--task", "note", "--map", "names.json", "--workers", "1"];
            desk.run(&[&run[..], flags].concat()).out
        };
        assert_eq!(note(&[]), "[\n[],\n[],\n[]\n]\n");
        assert_eq!(note(&["--isolation", "worker"]), "[\n[],\n[\"a\"],\n[\"a\",\"b\"]\n]\n");
        assert_eq!(note(&["--isolation", "worker", "--max-tasks-per-worker", "1"]), note(&[]));
        assert_eq!(note(&["--priority", "-3", "--retries", "0"]), note(&[]));
        assert_eq!(desk.run(&[&run[..], &["--max-tasks-per-worker", "0"]].concat()).code, Some(2));
    });
}

#[test]
fn the_initializers_argument_is_json_or_a_file() {
    bounded(|| {
        let desk = Desk::new();
        desk.write("words.json", r#"{"words": ["a", "b"]}"#);
        let run = |flags: &[&str]| {
            desk.run(&[&["run", wpool_tests::OK_INIT, "--call", "look_up", "b"], flags].concat())
        };
        for init in ["words.json", r#"[["a", "b"], null]"#] {
            let said = run(&["--init", init]);
            assert_eq!((said.code, said.out.as_str()), (Some(0), "[2,2,1]\n"), "{}", said.err);
        }
        let said = run(&[]);
        assert!(said.code == Some(2) && said.err.contains("hint: give it with --init"), "{}", said.err);
        let said = run(&["--init", "[[], null]"]);
        assert_eq!(
            (said.code, said.err.as_str()),
            (Some(3), "error: the guest's initializer failed\n  caused by: no words\n")
        );
        let said = run(&["--init", "[1]"]);
        assert!(
            said.code == Some(2) && said.err.contains("the initializer's argument does not fit"),
            "{}",
            said.err
        );
        let said = desk.run(&["inspect", wpool_tests::OK_INIT]);
        assert!(said.out.contains("init learn(words: list<string>, rounds: option<u32>)"), "{}", said.out);
    });
}

/// Runs the tests' guest with shared objects.
fn with_objects(desk: &Desk, task: &str, inputs: &str, flags: &[&str]) -> Said {
    desk.write("in.json", inputs);
    desk.run(&[&["run", wpool_tests::OK_OBJECTS, "--task", task, "--map", "in.json"], flags].concat())
}

#[test]
fn a_queue_is_written_as_it_fills() {
    bounded(|| {
        let desk = Desk::new();
        let inputs = r#"[[3, "numbers"], [2, "numbers"]]"#;
        // The queue has room for one: somebody takes them out all the time.
        let flags = ["--queue", "numbers:1", "--drain", "numbers=out.jsonl"];
        let said = with_objects(&desk, "produce", inputs, &flags);
        assert_eq!((said.code, said.out.as_str()), (Some(0), "[\nnull,\nnull\n]\n"), "{}", said.err);
        let mut lines: Vec<String> = desk.read("out.jsonl").lines().map(str::to_owned).collect();
        lines.sort_unstable();
        assert_eq!(lines, ["0", "0", "1", "1", "2"]);
        let said =
            with_objects(&desk, "produce", inputs, &["--queue", "numbers", "--dump", "numbers=left.json"]);
        assert_eq!(
            (said.code, desk.read("left.json").len()),
            (Some(0), "[0,1,2,0,1]\n".len()),
            "{}",
            said.err
        );
    });
}

#[test]
fn what_objects_hold_is_written_at_the_end() {
    bounded(|| {
        let desk = Desk::new();
        let flags = ["--value", "balance=10", "--lock", "lock", "--dump", "balance=balance.json"];
        let said = with_objects(
            &desk,
            "deposit",
            r#"[[100, 2, "balance", "lock"], [100, -1, "balance", "lock"]]"#,
            &flags,
        );
        assert_eq!((said.code, desk.read("balance.json").as_str()), (Some(0), "110\n"), "{}", said.err);
        let call =
            |guest: &str, arguments: &[&str]| desk.run(&[&["run", guest, "--call"], arguments].concat());
        let shared =
            ["fill", "1", "4", "squares", "--shared-array", "squares:5", "--dump", "squares=squares.json"];
        let said = call(wpool_tests::OK_SHARED, &shared);
        assert_eq!(
            (said.code, desk.read("squares.json").as_str()),
            (Some(0), "[0,1,4,9,0]\n"),
            "{}",
            said.err
        );
        desk.write("bytes", [1u8, 2, 250]);
        let said = call(wpool_tests::OK_SHARED, &["checksum", "bytes", "--broadcast", "bytes=bytes"]);
        assert_eq!((said.code, said.out.as_str()), (Some(0), "253\n"), "{}", said.err);
        let everything = r#"["queue", "dict", "list", "array", "namespace", "rlock", "semaphore"]"#;
        let said = with_objects(&desk, "everything", &format!("[{everything}]"), &["--queue", "queue"]);
        assert!(said.err.contains("no dict<string, u32> is named `dict`"), "{}", said.err);
        // What nobody has named is as it was made.
        let flags =
            ["--dict", "d", "--list", "l", "--value", "v=[1]", "--shared-array", "s:2", "--queue", "numbers"];
        let dumps = ["--dump", "d=d.json", "--dump", "l=l.json", "--dump", "v=v.json", "--dump", "s=s.json"];
        let said = with_objects(&desk, "produce", r#"[[0, "numbers"]]"#, &[&flags[..], &dumps].concat());
        let dumped = ["d", "l", "v", "s"].map(|name| desk.read(&format!("{name}.json")));
        assert_eq!(dumped, ["{}\n", "[]\n", "[1]\n", "[0,0]\n"], "{}", said.err);
    });
}

#[test]
fn an_input_reaches_what_was_declared_and_nothing_else() {
    bounded(|| {
        let desk = Desk::new();
        let refused = |task, inputs: &str, flags: &[&str], message: &str| {
            let said = with_objects(&desk, task, inputs, flags);
            assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{}", said.err);
            assert!(said.err.contains(message), "{message}: {}", said.err);
        };
        let numbers = ["--queue", "numbers"];
        refused(
            "produce",
            r#"[[1, "numbers"]]"#,
            &[],
            "in.json:1:14: inputs[0].into: no sender<u32> is named `numbers`",
        );
        refused("produce", r#"[[1, "numbers"]]"#, &[], "hint: declare shared objects with --queue NAME");
        refused(
            "produce",
            r#"[[1, "numbers"], [1, "other"]]"#,
            &numbers,
            "inputs[1].into: no sender<u32> is named `other`",
        );
        for handle in ["0", "null", "[0]", r#"{"queue": 1}"#] {
            refused(
                "produce",
                &format!("[[1, {handle}]]"),
                &numbers,
                "inputs[0].into: expected sender<u32>, got ",
            );
        }
        let dict = ["--dict", "numbers"];
        refused("produce", r#"[[1, "numbers"]]"#, &dict, "expected sender<u32>, got `numbers`, a dict");
        let value = ["--value", "balance=1.5"];
        refused(
            "deposit",
            r#"[[1, 1, "balance", null]]"#,
            &value,
            "the first value of `balance`: expected i64, got floating point `1.5`",
        );
        refused("produce", "[]", &["--queue", "a", "--dict", "a"], "`a` is declared twice");
        refused("produce", "[]", &["--queue", "a", "--drain", "b=f"], "no object is named `b`");
        refused("produce", "[]", &["--dict", "a", "--drain", "a=f"], "`a` is no queue, its kind is dict");
        refused(
            "produce",
            "[]",
            &["--event", "a", "--dump", "a=f"],
            "`a` holds no values, its kind is event",
        );
        refused("produce", "[]", &["--broadcast", "a=none"], "cannot read `none`");
        refused("produce", "[]", &["--queue", "a:0"], "`0` is no number above zero");
        refused("produce", "[]", &["--queue", "a", "--resume", "journal"], "cannot be used with");
        // From a pipe it is that item's error.
        let run = ["run", wpool_tests::OK_OBJECTS, "--task", "produce", "--map", "-", "--queue", "numbers"];
        let said = desk.run_with_input(&run, br#"[[1, "numbers"], [1, "other"], [1, "numbers"]]"#);
        assert_eq!(said.code, Some(1), "{}", said.err);
        assert!(
            said.out.contains("no sender<u32> is named `other`") && said.err.contains("2 ok, 1 failed"),
            "{}",
            said.out
        );
    });
}

#[test]
fn a_name_stands_for_one_type() {
    bounded(|| {
        let desk = Desk::new();
        let flags = ["--queue", "q", "--queue", "r", "--shared-array", "s:3", "--shared-array", "p:2"];
        let call = |arguments: &[&str], more: &[&str]| {
            let run = ["run", wpool_tests::OK_SHARED, "--call", "two_types"];
            desk.run(&[&run[..], arguments, &flags, more].concat())
        };
        let said = call(&["q", "q", "s", "p"], &[]);
        assert!(said.err.contains("expected queue<string>, but `q` holds other values"), "{}", said.err);
        let said = call(&["q", "r", "s", "s"], &[]);
        assert!(said.err.contains("expected shared_array<f32>, but `s` holds other values"), "{}", said.err);
        let said =
            call(&["q", "r", "s", "p"], &["--dump", "s=s.json", "--dump", "p=p.json", "--dump", "q=q.json"]);
        assert_eq!(said.code, Some(0), "{}", said.err);
        assert_eq!(
            [desk.read("s.json"), desk.read("p.json"), desk.read("q.json")],
            ["[0,0,0]\n", "[0.0,0.0]\n", "[]\n"]
        );
        desk.write("in.json", r#"[["numbers", "texts"], ["numbers", "numbers"]]"#);
        let run = ["run", wpool_tests::OK_SHARED, "--task", "stray", "--map", "in.json"];
        let said =
            desk.run(&[&run[..], &["--shared-array", "numbers:3", "--shared-array", "texts:3"]].concat());
        assert_eq!(said.code, Some(0), "{}", said.err);
        let said =
            desk.run(&[&run[..], &["--shared-array", "numbers:3", "--broadcast", "texts=in.json"]].concat());
        let expected = "inputs[0].part: expected shared_slice<u64>, got `texts`, bytes to be read only";
        assert!(said.code == Some(2) && said.err.contains(expected), "{}", said.err);
    });
}

#[test]
fn a_device_is_written_and_not_replaced() {
    bounded(|| {
        let desk = Desk::new();
        desk.write("in.json", "[1]");
        let run = ["run", wpool_tests::OK_SQUARE, "--map", "in.json", "--output"];
        let said = desk.run(&[&run[..], &["/dev/stderr"]].concat());
        assert!(said.code == Some(0) && said.err.contains("[\n1\n]\n"), "{}", said.err);
        assert!(Path::new("/dev/stderr").is_symlink());
        // Also where it leads to a file, what is there stays.
        desk.write("log", "before\n");
        let log = std::fs::File::options().append(true).open(desk.path("log")).unwrap();
        let run = [&run[..], &["/dev/stdout"]].concat();
        assert!(desk.command(&run).stdout(log).stderr(Stdio::null()).status().unwrap().success());
        assert_eq!(desk.read("log"), "before\n[\n1\n]\n");
    });
}

#[test]
fn no_two_files_of_a_run_are_one() {
    bounded(|| {
        let desk = Desk::new();
        std::os::unix::fs::symlink("in.json", desk.path("link")).unwrap();
        let numbers = ["--queue", "numbers"];
        for (flags, message) in [
            (["--drain", "numbers=in.json"], "is the file of both --map and --drain"),
            (["--dump", "numbers=./in.json"], "is the file of both --map and --dump"),
            (["--report", "link"], "is the file of both --map and --report"),
            (["--logs", "in.json"], "is the file of both --map and --logs"),
        ] {
            let said =
                with_objects(&desk, "produce", r#"[[1, "numbers"]]"#, &[&numbers[..], &flags].concat());
            assert!(said.code == Some(2) && said.err.contains(message), "{}", said.err);
            assert_eq!(desk.read("in.json"), r#"[[1, "numbers"]]"#);
        }
        let twice = ["--drain", "numbers=a", "--drain", "numbers=b"];
        let said = with_objects(&desk, "produce", "[]", &[&numbers[..], &twice].concat());
        assert!(said.code == Some(2) && said.err.contains("`numbers` can be drained once"), "{}", said.err);
        let said = with_objects(&desk, "produce", "[]", &["--value", "v=oops"]);
        assert!(
            said.code == Some(2) && said.err.contains("the first value of `v` is no JSON"),
            "{}",
            said.err
        );
    });
}

#[test]
fn a_run_whose_tasks_wait_can_be_ended() {
    bounded(|| {
        let desk = Desk::new();
        desk.write("in.json", r#"[[2, "kept"], [3, "full"]]"#);
        let flags = ["--queue", "kept", "--queue", "full:1", "--drain", "kept=kept.jsonl"];
        let run =
            [&["run", wpool_tests::OK_OBJECTS, "--task", "produce", "--map", "in.json"][..], &flags].concat();
        let mut child = desk.command(&run).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Nobody takes anything out of the full one: its task waits for ever.
        let kept = || std::fs::read_to_string(desk.path("kept.jsonl")).unwrap_or_default();
        crate::until("the other has put its values", || kept() == "0\n1\n");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert_eq!(kept(), "0\n1\n");
    });
}
