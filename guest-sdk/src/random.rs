//! Random numbers of the host.

use crate::host;

/// Fills `bytes` with random numbers.
///
/// The host decides where they come from: its operating system, or a generator with a seed, which repeats them in every
/// run. The task fails if the host denies random numbers. Natively, in a test, they are good for tests only.
///
/// ```
/// let mut key = [0; 16];
/// wpool_guest::random_bytes(&mut key);
/// assert_ne!(key, [0; 16]);
/// ```
pub fn random_bytes(bytes: &mut [u8]) {
    host::random(bytes);
}

/// Returns a random value, as [`random_bytes`] does: any integer, `true` or `false`, or a number from zero up to but not
/// including one.
///
/// ```
/// /// How many of `throws` darts hit the quarter of a disc.
/// #[wpool_guest::task]
/// fn hits(throws: u32) -> u32 {
///     let hit = || {
///         let [x, y]: [f64; 2] = wpool_guest::random();
///         x * x + y * y < 1.0
///     };
///     (0..throws).map(|_| u32::from(hit())).sum()
/// }
/// # fn main() { assert!((1..1000).contains(&hits(1000))); }
/// ```
pub fn random<T: Random>() -> T {
    T::random()
}

/// The types of which [`random`] returns values: integers, `bool`, floats, and arrays of them.
///
/// ```
/// let dice: [u8; 3] = wpool_guest::random();
/// assert_eq!(dice.len(), 3);
/// ```
pub trait Random: sealed::Sealed {
    #[doc(hidden)]
    fn random() -> Self;
}

mod sealed {
    /// Keeps other types from being random: a method may be added to the trait.
    pub trait Sealed {}
}

macro_rules! random_integers {
    ($($ty:ty),*) => {
        $(
            impl sealed::Sealed for $ty {}

            impl Random for $ty {
                fn random() -> Self {
                    let mut bytes = [0; size_of::<$ty>()];
                    random_bytes(&mut bytes);
                    <$ty>::from_le_bytes(bytes)
                }
            }
        )*
    };
}

random_integers!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize);

impl sealed::Sealed for bool {}

impl Random for bool {
    fn random() -> Self {
        u8::random() & 1 == 1
    }
}

impl sealed::Sealed for f32 {}

impl Random for f32 {
    /// One of the 2^24 numbers with equal distances, all of which a float represents exactly.
    fn random() -> Self {
        let steps = u16::MAX as f32 + 1.0;
        let (high, low) = (u16::random(), u8::random());
        (f32::from(high) + f32::from(low) / 256.0) / steps
    }
}

impl sealed::Sealed for f64 {}

impl Random for f64 {
    /// One of the 2^53 numbers with equal distances, all of which a float represents exactly.
    fn random() -> Self {
        let (high, low) = (u32::random(), u32::random() >> 11);
        (f64::from(high) + f64::from(low) / f64::from(1 << 21)) / (f64::from(u32::MAX) + 1.0)
    }
}

impl<T: sealed::Sealed, const N: usize> sealed::Sealed for [T; N] {}

impl<T: Random, const N: usize> Random for [T; N] {
    fn random() -> Self {
        std::array::from_fn(|_| T::random())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_lie_between_zero_and_one() {
        for _ in 0..1000 {
            assert!((0.0..1.0).contains(&f32::random()) && (0.0..1.0).contains(&f64::random()));
        }
        let mut bools = (0..1000).map(|_| bool::random());
        assert!(bools.any(|value| value) && bools.any(|value| !value));
    }

    #[test]
    fn the_greatest_float_is_less_than_one() {
        let steps = u16::MAX as f32 + 1.0;
        assert!((f32::from(u16::MAX) + 255.0 / 256.0) / steps < 1.0);
        let low = f64::from(u32::MAX >> 11) / f64::from(1 << 21);
        assert!((f64::from(u32::MAX) + low) / (f64::from(u32::MAX) + 1.0) < 1.0);
    }
}
