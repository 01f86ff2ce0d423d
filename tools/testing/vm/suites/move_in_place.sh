# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# A volume that is written in place moves to another disk while it is in use, and its own one is well.
# Smoke: written_meanwhile

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

# LV2 is written, and has been; the spare holds something else.
in_place_group() { # MiB [attribute=value...]
	covered9 "$@"
	fill_spare
	start_writing
}

start_writing() {
	start_load LV2 /dev/mapper/LV2 --write 50 --flush 5 --dsync 10 --state lv2
}

# A move of LV2 that takes a while begins.
begins_slowly() { # [blocks]
	dmsetup message G0 0 rebuild_rate $(((${1:-8} + 8) * 32))
	dmsetup message G0 0 restore LV2
	wait_until 60 progress_is LV2 "${1:-8}" || fail "the move does not get on: ${ST[line]}"
	# Also a slow machine comes back to it before it is over.
	dmsetup message G0 0 rebuild_rate 64
	assert_status state=clean redundancy=1 LV2.health=in-sync LV2.disk=LV2 LV2.protection=protected \
		S0.health=rebuilding
}

goes_fast() {
	dmsetup message G0 0 rebuild_rate 0
}

test_written_meanwhile() {
	in_place_group 8
	log_mark
	begins_slowly
	assert_io_flows /dev/mapper/LV2
	# Parts of sub-blocks, and zeroes, in front of the cursor and behind it.
	stop_load LV2
	"$SVOL_TEST" random-io /dev/mapper/LV2 --seed "$SEED" --threads 2 --max 2048 --ops 100 --write 70 \
		--rng "$SVOL_SEED" --state lv2
	start_writing
	goes_fast
	wait_lives_on LV2 S0
	assert_logged 'LV2: move onto the disk of S0 begins'
	assert_logged 'LV2: moved, its disk is that of S0 from now on'
	assert_status state=clean redundancy=1 LV2.protection=protected S0.health=in-sync S0.disk=-
	assert_io_flows /dev/mapper/LV2
	stop_load LV2
	assert_data9
	down9
	assert_state "$DS" lv2
	# The old disk can go.
	blank_disk "$D2"
	group_move LV2 -
	up9
	rests_on LV2 S0 || fail "${ST[line]}"
	assert_data9
}

# Nobody can tell whether a restart would find that LV2 has moved: it does no I/O until that is settled, either
# because the metadata works again, or by a load of the table.
moves_in_doubt() {
	covered9 8
	need_disk_answers "$META"
	steps LV2 write:0+100 write:3001+7 flush
	begins_slowly
	next_change_is_in_doubt
	goes_fast
	assert_logged 'LV2: a restart may find it on either disk'
	must_fail dd if=/dev/mapper/LV2 of=/dev/null bs=4096 count=1 iflag=direct status=none
	must_fail dd if=/dev/zero of=/dev/mapper/LV2 bs=4096 count=1 oflag=direct conv=notrunc status=none
	assert_base /dev/mapper/LV0
	# It lost nothing.
	begin_refusals
	refusal EIO 'LV2;either disk' "0 $G_LEN svol /dev/mapper/G0 LV2"
	check_refusals
}

test_end_in_doubt_that_is_tried_again() {
	moves_in_doubt
	metadata_works_again
	wait_lives_on LV2 S0
	steps LV2 check write:50+100 flush check
	assert_same "$DS" /dev/mapper/LV2
}

test_end_in_doubt_and_the_new_disk_is_failed() {
	moves_in_doubt
	dmsetup message G0 0 fail S0
	metadata_works_again
	wait_health S0 failed
	wait_until 20 steps LV2 check write:50+100 flush check || fail 'LV2 stays without I/O'
	assert_same "$D2" /dev/mapper/LV2
}

test_end_in_doubt_and_another_table() {
	moves_in_doubt
	metadata_works_again
	dm_change G0 "$(group_table)"
	steps LV2 check write:50+100 flush check
	wait_lives_on LV2 S0
	steps LV2 check
	assert_same "$DS" /dev/mapper/LV2
}

# On the way back, the disk that is being filled is given up by the name of the volume, not the one that serves it.
test_given_up_on_the_way_back() {
	in_place_group 8
	dmsetup message G0 0 restore LV2 onto S0
	wait_lives_on LV2 S0
	dmsetup message G0 0 rebuild_rate 512
	restore LV2 onto LV2
	wait_until 60 progress_is LV2 8 || fail "the move does not get on: ${ST[line]}"
	dmsetup message G0 0 rebuild_rate 64
	dmsetup message G0 0 fail LV2
	wait_lives_on LV2 S0
	assert_status LV2.protection=protected S0.health=in-sync state=degraded
	assert_io_flows /dev/mapper/LV2
	stop_load LV2
	assert_data9
	down9
	assert_state "$DS" lv2
}

# There and back, as fast as it goes, while all volumes are in use.
test_there_and_back() {
	local i
	in_place_group 8
	start_load LV0 /dev/mapper/LV0
	for i in 1 2 3; do
		restore LV2 onto S0
		wait_lives_on LV2 S0
		restore LV2 onto LV2
		wait_lives_on LV2 LV2
		assert_status S0.health=spare S0.disk=S0 state=clean
	done
	stop_loads
	assert_data9
	down9
	assert_state "$D2" lv2
}

# Nobody has it loaded.
test_not_in_use() {
	in_place_group 8
	stop_load LV2
	dmsetup remove LV2
	dmsetup message G0 0 restore LV2
	wait_lives_on LV2 S0
	svol_create LV2
	assert_data9
	start_writing
	stop_load LV2
	down9
	assert_state "$DS" lv2
}

test_refused() {
	covered9 4
	begin_refusals
	refusal EINVAL 'restore;LV2;onto;serves LV2' 'restore LV2 onto LV2'
	refusal EINVAL 'restore;LV2;increments' 'restore LV2 onto DLV2'
	check_refusals messages
	begins_slowly
	begin_refusals
	refusal EBUSY 'restore;LV2;being rebuilt' 'restore LV2'
	refusal '' 'set_attr;LV2;moved' 'set_attr LV2 ro'
	refusal '' 'remove;LV2' 'remove S0'
	check_refusals messages
	dmsetup message G0 0 fail S0
	readd S0
	dmsetup message G0 0 fail DLV2
	wait_health DLV2 failed
	begin_refusals
	refusal EINVAL 'restore;LV2;without an increments volume' 'restore LV2'
	check_refusals messages
}

# It goes on where it was after a suspend, a load of the table, and a stop.
test_life_goes_on_meanwhile() {
	local before
	in_place_group 16
	begins_slowly 64
	before=${ST[LV2.blocks]%/*}
	dmsetup suspend G0
	dmsetup resume G0
	progress_is LV2 "$before" || fail "${ST[line]}"
	G_FEATURES+=(rebuild_rate 64)
	dm_change G0 "$(group_table)"
	assert_io_flows /dev/mapper/LV2
	progress_is LV2 "$before" || fail "${ST[line]}"
	assert_status LV2.disk=LV2 LV2.health=in-sync S0.health=rebuilding
	# In front of where it is.
	stop_load LV2
	"$SVOL_TEST" random-io /dev/mapper/LV2 --seed "$SEED" --threads 2 --max 2048 --ops 100 --write 70 \
		--rng "$SVOL_SEED" --state lv2
	log_mark
	down9
	up9
	progress_is LV2 "$before" || fail "${ST[line]}"
	assert_status LV2.disk=LV2 LV2.health=in-sync S0.health=rebuilding
	# It was stopped as it should be.
	assert_not_logged 'compared after a crash'
	start_writing
	goes_fast
	wait_lives_on LV2 S0
	stop_load LV2
	assert_data9
	down9
	assert_state "$DS" lv2
}

test_power_cuts_meanwhile() {
	local i
	covered9 16 cache_size=8
	expect_power_cuts
	fill_spare
	RANDOM=$((SVOL_SEED % 32768))
	for i in 1 2 3 4; do
		steps LV2 "write:$((i * 1000))+300" "write:$((i * 500))+3" flush
		dmsetup message G0 0 rebuild_rate $((2048 << i))
		rests_on LV2 LV2 || rests_on LV2 S0 || dmsetup message G0 0 rebuild_rate 0
		if rests_on LV2 S0; then
			restore LV2 onto LV2
		elif rests_on LV2 LV2; then
			restore LV2 onto S0
		fi
		nap "$((RANDOM % 4)).$((RANDOM % 10))"
		steps LV2 "write:$((i * 1500))+20" flush "write:$((i * 300))+100"
		power_off "${G_DISKS[@]}"
		power_return9
		read_status
		note "LV2 lives on ${ST[LV2.disk]}, ${ST[LV2.blocks]}"
		steps LV2 check --after-crash
		assert_base /dev/mapper/LV0 /dev/mapper/LV1 /dev/mapper/G0
	done
	goes_fast
	wait_until 60 has_settled || fail "${ST[line]}"
	steps LV2 check
}

progress_is_recorded() {
	local text
	dd if="$META" of=meta.img bs=1M count=2 iflag=direct status=none
	text=$("$SVOL" dump meta.img)
	grep -qE 'rebuild of LV2 onto S0: [1-9]' <<<"$text"
}

# It goes on where it was, and what was written in front of that gets to the new disk, which lost it.
test_goes_on_after_power_cuts() {
	local i
	covered9 16 cache_size=8
	expect_power_cuts
	fill_spare
	G_FEATURES+=(rebuild_rate 64)
	steps LV2 write:0+300 write:9000+300 flush
	begins_slowly 64
	for i in 1 2 3; do
		# One is long ago; its mark has been taken back by then.
		steps LV2 "write:$((i * 900))+$((i * 7))" flush
		nap $((i > 1 ? 20 : 1))
		wait_until 60 progress_is_recorded || fail 'its progress is not recorded'
		# As a cache that is lost: null_blk keeps what is written to where it has something already.
		cover_is spare drops
		steps LV2 "write:$((i * 100))+300" "write:$((i * 1300))+$((i * 3))" flush
		log_mark
		power_off "${G_DISKS[@]}"
		power_return9
		progress_is LV2 20 || fail "it does not go on: ${ST[line]}"
		assert_status LV2.disk=LV2 LV2.health=in-sync LV2.protection=protected S0.health=rebuilding
		assert_logged 'LV2: [0-9]+ regions compared after a crash'
		steps LV2 check
	done
	goes_fast
	wait_lives_on LV2 S0
	steps LV2 check
}

# The same, but the new disk has lost all that was not flushed: dm-log-writes knows what that is. So marks that are
# taken back must have waited for its flush.
test_goes_on_with_what_was_flushed() {
	local entries
	covered9 16 cache_size=8
	need_target log-writes
	expect_power_cuts
	fill_spare
	new_disk LOG 64
	save_disk "$DS" spare.img
	dm_change spare "0 $(blockdev --getsz "$DS") log-writes $DS $LOG" --noflush
	G_FEATURES+=(rebuild_rate 64)
	steps LV2 write:0+300 write:9000+300 flush
	begins_slowly 64
	wait_until 60 progress_is_recorded || fail 'its progress is not recorded'
	steps LV2 write:900+70 write:3001+7 flush
	nap 20
	steps LV2 write:100+300 flush
	# From here on, nothing can be recorded.
	power_off "$META" "$META2" "$DI"
	dmsetup message spare 0 mark cut
	power_off "$D0" "$D1" "$D2"
	down9
	dmsetup remove "${!COVER[@]}"
	power_on "$META" "$META2" "$DI" "$D0" "$D1" "$D2"
	load_disk "$DS" spare.img
	entries=$("$SVOL_TEST" log-writes "$LOG" --marks | awk '$3 == "cut" { print $1 }')
	"$SVOL_TEST" log-writes "$LOG" --entries "$entries" --to "$DS"
	covers_return
	up9
	progress_is LV2 20 || fail "it does not go on: ${ST[line]}"
	goes_fast
	wait_lives_on LV2 S0
	steps LV2 check
}

# Another disk has come in its place.
test_another_target() {
	covered9 16
	fill_spare
	G_FEATURES+=(rebuild_rate 64)
	steps LV2 write:0+300 flush
	begins_slowly 64
	down9
	fill_spare
	log_mark
	up9
	assert_logged 'LV2: the disk of S0 does not hold what was copied to it'
	assert_status LV2.disk=LV2 LV2.protection=protected S0.health=rebuilding
	goes_fast
	wait_lives_on LV2 S0
	steps LV2 check
}

has_settled() {
	rests_on LV2 LV2 || rests_on LV2 S0
}

# A group as at the beginning, also if there was one.
in_place_group_again() { # MiB
	if dm_exists G0; then
		restart_anew9
		fill_spare
		start_writing
	else
		in_place_group "$1"
	fi
}

# Users notice nothing, and the volume stays where it is.
test_target_fails() {
	local way
	for way in error command; do
		in_place_group_again 8
		begins_slowly
		case $way in
		error) cover_is spare error ;;
		command) dmsetup message G0 0 fail S0 ;;
		esac
		wait_health S0 failed
		rests_on LV2 LV2 || fail "${ST[line]}"
		assert_status LV2.protection=protected
		assert_io_flows /dev/mapper/LV2
		stop_load LV2
		assert_data9
	done
}

# At its end, the metadata can't be written for a moment: the new disk is not to blame.
test_metadata_fails_at_the_end() {
	covered9 8
	disk_faults_begin
	fill_spare
	log_mark
	steps LV2 write:100+300 flush
	# So that one write that fails is enough.
	cover_is meta2 error
	dmsetup message G0 0 fail LV1
	wait_health LV1 failed
	assert_status metadata=AF
	dmsetup message G0 0 rebuild_rate 512
	dmsetup message G0 0 restore LV2
	wait_until 60 progress_is LV2 8 || fail "the move does not get on: ${ST[line]}"
	arm_disk "$META" 1
	goes_fast
	wait_until 60 disk_has_failed || fail 'nothing fails'
	disarm_disk
	wait_lives_on LV2 S0
	assert_status S0.health=in-sync LV2.protection=protected
	assert_logged 'metadata device 1: write failed'
	steps LV2 write:1000+8 flush check
}

# As if it had not moved: it is degraded, and can be rebuilt.
test_old_disk_fails() {
	local way
	for way in error command; do
		in_place_group_again 8
		begins_slowly
		case $way in
		error) cover_is disk2 error ;;
		command) dmsetup message G0 0 fail LV2 ;;
		esac
		wait_health LV2 degraded
		assert_status S0.health=spare LV2.blocks=-
		assert_io_flows /dev/mapper/LV2
		goes_fast
		restore LV2
		wait_lives_on LV2 S0
		assert_io_flows /dev/mapper/LV2
		stop_load LV2
		assert_data9
	done
}

# What is written without a log can't follow; the spare is free for others.
test_increments_volume_fails() {
	in_place_group 8
	begins_slowly
	dmsetup message G0 0 fail DLV2
	wait_until 30 rests_on LV2 LV2 || fail "${ST[line]}"
	assert_status LV2.protection=unprotected S0.health=spare
	assert_io_flows /dev/mapper/LV2
	goes_fast
	restore LV0 onto S0
	wait_until 60 status_is LV0.disk S0 || fail "${ST[line]}"
	stop_load LV2
	assert_data9
	assert_base "$DS"
}

# The increments volume can't take any data. What it takes, it takes slowly.
store_is_slow_and_bad() {
	local size end=$((4096 + 128))
	size=$(blockdev --getsz "$DI")
	dmsetup load store <<-END
		0 $end delay $DI 0 0 $DI 0 1500
		$end $((size - end)) error
	END
	dmsetup suspend --noflush --nolockfs store
	dmsetup resume store
}

# A write of which the increments volume lacks a part, in front of the cursor: the new disk is not to blame.
test_bad_sector_of_the_increments_volume() {
	covered9 8
	fill_spare
	steps LV2 write:0+64 flush
	dmsetup message G0 0 rebuild_rate 512
	dmsetup message G0 0 restore LV2
	wait_until 60 progress_is LV2 16 || fail "the move does not get on: ${ST[line]}"
	store_is_slow_and_bad
	steps LV2 write:256+8 flush
	cover_is store linear
	wait_until 30 rests_on LV2 LV2 || fail "${ST[line]}"
	assert_status LV2.protection=unprotected S0.health=spare S0.write_errors=0 DLV2.health=in-sync
	assert_at_least 'the errors' "${ST[DLV2.write_errors]}" 1
	steps LV2 write:1000+8 flush check
}

status_is() { # field value
	read_status
	[ "${ST[$1]}" = "$2" ]
}

# Two volumes are to move, one after the other, and the one that waits for its turn loses its disk. Then it gets
# yet another one, and the one that it was to move to is free.
test_given_up_before_its_turn() {
	load_module
	figure9_disks 8
	new_disks 'D3 DS1 DS2' 8
	"$SVOL_TEST" fill --seed "$SEED" "$D3"
	"$SVOL_TEST" fill --seed 77 "$DS" "$DS1" "$DS2"
	G_VOLUMES+=("LV3 rw $D3 DLV2" "S1 spare $DS1 -" "S2 spare $DS2 -")
	G_FEATURES=(init assume_identical failover manual rebuild_rate 64)
	group_create
	svols_create LV2 LV3
	steps LV2 write:100+300 flush
	steps LV3 write:1000+300 write:9000+70 flush
	dmsetup message G0 0 restore LV2 onto S0
	dmsetup message G0 0 restore LV3 onto S1
	dmsetup message G0 0 fail LV3
	wait_health LV3 degraded
	steps LV3 write:2000+100 flush
	dmsetup message G0 0 restore LV3 onto S2
	dmsetup message G0 0 rebuild_rate 0
	wait_lives_on LV2 S0
	wait_lives_on LV3 S2
	steps LV2 check
	steps LV3 check
	dmsetup message G0 0 restore LV0 onto S1
	wait_lives_on LV0 S1
	dmsetup remove LV2 LV3 G0
	"$SVOL_TEST" steps "$DS2" --seed "$SEED" --own 1003 --state s.LV3 check
	assert_base "$DS1"
}
