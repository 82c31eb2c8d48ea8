//! Random numbers by the task's policy, for the module `wpool` and for WASI alike.

use wasmtime::Caller;
use wpool_wire::ids::{STEP, mix};
use wpool_wire::limits::{Capability, RandomPolicy};

use super::host_function::memory_and_state;
use super::time::end_if_due;
use crate::guest_error::PolicyDenied;
use crate::guest_mem::GuestSlice;
use crate::state::TaskState;

/// The bytes that are filled without a look at the task's time. A multiple of a generator's word.
const PIECE: usize = 64 << 10;

/// Fills bytes of the guest with random numbers.
pub(super) fn fill(mut caller: Caller<'_, TaskState>, ptr: u32, len: u32) -> wasmtime::Result<()> {
    let (memory, state) = memory_and_state(&mut caller)?;
    if !matches!(state.limits.random, RandomPolicy::Os | RandomPolicy::Seeded(_)) {
        // `Denied`, and what a later version may deny.
        return Err(PolicyDenied(Capability::Random).into());
    }
    // No epoch ends a task while the host works for it, so a long request is worked off in pieces.
    for piece in GuestSlice::new(ptr, len).write(memory)?.chunks_mut(PIECE) {
        end_if_due(state)?;
        match state.limits.random {
            RandomPolicy::Os => from_system(piece)?,
            RandomPolicy::Seeded(seed) => {
                let generator = state.generator.get_or_insert_with(|| state.place.seeded(seed));
                from_generator(generator, piece);
            }
            // The policy was looked at above.
            _ => {}
        }
    }
    Ok(())
}

fn from_system(bytes: &mut [u8]) -> rustix::io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(())
}

/// Fills `bytes` from SplitMix64: each step adds a constant to the state and mixes it. The rest of a last word is dropped.
fn from_generator(generator: &mut u64, bytes: &mut [u8]) {
    for word in bytes.chunks_mut(8) {
        *generator = generator.wrapping_add(STEP);
        word.copy_from_slice(&mix(*generator).to_le_bytes()[..word.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generator_continues_and_repeats() {
        let drawn = |sizes: &[usize]| {
            let (mut generator, mut all) = (7, Vec::new());
            for size in sizes {
                let mut bytes = vec![0; *size];
                from_generator(&mut generator, &mut bytes);
                all.extend(bytes);
            }
            all
        };
        assert_eq!(drawn(&[16, 8]), drawn(&[24]));
        assert_eq!(drawn(&[3])[..], drawn(&[8])[..3]);
        let words: Vec<u64> =
            drawn(&[80]).as_chunks::<8>().0.iter().map(|w| u64::from_le_bytes(*w)).collect();
        let different: std::collections::HashSet<_> = words.iter().collect();
        assert_eq!(different.len(), 10);
        // The first number of SplitMix64 from the seed zero, which its authors publish.
        let mut first = [0; 8];
        from_generator(&mut 0, &mut first);
        assert_eq!(u64::from_le_bytes(first), 0xe220_a839_7b1d_cdaf);
    }
}
