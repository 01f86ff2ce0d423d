// SPDX-License-Identifier: GPL-2.0

//! What the comparisons of disks have in common: a volume's disk is read from its beginning to its
//! end while it is in use, in turns, by the worker that fills disks.

use super::{
    rebuild::{
        Next,
        Rebuilds, //
    },
    Group, //
};
use crate::{
    bound::{
        Bound,
        Volume, //
    },
    dm::Worker,
    env::Word,
    log, //
};
use kernel::{
    prelude::*,
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// How often the worker looks whether a disk is to be filled, which comes first, in milliseconds.
const TURN_MS: i64 = 1000;

/// What a comparison has come across.
pub(crate) struct Comparison {
    /// Sub-blocks that were copied, because they differ.
    pub(super) copied: Word,
    /// Sub-blocks of the volume's disk that can't be read.
    pub(super) unread: Word,
    /// 1 if it is at its end, and the volume stays as it is.
    pub(super) is_over: Word,
}

impl Comparison {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            copied: Word::new(0),
            unread: Word::new(0),
            is_over: Word::new(0),
        }
    }
}

/// Why a comparison does not go on now.
pub(super) enum Halt {
    /// The worker has something else to do, or is to rest.
    Turn,
    /// It is to be tried again later.
    Later(Error),
    /// The disk differs, first at this sector, and is to stay so.
    Differs(u64),
}

impl Worker<Rebuilds> {
    /// Compares a volume's disk to its end, from where it stands, as long as it is this volume's
    /// turn. `compare` is told where, and of how many sectors at most, and returns how many it has
    /// done. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Say why it is not at the end.
    pub(super) fn go_on(
        &self,
        bound: &Bound,
        volume: &Volume,
        is_busy: impl Fn() -> bool,
        mut compare: impl FnMut(u64, u32) -> Result<u32, Halt>,
    ) -> Result<(), Halt> {
        let turn = Instant::<Monotonic>::now();
        while volume.copied.get() < bound.members.sectors {
            if self.is_stopped() || turn.elapsed().as_millis() >= TURN_MS {
                return Err(Halt::Turn);
            }
            self.advance(bound, volume, &is_busy, &mut compare)?;
        }
        Ok(())
    }
}

impl Group {
    /// What the worker does after a part of a comparison, which may have ended. `with` is what the
    /// volume is compared with.
    pub(super) fn after_comparing(
        &self,
        worker: &Worker<Rebuilds>,
        volume: &Volume,
        with: &str,
        result: Result<(), Halt>,
    ) -> Next {
        match result {
            Err(Halt::Turn) if worker.is_stopped() => Next::Nothing,
            Err(Halt::Later(error)) => {
                if volume.turn.say_once() {
                    let errno = error.to_errno();
                    log::warning!(
                        self.name(),
                        "{}: comparison with {with} halted: error {errno}",
                        volume.lid
                    );
                }
                Next::Later
            }
            _ => Next::Again,
        }
    }
}
