//! The descriptions that the derive of `Schema` makes.
#![allow(dead_code, reason = "the types are only described")]

use wpool_guest::__private::Type;
use wpool_guest::{Schema, TypeTable};

/// A type that contains itself, and is encoded as its only field.
#[derive(Schema)]
struct Tree(Vec<Tree>);

#[derive(Schema)]
struct Node {
    next: Link,
}

#[derive(Schema)]
struct Link(Option<Box<Node>>);

#[derive(Schema)]
struct Metres(f64);

fn described<T: Schema>() -> (u32, Vec<Type>) {
    let mut types = TypeTable::default();
    let root = T::describe(&mut types);
    (root, types.into_types())
}

#[test]
fn a_newtype_that_contains_itself_has_a_finite_description() {
    let (root, types) = described::<Tree>();
    let Type::Seq(item) = types[root as usize] else { panic!("{types:?}") };
    assert!(matches!(types[item as usize], Type::Seq(again) if again == item || again == root), "{types:?}");
}

#[test]
fn a_newtype_is_its_field_wherever_the_description_begins() {
    let (root, types) = described::<Node>();
    let Type::Struct { fields, .. } = &types[root as usize] else { panic!("{types:?}") };
    assert_eq!(types[fields[0].ty as usize], Type::Option(root));
    let (root, types) = described::<Link>();
    let Type::Option(node) = types[root as usize] else { panic!("{types:?}") };
    assert!(
        matches!(&types[node as usize], Type::Struct { fields, .. } if fields[0].ty == root),
        "{types:?}"
    );
    let (root, types) = described::<Metres>();
    assert_eq!(types[root as usize], Type::F64);
}
