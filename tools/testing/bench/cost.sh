#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# cost.sh <load generator>: what one I/O costs, of dm-svol and its peers.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

SPAN=$((SECTORS * 512 / BLOCK))
declare -A cost

# Every load uses its own places for first writes; the others come back to those of the first one.
measure() { # target device
	load "$2" write+sync 1 32 4000 "$BLOCK" "$SPAN" 0 4000
	cost[$1.first]=$NS
	load "$2" write 1 32 8000 "$BLOCK" "$SPAN" 0 4000
	cost[$1.over]=$NS
	load "$2" read 1 32 8000 "$BLOCK" "$SPAN" 0 4000
	cost[$1.read]=$NS
	load "$2" write+flush 1 1 1000 "$BLOCK" "$SPAN" 4000 1000
	cost[$1.first_flush]=$NS
	load "$2" write+flush 8 1 2000 "$BLOCK" "$SPAN" 5000 2000
	cost[$1.first_flush8]=$NS
	load "$2" write+flush 1 1 2000 "$BLOCK" "$SPAN" 0 4000
	cost[$1.over_flush]=$NS
	echo "# $1 done" >&2
}

setup "$1"

disk raw 1024
measure raw /dev/raw
gone raw

disk low 1024
create linear "0 $SECTORS linear /dev/low 0"
measure linear /dev/mapper/linear
dmsetup remove linear
gone low

disk low 1024
disk cow 1536
create snapshot "0 $SECTORS snapshot /dev/low /dev/cow P 128"
measure snapshot /dev/mapper/snapshot
dmsetup remove snapshot
gone low cow

disk low 1024
disk pool_meta 64
disk pool_data 1536
create pool "0 3145728 thin-pool /dev/pool_meta /dev/pool_data 128 0"
dmsetup message pool 0 'create_thin 0'
create thin "0 $SECTORS thin /dev/mapper/pool 0 /dev/low"
measure thin /dev/mapper/thin
dmsetup remove thin
dmsetup remove pool
gone low pool_meta pool_data

disk leg0 1026
disk leg1 1026
mdadm --create /dev/md0 --quiet --run --level=1 --raid-devices=2 --bitmap=internal --assume-clean \
	--metadata=1.2 /dev/leg0 /dev/leg1 < /dev/null > /tmp/mdadm 2>&1 || { cat /tmp/mdadm; exit 1; }
measure raid1 /dev/md0
mdadm --quiet --stop /dev/md0
gone leg0 leg1

for kind in inplace diverted logged; do
	disk meta 64
	disk base 1024
	disk low 1024
	disk incr 1536
	case $kind in
	inplace) volume='V rw /dev/low -' features='3 allow_unprotected init assume_identical' ;;
	diverted) volume='V ro /dev/low I' features='2 init assume_identical' ;;
	logged) volume='V rw /dev/low I' features='2 init assume_identical' ;;
	esac
	create group "0 $SECTORS svol-group G 128 1 /dev/meta 3 B ro /dev/base - $volume" \
		"I increments /dev/incr - $features"
	create volume "0 $SECTORS svol /dev/mapper/group V"
	measure "$kind" /dev/mapper/volume
	dmsetup remove volume
	dmsetup remove group
	gone meta base low incr
done

# The table -------------------------------------------------------------------------------------

targets=(raw linear snapshot thin raid1 inplace diverted logged)
loads=(read over first over_flush first_flush first_flush8)
declare -A title=([read]='read' [over]='overwrite' [first]='first write'
	[over_flush]='overwrite+flush' [first_flush]='first+flush' [first_flush8]='same, 8 writers')

echo "ns per I/O of 4 KiB (= instructions), $(uname -r)"
printf '%-16s' ''
printf '%10s' "${targets[@]}"
echo
for load in "${loads[@]}"; do
	printf '%-16s' "${title[$load]}"
	for target in "${targets[@]}"; do
		printf '%10d' "${cost[$target.$load]}"
	done
	echo
done
echo
echo 'own cost: the same, less that of the raw device'
for load in "${loads[@]}"; do
	printf '%-16s%10s' "${title[$load]}" ''
	for target in "${targets[@]:1}"; do
		printf '%10d' $((${cost[$target.$load]} - ${cost[raw.$load]}))
	done
	echo
done

ratio() { # number number
	if (($2 <= 0)); then
		echo '-'
	else
		awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'
	fi
}

for kind in inplace diverted logged; do
	echo
	echo "$kind: own cost : that of each peer (total : total)"
	for load in "${loads[@]}"; do
		printf '%-16s' "${title[$load]}"
		for peer in linear snapshot thin raid1; do
			printf '  %8s %s (%s)' "$peer" \
				"$(ratio $((${cost[$kind.$load]} - ${cost[raw.$load]})) $((${cost[$peer.$load]} - ${cost[raw.$load]})))" \
				"$(ratio "${cost[$kind.$load]}" "${cost[$peer.$load]}")"
		done
		echo
	done
done

goal() { # text number number most
	local got
	got=$(ratio "$2" "$3")
	if awk -v g="$got" -v m="$4" 'BEGIN { exit !(g + 0 <= m + 0) }'; then
		printf '%-66s %6s <= %-5s holds\n' "$1" "$got" "$4"
	else
		printf '%-66s %6s >  %-5s DOES NOT HOLD\n' "$1" "$got" "$4"
	fi
}

own() { # target.load
	echo $((${cost[$1]} - ${cost[raw.${1#*.}]}))
}

echo
echo 'Goals'
goal 'in-place read: own cost : dm-linear' "$(own logged.read)" "$(own linear.read)" 1.2
goal 'diverted read: own cost : dm-linear' "$(own diverted.read)" "$(own linear.read)" 1.6
goal 'diverted overwrite: own cost : dm-linear' "$(own diverted.over)" "$(own linear.over)" 1.6
goal 'diverted first write: own cost : dm-snapshot' "$(own diverted.first)" "$(own snapshot.first)" 0.2
goal 'diverted first write: own cost : dm-thin' "$(own diverted.first)" "$(own thin.first)" 0.2
goal 'logged first write: total : md raid1' "${cost[logged.first]}" "${cost[raid1.first]}" 1
goal 'logged overwrite: total : md raid1' "${cost[logged.over]}" "${cost[raid1.over]}" 1
goal 'diverted overwrite + flush: total : dm-linear' "${cost[diverted.over_flush]}" "${cost[linear.over_flush]}" 1.3
goal 'logged overwrite + flush: total : dm-linear' "${cost[logged.over_flush]}" "${cost[linear.over_flush]}" 1.3
goal 'diverted first write + flush: total : dm-thin' "${cost[diverted.first_flush]}" "${cost[thin.first_flush]}" 1
goal 'logged first write + flush: total : dm-thin' "${cost[logged.first_flush]}" "${cost[thin.first_flush]}" 1
goal 'the same, 8 writers : one writer, diverted' "${cost[diverted.first_flush8]}" "${cost[diverted.first_flush]}" 0.5
goal 'the same, 8 writers : one writer, logged' "${cost[logged.first_flush8]}" "${cost[logged.first_flush]}" 0.5
