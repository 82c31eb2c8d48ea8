//! Writes to the task's log.
#![no_main]

/// Writes `lines` lines, at alternating levels.
#[wpool_guest::task]
fn log(lines: u32) -> u32 {
    for line in 0..lines {
        match line % 3 {
            0 => wpool_guest::info!("line {line}"),
            1 => wpool_guest::warn!("line {line}"),
            _ => wpool_guest::error!("line {line}"),
        }
    }
    lines
}
