# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Increments volumes: diverted writes, logged writes, what a crash leaves.
# Smoke: logged

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

# What a device holds, as a number.
content() { # device
	digest "$1" | cut -d ' ' -f 2
}

write_pattern() { # device block-size count seek-in-blocks
	dd if=pattern of="$1" bs="$2" count="$3" seek="$4" oflag=direct conv=notrunc status=none
}

assert_pattern() { # device block-size count skip-in-blocks
	dd if="$1" bs="$2" count="$3" skip="$4" iflag=direct status=none |
		cmp -n $(($2 * $3)) - pattern
}

# A group of one read-only disk, one in-place disk and one store.
store_group() { # MiB of a data disk
	load_module
	new_disk META 8
	new_disks 'D0 D2' "$1"
	new_disk DI 24
	"$SVOL_TEST" fill --seed "$SEED" "$D0" "$D2"
	make_pattern
	G_NAME=G0
	G_LEN=$(($1 * 2048))
	G_BLOCK=128
	G_META=("$META")
	G_VOLUMES=("LV0 ro $D0 DLV" "LV1 ro - DLV" "LV2 rw $D2 DLV" "DLV increments $DI -")
	G_FEATURES=(init assume_identical)
	# shellcheck disable=SC2034 # for the library
	G_DISKS=("$META" "$D0" "$D2" "$DI")
	group_create
}

# The disk is never written, the clones differ, and all of it is there after a restart.
test_diverted() {
	local base sum0 sum1
	store_group 16
	base=$(content "$D0")
	svol_create LV0
	svol_create LV1
	assert_base /dev/mapper/LV0 /dev/mapper/LV1
	write_pattern /dev/mapper/LV0 4096 1 0
	write_pattern /dev/mapper/LV0 512 3 1001
	write_pattern /dev/mapper/LV0 1048576 4 7
	write_pattern /dev/mapper/LV1 65536 5 100
	assert_pattern /dev/mapper/LV0 4096 1 0
	assert_pattern /dev/mapper/LV0 512 3 1001
	assert_pattern /dev/mapper/LV0 1048576 4 7
	assert_pattern /dev/mapper/LV1 65536 5 100
	sum0=$(content /dev/mapper/LV0)
	sum1=$(content /dev/mapper/LV1)
	assert_eq 'what the disk holds' "$(content "$D0")" "$base"
	dmsetup remove LV0
	dmsetup remove LV1
	group_restart
	svol_create LV0
	svol_create LV1
	assert_eq 'LV0 after a restart' "$(content /dev/mapper/LV0)" "$sum0"
	assert_eq 'LV1 after a restart' "$(content /dev/mapper/LV1)" "$sum1"
	# Whole blocks go back, and read as the base image.
	blkdiscard /dev/mapper/LV0
	assert_eq 'LV0 after a discard' "$(content /dev/mapper/LV0)" "$base"
	assert_eq 'LV1 after a discard of LV0' "$(content /dev/mapper/LV1)" "$sum1"
	assert_eq 'what the disk holds' "$(content "$D0")" "$base"
}

test_ext4_on_a_diverted_volume() {
	need_module ext4
	store_group 16
	svol_create LV1
	mkfs.ext4 -q /dev/mapper/LV1
	mkdir -p mnt
	mount /dev/mapper/LV1 mnt
	cp -r "$TESTS" mnt/
	umount mnt
	dmsetup remove LV1
	group_restart
	svol_create LV1
	fsck.ext4 -fn /dev/mapper/LV1
	mount /dev/mapper/LV1 mnt
	diff -r "$TESTS" "mnt/$(basename "$TESTS")"
	umount mnt
	assert_base "$D0"
}

# Disk and volume are the same; without the disk siblings and increments have all of it.
test_logged() {
	local sum
	store_group 16
	svol_create LV2
	"$SVOL_TEST" random-io /dev/mapper/LV2 --ops 300 --write 50 --state lv2 --rng "$SVOL_SEED"
	assert_state /dev/mapper/LV2 lv2
	write_pattern /dev/mapper/LV2 512 3 1001
	write_pattern /dev/mapper/LV2 1048576 4 7
	blkdiscard -z -o 1M -l 4M /dev/mapper/LV2
	assert_eq 'the disk' "$(content "$D2")" "$(content /dev/mapper/LV2)"
	dmsetup remove LV2
	dmsetup remove G0
	sum=$(content "$D2")
	expect_warnings
	group_move LV2 -
	group_create
	read_status
	assert_status LV2.health=degraded state=degraded
	svol_create LV2
	assert_eq 'LV2 without its disk' "$(content /dev/mapper/LV2)" "$sum"
	write_pattern /dev/mapper/LV2 1048576 4 11
	assert_pattern /dev/mapper/LV2 1048576 4 11
	assert_eq 'what the disk holds' "$(content "$D2")" "$sum"
}

# A crash left the disk ahead of the increments, in a region that is marked.
test_crash_between_disk_and_store() {
	local disk sum
	store_group 16
	svol_create LV2
	write_pattern /dev/mapper/LV2 4096 1 1801
	# The marks first: they do not stay for long.
	for disk in "$DI" "$META" "$D2"; do
		save_disk "$disk" "crash.${disk##*/}"
	done
	dmsetup remove LV2
	dmsetup remove G0
	for disk in "$META" "$D2" "$DI"; do
		load_disk "$disk" "crash.${disk##*/}"
	done
	write_pattern "$D2" 4096 1 1800
	sum=$(content "$D2")
	log_mark
	group_create
	assert_logged 'LV2: .* compared after a crash'
	svol_create LV2
	assert_eq 'LV2 after the crash' "$(content /dev/mapper/LV2)" "$sum"
	dmsetup remove LV2
	dmsetup remove G0
	expect_warnings
	group_move LV2 -
	group_create
	svol_create LV2
	assert_eq 'LV2 without its disk' "$(content /dev/mapper/LV2)" "$sum"
}

# Disks of a group, and its increments device DI below a linear device, "store".
covered_store() { # "variable..." MiB MiB-of-DI sectors-of-a-block
	local variable
	load_module
	new_disk META 8
	new_disks "$1" "$2"
	new_disk DI "$3"
	for variable in $1; do
		"$SVOL_TEST" fill --seed "$SEED" "${!variable}"
	done
	make_pattern
	dm_linear store "$DI"
	G_NAME=G0
	G_LEN=$(($2 * 2048))
	G_BLOCK=$4
	G_META=("$META")
	G_FEATURES=(init assume_identical)
}

# The store on a device that can be made to refuse writes of entries.
breakable_group() {
	need_target flakey
	covered_store D0 16 64 128
	G_VOLUMES=("LV0 ro $D0 DLV" "LV1 ro - DLV" "DLV increments /dev/mapper/store -")
	G_FEATURES=(init assume_identical)
	group_create
	svol_create LV0
	svol_create LV1
}

break_entries() {
	dm_change_part store "$DI" 4096 128 "flakey $DI 4096 0 1000 1 error_writes"
}

mend_entries() {
	dm_change store "0 131072 linear $DI 0"
}

# A commit fails while nobody waits for it: the next flush says so, even if all is well by then.
test_failed_commit_is_told() {
	breakable_group
	expect_warnings
	break_entries
	log_mark
	write_pattern /dev/mapper/LV0 4096 1 5
	assert_logged 'DLV: commit failed'
	mend_entries
	nap 3
	must_fail fsync /dev/mapper/LV0
	fsync /dev/mapper/LV0
	# The other volume is told, too, also by another table.
	dm_change G0 "$(group_table)"
	must_fail fsync /dev/mapper/LV1
	fsync /dev/mapper/LV1
	fsync /dev/mapper/LV0
	dmsetup remove LV0
	dmsetup remove LV1
	group_restart
	svol_create LV0
	assert_pattern /dev/mapper/LV0 4096 1 5
}

# As that, but the resume of another table is refused in between.
test_failed_commit_is_told_after_a_refusal() {
	local lid other
	breakable_group
	expect_warnings
	expect_refused_resumes
	break_entries
	log_mark
	write_pattern /dev/mapper/LV0 4096 1 5
	sleep 3
	assert_logged 'DLV: commit failed'
	mend_entries
	sleep 3
	new_disk other 16
	"$SVOL_TEST" fill --seed 77 "$other"
	group_move LV0 "$other"
	dmsetup load G0 --table "$(group_table)"
	must_fail dmsetup resume G0
	assert_logged 'disk of LV0: does not hold the base image'
	group_move LV0 "$D0"
	dmsetup load G0 --table "$(group_table)"
	dmsetup resume G0
	for lid in LV0 LV1; do
		must_fail fsync "/dev/mapper/$lid"
		fsync "/dev/mapper/$lid"
	done
	assert_pattern /dev/mapper/LV0 4096 1 5
}

# What a suspend could not write is lost with its table: the volume fails, and does not go back in
# time under its users.
test_changes_that_a_reload_loses() {
	breakable_group
	expect_warnings
	write_pattern /dev/mapper/LV0 4096 2 10
	fsync /dev/mapper/LV0
	break_entries
	write_pattern /dev/mapper/LV1 4096 1 5
	# The same table goes on with what it has.
	dmsetup suspend G0
	dmsetup resume G0
	assert_pattern /dev/mapper/LV1 4096 1 5
	log_mark
	dm_change G0 "$(group_table)"
	assert_logged 'LV1: its last changes are lost'
	must_fail assert_pattern /dev/mapper/LV1 4096 1 5
	must_fail dd if=/dev/mapper/LV1 of=/dev/null bs=4096 count=1 iflag=direct status=none
	# Others lost nothing.
	assert_pattern /dev/mapper/LV0 4096 2 10
	mend_entries
	dmsetup remove LV1
	expect_refused_tables
	must_fail svol_create LV1
	dm_change G0 "$(group_table)"
	svol_create LV1
	assert_base /dev/mapper/LV1
	assert_pattern /dev/mapper/LV0 4096 2 10
}

# As above, with a store that could not be read for a moment. It has not lost anything, but LV0 has: it does not get
# in place with what its disk has.
test_lost_changes_stay_where_they_are() {
	local disk
	covered_store 'D0 D1' 8 16 8
	G_VOLUMES=("LV0 ro $D0 DLV" "LV1 ro $D1 -" "DLV increments /dev/mapper/store -")
	G_FEATURES=(init assume_identical)
	expect_disk_errors
	group_create
	svol_create LV0
	# A unit has the entries of 256 slots: the next write needs some of the second one.
	write_pattern /dev/mapper/LV0 4096 250 0
	fsync /dev/mapper/LV0
	dm_change_part store "$DI" 4104 8 error
	write_pattern /dev/mapper/LV0 4096 20 300
	# The same device, as it is.
	group_move DLV "$DI"
	log_mark
	dm_change G0 "$(group_table)"
	assert_logged 'LV0: its last changes are lost'
	disk=$(digest "$D0")
	begin_refusals
	refusal EIO 'set_attr;LV0;lost' 'set_attr LV0 rw'
	check_refusals messages
	must_fail dd if=/dev/mapper/LV0 of=/dev/null bs=4096 count=1 iflag=direct status=none
	dmsetup remove LV0
	begin_refusals
	refusal EIO 'set_attr;LV0;lost' 'set_attr LV0 rw'
	check_refusals messages
	assert_eq 'the disk of LV0' "$(digest "$D0")" "$disk"
	dm_change G0 "$(group_table)"
	dmsetup message G0 0 set_attr LV0 rw
	svol_create LV0
	assert_pattern /dev/mapper/LV0 4096 250 0
}

# The increments device is blank, or an older copy: refused, and nothing is written.
test_wrong_increments_device() {
	store_group 16
	svol_create LV0
	write_pattern /dev/mapper/LV0 4096 1 5
	dmsetup remove LV0
	dmsetup remove G0
	save_disk "$DI" old
	group_create
	dmsetup remove G0
	save_disk "$DI" new
	load_disk "$DI" old
	group_refused 'increments DLV: .*old'
	blank_disk "$DI"
	group_refused 'increments DLV: .*blank'
	load_disk "$DI" new
	group_create
	svol_create LV0
	assert_pattern /dev/mapper/LV0 4096 1 5
}

# The disk of an in-place volume is not taken for another one's.
test_swapped_disks() {
	store_group 16
	svol_create LV2
	write_pattern /dev/mapper/LV2 1048576 4 3
	dmsetup remove LV2
	dmsetup remove G0
	G_VOLUMES=("LV0 ro $D2 DLV" "LV1 ro - DLV" "LV2 rw $D0 DLV" "DLV increments $DI -")
	group_refused 'disk of LV[02]'
	G_VOLUMES=("LV0 ro $D0 DLV" "LV1 ro - DLV" "LV2 rw $D2 DLV" "DLV increments $DI -")
	group_create
}

test_full() {
	load_module
	new_disk META 8
	new_disk D0 32
	new_disk DI 8
	"$SVOL_TEST" fill --seed "$SEED" "$D0"
	make_pattern
	G_NAME=G0
	G_LEN=65536
	G_BLOCK=128
	G_META=("$META")
	G_VOLUMES=("LV0 ro $D0 DLV" "DLV increments $DI -")
	G_FEATURES=(init assume_identical)
	group_create
	svol_create LV0
	expect_warnings
	write_pattern /dev/mapper/LV0 1048576 4 0
	must_fail write_pattern /dev/mapper/LV0 1048576 4 16
	# What has its block goes on.
	write_pattern /dev/mapper/LV0 1048576 4 0
	assert_pattern /dev/mapper/LV0 1048576 4 0
	blkdiscard /dev/mapper/LV0
	write_pattern /dev/mapper/LV0 1048576 4 16
	assert_pattern /dev/mapper/LV0 1048576 4 16
}
