// SPDX-License-Identifier: GPL-2.0

//! dm-svol: groups of mirror volumes that protect each other.
//!
//! See Documentation/dm-svol.rst for what it does, and Documentation/architecture.rst for how.

#![deny(unsafe_code)]

use crate::{
    dm::Registration,
    group_target::GroupTarget,
    registry::Registry,
    svol_target::SvolTarget, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

mod base;
mod bound;
mod clock;
mod dead;
// The only module that may use unsafe code.
#[allow(unsafe_code)]
mod dm;
pub mod env;
mod errors;
mod group;
mod group_target;
mod log;
mod logged;
mod members;
mod metadata;
mod overlay;
mod parts;
mod probe;
mod registry;
mod start;
mod stats;
mod store;
pub mod svol_core;
mod svol_target;

/// Version of both targets.
const VERSION: [u32; 3] = [0, 1, 0];

module! {
    type: Module,
    name: "dm_svol",
    authors: ["The dm-svol authors"],
    description: "device-mapper targets svol-group and svol",
    license: "GPL v2",
    // What device-mapper requests when a table names the unknown target `svol-group`. For `svol`,
    // it requests the module's own name.
    alias: ["dm-svol-group"],
}

/// The loaded module.
///
/// Fields are dropped in this order: the `svol` target type goes before that of the groups.
struct Module {
    _svol: Registration<SvolTarget>,
    _group: Registration<GroupTarget>,
}

impl kernel::Module for Module {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let registry = Arc::pin_init(Registry::new(), GFP_KERNEL)?;
        let group = Registration::new(module, registry.clone())?;
        Ok(Self {
            _svol: Registration::new(module, registry)?,
            _group: group,
        })
    }
}
