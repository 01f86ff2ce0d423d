# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# S-VOL groups. The group to make is described by variables, which a test may
# change before it makes the table line from them:
#
#   G_NAME      GrpID, and name of the device-mapper device
#   G_LEN       sectors
#   G_BLOCK     sectors in a block
#   G_META      array: the metadata devices
#   G_VOLUMES   array: "<LID> <attr> <dev> <RLID>" for each volume
#   G_FEATURES  array: the feature words

# The seed of the base image that every data disk starts with.
SEED=1

# The disks of the patent's figure 9 with two metadata copies, the base image
# on all three data disks, and the description of the group.
figure9_disks() { # MiB of a data disk [attribute=value of the data disks...]
	new_disks 'META META2' 8
	new_disks 'D0 D1 D2 DS' "$@"
	new_disk DI $(($1 + 16)) "${@:2}"
	"$SVOL_TEST" fill --seed "$SEED" "$D0" "$D1" "$D2"
	G_NAME=G0
	G_LEN=$(($1 * 2048))
	G_BLOCK=128
	G_META=("$META" "$META2")
	G_VOLUMES=("LV0 ro $D0 -" "LV1 ro $D1 -" "LV2 rw $D2 DLV2"
		"S0 spare $DS -" "DLV2 increments $DI -")
	# The spare waits until it is wanted: what a missing disk means shall be seen.
	G_FEATURES=(init assume_identical allow_unprotected failover manual)
	# shellcheck disable=SC2034 # for the suites
	G_DISKS=("$META" "$META2" "$D0" "$D1" "$D2" "$DS" "$DI")
}

# The module, the disks of figure 9, and the group made from them.
figure9() { # MiB of a data disk [attribute=value...]
	load_module
	figure9_disks "$@"
	group_create
}

# The group of figure 9 without its increments volume, which has a memory of its own.
plain9_disks() { # MiB of a data disk [attribute=value of the data disks...]
	figure9_disks "$@"
	G_VOLUMES[2]="LV2 rw $D2 -"
	group_drop DLV2
	G_DISKS=("$META" "$META2" "$D0" "$D1" "$D2" "$DS")
}

plain9() { # MiB of a data disk [attribute=value...]
	load_module
	plain9_disks "$@"
	group_create
}

# A group of a number of read-only volumes LV0, LV1, ... on disks of their own,
# with one metadata copy. The disks are in the array RO_DISKS.
readonly_group() { # number MiB [attribute=value of the data disks...]
	local i disk
	load_module
	new_disk META 8
	RO_DISKS=()
	G_VOLUMES=()
	for ((i = 0; i < $1; i++)); do
		new_disk disk "${@:2}"
		RO_DISKS+=("$disk")
		G_VOLUMES+=("LV$i ro $disk -")
	done
	"$SVOL_TEST" fill --seed "$SEED" "${RO_DISKS[@]}"
	G_NAME=G0
	G_LEN=$(($2 * 2048))
	G_BLOCK=128
	G_META=("$META")
	G_FEATURES=(init assume_identical)
	group_create
}

# The parameters of the group's table line.
group_params() {
	echo "$G_NAME $G_BLOCK ${#G_META[@]} ${G_META[*]}" \
		"${#G_VOLUMES[@]} ${G_VOLUMES[*]}" \
		"${#G_FEATURES[@]} ${G_FEATURES[*]}"
}

group_table() {
	echo "0 $G_LEN svol-group $(group_params)"
}

group_create() {
	dmsetup create "$G_NAME" --table "$(group_table)"
}

# Takes the group down and up again. Its volumes must be gone.
group_restart() {
	dmsetup remove "$G_NAME"
	group_create
}

# The group must not come up; what the kernel log says about it must match.
group_refused() { # regex
	expect_refused_tables
	expect_refused_resumes
	log_mark
	must_fail group_create
	assert_no_dm "$G_NAME"
	assert_logged "^dm_svol: .*($1)"
}

# Replaces the device in the record of one volume of the description. A missing
# disk is worth a warning of the module.
group_move() { # LID device
	local i words
	[ "$2" != - ] || expect_warnings
	for i in "${!G_VOLUMES[@]}"; do
		read -ra words <<<"${G_VOLUMES[i]}"
		if [ "${words[0]}" = "$1" ]; then
			words[2]=$2
			G_VOLUMES[i]="${words[*]}"
			return
		fi
	done
	fail "no volume $1"
}

# Takes one volume out of the description.
group_drop() { # LID
	local kept=() volume
	for volume in "${G_VOLUMES[@]}"; do
		[ "${volume%% *}" = "$1" ] || kept+=("$volume")
	done
	G_VOLUMES=("${kept[@]}")
}

# Makes the device of a volume, which is named like the volume.
svol_create() { # LID [--readonly]
	dmsetup create "$1" "${@:2}" --table "0 $G_LEN svol /dev/mapper/$G_NAME $1"
}

# Several of them.
svols_create() { # LID...
	local lid devices=()
	for lid in "$@"; do
		devices+=("$lid,,,,0 $G_LEN svol /dev/mapper/$G_NAME $lid")
	done
	dm_create_all "${devices[@]}"
}

# Takes a device back, as soon as its failure is on record and it has answered all that it was asked before.
readd() { # LID
	wait_until 20 dmsetup message "$G_NAME" 0 readd "$1" || fail "$1 is not taken back"
}

# Has a volume get another disk, as soon as that has answered all that it was asked for others before.
restore() { # LID [onto LID]
	wait_until 20 dmsetup message "$G_NAME" 0 restore "$@" || fail "\"restore $*\" is refused"
}

# Makes LV0 and LV1 read-only and LV2 writable.
figure9_volumes() {
	svol_create LV0 --readonly
	svol_create LV1 --readonly
	svol_create LV2
}

# Every sector of these devices holds the base image.
assert_base() { # device...
	"$SVOL_TEST" verify --seed "$SEED" "$@"
}

# The device holds what `random-io --state FILE` left there.
assert_state() { # device file
	"$SVOL_TEST" verify --seed "$SEED" --state "$2" "$1"
}
