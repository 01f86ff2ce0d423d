# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# One random fault at a time, and random commands, while random I/O runs against a model: no user sees
# an error, and nobody ever reads anything wrong. SVOL_SECONDS makes them longer.
# Smoke: without_crashes

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

SECONDS_EACH=${SVOL_SECONDS:-50}

# A start does without what is broken; but diverted volumes have nothing else than their increments volume.
starts_so() {
	[ "$BROKEN" != ST ] || is_sound
}

# Entries that come and go: a spare, a source, and a clone in the store of others.
extra_disks() {
	local disks name
	for name in X0 X1; do
		new_disk disks 4
		EXTRA[$name]=$disks
	done
}
declare -A EXTRA

is_extra() { # LID
	[[ " ${G_VOLUMES[*]} " == *" $1 "* ]]
}

# One of them joins the group, or leaves it.
extra_changes() {
	local entry
	pick entry "X0 spare ${EXTRA[X0]} -" "X1 ro ${EXTRA[X1]} -" 'X2 ro - ST'
	if is_extra "${entry%% *}"; then
		dmsetup message G0 0 remove "${entry%% *}" 2>/dev/null || return 0
		group_drop "${entry%% *}"
		note "removes ${entry%% *}"
	else
		# shellcheck disable=SC2086 # these are words
		dmsetup message G0 0 add $entry 2>/dev/null || return 0
		G_VOLUMES+=("$entry")
		note "adds ${entry%% *}"
	fi
	! starts_so || dm_change G0 "$(dmsetup table G0)"
}

# What a fault may meet: it is refused, or it is not.
disturb() {
	local what how at
	case $((RANDOM % 12)) in
	0)
		pick what 0 2048 8192
		dmsetup message G0 0 rebuild_rate "$what"
		;;
	1)
		pick how --noflush --nolockfs
		! starts_so || dm_change G0 "$(dmsetup table G0)" "$how"
		;;
	2) dmsetup suspend G0 && dmsetup resume G0 ;;
	3)
		pick what LV0 LV1 L5 L6 C1
		dmsetup message G0 0 restore "$what" 2>/dev/null || :
		;;
	4)
		pick what LV0 L5 L6 C1 S1
		dmsetup message G0 0 fail "$what" 2>/dev/null || :
		;;
	5)
		pick what C1 L6
		pick how ro rw
		dmsetup message G0 0 set_attr "$what" "$how" 2>/dev/null || :
		;;
	6) dmsetup message G0 0 query >/dev/null ;;
	7)
		pick what "${FAULTY[@]}"
		dmsetup message G0 0 readd "$what" 2>/dev/null || :
		;;
	8) extra_changes ;;
	9)
		pick what LV0 LV1 L5 L6 C1
		pick how LV0 L5 L6 C1 S0 S1 X0
		dmsetup message G0 0 restore "$what" onto "$how" 2>/dev/null || :
		;;
	10)
		pick what L5 L6 C1
		pick how ro rw
		at=$((RANDOM % 48 * 128))
		dmsetup message G0 0 set_attr "$what" "$how" "$at" $((128 * (1 + RANDOM % 16))) 2>/dev/null || :
		;;
	11)
		pick what 1 2
		dmsetup message G0 0 replace_meta "$what" "${G_META[what - 1]}" 2>/dev/null || :
		;;
	esac
}

# A disk does not answer for a while, and is given up meanwhile, or not. Whatever waits for its I/O would wait for
# ever if this did, too.
hang_one() {
	pick BROKEN LV0 LV1 L5 L6 C1 S0 ST
	HOW=hangs
	note "$BROKEN hangs"
	dmsetup suspend --noflush --nolockfs "cov_$BROKEN"
	nap $((RANDOM % 4)).$((RANDOM % 10))
	[ $((RANDOM % 2)) = 0 ] || timeout 20 dmsetup message G0 0 fail "$BROKEN" 2>/dev/null || [ $? != 124 ] ||
		fail "\"fail $BROKEN\" hangs"
	nap 0.$((RANDOM % 10))
	timeout 20 dmsetup status G0 >/dev/null || fail 'the status hangs'
	dmsetup resume "cov_$BROKEN"
}

break_one() {
	pick BROKEN "${FAULTY[@]}"
	pick HOW 'command' "$@"
	if [ "$HOW" = hangs ]; then
		hang_one
		return
	fi
	case $BROKEN in
	ST) [ "$HOW" != reads ] || HOW='command' ;;
	META)
		# There is no command for it.
		HOW=error
		if [ $# = 0 ]; then
			BROKEN=
			return
		fi
		;;
	esac
	note "breaks $BROKEN: $HOW"
	case $HOW in
	command) dmsetup message G0 0 fail "$BROKEN" 2>/dev/null || : ;;
	*) cover_set "$BROKEN" "$HOW" ;;
	esac
}

# Some steps: at most one device is broken at a time.
faults_live() { # [way...]
	local i
	for ((i = 0; i < 4; i++)); do
		if [ -z "$BROKEN" ]; then
			break_one "$@"
		elif [ $((RANDOM % 3)) != 0 ]; then
			disturb
		else
			mend
		fi
		nap 0.$((RANDOM % 5))
	done
	assert_base /dev/mapper/G0
}

model_restart() {
	starts_so || mend
	clones_restart
}

test_without_crashes() {
	RANDOM=$SVOL_SEED
	faults_disks
	faults_covers
	extra_disks
	group_create
	clones_create
	# shellcheck disable=SC2317 # called by run_model
	model_live() {
		faults_live error error writes reads hangs
	}
	run_model "$SECONDS_EACH" 'live live live live restart'
	[ -z "$BROKEN" ] || mend
	assert_base /dev/mapper/G0
}

# The power may go at any moment, too.
test_with_crashes() {
	RANDOM=$SVOL_SEED
	faults_disks cache_size=2
	extra_disks
	expect_power_cuts
	group_create
	clones_create
	# shellcheck disable=SC2317 # called by run_model
	model_live() {
		faults_live
	}
	run_model "$SECONDS_EACH" 'live live live crash restart'
	[ -z "$BROKEN" ] || mend
	assert_base /dev/mapper/G0
}
