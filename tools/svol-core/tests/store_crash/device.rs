// SPDX-License-Identifier: GPL-2.0

//! A device with a volatile cache.

use std::{
    collections::{btree_map::Entry, BTreeMap},
    hash::{Hash, Hasher},
    rc::Rc,
};

pub(crate) const SECTOR: usize = 512;
pub(crate) type Sector = [u8; SECTOR];

/// What was written and not flushed may be lost, sector by sector; of several writes to a sector
/// any may be the last one that got through.
#[derive(Clone, Default)]
pub(crate) struct Device {
    durable: Rc<BTreeMap<u64, Rc<Sector>>>,
    cache: BTreeMap<u64, Vec<Rc<Sector>>>,
}

impl Device {
    pub(crate) fn read(&self, first: u64, buffer: &mut [u8]) {
        buffer.fill(0);
        let range = first..first + (buffer.len() / SECTOR) as u64;
        let durable = self.durable.range(range.clone());
        let cache = self
            .cache
            .range(range)
            .filter_map(|(sector, versions)| Some((sector, versions.last()?)));
        // What is in the cache is newer.
        for (sector, content) in durable.chain(cache) {
            let start = (sector - first) as usize * SECTOR;
            buffer[start..start + SECTOR].copy_from_slice(&content[..]);
        }
    }

    pub(crate) fn write(&mut self, first: u64, bytes: &[u8]) {
        for (sector, part) in (first..).zip(bytes.chunks_exact(SECTOR)) {
            let content: Sector = part.try_into().unwrap();
            match self.cache.entry(sector) {
                Entry::Occupied(mut versions) => {
                    if versions.get().last().is_none_or(|last| **last != content) {
                        versions.get_mut().push(Rc::new(content));
                    }
                }
                Entry::Vacant(place) => {
                    let old = self.durable.get(&sector);
                    if old.map_or(content != [0; SECTOR], |old| **old != content) {
                        place.insert(vec![Rc::new(content)]);
                    }
                }
            }
        }
    }

    pub(crate) fn flush(&mut self) {
        self.crash(|versions| versions);
    }

    /// Makes some sectors durable, and no others.
    pub(crate) fn harden(&mut self, first: u64, sectors: u64) {
        for sector in first..first + sectors {
            if let Some(last) = self.cache.remove(&sector).and_then(|mut list| list.pop()) {
                Rc::make_mut(&mut self.durable).insert(sector, last);
            }
        }
    }

    /// Tells what is durable from other states, by where it differs from an earlier one.
    pub(crate) fn digest(&self, before: &Self, to: &mut impl Hasher) {
        for (sector, content) in self.durable.iter() {
            let old = before.durable.get(sector);
            if old.is_none_or(|old| !Rc::ptr_eq(old, content)) {
                (sector, content).hash(to);
            }
        }
    }

    /// How many versions of each unflushed sector there are, in the order of [`Self::crash`].
    pub(crate) fn versions(&self) -> impl Iterator<Item = usize> + '_ {
        self.cache.values().map(Vec::len)
    }

    /// Power fails. `choose` says for each unflushed sector which of its versions is on disk,
    /// counting from 1; 0 for none. It is asked with their number.
    pub(crate) fn crash(&mut self, mut choose: impl FnMut(usize) -> usize) {
        if self.cache.is_empty() {
            return;
        }
        let durable = Rc::make_mut(&mut self.durable);
        for (sector, versions) in std::mem::take(&mut self.cache) {
            if let Some(index) = choose(versions.len()).checked_sub(1) {
                durable.insert(sector, versions[index].clone());
            }
        }
    }
}
