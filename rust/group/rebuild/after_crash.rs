// SPDX-License-Identifier: GPL-2.0

//! After a crash, rebuilds go on where the metadata says that they were, if what was copied is
//! still there.

use super::{
    kept_place,
    place_in_place, //
};
use crate::{
    base::{
        self,
        Verdict, //
    },
    bound::Bound,
    group::{
        commit::{
            box_next,
            commit_and_tell, //
        },
        Group, //
    },
    log,
    metadata::Homes,
    overlay::Place,
    store::CopyError,
    svol_core::{
        group::{
            GroupTable,
            Rebuild, //
        },
        samples, //
    },
};
use kernel::prelude::*;

impl Group {
    /// After a crash, before the table is live, brings disks that are being filled in sync. A disk
    /// that does not hold what was copied to it is filled from its beginning: it may have been
    /// replaced.
    #[inline(never)]
    pub(in crate::group) fn resolve_rebuilds(
        &self,
        bound: &Bound,
        homes: &Homes,
        mut table: KBox<GroupTable>,
    ) -> Result<KBox<GroupTable>> {
        for entry in 0..bound.volumes.len() {
            let rebuild = table.rebuild_of(entry);
            let Some(rebuild) = rebuild.filter(|rebuild| rebuild.cursor > 0) else {
                continue;
            };
            let kept = kept_place(bound, entry);
            let place = kept.or_else(|| place_in_place(bound, entry));
            if !holds_copied(bound, &table, &rebuild, place)? {
                let name = |entry: usize| bound.volumes.get(entry).map(|volume| volume.lid);
                if let (Some(lid), Some(target)) = (name(entry), name(rebuild.target)) {
                    log::notice!(
                        table.id(),
                        "{lid}: the disk of {target} does not hold what was copied to it, and is \
                         filled from its beginning"
                    );
                }
            } else if copy_again(bound, kept, place)? {
                continue;
            }
            // Start from the beginning; the metadata must not say otherwise later.
            if let Some(mut next) = box_next(table.with_cursor(entry, 0)?)? {
                // Not an event, unless a metadata copy is lost.
                commit_and_tell(bound, homes, &mut next, table.head().events)?;
                table = next;
            }
            match (kept, place) {
                (Some(place), _) => place.owner().restart_fill(),
                (None, Some(place)) => {
                    place.owner().restart_move();
                    place.store().move_is_resolved(place.owner());
                }
                (None, None) => (),
            }
            if let Some(volume) = bound.volumes.get(entry) {
                volume.copied.set(0);
            }
        }
        Ok(table)
    }
}

/// Copies again what a crash may have left different on the disk that is being filled: for a volume
/// that is `kept` in its store, or one that moves and has its changes in this `place`. Returns
/// whether that succeeded. Sleeps for I/O.
///
/// # Errors
///
/// `ENOMEM`.
fn copy_again(bound: &Bound, kept: Option<Place<'_>>, place: Option<Place<'_>>) -> Result<bool> {
    let copied = match (kept, place) {
        (Some(place), _) => place.store().fill_again(bound, place.owner()),
        (None, Some(place)) => place
            .store()
            .move_again(bound, place.owner())
            .inspect(|()| place.store().move_is_resolved(place.owner())),
        (None, None) => Ok(()),
    };
    match copied {
        Err(CopyError::Source(ENOMEM) | CopyError::Target(ENOMEM)) => Err(ENOMEM),
        other => Ok(other.is_ok()),
    }
}

/// Whether the disk that is being filled holds what was copied to it, judged by samples; what can't
/// be read counts as missing. `place` is where the volume's changes are, if they were copied, too.
/// Sleeps for I/O.
///
/// # Errors
///
/// `ENOMEM`, or `ENXIO` if the disk is not here.
#[inline(never)]
fn holds_copied(
    bound: &Bound,
    table: &GroupTable,
    rebuild: &Rebuild,
    place: Option<Place<'_>>,
) -> Result<bool> {
    let found = match place {
        Some(place) => place
            .store()
            .compare_filled(table, place.owner(), rebuild)?,
        None => {
            let disk = bound.members.disk(rebuild.target).ok_or(ENXIO)?;
            let samples = samples::in_front_of(&table.metadata().samples, rebuild.cursor);
            base::compare(&bound.members, disk, samples)?
        }
    };
    Ok(matches!(found, Verdict::Same))
}
