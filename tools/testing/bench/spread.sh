#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# In the guest: how reads spread over disks that take their time, beside md raid1. A disk takes 50 us
# for an I/O, one after the other.
# shellcheck source=SCRIPTDIR/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

mib=256
sectors=$((mib * 2048))
places=$((sectors / 8))
count=4096

# Makes /dev/disk<n>: nothing is kept, all of it reads as zeroes.
timed_disks() { # number [ns]
	local i
	for ((i = 1; i <= $1; i++)); do
		timed_disk "disk$i" "$mib" "${@:2}"
	done
}

drop_disks() { # number
	local i
	for ((i = 1; i <= $1; i++)); do
		drop_disk "disk$i"
	done
}

# The reads: random ones of 4 KiB, and one stream of 128 KiB each.
loads() { # key device
	load "$1.warm" "$2" read "rand 8 0 8 $places 0" 256 1 32
	load "$1.random" "$2" read "rand 8 0 8 $places 256" "$count" 1 32
	load "$1.stream" "$2" read "seq 256 0 256 $((sectors / 256)) 0" $((sectors / 256)) 1 4
}

svol() { # key number
	local i volumes=''
	new_disk meta 8
	for ((i = 1; i <= $2; i++)); do
		volumes+=" LV$i ro /dev/disk$i -"
	done
	dmsetup create G --table "0 $sectors svol-group G 128 1 /dev/meta $2$volumes 2 init assume_identical" ||
		die "no group of $2"
	dmsetup create LV1 --readonly --table "0 $sectors svol /dev/mapper/G LV1" || die 'no volume'
	loads "$1" /dev/mapper/LV1
	dmsetup remove LV1
	dmsetup remove G
	drop_disk meta
}

raid1() { # key number
	local i disks=()
	for ((i = 1; i <= $2; i++)); do
		disks+=("/dev/disk$i")
	done
	mdadm --build /dev/md0 --level=1 --raid-devices="$2" --assume-clean "${disks[@]}" \
		> "$DM_SVOL_SHARE/mdadm.txt" 2>&1 || die "no md raid1: $(cat "$DM_SVOL_SHARE/mdadm.txt")"
	loads "$1" /dev/md0
	mdadm --stop /dev/md0 2> /dev/null
}

prepare
timed_disks 4
loads raw /dev/disk1
for number in 1 2 3 4; do
	svol "svol$number" "$number"
done
for number in 2 4; do
	raid1 "raid$number" "$number"
done
drop_disk disk4
# The fourth one takes ten times as long.
new_disk disk4 "$mib" memory_backed=0 irqmode=2 completion_nsec=500000 submit_queues=1 hw_queue_depth=1
svol slow 4
raid1 raidslow 4
drop_disks 4

{
	echo 'Reads of disks that take 50 us for an I/O, ns for an I/O; 4 KiB at random places, queue of 32; a stream'
	echo 'of 128 KiB each, queue of 4. In brackets: times the speed of one raw disk'
	echo
	printf '%-34s%18s%18s\n' '' random stream
	names=(raw 'one raw disk' svol1 'dm-svol, 1 disk' svol2 'dm-svol, 2 disks' svol3 'dm-svol, 3 disks'
		svol4 'dm-svol, 4 disks' slow 'dm-svol, 3 disks and a slow one' raid2 'md raid1, 2 disks'
		raid4 'md raid1, 4 disks' raidslow 'md raid1, 3 disks and a slow one')
	for ((i = 0; i < ${#names[@]}; i += 2)); do
		key=${names[i]}
		printf '%-34s' "${names[i + 1]}"
		for what in random stream; do
			printf '%18s' "${NS[$key.$what]} ($(ratio "${NS[raw.$what]}" "${NS[$key.$what]}"))"
		done
		echo
	done
	echo
	goal_head
	goal '2 disks: 1.9x one' $((${NS[svol2.random]} * 19 / 10)) "${NS[svol1.random]}"
	goal '4 disks: 3.6x one' $((${NS[svol4.random]} * 36 / 10)) "${NS[svol1.random]}"
	goal 'one stream on 4 disks: not slower than on one' "${NS[svol4.stream]}" $((${NS[svol1.stream]} * 101 / 100))
	goal '3 disks and one of 10x the latency: 1.1x that of 3 disks' "${NS[slow.random]}" $((${NS[svol3.random]} * 11 / 10))
} > "$DM_SVOL_SHARE/spread.txt"
