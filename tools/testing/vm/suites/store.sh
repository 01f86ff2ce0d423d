# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Increments volumes: the wrong device, a full one, one that grows; what is given back.
# Smoke: full

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

# How many blocks more are taken each time by a test that fills a store: it takes time.
STEP=${SVOL_STEP:-$([ -z "${SVOL_SECONDS-}" ] && echo 4 || echo 1)}

# Two clones with something in the store, taken down.
written_clones() {
	clones_group 2 4 6
	steps C1 write:0+8 write:700+300 write:8000+192 flush
	steps C2 write:3+1 write:1000+200 flush
	clones_remove
	dmsetup remove G0
}

# The right line still loads, and everything is there.
loads_again() {
	group_create
	clones_create
	check_clones
	clones_remove
	dmsetup remove G0
}

test_blank_store() {
	written_clones
	save_disk "$STORE" kept
	blank_disk "$STORE"
	store_refused 'ST'
	# Blank where it matters: behind the first 2 MiB everything is as it was.
	load_disk "$STORE" kept
	dd if=/dev/zero of="$STORE" bs=1M count=2 oflag=direct conv=notrunc status=none
	store_refused 'ST'
	load_disk "$STORE" kept
	loads_again
}

test_foreign_content() {
	written_clones
	save_disk "$STORE" kept
	"$SVOL_TEST" fill --seed 9 "$STORE"
	store_refused 'ST'
	load_disk "$STORE" kept
	loads_again
}

# A new group takes nothing that is not blank.
test_store_at_first_start() {
	local old kept
	written_clones
	old=$STORE
	legs_remove
	clones_disks 2 4 6
	kept=$STORE
	group_move ST "$old"
	G_DISKS[2]=$old
	store_refused 'ST'
	"$SVOL_TEST" fill --seed 9 "$old"
	store_refused 'ST'
	blank_disk "$old"
	"$SVOL_TEST" steps "$old" write:4095+1
	store_refused 'ST'
	group_move ST "$kept"
	G_DISKS[2]=$kept
	rm s.C1 s.C2
	loads_again
}

# The legs of the clones on another disk.
other_legs() { # disk
	legs_remove
	BASE_DISK=$1
	legs_create
}

test_store_of_another_group() {
	local mine base volumes meta disks
	written_clones
	mine=$STORE volumes=("${G_VOLUMES[@]}") meta=("${G_META[@]}") disks=("${G_DISKS[@]}")
	legs_remove
	base=$BASE_DISK
	clones_disks 2 4 6
	G_NAME=G1
	group_create
	dmsetup remove G1
	other_legs "$base"
	G_NAME=G0 G_VOLUMES=("${volumes[@]}") G_META=("${meta[@]}") G_DISKS=("${disks[@]}" "$STORE")
	group_move ST "$STORE"
	store_refused 'ST'
	group_move ST "$mine"
	loads_again
}

# Another group of the same name, with the same entries.
test_store_of_a_namesake() {
	local mine base volumes meta disks
	written_clones
	mine=$STORE volumes=("${G_VOLUMES[@]}") meta=("${G_META[@]}") disks=("${G_DISKS[@]}")
	legs_remove
	base=$BASE_DISK
	clones_disks 2 4 6
	group_create
	dmsetup remove G0
	other_legs "$base"
	G_VOLUMES=("${volumes[@]}") G_META=("${meta[@]}") G_DISKS=("${disks[@]}" "$STORE")
	group_move ST "$STORE"
	store_refused 'ST'
	group_move ST "$mine"
	loads_again
}

# A group with two stores, one for each of two clones.
two_stores() {
	load_module
	clones_disks 2 4 6
	new_disk STORE2 6
	group_drop C2
	G_VOLUMES+=("C2 ro /dev/mapper/leg_C2 ST2" "ST2 increments $STORE2 -")
	G_DISKS+=("$STORE2")
}

test_two_stores() {
	two_stores
	group_create
	clones_create
	steps C1 write:0+2048 flush
	read_status
	assert_match 'the blocks of ST' "${ST[ST.blocks]}" '^16/'
	assert_match 'the blocks of ST2' "${ST[ST2.blocks]}" '^0/'
	steps C2 write:100+2048 write:6000+1 flush
	assert_eq 'the blocks of ST2' "$(used_blocks ST2)" 18
	assert_eq 'the blocks of ST' "$(used_blocks ST)" 16
	clones_restart
	check_clones
}

test_swapped_stores() {
	two_stores
	group_create
	clones_create
	steps C1 write:0+8 flush
	steps C2 write:0+8 flush
	clones_remove
	dmsetup remove G0
	group_move ST "$STORE2"
	group_move ST2 "$STORE"
	store_refused 'ST2?'
	group_move ST "$STORE"
	group_move ST2 "$STORE2"
	loads_again
}

# An old copy of the store: as a backup that somebody put back.
test_older_copy() {
	written_clones
	save_disk "$STORE" old
	group_create
	clones_create
	steps C1 write:8+8 write:2000+8 flush
	clones_remove
	dmsetup remove G0
	save_disk "$STORE" new
	load_disk "$STORE" old
	store_refused 'ST'
	load_disk "$STORE" new
	loads_again
}

test_store_and_disk_swapped() {
	written_clones
	group_move ST "$BASE_DISK"
	group_move LV0 "$STORE"
	store_refused 'ST|LV0'
	group_move ST "$STORE"
	group_move LV0 "$BASE_DISK"
	loads_again
}

# Clones live in their store: they cannot be without it.
test_missing_store() {
	written_clones
	group_move ST -
	store_refused 'ST|C1'
	group_move ST "$STORE"
	loads_again
}

test_too_small() {
	local small
	load_module
	clones_disks 1 4 6
	new_disk small 3
	G_DISKS+=("$small")
	group_move ST "$small"
	store_refused 'ST|small'
	group_move ST "$STORE"
	loads_again
}

# A store never shrinks.
test_shrunk() {
	load_module
	clones_disks 2 4 6
	store_on_linear 6 8
	group_create
	clones_create
	steps C1 write:0+2048 flush
	clones_remove
	dmsetup remove G0
	resize_store 5
	store_refused 'ST'
	resize_store 6
	loads_again
}

# Clones on a store of 4 MiB: 31 blocks of 64 KiB. 30 of them are taken, one by C2.
SMALL_SLOTS=31
small_store() { # [feature word...]
	load_module
	expect_full
	clones_disks 2 4 4
	store_on_linear 4 16
	G_FEATURES+=("$@")
	group_create
	clones_create
	read_status
	assert_status "ST.blocks=0/$SMALL_SLOTS"
	steps C1 write:0+$((29 * 128)) --chunk 128
	steps C2 write:256+8
	assert_eq 'the used blocks' "$(used_blocks ST)" 30
}

# Everything but what needs new blocks goes on.
assert_full_but_well() {
	steps C1 write:5+300 flush write:1000+1 check
	steps C2 write:264+64 dsync:300+4 check
	svol_create LV0 --readonly
	assert_base /dev/mapper/LV0 /dev/mapper/G0
	dmsetup remove LV0
	assert_eq 'the used blocks' "$(used_blocks ST)" "$SMALL_SLOTS"
}

test_full() {
	small_store on_full error
	steps C2 write:512+8
	assert_eq 'the answer to a write' \
		"$(steps C1 write:7000+8 --allow-errors)" 'write:7000+8: ENOSPC'
	assert_eq 'the answer to a write' \
		"$(steps C2 write:7000+1 --allow-errors)" 'write:7000+1: ENOSPC'
	assert_full_but_well
	# Partly to blocks that are there: each sector has its old or its new content.
	assert_eq 'the answer to a write' \
		"$(steps C2 write:600+100 --allow-errors)" 'write:600+100: ENOSPC'
	assert_full_but_well
	clones_restart
	check_clones
	assert_full_but_well
	assert_eq 'the answer to a write' \
		"$(steps C1 write:7000+8 --allow-errors)" 'write:7000+8: ENOSPC'
}

# With any number of free blocks, all of them to none: what fits is there, nothing else has changed.
# SVOL_STEP=1 tries each number.
test_full_at_each_block() {
	local taken
	load_module
	expect_full
	clones_disks 2 4 4
	G_FEATURES+=(on_full error)
	group_create
	clones_create
	for ((taken = 0; taken <= SMALL_SLOTS; taken += STEP)); do
		# Over borders of sub-blocks, and each time from another place on.
		steps C1 "write:$((taken * 3))+$((taken * 128))" check --chunk 128 --allow-errors >answer
		steps C2 "write:$((taken + 60))+5000" zero:100+6000 write:0+8 check --chunk 700 \
			--allow-errors >>answer
		assert_match 'the answers' "$(cat answer)" ENOSPC
		! grep -v ENOSPC answer || fail 'not for lack of space'
		if [ $((taken % 8)) = 0 ]; then
			clones_restart
		fi
		steps C1 check discard flush check
		steps C2 check discard flush check
		wait_until 20 used_is ST 0 || fail "blocks are not given back: ${ST[ST.blocks]}"
	done
}

# A volume that writes all of itself, in I/O larger than a block.
test_full_under_load() {
	load_module
	expect_full
	clones_disks 3 4 4
	G_FEATURES+=(on_full error)
	group_create
	clones_create
	run_model 5 'restart live'
	read_status
	note "blocks: ${ST[ST.blocks]}"
}

# A queue with a limit: waits, then fails.
test_full_queue_ends() {
	local began
	small_store on_full queue 2
	steps C2 write:512+8
	began=$SECONDS
	assert_eq 'the answer to a write' \
		"$(steps C1 write:7000+8 --allow-errors)" 'write:7000+8: ENOSPC'
	assert_at_least 'the seconds until it failed' $((SECONDS - began)) 1
	[ $((SECONDS - began)) -lt 20 ] || fail "it took $((SECONDS - began)) s"
	assert_full_but_well
}

# A write of C1 that waits for space in the background.
waiting_write() { # sector
	steps C1 "write:$1+8" >waiting 2>&1 &
	WAITING=$!
	nap 1
	! has_ended "$WAITING" || fail "the write does not wait: $(cat waiting)"
}

assert_write_done() {
	wait_until 30 has_ended "$WAITING" || fail 'the write still waits'
	wait "$WAITING" || fail "the write failed: $(cat waiting)"
}

test_full_queue_and_growth() {
	small_store on_full queue 120
	steps C2 write:512+8
	waiting_write 7000
	# While it waits, everything else goes on.
	steps C2 write:264+64 flush check
	resize_store 8
	dm_change G0 "$(group_table)"
	assert_write_done
	read_status
	assert_status "ST.blocks=32/$(slots_of 8 128)"
	check_clones
	clones_restart
	check_clones
}

test_full_queue_and_discard() {
	small_store on_full queue 120
	steps C2 write:512+8
	waiting_write 7000
	steps C2 discard:512+128
	assert_write_done
	check_clones
}

# A write that waits keeps nothing else from happening.
test_full_queue_and_suspend() {
	small_store on_full queue 20
	steps C2 write:512+8
	waiting_write 7000
	timeout 60 dmsetup suspend --noflush C1
	timeout 60 dmsetup resume C1
	timeout 60 dmsetup suspend --noflush G0
	timeout 60 dmsetup resume G0
	timeout 60 dmsetup suspend G0
	timeout 60 dmsetup resume G0
	# It ends one way or the other.
	wait_until 60 has_ended "$WAITING" || fail 'the write still waits'
	wait "$WAITING" || assert_match 'the error' "$(cat waiting)" ENOSPC
	check_clones
}

# A volume is suspended, in the ordinary way, while a write of it waits for space, and something else happens.
suspend_of_a_waiting_volume() { # nothing|suspend|reload|space|growth
	local began=$SECONDS suspend took longest=4
	steps C2 write:512+8
	waiting_write 7000
	# On a slow machine, space has to come before the time of the write is over.
	[ "$1" != space ] || longest=2
	nap "$((RANDOM % longest)).$((RANDOM % 10))"
	timeout 60 dmsetup suspend C1 &
	suspend=$!
	nap "0.$((RANDOM % 10))"
	case $1 in
	suspend)
		timeout 60 dmsetup suspend G0
		timeout 60 dmsetup resume G0
		;;
	reload) dm_change G0 "$(group_table)" ;;
	space) steps C2 discard:512+128 ;;
	growth)
		resize_store 8
		dm_change G0 "$(group_table)"
		;;
	esac
	wait "$suspend" || fail "the suspend hangs ($1)"
	took=$((SECONDS - began))
	[ "$took" -lt 30 ] || fail "the suspend took $took s ($1)"
	timeout 60 dmsetup resume C1
	if [ "$1" = space ]; then
		assert_write_done
	else
		wait_until 30 has_ended "$WAITING" || fail "the write still waits ($1)"
		wait "$WAITING" || assert_match 'the error' "$(cat waiting)" ENOSPC
	fi
	note "$1: suspended after $took s"
	check_clones
	# As before.
	steps C1 discard:6912+128
	steps C2 discard:512+128
}

# Such a suspend waits until there is space, or for the time that the write has: at random moments.
test_full_queue_and_ordinary_suspend() {
	local what until=$((SECONDS + ${SVOL_SECONDS:-20}))
	RANDOM=$((SVOL_SEED % 32768))
	small_store on_full queue 10
	while [ "$SECONDS" -lt "$until" ]; do
		pick what nothing suspend reload space
		suspend_of_a_waiting_volume "$what"
	done
	suspend_of_a_waiting_volume space
	suspend_of_a_waiting_volume growth
}

test_growth() {
	small_store on_full error
	steps C2 write:512+8
	assert_eq 'the answer to a write' \
		"$(steps C1 write:7000+8 --allow-errors)" 'write:7000+8: ENOSPC'
	resize_store 16
	dm_change G0 "$(group_table)"
	read_status
	assert_status "ST.blocks=31/$(slots_of 16 128)"
	steps C1 write:3000+5000 flush check
	steps C2 write:0+8192 check
	clones_restart
	check_clones
	read_status
	assert_status "ST.blocks=127/$(slots_of 16 128)"
}

# It also grows from one start to the next.
test_growth_offline() {
	small_store on_full error
	clones_remove
	dmsetup remove G0
	resize_store 12
	group_create
	clones_create
	read_status
	assert_status "ST.blocks=30/$(slots_of 12 128)"
	check_clones
	steps C2 write:0+8192 check
	clones_restart
	check_clones
}

# Zeroes one of the sectors of entries, which begin at 2 MiB; each has 32 slots.
damage_entries() { # index
	dd if=/dev/zero of="$STORE" bs=512 seek=$((4096 + $1)) count=1 oflag=direct conv=notrunc \
		status=none
}

# Damaged entries of slots that the device has not are no reason to refuse it, and harm nobody when it
# has them later.
test_damage_behind_the_last_slot() {
	small_store on_full error
	clones_remove
	dmsetup remove G0
	damage_entries 3
	damage_entries 127
	log_mark
	group_create
	assert_logged 'increments ST: entries at byte 2098688: .*; of slots that the device did not have'
	dmsetup remove G0
	damage_entries 3
	resize_store 12
	group_create
	clones_create
	check_clones
	steps C2 write:0+8192 check
	clones_restart
	check_clones
	# They are whole again.
	clones_remove
	dmsetup remove G0
	"$SVOL" check "$STORE"
}

events_are_above() { # number
	[ "$(dm_info G0 events)" -gt "$1" ]
}

test_low_water_mark() {
	local before
	small_store on_full error low_water_mark 50
	wait_until 10 events_are_above 0 || fail 'there is no event'
	steps C1 discard
	steps C2 discard flush
	wait_until 20 used_is ST 0 || fail "blocks are not given back: ${ST[ST.blocks]}"
	before=$(dm_info G0 events)
	steps C1 write:0+256 flush
	assert_eq 'the number of events' "$(dm_info G0 events)" "$before"
	steps C1 write:0+3712 flush
	wait_until 10 events_are_above "$before" || fail 'there is no event'
}

# More blocks than one segment has.
test_several_segments() {
	load_module
	clones_disks 2 24 60
	G_BLOCK=8
	group_create
	clones_create
	steps C1 write:0+40000
	steps C2 write:1000+40000 flush write:3+5
	clones_restart
	check_clones
	assert_eq 'the used blocks' "$(used_blocks ST)" 10001
	steps C1 discard:0+30000 check write:20+20000
	steps C2 zero:2000+20000 write:4000+400 check
	clones_power_cut
	steps C1 check --after-crash
	steps C2 check --after-crash
}

# Blocks that are discarded as a whole are given back.
test_discard() {
	clones_group 2 8 16
	remember_base
	assert_at_least 'discard_max_bytes' \
		"$(disk_limit /dev/mapper/C1 discard_max_bytes)" 65536
	steps C1 write:0+2048 write:4096+1024 flush
	steps C2 write:0+256 flush
	assert_eq 'the used blocks' "$(used_blocks ST)" 26
	steps C1 discard:0+1024 check
	steps C1 discard:4000+150 check
	wait_until 20 used_is ST 18 || fail "blocks are not given back: ${ST[ST.blocks]}"
	check_clones
	# What a read has shown once stays.
	clones_restart
	check_clones
	assert_eq 'the used blocks' "$(used_blocks ST)" 18
	steps C1 discard flush check
	wait_until 20 used_is ST 2 || fail "blocks are not given back: ${ST[ST.blocks]}"
	assert_base_untouched
}

# Parts of blocks, of sub-blocks, and what is not there at all.
test_discard_of_parts() {
	clones_group 1 8 16
	steps C1 write:0+512
	steps C1 discard:3+2 check discard:16+8 check discard:25+90 check discard:120+100 check \
		discard:600+1 check discard:1000+3000 check write:20+4 check discard:384+128 \
		write:400+3 check flush
	clones_restart
	check_clones
}

# Slots that one volume gave back are used by another one; nobody sees the other's data.
test_reused_slots() {
	local round
	small_store on_full error
	for round in 1 2; do
		steps C1 discard flush
		steps C2 discard flush
		wait_until 20 used_is ST 0 || fail "blocks are not given back: ${ST[ST.blocks]}"
		steps C2 write:$((round * 128))+$((30 * 128)) check
		steps C1 check flush
		steps C2 discard flush
		wait_until 20 used_is ST 0 || fail "blocks are not given back: ${ST[ST.blocks]}"
		# One sector in each block: the rest of it is not what the slot held before.
		steps C1 write:8+1 write:130+1 write:300+1 write:400+1 write:520+8 check
		steps C2 write:8+1 write:130+1 write:300+1 check
		clones_restart
		check_clones
	done
}

test_write_zeroes() {
	clones_group 2 8 16 cache_size=8
	remember_base
	steps C1 write:0+1024 flush
	# Mapped blocks, fresh ones, and parts of both.
	steps C1 zero:128+128 check zero:300+1 check zero:2048+512 check zero:3000+3 check \
		zero:1000+100 check zero:4096+4096 check
	steps C1 write:4100+3 write:2050+1 write:129+8 check flush
	check_clones
	clones_power_cut
	check_clones
	clones_restart
	check_clones
	assert_base "$BASE_DISK"
}

# Zeroes of whole sub-blocks are no data.
test_write_zeroes_without_data() {
	local before
	disks_are_loops
	clones_group 2 4 8
	takes_zeroes C1 || fail 'the volume does not take zeroes'
	remember_base
	before=$(disk_stat "$STORE" write_sectors)
	steps C1 zero:2048+512 check flush
	[ $(($(disk_stat "$STORE" write_sectors) - before)) -lt 100 ] || fail 'zeroes are written'
	steps C1 write:0+1024 flush zero:128+128 check zero:300+1 check zero:3000+3 check \
		zero:1000+100 check zero:4096+4096 check write:4100+3 write:2050+1 write:129+8 check
	steps C1 punch:512+128 check punch:6000+1000 check discard:4096+1000 check flush
	check_clones
	clones_restart
	check_clones
	assert_base_untouched
}

# The programs that people use.
test_blkdiscard() {
	clones_group 1 8 16
	remember_base
	blkdiscard -f -z -o 1M -l 1M /dev/mapper/C1
	cmp -n 1048576 -i 1048576:0 /dev/mapper/C1 /dev/zero
	blkdiscard -f -o 1M -l 1M /dev/mapper/C1
	blkdiscard -f /dev/mapper/C1
	steps C1 discard check write:2000+200 check
	blkdiscard -f -z /dev/mapper/C1
	cmp -n 8388608 /dev/mapper/C1 /dev/zero
	must_fail blkdiscard -f /dev/mapper/G0
	assert_base_untouched
}
