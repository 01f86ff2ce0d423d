// SPDX-License-Identifier: GPL-2.0

//! Safe wrappers for writing device-mapper targets in Rust.
//!
//! C headers: `include/linux/device-mapper.h`, `include/linux/dm-io.h`.
//!
//! A target is a type that implements [`Target`], made known to device-mapper by a
//! [`Registration`]. This is the only part of the module that contains `unsafe`; it knows nothing
//! of S-VOLs, and any target could use it.
//!
//! # Lifetimes
//!
//! Device-mapper creates one target instance per table line and destroys it together with its
//! table. Three things outlive a simple borrow of the instance, and all hold an [`anchor`]: an open
//! [`Device`], an [`Event`] and a [`provider::Client`]. The destructor of an instance waits until
//! the last of them is gone. Only then is the target no client any more, and the devices are
//! closed.
//!
//! I/O in flight is covered by device-mapper itself: it never destroys a table, nor calls
//! [`Target::postsuspend`], while a bio of the table is in flight. [`Live`] is evidence that the
//! device is in use, [`Quiesced`] that it is suspended.
//!
//! # Contexts
//!
//! | callback                                   | may sleep | serialised by                    |
//! |--------------------------------------------|-----------|----------------------------------|
//! | `new`, drop                                | yes       | nothing (one table at a time)    |
//! | `map`                                      | no        | nothing: every CPU at once       |
//! | `end_io`                                   | no        | nothing, may be in interrupt     |
//! | `presuspend`, `presuspend_undo`            | yes       | the device's suspend lock        |
//! | `postsuspend`, `preresume`, `resume`       | yes       | the device's suspend lock        |
//! | `status`, `message`                        | yes       | nothing; table kept by SRCU      |
//! | `iterate_devices`, `io_hints`              | yes       | nothing                          |
//!
//! `map` could sleep in most cases, but callers that set `REQ_NOWAIT` rely on it not sleeping.

mod anchor;
mod args;
mod bindings;
mod bio;
mod bufio;
mod cell;
mod device;
mod ended;
mod event;
mod io;
mod legs;
mod limits;
mod live;
pub(crate) mod load;
mod mapped_device;
mod parked;
pub(crate) mod provider;
mod sys;
mod target;
mod traffic;
mod vtable;
mod worker;
mod writer;

pub(crate) use bio::{
    Bio,
    Destination,
    Failure,
    Mapped,
    Op,
    Status, //
};
pub(crate) use bufio::Bufio;
pub(crate) use device::{
    device_number,
    find_device,
    Device,
    Mode, //
};
pub(crate) use ended::{
    EndIo,
    Ended, //
};
pub(crate) use event::Event;
pub(crate) use io::{
    IoClient,
    PIECE,
    PIECE_SECTORS, //
};
pub(crate) use legs::LegPool;
pub(crate) use limits::{
    DeviceVisitor,
    Limits,
    Stop, //
};
pub(crate) use live::{
    InUse,
    Live,
    Quiesced, //
};
pub(crate) use mapped_device::{
    DeviceNumber,
    HeldDevice, //
};
pub(crate) use parked::{
    Parked,
    ParkedList, //
};
pub(crate) use sys::{
    crc32c,
    current_cpu,
    random_bytes,
    sort_by_key, //
};
pub(crate) use target::{
    Features,
    FlushBios,
    Setup,
    SetupError,
    StatusKind,
    Target, //
};
pub(crate) use traffic::Traffic;
pub(crate) use vtable::Registration;
pub(crate) use worker::{
    Job,
    JobClass,
    Worker, //
};
pub(crate) use writer::Writer;
