// SPDX-License-Identifier: GPL-2.0

//! A group's metadata devices through commits and crashes: whatever a crash leaves behind, the
//! group starts, with the last generation that took effect or the one that was being committed.

mod common;

use common::{core_vec, id};
use proptest::prelude::*;
use std::collections::BTreeMap;
use svol_core::{
    env::Vec as CoreVec,
    svol_core::{
        attr::Attr,
        health::Health,
        meta::{
            choose::{choose, CopyAction, Resume, SeenEvents, Start},
            probe::CopyProbe,
            slot_of, slot_offset, CopyState, DiskState, Identity, Metadata, Phase, VolumeRecord,
            BODY_OFFSET, HEADER_BYTES,
        },
    },
};

const SECTOR: usize = 512;

/// A device with a volatile cache: what was written and not flushed may be lost, sector by sector.
#[derive(Clone, Default)]
struct Device {
    durable: BTreeMap<u64, [u8; SECTOR]>,
    cache: BTreeMap<u64, [u8; SECTOR]>,
}

impl Device {
    fn read(&self, position: u64, buffer: &mut [u8]) {
        buffer.fill(0);
        let first = position / SECTOR as u64;
        let sectors = first..first + (buffer.len() / SECTOR) as u64;
        // What is in the cache is newer.
        let durable = self.durable.range(sectors.clone());
        for (sector, content) in durable.chain(self.cache.range(sectors)) {
            let start = (sector - first) as usize * SECTOR;
            buffer[start..start + SECTOR].copy_from_slice(content);
        }
    }

    fn write(&mut self, position: u64, bytes: &[u8]) {
        for (i, part) in bytes.chunks(SECTOR).enumerate() {
            let mut content = [0; SECTOR];
            content[..part.len()].copy_from_slice(part);
            self.cache
                .insert(position / SECTOR as u64 + i as u64, content);
        }
    }

    fn flush(&mut self) {
        self.durable.append(&mut self.cache);
    }

    /// Power fails: each sector in the cache is on disk or not.
    fn crash(&mut self, mut keep: impl FnMut() -> bool) {
        for (sector, content) in std::mem::take(&mut self.cache) {
            if keep() {
                self.durable.insert(sector, content);
            }
        }
    }
}

/// The power that is left, in steps.
struct Power(usize);

/// The power failed.
struct Crashed;

impl Power {
    fn step(&mut self) -> Result<(), Crashed> {
        self.0 = self.0.checked_sub(1).ok_or(Crashed)?;
        Ok(())
    }
}

fn write_copy(
    device: &mut Device,
    copy: usize,
    metadata: &Metadata,
    power: &mut Power,
) -> Result<(), Crashed> {
    let body: CoreVec<u8> = metadata.encode_body().unwrap();
    let start = slot_offset(slot_of(metadata.head.sequence));
    let mut sector = [0; HEADER_BYTES];
    assert!(metadata.encode_header(copy, &body, &mut sector));

    device.write(start + BODY_OFFSET as u64, &body);
    power.step()?;
    device.flush();
    power.step()?;
    device.write(start, &sector);
    power.step()?;
    device.flush();
    power.step()
}

/// The life of a group's metadata.
struct Life {
    devices: Vec<Device>,
    /// Which copy lives on which device.
    copy_of: Vec<usize>,
    /// The newest generation that took effect.
    effective: Option<Metadata>,
    /// The generation that is being committed.
    pending: Option<Metadata>,
    /// The event count that the stores were told last.
    told: u64,
}

impl Life {
    fn commit(&mut self, metadata: Metadata, power: &mut Power) -> Result<(), Crashed> {
        self.pending = Some(metadata.try_clone().unwrap());
        // One that is two events behind would be taken for an old copy.
        assert!(metadata.head.events <= self.told + 1);
        for (device, copy) in self.devices.iter_mut().zip(&self.copy_of) {
            if metadata.head.copies.state(*copy) == Some(CopyState::Live) {
                write_copy(device, *copy, &metadata, power)?;
            }
        }
        self.effective = self.pending.take();
        Ok(())
    }

    fn probes(&self) -> Vec<CopyProbe> {
        self.devices
            .iter()
            .map(|device| {
                CopyProbe::probe(|position, buffer: &mut [u8]| {
                    device.read(position, buffer);
                    Ok::<_, ()>(())
                })
                .unwrap()
            })
            .collect()
    }

    /// Starts the group and changes its state `changes` times, as long as there is power.
    fn run(&mut self, uuid: u8, changes: &[u8], power: &mut Power) -> Result<(), Crashed> {
        let mut probes = self.probes();
        let start = choose(&id("G0"), &probes, SeenEvents::default(), false);
        match start.expect("a crash must not keep a group from starting") {
            Start::Fresh => {
                assert!(self.effective.is_none());
                self.make(uuid, power)?;
            }
            Start::Resume(resume) => {
                let metadata = probes[resume.device].take(resume.slot).unwrap();
                self.resume(&resume, metadata, power)?;
            }
        }
        for change in changes {
            self.change(*change, power)?;
        }
        Ok(())
    }

    fn make(&mut self, uuid: u8, power: &mut Power) -> Result<(), Crashed> {
        let claim = Metadata::claim(&Identity {
            uuid: [uuid; 16],
            group: id("G0"),
            sectors: 1000,
            block_sectors: 8,
            logical_block_bytes: 512,
            copies: self.devices.len(),
        });
        for (device, copy) in self.devices.iter_mut().zip(&self.copy_of) {
            write_copy(device, *copy, &claim, power)?;
        }
        let mut first = claim;
        first.head.sequence = 1;
        // A body of several sectors, so that it can be torn.
        first.volumes = core_vec((0..8).map(|n| {
            let lid = id(&format!("V{n}"));
            VolumeRecord {
                lid,
                attr: Attr::Ro,
                rlid: None,
                disk: Some(lid),
                health: Health::InSync,
                state: DiskState::default(),
                disk_sectors: 1000,
                failed_at: 0,
            }
        }));
        self.commit(first, power)?;
        self.activate(power)
    }

    fn activate(&mut self, power: &mut Power) -> Result<(), Crashed> {
        let mut active = self.effective.as_ref().unwrap().try_next().unwrap();
        active.head.phase = Phase::Active;
        self.commit(active, power)
    }

    fn resume(
        &mut self,
        resume: &Resume,
        metadata: Metadata,
        power: &mut Power,
    ) -> Result<(), Crashed> {
        let found = Some(&metadata);
        assert!(found == self.effective.as_ref() || found == self.pending.as_ref());

        let mut lose = None;
        for (i, plan) in resume.plans.iter().flatten().enumerate() {
            assert_eq!(plan.copy, self.copy_of[i]);
            match plan.action {
                CopyAction::Rewrite => {
                    write_copy(&mut self.devices[i], plan.copy, &metadata, power)?;
                }
                CopyAction::Lose => lose = Some(plan.copy),
                CopyAction::Keep | CopyAction::Ignore => {}
            }
        }
        assert!(lose.is_none(), "no copy gets lost by a crash");
        self.told = metadata.head.events;
        self.effective = Some(metadata);
        self.pending = None;
        if resume.heal {
            let again = self.effective.as_ref().unwrap().try_next().unwrap();
            self.commit(again, power)?;
        }
        if self.effective.as_ref().unwrap().head.phase == Phase::Initialising {
            self.activate(power)?;
        }
        Ok(())
    }

    fn change(&mut self, change: u8, power: &mut Power) -> Result<(), Crashed> {
        let mut next = self.effective.as_ref().unwrap().try_next().unwrap();
        next.head.events += 1;
        for volume in next.volumes.iter_mut() {
            volume.disk_sectors += u64::from(change);
        }
        if change == 0 && next.lose_copy(1, self.told) {
            // A copy fails meanwhile: recorded in both slots of the other one.
            let again = next.try_next().unwrap();
            self.commit(next, power)?;
            self.commit(again, power)?;
        } else {
            self.commit(next, power)?;
        }
        self.told = self.effective.as_ref().unwrap().head.events;
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn crashes_are_harmless(
        copies in 1..=2usize,
        swapped in any::<bool>(),
        lives in prop::collection::vec(
            (0..80usize, prop::collection::vec(0..12u8, 0..6), any::<u64>()),
            1..8,
        ),
    ) {
        let mut life = Life {
            devices: vec![Device::default(); copies],
            copy_of: if swapped && copies == 2 { vec![1, 0] } else { (0..copies).collect() },
            effective: None,
            pending: None,
            told: 0,
        };
        for (number, (power, changes, seed)) in (1..).zip(lives) {
            let _ = life.run(number, &changes, &mut Power(power));
            let mut random = seed;
            for device in &mut life.devices {
                device.crash(|| {
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1);
                    random >> 63 == 1
                });
            }
        }
    }

    /// Any one sector damaged after a clean stop: the group starts with the newest generation or,
    /// with one copy, refuses; it never starts with an older one unless forced.
    #[test]
    fn one_damaged_sector(
        copies in 1..=2usize,
        changes in prop::collection::vec(1..12u8, 0..6),
        device in any::<prop::sample::Index>(),
        sector in any::<prop::sample::Index>(),
        byte in 0..SECTOR,
        flip in 1..=255u8,
    ) {
        let mut life = Life {
            devices: vec![Device::default(); copies],
            copy_of: (0..copies).collect(),
            effective: None,
            pending: None,
            told: 0,
        };
        prop_assert!(life.run(1, &changes, &mut Power(usize::MAX)).is_ok());
        let device = device.index(copies);
        let written: Vec<u64> = life.devices[device].durable.keys().copied().collect();
        let sector = written[sector.index(written.len())];
        life.devices[device].durable.get_mut(&sector).unwrap()[byte] ^= flip;

        let mut probes = life.probes();
        match choose(&id("G0"), &probes, SeenEvents::default(), false) {
            Ok(Start::Resume(resume)) => {
                let metadata = probes[resume.device].take(resume.slot);
                prop_assert_eq!(metadata.as_ref(), life.effective.as_ref());
            }
            Ok(Start::Fresh) => prop_assert!(false),
            Err(_) => prop_assert_eq!(copies, 1),
        }
    }
}
