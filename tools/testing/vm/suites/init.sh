# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Groups whose disks are filled when they are loaded for the first time.
# Smoke: copied

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

# LV0 has the base image; the disks of LV1, L5 and the clone C1 hold something else.
copied_disks() { # MiB MiB-of-the-store
	load_module
	logged_disks 1 "$1" "$2"
	legs_remove
	LEGS=()
	new_disk CLONE "$1"
	new_disk READ "$1"
	# shellcheck disable=SC2153 # set by logged_disks
	for disk in "$DISK" "$CLONE" "$READ"; do
		"$SVOL_TEST" fill --seed 77 "$disk"
	done
	group_move C1 "$CLONE"
	G_VOLUMES+=("LV1 ro $READ -")
	G_DISKS+=("$CLONE" "$READ")
	G_FEATURES=(init copy_from LV0)
}

copied_up() {
	group_create
	clones_create
	svol_create LV1 --readonly
}

copied_down() {
	clones_remove
	dmsetup remove LV1 G0
}

all_filled() {
	read_status
	[ "${ST[LV1.health]} ${ST[C1.health]} ${ST[L5.health]}" = 'in-sync in-sync in-sync' ]
}

wait_filled() {
	wait_until 60 all_filled || fail "not filled: ${ST[line]}"
	assert_status state=clean L5.protection=protected LV1.disk=LV1 C1.disk=C1 L5.disk=L5
}

# All is there from the beginning, and in the end each disk has what its volume has.
test_copied() {
	copied_disks 8 16
	copied_up
	assert_base /dev/mapper/G0 /dev/mapper/LV1
	steps L5 write:100+1000 zero:9000+64 flush check
	steps C1 write:300+8 flush check
	wait_filled
	check_clones
	copied_down
	# The form of the first start is ignored from now on.
	G_FEATURES=(init copy_from LV1)
	copied_up
	check_clones
	assert_base /dev/mapper/LV1
	copied_down
	assert_base "$READ" "$CLONE"
	"$SVOL_TEST" steps "$DISK" --seed "$SEED" --own 1005 --state s.L5 check
}

# One disk is filled after the other.
has_begun() {
	read_status
	[[ "${ST[LV1.blocks]} ${ST[C1.blocks]} ${ST[L5.blocks]}" =~ [1-9][0-9]*/ ]]
}

# The group is in use, suspended and started again while disks are filled.
test_goes_on_after_a_start() {
	copied_disks 32 64
	G_FEATURES+=(rebuild_rate 2048)
	copied_up
	start_load L5 /dev/mapper/L5 --write 50 --state l5
	wait_until 30 has_begun
	dmsetup suspend G0
	dmsetup resume G0
	nap 6
	stop_loads
	read_status
	assert_status L5.health=rebuilding LV1.health=rebuilding
	copied_down
	copied_up
	has_begun || fail "it begins anew: ${ST[line]}"
	assert_status L5.health=rebuilding
	dmsetup message G0 0 rebuild_rate 0
	wait_filled
	assert_state /dev/mapper/L5 l5
	assert_base /dev/mapper/LV1
	copied_down
	assert_state "$DISK" l5
	assert_base "$READ" "$CLONE"
}
