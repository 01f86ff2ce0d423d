# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Entries that join a group: in the metadata with the message, in use with the next table.
# Smoke: disk

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

# Figure 9, on small disks; what is added has disks of its own, which hold something else.
group_to_extend() {
	figure9 8
	new_disks 'N1 N2' 8
	new_disk NI 24
	make_pattern
	dd if=pattern of="$N1" bs=1M count=4 oflag=direct status=none
}

add() { # LID attr device RLID
	log_mark
	dmsetup message G0 0 add "$@"
	assert_logged "$1: added, in use when the group's table is loaded with it"
	G_VOLUMES+=("$*")
}

add_refused() { # regex LID attr device RLID
	local before
	before=$(dmsetup status G0)
	log_mark
	must_fail dmsetup message G0 0 add "${@:2}"
	assert_logged "message \"add\": .*($1)"
	assert_eq 'the status' "$(dmsetup status G0)" "$before"
}

# Loads the line that the group prints, while all goes on.
load_again() {
	dm_change G0 "$(dmsetup table G0)"
}

# A volume with a disk of its own: filled, whatever that held, and a source from then on.
test_disk() {
	local line
	group_to_extend
	figure9_volumes
	start_load lv2 /dev/mapper/LV2
	line=$(dmsetup table G0)
	add LV3 ro "$N1" -
	assert_eq 'the line' "$(dmsetup table G0)" \
		"$(sed "s/ 5 LV0/ 6 LV0/; s/\( DLV2 increments [0-9:]* -\)/\1 LV3 ro $(disk_number "$N1") -/" <<<"$line")"
	read_status
	assert_status LV3.attr=ro LV3.health=rebuilding LV3.disk=- state=degraded
	expect_refused_tables
	must_fail svol_create LV3 --readonly
	load_again
	wait_health LV3 in-sync
	read_status
	assert_status LV3.disk=LV3 state=clean
	svol_create LV3 --readonly
	assert_base /dev/mapper/LV3
	stop_loads
	dmsetup remove LV0 LV1 LV2 LV3
	group_restart
	read_status
	assert_status LV3.disk=LV3 LV3.health=in-sync
	dmsetup remove G0
	assert_base "$N1"
}

# One without a disk: a clone of what the others hold.
test_clone() {
	group_to_extend
	add C1 ro - DLV2
	load_again
	read_status
	assert_status C1.attr=ro C1.health=in-sync C1.disk=- C1.rlid=DLV2
	svol_create C1
	assert_base /dev/mapper/C1
	steps C1 write:0+100 write:3000+17 flush check
	dmsetup remove C1
	group_restart
	svol_create C1
	steps C1 check
}

# An increments volume and an in-place volume that uses it, at once.
test_writable_volume() {
	group_to_extend
	add DLV3 increments "$NI" -
	read_status
	assert_status DLV3.attr=increments
	add LV3 rw "$N1" DLV3
	log_mark
	load_again
	assert_logged 'increments DLV3: in use'
	svol_create LV3
	steps LV3 write:0+100 write:9000+17 flush check
	wait_health LV3 in-sync
	read_status
	assert_status LV3.protection=protected LV3.disk=LV3
	steps LV3 check write:200+8 flush check
	dmsetup remove LV3
	group_restart
	svol_create LV3
	steps LV3 check
	dmsetup remove LV3
	dmsetup remove G0
	"$SVOL_TEST" steps "$N1" --seed "$SEED" --own 1003 --state s.LV3 check
}

# A diverted volume with a disk, which is filled; then it is written in place, with a log.
test_diverted_then_in_place() {
	group_to_extend
	add LV3 ro "$N1" DLV2
	load_again
	svol_create LV3
	steps LV3 write:0+100 write:3000+17 flush
	wait_health LV3 in-sync
	dmsetup message G0 0 set_attr LV3 rw
	steps LV3 check write:200+8 write:9000+17 flush check
	read_status
	assert_status LV3.attr=rw LV3.protection=protected
	dmsetup remove LV3
	group_restart
	svol_create LV3
	steps LV3 check
	read_status
	assert_status LV3.protection=protected
	dmsetup remove LV3 G0
	"$SVOL_TEST" steps "$N1" --seed "$SEED" --own 1003 --state s.LV3 check
}

# A spare takes over, once it is here.
test_spare() {
	group_to_extend
	add S1 spare "$N1" -
	load_again
	read_status
	assert_status S1.health=spare
	expect_warnings
	dmsetup message G0 0 fail LV1
	wait_health LV1 failed
	dmsetup message G0 0 restore LV1 onto S1
	wait_health LV1 in-sync
	read_status
	assert_status LV1.disk=S1
	dmsetup remove G0
	assert_base "$N1"
}

# A crash before the table is loaded: the metadata has it, and no old line loads.
test_crash_before_the_load() {
	local old
	group_to_extend
	old=("${G_VOLUMES[@]}")
	add LV3 ro "$N1" -
	dmsetup remove G0
	G_VOLUMES=("${old[@]}")
	group_refused 'LID LV3: in the group, but not in the line'
	G_VOLUMES=("${old[@]}" "LV3 ro $N1 -")
	group_create
	wait_health LV3 in-sync
	dmsetup remove G0
	assert_base "$N1"
}

# What was added leaves again, before it was ever in use, and after that.
test_removed_again() {
	local line
	group_to_extend
	line=$(dmsetup table G0)
	add LV3 ro "$N1" -
	add DLV3 increments "$NI" -
	add C1 ro - DLV2
	for lid in LV3 DLV3 C1; do
		dmsetup message G0 0 remove "$lid"
	done
	assert_eq 'the line' "$(dmsetup table G0)" "$line"
	add_refused 'left the group, load' LV3 ro "$N1" -
	load_again
	G_VOLUMES=()
	add LV3 ro "$N1" -
	load_again
	wait_health LV3 in-sync
	dmsetup message G0 0 remove LV3
	load_again
	assert_eq 'the line' "$(dmsetup table G0)" "$line"
	assert_unused "$N1" "$NI"
}

# It can be left out like any other disk.
test_missing_at_the_load() {
	group_to_extend
	add LV3 ro "$N1" -
	add DLV3 increments "$NI" -
	dmsetup remove G0
	group_move LV3 -
	group_move DLV3 -
	group_create
	read_status
	assert_status LV3.health=failed DLV3.health=failed
	dmsetup message G0 0 remove LV3
	dmsetup message G0 0 remove DLV3
	load_again
	read_status
	assert_status state=clean
}

# A device that holds something is no new increments volume; nothing is written.
test_store_that_is_not_blank() {
	local before
	group_to_extend
	dd if=pattern of="$NI" bs=1M count=1 oflag=direct status=none
	before=$(digest "$NI")
	add DLV3 increments "$NI" -
	dmsetup remove G0
	group_refused 'increments DLV3: the device '
	assert_eq 'the device' "$(digest "$NI")" "$before"
	blank_disk "$NI"
	group_create
	read_status
	assert_status DLV3.health=in-sync
	# Nor is the one of a volume that left.
	dmsetup message G0 0 remove DLV3
	load_again
	group_drop DLV3
	add DLV3 increments "$NI" -
	dmsetup remove G0
	group_refused 'increments DLV3: the device '
}

# A group has no more than 256 entries. As many are loaded, and when one leaves there is room again.
test_most_entries() {
	local i
	load_module
	clones_disks 0 4 24
	for ((i = 3; i <= 255; i++)); do
		G_VOLUMES+=("C$i ro - ST")
	done
	group_create
	add C256 ro - ST
	add_refused 'C257: the group has 256 entries, which is the most' C257 ro - ST
	load_again
	add_refused 'C257: the group has 256 entries, which is the most' C257 ro - ST
	svol_create C256
	steps C256 write:0+100 write:3000+17 flush check
	dmsetup remove C256
	group_restart
	svol_create C256
	steps C256 check
	dmsetup message G0 0 remove C3
	group_drop C3
	add C257 ro - ST
	add_refused 'C258: the group has 256 entries, which is the most' C258 ro - ST
	load_again
	svol_create C257
	steps C257 write:0+100 flush check
	steps C256 check
}

# Nor does a volume join whose increments volume has failed.
test_failed_store() {
	group_to_extend
	expect_warnings
	dmsetup message G0 0 fail DLV2
	wait_health DLV2 failed
	add_refused 'LV3: RLID DLV2: it failed' LV3 rw "$N1" DLV2
	add_refused 'C1: RLID DLV2: it failed' C1 ro - DLV2
}

test_refused() {
	group_to_extend
	expect_refused_tables
	add_refused 'has such an entry' LV0 ro "$N1" -
	add_refused 'group uses it' LV3 ro "$D1" -
	add_refused 'group uses it' LV3 ro /dev/mapper/G0 -
	add_refused 'error' LV3 ro /dev/none -
	add_refused 'can be without one' LV3 ro - -
	add_refused 'can be without one' LV3 rw - DLV2
	add_refused 'can be without one' S1 spare - -
	add_refused 'an rw volume needs one' LV3 rw "$N1" -
	add_refused 'RLID LV0: no increments volume' LV3 rw "$N1" LV0
	add_refused 'RLID DLV9: no increments volume' LV3 ro "$N1" DLV9
	add LV3 ro "$N1" -
	add_refused 'has such an entry' LV3 ro "$N2" -
	add_refused 'group uses it' LV4 ro "$N1" -
	log_mark
	must_fail dmsetup message G0 0 fail LV3
	must_fail dmsetup message G0 0 readd LV3
	must_fail dmsetup message G0 0 restore LV3
	must_fail dmsetup message G0 0 set_attr LV3 rw
	dmsetup suspend G0
	must_fail dmsetup message G0 0 add LV5 ro "$N2" -
	dmsetup resume G0
	read_status
	assert_status LV3.health=rebuilding
}
