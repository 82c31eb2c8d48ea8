//! Returns, loops, panics, traps or exceeds a limit, as its argument says.
#![no_main]

use serde::{Deserialize, Serialize};

/// The behaviour of one task.
#[derive(Serialize, Deserialize, wpool_guest::Schema)]
#[serde(rename_all = "snake_case")]
enum Deed {
    Fine,
    Loop,
    MemoryBomb,
    Panic,
    Trap,
    StackOverflow,
    HugeResult,
}

/// Behaves as the argument says.
#[wpool_guest::task]
fn act(deed: Deed) -> Vec<u8> {
    match deed {
        Deed::Fine => b"fine".to_vec(),
        Deed::Loop => loop {
            std::hint::black_box(0);
        },
        Deed::MemoryBomb => {
            let mut held: Vec<Vec<u8>> = Vec::new();
            loop {
                held.push(vec![1; 1 << 20]);
                std::hint::black_box(&held);
            }
        }
        Deed::Panic => panic!("no luck with {}", 7),
        Deed::Trap => std::process::abort(),
        Deed::StackOverflow => vec![depth(1) as u8],
        Deed::HugeResult => vec![0; 1 << 20],
    }
}

/// Recurses without locals in linear memory, so that the engine's stack overflows and not the guest's.
fn depth(n: u64) -> u64 {
    if n == u64::MAX {
        return 0;
    }
    depth(n + 1).rotate_left(n as u32) ^ n
}
