# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# A group with all kinds of volumes, of which each disk can be made to fail: two read-only volumes,
# two that are logged in the store ST, a clone with a disk and a store of its own, two spares.

# Entries whose disks may fail: below linear devices cov_<entry>. META is the second metadata copy. CT and
# META1, the first copy, may be added.
FAULTY=(LV0 LV1 L5 L6 C1 S0 S1 ST META)
# What is broken now: an entry, or nothing; and how.
BROKEN=
HOW=

faults_disks() { # [attribute=value...]
	local disks name volumes=() size=4
	load_module
	new_disks META 8
	new_disks META2 8
	G_META=("$META" "$META2")
	G_DISKS=("$META" "$META2")
	COVER=([META1]="$META" [META]="$META2")
	for name in LV0 LV1 L5 L6 C1 S0 S1 ST CT; do
		case $name in
		ST | CT) size=16 ;;
		*) size=4 ;;
		esac
		new_disk disks "$size" "$@"
		COVER+=(["$name"]="$disks")
		G_DISKS+=("$disks")
		case $name in
		LV? | L? | C1) "$SVOL_TEST" fill --seed "$SEED" "$disks" ;;
		esac
		case $name in
		LV?) volumes+=("$name ro $disks -") ;;
		L?) volumes+=("$name rw $disks ST") ;;
		C1) volumes+=("$name ro $disks CT") ;;
		S0 | S1) volumes+=("$name spare $disks -") ;;
		ST | CT) volumes+=("$name increments $disks -") ;;
		esac
	done
	G_NAME=G0
	G_LEN=$((4 * 2048))
	G_BLOCK=128
	G_VOLUMES=("${volumes[@]}")
	G_FEATURES=(init assume_identical max_errors 4)
	CLONES=(L5 L6 C1)
	LEGS=()
	expect_disk_errors
	expect_log '^dm_svol: '
}

# Each disk but the stable ones below a linear device, which can be made to fail.
faults_covers() {
	local name devices=()
	for name in "${FAULTY[@]}"; do
		devices+=("cov_$name,,,,$(cover_table "$name" linear)")
		case $name in
		META1) G_META[0]=/dev/mapper/cov_META1 ;;
		META) G_META[1]=/dev/mapper/cov_META ;;
		*) group_move "$name" "/dev/mapper/cov_$name" ;;
		esac
	done
	dm_create_all "${devices[@]}"
}

# A cover has the name of its entry behind a prefix: device-mapper names are those of volumes, too.
cover_set() { # entry way
	dm_change "cov_$1" "$(cover_table "$1" "$2")" --noflush
}

# The device that is broken works by itself: a user gave it up, or it hung for a while, or a move uses it.
is_sound() {
	[[ $HOW == @(command|hangs|moves) ]]
}

# Any of these words, by the seed in RANDOM: not in a subshell, which has another one.
pick() { # variable word...
	local picks=("${@:2}")
	printf -v "$1" '%s' "${picks[RANDOM % ${#picks[@]}]}"
}

# One of these volumes that gets another disk by itself when its own one fails: a spare, if one is free, or
# the disk of its own entry, if it lives on a spare. It may be none.
pick_movable() { # variable LID...
	local volume movable=()
	read_status
	for volume in "${@:2}"; do
		[[ ${ST[$volume.disk]} == "$volume" && " ${ST[S0.health]} ${ST[S1.health]} " != *' spare '* ]] ||
			movable+=("$volume")
	done
	printf -v "$1" '%s' ''
	[ "${#movable[@]}" = 0 ] || pick "$1" "${movable[@]}"
}

# All is as it was, but for which disk serves whom.
is_mended() {
	local lid
	for lid in L5 L6 C1; do
		# Refused while it lacks its disk, or moves.
		dmsetup message G0 0 set_attr "$lid" "$([ "$lid" = C1 ] && echo ro || echo rw)" 2>/dev/null || return 1
	done
	read_status
	[ "${ST[state]} ${ST[metadata]} ${ST[L5.protection]} ${ST[L6.protection]}" = \
		'clean AA protected protected' ] || return 1
	for lid in LV0 LV1 L5 L6 C1; do
		[ "${ST[$lid.health]}" = in-sync ] || return 1
	done
}

# The device works again, and is taken back; the group has to get well by itself from there on.
mend() {
	local volume
	is_sound || cover_set "$BROKEN" linear
	note "mends $BROKEN"
	# What has just begun to fail is on record after that, and nothing is on its way any more: so nothing that
	# has failed is refused below.
	dmsetup suspend G0
	dmsetup resume G0
	for volume in "${G_VOLUMES[@]}"; do
		# Whatever failed: a disk that was given up by a command is another one than that of its entry, perhaps.
		dmsetup message G0 0 readd "${volume%% *}" 2>/dev/null || :
	done
	dm_change G0 "$(dmsetup table G0)"
	read_status
	case ${ST[metadata]} in
	FA) dmsetup message G0 0 replace_meta 1 "${G_META[0]}" ;;
	AF) dmsetup message G0 0 replace_meta 2 "${G_META[1]}" ;;
	esac
	wait_until 90 is_mended || fail "not mended: ${ST[line]}"
	BROKEN=
}

# What a device holds, in one word.
content_of() { # device
	digest "$1" | sed 's/.* //'
}

# What the volumes in CLONES hold: they hold the same when the group is up again, and the disks of the
# logged ones hold it by themselves. All is well, and only these volumes are there.
check_disks() {
	local lid was
	local -A hold
	for lid in "${CLONES[@]}"; do
		hold[$lid]=$(content_of "/dev/mapper/$lid")
	done
	clones_remove
	read_status
	dmsetup remove G0
	for lid in L5 L6; do
		was=$(content_of "/dev/mapper/cov_${ST[$lid.disk]}")
		assert_eq "the disk of $lid" "$was" "${hold[$lid]}"
	done
	for lid in LV0 LV1 C1; do
		assert_base "/dev/mapper/cov_${ST[$lid.disk]}"
	done
	group_create
	clones_create
	for lid in "${CLONES[@]}"; do
		assert_eq "what $lid holds" "$(content_of "/dev/mapper/$lid")" "${hold[$lid]}"
	done
}
