// SPDX-License-Identifier: GPL-2.0

//! All that can happen to a group, in steps as the module takes them: what comes before a change,
//! the change, which is durable then, and what follows from it. Anything else may come in between,
//! also a crash.
//!
//! Who changes an order in the module changes it here. What decides is the core.

use crate::world::{
    Changing, Content, Effect, Halves, Log, World, ASKED, FAILED, FAILING, HALVES, MIDDLE, SECTORS,
    WRITTEN,
};
use svol_core::svol_core::{
    attr::Attr,
    group::{FailError, GroupTable},
    log_mode::{self, Mode},
    message::Sectors,
    meta::CopyState,
    route::{Home, VolumeView},
};

/// What happens; numbers are of entries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Event {
    /// What is durable takes effect.
    TakesEffect,
    /// The machine is reset, or the table is loaded again; the device of an entry may be missing.
    Restart(Option<usize>),
    /// A disk or store answers with an error.
    Error(usize),
    /// `fail`.
    Fail(usize),
    /// The worker sees to a disk, or to a store, that fails.
    FailDisk(usize),
    FailStore(usize),
    /// The store of a volume is full, or a write of it failed there.
    LogIsFull(usize),
    /// A volume is loaded for writing.
    Open(usize),
    /// To a half of a volume, or to both.
    Write(usize, Option<usize>),
    /// The worker looks for a volume that needs a disk.
    Rebuild,
    /// `restore`, with `onto` or without.
    Restore(usize, Option<usize>),
    Readd(usize),
    /// The first half of a disk is filled for a volume, and that is durable; all of it is.
    FillSome(usize),
    FillRest(usize),
    /// The disk that is filled becomes the volume's own.
    Finish(usize),
    /// The disk that is being filled for a volume fails.
    TargetFails(usize),
    /// What a store lacks of a volume is copied to it, and that is durable.
    Compare(usize),
    /// `set_attr`, of all or of the second half, and its next step.
    SetAttr(usize, Attr, bool),
    SetAttrGoesOn,
    Remove(usize),
    /// `add`; with a disk or without.
    Add(usize, bool),
    /// The last blocks of a volume that left are free.
    GiveBack(usize),
    /// A metadata copy fails; `replace_meta`.
    LoseCopy,
    ReplaceCopy,
    /// A disk stops answering, answers, is given up.
    FallSilent(usize),
    Answer(usize),
    GiveUp(usize),
    /// A read of a volume whose disk does not answer.
    ReadPast(usize),
}

/// The events that there may be; not all of them can happen.
pub(crate) fn events(world: &World) -> Vec<Event> {
    let is_quiet = world.live.effect.is_none();
    let mut all = vec![Event::TakesEffect, Event::Restart(None)];
    for entry in world.members() {
        all.push(Event::Restart(Some(entry)));
        if world.shape.falls_silent {
            all.push(match world.is_silent(entry) {
                true => Event::Answer(entry),
                false => Event::FallSilent(entry),
            });
        }
        if world.live.apart[entry] & FAILING == 0 {
            all.push(Event::Fail(entry));
            all.push(match world.is_silent(entry) {
                true => Event::GiveUp(entry),
                false => Event::Error(entry),
            });
        } else if is_quiet {
            all.extend([Event::FailDisk(entry), Event::FailStore(entry)]);
        }
        if world.has_failed(entry) && is_quiet {
            all.push(Event::Readd(entry));
        }
        if world.shape.shrinks && is_quiet {
            all.push(Event::Remove(entry));
        }
    }
    if is_quiet {
        all.extend([Event::Rebuild, Event::SetAttrGoesOn]);
        if world.shape.copies_fail {
            all.extend([Event::LoseCopy, Event::ReplaceCopy]);
        }
        if world.shape.joins > 0 {
            for entry in (0..world.len()).filter(|entry| world.at(*entry).is_none()) {
                all.extend([true, false].map(|has_disk| Event::Add(entry, has_disk)));
                if world.leaves[entry] {
                    all.push(Event::GiveBack(entry));
                }
            }
        }
    }
    for volume in world.volumes() {
        match world.shape.in_parts {
            _ if !world.live.opened[volume] => (),
            true => all.extend((0..HALVES).map(|half| Event::Write(volume, Some(half)))),
            false => all.push(Event::Write(volume, None)),
        }
        if world.shape.falls_silent {
            all.push(Event::ReadPast(volume));
        }
        if world.target_of(volume).is_some() {
            all.push(Event::FillRest(volume));
        }
        if !is_quiet {
            continue;
        }
        all.extend([
            Event::LogIsFull(volume),
            Event::Open(volume),
            Event::Compare(volume),
        ]);
        for attr in [Attr::Ro, Attr::Rw] {
            if world.attr(volume) != Some(attr) || world.shape.in_parts {
                all.push(Event::SetAttr(volume, attr, false));
            }
            if world.shape.in_parts {
                all.push(Event::SetAttr(volume, attr, true));
            }
        }
        if world.target_of(volume).is_some() {
            all.extend([
                Event::FillSome(volume),
                Event::Finish(volume),
                Event::TargetFails(volume),
            ]);
        } else {
            all.push(Event::Restore(volume, None));
            let onto = world.members();
            all.extend(onto.map(|onto| Event::Restore(volume, Some(onto))));
        }
    }
    all
}

/// What is broken on purpose, so that it is seen to be found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Broken {
    Nothing,
    /// A failure takes effect before it is durable.
    FailsTooEarly,
    /// A volume is written without a log before that is durable.
    UnloggedTooEarly,
    /// A disk is its volume's before it is full.
    FinishesTooEarly,
    /// A disk that may be written goes on serving others.
    GoesOnServing,
    /// A disk whose volume has moved is read.
    GoesOnReading,
    /// Writes do not go to the disk that their volume moves to.
    LeavesBehind,
    /// A change of an attribute does not copy.
    CopiesNothing,
    /// Others read a disk while increments are copied to it.
    ServesWhileCopied,
    /// Half of a volume gets another attribute before that is durable.
    DivertsTooEarly,
    /// A log is said to be whole before it was compared.
    ComparesNothing,
    /// What a disk has where its volume is diverted is copied to the log.
    ComparesDiverted,
    /// A start takes it that a store has all that its volumes wrote.
    TrustsStores,
    /// An entry that joins the group is used before the table is loaded with it.
    UsesTooEarly,
    /// A volume joins the group while a store has blocks of one of that name that left.
    InheritsBlocks,
    /// A volume is written while its disk has reads of others.
    WritesUnderReads,
    /// A disk is taken back and filled that has not answered all I/O from before.
    FillsTooEarly,
    /// A volume is read past its disk although its log lacks something.
    ReadsPast,
    /// Nobody remembers that a disk was left out of a write.
    ForgetsSkipped,
}

/// The second half, for `set_attr`; or all.
fn range(in_part: bool) -> Option<Sectors> {
    in_part.then_some(Sectors {
        start: MIDDLE,
        len: SECTORS - MIDDLE,
    })
}

impl World {
    /// Lets something happen; returns whether it could.
    pub(crate) fn apply(&mut self, event: Event, most: usize, broken: Broken) -> bool {
        let is_quiet = self.live.effect.is_none();
        let has_room = self.in_flight() < most;
        let is_changing = self.live.changing.is_some();
        match event {
            Event::TakesEffect => self.take_effect(),
            Event::Restart(missing) => match self.restarted(missing) {
                Some(bound) => {
                    self.restart(bound.table, missing);
                    if broken == Broken::TrustsStores {
                        for mode in self.live.modes.iter_mut().flatten() {
                            *mode = Mode::Both;
                        }
                    }
                    true
                }
                None => false,
            },
            Event::Error(entry) => has_room && self.begin_failure(entry, false, broken),
            Event::Fail(entry) => has_room && self.begin_failure(entry, true, broken),
            Event::FailDisk(disk) => is_quiet && self.fail_disk(disk),
            Event::FailStore(store) => is_quiet && self.fail_store(store),
            Event::LogIsFull(volume) => {
                let is_written = self.live.opened[volume];
                is_quiet && has_room && is_written && self.unprotect(volume, broken)
            }
            Event::Open(volume) => is_quiet && self.open(volume, broken),
            Event::Write(volume, half) => self.write(volume, half, broken),
            Event::Rebuild => is_quiet && has_room && self.begin_next(broken),
            Event::Restore(volume, onto) => {
                is_quiet && has_room && !is_changing && self.restore(volume, onto, broken)
            }
            Event::Add(entry, has_disk) => {
                is_quiet && !is_changing && self.add(entry, has_disk, broken)
            }
            Event::GiveBack(volume) => self.give_back(volume),
            Event::Readd(disk) => is_quiet && has_room && !is_changing && self.readd(disk, broken),
            Event::FillSome(volume) => is_quiet && self.fill_some(volume),
            Event::FillRest(volume) => self.fill_rest(volume),
            Event::Finish(volume) => is_quiet && has_room && self.finish(volume, broken),
            Event::TargetFails(volume) => is_quiet && has_room && self.target_fails(volume),
            Event::Compare(volume) => is_quiet && has_room && self.compare(volume, broken),
            Event::SetAttr(volume, attr, in_part) => {
                has_room && self.begin_attr(volume, attr, in_part)
            }
            Event::SetAttrGoesOn => is_quiet && self.set_attr_goes_on(broken),
            Event::Remove(entry) => is_quiet && has_room && self.remove(entry),
            Event::LoseCopy => is_quiet && self.lose_copy(),
            Event::ReplaceCopy => is_quiet && self.replace_copy(),
            Event::FallSilent(disk) => has_room && self.fall_silent(disk),
            Event::Answer(disk) => self.answer(disk),
            Event::GiveUp(disk) => self.give_up(disk, broken),
            Event::ReadPast(volume) => {
                self.read_past(volume, broken);
                false
            }
        }
    }

    fn durable(&mut self, next: GroupTable, effect: Effect) -> bool {
        self.commit(next);
        self.live.effect = Some(effect);
        true
    }

    /// What follows from a change, now that it is durable.
    fn take_effect(&mut self) -> bool {
        let Some(effect) = self.live.effect.take() else {
            return false;
        };
        match effect {
            Effect::DiskFailed(disk) => self.failure_is_durable(disk),
            Effect::StoreFailed(store) => self.store_has_failed(store),
            Effect::LogGivenUp(volume) => {
                self.give_up_log(volume);
            }
            Effect::Began(volume, target) => {
                self.set_apart(target, WRITTEN);
                self.live.is_full[volume] = false;
                self.live.lacks[volume] = false;
            }
            Effect::Rebuilt(volume, target) => {
                let is_kept = self.live.views[volume].writes == Home::Kept;
                let entry = self.at(target);
                let is_source = self.table.sources().any(|source| Some(source) == entry);
                let serves = is_source && !is_kept;
                self.set_apart(target, if serves { 0 } else { WRITTEN });
                self.live.advance(
                    volume,
                    match is_kept {
                        true => log_mode::Event::DiskIsFilled,
                        false => log_mode::Event::DiskIsLeft,
                    },
                );
                self.live.views[volume] = self.view(volume, &self.table);
                self.live.sources[target] |= serves;
                self.live.is_full[volume] = false;
            }
            Effect::Readded(disk) if self.is_store(disk) => (),
            Effect::Readded(disk) => self.set_apart(disk, WRITTEN),
            Effect::LogIsWhole(volume) => {
                self.live.advance(volume, log_mode::Event::LogIsWhole);
            }
            Effect::Attr(volume) => {
                let view = self.view(volume, &self.table);
                // If only a half changes, the view may say already that the disk is failing.
                if self.live.views[volume].writes != view.writes {
                    self.live.advance(volume, log_mode::Event::DiskIsLeft);
                    self.live.views[volume] = view;
                }
                self.live.diverted[volume] = self.diverted(volume, &self.table);
                self.live.changing = None;
            }
            Effect::Removed(entry) => self.live.views[entry] = VolumeView::NOWHERE,
        }
        true
    }

    fn set_apart(&mut self, disk: usize, written: u8) {
        let apart = &mut self.live.apart[disk];
        *apart = (*apart & (FAILING | ASKED)) | written;
    }

    fn is_store(&self, entry: usize) -> bool {
        self.attr(entry) == Some(Attr::Increments)
    }

    /// The volumes whose writes go to this disk and to a store.
    fn owners_on(&self, disk: usize) -> Vec<usize> {
        let is_on = |volume: &usize| {
            let live = &self.live;
            live.views[*volume].writes == Home::Logged(disk) && live.modes[*volume].is_some()
        };
        (0..self.len()).filter(is_on).collect()
    }

    fn has_other_source(&self, disk: usize) -> bool {
        self.sources().any(|source| source != disk)
    }

    /// Whether somebody reads a disk.
    pub(crate) fn is_read(&self, disk: usize) -> bool {
        let reads = |view: &VolumeView| view.reads == Home::Disk(disk);
        self.sources().any(|source| source == disk) || self.live.views.iter().any(reads)
    }

    /// I/O turns away from a disk.
    pub(crate) fn begin_failure(&mut self, disk: usize, asked: bool, broken: Broken) -> bool {
        let Some(entry) = self.at(disk) else {
            return false;
        };
        if self.live.apart[disk] & (FAILING | FAILED) != 0 || self.has_failed(disk) {
            return false;
        }
        if !self.live.here[disk] {
            return false;
        }
        let is_idle = self.is_store(disk) || (asked && !self.is_read(disk));
        let may = !asked || self.table.with_disk_given_up(entry).is_ok();
        if !may || !(is_idle || self.has_other_source(disk)) {
            return false;
        }
        self.live.apart[disk] |= FAILING | if asked { ASKED } else { 0 };
        if self.is_store(disk) {
            return true;
        }
        for volume in self.owners_on(disk) {
            if self.live.advance(volume, log_mode::Event::DiskFails) == Some(Mode::Held) {
                self.live.views[volume].reads = Home::Overlay;
            }
            if broken == Broken::FailsTooEarly {
                self.live.advance(volume, log_mode::Event::FailureIsDurable);
            }
        }
        true
    }

    fn fail_disk(&mut self, disk: usize) -> bool {
        if self.live.apart[disk] & FAILING == 0 || self.is_store(disk) {
            return false;
        }
        let entry = self.at(disk).unwrap();
        match self.table.with_disk_given_up(entry) {
            Ok(next) => self.durable(next, Effect::DiskFailed(disk)),
            Err(FailError::Known) => {
                self.failure_is_durable(disk);
                true
            }
            Err(_) => {
                let unprotected = self.table.volume(entry).unwrap().state.unprotected;
                self.keep_disk(disk, unprotected);
                true
            }
        }
    }

    fn failure_is_durable(&mut self, disk: usize) {
        self.live.apart[disk] = (self.live.apart[disk] & WRITTEN) | FAILED;
        for volume in self.owners_on(disk) {
            let event = log_mode::Event::FailureIsDurable;
            self.live.views[volume] = match self.live.advance(volume, event) {
                Some(_) => VolumeView {
                    reads: Home::Overlay,
                    writes: Home::Kept,
                },
                None => VolumeView::NOWHERE,
            };
        }
        for view in self.live.views.iter_mut() {
            // It was never written, else the disk would have been kept.
            if view.reads == Home::Disk(disk) {
                *view = VolumeView {
                    reads: Home::Base,
                    writes: Home::Nowhere,
                };
            }
        }
    }

    fn keep_disk(&mut self, disk: usize, unprotected: bool) {
        self.live.apart[disk] &= WRITTEN;
        for volume in self.owners_on(disk) {
            self.live.views[volume].reads = Home::Disk(disk);
            let event = log_mode::Event::DiskIsKept { unprotected };
            self.live.advance(volume, event);
        }
    }

    fn fail_store(&mut self, store: usize) -> bool {
        if self.live.apart[store] & FAILING == 0 || !self.is_store(store) {
            return false;
        }
        let asked = self.live.apart[store] & ASKED != 0;
        match self.table.with_disk_given_up(self.at(store).unwrap()) {
            Ok(next) => return self.durable(next, Effect::StoreFailed(store)),
            Err(FailError::Known) => self.store_has_failed(store),
            Err(_) => {
                self.live.apart[store] = 0;
                let volumes: Vec<_> = self.volumes().collect();
                for volume in volumes {
                    let disk = self.disk_of(volume).and_then(|disk| self.at(disk));
                    let is_written = disk
                        .and_then(|disk| self.table.volume(disk))
                        .is_some_and(|disk| !disk.state.pristine);
                    if !asked && is_written && self.unprotect(volume, Broken::Nothing) {
                        self.take_effect();
                    }
                }
            }
        }
        true
    }

    fn store_has_failed(&mut self, store: usize) {
        self.live.apart[store] = FAILED;
        for volume in 0..self.len() {
            if self.store_of(volume) != Some(store) || self.live.modes[volume].is_none() {
                continue;
            }
            let is_logged = matches!(self.live.views[volume].writes, Home::Logged(_));
            let is_plain = !self.live.diverted[volume].contains(&true);
            if !is_logged || !is_plain || !self.give_up_log(volume) {
                self.live.views[volume] = VolumeView::NOWHERE;
            }
        }
    }

    fn give_up_log(&mut self, volume: usize) -> bool {
        if let (Some(Mode::Held), Home::Logged(disk)) =
            (self.live.modes[volume], self.live.views[volume].writes)
        {
            self.keep_disk(disk, true);
        }
        let event = log_mode::Event::LogIsGivenUp;
        self.live.advance(volume, event).is_some()
    }

    fn unprotect(&mut self, volume: usize, broken: Broken) -> bool {
        let is_logged = matches!(self.live.views[volume].writes, Home::Logged(_));
        if !is_logged || self.live.modes[volume] == Some(Mode::Disk) {
            return false;
        }
        if self.disk_of(volume).is_none() {
            return false;
        }
        if broken == Broken::UnloggedTooEarly {
            return self.give_up_log(volume);
        }
        match self
            .table
            .with_unprotected(self.at(volume).unwrap())
            .unwrap()
        {
            Some(next) => self.durable(next, Effect::LogGivenUp(volume)),
            None => self.give_up_log(volume),
        }
    }

    /// Whether others read the base image, and only from this disk.
    fn is_last_source(&self, disk: usize, volume: usize) -> bool {
        let needs = |other: usize| {
            let reads_base = matches!(self.live.views[other].reads, Home::Base | Home::Overlay);
            other != volume && (reads_base || self.live.diverted[other].contains(&true))
        };
        self.sources().any(|source| source == disk)
            && !self.has_other_source(disk)
            && (0..self.len()).any(needs)
    }

    fn open(&mut self, volume: usize, broken: Broken) -> bool {
        let view = self.view(volume, &self.table);
        let is_cut_off = self.live.views[volume] == VolumeView::NOWHERE;
        let is_changing = self.live.changing.is_some_and(|c| c.volume == volume);
        if self.live.opened[volume] || view.writes == Home::Nowhere || is_cut_off || is_changing {
            return false;
        }
        if !self.live.here[volume] {
            return false;
        }
        if !matches!(view.writes, Home::Overlay | Home::Kept) {
            let entry = self.at(volume).unwrap();
            let next = match view.writes {
                Home::Logged(_) => self.table.with_writes(entry),
                _ => self.table.with_unprotected(entry),
            };
            if let Some(disk) = self.disk_of(volume) {
                let needs_others = self.diverted(volume, &self.table).contains(&true);
                if self.is_last_source(disk, volume)
                    || (needs_others && !self.has_other_source(disk))
                {
                    return false;
                }
                let next = next.as_ref().unwrap().as_ref();
                if next.is_some_and(|next| self.table.first_to_lose(next).is_some()) {
                    return false;
                }
                if self.has_reads(disk) && broken != Broken::WritesUnderReads {
                    return false;
                }
                if broken != Broken::GoesOnServing {
                    self.live.apart[disk] |= WRITTEN;
                }
            }
            if let Some(next) = next.unwrap() {
                self.commit(next);
            }
        }
        self.live.opened[volume] = true;
        true
    }

    /// A write that is acknowledged.
    fn write(&mut self, volume: usize, half: Option<usize>, broken: Broken) -> bool {
        let is_changing = self.live.changing.is_some_and(|c| c.volume == volume);
        // The I/O of a logged volume waits while it gets another disk.
        let has_moved = match (self.live.effect, self.live.views[volume].writes) {
            (Some(Effect::Rebuilt(of, _)), Home::Logged(_)) => of == volume,
            _ => false,
        };
        if !self.live.opened[volume] || is_changing || has_moved {
            return false;
        }
        match half {
            Some(half) => self.write_half(volume, half, broken),
            None => (0..HALVES).all(|half| self.write_half(volume, half, broken)),
        }
    }

    fn write_half(&mut self, volume: usize, half: usize, broken: Broken) -> bool {
        let view = self.view_at(volume, half);
        let store = self.store_of(volume);
        let has_store = store.is_some_and(|store| self.live.apart[store] & FAILED == 0);
        let (to_disk, to_log) = match (view.writes, self.live.modes[volume]) {
            (Home::Disk(disk), _) | (Home::Logged(disk), Some(Mode::Disk)) => (Some(disk), false),
            (Home::Logged(disk), Some(Mode::Both | Mode::Behind)) => (Some(disk), true),
            (Home::Logged(_), Some(Mode::Store)) => (None, true),
            (Home::Kept | Home::Overlay, _) => (None, true),
            _ => return false,
        };
        if to_log && !has_store {
            return false;
        }
        if let Some(disk) = to_disk {
            let state = &self.table.volume(self.at(disk).unwrap()).unwrap().state;
            assert!(!state.pristine, "a pristine disk is written");
            assert!(to_log || state.unprotected, "unlogged, and nobody knows");
            assert!(!self.sources().any(|s| s == disk), "others read it");
        }
        let is_kept = view.writes == Home::Kept;
        let is_filled = is_kept || to_disk.is_some();
        let target = match self.live.effect {
            Some(Effect::Rebuilt(of, target)) if of == volume => Some(target),
            _ => self.target_of(volume),
        };
        let target = target.filter(|_| is_filled && (is_kept || broken != Broken::LeavesBehind));
        // Nobody waits for a disk that is being filled, unless it is to be the volume's own next.
        let may_skip = !matches!(self.live.effect, Some(Effect::Rebuilt(of, _)) if of == volume);
        let skipped = target.filter(|target| may_skip && self.is_silent(*target));
        let target = target.filter(|_| skipped.is_none());
        if skipped.is_some() && broken != Broken::ForgetsSkipped {
            self.live.lacks[volume] = true;
        }
        for disk in [to_disk, target].into_iter().flatten() {
            if let Some(held) = &mut self.live.held[disk] {
                held.writes = Some(volume);
            }
        }
        let lacks = self.live.lacks[volume];
        self.wrote[volume][half] = true;
        if !to_log {
            self.logs[volume][half] = Log::Lacks;
        }
        for (disk, contents) in self.disks.iter_mut().enumerate() {
            let is_written = [to_disk, target].contains(&Some(disk));
            let content = &mut contents[half];
            *content = match *content {
                Content::Base if is_written => Content::Own(volume),
                Content::Base if skipped == Some(disk) => Content::Older(volume),
                Content::Own(of) if of == volume && !is_written => Content::Older(volume),
                Content::Part(of) if of == volume && is_filled && !is_written && !lacks => {
                    Content::Junk
                }
                other => other,
            };
        }
        true
    }

    /// Whether the disk of an entry is here, and has nothing to do.
    fn is_free(&self, disk: usize, broken: Broken) -> bool {
        let is_idle = !self.is_silent(disk) || broken == Broken::FillsTooEarly;
        self.live.here[disk] && is_idle
    }

    fn begin_next(&mut self, broken: Broken) -> bool {
        if self.live.changing.is_some() {
            return false;
        }
        let is_free = |entry: usize| self.is_free(self.number(entry), broken);
        match self.table.with_next_rebuild(|_| true, is_free).unwrap() {
            Some(next) => self.begin_rebuild(next),
            None => false,
        }
    }

    fn restore(&mut self, volume: usize, onto: Option<usize>, broken: Broken) -> bool {
        let onto = onto.map(|onto| self.shape.lid(onto));
        let lid = self.shape.lid(volume);
        let is_free = |entry: usize| self.is_free(self.number(entry), broken);
        match self.table.with_rebuild(&lid, onto.as_ref(), is_free) {
            Ok(next) => self.begin_rebuild(next),
            Err(_) => false,
        }
    }

    fn begin_rebuild(&mut self, next: GroupTable) -> bool {
        let begun = next.rebuilds().last().unwrap();
        let (volume, target) = (self.number(begun.entry), self.number(begun.target));
        let are_here = self.live.here[volume] && self.live.here[target];
        assert!(are_here, "{target} is filled for {volume}, and not here");
        if let (Some(Attr::Rw), Some(old)) = (self.attr(volume), self.disk_of(volume)) {
            // It serves others no more.
            if !self.has_other_source(old) {
                return false;
            }
            self.live.apart[old] |= WRITTEN;
        }
        // Nobody waits for reads of it that are under way.
        let is_read = self.sources().any(|source| source == target);
        assert!(!is_read, "{target} is read, and about to be filled");
        self.durable(next, Effect::Began(volume, target))
    }

    fn readd(&mut self, disk: usize, broken: Broken) -> bool {
        if self.is_silent(disk) && broken != Broken::FillsTooEarly {
            return false;
        }
        match self.table.with_readded(self.at(disk).unwrap()).unwrap() {
            Some(next) => self.durable(next, Effect::Readded(disk)),
            None => false,
        }
    }

    fn compare(&mut self, volume: usize, broken: Broken) -> bool {
        let Some(store) = self.store_of(volume) else {
            return false;
        };
        let is_behind = self.live.modes[volume] == Some(Mode::Behind);
        if !is_behind || self.live.apart[store] != 0 || !self.has_source() {
            return false;
        }
        if self
            .disk_of(volume)
            .is_some_and(|disk| self.is_silent(disk))
        {
            return false;
        }
        for half in (0..HALVES).filter(|_| broken != Broken::ComparesNothing) {
            let is_in_place = !self.live.diverted[volume][half];
            if is_in_place || broken == Broken::ComparesDiverted {
                let own = self.disk_of(volume).map(|disk| self.disks[disk][half]);
                let has_it = is_in_place || own == Some(Content::Own(volume));
                self.logs[volume][half] = if has_it { Log::All } else { Log::Lacks };
            }
        }
        match self.table.with_whole_log(self.at(volume).unwrap()).unwrap() {
            Some(next) => self.durable(next, Effect::LogIsWhole(volume)),
            None => false,
        }
    }

    /// What a disk holds that is filled for a volume now, and which that is; `None` if there is
    /// nothing to copy from.
    fn fills(&self, volume: usize) -> Option<(usize, Halves<Content>)> {
        let target = self.target_of(volume)?;
        let began = Effect::Began(volume, target);
        if self.live.effect == Some(began) || !self.has_source() {
            return None;
        }
        // That of an entry that has just joined is not here yet.
        if !self.live.here[target] || self.is_silent(target) {
            return None;
        }
        // Of others only the base image is copied.
        let is_written = matches!(self.live.views[volume].writes, Home::Kept | Home::Logged(_));
        let content = |half: usize| match (is_written, self.logs[volume][half]) {
            (true, _) if !self.wrote[volume][half] => Content::Base,
            // Nobody keeps it up to date there.
            (true, Log::All) if self.live.diverted[volume][half] => Content::Older(volume),
            (true, Log::All) => Content::Own(volume),
            (true, Log::Lacks) => Content::Junk,
            (false, _) => Content::Base,
        };
        Some((target, [content(0), content(1)]))
    }

    fn fill_some(&mut self, volume: usize) -> bool {
        let Some((target, _)) = self.fills(volume) else {
            return false;
        };
        let entry = self.at(volume).unwrap();
        match self.table.with_cursor(entry, MIDDLE).unwrap() {
            Some(next) if !self.live.is_full[volume] => {
                self.disks[target] = [Content::Part(volume); HALVES];
                self.commit(next);
                true
            }
            _ => false,
        }
    }

    fn fill_rest(&mut self, volume: usize) -> bool {
        let Some((target, content)) = self.fills(volume) else {
            return false;
        };
        let cursor = self
            .table
            .rebuild_of(self.at(volume).unwrap())
            .unwrap()
            .cursor;
        let (is_full, lacks) = (self.live.is_full[volume], self.live.lacks[volume]);
        if (is_full && !lacks) || (lacks && self.moves_in_place(volume)) {
            return false;
        }
        for (now, content) in self.disks[target].iter_mut().zip(content) {
            let begun_well = is_full || cursor == 0 || *now == Content::Part(volume);
            *now = if begun_well { content } else { Content::Junk };
        }
        self.live.is_full[volume] = true;
        self.live.lacks[volume] = false;
        true
    }

    fn finish(&mut self, volume: usize, broken: Broken) -> bool {
        let Some(target) = self.target_of(volume) else {
            return false;
        };
        let moves = self.moves_in_place(volume);
        if self.live.lacks[volume] && moves {
            // It stays where it is.
            let next = self.table.with_rebuild_stopped(self.at(volume).unwrap());
            self.commit(next.unwrap().unwrap());
            return true;
        }
        if !self.live.is_full[volume] && broken != Broken::FinishesTooEarly {
            return false;
        }
        let own = self.disk_of(volume).filter(|_| moves);
        let waits = self.is_silent(target) || own.is_some_and(|own| self.is_silent(own));
        if self.live.lacks[volume] || waits {
            return false;
        }
        if moves {
            let is_logged = self.live.modes[volume] == Some(Mode::Both);
            if self.live.apart[target] & FAILING != 0 || !is_logged {
                return false;
            }
        } else if let Some(old) = self.disk_of(volume) {
            // Who reads the base image goes to the new one before that is durable: it has that,
            // too.
            if self.live.apart[target] & FAILING != 0 {
                return false;
            }
            self.live.sources[target] = true;
            self.set_apart(target, 0);
            if broken != Broken::GoesOnReading {
                self.live.apart[old] |= WRITTEN;
            }
        }
        let next = self.table.with_rebuilt(self.at(volume).unwrap()).unwrap();
        self.durable(next.unwrap(), Effect::Rebuilt(volume, target))
    }

    /// Whether a volume moves that is written in place.
    fn moves_in_place(&self, volume: usize) -> bool {
        let moves = self.target_of(volume).is_some() && self.disk_of(volume).is_some();
        moves && self.attr(volume) == Some(Attr::Rw)
    }

    fn target_fails(&mut self, volume: usize) -> bool {
        let fails = |target: &usize| self.live.here[*target] && !self.is_silent(*target);
        let Some(target) = self.target_of(volume).filter(fails) else {
            return false;
        };
        let entry = self.at(target).unwrap();
        let next = self.table.with_failed_disk(entry).unwrap().unwrap();
        let volume = self.at(volume).unwrap();
        assert!(next.is_served(volume) || !self.table.is_served(volume));
        self.durable(next, Effect::DiskFailed(target))
    }

    fn begin_attr(&mut self, volume: usize, attr: Attr, in_part: bool) -> bool {
        let lid = self.shape.lid(volume);
        let next = self.table.with_attr(&lid, attr, range(in_part));
        let (Ok(Some(_)), Some(disk)) = (next, self.disk_of(volume)) else {
            return false;
        };
        let has_store = self.live.modes[volume].is_some();
        let is_busy = self.live.changing.is_some();
        let is_busy = is_busy || (self.live.opened[volume] && !has_store);
        // The volume's I/O is waited for.
        if is_busy || self.is_silent(disk) || !self.keeps_source(disk, attr) {
            return false;
        }
        self.live.changing = Some(Changing {
            volume,
            disk,
            attr,
            in_part,
            step: if has_store && attr == Attr::Rw { 0 } else { 2 },
        });
        true
    }

    /// Whether somebody serves the base image after an attribute has changed.
    fn keeps_source(&self, disk: usize, attr: Attr) -> bool {
        self.has_other_source(disk) || (attr == Attr::Ro && self.sources().next().is_some())
    }

    fn set_attr_goes_on(&mut self, broken: Broken) -> bool {
        let Some(change) = self.live.changing else {
            return false;
        };
        let (volume, disk) = (change.volume, change.disk);
        if change.step > 0 && self.is_silent(disk) {
            return false;
        }
        match change.step {
            0 => {
                if !self.has_other_source(disk) || self.is_silent(disk) {
                    self.live.changing = None;
                    return true;
                }
                if broken != Broken::ServesWhileCopied {
                    self.live.apart[disk] |= WRITTEN;
                }
                let entry = self.at(volume).unwrap();
                if let Some(next) = self.table.with_writes(entry).unwrap() {
                    self.commit(next);
                }
            }
            1 if broken == Broken::CopiesNothing => (),
            1 => {
                for half in if change.in_part { 1..HALVES } else { 0..HALVES } {
                    // Elsewhere the disk has it.
                    if self.view_at(volume, half).writes == Home::Overlay {
                        self.copy_to_disk(volume, disk, half);
                    }
                }
            }
            _ if !self.keeps_source(disk, change.attr) => {
                self.live.changing = None;
                return true;
            }
            _ => {
                let lid = self.shape.lid(volume);
                match self
                    .table
                    .with_attr(&lid, change.attr, range(change.in_part))
                {
                    Ok(Some(next)) if broken == Broken::DivertsTooEarly && change.in_part => {
                        self.live.views[volume] = self.view(volume, &next);
                        self.live.diverted[volume] = self.diverted(volume, &next);
                        self.live.changing = None;
                    }
                    Ok(Some(next)) => return self.durable(next, Effect::Attr(volume)),
                    _ => self.live.changing = None,
                }
                return true;
            }
        }
        if let Some(change) = &mut self.live.changing {
            change.step += 1;
        }
        true
    }

    /// What a log has of a half is copied to the disk of its volume.
    fn copy_to_disk(&mut self, volume: usize, disk: usize, half: usize) {
        let wrote = self.wrote[volume][half];
        let has_all = !wrote || self.logs[volume][half] == Log::All;
        let content = &mut self.disks[disk][half];
        *content = match *content {
            Content::Base if has_all && !wrote => Content::Base,
            Content::Base if has_all => Content::Own(volume),
            Content::Own(of) | Content::Older(of) if has_all && of == volume => {
                Content::Own(volume)
            }
            _ => Content::Junk,
        };
    }

    fn remove(&mut self, entry: usize) -> bool {
        if self.live.changing.is_some() || self.live.opened[entry] {
            return false;
        }
        let Ok(next) = self.table.with_removed(&self.shape.lid(entry)) else {
            return false;
        };
        let disk = self.disk_of(entry).unwrap_or(entry);
        if self.is_last_source(disk, entry) {
            return false;
        }
        self.live.apart[entry] |= WRITTEN;
        self.live.apart[disk] |= WRITTEN;
        self.leaves[entry] = self.shape.joins > 0 && self.wrote_any(entry);
        self.durable(next, Effect::Removed(entry))
    }

    /// An entry joins the group: that becomes durable, and its device is used from the next load
    /// of the table on.
    fn add(&mut self, entry: usize, has_disk: bool, broken: Broken) -> bool {
        let new = self.shape.new_entry(entry, has_disk);
        let has_blocks = self.leaves[entry];
        if (!has_disk && !new.attr.is_volume()) || (has_blocks && broken != Broken::InheritsBlocks)
        {
            return false;
        }
        let Ok(next) = self.table.with_added(&new) else {
            return false;
        };
        if has_blocks {
            // It reads what it never wrote.
            self.wrote[entry] = [true; HALVES];
            self.logs[entry] = [Log::Lacks; HALVES];
            self.leaves[entry] = false;
        }
        self.commit(next);
        self.live.here[entry] = broken == Broken::UsesTooEarly;
        true
    }

    /// A store has freed all blocks of a volume that left the group.
    fn give_back(&mut self, volume: usize) -> bool {
        let is_open = self.shape.store(volume).is_some_and(|store| {
            self.live.here[store] && self.live.apart[store] == 0 && !self.has_failed(store)
        });
        is_open && core::mem::take(&mut self.leaves[volume])
    }

    fn lose_copy(&mut self) -> bool {
        let mut metadata = self.table.metadata().try_clone().unwrap();
        let last = metadata.head.copies.count() - 1;
        let told = metadata.head.events;
        if !metadata.lose_copy(last, told) {
            return false;
        }
        self.table.set_metadata(metadata);
        true
    }

    fn replace_copy(&mut self) -> bool {
        let copies = self.table.head().copies;
        let lost = (0..copies.count()).find(|c| copies.state(*c) == Some(CopyState::Lost));
        match lost.and_then(|copy| self.table.with_copy(copy).unwrap()) {
            Some(next) => {
                self.commit(next);
                true
            }
            None => false,
        }
    }
}
