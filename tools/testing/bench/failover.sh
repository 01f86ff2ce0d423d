#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# In the guest: a disk dies under random reads and writes, from one moment to the next. Which I/Os notice
# it, beside md raid1. A disk takes 50 us for an I/O, one after the other, and keeps nothing.
# shellcheck source=SCRIPTDIR/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

# null_blk knows no more bad blocks.
mib=64
sectors=$((mib * 2048))
seconds=${BENCH_SECONDS:-4}
kept=(ERRORS COUNT BEFORE AFTER SLOW LAST)
declare -A ERRORS=() COUNT=() BEFORE=() AFTER=() SLOW=() LAST=()

# fio writes and reads the device; after half of the time all I/O of the disk fails. Latencies are in us, counted
# from the moment at which the disk died.
dies() { # key device disk
	local died fio log=$DM_SVOL_SHARE/$1 values i begin
	begin=$(awk '{ print $1 }' "/sys/block/$3/stat")
	fio --minimal --disk_util=0 --name=x --filename="$2" --size="${mib}M" --rw=randrw --bs=4k --direct=1 \
		--ioengine=io_uring --iodepth=8 --time_based --runtime="$seconds" --write_lat_log="$log" \
		--log_unix_epoch=1 > "$log.out" 2>&1 &
	fio=$!
	until [[ $(awk '{ print $1 }' "/sys/block/$3/stat") -gt $((begin + 100)) ]]; do
		sleep 0.1
	done
	sleep "$((seconds / 2))"
	died=$((${EPOCHREALTIME/./} / 1000))
	echo "+0-$((sectors - 1))" > "$NULLB/$3/badblocks" || die "$3 does not die"
	wait "$fio" || true
	# Milliseconds, nanoseconds, ...
	read -ra values < <(awk -F ', *' -v died="$died" '
		$1 < died && $2 > before { before = $2 }
		$1 < died { next }
		{ count++ }
		$2 > after { after = $2 }
		$2 > before { slow++; last = $1 - died }
		END { printf "%d %d %d %d %d\n", count, before / 1000, after / 1000, slow, last }' "$log"_lat.*log)
	values=("$(awk -F ';' '$1 == 3 { print $5 }' "$log.out")" "${values[@]}")
	[[ ${values[0]} =~ ^[0-9]+$ && ${values[1]} -gt 0 ]] || die "fio: $(cat "$log.out")"
	for i in "${!kept[@]}"; do
		local -n of=${kept[i]}
		of[$1]=${values[i]}
	done
	echo "$1 ${values[*]}" >> "$DM_SVOL_SHARE/figures"
	progress "$1: error ${ERRORS[$1]}, slowest before ${BEFORE[$1]} us, after ${AFTER[$1]} us"
}

# The volume whose disk dies, in a group with two read-only ones.
group() { # key LID
	local volumes="LV0 ro /dev/one - LV1 ro /dev/two - LV2 rw /dev/three ST ST increments /dev/store -" lid disk
	new_disk meta 8
	new_disk store 256
	for disk in one two three; do
		timed_disk "$disk" "$mib"
	done
	dmsetup create G --table "0 $sectors svol-group G 128 1 /dev/meta 4 $volumes 4 init assume_identical failover manual" ||
		die 'no group'
	dmsetup create LV2 --table "0 $sectors svol /dev/mapper/G LV2" || die 'no LV2'
	dies "$1" /dev/mapper/LV2 three
	[[ $(dmsetup status G) == *' LV2 rw degraded '* ]] || die "LV2 is not degraded: $(dmsetup status G)"
	dmsetup remove LV2
	dmsetup remove G
	drop_disk one two three store meta
}

prepare
timed_disk one "$mib"
timed_disk two "$mib"
mdadm --build /dev/md0 --level=1 --raid-devices=2 --assume-clean /dev/one /dev/two > "$DM_SVOL_SHARE/mdadm.txt" 2>&1 ||
	die "no md raid1: $(cat "$DM_SVOL_SHARE/mdadm.txt")"
dies raid1 /dev/md0 two
mdadm --stop /dev/md0 2> /dev/null
drop_disk one two
group svol

{
	echo 'A disk dies under random reads and writes of 4 KiB, queue of 8; a disk takes 50 us for an I/O'
	echo
	printf '%-30s%12s%12s\n' '' 'md raid1' dm-svol
	printf '%-30s%12d%12d\n' 'I/Os after it died' "${COUNT[raid1]}" "${COUNT[svol]}"
	printf '%-30s%12d%12d\n' 'errors that fio saw' "${ERRORS[raid1]}" "${ERRORS[svol]}"
	printf '%-30s%12d%12d\n' 'slowest I/O before, us' "${BEFORE[raid1]}" "${BEFORE[svol]}"
	printf '%-30s%12d%12d\n' 'slowest I/O after, us' "${AFTER[raid1]}" "${AFTER[svol]}"
	printf '%-30s%12d%12d\n' 'slower than all before' "${SLOW[raid1]}" "${SLOW[svol]}"
	printf '%-30s%12d%12d\n' 'the last of them, ms after' "${LAST[raid1]}" "${LAST[svol]}"
	echo
	goal_head
	goal 'errors that fio saw' "${ERRORS[svol]}" 0
	goal 'slowest I/O: as before, and 10 ms (us)' "${AFTER[svol]}" $((BEFORE[svol] + 10000))
} > "$DM_SVOL_SHARE/failover.txt"
