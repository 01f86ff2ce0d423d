# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Increments volumes that fail while the group is in use: logged volumes go on without them, and
# nobody else notices.
# Smoke: store_dies_under_load

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

store_has_failed() {
	wait_health DLV2 failed
	assert_status DLV2.disk=- LV2.health=in-sync LV2.protection=unprotected state=degraded
}

# LV2 goes on without a log, then, after a restart with the device back, and without the device: it is
# not trusted.
goes_on_unprotected() {
	store_has_failed
	steps LV2 check write:100+50 flush
	down9
	cover_is store linear
	log_mark
	up9
	assert_logged 'increments DLV2: missing or failed before; LV2 goes on, unprotected'
	store_has_failed
	steps LV2 check write:5000+9 dsync:300+9 zero:512+128 flush check
	assert_base /dev/mapper/LV0 /dev/mapper/LV1
	down9
	group_move DLV2 -
	up9
	store_has_failed
	steps LV2 check write:0+9 flush check
	down9
	"$SVOL_TEST" steps "$D2" --seed "$SEED" --own 1002 --state s.LV2 check
}

test_store_dies_idle() {
	local events
	covered9 8 cache_size=4
	steps LV2 write:0+2048 write:4096+8 flush
	events=$(dm_info G0 events)
	log_mark
	cover_is store error
	steps LV2 check write:50+100 write:9001+3 flush dsync:7000+5 check
	store_has_failed
	assert_logged 'increments DLV2: failed; LV2 goes on, unprotected'
	assert_at_least 'the events' "$(dm_info G0 events)" $((events + 1))
	goes_on_unprotected
}

test_store_dies_under_load() {
	covered9 8
	start_loads9
	nap 1
	cover_is store error
	wait_health DLV2 failed
	assert_io_flows /dev/mapper/LV2
	assert_io_flows /dev/mapper/LV0
	nap 1
	stop_loads
	store_has_failed
	assert_data9
	dmsetup suspend G0
	dmsetup resume G0
	dm_change G0 "$(dmsetup table G0)"
	assert_data9
	store_has_failed
	down9
	up9
	assert_data9
	down9
	assert_state "$D2" lv2
}

# Only entries can't be written: what a commit needs.
test_entries_fail() {
	need_target flakey
	covered9 8
	steps LV2 write:0+64 flush
	dm_change_part store "$DI" 4096 128 "flakey $DI 4096 0 1000 1 error_writes" --noflush
	steps LV2 write:3000+100 flush check
	goes_on_unprotected
}

# As above, but the device says that it lacks space, memory or time. That is not what it means when the group
# itself lacks them.
test_entries_fail_in_other_words() {
	local status at=1000
	covered9 8
	need_disk_answers "$DI"
	for status in NOSPC RESOURCE AGAIN TIMEOUT; do
		note "$status"
		disk_answers "$DI" WRITE "$status" 4096 128
		steps LV2 "write:$at+100" flush check
		store_has_failed
		disk_answers "$DI"
		readd DLV2
		wait_health DLV2 in-sync
		wait_protected LV2
		at=$((at + 1000))
	done
	down9
	up9
	steps LV2 check
}

# So many writes at once that they use up all slots there are, and no further segment can be formatted: that is
# found out by a write that waits for a slot.
test_segment_cannot_be_formatted() {
	local next=$((4096 + 128 + 4096 * 8)) region first=12
	covered9 18
	G_BLOCK=8
	restart_anew9
	# Still enough not to format one.
	steps LV2 write:0+24000 flush
	# With marks, writes do not wait for the worker, who would see that slots run out.
	for region in 0 1 2 3 4; do
		steps LV2 "write:$(((first + region) * 2048))+8"
	done
	steps LV2 flush
	dm_change_part store "$DI" "$next" 128 error --noflush
	log_mark
	steps LV2 "write:$((first * 2048))+$((5 * 2048))" flush check
	assert_logged 'increments DLV2: no segment formatted'
	goes_on_unprotected
}

# Some entries can't be read when a commit changes them: what it had changed before is not written to the
# device later, by when that may have another use.
test_entries_cannot_be_read() {
	local before
	covered9 40
	# A unit has the entries of 256 slots: the next write needs some of this one and some of the next one.
	dd if=/dev/zero of=/dev/mapper/LV2 bs=64K count=250 oflag=direct conv=fsync status=none
	dm_change_part store "$DI" 4104 8 error --noflush
	dd if=/dev/zero of=/dev/mapper/LV2 bs=1M count=1 seek=20 oflag=direct conv=fsync,notrunc status=none
	store_has_failed
	before=$(digest "$DI")
	cover_is store linear
	dmsetup remove LV0 LV1 LV2 G0
	assert_eq 'the device' "$(digest "$DI")" "$before"
	up9
	store_has_failed
}

# A user says so; by then nothing is wrong with it.
test_fail_by_command() {
	covered9 8
	start_loads9
	log_mark
	dmsetup message G0 0 fail DLV2
	wait_health DLV2 failed
	assert_logged 'increments DLV2: failed by command; LV2 goes on, unprotected'
	nap 1
	stop_loads
	store_has_failed
	assert_data9
	begin_refusals
	refusal EINVAL 'fail;DLV2' 'fail DLV2'
	refusal EBUSY 'fail;LV2' 'fail LV2'
	refusal '' 'set_attr;LV2' 'set_attr LV2 ro'
	check_refusals messages
	down9
	up9
	store_has_failed
	assert_data9
}

# What it holds is damaged: that is found out while the group is being resumed, which goes on without it.
test_damaged_store_stays_away() {
	covered9 8
	start_loads9
	expect_warnings
	dmsetup message G0 0 fail DLV2
	wait_health DLV2 failed
	# The first of the entries.
	"$SVOL_TEST" corrupt "$DI" --sector 4096 --byte 100
	log_mark
	readd DLV2
	wait_until 30 log_says 'increments DLV2: not taken back' || fail 'nothing is said of it'
	assert_io_flows /dev/mapper/LV2
	assert_io_flows /dev/mapper/LV0
	store_has_failed
	stop_loads
	assert_data9
	down9
	up9
	store_has_failed
	assert_data9
}

# Nobody has written: LV2 loses its protection, and serves others until it is written.
test_nothing_was_written() {
	covered9 8
	dmsetup remove LV2
	down_rest
	group_move DLV2 -
	group_create
	read_status
	assert_status DLV2.health=failed LV2.protection=unprotected state=degraded
	figure9_volumes
	steps LV2 write:0+100 flush check
	assert_base /dev/mapper/LV0 /dev/mapper/LV1
	down9
	up9
	steps LV2 check
}

down_rest() {
	dmsetup remove LV0 LV1 G0
}

# Diverted and logged volumes share the store. It stays in use for what nobody else has, and the
# logged one goes on without it.
test_store_is_needed() {
	local size
	load_module
	logged_disks 1 4 6
	dm_linear store "$STORE"
	size=$(blockdev --getsz "$STORE")
	G_VOLUMES=("LV0 ro $BASE_DISK -" 'C1 ro /dev/mapper/leg_C1 ST' "L5 rw $DISK ST"
		'ST increments /dev/mapper/store -')
	expect_disk_errors
	group_create
	clones_create
	steps C1 write:0+100 flush
	steps L5 write:0+100 flush
	begin_refusals
	refusal EBUSY 'fail;ST;C1' 'fail ST'
	check_refusals messages
	log_mark
	dm_change store "0 $size error" --noflush
	assert_eq 'a write to C1' "$("$SVOL_TEST" write-error /dev/mapper/C1 --sector 600)" EIO
	must_fail dd if=/dev/mapper/C1 of=/dev/null bs=4096 count=1 iflag=direct status=none
	steps L5 write:50+300 flush check
	assert_base /dev/mapper/G0
	read_status
	assert_status L5.protection=unprotected L5.health=in-sync ST.health=failed C1.health=failed \
		C1.protection=unprotected LV0.health=in-sync state=failed
	clones_remove
	dmsetup remove G0
	dm_change store "0 $size linear $STORE 0"
	group_create
	clones_create
	steps C1 check
	steps L5 check write:0+9 flush check
	# What it lacks of L5 is found in the background.
	wait_protected L5
	# Without it, the others start only if that is wanted.
	clones_remove
	dmsetup remove G0
	group_move ST -
	group_refused 'LID C1'
	G_FEATURES+=(force_metadata)
	group_create
	G_FEATURES=("${G_FEATURES[@]:0:2}")
	svol_create L5
	steps L5 check write:0+9 flush check
	read_status
	assert_status C1.health=failed ST.health=failed state=failed L5.health=in-sync
	dmsetup remove L5 G0
	group_create
	dmsetup message G0 0 remove C1
	read_status
	assert_status state=degraded
}

# As that, but it works again while the group is in use: the logged volume has its log again, too.
test_needed_store_is_taken_back() {
	load_module
	logged_disks 1 4 6
	dm_linear store "$STORE"
	SIZE=$(blockdev --getsz "$STORE")
	G_VOLUMES=("LV0 ro $BASE_DISK -" 'C1 ro /dev/mapper/leg_C1 ST' "L5 rw $DISK ST"
		'ST increments /dev/mapper/store -')
	expect_disk_errors
	group_create
	clones_create
	steps C1 write:0+100 flush
	steps L5 write:0+100 flush
	dm_change store "0 $SIZE error" --noflush
	steps L5 write:50+300 flush check
	wait_health ST failed
	assert_status L5.protection=unprotected
	needed_store_returns
	readd ST
	wait_protected L5
	assert_status ST.health=in-sync C1.health=in-sync
	check_clones
	steps L5 write:400+9 flush check
	must_fail dmsetup message G0 0 readd ST
}

needed_store_dies() {
	dm_change store "0 $SIZE error" --noflush
	assert_eq 'a write to C1' "$("$SVOL_TEST" write-error /dev/mapper/C1 --sector 600)" EIO
	wait_health ST failed
	assert_status C1.health=failed LV0.health=in-sync S1.health=spare state=failed
}

needed_store_returns() {
	dm_change store "0 $SIZE linear $STORE 0"
}

needed_store_works() {
	wait_health ST in-sync
	assert_status C1.health=in-sync state=clean
	steps C1 write:500+100 flush
}

# Events that have nothing to do with it.
events() {
	local i
	for i in 1 2 3 4; do
		dmsetup message G0 0 fail S1
		readd S1
	done
}

# The increments volume dies while a diverted volume needs it, and the group goes on. It is no old copy when
# it is back, but one that was taken meanwhile is, as soon as the group has told it of an event again.
test_needed_store_misses_events() {
	local spare back
	load_module
	clones_disks 1 4 6
	new_disk spare 4
	dm_linear store "$STORE"
	SIZE=$(blockdev --getsz "$STORE")
	G_VOLUMES=("LV0 ro $BASE_DISK -" 'C1 ro /dev/mapper/leg_C1 ST' "S1 spare $spare -"
		'ST increments /dev/mapper/store -')
	expect_disk_errors
	group_create
	clones_create
	steps C1 write:0+100 flush
	save_disk "$STORE" before
	clones_restart
	needed_store_dies
	events
	save_disk "$STORE" meanwhile
	clones_remove
	dmsetup remove G0
	needed_store_returns
	# What it was when the group last began is older.
	load_disk "$STORE" before
	group_refused 'increments ST: .*old copy'
	load_disk "$STORE" meanwhile
	group_create
	read_status
	assert_status ST.health=in-sync C1.health=in-sync state=clean
	clones_create
	steps C1 check write:300+100 flush
	# Back while the group is in use: found out by an event, by a commit, and by a user who asks.
	for back in event commit readd; do
		needed_store_dies
		events
		save_disk "$STORE" meanwhile
		log_mark
		must_fail dmsetup message G0 0 readd ST
		assert_logged "message \"readd\": LID ST: its device still can't be written"
		needed_store_returns
		case $back in
		event)
			dmsetup message G0 0 fail S1
			readd S1
			;;
		commit) steps C1 write:900+10 flush ;;
		readd) dmsetup message G0 0 readd ST ;;
		esac
		needed_store_works
		assert_logged 'increments ST: works again'
		clones_remove
		dmsetup remove G0
		save_disk "$STORE" good
		load_disk "$STORE" meanwhile
		group_refused 'increments ST: .*old copy'
		load_disk "$STORE" good
		group_create
		clones_create
		steps C1 check
	done
}

# With all metadata dead, too, a write that the store lacks is not answered as done.
test_without_metadata() {
	covered9 8
	steps LV2 write:0+64 flush
	cover_is meta1 error
	cover_is meta2 error
	cover_is store error
	steps LV2 check
	assert_eq 'a write to LV2' "$("$SVOL_TEST" write-error /dev/mapper/LV2)" EIO
	cover_is meta1 linear
	cover_is meta2 linear
	"$SVOL_TEST" write-error /dev/mapper/LV2
	wait_health DLV2 failed
	assert_eq 'a write to LV2' "$("$SVOL_TEST" write-error /dev/mapper/LV2)" none
}

# A write fails because of the increments volume, which can't be recorded, and a read shows that the disk has
# it. When the disk fails, too, nobody reads what was there before.
what_was_read_stays() { # sector
	local was got name
	steps LV2 write:0+64 write:3000+8 flush
	was=$(some_of_lv2 "$1")
	cover_is meta1 error
	cover_is meta2 error
	cover_is store writes
	assert_eq 'a write to LV2' "$("$SVOL_TEST" write-error /dev/mapper/LV2 --sector "$1")" EIO
	got=$(some_of_lv2 "$1")
	[ "$got" != "$was" ] || fail 'the disk does not have it'
	begin_refusals
	refusal EBUSY 'fail;LV2;lacks' 'fail LV2'
	check_refusals messages
	cover_is disk2 error
	assert_eq 'what LV2 reads' "$(some_of_lv2 "$1" || echo "$got")" "$got"
	# A write finds out, too, that the disk has failed.
	"$SVOL_TEST" write-error /dev/mapper/LV2 --sector 3000 >/dev/null
	assert_eq 'what LV2 reads' "$(some_of_lv2 "$1" || echo "$got")" "$got"
	# As soon as anything can be recorded, that is, too.
	for name in disk2 store meta1 meta2; do
		cover_is "$name" linear
	done
	dmsetup message G0 0 fail S0
	wait_until 20 protection_is LV2 unprotected || fail "LV2 counts as protected: ${ST[line]}"
	assert_eq 'what LV2 reads' "$(some_of_lv2 "$1")" "$got"
}

# A digest of a sub-block, or an error if it can't be read.
some_of_lv2() { # sector
	dd if=/dev/mapper/LV2 of=some bs=512 skip="$1" count=8 iflag=direct status=none 2>/dev/null &&
		sha256sum <some
}

test_what_was_read_stays() {
	covered9 8
	what_was_read_stays 8
	restart_anew9
	# What was never written takes a worker to write a part of a sub-block.
	what_was_read_stays 2000
}

# LV2 has no disk, and the spare is filled for it, and a write fails only in the increments volume: what is read
# after that is what is read from the spare later.
test_write_fails_at_the_end_of_a_rebuild() {
	local was
	covered9 8 cache_size=8
	need_disk_answers "$DI"
	G_FEATURES+=(slow_after 60000)
	dm_change G0 "$(group_table)"
	steps LV2 write:0+64 flush
	was=$(some_of_lv2 8)
	dmsetup message G0 0 fail LV2
	wait_health LV2 degraded
	# All is filled, and waits for this.
	spare_flushes_in 15000
	dmsetup message G0 0 restore LV2 onto S0
	wait_until 60 progress_is LV2 128 || fail "it does not get on: ${ST[line]}"
	nap 1
	# Its region has a mark, so that both get the next write at the same time.
	steps LV2 write:24+8
	disk_answers "$DI" WRITE MEDIUM 4224 100
	assert_eq 'a write to LV2' "$("$SVOL_TEST" write-error /dev/mapper/LV2 --sector 8)" EIO
	disk_answers "$DI"
	assert_eq 'what LV2 reads' "$(some_of_lv2 8)" "$was"
	read_status
	assert_status LV2.health=rebuilding
	wait_until 60 lives_on LV2 S0 || fail "${ST[line]}"
	cover_is spare linear
	assert_eq 'what LV2 reads' "$(some_of_lv2 8)" "$was"
	assert_status LV2.protection=protected DLV2.health=in-sync
	steps LV2 check
}

# A flush of the module's own fails, and the device works on. What was in its cache may be lost: each volume
# hears of that.
test_flush_of_our_own_fails() {
	local clone
	load_module
	disk_faults_begin
	clones_disks 2 16 24 cache_size=1
	G_BLOCK=8
	expect_disk_errors
	group_create
	clones_create
	# With one block more, a segment has to be formatted.
	dd if=/dev/zero of=/dev/mapper/C1 bs=1M count=12 oflag=direct conv=fsync status=none
	# The block itself, the entries in two parts, and a flush.
	arm_disk "$STORE" 4
	dd if=/dev/zero of=/dev/mapper/C1 bs=4096 count=1 seek=3072 oflag=direct conv=notrunc status=none
	wait_until 20 disk_has_failed || fail 'nothing fails'
	disarm_disk
	for clone in C1 C2; do
		must_fail fsync "/dev/mapper/$clone"
		fsync "/dev/mapper/$clone"
	done
}

# A flush of the increments volume fails, and what was in its cache is lost: a slot has what was there before,
# perhaps that of another volume. What C1 wrote and did not flush reads as before, and not as that.
test_flush_fails_and_the_cache_is_lost() {
	load_module
	disk_faults_begin
	clones_disks 2 4 16 cache_size=1
	expect_disk_errors
	group_create
	clones_create
	steps C1 write:0+64 flush
	steps C2 write:1000+8 flush
	# A block that is new, a known one, a sub-block in part.
	loses_a_write 512 4096
	loses_a_write 9 4096
	loses_a_write 7001 512
	# A flush fails while there is nothing to lose: what is written after it is not lost.
	arm_disk "$STORE" 1
	must_fail fsync /dev/mapper/C1
	disarm_disk
	steps C1 write:6000+8 flush check
	must_fail fsync /dev/mapper/C2
	steps C1 check write:4000+100 write:30+3 flush check
	steps C2 check write:4000+100 flush
	clones_restart
	steps C1 check
	steps C2 check
}

loses_a_write() { # place bytes
	local was slots=$(((2048 + 64) / 4))
	was=$(content_of /dev/mapper/C1)
	log_mark
	# Also what the slots have that nobody uses; not headers and entries.
	dd if="$STORE" of=slots bs=4096 skip="$slots" iflag=direct status=none
	# The write, and the flush of the commit.
	arm_disk "$STORE" 2
	dd if=/dev/urandom of=/dev/mapper/C1 bs="$2" count=1 seek="$1" oflag=direct conv=notrunc status=none
	wait_until 20 disk_has_failed || fail 'nothing fails'
	disarm_disk
	assert_logged 'ST: may have lost writes that were not flushed; blocks that read as before: 1'
	dd if=slots of="$STORE" bs=4096 seek="$slots" oflag=direct conv=notrunc,fsync status=none
	assert_eq 'what C1 reads' "$(content_of /dev/mapper/C1)" "$was"
	must_fail fsync /dev/mapper/C1
	fsync /dev/mapper/C1
	must_fail fsync /dev/mapper/C2
	fsync /dev/mapper/C2
}

# The disk of a volume fails a flush, but nobody else could serve it: the disk may lack what the increments have,
# and the next start compares the two.
only_in_place() {
	load_module
	disk_faults_begin
	figure9_disks 4 cache_size=1
	G_VOLUMES=("LV1 rw $D1 DLV1" "LV2 rw $D2 DLV1" "DLV1 increments $DI -")
	G_FEATURES=(init assume_identical)
	expect_disk_errors
	group_create
	svol_create LV1
	svol_create LV2
	steps LV1 write:100+8 flush
	steps LV2 write:1000+100 flush
}

assert_compared_at_the_next_start() {
	read_status
	assert_status LV2.health=in-sync
	dmsetup remove LV1 LV2 G0
	log_mark
	group_create
	assert_logged 'LV2: [0-9]* regions compared after a crash'
	svol_create LV2
	steps LV2 check
}

test_flush_of_a_disk_that_stays_fails() {
	only_in_place
	steps LV2 write:2000+8
	arm_disk "$D2" 1
	must_fail fsync /dev/mapper/LV2
	disarm_disk
	fsync /dev/mapper/LV2
	assert_compared_at_the_next_start
}

# The same, for the flush before idle marks are taken back.
test_flush_of_our_own_of_a_disk_that_stays_fails() {
	only_in_place
	steps LV2 write:2000+8
	arm_disk "$D2" 1
	wait_until 60 disk_has_failed || fail 'nothing fails'
	disarm_disk
	nap 12
	must_fail fsync /dev/mapper/LV2
	fsync /dev/mapper/LV2
	assert_compared_at_the_next_start
}
