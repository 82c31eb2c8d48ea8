//! The cell of one call of a shared object by the host: a thread or an `.await` that waits for the answer.

use std::task::Waker;
use std::time::Instant;

use wpool_abi::object::Verb;

use crate::lock::{Condvar, Mutex, wait_until};
use crate::manager::{Answer, ObjectId, Owner};

/// A call that waits, and where its answer goes.
#[derive(Debug)]
pub(crate) struct ObjectCall {
    pub(crate) owner: Owner,
    pub(crate) object: ObjectId,
    pub(crate) verb: Verb,
    inner: Mutex<Inner>,
    answered: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    answer: Option<Answer>,
    waker: Option<Waker>,
    /// The caller has given up.
    abandoned: bool,
}

impl ObjectCall {
    pub(crate) fn new(owner: Owner, object: ObjectId, verb: Verb) -> Self {
        Self { owner, object, verb, inner: Mutex::default(), answered: Condvar::new() }
    }

    /// Hands the answer over. It comes back if the caller has given up.
    pub(crate) fn answer(&self, answer: Answer) -> Option<Answer> {
        let mut inner = self.inner.lock();
        if inner.abandoned {
            return Some(answer);
        }
        inner.answer = Some(answer);
        let waker = inner.waker.take();
        drop(inner);
        self.answered.notify_all();
        waker.into_iter().for_each(Waker::wake);
        None
    }

    /// Gives the call up. Returns the answer if it has come and was not taken.
    pub(crate) fn abandon(&self) -> Option<Answer> {
        let mut inner = self.inner.lock();
        inner.abandoned = true;
        inner.answer.take()
    }

    /// Waits for the answer; `None` if it has not come by the deadline.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Option<Answer> {
        wait_until(&self.answered, &mut self.inner.lock(), deadline, |inner| inner.answer.take())
    }

    /// Takes the answer; if it has not come, `waker` is woken when it does.
    pub(crate) fn poll(&self, waker: &Waker) -> Option<Answer> {
        // Declared before the guard, and so dropped after it: a waker's clone and drop run code of its executor.
        let mut waker = Some(waker.clone());
        let mut inner = self.inner.lock();
        let answer = inner.answer.take();
        if answer.is_none() {
            std::mem::swap(&mut inner.waker, &mut waker);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use wpool_abi::object::Reply;

    use super::*;
    use crate::manager::{ObjectInit, Store};

    #[test]
    fn an_answer_that_crosses_with_a_caller_who_gives_up_comes_back() {
        let object = Store::default().make(ObjectInit::Event);
        let call = || ObjectCall::new(Owner::Host(1), object, Verb::Get);
        let (early, late) = (call(), call());
        assert_eq!(early.answer(Ok(Reply::Done)), None);
        assert_eq!(early.abandon(), Some(Ok(Reply::Done)));
        assert_eq!(late.abandon(), None);
        assert_eq!(late.answer(Ok(Reply::Done)), Some(Ok(Reply::Done)));
    }

    #[test]
    fn an_answer_is_taken_once() {
        let object = Store::default().make(ObjectInit::Event);
        let call = ObjectCall::new(Owner::Host(1), object, Verb::Get);
        assert_eq!(call.poll(Waker::noop()), None);
        assert_eq!(call.answer(Ok(Reply::Done)), None);
        assert_eq!(call.wait(None), Some(Ok(Reply::Done)));
        assert_eq!(call.wait(Some(Instant::now())), None);
    }
}
