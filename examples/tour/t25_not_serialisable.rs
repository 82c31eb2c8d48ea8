//! Code is not data: a function cannot be sent, and a call names a task of the guest. The pool goes on after both errors.

use std::error::Error;

use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use wpool::{Guest, Pool, Schema, TypeTable};
use wpool_examples::{guest, say};

/// A function of this program, where a number is expected.
struct Function(fn(i64) -> i64);

impl Serialize for Function {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("a function cannot be serialised"))
    }
}

impl Schema for Function {
    fn describe(types: &mut TypeTable) -> u32 {
        i64::describe(types)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    wpool::init();
    let pool = Pool::builder(Guest::from_file(guest("tour")?)?).build()?;
    let function = Function(|number| number + 1);
    say(&format!("here it can be called: {}", (function.0)(1)));
    match pool.task::<Function, i64>("square")?.submit(&function) {
        Ok(_) => say("it was sent"),
        Err(error) => say(&error.to_string()),
    }
    match pool.task::<i64, i64>("lambda") {
        Ok(_) => say("there is such a task"),
        Err(error) => say(error.to_string().split(';').next().unwrap_or_default()),
    }
    say(&format!("the pool goes on: {}", pool.task::<i64, i64>("square")?.apply(&5)?));
    Ok(())
}
