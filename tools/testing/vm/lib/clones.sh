# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Clones: `ro` volumes C1, C2, ... of one base image, whose writes go to the increments
# volume ST. What each one may hold is kept in a file s.<name>, by `svol-test steps`.
#
#   BASE_DISK   the disk of LV0, which holds the base image
#   STORE       the increments device
#   CLONES      array: the names of the clones, and of a logged volume L5 if there is one
#   DISK        the disk of L5
#   LEGS        array: those of them that use a leg of the base disk

# How much longer than the timer of one second the module may take for a commit.
COMMIT_SECONDS=3

# A group of LV0, a read-only volume without increments, and clones that share its disk: each has
# a leg of it under a name of its own.
clones_disks() { # clones MiB MiB-of-the-store [attribute=value of base and store...]
	local i
	new_disk META 8
	new_disk BASE_DISK "$2" "${@:4}"
	new_disk STORE "$3" "${@:4}"
	"$SVOL_TEST" fill --seed "$SEED" "$BASE_DISK"
	G_NAME=G0
	G_LEN=$(($2 * 2048))
	G_BLOCK=128
	G_META=("$META")
	G_VOLUMES=("LV0 ro $BASE_DISK -")
	CLONES=()
	for ((i = 1; i <= $1; i++)); do
		CLONES+=("C$i")
		G_VOLUMES+=("C$i ro /dev/mapper/leg_C$i ST")
	done
	G_VOLUMES+=("ST increments $STORE -")
	G_FEATURES=(init assume_identical)
	G_DISKS=("$META" "$BASE_DISK" "$STORE")
	LEGS=("${CLONES[@]}")
	legs_create
}

# LV0 read-only, L5 in place on DISK, and as many clones C1, C2 as asked for, all in one store.
logged_disks() { # clones MiB MiB-of-the-store [attribute=value...]
	clones_disks "$@"
	new_disk DISK "$2" "${@:4}"
	"$SVOL_TEST" fill --seed "$SEED" "$DISK"
	G_VOLUMES+=("L5 rw $DISK ST")
	G_DISKS+=("$DISK")
	CLONES+=(L5)
}

legs_create() {
	local lid devices=()
	for lid in ${LEGS[@]+"${LEGS[@]}"}; do
		devices+=("leg_$lid,,,,0 $G_LEN linear $BASE_DISK 0")
	done
	dm_create_all ${devices[@]+"${devices[@]}"}
}

legs_remove() {
	[ "${#LEGS[@]}" = 0 ] || dmsetup remove "${LEGS[@]/#/leg_}"
}

# The module, the disks, the group and the clones' devices.
clones_group() { # clones MiB MiB-of-the-store [attribute=value...]
	load_module
	clones_disks "$@"
	group_create
	clones_create
}

clones_create() {
	svols_create "${CLONES[@]}"
}

clones_remove() {
	[ "${#CLONES[@]}" = 0 ] || dmsetup remove "${CLONES[@]}"
}

# Takes clones and group down and up again.
clones_restart() {
	clones_remove
	group_restart
	clones_create
}

# Steps on a clone, whose own content differs from that of all others.
steps() { # LID step... [options]
	"$SVOL_TEST" steps "/dev/mapper/$1" --seed "$SEED" --own $((1000 + ${1//[!0-9]/})) \
		--state "s.$1" "${@:2}"
}

# Each sector of each clone, or of those named, is what it has to be.
check_clones() { # [LID...]
	local lid
	[ $# -gt 0 ] || set -- "${CLONES[@]}"
	for lid in "$@"; do
		steps "$lid" check
	done
}

# Neither the disk's content nor its counter of writes has changed.
remember_base() {
	BASE_WRITES=$(disk_stat "$BASE_DISK" writes)
	BASE_DISCARDS=$(disk_stat "$BASE_DISK" discards)
}

assert_base_untouched() {
	assert_eq 'the writes of the base disk' "$(disk_stat "$BASE_DISK" writes)" "$BASE_WRITES"
	assert_eq 'the discards of the base disk' "$(disk_stat "$BASE_DISK" discards)" "$BASE_DISCARDS"
	assert_base "$BASE_DISK"
}

# The used and the total blocks of a store, from the status.
used_blocks() { # RLID
	read_status
	echo "${ST[$1.blocks]%/*}"
}

used_is() { # RLID blocks
	[ "$(used_blocks "$1")" = "$2" ]
}

# What the module says when a store is full, or about to be.
expect_full() {
	expect_log '^dm_svol: [^ ]+: increments [^ ]+: (full|low on space, .*)$'
}

# What it says when a volume goes on without its store.
expect_unprotected() {
	expect_log '^dm_svol: [^ ]+: [^ ]+: (unprotected from now on|stays unprotected), '
}

# Whether a volume takes zeroes as such: where all disks of its group do.
takes_zeroes() { # LID
	[ "$(disk_limit "/dev/mapper/$1" write_zeroes_max_bytes)" -gt 0 ]
}

# Disks from now on take zeroes as such, but their power cannot be cut.
disks_are_loops() {
	# shellcheck disable=SC2317 # called in the place of the other one
	new_disk() {
		truncate -s "$2M" "loop.$1"
		printf -v "$1" '%s' "$(losetup -f --show "loop.$1")"
	}
}

# The number of slots of a store on a device of this many MiB: see on-disk-format.rst.
slots_of() { # MiB sectors-of-a-block
	local left=$(($1 * 2048 - 4096)) slots=0 some
	while [ "$left" -gt 128 ]; do
		some=$(((left - 128) / $2))
		[ "$some" -le 4096 ] || some=4096
		slots=$((slots + some))
		left=$((left - 128 - 4096 * $2))
	done
	echo "$slots"
}

# Nothing was written to a device for a while: what had to be committed is.
settled() { # device
	local writes
	writes=$(disk_stat "$1" writes)
	nap 1.5
	[ "$(disk_stat "$1" writes)" = "$writes" ]
}

wait_settled() { # device
	wait_until 30 settled "$1" || fail "$1 is written all the time"
}

# The group comes up refused for this reason, and nothing was written anywhere.
store_refused() { # regex
	local before
	before=$(digest "${G_DISKS[@]}")
	group_refused "$1"
	assert_eq 'what the disks hold' "$(digest "${G_DISKS[@]}")" "$before"
	assert_unused "${G_META[@]}" "$STORE"
}

# The store as a part of a larger disk, so that it can grow.
store_on_linear() { # MiB MiB-of-the-disk
	new_disk STORE_DISK "$2"
	dm_linear store "$STORE_DISK" 0 $(($1 * 2048))
	STORE=/dev/mapper/store
	group_move ST "$STORE"
	G_DISKS[2]=$STORE
}

# Gives the store another size.
resize_store() { # MiB
	dm_change store "0 $(($1 * 2048)) linear $STORE_DISK 0"
}
