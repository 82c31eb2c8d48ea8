//! A server without a pool: calls of the host, deadlines, and how long a server lives.

use std::sync::Weak;
use std::sync::mpsc;
use std::task::Waker;

use wpool_abi::object::Reply;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

fn queue(server: &ObjectServer) -> Grant {
    server.make(ObjectInit::Queue { capacity: None, requeue: false })
}

fn put(handles: Vec<Grant>) -> Call<Stored> {
    Call::Put(vec![Item { bytes: b"value".to_vec(), handles }])
}

fn call(
    server: &ObjectServer,
    owner: u64,
    grant: &Grant,
    call: Call<Stored>,
    wait: Wait<Instant>,
) -> HostCalled {
    server.host_call(Owner::Host(owner), grant, call, wait, true)
}

fn answered(called: HostCalled) -> Answer {
    match called {
        HostCalled::Answered(answer) => answer,
        HostCalled::Waits(_, call) => call.wait(Some(Instant::now() + PATIENCE)).expect("the answer comes"),
    }
}

#[test]
fn a_timeout_is_a_deadline_and_the_objects_own_is_the_default() {
    let (now, default) = (Instant::now(), Some(Duration::from_secs(5)));
    assert_eq!(until(Wait::NonBlocking, default, now), Wait::NonBlocking);
    assert_eq!(until(Wait::Timeout(7), default, now), Wait::Timeout(now + Duration::from_nanos(7)));
    assert_eq!(until(Wait::Forever, default, now), Wait::Timeout(now + Duration::from_secs(5)));
    assert_eq!(until(Wait::Forever, None, now), Wait::Forever);
}

#[test]
fn a_call_that_waits_is_answered_by_another_call_or_at_its_deadline() {
    let server = ObjectServer::new(0);
    let queue = queue(&server);
    let waits = call(&server, 1, &queue, Call::Get(1), Wait::Forever);
    assert!(answered(call(&server, 2, &queue, put(Vec::new()), Wait::Forever)).is_ok());
    assert!(matches!(answered(waits), Ok(Reply::Items(items, false)) if items[0].bytes == b"value"));
    let soon = Wait::Timeout(Instant::now() + Duration::from_millis(1));
    assert_eq!(answered(call(&server, 1, &queue, Call::Get(1), soon)), Err(ObjectError::Empty));
}

#[test]
fn a_call_that_was_given_up_takes_nothing() {
    let server = ObjectServer::new(0);
    let queue = queue(&server);
    let HostCalled::Waits(ticket, waits) = call(&server, 1, &queue, Call::Get(1), Wait::Forever) else {
        panic!("the queue is empty")
    };
    server.with(|objects| objects.abandon(ticket));
    server.give_back_to(&waits, waits.abandon());
    assert_eq!(server.with(|objects| objects.waiting()), 0);
    answered(call(&server, 2, &queue, put(Vec::new()), Wait::Forever)).unwrap();
    assert_eq!(waits.poll(Waker::noop()), None);
    assert!(answered(call(&server, 3, &queue, Call::Get(1), Wait::NonBlocking)).is_ok());
}

#[test]
fn after_a_close_a_call_that_would_wait_fails_and_another_succeeds() {
    let server = ObjectServer::new(0);
    let queue = queue(&server);
    let waits = call(&server, 1, &queue, Call::Get(1), Wait::Forever);
    server.with(|objects| objects.close(Closed::Waits));
    assert_eq!(answered(waits), Err(ObjectError::PoolClosed));
    assert_eq!(answered(call(&server, 1, &queue, Call::Get(1), Wait::Forever)), Err(ObjectError::PoolClosed));
    assert_eq!(answered(call(&server, 1, &queue, Call::Get(1), Wait::NonBlocking)), Err(ObjectError::Empty));
    assert!(answered(call(&server, 1, &queue, put(Vec::new()), Wait::Forever)).is_ok());
    assert!(answered(call(&server, 1, &queue, Call::Get(1), Wait::Forever)).is_ok());
    server.with(|objects| objects.close(Closed::All));
    assert_eq!(
        answered(call(&server, 1, &queue, put(Vec::new()), Wait::NonBlocking)),
        Err(ObjectError::PoolClosed)
    );
}

#[test]
fn objects_of_two_servers_have_different_ids() {
    let (one, other) = (ObjectServer::new(0), ObjectServer::new(0));
    assert_ne!(queue(&one).id(), queue(&other).id());
}

#[test]
fn a_server_lives_as_long_as_a_handle_and_not_by_its_own_values() {
    let server = ObjectServer::new(0);
    let (outer, inner) = (queue(&server), queue(&server));
    answered(call(&server, 1, &outer, put(vec![inner, outer.clone()]), Wait::Forever)).unwrap();
    let weak: Weak<ObjectServer> = Arc::downgrade(&server);
    drop(server);
    let kept = weak.upgrade().expect("a handle is left");
    let Ok(Reply::Items(items, _)) = answered(call(&kept, 1, &outer, Call::Get(1), Wait::NonBlocking)) else {
        panic!("it is there")
    };
    assert!(ObjectServer::of(&items[0].handles[0]).is_some_and(|of| Arc::ptr_eq(&of, &kept)));
    answered(call(&kept, 1, &outer, put(items[0].handles.clone()), Wait::Forever)).unwrap();
    drop((items, kept));
    assert!(weak.upgrade().is_some());
    drop(outer);
    assert!(weak.upgrade().is_none(), "the handles in its own values do not keep it");
}

#[test]
fn the_action_of_a_barrier_runs_without_the_lock_and_is_dropped_with_the_server() {
    let server = ObjectServer::new(0);
    let (sender, acted) = mpsc::channel();
    let other = queue(&server);
    let action: BarrierAction = Arc::new(Mutex::new(move || {
        let server = ObjectServer::of(&other).expect("the grant keeps it");
        answered(call(&server, 9, &other, put(Vec::new()), Wait::Forever)).unwrap();
        sender.send(()).unwrap();
    }));
    let barrier = server.make_barrier(1, None, Some(action));
    assert!(answered(call(&server, 1, &barrier, Call::Wait, Wait::Forever)).is_ok());
    assert_eq!(acted.recv_timeout(PATIENCE), Ok(()));
    drop(barrier);
    server.remove_released();
    assert_eq!(acted.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected), "its sender is gone");
}
