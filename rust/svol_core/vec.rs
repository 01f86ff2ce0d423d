// SPDX-License-Identifier: GPL-2.0

//! Makes vectors whose growth can fail. Each of these functions may sleep, and fails only if memory
//! runs out.

use crate::env::{
    AllocError,
    Vec,
    Word, //
};
use core::iter;

/// The given values. Memory for `room` of them is allocated at once.
pub(super) fn try_collect<T>(
    room: usize,
    values: impl IntoIterator<Item = T>,
) -> Result<Vec<T>, AllocError> {
    let mut vec = Vec::try_with_capacity(room)?;
    for value in values {
        vec.try_push(value)?;
    }
    Ok(vec)
}

/// A copy of some values, with room for `extra` more.
pub(super) fn try_copy<T: Copy>(values: &[T], extra: usize) -> Result<Vec<T>, AllocError> {
    let room = values.len().saturating_add(extra);
    try_collect(room, values.iter().copied())
}

/// Words that are 0.
pub(super) fn try_words(count: usize) -> Result<Vec<Word>, AllocError> {
    let words = iter::repeat_with(|| Word::new(0));
    try_collect(count, words.take(count))
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_vec))]
mod tests {
    use super::*;

    #[test]
    fn vectors_hold_what_they_are_made_of() -> Result<(), AllocError> {
        let mut copy = try_copy(&[3u32, 1, 2], 1)?;
        copy.try_push(9)?;
        assert_eq!(copy[..], [3, 1, 2, 9]);
        let odd = copy.iter().copied().filter(|value| value % 2 == 1);
        assert_eq!(try_collect(0, odd)?[..], [3, 1, 9]);
        assert!(try_copy::<u32>(&[], 0)?.is_empty());
        let words = try_words(3)?;
        assert!(words.len() == 3 && words.iter().all(|word| word.get() == 0));
        Ok(())
    }
}
