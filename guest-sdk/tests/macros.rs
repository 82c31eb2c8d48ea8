//! A misuse of the macros is a compile error at its location, with the correct use in the message.

#[test]
fn misuse_is_a_compile_error_that_says_what_to_do() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
