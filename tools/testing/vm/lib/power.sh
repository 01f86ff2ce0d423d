# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Power cuts without a reboot: the disks go, with what is in their volatile caches
# (attribute cache_size), and come back. The metadata goes first: what the group learns from
# the failure of the others it cannot write down any more.

# Everything that the kernel says about disks that are suddenly gone.
expect_power_cuts() {
	expect_warnings
	expect_log '^(I/O error|Buffer I/O error|critical |blk_|lost page write|device-mapper: )'
}

power_off() { # disk...
	local disk
	for disk in "$@"; do
		disk_set "$disk" power 0
	done
}

power_on() { # disk...
	local disk
	for disk in "$@"; do
		disk_set "$disk" power 1
	done
	for disk in "$@"; do
		wait_until 10 test -b "$disk" || fail "$disk does not come back"
	done
}

# The power of the group of clones goes and comes again.
clones_power_cut() {
	expect_power_cuts
	power_off "${G_DISKS[@]}"
	clones_power_return
}

clones_power_return() {
	clones_remove
	dmsetup remove "$G_NAME"
	legs_remove
	power_on "${G_DISKS[@]}"
	legs_create
	group_create
	clones_create
}
