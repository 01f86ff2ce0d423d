# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# What the measurements share: disks, targets, loads, and the table of goals.

LOAD=/sys/module/svol_load/parameters
NULLB=/sys/kernel/config/nullb
export DM_DISABLE_UDEV=1

# Nanoseconds per I/O, by "<target>.<load>".
declare -A NS=()

die() {
	printf 'bench: %s\n' "$*" >&2
	exit 1
}

progress() {
	printf 'bench: %s\n' "$*" >&2
}

prepare() {
	modprobe -qa configfs dm-mod dm-bufio
	modprobe null_blk nr_devices=0
	mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config
	mkdir -p /dev/mapper
	insmod "$DM_SVOL_KO" || die "cannot load $DM_SVOL_KO"
	insmod "$SVOL_LOAD_KO" || die "cannot load $SVOL_LOAD_KO"
	echo 3 > /proc/sys/kernel/printk
}

# Makes /dev/<name>, which keeps what is written in memory unless an attribute says otherwise.
new_disk() { # name MiB [attribute=value...]
	local dir=$NULLB/$1 pair
	mkdir "$dir"
	for pair in size="$2" memory_backed=1 "${@:3}" power=1; do
		echo "${pair#*=}" > "$dir/${pair%%=*}"
	done
	[[ -b /dev/$1 ]] || die "no /dev/$1"
}

# As new_disk, of one that takes 50 us for an I/O, or so many ns, one after the other, and keeps nothing.
timed_disk() { # name MiB [ns]
	new_disk "$1" "$2" memory_backed=0 irqmode=2 completion_nsec="${3:-50000}" submit_queues=1 hw_queue_depth=1
}

# As new_disk, with memory for all of it from the start: to find that costs more than most targets.
new_full_disk() { # name MiB
	new_disk "$@"
	dd if=/dev/zero of="/dev/$1" bs=1M count="$2" oflag=direct conv=fsync status=none || die "cannot fill /dev/$1"
}

drop_disk() { # name...
	local name
	for name in "$@"; do
		echo 0 > "$NULLB/$name/power"
		rmdir "$NULLB/$name"
	done
}

# Runs a load (the words as svol_load has them) and keeps what an I/O took. The module parameter
# takes one line and comes back when the load has ended.
load() { # <target>.<load> <words>...
	local ns failed count=${*: -3:1}
	echo "${*:2}" > "$LOAD/run" || die "$1: the load ${*:2} does not run"
	read -r ns failed < "$LOAD/result"
	((failed == 0)) || die "$1: $failed I/Os of the load ${*:2} failed"
	NS[$1]=$((ns / count))
	echo "$1 ${NS[$1]}" >> "$DM_SVOL_SHARE/figures"
	progress "$1: ${NS[$1]} ns"
}

# One line of the table: what, what it took, what it may take, and whether that holds.
# The two numbers may be of any unit that comes in the text.
goal() { # <text> <is> <limit>
	local holds=yes
	(($2 <= $3)) || holds=NO
	printf '%-62s %9d %9d  %5s  %s\n' "$1" "$2" "$3" "$(ratio "$2" "$3")" "$holds"
}

goal_head() {
	printf '%-62s %9s %9s  %5s  %s\n' goal is limit part holds
}

# A ratio of two numbers with two digits.
ratio() { # number number
	if (($2 == 0)); then
		echo -
	else
		printf '%d.%02d\n' $(($1 / $2)) $(($1 * 100 / $2 % 100))
	fi
}
