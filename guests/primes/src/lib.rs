//! Counts prime numbers: pure computation, nothing else.

/// How many primes there are below `limit`, by the sieve of Eratosthenes.
#[wpool_guest::task]
fn primes(limit: u32) -> u32 {
    let limit = limit as usize;
    let mut composite = vec![false; limit];
    let mut count = 0;
    for number in 2..limit {
        if composite[number] {
            continue;
        }
        count += 1;
        // A guest's `usize` has 32 bits, and the square of a large prime has more.
        for multiple in (number.saturating_mul(number)..limit).step_by(number) {
            composite[multiple] = true;
        }
    }
    count
}
