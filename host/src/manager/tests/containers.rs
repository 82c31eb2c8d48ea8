//! Dictionaries, lists and arrays, and the removal of objects.

use super::*;

#[test]
fn a_dictionary_does_what_dictionaries_do() {
    let mut bench = Bench::new();
    let dict = bench.store.make(ObjectInit::Dict);
    let insert =
        |key: &str, text: &str, replace| Call::Insert { key: key.into(), value: value(text), replace };
    assert_eq!(bench.now(task(1), dict, insert("k", "1", true)), Ok(Reply::Found(None)));
    assert_eq!(bench.now(task(1), dict, insert("k", "2", false)), Ok(Reply::Found(Some(value("1")))));
    assert_eq!(bench.now(task(1), dict, insert("k", "3", true)), Ok(Reply::Found(Some(value("1")))));
    assert_eq!(bench.now(task(1), dict, Call::Look("k".into())), Ok(Reply::Found(Some(value("3")))));
    assert_eq!(bench.now(task(1), dict, Call::Keys), Ok(Reply::Keys(vec!["k".into()])));
    assert_eq!(bench.now(task(1), dict, Call::Remove("k".into())), Ok(Reply::Found(Some(value("3")))));
    assert_eq!(bench.now(task(1), dict, Call::Size), Ok(Reply::Size(0, None)));
    assert_eq!(bench.now(task(1), dict, Call::Acquire), Err(ObjectError::WrongKind));
    let huge = Item { bytes: vec![0; 65 << 20], handles: Vec::new() };
    let huge = Call::Insert { key: "k".into(), value: huge, replace: true };
    assert!(matches!(bench.now(task(1), dict, huge), Err(ObjectError::Quota(_))));
}

#[test]
fn a_list_grows_and_an_array_does_not() {
    let mut bench = Bench::new();
    let list = bench.store.make(ObjectInit::List);
    bench.now(task(1), list, Call::Extend(vec![value("a"), value("c")])).unwrap();
    bench.now(task(1), list, Call::InsertAt(1, value("b"))).unwrap();
    assert_eq!(bench.now(task(1), list, Call::At(-1)), Ok(Reply::Found(Some(value("c")))));
    assert_eq!(bench.now(task(1), list, Call::SetAt(0, value("A"))), Ok(Reply::Found(Some(value("a")))));
    assert_eq!(bench.now(task(1), list, Call::At(3)), Err(ObjectError::NotFound));
    assert_eq!(bench.now(task(1), list, Call::RemoveAt(0)), Ok(Reply::Found(Some(value("A")))));
    assert_eq!(items(&bench.now(task(1), list, Call::All)), ["b", "c"]);
    let array = bench.store.make(ObjectInit::Array { values: vec![value("x"); 2] });
    assert_eq!(bench.now(task(1), array, Call::Extend(vec![value("y")])), Err(ObjectError::WrongKind));
    let swap = |expected: &str| Call::Swap { at: 1, expected: expected.into(), value: value("y") };
    assert_eq!(bench.now(task(1), array, swap("x")), Ok(Reply::Found(Some(value("x")))));
    assert_eq!(bench.now(task(1), array, swap("x")), Ok(Reply::Found(None)), "another swap was quicker");
}

#[test]
fn an_object_without_grants_is_removed_with_its_contents() {
    let mut bench = Bench::new();
    let released = Arc::new(Released::default());
    let (outer, inner) = (bench.queue(None, false), bench.queue(None, false));
    let grants = [outer, inner].map(|id| Grant::new(id, Kind::Dict, &released));
    let carries = Item { bytes: Vec::new(), handles: vec![grants[1].narrowed(Rights::READ)] };
    bench.now(host(1), outer, Call::Put(vec![carries])).unwrap();
    drop(grants);
    assert_eq!(released.take(), [outer]);
    bench.store.remove(outer);
    assert_eq!(released.take(), [inner], "its contents go with it");
    bench.store.remove(inner);
    assert_eq!(bench.now(host(1), inner, Call::Size), Err(ObjectError::BadHandle));
}

#[test]
fn slices_are_those_of_python() {
    let mut bench = Bench::new();
    let list = bench.store.make(ObjectInit::List);
    bench.now(task(1), list, Call::Extend(["a", "b", "c", "d"].map(value).to_vec())).unwrap();
    let slice =
        |bench: &mut Bench, from, to| items(&bench.now(task(1), list, Call::Slice { from, to })).concat();
    for (from, to, expected) in [
        (0, 4, "abcd"),
        (1, -1, "bc"),
        (-2, i64::MAX, "cd"),
        (i64::MIN, 2, "ab"),
        (3, 1, ""),
        (9, 12, ""),
        (-1, -3, ""),
    ] {
        assert_eq!(slice(&mut bench, from, to), expected, "{from}..{to}");
    }
    let splice = Call::Splice { from: 1, to: 3, values: vec![value("x")] };
    assert_eq!(bench.now(task(1), list, splice), Ok(Reply::Done));
    assert_eq!(slice(&mut bench, 0, 9), "axd");
    let huge = Item { bytes: vec![0; 65 << 20], handles: Vec::new() };
    let splice = Call::Splice { from: 0, to: 1, values: vec![huge] };
    assert!(matches!(bench.now(task(1), list, splice), Err(ObjectError::Quota(_))));
    assert_eq!(slice(&mut bench, 0, 9), "axd", "a refused call changes nothing");
    let array = bench.store.make(ObjectInit::Array { values: vec![value("x"); 2] });
    let splice = Call::Splice { from: 0, to: 1, values: Vec::new() };
    assert_eq!(bench.now(task(1), array, splice), Err(ObjectError::WrongKind));
}

#[test]
fn values_are_found_and_counted_by_their_bytes() {
    let mut bench = Bench::new();
    let list = bench.store.make(ObjectInit::List);
    bench.now(task(1), list, Call::Extend(["a", "b", "a"].map(value).to_vec())).unwrap();
    let find = |text: &str, from| Call::Find { value: text.into(), from };
    assert_eq!(bench.now(task(1), list, find("a", 0)), Ok(Reply::Number(0)));
    assert_eq!(bench.now(task(1), list, find("a", 1)), Ok(Reply::Number(2)));
    assert_eq!(bench.now(task(1), list, find("a", -1)), Ok(Reply::Number(2)));
    assert_eq!(bench.now(task(1), list, find("c", 0)), Err(ObjectError::NotFound));
    assert_eq!(bench.now(task(1), list, find("a", 99)), Err(ObjectError::NotFound));
    assert_eq!(bench.now(task(1), list, Call::Count("a".into())), Ok(Reply::Number(2)));
}

#[test]
fn an_order_counts_only_for_the_values_that_it_was_made_of() {
    let mut bench = Bench::new();
    let list = bench.store.make(ObjectInit::List);
    bench.now(task(1), list, Call::Extend(["b", "c", "a"].map(value).to_vec())).unwrap();
    let Ok(Reply::Number(revision)) = bench.now(task(1), list, Call::Revision) else { panic!("a number") };
    for order in [vec![0, 1], vec![0, 1, 1], vec![0, 1, 3], vec![0, 1, 2, 3]] {
        let refused = bench.now(task(1), list, Call::Reorder { revision, order });
        assert!(matches!(refused, Err(ObjectError::BadValue(_))), "{refused:?}");
    }
    let sort = |revision| Call::Reorder { revision, order: vec![2, 0, 1] };
    assert_eq!(bench.now(task(1), list, sort(revision)), Ok(Reply::Flag(true)));
    assert_eq!(items(&bench.now(task(1), list, Call::All)), ["a", "b", "c"]);
    assert_eq!(bench.now(task(1), list, sort(revision)), Ok(Reply::Flag(false)), "it has changed since");
    assert_eq!(items(&bench.now(task(1), list, Call::All)), ["a", "b", "c"]);
    let changes = [
        Call::SetAt(0, value("A")),
        Call::InsertAt(0, value("z")),
        Call::RemoveAt(0),
        Call::Splice { from: 0, to: 0, values: Vec::new() },
        Call::Clear,
    ];
    for change in changes {
        let Ok(Reply::Number(before)) = bench.now(task(1), list, Call::Revision) else { panic!("a number") };
        bench.now(task(1), list, change.clone()).unwrap();
        assert_ne!(bench.now(task(1), list, Call::Revision), Ok(Reply::Number(before)), "{change:?}");
    }
}

#[test]
fn a_dictionary_gives_up_its_last_key() {
    let mut bench = Bench::new();
    let dict = bench.store.make(ObjectInit::Dict);
    for key in ["a", "b"] {
        let insert = Call::Insert { key: key.into(), value: value(key), replace: true };
        bench.now(task(1), dict, insert).unwrap();
    }
    assert_eq!(bench.now(task(1), dict, Call::Has("b".into())), Ok(Reply::Flag(true)));
    let last = vec![(b"b".to_vec(), value("b"))];
    assert_eq!(bench.now(task(1), dict, Call::PopLast), Ok(Reply::Entries(last)));
    assert_eq!(bench.now(task(1), dict, Call::Has("b".into())), Ok(Reply::Flag(false)));
    bench.now(task(1), dict, Call::PopLast).unwrap();
    assert_eq!(bench.now(task(1), dict, Call::PopLast), Ok(Reply::Entries(Vec::new())));
    assert_eq!(bench.now(task(1), dict, Call::Size), Ok(Reply::Size(0, None)));
}

#[test]
fn a_call_costs_what_it_goes_over() {
    let mut bench = Bench::new();
    let list = bench.store.make(ObjectInit::List);
    let values: Vec<Stored> = (0..100_000).map(|_| value("x")).collect();
    assert_eq!(bench.now(task(1), list, Call::Extend(values)), Ok(Reply::Done));
    let cost = |reach| bench.store.cost(list, reach);
    assert!(cost(Reach::Copies { from: 0, to: i64::MAX }) > Duration::from_millis(10));
    assert!(cost(Reach::Copies { from: -10, to: i64::MAX }) < Duration::from_micros(2), "a short slice");
    assert!(cost(Reach::Moves { from: 0 }) > Duration::from_micros(400), "all others move up");
    assert_eq!(cost(Reach::Moves { from: i64::MAX }), Duration::ZERO, "behind the last there is none");
}

#[test]
fn a_call_that_is_refused_changes_no_revision() {
    let mut bench = Bench::new();
    let list = bench.store.make(ObjectInit::List);
    let revision = |bench: &mut Bench| bench.now(task(1), list, Call::Revision);
    let before = revision(&mut bench);
    assert_eq!(bench.now(task(1), list, Call::SetAt(i64::MAX, value("x"))), Err(ObjectError::NotFound));
    assert_eq!(revision(&mut bench), before);
    assert_eq!(bench.now(task(1), list, Call::Extend(vec![value("x")])), Ok(Reply::Done));
    assert_ne!(revision(&mut bench), before);
}
