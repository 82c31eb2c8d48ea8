//! Plain numbers in memory that the host and all workers map: no message is sent to read or change them.

use wpool_abi::object::{Number as Form, ObjectError, Rights};
use wpool_schema::Schema;

use crate::Handle;
use crate::handle::object;

object! {
    /// Numbers of type `T` in memory that all who have a handle share, as many as at the start.
    ///
    /// Each element is read and written whole. Of several, some may be as they were before another's write and some as
    /// they are after it: where that matters a [`Lock`](crate::Lock) goes with it, or [`fetch_add`](SharedArray::fetch_add).
    SharedArray<T>: SharedArray, Rights::ALL
}

object! {
    /// Numbers of type `T` in shared memory, to be read only.
    SharedSlice<T>: SharedArray, Rights::READ
}

/// The plain numbers: integers of 8 to 64 bits, and floating-point numbers.
pub trait Number: bytemuck::Pod + Schema + sealed::Sealed {
    /// How they lie in memory.
    #[doc(hidden)]
    const FORM: Form;

    #[doc(hidden)]
    fn to_bits(self) -> u64;

    #[doc(hidden)]
    fn from_bits(bits: u64) -> Self;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! integers {
    ($($ty:ident $form:ident),*) => { $(
        impl sealed::Sealed for $ty {}

        #[expect(clippy::allow_attributes, reason = "not all of them need each")]
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_possible_wrap,
            clippy::cast_lossless,
            clippy::unnecessary_cast,
            trivial_numeric_casts,
            reason = "the lowest bits are the number"
        )]
        impl Number for $ty {
            const FORM: Form = Form::$form;

            fn to_bits(self) -> u64 {
                self as u64
            }

            fn from_bits(bits: u64) -> Self {
                bits as Self
            }
        }
    )* };
}

integers!(u8 U8, i8 I8, u16 U16, i16 I16, u32 U32, i32 I32, u64 U64, i64 I64);

impl sealed::Sealed for f32 {}

impl Number for f32 {
    const FORM: Form = Form::F32;

    fn to_bits(self) -> u64 {
        Self::to_bits(self).into()
    }

    #[expect(clippy::cast_possible_truncation, reason = "the lowest bits are the number")]
    fn from_bits(bits: u64) -> Self {
        Self::from_bits(bits as u32)
    }
}

impl sealed::Sealed for f64 {}

impl Number for f64 {
    const FORM: Form = Form::F64;

    fn to_bits(self) -> u64 {
        Self::to_bits(self)
    }

    fn from_bits(bits: u64) -> Self {
        Self::from_bits(bits)
    }
}

/// Where an element lies, in bytes.
fn offset<T>(at: usize) -> Result<u64, ObjectError> {
    at.checked_mul(size_of::<T>()).and_then(|at| u64::try_from(at).ok()).ok_or(ObjectError::NotFound)
}

macro_rules! readable {
    ($($name:ident),*) => { $(
        impl<T: Number, H: Handle> $name<T, H> {
            /// How many elements there are.
            ///
            /// # Errors
            /// If the handle is not good any more.
            pub fn len(&self) -> Result<usize, ObjectError> {
                let bytes = usize::try_from(self.handle.shared_size()?).map_err(|_| ObjectError::WrongType)?;
                Ok(bytes / size_of::<T>())
            }

            /// Whether there is none.
            ///
            /// # Errors
            /// As [`len`](Self::len).
            pub fn is_empty(&self) -> Result<bool, ObjectError> {
                self.len().map(|len| len == 0)
            }

            /// One element.
            ///
            /// # Errors
            /// [`ObjectError::NotFound`] if there is no such place.
            pub fn get(&self, at: usize) -> Result<T, ObjectError> {
                let mut element = T::zeroed();
                self.read(at, std::slice::from_mut(&mut element))?;
                Ok(element)
            }

            /// Copies the elements from a place on, as many as fit in `into`.
            ///
            /// # Errors
            /// [`ObjectError::NotFound`] if there are not so many; `into` is as it was.
            pub fn read(&self, at: usize, into: &mut [T]) -> Result<(), ObjectError> {
                self.handle.shared_read(offset::<T>(at)?, bytemuck::cast_slice_mut(into))
            }

            /// A copy of all elements.
            ///
            /// # Errors
            /// As [`len`](Self::len).
            pub fn to_vec(&self) -> Result<Vec<T>, ObjectError> {
                let mut elements = vec![T::zeroed(); self.len()?];
                self.read(0, &mut elements)?;
                Ok(elements)
            }
        }
    )* };
}

readable!(SharedArray, SharedSlice);

impl<T: Number, H: Handle> SharedArray<T, H> {
    /// Puts a number in a place.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`] if there is no such place.
    pub fn set(&self, at: usize, element: T) -> Result<(), ObjectError> {
        self.write(at, &[element])
    }

    /// Copies these elements to a place and those behind it.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`] if there are not so many; then nothing was written.
    pub fn write(&self, at: usize, elements: &[T]) -> Result<(), ObjectError> {
        self.handle.shared_write(offset::<T>(at)?, bytemuck::cast_slice(elements))
    }

    /// Adds to an element, in one step, and returns what it was before. Integers wrap around, floats
    /// round as ever.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`] if there is no such place.
    pub fn fetch_add(&self, at: usize, number: T) -> Result<T, ObjectError> {
        self.handle.shared_add(offset::<T>(at)?, number.to_bits()).map(T::from_bits)
    }

    /// The same numbers, to be read only.
    #[must_use]
    pub fn read_only(&self) -> SharedSlice<T, H> {
        SharedSlice::from_handle(self.handle.narrowed(Rights::READ))
    }
}
