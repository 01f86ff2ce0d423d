# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# A device fails under load, or some of its sectors, perhaps while a volume moves; and a moment later the power
# goes, with all that was not flushed, perhaps while the group's table is changed. The device
# works again when it comes back: it is stale. Nothing that was flushed is lost, and nothing is wrong.
# Until the power goes, no user sees an error. SVOL_SECONDS makes it longer: one cut for each seven of them.
# Smoke: logged_disk
# Limits: read_only_disk=600 logged_disk=600 increments=600 metadata_copy=600 spare_while_it_is_filled=600

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

CUTS=$((${SVOL_SECONDS:-14} / 7))
# Whether the device has failed since the last start.
HAS_FAILED=no
# Sectors of the broken disk that can't be read.
SECTORS=()
# Whether the group is suspended and reloaded again and again while the power goes, and the process that does that.
WITH_CHANGES=no
CHANGES=
# How many failures there have been.
FAILURES=0
# How many errors a disk may have.
MAX_ERRORS=4
# A clone whose users do see errors, and are not those of the model.
ALONE=

# The disk of any of these volumes does not work any more.
fail_disk_of() { # LID...
	local lid
	pick lid "$@"
	pick HOW error writes flaps
	read_status
	BROKEN=${ST[$lid.disk]}
	cover_set "$BROKEN" "$HOW"
}

# Some sectors of the disk of any of these volumes can't be read.
fail_sectors_of() { # LID...
	local lid i
	pick lid "$@"
	read_status
	BROKEN=${ST[$lid.disk]}
	HOW=dust
	SECTORS=()
	for ((i = 0; i < 40; i++)); do
		SECTORS+=($((RANDOM % 8192)))
	done
	spoil_sectors
}

spoil_sectors() {
	cover_set "$BROKEN" dust
	bad_sectors "cov_$BROKEN" "${SECTORS[@]}"
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
	BROKEN=$(log_since_mark | sed -En 's/.*: (rebuild|move) onto the disk of ([^ ]*) begins$/\2/p' | tail -n 1)
	[ -n "$BROKEN" ]
}

# A volume moves, and the disk that it leaves fails, or the one that it gets, or none.
fail_move() { # LID...
	local lid old
	pick_movable lid "$@"
	[ -n "$lid" ] || pick_movable lid LV0 LV1 L5 L6 C1
	old=${ST[$lid.disk]}
	dmsetup message G0 0 rebuild_rate 2048
	log_mark
	restore "$lid"
	wait_until 60 is_filled || fail "no move of $lid begins: ${ST[line]}"
	note "$lid moves from $old to $BROKEN"
	nap "0.$((RANDOM % 8))"
	pick HOW moves error-of-old error-of-new
	[ "$HOW" != error-of-old ] || BROKEN=$old
	is_sound || cover_set "$BROKEN" error
}

# The only thing that has what a clone wrote. What was flushed before is there afterwards.
fail_store_of_clone() {
	svol_create "$ALONE"
	steps "$ALONE" "write:$((RANDOM % 4096))+$((RANDOM % 2000))" "write:$((RANDOM % 8000))+9" flush \
		"write:$((RANDOM % 8000))+9"
	BROKEN=CT
	pick HOW error writes
	cover_set CT "$HOW"
	steps "$ALONE" "write:$((RANDOM % 8000))+40" "zero:$((RANDOM % 4096))+1000" flush --allow-errors
}

# These take turns.
fail_in_turn() { # "function argument..."...
	local words
	FAILURES=$((FAILURES + 1))
	read -ra words <<<"${*:FAILURES % $# + 1:1}"
	"${words[@]}"
}

# Any device, in any way.
fail_any() {
	local words
	pick words 'fail_disk_of LV0 LV1 C1' 'fail_disk_of L5 L6' fail_increments fail_metadata fail_spare
	read -ra words <<<"$words"
	"${words[@]}"
}

# The group is suspended, or gets a new table.
change_group() { # number
	case $(($1 % 3)) in
	0) dmsetup suspend G0 ;;
	1) dmsetup suspend --noflush G0 ;;
	2) dmsetup load G0 --table "$(dmsetup table G0)" && dmsetup suspend G0 ;;
	esac && dmsetup resume G0
}

# That, until there is a file `powerless`. A change may only be refused from then on.
begin_changes() {
	local i
	rm -f powerless
	for ((i = RANDOM % 3; ; i++)); do
		[ ! -e powerless ] || break
		change_group "$i" || [ -e powerless ] || fail "change $i was refused" || break
	done >changes 2>&1 &
	CHANGES=$!
	nap "0.$((RANDOM % 10))"
	: >powerless
}

# Where the group could not resume any more, its volumes would wait for it: there is another device instead.
end_changes() {
	wait_until 60 has_ended "$CHANGES" || fail "a change of the group hangs: $(cat changes)"
	! grep FAILED changes || fail "with the power on, $(cat changes)"
	dmsetup clear G0
	dmsetup resume G0 || {
		note 'the group could not resume'
		dmsetup load G0 --table "0 $G_LEN error"
		dmsetup resume G0
	}
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
	[ "$WITH_CHANGES" = no ] || begin_changes
	power_off "${G_DISKS[@]}"
	[ "$WITH_CHANGES" = no ] || end_changes
}

model_start() {
	[ -z "$ALONE" ] || dmsetup remove "$ALONE"
	clones_remove
	dmsetup remove G0 "${FAULTY[@]/#/cov_}"
	power_on "${G_DISKS[@]}"
	faults_covers
	HAS_FAILED=no
	# They may have been written, but not durably.
	[ "$HOW" != dust ] || spoil_sectors
	group_create
	assert_base /dev/mapper/G0
	clones_create
	[ -z "$ALONE" ] || check_alone --after-crash
}

check_alone() { # [option]
	svol_create "$ALONE"
	steps "$ALONE" check "$@"
	dmsetup remove "$ALONE"
}

crashes_after() { # function [argument...]
	RANDOM=$((SVOL_SEED % 32768))
	need_target flakey
	FAILURE=$1
	FAILING=("${@:2}")
	FAULTY+=(META1)
	faults_disks cache_size=2
	G_FEATURES[-1]=$MAX_ERRORS
	[ -z "$ALONE" ] || CLONES=(L5 L6)
	faults_covers
	expect_power_cuts
	group_create
	clones_create
	run_model 100000 'live crash crash' --crashes "$CUTS" --pause 700
	mend
	[ -z "$ALONE" ] || check_alone
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

test_bad_sectors() {
	need_target dust
	MAX_ERRORS=100000
	crashes_after fail_in_turn 'fail_sectors_of LV0 LV1 C1' 'fail_sectors_of L5 L6'
}

test_moves() {
	crashes_after fail_in_turn 'fail_move L5 L6' 'fail_move LV0 LV1 C1'
}

test_store_of_a_clone() {
	ALONE=C1
	FAULTY+=(CT)
	crashes_after fail_store_of_clone
}

test_suspends_and_reloads() {
	WITH_CHANGES=yes
	crashes_after fail_any
}
