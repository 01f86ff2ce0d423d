# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# In-place volumes whose increments volume failed, or was full, get their protection back: what the
# increments lack is found by comparing them with the disk.
# Smoke: new_store_under_load

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

# The increments volume is taken back, and in use again without a load of the table.
take_store_back() { # [LID]
	readd "${1:-DLV2}"
	wait_health "${1:-DLV2}" in-sync
}

# Nothing but siblings and increments is left of LV2, and has all.
lose_disk2() {
	cover_is disk2 error
	steps LV2 check
	dmsetup message G0 0 fail LV2 || :
	wait_health LV2 degraded
}

# The same device comes back; it has old entries, and lacks what was written since.
test_store_comes_back() {
	local events
	covered9 8
	steps LV2 write:0+2048 write:4096+8 zero:6000+32 flush
	cover_is store error
	steps LV2 write:50+100 write:9001+3 flush dsync:7000+5 zero:512+128 check
	wait_health DLV2 failed
	begin_refusals
	refusal EIO 'DLV2' 'readd DLV2'
	check_refusals messages
	cover_is store linear
	steps LV2 write:12000+40 flush
	events=$(dm_info G0 events)
	log_mark
	take_store_back
	assert_logged 'increments DLV2: taken back'
	assert_logged 'increments DLV2: in use again'
	assert_status LV2.health=in-sync DLV2.disk=DLV2
	steps LV2 write:12100+8 flush
	steps LV2 write:130+8 zero:8192+16 flush check
	wait_protected LV2
	assert_logged 'LV2: protected again'
	# Until it says so, a status may still tell of the comparison.
	read_status
	assert_status state=clean redundancy=1 LV2.blocks=-
	assert_at_least 'the events' "$(dm_info G0 events)" $((events + 3))
	begin_refusals
	refusal EINVAL 'readd;DLV2' 'readd DLV2'
	check_refusals messages
	steps LV2 check write:131+3 flush
	lose_disk2
	steps LV2 check write:14000+20 flush check
	down9
	up9
	steps LV2 check
	assert_base /dev/mapper/LV0 /dev/mapper/LV1
}

# What the increments get from the disk is made durable there, too, before LV2 counts as protected.
test_disk_is_flushed_before_it_counts() {
	local flushes
	covered9 4 cache_size=4
	cover_is store error
	steps LV2 write:0+2048 flush
	wait_health DLV2 failed
	cover_is store linear
	# Only the comparison can flush that.
	steps LV2 write:3000+100
	flushes=$(disk_stat "$D2" flushes)
	take_store_back
	wait_protected LV2
	assert_at_least 'the flushes of the disk' "$(disk_stat "$D2" flushes)" $((flushes + 1))
}

# Another device is there, which is blank; LV2 is written all the time.
test_new_store_under_load() {
	covered9 8
	start_loads9
	nap 1
	cover_is store error
	wait_health DLV2 failed
	nap 1
	new_disk DI 24
	COVER[store]=$DI
	cover_is store linear
	take_store_back
	wait_protected LV2
	assert_io_flows /dev/mapper/LV2
	cover_is disk2 error
	wait_health LV2 degraded
	nap 1
	stop_loads
	assert_data9
	down9
	up9
	assert_data9
}

# The group is suspended, resumed, loaded again and removed while the increments volume is taken back: it
# is in use in the end.
test_suspended_meanwhile() {
	local i
	covered9 8
	start_loads9
	for i in 1 2 3 4 5 6; do
		dmsetup message G0 0 fail DLV2
		wait_health DLV2 failed
		readd DLV2
		case $i in
		1 | 2)
			dmsetup suspend --noflush G0
			nap 0.3
			dmsetup resume G0
			;;
		3) dm_change G0 "$(dmsetup table G0)" ;;
		4)
			dmsetup suspend LV2
			dmsetup resume LV2
			;;
		5)
			stop_loads
			down9
			up9
			start_loads9
			;;
		esac
		wait_health DLV2 in-sync
		assert_io_flows /dev/mapper/LV2
		assert_io_flows /dev/mapper/LV0
	done
	wait_protected LV2
	stop_loads
	assert_data9
	dmsetup message G0 0 fail DLV2
	wait_health DLV2 failed
	readd DLV2
	down9
	up9
	wait_protected LV2
	assert_data9
}

# Since the table was loaded, an entry joined the group: its line does not fit any more. Nobody waits for that.
test_after_the_group_grew() {
	covered9 8
	new_disk N9 8
	dmsetup message G0 0 fail DLV2
	wait_health DLV2 failed
	dmsetup message G0 0 add S9 spare "$N9" -
	G_VOLUMES+=("S9 spare $N9 -")
	log_mark
	readd DLV2
	assert_logged 'increments DLV2: taken back, in use after the next load'
	steps LV2 write:50+100 flush check
	dmsetup suspend G0
	dmsetup resume G0
	steps LV2 write:60+100 flush check
	read_status
	assert_status DLV2.health=failed
	# A line that fitted when it was loaded has to fit when it is resumed.
	dmsetup load G0 --table "$(dmsetup table G0)"
	log_mark
	must_fail dmsetup message G0 0 remove S9
	assert_logged 'LID S9: another table is loaded for the group'
	must_fail dmsetup message G0 0 add C9 ro - DLV2
	assert_logged 'LID C9: another table is loaded for the group'
	dmsetup suspend G0
	dmsetup resume G0
	wait_health DLV2 in-sync
	wait_protected LV2
	steps LV2 check
}

# While it is compared, everything is stopped and started again, also without a warning.
test_power_cuts_meanwhile() {
	load_module
	logged_disks 0 16 32 cache_size=8
	expect_disk_errors
	expect_power_cuts
	G_FEATURES+=(rebuild_rate 512 failover manual)
	group_create
	clones_create
	steps L5 write:0+1000 write:9000+8000 flush
	dmsetup message G0 0 fail ST
	wait_health ST failed
	steps L5 write:500+1000 flush
	blank_disk "$STORE"
	readd ST
	clones_power_cut
	read_status
	assert_status ST.health=in-sync L5.protection=unprotected
	[[ ${ST[L5.blocks]} == */256 ]] || fail "no progress: ${ST[line]}"
	steps L5 check write:1200+64 zero:20000+640 flush
	clones_power_cut
	steps L5 check write:1300+64
	dmsetup suspend G0
	dmsetup resume G0
	steps L5 write:30000+64 flush check
	clones_restart
	dmsetup message G0 0 rebuild_rate 0
	wait_protected L5
	steps L5 check write:1400+64 flush
	# A mark that a crash leaves is seen to as ever.
	clones_power_cut
	steps L5 check
	read_status
	assert_status L5.protection=protected
	dmsetup message G0 0 fail L5
	wait_health L5 degraded
	steps L5 check
}

# There is space again.
test_full_and_grown() {
	load_module
	logged_disks 0 8 4
	store_on_linear 4 32
	G_FEATURES+=(on_full error failover manual)
	expect_disk_errors
	expect_full
	expect_unprotected
	group_create
	clones_create
	steps L5 write:0+8000 check flush
	read_status
	assert_status L5.protection=unprotected
	# Without more space it stays so.
	log_mark
	dm_change G0 "$(dmsetup table G0)"
	wait_until 30 log_says 'L5: stays unprotected, increments ST' || fail 'no end of the comparison'
	steps L5 write:8000+100 flush check
	read_status
	assert_status L5.protection=unprotected
	resize_store 32
	dm_change G0 "$(dmsetup table G0)"
	wait_protected L5
	steps L5 check write:9000+100 flush
	dmsetup message G0 0 fail L5
	wait_health L5 degraded
	steps L5 check
}

# Where it is diverted, its disk has nothing that the increments lack.
test_full_with_regions() {
	load_module
	logged_disks 0 8 4
	store_on_linear 4 32
	G_FEATURES+=(on_full error failover manual)
	expect_disk_errors
	expect_full
	expect_unprotected
	group_create
	clones_create
	steps L5 write:0+512 flush
	dmsetup message G0 0 set_attr L5 ro 0 1024
	steps L5 write:256+768 write:1500+8500 flush check
	read_status
	assert_status L5.protection=unprotected L5.health=in-sync
	steps L5 write:100+300 zero:800+16 write:1020+20 flush dsync:7+9 dsync:2007+9 check
	must_fail dmsetup message G0 0 set_attr L5 rw
	resize_store 32
	dm_change G0 "$(dmsetup table G0)"
	steps L5 write:200+300 check
	wait_protected L5
	steps L5 check write:1000+100 flush
	clones_restart
	steps L5 check
	dmsetup message G0 0 fail L5
	wait_health L5 degraded
	steps L5 check write:900+200 flush check
}

# A sector of the disk is bad, and nobody else has it: what is compared is never made up.
test_bad_sectors() {
	covered9 8
	steps LV2 write:0+2048 flush
	cover_is store error
	steps LV2 write:50+100 flush
	wait_health DLV2 failed
	cover_is store linear
	cover_has_bad_sectors disk2 500 4000
	log_mark
	take_store_back
	wait_until 60 log_says 'LV2: stays unprotected, 2 blocks of 4 KiB' || fail 'nobody notices'
	read_status
	assert_status LV2.protection=unprotected LV2.health=in-sync LV2.blocks=-
	must_fail dd if=/dev/mapper/LV2 of=/dev/null bs=4096 count=1 skip=62 iflag=direct status=none
	steps LV2 write:496+8 write:4000+8 flush check
	dm_change G0 "$(dmsetup table G0)"
	wait_protected LV2
	lose_disk2
	steps LV2 check
}

# What a clone wrote is on the increments volume only: that one, and no other, brings it back.
test_clone_gets_its_store_back() {
	load_module
	logged_disks 1 8 16
	expect_disk_errors
	expect_warnings
	group_create
	clones_create
	steps C1 write:0+500 flush
	dd if="$STORE" of=old.store bs=1M iflag=direct status=none
	clones_restart
	steps C1 write:300+500 flush
	steps L5 write:100+500 flush
	clones_remove
	dmsetup remove G0
	group_move ST -
	G_FEATURES+=(force_metadata)
	group_create
	G_FEATURES=("${G_FEATURES[@]:0:2}")
	svol_create L5
	steps L5 check write:200+1000 flush
	read_status
	assert_status C1.health=failed ST.health=failed L5.protection=unprotected
	dmsetup remove L5
	begin_refusals
	refusal ENODEV 'readd;ST' 'readd ST'
	check_refusals messages
	group_move ST "$STORE"
	group_restart
	dd if="$STORE" of=good.store bs=1M iflag=direct status=none
	log_mark
	dd if=old.store of="$STORE" bs=1M oflag=direct status=none
	must_fail dmsetup message G0 0 readd ST
	assert_logged 'increments ST: the device is an old copy of the increments store'
	blank_disk "$STORE"
	must_fail dmsetup message G0 0 readd ST
	assert_logged 'increments ST: the device is blank'
	dd if=good.store of="$STORE" bs=1M oflag=direct status=none
	take_store_back ST
	assert_status C1.health=in-sync
	svol_create C1
	steps C1 check
	dmsetup remove C1
	# A start without it forgets that.
	group_move ST -
	G_FEATURES+=(force_metadata)
	group_restart
	G_FEATURES=("${G_FEATURES[@]:0:2}")
	group_move ST "$STORE"
	group_restart
	read_status
	assert_status C1.health=failed ST.health=failed
	take_store_back ST
	group_restart
	read_status
	assert_status ST.health=in-sync C1.health=in-sync
	clones_create
	check_clones
	steps C1 write:700+500 flush check
	wait_protected L5
	clones_restart
	check_clones
	assert_base /dev/mapper/G0
}

# A volume left while its increments volume had failed. When that is back, it gives the blocks back, also if
# the group is stopped meanwhile.
test_volume_left_meanwhile() {
	local size
	need_target delay
	load_module
	logged_disks 0 16 24
	G_BLOCK=8
	dm_linear store "$STORE"
	size=$(blockdev --getsz "$STORE")
	group_move ST /dev/mapper/store
	expect_warnings
	group_create
	clones_create
	# So many that they are given back in four parts.
	dd if=/dev/zero of=/dev/mapper/L5 bs=1M count=16 oflag=direct conv=fsync status=none
	dmsetup message G0 0 fail ST
	wait_health ST failed
	clones_remove
	dmsetup message G0 0 remove L5
	# It takes long to write entries.
	dm_change_part store "$STORE" 4096 128 "delay $STORE 4096 0 $STORE 4096 3000 $STORE 4096 0" --noflush
	dmsetup message G0 0 readd ST
	log_mark
	dm_change G0 "$(dmsetup table G0)"
	assert_logged 'increments ST: in use again'
	dmsetup remove G0
	dm_change store "0 $size linear $STORE 0" --noflush
	! log_says 'L5: its blocks of increments ST are given back' || fail 'they were given back too soon'
	group_drop L5
	log_mark
	group_create
	wait_until 30 used_is ST 0 || fail "blocks are not given back: ${ST[ST.blocks]}"
	assert_logged 'L5: its blocks of increments ST are given back'
	dmsetup message G0 0 add L5 ro - ST
}
