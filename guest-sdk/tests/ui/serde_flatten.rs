use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, wpool_guest::Schema)]
struct Inner {
    x: i32,
}

#[derive(Serialize, Deserialize, wpool_guest::Schema)]
struct Outer {
    #[serde(flatten)]
    inner: Inner,
}

fn main() {}
