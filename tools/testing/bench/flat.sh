#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# In the guest: whether a diverted volume gets slower with many mapped blocks or many siblings, and
# how much memory a mapped block takes.
#
# The data of so many blocks has no room in memory. The increments device is put together from a
# disk that keeps what is written, for the header and for the entries of each segment, and one that
# forgets it, for the slots.
# shellcheck source=SCRIPTDIR/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

many=${BENCH_BLOCKS:-4000000}
# The volume has room for as many again, for first writes.
half=1
while ((half < many)); do
	half=$((half * 2))
done
sectors=$((half * 2 * 128))
segments=$((many / 4096 + 16))

prepare

# The layout of a store is in Documentation/on-disk-format.rst: 2 MiB, then segments of 64 KiB of
# entries and 4096 slots of 64 KiB.
make_store() {
	local i at=4096 kept=4096 slots=$((4096 * 128))
	new_disk kept $((2 + segments / 16 + 1))
	new_disk slots $((segments * 256)) memory_backed=0
	{
		echo "0 4096 linear /dev/kept 0"
		for ((i = 0; i < segments; i++)); do
			echo "$at 128 linear /dev/kept $kept"
			echo "$((at + 128)) $slots linear /dev/slots $((i * slots))"
			at=$((at + 128 + slots))
			kept=$((kept + 128))
		done
	} | dmsetup create store || die 'no store'
}

make_group() { # S-VOLs
	local i volumes='LV0 ro /dev/base ST'
	for ((i = 1; i < $1; i++)); do
		volumes+=" LV$i ro - ST"
	done
	dmsetup create G --table "0 $sectors svol-group G 128 1 /dev/meta $(($1 + 1)) $volumes ST increments /dev/mapper/store - 2 init assume_identical" ||
		die 'no group'
	for ((i = 0; i < $1; i++)); do
		dmsetup create "LV$i" --table "0 $sectors svol /dev/mapper/G LV$i" || die "no LV$i"
	done
}

drop_group() { # S-VOLs
	local i
	for ((i = 0; i < $1; i++)); do
		dmsetup remove "LV$i"
	done
	dmsetup remove G
}

new_all() {
	new_disk base $((sectors / 2048)) memory_backed=0
	new_disk meta 8
	make_store
}

drop_all() {
	dmsetup remove store
	drop_disk base meta kept slots
}

# Loads on 1,000 mapped blocks all over the mapped range, and on as many of the free half.
loads() { # name stride
	local words="seq 8 0 $2 1000"
	load "$1.over" /dev/mapper/LV0 write "$words" 0 8000 1 32
	load "$1.read" /dev/mapper/LV0 read "$words" 0 8000 1 32
	words="rand 8 $((half * 128)) 128 $half"
	load "$1.first" /dev/mapper/LV0 settle "$words" 0 8000 1 32
	load "$1.sync1" /dev/mapper/LV0 sync "$words" 8000 1000 1 1
}

# Memory that is free once the caches have let go of what they can.
free_kib() {
	local name value rest
	echo 1 > /sys/module/dm_bufio/parameters/max_age_seconds
	sleep 70
	sync
	echo 3 > /proc/sys/vm/drop_caches
	[[ ! -w /proc/sys/vm/compact_memory ]] || echo 1 > /proc/sys/vm/compact_memory
	sleep 5
	while read -r name value rest; do
		[[ $name != MemFree: ]] || echo "$value"
	done < /proc/meminfo
	: "$rest"
}

# The part by which one is above the other, in tenths of a percent.
above() { # name name
	local per=$((${NS[$1]} * 1000 / ${NS[$2]} - 1000))
	echo "${per#-}"
}

new_all
make_group 1
load fill.few /dev/mapper/LV0 settle "seq 128 0 128 1000" 0 1000 1 32
loads few 128
drop_group 1
drop_all

new_all
make_group 64
load fill.siblings /dev/mapper/LV0 settle "seq 128 0 128 1000" 0 1000 1 32
loads siblings 128
drop_group 64
drop_all

new_all
make_group 1
progress "mapping $many blocks"
load fill.many /dev/mapper/LV0 settle "seq 2048 0 2048 $((many / 16))" 0 $((many / 16)) 1 32
drop_group 1
began=$(cut -d ' ' -f 1 /proc/uptime)
make_group 1
ended=$(cut -d ' ' -f 1 /proc/uptime)
dmsetup status G > "$DM_SVOL_SHARE/status.txt"
with=$(free_kib)
drop_group 1
without=$(free_kib)
# After that: what is written here is scattered, and takes a page of the map for each block.
make_group 1
loads many $((many * 128 / 1000 / 128 * 128))
drop_group 1
drop_all

{
	echo "$many mapped blocks of 64 KiB against 1,000, and 64 S-VOLs against 1; ns for an I/O"
	echo
	printf '%-31s%10s%10s%10s\n' '' few many siblings
	for name in over 'overwrite, queue of 32' read 'read, queue of 32' first 'first write, queue of 32' \
		sync1 'first write + flush, 1 writer'; do
		if [[ $name != *' '* ]]; then
			key=$name
			continue
		fi
		printf '%-31s%10s%10s%10s\n' "$name" "${NS[few.$key]}" "${NS[many.$key]}" "${NS[siblings.$key]}"
	done
	echo
	echo "mapping them took ${NS[fill.many]} ns for 16 blocks; a start with them, from ${began} to ${ended} s"
	echo "free memory in KiB with the group ${with}, without it ${without}"
	echo
	goal_head
	for key in over read first sync1; do
		goal "$key: many blocks by few, difference in 1/1000" "$(above "many.$key" "few.$key")" 50
		goal "$key: 64 S-VOLs by 1, difference in 1/1000" "$(above "siblings.$key" "few.$key")" 50
	done
	goal 'memory for 1,000 mapped blocks, bytes' $(((without - with) * 1024 / (many / 1000))) 9000
} > "$DM_SVOL_SHARE/flat.txt"
