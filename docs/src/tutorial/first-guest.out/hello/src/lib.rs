//! A guest: its tasks run in a sandbox, each call in an instance of its own.

/// Greets somebody.
#[wpool_guest::task]
fn greet(name: String) -> Result<String, String> {
    if name.is_empty() {
        return Err("nobody to greet".to_owned());
    }
    Ok(format!("Hello, {name}!"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greets_by_name() {
        assert_eq!(greet("you".to_owned()).unwrap(), "Hello, you!");
        assert!(greet(String::new()).is_err());
    }
}
