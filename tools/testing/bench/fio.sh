#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# In the guest, with real time: fio with one and with four jobs on dm-linear and on dm-svol. What
# counts is that dm-svol gains as much by more processors.
# shellcheck source=SCRIPTDIR/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

seconds=${BENCH_SECONDS:-10}
mib=512
sectors=$((mib * 2048))

run_fio() { # name device jobs operation
	local iops
	iops=$(fio --name=x --filename="$2" --ioengine=io_uring --direct=1 --rw="$4" --bs=4k --iodepth=32 \
		--numjobs="$3" --group_reporting --time_based --runtime="$seconds" --norandommap \
		--output-format=terse --terse-version=3 2> "$DM_SVOL_SHARE/fio.err" |
		awk -F ';' '{ print $8 + $49 }')
	[[ ${iops:-0} -gt 0 ]] || die "fio: $(cat "$DM_SVOL_SHARE/fio.err")"
	NS[$1.$4.$3]=$((${NS[$1.$4.$3]-0} + iops))
	progress "$1 $4, $3 jobs: $iops I/Os per second"
}

prepare
for disk in base base2 base3; do
	new_disk "$disk" "$mib" submit_queues=4
done
new_disk store $((mib * 3)) submit_queues=4
new_disk meta 8
names=(linear diverted logged)
dmsetup create linear --table "0 $sectors linear /dev/base2 0"
dmsetup create G --table "0 $sectors svol-group G 128 1 /dev/meta 3 diverted ro /dev/base ST logged rw /dev/base3 ST \
ST increments /dev/store - 2 init assume_identical" || die 'no group'
for name in diverted logged; do
	dmsetup create "$name" --table "0 $sectors svol /dev/mapper/G $name"
done
for name in "${names[@]}"; do
	dd if=/dev/zero of="/dev/mapper/$name" bs=1M count="$mib" oflag=direct conv=fsync status=none
done
for round in 1 2; do
	progress "round $round"
	for operation in randread randwrite; do
		for jobs in 1 4; do
			for name in "${names[@]}"; do
				run_fio "$name" "/dev/mapper/$name" "$jobs" "$operation"
			done
		done
	done
done

# How many I/Os dm-linear does while a target does 1000.
linear_by() { # name operation jobs
	echo $((${NS[linear.$2.$3]} * 1000 / ${NS[$1.$2.$3]}))
}

{
	echo "fio, io_uring, 4 KiB, depth 32, $(nproc) processors; I/Os per second"
	echo
	printf '%-12s%-12s%10s%10s%8s\n' '' '' '1 job' '4 jobs' gain
	for operation in randread randwrite; do
		for name in "${names[@]}"; do
			a=$((${NS[$name.$operation.1]} / 2)) b=$((${NS[$name.$operation.4]} / 2))
			printf '%-12s%-12s%10s%10s%8s\n' "$operation" "$name" "$a" "$b" "$(ratio "$b" "$a")"
		done
	done
	echo
	goal_head
	for operation in randread randwrite; do
		for name in "${names[@]:1}"; do
			# Real time is not exact.
			goal "$name $operation: linear by it, 4 jobs as 1 job, in 1/1000" \
				"$(linear_by "$name" "$operation" 4)" \
				$(($(linear_by "$name" "$operation" 1) * 11 / 10))
		done
	done
} > "$DM_SVOL_SHARE/fio.txt"
