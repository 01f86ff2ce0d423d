// SPDX-License-Identifier: GPL-2.0

//! What a start would find.

use crate::{
    common::id,
    device::{Device, Sector, SECTOR},
    model::{content, Model, BASE},
    world::{DISK, STORE},
};
use svol_core::{
    env::AllocError,
    svol_core::{
        block_map::{BlockMap, Kind},
        store::{
            judge, layout::min_device_sectors, Content, Damage, Expected, Header, Layout, Plan,
            Probe, Source, StoredOwner,
        },
    },
};

/// The event count of the group. It is not what is tested here.
pub(crate) const EVENTS: u64 = 1;

/// A group, and how closely it is looked at.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) block_sectors: u32,
    /// The length of the volumes.
    pub(crate) sectors: u64,
    /// The length of the store device.
    pub(crate) device_sectors: u64,
    /// Slots that are out of use, so that there are few.
    pub(crate) spoilt: std::ops::Range<u32>,
    /// Whether each owner is written in place.
    pub(crate) owners: Vec<bool>,
    /// Where I/O goes.
    pub(crate) areas: [std::ops::Range<u64>; 2],
    /// Entries of a round of a commit.
    pub(crate) batch: usize,
    /// How many states are looked at in one moment.
    pub(crate) subsets: usize,
    /// The rule that the driver breaks.
    pub(crate) broken: Option<Rule>,
}

/// The rules that everything hangs on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Rule {
    DataBeforeEntries,
    EntriesBeforeAnswer,
    FreedBeforeReused,
    ReadersBeforeReused,
    MarkBeforeWrite,
    FlushBeforeUnmark,
    CommitBeforeUnmark,
    OneCopyAfterTheOther,
    EntriesBeforeSegment,
    DiskFlushForFua,
    DiskFlushBeforeResolve,
    FlushBeforeOpen,
    MendBeforeChange,
}

impl Config {
    pub(crate) fn small(owners: &[bool]) -> Self {
        let block_sectors = 8;
        Self {
            block_sectors,
            sectors: 10,
            device_sectors: min_device_sectors(block_sectors),
            spoilt: 0..0,
            owners: owners.to_vec(),
            areas: [0..10, 0..0],
            batch: 1024,
            subsets: 256,
            broken: None,
        }
    }

    /// The sectors that anything is written to.
    pub(crate) fn looked_at(&self) -> Vec<u64> {
        self.areas.iter().cloned().flatten().collect()
    }

    pub(crate) fn lid(owner: usize) -> svol_core::svol_core::id::Id {
        id(&format!("LV{owner}"))
    }

    pub(crate) fn expected(&self, formatted: bool) -> Expected {
        Expected {
            uuid: [7; 16],
            group: id("G0"),
            lid: id("DLV"),
            block_sectors: self.block_sectors,
            sectors: self.sectors,
            events: EVENTS,
            least: EVENTS,
            device_sectors: self.device_sectors,
            formatted,
        }
    }
}

/// A device that is read by who starts the store.
pub(crate) struct Reading<'a>(pub(crate) &'a Device, pub(crate) Vec<Damage>);

impl Source for Reading<'_> {
    type Error = AllocError;

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), AllocError> {
        assert!(offset % 4096 == 0 && buffer.len() % 4096 == 0);
        self.0.read(offset / 512, buffer);
        Ok(())
    }

    fn note(&mut self, damage: &Damage) {
        self.1.push(*damage);
    }
}

/// A store as it is found.
pub(crate) struct Opened {
    pub(crate) header: Header,
    /// The header has to be written again.
    pub(crate) mend: bool,
    pub(crate) layout: Layout,
    pub(crate) content: Content,
}

/// Looks for the store; `None` if it has to be made, with the header that it has to have.
pub(crate) fn open(
    config: &Config,
    device: &Device,
    formatted: bool,
) -> Result<Result<Opened, Option<Header>>, String> {
    let probe = Probe::device(|offset, buffer| {
        device.read(offset / 512, buffer);
        Ok::<_, ()>(())
    })
    .unwrap();
    match judge(&probe, &config.expected(formatted)) {
        Err(refusal) => return Err(format!("the device {refusal}")),
        Ok(Plan::Format) => return Ok(Err(None)),
        Ok(Plan::FormatAgain) => {
            no_damage(&probe)?;
            return Ok(Err(probe.header().copied()));
        }
        Ok(Plan::Use) => no_damage(&probe)?,
    }
    let Probe::Store(chosen) = probe else {
        return Err("no store".to_owned());
    };
    let layout = Layout::new(config.block_sectors, config.device_sectors).unwrap();
    let mut reading = Reading(device, Vec::new());
    let content = Content::load(&chosen.value, &layout, &mut reading)
        .map_err(|error| format!("{error:?}"))?;
    // Crashes do no damage.
    match reading.1.first() {
        Some(damage) => Err(damage.to_string()),
        None => Ok(Ok(Opened {
            header: chosen.value,
            mend: chosen.copies.iter().any(|state| state.wants_rewrite()),
            layout,
            content,
        })),
    }
}

fn no_damage(probe: &Probe) -> Result<(), String> {
    if let Probe::Store(chosen) = probe {
        if let Some(state) = chosen.copies.iter().find(|state| state.is_damage()) {
            return Err(format!("header: {state}"));
        }
    }
    Ok(())
}

/// A sector of a volume through the store.
pub(crate) fn read_overlay(
    devices: &[Device; 2],
    layout: &Layout,
    map: &BlockMap,
    sector: u64,
) -> Sector {
    let mut found = [0; SECTOR];
    let run = map.read_run(sector, 1);
    assert_eq!(run.sectors, 1);
    match run.kind {
        Kind::Base => content(BASE, 0, sector),
        Kind::Zero => found,
        Kind::Slot { slot, offset } => {
            let sector = layout.slot_sector(slot) + u64::from(offset);
            devices[STORE].read(sector, &mut found);
            found
        }
    }
}

/// Checks what a start would find now, with nothing left in the caches.
pub(crate) fn check_crashed(
    config: &Config,
    devices: &[Device; 2],
    model: &Model,
) -> Result<(), String> {
    if let Ok(opened) = open(config, &devices[STORE], model.formatted)? {
        check_volumes(config, devices, model, &opened).map(|_| ())?;
    }
    Ok(())
}

/// Checks all volumes; gives what they hold.
pub(crate) fn check_volumes(
    config: &Config,
    devices: &[Device; 2],
    model: &Model,
    opened: &Opened,
) -> Result<Vec<Vec<u64>>, String> {
    let owners = &config.owners;
    let mut all = Vec::new();
    for (owner, in_place) in owners.iter().enumerate() {
        let lid = Config::lid(owner);
        let stored = opened.content.owners.iter().find(|stored| stored.is(&lid));
        let mut values = Vec::new();
        for (at, sector) in model.sectors.iter().enumerate() {
            let over = match stored.and_then(|stored| stored.map.as_ref()) {
                Some(map) => read_overlay(devices, &opened.layout, map, *sector),
                None => content(BASE, 0, *sector),
            };
            if !*in_place {
                values.push(model.check(owner, at, &over, false)?);
                continue;
            }
            let mut here = [0; SECTOR];
            devices[DISK].read(*sector, &mut here);
            values.push(model.check(owner, at, &here, false)?);
            // All that is left if the disk is lost too.
            model.check(owner, at, &over, true)?;
            if here != over && !is_marked(stored, *sector) {
                return Err(format!(
                    "owner {owner}, sector {sector}: disk and store differ, and nothing says so"
                ));
            }
        }
        all.push(values);
    }
    Ok(all)
}

fn is_marked(stored: Option<&StoredOwner>, sector: u64) -> bool {
    stored
        .and_then(|stored| stored.intents.as_ref())
        .is_some_and(|intents| intents.is_marked(intents.span(sector, 1).0))
}
