# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# A device fails under load, and a moment later the power goes, with all that was not flushed. The device
# works again when it comes back: it is stale. Nothing that was flushed is lost, and nothing is wrong.
# Until the power goes, no user sees an error. SVOL_SECONDS makes it longer: one cut for each seven of them.
# Smoke: logged_disk
# Limits: read_only_disk=600 logged_disk=600 increments=600 metadata_copy=600 spare_while_it_is_filled=600

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

CUTS=$((${SVOL_SECONDS:-14} / 7))
# Whether the device has failed since the last start.
HAS_FAILED=no
# What happens between that and the next thing, in all.
DELAYS=0

# The disk of any of these volumes does not work any more.
fail_disk_of() { # LID...
	local lid
	pick lid "$@"
	pick HOW error writes flaps
	read_status
	BROKEN=${ST[$lid.disk]}
	cover_set "$BROKEN" "$HOW"
}

fail_increments() {
	BROKEN=ST
	pick HOW error writes
	cover_set ST "$HOW"
}

fail_metadata() {
	pick BROKEN META META1
	pick HOW error writes
	cover_set "$BROKEN" "$HOW"
}

# A volume is given up by command, so that a spare is filled, which fails then.
fail_spare() {
	local lid
	pick_movable lid L5 L6 C1 LV0 LV1
	dmsetup message G0 0 rebuild_rate 2048
	log_mark
	dmsetup message G0 0 fail "$lid"
	wait_until 60 is_filled || fail "no rebuild of $lid begins: ${ST[line]}"
	nap "0.$((RANDOM % 8))"
	HOW=error
	cover_set "$BROKEN" error
}

# Sets BROKEN to the disk that is being filled.
is_filled() {
	BROKEN=$(log_since_mark | sed -n 's/.*: rebuild onto the disk of \([^ ]*\) begins$/\1/p' | tail -n 1)
	[ -n "$BROKEN" ]
}

# One failure, after everything is well again. Then some time, mostly a short one.
fail_now() {
	local delay
	[ -z "$BROKEN" ] || mend
	"$FAILURE" "${FAILING[@]}"
	HAS_FAILED=yes
	pick delay 0.0 0.00 0.0 0.
	nap "$delay$((RANDOM % 10))"
}

model_live() {
	[ "$HAS_FAILED" = yes ] || fail_now
}

model_cut() {
	[ "$HAS_FAILED" = yes ] || fail_now
	note "$BROKEN: $HOW"
	power_off "${G_DISKS[@]}"
}

model_start() {
	clones_remove
	dmsetup remove G0 "${FAULTY[@]/#/cov_}"
	power_on "${G_DISKS[@]}"
	faults_covers
	HAS_FAILED=no
	group_create
	assert_base /dev/mapper/G0
	clones_create
}

crashes_after() { # function [argument...]
	RANDOM=$((SVOL_SEED % 32768))
	need_target flakey
	FAILURE=$1
	FAILING=("${@:2}")
	FAULTY+=(META1)
	faults_disks cache_size=2
	faults_covers
	expect_power_cuts
	group_create
	clones_create
	run_model 100000 'live crash crash' --crashes "$CUTS" --pause 700
	mend
	check_disks
}

test_read_only_disk() {
	crashes_after fail_disk_of LV0 LV1 C1
}

test_logged_disk() {
	crashes_after fail_disk_of L5 L6
}

test_increments() {
	crashes_after fail_increments
}

test_metadata_copy() {
	crashes_after fail_metadata
}

test_spare_while_it_is_filled() {
	crashes_after fail_spare
}
