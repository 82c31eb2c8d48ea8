//! Pins the wire form of the object calls: host and guest are built apart, so it changes with the ABI version only.

use wpool_abi::object::{Call, Item, Kind, Rights, Verb};

/// One call of each verb, with its bytes in postcard.
fn calls() -> Vec<(Call, &'static [u8])> {
    let item = || Item { bytes: vec![0xaa], handles: vec![5] };
    let key = || vec![0xbb];
    vec![
        (Call::Put(vec![item()]), &[0, 1, 1, 0xaa, 1, 5]),
        (Call::Get(7), &[1, 7]),
        (Call::Poll, &[2]),
        (Call::TaskDone(7), &[3, 7]),
        (Call::Join, &[4]),
        (Call::Close, &[5]),
        (Call::Size, &[6]),
        (Call::Acquire, &[7]),
        (Call::Release(7), &[8, 7]),
        (Call::State, &[9]),
        (Call::ClearPoison, &[10]),
        (Call::Disown, &[11]),
        (Call::Wait, &[12]),
        (Call::Notify(7), &[13, 7]),
        (Call::Flag(true), &[14, 1]),
        (Call::Abort, &[15]),
        (Call::Reset, &[16]),
        (Call::Look(key()), &[17, 1, 0xbb]),
        (Call::Insert { key: key(), value: item(), replace: true }, &[18, 1, 0xbb, 1, 0xaa, 1, 5, 1]),
        (Call::Remove(key()), &[19, 1, 0xbb]),
        (Call::All, &[20]),
        (Call::Keys, &[21]),
        (Call::Clear, &[22]),
        (Call::At(-1), &[23, 1]),
        (Call::SetAt(1, item()), &[24, 2, 1, 0xaa, 1, 5]),
        (Call::Swap { at: 1, expected: key(), value: item() }, &[25, 2, 1, 0xbb, 1, 0xaa, 1, 5]),
        (Call::Extend(vec![item()]), &[26, 1, 1, 0xaa, 1, 5]),
        (Call::InsertAt(1, item()), &[27, 2, 1, 0xaa, 1, 5]),
        (Call::RemoveAt(1), &[28, 2]),
        (Call::Has(key()), &[29, 1, 0xbb]),
        (Call::PopLast, &[30]),
        (Call::Slice { from: 1, to: -1 }, &[31, 2, 1]),
        (Call::Splice { from: 1, to: -1, values: vec![item()] }, &[32, 2, 1, 1, 1, 0xaa, 1, 5]),
        (Call::Find { value: key(), from: 1 }, &[33, 1, 0xbb, 2]),
        (Call::Count(key()), &[34, 1, 0xbb]),
        (Call::Revision, &[35]),
        (Call::Reorder { revision: 7, order: vec![1, 0] }, &[36, 7, 2, 1, 0]),
    ]
}

#[test]
fn each_call_has_its_bytes() {
    for (call, bytes) in calls() {
        assert_eq!(postcard::to_allocvec(&call).unwrap(), bytes, "{call:?}");
        assert_eq!(postcard::from_bytes::<Call>(bytes).unwrap(), call);
        assert_eq!(postcard::from_bytes::<Verb>(&bytes[..1]).unwrap(), call.verb(), "{call:?}");
    }
    assert!(postcard::from_bytes::<Verb>(&[37]).is_err(), "a verb has no example here");
}

#[test]
fn each_kind_and_right_has_its_bytes() {
    for (kind, byte) in [(Kind::Queue, 0), (Kind::Semaphore, 4), (Kind::Dict, 8), (Kind::SharedArray, 13)] {
        assert_eq!(postcard::to_allocvec(&kind).unwrap(), [byte]);
    }
    for (rights, byte) in [(Rights::READ, 1), (Rights::WRITE, 2), (Rights::ALL, 3)] {
        assert_eq!(postcard::to_allocvec(&rights).unwrap(), [byte]);
    }
}

#[test]
fn a_change_of_items_leaves_the_rest_of_a_call() {
    for (call, bytes) in calls() {
        let doubled = |item: Item| Ok::<_, ()>((item, 0u8));
        let back = call.try_map(doubled).unwrap().try_map(|(item, _)| Ok::<_, ()>(item)).unwrap();
        assert_eq!(postcard::to_allocvec(&back).unwrap(), bytes);
    }
    let with_two = Call::Put(vec![Item::<u32>::default(), Item::default()]);
    let mut seen = 0;
    let result: Result<Call, _> = with_two.try_map(|_| {
        seen += 1;
        Err("the first error ends it")
    });
    assert_eq!((result, seen), (Err("the first error ends it"), 1));
}
