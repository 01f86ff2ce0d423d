# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Group metadata: what survives, and what is refused rather than guessed.
# Smoke: survives_a_reload_of_the_module

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

# The group comes up refused for this reason, and nothing was written anywhere.
refused_unchanged() { # regex
	local before
	before=$(digest "${G_DISKS[@]}")
	group_refused "$1"
	assert_eq 'what the disks hold' "$(digest "${G_DISKS[@]}")" "$before"
	assert_unused "${G_DISKS[@]}"
}

# A group with a history: LV1 has failed. Before that, the metadata is kept in
# the files old.1 and old.2; afterwards in new.1 and new.2. LV1's disk is back
# in the description at the end, and the group is down.
group_with_history() {
	expect_warnings
	plain9 4
	dmsetup remove G0
	save_disk "$META" old.1
	save_disk "$META2" old.2
	group_move LV1 -
	group_create
	dmsetup remove G0
	save_disk "$META" new.1
	save_disk "$META2" new.2
	group_move LV1 "$D1"
}

assert_history() {
	read_status
	assert_status state=degraded LV0.health=in-sync LV1.health=failed LV2.health=in-sync
	assert_base /dev/mapper/G0
}

test_survives_a_restart() {
	local events
	group_with_history
	group_create
	assert_history
	events=${ST[events]}
	group_restart
	assert_history
	assert_eq 'the event count, when nothing happened' "${ST[events]}" "$events"
	# How to initialise is of no interest any more.
	G_FEATURES=(init verify allow_unprotected failover manual)
	group_restart
	assert_history
	G_FEATURES=(allow_unprotected failover manual)
	group_restart
	assert_history
}

test_survives_a_reload_of_the_module() {
	group_with_history
	unload_module
	load_module
	group_create
	assert_history
}

test_reload_keeps_the_state() {
	group_with_history
	group_create
	dm_change G0 "$(group_table)"
	assert_history
	dm_change G0 "$(group_table)" --noflush
	assert_history
}

# That a volume was written without a log is never forgotten.
test_unprotected_survives() {
	plain9 4
	svol_create LV2
	"$SVOL_TEST" random-io /dev/mapper/LV2 --ops 20 --write 100 --state lv2 --rng "$SVOL_SEED"
	dmsetup remove LV2
	dmsetup remove G0
	unload_module
	load_module
	group_create
	read_status
	assert_status LV2.protection=unprotected LV2.health=in-sync redundancy=0
	svol_create LV2
	assert_state /dev/mapper/LV2 lv2
	assert_base /dev/mapper/G0
}

# The same after the power went in the midst of it: the mark is made before the
# first write, not at the end.
test_unprotected_survives_a_crash() {
	plain9 4
	svol_create LV2
	assert_eq 'a write to LV2' "$("$SVOL_TEST" write-error /dev/mapper/LV2)" none
	save_disk "$META" crash.1
	save_disk "$META2" crash.2
	dmsetup remove LV2
	dmsetup remove G0
	load_disk "$META" crash.1
	load_disk "$META2" crash.2
	group_create
	read_status
	assert_status LV2.protection=unprotected
	assert_base /dev/mapper/G0
}

are_in_sync() {
	read_status
	[ "${ST[LV0.health]} ${ST[LV1.health]} ${ST[LV2.health]}" = 'in-sync in-sync in-sync' ]
}

test_first_start_forms() {
	load_module
	plain9_disks 4
	G_FEATURES=(init copy_from LV9 allow_unprotected failover manual)
	refused_unchanged 'init copy_from: LV9'
	G_FEATURES=(init copy_from S0 allow_unprotected failover manual)
	refused_unchanged 'init copy_from: S0'
	# LV2 has no increments volume.
	G_FEATURES=(init copy_from LV0 allow_unprotected failover manual)
	refused_unchanged 'init copy_from: LV2'
	G_FEATURES=(init copy_from LV2 allow_unprotected failover manual)
	refused_unchanged 'init copy_from: LV2 is not ro'
	# The default is verify.
	G_FEATURES=(allow_unprotected failover manual)
	group_create
	wait_until 30 are_in_sync || fail "not compared: ${ST[line]}"
	assert_status state=clean LV2.protection=unprotected
}

# What holds something else is not taken for blank.
test_foreign_data_on_a_metadata_device() {
	load_module
	plain9_disks 4
	mkfs.ext4 -q -F "$META2"
	refused_unchanged 'metadata device 2 holds something'
	blank_disk "$META2"
	"$SVOL_TEST" fill "$META"
	refused_unchanged 'metadata device 1 holds something'
	G_META=("$META2")
	group_create
}

test_wrong_group() {
	group_with_history
	G_NAME=G1
	refused_unchanged 'metadata device [12] belongs to the group G0'
	G_NAME=G0
	group_create
	assert_history
}

# One copy of this group, the other one of another group.
test_copies_of_two_groups() {
	local first
	group_with_history
	first=$META
	plain9_disks 4
	G_NAME=G1
	group_create
	dmsetup remove G1
	G_META=("$META" "$first")
	refused_unchanged 'G0|G1|meta'
	# Two groups of the same name are two groups all the same.
	blank_disk "$META" "$META2"
	G_NAME=G0
	G_META=("$META" "$META2")
	group_create
	dmsetup remove G0
	G_META=("$META" "$first")
	refused_unchanged 'meta|uuid'
}

test_wrong_shape() {
	local len
	group_with_history
	G_BLOCK=64
	refused_unchanged 'block'
	G_BLOCK=128
	len=$G_LEN
	G_LEN=$((len - 128))
	refused_unchanged 'len|size|sectors'
	G_LEN=$len
	group_create
	assert_history
}

test_unknown_and_missing_lids() {
	local saved
	group_with_history
	saved=("${G_VOLUMES[@]}")
	new_disk extra 4
	G_VOLUMES+=("LV9 ro $extra -")
	refused_unchanged 'LV9'
	G_VOLUMES=("${saved[@]}")
	group_drop S0
	refused_unchanged 'S0'
	# A volume under another name is one unknown and one missing.
	G_VOLUMES=("${saved[@]}")
	G_VOLUMES[0]="LVX ro $D0 -"
	refused_unchanged 'LVX|LV0'
	# The order of the line says nothing.
	G_VOLUMES=("${saved[1]}" "${saved[3]}" "${saved[0]}" "${saved[2]}")
	group_create
	assert_history
}

test_stale_copy() {
	group_with_history
	load_disk "$META2" old.2
	group_create
	assert_history
	# The newer copy went to both, so either one may be the stale one now.
	group_restart
	assert_history
	dmsetup remove G0
	load_disk "$META" old.1
	load_disk "$META2" new.2
	group_create
	assert_history
}

# A stale copy alone cannot know that it is one, but it knows of its sister.
test_stale_copy_alone() {
	group_with_history
	load_disk "$META2" old.2
	G_META=(- "$META2")
	refused_unchanged 'metadata device 1 is missing'
	G_META=("$META" "$META2")
	group_create
	assert_history
}

test_fewer_copies_than_known() {
	group_with_history
	G_META=("$META")
	refused_unchanged '#meta: the group has 2 metadata device'
	G_META=("$META" "$META2")
	group_create
	assert_history
}

test_blank_copy() {
	group_with_history
	blank_disk "$META2"
	refused_unchanged 'metadata device 2 is blank'
	load_disk "$META2" new.2
	blank_disk "$META"
	refused_unchanged 'metadata device 1 is blank'
	load_disk "$META" new.1
	group_create
	assert_history
}

# Both generations of one copy are damaged: no start without a word from the user.
test_destroyed_copy() {
	local sector
	group_with_history
	some_sectors "$META2" 1000 >sectors
	while read -r sector; do
		"$SVOL_TEST" corrupt "$META2" --sector "$sector" --byte 200
	done <sectors
	refused_unchanged 'metadata device 2 is damaged'
	G_FEATURES+=(force_metadata)
	group_create
	assert_history
	assert_status metadata=AF
}

# What is not ours stays as it is, force or not.
test_foreign_copy() {
	group_with_history
	"$SVOL_TEST" fill "$META2"
	refused_unchanged 'metadata device 2 holds something'
	G_FEATURES+=(force_metadata)
	refused_unchanged 'metadata device 2 holds something'
	load_disk "$META2" new.2
	group_create
	assert_history
}

test_destroyed_copies() {
	group_with_history
	"$SVOL_TEST" fill "$META" "$META2"
	refused_unchanged 'metadata device [12] holds something'
	# Force chooses between copies; it makes none.
	G_FEATURES+=(force_metadata)
	refused_unchanged 'metadata device [12] holds something'
}

test_swapped_copies() {
	group_with_history
	G_META=("$META2" "$META")
	group_create
	assert_history
	dmsetup remove G0
	G_META=("$META" "$META2")
	group_create
	assert_history
}

test_swapped_readonly_disks() {
	plain9 4
	dmsetup remove G0
	group_move LV0 "$D1"
	group_move LV1 "$D0"
	group_create
	read_status
	assert_status state=clean LV0.health=in-sync LV1.health=in-sync
	svol_create LV0 --readonly
	assert_base /dev/mapper/LV0
}

# A disk that does not hold what its LID says is refused by name.
test_foreign_disk() {
	plain9 4
	dmsetup remove G0
	"$SVOL_TEST" fill --seed 77 "$D1"
	refused_unchanged 'LV1'
	# A blank one, too.
	blank_disk "$D1"
	refused_unchanged 'LV1'
	"$SVOL_TEST" fill --seed "$SEED" "$D1"
	group_create
	read_status
	assert_status state=clean
	dmsetup remove G0
	"$SVOL_TEST" fill --seed 77 "$D2"
	refused_unchanged 'LV2'
}

# Hardly anything is in the base image, so that a blank disk looks much like it.
test_blank_disk_of_an_empty_image() {
	local disk
	load_module
	plain9_disks 16
	blank_disk "$D0" "$D1" "$D2"
	# Where btrfs has its label.
	dd if=/dev/urandom of=label bs=4096 count=1 status=none
	for disk in "$D0" "$D1" "$D2"; do
		dd if=label of="$disk" bs=4096 seek=16 oflag=direct conv=notrunc status=none
	done
	group_create
	dmsetup remove G0
	blank_disk "$D1"
	refused_unchanged 'LV1'
}

# The spare where a volume should be, and the other way round.
test_swapped_disk_and_spare() {
	plain9 4
	dmsetup remove G0
	group_move LV0 "$DS"
	group_move S0 "$D0"
	refused_unchanged 'LV0'
}

test_metadata_on_4k_sectors() {
	load_module
	plain9_disks 4 blocksize=4096
	new_disk META 8 blocksize=4096
	new_disk META2 8 blocksize=4096
	G_META=("$META" "$META2")
	G_DISKS[0]=$META
	G_DISKS[1]=$META2
	group_create
	group_move LV1 -
	group_restart
	group_move LV1 "$D1"
	group_restart
	assert_history
}

test_smallest_metadata_device() {
	load_module
	plain9_disks 4
	new_disk META 4
	G_META=("$META" "$META2")
	group_create
	group_move LV1 -
	group_restart
	group_move LV1 "$D1"
	group_restart
	assert_history
}

# Some of the sectors of a device that hold anything, spread over it.
some_sectors() { # device number
	"$SVOL_TEST" sectors "$1" >all_sectors
	local all
	mapfile -t all <all_sectors
	local step=$(((${#all[@]} + $2 - 1) / $2)) i
	[ "${#all[@]}" -gt 0 ] || fail "$1 holds nothing"
	for ((i = 0; i < ${#all[@]}; i += step)); do
		echo "${all[i]}"
	done
}

# One bit of one sector of the second copy: the first copy has everything.
test_damaged_sectors_of_one_copy() {
	local sector
	group_with_history
	expect_warnings
	some_sectors "$META2" 12 >sectors
	while read -r sector; do
		load_disk "$META" new.1
		load_disk "$META2" new.2
		"$SVOL_TEST" corrupt "$META2" --sector "$sector" --byte $((RANDOM % 512))
		group_create || fail "no start with damage in sector $sector"
		assert_history
		dmsetup remove G0
	done <sectors
	note "$(wc -l <sectors) of $(wc -l <all_sectors) sectors damaged"
}

# With one copy only, the newest state is used or none: never an older one.
test_damaged_sectors_of_the_only_copy() {
	local sector refused=0
	load_module
	plain9_disks 4
	G_META=("$META")
	group_create
	group_move LV1 -
	group_restart
	dmsetup remove G0
	group_move LV1 "$D1"
	save_disk "$META" good
	expect_refused_resumes
	expect_warnings
	some_sectors "$META" 12 >sectors
	while read -r sector; do
		load_disk "$META" good
		"$SVOL_TEST" corrupt "$META" --sector "$sector" --byte $((RANDOM % 512))
		log_mark
		if group_create 2>/dev/null; then
			assert_history
			dmsetup remove G0
		else
			refused=$((refused + 1))
			assert_logged '^dm_svol: .*meta'
		fi
	done <sectors
	note "$refused of $(wc -l <sectors) starts refused"
	load_disk "$META" good
	group_create
	assert_history
}

# Records every write to the metadata device in $LOG while a command runs.
logged() { # command...
	dmsetup create logged \
		--table "0 $(blockdev --getsz "$META") log-writes $META $LOG"
	G_META=(/dev/mapper/logged)
	"$@"
	dmsetup remove G0
	dmsetup remove logged
	G_META=("$META")
	"$SVOL_TEST" log-writes "$LOG" --count-only
}

# A volatile cache makes the order of writes and flushes count.
start_logged() {
	need_target log-writes
	load_module
	plain9_disks 4
	new_disk META 4 cache_size=8
	new_disk LOG 64
}

# The power may go at any write of the first start: the next start completes it.
test_interrupted_init() {
	local entries n
	start_logged
	entries=$(logged group_create)
	note "$entries entries in the log"
	for ((n = 0; n <= entries; n++)); do
		blank_disk "$META"
		"$SVOL_TEST" log-writes "$LOG" --entries "$n" --to "$META"
		group_create || fail "no start after $n of $entries writes"
		read_status
		assert_status state=clean
		dmsetup remove G0
	done
	assert_at_least 'the number of entries' "$entries" 2
}

# The same for a change of state: it is there or it is not.
test_interrupted_change() {
	local entries n
	start_logged
	G_META=("$META")
	group_create
	dmsetup remove G0
	save_disk "$META" before
	group_move LV1 -
	entries=$(logged group_create)
	note "$entries entries in the log"
	group_move LV1 "$D1"
	for ((n = 0; n <= entries; n++)); do
		load_disk "$META" before
		"$SVOL_TEST" log-writes "$LOG" --entries "$n" --to "$META"
		group_create || fail "no start after $n of $entries writes"
		read_status
		assert_match "the health of LV1 after $n writes" "${ST[LV1.health]}" \
			'^(in-sync|failed)$'
		dmsetup remove G0
	done
	assert_status LV1.health=failed state=degraded
	assert_at_least 'the number of entries' "$entries" 2
}

# Power cuts with two copies, in slices of one disk: one log has the writes of both in their order.
slices() { # disk
	dm_linear slice1 "$1" 0 8192
	dm_linear slice2 "$1" 8192 8192
}

unslice() {
	dmsetup remove slice1
	dmsetup remove slice2
}

# The first start, the loss of a disk, and the mark of an unlogged write.
short_history() {
	group_create
	group_move LV1 -
	dm_change G0 "$(group_table)"
	svol_create LV2
	dmsetup remove LV2
	group_move LV1 "$D1"
}

test_interrupted_with_two_copies() {
	local both entries n health=in-sync protection=protected events=0
	start_logged
	new_disk both 8 cache_size=8
	dmsetup create logged --table "0 16384 log-writes $both $LOG"
	slices /dev/mapper/logged
	G_META=(/dev/mapper/slice1 /dev/mapper/slice2)
	short_history
	dmsetup remove G0
	unslice
	dmsetup remove logged
	entries=$("$SVOL_TEST" log-writes "$LOG" --count-only)
	note "$entries entries in the log"
	assert_at_least 'the number of entries' "$entries" 8
	for ((n = 0; n <= entries; n++)); do
		blank_disk "$both"
		"$SVOL_TEST" log-writes "$LOG" --entries "$n" --to "$both"
		slices "$both"
		group_create || fail "no start after $n of $entries writes"
		read_status
		assert_status metadata=AA LV0.health=in-sync
		# What was once durable stays so.
		case $health-${ST[LV1.health]} in
		in-sync-in-sync | in-sync-failed | failed-failed) health=${ST[LV1.health]} ;;
		*) fail "after $n writes LV1 is ${ST[LV1.health]}, it was $health" ;;
		esac
		case $protection-${ST[LV2.protection]} in
		protected-* | unprotected-unprotected) protection=${ST[LV2.protection]} ;;
		*) fail "after $n writes LV2 is ${ST[LV2.protection]}, it was $protection" ;;
		esac
		assert_at_least "the event count after $n writes" "${ST[events]}" "$events"
		events=${ST[events]}
		dmsetup remove G0
		unslice
	done
	assert_eq 'the health of LV1 in the end' "$health" failed
	assert_eq 'the protection of LV2 in the end' "$protection" unprotected
}

# The metadata device goes away under a running group: the next change of state finds out.
test_lost_metadata_device() {
	local before
	plain9 4
	svol_create LV0 --readonly
	expect_warnings
	expect_log '^(I/O error|Buffer I/O error|critical )'
	disk_set "$META2" power 0
	assert_base /dev/mapper/LV0
	dmsetup message G0 0 query >/dev/null
	read_status
	assert_status metadata=AA
	before=$(dm_info G0 events)
	svol_create LV2
	read_status
	assert_status metadata=AF state=degraded redundancy=0 LV2.protection=unprotected
	assert_eq 'the event number' "$(dm_info G0 events)" $((before + 1))
	svol_create LV1 --readonly
	assert_base /dev/mapper/LV1
	assert_match 'what query says' "$(dmsetup message G0 0 query)" 'metadata AF'
	# Its loss is on record: nobody has to confirm it.
	dmsetup remove LV0
	dmsetup remove LV1
	dmsetup remove LV2
	G_META=("$META" -)
	group_restart
	read_status
	assert_status metadata=AF LV2.protection=unprotected
}

# What the log says of the second copy since the last mark.
second_copy_lines() {
	log_since_mark | grep -cF 'dm_svol: G0: metadata device 2: ' || :
}

# The loss of a copy is an event and one line of the log, also if nothing else has changed: here, it is found when
# the progress of a move is recorded.
test_loss_of_a_copy_is_an_event() {
	local way before waiter
	# A MiB in four seconds: progress is recorded every two of them.
	covered9 32
	dmsetup message G0 0 rebuild_rate 256
	dmsetup message G0 0 restore LV0
	wait_until 60 progress_is LV0 8 || fail "the move does not get on: ${ST[line]}"
	for way in error writes hangs; do
		assert_status metadata=AA state=clean S0.health=rebuilding
		before=$(dm_info G0 events)
		log_mark
		timeout 60 dmsetup wait G0 "$before" &
		waiter=$!
		if [ "$way" = hangs ]; then
			tasks_may_hang
			dmsetup suspend --noflush --nolockfs meta2
		else
			cover_is meta2 "$way"
		fi
		wait "$waiter" || fail "no event ($way)"
		read_status
		assert_status metadata=AF state=degraded redundancy=0 LV0.health=in-sync S0.health=rebuilding
		assert_eq "the event number ($way)" "$(dm_info G0 events)" $((before + 1))
		assert_logged '^dm_svol: G0: metadata device 2: (write failed: error -5|no answer for long, given up)$'
		assert_eq "the lines of the log ($way)" "$(second_copy_lines)" 1
		if [ "$way" = hangs ]; then
			dmsetup resume meta2
		else
			cover_is meta2 linear
		fi
		wait_until 20 dmsetup message G0 0 replace_meta 2 /dev/mapper/meta2 || fail 'it can not be written anew'
		read_status
	done
	dmsetup message G0 0 rebuild_rate 0
	wait_lives_on LV0 S0
}

# Makes a device whose writes fail when it is told so.
flaky() { # name device
	local len
	len=$(blockdev --getsz "$2")
	dmsetup create "$1" --table "0 $len flakey $2 0 1 0"
}

flaky_writes() { # name device fail|work
	local len intervals='1 0'
	len=$(blockdev --getsz "$2")
	[ "$3" = work ] || intervals='0 1 1 error_writes'
	dm_change "$1" "0 $len flakey $2 0 $intervals"
}

# The copy whose device fails writes is lost, and the group goes on with the other one.
write_errors_of_one_copy() { # number letters
	local i metas=("$META" "$META2")
	i=$(($1 - 1))
	dm_linear plain "${metas[1 - i]}"
	flaky flaky "${metas[i]}"
	metas[i]=/dev/mapper/flaky
	metas[1 - i]=/dev/mapper/plain
	G_META=("${metas[@]}")
	group_create
	svol_create LV0 --readonly
	flaky_writes flaky "$3" fail
	log_mark
	svol_create LV2
	assert_logged "^dm_svol: G0: metadata device $1: write failed: error -5"
	read_status
	assert_status "metadata=$2" state=degraded LV2.protection=unprotected LV2.health=in-sync
	"$SVOL_TEST" random-io /dev/mapper/LV2 --write 50 --ops 50 --state lv2 --rng "$SVOL_SEED"
	assert_state /dev/mapper/LV2 lv2
	assert_base /dev/mapper/LV0
	# The device works again, but what it holds is of yesterday.
	flaky_writes flaky "$3" work
	dmsetup remove LV0
	dmsetup remove LV2
	group_restart
	read_status
	assert_status "metadata=$2" LV2.protection=unprotected
	svol_create LV2
	assert_state /dev/mapper/LV2 lv2
}

test_write_errors_of_the_first_copy() {
	need_target flakey
	load_module
	plain9_disks 4
	expect_warnings
	write_errors_of_one_copy 1 FA "$META"
}

test_write_errors_of_the_second_copy() {
	need_target flakey
	load_module
	plain9_disks 4
	expect_warnings
	write_errors_of_one_copy 2 AF "$META2"
}

# Both copies are there, and each of them alone is enough.
assert_two_copies() { # letters of the first one alone
	local metas=("${G_META[@]}")
	read_status
	assert_status metadata=AA LV2.protection=unprotected
	group_restart
	G_META=("${metas[0]}" -)
	G_FEATURES+=(force_metadata)
	group_restart
	read_status
	assert_status "metadata=$1" LV2.protection=unprotected
}

# A copy that was lost is made anew on another device, while volumes are in use.
test_replaced_copy() {
	local new events
	plain9 4
	new_disks new 4
	expect_warnings
	expect_log '^(I/O error|Buffer I/O error|critical )'
	svol_create LV0 --readonly
	disk_set "$META2" power 0
	svol_create LV2
	read_status
	assert_status metadata=AF
	# What is there now is not what the line says.
	must_fail dmsetup message G0 0 replace_meta 2 "$new"
	G_META=("$META" "$new")
	dm_change G0 "$(group_table)"
	read_status
	assert_status metadata=AF
	start_load LV0 /dev/mapper/LV0
	events=$(dm_info G0 events)
	log_mark
	dmsetup message G0 0 replace_meta 2 "$new"
	assert_logged '^dm_svol: G0: metadata device 2: has a copy of the metadata again'
	[ "$(dm_info G0 events)" -gt "$events" ] || fail 'no event'
	read_status
	assert_status metadata=AA LV2.protection=unprotected LV2.health=in-sync
	must_fail dmsetup message G0 0 replace_meta 2 "$new"
	stop_load LV0
	dmsetup remove LV0
	dmsetup remove LV2
	# The new one alone now.
	G_META=("$new" "$META")
	group_restart
	assert_two_copies FA
}

# Its own device again, after it works again; and a device that holds something else.
test_replaced_copy_in_its_place() {
	need_target flakey
	load_module
	plain9_disks 4
	expect_warnings
	flaky flaky "$META"
	G_META=(/dev/mapper/flaky "$META2")
	group_create
	flaky_writes flaky "$META" fail
	svol_create LV2
	read_status
	assert_status metadata=FA
	# It still fails.
	must_fail dmsetup message G0 0 replace_meta 1 /dev/mapper/flaky
	read_status
	assert_status metadata=FA
	dmsetup remove LV2
	dmsetup remove G0
	flaky_writes flaky "$META" work
	"$SVOL_TEST" fill --seed 9 "$META"
	group_create
	log_mark
	must_fail dmsetup message G0 0 replace_meta 1 /dev/mapper/flaky
	assert_logged '^dm_svol: G0: message "replace_meta": metadata device 1: it holds something else'
	read_status
	assert_status metadata=FA
	blkdiscard -fz "$META"
	dmsetup message G0 0 replace_meta 1 /dev/mapper/flaky
	assert_two_copies AF
}

# What can't be made durable does not happen: nobody writes unlogged without the mark.
test_write_errors_of_the_only_copy() {
	need_target flakey
	load_module
	plain9_disks 4
	flaky flaky "$META"
	G_META=(/dev/mapper/flaky)
	group_create
	svol_create LV0 --readonly
	read_status
	assert_status state=clean metadata=A
	flaky_writes flaky "$META" fail
	expect_warnings
	expect_log '^device-mapper: table: [0-9:]+: svol: preresume failed, error = -5$'
	must_fail svol_create LV2
	assert_no_dm LV2
	assert_base /dev/mapper/LV0
	read_status
	assert_status state=degraded redundancy=0 metadata=F LV2.health=in-sync
	flaky_writes flaky "$META" work
	svol_create LV2
	read_status
	assert_status metadata=A LV2.protection=unprotected
}
