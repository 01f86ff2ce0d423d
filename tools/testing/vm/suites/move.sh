# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Volumes that are well move to another disk, before the one that they have dies.
# Smoke: read_only_volume

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

# LV0 and LV1 are read-only, LV2 is written; the spare holds something else.
move_group() { # MiB [attribute=value...]
	covered9 "$@"
	fill_spare
	steps LV2 write:0+100 write:3000+9 flush
}

# A move that takes a while begins.
begins_slowly() { # LID [onto LID]
	dmsetup message G0 0 rebuild_rate 512
	dmsetup message G0 0 restore "$@"
	wait_until 60 progress_is "$1" 8 || fail "the move of $1 does not get on: ${ST[line]}"
	# Also a slow machine comes back to it before it is over.
	dmsetup message G0 0 rebuild_rate 64
	assert_status "$1.health=in-sync" "$1.disk=$1" S0.health=rebuilding
}

assert_data() {
	steps LV2 check
	assert_base /dev/mapper/LV0 /dev/mapper/LV1 /dev/mapper/G0
}

test_read_only_volume() {
	local events
	move_group 8
	start_load LV0 /dev/mapper/LV0
	events=$(dm_info G0 events)
	log_mark
	begins_slowly LV0
	# It is protected all the time.
	assert_status state=clean redundancy=1 LV0.protection=protected S0.protection=-
	assert_io_flows /dev/mapper/LV0
	dmsetup message G0 0 rebuild_rate 0
	wait_lives_on LV0 S0
	assert_logged 'LV0: move onto the disk of S0 begins'
	assert_logged 'LV0: moved, its disk is that of S0 from now on'
	assert_at_least 'the events' "$(dm_info G0 events)" $((events + 2))
	assert_status state=clean redundancy=1 S0.health=in-sync S0.disk=-
	assert_io_flows /dev/mapper/LV0
	stop_load LV0
	assert_data
	assert_base "$DS"
	# The old disk can go.
	down9
	blank_disk "$D0"
	group_move LV0 -
	up9
	lives_on LV0 S0 || fail "${ST[line]}"
	assert_data
}

# There and back, while it is in use; the line stays as it is.
test_there_and_back() {
	local i
	move_group 8
	start_load LV1 /dev/mapper/LV1
	for i in 1 2 3; do
		restore LV1 onto S0
		wait_lives_on LV1 S0
		restore LV1
		wait_lives_on LV1 LV1
		assert_status S0.health=spare S0.disk=S0 state=clean
	done
	assert_io_flows /dev/mapper/LV1
	stop_load LV1
	# What it has left is free for others, whatever they write there.
	restore LV1 onto S0
	wait_lives_on LV1 S0
	dmsetup message G0 0 fail LV2
	wait_health LV2 degraded
	restore LV2 onto LV1
	wait_lives_on LV2 LV1
	steps LV2 write:200+100 flush check
	assert_data
	down9
	up9
	lives_on LV1 S0 || fail "${ST[line]}"
	lives_on LV2 LV1 || fail "${ST[line]}"
	assert_data
}

# What can't move says why, and what to do.
test_refused() {
	move_group 4
	begin_refusals
	refusal EINVAL 'restore;LV0;onto;serves LV1' 'restore LV0 onto LV1'
	refusal EINVAL 'restore;LV0;onto;serves LV0' 'restore LV0 onto LV0'
	refusal EINVAL 'restore;LV0;increments' 'restore LV0 onto DLV2'
	check_refusals messages
	begins_slowly LV0
	begin_refusals
	refusal EBUSY 'restore;LV0' 'restore LV0'
	refusal EINVAL 'restore;LV1;onto;filled for LV0' 'restore LV1 onto S0'
	refusal ENOSPC 'restore;LV1;spare' 'restore LV1'
	refusal '' 'remove;LV0' 'remove LV0'
	refusal '' 'remove;LV0' 'remove S0'
	check_refusals messages
	dmsetup message G0 0 rebuild_rate 0
	wait_lives_on LV0 S0
}

# A diverted volume moves, and what it wrote stays where it is.
test_diverted_volume() {

	move_group 8
	dmsetup message G0 0 set_attr LV2 ro
	steps LV2 write:500+100 write:9000+50 flush check
	begins_slowly LV2
	steps LV2 write:600+100 zero:9000+8 flush check
	begin_refusals
	refusal '' 'set_attr;LV2;moved' 'set_attr LV2 rw'
	check_refusals messages
	dmsetup message G0 0 rebuild_rate 0
	wait_lives_on LV2 S0
	steps LV2 write:1000+100 flush check
	assert_base "$DS"
	# In place again, on the new disk.
	dmsetup message G0 0 set_attr LV2 rw
	steps LV2 write:50+100 flush check
	assert_data
	down9
	"$SVOL_TEST" steps "$DS" --seed "$SEED" --own 1002 --state s.LV2 check
	up9
	assert_data
	read_status
	assert_status LV2.disk=S0 LV2.protection=protected state=clean
}

# It goes on where it was, after a reload and after a crash.
test_life_goes_on_meanwhile() {
	local before
	move_group 16
	begins_slowly LV0
	before=${ST[LV0.blocks]%/*}
	G_FEATURES+=(rebuild_rate 64)
	dm_change G0 "$(group_table)"
	progress_is LV0 "$before" || fail "${ST[line]}"
	dmsetup suspend G0
	dmsetup resume G0
	assert_data
	before=${ST[LV0.blocks]%/*}
	down9
	up9
	progress_is LV0 "$before" || fail "${ST[line]}"
	assert_status LV0.disk=LV0 LV0.health=in-sync S0.health=rebuilding
	assert_data
	dmsetup message G0 0 rebuild_rate 0
	wait_lives_on LV0 S0
	assert_data
	assert_base "$DS"
}

test_power_cuts_meanwhile() {
	local i
	move_group 16 cache_size=8
	expect_power_cuts
	RANDOM=$((SVOL_SEED % 32768))
	for i in 1 2 3 4; do
		dmsetup message G0 0 rebuild_rate $((1024 << i))
		if lives_on LV0 LV0; then
			dmsetup message G0 0 restore LV0 onto S0 || :
		else
			dmsetup message G0 0 restore LV0 onto LV0 || :
		fi
		nap "$((RANDOM % 4)).$((RANDOM % 10))"
		power_off "${G_DISKS[@]}"
		power_return9
		read_status
		note "LV0 lives on ${ST[LV0.disk]}, ${ST[LV0.blocks]}"
		assert_data
	done
	dmsetup message G0 0 rebuild_rate 0
	wait_until 60 is_clean || fail "${ST[line]}"
	assert_data
}

is_clean() {
	read_status
	[ "${ST[state]} ${ST[LV0.blocks]}" = 'clean -' ]
}

# A group as at the beginning, also if there was one.
move_group_again() { # MiB
	if dm_exists G0; then
		G_FEATURES=(init assume_identical failover manual)
		restart_anew9
		fill_spare
		steps LV2 write:0+100 write:3000+9 flush
	else
		move_group "$1"
	fi
}

# LV0 is being read and moves when one of the two disks dies, is given up, or is dead at a start.
breaks_meanwhile() { # name LID error|command|start
	move_group_again 8
	start_load LV0 /dev/mapper/LV0
	begins_slowly LV0
	case $3 in
	error) cover_is "$1" error ;;
	command) dmsetup message G0 0 fail "$2" ;;
	start)
		stop_load LV0
		down9
		cover_is "$1" error
		# Spares are not looked at.
		[ "$2" != S0 ] || group_move S0 -
		G_FEATURES+=(rebuild_rate 64)
		up9
		group_move "$2" "/dev/mapper/$1"
		start_load LV0 /dev/mapper/LV0
		;;
	esac
}

# The rest is a rebuild onto the same disk.
test_old_disk_fails() {
	local way
	for way in error command start; do
		breaks_meanwhile disk0 LV0 "$way"
		wait_health LV0 rebuilding
		assert_status LV0.disk=- state=degraded S0.health=rebuilding
		assert_io_flows /dev/mapper/LV0
		dmsetup message G0 0 rebuild_rate 0
		wait_lives_on LV0 S0
		assert_io_flows /dev/mapper/LV0
		stop_load LV0
		assert_data
		assert_base "$DS"
	done
}

# Nothing has happened.
test_target_fails() {
	local way
	for way in error command start; do
		breaks_meanwhile spare S0 "$way"
		wait_health S0 failed
		lives_on LV0 LV0 || fail "${ST[line]}"
		assert_status LV0.blocks=- LV1.health=in-sync
		assert_io_flows /dev/mapper/LV0
		stop_load LV0
		assert_data
	done
}

# The last disk that has the base image moves: there is always one that serves it.
test_last_source() {
	move_group 8
	dmsetup message G0 0 fail LV1
	wait_health LV1 failed
	start_load LV0 /dev/mapper/LV0
	start_load LV1 /dev/mapper/LV1
	dmsetup message G0 0 restore LV0 onto S0
	wait_lives_on LV0 S0
	assert_io_flows /dev/mapper/LV1
	# It is given up too: LV0 needs it.
	must_fail dmsetup message G0 0 fail LV0
	restore LV1 onto LV0
	wait_lives_on LV1 LV0
	assert_io_flows /dev/mapper/LV0
	stop_loads
	assert_data
	assert_base "$D0"
}
