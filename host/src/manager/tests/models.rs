//! Random sequences of calls, each beside a reference that is simple enough to be seen to be right.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::{ProptestConfig, any, prop, proptest};

use super::*;

/// The owners that wait, in order, and their tickets.
type Line = VecDeque<(Owner, Ticket)>;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Each value is taken once and in order, each waiting call is answered once, and no call waits for a value that is
    /// there.
    #[test]
    fn a_queue_is_like_a_simple_one(
        capacity in prop::option::of(1u64..5),
        steps in prop::collection::vec((0u8..8, any::<u8>(), 0u64..20), 1..200),
    ) {
        let mut bench = Bench::new();
        let queue = bench.queue(capacity, false);
        let (mut inside, mut next) = (VecDeque::<u64>::new(), 0u64);
        // The calls that wait to put a value, and those that wait to get one.
        let mut putting: VecDeque<(Owner, Ticket, u64)> = VecDeque::new();
        let mut getting: VecDeque<(Owner, Ticket)> = VecDeque::new();
        let number = |answer: &Answer| items(answer)[0].parse::<u64>().unwrap();
        for (step, (kind, pick, time)) in steps.into_iter().enumerate() {
            let owner = task(step as u64);
            match kind {
                0..=2 => {
                    let call = put(&next.to_string());
                    match bench.store.call(owner, queue, call, Wait::Forever) {
                        Called::Answered(answer) => {
                            assert_eq!(answer, Ok(Reply::Done));
                            assert!(putting.is_empty() && capacity.is_none_or(|most| (inside.len() as u64) < most));
                            inside.push_back(next);
                        }
                        Called::Waits(ticket) => putting.push_back((owner, ticket, next)),
                    }
                    next += 1;
                }
                3..=5 => {
                    let deadline = (kind == 5).then(|| bench.now + Duration::from_millis(time));
                    match bench.store.call(owner, queue, Call::Get(1), deadline.map_or(Wait::Forever, Wait::Timeout)) {
                        Called::Answered(answer) => assert_eq!(Some(number(&answer)), inside.pop_front()),
                        Called::Waits(ticket) => getting.push_back((owner, ticket)),
                    }
                }
                6 => {
                    let all: Vec<Owner> = putting.iter().map(|(owner, ..)| *owner).chain(getting.iter().map(|(owner, _)| *owner)).collect();
                    if let Some(owner) = all.get(usize::from(pick) % all.len().max(1)) {
                        bench.store.end_owner(*owner, false);
                        putting.retain(|(other, ..)| other != owner);
                        getting.retain(|(other, _)| other != owner);
                    }
                }
                _ => {
                    bench.now += Duration::from_millis(time);
                    bench.store.expire(bench.now);
                }
            }
            bench.gather();
            // The reference: the calls that can succeed do, in order.
            while let Some(&(_, ticket)) = getting.front() {
                match bench.answer(ticket) {
                    Some(Err(ObjectError::Empty)) => drop(getting.pop_front()),
                    Some(answer) => {
                        let expected = inside.pop_front().unwrap();
                        assert_eq!(number(&answer), expected);
                        getting.pop_front();
                    }
                    None => break,
                }
            }
            getting.retain(|(_, ticket)| bench.answer(*ticket) != Some(Err(ObjectError::Empty)));
            while let Some(&(_, ticket, text)) = putting.front() {
                let Some(answer) = bench.answer(ticket) else { break };
                assert_eq!(answer, Ok(Reply::Done));
                inside.push_back(text);
                putting.pop_front();
            }
            assert!(bench.answers.is_empty(), "unexpected answers: {:?}", bench.answers);
            assert!(getting.is_empty() || inside.is_empty(), "a call waits for a value that is there");
            assert!(putting.is_empty() || capacity.is_some_and(|most| inside.len() as u64 >= most), "there is room");
        }
    }

    /// A lock is held by one owner, and passed to the call that waits longest, also if owners end or time out.
    #[test]
    fn a_lock_is_like_a_simple_one(
        reentrant in any::<bool>(),
        steps in prop::collection::vec((0u8..7, 0u64..6, 1u64..20), 1..200),
    ) {
        let mut bench = Bench::new();
        let lock = bench.store.make(ObjectInit::Lock { reentrant });
        let (mut held, mut poisoned): (Option<(Owner, u32)>, bool) = (None, false);
        let mut line: VecDeque<(Owner, Ticket, Option<Instant>)> = VecDeque::new();
        for (kind, who, time) in steps {
            let owner = task(who);
            if line.iter().any(|(other, ..)| *other == owner) && kind < 5 {
                // A task that waits does nothing else.
                continue;
            }
            match kind {
                0..=2 => {
                    let deadline = (kind == 2).then(|| bench.now + Duration::from_millis(time));
                    match (bench.store.call(owner, lock, Call::Acquire, deadline.map_or(Wait::Forever, Wait::Timeout)), &mut held) {
                        (Called::Answered(answer), None) => {
                            assert_eq!(answer, Ok(Reply::Flag(poisoned)));
                            held = Some((owner, 1));
                        }
                        (Called::Answered(answer), Some((holder, times))) => {
                            assert!(reentrant && *holder == owner, "{answer:?}");
                            *times += 1;
                        }
                        (Called::Waits(ticket), Some((holder, _))) if *holder == owner && deadline.is_none() => {
                            // It waits for itself: a cycle of one.
                            assert!(!reentrant);
                            bench.gather();
                            assert!(matches!(bench.answer(ticket), Some(Err(ObjectError::Deadlock(_)))));
                        }
                        (Called::Waits(ticket), Some((holder, _))) => {
                            assert!(!reentrant || *holder != owner);
                            line.push_back((owner, ticket, deadline));
                        }
                        (Called::Waits(_), None) => panic!("it is free"),
                    }
                }
                3 => {
                    let answer = bench.now(owner, lock, Call::Release(1));
                    match &mut held {
                        Some((holder, times)) if *holder == owner => {
                            assert_eq!(answer, Ok(Reply::Done));
                            *times -= 1;
                            if *times == 0 {
                                held = None;
                            }
                        }
                        _ => assert!(matches!(answer, Err(ObjectError::NotHeld | ObjectError::TooOften)), "{answer:?}"),
                    }
                }
                4 => {
                    let answer = bench.now(owner, lock, Call::ClearPoison);
                    let mine = held.is_some_and(|(holder, _)| holder == owner);
                    assert_eq!(answer.is_ok(), mine);
                    poisoned &= !mine;
                }
                5 => {
                    bench.end(owner, false);
                    line.retain(|(other, ..)| *other != owner);
                    if held.is_some_and(|(holder, _)| holder == owner) {
                        (held, poisoned) = (None, true);
                    }
                }
                _ => bench.later(time),
            }
            bench.gather();
            let now = bench.now;
            line.retain(|(_, ticket, deadline)| {
                let late = deadline.is_some_and(|at| at <= now);
                if late {
                    // Either came first; both are right only if the lock was free.
                    let answer = bench.answer(*ticket);
                    assert_eq!(answer, Some(Err(ObjectError::TimedOut)));
                }
                !late
            });
            if held.is_none() && let Some((owner, ticket, _)) = line.pop_front() {
                assert_eq!(bench.answer(ticket), Some(Ok(Reply::Flag(poisoned))));
                held = Some((owner, 1));
            }
            assert!(bench.answers.is_empty(), "unexpected answers: {:?}", bench.answers);
        }
    }

    /// A semaphore gives its permits in order, and a task's permits return when it ends.
    #[test]
    fn a_semaphore_is_like_a_simple_one(
        count in 0u64..4,
        bounded in any::<bool>(),
        steps in prop::collection::vec((0u8..4, 0u64..8), 1..200),
    ) {
        let mut bench = Bench::new();
        let semaphore = bench.store.make(ObjectInit::Semaphore { count, bounded });
        let mut free = count;
        let mut held: BTreeMap<Owner, u64> = BTreeMap::new();
        let mut line = Line::new();
        for (kind, who) in steps {
            let owner = task(who);
            if line.iter().any(|(other, _)| *other == owner) && kind < 3 {
                continue;
            }
            match kind {
                0 | 1 => match bench.store.call(owner, semaphore, Call::Acquire, Wait::Forever) {
                    Called::Answered(_) => {
                        assert!(free > 0);
                        free -= 1;
                        *held.entry(owner).or_default() += 1;
                    }
                    Called::Waits(ticket) => {
                        assert_eq!(free, 0);
                        line.push_back((owner, ticket));
                    }
                },
                2 => {
                    let answer = bench.now(owner, semaphore, Call::Release(1));
                    let inside: u64 = held.values().sum();
                    if bounded && free >= count {
                        assert_eq!(answer, Err(ObjectError::TooOften), "{inside} are inside");
                    } else {
                        assert_eq!(answer, Ok(Reply::Done));
                        free += 1;
                        if let Some(times) = held.get_mut(&owner) {
                            *times -= 1;
                            held.retain(|_, times| *times > 0);
                        }
                    }
                }
                _ => {
                    bench.end(owner, false);
                    line.retain(|(other, _)| *other != owner);
                    let back = held.remove(&owner).unwrap_or(0);
                    // Another owner may have released it already.
                    free = if bounded { (free + back).min(count) } else { free + back };
                }
            }
            while free > 0 && let Some((owner, ticket)) = line.pop_front() {
                assert!(bench.answer(ticket).is_some_and(|answer| answer.is_ok()));
                free -= 1;
                *held.entry(owner).or_default() += 1;
            }
            assert!(bench.answers.is_empty(), "unexpected answers: {:?}", bench.answers);
            assert_eq!(bench.now(host(0), semaphore, Call::Size).ok(), Some(Reply::Size(free, bounded.then_some(count))));
        }
    }

    /// A barrier lets all calls of a round pass together, each with an index of its own, or none.
    #[test]
    fn a_barrier_is_like_a_simple_one(
        parties in 1u32..5,
        steps in prop::collection::vec((0u8..8, 0u64..10), 1..200),
    ) {
        let mut bench = Bench::new();
        let barrier = bench.store.make(ObjectInit::Barrier { parties, acts: false });
        let (mut inside, mut broken) = (Line::new(), false);
        for (kind, who) in steps {
            let owner = task(who);
            let waits = inside.iter().position(|(other, _)| *other == owner);
            let mut fail = false;
            match kind {
                0..=4 if waits.is_none() => match bench.store.call(owner, barrier, Call::Wait, Wait::Forever) {
                    Called::Answered(Err(error)) => {
                        assert_eq!((error, broken), (ObjectError::Broken, true));
                    }
                    Called::Answered(answer) => {
                        assert_eq!(answer, Ok(Reply::Number(u64::from(parties) - 1)));
                        assert!(!broken && inside.len() + 1 == parties as usize);
                        bench.gather();
                        for (index, (_, ticket)) in inside.drain(..).enumerate() {
                            assert_eq!(bench.answer(ticket), Some(Ok(Reply::Number(index as u64))));
                        }
                    }
                    Called::Waits(ticket) => {
                        assert!(!broken);
                        inside.push_back((owner, ticket));
                    }
                },
                5 => {
                    bench.end(owner, true);
                    if let Some(index) = waits {
                        inside.remove(index);
                        (fail, broken) = (true, true);
                    }
                }
                6 => {
                    bench.now(host(0), barrier, Call::Abort).unwrap();
                    (fail, broken) = (true, true);
                }
                7 => {
                    bench.now(host(0), barrier, Call::Reset).unwrap();
                    (fail, broken) = (true, false);
                }
                _ => {}
            }
            bench.gather();
            if fail {
                for (_, ticket) in inside.drain(..) {
                    assert_eq!(bench.answer(ticket), Some(Err(ObjectError::Broken)));
                }
            }
            assert!(bench.answers.is_empty(), "unexpected answers: {:?}", bench.answers);
            assert_eq!(bench.now(host(0), barrier, Call::State), Ok(Reply::Flag(broken)));
        }
    }

    /// A dictionary behaves like a map, a list like a vector.
    #[test]
    fn containers_are_like_those_of_one_process(
        steps in prop::collection::vec((0u8..9, 0u8..6, -4i64..8), 1..150),
    ) {
        let mut bench = Bench::new();
        let (dict, list) = (bench.store.make(ObjectInit::Dict), bench.store.make(ObjectInit::List));
        let (mut map, mut vec): (BTreeMap<Vec<u8>, Stored>, Vec<Stored>) = (BTreeMap::new(), Vec::new());
        for (step, (kind, key, at)) in steps.into_iter().enumerate() {
            let (key, new) = (vec![key], value(&step.to_string()));
            let index = usize::try_from(if at < 0 { at + vec.len() as i64 } else { at }).ok();
            let index = index.filter(|index| *index < vec.len());
            let found = |value: Option<&Stored>| match value {
                Some(value) => Ok(Reply::Found(Some(value.clone()))),
                None => Err(ObjectError::NotFound),
            };
            match kind {
                0 | 1 => {
                    let replace = kind == 0;
                    let before = map.get(&key).cloned();
                    let call = Call::Insert { key: key.clone(), value: new.clone(), replace };
                    assert_eq!(bench.now(task(1), dict, call), Ok(Reply::Found(before.clone())));
                    if replace || before.is_none() {
                        map.insert(key, new);
                    }
                }
                2 => {
                    let answer = bench.now(task(1), dict, Call::Remove(key.clone()));
                    assert_eq!(answer, Ok(Reply::Found(map.remove(&key))));
                }
                3 => {
                    let call = Call::Extend(vec![new.clone(), new.clone()]);
                    assert_eq!(bench.now(task(1), list, call), Ok(Reply::Done));
                    vec.extend([new.clone(), new]);
                }
                4 => {
                    let len = vec.len() as i64;
                    let before = if at < 0 { (at + len).max(0) } else { at.min(len) };
                    assert_eq!(bench.now(task(1), list, Call::InsertAt(at, new.clone())), Ok(Reply::Done));
                    vec.insert(usize::try_from(before).unwrap(), new);
                }
                5 => {
                    let expected = found(index.map(|index| &vec[index]));
                    assert_eq!(bench.now(task(1), list, Call::RemoveAt(at)), expected);
                    index.map(|index| vec.remove(index));
                }
                6 => {
                    let expected = found(index.map(|index| &vec[index]));
                    assert_eq!(bench.now(task(1), list, Call::SetAt(at, new.clone())), expected);
                    if let Some(index) = index {
                        vec[index] = new;
                    }
                }
                7 => {
                    assert_eq!(bench.now(task(1), list, Call::Clear), Ok(Reply::Done));
                    vec.clear();
                }
                _ => assert_eq!(bench.now(task(1), list, Call::At(at)), found(index.map(|index| &vec[index]))),
            }
            assert_eq!(bench.now(task(1), list, Call::All), Ok(Reply::Items(vec.clone(), false)));
            let entries = map.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
            assert_eq!(bench.now(task(1), dict, Call::All), Ok(Reply::Entries(entries)));
        }
    }
}
