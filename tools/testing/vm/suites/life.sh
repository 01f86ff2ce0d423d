# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Reload, suspend, removal and unloading at any moment and in any order.
# Smoke: reload_under_load unload_in_use
# Limits: insmod_rmmod_200_times=600

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

ROUNDS=4

# Disks that take their time: I/O is always on its way, and costs little CPU.
SLOW=(irqmode=2 completion_nsec=2000000)

# Figure 9 with a load on each of its volumes.
busy_figure9() {
	figure9 8 "${SLOW[@]}"
	figure9_volumes
	start_load LV0 /dev/mapper/LV0
	start_load LV1 /dev/mapper/LV1
	start_load LV2 /dev/mapper/LV2 --write 50 --state lv2
}

# The loads end well, and the disks hold what they have to.
quiet_figure9() {
	stop_loads
	assert_state /dev/mapper/LV2 lv2
	assert_base /dev/mapper/LV0 /dev/mapper/LV1 "$D0" "$D1"
}

test_reload_under_load() {
	local i lid table
	busy_figure9
	table=$(dmsetup table G0)
	for ((i = 0; i < ROUNDS; i++)); do
		dm_change G0 "$table"
		assert_io_flows /dev/mapper/LV0
		for lid in LV0 LV2; do
			dmsetup table "$lid" >line
			[ "$lid" = LV2 ] || dmsetup load --readonly "$lid" line
			[ "$lid" = LV0 ] || dmsetup load "$lid" line
			dmsetup suspend "$lid"
			dmsetup resume "$lid"
		done
		assert_io_flows /dev/mapper/LV2
	done
	quiet_figure9
	assert_eq 'the table' "$(dmsetup table G0)" "$table"
}

test_reload_with_other_features() {
	busy_figure9
	G_FEATURES=(max_errors 3 read_policy round-robin allow_unprotected)
	dm_change G0 "$(group_table)"
	assert_match 'the table' "$(dmsetup table G0)" 'max_errors 3'
	assert_io_flows /dev/mapper/LV1
	quiet_figure9
}

# A table that cannot become live leaves the old one in place.
test_refused_reload_under_load() {
	local table coarse
	busy_figure9
	expect_refused_tables
	table=$(dmsetup table G0)
	must_fail dmsetup load G0 --table "0 $G_LEN svol-group G0 128 1 $META 1 LV0 rx $D0 -"
	assert_io_flows /dev/mapper/LV0
	# A line that the group could not resume with is refused before it takes the old one's place.
	log_mark
	must_fail dmsetup load G0 --table "${table/ LV1 ro / LV9 ro }"
	assert_logged '^dm_svol: G0: LID LV9: unknown to the group'
	G_META=("$META")
	must_fail dmsetup load G0 --table "$(group_table)"
	assert_logged '^dm_svol: G0: #meta: the group has 2 metadata device'
	G_META=("$META" "$META2")
	new_disk coarse 64 blocksize=4096
	group_move S0 "$coarse"
	must_fail dmsetup load G0 --table "$(group_table)"
	assert_logged '^dm_svol: G0: disk of S0: logical blocks of 4096 bytes'
	assert_io_flows /dev/mapper/LV1
	# The loaded table is dropped again: nothing has happened.
	dmsetup load G0 --table "$table"
	dmsetup clear G0
	assert_io_flows /dev/mapper/LV2
	assert_eq 'the table' "$(dmsetup table G0)" "$table"
	quiet_figure9
}

# Nor one with which the group would wait for itself.
test_refused_loops() {
	load_module
	figure9_disks 4
	dmsetup create below --table "0 $G_LEN linear $D1 0"
	group_move LV1 /dev/mapper/below
	group_create
	svol_create LV0 --readonly
	svol_create LV2
	expect_refused_tables
	group_move S0 /dev/mapper/LV2
	log_mark
	must_fail dmsetup load G0 --table "$(group_table)"
	assert_logged '^dm_svol: G0: volume 4 \(S0\): dev: .* is the volume LV2 of this group'
	must_fail dmsetup load below --table "0 $G_LEN svol /dev/mapper/G0 LV1" --readonly
	assert_logged '^dm_svol: .*LV1.*the group itself uses this mapped device'
	begin_refusals
	refusal EBUSY 'add;S1;LV2' 'add S1 spare /dev/mapper/LV2 -'
	check_refusals messages
	# One that becomes a volume after the table was loaded.
	dmsetup create other --table "0 $G_LEN linear $DS 0"
	group_move S0 /dev/mapper/other
	dmsetup load G0 --table "$(group_table)"
	dmsetup load other --readonly --table "0 $G_LEN svol /dev/mapper/G0 LV1"
	expect_refused_resumes
	log_mark
	must_fail dmsetup resume G0
	assert_logged '^dm_svol: G0: volume 4 \(S0\): dev: .* is the volume LV1 of this group'
	dmsetup clear other
	group_move S0 "$DS"
	dmsetup load G0 --table "$(group_table)"
	dmsetup resume G0
	assert_base /dev/mapper/LV0
}

# Nor one that would take the leave to write from a volume that is loaded for writing.
test_refused_reload_of_a_writer() {
	local before
	plain9 4
	expect_refused_tables
	svol_create LV2
	G_VOLUMES[2]="LV2 ro $D2 -"
	G_FEATURES=(failover manual)
	log_mark
	must_fail dmsetup load G0 --table "$(group_table)"
	assert_logged '^dm_svol: G0: LV2: loaded for writing by device .* does not let it write'
	# Its own table may have become read-only.
	dmsetup load --readonly LV2 --table "0 $G_LEN svol /dev/mapper/G0 LV2"
	dmsetup suspend LV2
	dmsetup resume LV2
	dmsetup load G0 --table "$(group_table)"
	dmsetup clear G0
	# It is asked again before anything is written.
	dmsetup remove LV2
	dmsetup load G0 --table "$(group_table)"
	svol_create LV2
	expect_refused_resumes
	dmsetup suspend --noflush G0
	before=$(digest "$META" "$META2")
	must_fail dmsetup resume G0
	assert_eq 'the metadata' "$(digest "$META" "$META2")" "$before"
	G_FEATURES=(allow_unprotected failover manual)
	dmsetup load G0 --table "$(group_table)"
	dmsetup resume G0
	steps LV2 write:0+100 flush check
}

# What a table's disks hold is looked at when it resumes. If that is refused, all wait, without an error, and
# go on with the line that worked before.
test_refused_resume_under_load() {
	local table other
	busy_figure9
	expect_refused_resumes
	table=$(dmsetup table G0)
	new_disk other 8
	"$SVOL_TEST" fill --seed 77 "$other"
	group_move LV1 "$other"
	dmsetup load G0 --table "$(group_table)"
	log_mark
	must_fail dmsetup resume G0
	assert_logged '^dm_svol: G0: .*LV1'
	note "status meanwhile: $(timeout 20 dmsetup status G0)"
	nap 2
	dmsetup load G0 --table "$table"
	dmsetup resume G0
	group_move LV1 "$D1"
	assert_eq 'the table' "$(dmsetup table G0)" "$table"
	for other in LV0 LV1 LV2; do
		assert_io_flows "/dev/mapper/$other"
	done
	read_status
	assert_status state=clean LV1.health=in-sync
	quiet_figure9
}

test_suspend_under_load() {
	local i how dev
	busy_figure9
	for ((i = 0; i < ROUNDS; i++)); do
		for how in '' --noflush '--noflush --nolockfs'; do
			for dev in LV0 LV2 G0; do
				# shellcheck disable=SC2086 # options
				dmsetup suspend $how "$dev"
				dmsetup resume "$dev"
			done
		done
	done
	for dev in LV0 LV1 LV2; do
		assert_io_flows "/dev/mapper/$dev"
	done
	quiet_figure9
}

# While the group is suspended, its volumes wait; questions are answered.
test_suspended_group() {
	local how before
	busy_figure9
	for how in --noflush ''; do
		# shellcheck disable=SC2086 # an option or none
		dmsetup suspend $how G0
		assert_eq 'whether G0 is suspended' "$(dm_info G0 suspended)" Suspended
		nap 0.3
		before=$(disk_stat "$D2" writes)
		nap 0.5
		assert_eq 'the writes of the disk' "$(disk_stat "$D2" writes)" "$before"
		timeout 10 dmsetup status G0 >/dev/null
		timeout 10 dmsetup table G0 >/dev/null
		timeout 10 dmsetup message G0 0 query >/dev/null
		timeout 10 dmsetup status LV0 >/dev/null
		timeout 10 dmsetup table LV0 >/dev/null
		dmsetup resume G0
		assert_io_flows /dev/mapper/LV2
		assert_io_flows /dev/mapper/LV0
	done
	quiet_figure9
}

# A volume is made, and idle ones go, while the group is suspended.
test_changes_while_the_group_is_suspended() {
	figure9 4
	svol_create LV0 --readonly
	svol_create LV2
	dmsetup suspend --noflush G0
	timeout 20 dmsetup remove LV0
	must_fail timeout 20 dmsetup remove G0
	# A new volume may be refused until the group goes on, but must not hang.
	expect_refused_tables
	expect_log '^device-mapper: table: [0-9:]+: svol: preresume failed, error = -[0-9]+$'
	timeout 20 dmsetup create LV1 --readonly --table "0 $G_LEN svol /dev/mapper/G0 LV1" || :
	dmsetup resume G0
	! dm_exists LV1 || assert_base /dev/mapper/LV1
	svol_create LV0 --readonly
	assert_base /dev/mapper/LV0 /dev/mapper/LV2
}

# A user's suspend of a volume, before, during and after one of the group.
test_nested_suspends() {
	figure9 4
	figure9_volumes
	dmsetup suspend LV0
	dmsetup suspend G0
	dmsetup resume G0
	# The volume was suspended by the user, so it still is.
	assert_eq 'whether LV0 is suspended' "$(dm_info LV0 suspended)" Suspended
	dmsetup resume LV0
	assert_base /dev/mapper/LV0
	dmsetup suspend G0
	# This one may wait for the group's resume.
	dmsetup suspend --noflush LV1 &
	nap 0.5
	dmsetup resume G0
	wait $!
	dmsetup resume LV1
	assert_base /dev/mapper/LV0 /dev/mapper/LV1 /dev/mapper/LV2
}

permute() { # done-so-far rest...
	local so_far=$1 i rest
	shift
	if [ $# = 0 ]; then
		echo "$so_far"
		return
	fi
	for ((i = 1; i <= $#; i++)); do
		rest=("${@:1:i-1}" "${@:i+1}")
		permute "$so_far ${!i}" "${rest[@]}"
	done
}

is_gone() { # name
	! dm_exists "$1"
}

# Devices in use, removed in every order, while the others go on. None can go at once. A volume goes when its
# load has ended: by itself, if its removal was deferred, as in every other order, or removed then. The group
# goes when it is the last one. Then nothing holds the disks or the module, and nobody saw an error.
test_removal_in_every_order() {
	local order name last how=deferred
	figure9_disks 4 "${SLOW[@]}"
	while read -r order; do
		load_module
		group_create
		figure9_volumes
		last=${order% G0}
		start_load LV0 /dev/mapper/LV0
		start_load LV1 /dev/mapper/LV1
		start_load LV2 /dev/mapper/LV2 --write 50 --state lv2
		# shellcheck disable=SC2086 # names, of which the first one is tried at least
		must_fail_with 'busy' dmsetup remove $order
		for name in $order; do
			case $name,$how in
			G0,*) dmsetup remove --deferred G0 ;;
			*,deferred)
				dmsetup remove --deferred "$name"
				stop_load "$name"
				;;
			*)
				stop_load "$name"
				dmsetup remove "$name"
				;;
			esac
			[[ $order != " $name "* ]] || assert_io_flows "/dev/mapper/${last##* }"
		done
		# A deferred removal has no waiter. The group waits for its volumes.
		wait_until 10 is_gone G0 || fail "G0 is still there, in the order $order"
		wait_until 10 assert_unused "${G_DISKS[@]}" || fail "a disk is in use, after the order $order"
		wait_until 10 unload_module || fail "the module is in use, after the order $order"
		[ "$how" = deferred ] && how=plain || how=deferred
	done < <(permute '' LV0 LV1 LV2 G0)
	assert_state "$D2" lv2
	assert_base "$D0" "$D1"
}

# Devices in use: a plain removal is refused, a forced one puts an error table
# in place, in every order. Then the loads end and everything can go.
test_forced_removal_in_every_order() {
	local order name
	load_module
	figure9_disks 4 "${SLOW[@]}"
	expect_warnings
	expect_log '^(Buffer I/O error|I/O error)'
	while read -r order; do
		group_create
		svol_create LV0 --readonly
		svol_create LV2
		start_load LV0 /dev/mapper/LV0 --allow-errors
		start_load LV2 /dev/mapper/LV2 --write 50 --allow-errors
		for name in $order; do
			# The group is free once the others have their error tables.
			[ "$name" = G0 ] || must_fail_with 'busy' dmsetup remove "$name"
			# An open device cannot go, but it has its error table now.
			dmsetup remove --force "$name" 2>/dev/null || :
		done
		stop_loads >/dev/null
		for name in LV0 LV2 G0; do
			! dm_exists "$name" || dmsetup remove "$name"
		done
		assert_unused "${G_DISKS[@]}"
		blank_disk "$META" "$META2" "$DI"
		"$SVOL_TEST" fill --seed "$SEED" "$D2"
	done < <(permute '' LV0 LV2 G0)
}

# The group's table is replaced by an error table while its volumes live: they
# fail their I/O and can be removed; the group can come back.
test_error_table_under_the_group() {
	local table
	figure9 4 "${SLOW[@]}"
	table=$(dmsetup table G0)
	svol_create LV0 --readonly
	svol_create LV2
	expect_warnings
	expect_log '^(Buffer I/O error|I/O error)' '^device-mapper: table: .*'
	start_load LV0 /dev/mapper/LV0 --allow-errors
	dmsetup wipe_table G0
	nap 0.3
	stop_load LV0 >said
	timeout 10 dmsetup status LV0 >/dev/null
	timeout 10 dmsetup table LV0 >/dev/null
	dmsetup remove LV0
	dmsetup remove LV2
	dmsetup load G0 --table "$table"
	dmsetup suspend G0
	dmsetup resume G0
	svol_create LV0 --readonly
	assert_base /dev/mapper/LV0
}

# Another group does not come under volumes that are loaded, though it has the same names.
test_another_group_under_a_volume() {
	local i
	expect_refused_tables
	expect_refused_resumes
	plain9 4
	dmsetup remove G0
	save_disk "$META" other.1
	save_disk "$META2" other.2
	blank_disk "$META" "$META2"
	group_create
	svol_create LV0 --readonly
	log_mark
	G_NAME=G1
	must_fail dmsetup load G0 --table "$(group_table)"
	G_NAME=G0
	assert_logged '^dm_svol: G1: volumes of the group G0 are loaded'
	save_disk "$META" own.1
	save_disk "$META2" own.2
	dmsetup load G0 --table "$(group_table)"
	dmsetup suspend G0
	for i in 1 2; do
		load_disk "${G_META[i - 1]}" "other.$i"
	done
	must_fail dmsetup resume G0
	assert_logged '^dm_svol: G0: this is another group than the one whose volumes are loaded'
	for i in 1 2; do
		cmp "${G_META[i - 1]}" "other.$i"
		load_disk "${G_META[i - 1]}" "own.$i"
	done
	dmsetup load G0 --table "$(group_table)"
	dmsetup resume G0
	assert_base /dev/mapper/LV0
}

test_error_table_under_a_volume() {
	figure9 4 "${SLOW[@]}"
	svol_create LV0 --readonly
	expect_log '^(Buffer I/O error|I/O error)'
	start_load LV0 /dev/mapper/LV0 --allow-errors
	dmsetup wipe_table LV0
	nap 0.3
	stop_load LV0
	dmsetup remove LV0
	svol_create LV0 --readonly
	assert_base /dev/mapper/LV0
}

test_deferred_removal() {
	local lv0
	busy_figure9
	lv0=$(disk_sys /dev/mapper/LV0)
	dmsetup remove --deferred G0
	dmsetup remove --deferred LV0
	assert_io_flows "$lv0"
	assert_io_flows /dev/mapper/LV2
	stop_loads
	dmsetup remove LV1
	dmsetup remove LV2
	wait_until 10 is_gone G0 || fail 'G0 is still there'
}

# The volumes hold the group, the targets hold the module.
test_unload_in_use() {
	load_module
	figure9_disks 4 "${SLOW[@]}"
	dmsetup create G0 --notable
	dmsetup load G0 --table "$(group_table)"
	must_fail_with 'in use' rmmod dm_svol
	dmsetup resume G0
	must_fail_with 'in use' rmmod dm_svol
	svol_create LV0 --readonly
	assert_eq 'the open count of the group' "$(dm_info G0 open)" 1
	start_load LV0 /dev/mapper/LV0
	must_fail_with 'in use' rmmod dm_svol
	stop_load LV0
	dmsetup remove LV0
	dmsetup remove G0
	unload_module
	! dmsetup targets | grep -q svol || fail 'a target is still registered'
	assert_unused "${G_DISKS[@]}"
}

test_insmod_rmmod_200_times() {
	local i rounds
	rounds=$(often 200 40)
	load_module
	figure9_disks 4
	for ((i = 1; i <= rounds; i++)); do
		if ((i % (rounds / 4) == 0)); then
			group_create
			svol_create LV0 --readonly
			dmsetup remove LV0
			dmsetup remove G0
		fi
		unload_module
		load_module
	done
}

test_create_and_remove_many_times() {
	local i
	load_module
	figure9_disks 4 "${SLOW[@]}"
	for ((i = 0; i < 15; i++)); do
		group_create
		svol_create LV0 --readonly
		start_load LV0 /dev/mapper/LV0
		stop_load LV0 >/dev/null
		dmsetup remove LV0
		dmsetup remove G0
	done
	assert_unused "${G_DISKS[@]}"
}

# A disk loses its power under load. Nothing hangs, and all can be removed.
test_disk_dies_under_load() {
	figure9 4 "${SLOW[@]}"
	svol_create LV0 --readonly
	svol_create LV2
	expect_warnings
	expect_log '^(I/O error|Buffer I/O error|critical )'
	start_load LV0 /dev/mapper/LV0 --allow-errors
	start_load LV2 /dev/mapper/LV2 --write 50 --allow-errors
	disk_set "$D2" power 0
	nap 0.5
	timeout 10 dmsetup status G0
	timeout 10 dmsetup message G0 0 query
	stop_loads
	timeout 20 dmsetup remove LV2
	timeout 20 dmsetup remove LV0
	timeout 20 dmsetup remove G0
}
