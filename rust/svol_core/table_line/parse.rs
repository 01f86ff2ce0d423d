// SPDX-License-Identifier: GPL-2.0

//! Reading table lines.

use super::super::{
    args::{
        Flaw,
        Word,
        Words, //
    },
    attr::Attr,
    id::Id,
    text::{
        parse_u32,
        parse_u64, //
    }, //
};
use super::{
    features::Given,
    LineError,
    LineProblem,
    SvolLine,
    TableLine,
    VolumeLine,
    MAX_BLOCK_SECTORS,
    MAX_META_COPIES,
    MAX_VOLUMES,
    MIN_BLOCK_SECTORS, //
};
use crate::env::{
    AllocError,
    Vec, //
};

/// The index of the count of metadata devices.
const META_COUNT_AT: usize = 2;

/// The arguments of one volume.
const WORDS_PER_VOLUME: usize = 4;

impl From<AllocError> for Flaw<LineProblem> {
    fn from(_: AllocError) -> Self {
        Self {
            at: 0,
            problem: LineProblem::NoMemory,
        }
    }
}

impl<'a> TableLine<&'a [u8]> {
    /// Reads the arguments of a `svol-group` target of `sectors` sectors. Devices are paths.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with the line.
    pub fn parse<I>(sectors: u64, words: I) -> Result<Self, LineError<'a>>
    where
        I: IntoIterator<Item = &'a [u8]>,
        I::IntoIter: Clone,
    {
        let words = words.into_iter();
        parse_line(sectors, Words::new(words.clone())).map_err(|flaw| explain(flaw, words))
    }
}

impl<'a> SvolLine<'a> {
    /// Reads the arguments of a `svol` target.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with the line.
    pub fn parse<I>(words: I) -> Result<Self, LineError<'a>>
    where
        I: IntoIterator<Item = &'a [u8]>,
        I::IntoIter: Clone,
    {
        let words = words.into_iter();
        parse_svol(Words::new(words.clone())).map_err(|flaw| LineError {
            at: flaw.at,
            problem: flaw.problem,
            word: words.clone().nth(flaw.at),
            volume: None,
        })
    }
}

fn parse_svol<'a, I>(mut words: Words<'a, I>) -> Result<SvolLine<'a>, Flaw<LineProblem>>
where
    I: Iterator<Item = &'a [u8]>,
{
    let group_dev = words.need(LineProblem::GroupDevMissing)?.text;
    let lid = words.need(LineProblem::LidMissing)?;
    let lid = Id::parse(lid.text).map_err(|_| lid.flaw(LineProblem::LidBad))?;
    words.end(LineProblem::SvolTrailing)?;
    Ok(SvolLine { group_dev, lid })
}

/// Adds to a flaw the details that a user needs.
#[inline(never)]
fn explain<'a, I>(flaw: Flaw<LineProblem>, words: I) -> LineError<'a>
where
    I: Iterator<Item = &'a [u8]> + Clone,
{
    let number = |at| words.clone().nth(at).and_then(parse_count);
    let volume_of = |at: usize| {
        let count_at = number(META_COUNT_AT)?
            .checked_add(META_COUNT_AT)?
            .checked_add(1)?;
        let first_at = count_at.checked_add(1)?;
        let index = at.checked_sub(first_at)?.checked_div(WORDS_PER_VOLUME)?;
        if index >= number(count_at)? {
            return None;
        }
        let lid_at = index.checked_mul(WORDS_PER_VOLUME)?.checked_add(first_at)?;
        Some((index, words.clone().nth(lid_at)))
    };

    let in_line = !matches!(flaw.problem, LineProblem::NoMemory | LineProblem::Length);
    LineError {
        at: flaw.at,
        problem: flaw.problem,
        word: words.clone().nth(flaw.at).filter(|_| in_line),
        volume: volume_of(flaw.at).filter(|_| in_line),
    }
}

fn parse_count(text: &[u8]) -> Option<usize> {
    parse_u64(text).and_then(|count| usize::try_from(count).ok())
}

#[inline(never)]
fn parse_line<'a, I>(
    sectors: u64,
    mut words: Words<'a, I>,
) -> Result<TableLine<&'a [u8]>, Flaw<LineProblem>>
where
    I: Iterator<Item = &'a [u8]> + Clone,
{
    if sectors == 0 {
        return Err(Flaw {
            at: 0,
            problem: LineProblem::Length,
        });
    }

    let group = words.need(LineProblem::GroupMissing)?;
    let group = Id::parse(group.text).map_err(|_| group.flaw(LineProblem::GroupBad))?;
    let block_sectors = parse_block_sectors(&mut words)?;
    let meta = parse_meta(&mut words)?;
    let (volumes, first_at) = parse_volumes(&mut words, &meta)?;
    let given = parse_features(&mut words)?;
    let line = TableLine {
        group,
        sectors,
        block_sectors,
        meta,
        volumes,
        features: given.or_default(),
    };
    check_recovery(&line, first_at)?;
    Ok(line)
}

fn parse_block_sectors<'a, I>(words: &mut Words<'a, I>) -> Result<u32, Flaw<LineProblem>>
where
    I: Iterator<Item = &'a [u8]>,
{
    let word = words.need(LineProblem::BlockSectorsMissing)?;
    parse_u32(word.text)
        .filter(|n| n.is_power_of_two() && (MIN_BLOCK_SECTORS..=MAX_BLOCK_SECTORS).contains(n))
        .ok_or(word.flaw(LineProblem::BlockSectorsBad))
}

fn parse_meta<'a, I>(words: &mut Words<'a, I>) -> Result<Vec<Option<&'a [u8]>>, Flaw<LineProblem>>
where
    I: Iterator<Item = &'a [u8]>,
{
    let word = words.need(LineProblem::MetaCountMissing)?;
    let count = parse_count(word.text)
        .filter(|n| (1..=MAX_META_COPIES).contains(n))
        .ok_or(word.flaw(LineProblem::MetaCountBad))?;

    let mut meta: Vec<Option<&'a [u8]>> = Vec::try_with_capacity(count)?;
    for _ in 0..count {
        let word = words.need(LineProblem::MetaDevMissing)?;
        let dev = dash_or(word);
        if dev.is_some() && meta.contains(&dev) {
            return Err(word.flaw(LineProblem::MetaDevTwice));
        }
        meta.try_push(dev)?;
        if meta.len() == count && meta.iter().all(Option::is_none) {
            return Err(word.flaw(LineProblem::MetaDevNone));
        }
    }
    Ok(meta)
}

/// A device of the line; `None` for `-`.
fn dash_or(word: Word<'_>) -> Option<&[u8]> {
    (word.text != b"-").then_some(word.text)
}

type Volumes<'a> = Vec<VolumeLine<&'a [u8]>>;

/// Reads the entries; returns with them the index of the first one's first argument.
fn parse_volumes<'a, I>(
    words: &mut Words<'a, I>,
    meta: &[Option<&'a [u8]>],
) -> Result<(Volumes<'a>, usize), Flaw<LineProblem>>
where
    I: Iterator<Item = &'a [u8]>,
{
    let count_word = words.need(LineProblem::VolumeCountMissing)?;
    let count = parse_count(count_word.text)
        .filter(|n| (1..=MAX_VOLUMES).contains(n))
        .ok_or(count_word.flaw(LineProblem::VolumeCountBad))?;

    let mut volumes = Vec::try_with_capacity(count)?;
    for _ in 0..count {
        let volume = parse_volume(words, meta, &volumes)?;
        volumes.try_push(volume)?;
    }
    if !volumes.iter().any(|volume| volume.attr.is_volume()) {
        return Err(count_word.flaw(LineProblem::NoVolume));
    }
    Ok((volumes, count_word.at.saturating_add(1)))
}

fn parse_volume<'a, I>(
    words: &mut Words<'a, I>,
    meta: &[Option<&'a [u8]>],
    before: &[VolumeLine<&'a [u8]>],
) -> Result<VolumeLine<&'a [u8]>, Flaw<LineProblem>>
where
    I: Iterator<Item = &'a [u8]>,
{
    let word = words.need(LineProblem::LidMissing)?;
    let lid = Id::parse(word.text).map_err(|_| word.flaw(LineProblem::LidBad))?;
    if before.iter().any(|volume| volume.lid == lid) {
        return Err(word.flaw(LineProblem::LidTwice));
    }

    let word = words.need(LineProblem::AttrMissing)?;
    let attr = Attr::parse(word.text).ok_or(word.flaw(LineProblem::AttrBad))?;

    let word = words.need(LineProblem::DevMissing)?;
    let dev = dash_or(word);
    let twice = meta.contains(&dev) || before.iter().any(|volume| volume.dev == dev);
    if dev.is_some() && twice {
        return Err(word.flaw(LineProblem::DevTwice));
    }

    let word = words.need(LineProblem::RlidMissing)?;
    let rlid = match dash_or(word) {
        None => None,
        Some(text) => Some(Id::parse(text).map_err(|_| word.flaw(LineProblem::RlidBad))?),
    };
    match attr {
        Attr::Spare if rlid.is_some() => Err(word.flaw(LineProblem::RlidOnSpare)),
        Attr::Increments if rlid.is_some() => Err(word.flaw(LineProblem::RlidOnIncrements)),
        _ => Ok(VolumeLine {
            lid,
            attr,
            dev,
            rlid,
        }),
    }
}

#[inline(never)]
fn parse_features<'a, I>(words: &mut Words<'a, I>) -> Result<Given, Flaw<LineProblem>>
where
    I: Iterator<Item = &'a [u8]> + Clone,
{
    let mut given = Given::default();
    let Some(word) = words.next() else {
        return Ok(given);
    };
    let count = parse_count(word.text).ok_or(word.flaw(LineProblem::FeatureCountBad))?;
    let left = words.left();
    if count > left {
        return Err(word.flaw(LineProblem::FeatureCountHigh));
    }
    if count < left {
        let at = word.at.saturating_add(1).saturating_add(count);
        return Err(Flaw {
            at,
            problem: LineProblem::FeatureCountLow,
        });
    }
    while let Some(name) = words.next() {
        given.parse(name, words)?;
    }
    Ok(given)
}

/// Checks what is known only at the end of the line: the entries that RLIDs name may come after the
/// volumes that use them, and features come last.
fn check_recovery(line: &TableLine<&[u8]>, first_at: usize) -> Result<(), Flaw<LineProblem>> {
    for (i, volume) in line.volumes.iter().enumerate() {
        let problem = match &volume.rlid {
            Some(rlid) => match line.volumes.iter().find(|other| other.lid == *rlid) {
                None => LineProblem::RlidUnknown,
                Some(store) if store.attr != Attr::Increments => LineProblem::RlidNotIncrements,
                Some(_) => continue,
            },
            None if volume.attr == Attr::Rw && !line.features.allow_unprotected => {
                LineProblem::RlidNeeded
            }
            None => continue,
        };
        // The RLID is the last argument of its entry.
        let at = i
            .saturating_add(1)
            .saturating_mul(WORDS_PER_VOLUME)
            .saturating_add(first_at)
            .saturating_sub(1);
        return Err(Flaw { at, problem });
    }
    Ok(())
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_table_line))]
mod tests {
    use super::super::{
        Features,
        Init,
        OnFull, //
    };
    use super::*;

    const FIGURE_9: &str = "G0 128 1 /dev/meta 5 LV0 ro /dev/sda - LV1 ro /dev/sdb - \
        LV2 rw /dev/sdc DLV2 S0 spare /dev/sdd - DLV2 increments /dev/sde -";

    fn parse(line: &str) -> Result<TableLine<&[u8]>, LineError<'_>> {
        TableLine::parse(1000, line.split(' ').map(str::as_bytes))
    }

    /// Whether the line is refused at this argument for this reason.
    fn refused(line: &str, at: usize, problem: LineProblem) -> bool {
        parse(line).is_err_and(|error| (error.at, error.problem) == (at, problem))
    }

    fn features(words: &str) -> Result<Features, LineProblem> {
        let line = "G0 8 1 /m 2 A ro /a - B ro - - "
            .split(' ')
            .filter(|word| !word.is_empty());
        let words = line.chain(words.split(' ').filter(|word| !word.is_empty()));
        match TableLine::parse(1, words.map(str::as_bytes)) {
            Ok(line) => Ok(line.features),
            Err(error) => Err(error.problem),
        }
    }

    #[test]
    fn figure_9() {
        let line = parse(FIGURE_9);
        assert!(line.is_ok());
        let Ok(line) = line else { return };
        assert_eq!(line.group.as_str(), "G0");
        assert_eq!(line.sectors, 1000);
        assert_eq!(line.block_sectors, 128);
        assert_eq!(line.meta.first().copied(), Some(Some(&b"/dev/meta"[..])));
        assert_eq!(line.volumes.len(), 5);
        assert_eq!(line.features, Features::DEFAULT);
        assert!(line.volumes.get(2).is_some_and(|volume| {
            volume.lid.as_str() == "LV2"
                && volume.attr == Attr::Rw
                && volume.dev == Some(b"/dev/sdc")
                && volume.rlid.is_some_and(|rlid| rlid.as_str() == "DLV2")
        }));
    }

    #[test]
    fn a_line_cut_short_is_refused_where_it_ends() {
        let words = FIGURE_9.split(' ').count();
        for len in 0..words {
            let cut = FIGURE_9.split(' ').take(len).map(str::as_bytes);
            let error = TableLine::parse(1, cut).err();
            assert!(error.is_some_and(|error| error.at == len && error.word.is_none()));
        }
    }

    #[test]
    fn head() {
        use LineProblem::*;

        assert!(TableLine::parse(0, FIGURE_9.split(' ').map(str::as_bytes))
            .is_err_and(|error| error.problem == Length));
        assert!(refused("-G 8 1 /m 1 A ro /a -", 0, GroupBad));
        for size in ["0", "4", "7", "9", "256", "-8", "4294967304"] {
            let words = ["G0", size, "1", "/m", "1", "A", "ro", "/a", "-"];
            let error = TableLine::parse(1, words.iter().map(|word| word.as_bytes())).err();
            assert!(error.is_some_and(|e| (e.at, e.problem) == (1, BlockSectorsBad)));
        }
        assert!(refused("G0 8 0 1 A ro /a -", 2, MetaCountBad));
        assert!(refused("G0 8 3 /m /n /o 1 A ro /a -", 2, MetaCountBad));
        assert!(refused("G0 8 1 - 1 A ro /a -", 3, MetaDevNone));
        assert!(refused("G0 8 2 - - 1 A ro /a -", 4, MetaDevNone));
        assert!(refused("G0 8 2 /m /m 1 A ro /a -", 4, MetaDevTwice));
        assert!(parse("G0 8 2 - /m 1 A ro /a -").is_ok());
    }

    #[test]
    fn volumes() {
        use LineProblem::*;

        assert!(refused("G0 8 1 /m 0", 4, VolumeCountBad));
        assert!(refused("G0 8 1 /m 257 A ro /a -", 4, VolumeCountBad));
        assert!(refused("G0 8 1 /m 1 all ro /a -", 5, LidBad));
        assert!(refused("G0 8 1 /m 2 A ro /a - A ro /b -", 9, LidTwice));
        assert!(refused("G0 8 1 /m 1 A Ro /a -", 6, AttrBad));
        assert!(refused("G0 8 1 /m 1 A ro /m -", 7, DevTwice));
        assert!(refused("G0 8 1 /m 2 A ro /a - B ro /a -", 11, DevTwice));
        assert!(parse("G0 8 1 /m 2 A ro - - B ro - -").is_ok());
        assert!(refused("G0 8 1 /m 1 A ro /a +", 8, RlidBad));
        assert!(refused("G0 8 1 /m 1 A ro /a B", 8, RlidUnknown));
        assert!(refused("G0 8 1 /m 1 A ro /a A", 8, RlidNotIncrements));
        assert!(refused(
            "G0 8 1 /m 2 A ro /a - S spare /s A",
            12,
            RlidOnSpare
        ));
        assert!(refused(
            "G0 8 1 /m 2 A ro /a - I increments /i I",
            12,
            RlidOnIncrements
        ));
        assert!(refused("G0 8 1 /m 2 A ro /a - B rw /b -", 12, RlidNeeded));
        assert!(parse("G0 8 1 /m 2 A ro /a - B rw /b - 1 allow_unprotected").is_ok());
        assert!(refused(
            "G0 8 1 /m 2 S spare /s - I increments /i -",
            4,
            NoVolume
        ));
    }

    #[test]
    fn feature_counts() {
        use LineProblem::*;

        assert_eq!(features(""), Ok(Features::DEFAULT));
        assert_eq!(features("0"), Ok(Features::DEFAULT));
        assert_eq!(features("x"), Err(FeatureCountBad));
        assert_eq!(features("1"), Err(FeatureCountHigh));
        assert_eq!(features("18446744073709551615 init"), Err(FeatureCountHigh));
        assert_eq!(features("0 init"), Err(FeatureCountLow));
        assert_eq!(features("1 init verify"), Err(FeatureCountLow));
        assert_eq!(features("1 what"), Err(FeatureUnknown));
        assert_eq!(features("4 init verify init verify"), Err(FeatureTwice));
        assert_eq!(
            features("2 force_metadata force_metadata"),
            Err(FeatureTwice)
        );
    }

    #[test]
    fn feature_init() {
        use LineProblem::*;

        let init = |words| features(words).map(|features| features.init);
        assert_eq!(init("2 init verify"), Ok(Init::Verify));
        assert_eq!(init("2 init assume_identical"), Ok(Init::AssumeIdentical));
        let copied = init("3 init copy_from A");
        assert!(matches!(copied, Ok(Init::CopyFrom(lid)) if lid.as_str() == "A"));
        assert_eq!(init("1 init"), Err(InitMissing));
        assert_eq!(init("2 init never"), Err(InitBad));
        assert_eq!(init("2 init copy_from"), Err(InitLidMissing));
        assert_eq!(init("3 init copy_from all"), Err(InitLidBad));
        // Only a new group needs it: a group that exists may have lost it.
        assert!(init("3 init copy_from C").is_ok());
        assert!(init("3 init copy_from B").is_ok());
    }

    #[test]
    fn feature_values() {
        use LineProblem::*;

        let on_full = |words| features(words).map(|features| features.on_full);
        assert_eq!(on_full("2 on_full error"), Ok(OnFull::Error));
        assert_eq!(
            on_full("2 on_full queue"),
            Ok(OnFull::Queue { seconds: 60 })
        );
        assert_eq!(
            on_full("3 on_full queue 5"),
            Ok(OnFull::Queue { seconds: 5 })
        );
        assert_eq!(
            on_full("3 on_full queue allow_unprotected"),
            Ok(OnFull::Queue { seconds: 60 })
        );
        assert_eq!(on_full("3 on_full queue 0"), Err(QueueSecondsBad));
        assert_eq!(on_full("3 on_full queue 5s"), Err(QueueSecondsBad));
        assert_eq!(on_full("3 on_full error 5"), Err(FeatureUnknown));
        assert_eq!(on_full("1 on_full"), Err(OnFullMissing));

        for (words, problem) in [
            ("2 on_full no", OnFullBad),
            ("1 low_water_mark", LowWaterMarkMissing),
            ("2 low_water_mark 101", LowWaterMarkBad),
            ("1 max_errors", MaxErrorsMissing),
            ("2 max_errors 4294967296", MaxErrorsBad),
            ("1 failover", FailoverMissing),
            ("2 failover never", FailoverBad),
            ("1 rebuild_rate", RebuildRateMissing),
            ("2 rebuild_rate -1", RebuildRateBad),
            ("1 slow_after", SlowAfterMissing),
            ("2 slow_after 0", SlowAfterBad),
            ("1 read_policy", ReadPolicyMissing),
            ("2 read_policy random", ReadPolicyBad),
        ] {
            assert_eq!(features(words), Err(problem));
        }
    }

    #[test]
    fn svol() {
        let parse = |line: &'static str| SvolLine::parse(line.split(' ').map(str::as_bytes));
        assert!(parse("/dev/g LV0").is_ok_and(|line| line.group_dev == b"/dev/g"));
        for (line, problem) in [
            ("/dev/g", LineProblem::LidMissing),
            ("/dev/g -", LineProblem::LidBad),
            ("/dev/g LV0 x", LineProblem::SvolTrailing),
        ] {
            assert!(parse(line).is_err_and(|error| error.problem == problem));
        }
        assert!(SvolLine::parse(core::iter::empty())
            .is_err_and(|error| error.problem == LineProblem::GroupDevMissing));
    }
}
