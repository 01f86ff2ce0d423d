// SPDX-License-Identifier: GPL-2.0

//! Bindings that bindgen generates from `device-mapper.h`, `dm-io.h` and the C shims.
//!
//! Raw and unsafe: nothing outside [`super`] may use them.

#![allow(
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    non_snake_case,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::cast_lossless
)]

// Types that the kernel crate binds already.
pub(super) use kernel::bindings::*;
use kernel::ffi;
use pin_init::MaybeZeroable;

include!(env!("DM_SVOL_BINDINGS"));
