use serde::{Deserialize, Serialize};
use wpool::{Limits, TaskError, TaskLookupError};
use wpool_tests::{bounded, pool};

use crate::WPOOL;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, wpool::Schema)]
struct Tree {
    name: String,
    children: Vec<Tree>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, wpool::Schema)]
#[serde(rename_all = "kebab-case")]
enum Shape {
    Nothing,
    FullCircle(f64),
    Line(i32, i32),
    Box { width: u32, height: u32 },
}

#[test]
fn typed_values_come_back_as_they_went() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_ECHO).build().unwrap();
        let leaf = |name: &str| Tree { name: name.into(), children: vec![] };
        let tree = Tree { name: "root".into(), children: vec![leaf("ä"), leaf("")] };
        let echo = pool.task::<Tree, Tree>("tree").unwrap();
        assert_eq!(echo.submit(&tree).unwrap().result(), Ok(tree));
        let shapes = [
            Shape::Nothing,
            Shape::FullCircle(f64::MIN),
            Shape::Line(-1, i32::MAX),
            Shape::Box { width: 1, height: 0 },
        ];
        let echo = pool.task::<Shape, Shape>("shape").unwrap();
        let back: Result<Vec<Shape>, TaskError> = echo.map(shapes.clone()).collect();
        assert_eq!(back.unwrap(), shapes);
        let repeat = pool.task::<(&str, u32, Option<char>), String>("repeat").unwrap();
        assert_eq!(repeat.submit(&("ab", 3, Some('!'))).unwrap().result().unwrap(), "ababab!");
        pool.task::<(), ()>("nothing").unwrap().submit(&()).unwrap().result().unwrap();
        let bytes = pool.task::<Vec<u8>, Vec<u8>>("bytes").unwrap();
        let large: Vec<u8> = (0..5_000_000u32).map(|n| n.to_le_bytes()[0]).collect();
        assert_eq!(bytes.submit(&large).unwrap().result().unwrap(), large);
    });
}

#[test]
fn json_comes_back_as_it_went() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_ECHO).build().unwrap();
        let call = |task: &str, json: &str| {
            let raw = pool.raw_task(task).unwrap();
            let arguments = raw.signature().arguments_from_json(json.as_bytes()).unwrap();
            let completed = raw.submit(arguments).unwrap().completed();
            let value = completed.result.as_deref().unwrap();
            let mut out = Vec::new();
            raw.signature().value_to_json(value, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let any = r#"{"a":[1,2.5,null,"ü"],"b":{"$error":true}}"#;
        assert_eq!(call("json", any), any);
        assert_eq!(call("shape", r#"{"full-circle":2.5}"#), r#"{"full-circle":2.5}"#);
        assert_eq!(call("shape", r#""nothing""#), r#""nothing""#);
        assert_eq!(call("counts", r#"["a","bb","cc"]"#), r#"{"1":1,"2":2}"#);
        assert_eq!(call("repeat", r#"{"times":2,"text":"x"}"#), r#""xx""#);
        assert_eq!(call("nothing", "null"), "null");
    });
}

#[test]
fn types_are_checked_before_anything_runs() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_ECHO).build().unwrap();
        let message = |error: TaskLookupError| error.to_string();
        assert_eq!(
            message(pool.task::<Tree, Shape>("tree").unwrap_err()),
            "task `tree` returns `Tree`, not `Shape`"
        );
        assert_eq!(
            message(pool.task::<(&str, u32), String>("repeat").unwrap_err()),
            "task `repeat` takes `(string, u32, option<char>)`, not `(string, u32)`"
        );
        assert_eq!(
            message(pool.task::<Tree, Tree>("tre").unwrap_err()),
            "the guest has no task `tre`; did you mean `tree`?"
        );
        assert_eq!(pool.stats().submitted, 0);
    });
}

#[test]
fn arguments_have_a_limit() {
    bounded(|| {
        let mut limits = Limits::default();
        limits.arguments = 10;
        let pool = pool(WPOOL, wpool_tests::OK_ECHO).limits(limits).build().unwrap();
        let bytes = pool.task::<Vec<u8>, Vec<u8>>("bytes").unwrap();
        assert_eq!(
            bytes.submit(&vec![0; 10]).unwrap_err().to_string(),
            "the arguments have 11 bytes, 10 are allowed"
        );
        let results: Vec<_> = bytes.map([vec![1; 9], vec![2; 10], vec![3; 9]]).collect();
        assert_eq!(results[0], Ok(vec![1; 9]));
        assert!(
            matches!(&results[1], Err(TaskError::BadArguments { message }) if message.contains("11 bytes"))
        );
        assert_eq!(results[2], Ok(vec![3; 9]));
    });
}

#[test]
fn a_wasi_guest_prints_into_its_log_and_finds_nothing() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::WASI_STD).build().unwrap();
        let print = pool.task::<&str, ()>("print").unwrap().submit(&"hello").unwrap();
        print.result().unwrap();
        assert_eq!(print.log().unwrap().text(), "out: hello\nerr: hello\n");
        let look = pool.task::<(), (u32, u32, u32, String)>("look_around").unwrap();
        assert_eq!(look.submit(&()).unwrap().result().unwrap(), (0, 0, 0, String::new()));
        let exit = pool.task::<i32, ()>("exit").unwrap().submit(&3).unwrap().result().unwrap_err();
        assert_eq!(
            (&exit, exit.to_string().as_str()),
            (&TaskError::Exited { code: 3 }, "exited with code 3")
        );
        let random = pool.task::<(), u64>("random").unwrap();
        assert_ne!(random.submit(&()).unwrap().result(), random.submit(&()).unwrap().result());
    });
}

#[test]
fn a_sleeping_task_leaves_its_worker_to_others() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::WASI_STD).workers(1).build().unwrap();
        let sleep = pool.task::<u64, u64>("sleep").unwrap();
        // The first says how long a task takes, so that the others are sent ahead.
        assert!(sleep.submit(&1).unwrap().result().unwrap() >= 1);
        let began = std::time::Instant::now();
        let futures: Vec<_> = (0..20).map(|_| sleep.submit(&300).unwrap()).collect();
        for future in futures {
            assert!(future.result().unwrap() >= 300);
            let run = future.figures().unwrap().run.as_millis();
            assert!((300..2000).contains(&run), "sleeping counts, waiting for the worker does not: {run} ms");
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(4), "twenty slept at the same time");
    });
}
