# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Groups whose disks are filled when they are loaded for the first time.
# Smoke: copied

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

# LV0 has the base image; the disks of LV1, L5 and the clone C1 hold something else.
copied_disks() { # MiB MiB-of-the-store
	load_module
	logged_disks 1 "$1" "$2"
	legs_remove
	LEGS=()
	new_disk CLONE "$1"
	new_disk READ "$1"
	# shellcheck disable=SC2153 # set by logged_disks
	for disk in "$DISK" "$CLONE" "$READ"; do
		"$SVOL_TEST" fill --seed 77 "$disk"
	done
	group_move C1 "$CLONE"
	G_VOLUMES+=("LV1 ro $READ -")
	G_DISKS+=("$CLONE" "$READ")
	G_FEATURES=(init copy_from LV0)
}

copied_up() {
	group_create
	clones_create
	svol_create LV1 --readonly
}

copied_down() {
	clones_remove
	dmsetup remove LV1 G0
}

all_filled() {
	read_status
	[ "${ST[LV1.health]} ${ST[C1.health]} ${ST[L5.health]}" = 'in-sync in-sync in-sync' ]
}

wait_filled() {
	wait_until 60 all_filled || fail "not filled: ${ST[line]}"
	assert_status state=clean L5.protection=protected LV1.disk=LV1 C1.disk=C1 L5.disk=L5
}

# A disk that is to be filled has to be writable, also that of an ro volume.
test_read_only_disk() {
	copied_disks 8 16
	G_FEATURES+=(rebuild_rate 512)
	blockdev --setro "$READ"
	group_refused 'disk of LV1: read-only'
	blockdev --setrw "$READ"
	copied_up
	copied_down
	# Nor does that go on.
	blockdev --setro "$READ"
	group_refused 'disk of LV1: read-only'
	blockdev --setrw "$READ"
	copied_up
	dmsetup message G0 0 rebuild_rate 0
	wait_filled
	copied_down
}

# All is there from the beginning, and in the end each disk has what its volume has.
test_copied() {
	copied_disks 8 16
	copied_up
	assert_base /dev/mapper/G0 /dev/mapper/LV1
	steps L5 write:100+1000 zero:9000+64 flush check
	steps C1 write:300+8 flush check
	wait_filled
	check_clones
	copied_down
	# The form of the first start is ignored from now on.
	G_FEATURES=(init copy_from LV1)
	copied_up
	check_clones
	assert_base /dev/mapper/LV1
	copied_down
	# Also if the disk that was copied is gone.
	G_FEATURES=(init copy_from LV0)
	group_move LV0 -
	copied_up
	check_clones
	assert_base /dev/mapper/LV1
	dmsetup message G0 0 remove LV0
	group_drop LV0
	dm_change G0 "$(group_table)"
	check_clones
	copied_down
	assert_base "$READ" "$CLONE"
	"$SVOL_TEST" steps "$DISK" --seed "$SEED" --own 1005 --state s.L5 check
}

# One disk is filled after the other.
has_begun() {
	read_status
	[[ "${ST[LV1.blocks]} ${ST[C1.blocks]} ${ST[L5.blocks]}" =~ [1-9][0-9]*/ ]]
}

# The group is in use, suspended and started again while disks are filled.
test_goes_on_after_a_start() {
	copied_disks 32 64
	G_FEATURES+=(rebuild_rate 1024)
	copied_up
	start_load L5 /dev/mapper/L5 --write 50 --state l5
	wait_until 30 has_begun
	dmsetup suspend G0
	dmsetup resume G0
	nap 6
	stop_loads
	read_status
	assert_status L5.health=rebuilding LV1.health=rebuilding
	copied_down
	copied_up
	has_begun || fail "it begins anew: ${ST[line]}"
	assert_status L5.health=rebuilding
	dmsetup message G0 0 rebuild_rate 0
	wait_filled
	assert_state /dev/mapper/L5 l5
	assert_base /dev/mapper/LV1
	copied_down
	assert_state "$DISK" l5
	assert_base "$READ" "$CLONE"
}

# LV0 has the base image, and LV1, L5 and the clone C1 have disks of their own that hold the same.
compared_disks() { # MiB MiB-of-the-store
	copied_disks "$@"
	"$SVOL_TEST" fill --seed "$SEED" "$DISK" "$CLONE" "$READ"
	# It is the default.
	G_FEATURES=()
}

# Something else in one sector.
spoil() { # disk sector
	dd if=/dev/zero of="$1" bs=512 seek="$2" count=1 conv=notrunc,fsync status=none
}

wait_compared() { # health of LV1, C1 and L5
	wait_until 60 are_compared "$@" || fail "not compared: ${ST[line]}"
}

are_compared() {
	read_status
	[ "${ST[LV1.health]} ${ST[C1.health]} ${ST[L5.health]}" = "$*" ]
}

# Volumes are in use while their disks are compared, also over a suspend and a new start; then they
# serve each other.
test_compared() {
	compared_disks 8 16
	G_FEATURES=(rebuild_rate 64)
	copied_up
	read_status
	assert_status state=clean redundancy=0 LV0.health=in-sync LV0.protection=unprotected \
		LV1.health=verifying C1.health=verifying L5.health=verifying L5.protection=unprotected
	steps L5 write:100+1000 write:5001+3 zero:9000+64 flush check
	steps C1 write:300+8 write:5001+3 flush check
	assert_base /dev/mapper/G0 /dev/mapper/LV1
	wait_until 30 has_begun
	dmsetup suspend G0
	dmsetup resume G0
	copied_down
	copied_up
	read_status
	assert_status LV1.health=verifying C1.health=verifying L5.health=verifying
	dmsetup message G0 0 rebuild_rate 0
	steps L5 write:12000+500 check
	wait_compared in-sync in-sync in-sync
	assert_status state=clean LV0.protection=protected LV1.protection=protected \
		L5.protection=protected LV1.blocks=- L5.blocks=-
	check_clones
	# Nobody needs the disk of LV0 any more.
	dmsetup message G0 0 fail LV0
	assert_base /dev/mapper/G0 /dev/mapper/LV1
	check_clones
	copied_down
	copied_up
	check_clones
	copied_down
	assert_base "$READ" "$CLONE" "$BASE_DISK"
	"$SVOL_TEST" steps "$DISK" --seed "$SEED" --own 1005 --state s.L5 check
}

# A disk that differs serves its own volume, and nobody else.
test_diverged() {
	compared_disks 8 16
	spoil "$READ" 5001
	# The first sub-block is one that each start looks at.
	spoil "$DISK" 3
	"$SVOL_TEST" fill --seed 77 "$CLONE"
	G_FEATURES=(init verify)
	expect_log '^dm_svol: G0: [^ ]+: diverged, '
	log_mark
	copied_up
	wait_compared diverged diverged diverged
	assert_logged '^dm_svol: G0: LV1: diverged, .*, first at sector 5001;'
	assert_logged '^dm_svol: G0: L5: diverged, .*, first at sector 3;'
	assert_logged '^dm_svol: G0: C1: diverged, .*, first at sector 0;'
	assert_status state=degraded redundancy=0 LV0.protection=unprotected LV1.protection=unprotected \
		L5.protection=unprotected C1.protection=unprotected
	local i
	for i in 1 2; do
		assert_same /dev/mapper/LV1 "$READ"
		assert_same /dev/mapper/C1 "$CLONE"
		assert_same /dev/mapper/L5 "$DISK"
		assert_base /dev/mapper/G0 "$BASE_DISK"
		# Nobody else has what they hold.
		must_fail dmsetup message G0 0 fail LV1
		must_fail dmsetup message G0 0 fail L5
		must_fail dmsetup message G0 0 set_attr L5 ro
		[ "$i" = 1 ] || break
		copied_down
		copied_up
		read_status
		assert_status LV1.health=diverged C1.health=diverged L5.health=diverged
	done
	# A part of a sub-block: the rest of it is the clone's own.
	"$SVOL_TEST" steps /dev/mapper/C1 --seed 77 --own 1001 --state s.C1 write:301+2 flush check
	copied_down
	assert_base "$BASE_DISK"
}

# It is the last one; so the status that says what became of the others has to be a later one.
is_left() {
	log_says 'LV1: stays verifying, 1 blocks' && read_status
}

# Nobody helps out with what is not compared.
test_compared_disk_has_bad_sectors() {
	local end
	compared_disks 8 16
	end=$((G_LEN - 5008))
	dmsetup create bad1 --table "0 5000 linear $READ 0
5000 8 error
5008 $end linear $READ 5008"
	group_move LV1 /dev/mapper/bad1
	expect_log '^(critical |I/O error|Buffer I/O error|dm_svol: G0: LV1: stays verifying, )'
	G_FEATURES=(rebuild_rate 512)
	log_mark
	copied_up
	must_fail dd if=/dev/mapper/LV1 of=/dev/null bs=512 skip=5000 count=8 iflag=direct status=none
	dmsetup message G0 0 rebuild_rate 0
	wait_until 60 is_left || fail "not left: $(dmsetup status G0)"
	assert_status LV1.health=verifying C1.health=in-sync L5.health=in-sync
	must_fail dd if=/dev/mapper/LV1 of=/dev/null bs=512 skip=5000 count=8 iflag=direct status=none
	copied_down
	dm_change bad1 "0 $G_LEN linear $READ 0"
	copied_up
	wait_compared in-sync in-sync in-sync
	copied_down
	dmsetup remove bad1
}
