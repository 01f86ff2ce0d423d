#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# In the guest: how long a disk takes to be filled, beside md raid1 and dd, and what readers notice of
# it. A disk takes 50 us for an I/O, one after the other, and keeps nothing.
# shellcheck source=SCRIPTDIR/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

mib=${BENCH_MIB:-8192}
sectors=$((mib * 2048))
disks=(one two three)

now() {
	date +%s%N
}

# Keeps what a MiB took, of so many.
keep() { # key began MiB
	NS[$1]=$((($(now) - $2) / $3))
	echo "$1 ${NS[$1]}" >> "$DM_SVOL_SHARE/figures"
	progress "$1: ${NS[$1]} ns for a MiB"
}

# Random reads of 4 KiB, one at a time: how many a second, and what the slowest of a hundred took, in us.
declare -A IOPS=() P99=()
read_all_the_while() { # key device
	read -r "IOPS[$1]" "P99[$1]" < <(fio --name=x --filename="$2" --rw=randread --bs=4k --direct=1 --ioengine=psync \
		--time_based --runtime="${BENCH_SECONDS:-4}" --output-format=terse --terse-version=3 2> "$DM_SVOL_SHARE/fio.err" |
		awk -F ';' '{
			for (i = NF; i > 0; i--)
				if (sub(/^99\.000000%=/, "", $i))
					p99 = $i
			print $8, p99
		}')
	[[ ${IOPS[$1]:-0} -gt 0 ]] || die "fio: $(cat "$DM_SVOL_SHARE/fio.err")"
	progress "$1: ${IOPS[$1]} reads a second, p99 ${P99[$1]} us"
}

# The health of LV1.
health() {
	local words
	read -ra words < <(dmsetup status G)
	local i
	for ((i = 0; i < ${#words[@]}; i++)); do
		[[ ${words[i]} != LV1 ]] || echo "${words[i + 2]}"
	done
}

new_group() { # attribute RLID
	local volumes="LV0 ro /dev/one - LV1 $1 /dev/two $2 S0 spare /dev/three -" count=3
	new_disk meta 8
	if [[ $2 != - ]]; then
		new_disk store 256
		volumes+=' ST increments /dev/store -'
		count=4
	fi
	dmsetup create G --table "0 $sectors svol-group G 128 1 /dev/meta $count $volumes 4 init assume_identical failover manual" ||
		die "no group with LV1 $1"
}

drop_group() {
	dmsetup remove G
	drop_disk meta
	[[ ! -b /dev/store ]] || drop_disk store
}

begin_rebuild() {
	dmsetup message G 0 fail LV1
	dmsetup message G 0 restore LV1
}

rebuild() { # key attribute RLID
	local began
	new_group "$2" "$3"
	began=$(now)
	begin_rebuild
	while [[ $(health) != in-sync ]]; do
		sleep 0.01
	done
	keep "$1" "$began" "$mib"
	drop_group
}

prepare
for disk in "${disks[@]}"; do
	timed_disk "$disk" "$mib"
done

began=$(now)
dd if=/dev/one of=/dev/three bs=1M iflag=direct oflag=direct status=none || die 'no copy by dd'
keep dd "$began" "$mib"

echo 100000000 > /proc/sys/dev/raid/speed_limit_max
echo 100000000 > /proc/sys/dev/raid/speed_limit_min
began=$(now)
mdadm --build /dev/md0 --level=1 --raid-devices=2 /dev/one /dev/three > "$DM_SVOL_SHARE/mdadm.txt" 2>&1 ||
	die "no md raid1: $(cat "$DM_SVOL_SHARE/mdadm.txt")"
while [[ $(cat /sys/block/md0/md/sync_action) != idle ]]; do
	sleep 0.01
done
keep raid1 "$began" "$mib"
mdadm --stop /dev/md0 2> /dev/null

rebuild ro ro -
rebuild rw rw ST

new_group ro -
dmsetup create LV0 --readonly --table "0 $sectors svol /dev/mapper/G LV0" || die 'no LV0'
dmsetup message G 0 fail LV1
read_all_the_while alone /dev/mapper/LV0
dmsetup message G 0 restore LV1
read_all_the_while meanwhile /dev/mapper/LV0
state=$(health)
[[ $state == rebuilding ]] || progress "the rebuild was over before the reads: $state"
dmsetup remove LV0
drop_group
drop_disk "${disks[@]}"

{
	echo 'A disk is filled from another one; both take 50 us for an I/O. ns for a MiB'
	echo
	for name in dd 'dd, 1 MiB at once' raid1 'md raid1' ro 'dm-svol, ro volume' rw 'dm-svol, rw volume'; do
		if [[ $name != *[' ,']* ]]; then
			key=$name
			continue
		fi
		printf '%-34s%10s\n' "$name" "${NS[$key]}"
	done
	echo
	echo 'Random reads of 4 KiB, one at a time, from the disk that is copied'
	echo
	printf '%-34s%10s reads a second, p99 %8s us\n' 'no rebuild' "${IOPS[alone]}" "${P99[alone]}" \
		'during a rebuild' "${IOPS[meanwhile]}" "${P99[meanwhile]}"
	echo
	goal_head
	goal 'rebuild of an ro volume: md raid1' "${NS[ro]}" "${NS[raid1]}"
	goal 'rebuild of an rw volume: md raid1' "${NS[rw]}" "${NS[raid1]}"
	goal 'reads during a rebuild: 0.8x' $((IOPS[alone] * 8 / 10)) "${IOPS[meanwhile]}"
	goal 'reads during a rebuild: p99 at most 2x' "${P99[meanwhile]}" $((P99[alone] * 2))
} > "$DM_SVOL_SHARE/rebuild.txt"
