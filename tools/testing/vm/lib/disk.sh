# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Test disks: null_blk devices that keep their data in memory. They are named
# svt1, svt2, ... and all go away in the clean-up.

NULLB=/sys/kernel/config/nullb
DISKS=0

# Makes disks and puts their paths into variables.
new_disks() { # "variable..." MiB [attribute=value...]
	local variable pair dirs=() dir
	for variable in $1; do
		DISKS=$((DISKS + 1))
		dirs+=("$NULLB/svt$DISKS")
		printf -v "$variable" '/dev/svt%s' "$DISKS"
	done
	mkdir "${dirs[@]}"
	for dir in "${dirs[@]}"; do
		for pair in size="$2" memory_backed=1 discard=1 "${@:3}" power=1; do
			echo "${pair#*=}" >"$dir/${pair%%=*}"
		done
	done
	[ -b "/dev/svt$DISKS" ] || fail "/dev/svt$DISKS did not appear"
}

# Makes one disk.
new_disk() { # variable MiB [attribute=value...]
	new_disks "$@"
}

# Sets an attribute of an existing disk: "power 0" pulls its plug, which also
# loses what is in its volatile cache (cache_size) but not what is on the disk. The cache has only pages
# that the disk does not have: what is written over something that was flushed is durable at once.
disk_set() { # disk attribute value
	echo "$3" >"$NULLB/${1##*/}/$2"
}

# The device number as MAJOR:MINOR. Without udev a device-mapper device has a
# node of its own, so its name tells nothing.
disk_number() { # device
	local number
	number=$(stat -L -c '0x%t 0x%T' "$1")
	printf '%d:%d\n' "${number% *}" "${number#* }"
}

# The folder of a block device in sysfs.
disk_sys() { # device
	if [ -d "/sys/block/${1#/dev/}" ]; then
		echo "/sys/block/${1#/dev/}"
	else
		echo "/sys/dev/block/$(disk_number "$1")"
	fi
}

# Counters of a block device by name, as Documentation/block/stat.rst has them: all of one moment, in one line.
disk_stat() { # device reads|read_sectors|writes|write_sectors|discards|flushes...
	local counter field fields found=()
	read -ra fields <"$(disk_sys "$1")/stat"
	for counter in "${@:2}"; do
		case $counter in
		reads) field=0 ;;
		read_sectors) field=2 ;;
		writes) field=4 ;;
		write_sectors) field=6 ;;
		discards) field=11 ;;
		flushes) field=15 ;;
		*) fail "no counter $counter" ;;
		esac
		found+=("${fields[field]}")
	done
	echo "${found[*]}"
}

# At least so many I/Os of a block device are on their way.
has_in_flight() { # device number
	local reads writes
	read -r reads writes <"$(disk_sys "$1")/inflight"
	[ $((reads + writes)) -ge "$2" ]
}

# It was written since.
has_writes() { # device number-of-writes-before
	[ "$(disk_stat "$1" writes)" -gt "$2" ]
}

# A queue limit of a block device.
disk_limit() { # device limit
	cat "$(disk_sys "$1")/queue/$2"
}

# The names of devices with digests of what they hold.
digest() { # device...
	"$SVOL_TEST" digest "$@"
}

# What a program does that wants its data to be durable.
fsync() { # device
	dd if=/dev/null of="$1" count=0 conv=fsync,notrunc status=none
}

# Copies the whole content of a disk to a file and back.
save_disk() { # disk file
	dd if="$1" of="$2" bs=1M iflag=direct status=none
}

load_disk() { # disk file
	dd if="$2" of="$1" bs=1M oflag=direct conv=notrunc,fsync status=none
}

# Two devices hold the same, for the length of the group.
assert_same() { # device device
	cmp <(dd if="$1" bs=1M iflag=direct count=$((G_LEN / 2048)) status=none) \
		<(dd if="$2" bs=1M iflag=direct count=$((G_LEN / 2048)) status=none) ||
		fail "$1 and $2 differ"
}

# The file pattern: 4 MiB of random bytes, the same for all tests of a run, as they take time.
make_pattern() {
	[ -s "$RUN_DIR/pattern" ] ||
		dd if=/dev/urandom of="$RUN_DIR/pattern" bs=1M count=4 status=none
	cp "$RUN_DIR/pattern" pattern
}

# Makes a disk hold zeroes only.
blank_disk() { # disk...
	local disk
	for disk in "$@"; do
		blkdiscard -f -z "$disk"
	done
}

# Nobody may hold these disks any more.
assert_unused() { # disk...
	"$SVOL_TEST" claim "$@"
}
