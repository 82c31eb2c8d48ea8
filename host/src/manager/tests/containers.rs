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
