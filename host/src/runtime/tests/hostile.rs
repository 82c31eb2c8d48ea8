//! A worker that lies: frames out of turn, too long, too many, or about tasks that it does not run.

use wpool_wire::control::CLAIMS;
use wpool_wire::message::Frame as Function;

use super::*;

#[test]
fn a_worker_gives_up_once_and_its_words_are_cut() {
    let mut bench = Bench::ready();
    let message = format!("\u{1b}[31mred\n{}", "x".repeat(1 << 20));
    bench.says(from_worker::FATAL, &Fatal { message: message.clone() }).unwrap();
    bench.runtime.with(|state| {
        let reason = state.links.get_mut(WORKER).unwrap().exit_reason().unwrap().to_owned();
        assert!(reason.starts_with("\\u{1b}[31mred\\n") && reason.len() < 10_000, "{} bytes", reason.len());
        assert!(state.links.next_overdue().is_some(), "it is to exit");
    });
    assert!(bench.says(from_worker::FATAL, &Fatal { message }).is_err(), "once is enough");
}

#[test]
fn empty_frames_are_refused() {
    let mut bench = Bench::ready();
    for kind in [from_worker::DONE, from_worker::REQUEST, from_worker::LOG] {
        let frame = Frame { kind, payload: &[] };
        let heard = News(&bench.runtime).frame(WORKER, &mut bench.conversation, &frame);
        assert!(heard.is_err(), "kind {kind}");
    }
}

#[test]
fn a_frame_ends_no_more_tasks_than_a_worker_can_have() {
    let mut bench = Bench::ready();
    let mut payload = Vec::new();
    for task in 0..=u64::from(CLAIMS) {
        encode(&record(TaskId(task), Outcome::Timeout), &mut payload);
    }
    let frame = Frame { kind: from_worker::DONE, payload: &payload };
    let heard = News(&bench.runtime).frame(WORKER, &mut bench.conversation, &frame);
    assert!(heard.unwrap_err().0.contains("more tasks have ended"));
}

#[test]
fn a_backtrace_is_read_with_its_bound() {
    let mut bench = Bench::ready();
    let (task, _future) = bench.starts(Vec::new());
    let trap = |frames: usize, name: &'static str| Outcome::Trap {
        number: 0,
        backtrace: vec![Function { function: name, offset: None }; frames],
    };
    assert!(bench.ends(task, trap(17, "f")).is_err());
    let long: &'static str = Box::leak("x".repeat(5000).into_boxed_str());
    assert!(bench.ends(task, trap(1, long)).is_err());
    bench.ends(task, trap(16, "f")).unwrap();
}

#[test]
fn a_task_that_has_not_begun_is_not_suspended() {
    let mut bench = Bench::ready();
    let (task, _future) = bench.submit(b"", Vec::new());
    assert!(bench.says(from_worker::SUSPENDED, &task).is_err());
    assert!(bench.says(from_worker::SUSPENDED, &task.plus(1)).is_err(), "nor one that it does not have");
}

#[test]
fn an_outcome_is_not_asked_for_without_sub_tasks() {
    let mut bench = Bench::ready();
    let (task, _future) = bench.starts(Vec::new());
    assert!(bench.asks(task, Ask::Outcome { index: 0 }).is_err());
}

#[test]
fn a_worker_that_does_not_read_is_refused_more_and_then_ended() {
    let mut bench = Bench::ready();
    let queue = bench.queue();
    // Each call is answered with a large value, and none of it is read.
    let mut call = Vec::new();
    encode(&Call::<Item>::Get(1), &mut call);
    let (task, _future) = bench.starts(vec![queue.clone()]);
    let mut refused = 0;
    for _ in 0..1_000_000 {
        if refused == 0 {
            let put = Call::Put(vec![Item { bytes: vec![0; 62 << 20], handles: Vec::new() }]);
            let put = bench.runtime.objects().host_call(
                crate::manager::Owner::Host(1),
                &queue,
                put,
                Wait::NonBlocking,
                false,
            );
            assert!(matches!(put, HostCalled::Answered(Ok(_))));
        }
        match bench.asks(task, Ask::Call { handle: 0, wait: Wait::NonBlocking, call: &call }) {
            Ok(()) => {
                let unsent = bench.runtime.with(|state| state.links.get(WORKER).unwrap().unsent_answers());
                refused += usize::from(unsent > 128 << 20);
                assert!(unsent < 196 << 20, "{unsent} bytes");
            }
            Err(violation) => {
                assert!(violation.0.contains("without reading"), "{violation:?}");
                assert!(refused > 1000, "calls were refused before");
                return;
            }
        }
    }
    panic!("it may ask for ever");
}
