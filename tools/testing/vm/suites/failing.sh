# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Each I/O of a device fails in turn, alone or with all that follow: from the first one of a new group on. What
# the others can serve goes on without an error, nobody reads anything wrong, and nothing that was flushed is
# lost. SVOL_STEP=1 tries each number.
# No smoke test: the stock kernel has no fault injection.
# Limits: store=600 metadata=600 disk=600

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

# A longer run tries more of them.
STEP=${SVOL_STEP:-$([ -z "${SVOL_SECONDS-}" ] && echo 11 || echo 1)}

failing_disks() {
	load_module
	disk_faults_begin
	logged_disks 1 2 4 cache_size=1
	new_disk META2 8
	G_META+=("$META2")
	G_DISKS+=("$META2")
	G_FEATURES+=(failover manual)
	expect_power_cuts
	expect_disk_errors
	expect_refused_tables
	expect_refused_resumes
	expect_log '^device-mapper: table: [0-9:]+: svol: preresume failed, error = -[0-9]+$'
}

# A new group.
failing_anew() {
	local disk
	for disk in "$META" "$META2" "$STORE"; do
		blkdiscard -q -f "$disk"
	done
	# shellcheck disable=SC2153 # set by logged_disks
	"$SVOL_TEST" fill --seed "$SEED" "$DISK"
	rm -f s.C1 s.L5
}

# With "on", the device stays broken from the failure on.
go_on() {
	[ "$MODE" = once ] || ! disk_has_failed || disk_faults_go_on
}

# Whether an entry may show errors: what its data is on, and nowhere else, is broken.
may_fail() { # LID
	[ "$FAILING $1" = "$STORE C1" ]
}

# Steps that may only fail if nobody else could do them. Nothing is ever read wrong.
failing_steps() { # LID step...
	local said
	said=$(steps "$@" --allow-errors)
	[ -z "$said" ] || may_fail "$1" || fail "$1 has errors: $said"
	[ -z "$said" ] || ERRORS=$((ERRORS + 1))
	go_on
}

# The group is started while a device may fail. It may be refused if it is new, or can't do without that device.
# UP says whether it runs.
failing_start() { # known, or nothing
	UP=
	if ! group_create >start 2>&1; then
		assert_no_dm G0
		[ "$1" != known ] || [ "$FAILING" = "$STORE" ] || fail "refused: $(cat start)"
	elif go_on && ! clones_create >start 2>&1; then
		may_fail C1 || fail "volumes are refused: $(cat start)"
		for_each_left dmsetup remove
	else
		UP=y
	fi
	go_on
	[ -n "$UP" ] || REFUSED=$((REFUSED + 1))
}

for_each_left() { # command...
	local name
	for name in "${CLONES[@]}" G0; do
		! dm_exists "$name" || "$@" "$name"
	done
}

failing_stop() {
	dmsetup remove "${CLONES[@]}" G0
	go_on
}

# What is done while the device may fail: a new group, writes of all kinds, and a second start.
failing_life() {
	local options=()
	# What it did not flush may be lost with any flush of the store that fails.
	! may_fail C1 || options=(--after-crash)
	failing_start ''
	if [ -n "$UP" ]; then
		failing_steps C1 write:0+128 write:300+9 dsync:1000+8 zero:128+128 write:2001+1 flush discard:0+128 \
			write:3000+40 flush
		failing_steps L5 write:0+64 write:777+3 flush dsync:2040+16 zero:2304+128 write:3000+500
		failing_steps C1 check write:512+8
		failing_steps L5 check
		failing_stop
	fi
	# Nothing is known of a group that never began.
	failing_start "${UP:+known}"
	if [ -n "$UP" ]; then
		failing_steps L5 check write:5+1 flush write:3900+100
		failing_steps C1 check write:4000+1 flush write:700+8 ${options[@]+"${options[@]}"}
		failing_stop
	fi
}

in_sync() {
	read_status
	[ "${ST[L5.health]} ${ST[L5.protection]}" = 'in-sync protected' ]
}

# The device works again: an administrator takes it back.
failing_mend() {
	read_status
	[[ ${ST[metadata]} != F? ]] || dmsetup message G0 0 replace_meta 1 "$META"
	[[ ${ST[metadata]} != ?F ]] || dmsetup message G0 0 replace_meta 2 "$META2"
	[ "${ST[L5.health]}" = in-sync ] || dmsetup message G0 0 readd L5
	if [ "${ST[ST.health]}" != in-sync ]; then
		dmsetup message G0 0 readd ST
		dm_change G0 "$(group_table)"
	fi
	wait_until 60 in_sync || fail "not well: ${ST[line]}"
	assert_status state=clean metadata=AA
}

# After all that: everything is there, on L5's disk by itself, and without its disk.
failing_end() {
	local options=()
	# What was not flushed to the store may be lost with the last commit.
	[ "$FAILING" != "$STORE" ] || options=(--after-crash)
	group_create
	clones_create
	steps C1 check ${options[@]+"${options[@]}"}
	steps L5 check
	failing_mend
	check_clones
	dmsetup remove "${CLONES[@]}" G0
	"$SVOL_TEST" steps "$DISK" --seed "$SEED" --own 1005 --state s.L5 check
	group_move L5 -
	group_create
	svol_create L5
	steps L5 check
	dmsetup remove L5 G0
	group_move L5 "$DISK"
}

# One number after the other fails, until there are no more of them.
each_fails() { # device least
	local number MODE REFUSED=0 ERRORS=0 ended='' modes=(once on)
	FAILING=$1
	for ((number = 1 + SVOL_SEED % STEP; ; number += STEP)); do
		# All of them both ways, or one after the other by turns.
		[ "$STEP" = 1 ] || modes=("$([ $(((number + SVOL_SEED) / STEP % 2)) = 0 ] && echo once || echo on)")
		for MODE in "${modes[@]}"; do
			echo "number $number, $MODE"
			failing_anew
			arm_disk "$FAILING" "$number"
			failing_life
			disk_has_failed || ended=y
			disarm_disk
			failing_end
			[ -z "$ended" ] || break 2
		done
	done
	note "fewer than $number I/Os; the group was refused $REFUSED times, $ERRORS times a volume had errors"
	assert_base "$BASE_DISK"
	assert_at_least 'the number of I/Os' "$number" "$2"
}

test_store() {
	failing_disks
	each_fails "$STORE" 30
}

test_metadata() {
	failing_disks
	each_fails "$META" 10
}

test_disk() {
	failing_disks
	each_fails "$DISK" 10
}

is_suspended() {
	[ "$(dm_info G0 suspended)" = Suspended ]
}

# The group has begun anew, or has tried to.
has_begun_anew() {
	is_suspended || log_says 'goes on as before' || health_is ST in-sync
}

ios_of() { # disk
	echo $(($(disk_stat "$1" reads) + $(disk_stat "$1" writes) + $(disk_stat "$1" flushes)))
}

# A new group, whose increments volume ST is taken back while an I/O of the other one may fail.
take_back_while_failing() { # number
	local disk
	for disk in "$META" "$META2" "$STORE" "$STORE6"; do
		blkdiscard -q -f "$disk"
	done
	group_create
	dmsetup message G0 0 fail ST
	wait_until 30 health_is ST failed || fail "ST does not fail: ${ST[line]}"
	IOS=$(ios_of "$STORE6")
	arm_disk "$STORE6" "$1"
	log_mark
	dmsetup message G0 0 readd ST
	wait_until 30 has_begun_anew || fail "ST is not taken back: ${ST[line]}"
	disarm_disk
	IOS=$(($(ios_of "$STORE6") - IOS))
}

# The group begins anew, and does not start because of the last I/Os of an increments volume: it starts with a
# line that leaves that one out, as the log says.
test_store_that_keeps_another_one_from_its_start() {
	local number most refused=0
	failing_disks
	# ST can be given up without it.
	group_drop C1
	new_disks 'DISK6 STORE6' 4 cache_size=1
	"$SVOL_TEST" fill --seed "$SEED" "$DISK6"
	G_VOLUMES+=("L6 rw $DISK6 ST6" "ST6 increments $STORE6 -")
	take_back_while_failing 2000
	most=$IOS
	dmsetup remove G0
	for ((number = most; number > 0 && number > most - 12; number--)); do
		take_back_while_failing "$number"
		if is_suspended; then
			refused=$((refused + 1))
			group_move ST6 -
			dmsetup load G0 --table "$(group_table)" || fail "number $number: the line is refused"
			dmsetup resume G0
			read_status
			assert_status ST6.health=failed L6.health=in-sync
			group_move ST6 "$STORE6"
		fi
		dmsetup remove G0
	done
	assert_at_least 'refused starts' "$refused" 3
}
