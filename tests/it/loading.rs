use std::path::Path;
use std::time::Duration;

use wpool::{Cache, CompileLimits, Executable, LoadError, Loader};
use wpool_tests::{bounded, loader};

use crate::WPOOL;

fn uncached() -> Loader {
    Loader::new().executable(Executable::at(WPOOL)).cache(Cache::none())
}

#[track_caller]
fn refused(bytes: impl AsRef<[u8]>) -> LoadError {
    uncached().bytes(bytes.as_ref()).unwrap_err()
}

#[test]
fn what_is_no_guest_is_refused_with_its_reason() {
    bounded(|| {
        let message = |bytes: &[u8]| refused(bytes).to_string();
        assert_eq!(message(b""), "not a WebAssembly module: this is an empty file");
        assert_eq!(
            message(b"\x7fELF\x02\x01\x01\0"),
            "not a WebAssembly module: this is an ELF program or library"
        );
        assert!(message(b"\0asm\x0d\0\x01\0").contains("a component"));
        assert_eq!(message(b"(module)"), "missing export `wpool_abi_v1`");
        assert_eq!(message(b"(module (import \"env\" \"system\" (func)))"), "unknown import `env` `system`");
        assert_eq!(
            message(b"(module (import \"wpool\" \"format_disk\" (func)))"),
            "unknown import `wpool` `format_disk`"
        );
        assert_eq!(
            message(b"(module (func (export \"wpool_abi_v7\")))"),
            "the guest speaks version 7 of the ABI, this wpool speaks version 1"
        );
        assert_eq!(
            message(b"(module (func (export \"wpool_abi_v1\")) (func (export \"memory\")))"),
            "the export `memory` has the type (func), not memory"
        );
        assert_eq!(
            message(b"(module (memory (export \"memory\") 1) (func (export \"wpool_abi_v1\")))"),
            "missing export `wpool_alloc`"
        );
        assert!(message(b"(module (oops))").starts_with("invalid module: "));
        let whole = std::fs::read(wpool_tests::OK_SQUARE).unwrap();
        for len in [9, 100, whole.len() / 2, whole.len() - 1] {
            assert!(matches!(refused(&whole[..len]), LoadError::Invalid { .. }), "cut at {len}");
        }
        assert!(matches!(
            uncached().file(Path::new(wpool_tests::OK_SQUARE).parent().unwrap()),
            Err(LoadError::NotAFile { what: "a directory", .. })
        ));
    });
}

#[test]
fn names_of_tasks_that_a_hello_could_not_hold_are_refused() {
    bounded(|| {
        let exports: String = (0..70)
            .map(|n| {
                format!(
                    r#"(func (export "wpool_task:{n:01000}") (param i32 i32 i32) (result i32) i32.const 0)
                       (func (export "wpool_describe:{n:01000}") (result i32) i32.const 0)"#
                )
            })
            .collect();
        let module = format!(
            r#"(module (memory (export "memory") 1) (func (export "wpool_abi_v1"))
               (func (export "wpool_alloc") (param i32) (result i32) i32.const 0) {exports})"#
        );
        let refused = uncached().bytes(module.as_bytes()).unwrap_err().to_string();
        assert!(refused.contains("70000 bytes, 65536 are allowed"), "{refused}");
    });
}

/// A guest in text form, with one task that answers what it is told to.
fn text_guest(alloc: &str, task: &str) -> String {
    // A description of a task `t` that takes a u8 and returns one: name, docs, params, returns, error, types.
    let description = "\\01t\\00\\01\\01x\\00\\00\\00\\00\\01\\02";
    format!(
        r#"(module
            (memory (export "memory") 1)
            (data (i32.const 0) "\00\00\00\00\40\00\00\00\0c\00\00\00\00\00\00\00\00\00\00\00")
            (data (i32.const 64) "{description}")
            (func (export "wpool_abi_v1"))
            (func (export "wpool_alloc") (param i32) (result i32) {alloc})
            (func (export "wpool_describe:t") (result i32) (i32.const 0))
            (func (export "wpool_task:t") (param i32 i32 i32) (result i32) {task}))"#
    )
}

#[test]
fn a_guest_that_breaks_its_interface_fails_alone() {
    bounded(|| {
        let call = |alloc: &str, task: &str| {
            let guest = uncached().bytes(text_guest(alloc, task).into_bytes()).unwrap();
            let pool =
                wpool::Pool::builder(guest).workers(1).timeout(Duration::from_millis(300)).build().unwrap();
            let task = pool.task::<u8, u8>("t").unwrap();
            let error = task.submit(&5).unwrap().result().unwrap_err();
            assert_eq!(pool.stats().workers_lost, 0);
            error.to_string()
        };
        let fine = "(i32.const 256)";
        // The outcome at 512: status, address, length, handles.
        let outcome = |fields: [i64; 5]| {
            let stores: Vec<String> = (0..)
                .step_by(4)
                .zip(fields)
                .map(|(at, value)| format!("(i32.store (i32.const {}) (i32.const {value}))", 512 + at))
                .collect();
            format!("{} (i32.const 512)", stores.join(" "))
        };
        assert!(call("(i32.const 0)", "(i32.const 0)").contains("its allocator has no room for 1 bytes"));
        assert!(call("(i32.const 65536)", "(i32.const 0)").contains("do not lie in its memory"));
        assert!(call("(i32.const -1)", "(i32.const 0)").contains("do not lie in its memory"));
        assert!(call("(loop (br 0)) (unreachable)", "(i32.const 0)").contains("timed out"));
        assert!(call("(unreachable)", "(i32.const 0)").contains("unreachable code"));
        assert!(call(fine, "(i32.const 65530)").contains("do not lie in its memory"));
        assert!(call(fine, "(i32.const -4)").contains("do not lie in its memory"));
        assert!(call(fine, &outcome([0, 65535, 2, 0, 0])).contains("do not lie in its memory"));
        assert!(call(fine, &outcome([0, -1, -1, 0, 0])).contains("output limit"));
        assert!(call(fine, &outcome([9, 0, 1, 0, 0])).contains("unknown status 9"));
        assert!(call(fine, &outcome([0, 0, 1, 0, 7])).contains("a handle that it does not have"));
        assert!(call(fine, &outcome([0, 0, 1, 65535, 1])).contains("do not lie in its memory"));
        assert!(call(fine, &outcome([0, 0, 1, 0, 10_001])).contains("10001 handles, 10000 are allowed"));
        assert!(call(fine, &outcome([0, 0, 1, 0, -1])).contains("4294967295 handles"));
        assert!(call(fine, &outcome([0, 0, 5, 0, 0])).contains("bytes are left over"));
        assert!(call(fine, &outcome([1, 0, 5, 0, 0])).contains("bad result"));
        assert!(call(fine, &outcome([2, 512, 4, 0, 0])).contains("bad arguments"));
    });
}

#[test]
fn a_damaged_description_is_refused() {
    bounded(|| {
        let good = text_guest("(i32.const 256)", "(i32.const 0)");
        assert!(uncached().bytes(good.clone().into_bytes()).is_ok());
        // The type of the parameter is one that does not exist.
        let bad = good.replace("\\01x\\00\\00", "\\01x\\00\\09");
        let error = uncached().bytes(bad.into_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "the guest's description is invalid: task `t` refers to type 9 of 1");
        let endless = good.replace(
            "(result i32) (i32.const 0))\n            (func (export \"wpool_task",
            "(result i32) (loop (br 0)) (unreachable))\n            (func (export \"wpool_task",
        );
        assert_ne!(endless, good);
        let error = uncached().bytes(endless.into_bytes()).unwrap_err();
        assert!(matches!(error, LoadError::Describe(wpool::TaskError::Timeout { .. })), "{error:?}");
    });
}

#[test]
fn compiling_has_limits() {
    bounded(|| {
        let body = "(drop (i32.mul (i32.const 3) (i32.const 4)))".repeat(300_000);
        let large = format!("(module (func (export \"wpool_abi_v1\")) (func {body}))");
        let limits = |change: fn(&mut CompileLimits)| {
            let mut limits = CompileLimits::default();
            change(&mut limits);
            limits
        };
        let load = |limits| uncached().compile_limits(limits).bytes(large.clone().into_bytes()).unwrap_err();
        let error = load(limits(|limits| limits.time = Duration::from_millis(50)));
        assert!(matches!(error, LoadError::CompileTimeout { .. }), "{error:?}");
        let error = load(limits(|limits| limits.memory = 64 << 20));
        assert!(matches!(error, LoadError::CompileMemory { limit } if limit == 64 << 20), "{error:?}");
        let error = load(limits(|limits| limits.module = 1000));
        assert!(matches!(error, LoadError::TooLarge { limit: 1000, .. }), "{error:?}");
    });
}

#[test]
fn many_threads_load_one_guest_once() {
    bounded(|| {
        use std::os::unix::fs::PermissionsExt as _;
        // The same program, which also writes down what it was started for.
        let folder = tempfile::tempdir().unwrap();
        let (program, notes) = (folder.path().join("noting"), folder.path().join("notes"));
        let script = format!("#!/bin/sh\necho \"$1\" >> '{}'\nexec '{WPOOL}' \"$@\"\n", notes.display());
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let loader = loader(WPOOL).executable(Executable::at(program));
        // Another name for the same guest, so that no other test has loaded it.
        let mut bytes = std::fs::read(wpool_tests::OK_SQUARE).unwrap();
        bytes.extend_from_slice(&[0, 3, 2, b'h', b'i']);
        let bytes: std::sync::Arc<[u8]> = bytes.into();
        std::thread::scope(|scope| {
            let guests: Vec<_> =
                (0..16).map(|_| scope.spawn(|| loader.bytes(bytes.clone()).unwrap())).collect();
            let identities: std::collections::HashSet<_> =
                guests.into_iter().map(|guest| guest.join().unwrap().identity()).collect();
            assert_eq!(identities.len(), 1);
        });
        let notes = std::fs::read_to_string(notes).unwrap();
        assert_eq!(notes.lines().collect::<Vec<_>>(), ["__compile", "__worker"]);
    });
}

#[test]
fn a_guest_comes_from_the_cache_the_second_time_and_damage_costs_only_time() {
    bounded(|| {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("entries"), folder.path().join("key"));
        let loader = Loader::new().executable(Executable::at(WPOOL)).cache(cache.clone());
        let mut bytes = std::fs::read(wpool_tests::OK_SQUARE).unwrap();
        bytes.extend_from_slice(&[0, 3, 2, b'm', b'e']);
        assert_eq!(loader.bytes(bytes.clone()).unwrap().tasks().len(), 1);
        let entry = folder.path().join("entries").join(&cache.entries().unwrap()[0].name);
        let written = std::fs::metadata(&entry).unwrap();
        assert_eq!(loader.bytes(bytes.clone()).unwrap().tasks()[0].name(), "square");
        use std::os::unix::fs::MetadataExt as _;
        assert_eq!(std::fs::metadata(&entry).unwrap().ino(), written.ino(), "it was read, not written anew");
        std::fs::write(&entry, b"rubbish").unwrap();
        let guest = loader.bytes(bytes).unwrap();
        let pool = wpool::Pool::builder(guest).workers(1).build().unwrap();
        assert_eq!(pool.task::<i64, i64>("square").unwrap().submit(&4).unwrap().result(), Ok(16));
        assert!(std::fs::metadata(&entry).unwrap().len() > 1000, "and it is cached again");
    });
}
