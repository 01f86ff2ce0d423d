# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Bad sectors: read elsewhere, written back, read again; those that stay bad are read elsewhere.
# Smoke: in_place_disk

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

# The state of a logged volume, on its disk without the group.
assert_raw_lv2() {
	"$SVOL_TEST" steps /dev/mapper/disk2 --seed "$SEED" --own 1002 --state s.LV2 check
}

are_repaired() { # LID number
	read_status
	[ "${ST[$1.repairs]}" -ge "$2" ]
}

# Reads all volumes until a disk that serves them was repaired in so many places: which disk is read
# is not known beforehand.
read_until_repaired() { # LID number
	local i
	for ((i = 0; i < 30; i++)); do
		assert_base /dev/mapper/LV0 /dev/mapper/LV1 /dev/mapper/G0
		nap 0.2
		! are_repaired "$1" "$2" || return 0
	done
	fail "not repaired: ${ST[line]}"
}

# Some sectors of a covered disk can't be read, whatever is written there.
cover_stays_bad() { # name sector sectors
	local disk=${COVER[$1]} end=$(($2 + $3)) size
	size=$(blockdev --getsz "$disk")
	dm_change "$1" "0 $2 linear $disk 0
$2 $3 error
$end $((size - end)) linear $disk $end" --noflush
}

# The disk of a read-only volume gets the base image again, and nothing else.
test_read_only_disk() {
	need_target dust
	covered9 4
	log_mark
	cover_has_bad_sectors disk0 100 101 5000
	read_until_repaired LV0 2
	assert_logged '^dm_svol: G0: disk of LV0: bad sectors from 96 on were repaired'
	assert_status LV0.health=in-sync LV0.write_errors=0 LV1.repairs=0 state=clean
	assert_at_least 'the errors of LV0' "${ST[LV0.read_errors]}" 2
	down9
	assert_base /dev/mapper/disk0 "$D0" "$D1"
}

# What a logged volume wrote comes from the increments, the rest from siblings.
test_in_place_disk() {
	need_target dust
	covered9 4
	steps LV2 write:1000+8 write:3000+100 zero:4096+64 write:6001+3 flush
	# Written, as a part of a sub-block, unwritten, zeroes.
	cover_has_bad_sectors disk2 1002 6003 2000 7777 4100
	steps LV2 check
	wait_until 20 are_repaired LV2 5 || fail "not repaired: ${ST[line]}"
	assert_status LV2.health=in-sync LV2.protection=protected LV2.write_errors=0 LV2.repairs=5
	# It is well again.
	steps LV2 check
	steps LV2 check
	read_status
	assert_status LV2.repairs=5 LV2.read_errors=3
	steps LV2 write:1001+1 flush check
	down9
	assert_raw_lv2
	up9
	steps LV2 check
}

# It was written before; now it is only read.
test_in_place_disk_of_a_reader() {
	need_target dust
	covered9 4
	steps LV2 write:1000+8 flush
	down9
	group_create
	svol_create LV2 --readonly
	cover_has_bad_sectors disk2 1002 2000
	dd if=/dev/mapper/LV2 of=/dev/null bs=4096 iflag=direct status=none
	wait_until 20 are_repaired LV2 2 || fail "not repaired: ${ST[line]}"
	assert_status LV2.health=in-sync LV2.write_errors=0
	dmsetup remove LV2 G0
	assert_raw_lv2
}

# Bad sectors of the disk of a diverted volume are repaired with the base image, also below what the
# volume wrote.
test_diverted_volume() {
	local i
	need_target dust
	covered9 4
	down9
	G_VOLUMES=('LV0 ro /dev/mapper/disk0 DLV2' 'LV1 ro /dev/mapper/disk1 -'
		'DLV2 increments /dev/mapper/store -')
	G_NAME=G1
	blank_disk "$META" "$META2" "$DI"
	group_create
	svols_create LV0
	svol_create LV1 --readonly
	steps LV0 write:1000+64 write:3001+2 flush
	cover_has_bad_sectors disk0 1003 3002 5000
	for ((i = 0; i < 30; i++)); do
		assert_base /dev/mapper/LV1 /dev/mapper/G1
		steps LV0 check
		! are_repaired LV0 3 || break
	done
	assert_status LV0.repairs=3 LV0.health=in-sync
	dmsetup remove LV0 LV1 G1
	assert_base /dev/mapper/disk0
}

# What stays bad is read elsewhere, and asked no more.
test_sectors_that_stay_bad() {
	local errors i
	covered9 4
	steps LV2 write:1000+8 flush
	log_mark
	cover_stays_bad disk2 1002 3
	steps LV2 check
	wait_until 20 is_bad LV2 1000
	read_status
	assert_status LV2.health=in-sync LV2.repairs=0 LV2.write_errors=1
	errors=${ST[LV2.read_errors]}
	for ((i = 0; i < 5; i++)); do
		steps LV2 check
	done
	read_status
	assert_status LV2.read_errors="$errors" LV2.health=in-sync
	cover_stays_bad disk0 5000 1
	for ((i = 0; i < 30; i++)); do
		assert_base /dev/mapper/LV0 /dev/mapper/LV1 /dev/mapper/G0
		! is_bad LV0 5000 || break
	done
	is_bad LV0 5000
	read_status
	errors=${ST[LV0.read_errors]}
	assert_base /dev/mapper/LV0 /dev/mapper/LV1 /dev/mapper/G0
	assert_base /dev/mapper/LV0 /dev/mapper/LV1 /dev/mapper/G0
	read_status
	assert_status LV0.read_errors="$errors" LV0.repairs=0 LV0.health=in-sync state=clean
	# A write that its disk does not take is another matter.
	steps LV2 write:1000+8 check
	wait_health LV2 degraded
	steps LV2 check
}

is_bad() { # LID sector
	log_says "disk of $1: sector $2 is bad and can't be repaired"
}

# A disk that must not be written is read around, and never written.
test_disk_that_is_read_only() {
	local size i
	covered9 4
	down9
	size=$(blockdev --getsz "$D0")
	dmsetup remove disk0
	blockdev --setro "$D0"
	dmsetup create disk0 --readonly --table "0 $size linear $D0 0"
	up9
	dmsetup remove LV0 LV1 LV2
	cover_stays_bad_read_only 5000
	figure9_volumes
	log_mark
	for ((i = 0; i < 30; i++)); do
		assert_base /dev/mapper/LV0 /dev/mapper/LV1 /dev/mapper/G0
		! is_bad LV0 5000 || break
	done
	is_bad LV0 5000
	read_status
	assert_status LV0.repairs=0 LV0.write_errors=0 LV0.health=in-sync
	down9
	blockdev --setrw "$D0"
	assert_base "$D0"
}

cover_stays_bad_read_only() { # sector
	local size
	size=$(blockdev --getsz "$D0")
	dmsetup load disk0 --readonly --table "0 $1 linear $D0 0
$1 1 error
$(($1 + 1)) $((size - $1 - 1)) linear $D0 $(($1 + 1))"
	dmsetup suspend --noflush disk0
	dmsetup resume disk0
}

# Single bad sectors where a start looks whether it has the right disks keep no group from starting.
test_bad_sectors_at_the_start() {
	need_target dust
	covered9 4
	steps LV2 write:1000+8 flush
	# A start looks at the first sub-block of each disk, and at what LV2 wrote.
	cover_has_bad_sectors disk0 3
	cover_has_bad_sectors disk2 5 1002
	down9
	up9
	read_status
	assert_status LV0.health=in-sync LV2.health=in-sync LV2.protection=protected
	assert_base /dev/mapper/LV0 /dev/mapper/LV1
	steps LV2 check
	wait_until 20 are_repaired LV2 2 || fail "not repaired: ${ST[line]}"
	down9
	assert_raw_lv2
}

# A sector that a power cut left unreadable, in a region that has to be compared: what is next to it reaches the
# increments, and the sector gets what these say.
test_bad_sector_after_a_crash() {
	need_target dust
	covered9 4
	steps LV2 write:4096+8 flush
	# The disk is ahead of metadata and increments, as after a crash.
	save_disk "$DI" crash.store
	save_disk "$META" crash.1
	save_disk "$META2" crash.2
	steps LV2 write:4160+64
	down9
	load_disk "$DI" crash.store
	load_disk "$META" crash.1
	load_disk "$META2" crash.2
	cover_has_bad_sectors disk2 4170
	log_mark
	up9
	assert_logged 'LV2: sector 4168 of its disk could not be read and was rewritten from its increments'
	assert_logged 'LV2: [0-9]* regions compared after a crash, 7 sub-blocks copied'
	steps LV2 check:0+4168 check:4176+100
	sha256sum </dev/mapper/LV2 >before
	dmsetup message G0 0 fail LV2
	wait_health LV2 degraded
	sha256sum </dev/mapper/LV2 >after
	cmp before after || fail 'the failover has changed something'
}

# While sectors turn bad and are repaired, the volume is written there, suspended, reloaded.
test_writes_win() {
	local i j
	need_target dust
	covered9 4
	G_FEATURES+=(max_errors 1000000)
	dm_change G0 "$(group_table)"
	cover_has_bad_sectors disk2 0
	start_load LV2 /dev/mapper/LV2 --write 50 --flush 5 --state lv2
	for ((i = 0; i < 12; i++)); do
		for ((j = 0; j < 12; j++)); do
			dmsetup message disk2 0 addbadblock $((RANDOM % 8192)) || :
		done
		nap 0.3
		case $((i % 4)) in
		1) dm_change G0 "$(group_table)" ;;
		2) dmsetup suspend --noflush LV2 && dmsetup resume LV2 ;;
		3) dmsetup suspend G0 && dmsetup resume G0 ;;
		esac
	done
	stop_loads
	assert_state /dev/mapper/LV2 lv2
	read_status
	note "${ST[LV2.read_errors]} errors, ${ST[LV2.repairs]} repairs"
	assert_at_least 'the repairs' "${ST[LV2.repairs]}" 5
	assert_status LV2.health=in-sync LV2.protection=protected
	down9
	# The last one may not have been seen to yet.
	dmsetup message disk2 0 disable
	assert_state /dev/mapper/disk2 lv2
}

# The volume loses its log while its disk is repaired: what it writes then stays.
test_log_is_given_up_meanwhile() {
	local i
	need_target dust
	covered9 4
	G_FEATURES+=(max_errors 1000000)
	dm_change G0 "$(group_table)"
	cover_has_bad_sectors disk2 0
	start_load LV2 /dev/mapper/LV2 --write 50 --state lv2
	for ((i = 0; i < 60; i++)); do
		dmsetup message disk2 0 addbadblock $((RANDOM % 8192)) || :
	done
	nap 0.5
	# Nobody else has what it writes then.
	dmsetup message disk2 0 disable
	cover_is store error
	wait_until 20 is_unprotected LV2
	nap 1
	stop_loads
	assert_state /dev/mapper/LV2 lv2
}

is_unprotected() { # LID
	read_status
	[ "${ST[$1.protection]}" = unprotected ]
}

# Without any disk of a read-only volume, the base image is where another volume never wrote.
test_no_read_only_disk_left() {
	covered9 4
	steps LV2 write:1000+8 flush
	cover_is disk0 error
	cover_is disk1 error
	steps LV0 check:0+1000 check:1008+500
	must_fail steps LV0 check:1000+8
	steps LV2 check
}

# Nor does it matter that bad sectors are looked after at the same time.
test_reads_and_repairs_meet() {
	covered9 4
	G_FEATURES+=(max_errors 1000000)
	dm_change G0 "$(group_table)"
	cover_is disk0 error
	cover_is disk1 error
	start_load LV0 /dev/mapper/LV0
	start_load LV1 /dev/mapper/LV1
	nap 6
	stop_loads
}
