# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# What the parts of the measurement share. They run in the machine.

set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin
RUN=/sys/kernel/debug/svol_bench/run
NULLB=/sys/kernel/config/nullb
SECTORS=2097152 # of a volume: 1 GiB
BLOCK=65536     # bytes

setup() { # load generator
	modprobe null_blk nr_devices=0
	modprobe -qa dm-snapshot dm-thin-pool raid1 || true
	insmod "$DM_SVOL_KO"
	insmod "$1"
	echo 3 > /proc/sys/kernel/printk
}

disk() { # name MiB [attribute=value...]
	local pair
	mkdir "$NULLB/$1"
	for pair in "size=$2" memory_backed=1 blocksize=512 "${@:3}" power=1; do
		echo "${pair#*=}" > "$NULLB/$1/${pair%%=*}"
	done
}

gone() { # disk...
	local name
	for name; do
		rmdir "$NULLB/$name"
	done
}

# Runs one load; sets NS to nanoseconds per I/O.
load() { # device op writers depth ios unit span skip window [bytes]
	local ns
	echo "$1 $2 $3 $4 $5 ${10:-4096} $6 $7 $8 $9" > "$RUN"
	read -r ns < "$RUN"
	NS=$((ns / $5))
}

create() { # name table...
	dmsetup create "$1" --table "${*:2}"
}

# Says how far the second number is above the first one, and whether that is within 5 %.
within() { # number number
	awk -v a="$1" -v b="$2" 'BEGIN {
		percent = (b / a - 1) * 100
		printf "%+.1f %%  %s\n", percent, percent <= 5 ? "holds" : "DOES NOT HOLD"
	}'
}
