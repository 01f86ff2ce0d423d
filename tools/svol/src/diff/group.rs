// SPDX-License-Identifier: GPL-2.0

//! What the metadata knows of an increments store and its volumes, and the store does not: whether
//! all that was written is in it.

use crate::{device::Device, kind::Kind, store::Store, warnings::Warnings};
use anyhow::{anyhow, bail, Result};
use std::path::PathBuf;
use svol_core::svol_core::{
    attr::Attr,
    health::Health,
    id::Id,
    meta::{
        choose::{choose, Gone, Refusal, SeenEvents, Start},
        probe::{CopyProbe, SlotState},
        Head, Metadata, VolumeRecord, SLOTS,
    },
    samples::SUB_BLOCK_BYTES,
    store::{judge, least_seen, Expected, Owner, Probe},
    table_line::MAX_META_COPIES,
};

/// The group that a store belongs to.
pub(super) struct Group {
    /// `None` if it cannot be told from the devices, or is another group's.
    metadata: Option<Metadata>,
    /// The LID of the store.
    store: Id,
    /// Nothing is wrong with the store, nor with the metadata.
    is_sound: bool,
}

impl Group {
    /// Reads the metadata devices; `None` without any. An error if one of them is none.
    pub(super) fn read(
        paths: &[PathBuf],
        store: &Store<'_>,
        warnings: &mut Warnings,
    ) -> Result<Option<Self>> {
        if paths.is_empty() {
            return Ok(None);
        }
        if paths.len() > MAX_META_COPIES {
            bail!("a group has {MAX_META_COPIES} metadata devices at most");
        }
        let mut probes = Vec::new();
        for path in paths {
            let device = Device::open(path)?;
            if Kind::of(&device, path)? != Kind::Metadata {
                bail!("{} is no metadata device", path.display());
            }
            let probe = CopyProbe::probe(|offset, buffer| device.read(offset, buffer));
            probes.push(probe.map_err(|_| anyhow!("out of memory"))?);
        }
        let before = warnings.count();
        let metadata = newest(probes, &store.header.value.group, warnings)
            .filter(|metadata| has_store(metadata, store, warnings));
        Ok(Some(Self {
            metadata,
            store: store.header.value.lid,
            is_sound: warnings.count() == before,
        }))
    }

    /// Checks samples of a disk that is said to hold the base image: nothing else shows that it is
    /// another one. An error if it does not hold it.
    pub(super) fn check_base(&self, base: &Device, lid: &Id) -> Result<()> {
        let volume = self.metadata.as_ref().and_then(|all| find(all, lid));
        let reads_alone = |volume: &VolumeRecord| volume.health.is_alone() && volume.disk.is_some();
        // Its own disk is its base, whatever others have.
        if volume.is_some_and(reads_alone) {
            return Ok(());
        }
        let samples = self.metadata.iter().flat_map(|all| all.samples.iter());
        for sample in samples {
            let offset = sample.sector().saturating_mul(512);
            let mut content = [0; SUB_BLOCK_BYTES];
            // What can't be read says nothing.
            if base.read(offset, &mut content).is_ok() && !sample.matches(&content) {
                bail!("the base image is not that of the group, see byte {offset}: wrong disk?");
            }
        }
        Ok(())
    }

    /// Whether the increments have all that a volume wrote, as far as the group knows. Warns if
    /// not.
    pub(super) fn vouches_for(&self, owner: &Owner, warnings: &mut Warnings) -> bool {
        let Some(metadata) = &self.metadata else {
            return false;
        };
        let lid = owner.lid;
        let volume = find(metadata, &lid);
        let doubt = match volume {
            None => Some(format!("{lid} is not in the group")),
            Some(volume) if volume.rlid != Some(self.store) => Some(match volume.rlid {
                Some(rlid) => format!("{lid} keeps its changes in {rlid} now"),
                None => format!("{lid} keeps its changes nowhere now"),
            }),
            Some(volume) => self.doubt(metadata, owner, volume),
        };
        if let Some(doubt) = &doubt {
            warnings.add(doubt);
        }
        self.is_sound && doubt.is_none()
    }

    /// Why not all of a volume may be in its store.
    fn doubt(&self, metadata: &Metadata, owner: &Owner, volume: &VolumeRecord) -> Option<String> {
        let lid = owner.lid;
        // After a failover its disk is that of another entry.
        let disk = volume.disk.and_then(|disk| find(metadata, &disk));
        let split = metadata.head.base_generation;
        if owner.base_generation != split {
            Some(format!(
                "{lid} changed split {}, the group has split {split} now",
                owner.base_generation
            ))
        } else if disk.is_some_and(|disk| disk.state.unprotected) {
            Some(format!(
                "{lid} is unprotected: its disk was, or may have been, written without a log; that is missing here"
            ))
        } else if volume.health == Health::Diverged {
            Some(format!(
                "{lid} is diverged: its disk differs from the base image by more than what is here"
            ))
        } else if volume.health == Health::Verifying && disk.is_some() {
            Some(format!(
                "{lid} is verifying: its disk may differ from the base image by more than what is here"
            ))
        } else if (volume.attr, volume.health) == (Attr::Rw, Health::Failed) {
            // Whether it was unprotected before, nobody knows any more.
            Some(format!(
                "{lid} is failed: nobody else had all that its disk held"
            ))
        } else {
            None
        }
    }
}

fn find<'a>(metadata: &'a Metadata, lid: &Id) -> Option<&'a VolumeRecord> {
    metadata.volumes.get(metadata.position(lid)?)
}

/// The generation that the group would start with. If something is wrong with it: a warning, and
/// the best one there is.
fn newest(mut probes: Vec<CopyProbe>, group: &Id, warnings: &mut Warnings) -> Option<Metadata> {
    // A copy that was not given.
    let copies = newest_head(&probes).map_or(0, |head| head.copies.count());
    probes.resize_with(probes.len().max(copies), || CopyProbe::Missing);
    // What the store has seen confirms nothing here: it may have failed, and seen nothing since.
    let chosen = choose(group, &probes, SeenEvents::default(), false).or_else(|refusal| {
        match refusal {
            Refusal::Unconfirmed {
                why: Gone::Missing, ..
            } => warnings.add(
                "the group has another metadata device, which may be newer: give both with --meta",
            ),
            _ => warnings.add(refusal),
        }
        choose(group, &probes, SeenEvents::default(), true)
    });
    match chosen {
        Ok(Start::Resume(resume)) => probes.get_mut(resume.device)?.take(resume.slot),
        Ok(Start::Fresh) => {
            warnings.add("the metadata is of a group that was never finished");
            None
        }
        Err(_) => None,
    }
}

fn newest_head(probes: &[CopyProbe]) -> Option<Head> {
    let slots = probes
        .iter()
        .flat_map(|probe| (0..SLOTS).filter_map(|slot| probe.slot(slot)));
    slots
        .filter_map(|state| match state {
            SlotState::Valid { metadata, .. } => Some(metadata.head),
            _ => None,
        })
        .max_by_key(|head| head.sequence)
}

/// Whether a store is that of the group. Warns of anything that is wrong with it.
fn has_store(metadata: &Metadata, store: &Store<'_>, warnings: &mut Warnings) -> bool {
    let (head, header) = (&metadata.head, &store.header.value);
    let lid = header.lid;
    let entry = find(metadata, &lid).filter(|entry| entry.attr == Attr::Increments);
    let has_failed =
        entry.is_some_and(|entry| entry.state.failed || entry.health == Health::Failed);
    let expected = Expected {
        uuid: head.uuid,
        group: head.group,
        lid,
        block_sectors: head.block_sectors,
        sectors: head.sectors,
        events: head.events,
        least: match entry {
            Some(entry) if !has_failed => least_seen(head.events, entry.failed_at),
            _ => 0,
        },
        // How long it is, is no question of the metadata.
        device_sectors: u64::MAX,
        formatted: true,
    };
    if let Err(refusal) = judge(&Probe::Store(store.header), &expected) {
        warnings.add(format_args!("{lid} {refusal}"));
    }
    let is_of_group = (header.group, header.uuid) == (head.group, head.uuid);
    if is_of_group && entry.is_none() {
        warnings.add(format_args!("the group has no increments volume {lid}"));
    }
    if is_of_group && has_failed {
        warnings.add(format_args!(
            "{lid} is failed: what was written since is not in it"
        ));
    }
    is_of_group && entry.is_some()
}
