use serde_json::Value;
use wpool_tests::bounded;

use crate::cli::Desk;

const SQUARE: &str = wpool_tests::OK_SQUARE;
const ECHO: &str = wpool_tests::OK_ECHO;

#[test]
fn words_of_the_command_line_are_inputs() {
    bounded(|| {
        let desk = Desk::new();
        let said = desk.run(&["run", SQUARE, "--quiet", ":::", "1", "-2", "3"]);
        assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (Some(0), "[\n1,\n4,\n9\n]\n", ""));
        let repeat = ["run", ECHO, "--task", "repeat", ":::", "a", "7", ":::", "1", "2", ":::", "null"];
        assert_eq!(desk.run(&repeat).out, "[\n\"a\",\n\"aa\",\n\"7\",\n\"77\"\n]\n");
        for (words, message) in [
            (&["1", "x"][..], "`x` does not fit: expected i64, got string \"x\""),
            (&["1", ":::", "2"], "takes 1 arguments, got 2 groups of inputs"),
        ] {
            let said = desk.run(&[&["run", SQUARE, ":::"], words].concat());
            assert!(said.code == Some(2) && said.err.contains(message), "{}", said.err);
        }
        let said = desk.run(&["run", SQUARE, "7"]);
        assert!(
            said.code == Some(2) && said.err.contains("hint: inputs on the command line"),
            "{}",
            said.err
        );
    });
}

#[test]
fn lines_of_text_and_records_are_inputs() {
    bounded(|| {
        let desk = Desk::new();
        let text = ["run", wpool_tests::WORDCOUNT, "--map", "-", "--input-format", "text"];
        let said = desk.run_with_input(&text, b"one \"two\"\n\n7\n");
        let counts: Vec<Value> = serde_json::from_str(&said.out).unwrap();
        let words: Vec<u64> = counts.iter().map(|count| count["words"].as_u64().unwrap()).collect();
        assert_eq!(words, [2, 0, 1], "{}", said.err);
        // What the task takes decides: 7 is a text in one column, and a number in the other.
        desk.write("in.csv", "times,text,end\n2,ab,!\n1,7,\n3,\"x,\n y\",7\n");
        let csv = ["run", ECHO, "--task", "repeat", "--map", "in.csv"];
        let said = desk.run(&csv);
        assert_eq!(said.out, "[\n\"abab!\",\n\"7\",\n\"x,\\n yx,\\n yx,\\n y7\"\n]\n", "{}", said.err);
        desk.write("in.csv", "text,times,end\nab,2,!\nab,many,!\n");
        let said = desk.run(&csv);
        assert!(
            said.code == Some(2) && said.err.contains("in.csv:3:1: inputs[1].times: expected u32"),
            "{}",
            said.err
        );
        desk.write("in.csv", "text,times,end\nab,2\n");
        let said = desk.run(&csv);
        assert!(said.err.contains("in.csv:2:1: expected 3 cells as in the first row, got 2"), "{}", said.err);
        // A column that is named as the one parameter is that argument.
        let said =
            desk.run_with_input(&["run", SQUARE, "--map", "-", "--input-format", "csv"], b"x\n3\n-4\n");
        assert_eq!(said.out, "[\n9,\n16\n]\n", "{}", said.err);
    });
}

#[test]
fn each_result_can_have_a_file_of_its_own() {
    bounded(|| {
        let desk = Desk::new();
        for folder in ["a", "b"] {
            std::fs::create_dir(desk.path(folder)).unwrap();
        }
        desk.write("a/x.txt", "one two").write("a/y z.txt", "three").write("b/x.txt", "");
        let run = |patterns: &[&str], flags: &[&str]| {
            desk.run(
                &[&["run", wpool_tests::WORDCOUNT, "--results", "out", "--map-files"], patterns, flags]
                    .concat(),
            )
        };
        let said = run(&["a/*"], &[]);
        assert_eq!((said.code, said.out.as_str()), (Some(0), ""), "{}", said.err);
        let words = |name: &str| serde_json::from_str::<Value>(&desk.read(name)).unwrap()["words"].clone();
        assert_eq!((words("out/x.txt.json"), words("out/y_z.txt.json")), (2.into(), 1.into()));
        std::fs::remove_dir_all(desk.path("out")).unwrap();
        let said = run(&["a/x*", "b/x*"], &[]);
        assert!(said.code == Some(2) && said.err.contains("would both be in `x.txt.json`"), "{}", said.err);
        assert!(!desk.path("out").exists(), "nothing has run");
        // Inputs without a name are numbered, and a failure is in its file, too.
        desk.write("in.json", "[2, 3]");
        let half =
            ["run", wpool_tests::FAIL_ERROR, "--task", "half", "--map", "in.json", "--results", "halves"];
        let said = desk.run(&[&half[..], &["--output", "all.json"]].concat());
        assert_eq!((said.code, desk.read("halves/0.json").as_str()), (Some(1), "1\n"), "{}", said.err);
        assert!(desk.read("halves/1.json").starts_with("{\"$error\":{\"kind\":\"guest\""));
        assert!(desk.read("all.json").starts_with("[\n1,\n{\"$error\""));
    });
}

#[test]
fn a_file_can_come_with_its_name() {
    bounded(|| {
        let desk = Desk::new();
        desk.write("a.txt", "content");
        // It takes a string, and one more.
        let said = desk.run(&["run", SQUARE, "--map-files", "a.txt", "--with-name"]);
        assert!(said.code == Some(2) && said.err.contains("does not take a string, and"), "{}", said.err);
        let said = desk.run(&["run", wpool_tests::OK_NAMED, "--map-files", "./a.txt", "--with-name"]);
        assert_eq!(said.out, "[\n[\"a.txt\",7]\n]\n", "{}", said.err);
        assert_eq!(desk.run(&["run", SQUARE, "--with-name", ":::", "1"]).code, Some(2));
    });
}

#[test]
fn a_failed_task_runs_again_and_a_run_halts() {
    bounded(|| {
        let desk = Desk::new();
        let half = ["run", wpool_tests::FAIL_ERROR, "--task", "half"];
        let began = std::time::Instant::now();
        let said = desk.run(&[&half[..], &["--retry", "2", ":::", "2", "3", "4"]].concat());
        assert!(began.elapsed().as_millis() >= 300, "after 100 ms, and after 200 more");
        let results: Vec<Value> = serde_json::from_str(&said.out).unwrap();
        assert_eq!((said.code, &results[0], &results[2]), (Some(1), &1.into(), &2.into()), "{}", said.err);
        assert_eq!(results[1]["$error"]["kind"], "guest");
        assert!(said.err.contains("3 tasks") && said.err.contains("2 ok, 1 failed"), "{}", said.err);
        // Without an order the others do not wait.
        let flags = ["--retry", "1", "--unordered", "--format", "jsonl", ":::", "3", "4"];
        let said = desk.run(&[&half[..], &flags].concat());
        let indices: Vec<&str> = said.out.lines().map(|line| &line[..10]).collect();
        assert_eq!(indices, ["{\"index\":1", "{\"index\":0"]);
        let odd: Vec<String> = (0..2000).map(|n| (2 * n + 1).to_string()).collect();
        desk.write("in.json", format!("[{}]", odd.join(",")));
        for (halt, most) in [("fail=3", 1999), ("now,fail=50%", 1999)] {
            let said =
                desk.run(&[&half[..], &["--map", "in.json", "--workers", "1", "--halt", halt]].concat());
            assert_eq!(said.code, Some(1), "{}", said.err);
            let results: Vec<Value> = serde_json::from_str(&said.out).unwrap();
            assert!((3..=most).contains(&results.len()), "{halt}: {}", results.len());
        }
        let said = desk.run(&[&half[..], &["--map", "in.json", "--halt", "fail=2001", "--quiet"]].concat());
        assert_eq!(serde_json::from_str::<Vec<Value>>(&said.out).unwrap().len(), 2000);
        assert_eq!(said.err, "");
    });
}

#[test]
fn a_call_obeys_the_flags_of_results() {
    bounded(|| {
        let desk = Desk::new();
        let call =
            |guest: &str, arguments: &[&str]| desk.run(&[&["run", guest, "--call"], arguments].concat());
        let said = call(SQUARE, &["square", "7", "--output", "out", "--report", "report"]);
        assert_eq!(
            (said.code, said.out.as_str(), desk.read("out").as_str()),
            (Some(0), "", "49\n"),
            "{}",
            said.err
        );
        let report: Value = serde_json::from_str(&desk.read("report")).unwrap();
        assert_eq!(
            (&report["tasks"][0]["outcome"], &report["totals"]["succeeded"]),
            (&"ok".into(), &1.into())
        );
        assert_eq!(call(SQUARE, &["square", "7", "--format", "jsonl"]).out, "{\"index\":0,\"ok\":49}\n");
        let said = call(wpool_tests::FAIL_ERROR, &["half", "7", "--format", "jsonl"]);
        assert!(said.code == Some(1) && said.out.starts_with("{\"index\":0,\"error\""), "{}", said.out);
        // A failure has no value, so the file stays as it was.
        let said = call(wpool_tests::FAIL_ERROR, &["half", "7", "--output", "out"]);
        assert_eq!((said.code, desk.read("out").as_str()), (Some(1), "49\n"), "{}", said.err);
    });
}

#[test]
fn a_dry_run_checks_everything_and_runs_nothing() {
    bounded(|| {
        let desk = Desk::new();
        let dry = ["run", wpool_tests::OK_LOG, "--dry-run", "--output", "out.json", "--report", "report"];
        let said = desk.run(&[&dry[..], &[":::", "1", "2"]].concat());
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "no log, and no summary");
        assert!(said.out.contains("task     log(lines: u32) -> u32\n"), "{}", said.out);
        assert!(said.out.contains("inputs   2 on the command line, all checked\n"), "{}", said.out);
        assert!(!desk.path("out.json").exists() && !desk.path("report").exists());
        assert_eq!(desk.run(&[&dry[..], &[":::", "x"]].concat()).code, Some(2));
        let said = desk.run(&["run", wpool_tests::OK_LOG, "--dry-run", "--call", "log", "1"]);
        assert!(said.code == Some(0) && said.out.contains("one call, with 1"), "{}", said.out);
    });
}

#[test]
fn all_kinds_of_objects_can_be_named() {
    bounded(|| {
        let desk = Desk::new();
        let inputs = ["queue", "dict", "list", "array", "namespace", "rlock", "semaphore"];
        let flags = "--queue queue --dict dict --list list --array array=[1,2,3] --namespace namespace --rlock rlock \
                     --bounded-semaphore semaphore:2 --condition c --dump array=array.json";
        let flags: Vec<&str> = flags.split_whitespace().collect();
        let call =
            [&["run", wpool_tests::OK_OBJECTS], &flags[..], &["--call", "everything"], &inputs].concat();
        let said = desk.run(&call);
        assert_eq!(said.code, Some(0), "{}", said.err);
        let array: Vec<u32> = serde_json::from_str(&desk.read("array.json")).unwrap();
        assert_eq!(array.len(), 3);
    });
}

#[test]
fn each_end_of_a_pipe_has_a_name() {
    bounded(|| {
        let desk = Desk::new();
        let run = ["run", wpool_tests::OK_OBJECTS, "--pipe", "line", "--workers", "2"];
        desk.write("in.json", r#"[["line.a", "from a"], ["line.b", "from b"]]"#);
        let said = desk.run(&[&run[..], &["--task", "swap", "--map", "in.json"]].concat());
        assert_eq!(
            (said.code, said.out.as_str()),
            (Some(0), "[\n\"from b\",\n\"from a\"\n]\n"),
            "{}",
            said.err
        );
        for (wrong, why) in
            [("line", "name one of its ends, `line.a` or `line.b`"), ("line.c", "is named `line.c`")]
        {
            let said = desk.run(&[&run[..], &["--call", "swap", wrong, "x"]].concat());
            assert!(said.code == Some(2) && said.err.contains(why), "{wrong}: {}", said.err);
        }
        for clash in [["--queue", "line.b"], ["--pipe", "line"]] {
            let said = desk.run(&[&run[..], &clash, &["--task", "swap", "--map", "in.json"]].concat());
            assert!(said.code == Some(2) && said.err.contains("is declared twice"), "{}", said.err);
        }
    });
}

#[test]
fn the_manual_and_the_completions_know_the_flags() {
    bounded(|| {
        let desk = Desk::new();
        for shell in ["bash", "zsh", "fish"] {
            let said = desk.run(&["completions", shell]);
            assert!(said.code == Some(0) && said.out.contains("map-files"), "{shell}");
        }
        let manual = desk.run(&["man"]).out;
        assert!(
            manual.starts_with(".ie") && manual.contains("map\\-files") && manual.contains("wpool\\-run")
        );
        let help = desk.run(&["run", "--help"]).out;
        for part in [
            "Inputs:",
            "Results:",
            "Failures:",
            "Limits and clocks:",
            "Workers:",
            "Shared objects:",
            "Examples:",
        ] {
            assert!(help.contains(part), "{part}: {help}");
        }
    });
}
