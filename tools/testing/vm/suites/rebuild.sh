# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Volumes whose disk is gone get another one, while they are in use.
# Smoke: by_itself_after_a_start by_message

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

# LV0 read-only, L5 in place, clones C1, C2, ..., and a spare S0 that holds something else.
rebuild_disks() { # clones MiB MiB-of-the-store [attribute=value...]
	logged_disks "$@"
	new_disk SPARE "$2" "${@:4}"
	"$SVOL_TEST" fill --seed 77 "$SPARE"
	G_VOLUMES+=("S0 spare $SPARE -")
	G_DISKS+=("$SPARE")
}

rebuild_group() { # clones MiB MiB-of-the-store [attribute=value...]
	load_module
	rebuild_disks "$@"
	group_create
	clones_create
}

rebuild_down() {
	clones_remove
	dmsetup remove G0
}

# Takes all down and up again, without the disk of L5.
lose_l5() {
	rebuild_down
	group_move L5 -
	group_create
	clones_create
}

wait_progress() { # LID blocks
	wait_until 60 progress_is "$@" || fail "the rebuild of $1 does not get on: ${ST[line]}"
}

# A rebuild that is as far as that goes on so slowly that also a slow machine comes back to it before it is
# over.
wait_slow_progress() { # LID blocks
	wait_progress "$@"
	dmsetup message G0 0 rebuild_rate 64
}

# The disk by itself holds what L5 has to hold.
assert_disk_is_l5() { # disk
	"$SVOL_TEST" steps "$1" --seed "$SEED" --own 1005 --state s.L5 check
}

assert_lives_on_spare() { # LID
	read_status
	assert_status "$1.health=in-sync" "$1.disk=S0" "$1.blocks=-" S0.health=in-sync S0.disk=-
}

test_by_itself_after_a_start() {
	rebuild_group 1 8 16
	steps L5 write:0+8 write:300+3 write:1000+1000 zero:4000+100 write:$((G_LEN - 9))+9 flush
	steps C1 write:0+100 flush
	lose_l5
	wait_health L5 in-sync
	assert_lives_on_spare L5
	assert_status L5.protection=protected state=degraded
	check_clones
	# It is an in-place volume as before.
	steps L5 write:2000+100 write:7+1 zero:300+8 flush check
	rebuild_down
	assert_disk_is_l5 "$SPARE"
	# The line names other disks than the ones that serve.
	group_create
	clones_create
	assert_lives_on_spare L5
	check_clones
	steps L5 write:5000+100 flush
	rebuild_down
	assert_disk_is_l5 "$SPARE"
	assert_base "$BASE_DISK"
}

test_by_message() {
	load_module
	rebuild_disks 0 8 16
	G_FEATURES+=(failover manual)
	group_create
	clones_create
	# It is well, and would move.
	must_fail dmsetup message G0 0 restore L5 onto L5
	must_fail dmsetup message G0 0 restore S0
	must_fail dmsetup message G0 0 restore nobody
	must_fail dmsetup message G0 0 readd L5
	steps L5 write:0+2000 flush
	lose_l5
	read_status
	assert_status L5.health=degraded S0.health=spare
	must_fail dmsetup message G0 0 restore L5 onto ST
	must_fail dmsetup message G0 0 restore L5 onto L5
	must_fail dmsetup message G0 0 restore L5 onto LV0
	must_fail dmsetup message G0 0 restore L5 onto nobody
	dmsetup message G0 0 restore L5 onto S0
	wait_health L5 in-sync
	assert_lives_on_spare L5
	check_clones
	rebuild_down
	assert_disk_is_l5 "$SPARE"
}

# Base disks are copied, too, and serve then.
test_read_only_volume() {
	load_module
	rebuild_disks 0 8 16
	new_disk other 8
	"$SVOL_TEST" fill --seed "$SEED" "$other"
	G_VOLUMES+=("LV1 ro $other -")
	group_create
	svol_create LV0 --readonly
	dmsetup remove LV0
	dmsetup remove G0
	group_move LV0 -
	group_create
	wait_health LV0 in-sync
	assert_lives_on_spare LV0
	assert_base "$SPARE"
	# The only one that is left.
	dmsetup remove G0
	group_move LV1 -
	group_create
	svol_create LV1 --readonly
	svol_create L5
	assert_base /dev/mapper/LV1 /dev/mapper/G0
	steps L5 write:0+100 check
	assert_base "$SPARE"
}

# Writes at any place: before the cursor, behind it and across it.
test_writes_meanwhile() {
	load_module
	rebuild_disks 1 16 32
	G_FEATURES+=(rebuild_rate 1024)
	group_create
	clones_create
	lose_l5
	start_load L5 /dev/mapper/L5 --write 60 --dsync 5 --flush 2 --state m.L5
	wait_progress L5 20
	assert_io_flows /dev/mapper/L5
	dmsetup message G0 0 rebuild_rate 4096
	wait_health L5 in-sync
	assert_io_flows /dev/mapper/L5
	stop_load L5
	assert_lives_on_spare L5
	rebuild_down
	assert_state "$SPARE" m.L5
	assert_base "$BASE_DISK"
}

# Tables are exchanged, all is suspended, taken down and up again; it goes on where it was.
test_life_goes_on_meanwhile() {
	local before
	load_module
	rebuild_disks 1 16 32
	G_FEATURES+=(rebuild_rate 1024)
	group_create
	clones_create
	lose_l5
	wait_progress L5 16
	before=${ST[L5.blocks]%/*}
	clones_restart
	read_status
	assert_status L5.health=rebuilding S0.health=rebuilding
	assert_at_least 'the blocks that are done' "${ST[L5.blocks]%/*}" "$before"
	run_model 6 'restart live live' --state m
	dmsetup message G0 0 rebuild_rate 0
	wait_health L5 in-sync
	run_model 2 'restart live' --state m
	rebuild_down
	"$SVOL_TEST" steps "$SPARE" --seed "$SEED" --own 1002 --state m.1 check
}

# At the next start, the spare is another disk: it is filled from its beginning. L5 has written what the
# base image does not have.
test_spare_is_exchanged_meanwhile() {
	local other
	load_module
	rebuild_disks 0 8 16
	new_disk other 8
	"$SVOL_TEST" fill --seed "$SEED" "$other"
	G_FEATURES+=(rebuild_rate 1024)
	group_create
	clones_create
	steps L5 write:0+1000 write:9000+100 flush
	lose_l5
	wait_slow_progress L5 64
	rebuild_down
	group_move S0 "$other"
	log_mark
	group_create
	clones_create
	assert_logged 'L5: the disk of S0 does not hold what was copied to it'
	dmsetup message G0 0 rebuild_rate 0
	wait_health L5 in-sync
	assert_lives_on_spare L5
	check_clones
	rebuild_down
	assert_disk_is_l5 "$other"
}

# The same of a read-only volume: the disk is none that failed.
test_spare_of_read_only_volume_is_exchanged() {
	local base other
	load_module
	rebuild_disks 0 8 16
	new_disk base 8
	new_disk other 8
	"$SVOL_TEST" fill --seed "$SEED" "$base"
	"$SVOL_TEST" fill --seed 78 "$other"
	G_VOLUMES+=("LV1 ro $base -")
	G_FEATURES+=(rebuild_rate 1024)
	group_create
	dmsetup remove G0
	group_move LV1 -
	group_create
	wait_slow_progress LV1 64
	dmsetup remove G0
	group_move S0 "$other"
	log_mark
	group_create
	assert_logged 'LV1: the disk of S0 does not hold what was copied to it'
	dmsetup message G0 0 rebuild_rate 0
	wait_health LV1 in-sync
	assert_lives_on_spare LV1
	dmsetup remove G0
	assert_base "$other"
}

# Power cuts at any moment of it.
test_power_cuts_meanwhile() {
	load_module
	rebuild_disks 0 16 32 cache_size=8
	G_FEATURES+=(rebuild_rate 1024)
	group_create
	clones_create
	lose_l5
	expect_power_cuts
	run_model 14 'crash crash restart' --state m
	wait_health L5 in-sync
	run_model 2 'crash' --state m
	rebuild_down
	"$SVOL_TEST" steps "$SPARE" --seed "$SEED" --own 1001 --state m.0 check
}

# It keeps to the rate, and goes away at once.
test_rate_and_removal() {
	local start
	load_module
	rebuild_disks 0 8 16
	G_FEATURES+=(rebuild_rate 1024)
	group_create
	clones_create
	steps L5 write:0+100 flush
	# It begins with the group.
	rebuild_down
	group_move L5 -
	start=$SECONDS
	group_create
	clones_create
	wait_slow_progress L5 64
	assert_at_least 'the seconds for 4 MiB' $((SECONDS - start + 1)) 3
	rebuild_down
	unload_module
	load_module
	G_FEATURES[-1]=64
	group_create
	clones_create
	read_status
	assert_status L5.health=rebuilding
	assert_at_least 'the blocks that are done' "${ST[L5.blocks]%/*}" 60
	dmsetup message G0 0 rebuild_rate 0
	wait_health L5 in-sync
	check_clones
}

# What the kernel and the module say about a disk that fails.
expect_failing_disk() {
	expect_warnings
	expect_log '^(I/O error|Buffer I/O error|critical |blk_|lost page write|device-mapper: )'
}

# The disk that is being filled fails, and another spare is taken; users notice nothing.
test_target_fails() {
	local second
	load_module
	rebuild_disks 0 16 32
	dm_linear spare "$SPARE"
	group_move S0 /dev/mapper/spare
	new_disk second 16
	G_VOLUMES+=("S1 spare $second -")
	G_FEATURES+=(rebuild_rate 1024)
	group_create
	clones_create
	lose_l5
	start_load L5 /dev/mapper/L5 --write 60 --dsync 5 --flush 2 --state m.L5
	wait_progress L5 16
	expect_failing_disk
	dm_change spare "0 $G_LEN error"
	wait_health S0 failed
	dmsetup message G0 0 rebuild_rate 0
	wait_health L5 in-sync
	assert_status L5.disk=S1 S1.health=in-sync S0.disk=-
	assert_io_flows /dev/mapper/L5
	stop_load L5
	rebuild_down
	assert_state "$second" m.L5
}

# There is nothing to copy from for a while.
test_source_fails() {
	load_module
	rebuild_disks 0 8 16
	dm_linear source "$BASE_DISK"
	group_move LV0 /dev/mapper/source
	G_FEATURES+=(rebuild_rate 1024)
	group_create
	clones_create
	steps L5 write:0+100 write:9000+100 flush
	lose_l5
	wait_progress L5 16
	expect_failing_disk
	dm_change source "0 $G_LEN error"
	nap 2
	read_status
	assert_status L5.health=rebuilding
	dm_change source "0 $G_LEN linear $BASE_DISK 0"
	wait_health L5 in-sync
	check_clones
	rebuild_down
	assert_disk_is_l5 "$SPARE"
}

# L5 and read-only volumes on disks of their own; the disks of LV0 and of the spares S0, S1, ... can die.
many_disks() { # MiB spares LID-of-another-read-only-volume...
	local name other
	load_module
	logged_disks 0 "$1" 16
	COVER=([disk0]="$BASE_DISK")
	for name in "${@:3}"; do
		new_disk other "$1"
		"$SVOL_TEST" fill --seed "$SEED" "$other"
		G_VOLUMES+=("$name ro $other -")
	done
	for ((name = 0; name < $2; name++)); do
		new_disk other "$1"
		"$SVOL_TEST" fill --seed $((77 + name)) "$other"
		COVER[spare$name]=$other
		G_VOLUMES+=("S$name spare /dev/mapper/spare$name -")
	done
	group_move LV0 /dev/mapper/disk0
	covers_return
	G_FEATURES+=(rebuild_rate 1024)
	expect_disk_errors
	group_create
	clones_create
}

# Nobody gets an answer from one of these disks after another one of them has died.
die_together() { # name...
	local name
	for name in "$@"; do
		dmsetup load "$name" --table "$(cover_table "$name" error)"
	done
	dmsetup suspend --noflush "$@"
	dmsetup resume "$@"
}

# All volumes are in use, and one is being rebuilt, when the disk that is being filled and one that it is copied
# from die: LV0's, which is the least used.
source_and_target_fail() { # LID spares
	local lid
	many_disks 4 "$2" LV1 LV2
	for lid in LV0 LV1 LV2; do
		svol_create "$lid" --readonly
	done
	start_load LV1 /dev/mapper/LV1
	start_load LV2 /dev/mapper/LV2
	start_load L5 /dev/mapper/L5 --write 60 --dsync 5 --flush 2 --state m.L5
	dmsetup message G0 0 fail "$1"
	wait_slow_progress "$1" 16
	assert_status "$1.health=rebuilding" S0.health=rebuilding LV0.health=in-sync
	die_together disk0 spare0
	dmsetup message G0 0 rebuild_rate 0
	wait_health S0 failed
}

assert_all_is_right() {
	assert_base /dev/mapper/LV0 /dev/mapper/LV1 /dev/mapper/LV2 /dev/mapper/G0
	assert_state /dev/mapper/L5 m.L5
}

# Users have noticed nothing; nor is there anything wrong after a start. Each volume on a spare is there.
source_and_target_end() {
	local lid
	for lid in LV1 LV2 L5; do
		assert_io_flows "/dev/mapper/$lid"
	done
	stop_loads
	assert_all_is_right
	dmsetup remove LV0 LV1 LV2
	rebuild_down
	group_create
	clones_create
	for lid in LV0 LV1 LV2; do
		svol_create "$lid" --readonly
	done
	assert_all_is_right
	read_status
	dmsetup remove LV0 LV1 LV2
	rebuild_down
	for lid in LV0 LV1 L5; do
		case $lid.${ST[$lid.disk]} in
		L5.S?) assert_state "/dev/mapper/spare${ST[L5.disk]#S}" m.L5 ;;
		LV?.S?) assert_base "/dev/mapper/spare${ST[$lid.disk]#S}" ;;
		esac
	done
}

# Both get another spare.
source_and_target_are_replaced() { # LID
	source_and_target_fail "$1" 3
	for lid in "$1" LV0; do
		wait_health "$lid" in-sync
		assert_match "the disk of $lid" "${ST[$lid.disk]}" '^S[12]$'
	done
	assert_status S0.disk=- state=degraded
	source_and_target_end
}

test_source_and_target_fail() {
	source_and_target_are_replaced L5
}

test_source_and_target_of_read_only_volume_fail() {
	source_and_target_are_replaced LV1
}

# There is no other spare: the volume is as it was before.
test_source_and_only_spare_fail() {
	source_and_target_fail L5 1
	wait_health L5 degraded
	wait_health LV0 failed
	assert_status L5.disk=- L5.protection=protected LV0.disk=- state=degraded
	source_and_target_end
}

test_source_and_only_spare_of_read_only_volume_fail() {
	source_and_target_fail LV1 1
	wait_health LV1 failed
	wait_health LV0 failed
	assert_status LV1.disk=- LV0.disk=- L5.health=in-sync state=degraded
	source_and_target_end
}

# The only source does not work for a while, and the disk that is being filled never again: another one is filled
# as soon as there is something to copy.
test_last_source_and_target_fail() {
	many_disks 4 2
	steps L5 write:0+100 write:7000+100 flush
	dmsetup message G0 0 fail L5
	wait_slow_progress L5 16
	die_together disk0 spare0
	dmsetup message G0 0 rebuild_rate 0
	# In front of the cursor: this one notices.
	steps L5 write:8+8 write:7050+8 flush
	wait_health S0 failed
	wait_health S1 rebuilding
	# What it wrote is there, and nobody makes up the rest.
	steps L5 check:0+100 check:7000+100
	must_fail dd if=/dev/mapper/L5 of=/dev/null bs=512 skip=3000 count=8 iflag=direct status=none
	must_fail dd if=/dev/mapper/G0 of=/dev/null bs=512 skip=3000 count=8 iflag=direct status=none
	nap 1
	read_status
	assert_status L5.health=rebuilding LV0.health=in-sync
	cover_is disk0 linear
	wait_lives_on L5 S1
	steps L5 check
	rebuild_down
	assert_disk_is_l5 /dev/mapper/spare1
	assert_base "$BASE_DISK"
}

# What L5 wrote last could not be committed before another table came: nobody has what it had before, so it is not
# rebuilt. After it was gone for a moment, what it had flushed is found again.
test_lost_changes_are_not_rebuilt() {
	local size
	need_target flakey
	load_module
	rebuild_disks 0 8 16
	dm_linear store "$STORE"
	size=$(blockdev --getsz "$STORE")
	group_move ST /dev/mapper/store
	group_create
	clones_create
	steps L5 write:0+1000 write:9000+100 flush
	rebuild_down
	group_move L5 -
	G_FEATURES+=(failover manual)
	group_create
	clones_create
	expect_failing_disk
	dm_change store "0 4096 linear $STORE 0
		4096 128 flakey $STORE 4096 0 1000 1 error_writes
		4224 $((size - 4224)) linear $STORE 4224" --noflush
	must_fail dd if=/dev/zero of=/dev/mapper/L5 bs=4096 seek=500 count=1 oflag=direct,dsync status=none
	log_mark
	dm_change G0 "$(group_table | sed 's/manual/auto/')"
	assert_logged 'L5: its last changes are lost'
	dm_change store "0 $size linear $STORE 0" --noflush
	nap 2
	read_status
	assert_status L5.health=degraded S0.health=spare
	must_fail dd if=/dev/mapper/L5 of=/dev/null bs=4096 count=1 iflag=direct status=none
	rebuild_down
	G_FEATURES=("${G_FEATURES[@]/manual/auto}")
	group_create
	clones_create
	wait_health L5 in-sync
	assert_lives_on_spare L5
	check_clones
	rebuild_down
	assert_disk_is_l5 "$SPARE"
}

# What L5 wrote can't be read for a while: its rebuild does not hold up another one.
test_another_one_goes_on() {
	local size base second
	load_module
	rebuild_disks 0 8 16
	dm_linear store "$STORE"
	size=$(blockdev --getsz "$STORE")
	group_move ST /dev/mapper/store
	new_disks 'base second' 8
	"$SVOL_TEST" fill --seed "$SEED" "$base"
	G_VOLUMES+=("LV1 ro $base -" "S1 spare $second -")
	group_create
	clones_create
	steps L5 write:0+100 flush
	rebuild_down
	group_move L5 -
	group_move LV1 -
	expect_failing_disk
	dm_change store "0 4224 linear $STORE 0
		4224 $((size - 4224)) error"
	group_create
	clones_create
	wait_health LV1 in-sync
	assert_status LV1.disk=S1 L5.health=rebuilding S0.health=rebuilding
	assert_base "$second"
	dm_change store "0 $size linear $STORE 0" --noflush
	wait_health L5 in-sync
	assert_lives_on_spare L5
	check_clones
	rebuild_down
	assert_disk_is_l5 "$SPARE"
}

# A volume without increments that nobody has written loses its disk after it was loaded: it is not in use before it
# has one again, and that serves nobody else then.
test_unlogged_volume_waits_for_its_disk() {
	plain9 8
	expect_failing_disk
	dmsetup create LV2 --notable
	dmsetup load LV2 --table "0 $G_LEN svol /dev/mapper/G0 LV2"
	dmsetup message G0 0 fail LV2
	wait_health LV2 degraded
	log_mark
	must_fail dmsetup resume LV2
	assert_logged "LV2: can't be written, it has no disk"
	dmsetup message G0 0 restore LV2 onto S0
	wait_health LV2 in-sync
	dmsetup resume LV2
	read_status
	assert_status LV2.disk=S0 LV2.protection=unprotected
	steps LV2 write:0+100 flush check
	assert_base /dev/mapper/G0
}

# A disk that failed is taken back: as the disk of its volume, filled from the beginning on.
test_readd() {
	load_module
	rebuild_disks 0 8 16
	group_drop S0
	group_create
	clones_create
	steps L5 write:0+1000 flush
	lose_l5
	must_fail dmsetup message G0 0 readd L5
	steps L5 write:500+1000 flush
	read_status
	assert_status L5.health=degraded
	rebuild_down
	group_move L5 "$DISK"
	group_create
	clones_create
	read_status
	assert_status L5.health=degraded
	check_clones
	dmsetup message G0 0 readd L5
	wait_health L5 in-sync
	assert_status L5.disk=L5 state=clean
	check_clones
	steps L5 write:3000+10
	rebuild_down
	assert_disk_is_l5 "$DISK"
}

# Each beginning and each end is an event.
test_events() {
	local before waiter
	load_module
	rebuild_disks 0 8 16
	G_FEATURES+=(failover manual)
	group_create
	clones_create
	lose_l5
	before=$(dm_info G0 events)
	timeout 30 dmsetup wait G0 "$before" &
	waiter=$!
	dmsetup message G0 0 restore L5
	wait "$waiter" || fail 'no event at the beginning of a rebuild'
	wait_health L5 in-sync
	assert_at_least 'the events' "$(dm_info G0 events)" $((before + 2))
}

# Neither the volume nor the disk that is being filled can leave.
test_nobody_leaves() {
	load_module
	rebuild_disks 0 8 16
	G_FEATURES+=(rebuild_rate 64)
	group_create
	clones_create
	lose_l5
	dmsetup remove L5
	must_fail dmsetup message G0 0 remove L5
	must_fail dmsetup message G0 0 remove S0
	dmsetup message G0 0 rebuild_rate 0
	wait_health L5 in-sync
	must_fail dmsetup message G0 0 remove S0
	dmsetup message G0 0 remove L5
	read_status
	assert_status S0.health=spare S0.disk=S0
}

# A disk dies under load, and the spare takes its place: users notice nothing. Then it dies, too.
test_disk_fails_under_load() {
	local second
	load_module
	rebuild_disks 1 16 32
	new_disk second 16
	dm_linear disk "$DISK"
	dm_linear spare "$SPARE"
	group_move L5 /dev/mapper/disk
	group_move S0 /dev/mapper/spare
	G_VOLUMES+=("S1 spare $second -")
	G_FEATURES+=(rebuild_rate 256)
	group_create
	clones_create
	start_load L5 /dev/mapper/L5 --write 60 --dsync 5 --flush 2 --state m.L5
	assert_io_flows /dev/mapper/L5
	expect_failing_disk
	dm_change disk "0 $G_LEN error"
	wait_health L5 rebuilding
	assert_io_flows /dev/mapper/L5
	dmsetup message G0 0 rebuild_rate 0
	wait_health L5 in-sync
	assert_status L5.disk=S0
	assert_io_flows /dev/mapper/L5
	dm_change spare "0 $G_LEN error"
	wait_lives_on L5 S1
	assert_io_flows /dev/mapper/L5
	stop_load L5
	rebuild_down
	assert_state "$second" m.L5
}

# The disk of a read-only volume is given up by command, and taken back as a spare would be.
test_fail_and_restore() {
	load_module
	rebuild_disks 0 8 16
	new_disk other 8
	"$SVOL_TEST" fill --seed "$SEED" "$other"
	G_VOLUMES+=("LV1 ro $other -")
	group_create
	clones_create
	expect_failing_disk
	steps L5 write:0+500 flush
	dmsetup message G0 0 fail LV1
	wait_lives_on LV1 S0
	assert_base "$SPARE"
	dmsetup message G0 0 fail L5
	wait_health L5 degraded
	readd L5
	wait_lives_on L5 L5
	check_clones
	steps L5 write:700+500 check
	rebuild_down
	assert_disk_is_l5 "$DISK"
}

# The disk of a read-only volume is taken back, and gets the base image again.
test_readd_read_only() {
	load_module
	rebuild_disks 0 8 16
	group_drop S0
	new_disk other 8
	"$SVOL_TEST" fill --seed "$SEED" "$other"
	G_VOLUMES+=("LV1 ro $other -")
	group_create
	clones_create
	expect_failing_disk
	dmsetup message G0 0 fail LV1
	wait_health LV1 failed
	readd LV1
	wait_lives_on LV1 LV1
	steps L5 write:0+500 flush
	check_clones
	rebuild_down
	assert_base "$other"
}

# A new disk takes the place of the dead one in the line, and is the next spare.
test_dead_disk_is_replaced() {
	local fresh
	rebuild_group 0 8 16
	expect_failing_disk
	steps L5 write:0+500 flush
	dmsetup message G0 0 fail L5
	wait_lives_on L5 S0
	new_disk fresh 8
	"$SVOL_TEST" fill --seed 99 "$fresh"
	rebuild_down
	group_move L5 "$fresh"
	group_create
	clones_create
	assert_status L5.disk=S0 L5.health=in-sync
	dmsetup message G0 0 readd L5
	steps L5 write:700+500 flush
	dmsetup message G0 0 fail L5
	wait_lives_on L5 L5
	check_clones
	rebuild_down
	assert_disk_is_l5 "$fresh"
}

# LV1 has taken the only spare when L5 loses its disk.
spare_is_taken() { # [feature...]
	load_module
	rebuild_disks 0 8 16
	dm_linear spare "$SPARE"
	group_move S0 /dev/mapper/spare
	new_disk other 8
	"$SVOL_TEST" fill --seed "$SEED" "$other"
	G_VOLUMES+=("LV1 ro $other -")
	G_FEATURES+=("$@")
	expect_disk_errors
	group_create
	clones_create
	steps L5 write:0+1000 flush
	dmsetup message G0 0 fail LV1
	wait_lives_on LV1 S0
	dmsetup message G0 0 fail L5
	wait_health L5 degraded
}

# When the volume on the spare leaves the group, the spare is free for the one that waits.
test_spare_gets_free() {
	spare_is_taken
	dmsetup message G0 0 remove LV1
	wait_health L5 in-sync
	assert_lives_on_spare L5
	steps L5 check
}

# As soon as the reads that the spare still has have ended.
test_spare_gets_free_and_has_reads() {
	local i pids=()
	spare_is_taken slow_after 400
	svol_create LV0 --readonly
	log_mark
	tasks_may_hang
	dmsetup suspend --noflush --nolockfs spare
	for ((i = 0; i < 12; i++)); do
		dd if=/dev/mapper/LV0 of=/dev/null bs=4096 count=1 skip=$((i * 37)) iflag=direct status=none &
		pids+=($!)
	done
	wait_until 20 log_says 'disk of S0: no answer' || fail 'nobody notices'
	dmsetup message G0 0 readd LV1
	dmsetup message G0 0 restore LV1 onto LV1
	wait_lives_on LV1 LV1
	nap 1
	read_status
	assert_status L5.health=degraded S0.health=spare
	dmsetup resume spare
	wait "${pids[@]}" || fail 'a read failed'
	wait_health L5 in-sync 30
	assert_lives_on_spare L5
	steps L5 check
}

# All is copied, but not yet recorded, when another table is loaded. The volume ends within a sub-block.
test_reloaded_at_the_end() {
	load_module
	rebuild_disks 0 8 16 cache_size=8
	dm_linear spare "$SPARE"
	group_move S0 /dev/mapper/spare
	G_LEN=$((8 * 2048 - 3))
	group_create
	clones_create
	steps L5 write:0+1000 write:$((G_LEN - 9))+9 flush
	dm_change spare "0 $((8 * 2048)) delay $SPARE 0 0 $SPARE 0 0 $SPARE 0 6000" --noflush
	expect_disk_errors
	dmsetup message G0 0 fail L5
	wait_progress L5 128
	dm_change G0 "$(group_table)"
	read_status
	assert_status L5.health=rebuilding L5.blocks=128/128
	dm_change spare "0 $((8 * 2048)) linear $SPARE 0" --noflush
	wait_health L5 in-sync
	assert_lives_on_spare L5
	steps L5 check
}

# The base image is read where it disturbs least: not from the disk of a volume that is in use, wherever that
# lives by now.
test_least_used_source() {
	local busy quiet
	covered9 16
	new_disk other 16
	dmsetup message G0 0 add S1 spare "$other" -
	G_VOLUMES+=("S1 spare $other -")
	dm_change G0 "$(group_table)"
	dmsetup message G0 0 restore LV0 onto S0
	wait_lives_on LV0 S0
	# LV1 is used now and then, the empty place of S0 is not.
	start_load LV0 /dev/mapper/LV0
	dd if=/dev/mapper/LV1 of=/dev/null bs=4096 count=50 iflag=direct status=none
	nap 3
	stop_loads
	dmsetup message G0 0 fail LV2
	wait_health LV2 degraded
	busy=$(disk_stat "$DS" read_sectors)
	quiet=$(disk_stat "$D1" read_sectors)
	dmsetup message G0 0 restore LV2 onto S1
	wait_lives_on LV2 S1
	busy=$(($(disk_stat "$DS" read_sectors) - busy))
	quiet=$(($(disk_stat "$D1" read_sectors) - quiet))
	note "$busy sectors read from the disk of LV0, $quiet from that of LV1"
	assert_at_least 'what is read from the quiet disk' "$quiet" $((8 * busy + 16384))
}
