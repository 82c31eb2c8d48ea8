//! The status codes of operations on shared arrays: zero for success, otherwise the number of an error.

use super::ObjectError;

/// The errors with a status of their own, from status 1 on.
const ERRORS: [ObjectError; 5] = [
    ObjectError::BadHandle,
    ObjectError::NoRight,
    ObjectError::WrongKind,
    ObjectError::WrongType,
    ObjectError::NotFound,
];

/// Returns the status of a result. An error without a status of its own is that of [`ObjectError::BadHandle`].
#[must_use]
pub fn status(answer: &Result<(), ObjectError>) -> u32 {
    let Err(error) = answer else { return 0 };
    (1..).zip(&ERRORS).find(|(_, known)| *known == error).map_or(1, |(status, _)| status)
}

/// Returns the result that a status stands for.
///
/// # Errors
/// The error of a status other than zero; that of an unknown status is [`ObjectError::BadHandle`].
pub fn answer(status: u32) -> Result<(), ObjectError> {
    match status.checked_sub(1) {
        None => Ok(()),
        Some(index) => Err(ERRORS.get(index as usize).cloned().unwrap_or(ObjectError::BadHandle)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_errors_are_one_to_one() {
        assert_eq!(answer(0), Ok(()));
        for (expected, error) in (1..).zip(ERRORS) {
            assert_eq!(status(&Err(error.clone())), expected);
            assert_eq!(answer(expected), Err(error));
        }
        assert_eq!(status(&Err(ObjectError::Full)), 1);
        assert_eq!(answer(99), Err(ObjectError::BadHandle));
    }
}
