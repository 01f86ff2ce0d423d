# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# What a group shows of itself, and the basic rules of its volumes.
# Smoke: figure9 readonly_rules writable_volume

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

test_figure9() {
	local query word
	figure9 8
	read_status
	assert_status name=G0 state=clean metadata=AA volumes=5 \
		LV0.attr=ro LV0.health=in-sync LV0.protection=protected LV0.disk=LV0 LV0.rlid=- \
		LV1.attr=ro LV1.health=in-sync LV1.protection=protected LV1.disk=LV1 LV1.rlid=- \
		LV2.attr=rw LV2.health=in-sync LV2.disk=LV2 LV2.rlid=DLV2 \
		S0.attr=spare S0.health=spare S0.rlid=- \
		DLV2.attr=increments DLV2.rlid=- \
		LV0.read_errors=0 LV0.write_errors=0 LV0.freq=0 LV0.blocks=-
	assert_eq 'the order of the volumes' "${ST[lids]}" 'LV0 LV1 LV2 S0 DLV2'
	assert_at_least 'the number of fields' "${ST[fields]}" 10
	assert_match 'the event count' "${ST[events]}" '^[0-9]+$'
	assert_eq 'the size' "$(blockdev --getsz /dev/mapper/G0)" "$G_LEN"

	query=$(dmsetup message G0 0 query)
	for word in G0 LV0 LV1 LV2 S0 DLV2 ro rw spare increments; do
		grep -qw -- "$word" <<<"$query" || fail "query does not show $word: $query"
	done
	assert_eq 'the number of open counts' "$(dm_info G0 open)" 0
}

test_one_metadata_copy() {
	load_module
	figure9_disks 8
	G_META=("$META")
	group_create
	read_status
	assert_status state=clean metadata=A redundancy=0
}

test_redundancy() {
	load_module
	figure9_disks 8
	group_drop LV2
	group_drop DLV2
	G_FEATURES=(init assume_identical)
	group_create
	read_status
	# Two pristine disks and two metadata copies: any one device may be lost.
	assert_status state=clean metadata=AA redundancy=1
	dmsetup remove G0
	blank_disk "$META" "$META2" "$DI"
	group_drop LV1
	group_create
	read_status
	assert_status redundancy=0
}

test_table_round_trip() {
	local table again
	figure9 8
	table=$(dmsetup table G0)
	# Devices are printed as numbers, so that a name that moved cannot mislead.
	assert_match 'the table' "$table" " $(disk_number "$META") .* LV0 ro $(disk_number "$D0") - "
	dm_change G0 "$table"
	again=$(dmsetup table G0)
	assert_eq 'the table after a reload' "$again" "$table"
	dmsetup remove G0
	dmsetup create G0 --table "$table"
	assert_eq 'the table of a new device' "$(dmsetup table G0)" "$table"
}

# Every feature is accepted and printed in a form that is accepted.
test_feature_round_trip() {
	local table
	load_module
	figure9_disks 8
	G_FEATURES=(init assume_identical on_full queue 30 low_water_mark 20 max_errors 5
		failover manual rebuild_rate 1024 slow_after 500 read_policy adaptive
		allow_unprotected force_metadata)
	group_create
	table=$(dmsetup table G0)
	for word in 'on_full queue 30' 'low_water_mark 20' 'max_errors 5' 'failover manual' \
		'rebuild_rate 1024' 'slow_after 500' allow_unprotected force_metadata; do
		[[ $table == *"$word"* ]] || fail "\"$word\" is not in $table"
	done
	dm_change G0 "$table"
	assert_eq 'the table after a reload' "$(dmsetup table G0)" "$table"
	dmsetup remove G0
	# `queue` has a default, so its number may be left out, also before a feature.
	G_FEATURES=(on_full queue allow_unprotected)
	group_create
	dmsetup remove G0
	G_FEATURES=(allow_unprotected on_full queue)
	group_create
	dmsetup remove G0
	G_FEATURES=(on_full error failover auto read_policy round-robin allow_unprotected)
	group_create
}

test_svol_table_round_trip() {
	local table number
	figure9 8
	number=$(disk_number /dev/mapper/G0)
	svol_create LV0 --readonly
	table=$(dmsetup table LV0)
	assert_eq 'the table of LV0' "$table" "0 $G_LEN svol $number LV0"
	dmsetup remove LV0
	dmsetup create LV0 --readonly --table "$table"
	assert_eq 'the table of the new LV0' "$(dmsetup table LV0)" "$table"
	assert_match 'the status of LV0' "$(dmsetup status LV0)" "^0 $G_LEN svol"
}

test_base_read() {
	local before
	figure9 8
	before=$(digest "$D0" "$D1" "$D2")
	assert_base /dev/mapper/G0
	must_fail svol_create LV0 --nonsense
	svol_create LV0 --readonly
	svol_create LV1 --readonly
	assert_base /dev/mapper/LV0 /dev/mapper/LV1 /dev/mapper/G0
	assert_match 'a write to the group' \
		"$("$SVOL_TEST" write-error /dev/mapper/G0 2>&1 || :)" 'EIO|EPERM|EROFS|EACCES|EOPNOTSUPP'
	assert_eq 'what the disks hold' "$(digest "$D0" "$D1" "$D2")" "$before"
}

# Which volumes load into which tables.
test_readonly_rules() {
	load_module
	figure9_disks 8
	expect_refused_tables
	G_VOLUMES[1]="LV1 ro $D1 DLV2"
	G_FEATURES=(init assume_identical)
	group_create
	must_fail svol_create LV0
	assert_no_dm LV0
	# What is written goes to an increments volume, so no leave is needed.
	for lid in LV1 LV2; do
		svol_create "$lid"
		dmsetup remove "$lid"
	done
	for lid in LV0 LV1 LV2; do
		svol_create "$lid" --readonly
		assert_eq "whether $lid is read-only" "$(blockdev --getro "/dev/mapper/$lid")" 1
		assert_base "/dev/mapper/$lid"
	done
}

test_writable_volume() {
	local events
	plain9 8
	read_status
	events=${ST[events]}
	figure9_volumes
	"$SVOL_TEST" random-io /dev/mapper/LV2 --write 60 --ops 200 --state lv2 --rng "$SVOL_SEED"
	assert_state /dev/mapper/LV2 lv2
	assert_state "$D2" lv2
	# Its siblings keep the base image, and read none of it from this disk.
	assert_base /dev/mapper/LV0 /dev/mapper/LV1 /dev/mapper/G0 "$D0" "$D1"
	read_status
	assert_status LV2.protection=unprotected LV2.health=in-sync state=clean redundancy=0
	assert_at_least 'the event count' "${ST[events]}" $((events + 1))
}

# A volume that was never writable can stand in for its read-only siblings.
test_pristine_rw_disk_serves_the_base() {
	figure9 8
	svol_create LV2 --readonly
	dmsetup remove LV2
	group_move LV0 -
	group_move LV1 -
	group_restart
	assert_base /dev/mapper/G0
	svol_create LV0 --readonly
	assert_base /dev/mapper/LV0
	# While that is so, it can't be written.
	expect_log '^device-mapper: table: [0-9:]+: svol: preresume failed, error = -16$'
	log_mark
	must_fail svol_create LV2
	assert_logged "LV2: can't be written, its disk is the only one that serves reads of the base"
}

test_degraded_disk() {
	local events
	figure9 8
	read_status
	events=${ST[events]}
	group_move LV1 -
	group_restart
	read_status
	assert_status state=degraded LV1.health=failed LV0.health=in-sync
	assert_at_least 'the event count' "${ST[events]}" $((events + 1))
	svol_create LV0 --readonly
	svol_create LV1 --readonly
	assert_base /dev/mapper/LV0 /dev/mapper/LV1 /dev/mapper/G0
	assert_eq 'I/O errors of LV1' "${ST[LV1.read_errors]}" 0
	dmsetup remove LV0
	dmsetup remove LV1
	# Back again, the disk is failed all the same, until somebody says otherwise.
	group_move LV1 "$D1"
	group_restart
	read_status
	assert_status state=degraded LV1.health=failed
	svol_create LV1 --readonly
	assert_base /dev/mapper/LV1
}

# Without its disk, an in-place volume that was never written is the base image.
test_degraded_pristine_rw() {
	figure9 8
	group_move LV2 -
	group_restart
	read_status
	assert_status state=degraded LV2.health=degraded redundancy=0
	svol_create LV2 --readonly
	assert_base /dev/mapper/LV2
}

# Once written without a log, its disk is all there is of it.
test_missing_written_disk_is_refused() {
	plain9 8
	svol_create LV2
	assert_eq 'a write to LV2' "$("$SVOL_TEST" write-error /dev/mapper/LV2)" none
	dmsetup remove LV2
	dmsetup remove G0
	group_move LV2 -
	group_refused LV2
	group_move LV2 "$D2"
	group_create
}

# Read-only volumes need one disk that holds the base image.
test_no_base_disk_is_refused() {
	figure9 8
	svol_create LV2
	assert_eq 'a write to LV2' "$("$SVOL_TEST" write-error /dev/mapper/LV2)" none
	dmsetup remove LV2
	dmsetup remove G0
	group_move LV0 -
	group_move LV1 -
	group_refused 'LV0|LV1'
	group_move LV1 "$D1"
	group_create
	assert_base /dev/mapper/G0
}

test_missing_spare_and_increments() {
	figure9 8
	group_move S0 -
	group_move DLV2 -
	group_restart
	read_status
	assert_status state=degraded S0.health=failed DLV2.health=failed LV0.health=in-sync
	svol_create LV2 --readonly
	assert_base /dev/mapper/LV2
}

# A metadata copy may be missing where an increments volume has seen the same state.
test_missing_copy_confirmed() {
	figure9 8
	dmsetup remove G0
	expect_warnings
	G_META=("$META" -)
	group_create
	read_status
	assert_status metadata=AF redundancy=0
}

# A metadata copy may be missing where the other one knows, or is told, that it is.
test_missing_metadata_copy() {
	load_module
	figure9_disks 8
	G_VOLUMES=("LV0 ro $D0 -" "LV1 ro $D1 -")
	group_create
	dmsetup remove G0
	expect_warnings
	G_META=("$META" -)
	group_refused 'meta'
	G_FEATURES=(allow_unprotected force_metadata)
	group_create
	read_status
	assert_status metadata=AF redundancy=0
	# From now on the loss is known.
	G_FEATURES=(allow_unprotected)
	group_restart
	read_status
	assert_status metadata=AF
	# A copy that was lost is not taken for the truth when it comes back.
	G_META=("$META" "$META2")
	group_restart
	read_status
	assert_status metadata=AF
}

# A change of health or protection raises an event: whoever waits for it wakes up.
test_dm_event() {
	local before waiter
	figure9 8
	before=$(dm_info G0 events)
	dm_change G0 "$(group_table)"
	assert_eq 'the event number, when nothing happened' "$(dm_info G0 events)" "$before"

	timeout 20 dmsetup wait G0 "$before" &
	waiter=$!
	group_move LV1 -
	dm_change G0 "$(group_table)"
	read_status
	assert_status LV1.health=failed
	assert_eq 'the event number, after a disk failed' "$(dm_info G0 events)" $((before + 1))
	wait "$waiter" || fail 'dmsetup wait does not return'

	svol_create LV2
	read_status
	assert_status LV2.protection=protected
	assert_eq 'the event number, after the mark of a write' "$(dm_info G0 events)" \
		$((before + 2))
}

# Increments volumes may be shared.
test_shared_increments() {
	load_module
	figure9_disks 8
	G_VOLUMES[0]="LV0 ro $D0 DLV2"
	group_create
	read_status
	assert_status LV0.rlid=DLV2 LV2.rlid=DLV2 LV0.health=in-sync
	svol_create LV0 --readonly
	assert_base /dev/mapper/LV0
}

test_long_names() {
	local long=A23456789_123456789_123456789_123456789_123456789_123456789_.-A
	assert_eq 'the length of the name' "${#long}" 63
	load_module
	figure9_disks 8
	G_NAME=$long
	G_VOLUMES[0]="$long ro $D0 -"
	group_create
	dmsetup create lv --readonly --table "0 $G_LEN svol /dev/mapper/$long $long"
	read_status
	assert_status "name=$long" "$long.health=in-sync"
	assert_base /dev/mapper/lv
}

# Disks may be larger than the group, and a volume need not be as long as it.
test_lengths() {
	load_module
	figure9_disks 8
	G_LEN=$((6 * 2048 + 40))
	group_create
	svol_create LV0 --readonly
	assert_eq 'the size of LV0' "$(blockdev --getsz /dev/mapper/LV0)" "$G_LEN"
	assert_base /dev/mapper/LV0 /dev/mapper/G0
	expect_refused_tables
	must_fail dmsetup create LV1 --readonly --table "0 $((G_LEN + 8)) svol /dev/mapper/G0 LV1"
}

test_block_sizes() {
	local sectors
	load_module
	figure9_disks 8
	for sectors in 8 16 32 64 128; do
		G_BLOCK=$sectors
		group_create
		assert_match 'the table' "$(dmsetup table G0)" " svol-group G0 $sectors "
		assert_base /dev/mapper/G0
		dmsetup remove G0
		blank_disk "$META" "$META2" "$DI"
	done
}

# Many volumes: the status of all of them has to fit.
test_many_volumes() {
	local i disk
	load_module
	figure9_disks 8
	for i in {10..25}; do
		new_disk disk 8
		G_VOLUMES+=("S$i.with-a-long-name-to-make-the-line-longer spare $disk -")
	done
	group_create
	read_status
	assert_status volumes=21
	assert_eq 'the table' "$(dmsetup table G0 | tr ' ' '\n' | grep -c '^spare$')" 17
	assert_match 'what query says' "$(dmsetup message G0 0 query)" S25
}

# The access frequency follows the I/Os of a volume and of no other.
test_access_frequency() {
	figure9 8
	svol_create LV0 --readonly
	svol_create LV1 --readonly
	start_load lv0 /dev/mapper/LV0
	nap 2
	read_status
	stop_load lv0
	assert_at_least 'the frequency of LV0' "${ST[LV0.freq]}" 1
	assert_status LV1.freq=0
}

test_two_groups() {
	local first
	figure9 8
	first=("$D0" "$D1")
	figure9_disks 8
	G_NAME=G1
	group_create
	G_NAME=G0
	svol_create LV0 --readonly
	dmsetup create g1lv0 --readonly --table "0 $G_LEN svol /dev/mapper/G1 LV0"
	assert_base /dev/mapper/LV0 /dev/mapper/g1lv0
	[ "$(disk_stat "${first[0]}" reads)" -gt 0 ] || fail 'no read of the first group'
	dmsetup remove g1lv0
	dmsetup remove G1
	assert_base /dev/mapper/LV0
}
