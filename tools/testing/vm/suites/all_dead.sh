# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# All devices of a group fail at once, or none answers and then all are gone: everything that waits ends soon
# after, with errors where they can't be helped, and then everything can be removed. While nobody answers,
# status, query and fail do.
# Smoke: nobody_answers_then_gone

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

# How long anything may take, once the devices have answered: much less on an idle machine.
SOON=20
# What runs beside the loads, and may fail, but has to end.
OTHERS=()

# Runs a command, which may fail, but has to end; its status is in ENDED.
ends_soon() { # command...
	local pid began=${EPOCHREALTIME/./}
	"$@" &
	pid=$!
	wait_until "$SOON" has_ended "$pid" || fail "\"$*\" does not end"
	ENDED=0
	wait "$pid" || ENDED=$?
	TOOK=$(((${EPOCHREALTIME/./} - began) / 1000))
}

# The same, and it has to succeed.
succeeds_soon() { # command...
	ends_soon "$@"
	assert_eq "the status of \"$*\"" "$ENDED" 0
}

# A group of all kinds of volumes, each of them in use; errors are none yet.
dying_group() { # way-to-begin [feature...]
	RANDOM=$((SVOL_SEED % 32768))
	FAULTY+=(META1 CT)
	faults_disks
	faults_covers
	expect_power_cuts
	G_FEATURES=(init "$@")
	group_create
	svol_create LV0 --readonly
	svol_create LV1 --readonly
	clones_create
}

use_all() {
	local lid
	for lid in LV0 LV1; do
		start_load "$lid" "/dev/mapper/$lid" --allow-errors
	done
	for lid in "${CLONES[@]}"; do
		start_load "$lid" "/dev/mapper/$lid" --write 50 --flush 5 --dsync 10 --allow-errors
	done
}

# In the background, for as long as it takes.
also() { # command...
	"$@" >also.$RANDOM 2>&1 &
	OTHERS+=("$!")
}

# All covers get tables of another kind in one go.
all_covers() { # way [suspended, if they are]
	local name
	for name in "${FAULTY[@]}"; do
		dmsetup load "cov_$name" --table "$(cover_table "$name" "$1")"
	done
	[ "${2-}" = suspended ] || dmsetup suspend --noflush --nolockfs "${FAULTY[@]/#/cov_}"
	dmsetup resume "${FAULTY[@]/#/cov_}"
}

nobody_answers() {
	tasks_may_hang
	dmsetup suspend --noflush --nolockfs "${FAULTY[@]/#/cov_}"
	# Whoever has not asked yet does now.
	nap 1
	wait_until "$SOON" all_wait || fail "there still is I/O: $(all_counts)"
}

# How many I/Os each of the volumes in use has finished.
all_counts() {
	local lid
	for lid in LV0 LV1 "${CLONES[@]}"; do
		echo "$lid: $(io_count "$(disk_sys "/dev/mapper/$lid")")"
	done
}

all_wait() {
	local before
	before=$(all_counts)
	nap 0.5
	[ "$(all_counts)" = "$before" ]
}

# Everybody ends, and everything can be removed.
everything_ends() {
	local name pid began=${EPOCHREALTIME/./}
	for name in "${!LOAD_PIDS[@]}"; do
		kill -TERM "${LOAD_PIDS[$name]}"
	done
	for name in "${!LOAD_PIDS[@]}"; do
		wait_until "$SOON" has_ended "${LOAD_PIDS[$name]}" || fail "the load $name does not end"
		# It would not allow wrong data.
		stop_load "$name"
	done
	for pid in ${OTHERS[@]+"${OTHERS[@]}"}; do
		wait_until "$SOON" has_ended "$pid" || fail "not ended: $(tr '\0' ' ' <"/proc/$pid/cmdline")"
	done
	note "all I/O ends within $(((${EPOCHREALTIME/./} - began) / 1000)) ms"
	succeeds_soon dmsetup status G0
	began=${EPOCHREALTIME/./}
	succeeds_soon dmsetup remove LV0 LV1 "${CLONES[@]}"
	succeeds_soon dmsetup remove G0
	succeeds_soon unload_module
	note "all is removed within $(((${EPOCHREALTIME/./} - began) / 1000)) ms"
}

# The messages that never wait for a disk.
messages_are_answered() {
	local lid
	succeeds_soon dmsetup status G0
	note "status is answered within $TOOK ms"
	succeeds_soon dmsetup message G0 0 query
	note "query is answered within $TOOK ms"
	for lid in LV0 L5 S0; do
		# Nobody says that it is granted.
		ends_soon dmsetup message G0 0 fail "$lid"
		note "fail $lid is answered within $TOOK ms, with status $ENDED"
	done
	succeeds_soon dmsetup status G0
	succeeds_soon dmsetup table G0
}

test_all_answer_errors() {
	dying_group assume_identical
	use_all
	all_covers error
	nap 1
	# More errors, nothing else.
	ends_soon dd if=/dev/zero of=/dev/mapper/L6 bs=4096 count=16 conv=fsync status=none
	messages_are_answered
	everything_ends
}

test_errors_while_a_spare_is_filled() {
	dying_group assume_identical rebuild_rate 128
	use_all
	dmsetup message G0 0 fail L5
	wait_until 60 health_is L5 rebuilding || fail "no rebuild: ${ST[line]}"
	all_covers error
	nap 1
	messages_are_answered
	everything_ends
}

test_errors_while_disks_are_compared() {
	dying_group verify rebuild_rate 128
	use_all
	all_covers error
	nap 1
	everything_ends
}

test_nobody_answers_then_errors() {
	dying_group assume_identical slow_after 300
	use_all
	nobody_answers
	also dd if=/dev/zero of=/dev/mapper/L6 bs=4096 count=16 conv=fsync
	messages_are_answered
	all_covers error suspended
	everything_ends
}

# A suspend waits for the devices. Then it ends, and the resume, too, whether it succeeds or not.
suspends_while_nobody_answers() { # name
	dying_group assume_identical
	use_all
	nobody_answers
	also dmsetup suspend "$1"
	nap 1
	! has_ended "${OTHERS[-1]}" || fail "the suspend of $1 does not wait"
	all_covers error suspended
	wait_until "$SOON" has_ended "${OTHERS[-1]}" || fail "the suspend of $1 does not end"
	ends_soon dmsetup resume "$1"
	note "resume of $1: status $ENDED after $TOOK ms"
	everything_ends
}

test_group_is_suspended_meanwhile() {
	suspends_while_nobody_answers G0
}

test_volume_is_suspended_meanwhile() {
	suspends_while_nobody_answers L5
}

# So does the change of a table. If the new one can't be in use, everything waits for another one, as after
# each refused resume, and ends with that.
test_table_is_changed_meanwhile() {
	expect_refused_resumes
	dying_group assume_identical
	use_all
	nobody_answers
	also dm_change G0 "$(group_table)"
	nap 1
	all_covers error suspended
	wait_until "$SOON" has_ended "${OTHERS[-1]}" || fail 'the change of the table does not end'
	if [ "$(dm_info G0 suspended)" = Suspended ]; then
		note 'the new table is refused'
		succeeds_soon dmsetup wipe_table --noflush --nolockfs G0
	fi
	everything_ends
}

# Their disks are pulled out, while a spare is filled.
test_nobody_answers_then_gone() {
	dying_group assume_identical rebuild_rate 128
	use_all
	dmsetup message G0 0 fail L6
	wait_until 60 health_is L6 rebuilding || fail "no rebuild: ${ST[line]}"
	nobody_answers
	also dmsetup message G0 0 readd L6
	also dmsetup message G0 0 set_attr C1 rw
	messages_are_answered
	power_off "${G_DISKS[@]}"
	dmsetup resume "${FAULTY[@]/#/cov_}"
	everything_ends
}
