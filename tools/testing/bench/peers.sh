#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# In the guest: the same loads on the raw disk, on dm-svol and on what else Linux has for the job,
# one after the other, and a table of what they took.
# shellcheck source=SCRIPTDIR/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

# Blocks of 64 KiB in a volume. Of these, so many are written first by a full queue, by one writer
# that flushes, by eight such writers, and by a full queue that writes every 4 KiB of them.
queued=4096
one=1024
eight=2048
whole=1024
sectors=$(((queued + one + eight + whole) * 128))
mib=$((sectors / 2048))

# The loads. A first write touches a block that nobody has written yet; its time includes the flush
# at the end, and with it the commit of what was written.
loads() { # target device
	local words="rand 8 0 128 $queued 0"
	load "$1.first" "$2" settle "$words" "$queued" 1 32
	load "$1.over" "$2" write "$words" "$queued" 1 32
	load "$1.read" "$2" read "$words" "$queued" 1 32
	flushed_loads "$@"
	words="rand 8 $(((queued + one + eight) * 128)) 8 $((whole * 16)) 0"
	load "$1.every" "$2" settle "$words" $((whole * 16)) 1 32
}

# As loads, of writes that are flushed alone.
flushed_loads() { # target device
	load "$1.oversync" "$2" sync "rand 8 0 128 $queued 0" "$one" 1 1
	load "$1.sync1" "$2" sync "rand 8 $((queued * 128)) 128 $one 0" "$one" 1 1
	load "$1.sync8" "$2" sync "rand 8 $(((queued + one) * 128)) 128 $eight 0" "$eight" 8 1
}

# As flushed_loads, on disks with a volatile cache.
cached_loads() { # target device
	load "$1.first" "$2" settle "rand 8 0 128 $queued 0" "$queued" 1 32
	flushed_loads "$@"
}

# Each of these makes a target on new disks, runs <command> <key> <device> and takes it down. Words
# behind are attributes of the disks.

raw() { # command key [attribute=value...]
	new_full_disk base "$mib" "${@:3}"
	"$1" "$2" /dev/base
	drop_disk base
}

linear() {
	new_full_disk base "$mib" "${@:3}"
	dmsetup create linear --table "0 $sectors linear /dev/base 0"
	"$1" "$2" /dev/mapper/linear
	dmsetup remove linear
	drop_disk base
}

snapshot() {
	new_full_disk base "$mib" "${@:3}"
	new_full_disk cow $((mib * 2)) "${@:3}"
	dmsetup create snapshot --table "0 $sectors snapshot /dev/base /dev/cow P 128" ||
		die 'no dm-snapshot'
	"$1" "$2" /dev/mapper/snapshot
	dmsetup remove snapshot
	drop_disk base cow
}

thin() {
	new_full_disk base "$mib" "${@:3}"
	new_full_disk thinmeta 64 "${@:3}"
	new_full_disk thindata $((mib * 2)) "${@:3}"
	dmsetup create pool \
		--table "0 $((sectors * 2)) thin-pool /dev/thinmeta /dev/thindata 128 0 1 skip_block_zeroing" ||
		die 'no dm-thin'
	dmsetup message pool 0 'create_thin 0'
	dmsetup create thin --table "0 $sectors thin /dev/mapper/pool 0 /dev/base"
	"$1" "$2" /dev/mapper/thin
	dmsetup remove thin
	dmsetup remove pool
	drop_disk base thinmeta thindata
}

raid1() {
	new_full_disk leg1 $((mib + 64)) "${@:3}"
	new_full_disk leg2 $((mib + 64)) "${@:3}"
	mdadm --create /dev/md0 --run --level=1 --raid-devices=2 --bitmap=internal --assume-clean \
		--metadata=1.2 /dev/leg1 /dev/leg2 > "$DM_SVOL_SHARE/mdadm.txt" 2>&1 ||
		die "no md raid1: $(cat "$DM_SVOL_SHARE/mdadm.txt")"
	"$1" "$2" /dev/md0
	mdadm --stop /dev/md0 2> /dev/null
	drop_disk leg1 leg2
}

svol() { # <attribute> <RLID> <features> command key [attribute=value...]
	local volumes="LV $1 /dev/base $2" count=1
	# shellcheck disable=SC2206 # words
	local features=($3)
	new_disk meta 8
	new_full_disk base "$mib" "${@:6}"
	if [[ $2 != - ]]; then
		new_full_disk store $((mib * 2)) "${@:6}"
		volumes+=' ST increments /dev/store -'
		count=2
	fi
	dmsetup create G \
		--table "0 $sectors svol-group G 128 1 /dev/meta $count $volumes ${#features[@]} ${features[*]}" ||
		die "no group for $5"
	dmsetup create LV --table "0 $sectors svol /dev/mapper/G LV" || die "no volume for $5"
	"$4" "$5" /dev/mapper/LV
	dmsetup remove LV
	dmsetup remove G
	[[ $2 == - ]] || drop_disk store
	drop_disk base meta
}

inplace() {
	svol rw - 'init assume_identical allow_unprotected' "$@"
}

diverted() {
	svol ro ST 'init assume_identical' "$@"
}

logged() {
	svol rw ST 'init assume_identical' "$@"
}

targets=(raw linear snapshot thin raid1 inplace diverted logged)
prepare
for target in ${BENCH_TARGETS:-"${targets[@]}"}; do
	"$target" loads "$target"
	# The same with disks that have a volatile cache, where all of them have to flush.
	"$target" cached_loads "$target.cached" cache_size="$((mib * 3))"
done
[[ -z ${BENCH_TARGETS-} ]] || exit 0

# With "cached" in front: on disks with a volatile write cache.
names=(first 'first write, queue of 32' every 'every 4 KiB once, queue of 32'
	over 'overwrite, queue of 32' read 'read, queue of 32'
	oversync 'overwrite + flush, 1 writer' sync1 'first write + flush, 1 writer'
	sync8 'first write + flush, 8 writers' cached.oversync 'cached: overwrite + flush, 1'
	cached.sync1 'cached: first write + flush, 1' cached.sync8 'cached: first write + flush, 8')

own() { # <target>.<load>
	echo $((${NS[$1]} - ${NS[raw.${1#*.}]}))
}

{
	echo '4 KiB, random, ns for an I/O (instructions); own cost, that is less the raw disk, in brackets'
	echo
	printf '%-31s' ''
	printf '%17s' "${targets[@]}"
	echo
	for ((i = 0; i < ${#names[@]}; i += 2)); do
		printf '%-31s' "${names[i + 1]}"
		for target in "${targets[@]}"; do
			key=$target.${names[i]}
			printf '%17s' "${NS[$key]} ($(own "$key"))"
		done
		echo
	done
	echo
	echo 'Total of dm-svol by total of the others'
	echo
	printf '%-41s' ''
	printf '%10s' raw linear snapshot thin raid1
	echo
	for ((i = 0; i < ${#names[@]}; i += 2)); do
		for target in inplace diverted logged; do
			printf '%-41s' "${names[i + 1]}, $target"
			for peer in raw linear snapshot thin raid1; do
				printf '%10s' "$(ratio "${NS[$target.${names[i]}]}" "${NS[$peer.${names[i]}]}")"
			done
			echo
		done
	done
	echo
	goal_head
	goal 'in-place read: own cost, 1.2x linear' "$(own inplace.read)" $(($(own linear.read) * 12 / 10))
	goal 'logged read: own cost, 1.2x linear' "$(own logged.read)" $(($(own linear.read) * 12 / 10))
	goal 'diverted read: own cost, 1.6x linear' "$(own diverted.read)" $(($(own linear.read) * 16 / 10))
	goal 'diverted overwrite: own cost, 1.6x linear' "$(own diverted.over)" $(($(own linear.over) * 16 / 10))
	goal 'diverted first write: own cost, 1/5 of snapshot' "$(own diverted.first)" $(($(own snapshot.first) / 5))
	goal 'diverted first write: own cost, 1/5 of thin' "$(own diverted.first)" $(($(own thin.first) / 5))
	goal 'diverted every 4 KiB once: own cost, 1/5 of snapshot' "$(own diverted.every)" $(($(own snapshot.every) / 5))
	goal 'diverted every 4 KiB once: own cost, 1/5 of thin' "$(own diverted.every)" $(($(own thin.every) / 5))
	goal 'logged every 4 KiB once: total, raid1' "${NS[logged.every]}" "${NS[raid1.every]}"
	goal 'logged first write: total, raid1' "${NS[logged.first]}" "${NS[raid1.first]}"
	goal 'logged overwrite: total, raid1' "${NS[logged.over]}" "${NS[raid1.over]}"
	goal 'diverted overwrite + flush: total, 1.3x linear' "${NS[diverted.oversync]}" $((${NS[linear.oversync]} * 13 / 10))
	goal 'logged overwrite + flush: total, 1.3x linear' "${NS[logged.oversync]}" $((${NS[linear.oversync]} * 13 / 10))
	goal 'the same, disks with a cache, diverted' "${NS[diverted.cached.oversync]}" $((${NS[linear.cached.oversync]} * 13 / 10))
	goal 'the same, disks with a cache, logged' "${NS[logged.cached.oversync]}" $((${NS[linear.cached.oversync]} * 13 / 10))
	goal 'diverted first write + flush, 1 writer: total, thin' "${NS[diverted.sync1]}" "${NS[thin.sync1]}"
	goal 'logged first write + flush, 1 writer: total, thin' "${NS[logged.sync1]}" "${NS[thin.sync1]}"
	goal 'diverted first write + flush, 8 writers: total, half of thin 1' "${NS[diverted.sync8]}" $((${NS[thin.sync1]} / 2))
	goal 'logged first write + flush, 8 writers: total, half of thin 1' "${NS[logged.sync8]}" $((${NS[thin.sync1]} / 2))
} > "$DM_SVOL_SHARE/peers.txt"
