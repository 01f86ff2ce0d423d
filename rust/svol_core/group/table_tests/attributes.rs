// SPDX-License-Identifier: GPL-2.0

//! Volumes that become diverted or logged.

#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_group_attributes))]
mod tests {
    use super::super::{
        active,
        failed,
        id,
        sources,
        Failed,
        Test,
        FIGURE_9,
        IN_PLACE, //
    };
    use crate::svol_core::{
        attr::Attr,
        group::AttrError,
        route::Home, //
    };

    #[test]
    fn logged_and_diverted() -> Test {
        let (lv0, lv2) = (id("LV0")?, id("LV2")?);
        let table = active(FIGURE_9)?;
        assert_eq!(table.with_attr(&lv2, Attr::Rw, None), Ok(None));
        let diverted = table.with_attr(&lv2, Attr::Ro, None).ok().flatten();
        let diverted = diverted.ok_or(Failed)?;
        assert!(diverted.metadata().check().is_ok());
        assert_eq!(diverted.head().events, table.head().events + 1);
        // Nothing was written to its disk.
        assert_eq!(sources(&diverted), 0b111);
        assert_eq!(
            diverted.view(2).map(|view| view.writes),
            Some(Home::Overlay)
        );

        let logged = diverted.with_attr(&lv2, Attr::Rw, None).ok().flatten();
        let logged = logged.ok_or(Failed)?;
        assert_eq!(sources(&logged), 0b011);
        assert_eq!(
            logged.view(2).map(|view| view.writes),
            Some(Home::Logged(2))
        );
        let again = logged.with_attr(&lv2, Attr::Ro, None).ok().flatten();
        assert_eq!(sources(&again.ok_or(Failed)?), 0b011);

        let unprotected = logged.with_unprotected(2)?.ok_or(Failed)?;
        let refused = unprotected.with_attr(&lv2, Attr::Ro, None);
        assert_eq!(refused, Err(AttrError::Unprotected));
        let no_store = failed(&table, 4)?.with_attr(&lv2, Attr::Ro, None);
        assert_eq!(no_store, Err(AttrError::NoStore));
        let refused = table.with_attr(&lv0, Attr::Rw, None);
        assert_eq!(refused, Err(AttrError::NotAllowed));
        let refused = table.with_attr(&id("S0")?, Attr::Rw, None);
        assert_eq!(refused, Err(AttrError::NoVolume(Attr::Spare)));
        let refused = table.with_attr(&id("LV9")?, Attr::Rw, None);
        assert_eq!(refused, Err(AttrError::Unknown));
        Ok(())
    }

    #[test]
    fn attributes_need_a_source() -> Test {
        let lv2 = id("LV2")?;
        let table = active(FIGURE_9)?;
        let alone = failed(&failed(&table, 0)?, 1)?;
        // Its own disk is the only one with the base: that is enough as long as it is not written.
        let diverted = alone.with_attr(&lv2, Attr::Ro, None).ok().flatten();
        let diverted = diverted.ok_or(Failed)?;
        assert!(matches!(
            diverted.with_attr(&lv2, Attr::Rw, None),
            Err(AttrError::Needed(_))
        ));
        Ok(())
    }

    #[test]
    fn attributes_without_a_log() -> Test {
        let (lv0, lv1) = (id("LV0")?, id("LV1")?);
        let table = active(IN_PLACE)?;
        let table = table.with_attr(&lv1, Attr::Ro, None).ok().flatten();
        let table = table.ok_or(Failed)?;
        assert_eq!(sources(&table), 0b11);
        let table = table.with_attr(&lv0, Attr::Rw, None).ok().flatten();
        let table = table.ok_or(Failed)?;
        assert_eq!(table.view(0).map(|view| view.writes), Some(Home::Disk(0)));
        let written = table.with_unprotected(0)?.ok_or(Failed)?;
        let refused = written.with_attr(&lv0, Attr::Ro, None);
        assert_eq!(refused, Err(AttrError::Written));
        Ok(())
    }
}
