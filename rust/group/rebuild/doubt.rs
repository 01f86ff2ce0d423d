// SPDX-License-Identifier: GPL-2.0

//! The end of a move whose commit failed in such a way that nobody knows what a restart will find.

use crate::{
    bound::{
        Bound,
        Volume, //
    },
    group::Group,
    log,
    overlay::Place,
    svol_core::route::VolumeView, //
};

impl Group {
    /// A restart may find a volume that moves on its old disk, or on the new one: what is written
    /// to one of them could be lost, so nothing is, until that is settled.
    pub(super) fn cut_off(&self, volume: &Volume) {
        let views = self.failures.views();
        volume.in_doubt.set(true);
        volume.view.set(&views, VolumeView::NOWHERE);
        drop(views);
        self.state.lock().wants_anew = true;
        log::warning!(
            self.name(),
            "{}: a restart may find it on either disk; its I/O fails until the metadata can be \
             written, or the table is loaded again",
            volume.lid
        );
    }

    /// After [`Group::cut_off`], the volume does its I/O again if a later commit has ended its
    /// move, and it has its old disk. Sleeps.
    pub(super) fn end_doubt(&self, bound: &Bound, entry: usize, volume: &Volume) {
        if !volume.in_doubt.is_set() {
            return;
        }
        let _commits = self.commits.lock();
        let state = self.state.lock();
        let table = state.table.as_ref();
        let table = table.filter(|table| table.rebuild_of(entry).is_none());
        let view = table.and_then(|table| table.view(entry));
        drop(state);
        let own = Place::of(bound, entry).and_then(|place| place.owner().own_disk());
        if let Some(view) = view.filter(|view| own.is_some() && view.logged_disk() == own) {
            let views = self.failures.views();
            // In this order, see `claim::cut_off`.
            volume.view.set(&views, view);
            volume.in_doubt.set(false);
        }
    }
}
