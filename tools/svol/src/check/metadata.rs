// SPDX-License-Identifier: GPL-2.0

//! Checks a metadata device.

use crate::{
    device::Device,
    finding::{
        Findings,
        Severity::{Note, Risk},
    },
};
use anyhow::{anyhow, Result};
use svol_core::svol_core::meta::{
    probe::{CopyProbe, SlotState},
    slot_offset, MIN_DEVICE_SECTORS, SLOTS, SLOT_BYTES,
};

pub(crate) fn check(device: &Device, findings: &mut Findings) -> Result<()> {
    let probe = CopyProbe::probe(|offset, buffer| device.read(offset, buffer))
        .map_err(|_| anyhow!("out of memory"))?;
    if device.sectors() < MIN_DEVICE_SECTORS {
        findings.add(
            Risk,
            (device.bytes(), 0),
            "the device ends here, it is too small for metadata",
            "it is not the device that was written, or not all of it",
        );
    }
    for slot in 0..SLOTS {
        let own = probe.slot(slot);
        let other = probe.slot(1_usize.saturating_sub(slot));
        let (Some(own), Some(other)) = (own, other) else {
            continue;
        };
        let place = (
            slot_offset(slot),
            u64::try_from(SLOT_BYTES).unwrap_or(u64::MAX),
        );
        let newest = match other {
            SlotState::Valid { metadata, .. } => Some(metadata.head.sequence),
            _ => None,
        };
        match (own, newest) {
            (SlotState::Valid { .. }, _) => {}
            // The first commit may have been cut off in its body, which has no header yet.
            (SlotState::Blank | SlotState::Foreign, Some(0)) => findings.add(
                Note,
                (slot_offset(1_usize.saturating_sub(slot)), 512),
                "claim of a group that was never finished",
                "the device is as good as blank",
            ),
            (SlotState::DamagedBody { sequence, .. }, Some(newest)) if *sequence < newest => {
                findings.add(
                    Note,
                    place,
                    format!("generation {sequence} is overwritten in part: a commit was cut off"),
                    format!("nothing is lost, generation {newest} counts"),
                );
            }
            (SlotState::DamagedBody { sequence, .. }, Some(newest)) => findings.add(
                Risk,
                place,
                format!("slot {slot}: {own}"),
                format!(
                    "generation {newest} is left, changes of the group up to generation {sequence} are lost unless the other metadata device has them"
                ),
            ),
            (_, Some(newest)) => findings.add(
                Risk,
                place,
                format!("slot {slot}: {own}"),
                format!(
                    "generation {newest} is left; a newer one may have been here, unless the other metadata device or an increments device knows better"
                ),
            ),
            (_, None) => findings.add(
                Risk,
                place,
                format!("slot {slot}: {own}"),
                "no generation is left, this copy of the metadata is lost",
            ),
        }
    }
    Ok(())
}
