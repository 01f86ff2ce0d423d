// SPDX-License-Identifier: GPL-2.0

//! Common code for comparisons of disks: the worker that fills disks reads a volume's disk from
//! beginning to end, in turns, while it is in use.

use super::{
    background::{
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
    log,
    svol_core::flag::Flag, //
};
use kernel::{
    prelude::*,
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// How often the worker checks whether there is a disk to fill, which comes first, in milliseconds.
const TURN_MS: i64 = 1000;

/// What a comparison has found so far.
pub(crate) struct Comparison {
    /// Sub-blocks that were copied because they differed.
    pub(super) copied: Word,
    /// Sub-blocks of the volume's disk that can't be read.
    pub(super) unread: Word,
    /// How often the volume's disk had lost writes when it began; see [`Owner::disk_losses`].
    ///
    /// [`Owner::disk_losses`]: crate::store::Owner::disk_losses
    pub(super) losses: Word,
    /// Whether it has ended and the volume stays as it is.
    pub(super) is_over: Flag,
}

impl Comparison {
    /// Nothing found yet.
    pub(crate) fn new() -> Self {
        Self {
            copied: Word::new(0),
            unread: Word::new(0),
            losses: Word::new(0),
            is_over: Flag::new(false),
        }
    }
}

/// Why a comparison does not go on now.
pub(super) enum Halt {
    /// The worker has something else to do, or must stop.
    Turn,
    /// It must be tried again later.
    Later(Error),
    /// The disk differs, first at this sector, and is left so.
    Differs(u64),
}

impl Worker<Rebuilds> {
    /// Compares a volume's disk from its cursor to its end, while it is this volume's turn.
    /// `compare` gets the position and the maximum number of sectors, and returns how many it has
    /// done. Sleeps for I/O.
    ///
    /// # Errors
    ///
    /// Why it has not reached the end.
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
    /// Does part of some comparison, while no disk can be filled.
    pub(super) fn go_on_comparing(&self, worker: &Worker<Rebuilds>, bound: &Bound) -> Next {
        match self.go_on_verifying(worker, bound) {
            Next::Again => Next::Again,
            Next::Nothing => self.go_on_protecting(worker, bound),
            Next::Later => match self.go_on_protecting(worker, bound) {
                Next::Nothing => Next::Later,
                next => next,
            },
        }
    }

    /// Decides what the worker does after part of a comparison, which may have ended. `with` says
    /// what the volume is compared with.
    pub(super) fn after_comparing(
        &self,
        worker: &Worker<Rebuilds>,
        bound: &Bound,
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
                // It must not delay others.
                volume.turn.put_off(bound.age_ms());
                Next::Again
            }
            _ => Next::Again,
        }
    }
}
