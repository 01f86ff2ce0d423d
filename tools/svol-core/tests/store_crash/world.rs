// SPDX-License-Identifier: GPL-2.0

//! What outlives a crash, and the power that may fail.

use crate::{
    check::{check_crashed, Config},
    device::Device,
    model::{content, Model, BASE},
};
use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hasher},
};

/// The devices.
pub(crate) const DISK: usize = 0;
pub(crate) const STORE: usize = 1;

/// Why the driver stops.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The power failed.
    Crashed,
    /// A promise was broken.
    Broken(String),
}

impl From<String> for Stop {
    fn from(text: String) -> Self {
        Self::Broken(text)
    }
}

/// When the power fails.
#[derive(Clone)]
pub(crate) enum Power {
    /// After so many steps.
    Steps(usize),
    /// Never; but at each step it is looked at what would be found if it did.
    Watched,
    /// Never.
    On,
}

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) config: Config,
    /// The in-place disk and the store device.
    pub(crate) devices: [Device; 2],
    pub(crate) model: Model,
    pub(crate) power: Power,
    pub(crate) random: Random,
    /// The last value that was written.
    pub(crate) values: u64,
    /// Devices that all states are compared with.
    pub(crate) before: [Device; 2],
    /// States that were looked at, as digests.
    pub(crate) seen: HashSet<u64>,
}

impl World {
    pub(crate) fn new(config: Config, seed: u64) -> Self {
        let mut disk = Device::default();
        for sector in config.looked_at() {
            disk.write(sector, &content(BASE, 0, sector));
        }
        disk.flush();
        Self {
            model: Model::new(config.owners.len(), config.looked_at()),
            config,
            before: [disk.clone(), Device::default()],
            devices: [disk, Device::default()],
            power: Power::On,
            random: Random(seed),
            values: BASE,
            seen: HashSet::new(),
        }
    }

    /// The power may fail here.
    fn step(&mut self) -> Result<(), Stop> {
        match &mut self.power {
            Power::On => Ok(()),
            Power::Steps(left) => {
                *left = left.checked_sub(1).ok_or(Stop::Crashed)?;
                Ok(())
            }
            Power::Watched => Ok(self.look()?),
        }
    }

    pub(crate) fn read(&self, device: usize, sector: u64, buffer: &mut [u8]) {
        self.devices[device].read(sector, buffer);
    }

    pub(crate) fn write(&mut self, device: usize, sector: u64, bytes: &[u8]) -> Result<(), Stop> {
        self.step()?;
        self.devices[device].write(sector, bytes);
        Ok(())
    }

    pub(crate) fn flush(&mut self, device: usize) -> Result<(), Stop> {
        self.step()?;
        self.devices[device].flush();
        Ok(())
    }

    /// Durable after.
    pub(crate) fn write_durable(
        &mut self,
        device: usize,
        sector: u64,
        bytes: &[u8],
    ) -> Result<(), Stop> {
        self.write(device, sector, bytes)?;
        // A crash in between is as likely as before and after.
        self.step()?;
        self.flush(device)
    }

    /// Looks at what a power cut could leave now: all of it if that is not too much.
    pub(crate) fn look(&mut self) -> Result<(), String> {
        let versions: Vec<usize> = self
            .devices
            .iter()
            .flat_map(|device| device.versions())
            .collect();
        let limit = self.config.subsets;
        let count = versions
            .iter()
            .try_fold(1usize, |count, n| count.checked_mul(n + 1))
            .filter(|count| *count <= limit);
        for state in 0..count.unwrap_or(limit) {
            let mut devices = self.devices.clone();
            let mut left = state;
            let mut index = 0;
            for device in &mut devices {
                device.crash(|n| {
                    let choice = match (count, state) {
                        (Some(_), _) => {
                            let choice = left % (n + 1);
                            left /= n + 1;
                            choice
                        }
                        // Nothing, all, each alone, all but one, and whatever comes.
                        (None, 0) => 0,
                        (None, 1) => n,
                        (None, _) if state - 2 < versions.len() => {
                            n * usize::from(state - 2 == index)
                        }
                        (None, _) if state - 2 < 2 * versions.len() => {
                            n * usize::from(state - 2 != index + versions.len())
                        }
                        (None, _) => self.random.below(n + 1),
                    };
                    index += 1;
                    choice
                });
            }
            let mut digest = DefaultHasher::new();
            self.model.digest(&mut digest);
            for (device, before) in devices.iter().zip(&self.before) {
                device.digest(before, &mut digest);
            }
            if !self.seen.insert(digest.finish()) {
                continue;
            }
            check_crashed(&self.config, &devices, &self.model)
                .map_err(|error| format!("{error} (state {state} of {versions:?})"))?;
        }
        Ok(())
    }
}

/// Numbers that look random.
#[derive(Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((self.0 >> 33) % n as u64) as usize
    }
}
