use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, wpool_guest::Schema)]
#[serde(untagged)]
enum Either {
    Number(i32),
    Text(String),
}

fn main() {}
