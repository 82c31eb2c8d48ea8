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

/// When failed tasks end a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Halt {
    /// Whether tasks that run are killed.
    pub(crate) now: bool,
    pub(crate) fail: HaltAt,
}

/// The failures that end a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum HaltAt {
    /// This number of them.
    Count(u64),
    /// This part of the tasks that have ended, in percent, and three at least.
    Percent(f64),
}

impl Halt {
    /// Ends a run at the first failure; running tasks finish.
    pub(crate) const FIRST: Self = Self { now: false, fail: HaltAt::Count(1) };

    /// Whether a run ends that had these failures among `ended` tasks.
    pub(crate) fn is_due(self, failed: u64, ended: u64) -> bool {
        match self.fail {
            HaltAt::Count(count) => failed >= count,
            #[expect(clippy::cast_precision_loss, reason = "a part of a hundred")]
            HaltAt::Percent(percent) => failed >= 3 && failed as f64 * 100.0 >= percent * ended as f64,
        }
    }
}

/// Parses `fail=N` or `fail=N%`, which `soon,` or `now,` may stand before.
pub(crate) fn parse_halt(text: &str) -> Result<Halt, String> {
    const USAGE: &str = "write fail=N or fail=N%, and soon, or now, before it";
    let (when, fail) = text.split_once(',').unwrap_or(("soon", text));
    let now = match when {
        "soon" => false,
        "now" => true,
        _ => return Err(USAGE.to_owned()),
    };
    let number = fail.strip_prefix("fail=").ok_or(USAGE)?;
    let fail = match number.strip_suffix('%') {
        Some(percent) => HaltAt::Percent(percent.parse().map_err(|_| USAGE)?),
        None => HaltAt::Count(number.parse().map_err(|_| USAGE)?),
    };
    match fail {
        HaltAt::Count(0) => Err("`0` is no number above zero".to_owned()),
        HaltAt::Percent(percent) if !(percent > 0.0 && percent <= 100.0) => {
            Err("a part is above 0% and at most 100%".to_owned())
        }
        fail => Ok(Halt { now, fail }),
    }
}

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
    fn a_run_halts_at_a_number_or_a_part_of_failures() {
        assert_eq!(parse_halt("fail=1"), Ok(Halt::FIRST));
        let halt = parse_halt("now,fail=3").unwrap();
        assert!(halt.now && !halt.is_due(2, 2) && halt.is_due(3, 1000));
        let halt = parse_halt("soon,fail=10%").unwrap();
        assert!(!halt.now && !halt.is_due(2, 2), "the first failures say little");
        assert!(halt.is_due(3, 30) && !halt.is_due(3, 31));
        for text in ["", "1", "fail=", "fail=0", "fail=0%", "fail=101%", "fail=x%", "later,fail=1", "fail=-1"]
        {
            assert!(parse_halt(text).is_err(), "{text}");
        }
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
