# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Every error of a table line and of a message: refused, for the right reason,
# with the offending word named in the kernel log, and nothing changed.
# Smoke: volumes messages

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

# The module and small disks, with a note of what they hold.
start() {
	load_module
	figure9_disks 4
	BEFORE=$(digest "${G_DISKS[@]}")
	begin_refusals
}

# After a list of table lines: no disk is held or changed, and a good line loads.
finish() {
	[ "${#REFUSED_LINES[@]}" = 0 ] || check_refusals
	assert_unused "${G_DISKS[@]}"
	assert_eq 'what the disks hold' "$(digest "${G_DISKS[@]}")" "$BEFORE"
	dmsetup load bad --table "$(group_table)"
	dmsetup clear bad
	assert_unused "${G_DISKS[@]}"
	dmsetup remove bad
	unload_module
}

test_missing_and_extra_arguments() {
	start
	refuses_group 'dm_svol: ' ''
	refuses_group 'block' 'G0'
	refuses_group 'meta' 'G0 128'
	refuses_group 'meta' 'G0 128 1'
	refuses_group 'meta' "G0 128 2 $META"
	refuses_group 'volumes' "G0 128 1 $META"
	refuses_group 'volume 1' "G0 128 1 $META 1"
	refuses_group 'volume 1;LV0' "G0 128 1 $META 1 LV0"
	refuses_group 'volume 1;LV0' "G0 128 1 $META 1 LV0 ro"
	refuses_group 'volume 1;LV0' "G0 128 1 $META 1 LV0 ro $D0"
	refuses_group 'volume 2' "G0 128 1 $META 2 LV0 ro $D0 -"
	refuses_group 'feature;extra' "G0 128 1 $META 1 LV0 ro $D0 - extra"
	refuses_group 'extra' "G0 128 1 $META 1 LV0 ro $D0 - 0 extra"
	refuses_group 'feature' "G0 128 1 $META 1 LV0 ro $D0 - 1"
	refuses_group 'feature' "G0 128 1 $META 1 LV0 ro $D0 - 3 init verify"
	refuses_group 'verify' "G0 128 1 $META 1 LV0 ro $D0 - 1 init verify"
	refuses_group 'feature;-1' "G0 128 1 $META 1 LV0 ro $D0 - -1"
	refuses_group 'feature;1000' "G0 128 1 $META 1 LV0 ro $D0 - 1000 force_metadata"
	finish
}

test_ids() {
	local id word long=A23456789_123456789_123456789_123456789_123456789_123456789_1234
	start
	for id in all onto reverse -x .x _x a/b 'a:b' 'a%s' 'a,b' '%n%n' $'\xc3\xa4' $'a\x7f' "$long"; do
		# How bytes are shown that cannot be printed is open.
		word=$id
		[[ $id =~ ^[[:print:]]+$ ]] || word='dm_svol: '
		refuses_group "$word" "$id 128 1 $META 1 LV0 ro $D0 -"
		refuses_group "volume 1;$word" "G0 128 1 $META 1 $id ro $D0 -"
		refuses_group "volume 1;LV0;$word" "G0 128 1 $META 1 LV0 ro $D0 $id"
	done
	refuses_group 'volume 2;LV0' "G0 128 1 $META 2 LV0 ro $D0 - LV0 ro $D1 -"
	refuses_group 'volume 3;LV0' "G0 128 1 $META 3 LV0 ro $D0 - LV1 ro $D1 - LV0 spare $DS -"
	finish
}

test_numbers() {
	local n
	start
	for n in 0 1 4 7 12 100 127 129 256 -128 +128 0x80 128x 1e2 128.0 x - 4294967424 \
		18446744073709551744 99999999999999999999999; do
		refuses_group "block sectors;\"$n\"" "G0 $n 1 $META 1 LV0 ro $D0 -"
	done
	for n in 0 3 -1 x 1x 4294967297 18446744073709551617; do
		refuses_group "#meta;\"$n\"" "G0 128 $n $META 1 LV0 ro $D0 -"
	done
	for n in 0 257 -1 x 1x 100000 4294967297 18446744073709551617; do
		refuses_group "#volumes;\"$n\"" "G0 128 1 $META $n LV0 ro $D0 -"
	done
	finish
}

test_volumes() {
	local v
	start
	v="G0 128 1 $META"
	refuses_group 'volume 1;LV0;attr;rx' "$v 1 LV0 rx $D0 -"
	refuses_group 'volume 1;LV0;attr;RO' "$v 1 LV0 RO $D0 -"
	refuses_group 'volume 2;LV1;attr;r' "$v 2 LV0 ro $D0 - LV1 r $D1 -"
	refuses_group 'volume 3;LV2;attr;rwx' "$v 3 LV0 ro $D0 - LV1 ro $D1 - LV2 rwx $D2 -"
	# An RLID names an increments volume of this line.
	refuses_group 'volume 1;LV0;DLV9' "$v 1 LV0 ro $D0 DLV9"
	refuses_group 'volume 2;LV2;LV0' "$v 2 LV0 ro $D0 - LV2 rw $D2 LV0"
	refuses_group 'volume 2;LV2' "$v 2 LV0 ro $D0 - LV2 rw $D2 LV2"
	refuses_group 'volume 2;LV2;S0' "$v 3 LV0 ro $D0 - LV2 rw $D2 S0 S0 spare $DS -"
	refuses_group 'volume 2;S0;DLV2' "$v 3 LV0 ro $D0 - S0 spare $DS DLV2 DLV2 increments $DI -"
	refuses_group 'volume 2;DLV2;DLV2' "$v 2 LV0 ro $D0 - DLV2 increments $DI DLV2"
	# Without a log, a volume is only written where that was allowed.
	refuses_group 'volume 2;LV2;allow_unprotected' "$v 2 LV0 ro $D0 - LV2 rw $D2 -"
	# Nothing to serve.
	refuses_group 'dm_svol: ' "$v 1 S0 spare $DS -"
	refuses_group 'dm_svol: ' "$v 2 S0 spare $DS - DLV2 increments $DI -"
	finish
}

test_features() {
	local v
	start
	v="G0 128 1 $META 2 LV0 ro $D0 - S0 spare $DS -"
	refuses_group 'frobnicate' "$v 1 frobnicate"
	refuses_group 'init' "$v 1 init"
	refuses_group 'init;maybe' "$v 2 init maybe"
	refuses_group 'copy_from' "$v 2 init copy_from"
	refuses_group 'copy_from;-' "$v 3 init copy_from -"
	refuses_group 'on_full' "$v 1 on_full"
	refuses_group 'on_full;wait' "$v 2 on_full wait"
	refuses_group 'dm_svol: ' "$v 3 on_full error 60"
	refuses_group 'dm_svol: ' "$v 3 on_full queue -5"
	refuses_group 'dm_svol: ' "$v 3 on_full queue 99999999999999999999"
	refuses_group 'low_water_mark' "$v 1 low_water_mark"
	refuses_group 'low_water_mark;101' "$v 2 low_water_mark 101"
	refuses_group 'low_water_mark;-1' "$v 2 low_water_mark -1"
	refuses_group 'low_water_mark;50%' "$v 2 low_water_mark 50%"
	refuses_group 'max_errors' "$v 1 max_errors"
	refuses_group 'max_errors;few' "$v 2 max_errors few"
	refuses_group 'max_errors;18446744073709551616' "$v 2 max_errors 18446744073709551616"
	refuses_group 'failover' "$v 1 failover"
	refuses_group 'failover;sometimes' "$v 2 failover sometimes"
	refuses_group 'rebuild_rate' "$v 1 rebuild_rate"
	refuses_group 'rebuild_rate;fast' "$v 2 rebuild_rate fast"
	refuses_group 'slow_after' "$v 1 slow_after"
	refuses_group 'slow_after;2s' "$v 2 slow_after 2s"
	refuses_group 'read_policy' "$v 1 read_policy"
	refuses_group 'read_policy;fastest' "$v 2 read_policy fastest"
	refuses_group 'Allow_Unprotected' "$v 1 Allow_Unprotected"
	# Each at most once.
	refuses_group 'allow_unprotected' "$v 2 allow_unprotected allow_unprotected"
	refuses_group 'force_metadata' "$v 2 force_metadata force_metadata"
	refuses_group 'init' "$v 4 init verify init assume_identical"
	refuses_group 'failover' "$v 4 failover auto failover auto"
	refuses_group 'max_errors' "$v 4 max_errors 1 max_errors 2"
	finish
}

test_devices() {
	local v small file=$TEST_DIR/file
	start
	new_disk small 2
	truncate -s 8M "$file"
	v="LV0 ro $D0 -"
	refuses_group 'metadata device 1;/dev/nothing' "G0 128 1 /dev/nothing 1 $v"
	refuses_group 'metadata device 2;/dev/nothing' "G0 128 2 $META /dev/nothing 1 $v"
	refuses_group 'meta dev' "G0 128 1 - 1 $v"
	refuses_group 'meta dev' "G0 128 2 - - 1 $v"
	refuses_group 'metadata device 1;/dev/null' "G0 128 1 /dev/null 1 $v"
	refuses_group "metadata device 1;$TEST_DIR" "G0 128 1 $TEST_DIR 1 $v"
	refuses_group "metadata device 1;$file" "G0 128 1 $file 1 $v"
	refuses_group 'metadata device 1;4095:77' "G0 128 1 4095:77 1 $v"
	refuses_group "metadata device 1;$small" "G0 128 1 $small 1 $v"
	refuses_group "volume 2 (LV1);/dev/nothing" "G0 128 1 $META 2 $v LV1 ro /dev/nothing -"
	refuses_group "volume 2 (LV1);/dev/zero" "G0 128 1 $META 2 $v LV1 ro /dev/zero -"
	refuses_group "volume 2 (LV1);$small" "G0 128 1 $META 2 $v LV1 ro $small -"
	refuses_group "volume 2 (S0);$small" "G0 128 1 $META 2 $v S0 spare $small -"
	# The same device twice, by the same name or by another one.
	refuses_group "meta dev;$META" "G0 128 2 $META $META 1 $v"
	refuses_group "volume 2 (LV1);$META" "G0 128 1 $META 2 $v LV1 ro $META -"
	refuses_group "volume 2 (LV1);$D0|link" "G0 128 1 $META 2 $v LV1 ro $D0 -"
	refuses_group "volume 2 (S0);volume 1 (LV0)" "G0 128 1 $META 2 $v S0 spare $(disk_number "$D0") -"
	refuses_group "volume 2 (DLV0);$D0" "G0 128 1 $META 2 $v DLV0 increments $D0 -"
	ln -s "$D0" "$TEST_DIR/link"
	refuses_group "volume 2 (LV1);$D0|link" "G0 128 1 $META 2 $v LV1 ro $TEST_DIR/link -"
	# The group is longer than a disk.
	refuses "volume 1 (LV0);$D0;$((G_LEN)) sectors" "0 $((G_LEN + 8)) svol-group G0 128 1 $META 1 $v"
	refuses "volume 1 (LV0);$D0;$((G_LEN)) sectors" "0 $((1 << 50)) svol-group G0 128 1 $META 1 $v"
	assert_unused "$small"
	finish
}

# Disks that somebody else uses.
test_devices_in_use() {
	local disk holders=()
	start
	for disk in "$META2" "$D0" "$DS" "$DI"; do
		"$SVOL_TEST" hold "$disk" >"held.${#holders[@]}" &
		holders+=($!)
	done
	for disk in "${!holders[@]}"; do
		wait_until 10 grep -q held "held.$disk"
	done
	refuses_group "metadata device 2;$META2" "G0 128 2 $META $META2 1 LV1 ro $D1 -"
	refuses_group "volume 2 (LV0);$D0;in use" "G0 128 1 $META 2 LV1 ro $D1 - LV0 ro $D0 -"
	refuses_group "volume 2 (S0);$DS;in use" "G0 128 1 $META 2 LV1 ro $D1 - S0 spare $DS -"
	refuses_group "volume 2 (DLV);$DI;in use" "G0 128 1 $META 2 LV1 ro $D1 DLV DLV increments $DI -"
	check_refusals
	kill "${holders[@]}"
	wait "${holders[@]}"
	REFUSED_LINES=()
	finish
}

# The registry: a device of a live group is not for another one, and not for
# a second place in the same group.
test_devices_of_another_group() {
	local name other
	load_module
	figure9_disks 4
	other=("$META" "$META2" "$D0" "$D1" "$D2" "$DS" "$DI")
	group_create
	figure9_disks 4
	G_NAME=G1
	begin_refusals
	refuses "metadata device 1;${other[0]};group G0" "0 $G_LEN svol-group G1 128 1 ${other[0]} 1 LV0 ro $D0 -"
	refuses "metadata device 2;${other[1]};group G0" "0 $G_LEN svol-group G1 128 2 $META ${other[1]} 1 LV0 ro $D0 -"
	for name in 2 3 4 5 6; do
		refuses "volume 2 (S0);${other[name]};group G0" \
			"0 $G_LEN svol-group G1 128 1 $META 2 LV0 ro $D0 - S0 spare ${other[name]} -"
	done
	check_refusals
	assert_unused "${G_DISKS[@]}"
	assert_base /dev/mapper/G0
	# Two tables may be loaded for the same disks, but only one becomes live.
	dmsetup load bad --table "$(group_table)"
	expect_refused_resumes
	if dmsetup create other --table "0 $G_LEN svol-group G2 128 1 $META \
		1 LV0 ro $D0 - 2 init assume_identical"; then
		must_fail dmsetup resume bad
		dmsetup remove other
		blank_disk "$META"
	fi
	dmsetup remove bad
	group_create
	assert_base /dev/mapper/G1
}

# One live group per GrpID.
test_same_group_id_twice() {
	figure9 4
	figure9_disks 4
	expect_refused_tables
	expect_refused_resumes
	must_fail dmsetup create second --table "$(group_table)"
	assert_no_dm second
	assert_unused "${G_DISKS[@]}"
	assert_base /dev/mapper/G0
}

# A group on its own device, or on one of its own volumes.
test_own_device() {
	local table own
	figure9 4
	svol_create LV0 --readonly
	table=$(dmsetup table G0)
	for own in /dev/mapper/G0 /dev/mapper/LV0; do
		group_move S0 "$own"
		expect_refused_tables
		expect_log '^device-mapper: table: .*'
		must_fail dmsetup load G0 --table "$(group_table)"
	done
	assert_eq 'the table' "$(dmsetup table G0)" "$table"
	assert_base /dev/mapper/LV0
}

test_svol_arguments() {
	local g=/dev/mapper/G0 extra
	figure9 4
	new_disk extra 4
	dm_linear plain "$extra"
	begin_refusals
	refuses 'dm_svol: ' "0 $G_LEN svol"
	refuses 'dm_svol: ' "0 $G_LEN svol $g"
	refuses 'extra' "0 $G_LEN svol $g LV0 extra"
	refuses 'nothing' "0 $G_LEN svol /dev/nothing LV0"
	refuses '/dev/null' "0 $G_LEN svol /dev/null LV0"
	refuses "$META" "0 $G_LEN svol $META LV0"
	refuses 'plain' "0 $G_LEN svol /dev/mapper/plain LV0"
	refuses 'LV9' "0 $G_LEN svol $g LV9"
	refuses 'lv0' "0 $G_LEN svol $g lv0"
	refuses '-x' "0 $G_LEN svol $g -x"
	refuses 'all' "0 $G_LEN svol $g all"
	refuses 'S0' "0 $G_LEN svol $g S0"
	refuses 'DLV2' "0 $G_LEN svol $g DLV2"
	refuses 'LV0' "0 $((G_LEN + 8)) svol $g LV0"
	# Not into a writable table.
	refuses 'LV0' "0 $G_LEN svol $g LV0"
	check_refusals
	# One svol per LID.
	svol_create LV1 --readonly
	must_fail dmsetup create again --readonly --table "0 $G_LEN svol $g LV1"
	assert_no_dm again
	assert_base /dev/mapper/LV1
	dmsetup remove LV1
	dmsetup remove G0
	unload_module
}

# A group that is loaded but was never made live serves nobody.
test_svol_of_a_group_not_yet_live() {
	load_module
	figure9_disks 4
	expect_refused_tables
	dmsetup create G0 --notable
	must_fail svol_create LV0 --readonly
	dmsetup load G0 --table "$(group_table)"
	must_fail svol_create LV0 --readonly
	dmsetup resume G0
	svol_create LV0 --readonly
	assert_base /dev/mapper/LV0
}

test_messages() {
	local before
	figure9 4
	svol_create LV0 --readonly
	read_status
	before=${ST[line]}
	begin_refusals
	refusal EINVAL 'nonsense' 'nonsense'
	refusal EINVAL 'QUERYX' 'QUERYX LV0'
	refusal EINVAL 'extra' 'query extra'
	refusal EINVAL 'restore' 'restore'
	refusal EINVAL 'restore;-x' 'restore -x'
	refusal EINVAL 'restore' 'restore LV2 onto'
	refusal EINVAL 'restore;upon' 'restore LV2 upon S0'
	refusal EINVAL 'extra' 'restore LV2 onto S0 extra'
	refusal EINVAL 'fail' 'fail'
	refusal EINVAL 'extra' 'fail LV0 extra'
	refusal EINVAL 'readd' 'readd'
	refusal EINVAL 'rollback' 'rollback'
	refusal EINVAL 'set_attr' 'set_attr'
	refusal EINVAL 'set_attr' 'set_attr LV2'
	refusal EINVAL 'set_attr;bogus' 'set_attr LV2 bogus'
	refusal EINVAL 'set_attr' 'set_attr LV2 ro 0'
	refusal EINVAL 'set_attr;x' 'set_attr LV2 ro x 128'
	refusal EINVAL 'set_attr;-128' 'set_attr LV2 ro 0 -128'
	refusal EINVAL 'add' 'add'
	refusal EINVAL 'add' 'add LV9'
	refusal EINVAL 'add;rx' "add LV9 rx $DS -"
	refusal EINVAL 'add' "add LV9 ro $DS"
	refusal EINVAL 'remove' 'remove'
	refusal EINVAL 'replace_meta' 'replace_meta'
	refusal EINVAL 'replace_meta' 'replace_meta 1'
	refusal EINVAL 'replace_meta;3' "replace_meta 3 $DS"
	refusal ENOENT 'replace_meta;/dev/none' 'replace_meta 1 /dev/none'
	refusal EINVAL 'replace_meta;load a line' "replace_meta 1 $DS"
	refusal EBUSY 'replace_meta;in use' "replace_meta 1 $META"
	refusal EINVAL 'scrub' 'scrub'
	refusal EINVAL 'scrub;sideways' 'scrub sideways'
	refusal EINVAL 'scrub;hard' 'scrub start hard'
	refusal EINVAL 'rebuild_rate' 'rebuild_rate'
	refusal EINVAL 'rebuild_rate;fast' 'rebuild_rate fast'
	refusal EINVAL 'rebuild_rate;-1' 'rebuild_rate -1'
	refusal EINVAL 'pair_create' 'pair_create'
	refusal EINVAL 'pair_split' 'pair_split'
	refusal EINVAL 'pair_resync' 'pair_resync'
	refusal EINVAL '%s%n' '%s%n'
	refusal EBUSY 'remove;LV0;loaded' 'remove LV0'
	refusal ENODEV 'remove;LV9' 'remove LV9'
	refusal EBUSY 'remove;DLV2;LV2' 'remove DLV2'
	refusal EINVAL 'restore;LV2;onto;serves LV1' 'restore LV2 onto LV1'
	refusal EINVAL 'restore;LV2;onto;increments' 'restore LV2 onto DLV2'
	refusal EINVAL 'restore;LV2;onto;LV9' 'restore LV2 onto LV9'
	refusal EINVAL 'restore;S0;spare' 'restore S0'
	refusal ENODEV 'restore;LV9' 'restore LV9'
	refusal EINVAL 'readd;LV1' 'readd LV1'
	refusal ENODEV 'readd;LV9' 'readd LV9'
	# Not in this version.
	refusal EOPNOTSUPP 'rollback' 'rollback LV2'
	refusal EINVAL 'set_attr;128' 'set_attr LV2 ro 8 128'
	refusal EBUSY 'add;LV9' "add LV9 ro $DS -"
	# A pair of numbers is no device yet.
	refusal ENXIO 'add;LV9;4000:1' 'add LV9 ro 4000:1 -'
	refusal EOPNOTSUPP 'scrub' 'scrub start'
	refusal EOPNOTSUPP 'scrub' 'scrub start repair'
	refusal EOPNOTSUPP 'scrub' 'scrub stop'
	refusal EOPNOTSUPP 'pair_create' 'pair_create LV0 LV1'
	refusal EOPNOTSUPP 'pair_split' 'pair_split all'
	refusal EOPNOTSUPP 'pair_resync' 'pair_resync LV0 reverse'
	check_refusals messages
	# A message to a volume is no message to its group.
	expect_log '^device-mapper: ioctl: Target type does not support messages$'
	must_fail dmsetup message LV0 0 query
	read_status
	assert_eq 'the status' "${ST[line]}" "$before"
	assert_base /dev/mapper/LV0
}
