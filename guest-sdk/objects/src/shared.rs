//! Shared arrays: plain numbers in memory that the host and all workers map, read and changed without a message.

use wpool_abi::object::{Number as Form, ObjectError, Rights};
use wpool_schema::Schema;

use crate::Handle;
use crate::handle::object;

object! {
    /// Numbers of type `T` in memory that all holders of a handle share. Its length is fixed.
    ///
    /// Each element is read and written atomically, a range of elements is not: during a write by another party, some
    /// of them may be old and some new. Use a [`Lock`](crate::Lock) where that matters, or
    /// [`fetch_add`](SharedArray::fetch_add) for one element.
    SharedArray<T>: SharedArray, Rights::ALL
}

object! {
    /// A read-only [`SharedArray`].
    SharedSlice<T>: SharedArray, Rights::READ
}

/// The element types of shared arrays: integers of 8 to 64 bits, and floating-point numbers.
pub trait Number: bytemuck::Pod + Schema + sealed::Sealed {
    /// The type's form in memory.
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

        #[expect(clippy::allow_attributes, reason = "each type needs some of them")]
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_possible_wrap,
            clippy::cast_lossless,
            clippy::unnecessary_cast,
            trivial_numeric_casts,
            reason = "a number is in the lowest bits"
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

    #[expect(clippy::cast_possible_truncation, reason = "a number is in the lowest bits")]
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

/// The byte offset of the element at an index.
fn offset<T>(at: usize) -> Result<u64, ObjectError> {
    at.checked_mul(size_of::<T>()).and_then(|at| u64::try_from(at).ok()).ok_or(ObjectError::NotFound)
}

macro_rules! readable {
    ($($name:ident),*) => { $(
        impl<T: Number, H: Handle> $name<T, H> {
            /// Returns the number of elements.
            ///
            /// # Errors
            /// [`ObjectError::BadHandle`] if the handle is no longer valid.
            pub fn len(&self) -> Result<usize, ObjectError> {
                let bytes = usize::try_from(self.handle.shared_size()?).map_err(|_| ObjectError::WrongType)?;
                Ok(bytes / size_of::<T>())
            }

            /// Returns whether there are no elements.
            ///
            /// # Errors
            /// As [`len`](Self::len).
            pub fn is_empty(&self) -> Result<bool, ObjectError> {
                self.len().map(|len| len == 0)
            }

            /// Returns the element at an index.
            ///
            /// # Errors
            /// [`ObjectError::NotFound`] beyond the end.
            pub fn get(&self, at: usize) -> Result<T, ObjectError> {
                let mut element = T::zeroed();
                self.read(at, std::slice::from_mut(&mut element))?;
                Ok(element)
            }

            /// Fills `into` with the elements from index `at` on.
            ///
            /// # Errors
            /// [`ObjectError::NotFound`] if there are fewer than `into` holds; `into` is then unchanged.
            pub fn read(&self, at: usize, into: &mut [T]) -> Result<(), ObjectError> {
                self.handle.shared_read(offset::<T>(at)?, bytemuck::cast_slice_mut(into))
            }

            /// Returns a copy of all elements.
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
    /// Sets the element at an index.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`] beyond the end.
    pub fn set(&self, at: usize, element: T) -> Result<(), ObjectError> {
        self.write(at, &[element])
    }

    /// Copies `elements` to the array from index `at` on.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`] if they reach beyond the end; nothing is written then.
    pub fn write(&self, at: usize, elements: &[T]) -> Result<(), ObjectError> {
        self.handle.shared_write(offset::<T>(at)?, bytemuck::cast_slice(elements))
    }

    /// Adds `number` to the element at an index atomically, and returns its former value. Integers wrap around.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`] beyond the end.
    pub fn fetch_add(&self, at: usize, number: T) -> Result<T, ObjectError> {
        self.handle.shared_add(offset::<T>(at)?, number.to_bits()).map(T::from_bits)
    }

    /// Returns a read-only handle of the same array.
    #[must_use]
    pub fn read_only(&self) -> SharedSlice<T, H> {
        SharedSlice::from_handle(self.handle.narrowed(Rights::READ))
    }
}
