//! The two directions beside each other, on written-out and on random values.

use super::varint::push_varint;
use super::*;
use crate::guest::types::Types;
use proptest::prelude::{
    BoxedStrategy, Just, Strategy as _, any, prop, prop_assert_eq, prop_oneof, proptest,
};
use wpool_abi::{Field, Type, TypeIndex, Variant, VariantData};

fn field(name: &str, ty: TypeIndex) -> Field {
    Field { name: name.into(), docs: String::new(), ty }
}

/// The parameters of a task.
struct Params {
    types: Types,
    params: Vec<Field>,
}

fn params(params: Vec<Field>, types: Vec<Type>) -> Params {
    Params { types: Types::new(types), params }
}

/// One parameter whose type is the first of the table.
fn one(types: Vec<Type>) -> Params {
    params(vec![field("x", 0)], types)
}

fn encode(params: &Params, json: &str) -> Result<Vec<u8>, JsonError> {
    let mut out = Vec::new();
    arguments_from_json(&params.types, &params.params, json.as_bytes(), &mut out, &no_objects).map(|()| out)
}

fn decode(params: &Params, bytes: &[u8]) -> Result<String, ValueError> {
    let mut out = Vec::new();
    value_to_json(&params.types, 0, bytes, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

#[track_caller]
fn round_trip(types: Vec<Type>, json: &str) {
    let params = one(types);
    let bytes = encode(&params, json).unwrap();
    assert_eq!(decode(&params, &bytes).unwrap(), json);
}

#[track_caller]
fn refused(types: Vec<Type>, json: &str, message: &str) {
    let error = encode(&one(types), json).unwrap_err();
    assert_eq!(error.to_string(), message, "{json}");
}

#[test]
fn integers_are_exact() {
    round_trip(vec![Type::U64], "18446744073709551615");
    round_trip(vec![Type::I64], "-9223372036854775808");
    round_trip(vec![Type::U128], "340282366920938463463374607431768211455");
    round_trip(vec![Type::I128], "-170141183460469231731687303715884105728");
    refused(
        vec![Type::U64],
        "18446744073709551616",
        "expected u64, got floating point `1.8446744073709552e+19`",
    );
    refused(vec![Type::U8], "256", "expected u8, got integer `256`");
    refused(vec![Type::I8], "-129", "expected i8, got integer `-129`");
    refused(vec![Type::U32], "-1", "expected u32, got integer `-1`");
    refused(vec![Type::U32], "1.5", "expected u32, got floating point `1.5`");
    refused(vec![Type::U32], "\"x\"", "expected u32, got string \"x\"");
}

#[test]
fn floats_are_never_rounded_from_integers_and_have_names_for_what_json_lacks() {
    for json in ["1.5", "\"NaN\"", "\"Infinity\"", "\"-Infinity\"", "-0.0"] {
        round_trip(vec![Type::F64], json);
        round_trip(vec![Type::F32], json);
    }
    assert!(encode(&one(vec![Type::F64]), "3").is_ok());
    refused(vec![Type::F64], "9007199254740993", "expected f64, got integer `9007199254740993`");
    refused(vec![Type::F32], "16777217", "expected f32, got integer `16777217`");
    refused(vec![Type::F32], "1e39", "expected f32, got floating point `1e+39`");
    assert!(encode(&one(vec![Type::F64]), "NaN").unwrap_err().syntax);
    assert!(encode(&one(vec![Type::F64]), "1e999").unwrap_err().syntax);
}

#[test]
fn bytes_are_base64_or_numbers() {
    round_trip(vec![Type::Bytes], "\"AAEC/w==\"");
    let params = one(vec![Type::Bytes]);
    assert_eq!(encode(&params, "[0,1,2,255]"), encode(&params, "\"AAEC/w==\""));
    refused(vec![Type::Bytes], "\"!\"", "expected bytes in base64, got string \"!\"");
    refused(vec![Type::Bytes], "[256]", "[0]: expected u8, got integer `256`");
}

#[test]
fn structs_take_fields_in_any_order_once_each() {
    let types = || {
        vec![
            Type::Struct { name: "S".into(), fields: vec![field("a", 1), field("b", 2), field("c", 3)] },
            Type::U8,
            Type::String,
            Type::Option(1),
        ]
    };
    round_trip(types(), r#"{"a":1,"b":"x","c":null}"#);
    let params = one(types());
    let ordered = encode(&params, r#"{"a":1,"b":"x","c":7}"#).unwrap();
    assert_eq!(encode(&params, r#"{"c":7,"b":"x","a":1}"#).unwrap(), ordered);
    assert_eq!(encode(&params, r#"{"b":"x","a":1}"#), encode(&params, r#"{"a":1,"b":"x","c":null}"#));
    refused(types(), r#"{"a":1}"#, "missing field `b`");
    refused(types(), r#"{"a":1,"a":2,"b":"x"}"#, "duplicate field `a`");
    refused(types(), r#"{"a":1,"b":"x","d":1}"#, "unknown field `d`, expected `a`, `b` or `c`");
    refused(types(), r#"{"a":1,"b":2}"#, ".b: expected string, got integer `2`");
}

#[test]
fn enums_are_named() {
    let types = || {
        vec![
            Type::Enum {
                name: "E".into(),
                variants: vec![
                    Variant { name: "Unit".into(), docs: String::new(), data: VariantData::Unit },
                    Variant { name: "New".into(), docs: String::new(), data: VariantData::Newtype(1) },
                    Variant {
                        name: "Pair".into(),
                        docs: String::new(),
                        data: VariantData::Tuple(vec![1, 1]),
                    },
                    Variant {
                        name: "Rec".into(),
                        docs: String::new(),
                        data: VariantData::Struct(vec![field("x", 1)]),
                    },
                ],
            },
            Type::U8,
        ]
    };
    for json in ["\"Unit\"", r#"{"New":3}"#, r#"{"Pair":[1,2]}"#, r#"{"Rec":{"x":9}}"#] {
        round_trip(types(), json);
    }
    refused(types(), "\"Nit\"", "unknown variant `Nit`, expected `Unit`, `New`, `Pair` or `Rec`");
    refused(types(), "\"New\"", "variant `New` carries a value: write {\"New\": …}");
    refused(types(), r#"{"Pair":[1]}"#, ".Pair: expected an array of 2, got 1 element");
    refused(types(), r#"{"New":1,"Unit":null}"#, "expected one variant, got more");
}

#[test]
fn maps_are_objects_when_their_keys_allow_it() {
    round_trip(vec![Type::Map(1, 2), Type::String, Type::U8], r#"{"a":1,"b":2}"#);
    round_trip(vec![Type::Map(1, 1), Type::I32], r#"{"-5":1}"#);
    round_trip(vec![Type::Map(1, 1), Type::Bool], "[[true,false]]");
    refused(vec![Type::Map(1, 1), Type::I32], r#"{"x":1}"#, "expected i32 as a key, got \"x\"");
    refused(vec![Type::Map(1, 1), Type::I32], r#"{"1":1,"1":2}"#, "duplicate key `1`");
}

#[test]
fn several_parameters_are_an_array_or_an_object_by_name() {
    let several = || {
        params(
            vec![field("text", 0), field("times", 1), field("end", 2)],
            vec![Type::String, Type::U32, Type::Option(1)],
        )
    };
    let array = encode(&several(), r#"["a",3,null]"#).unwrap();
    assert_eq!(encode(&several(), r#"{"times":3,"text":"a"}"#).unwrap(), array);
    let message = |json| encode(&several(), json).unwrap_err().to_string();
    assert_eq!(message(r#"["a"]"#), "expected 3 arguments, got 1");
    assert_eq!(message(r#"["a",3,null,4]"#), "expected 3 arguments, got more");
    assert_eq!(message(r#"["a","b",null]"#), "times: expected u32, got string \"b\"");
    assert_eq!(
        message("5"),
        "expected an array of 3 arguments or an object with their names, got integer `5`"
    );
}

#[test]
fn no_parameter_is_null_or_an_empty_array() {
    let none = params(vec![], vec![Type::Unit]);
    assert_eq!(encode(&none, "null").unwrap(), b"");
    assert_eq!(encode(&none, "[]").unwrap(), b"");
    assert_eq!(encode(&none, "[1]").unwrap_err().to_string(), "expected no arguments, got some");
}

#[test]
fn depth_is_bounded_both_ways() {
    // A tree holds trees, so the type itself has no depth.
    let tree = || vec![Type::Seq(0)];
    let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    round_trip(tree(), &deep(100));
    let error = encode(&one(tree()), &deep(1_000_000)).unwrap_err();
    assert_eq!(error.message, "recursion limit exceeded");
    let bytes = vec![1u8; 1_000_000];
    assert_eq!(decode(&one(tree()), &bytes).unwrap_err().to_string(), "nested deeper than 128");
    // An option of itself has a depth and no text at all.
    let endless = one(vec![Type::Option(0)]);
    assert!(encode(&endless, "1").unwrap_err().to_string().contains("128 options in one another"));
    assert_eq!(encode(&endless, "null").unwrap(), [0]);
    let nested = one(vec![Type::Option(1), Type::Option(2), Type::Bool]);
    assert_eq!(encode(&nested, "true").unwrap(), [1, 1, 1]);
    // A tuple of itself has a depth and no bytes at all.
    assert_eq!(
        decode(&one(vec![Type::Tuple(vec![0])]), b"").unwrap_err().to_string(),
        "nested deeper than 128"
    );
}

#[test]
fn a_small_result_cannot_become_a_huge_text() {
    let unit = || vec![Type::Seq(1), Type::Unit];
    let mut bytes = Vec::new();
    push_varint(&mut bytes, u128::from(u32::MAX));
    assert!(decode(&one(unit()), &bytes).unwrap_err().to_string().contains("more values than"));
    let nested = vec![Type::Array(1, 60_000), Type::Array(2, 60_000), Type::Unit];
    assert!(decode(&one(nested), b"").unwrap_err().to_string().contains("more values than"));
}

#[test]
fn the_names_that_a_guest_has_chosen_cannot_become_a_huge_text() {
    // Each part has one byte, and a name of 6 KB in JSON.
    let name = "\u{1}".repeat(1000);
    let variant = Variant { name, docs: String::new(), data: VariantData::Unit };
    let types = vec![Type::Seq(1), Type::Enum { name: "E".to_owned(), variants: vec![variant] }];
    let mut bytes = Vec::new();
    push_varint(&mut bytes, 100_000);
    bytes.resize(bytes.len() + 100_000, 0);
    let refused = decode(&one(types.clone()), &bytes).unwrap_err();
    assert!(refused.to_string().contains("far longer than its bytes"), "{refused}");
    assert!(decode(&one(types), &[2, 0, 0]).is_ok(), "a few are no harm");
}

#[test]
fn damaged_values_are_refused() {
    for (types, bytes) in [
        (vec![Type::U32], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..]),
        (vec![Type::U8], &[]),
        (vec![Type::U8], &[1, 2]),
        (vec![Type::Bool], &[2]),
        (vec![Type::String], &[5, b'a']),
        (vec![Type::String], &[1, 0xff]),
        (vec![Type::Option(1), Type::U8], &[3]),
        (vec![Type::Char], &[1, 0xff]),
        (vec![Type::U16], &[0xff, 0xff, 0xff]),
    ] {
        assert!(decode(&one(types.clone()), bytes).is_err(), "{types:?} {bytes:?}");
    }
}

#[test]
fn errors_have_a_path_and_a_position() {
    let error = encode(&one(vec![Type::Seq(1), Type::U32]), "[1,\n  2,\n  \"x\"]").unwrap_err();
    assert_eq!((error.line, error.path.as_str()), (3, "[2]"));
    assert_eq!(error.message, "expected u32, got string \"x\"");
    let error = encode(&one(vec![Type::String]), "\"\u{1}\"").unwrap_err();
    assert!(error.syntax);
    let error = encode(&one(vec![Type::U8]), "1 2").unwrap_err();
    assert_eq!(error.message, "trailing characters");
}

/// Some types, and values of each in JSON.
fn any_value() -> BoxedStrategy<(Vec<Type>, String)> {
    let text = |strategy: BoxedStrategy<serde_json::Value>, types: Vec<Type>| {
        strategy.prop_map(move |value| (types.clone(), value.to_string())).boxed()
    };
    let number = |n: BoxedStrategy<serde_json::Value>, ty| text(n, vec![ty]);
    prop_oneof![
        number(any::<u64>().prop_map(Into::into).boxed(), Type::U64),
        number(any::<i64>().prop_map(Into::into).boxed(), Type::I64),
        number(any::<i16>().prop_map(Into::into).boxed(), Type::I16),
        number(any::<String>().prop_map(Into::into).boxed(), Type::String),
        number(any::<bool>().prop_map(Into::into).boxed(), Type::Bool),
        text(
            prop::collection::vec(any::<u32>(), 0..20).prop_map(Into::into).boxed(),
            vec![Type::Seq(1), Type::U32]
        ),
        text(
            prop::collection::btree_map(any::<String>(), any::<bool>(), 0..8)
                .prop_map(|map| serde_json::to_value(map).unwrap())
                .boxed(),
            vec![Type::Map(1, 2), Type::String, Type::Bool]
        ),
        text(Just(serde_json::Value::Null).boxed(), vec![Type::Option(1), Type::U8]),
    ]
    .boxed()
}

proptest! {
    /// Encoding and decoding a value gives the same value, for many types.
    #[test]
    fn values_survive((types, json) in any_value()) {
        let params = one(types);
        let bytes = encode(&params, &json).unwrap();
        let back: serde_json::Value = serde_json::from_str(&decode(&params, &bytes).unwrap()).unwrap();
        prop_assert_eq!(back, serde_json::from_str::<serde_json::Value>(&json).unwrap());
    }

    /// A guest may return any bytes for any type.
    #[test]
    fn any_bytes_are_a_value_or_an_error((types, _) in any_value(), bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(text) = decode(&one(types), &bytes) {
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
        }
    }
}
