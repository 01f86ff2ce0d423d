// SPDX-License-Identifier: GPL-2.0

//! The block map of one owner of an increments store: which slot holds which block, and which parts
//! of the slot are valid.
//!
//! A lookup takes no lock: a directory points to pages of words, one word per block, each of which
//! is read and changed atomically. Pages are added, and never removed while the map is in use. A
//! mapped block costs 8 bytes, the directory 24 bytes per 512 blocks.
//!
//! The map also remembers what has changed since the last commit; see [`BlockMap::take_dirty`].

mod entry;
mod run;

pub use entry::{
    Entry,
    MAX_SLOTS, //
};
pub use run::{
    Kind,
    ReadRun,
    WriteRun,
    WriteStep, //
};

use super::{
    flag::Flag,
    vec::{
        try_collect,
        try_words, //
    }, //
};
use crate::env::{
    AllocError,
    Once,
    Page,
    Vec,
    Wait,
    Word,
    PAGE_WORDS, //
};
use core::iter::repeat_with;

/// The number of words of a page, as a shift.
const PAGE_SHIFT: u32 = PAGE_WORDS.trailing_zeros();

/// The map of one owner.
pub struct BlockMap {
    pages: Vec<Once<Page>>,
    /// A word per page, with a bit per [`GROUP`] of its blocks: some of them may be dirty.
    dirty_groups: Vec<Word>,
    /// A bit per page: some block of it may be dirty.
    dirty: Vec<Word>,
    /// A bit per word of `dirty`: it may have bits set.
    dirty_words: Vec<Word>,
    /// Whether `dirty_words` may have bits set.
    some_dirty: Flag,
    /// The size of a block in sectors, as a shift.
    block_shift: u32,
    /// The number of blocks.
    blocks: u64,
    /// The length of the volume in sectors.
    sectors: u64,
}

impl BlockMap {
    /// An empty map for a volume of `sectors`, in blocks of `1 << block_shift` sectors. May sleep.
    ///
    /// # Errors
    ///
    /// Memory ran out.
    pub fn new(sectors: u64, block_shift: u32) -> Result<Self, AllocError> {
        let block_sectors = 1u64.checked_shl(block_shift).ok_or(AllocError)?;
        let blocks = sectors.div_ceil(block_sectors);
        let count = usize::try_from(blocks.div_ceil(1 << PAGE_SHIFT)).map_err(|_| AllocError)?;
        let words = count.div_ceil(BITS);
        Ok(Self {
            pages: try_collect(count, repeat_with(Once::new).take(count))?,
            dirty_groups: try_words(count)?,
            dirty: try_words(words)?,
            dirty_words: try_words(words.div_ceil(BITS))?,
            some_dirty: Flag::new(false),
            block_shift,
            blocks,
            sectors,
        })
    }

    /// The number of blocks of the volume.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// The size of a block in sectors, as a shift.
    pub fn block_shift(&self) -> u32 {
        self.block_shift
    }

    /// The entry of a block; an empty one for a block that was never mapped.
    pub fn get(&self, bid: u64) -> Entry {
        self.word(bid)
            .map_or(Entry::EMPTY, |word| Entry::from_word(word.get()))
    }

    /// Whether a block has room for an entry; see [`BlockMap::make_room`].
    pub fn has_room(&self, bid: u64) -> bool {
        self.word(bid).is_some()
    }

    /// Makes room for the entry of a block.
    ///
    /// # Errors
    ///
    /// Memory ran out, or there is no such block.
    pub fn make_room(&self, bid: u64, wait: Wait) -> Result<(), AllocError> {
        if self.has_room(bid) {
            return Ok(());
        }
        let (page, _) = split(bid);
        let page = self
            .pages
            .get(page)
            .filter(|_| bid < self.blocks)
            .ok_or(AllocError)?;
        page.set(Page::try_new(wait)?);
        Ok(())
    }

    /// Changes the entry of a block as `change` says, which may be called more than once; `None`
    /// leaves it unchanged. Returns the entry before and after; `None` if it was left unchanged, or
    /// has no room.
    pub fn update(
        &self,
        bid: u64,
        mut change: impl FnMut(Entry) -> Option<Entry>,
    ) -> Option<(Entry, Entry)> {
        let word = self.word(bid)?;
        let mut old = word.get();
        loop {
            let new = change(Entry::from_word(old))?.word();
            match word.replace(old, new) {
                Ok(()) => {
                    let (old, new) = (Entry::from_word(old), Entry::from_word(new));
                    // Even if it was dirty already: whoever made it so may not have reached this
                    // point yet.
                    if new.is_dirty() {
                        self.note_dirty(bid);
                    }
                    return Some((old, new));
                }
                Err(now) => old = now,
            }
        }
    }

    /// Sets the entry of a block, while nobody else uses the map. May sleep.
    ///
    /// # Errors
    ///
    /// Memory ran out, or there is no such block.
    pub fn load(&self, bid: u64, entry: Entry) -> Result<(), AllocError> {
        self.make_room(bid, Wait::May)?;
        self.word(bid).ok_or(AllocError)?.set(entry.word());
        Ok(())
    }

    /// Clears the marks of up to `limit` dirty blocks, and passes each block's number and entry, as
    /// it is at that moment, to `each`. Returns whether any may be left.
    ///
    /// Whoever takes a mark has to make sure that the entry gets to disk, or mark it again with
    /// [`BlockMap::mark_dirty`].
    pub fn take_dirty(&self, limit: usize, each: impl FnMut(u64, Entry)) -> bool {
        self.take_dirty_from(0, limit, each).is_some()
    }

    /// As [`BlockMap::take_dirty`], for the blocks of the page that contains `first`, and of the
    /// pages after it. Returns the first block of the page to continue with, if any marks may be
    /// left there or after it.
    ///
    /// A caller that continues this way finishes, however fast others mark blocks, if `limit` has
    /// room for the blocks of one page.
    pub fn take_dirty_from(
        &self,
        first: u64,
        limit: usize,
        mut each: impl FnMut(u64, Entry),
    ) -> Option<u64> {
        let mut left = limit;
        // Usually there is nothing, and a swap would take the cache line away from other CPUs.
        if !self.may_be_dirty() {
            return None;
        }
        let (from, _) = split(first);
        let from_word = from / BITS;
        if from == 0 {
            // Clear it before checking what it stands for: whoever marks a block after that sets it
            // again.
            self.some_dirty.take();
        }
        for (index, word) in self.dirty_words.iter().enumerate() {
            let mut words = take_bits(word, index, from_word);
            while let Some(at) = take_bit(&mut words, index) {
                if at == from_word && from % BITS != 0 {
                    // For the pages before that one.
                    set(&self.dirty_words, index, 1 << (at % BITS));
                }
                if let Some(page) = self.take_word(at, from, &mut left, &mut each) {
                    set(&self.dirty_words, index, words);
                    self.note_some();
                    return u64::try_from(page.saturating_mul(PAGE_WORDS)).ok();
                }
            }
        }
        None
    }

    /// As [`BlockMap::take_dirty_from`] for the pages of one word of `dirty`; returns the page to
    /// continue with.
    fn take_word(
        &self,
        index: usize,
        from: usize,
        left: &mut usize,
        each: &mut impl FnMut(u64, Entry),
    ) -> Option<usize> {
        let mut pages = take_bits(self.dirty.get(index)?, index, from);
        while let Some(page) = take_bit(&mut pages, index) {
            if !self.take_page(page, left, each) {
                set(&self.dirty, index, pages);
                self.note_page(page);
                return Some(page);
            }
        }
        None
    }

    /// Whether there may be marks of dirty blocks. A mark set before the call is never missed.
    #[inline]
    pub fn may_be_dirty(&self) -> bool {
        self.some_dirty.is_set()
    }

    /// Whether there are marks of dirty blocks.
    pub fn is_dirty(&self) -> bool {
        self.take_dirty(0, |_, _| ())
    }

    /// As [`BlockMap::take_dirty`] for one page; returns whether all of it was taken.
    fn take_page(&self, page: usize, left: &mut usize, each: &mut impl FnMut(u64, Entry)) -> bool {
        let (Some(words), Some(groups)) = (
            self.pages.get(page).and_then(Once::get),
            self.dirty_groups.get(page),
        ) else {
            return true;
        };
        let first = page.saturating_mul(PAGE_WORDS);
        let mut taken = groups.swap(0);
        while let Some(group) = take_bit(&mut taken, 0) {
            let start = group.saturating_mul(GROUP);
            let group_words = words.iter().enumerate().skip(start).take(GROUP);
            for (index, word) in group_words {
                if !Entry::from_word(word.get()).is_dirty() {
                    continue;
                }
                let Some(rest) = left.checked_sub(1) else {
                    set(&self.dirty_groups, page, taken | (1 << group));
                    return false;
                };
                let Ok(bid) = u64::try_from(first.saturating_add(index)) else {
                    continue;
                };
                let clean = |entry: Entry| entry.is_dirty().then(|| entry.with_dirty(false));
                if let Some((_, entry)) = self.update(bid, clean) {
                    *left = rest;
                    each(bid, entry);
                }
            }
        }
        true
    }

    /// Marks a block again that [`BlockMap::take_dirty`] returned.
    pub fn mark_dirty(&self, bid: u64) {
        self.update(bid, |entry| Some(entry.with_dirty(true)));
    }

    /// Passes the number and entry of every block that has a slot to `each`.
    pub fn for_each(&self, mut each: impl FnMut(u64, Entry)) {
        for (page, words) in self.pages.iter().enumerate() {
            let Some(words) = words.get() else {
                continue;
            };
            for (index, word) in words.iter().enumerate() {
                let entry = Entry::from_word(word.get());
                let bid = page.saturating_mul(PAGE_WORDS).saturating_add(index);
                if let (Some(_), Ok(bid)) = (entry.slot(), u64::try_from(bid)) {
                    each(bid, entry);
                }
            }
        }
    }

    /// As [`BlockMap::for_each`], for at most `limit` blocks from `first` on. Returns the number of
    /// the block to continue with; that of the last one, plus 1, when all were visited. A large map
    /// takes several calls, whatever is in it, so that each call is short.
    pub fn for_some(&self, first: u64, limit: usize, mut each: impl FnMut(u64, Entry)) -> u64 {
        let (page, _) = split(first);
        let pages = self.pages.iter().enumerate().skip(page).take(LOOK_PAGES);
        let mut left = limit;
        let mut next = self.blocks;
        for (page, words) in pages {
            let behind = page.saturating_add(1).saturating_mul(PAGE_WORDS);
            next = u64::try_from(behind).unwrap_or(u64::MAX);
            let Some(words) = words.get() else {
                continue;
            };
            let begin = page.saturating_mul(PAGE_WORDS);
            for (index, word) in words.iter().enumerate() {
                let entry = Entry::from_word(word.get());
                let Ok(bid) = u64::try_from(begin.saturating_add(index)) else {
                    continue;
                };
                if bid < first || entry.slot().is_none() {
                    continue;
                }
                let Some(rest) = left.checked_sub(1) else {
                    return bid;
                };
                left = rest;
                each(bid, entry);
            }
        }
        next.min(self.blocks)
    }

    fn word(&self, bid: u64) -> Option<&Word> {
        let (page, word) = split(bid);
        self.pages.get(page)?.get()?.get(word)
    }

    fn note_dirty(&self, bid: u64) {
        let (page, word) = split(bid);
        set(&self.dirty_groups, page, 1 << (word / GROUP));
        self.note_page(page);
    }

    /// Some block of a page may be dirty. Sets the marks bottom-up, as [`BlockMap::take_dirty`]
    /// clears them top-down.
    fn note_page(&self, page: usize) {
        let (word, bit) = (page / BITS, page % BITS);
        set(&self.dirty, word, 1 << bit);
        // Even if that was set already: whoever set it may not have reached this point yet.
        let (word, bit) = (word / BITS, word % BITS);
        set(&self.dirty_words, word, 1 << bit);
        self.note_some();
    }

    fn note_some(&self) {
        if !self.may_be_dirty() {
            self.some_dirty.raise();
        }
    }
}

/// Sets bits of a word.
fn set(words: &[Word], index: usize, wanted: u64) {
    let Some(word) = words.get(index) else {
        return;
    };
    let mut old = word.get();
    // If the bits are set already, whoever takes them will check what they stand for afterwards.
    while old & wanted != wanted {
        match word.replace(old, old | wanted) {
            Ok(()) => return,
            Err(now) => old = now,
        }
    }
}

/// Takes the bits of the word `index` of a row, except those whose place in the row is before
/// `from`.
fn take_bits(word: &Word, index: usize, from: usize) -> u64 {
    let before = from.saturating_sub(index.saturating_mul(BITS));
    let shift = u32::try_from(before).unwrap_or(u32::MAX);
    let wanted = u64::MAX.checked_shl(shift).unwrap_or(0);
    let mut old = word.get();
    while old & wanted != 0 {
        match word.replace(old, old & !wanted) {
            Ok(()) => return old & wanted,
            Err(now) => old = now,
        }
    }
    0
}

/// Takes the lowest bit of `word`, which was read from the word `index` of a row; returns its place
/// in the row.
fn take_bit(word: &mut u64, index: usize) -> Option<usize> {
    let bit = usize::try_from(word.trailing_zeros()).ok();
    let bit = bit.filter(|bit| *bit < BITS)?;
    *word &= word.wrapping_sub(1);
    Some(index.saturating_mul(BITS).saturating_add(bit))
}

/// Bits of a summary word.
const BITS: usize = 64;

/// The maximum number of pages visited in one call.
const LOOK_PAGES: usize = 1 << 15;

/// Blocks that share a bit in the word of their page.
const GROUP: usize = PAGE_WORDS.div_ceil(BITS);

/// The page of a block, and its word in that page.
fn split(bid: u64) -> (usize, usize) {
    // A number that does not fit is beyond any map.
    let page = usize::try_from(bid >> PAGE_SHIFT).unwrap_or(usize::MAX);
    let word = usize::try_from(bid).map_or(0, |bid| bid % PAGE_WORDS);
    (page, word)
}
