// SPDX-License-Identifier: GPL-2.0

//! Every cell of the tables in [`choose`](super::choose).

#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_meta_choose))]
mod tests {
    use super::super::{
        choose::{
            choose,
            may_become_copy,
            newest,
            CopyAction,
            CopyPlan,
            Gone,
            Refusal,
            Resume,
            SeenEvents,
            Start, //
        },
        probe::{
            CopyProbe,
            SlotState, //
        },
        slot_of,
        BodyError,
        CopyState,
        DiskState,
        Identity,
        Metadata,
        Phase,
        VolumeRecord, //
    };
    use crate::{
        env::{
            AllocError,
            Vec, //
        },
        svol_core::{
            attr::Attr,
            health::Health,
            id::Id, //
        },
    };
    use core::mem::replace;
    use CopyAction::{
        Ignore,
        Keep,
        Lose,
        Rewrite, //
    };

    type Test = Result<(), AllocError>;

    const UUID: [u8; 16] = [7; 16];
    const EVENTS: u64 = 50;

    fn id(text: &str) -> Result<Id, AllocError> {
        // No test has such an ID; only the type of the error matters.
        Id::parse(text.as_bytes()).map_err(|_| AllocError)
    }

    fn claim(group: &str, copies: usize) -> Result<Metadata, AllocError> {
        Ok(Metadata::claim(&Identity {
            uuid: UUID,
            group: id(group)?,
            sectors: 1000,
            block_sectors: 8,
            logical_block_bytes: 512,
            copies,
        }))
    }

    /// Generation `sequence` of a group with `copies` copies.
    fn generation(sequence: u64, copies: usize) -> Result<Metadata, AllocError> {
        let mut metadata = claim("G0", copies)?;
        metadata.head.sequence = sequence;
        metadata.head.events = EVENTS;
        metadata.head.phase = Phase::Active;
        let lid = id("A")?;
        metadata.volumes.try_push(VolumeRecord {
            lid,
            attr: Attr::Ro,
            rlid: None,
            disk: Some(lid),
            health: Health::InSync,
            state: DiskState::default(),
            disk_sectors: 1000,
            failed_at: 0,
        })?;
        Ok(metadata)
    }

    fn valid(copy: usize, metadata: Metadata) -> SlotState {
        SlotState::Valid { copy, metadata }
    }

    fn damaged_body(sequence: u64) -> SlotState {
        SlotState::DamagedBody {
            sequence,
            error: BodyError::Checksum,
        }
    }

    /// What is found on devices; on the heap, since a kernel's stack is small.
    type Probes = Vec<CopyProbe>;

    fn one(probe: CopyProbe) -> Result<Probes, AllocError> {
        let mut probes = Vec::try_with_capacity(1)?;
        probes.try_push(probe)?;
        Ok(probes)
    }

    /// The devices of `first`, then those of `second`.
    fn pair(mut first: Probes, mut second: Probes) -> Result<Probes, AllocError> {
        for probe in second.iter_mut() {
            first.try_push(replace(probe, CopyProbe::Missing))?;
        }
        Ok(first)
    }

    /// A copy with a newest generation in its slot, and something else in the other slot.
    #[inline(never)]
    fn copy_with(copy: usize, newest: Metadata, other: SlotState) -> Result<Probes, AllocError> {
        let slot = slot_of(newest.head.sequence);
        let newest = valid(copy, newest);
        one(CopyProbe::Present(if slot == 0 {
            [newest, other]
        } else {
            [other, newest]
        }))
    }

    /// A copy, with both slots valid, of a group of two, changed in some way.
    #[inline(never)]
    fn changed(
        copy: usize,
        sequence: u64,
        change: &dyn Fn(&mut Metadata),
    ) -> Result<Probes, AllocError> {
        let mut newest = generation(sequence, 2)?;
        change(&mut newest);
        let mut before = generation(sequence.saturating_sub(1), 2)?;
        change(&mut before);
        copy_with(copy, newest, valid(copy, before))
    }

    fn whole(copy: usize, sequence: u64) -> Result<Probes, AllocError> {
        changed(copy, sequence, &|_| ())
    }

    /// A copy whose other slot holds `other`.
    #[inline(never)]
    fn partly(copy: usize, sequence: u64, other: SlotState) -> Result<Probes, AllocError> {
        copy_with(copy, generation(sequence, 2)?, other)
    }

    /// A copy, with both slots valid, that says that copy `lost` is lost.
    fn alone(copy: usize, sequence: u64, lost: usize) -> Result<Probes, AllocError> {
        changed(copy, sequence, &|metadata| {
            metadata.head.copies = metadata.head.copies.with(lost, CopyState::Lost);
        })
    }

    #[inline(never)]
    fn claimed(copy: usize, uuid: u8, other: SlotState) -> Result<Probes, AllocError> {
        let mut claim = claim("G0", 2)?;
        claim.head.uuid = [uuid; 16];
        copy_with(copy, claim, other)
    }

    #[inline(never)]
    fn slots(first: SlotState, second: SlotState) -> Result<Probes, AllocError> {
        one(CopyProbe::Present([first, second]))
    }

    fn blank() -> Result<Probes, AllocError> {
        slots(SlotState::Blank, SlotState::Blank)
    }

    fn foreign() -> Result<Probes, AllocError> {
        slots(SlotState::Foreign, SlotState::Blank)
    }

    fn broken() -> Result<Probes, AllocError> {
        slots(SlotState::DamagedHeader, SlotState::DamagedHeader)
    }

    fn unreadable() -> Result<Probes, AllocError> {
        slots(SlotState::Unreadable, SlotState::Unreadable)
    }

    fn other_version() -> Result<Probes, AllocError> {
        slots(SlotState::Version(9), SlotState::Blank)
    }

    #[inline(never)]
    fn missing() -> Result<Probes, AllocError> {
        one(CopyProbe::Missing)
    }

    fn start(probes: &[CopyProbe]) -> Result<Start, Refusal> {
        start_if(probes, None, false)
    }

    fn forced(probes: &[CopyProbe]) -> Result<Start, Refusal> {
        start_if(probes, None, true)
    }

    fn seen_by_all(seen: Option<u64>) -> SeenEvents {
        SeenEvents {
            by_any: seen,
            by_told: seen,
        }
    }

    fn start_if(probes: &[CopyProbe], seen: Option<u64>, force: bool) -> Result<Start, Refusal> {
        match Id::parse(b"G0") {
            Ok(group) => choose(&group, probes, seen_by_all(seen), force),
            Err(_) => Err(Refusal::Clones),
        }
    }

    /// A start with two devices that hold copy 0 and 1.
    fn resume(device: usize, slot: usize, actions: [CopyAction; 2], heal: bool) -> Start {
        let [first, second] = actions;
        Start::Resume(Resume {
            device,
            slot,
            plans: [
                Some(CopyPlan {
                    copy: 0,
                    action: first,
                }),
                Some(CopyPlan {
                    copy: 1,
                    action: second,
                }),
            ],
            heal,
        })
    }

    #[test]
    fn new_groups() -> Test {
        assert_eq!(start(&blank()?), Ok(Start::Fresh));
        assert_eq!(start(&pair(blank()?, blank()?)?), Ok(Start::Fresh));
        // A first start that was cut off after some claims, or in its first body.
        let torn = claimed(0, 7, SlotState::Foreign)?;
        assert_eq!(start(&pair(torn, blank()?)?), Ok(Start::Fresh));
        let probes = pair(
            claimed(0, 7, SlotState::Blank)?,
            claimed(1, 8, SlotState::Blank)?,
        )?;
        assert_eq!(start(&probes), Ok(Start::Fresh));
        Ok(())
    }

    #[test]
    fn not_so_new_groups() -> Test {
        for force in [false, true] {
            let start = |probes: &[CopyProbe]| start_if(probes, None, force);
            assert_eq!(
                start(&pair(blank()?, missing()?)?),
                Err(Refusal::Missing(1))
            );
            assert_eq!(
                start(&pair(blank()?, foreign()?)?),
                Err(Refusal::Foreign(1))
            );
            assert_eq!(start(&pair(broken()?, blank()?)?), Err(Refusal::Damaged(0)));
            assert_eq!(
                start(&pair(broken()?, foreign()?)?),
                Err(Refusal::Foreign(1))
            );
            assert_eq!(start(&unreadable()?), Err(Refusal::Unreadable(0)));
            let (device, version) = (0, 9);
            let refusal = Refusal::Version { device, version };
            assert_eq!(start(&pair(other_version()?, blank()?)?), Err(refusal));

            let mut other = claim("G1", 1)?;
            let (device, found) = (0, id("G1")?);
            let refusal = Refusal::WrongGroup { device, found };
            let claimed = copy_with(0, other.try_clone()?, SlotState::Blank)?;
            assert_eq!(start(&claimed), Err(refusal));
            other.volumes = generation(1, 1)?.volumes;
            other.head.sequence = 1;
            let good = copy_with(0, other, SlotState::Blank)?;
            assert_eq!(start(&good), Err(refusal));
        }
        Ok(())
    }

    #[test]
    fn slots_without_header() -> Test {
        use SlotState::*;

        for (probe, refusal) in [
            (slots(Foreign, Unreadable)?, Refusal::Foreign(0)),
            (slots(Unreadable, Blank)?, Refusal::Unreadable(0)),
            (slots(DamagedHeader, Foreign)?, Refusal::Damaged(0)),
            (slots(Blank, damaged_body(1))?, Refusal::Damaged(0)),
        ] {
            assert_eq!(start(&probe), Err(refusal));
        }
        // The first generation of a group was there, but its body is not.
        let probe = copy_with(0, claim("G0", 1)?, damaged_body(1))?;
        assert_eq!(start(&probe), Err(Refusal::Damaged(0)));
        Ok(())
    }

    /// Whether a group starts that has one copy whose other slot holds `other`.
    #[inline(never)]
    fn single(sequence: u64, other: SlotState, force: bool) -> Result<bool, AllocError> {
        let probe = copy_with(0, generation(sequence, 1)?, other)?;
        match start_if(&probe, None, force) {
            Ok(Start::Resume(resume)) => Ok(resume.slot == slot_of(sequence)),
            Err(Refusal::NewestDamaged(0)) => Ok(false),
            _ => Err(AllocError),
        }
    }

    #[test]
    fn one_copy() -> Test {
        assert_eq!(single(1, valid(0, claim("G0", 1)?), false), Ok(true));
        assert_eq!(single(6, valid(0, generation(5, 1)?), false), Ok(true));
        assert_eq!(single(6, damaged_body(5), false), Ok(true));
        assert_eq!(single(6, SlotState::DamagedHeader, false), Ok(false));
        assert_eq!(single(6, SlotState::Blank, false), Ok(false));
        assert_eq!(single(6, SlotState::Foreign, false), Ok(false));
        assert_eq!(single(6, SlotState::Unreadable, false), Ok(false));
        assert_eq!(single(6, damaged_body(7), false), Ok(false));
        assert_eq!(single(6, SlotState::DamagedHeader, true), Ok(true));
        assert_eq!(single(6, damaged_body(7), true), Ok(true));
        Ok(())
    }

    /// Each point at which a crash can interrupt the replacement of copy 1, with nothing to confirm
    /// a loss.
    #[test]
    fn replaced_copies() -> Test {
        // Generation 6 is in effect, 7 has to get both copies.
        let survivor = || alone(0, 6, 1);
        for replaced in [
            blank()?,
            foreign()?,
            slots(SlotState::Blank, SlotState::Foreign)?,
            claimed(1, 7, SlotState::Blank)?,
            claimed(1, 7, SlotState::Foreign)?,
        ] {
            let probes = pair(survivor()?, replaced)?;
            assert_eq!(start(&probes), Ok(resume(0, 0, [Keep, Ignore], false)));
        }
        let first = || copy_with(1, generation(7, 2)?, valid(1, claim("G0", 2)?));
        let probes = pair(survivor()?, first()?)?;
        assert_eq!(start(&probes), Ok(resume(1, 1, [Rewrite, Keep], true)));

        let mut before = generation(6, 2)?;
        before.head.copies = before.head.copies.with(1, CopyState::Lost);
        let both = copy_with(0, generation(7, 2)?, valid(0, before))?;
        let probes = pair(both, first()?)?;
        assert_eq!(start(&probes), Ok(resume(0, 1, [Keep, Keep], false)));
        // The second commit has reached only the survivor.
        let probes = pair(whole(0, 8)?, first()?)?;
        assert_eq!(start(&probes), Ok(resume(0, 0, [Keep, Rewrite], true)));
        Ok(())
    }

    #[test]
    fn devices_for_copies() -> Test {
        let may = |probes: Probes| probes.iter().all(|probe| may_become_copy(probe, &UUID));
        assert!(may(blank()?));
        assert!(may(claimed(1, 7, SlotState::Foreign)?));
        assert!(may(whole(1, 6)?));
        assert!(!may(claimed(1, 8, SlotState::Blank)?));
        for other in [
            foreign()?,
            broken()?,
            unreadable()?,
            other_version()?,
            missing()?,
        ] {
            assert!(!may(other));
        }
        Ok(())
    }

    #[test]
    fn number_of_copies() -> Test {
        let two = whole(0, 6)?;
        assert_eq!(start(&two), Err(Refusal::CopyCount { known: 2 }));
        let one = copy_with(0, generation(6, 1)?, valid(0, generation(5, 1)?))?;
        let refusal = Refusal::CopyCount { known: 1 };
        assert_eq!(start(&pair(one, blank()?)?), Err(refusal));
        Ok(())
    }

    #[test]
    fn good_copies() -> Test {
        let same = pair(whole(0, 6)?, whole(1, 6)?)?;
        assert_eq!(start(&same), Ok(resume(0, 0, [Keep, Keep], false)));
        let behind = pair(whole(0, 6)?, whole(1, 7)?)?;
        assert_eq!(start(&behind), Ok(resume(1, 1, [Rewrite, Keep], true)));

        let older = pair(whole(0, 8)?, whole(1, 6)?)?;
        let (device, sequence, newest) = (1, 6, 8);
        let refusal = Refusal::Older {
            device,
            sequence,
            newest,
        };
        assert_eq!(start(&older), Err(refusal));
        // That a member has seen this state says nothing about the other copy's age.
        assert_eq!(start_if(&older, Some(EVENTS), false), Err(refusal));
        assert_eq!(forced(&older), Ok(resume(0, 0, [Keep, Rewrite], true)));
        Ok(())
    }

    #[test]
    fn swapped_devices() -> Test {
        let swapped = pair(whole(1, 6)?, whole(0, 7)?)?;
        let plans = [
            Some(CopyPlan {
                copy: 1,
                action: Rewrite,
            }),
            Some(CopyPlan {
                copy: 0,
                action: Keep,
            }),
        ];
        let expected = Resume {
            device: 1,
            slot: 1,
            plans,
            heal: true,
        };
        assert_eq!(start(&swapped), Ok(Start::Resume(expected)));
        Ok(())
    }

    #[test]
    fn copies_that_do_not_belong_together() -> Test {
        for force in [false, true] {
            let start = |probes: &[CopyProbe]| start_if(probes, None, force);
            let clones = pair(whole(0, 6)?, whole(0, 6)?)?;
            assert_eq!(start(&clones), Err(Refusal::Clones));
            let uuid = changed(1, 5, &|metadata| metadata.head.uuid = [9; 16])?;
            let refusal = Refusal::DifferentGroups;
            assert_eq!(start(&pair(whole(0, 6)?, uuid)?), Err(refusal));
            let events = changed(1, 6, &|metadata| metadata.head.events = 3)?;
            let refusal = Refusal::Contradiction;
            assert_eq!(start(&pair(whole(0, 6)?, events)?), Err(refusal));

            let (device, found) = (1, id("G1")?);
            let wrong = changed(1, 9, &|metadata| metadata.head.group = found)?;
            let refusal = Refusal::WrongGroup { device, found };
            assert_eq!(start(&pair(whole(0, 6)?, wrong)?), Err(refusal));
        }
        Ok(())
    }

    #[test]
    fn the_uuid_is_that_of_the_newest_copy() -> Test {
        let (g0, g1) = (id("G0")?, id("G1")?);
        let stranger = |metadata: &mut Metadata| metadata.head.uuid = [8; 16];
        let uuid =
            |group: &Id, probes: &Probes| newest(group, probes).map(|newest| newest.head.uuid);
        let probes = pair(whole(0, 7)?, changed(1, 9, &stranger)?)?;
        assert_eq!(uuid(&g0, &probes), Some([8; 16]));
        let probes = pair(whole(0, 9)?, changed(1, 7, &stranger)?)?;
        assert_eq!(uuid(&g0, &probes), Some(UUID));
        assert_eq!(uuid(&g1, &probes), None);
        assert_eq!(uuid(&g0, &blank()?), None);
        Ok(())
    }

    #[test]
    fn a_lost_copy_is_not_looked_at() -> Test {
        let found = id("G1")?;
        for other in [
            whole(1, 5)?,
            whole(1, 2)?,
            partly(1, 5, damaged_body(9))?,
            changed(1, 9, &|metadata| metadata.head.group = found)?,
            claimed(1, 7, SlotState::Blank)?,
            blank()?,
            foreign()?,
            other_version()?,
            broken()?,
            unreadable()?,
            missing()?,
        ] {
            let probes = pair(alone(0, 6, 1)?, other)?;
            assert_eq!(start(&probes), Ok(resume(0, 0, [Keep, Ignore], false)));
        }
        Ok(())
    }

    #[test]
    fn split_brain() -> Test {
        for force in [false, true] {
            let start = |probes: &[CopyProbe]| start_if(probes, None, force);
            let refused = Err(Refusal::SplitBrain);
            assert_eq!(start(&pair(alone(0, 6, 1)?, alone(1, 6, 0)?)?), refused);
            assert_eq!(start(&pair(alone(0, 6, 1)?, alone(1, 5, 0)?)?), refused);
            assert_eq!(start(&pair(whole(0, 8)?, alone(1, 6, 0)?)?), refused);
        }
        // Copy 0 was being replaced.
        let probes = pair(whole(0, 7)?, alone(1, 6, 0)?)?;
        assert_eq!(start(&probes), Ok(resume(0, 1, [Keep, Rewrite], true)));
        Ok(())
    }

    fn initialising(copy: usize) -> Result<Probes, AllocError> {
        let mut newest = generation(1, 2)?;
        newest.head.phase = Phase::Initialising;
        copy_with(copy, newest, valid(copy, claim("G0", 2)?))
    }

    #[test]
    fn blank_copies() -> Test {
        for force in [false, true] {
            let start = |probes: &[CopyProbe]| start_if(probes, None, force);
            assert_eq!(
                start(&pair(blank()?, whole(1, 6)?)?),
                Err(Refusal::Blank(0))
            );
            let claim = claimed(1, 7, SlotState::Blank)?;
            assert_eq!(start(&pair(whole(0, 6)?, claim)?), Err(Refusal::Blank(1)));

            let expected = resume(0, 1, [Keep, Rewrite], true);
            assert_eq!(start(&pair(initialising(0)?, blank()?)?), Ok(expected));
            let claim = claimed(1, 7, SlotState::Foreign)?;
            assert_eq!(start(&pair(initialising(0)?, claim)?), Ok(expected));
            let claim = claimed(1, 8, SlotState::Blank)?;
            let refused = Err(Refusal::Blank(1));
            assert_eq!(start(&pair(initialising(0)?, claim)?), refused);
        }
        Ok(())
    }

    #[test]
    fn other_devices() -> Test {
        for force in [false, true] {
            let start = |probes: &[CopyProbe]| start_if(probes, None, force);
            let refused = Err(Refusal::Foreign(1));
            assert_eq!(start(&pair(whole(0, 6)?, foreign()?)?), refused);
            let (device, version) = (0, 9);
            let refused = Err(Refusal::Version { device, version });
            assert_eq!(start(&pair(other_version()?, whole(1, 6)?)?), refused);
        }
        Ok(())
    }

    #[test]
    fn copies_that_are_gone() -> Test {
        for (gone, why) in [
            (missing()?, Gone::Missing),
            (unreadable()?, Gone::Unreadable),
            (broken()?, Gone::Damaged),
        ] {
            let probes = pair(whole(0, 6)?, gone)?;
            let unconfirmed = Err(Refusal::Unconfirmed { device: 1, why });
            let lose = Ok(resume(0, 0, [Keep, Lose], false));
            assert_eq!(start(&probes), unconfirmed);
            assert_eq!(forced(&probes), lose);
            assert_eq!(start_if(&probes, Some(EVENTS), false), lose);
            assert_eq!(start_if(&probes, Some(EVENTS - 1), false), lose);
            assert_eq!(start_if(&probes, Some(EVENTS - 2), false), unconfirmed);
        }
        Ok(())
    }

    #[inline(never)]
    #[test]
    fn failed_stores_confirm_nothing() -> Test {
        let (store, unknown) = (id("E")?, id("F")?);
        for (failed, failed_at, lid, confirms) in [
            (false, 0, store, true),
            (true, EVENTS, store, false),
            (false, EVENTS, store, false),
            (false, 0, unknown, false),
        ] {
            let mut newest = generation(6, 2)?;
            let volume = newest.volumes.first().copied().ok_or(AllocError)?;
            newest.volumes.try_push(VolumeRecord {
                lid: store,
                attr: Attr::Increments,
                disk: None,
                state: DiskState {
                    failed,
                    ..DiskState::default()
                },
                failed_at,
                ..volume
            })?;
            let mut seen = SeenEvents::default();
            for events in [EVENTS - 1, EVENTS - 2] {
                seen.add(&newest, &lid, events);
            }
            let by_told = confirms.then_some(EVENTS - 1);
            let by_any = Some(EVENTS - 1);
            assert_eq!(seen, SeenEvents { by_any, by_told });
            let probes = pair(whole(0, 6)?, missing()?)?;
            assert_eq!(choose(&id("G0")?, &probes, seen, false).is_ok(), confirms);
        }
        Ok(())
    }

    #[test]
    fn stale_metadata() -> Test {
        let probes = pair(whole(0, 6)?, whole(1, 6)?)?;
        let (events, seen) = (EVENTS, EVENTS + 1);
        let stale = Err(Refusal::Stale { events, seen });
        assert_eq!(start_if(&probes, Some(seen), false), stale);
        let used = Ok(resume(0, 0, [Keep, Keep], false));
        assert_eq!(start_if(&probes, Some(seen), true), used);
        assert_eq!(start_if(&probes, Some(EVENTS), false), used);
        assert_eq!(start_if(&probes, Some(0), false), used);
        Ok(())
    }

    #[test]
    fn a_damaged_header_with_a_whole_copy_beside_it() -> Test {
        // The good copy vouches, whichever one is the newest.
        let damaged = || partly(0, 6, SlotState::DamagedHeader);
        let probes = pair(damaged()?, whole(1, 6)?)?;
        assert_eq!(start(&probes), Ok(resume(1, 0, [Keep, Keep], true)));
        let probes = pair(damaged()?, whole(1, 5)?)?;
        assert_eq!(start(&probes), Ok(resume(0, 0, [Keep, Rewrite], true)));
        let probes = pair(damaged()?, whole(1, 7)?)?;
        assert_eq!(start(&probes), Ok(resume(1, 1, [Rewrite, Keep], true)));
        let probes = pair(damaged()?, whole(1, 8)?)?;
        assert_eq!(start(&probes), Ok(resume(1, 0, [Rewrite, Keep], true)));
        let probes = pair(damaged()?, whole(1, 9)?)?;
        assert!(matches!(start(&probes), Err(Refusal::Older { .. })));

        // Neither a copy in doubt nor a lost one vouches for anything.
        let probes = pair(damaged()?, partly(1, 6, SlotState::Blank)?)?;
        assert_eq!(start(&probes), Err(Refusal::NewestDamaged(0)));
        assert_eq!(
            start_if(&probes, Some(EVENTS), false),
            Ok(resume(0, 0, [Keep, Keep], true))
        );
        let mut newest = generation(6, 2)?;
        newest.head.copies = newest.head.copies.with(1, CopyState::Lost);
        let lonely = copy_with(0, newest, SlotState::DamagedHeader)?;
        let probes = pair(lonely, whole(1, 5)?)?;
        assert_eq!(start(&probes), Err(Refusal::NewestDamaged(0)));
        Ok(())
    }

    #[test]
    fn a_damaged_newest_generation() -> Test {
        let damaged = || partly(0, 6, damaged_body(7));
        // Only a copy with that generation, or a newer one, vouches.
        let probes = pair(damaged()?, whole(1, 7)?)?;
        assert_eq!(start(&probes), Ok(resume(1, 1, [Rewrite, Keep], true)));
        let probes = pair(damaged()?, whole(1, 8)?)?;
        assert_eq!(start(&probes), Ok(resume(1, 0, [Rewrite, Keep], true)));
        for sequence in [5, 6] {
            let probes = pair(damaged()?, whole(1, sequence)?)?;
            assert!(matches!(start(&probes), Err(Refusal::NewestDamaged(_))));
            assert!(matches!(forced(&probes), Ok(Start::Resume(_))));
        }
        // A commit that was cut off is no damage.
        let probes = pair(partly(0, 6, damaged_body(5))?, whole(1, 6)?)?;
        assert_eq!(start(&probes), Ok(resume(0, 0, [Keep, Keep], false)));
        Ok(())
    }
}
