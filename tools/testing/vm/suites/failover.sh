# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Disks that fail at runtime, of each role and in each way, at idle and under load: nobody who can be
# served by siblings and increments sees an error, and all data is right, then and after a restart.
#
# SVOL_SECONDS makes any_single_fault longer, what it did is in its notes; SVOL_POINTS are the cuts of
# crash_after_a_failure.
# Smoke: file_system_goes_on
# Limits: any_single_fault=900 crash_after_a_failure=600

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

# Bad sectors of all data disks under load. No I/O meets those of two disks.
test_bad_sectors_under_load() {
	local lid
	need_target dust
	covered9 8
	# They are read again and again, and no disk is to be given up.
	G_FEATURES+=(max_errors 1000000)
	dm_change G0 "$(group_table)"
	start_loads9
	cover_has_bad_sectors disk0 100 101 5000 9999
	cover_has_bad_sectors disk1 300 4000 4001 12000
	cover_has_bad_sectors disk2 700 2500 9000 16000
	nap 3
	for lid in LV0 LV1 LV2; do
		assert_io_flows "/dev/mapper/$lid"
	done
	stop_loads
	"$SVOL_TEST" verify --seed "$SEED" --chunk 65536 /dev/mapper/LV0 /dev/mapper/LV1 /dev/mapper/G0
	"$SVOL_TEST" verify --seed "$SEED" --chunk 65536 --state lv2 /dev/mapper/LV2
	read_status
	for lid in LV0 LV1 LV2; do
		assert_status "$lid.health=in-sync"
	done
	assert_status state=clean
}

# One read, and no disk that has all of it: the disks together have.
test_bad_sectors_in_one_read() {
	need_target dust
	covered9 4
	cover_has_bad_sectors disk0 100
	cover_has_bad_sectors disk1 300
	cover_has_bad_sectors disk2 700
	assert_base /dev/mapper/LV0 /dev/mapper/LV2 /dev/mapper/G0
}

# A disk that works every second second.
test_disk_that_comes_and_goes() {
	need_target flakey
	covered9 8
	start_loads9
	cover_is disk2 flaps
	wait_health LV2 degraded
	nap 3
	stop_loads
	assert_data9
	down9
	up9
	assert_data9
	read_status
	assert_status LV2.health=degraded
}

# A file system is being written when the disk goes.
test_file_system_goes_on() {
	local i
	need_module ext4
	covered9 24
	mkfs.ext4 -q /dev/mapper/LV2
	mkdir m
	mount /dev/mapper/LV2 m
	cp -r "$TESTS" m/before
	sync -f m
	cp -r "$TESTS" m/meanwhile &
	nap 0.5
	cover_is disk2 error
	wait $!
	cp -r "$TESTS" m/after
	sync -f m
	wait_health LV2 degraded
	umount m
	e2fsck -fn /dev/mapper/LV2
	down9
	group_move LV2 -
	up9
	e2fsck -fn /dev/mapper/LV2
	mount -o ro /dev/mapper/LV2 m
	for i in before meanwhile after; do
		diff -r "$TESTS" "m/$i"
	done
	umount m
}

# Two logged volumes share a store. The disk of one of them fails: the other one goes on in place,
# protected, until its own disk fails, too.
test_two_logged_volumes() {
	covered9 8
	down9
	G_VOLUMES=('LV0 ro /dev/mapper/disk0 -' 'LV1 rw /dev/mapper/disk1 DLV2'
		'LV2 rw /dev/mapper/disk2 DLV2' 'DLV2 increments /dev/mapper/store -')
	G_NAME=G1
	blank_disk "$META" "$META2" "$DI"
	group_create
	svol_create LV0 --readonly
	svols_create LV1 LV2
	steps LV1 write:0+500 write:7000+9 flush
	steps LV2 write:0+300 write:9000+64 flush
	cover_is disk2 error
	steps LV2 write:100+20 flush
	steps LV1 write:100+20 flush
	wait_health LV2 degraded
	assert_status LV1.health=in-sync LV1.protection=protected LV1.disk=LV1 redundancy=0
	"$SVOL_TEST" steps /dev/mapper/disk1 --seed "$SEED" --own 1001 --state s.LV1 check
	cover_is disk1 error
	steps LV1 check write:3000+3 flush
	wait_health LV1 degraded
	steps LV1 check
	steps LV2 check
	assert_base /dev/mapper/LV0
	dmsetup remove LV0 LV1 LV2 G1
	group_create
	svols_create LV1 LV2
	steps LV1 check
	steps LV2 check
}

# The store of diverted volumes fails: they fail, nobody else notices, and what they had flushed is
# there when it is back.
test_store_of_diverted_volumes_fails() {
	local size lid
	load_module
	new_disk STORE2 6
	clones_disks 2 4 6
	store_on_linear 6 6
	G_VOLUMES[2]="C2 ro /dev/mapper/leg_C2 ST2"
	G_VOLUMES+=("ST2 increments $STORE2 -")
	expect_disk_errors
	group_create
	clones_create
	svol_create LV0 --readonly
	steps C1 write:0+300 write:4000+9 flush
	steps C2 write:0+300 write:4000+9 flush
	start_load LV0 /dev/mapper/LV0
	size=$(blockdev --getsz "$STORE_DISK")
	dm_change store "0 $size error" --noflush
	assert_eq 'a write to C1' "$("$SVOL_TEST" write-error /dev/mapper/C1 --sector 600)" EIO
	steps C2 write:200+300 flush check
	assert_base /dev/mapper/G0
	stop_load LV0
	read_status
	for lid in LV0 C2 ST2; do
		assert_status "$lid.health=in-sync"
	done
	dmsetup remove LV0
	clones_remove
	dmsetup remove G0
	dm_change store "0 $size linear $STORE_DISK 0"
	group_create
	clones_create
	steps C1 check
	steps C2 check
}

# Without its disk, a volume is diverted: a full store fails what needs a new block, and nothing else.
test_degraded_and_full() {
	covered9 8
	down9
	new_disk DI 4
	COVER[store]=$DI
	cover_is store linear
	blank_disk "$META" "$META2"
	up9
	expect_full
	steps LV2 write:0+64 write:9000+64 flush
	cover_is disk2 error
	steps LV2 write:3000+9 flush
	wait_health LV2 degraded
	# More than the store takes.
	must_fail steps LV2 write:0+16384
	steps LV2 check write:0+64 flush check
	read_status
	assert_status LV2.health=degraded
	assert_base /dev/mapper/LV0
	down9
	up9
	steps LV2 check
}

# The power goes at some moment after a disk has failed under load, with all that was not flushed.
test_crash_after_a_failure() {
	local i
	covered9 4 cache_size=4
	for ((i = 0; i < ${SVOL_POINTS:-3}; i++)); do
		[ "$i" = 0 ] || restart_anew9
		steps LV2 write:0+64 write:4000+500 flush
		{
			steps LV2 write:100+300 flush write:10+90 zero:4096+256 dsync:6000+10 write:0+8192 flush \
				write:300+900 --allow-errors || :
		} >work 2>&1 &
		nap "0.$((RANDOM % 5))"
		cover_is disk2 error
		nap "0.$((RANDOM % 10))"
		power_off "${G_DISKS[@]}"
		wait $!
		power_return9
		steps LV2 check --after-crash
		assert_base /dev/mapper/LV0 /dev/mapper/LV1
		read_status
		note "LV2 is ${ST[LV2.health]} after the crash"
		down9
		up9
		steps LV2 check
		# Nor does it flip without the disk, which may have been well when the power went.
		down9
		group_move LV2 -
		up9
		steps LV2 check
		group_move LV2 /dev/mapper/disk2
	done
}

# Any one device fails in any way under load: no error, no wrong byte, then, after a restart, and
# without the device.
test_any_single_fault() {
	local names=(disk0 disk1 disk2 store spare meta1 meta2) ways=(error reads writes flaps dust)
	local until name way round=0
	until=$((SECONDS + ${SVOL_SECONDS:-25}))
	need_target flakey
	need_target dust
	RANDOM=$((SVOL_SEED % 32768))
	covered9 4
	while [ "$SECONDS" -lt "$until" ]; do
		[ "$round" = 0 ] || restart_anew9
		name=${names[RANDOM % ${#names[@]}]} way=${ways[RANDOM % ${#ways[@]}]}
		round=$((round + 1))
		start_loads9
		if [ "$way" = dust ]; then
			# On a store or a metadata copy, these may be of any structure.
			cover_has_bad_sectors "$name" $((RANDOM % 8192)) $((RANDOM % 8192)) $((RANDOM % 8192)) 4100
		else
			cover_is "$name" "$way"
		fi
		nap 1.5
		assert_io_flows /dev/mapper/LV0
		assert_io_flows /dev/mapper/LV2
		stop_loads >loads || fail "$name: $way"
		assert_data9 || fail "$name: $way"
		read_status
		note "$name: $way: ${ST[state]}, LV0 ${ST[LV0.health]}, LV1 ${ST[LV1.health]}," \
			"LV2 ${ST[LV2.health]} ${ST[LV2.protection]}, metadata ${ST[metadata]}"
		[ "${ST[state]}" != failed ] || fail "$name: $way: ${ST[line]}"
		down9
		cover_is "$name" linear
		up9
		assert_data9 || fail "$name: $way, after a restart"
	done
	note "$round rounds"
}
