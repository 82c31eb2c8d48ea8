//! [`Item`]: a value's bytes and the handles beside them, with the limits on both.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// The most handles in one call.
pub const MAX_HANDLES: usize = 10_000;
/// The most values in one call.
pub const MAX_ITEMS: usize = 100_000;

/// A value: its bytes in postcard, and its handles. The bytes name a handle by its position in `handles`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item<H = u32> {
    /// The value.
    #[serde(with = "bytes")]
    pub bytes: Vec<u8>,
    /// The handles, at most [`MAX_HANDLES`].
    #[serde(deserialize_with = "limited::handles", bound(deserialize = "H: Deserialize<'de>"))]
    pub handles: Vec<H>,
}

impl<H> Default for Item<H> {
    fn default() -> Self {
        Self { bytes: Vec::new(), handles: Vec::new() }
    }
}

/// A value that counts its handles, so that a list of values is limited while it is decoded.
pub trait Carries {
    /// Returns the number of handles in it.
    fn count(&self) -> usize;
}

impl<H> Carries for Item<H> {
    fn count(&self) -> usize {
        self.handles.len()
    }
}

/// Decodes lists of limited length: an element takes more memory than the one byte that may encode it.
pub(super) mod limited {
    use alloc::vec::Vec;
    use core::fmt;
    use core::marker::PhantomData;

    use serde::de::{Error as _, SeqAccess, Visitor};
    use serde::{Deserialize, Deserializer};

    use super::{Carries, MAX_HANDLES, MAX_ITEMS};

    pub(in crate::object) fn items<'de, T: Deserialize<'de> + Carries, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        deserializer.deserialize_seq(Limited { max: MAX_ITEMS, handles: T::count, elements: PhantomData })
    }

    pub(in crate::object) fn handles<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        deserializer.deserialize_seq(Limited { max: MAX_HANDLES, handles: |_: &T| 1, elements: PhantomData })
    }

    struct Limited<T, F> {
        /// The most elements.
        max: usize,
        /// Returns the number of handles in an element.
        handles: F,
        elements: PhantomData<T>,
    }

    impl<'de, T: Deserialize<'de>, F: Fn(&T) -> usize> Visitor<'de> for Limited<T, F> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {} elements with {MAX_HANDLES} handles", self.max)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<T>, A::Error> {
            let (mut elements, mut handles) = (Vec::new(), 0);
            while let Some(element) = sequence.next_element()? {
                handles += (self.handles)(&element);
                if elements.len() == self.max || handles > MAX_HANDLES {
                    return Err(A::Error::custom("too many elements, or handles in them"));
                }
                elements.push(element);
            }
            Ok(elements)
        }
    }
}

/// Encodes bytes in one piece; serde alone would encode a `Vec<u8>` element by element.
pub(super) mod bytes {
    use alloc::vec::Vec;
    use core::fmt;

    use serde::de::{SeqAccess, Visitor};
    use serde::{Deserializer, Serializer};

    pub(in crate::object) fn serialize<S: Serializer>(
        bytes: &[u8],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(in crate::object) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        deserializer.deserialize_bytes(Bytes)
    }

    struct Bytes;

    impl<'de> Visitor<'de> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }

        fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
            Ok(bytes)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<u8>, A::Error> {
            let mut bytes = Vec::new();
            while let Some(byte) = sequence.next_element()? {
                bytes.push(byte);
            }
            Ok(bytes)
        }
    }
}
