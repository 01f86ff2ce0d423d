# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# What Documentation/dm-svol.rst tells administrators to type, where no other suite does that.
# Smoke: start_and_stop

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

# As dm_change, with the line that the group itself shows.
load_own_line() {
	dmsetup table G0 | dmsetup load G0
	dmsetup suspend G0 && dmsetup resume G0
}

# One sector of a disk is not that of the base image any more.
spoil() { # disk sector
	dd if=/dev/zero of="$1" bs=512 seek="$2" count=1 conv=notrunc,fsync status=none
}

# The fields of the status line are where the manual says.
test_status_by_awk() {
	local wanted
	figure9 8
	wanted='LV0 in-sync -
LV1 in-sync -
LV2 in-sync -
S0 spare -
DLV2 in-sync 0/'
	# shellcheck disable=SC2016 # awk's
	assert_match 'the status' "$(dmsetup status G0 |
		awk '{ for (i = 11; i <= NF; i += $10) print $i, $(i + 2), $(i + 9) }')" "^$wanted"
}

# The group's table is in a file, its devices are removed in the wrong order, then in the right one.
test_start_and_stop() {
	load_module
	figure9_disks 8
	group_table >g0.table
	dmsetup create G0 g0.table
	svol_create LV2
	must_fail dmsetup remove G0
	must_fail rmmod dm_svol
	dmsetup remove LV2
	must_fail rmmod dm_svol
	dmsetup remove G0
	rmmod dm_svol
}

svol_refuses() { # argument...
	local status=0
	"$SVOL" "$@" >said 2>&1 || status=$?
	assert_eq "the status of svol $*" "$status" 4
	assert_match "what svol $* says" "$(cat said)" 'the device is in use; stop its group, or unmount it, first'
}

svol_refuses_all() { # device
	local command
	for command in 'dump' 'dump --entries' 'check' 'diff' 'check --json'; do
		# shellcheck disable=SC2086 # words
		svol_refuses $command "$1"
	done
}

# svol does not look at what is in use: by a group, another device or a file system.
test_svol_and_devices_in_use() {
	need_module ext4
	figure9 24
	svol_refuses_all "$META"
	svol_refuses_all "$META2"
	svol_refuses_all "$DI"
	dmsetup remove G0
	"$SVOL" check "$META"
	"$SVOL" dump --entries "$DI" >/dev/null
	"$SVOL" diff --meta "$META" --meta "$META2" "$DI"
	dm_linear above "$META2"
	svol_refuses_all "$META2"
	svol_refuses diff --meta "$META" --meta "$META2" "$DI"
	"$SVOL" check /dev/mapper/above
	dmsetup remove above
	# Whatever is on it.
	mkfs.ext4 -q "$DS"
	mkdir m
	mount "$DS" m
	svol_refuses_all "$DS"
	umount m
	must_fail_with 'neither' "$SVOL" check "$DS"
}

# Two megabytes of zeroes are enough for a new group.
test_blank_is_two_megabytes() {
	local disk
	load_module
	figure9_disks 8
	"$SVOL_TEST" fill --seed 9 "$META" "$META2" "$DI"
	for disk in "$META" "$META2" "$DI"; do
		blkdiscard -f -z -l 2MiB "$disk"
	done
	group_create
	read_status
	assert_status state=clean metadata=AA
	dmsetup remove G0
}

# Clones without disks of their own, in a new group.
test_clones_of_one_disk() {
	load_module
	new_disks 'META META2' 8
	new_disks 'D0 DI' 8
	"$SVOL_TEST" fill --seed "$SEED" "$D0"
	G_NAME=G0 G_LEN=$((8 * 2048)) G_BLOCK=128
	dmsetup create G0 --table "0 $G_LEN svol-group G0 128 \
		2 $META $META2 4 LV0 ro $D0 - C1 ro - DC C2 ro - DC \
		DC increments $DI -"
	svols_create C1 C2
	steps C1 write:0+8 write:300+100 flush
	steps C2 write:3+1 flush check
	steps C1 check
	read_status
	assert_status state=clean LV0.health=in-sync C1.health=in-sync C1.disk=- C1.protection=protected
	dmsetup remove C1 C2 G0
	assert_base "$D0"
}

# A disk that differs is filled with the base image, and belongs to the group then.
test_diverged_volume_joins() {
	figure9_disks 8
	load_module
	spoil "$D1" 5001
	G_FEATURES=()
	expect_log '^dm_svol: G0: LV1: diverged, '
	group_create
	wait_health LV1 diverged
	wait_health LV2 in-sync
	assert_status state=degraded
	dmsetup message G0 0 remove LV1
	load_own_line
	dmsetup message G0 0 add LV1 ro "$D1" -
	load_own_line
	wait_health LV1 in-sync
	assert_status state=clean LV1.protection=protected
	dmsetup remove G0
	assert_base "$D1"
}

# The disk of a volume was written without the group: it is filled anew.
test_spoilt_disk_is_filled_anew() {
	figure9 8
	dmsetup remove G0
	# The first sub-block is one of the samples.
	spoil "$D1" 3
	group_refused 'disk of LV1: does not hold the base image, see sector 0: wrong disk'
	group_move LV1 -
	group_create
	group_move LV1 "$D1"
	dm_change G0 "$(group_table)"
	dmsetup message G0 0 readd LV1
	wait_health LV1 in-sync
	assert_status state=clean
	dmsetup remove G0
	assert_base "$D1"
}

# A volume moves to the spare, another disk takes the place of its old one, and it moves to that.
test_disk_is_replaced_before_it_dies() {
	figure9 8
	new_disk NEW 8
	svol_create LV2
	steps LV2 write:100+200 flush
	dmsetup message G0 0 restore LV2 onto S0
	wait_lives_on LV2 S0
	group_move LV2 "$NEW"
	dm_change G0 "$(group_table)"
	assert_unused "$D2"
	read_status
	assert_status state=clean LV2.health=in-sync LV2.disk=S0 LV2.protection=protected
	dmsetup message G0 0 restore LV2 onto LV2
	wait_lives_on LV2 LV2
	assert_status state=clean S0.health=spare
	steps LV2 check write:1000+8 flush check
}

# The same, but there is no other disk at first.
test_disk_is_taken_out_before_it_dies() {
	figure9 8
	new_disk NEW 8
	dmsetup message G0 0 restore LV2 onto S0
	wait_lives_on LV2 S0
	group_move LV2 -
	dm_change G0 "$(group_table)"
	assert_unused "$D2"
	read_status
	assert_status state=degraded redundancy=1 LV2.health=in-sync LV2.protection=protected
	group_move LV2 "$NEW"
	dm_change G0 "$(group_table)"
	dmsetup message G0 0 readd LV2
	read_status
	assert_status state=clean LV2.disk=S0
}

# A metadata device that works is replaced by another one.
replace_working_copy() { # feature...
	local features=("${G_FEATURES[@]}")
	new_disk META3 8
	group_create
	G_META=("$META" -) G_FEATURES+=("$@")
	dm_change G0 "$(group_table)"
	read_status
	assert_status metadata=AF
	G_META=("$META" "$META3") G_FEATURES=("${features[@]}")
	dm_change G0 "$(group_table)"
	dmsetup message G0 0 replace_meta 2 "$META3"
	read_status
	assert_status metadata=AA
	dmsetup remove G0
	# Each of them has all.
	G_META=(- "$META3") G_FEATURES+=(force_metadata)
	group_create
	dmsetup remove G0
}

test_working_copy_is_replaced() {
	load_module
	figure9_disks 8
	expect_warnings
	replace_working_copy
}

# Without an increments volume, nothing confirms what the other copy says.
test_working_copy_is_replaced_by_force() {
	load_module
	plain9_disks 8
	expect_warnings
	replace_working_copy force_metadata
}

# Volumes that no disk has as a whole, as plain images: a clone, and a volume whose disk is gone.
test_images_of_volumes() {
	local lid diff status=0
	load_module
	figure9_disks 8
	G_VOLUMES+=("C1 ro - DLV2")
	group_create
	svols_create C1 LV2
	steps C1 write:0+8 write:300+100 zero:1024+256 flush
	steps LV2 write:3+1 write:4000+2000 flush
	dmsetup remove C1 LV2 G0
	group_move LV2 -
	group_create
	svols_create C1 LV2
	steps C1 write:5000+8 flush
	steps LV2 write:100+200 flush
	for lid in C1 LV2; do
		save_disk "/dev/mapper/$lid" "$lid.was"
	done
	dmsetup remove C1 LV2 G0
	diff=("$SVOL" diff --meta "$META" --meta "$META2" "$DI")
	for lid in C1 LV2; do
		"${diff[@]}" --lid "$lid" --base "$D0" --image "$lid.img"
		cmp "$lid.was" "$lid.img"
	done
	# The disk that LV2 had is not the base image any more.
	must_fail_with 'wrong disk' "${diff[@]}" --lid C1 --base "$D2" --image wrong.img
	[ ! -e wrong.img ]
	# A disk that can't be read everywhere.
	expect_disk_errors
	dm_linear base "$D0"
	dm_change_part base "$D0" 6000 8 error
	"${diff[@]}" --lid C1 --base /dev/mapper/base --image bad.img >said || status=$?
	assert_eq 'the status' "$status" 2
	assert_match 'what svol says' "$(cat said)" "  $((6000 * 512)) 4096 unreadable"
	dd if=C1.was of=bad.img bs=4096 skip=750 seek=750 count=1 conv=notrunc status=none
	cmp C1.was bad.img
}
