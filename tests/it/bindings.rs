use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use wpool::{Json, Pool, TaskError};
use wpool_tests::{bounded, load, pool};

use crate::WPOOL;

#[rustfmt::skip]
#[allow(dead_code, unreachable_pub, reason = "they are printed for programs that use all of them")]
#[path = "../bindings/ok_init.rs"]
mod ok_init;
#[rustfmt::skip]
#[allow(dead_code, unreachable_pub, reason = "that they are compiled is the test")]
#[path = "../bindings/ok_objects.rs"]
mod ok_objects;
#[rustfmt::skip]
#[allow(dead_code, unreachable_pub, reason = "they are printed for programs that use all of them")]
#[path = "../bindings/ok_types.rs"]
mod ok_types;

use ok_types::{Address, Book, Kind, Library, Refusal, Type, Type2};

/// The files are compiled above, so what is printed is, too.
#[test]
fn the_printed_bindings_are_those_that_are_compiled() {
    bounded(|| {
        for guest in [wpool_tests::OK_INIT, wpool_tests::OK_OBJECTS, wpool_tests::OK_TYPES] {
            let name = Path::new(guest).file_stem().unwrap().to_str().unwrap();
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("bindings").join(name).with_extension("rs");
            let compiled = std::fs::read_to_string(&file).unwrap();
            let printed = load(WPOOL, guest).rust_bindings();
            assert!(printed == compiled, "tests/bindings/{name}.rs is not what is printed:\n{printed}");
        }
    });
}

fn book(title: &str, continues: Option<Book>) -> Book {
    Book {
        title: title.to_owned(),
        continues: continues.map(Box::new),
        scan: vec![0, 255],
        size: [0.5, 1.0, -2.0],
    }
}

fn library(books: Vec<Book>) -> Library {
    Library {
        full_name: "City Library".to_owned(),
        shelves: BTreeMap::from([(0, books)]),
        type_2: Some(Kind::Of { owner: "the city".to_owned(), since: Some(1901) }),
        address: Address { street: "Main Street".to_owned(), number: i128::MIN },
    }
}

#[test]
fn bindings_carry_every_type_there_and_back() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_TYPES).build().unwrap();
        let tasks = ok_types::Tasks::of(&pool).unwrap();
        let full = library(vec![book("b", Some(book("a", None))), book("c", None)]);
        assert_eq!(tasks.count.submit(&full).unwrap().result(), Ok(3));
        assert_eq!(tasks.same.submit(&full).unwrap().result(), Ok(full));
        let TaskError::Guest(error) = tasks.count.submit(&library(Vec::new())).unwrap().result().unwrap_err()
        else {
            panic!("an error of the guest's own");
        };
        assert_eq!(error.decode::<Refusal>().unwrap(), Refusal::NoBooks);
        let kinds =
            BTreeMap::from([(Kind::School(7), 2), (Kind::PublicLibrary, 1), (Kind::Between(-1, 'x'), 3)]);
        let tallied = tasks.tally.submit(&kinds).unwrap().result().unwrap();
        let first = (Kind::PublicLibrary, 1);
        assert_eq!(tallied, [first, (Kind::School(7), 2), (Kind::Between(-1, 'x'), 3)]);
        let nest = Type(vec![Type(Vec::new()), Type(vec![Type(Vec::new())])]);
        let any = Json(json!({"a": [1, null]}));
        let depth = tasks.depth.submit(&(nest, any.clone())).unwrap().result();
        assert_eq!(depth, Ok((3, any)));
        let wide = Type2(1, 2, 3, 4, -1, -2, -3, -4, true, ());
        let abroad = ok_types::Address2 { country: ("far".to_owned(), u128::MAX) };
        let moved = (wide, abroad);
        assert_eq!(tasks.move_2.submit(&moved).unwrap().result(), Ok(moved));
        assert!(
            ok_types::Tasks::of_loaded(
                &pool.load(load(WPOOL, wpool_tests::OK_SQUARE), &wpool::GuestSettings::new()).unwrap()
            )
            .is_err(),
            "another guest"
        );
    });
}

#[test]
fn bindings_pass_shared_objects_on() {
    bounded(|| {
        let pool = pool(WPOOL, wpool_tests::OK_TYPES).build().unwrap();
        let tasks = ok_types::Tasks::of(&pool).unwrap();
        let manager = pool.manager();
        let numbers = manager.shared_array::<f64>(3).unwrap();
        numbers.write(0, &[1.0, 2.0, 3.5]).unwrap();
        let (each, done) = (manager.queue::<f64>(9), manager.queue::<()>(1));
        let sums = manager.dict::<String, Vec<f64>>();
        let arguments = (numbers.read_only(), each.sender(), sums.clone(), done.clone());
        tasks.add.submit(&arguments).unwrap().result().unwrap();
        done.get().unwrap();
        assert_eq!(sums.get(&"all".to_owned()), Ok(Some(vec![6.5])));
        assert_eq!((each.get(), each.get(), each.get()), (Ok(1.0), Ok(2.0), Ok(3.5)));
    });
}

#[test]
fn bindings_name_the_type_of_the_initializers_argument() {
    bounded(|| {
        let argument: ok_init::InitArgument = (vec!["a".to_owned(), "b".to_owned()], None);
        let guest = load(WPOOL, wpool_tests::OK_INIT).initialized_with(&argument).unwrap();
        let pool = Pool::builder(guest).workers(1).build().unwrap();
        let tasks = ok_init::Tasks::of(&pool).unwrap();
        assert_eq!(tasks.look_up.submit(&"b".to_owned()).unwrap().result(), Ok((Some(2), 2, 1)));
    });
}

/// Values that the JSON reader takes, and values that it refuses, looked up in the schema by hand.
#[test]
fn schemas_say_what_the_reader_accepts() {
    bounded(|| {
        let guest = load(WPOOL, wpool_tests::OK_TYPES);
        let count = guest.task("count").unwrap();
        let schema = count.input_schema().unwrap();
        let library = &schema["$defs"]["Library"];
        assert_eq!(schema["$ref"], "#/$defs/Library");
        assert_eq!(library["required"], json!(["fullName", "shelves", "address"]));
        assert_eq!(library["properties"]["fullName"]["description"], "Its name, as on the door.");
        assert_eq!(
            schema["$defs"]["Kind"]["anyOf"][0],
            json!({"const": "public-library", "description": "For everybody."})
        );
        let shelves = json!({
            "type": "object",
            "additionalProperties": {"type": "array", "items": {"$ref": "#/$defs/Book"}},
            "propertyNames": {"pattern": "^[0-9]+$"},
            "description": "What is in it, by shelf:\nthe top one is `0`.",
        });
        assert_eq!(library["properties"]["shelves"], shelves);
        let text = |books: serde_json::Value| {
            let address = json!({"street": "s", "number": 1});
            json!({"fullName": "x", "shelves": {"0": books}, "address": address}).to_string()
        };
        let book = |scan: serde_json::Value| json!([{"title": "t", "scan": scan, "size": [1, "NaN", 2.5]}]);
        let scan = schema["$defs"]["Book"]["properties"]["scan"]["anyOf"].as_array().unwrap();
        for (form, accepted) in [("string", json!("AP8=")), ("array", json!([0, 255]))] {
            assert!(scan.iter().any(|scan| scan["type"] == form));
            count.arguments_from_json(text(book(accepted)).as_bytes()).unwrap();
        }
        assert!(count.arguments_from_json(text(book(json!(null))).as_bytes()).is_err());
        let refusal = count.error_schema().unwrap();
        assert_eq!(refusal["$defs"]["Refusal"]["anyOf"][0]["const"], "NoBooks");
        assert_eq!(count.value_schema().unwrap()["maximum"], u32::MAX);
    });
}
