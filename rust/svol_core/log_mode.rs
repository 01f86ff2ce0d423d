// SPDX-License-Identifier: GPL-2.0

//! Where the writes of a logged volume go when its disk or its increments volume fails.
//!
//! ```text
//!          disk fails          that is durable
//!   Both ------------> Held -------------------> Store
//!    |  <--------------  |
//!    |   it is kept      | it is kept, and the log was given up meanwhile
//!    |                   v
//!    +----------------> Disk
//!     log is given up, and that is durable
//!
//!   Store ------------> Both
//!          another disk was filled, and that is durable
//!
//!   Held -------------> Both
//!          the volume has another disk, or needs none any more, and that is durable
//!
//!   Behind -----------> Both
//!    |     all was compared, and that is durable
//!    +----------------> Disk
//!          log is given up
//! ```
//!
//! All changes are made under one lock of the group; reading the mode needs no lock.

use crate::env::Word;

/// Where the writes go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// To disk and increments volume.
    Both,
    /// To the disk: the increments volume lacks something that was written.
    Disk,
    /// Nowhere yet: they wait until the failure of the disk is durable.
    Held,
    /// To the increments volume: the disk has failed.
    Store,
    /// To disk and increments volume; the latter lacks some earlier writes: the two are being
    /// compared.
    Behind,
}

/// What happens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// The disk fails.
    DiskFails,
    /// It is durable that the disk has failed.
    FailureIsDurable,
    /// The disk is kept: nothing could replace it.
    DiskIsKept {
        /// It is durable that the disk may have been written without a log.
        unprotected: bool,
    },
    /// It is durable that the volume goes on without its log.
    LogIsGivenUp,
    /// It is durable that another disk, which was filled for the volume, is its own.
    DiskIsFilled,
    /// It is durable that the volume has left a disk that worked: it has another one, or is
    /// diverted.
    DiskIsLeft,
    /// It is durable that the increments volume has all that was written.
    LogIsWhole,
}

impl Mode {
    /// The mode after an event; `None` if the event can't happen now. Then either held writes have
    /// to be released first, or the operation that wanted the event has failed.
    pub fn after(self, event: Event) -> Option<Self> {
        match (self, event) {
            (Self::Both, Event::DiskFails) => Some(Self::Held),
            // Without a log, nothing can take over.
            (_, Event::DiskFails) => Some(self),

            (Self::Both | Self::Held | Self::Store, Event::FailureIsDurable) => Some(Self::Store),
            (Self::Disk | Self::Behind, Event::FailureIsDurable) => None,

            (Self::Both | Self::Held, Event::DiskIsKept { unprotected }) => {
                Some(match unprotected {
                    true => Self::Disk,
                    false => Self::Both,
                })
            }
            (Self::Disk | Self::Behind, Event::DiskIsKept { .. }) => Some(self),
            (Self::Store, Event::DiskIsKept { .. }) => None,

            (Self::Both | Self::Disk | Self::Behind, Event::LogIsGivenUp) => Some(Self::Disk),
            // Reads go to the increments volume already, which would lack data.
            (Self::Held | Self::Store, Event::LogIsGivenUp) => None,

            (Self::Store, Event::DiskIsFilled) => Some(Self::Both),
            (_, Event::DiskIsFilled) => None,

            // Whether that disk fails no longer matters.
            (Self::Both | Self::Held, Event::DiskIsLeft) => Some(Self::Both),
            (Self::Disk | Self::Store | Self::Behind, Event::DiskIsLeft) => None,

            (Self::Behind, Event::LogIsWhole) => Some(Self::Both),
            (_, Event::LogIsWhole) => None,
        }
    }

    /// Whether reads may go to increments and siblings instead of the disk.
    pub fn is_logged(self) -> bool {
        !matches!(self, Self::Disk | Self::Behind)
    }

    fn code(self) -> u64 {
        match self {
            Self::Both => 0,
            Self::Disk => 1,
            Self::Held => 2,
            Self::Store => 3,
            Self::Behind => 4,
        }
    }
}

/// A mode that others read concurrently.
pub struct ModeCell(Word);

impl ModeCell {
    /// A cell with an initial mode.
    pub fn new(mode: Mode) -> Self {
        Self(Word::new(mode.code()))
    }

    /// The mode. Does not sleep.
    #[inline]
    pub fn get(&self) -> Mode {
        match self.0.get() {
            0 => Mode::Both,
            1 => Mode::Disk,
            2 => Mode::Held,
            4 => Mode::Behind,
            _ => Mode::Store,
        }
    }

    /// Enters the mode after an event; returns it, or `None` if nothing has changed because the
    /// event can't happen now. One caller at a time.
    pub fn advance(&self, event: Event) -> Option<Mode> {
        let next = self.get().after(event)?;
        self.0.set(next.code());
        Some(next)
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), ::kernel::prelude::kunit_tests(dm_svol_log_mode))]
mod tests {
    use super::*;

    const MODES: [Mode; 5] = [
        Mode::Both,
        Mode::Disk,
        Mode::Held,
        Mode::Store,
        Mode::Behind,
    ];
    const EVENTS: [Event; 8] = [
        Event::DiskFails,
        Event::FailureIsDurable,
        Event::DiskIsKept { unprotected: false },
        Event::DiskIsKept { unprotected: true },
        Event::LogIsGivenUp,
        Event::DiskIsFilled,
        Event::LogIsWhole,
        Event::DiskIsLeft,
    ];

    #[test]
    fn all_transitions() {
        let both = Some(Mode::Both);
        let (disk, held, store) = (Some(Mode::Disk), Some(Mode::Held), Some(Mode::Store));
        let behind = Some(Mode::Behind);
        let table = [
            [held, store, both, disk, disk, None, None, both],
            [disk, None, disk, disk, disk, None, None, None],
            [held, store, both, disk, None, None, None, both],
            [store, store, None, None, None, both, None, None],
            [behind, None, behind, behind, disk, None, both, None],
        ];
        for (mode, row) in MODES.iter().zip(table) {
            for (event, next) in EVENTS.iter().zip(row) {
                assert_eq!(mode.after(*event), next);
                let cell = ModeCell::new(*mode);
                assert_eq!(cell.get(), *mode);
                assert_eq!(cell.advance(*event), next);
                assert_eq!(cell.get(), next.unwrap_or(*mode));
            }
        }
    }

    /// A volume is never read from the side that lacks data.
    #[test]
    fn no_way_back_to_what_lacks_data() {
        for mode in MODES {
            for event in EVENTS {
                let Some(next) = mode.after(event) else {
                    continue;
                };
                // The disk lacks what was written only to the store, and vice versa.
                if mode == Mode::Store && event != Event::DiskIsFilled {
                    assert_eq!(next, Mode::Store);
                }
                if mode == Mode::Disk {
                    assert_eq!(next, Mode::Disk);
                }
                if mode == Mode::Behind && event != Event::LogIsWhole {
                    assert!(!next.is_logged());
                }
            }
        }
    }
}
