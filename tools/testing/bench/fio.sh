#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# fio.sh <load generator>: with real programs on several processors, whether anything makes jobs
# wait for each other. In real time: only the ratios mean something, and only on a quiet host.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

setup "$1"
mkdir -p /dev/shm
mountpoint -q /dev/shm || mount -t tmpfs tmpfs /dev/shm
declare -A iops

run() { # device op jobs
	IOPS=$(fio --name=bench --filename="$1" --rw="$2" --bs=4k --ioengine=io_uring --iodepth=32 \
		--direct=1 --numjobs="$3" --group_reporting --runtime=10 --ramp_time=2 --time_based \
		--size=256M --norandommap --output-format=terse --terse-version=3 |
		awk -F ';' '/;bench;/ { print $8 + $49 }')
}

disk raw 256 irqmode=0 submit_queues=4
create linear "0 524288 linear /dev/raw 0"
disk meta 64 irqmode=0
disk base 256 irqmode=0 submit_queues=4
disk low 256 irqmode=0 submit_queues=4
disk incr 512 irqmode=0 submit_queues=4
disk base2 256 irqmode=0 submit_queues=4
create group "0 524288 svol-group G 128 1 /dev/meta 4 B ro /dev/base - D ro /dev/base2 I" \
	"L rw /dev/low I I increments /dev/incr - 2 init assume_identical"
create diverted "0 524288 svol /dev/mapper/group D"
create logged "0 524288 svol /dev/mapper/group L"

# So that all that follows are overwrites, and reads of what was written.
for device in linear diverted logged; do
	load "/dev/mapper/$device" write+sync 1 32 4096 65536 0 0 4096 65536
done

printf '%-10s %-10s %10s %10s %8s\n' target load '1 job' '4 jobs' ratio
for device in linear diverted logged; do
	for op in randread randwrite; do
		for jobs in 1 4; do
			run "/dev/mapper/$device" "$op" "$jobs"
			iops[$jobs]=$IOPS
		done
		printf '%-10s %-10s %10d %10d %8s\n' "$device" "$op" "${iops[1]}" "${iops[4]}" \
			"$(awk -v a="${iops[4]}" -v b="${iops[1]}" 'BEGIN { printf "%.2f", a / b }')"
	done
done
