//! The example programs do what their first lines say.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a program with a home of its own, and returns what it printed.
fn run(program: &str, arguments: &[&str]) -> String {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("home");
    std::fs::create_dir_all(&home).expect("a folder for the cache");
    let output = Command::new(program)
        .args(arguments)
        .env("HOME", &home)
        .env("CARGO_HOME", home_of("CARGO_HOME", ".cargo"))
        .env("RUSTUP_HOME", home_of("RUSTUP_HOME", ".rustup"))
        .output()
        .expect("the example starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// Where cargo and rustup keep things, for a program whose HOME is another.
fn home_of(variable: &str, fallback: &str) -> PathBuf {
    let named = std::env::var_os(variable).map(PathBuf::from);
    named.or_else(|| Some(std::env::home_dir()?.join(fallback))).unwrap_or_default()
}

#[test]
fn callbacks_count_primes() {
    let counts = [(10, 4), (100, 25), (1000, 168), (10_000, 1229), (100_000, 9592), (1_000_000, 78498)];
    let expected: String =
        counts.iter().map(|(limit, count)| format!("{count} primes below {limit}\n")).collect();
    assert_eq!(run(env!("CARGO_BIN_EXE_callbacks"), &[]), expected);
}

#[test]
fn awaiting_counts_primes() {
    let expected = "168 primes below a thousand\n78498 primes below a million\n";
    assert_eq!(run(env!("CARGO_BIN_EXE_awaiting"), &[]), expected);
}

#[test]
fn mandelbrot_makes_a_picture() {
    let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mandelbrot.png");
    let said = run(env!("CARGO_BIN_EXE_mandelbrot"), &[picture.to_str().expect("a path in UTF-8")]);
    assert!(said.starts_with("24 tiles in "), "{said}");
    let bytes = std::fs::read(picture).expect("the picture is there");
    assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 10_000, "{} bytes", bytes.len());
}

#[test]
fn plugins_are_called_each_in_a_pool_of_its_own() {
    let said = run(env!("CARGO_BIN_EXE_plugins"), &[]);
    assert!(said.contains("primes: primes takes no text\n"), "{said}");
    assert!(said.contains("wordcount: wordcount says {\"lines\":1,\"words\":6,"), "{said}");
    assert!(said.contains("thumbnail: thumbnail failed: "), "{said}");
}

#[test]
fn a_crawler_of_many_hands_visits_each_page_once() {
    let expected = "1000 pages with 3000 links\neach visited once: true\n";
    assert_eq!(run(env!("CARGO_BIN_EXE_crawl"), &[]), expected);
}

#[test]
fn twenty_thousand_transactions_are_exact_under_a_lock() {
    let expected = "with a lock the balance is exact\nwithout a lock the balance is wrong\n";
    assert_eq!(run(env!("CARGO_BIN_EXE_bank"), &[]), expected);
}

#[test]
fn words_are_counted_into_one_dictionary() {
    let expected = "  6 the\n  4 a\n  4 and\n75 words, all of them counted: true\n";
    assert_eq!(run(env!("CARGO_BIN_EXE_tally"), &[]), expected);
}

#[test]
fn matrices_are_multiplied_in_shared_memory() {
    let said = run(env!("CARGO_BIN_EXE_matrix"), &[]);
    assert!(said.starts_with("256 x 256 in 16 tasks, "), "{said}");
    assert!(said.ends_with("right cells of 256 that were looked at: 256\n"), "{said}");
}

#[test]
fn the_tutorial_shows_what_its_programs_print() {
    for (chapter, name, program) in [
        ("first-pool", "first_pool", env!("CARGO_BIN_EXE_first_pool")),
        ("sharing", "tally", env!("CARGO_BIN_EXE_tally")),
        ("failures", "failures", env!("CARGO_BIN_EXE_failures")),
    ] {
        assert_eq!(run(program, &[]), shown(chapter, name), "{name}");
    }
}

/// The output that a chapter shows below the command that runs a program.
fn shown(chapter: &str, program: &str) -> String {
    let tutorial = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/tutorial");
    let text =
        std::fs::read_to_string(tutorial.join(chapter).with_extension("md")).expect("the chapter is there");
    let command = format!("$ cargo run -p wpool-examples --bin {program}\n");
    let (_, after) = text.split_once(&command).expect("the chapter has the command");
    let (output, _) = after.split_once("```").expect("the block has an end");
    output.to_owned()
}

#[test]
fn the_tour_says_what_it_is_to_say() {
    for (program, expected) in [
        (env!("CARGO_BIN_EXE_t01_map"), "1\n2\n3\n4\n"),
        (env!("CARGO_BIN_EXE_t02_submit"), "result: 1\n"),
        (env!("CARGO_BIN_EXE_t03_callback"), "result: 1\nthe scope has ended\n"),
        (env!("CARGO_BIN_EXE_t04_processes"), "Square: 100\nCube: 1000\nDone!\n"),
        (
            env!("CARGO_BIN_EXE_t05_no_shared_list"),
            "result (in the process): [1, 4, 9, 16]\nresult (in the main program): []\n",
        ),
        (
            env!("CARGO_BIN_EXE_t06_shared_array"),
            "the array (in the process): [1, 4, 9, 16]\n\
             the sum (in the process): 30\n\
             the array (in the main program): [1, 4, 9, 16]\n\
             the sum (in the main program): 30\n",
        ),
        (
            env!("CARGO_BIN_EXE_t07_records"),
            "New record added!\n\
             Name: Sam, score: 10\nName: Adam, score: 9\nName: Kevin, score: 9\nName: Jeff, score: 8\n",
        ),
        (env!("CARGO_BIN_EXE_t08_queue"), "1\n4\n9\n16\nthe queue is empty\n"),
        (
            env!("CARGO_BIN_EXE_t09_pipe"),
            "sent: hello\nsent: hey\nsent: hru?\nsent: ECHO\nsent: END\n\
             came back: ECHO from receiver!\n\
             received: hello\nreceived: hey\nreceived: hru?\nreceived: ECHO\nreceived: END\n",
        ),
        (
            env!("CARGO_BIN_EXE_t10_one_way_pipe"),
            "received: hello\n\
             the first end: the handle is not good for that\n\
             the second end: the handle is not good for that\n",
        ),
        (env!("CARGO_BIN_EXE_t11_deposits"), &"final balance: 100\n".repeat(10)),
        (env!("CARGO_BIN_EXE_t14_process_join"), "sub_progress success\nthe main program ends\n"),
        (env!("CARGO_BIN_EXE_t17_producer"), "receive data: a\n"),
        (env!("CARGO_BIN_EXE_t18_one_way"), "receive data: a\n"),
        (env!("CARGO_BIN_EXE_t15_apply_async"), "joined\nsub_progress success\nget: ok\n"),
        (
            env!("CARGO_BIN_EXE_t16_imap"),
            "imap: 1\nimap: 5\nimap: 3\nimap_unordered: 1\nimap_unordered: 3\nimap_unordered: 5\n",
        ),
        (
            env!("CARGO_BIN_EXE_t19_pool_queue"),
            "read: [1, 4, 9, 16, 25, 36, 49, 64, 81, 100, 121, 144, 169, 196, 225, 256, 289, 324, 361, 400]\n",
        ),
        (
            env!("CARGO_BIN_EXE_t20_every_object"),
            "locked: false and false\n\
             semaphore: 2\n\
             dict: [(\"answer\", 42)], list: [1, 2, 3]\n\
             namespace: wpool, value: 7\n\
             array: [7, 9], shared array: [5]\n\
             pipe: a pipe indeed\n\
             queue: all done\n\
             all have come to the barrier\n",
        ),
        (
            env!("CARGO_BIN_EXE_t22_terminate"),
            "----start----\nended within a second: true\nwithout a result: 10 of 10\n-----end-----\n",
        ),
        (
            env!("CARGO_BIN_EXE_t24_timeout"),
            "1: 1\n2: not within 1s\n3: not within 1s\n4: not within 1s\n\
             at the right moment: true\ncalls that succeeded: 2\n",
        ),
        (
            env!("CARGO_BIN_EXE_t25_not_serialisable"),
            "here it can be called: 2\n\
             the arguments cannot be encoded: Serde Serialization Error\n\
             the guest has no task `lambda`\n\
             the pool goes on: 25\n",
        ),
        (env!("CARGO_BIN_EXE_t27_two_callbacks"), "joined\n10 / 5 = 2\n10 / 0 failed: panic\n"),
        (
            env!("CARGO_BIN_EXE_t28_death"),
            "value: 4\npanic: attempt to divide by zero\nvalue: 2\nworkers lost: 0\n",
        ),
        (
            env!("CARGO_BIN_EXE_t29_progress"),
            "1 of 4\n2 of 4\n3 of 4\n4 of 4\nit has counted to 4\n999 were not looked at\nthe newest of all: [1000]\n",
        ),
        (
            env!("CARGO_BIN_EXE_t30_sub_tasks"),
            "the twelfth: 144\ntasks for that: 465\nthe fourteenth: sub-tasks may lie 12 deep\n",
        ),
        (
            env!("CARGO_BIN_EXE_t31_waiting"),
            "map_list: [1, 2]\nmap_async: [3, 4], and its callback got 2 values\n\
             wait: 5, and 1 is still running\nas_completed: 8\nas_completed: 7\n",
        ),
        (
            env!("CARGO_BIN_EXE_t32_ending"),
            "cancel the one that runs: false\ncancel the one that waits: true\n\
             killed\ncancelled\nthe pool goes on: 3\n",
        ),
        (
            env!("CARGO_BIN_EXE_t33_init"),
            "to bee or not to bee: [\"bee\"]\nto bee: [\"bee\"]\n\
             unloaded: the guest was unloaded\n",
        ),
        (
            env!("CARGO_BIN_EXE_t34_logs"),
            "of one task: 1 line\ntask 0: info: sub_progress success, 27 of 27 bytes came early\n\
             task 1: info: sub_progress success, 27 of 27 bytes came early\n",
        ),
    ] {
        assert_eq!(run(program, &[]), expected, "{program}");
    }
}

#[test]
fn without_a_lock_money_is_lost_or_made() {
    let said = run(env!("CARGO_BIN_EXE_t12_no_lock"), &[]);
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines.len() == 10 && lines[..9].iter().all(|line| line.starts_with("final balance: ")), "{said}");
    let met = lines[9].strip_prefix("one of each, met between reading and writing: ");
    assert!(matches!(met, Some("99" | "101")), "{said}");
}

#[test]
fn a_pool_says_which_processes_ran_its_map() {
    let said = run(env!("CARGO_BIN_EXE_t13_pool_map"), &[]);
    let lines: Vec<&str> = said.lines().collect();
    let living = lines[6].strip_prefix("living workers: ").expect("it says which live");
    for number in 1..=5 {
        let pid =
            lines[number - 1].strip_prefix(&format!("{number} in process ")).expect("each says its process");
        assert!(living.contains(pid), "{said}");
    }
    assert_eq!(lines[5], "[1, 4, 9, 16, 25]");
}

#[test]
fn ten_tasks_begin_and_end_in_a_pool_of_three() {
    let said = run(env!("CARGO_BIN_EXE_t21_pool_of_three"), &[]);
    let mut pids = std::collections::BTreeSet::new();
    for number in 0..10 {
        let begun = format!("Run task {number} in process ");
        let (_, after) = said.split_once(&begun).expect("each task begins");
        let (pid, after) = after.split_once('\n').expect("a line ends");
        assert!(after.starts_with(&format!("Task {number} runs 0.")), "{said}");
        pids.insert(pid);
    }
    assert_eq!((said.lines().count(), pids.len()), (22, 3), "{said}");
    assert!(said.starts_with("----start----\n") && said.ends_with("-----end-----\n"), "{said}");
}

#[test]
fn letters_go_from_a_writer_to_a_reader_of_one_parent() {
    let said = run(env!("CARGO_BIN_EXE_t23_letters"), &[]);
    let mut lines = said.lines();
    let program =
        lines.next().and_then(|line| line.strip_prefix("the program: process ")).expect("its own id");
    let writer = lines.next().expect("the writer's line");
    assert!(writer.starts_with("writer: process ") && writer.ends_with(&format!(" of {program}")), "{said}");
    for letter in "wpool".chars() {
        let line = lines.next().expect("a line for each letter");
        let expected = (format!("reader: {letter} in process "), format!(" of {program}"));
        assert!(line.starts_with(&expected.0) && line.ends_with(&expected.1), "{said}");
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn the_ten_steps_of_a_map_happen_in_their_order() {
    let said = run(env!("CARGO_BIN_EXE_t26_ten_steps"), &[]);
    for item in ["2: ", "3: "] {
        let steps: Vec<&str> =
            said.lines().filter_map(|line| line.strip_prefix(item)?.split('.').next()).collect();
        assert_eq!(steps, ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"], "{said}");
    }
    assert!(said.ends_with("3: 10. merged: [4, 9]\n"), "{said}");
}
