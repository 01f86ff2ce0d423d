// SPDX-License-Identifier: GPL-2.0

//! Changes words that others change concurrently.

use crate::env::Word;

/// Sets a word to what `to` makes of its value; returns the old value. A full barrier. Does not
/// sleep.
///
/// `to` may be called more than once, if others change the word meanwhile.
pub fn update(word: &Word, to: impl Fn(u64) -> u64) -> u64 {
    let mut old = word.get();
    while let Err(now) = word.replace(old, to(old)) {
        old = now;
    }
    old
}
