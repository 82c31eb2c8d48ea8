use std::time::Duration;

use wpool::{EmitBuffer, EmitError, NotYet, TaskError};
use wpool_tests::{OK_EMIT, bounded, pool};

use crate::WPOOL;

#[test]
fn values_come_in_their_order_while_the_task_runs() {
    bounded(|| {
        let pool = pool(WPOOL, OK_EMIT).build().unwrap();
        let count = pool.task::<u64, u64>("count").unwrap();
        for buffer in
            [EmitBuffer::default(), EmitBuffer::suspend(1), EmitBuffer::suspend(0), EmitBuffer::suspend(7)]
        {
            let (future, values) = count.submit_emitting::<u64>(&1000, buffer).unwrap();
            assert!(values.map(Result::unwrap).eq(1..=1000), "{buffer:?}");
            assert_eq!(future.result(), Ok(1000));
        }
        let stays = pool.task::<u64, ()>("emit_and_stay").unwrap();
        let (future, mut values) = stays.submit_emitting::<u64>(&7, EmitBuffer::default()).unwrap();
        assert_eq!(values.next(), Some(Ok(7)));
        assert!(!future.done(), "it came before the end");
        let short = Duration::from_millis(20);
        assert_eq!(values.next_timeout(short), Err(NotYet(short)));
        future.kill();
        assert_eq!(values.next(), None, "they end with the task, however it ends");
        assert_eq!(values.next_timeout(Duration::ZERO), Ok(None));
    });
}

#[test]
fn a_full_buffer_suspends_the_task_and_others_run_meanwhile() {
    bounded(|| {
        let pool = pool(WPOOL, OK_EMIT).workers(1).build().unwrap();
        let count = pool.task::<u64, u64>("count").unwrap();
        let (first, values) = count.submit_emitting::<u64>(&100, EmitBuffer::suspend(10)).unwrap();
        assert_eq!(count.submit(&3).unwrap().result(), Ok(3), "on the same worker");
        assert!(!first.done());
        assert_eq!(values.dropped(), 0);
        assert_eq!(values.count(), 100);
        assert_eq!(first.result(), Ok(100));
        assert!(first.figures().unwrap().run < Duration::from_secs(1));
    });
}

#[test]
fn a_full_buffer_drops_the_oldest_if_it_is_told_to() {
    bounded(|| {
        let pool = pool(WPOOL, OK_EMIT).build().unwrap();
        let count = pool.task::<u64, u64>("count").unwrap();
        let (future, values) = count.submit_emitting::<u64>(&1000, EmitBuffer::drop_oldest(3)).unwrap();
        assert_eq!(future.result(), Ok(1000));
        assert_eq!(values.dropped(), 997);
        assert!(values.map(Result::unwrap).eq(998..=1000));
    });
}

#[test]
fn a_task_goes_on_if_nobody_reads() {
    bounded(|| {
        let pool = pool(WPOOL, OK_EMIT).workers(1).build().unwrap();
        let count = pool.task::<u64, u64>("count").unwrap();
        assert_eq!(count.submit(&1000).unwrap().result(), Ok(1000), "nobody ever did");
        assert!(count.map([500, 1000]).all(|counted| counted.is_ok()));
        let (future, mut values) = count.submit_emitting::<u64>(&1000, EmitBuffer::suspend(2)).unwrap();
        assert_eq!(values.next(), Some(Ok(1)));
        drop(values);
        assert_eq!(future.result(), Ok(1000), "nobody does any more");
    });
}

#[test]
fn a_task_that_waits_for_its_reader_can_be_ended() {
    bounded(|| {
        let pool = pool(WPOOL, OK_EMIT).workers(1).build().unwrap();
        let count = pool.task::<u64, u64>("count").unwrap();
        let (future, mut values) = count.submit_emitting::<u64>(&1000, EmitBuffer::suspend(1)).unwrap();
        assert_eq!(values.next(), Some(Ok(1)));
        future.kill();
        assert_eq!(future.result(), Err(TaskError::Killed));
        assert!(values.count() <= 2, "what had come can still be read");
        let limited = count.total_timeout(Duration::from_millis(100));
        let (future, _values) = limited.submit_emitting::<u64>(&1000, EmitBuffer::suspend(1)).unwrap();
        assert!(matches!(future.result(), Err(TaskError::Timeout { .. })));
        assert_eq!(pool.stats().workers_lost, 0);
    });
}

#[test]
fn a_value_of_another_type_or_size_is_an_error() {
    bounded(|| {
        let pool = pool(WPOOL, OK_EMIT).build().unwrap();
        let count = pool.task::<u64, u64>("count").unwrap();
        let (future, values) = count.submit_emitting::<i64>(&2, EmitBuffer::default()).unwrap();
        assert_eq!(values.collect::<Vec<_>>(), [Err(EmitError::WrongType), Err(EmitError::WrongType)]);
        assert_eq!(future.result(), Ok(2), "of whoever reads, not of the task");
        let bytes = pool.task::<usize, ()>("emit_bytes").unwrap();
        let most = (1 << 20) - 3;
        let (_, mut values) = bytes.submit_emitting::<Vec<u8>>(&most, EmitBuffer::default()).unwrap();
        assert_eq!(values.next(), Some(Ok(vec![7; most])));
        let (future, values) = bytes.submit_emitting::<Vec<u8>>(&(most + 1), EmitBuffer::default()).unwrap();
        assert_eq!(values.count(), 0);
        assert_eq!(future.result(), Err(TaskError::EmitLimit { limit: 1 << 20, size: (1 << 20) + 1 }));
    });
}

#[test]
fn a_task_that_has_emitted_something_does_not_run_again() {
    bounded(|| {
        let pool = pool(WPOOL, OK_EMIT).workers(1).build().unwrap();
        let stays = pool.task::<u64, ()>("emit_and_stay").unwrap();
        let (future, mut values) = stays.submit_emitting::<u64>(&7, EmitBuffer::default()).unwrap();
        assert_eq!(values.next(), Some(Ok(7)));
        let pid = rustix::process::Pid::from_raw(pool.worker_pids()[0].cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        assert!(matches!(future.result(), Err(TaskError::WorkerLost { .. })), "its values would come twice");
        assert_eq!(values.count(), 0);
    });
}
