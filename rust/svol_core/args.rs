// SPDX-License-Identifier: GPL-2.0

//! Reads the words of a table line or message in sequence.

use core::iter::Peekable;

/// What was wrong with which word.
pub(super) struct Flaw<P> {
    /// The index of the word, counting from 0; after the last one if a word is missing.
    pub(super) at: usize,
    /// What was wrong.
    pub(super) problem: P,
}

/// A word and its place.
#[derive(Clone, Copy)]
pub(super) struct Word<'a> {
    /// The index of the word, counting from 0.
    pub(super) at: usize,
    /// The word.
    pub(super) text: &'a [u8],
}

impl Word<'_> {
    /// A flaw in this word.
    pub(super) fn flaw<P>(&self, problem: P) -> Flaw<P> {
        Flaw {
            at: self.at,
            problem,
        }
    }
}

/// Reads words and counts them.
pub(super) struct Words<'a, I: Iterator<Item = &'a [u8]>> {
    iter: Peekable<I>,
    at: usize,
}

impl<'a, I> Words<'a, I>
where
    I: Iterator<Item = &'a [u8]>,
{
    /// Reads from the beginning of `words`.
    pub(super) fn new(words: I) -> Self {
        Self {
            iter: words.peekable(),
            at: 0,
        }
    }

    /// The next word, if there is one.
    pub(super) fn next(&mut self) -> Option<Word<'a>> {
        let text = self.iter.next()?;
        let at = self.at;
        self.at = self.at.saturating_add(1);
        Some(Word { at, text })
    }

    /// The next word; if there is none, the problem is `missing`.
    pub(super) fn need<P>(&mut self, missing: P) -> Result<Word<'a>, Flaw<P>> {
        let at = self.at;
        self.next().ok_or(Flaw {
            at,
            problem: missing,
        })
    }

    /// The next word if it passes `test`; otherwise it stays.
    pub(super) fn next_if(&mut self, test: impl FnOnce(&[u8]) -> bool) -> Option<Word<'a>> {
        match self.iter.peek() {
            Some(text) if test(text) => self.next(),
            _ => None,
        }
    }

    /// Makes sure that no word is left; if one is left, the problem is `trailing`.
    pub(super) fn end<P>(&mut self, trailing: P) -> Result<(), Flaw<P>> {
        match self.next() {
            Some(word) => Err(word.flaw(trailing)),
            None => Ok(()),
        }
    }
}

impl<'a, I> Words<'a, I>
where
    I: Iterator<Item = &'a [u8]> + Clone,
{
    /// The number of words left.
    pub(super) fn left(&self) -> usize {
        self.iter.clone().count()
    }
}
