# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# A group starts while a disk is there that can't be read: it does without it, as if the line said "-",
# or refuses by name what nobody could serve.
# Smoke: logged_disk

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

# LV2 was written; the group is down, and up again while a disk fails.
starts_with() { # name way
	down9
	dies_before_start "$@"
	up9
}

dies_before_start() { # name way
	cover_is "$@"
	log_mark
}

assert_data() {
	steps LV2 check
	assert_base /dev/mapper/LV0 /dev/mapper/LV1 /dev/mapper/G0
}

# The disk works again, and is not trusted; then it is taken back.
mends() { # name LID
	cover_is "$1" linear
	down9
	log_mark
	up9
	assert_logged "$2: missing or failed before"
	assert_status state=degraded
	assert_data
	dmsetup message G0 0 readd "$2"
}

assert_status_now() { # field=value...
	read_status
	assert_status "$@"
}

test_read_only_disk() {
	local events
	covered9 8
	steps LV2 write:0+2048 write:9000+8 flush
	read_status
	events=${ST[events]}
	starts_with disk0 error
	assert_logged 'disk of LV0: can.t be read: error -5; counts as missing'
	assert_logged 'disk of LV0: failed from now on'
	assert_status_now state=degraded LV0.health=failed LV0.disk=- LV1.health=in-sync LV2.health=in-sync
	assert_at_least 'the events' "${ST[events]}" $((events + 1))
	assert_data
	steps LV2 write:100+100 flush check
	mends disk0 LV0
	wait_health LV0 in-sync
	assert_status state=clean redundancy=1 LV0.disk=LV0
	assert_data
}

test_logged_disk() {
	need_target flakey
	covered9 8
	steps LV2 write:0+2048 write:9000+8 zero:4096+256 flush
	# It takes writes, but nobody may send it any.
	starts_with disk2 reads
	assert_logged 'disk of LV2: can.t be read: error -5; counts as missing'
	assert_status_now state=degraded LV2.health=degraded LV2.disk=- redundancy=0
	assert_data
	steps LV2 write:100+1000 write:12000+9 flush check
	mends disk2 LV2
	wait_health LV2 in-sync
	assert_status state=clean redundancy=1 LV2.disk=LV2 LV2.protection=protected
	assert_data
	# What it has now it has itself.
	down9
	"$SVOL_TEST" steps /dev/mapper/disk2 --seed "$SEED" --own 1002 --state s.LV2 check
}

# A rebuild onto the spare begins by itself, and the disk of a spare may be the next one to die.
test_spare_takes_over() {
	covered9 8
	G_FEATURES=(failover auto)
	steps LV2 write:0+2048 flush
	starts_with disk2 error
	wait_health LV2 in-sync
	assert_status LV2.disk=S0 state=degraded
	assert_data
	starts_with spare error
	assert_logged 'disk of S0: can.t be read'
	assert_status_now LV2.health=degraded LV2.disk=- S0.health=failed
	assert_data
}

# Nobody else has it: refused, and nothing has changed.
test_only_source() {
	local before name
	covered9 8
	steps LV2 write:0+16 flush
	dmsetup message G0 0 fail LV0
	down9
	before=$(digest "${G_DISKS[@]}")
	for name in disk1 store; do
		# The store alone has the rest of what LV2 wrote, once its disk is gone.
		[ "$name" = disk1 ] || {
			cover_is disk1 linear
			up9
			dmsetup message G0 0 fail LV2
			down9
			before=$(digest "${G_DISKS[@]}")
		}
		cover_is "$name" error
		case $name in
		disk1)
			group_refused 'disk of LV1: can.t be read'
			why='no disk is left that can serve it'
			;;
		store)
			group_refused 'increments DLV2: can.t be read'
			why='its increments volume is missing'
			;;
		esac
		assert_logged "LID LV[012]: $why"
		assert_eq 'what the disks hold' "$(digest "${G_DISKS[@]}")" "$before"
		# Nor by force: that is for what the line leaves out.
		G_FEATURES+=(force_metadata)
		group_refused "LID LV[012]: $why"
		unset 'G_FEATURES[-1]'
	done
	cover_is store linear
	up9
	assert_data
}

# The disk of a volume that has its data nowhere else is gone for good. It keeps the others waiting only until
# somebody says so, also while it is loaded.
test_a_disk_is_gone_for_good() {
	plain9 8
	svol_create LV2
	"$SVOL_TEST" random-io /dev/mapper/LV2 --write 50 --ops 50 --state lv2 --rng "$SVOL_SEED"
	dmsetup remove LV2
	dmsetup remove G0
	group_move LV2 -
	expect_warnings
	group_refused 'LID LV2: no disk is left that can serve it'
	G_FEATURES+=(force_metadata)
	group_create
	assert_status_now state=failed LV2.health=failed LV0.health=in-sync
	svol_create LV0 --readonly
	assert_base /dev/mapper/LV0 /dev/mapper/G0
	dmsetup remove LV0
	# It is known now.
	unset 'G_FEATURES[-1]'
	group_restart
	assert_status_now state=failed LV2.health=failed

	# A disk that is there again is taken back, although there is nothing to fill it with.
	group_move LV2 "$D2"
	group_restart
	log_mark
	dmsetup message G0 0 readd LV2
	assert_logged 'disk of LV2: taken back'
	assert_logged 'message "readd": LID LV2: what it held is lost'
	assert_status_now state=failed LV2.health=failed
	dmsetup message G0 0 remove LV2
	assert_status_now state=clean redundancy=1
}

test_a_disk_is_gone_under_its_user() {
	plain9 8
	svol_create LV2
	svol_create LV0 --readonly
	"$SVOL_TEST" random-io /dev/mapper/LV2 --write 50 --ops 50 --state lv2 --rng "$SVOL_SEED"
	group_move LV2 -
	expect_warnings
	G_FEATURES+=(force_metadata)
	dm_change G0 "$(group_table)"
	assert_status_now state=failed LV2.health=failed
	assert_base /dev/mapper/LV0
	must_fail dd if=/dev/mapper/LV2 of=/dev/null bs=4096 count=1 iflag=direct
	must_fail dd if=/dev/zero of=/dev/mapper/LV2 bs=4096 count=1 oflag=direct
}

test_increments() {
	covered9 8
	steps LV2 write:0+2048 write:9000+8 flush
	starts_with store error
	assert_logged 'increments DLV2: can.t be read: error -5; counts as missing'
	assert_logged 'increments DLV2: failed from now on; LV2 goes on, unprotected'
	assert_status_now DLV2.health=failed LV2.health=in-sync LV2.protection=unprotected state=degraded
	steps LV2 check write:100+50 flush
	assert_data
	mends store DLV2
	# It dies again before it is in use.
	starts_with store error
	assert_logged 'increments DLV2: can.t be read'
	assert_status_now DLV2.health=failed LV2.protection=unprotected
	assert_data
	mends store DLV2
	down9
	up9
	wait_protected LV2
	assert_data
}

# What can be read, and is not what it should be, is no dead device.
test_increments_of_somebody_else() {
	local before
	covered9 4
	steps LV2 write:0+16 flush
	down9
	save_disk "$DI" old
	blank_disk "$DI"
	before=$(digest "${G_DISKS[@]}")
	group_refused 'increments DLV2: the device is blank'
	dd if=/dev/urandom of="$DI" bs=4096 count=2 oflag=direct status=none
	group_refused 'increments DLV2: the device is neither blank'
	# Half of it can be read, and is not ours.
	need_target dust
	cover_has_bad_sectors store 0 1 2 3 4 5 6 7
	group_refused 'increments DLV2: the device cannot be read'
	cover_is store linear
	blank_disk "$DI"
	assert_eq 'what the disks hold' "$(digest "${G_DISKS[@]}")" "$before"
	dd if=old of="$DI" bs=1M oflag=direct conv=notrunc status=none
	up9
	assert_data
}

test_metadata() {
	local name
	covered9 4
	steps LV2 write:0+16 flush
	for name in meta1 meta2; do
		starts_with "$name" error
		assert_logged "metadata device ${name#meta}: lost"
		read_status
		[ "${ST[metadata]}" = "$([ "$name" = meta1 ] && echo FA || echo AF)" ] || fail "${ST[line]}"
		assert_status state=degraded LV2.health=in-sync
		assert_data
		cover_is "$name" linear
		dmsetup message G0 0 replace_meta "${name#meta}" "/dev/mapper/$name"
		assert_status_now metadata=AA state=clean
	done
}

# Each disk is the one that died, while the group is in use: no load waits for another one.
test_reload() {
	local name
	covered9 4
	for name in disk0 disk1 disk2 store spare meta1 meta2; do
		steps LV2 write:0+100 write:3000+9 flush
		# Nobody notices before.
		dmsetup suspend --noflush --nolockfs G0
		cover_is "$name" error
		log_mark
		dm_change G0 "$(group_table)" --noflush --nolockfs
		steps LV2 check write:200+7 flush
		assert_data
		read_status
		note "$name: ${ST[line]}"
		assert_status state="$([ "$name" = spare ] && echo clean || echo degraded)"
		restart_anew9
	done
}
