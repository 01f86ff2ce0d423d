// SPDX-License-Identifier: GPL-2.0

//! Checks an increments store.

use crate::{
    device::Device,
    finding::{
        Findings,
        Severity::{Note, Repairable, Risk},
    },
    output::progress,
    store::{probe, slots_text, Store},
    stray::Stray,
};
use anyhow::{anyhow, Result};
use std::collections::{btree_map::Entry, BTreeMap, BTreeSet};
use svol_core::svol_core::store::{
    entries::Record,
    layout::{header_offset, owner_offset},
    CopyState, Phase, Probe, COPIES,
};

pub(crate) fn check(device: &Device, findings: &mut Findings) -> Result<()> {
    let found = probe(device)?;
    let header = match found {
        Probe::Store(header) => header,
        other => {
            let what = match other {
                Probe::Version(version) => format!("unknown format version {version}"),
                Probe::Damaged(error) => format!("header: {error}"),
                Probe::Dead | Probe::Unreadable => "header: cannot be read".to_owned(),
                _ => "header: no trace of either copy".to_owned(),
            };
            findings.add(
                Risk,
                (header_offset(0), header_offset(1).saturating_add(512)),
                what,
                "nothing of the store can be used",
            );
            return Ok(());
        }
    };
    copies(
        findings,
        "header",
        header.copies,
        header_offset,
        "is whole and counts",
    );
    if header.value.used_sectors > device.sectors() {
        findings.add(
            Risk,
            (device.bytes(), 0),
            format!(
                "the device ends here, but the store uses {} bytes",
                header.value.used_sectors.saturating_mul(512)
            ),
            "the group refuses the device; slots behind the end are lost",
        );
    }
    if header.value.phase == Phase::Formatting {
        findings.add(
            Note,
            (header_offset(0), 512),
            "the store was never finished",
            "it is formatted again at the next start; there is nothing in it yet",
        );
        return Ok(());
    }
    let store = Store::with_header(device, header)?;
    owners(&store, findings);
    intents(&store, findings);
    entries(&store, findings)
}

/// Reports the state of what has two copies.
fn copies(
    findings: &mut Findings,
    what: &str,
    copies: [CopyState; COPIES],
    offset: impl Fn(usize) -> u64,
    affects: &str,
) {
    for (copy, state) in copies.into_iter().enumerate() {
        let severity = match state {
            CopyState::Good => continue,
            CopyState::Behind => Note,
            CopyState::Stale | CopyState::Damaged(_) => Repairable,
        };
        let other = 1_usize.saturating_sub(copy);
        findings.add(
            severity,
            (offset(copy), 512),
            format!("{what}, copy {copy}: {state}"),
            format!("copy {other} {affects}"),
        );
    }
}

fn owners(store: &Store<'_>, findings: &mut Findings) {
    let mut seen = BTreeMap::new();
    for (number, state) in store.owner_states() {
        let offset = |copy| owner_offset(copy, number);
        match state {
            Ok(chosen) => copies(
                findings,
                &format!("owner {number}"),
                chosen.copies,
                offset,
                "is whole and counts",
            ),
            Err(error) => findings.add(
                Risk,
                (offset(0), 512),
                format!("owner {number}, copy 1 is at {}: {error}", offset(1)),
                "nobody knows whose the entries of this number are",
            ),
        }
        let Some(owner) = store.owner(number) else {
            continue;
        };
        if let Some(first) = seen.insert(owner.lid, number) {
            findings.add(
                Risk,
                (offset(0), 512),
                format!("owner {number} has the LID {} of owner {first}", owner.lid),
                "nobody knows which of them counts",
            );
        }
        if owner.sectors != store.header.value.sectors {
            findings.add(
                Risk,
                (offset(0), 512),
                format!(
                    "owner {number} ({}) has {} sectors, which is not the length of the group",
                    owner.lid, owner.sectors
                ),
                "the group refuses the device",
            );
        }
        if owner.removing {
            findings.add(
                Note,
                (offset(0), 512),
                format!("owner {number} ({}) is being removed", owner.lid),
                "a start finishes that, or takes it back if the group still has it",
            );
        }
    }
}

fn intents(store: &Store<'_>, findings: &mut Findings) {
    for (number, owner) in store.owners() {
        for (offset, regions, sector) in store.intent(number, owner) {
            if let Err(error) = sector {
                findings.add(
                    Repairable,
                    (offset, 512),
                    format!(
                        "write-intent map of owner {number} ({}): {error}",
                        owner.lid
                    ),
                    format!("nothing is lost, {regions} regions are compared at the next start"),
                );
            }
        }
    }
}

/// What is reported once for many entries: where the first one is, and how many there are.
type Counts = BTreeMap<(u16, Stray), (u64, u64)>;

fn entries(store: &Store<'_>, findings: &mut Findings) -> Result<()> {
    let mut keys = Vec::new();
    let mut counts = Counts::new();
    store.for_each_sector(&progress("entries", store.segments()), |sector| {
        if sector.is_missing {
            // That the device is too short is a finding of its own.
            return Ok(());
        }
        if let Err(error) = sector.sector {
            // Where there were no slots there is nothing to lose: the next start makes it good.
            let first = sector.first_slot;
            let (severity, affects) = if first < store.layout.slots() {
                let slots = slots_text(first);
                (
                    Risk,
                    format!("{slots}: nobody knows whose changes they held"),
                )
            } else {
                let affects = "nothing, the device had no such slots";
                (Repairable, affects.to_owned())
            };
            findings.add(
                severity,
                (sector.offset, 512),
                format!("sector of entries: {error}"),
                affects,
            );
        }
        for (slot, record) in sector.records() {
            match Stray::of(store, slot, &record) {
                Some(stray) => {
                    let (_, count) = counts
                        .entry((record.owner, stray))
                        .or_insert((sector.offset, 0));
                    *count = count.saturating_add(1);
                }
                None => {
                    keys.try_reserve(1).map_err(|_| anyhow!("out of memory"))?;
                    keys.push(key(&record));
                }
            }
        }
        Ok(())
    })?;
    for ((number, stray), (offset, count)) in counts {
        let name = store
            .owner(number)
            .map_or_else(|| "unknown".to_owned(), |owner| owner.lid.to_string());
        findings.add(
            Risk,
            (offset, 512),
            format!("{count} entries of owner {number} ({name}) {stray}; the first one is here"),
            "the group refuses the device",
        );
    }
    duplicates(store, findings, keys)
}

/// Owner and BID in one number.
fn key(record: &Record) -> u64 {
    (u64::from(record.owner) << 48) | record.bid
}

/// Looks for blocks that stand in several slots.
fn duplicates(store: &Store<'_>, findings: &mut Findings, mut keys: Vec<u64>) -> Result<()> {
    keys.sort_unstable();
    let twice: BTreeSet<u64> = keys
        .windows(2)
        .filter_map(|pair| match pair {
            [a, b] if a == b => Some(*a),
            _ => None,
        })
        .collect();
    if twice.is_empty() {
        return Ok(());
    }
    let mut first = BTreeMap::new();
    store.for_each_sector(&progress("duplicates", store.segments()), |sector| {
        for (slot, record) in sector.records() {
            if !twice.contains(&key(&record)) || Stray::of(store, slot, &record).is_some() {
                continue;
            }
            match first.entry(key(&record)) {
                Entry::Vacant(place) => {
                    place.insert(slot);
                }
                Entry::Occupied(place) => {
                    let name = store
                        .owner(record.owner)
                        .map(|owner| owner.lid.to_string())
                        .unwrap_or_default();
                    findings.add(
                        Risk,
                        (sector.offset, 512),
                        format!(
                            "block {} of owner {} ({name}) is in slot {slot} and in slot {}",
                            record.bid,
                            record.owner,
                            place.get()
                        ),
                        format!(
                            "{name}, bytes from {}",
                            record.bid.saturating_mul(store.block_bytes())
                        ),
                    );
                }
            }
        }
        Ok(())
    })
}
