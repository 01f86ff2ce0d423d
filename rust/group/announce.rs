// SPDX-License-Identifier: GPL-2.0

//! Reports changes to udev.

use super::Group;
use crate::{
    bound::Bound,
    log,
    svol_core::{
        group::GroupTable,
        health::{
            Health,
            Protection, //
        },
        id::Id, //
    },
};
use kernel::prelude::*;

/// What has changed in an entry.
struct News {
    lid: Id,
    health: Health,
    protection: Protection,
}

impl Group {
    /// Tells udev which entries' health or protection differs from the table `before`, with one
    /// `change` event of the group's device for each. Under `commits`. Sleeps for memory.
    #[inline(never)]
    pub(super) fn announce(&self, bound: &Bound, before: &GroupTable) {
        let told = self.news(before).and_then(|news| {
            for News {
                lid,
                health,
                protection,
            } in news.iter()
            {
                bound.members.event.send_change(&[
                    ("DM_SVOL_GROUP", before.id()),
                    ("DM_SVOL_LID", lid),
                    ("DM_SVOL_HEALTH", health),
                    ("DM_SVOL_PROTECTION", protection),
                ])?;
            }
            Ok(())
        });
        if let Err(error) = told {
            let errno = error.to_errno();
            log::notice!(before.id(), "udev was not told of a change: error {errno}");
        }
    }

    fn news(&self, before: &GroupTable) -> Result<KVec<News>> {
        let mut all = KVec::new();
        let state = self.state.lock();
        let Some(table) = &state.table else {
            return Ok(all);
        };
        for entry in table.news(before) {
            if let (Some(volume), Some(health)) = (table.volume(entry), table.health(entry)) {
                let (lid, protection) = (volume.lid, table.protection(entry));
                let news = News {
                    lid,
                    health,
                    protection,
                };
                all.push(news, GFP_KERNEL)?;
            }
        }
        Ok(all)
    }
}
