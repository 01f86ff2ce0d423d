# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Many failovers in a row: the disk of a volume dies, a spare (or the disk that it had before) takes its place
# by itself; the disk is mended, and taken back. fio and svol-test use all volumes all the time, and see no
# error and no wrong byte. SVOL_SECONDS makes it longer: one failover for each seven of them.
# Smoke: last_to_notice
# Limits: in_a_row=900

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

FAILOVERS=$((${SVOL_SECONDS:-70} / 7))
# What is in use, by its folder in sysfs.
USED=()

# Each volume that is written in two halves: the first one is svol-test's, the second one fio's.
halves() {
	local lid half=$((G_LEN / 2)) devices=()
	for lid in "${CLONES[@]}"; do
		devices+=("test_$lid,,,,0 $half linear /dev/mapper/$lid 0"
			"fio_$lid,,,,0 $half linear /dev/mapper/$lid $half")
	done
	dm_create_all "${devices[@]}"
}

# fio with a job for each volume: it writes all of it and verifies that, again and again.
start_fio() {
	cat >fio.job <<'END'
[global]
rw=randwrite
direct=1
ioengine=io_uring
iodepth=4
thinktime=20000
thinktime_blocks=4
fsync=64
verify=crc32c
verify_fatal=1
verify_state_save=0
time_based
runtime=1000000
[L5]
filename=/dev/mapper/fio_L5
bs=4k
[L6]
filename=/dev/mapper/fio_L6
bs=1k
[C1]
filename=/dev/mapper/fio_C1
bs=16k
verify_backlog=64
END
	fio --minimal --disk_util=0 fio.job >fio.out 2>&1 &
	FIO=$!
	wait_until 120 load_runs /dev/mapper/fio_C1 || fail "fio does not start: $(cat fio.out)"
}

# It was interrupted, and nothing else happened to it.
stop_fio() {
	local status=0
	kill -INT "$FIO"
	wait "$FIO" || status=$?
	[ "$status" = 0 ] || [ "$status" = 128 ] || fail "fio ends with $status: $(cat fio.out)"
	assert_eq 'the errors of the jobs' \
		"$(awk -F ';' '$1 == 3 { print $3, $5 }' fio.out | sort | tr '\n' ' ')" 'C1 0 L5 0 L6 0 '
	awk -F ';' '$1 == 3 { print "fio on " $3 ": " $6 " KiB read, " $47 " KiB written" }' fio.out
}

start_users() {
	local lid
	halves
	# They leave some of the processors to the test.
	for lid in LV0 LV1; do
		start_load "$lid" "/dev/mapper/$lid" --think 10
	done
	for lid in "${CLONES[@]}"; do
		start_load "$lid" "/dev/mapper/test_$lid" --think 10 --write 50 --flush 3 --dsync 5 --state "st.$lid"
	done
	start_fio
	for lid in LV0 LV1 "${CLONES[@]/#/test_}" "${CLONES[@]/#/fio_}"; do
		USED+=("$(disk_sys "/dev/mapper/$lid")")
	done
}

assert_users_go_on() {
	local lid folder
	! has_ended "$FIO" || fail "fio has ended: $(cat fio.out)"
	for lid in "${!LOAD_PIDS[@]}"; do
		! has_ended "${LOAD_PIDS[$lid]}" || fail "the load $lid has ended: $(cat "load.$lid")"
	done
	# The end of one job is not that of fio.
	for folder in "${USED[@]}"; do
		assert_io_flows "$folder" || fail "fio says: $(cat fio.out)"
	done
}

stop_users() {
	local lid halves=()
	stop_fio
	stop_loads
	for lid in "${CLONES[@]}"; do
		assert_state "/dev/mapper/test_$lid" "st.$lid"
		halves+=("test_$lid" "fio_$lid")
	done
	assert_base /dev/mapper/LV0 /dev/mapper/LV1 /dev/mapper/G0
	dmsetup remove "${halves[@]}" LV0 LV1
}

# A volume is well, on another disk than that.
has_moved() { # LID LID-of-the-disk
	read_status
	[ "${ST[$1.health]}" = in-sync ] && [ "${ST[$1.disk]}" != "$2" ]
}

fail_over() { # number
	local lid disk way began took
	pick_movable lid LV0 LV1 L5 L6 C1
	case $lid in
	L?) pick way error writes reads flaps command ;;
	# Nobody writes such a disk.
	*) pick way error reads flaps command ;;
	esac
	disk=${ST[$lid.disk]}
	began=${EPOCHREALTIME/./}
	case $way in
	command) dmsetup message G0 0 fail "$lid" ;;
	*) cover_set "$disk" "$way" ;;
	esac
	wait_until 90 has_moved "$lid" "$disk" || fail "$1: $lid does not leave $disk ($way): ${ST[line]}"
	took=$(((${EPOCHREALTIME/./} - began) / 1000))
	note "$1: $lid moves from $disk ($way) to ${ST[$lid.disk]}, well after $took ms"
	assert_users_go_on
	[ "$way" = command ] || cover_set "$disk" linear
	readd "$disk"
	wait_until 90 is_mended || fail "$1: $disk is not taken back ($way): ${ST[line]}"
}

test_in_a_row() {
	local i
	RANDOM=$((SVOL_SEED % 32768))
	need_target flakey
	type -P fio >/dev/null || skip 'there is no fio'
	faults_disks
	faults_covers
	group_create
	svol_create LV0 --readonly
	svol_create LV1 --readonly
	clones_create
	start_users
	for ((i = 1; i <= FAILOVERS; i++)); do
		fail_over "$i"
	done
	stop_users >users
	note "$(cat users)"
	check_disks
}

# How soon a dead disk is noticed by nobody any more: the last I/O that took longer than all those before.
test_last_to_notice() {
	local died fio
	type -P fio >/dev/null || skip 'there is no fio'
	faults_disks
	G_FEATURES+=(failover manual)
	group_create
	svol_create L5
	fio --minimal --disk_util=0 --name=L5 --filename=/dev/mapper/L5 --rw=randrw --bs=4k --direct=1 \
		--ioengine=io_uring --iodepth=8 --time_based --runtime=1000000 --write_lat_log=L5 \
		--log_unix_epoch=1 >fio.out 2>&1 &
	fio=$!
	wait_until 120 load_runs /dev/mapper/L5 || fail "fio does not start: $(cat fio.out)"
	nap 3
	# From one moment to the next, without anything that suspends it.
	died=$((${EPOCHREALTIME/./} / 1000))
	disk_set "${COVER[L5]}" badblocks "+0-$((G_LEN - 1))"
	wait_health L5 degraded
	nap 2
	! has_ended "$fio" || fail "fio has ended: $(cat fio.out)"
	kill -INT "$fio"
	wait "$fio" || :
	assert_eq 'the errors of fio' "$(awk -F ';' '$1 == 3 { print $5 }' fio.out)" 0
	# Milliseconds, nanoseconds, ...
	note "$(awk -F ', *' -v died="$died" '
		$1 < died && $2 > before { before = $2 }
		$1 < died { count++; next }
		{ later++ }
		$2 > after { after = $2 }
		$2 > before { slow++; last = $1 - died }
		END {
			printf "0 errors; of %d I/Os before the disk died the slowest took %.1f ms, of %d after it %.1f ms; ",
				count, before / 1e6, later, after / 1e6
			printf "%d were slower than all before, the last of them %d ms after the disk died", slow, last
		}' L5_lat.*log)"
}
