//! Fails in a given phase: while its argument is decoded, while it runs, or while its result is encoded.
#![no_main]

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wpool_guest::{Schema, TypeTable};

/// The phase in which to fail, and the way.
#[derive(Clone)]
struct Fate(String, String);

impl Fate {
    fn strike(&self, now: &str) -> Result<(), String> {
        if self.0 != now {
            return Ok(());
        }
        match self.1.as_str() {
            "error" => Err("as it was told".to_owned()),
            "panic" => panic!("as it was told"),
            "trap" => std::process::abort(),
            "loop" => loop {
                std::hint::black_box(0);
            },
            _ => {
                let mut held = Vec::new();
                loop {
                    held.push(vec![1u8; 1 << 20]);
                    std::hint::black_box(&held);
                }
            }
        }
    }
}

impl Schema for Fate {
    fn describe(types: &mut TypeTable) -> u32 {
        <(String, String)>::describe(types)
    }
}

impl<'de> Deserialize<'de> for Fate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (when, how) = <(String, String)>::deserialize(deserializer)?;
        let fate = Fate(when, how);
        fate.strike("decode").map_err(D::Error::custom)?;
        Ok(fate)
    }
}

impl Serialize for Fate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.strike("encode").map_err(S::Error::custom)?;
        if self.0 == "lie" {
            // A type other than the described one.
            return serializer.serialize_u8(200);
        }
        (&self.0, &self.1).serialize(serializer)
    }
}

/// Returns its argument, unless it fails.
#[wpool_guest::task]
fn act(fate: Fate) -> Result<Fate, String> {
    fate.strike("run")?;
    Ok(fate)
}
