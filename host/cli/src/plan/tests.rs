//! One test per part of a plan: flags in, part out.

use std::time::Duration;

use clap::Parser as _;

use super::*;
use crate::args::{Args, Command};

fn typed(flags: &[&str]) -> RunArgs {
    let line = [&["wpool", "run", "guest.wasm"], flags].concat();
    match Args::try_parse_from(line).unwrap().command {
        Command::Run(args) => *args,
        other => panic!("{other:?}"),
    }
}

fn map_plan(flags: &[&str]) -> MapPlan {
    match Work::resolve(&typed(flags)).unwrap() {
        Work::Map(map) => map,
        Work::Call(call) => panic!("{call:?}"),
    }
}

fn refusal(flags: &[&str]) -> String {
    RunPlan::resolve(&typed(flags)).unwrap_err().to_string()
}

#[test]
fn the_guest_is_a_path_with_a_target_a_cache_and_an_argument() {
    let plan = RunPlan::resolve(&typed(&["--map", "-"])).unwrap();
    let expected = GuestSource {
        path: "guest.wasm".into(),
        builds: true,
        target: "wasm32-unknown-unknown".to_owned(),
        cached: true,
        init: None,
        quiet: false,
    };
    assert_eq!(plan.guest, expected);
    let flags = ["--map", "-", "--target", "wasm32-wasip1", "--no-cache", "--init", "[1]"];
    let plan = RunPlan::resolve(&typed(&flags)).unwrap();
    let expected = GuestSource {
        target: "wasm32-wasip1".to_owned(),
        cached: false,
        init: Some("[1]".to_owned()),
        ..expected
    };
    assert_eq!(plan.guest, expected);
}

#[test]
fn inputs_are_a_stream_a_file_or_the_contents_of_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (plain, array) = (file("plain", "1\n2"), file("in.json", "[1]"));
    assert_eq!(map_plan(&["--map", "-"]).inputs, Source::stdin(None));
    assert_eq!(
        map_plan(&["--map", "-", "--input-format", "json"]).inputs,
        Source::stdin(Some(Layout::Array))
    );
    let layout = |flags: &[&str]| match map_plan(flags).inputs {
        Source::File { layout, .. } => layout,
        other => panic!("{other:?}"),
    };
    assert_eq!(layout(&["--map", &plain]), Layout::Lines);
    assert_eq!(layout(&["--map", &array]), Layout::Array);
    assert_eq!(layout(&["--map", &array, "--input-format", "jsonl"]), Layout::Lines);
    let pattern = folder.path().join("*n").display().to_string();
    assert_eq!(
        map_plan(&["--map-files", &pattern]).inputs,
        Source::Contents { files: vec![array.into(), plain.into()], with_name: false }
    );
    assert_eq!(refusal(&["--map-files", "none*"]), "no file matches `none*`");
    assert_eq!(refusal(&["--map", "a", "--output", "a"]), "the output would replace the input");
    assert_eq!(
        refusal(&["--call", "t", "--drain", "q=a", "--dump", "d=a"]),
        "`a` is the file of both --drain and --dump"
    );
    assert!(refusal(&["--map", folder.path().to_str().unwrap()]).ends_with("is a folder"));
}

#[test]
fn a_call_is_a_task_and_its_arguments() {
    let work = Work::resolve(&typed(&["--call", "add", "1", "-2"])).unwrap();
    let arguments = vec!["1".to_owned(), "-2".to_owned()];
    let sinks = SinkPlan { output: None, format: Format::Json, results: None, report: None, quiet: false };
    assert_eq!(work, Work::Call(CallPlan { task: "add".to_owned(), arguments, sinks }));
}

#[test]
fn pool_settings_are_the_limits_and_the_workers() {
    let defaults = PoolSettings::from(&typed(&["--map", "-"]));
    let expected = PoolSettings {
        workers: None,
        timeout: Some(Duration::from_secs(60)),
        memory: Some(256 << 20),
        fuel: None,
        max_result: 64 << 20,
        max_log: 64 << 10,
        isolation: Isolation::Task,
        retries: 2,
        max_tasks_per_worker: None,
        sub_task_depth: 0,
        clock: ClockPolicy::Coarse,
        random: RandomPolicy::Os,
        worker_info: false,
    };
    assert_eq!(defaults, expected);
    let flags = "--map - --workers 3 --timeout none --memory 1.5MiB --fuel 9 --max-result 1kB --max-log 0 \
                 --isolation batch --retries 0 --max-tasks-per-worker 5 --sub-tasks 2 --seed 3 --deny clock --worker-info";
    let settings = PoolSettings::from(&typed(&flags.split_whitespace().collect::<Vec<_>>()));
    let expected = PoolSettings {
        workers: Some(3),
        timeout: None,
        memory: Some(3 << 19),
        fuel: Some(9),
        max_result: 1000,
        max_log: 0,
        isolation: Isolation::Batch,
        retries: 0,
        max_tasks_per_worker: Some(5),
        sub_task_depth: 2,
        clock: ClockPolicy::Denied,
        random: RandomPolicy::Seeded(3),
        worker_info: true,
    };
    assert_eq!(settings, expected);
    let denied = PoolSettings::from(&typed(&["--map", "-", "--deny", "random,clock", "--seed", "3"]));
    assert_eq!((denied.clock, denied.random), (ClockPolicy::Denied, RandomPolicy::Denied));
    let resumed = ["wpool", "run", "guest.wasm", "--map", "-", "--seed", "3", "--resume", "x"];
    assert!(Args::try_parse_from(resumed).is_err(), "the places of the inputs that are left are others");
}

#[test]
fn terms_are_the_clocks_and_the_priority() {
    let defaults = TaskTerms::from(&typed(&["--map", "-"]));
    assert_eq!(defaults, TaskTerms { queue_timeout: None, deadline: None, priority: 0 });
    let flags = ["--map", "-", "--queue-timeout", "1s", "--deadline", "2h", "--priority", "-3"];
    let expected = TaskTerms {
        queue_timeout: Some(Duration::from_secs(1)),
        deadline: Some(Duration::from_secs(7200)),
        priority: -3,
    };
    assert_eq!(TaskTerms::from(&typed(&flags)), expected);
}

#[test]
fn sinks_are_the_output_the_report_and_the_logs() {
    let map = map_plan(&["--map", "-"]);
    assert_eq!(
        map.sinks,
        SinkPlan { output: None, format: Format::Json, results: None, report: None, quiet: false }
    );
    let flags = "--map - --output o --format jsonl --report r --results d --quiet";
    let map = map_plan(&flags.split_whitespace().collect::<Vec<_>>());
    let expected = SinkPlan {
        output: Some("o".into()),
        format: Format::Jsonl,
        results: Some("d".into()),
        report: Some("r".into()),
        quiet: true,
    };
    assert_eq!(map.sinks, expected);
    let logs = |sink: &str| log_sink(&typed(&["--map", "-", "--logs", sink]).logs);
    assert_eq!(
        ["stderr", "off", "log.txt"].map(logs),
        [LogSink::Stderr, LogSink::Off, LogSink::File("log.txt".into())]
    );
}

#[test]
fn a_map_has_a_task_a_journal_and_an_order() {
    let map = map_plan(&["--map", "-"]);
    assert_eq!((map.task, map.journal, map.unordered, map.halt, map.retry), (None, None, false, None, 0));
    let map = map_plan(&["--map", "-", "--task", "t", "--resume", "j", "--unordered", "--on-error", "stop"]);
    assert_eq!((map.task.as_deref(), map.unordered, map.halt), (Some("t"), true, Some(Halt::FIRST)));
    assert_eq!(map.journal, Some("j".into()));
}

#[test]
fn tasks_that_may_wait_for_each_other_are_killed_at_an_early_end() {
    let early_end = |flags: &[&str]| map_plan(&[&["--map", "-"], flags].concat()).early_end;
    assert_eq!(early_end(&[]), EarlyEnd::Finish);
    assert_eq!(early_end(&["--shared-array", "a:1"]), EarlyEnd::Finish);
    for flags in
        [["--queue", "a"], ["--lock", "a"], ["--value", "a=1"], ["--barrier", "a:2"], ["--dict", "a"]]
    {
        assert_eq!(early_end(&flags), EarlyEnd::Kill, "{flags:?}");
    }
}

#[test]
fn objects_are_declared_with_what_they_hold() {
    let flags = "--queue q:3 --dict d --list l --event e --lock k --value v=[1] --semaphore s:0 --barrier b:2 \
                 --shared-array a:5 --rlock rl --condition c --namespace n --pipe p --array ar=[1,2] \
                 --bounded-semaphore bs:2 --map -";
    let args = typed(&flags.split_whitespace().collect::<Vec<_>>());
    let specs: Result<Vec<(String, ObjectSpec)>, Failure> = object_specs(&args.objects).collect();
    let expected = [
        ("q", ObjectSpec::Queue(Some(3))),
        ("d", ObjectSpec::Dict),
        ("l", ObjectSpec::List),
        ("e", ObjectSpec::Event),
        ("k", ObjectSpec::Lock),
        ("rl", ObjectSpec::RLock),
        ("c", ObjectSpec::Condition),
        ("n", ObjectSpec::Namespace),
        ("p", ObjectSpec::Pipe(wpool::PipeMode::Duplex)),
        ("v", ObjectSpec::Value("[1]".to_owned())),
        ("ar", ObjectSpec::Array("[1,2]".to_owned())),
        ("s", ObjectSpec::Semaphore(0)),
        ("bs", ObjectSpec::BoundedSemaphore(2)),
        ("b", ObjectSpec::Barrier(2)),
        ("a", ObjectSpec::SharedArray(5)),
    ];
    assert_eq!(specs.unwrap(), expected.map(|(name, spec)| (name.to_owned(), spec)));
    let refused = |flags: &[&str]| refusal(&[&["--map", "-"], flags].concat());
    assert!(refused(&["--value", "v=oops"]).starts_with("the first value of `v` is no JSON: "));
    assert!(refused(&["--array", "v=1"]).starts_with("the first values of `v` are no JSON array: "));
    assert!(refused(&["--broadcast", "b=none"]).starts_with("cannot read `none`: "));
    assert_eq!(refused(&["--queue", "a", "--dict", "a"]), "`a` is declared twice");
    let twice = ["--queue", "a", "--drain", "a=f", "--dump", "a=g"];
    assert_eq!(refused(&twice), "`a` can be drained once, and then holds nothing to dump");
}

#[test]
fn a_file_is_written_for_one_flag_and_read_for_any() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.json");
    std::fs::write(&path, "[]").unwrap();
    let path = path.to_str().unwrap();
    let message = refusal(&["--map", path, "--report", path]);
    assert_eq!(message, format!("`{path}` is the file of both --map and --report"));
    RunPlan::resolve(&typed(&["--map", path, "--broadcast", &format!("b={path}")])).unwrap();
    RunPlan::resolve(&typed(&["--map", path, "--output", "/dev/null", "--report", "/dev/null"])).unwrap();
}

#[test]
fn a_run_halts_and_retries_as_it_is_told() {
    let map = map_plan(&["--map", "-", "--halt", "now,fail=3", "--retry", "2"]);
    assert_eq!((map.halt.map(|halt| halt.now), map.halts_now, map.retry), (Some(true), true, 2));
    assert_eq!(map.early_end, EarlyEnd::Finish, "an interrupt lets tasks finish all the same");
    let map = map_plan(&["--map", "-", "--halt", "fail=3"]);
    assert!(map.halt.is_some() && !map.halts_now);
}

#[test]
fn words_and_names_of_files_are_inputs() {
    let inputs = |flags: &[&str]| map_plan(flags).inputs;
    assert!(matches!(inputs(&[":::", "1", "-2", ":::", "--x"]), Source::Words(words) if words.count() == 2));
    assert_eq!(refusal(&["1", "2"]), "unexpected argument `1`");
    let layout = |format: &str| inputs(&["--map", "-", "--input-format", format]);
    assert_eq!(layout("text"), Source::stdin(Some(Layout::Text)));
    assert_eq!(layout("csv"), Source::stdin(Some(Layout::Csv)));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.csv");
    std::fs::write(&path, "name\n").unwrap();
    let csv = inputs(&["--map", path.to_str().unwrap()]);
    assert!(matches!(csv, Source::File { layout: Layout::Csv, .. }), "by its name");
    let named = inputs(&["--map-files", path.to_str().unwrap(), "--with-name"]);
    assert_eq!(named, Source::Contents { files: vec![path], with_name: true });
}
