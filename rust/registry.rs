// SPDX-License-Identifier: GPL-2.0

//! All groups of the module, and the devices they use.
//!
//! The block layer lets two device-mapper tables share a device. For a group, that would sooner or
//! later mean wrong data, so the registry refuses a second use. It enforces the rule "one live
//! group per group ID and per device".
//!
//! # Locks
//!
//! `groups` is a leaf and is never held across I/O.

use crate::{
    dm::{
        self,
        DeviceNumber, //
    },
    group::Group,
    members::Members,
    svol_core::id::Id, //
};
use core::ops::Deref;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

/// A group and the handles to it.
struct Entry {
    group: Arc<Group>,
    handles: usize,
    /// What its live tables use. More than one only while one table replaces another.
    claims: KVec<Claim>,
}

/// What one table of a group uses.
struct Claim {
    table: u64,
    id: Id,
    devices: KVec<DeviceNumber>,
}

/// All groups of the module.
#[pin_data]
pub(crate) struct Registry {
    #[pin]
    groups: Mutex<KVec<Entry>>,
}

/// Why a claim was refused.
pub(crate) enum Conflict {
    /// A live group on another mapped device has this group ID.
    Id(DeviceNumber),
    /// A live group on another mapped device uses this device.
    Device(DeviceNumber, Id),
    /// Out of memory.
    Memory,
}

impl From<kernel::alloc::AllocError> for Conflict {
    fn from(_: kernel::alloc::AllocError) -> Self {
        Conflict::Memory
    }
}

impl Registry {
    /// An empty registry.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            groups <- new_mutex!(KVec::new()),
        })
    }

    /// The group of the mapped device for which a table is loaded; created if there is none yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn open(this: &Arc<Self>, setup: &dm::Setup<'_>) -> Result<GroupRef> {
        if let Some(found) = Self::find(this, setup.number()) {
            return Ok(found);
        }
        // Without the lock, since this allocates.
        let group = Arc::pin_init(Group::new(setup), GFP_KERNEL)?;

        let mut groups = this.groups.lock();
        // Two tables of one mapped device may be under construction at once.
        let group = match groups
            .iter_mut()
            .find(|e| e.group.number() == group.number())
        {
            Some(entry) => {
                entry.handles = entry.handles.saturating_add(1);
                entry.group.clone()
            }
            None => {
                groups.push(
                    Entry {
                        group: group.clone(),
                        handles: 1,
                        claims: KVec::new(),
                    },
                    GFP_KERNEL,
                )?;
                group
            }
        };
        drop(groups);
        Ok(GroupRef {
            registry: this.clone(),
            group,
        })
    }

    /// The group of a mapped device.
    pub(crate) fn find(this: &Arc<Self>, number: DeviceNumber) -> Option<GroupRef> {
        let mut groups = this.groups.lock();
        let entry = groups.iter_mut().find(|e| e.group.number() == number)?;
        entry.handles = entry.handles.saturating_add(1);
        Some(GroupRef {
            registry: this.clone(),
            group: entry.group.clone(),
        })
    }

    /// Whether a table of the group on `number` could use a device: no live group on another
    /// mapped device uses it.
    ///
    /// # Errors
    ///
    /// The ID of the group that uses it.
    pub(crate) fn check_device(
        &self,
        number: DeviceNumber,
        device: DeviceNumber,
    ) -> Result<(), Id> {
        no_user(user_of_device(&self.groups.lock(), number, device))
    }

    /// Whether a table of the group on `number` could have this ID: no live group on another
    /// mapped device has it.
    ///
    /// # Errors
    ///
    /// The mapped device of the group that has it.
    pub(crate) fn check_id(&self, number: DeviceNumber, id: &Id) -> Result<(), DeviceNumber> {
        no_user(user_of_id(&self.groups.lock(), number, id))
    }

    /// Claims the ID and the members of a table until [`Registry::release`]. Claiming again changes
    /// nothing.
    pub(crate) fn claim(
        &self,
        number: DeviceNumber,
        id: &Id,
        members: &Members,
    ) -> Result<(), Conflict> {
        let mut devices = KVec::new();
        for (device, _) in members.numbers() {
            devices.push(device, GFP_KERNEL)?;
        }

        let mut groups = self.groups.lock();
        no_user(user_of_id(&groups, number, id)).map_err(Conflict::Id)?;
        for device in &devices {
            no_user(user_of_device(&groups, number, *device))
                .map_err(|user| Conflict::Device(*device, user))?;
        }
        let Some(entry) = groups.iter_mut().find(|e| e.group.number() == number) else {
            return Ok(());
        };
        if entry.claims.iter().all(|c| c.table != members.table) {
            entry.claims.push(
                Claim {
                    table: members.table,
                    id: *id,
                    devices,
                },
                GFP_KERNEL,
            )?;
        }
        Ok(())
    }

    /// Releases what a table claimed.
    pub(crate) fn release(&self, number: DeviceNumber, table: u64) {
        let mut groups = self.groups.lock();
        if let Some(entry) = groups.iter_mut().find(|e| e.group.number() == number) {
            entry.claims.retain(|c| c.table != table);
        }
    }
}

/// The claims of live groups on mapped devices other than `number`, each with its mapped device.
fn claims_of_others(
    groups: &[Entry],
    number: DeviceNumber,
) -> impl Iterator<Item = (DeviceNumber, &Claim)> {
    groups
        .iter()
        .filter(move |entry| entry.group.number() != number)
        .flat_map(|entry| entry.claims.iter().map(|c| (entry.group.number(), c)))
}

/// The mapped device of another live group with this ID.
fn user_of_id(groups: &[Entry], number: DeviceNumber, id: &Id) -> Option<DeviceNumber> {
    claims_of_others(groups, number)
        .find(|(_, claim)| claim.id == *id)
        .map(|(user, _)| user)
}

/// The ID of another live group that uses this device.
fn user_of_device(groups: &[Entry], number: DeviceNumber, device: DeviceNumber) -> Option<Id> {
    claims_of_others(groups, number)
        .find(|(_, claim)| claim.devices.contains(&device))
        .map(|(_, claim)| claim.id)
}

fn no_user<T>(user: Option<T>) -> Result<(), T> {
    match user {
        Some(user) => Err(user),
        None => Ok(()),
    }
}

/// A handle to a group. The registry forgets a group when its last handle is dropped.
pub(crate) struct GroupRef {
    registry: Arc<Registry>,
    group: Arc<Group>,
}

impl GroupRef {
    /// The registry that the group is in.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }
}

impl Deref for GroupRef {
    type Target = Arc<Group>;

    fn deref(&self) -> &Arc<Group> {
        &self.group
    }
}

impl Drop for GroupRef {
    fn drop(&mut self) {
        let mut groups = self.registry.groups.lock();
        let Some(at) = groups
            .iter()
            .position(|e| Arc::ptr_eq(&e.group, &self.group))
        else {
            return;
        };
        let last = groups.get_mut(at).is_some_and(|entry| {
            entry.handles = entry.handles.saturating_sub(1);
            entry.handles == 0
        });
        // Dropped after the lock is released.
        let _entry = last.then(|| groups.remove(at));
        drop(groups);
    }
}
