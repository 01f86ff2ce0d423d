#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# volumes.sh <load generator>: whether a volume is slower when its group has 64 volumes.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

SPAN=$((SECTORS * 512 / BLOCK))
setup "$1"
declare -A cost

for number in 1 64; do
	disk meta 64
	disk incr 1536
	entries=()
	disks=(meta incr)
	for ((i = 0; i < number; i++)); do
		disk "d$i" 1024
		disks+=("d$i")
		entries+=("V$i ro /dev/d$i I")
	done
	create group "0 $SECTORS svol-group G 128 1 /dev/meta $((number + 1)) ${entries[*]}" \
		"I increments /dev/incr - 2 init assume_identical"
	for ((i = 0; i < number; i++)); do
		create "v$i" "0 $SECTORS svol /dev/mapper/group V$i"
	done
	volume=/dev/mapper/v$((number - 1))
	load "$volume" write 1 32 4000 "$BLOCK" "$SPAN" 0 4000
	cost[first.$number]=$NS
	load "$volume" write 1 32 8000 "$BLOCK" "$SPAN" 0 4000
	cost[over.$number]=$NS
	load "$volume" read 1 32 8000 "$BLOCK" "$SPAN" 0 4000
	cost[read.$number]=$NS
	load "$volume" read 1 32 8000 "$BLOCK" "$SPAN" 4000 8000
	cost[base.$number]=$NS
	for ((i = 0; i < number; i++)); do
		dmsetup remove "v$i"
	done
	dmsetup remove group
	gone "${disks[@]}"
done

echo 'diverted volume, ns per I/O of 4 KiB: alone in its group, and as one of 64'
for load in read over first base; do
	printf '%-10s %8d %8d   %s\n' "$load" "${cost[$load.1]}" "${cost[$load.64]}" \
		"$(within "${cost[$load.1]}" "${cost[$load.64]}")"
done
echo 'base: a read of what was never written, from any of the disks'
