#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# many.sh <load generator>: whether a volume is slower with 4,000,000 mapped blocks than with 1,000,
# and what memory a mapped block takes.
#
# The entries of the store are on a disk that keeps what is written, and its slots on one that
# forgets: each segment of the store is two pieces of a dm-linear table. So no memory is needed for
# 4,000,000 blocks of data, and what is read there means nothing.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

BLOCKS=${BENCH_BLOCKS:-4000000}
HEAD=4096           # sectors before the first segment
ENTRIES=128         # sectors of a segment's entries
SLOTS=$((4096 * 128)) # sectors of a segment's slots
segments=$(((BLOCKS + 4096) / 4096 + 1))
sectors=$((segments * SLOTS))

store_table() {
	awk -v head=$HEAD -v entries=$ENTRIES -v slots=$SLOTS -v segments="$segments" 'BEGIN {
		print 0, head, "linear /dev/named 0"
		at = head
		for (i = 0; i < segments; i++) {
			print at, entries, "linear /dev/named", head + i * entries
			at += entries
			print at, slots, "linear /dev/slots", i * slots
			at += slots
		}
	}'
}

# What is free, in KiB, with all that can be given up given up.
free_memory() {
	local name kib
	sync
	echo 3 > /proc/sys/vm/drop_caches
	while read -r name kib _; do
		[ "$name" != MemFree: ] || FREE=$kib
	done < /proc/meminfo
}

setup "$1"
disk meta 64
disk named $((segments / 16 + 8))
disk base $((sectors / 2048))
disk slots $((segments * 256)) memory_backed=0
store_table > /tmp/store
dmsetup create store /tmp/store
create group "0 $sectors svol-group G 128 1 /dev/meta 2 V ro /dev/base I" \
	"I increments /dev/mapper/store - 2 init assume_identical"
create volume "0 $sectors svol /dev/mapper/group V"
declare -A cost

sample() { # number-of-blocks
	# A window of 1,000 blocks: what differs is only how many others there are.
	load /dev/mapper/volume write 1 32 8000 "$BLOCK" 0 0 1000
	cost[over.$1]=$NS
	load /dev/mapper/volume read 1 32 8000 "$BLOCK" 0 0 1000
	cost[read.$1]=$NS
}

free_memory
before=$FREE
load /dev/mapper/volume write+sync 1 32 1000 "$BLOCK" 0 0 1000
sample 1000
load /dev/mapper/volume write 1 32 1000 "$BLOCK" 0 1000 1000
cost[first.1000]=$NS
load /dev/mapper/volume write+sync 1 32 $((BLOCKS - 2000)) "$BLOCK" 0 2000 $((BLOCKS - 2000))
sample "$BLOCKS"
load /dev/mapper/volume write 1 32 1000 "$BLOCK" 0 "$BLOCKS" 1000
cost[first.$BLOCKS]=$NS
dmsetup status group
free_memory
full=$FREE
dmsetup remove volume
dmsetup remove group
free_memory

echo "diverted volume, ns per I/O of 4 KiB, with 1,000 and with $BLOCKS mapped blocks of 64 KiB"
for load in read over first; do
	printf '%-10s %8d %8d   %s\n' "$load" "${cost[$load.1000]}" "${cost[$load.$BLOCKS]}" \
		"$(within "${cost[$load.1000]}" "${cost[$load.$BLOCKS]}")"
done
awk -v kib=$((FREE - full)) -v blocks="$BLOCKS" 'BEGIN {
	bytes = kib * 1024 / blocks
	printf "memory given back by the group: %d KiB, %.2f bytes per mapped block (at most 9)  %s\n",
		kib, bytes, bytes <= 9 ? "holds" : "DOES NOT HOLD"
}'
echo "(taken since the group was empty, entries on the memory-backed disk included: $((before - full)) KiB)"
