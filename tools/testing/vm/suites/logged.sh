# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# In-place volumes with an increments volume: writes go to the disk and to the store, reads
# come from the disk.
# Smoke: writable_and_protected
# Limits: replay=600

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

logged_group() { # clones MiB MiB-of-the-store [attribute=value...]
	load_module
	logged_disks "$@"
	group_create
	clones_create
}

# The disk by itself holds what L5 has to hold.
assert_disk_is_l5() {
	"$SVOL_TEST" steps "$DISK" --seed "$SEED" --own 1005 --state s.L5 check
}

# The same after a model, which L5 is the volume of that number of.
assert_disk_is_model() { # number
	"$SVOL_TEST" steps "$DISK" --seed "$SEED" --own $((1001 + $1)) --state "m.$1" check
}

logged_down() {
	clones_remove
	dmsetup remove G0
}

test_writable_and_protected() {
	logged_group 0 8 16
	assert_eq 'whether L5 is read-only' "$(blockdev --getro /dev/mapper/L5)" 0
	steps L5 write:0+8 write:300+3 write:1000+1000 check flush
	read_status
	assert_status L5.protection=protected L5.health=in-sync L5.disk=L5 L5.rlid=ST
	svol_create LV0 --readonly
	assert_base /dev/mapper/LV0 "$BASE_DISK" /dev/mapper/G0
	dmsetup remove LV0
	logged_down
	assert_disk_is_l5
}

test_both_devices_are_written() {
	local disk slots
	logged_group 0 8 16
	# The intent of the region is on its device from here on.
	steps L5 write:0+8
	wait_settled "$STORE"
	disk=$(disk_stat "$DISK" write_sectors) slots=$(disk_stat "$STORE" write_sectors)
	steps L5 write:256+128
	assert_eq 'the sectors written to the disk' \
		"$(disk_stat "$DISK" write_sectors)" $((disk + 128))
	assert_at_least 'the sectors written to the store' \
		"$(disk_stat "$STORE" write_sectors)" $((slots + 128))
	assert_eq 'the used blocks' "$(used_blocks ST)" 2
}

# Reads come from the disk alone, of what was written and what was not.
test_reads_do_not_touch_the_store() {
	local reads base disk
	logged_group 0 8 16
	steps L5 write:0+2048 flush
	wait_settled "$STORE"
	reads=$(disk_stat "$STORE" reads) base=$(disk_stat "$BASE_DISK" read_sectors)
	disk=$(disk_stat "$DISK" read_sectors)
	steps L5 check
	assert_eq 'the reads of the store' "$(disk_stat "$STORE" reads)" "$reads"
	assert_eq 'the sectors read from the base disk' \
		"$(disk_stat "$BASE_DISK" read_sectors)" "$base"
	assert_eq 'the sectors read from the disk' \
		"$(disk_stat "$DISK" read_sectors)" $((disk + G_LEN))
}

# Overwriting needs no new block.
test_overwrites() {
	local used
	logged_group 0 8 16
	steps L5 write:0+1024 flush
	used=$(used_blocks ST)
	assert_eq 'the used blocks' "$used" 8
	steps L5 write:0+1024 write:3+5 write:100+200 check flush
	assert_eq 'the used blocks' "$(used_blocks ST)" "$used"
	logged_down
	assert_disk_is_l5
}

test_restart() {
	logged_group 0 8 16
	steps L5 write:0+1 write:9+3 write:127+2 write:2048+2048 write:$((G_LEN - 9))+9
	clones_restart
	check_clones
	steps L5 write:5+100 zero:1000+100
	logged_down
	unload_module
	load_module
	assert_disk_is_l5
	group_create
	clones_create
	check_clones
	read_status
	assert_status L5.protection=protected
}

test_model() {
	logged_group 0 8 16
	run_model 6 'restart live live' --state m
	logged_down
	assert_disk_is_model 0
	assert_base "$BASE_DISK"
}

test_block_sizes() {
	local block
	load_module
	for block in 8 32; do
		logged_disks 0 8 24
		G_BLOCK=$block
		group_create
		clones_create
		run_model 2 'restart live' --state m
		logged_down
		assert_disk_is_model 0
		rm m.0
		legs_remove
	done
}

test_shared_with_diverted_volumes() {
	logged_group 2 8 40
	run_model 6 'restart live live' --state m
	logged_down
	assert_disk_is_model 2
	assert_base "$BASE_DISK"
}

# Two in-place volumes without any read-only sibling.
test_two_in_place() {
	local other
	load_module
	logged_disks 0 8 24
	new_disk other 8
	"$SVOL_TEST" fill --seed "$SEED" "$other"
	G_VOLUMES+=("L6 rw $other ST")
	G_DISKS+=("$other")
	CLONES+=(L6)
	group_create
	clones_create
	run_model 4 'restart live' --state m
	logged_down
	"$SVOL_TEST" steps "$DISK" --own 1001 --state m.0 check
	"$SVOL_TEST" steps "$other" --own 1002 --state m.1 check
}

logged_power_cuts() { # [attribute=value...]
	local round
	logged_group 1 8 16 "$@"
	for round in 1 2 3; do
		steps L5 write:$((round * 10))+300 write:$((round * 1000))+1 flush \
			write:$((round * 20))+300 write:$((9000 + round))+1
		steps C1 dsync:$((round * 500))+100 write:2000+77
		clones_power_cut
		steps L5 check --after-crash
		steps C1 check --after-crash
		clones_restart
		check_clones
	done
	logged_down
	assert_disk_is_l5
}

test_power_cut() {
	logged_power_cuts
}

test_power_cut_with_volatile_caches() {
	logged_power_cuts cache_size=8
}

test_flush_and_fua_are_durable() {
	local step
	logged_group 0 8 16 cache_size=8
	for step in 'write:1000+50 flush' dsync:1024+8 dsync:1033+1 dsync:4000+1000 \
		'write:3+1 flush'; do
		# shellcheck disable=SC2086 # words
		steps L5 $step
		clones_power_cut
		check_clones
	done
}

# Power cuts in the midst of I/O: what is ahead on one device is brought back in step.
test_power_cuts_under_load() {
	logged_group 1 8 24 cache_size=8
	expect_power_cuts
	run_model 12 'crash crash restart' --state m
	logged_down
	assert_disk_is_model 1
	assert_base "$BASE_DISK"
}

# After a clean stop the intent is clear: a start reads next to nothing of the disk.
test_clean_stop_clears_the_intent() {
	local reads
	logged_group 0 32 40
	steps L5 write:0+65536 flush
	logged_down
	reads=$(disk_stat "$DISK" read_sectors)
	group_create
	reads=$(($(disk_stat "$DISK" read_sectors) - reads))
	note "$reads sectors read from the disk at the start"
	[ "$reads" -lt 4096 ] || fail "the start read $reads sectors of the disk"
}

# A full store never stops an in-place volume: it loses its protection.
test_full() {
	load_module
	logged_disks 0 8 4
	G_FEATURES+=(on_full error)
	expect_full
	expect_unprotected
	group_create
	clones_create
	steps L5 write:0+8000 check flush
	read_status
	assert_status L5.protection=unprotected L5.health=in-sync
	clones_restart
	check_clones
	read_status
	assert_status L5.protection=unprotected
	logged_down
	assert_disk_is_l5
}

# Also not with volumes that would wait for space.
test_full_queue() {
	load_module
	logged_disks 1 8 4
	G_FEATURES+=(on_full queue 60)
	expect_full
	expect_unprotected
	group_create
	clones_create
	steps C1 write:0+1280
	timeout 50 "$SVOL_TEST" steps /dev/mapper/L5 --own 1005 --state s.L5 write:0+8000 flush check
	steps C1 write:3+900 check
}

# The disk of an in-place volume and a read-only one changed places.
test_swapped_disks() {
	logged_group 0 8 16
	steps L5 write:0+4000 flush
	logged_down
	group_move L5 "$BASE_DISK"
	group_move LV0 "$DISK"
	store_refused 'L5|LV0'
	group_move L5 "$DISK"
	group_move LV0 "$BASE_DISK"
	group_create
	clones_create
	check_clones
}

# Only the in-place disk is wrong: it has the base image where it should have more.
test_foreign_disk() {
	logged_group 0 8 16
	steps L5 write:0+4000 flush
	logged_down
	save_disk "$DISK" kept
	"$SVOL_TEST" fill --seed "$SEED" "$DISK"
	store_refused 'L5'
	load_disk "$DISK" kept
	group_create
	clones_create
	check_clones
}

test_refused_stores() {
	logged_group 0 8 16
	steps L5 write:0+400 flush
	logged_down
	save_disk "$STORE" kept
	blank_disk "$STORE"
	store_refused 'ST'
	load_disk "$STORE" kept
	group_create
	clones_create
	check_clones
}

test_discard_and_write_zeroes() {
	logged_group 0 8 16
	steps L5 write:0+2000 flush zero:100+200 check zero:4096+1024 check
	if [ "$(disk_limit /dev/mapper/L5 discard_max_bytes)" -gt 0 ]; then
		steps L5 discard:1024+256 check discard:1000+3 check flush
	fi
	clones_restart
	check_clones
	logged_down
	assert_disk_is_l5
}

# Figure 9, but LV1 is written in place, too.
two_in_place9() { # MiB
	covered9 "$1"
	down9
	blank_disk "$META" "$META2" "$DI"
	G_VOLUMES[1]='LV1 rw /dev/mapper/disk1 DLV2'
	group_create
	svols_create LV1 LV2
}

# The group goes, with volumes, and all its marks stay, as after a crash.
down_with_marks() { # LID...
	cover_is store writes
	dmsetup remove "$@" G0
	cover_is store linear
}

write_at() { # disk block [file]
	[ $# -gt 2 ] || dd if=/dev/urandom of="at.$2" bs=4096 count=1 status=none
	dd if="${3:-at.$2}" of="$1" bs=4096 seek="$2" oflag=direct conv=notrunc status=none
}

assert_at() { # volume block [file]
	dd if="/dev/mapper/$1" of=there bs=4096 skip="$2" count=1 iflag=direct status=none
	cmp there "${3:-at.$2}" || fail "$1 does not have what its disk had in block $2"
}

# Two volumes wrote the same at one place, just before a crash: neither of their disks has the base image there.
test_two_that_wrote_the_same() {
	local lid
	need_target dust
	two_in_place9 8
	steps LV1 write:0+8 flush
	steps LV2 write:0+8 flush
	down_with_marks LV1 LV2
	write_at "$D1" 200
	write_at "$D2" 200 at.200
	cover_has_bad_sectors disk0 1600
	group_create
	svol_create LV0 --readonly
	svols_create LV1 LV2
	assert_at LV1 200
	assert_at LV2 200
	must_fail dd if=/dev/mapper/LV0 of=/dev/null bs=4096 skip=200 count=1 iflag=direct
	for lid in LV1 LV2; do
		steps "$lid" check:0+1600 check:1608+1000
	done
	dmsetup message G0 0 fail LV1
	wait_health LV1 degraded
	assert_at LV1 200
	down9
}

# To compare after a crash takes longer than marks stay of regions that nobody writes.
test_slow_comparison() {
	local region writes=()
	need_target delay
	two_in_place9 8
	# With one process, so that the first marks are still there when all is written.
	for region in 0 1 2 3; do
		writes+=("write:$((region * 2048))+8" flush)
	done
	steps LV2 "${writes[@]}"
	steps LV1 write:0+8 flush
	down_with_marks LV1 LV2
	for region in 0 1 2 3; do
		write_at "$D2" $((region * 256 + 1))
	done
	write_at "$D1" 2
	# 32 reads a region.
	dm_change disk2 "0 $(blockdev --getsz "$D2") delay $D2 0 170 $D2 0 0" --noflush
	group_create
	cover_is disk2 linear
	svols_create LV1 LV2
	for region in 0 1 2 3; do
		assert_at LV2 $((region * 256 + 1))
	done
	dmsetup message G0 0 fail LV2
	wait_health LV2 degraded
	for region in 0 1 2 3; do
		assert_at LV2 $((region * 256 + 1))
	done
	assert_at LV1 2
	dmsetup remove LV1 LV2 G0
}

# Zeroes that are no data anywhere.
test_write_zeroes() {
	disks_are_loops
	logged_group 0 4 8
	takes_zeroes L5 || fail 'the volume does not take zeroes'
	steps L5 write:0+2000 flush zero:100+200 check zero:4096+1024 check punch:512+128 check \
		zero:3001+300 check write:4100+30 check flush
	clones_restart
	check_clones
	logged_down
	assert_disk_is_l5
	group_move L5 -
	group_create
	clones_create
	check_clones
}

# Others get their turn while many zeroes are written.
test_many_zeroes() {
	local pid before
	need_target delay
	disks_are_loops
	load_module
	logged_disks 1 20 28
	dm_linear disk5 "$DISK"
	group_move L5 /dev/mapper/disk5
	G_FEATURES+=(slow_after 60000)
	group_create
	clones_create
	takes_zeroes L5 || fail 'the volume does not take zeroes'
	steps L5 write:0+8 flush
	steps C1 write:0+8 flush
	wait_settled "$STORE"
	# It knows only zeroes that are data, and takes three seconds for any number of them.
	dm_change disk5 "0 $G_LEN delay $DISK 0 0 $DISK 0 3000" --noflush
	before=$(disk_stat "$STORE" writes)
	blkdiscard -z -l $((16 << 20)) /dev/mapper/L5 &
	pid=$!
	# It begins with marks.
	wait_until 20 has_writes "$STORE" "$before" || fail 'nothing is zeroed'
	steps C1 write:17+1
	nap 0.5
	! has_ended "$pid" || fail 'C1 had to wait until all was zeroed'
	wait "$pid" || fail 'the zeroes are not written'
	dm_change disk5 "0 $G_LEN linear $DISK 0" --noflush
	# So that what it may hold is on record.
	steps L5 zero:0+32768
	read_status
	assert_status L5.health=in-sync L5.protection=protected
	check_clones
	clones_restart
	check_clones
}

# All devices of the group in one record, and power cuts at each of its marks.
test_replay() {
	load_module
	record_disks meta=4 base=4 c1=4 disk=4 store=6
	BASE_DISK=/dev/mapper/base STORE=/dev/mapper/store DISK=/dev/mapper/disk
	G_NAME=G0
	G_LEN=$((4 * 2048))
	G_BLOCK=128
	G_META=(/dev/mapper/meta)
	G_VOLUMES=("LV0 ro $BASE_DISK -" 'C1 ro /dev/mapper/c1 ST' "L5 rw $DISK ST" "ST increments $STORE -")
	G_FEATURES=(init assume_identical)
	CLONES=(C1 L5)
	expect_warnings
	record_start
	group_create
	clones_create
	steps C1
	steps L5
	record_mark post.0
	record_round 'C1 write:0+8' 'L5 write:3+1 write:4000+200'
	record_round 'C1 write:4+1 write:103+10' 'L5 write:0+128 write:4100+300'
	record_round 'C1 zero:128+256' 'L5 zero:4096+128 write:4100+3'
	record_round 'C1 write:130+3' 'L5 write:0+2048 write:1+1'
	logged_down
	record_stop
	replay_all post.0 "${SVOL_POINTS:-6}"
}
