//! Does as it is told, and most of that is bad.
#![no_main]

use serde::{Deserialize, Serialize};

/// What to do.
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

/// Does it.
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

/// Recurses with no array or address of its own, so that it is the engine's stack that is full in the end.
fn depth(n: u64) -> u64 {
    if n == u64::MAX {
        return 0;
    }
    depth(n + 1).rotate_left(n as u32) ^ n
}
