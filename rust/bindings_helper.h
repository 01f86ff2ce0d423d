/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen reads for rust/dm/bindings.rs. Types that the kernel crate
 * binds already (bio, block_device, queue_limits ...) stay the kernel
 * crate's own: Kbuild passes bindgen a list of what to generate.
 */
#include <linux/crc32.h>
#include <linux/device-mapper.h>
#include <linux/dm-bufio.h>
#include <linux/dm-io.h>
#include <linux/sort.h>

#include "helpers.h"
