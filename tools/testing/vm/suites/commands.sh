# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Messages that change a group.
# Smoke: remove_a_logged_volume

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

# Three clones of one disk that share a store, and an in-place volume that uses it, too.
shared_group() {
	load_module
	new_disk META 8
	new_disks 'D0 D1 D2' 32
	new_disk DI 64
	"$SVOL_TEST" fill --seed "$SEED" "$D0" "$D1" "$D2"
	make_pattern
	G_NAME=G0
	G_LEN=65536
	G_BLOCK=128
	G_META=("$META")
	G_VOLUMES=("LV0 ro $D0 DLV" "LV1 ro - DLV" "LV2 ro - DLV" "LV3 rw $D2 DLV"
		"LV4 ro $D1 -" "DLV increments $DI -")
	G_FEATURES=(init assume_identical)
	group_create
}

remove_entry() { # LID
	dmsetup message G0 0 remove "$1"
}

write_pattern() { # device MiB MiB-to-skip
	dd if=pattern of="$1" bs=1M count="$2" seek="$3" oflag=direct conv=notrunc status=none
}

assert_pattern() { # device MiB MiB-to-skip
	dd if="$1" bs=1M count="$2" skip="$3" iflag=direct status=none | cmp -n $(($2 << 20)) - pattern
}

# Blocks of DLV in use.
used_blocks() {
	read_status
	echo "${ST[DLV.blocks]%/*}"
}

wait_for_blocks() { # number
	local i
	for ((i = 0; i < 100; i++)); do
		[ "$(used_blocks)" != "$1" ] || return 0
		sleep 0.2
	done
	fail "$(used_blocks) blocks in use, not $1"
}

# Its slots come back, others keep theirs; the line prints without it and loads again.
test_remove_gives_slots_back() {
	local line
	shared_group
	svol_create LV0
	svol_create LV1
	svol_create LV3
	write_pattern /dev/mapper/LV0 4 0
	write_pattern /dev/mapper/LV1 2 5
	write_pattern /dev/mapper/LV3 1 9
	assert_eq 'blocks in use' "$(used_blocks)" $(((4 + 2 + 1) * 16))
	must_fail remove_entry LV1
	dmsetup remove LV1
	log_mark
	remove_entry LV1
	assert_logged 'LV1: removed from the group'
	wait_for_blocks $(((4 + 1) * 16))
	must_fail remove_entry LV1
	expect_refused_tables
	must_fail svol_create LV1
	assert_pattern /dev/mapper/LV0 4 0
	assert_pattern /dev/mapper/LV3 1 9
	# The old line names what was removed.
	dmsetup remove LV0
	dmsetup remove LV3
	line=$(dmsetup table G0)
	assert_match 'the line' "$line" ' 5 LV0 ro .* LV2 ro '
	[[ $line != *LV1* ]] || fail "LV1 is in the line: $line"
	dmsetup remove G0
	group_refused 'LV1: unknown to the group, or removed'
	dmsetup create G0 --table "$line"
	assert_eq 'the line' "$(dmsetup table G0)" "$line"
	assert_eq 'blocks in use' "$(used_blocks)" $(((4 + 1) * 16))
	svol_create LV0
	svol_create LV3
	assert_pattern /dev/mapper/LV0 4 0
	assert_pattern /dev/mapper/LV3 1 9
	# What is free is used again, and shows nothing of who had it.
	svol_create LV2
	assert_base /dev/mapper/LV2
	write_pattern /dev/mapper/LV2 4 20
	assert_pattern /dev/mapper/LV2 4 20
}

# In-place volumes leave, too; their disk is let go with the next table.
test_remove_a_logged_volume() {
	shared_group
	svol_create LV3
	write_pattern /dev/mapper/LV3 3 9
	dmsetup remove LV3
	remove_entry LV3
	wait_for_blocks 0
	dm_change G0 "$(dmsetup table G0)"
	assert_unused "$D2"
	# It is a plain disk.
	assert_pattern "$D2" 3 9
}

# What others need stays.
test_remove_refused() {
	local events line
	shared_group
	events=$(dmsetup status G0)
	line=$(dmsetup table G0)
	log_mark
	must_fail remove_entry DLV
	assert_logged 'DLV: it keeps the changes of LV0'
	must_fail remove_entry LV9
	assert_logged 'LV9: the group has no such entry'
	remove_entry LV4
	log_mark
	must_fail remove_entry LV0
	assert_logged 'LV0: '
	dmsetup suspend G0
	must_fail remove_entry LV2
	dmsetup resume G0
	remove_entry LV2
	[ "$(dmsetup table G0)" != "$line" ] || fail 'the line did not change'
	[ "$(dmsetup status G0)" != "$events" ] || fail 'the status did not change'
}

# Readers of the base go on while a disk leaves that they read.
test_remove_a_source_under_load() {
	shared_group
	svol_create LV0
	"$SVOL_TEST" verify --seed "$SEED" /dev/mapper/LV0 &
	remove_entry LV4
	wait "$!"
	dm_change G0 "$(dmsetup table G0)"
	assert_unused "$D1"
	assert_base /dev/mapper/LV0 "$D1"
}

# The shared group, with its increments on a device that can be changed; LV1 has changes.
group_on_a_store() {
	need_target flakey
	shared_group
	dmsetup remove G0
	blank_disk "$META" "$DI"
	dm_linear store "$DI"
	group_move DLV /dev/mapper/store
	group_create
	svol_create LV1
	svol_create LV0
	write_pattern /dev/mapper/LV1 4 0
}

entries_cannot_be_written() {
	dm_change_part store "$DI" 4096 128 "flakey $DI 4096 0 1000 1 error_writes"
}

# LV1 is removed, but can't give its slots back, since entries can't be written.
one_leaves_slowly() {
	group_on_a_store
	write_pattern /dev/mapper/LV1 4 8
	write_pattern /dev/mapper/LV0 1 3
	dmsetup remove LV0
	dmsetup remove LV1
	dmsetup suspend G0
	dmsetup resume G0
	expect_warnings
	entries_cannot_be_written
	log_mark
	remove_entry LV1
	assert_logged "LV1: its blocks of increments DLV can't be given back yet"
}

# What was removed could not give its slots back yet: the next start goes on with that.
test_restart_while_one_leaves() {
	one_leaves_slowly
	dmsetup remove G0
	dm_change store "0 131072 linear $DI 0"
	group_drop LV1
	log_mark
	group_create
	wait_for_blocks 16
	assert_logged 'LV1: its blocks of increments DLV are given back'
	svol_create LV0
	assert_pattern /dev/mapper/LV0 1 3
}

# LV1 was removed while its increments volume was gone, which learns of that when it is taken back: the
# next start goes on with that, too.
test_restart_while_one_leaves_a_store_that_is_back() {
	group_on_a_store
	write_pattern /dev/mapper/LV0 1 3
	dmsetup remove LV0 LV1 G0
	group_move DLV -
	G_FEATURES+=(force_metadata)
	group_create
	G_FEATURES=("${G_FEATURES[@]:0:2}")
	remove_entry LV1
	group_drop LV1
	dmsetup remove G0
	group_move DLV /dev/mapper/store
	entries_cannot_be_written
	group_create
	log_mark
	dmsetup message G0 0 readd DLV
	wait_until 30 log_says "LV1: its blocks of increments DLV can't be given back yet" ||
		fail 'it does not leave'
	dmsetup remove G0
	dm_change store "0 131072 linear $DI 0"
	log_mark
	group_create
	wait_for_blocks 16
	assert_logged 'LV1: its blocks of increments DLV are given back'
	dmsetup message G0 0 add LV1 ro - DLV
	svol_create LV0
	assert_pattern /dev/mapper/LV0 1 3
}

# Nobody gets its name before that, also when the table was loaded in between: it would get what LV1 had.
test_name_of_one_that_leaves() {
	one_leaves_slowly
	dm_change G0 "$(dmsetup table G0)"
	log_mark
	must_fail dmsetup message G0 0 add LV1 ro - DLV
	assert_logged 'message "add": LID LV1: the blocks of a volume of this name are given back still'
	dm_change store "0 131072 linear $DI 0"
	wait_until 30 log_says 'LV1: its blocks of increments DLV are given back' || fail 'they are not given back'
	dmsetup message G0 0 add LV1 ro - DLV
	dm_change G0 "$(dmsetup table G0)"
	svol_create LV1
	assert_base /dev/mapper/LV1
	svol_create LV0
	assert_pattern /dev/mapper/LV0 1 3
}
