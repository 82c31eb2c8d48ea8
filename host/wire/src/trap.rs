//! The table of traps: number, name and message, for the protocol, the errors and the reports.

use std::fmt;

macro_rules! traps {
    ($($(#[$docs:meta])* $name:ident = $number:literal, $snake:literal, $message:literal;)*) => {
        /// Why WebAssembly stopped a task.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Trap {
            $($(#[$docs])* $name,)*
            /// A trap that this version has no name for.
            Unknown(u8),
        }

        impl Trap {
            /// Every trap that has a name.
            pub const ALL: &[Trap] = &[$(Trap::$name),*];

            /// Returns the number of this trap in the protocol.
            #[doc(hidden)]
            #[must_use]
            pub fn number(self) -> u8 {
                match self {
                    $(Trap::$name => $number,)*
                    Trap::Unknown(number) => number,
                }
            }

            /// Returns the trap with this number; [`Trap::Unknown`] if there is none.
            #[doc(hidden)]
            #[must_use]
            pub fn from_number(number: u8) -> Self {
                match number {
                    $($number => Trap::$name,)*
                    other => Trap::Unknown(other),
                }
            }

            /// Returns a short name in snake case, which JSON reports use.
            pub fn name(self) -> &'static str {
                match self {
                    $(Trap::$name => $snake,)*
                    Trap::Unknown(_) => "unknown",
                }
            }
        }

        impl fmt::Display for Trap {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Trap::$name => f.write_str($message),)*
                    Trap::Unknown(number) => write!(f, "unknown trap {number}"),
                }
            }
        }
    };
}

traps! {
    /// The stack is exhausted, most often by endless recursion.
    StackOverflow = 0, "stack_overflow", "stack overflow";
    /// An address outside the linear memory.
    MemoryOutOfBounds = 1, "memory_out_of_bounds", "memory access out of bounds";
    /// An atomic access to an address that is not aligned.
    HeapMisaligned = 2, "heap_misaligned", "misaligned atomic access";
    /// An index outside the table.
    TableOutOfBounds = 3, "table_out_of_bounds", "table access out of bounds";
    /// An indirect call through an empty element.
    IndirectCallToNull = 4, "indirect_call_to_null", "indirect call of nothing";
    /// An indirect call of a function of another type.
    BadSignature = 5, "bad_signature", "indirect call of a function of another type";
    /// An integer operation whose result does not fit.
    IntegerOverflow = 6, "integer_overflow", "integer overflow";
    /// An integer division by zero.
    IntegerDivisionByZero = 7, "integer_division_by_zero", "integer division by zero";
    /// A conversion of a float that does not fit into the integer type.
    BadConversionToInteger = 8, "bad_conversion_to_integer", "a float that does not fit an integer";
    /// An `unreachable` instruction, which most languages compile an abort to.
    UnreachableCodeReached = 9, "unreachable_code_reached", "unreachable code was reached";
    /// A null reference was used.
    NullReference = 10, "null_reference", "a null reference was used";
    /// The system could not provide the memory.
    AllocationTooLarge = 11, "allocation_too_large", "an allocation that is too large";
    /// A trap without a more exact name.
    Other = 12, "other", "trap";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_traps_are_one_to_one() {
        for &trap in Trap::ALL {
            assert_eq!(Trap::from_number(trap.number()), trap);
        }
        assert_eq!(Trap::from_number(200), Trap::Unknown(200));
        assert_eq!(Trap::Unknown(200).to_string(), "unknown trap 200");
    }
}
