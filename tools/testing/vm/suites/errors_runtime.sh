# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Disks that fail while the group is in use: no error reaches anybody who can be served by others.
# Smoke: in_place_disk_dies read_only_disk_dies

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

# What the block layer says of disks that fail.
DISK_ERRORS='^(critical |I/O error|Buffer I/O error|device-mapper: )'

# The group of figure 9, its data disks and metadata copies on linear devices of the names below,
# which a test may let fail.
breakable9() { # MiB [attribute=value of the data disks...]
	load_module
	figure9_disks "$@"
	dm_linear meta1 "$META"
	dm_linear meta2 "$META2"
	dm_linear disk0 "$D0"
	dm_linear disk1 "$D1"
	dm_linear disk2 "$D2"
	dm_linear spare "$DS"
	dm_linear store "$DI"
	G_META=(/dev/mapper/meta1 /dev/mapper/meta2)
	G_VOLUMES=("LV0 ro /dev/mapper/disk0 -" "LV1 ro /dev/mapper/disk1 -"
		"LV2 rw /dev/mapper/disk2 DLV2" "S0 spare /dev/mapper/spare -"
		"DLV2 increments /dev/mapper/store -")
	G_FEATURES=(init assume_identical failover "${FAILOVER:-manual}")
	group_create
}

# From now on all I/O of such a device fails.
break_disk() { # name
	expect_warnings
	expect_log "$DISK_ERRORS"
	dm_change "$1" "0 $(blockdev --getsz "/dev/mapper/$1") error" --noflush
}

# It works again.
mend_disk() { # name disk
	dm_change "$1" "0 $(blockdev --getsz "$2") linear $2 0"
}

breakable_down() {
	dmsetup remove LV0
	dmsetup remove LV1
	dmsetup remove LV2
	dmsetup remove G0
}

# What LV2 holds is the same after a restart with the line of before, and with one that lacks its
# disk.
assert_lv2_stays() { # state
	local line
	assert_state /dev/mapper/LV2 "$1"
	breakable_down
	expect_warnings
	group_create
	figure9_volumes
	assert_state /dev/mapper/LV2 "$1"
	read_status
	assert_status LV2.health=degraded LV2.disk=-
	line=$(dmsetup table G0)
	breakable_down
	group_move LV2 -
	group_create
	figure9_volumes
	assert_state /dev/mapper/LV2 "$1"
	assert_base /dev/mapper/LV0 /dev/mapper/LV1 /dev/mapper/G0
}

# Reads of a disk that dies go to the other one.
test_read_only_disk_dies() {
	breakable9 16
	figure9_volumes
	start_load LV0 /dev/mapper/LV0
	start_load LV1 /dev/mapper/LV1
	start_load G0 /dev/mapper/G0
	log_mark
	break_disk disk0
	# Reads alone do not say that it is dead, until there are too many.
	wait_health LV0 failed
	assert_io_flows /dev/mapper/LV0
	assert_io_flows /dev/mapper/LV1
	stop_loads
	assert_logged '^dm_svol: G0: disk of LV0: failed; LV0 is served by its siblings'
	assert_status state=degraded redundancy=0 LV0.disk=- LV1.health=in-sync LV2.health=in-sync \
		LV1.read_errors=0
	assert_base /dev/mapper/LV0 /dev/mapper/LV1 /dev/mapper/G0
	# It is not trusted again.
	mend_disk disk0 "$D0"
	breakable_down
	group_create
	read_status
	assert_status LV0.health=failed LV0.disk=-
	svol_create LV0 --readonly
	assert_base /dev/mapper/LV0
}

# The disk of an in-place volume dies under load.
test_in_place_disk_dies() {
	local events
	breakable9 16
	figure9_volumes
	start_load LV0 /dev/mapper/LV0
	start_load LV2 /dev/mapper/LV2 --write 50 --flush 5 --dsync 10 --state lv2
	nap 1
	events=$(dm_info G0 events)
	log_mark
	break_disk disk2
	wait_health LV2 degraded
	assert_io_flows /dev/mapper/LV2
	nap 1
	stop_loads
	assert_logged '^dm_svol: G0: disk of LV2: failed; LV2 is degraded'
	assert_status state=degraded LV2.disk=- LV2.rlid=DLV2
	assert_at_least 'the events' "$(dm_info G0 events)" $((events + 1))
	assert_lv2_stays lv2
}

# The spare takes over by itself, and is the volume's disk from then on.
spare_takes_over() { # what...
	FAILOVER=auto breakable9 16
	figure9_volumes
	start_load LV0 /dev/mapper/LV0
	start_load LV2 /dev/mapper/LV2 --write 50 --flush 5 --dsync 10 --state lv2
	nap 1
	expect_warnings
	log_mark
	"$@"
	wait_until 60 health_is LV2 in-sync || fail "no rebuild: ${ST[line]}"
	assert_status LV2.disk=S0 LV2.protection=protected
	assert_io_flows /dev/mapper/LV2
	nap 1
	stop_loads
	assert_logged '^dm_svol: G0: LV2: rebuilt, its disk is that of S0'
	assert_state /dev/mapper/LV2 lv2
	assert_base /dev/mapper/LV0 /dev/mapper/LV1 /dev/mapper/G0
	breakable_down
	assert_state "$DS" lv2
	group_create
	figure9_volumes
	assert_state /dev/mapper/LV2 lv2
}

# Waits until the failure has been seen.
break_disk2() {
	break_disk disk2
	wait_until 20 is_not_in_sync LV2
}

fail_lv2() {
	dmsetup message G0 0 fail LV2
	wait_until 20 is_not_in_sync LV2
}

is_not_in_sync() { # LID
	read_status
	[ "${ST[$1.health]}" != in-sync ] || [ "${ST[$1.disk]}" != "$1" ]
}

test_spare_takes_over() {
	spare_takes_over break_disk2
}

test_spare_takes_over_by_command() {
	spare_takes_over fail_lv2
}

# The first that notices is this step.
notices_first() { # step...
	breakable9 8 ${CACHE:+"cache_size=$CACHE"}
	figure9_volumes
	steps LV2 write:0+2048 write:4096+8 flush
	"${BREAK:-break_disk}" disk2
	steps LV2 "$@"
	[[ $1 == check* ]] || wait_health LV2 degraded
	steps LV2 check write:0+100 write:12000+7 zero:512+200 dsync:5000+9 flush check
	wait_health LV2 degraded
	breakable_down
	group_create
	figure9_volumes
	steps LV2 check write:7777+77 check
}

test_a_write_notices_first() {
	notices_first write:2048+300
}

test_a_small_write_notices_first() {
	notices_first write:9001+3 write:4097+1
}

# Writes and flushes fail, reads do not.
break_writes() { # name
	expect_warnings
	expect_log "$DISK_ERRORS"
	dm_change "$1" "0 $G_LEN flakey $D2 0 0 1000 1 error_writes"
}

test_a_flush_notices_first() {
	need_target flakey
	BREAK=break_writes CACHE=1 notices_first flush
}

test_a_durable_write_notices_first() {
	notices_first dsync:100+50
}

test_zeroes_notice_first() {
	notices_first zero:1000+1000
}

test_a_read_notices_first() {
	notices_first check
}

# Sectors that can't be read are read elsewhere; the disk goes on.
test_bad_sectors() {
	figure9 16
	figure9_volumes
	expect_warnings
	expect_log "$DISK_ERRORS"
	steps LV2 write:1000+8 write:3000+100 flush
	disk_set "$D2" badblocks +1002-1002
	disk_set "$D2" badblocks +3050-3060
	disk_set "$D2" badblocks +9000-9000
	steps LV2 check
	read_status
	assert_status LV2.health=in-sync state=clean
	assert_at_least 'the errors of LV2' "${ST[LV2.read_errors]}" 3
	disk_set "$D0" badblocks +500-520
	assert_base /dev/mapper/LV0 /dev/mapper/LV1 /dev/mapper/G0
	read_status
	assert_status LV0.health=in-sync LV1.health=in-sync LV1.read_errors=0
	# A write that fails is another matter.
	steps LV2 write:1000+8 check
	wait_health LV2 degraded
	steps LV2 check
}

# A volume without increments that was never written holds the base image, which others have, too.
test_bad_sectors_of_an_unwritten_volume() {
	plain9 8
	svol_create LV2 --readonly
	expect_warnings
	expect_log "$DISK_ERRORS"
	disk_set "$D2" badblocks +100-107
	assert_base /dev/mapper/LV2
	read_status
	assert_status LV2.health=in-sync state=clean
	assert_at_least 'the errors of LV2' "${ST[LV2.read_errors]}" 1
	assert_base /dev/mapper/LV2
	# The same when it turns out that all of it is gone.
	disk_set "$D2" badblocks "+0-$((G_LEN - 1))"
	assert_base /dev/mapper/LV2
}

# Disks with too many errors are given up: sectors that can't be read, nor written back.
test_too_many_errors() {
	local sector
	load_module
	figure9_disks 8
	G_FEATURES=(init assume_identical max_errors 5 failover manual)
	group_create
	figure9_volumes
	expect_warnings
	expect_log "$DISK_ERRORS"
	steps LV2 write:0+64
	log_mark
	for sector in 40 440; do
		disk_set "$D2" badblocks "+$sector-$sector"
		steps LV2 check:$sector+8
		wait_until 20 is_known_bad LV2 $sector
	done
	read_status
	assert_status LV2.health=in-sync LV2.read_errors=2 LV2.write_errors=2 LV2.repairs=0
	# They are known, and count no more.
	steps LV2 check
	steps LV2 check
	read_status
	assert_status LV2.health=in-sync LV2.read_errors=2 LV2.write_errors=2
	disk_set "$D2" badblocks +840-840
	steps LV2 check:840+8
	wait_health LV2 degraded
	steps LV2 check
	# What is taken back may be another disk: it is not given up for the errors of the one before it.
	for sector in 40 440 840; do
		disk_set "$D2" badblocks "-$sector-$sector"
	done
	readd LV2
	wait_health LV2 in-sync
	log_mark
	disk_set "$D2" badblocks +40-40
	steps LV2 check:40+8
	wait_until 20 is_known_bad LV2 40
	steps LV2 check
	read_status
	assert_status LV2.health=in-sync LV2.read_errors=4
}

is_known_bad() { # LID sector
	log_says "disk of $1: sector $2 is bad and can't be repaired"
}

# A disk that is suspended for a moment refuses read-ahead: that says nothing of it.
test_refused_read_ahead() {
	local i
	covered9 4
	steps LV2 write:0+2048 flush
	dmsetup suspend --noflush --nolockfs disk2
	# Each begins with read-ahead: what was read is forgotten when nobody has the device open.
	for ((i = 0; i < 30; i++)); do
		timeout 20 dd if=/dev/mapper/LV2 of=/dev/null bs=4096 skip=$((i * 8)) count=1 status=none ||
			fail "block $((i * 8)) can not be read"
	done
	dmsetup resume disk2
	read_status
	assert_status state=clean LV2.health=in-sync LV2.read_errors=0
	steps LV2 check
}

# A flush fails that nobody asked for: that of a disk whose marks are to be taken back. What it has lost it does
# not have at the next flush either.
test_flush_of_our_own() {
	need_target flakey
	covered9 8 cache_size=4
	steps LV2 write:0+64 write:5000+9
	cover_is disk2 writes
	wait_health LV2 degraded
	cover_is disk2 linear
	steps LV2 flush check
	down9
	up9
	steps LV2 check
}

# The same when the group is suspended, for another table: that does not take what the disk has for what was
# written.
test_flush_of_our_own_in_a_suspend() {
	need_target flakey
	covered9 8 cache_size=4
	steps LV2 write:0+64 write:5000+9
	cover_is disk2 writes
	dmsetup load G0 --table "$(group_table)"
	dmsetup suspend G0
	cover_is disk2 linear
	# As if the cache of the disk had been lost.
	dd if="$D0" of="$D2" bs=1M oflag=direct status=none
	dmsetup resume G0
	read_status
	assert_status LV2.health=degraded
	steps LV2 flush check
	down9
	up9
	steps LV2 check
}

# The disk's flush fails when the volume goes on without the disk already: its user does not hear of that.
test_a_flush_fails_late() {
	local size flush
	need_target flakey
	need_target delay
	covered9 8 cache_size=4
	steps LV2 write:0+64 write:5000+9
	size=$(blockdev --getsz "$D2")
	dmsetup create late --table "$(cover_table disk2 writes)"
	dm_change disk2 "0 $size delay $D2 0 0 $D2 0 0 /dev/mapper/late 0 60000" --noflush
	"$SVOL_TEST" steps /dev/mapper/LV2 --seed "$SEED" --own 1002 --state s.LV2 flush &
	flush=$!
	wait_until 20 has_in_flight /dev/mapper/LV2 1 || fail 'the flush does not begin'
	nap 1
	dmsetup message G0 0 fail LV2
	wait_health LV2 degraded
	! has_ended "$flush" || fail 'the flush has ended'
	# What is delayed goes on, and fails, with the suspend.
	cover_is disk2 linear
	wait "$flush" || fail 'the flush failed'
	dmsetup remove late
	steps LV2 check
	down9
	up9
	steps LV2 check
}

# A durable write fails, since the disk can't be flushed, and nothing can replace the disk. It may have lost
# what was written before, too: the next flush says so.
test_a_durable_write_is_not_all() {
	load_module
	disk_faults_begin
	logged_disks 0 4 8 cache_size=1
	G_VOLUMES=("L4 rw $BASE_DISK ST" "L5 rw $DISK ST" "ST increments $STORE -")
	expect_warnings
	expect_log "$DISK_ERRORS"
	group_create
	svols_create L4 L5
	steps L5 write:0+64 flush write:64+64
	# A part of a sub-block: the rest of it is read. Then the write, and the flush.
	arm_disk "$DISK" 3
	must_fail dd if=/dev/zero of=/dev/mapper/L5 bs=512 seek=3001 count=1 oflag=direct,dsync conv=notrunc \
		status=none
	disk_has_failed || fail 'nothing has failed'
	disarm_disk
	must_fail fsync /dev/mapper/L5
	fsync /dev/mapper/L5
}

# What nothing can replace is kept, and its errors reach its user.
test_last_disk_is_kept() {
	breakable9 8
	figure9_volumes
	# What LV2 never wrote could be read from its disk.
	steps LV2 write:0+64 flush
	break_disk disk0
	log_mark
	dmsetup message G0 0 fail LV0
	wait_health LV0 failed
	assert_logged 'disk of LV0: failed by command'
	break_disk disk1
	must_fail "$SVOL_TEST" verify --seed "$SEED" /dev/mapper/LV1
	read_status
	assert_status LV1.health=in-sync
	mend_disk disk1 "$D1"
	assert_base /dev/mapper/LV1 /dev/mapper/LV0
}

# A user says that disks have failed.
test_fail_message() {
	breakable9 16
	figure9_volumes
	begin_refusals
	refusal ENODEV 'fail;LV9' 'fail LV9'
	check_refusals messages
	expect_warnings
	start_load LV0 /dev/mapper/LV0
	start_load LV2 /dev/mapper/LV2 --write 60 --flush 5 --state lv2
	dmsetup message G0 0 fail LV2
	wait_health LV2 degraded
	dmsetup message G0 0 fail S0
	dmsetup message G0 0 fail LV0
	wait_health LV0 failed
	nap 1
	stop_loads
	begin_refusals
	refusal EBUSY 'fail;LV1' 'fail LV1'
	refusal EINVAL 'fail;LV2' 'fail LV2'
	refusal EINVAL 'fail;LV0' 'fail LV0'
	check_refusals messages
	assert_lv2_stays lv2
}

# Suspends and reloads while disks fail.
test_suspends_meanwhile() {
	local i
	breakable9 16
	figure9_volumes
	start_load LV0 /dev/mapper/LV0
	start_load LV2 /dev/mapper/LV2 --write 50 --flush 3 --state lv2
	for i in 1 2 3; do
		dmsetup suspend G0
		[ "$i" != 2 ] || break_disk disk2
		dmsetup resume G0
	done
	break_disk disk0
	for i in 1 2 3; do
		dmsetup suspend --noflush LV2
		dmsetup resume LV2
		dmsetup suspend LV2
		dmsetup resume LV2
	done
	wait_health LV2 degraded
	wait_health LV0 failed
	dm_change G0 "$(dmsetup table G0)"
	assert_io_flows /dev/mapper/LV2
	stop_loads
	read_status
	assert_status LV2.health=degraded LV0.health=failed
	assert_lv2_stays lv2
}

# Without any metadata, reads go on; a write that its disk lacks is not answered as done.
test_without_metadata() {
	breakable9 8
	figure9_volumes
	steps LV2 write:0+2048 flush
	break_disk meta1
	break_disk meta2
	break_disk disk2
	steps LV2 check
	assert_eq 'a write to LV2' "$("$SVOL_TEST" write-error /dev/mapper/LV2)" EIO
	assert_base /dev/mapper/LV0
	read_status
	assert_status metadata=FF redundancy=0
	# When it comes back, so do writes.
	mend_disk meta1 "$META"
	mend_disk meta2 "$META2"
	"$SVOL_TEST" write-error /dev/mapper/LV2
	wait_health LV2 degraded
	assert_eq 'a write to LV2' "$("$SVOL_TEST" write-error /dev/mapper/LV2)" none
}

# A metadata copy and a disk.
test_metadata_and_disk() {
	breakable9 8
	figure9_volumes
	start_load LV2 /dev/mapper/LV2 --write 50 --flush 3 --state lv2
	break_disk meta2
	break_disk disk2
	wait_health LV2 degraded
	stop_loads
	assert_status metadata=AF
	assert_state /dev/mapper/LV2 lv2
}

# The disk, and then the increments volume: what is nowhere is an error, and never something else.
test_disk_and_store() {
	breakable9 8
	figure9_volumes
	steps LV2 write:0+2048 flush
	break_disk disk2
	steps LV2 write:100+100 check
	wait_health LV2 degraded
	break_disk store
	assert_eq 'a write to LV2' "$("$SVOL_TEST" write-error /dev/mapper/LV2)" EIO
	assert_base /dev/mapper/LV0
	must_fail dd if=/dev/mapper/LV2 of=/dev/null bs=4096 count=1 iflag=direct
}

# The other way round: the disk has what nobody else has, and is kept.
test_store_and_disk() {
	breakable9 8
	figure9_volumes
	steps LV2 write:0+2048 flush
	break_disk store
	steps LV2 write:100+100 check
	read_status
	assert_status LV2.protection=unprotected
	break_disk disk2
	assert_eq 'a write to LV2' "$("$SVOL_TEST" write-error /dev/mapper/LV2)" EIO
	must_fail dd if=/dev/mapper/LV2 of=/dev/null bs=4096 count=1 iflag=direct
	mend_disk disk2 "$D2"
	steps LV2 check
	read_status
	assert_status LV2.health=in-sync
}

# The disk of L5 fails under I/O, by command or by itself; suspends later on.
model_fail() {
	if [ "$FAIL" = command ]; then
		dmsetup message G0 0 fail L5
	else
		disk_set "$DISK" badblocks "+0-$((G_LEN - 1))"
	fi
	FAIL=has_failed
}

# A group of LV0, C1 (diverted) and L5 (logged), under a model that asks for these events.
disk_fails_under_model() { # command|badblocks "event..."
	load_module
	logged_disks 1 8 24 cache_size=8
	group_create
	clones_create
	expect_power_cuts
	FAIL=$1
	# shellcheck disable=SC2317 # called in the place of the other one
	model_live() {
		if [ "$FAIL" = has_failed ]; then
			dmsetup suspend G0
			dmsetup resume G0
		else
			model_fail
		fi
	}
	run_model 8 "$2" --state m
	[ "$FAIL" = has_failed ] || model_fail
	"$SVOL_TEST" write-error /dev/mapper/L5
	wait_health L5 degraded
	assert_status C1.health=in-sync LV0.health=in-sync
	assert_base "$BASE_DISK"
}

test_model_disk_fails_by_command() {
	disk_fails_under_model command 'live live crash restart'
}

test_model_disk_fails() {
	# A start would want to look at the disk, were its failure not known yet.
	disk_fails_under_model badblocks live
}

# Prints what the kernel tells udev, an empty line after each event. (udevadm would not: it looks
# for the root of a machine that init has started.)
uevents() {
	perl -e '
		socket(EVENTS, 16, 2, 15) && bind(EVENTS, pack("SSLL", 16, 0, 0, 1)) || die $!;
		$| = 1;
		print "listening\n\n";
		while (defined recv(EVENTS, my $event, 65536, 0)) {
			print $event =~ tr/\0/\n/r, "\n\n";
		}'
}

# What an event said of an entry.
udev_said() { # LID health protection
	awk -v RS= -v lid="$1" -v health="$2" -v protection="$3" '
		/^change@/ && index($0 "\n", "\nDM_SVOL_GROUP=G0\n") &&
		index($0 "\n", "\nDM_SVOL_LID=" lid "\n") &&
		index($0 "\n", "\nDM_SVOL_HEALTH=" health "\n") &&
		index($0 "\n", "\nDM_SVOL_PROTECTION=" protection "\n") { found = 1 }
		END { exit !found }' events
}

# udev hears of each change.
test_udev_is_told() {
	local listener
	FAILOVER=auto breakable9 16
	figure9_volumes
	uevents >events 2>&1 &
	listener=$!
	wait_until 20 grep -q '^listening' events || fail "nobody listens: $(cat events)"
	expect_warnings
	dmsetup message G0 0 fail LV2
	wait_until 60 health_is LV2 in-sync || fail "no rebuild: ${ST[line]}"
	wait_until 20 udev_said LV2 degraded protected || fail "degraded: $(cat events)"
	wait_until 20 udev_said LV2 rebuilding protected || fail "rebuilding: $(cat events)"
	wait_until 20 udev_said S0 in-sync - || fail "the spare: $(cat events)"
	wait_until 20 udev_said LV2 in-sync protected || fail "in-sync: $(cat events)"
	kill "$listener"
}

# Also of what comes with the start of a table.
test_udev_is_told_of_a_store() {
	local listener
	load_module
	logged_disks 0 8 24
	group_create
	clones_create
	uevents >events 2>&1 &
	listener=$!
	wait_until 20 grep -q '^listening' events || fail "nobody listens: $(cat events)"
	expect_warnings
	expect_unprotected
	dmsetup message G0 0 fail ST
	wait_until 20 udev_said ST failed - || fail "the store: $(cat events)"
	wait_until 20 udev_said L5 in-sync unprotected || fail "its volume: $(cat events)"
	readd ST
	wait_until 20 udev_said ST in-sync - || fail "the store that is back: $(cat events)"
	wait_until 60 udev_said L5 in-sync protected || fail "its volume is protected: $(cat events)"
	kill "$listener"
}
