// SPDX-License-Identifier: GPL-2.0

//! `svol diff`: what volumes have changed since the split.

mod group;
mod scan;
mod volume;

pub(crate) use scan::Block;

use crate::{
    cli::Diff,
    device::Device,
    output::{json, say, unless_unread},
    sparse::NewFile,
    store::Store,
    warnings::Warnings,
};
use anyhow::{bail, Result};
use group::Group;
use scan::Changes;
use svol_core::svol_core::store::Phase;
use volume::Volume;

pub(crate) fn run(args: &Diff) -> Result<u8> {
    let device = Device::open(&args.device)?;
    let store = Store::open(&device)?;
    if store.header.value.phase == Phase::Formatting {
        bail!("the increments store was never finished");
    }
    let mut changes = choose(&store, args)?;
    // Whatever can go wrong does so before the entries are read: that takes long.
    let mut target = Target::of(&store, &changes, args)?;
    let mut warnings = Warnings::default();
    let group = Group::read(&args.meta, &store, &mut warnings)?;
    if let (Some(group), Some(base)) = (&group, target.as_ref().and_then(|t| t.base.as_ref())) {
        for owner in changes.keys().filter_map(|number| store.owner(*number)) {
            group.check_base(base, &owner.lid)?;
        }
    }
    warn_of_store(&store, &mut warnings);
    scan::scan(&store, &mut changes, &mut warnings)?;

    let mut volumes = Vec::new();
    for (number, blocks) in changes {
        let Some(owner) = store.owner(number) else {
            continue;
        };
        let mut volume = Volume::of(&store, number, owner, blocks, &mut warnings)?;
        if let Some(group) = &group {
            volume.ask(group, owner, &mut warnings);
        }
        // There is one volume only.
        if let Some(target) = target.take() {
            volume.write(&store, target, &mut warnings)?;
        }
        volumes.push(volume);
    }
    if group.is_none() && !args.json {
        note_in_place(&volumes);
    }
    unless_unread(print(&volumes, args.json))?;
    Ok(warnings.status())
}

/// Where a volume is copied to.
struct Target<'a> {
    file: NewFile<'a>,
    /// What it has not changed is copied from there.
    base: Option<Device>,
}

impl<'a> Target<'a> {
    /// Makes the file, if there is to be one.
    fn of(store: &Store<'_>, changes: &Changes, args: &'a Diff) -> Result<Option<Self>> {
        let Some(path) = args.sparse.as_deref().or(args.image.as_deref()) else {
            return Ok(None);
        };
        let base = args.base.as_deref().map(Device::open).transpose()?;
        let owners = changes.keys().filter_map(|number| store.owner(*number));
        let sectors = owners.map(|owner| owner.sectors).max().unwrap_or(0);
        if let Some(base) = base.as_ref().filter(|base| base.sectors() < sectors) {
            bail!(
                "a base image of {} bytes is too short for a volume of {}",
                base.bytes(),
                sectors.saturating_mul(512)
            );
        }
        let file = NewFile::create(path)?;
        Ok(Some(Self { file, base }))
    }
}

/// The owners that are wanted, without any blocks yet.
fn choose(store: &Store<'_>, args: &Diff) -> Result<Changes> {
    let changes: Changes = store
        .owners()
        .filter(|(_, owner)| {
            let lid = args.lid.as_deref();
            lid.is_none_or(|lid| lid == owner.lid.as_str())
        })
        .map(|(number, _)| (number, Vec::new()))
        .collect();
    if let (Some(lid), true) = (&args.lid, changes.is_empty()) {
        bail!("{lid} has nothing in this increments store");
    }
    if (args.sparse.is_some() || args.image.is_some()) && changes.len() != 1 {
        bail!(
            "a file has room for one volume, this increments store has {}: choose with --lid",
            changes.len()
        );
    }
    Ok(changes)
}

fn warn_of_store(store: &Store<'_>, warnings: &mut Warnings) {
    if let Some(text) = store.cut_short() {
        warnings.add(text);
    }
    for (number, state) in store.owner_states() {
        if state.is_err() {
            warnings.add(format_args!("owner {number} is lost, see svol check"));
        }
    }
}

/// What the increments cannot know is worth a word, and no alarm: few volumes ever write without
/// them.
fn note_in_place(volumes: &[Volume]) {
    let lids: Vec<_> = volumes
        .iter()
        .filter(|volume| volume.in_place)
        .map(|volume| volume.lid.as_str())
        .collect();
    if !lids.is_empty() {
        say(format_args!(
            "note: {}: only the metadata knows whether all that was written in place is in the increments, see --meta",
            lids.join(" ")
        ));
    }
}

fn print(volumes: &[Volume], as_json: bool) -> Result<()> {
    if as_json {
        return json(&volumes);
    }
    volumes.iter().try_for_each(Volume::print)
}
