//! Parses the values of flags: times, sizes, and the names of shared objects with a value or a count.

use std::time::Duration;

/// The largest size that can be typed, far above the memory of any machine.
const MAX_SIZE: u64 = 1_000_000_000_000_000;

/// A limit; `None` if `none` was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit<T>(pub(crate) Option<T>);

/// A name and the text after its `=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assigned(pub(crate) String, pub(crate) String);

/// A name and the count after its `:`, if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counted(pub(crate) String, pub(crate) Option<u64>);

/// Parses a decimal number with a unit.
pub(crate) fn parse_time(text: &str) -> Result<Limit<Duration>, String> {
    const USAGE: &str = "a time is a number with ms, s, min or h, or none";
    if text == "none" {
        return Ok(Limit(None));
    }
    // The crate `humantime` would refuse `.5s`, `5.s`, and `0.333h`, as that is no whole number of seconds.
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds_per_unit = match unit.trim() {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(USAGE.to_owned()),
    };
    let number: f64 = number.parse().map_err(|_| USAGE)?;
    Duration::try_from_secs_f64(number * seconds_per_unit)
        .map(|time| Limit(Some(time)))
        .map_err(|error| error.to_string())
}

/// Parses a decimal number of bytes, with or without a unit.
pub(crate) fn parse_size(text: &str) -> Result<Limit<u64>, String> {
    if text == "none" {
        return Ok(Limit(None));
    }
    // The crate wants a digit before the point, and no space at the end.
    let zero = if matches!(text.as_bytes(), [b'.', b'0'..=b'9', ..]) { "0" } else { "" };
    match parse_size::parse_size(format!("{zero}{}", text.trim_end())) {
        Ok(size) if size <= MAX_SIZE => Ok(Limit(Some(size))),
        Ok(_) | Err(parse_size::Error::PosOverflow) => Err("that is larger than any memory".to_owned()),
        Err(_) => Err("a size is a number with B, KiB, MiB or GiB, or none".to_owned()),
    }
}

/// Parses the size of something that is sent in one piece.
pub(crate) fn parse_small_size(text: &str) -> Result<u32, String> {
    match parse_size(text)?.0.map(u32::try_from) {
        Some(Ok(size)) if size <= wpool::Limits::MAX_PAYLOAD => Ok(size),
        Some(_) => Err("at most 1GiB is possible".to_owned()),
        None => Err("a limit is needed, of at most 1GiB".to_owned()),
    }
}

/// Parses a name.
pub(crate) fn parse_name(text: &str) -> Result<String, String> {
    match text.contains([':', '=']) || text.is_empty() {
        true => Err("a name is not empty, and has neither : nor =".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// Parses `NAME=VALUE`.
pub(crate) fn parse_assigned(text: &str) -> Result<Assigned, String> {
    let (name, value) = text.split_once('=').ok_or("a name and a value are written NAME=VALUE")?;
    Ok(Assigned(parse_name(name)?, value.to_owned()))
}

/// Parses `NAME` or `NAME:COUNT`, where the count is above zero.
pub(crate) fn parse_maybe_counted(text: &str) -> Result<Counted, String> {
    if text.contains(':') { parse_counted(text) } else { Ok(Counted(parse_name(text)?, None)) }
}

/// Parses `NAME:COUNT`, where the count is above zero.
pub(crate) fn parse_counted(text: &str) -> Result<Counted, String> {
    match parse_number(text)? {
        Counted(_, Some(0)) => Err("`0` is no number above zero".to_owned()),
        counted => Ok(counted),
    }
}

/// Parses `NAME:COUNT`, where the count may be zero.
pub(crate) fn parse_number(text: &str) -> Result<Counted, String> {
    let (name, count) = text.split_once(':').ok_or("a name and a number are written NAME:NUMBER")?;
    let count = count.parse().map_err(|_| format!("`{count}` is no number"))?;
    Ok(Counted(parse_name(name)?, Some(count)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_units() {
        assert_eq!(parse_time("500ms"), Ok(Limit(Some(Duration::from_millis(500)))));
        assert_eq!(parse_time("1.5s"), Ok(Limit(Some(Duration::from_millis(1500)))));
        assert_eq!(parse_time("none"), Ok(Limit(None)));
        assert!(parse_time("5").is_err() && parse_time("-1s").is_err() && parse_time("1e308s").is_err());
        assert_eq!(parse_size("64MiB"), Ok(Limit(Some(64 << 20))));
        assert_eq!(parse_size("1 kB"), Ok(Limit(Some(1000))));
        assert_eq!(parse_size("10"), Ok(Limit(Some(10))));
        assert!(parse_size("x").is_err() && parse_size("9999999999999GiB").is_err());
        assert!(parse_small_size("2GiB").is_err() && parse_small_size("none").is_err());
    }

    #[test]
    fn decimals_may_leave_out_what_is_zero() {
        let time =
            |text, millis| assert_eq!(parse_time(text), Ok(Limit(Some(Duration::from_millis(millis)))));
        time(".5s", 500);
        time("5.s", 5000);
        time("0.333h", 1_198_800);
        time("2 min ", 120_000);
        let size = |text, bytes| assert_eq!(parse_size(text), Ok(Limit(Some(bytes))), "{text}");
        for (text, bytes) in
            [(".5kB", 500), ("5.kB", 5000), ("1.5", 2), ("0.1MB", 100_000), ("2 GiB ", 2 << 30)]
        {
            size(text, bytes);
        }
        for text in ["", ".", ".B", "1.2.3", "-1", "MiB", "1XB"] {
            assert!(parse_size(text).is_err_and(|error| error.contains("a size is a number with")), "{text}");
        }
        assert!(parse_size("1e15B").is_ok() && parse_size("1000001GB").is_err());
    }

    #[test]
    fn objects_have_names_and_numbers() {
        let counted = |name: &str, count| Ok(Counted(name.to_owned(), count));
        assert_eq!(parse_maybe_counted("results:100"), counted("results", Some(100)));
        assert_eq!(parse_maybe_counted("results"), counted("results", None));
        assert!(parse_counted("results").is_err() && parse_counted("results:0").is_err());
        assert!(parse_counted("results:x").is_err() && parse_name("").is_err() && parse_name("a=b").is_err());
        let assigned = Assigned("total".to_owned(), "{\"a\": \"b=c\"}".to_owned());
        assert_eq!(parse_assigned("total={\"a\": \"b=c\"}"), Ok(assigned));
        assert!(parse_assigned("total").is_err() && parse_assigned("=1").is_err());
    }
}
