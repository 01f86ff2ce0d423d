# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# One random fault at a time, and random commands, while random I/O runs against a model: no user sees
# an error, and nobody ever reads anything wrong. SVOL_SECONDS makes them longer.
# Smoke: without_crashes

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

SECONDS_EACH=${SVOL_SECONDS:-50}

# Entries whose disks may fail: two read-only volumes, two that are logged in the store ST, a clone with a
# disk and a store of its own, two spares. The second metadata copy may fail, too.
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
	COVER=([META]="$META2")
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
		[ "$name" = META ] || group_move "$name" "/dev/mapper/cov_$name"
	done
	dm_create_all "${devices[@]}"
	G_META=("$META" /dev/mapper/cov_META)
}

# A cover has the name of its entry behind a prefix: device-mapper names are those of volumes, too.
cover_set() { # entry way
	dm_change "cov_$1" "$(cover_table "$1" "$2")" --noflush
}

any_of() { # word...
	shift $((RANDOM % $#))
	echo "$1"
}

# All is as it was, but for which disk serves whom.
is_mended() {
	local lid
	read_status
	[ "${ST[state]} ${ST[metadata]} ${ST[L5.protection]} ${ST[L6.protection]}" = \
		'clean AA protected protected' ] || return 1
	for lid in LV0 LV1 L5 L6 C1; do
		[ "${ST[$lid.health]}" = in-sync ] || return 1
	done
}

# A start does without what is broken; but diverted volumes have nothing else than their increments volume.
starts_so() {
	[ "$BROKEN" != ST ] || [ "$HOW" = command ]
}

# What a fault may meet: it is refused, or it is not.
disturb() {
	case $((RANDOM % 8)) in
	0) dmsetup message G0 0 rebuild_rate "$(any_of 0 2048 8192)" ;;
	1) ! starts_so || dm_change G0 "$(dmsetup table G0)" "$(any_of --noflush --nolockfs)" ;;
	2) dmsetup suspend G0 && dmsetup resume G0 ;;
	3) dmsetup message G0 0 restore "$(any_of LV0 LV1 L5 L6 C1)" 2>/dev/null || : ;;
	4) dmsetup message G0 0 fail "$(any_of LV0 L5 L6 C1 S1)" 2>/dev/null || : ;;
	5) dmsetup message G0 0 set_attr "$(any_of C1 L6)" "$(any_of ro rw)" 2>/dev/null || : ;;
	6) dmsetup message G0 0 query >/dev/null ;;
	7) dmsetup message G0 0 readd "$(any_of "${FAULTY[@]}")" 2>/dev/null || : ;;
	esac
}

break_one() {
	BROKEN=$(any_of "${FAULTY[@]}")
	HOW=$(any_of command "$@")
	case $BROKEN in
	ST) [ "$HOW" != reads ] || HOW='command' ;;
	META)
		# There is no command for it.
		HOW=error
		if [ $# = 0 ]; then
			BROKEN=
			return
		fi
		;;
	esac
	note "breaks $BROKEN: $HOW"
	case $HOW in
	command) dmsetup message G0 0 fail "$BROKEN" 2>/dev/null || : ;;
	*) cover_set "$BROKEN" "$HOW" ;;
	esac
}

# The device works again, and is taken back; the group has to get well by itself from there on.
mend() {
	local name
	[ "$HOW" = command ] || cover_set "$BROKEN" linear
	note "mends $BROKEN"
	for name in "${FAULTY[@]}"; do
		# Whatever failed: a disk that was given up by a command is another one than that of its entry, perhaps.
		[ "$name" = META ] || dmsetup message G0 0 readd "$name" 2>/dev/null || :
	done
	for name in L6 C1; do
		dmsetup message G0 0 set_attr "$name" "$([ "$name" = C1 ] && echo ro || echo rw)" 2>/dev/null || :
	done
	dm_change G0 "$(dmsetup table G0)"
	read_status
	[ "${ST[metadata]}" = AA ] || dmsetup message G0 0 replace_meta 2 "${G_META[1]}"
	wait_until 90 is_mended || fail "not mended: ${ST[line]}"
	BROKEN=
}

# Some steps: at most one device is broken at a time.
faults_live() { # [way...]
	local i
	for ((i = 0; i < 4; i++)); do
		if [ -z "$BROKEN" ]; then
			break_one "$@"
		elif [ $((RANDOM % 3)) != 0 ]; then
			disturb
		else
			mend
		fi
		nap 0.$((RANDOM % 5))
	done
	assert_base /dev/mapper/G0
}

model_restart() {
	starts_so || mend
	clones_restart
}

test_without_crashes() {
	RANDOM=$SVOL_SEED
	faults_disks
	faults_covers
	group_create
	clones_create
	# shellcheck disable=SC2317 # called by run_model
	model_live() {
		faults_live error error writes reads
	}
	run_model "$SECONDS_EACH" 'live live live live restart'
	[ -z "$BROKEN" ] || mend
	assert_base /dev/mapper/G0
}

# The power may go at any moment, too.
test_with_crashes() {
	RANDOM=$SVOL_SEED
	faults_disks cache_size=2
	expect_power_cuts
	group_create
	clones_create
	# shellcheck disable=SC2317 # called by run_model
	model_live() {
		faults_live
	}
	run_model "$SECONDS_EACH" 'live live live crash restart'
	[ -z "$BROKEN" ] || mend
	assert_base /dev/mapper/G0
}
