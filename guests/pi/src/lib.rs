//! The number pi by chance, with the crate `rand`, which draws its seed from the host by `getrandom`.

use rand::rngs::{StdRng, SysRng};
use rand::{RngExt as _, SeedableRng as _};

/// The number of darts that hit a quarter of a disc, of `throws` at the square around it: about pi quarters of them.
#[wpool_guest::task]
fn hits(throws: u32) -> Result<u32, String> {
    let mut rng = StdRng::try_from_rng(&mut SysRng).map_err(|error| error.to_string())?;
    let mut hit = || {
        let (x, y): (f64, f64) = rng.random();
        x * x + y * y < 1.0
    };
    Ok((0..throws).map(|_| u32::from(hit())).sum())
}
