# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# I/O that a device refuses as it is, although it is well: each sector has a page of its own, and the device,
# which has blocks of 4 KiB, takes nothing but whole pages. Some say that the request is invalid; those that
# encrypt fail it.
# Smoke: the_store_refuses

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

# LV0 read-only, L5 in place, a store ST, and a spare S0 that holds something else. The disks that are named
# take nothing but whole pages.
refusing_disks() { # "DISK|STORE|SPARE..." [attribute=value...]
	local name size attributes
	load_module
	new_disk META 8
	for name in BASE_DISK DISK SPARE STORE; do
		size=8
		[ "$name" != STORE ] || size=24
		attributes=(blocksize=4096 "${@:2}")
		[[ " $1 " != *" $name "* ]] || attributes+=(virt_boundary=1)
		new_disk "$name" "$size" "${attributes[@]}"
	done
	"$SVOL_TEST" fill --seed "$SEED" "$BASE_DISK" "$DISK"
	"$SVOL_TEST" fill --seed 77 "$SPARE"
	G_NAME=G0
	G_LEN=$((8 * 2048))
	G_BLOCK=128
	G_META=("$META")
	G_VOLUMES=("LV0 ro $BASE_DISK -" "L5 rw $DISK ST" "S0 spare $SPARE -" "ST increments $STORE -")
	G_FEATURES=(init assume_identical failover manual)
	G_DISKS=("$META" "$BASE_DISK" "$DISK" "$SPARE" "$STORE")
	CLONES=(L5)
	LEGS=()
}

refusing_group() { # "DISK|STORE|SPARE..." [attribute=value...]
	refusing_disks "$@"
	group_create
	clones_create
}

# Steps on L5, of which each write is in pieces, and each read. The latter is no use where null_blk takes the pieces:
# of a block that was written as a whole, it reads zeroes then.
scatter() { # step...
	steps L5 "$@" --scattered --chunk 64
}

# The writes are done, and nothing else happens: no disk is to blame for anything.
scatter_unharmed() { # step...
	local events writes
	read_status
	events=${ST[events]} writes=$(disk_stat "$META" writes)
	scatter "$@"
	read_status
	assert_status state=clean events="$events" L5.health=in-sync L5.protection=protected ST.health=in-sync \
		L5.write_errors=0 ST.write_errors=0 S0.write_errors=0
	assert_eq 'the writes of the metadata' "$(disk_stat "$META" writes)" "$writes"
}

# L5 holds what it has to, with its disk and without it.
check_without_disk() { # LID-of-the-disk
	steps L5 check
	expect_warnings
	dmsetup message G0 0 fail "$1"
	wait_health L5 degraded
	steps L5 check
}

refused() { # "DISK|STORE..."
	refusing_group "$1"
	# With a mark and without one, overwritten, over the borders of blocks and regions, and durable.
	scatter_unharmed write:0+8 write:0+8 write:64+64 write:1000+640 write:2000+640 dsync:4096+64 dsync:8+8 flush
	# Into one block together with others.
	steps L5 write:8192+8 write:8216+8 flush
	scatter_unharmed write:8200+8 write:8192+64 flush
	if [[ " $1 " == *' DISK '* ]]; then
		scatter_unharmed check
	fi
	check_without_disk L5
	scatter write:0+8 write:8+64 write:6000+640 dsync:72+64 flush
	steps L5 check write:16+64 flush check
	read_status
	assert_status L5.health=degraded ST.health=in-sync ST.write_errors=0
	clones_restart
	check_clones
}

test_the_store_refuses() {
	refused STORE
}

test_the_disk_refuses() {
	refused DISK
}

test_both_refuse() {
	refused 'DISK STORE'
}

# What was made durable survives.
test_durable() {
	local step
	refusing_group 'DISK STORE' cache_size=8
	for step in 'write:1000+64 flush' dsync:1024+8 dsync:1032+64 dsync:4000+1000 'write:8+56 flush'; do
		# shellcheck disable=SC2086 # words
		scatter $step
		clones_power_cut
		check_clones
	done
	check_without_disk L5
}

# L5 gets the spare, and is written in front of the cursor and behind it.
gets_spare() {
	dmsetup message G0 0 rebuild_rate 512
	dmsetup message G0 0 restore L5 onto S0
	wait_until 60 progress_is "$1" 8 || fail "it does not get on: ${ST[line]}"
	# Also a slow machine comes back to it before it is over.
	dmsetup message G0 0 rebuild_rate 64
	log_mark
	scatter write:0+64 write:64+8 write:0+8 write:128+320 "write:$((G_LEN - 64))+64" dsync:320+64 flush
	assert_not_logged 'failed|not moved'
	steps L5 check
	dmsetup message G0 0 rebuild_rate 0
	wait_lives_on L5 S0
	assert_status L5.protection=protected L5.write_errors=0 S0.write_errors=0 ST.write_errors=0 \
		ST.health=in-sync
	assert_same "$SPARE" /dev/mapper/L5
}

fills_spare() {
	gets_spare "$1"
	check_without_disk S0
}

rebuilt() { # "DISK|STORE|SPARE..."
	refusing_group "$1"
	scatter write:0+2048 flush
	check_without_disk L5
	fills_spare L5
}

test_the_store_refuses_during_a_rebuild() {
	rebuilt STORE
}

test_the_new_disk_refuses_during_a_rebuild() {
	rebuilt SPARE
}

test_both_refuse_during_a_rebuild() {
	rebuilt 'SPARE STORE'
}

moved() { # "DISK|STORE|SPARE..."
	refusing_group "$1"
	expect_warnings
	scatter_unharmed write:0+2048 flush
	fills_spare L5
}

test_the_new_disk_refuses_during_a_move() {
	moved SPARE
}

test_all_refuse_during_a_move() {
	moved 'DISK SPARE STORE'
}

# Whatever happens meanwhile.
test_in_use() {
	local i words=() pid
	refusing_group 'DISK STORE SPARE'
	expect_warnings
	for ((i = 0; i < 1500; i++)); do
		words+=("write:$((i * 1192 % 16320))+64")
		((i % 20 != 3)) || words+=(flush)
		((i % 20 != 7)) || words+=("dsync:$((i * 328 % 16384 / 8 * 8))+8")
	done
	scatter "${words[@]}" flush &
	pid=$!
	wait_until 20 load_runs /dev/mapper/L5 0 || fail 'nothing is written'
	for i in 1 2 3; do
		dmsetup suspend L5
		dmsetup resume L5
		dmsetup suspend --noflush L5
		dmsetup resume L5
		dmsetup suspend G0
		dmsetup resume G0
	done
	dm_change G0 "$(group_table)"
	restore L5 onto S0
	wait_lives_on L5 S0
	dmsetup message G0 0 fail S0
	wait_health L5 degraded
	restore L5 onto L5
	wait_lives_on L5 L5
	! has_ended "$pid" || note 'it was over before'
	wait "$pid" || fail 'a write failed'
	read_status
	assert_status L5.protection=protected L5.write_errors=0 ST.write_errors=0 S0.write_errors=0
	assert_same "$DISK" /dev/mapper/L5
	check_without_disk L5
}

# The increments volume fails meanwhile: writes go on to the disk alone, as they are.
test_the_store_fails() {
	local i words=() pid
	refusing_group STORE
	expect_warnings
	for ((i = 0; i < 400; i++)); do
		words+=("write:$((i * 1192 % 16320))+64")
	done
	scatter "${words[@]}" flush &
	pid=$!
	wait_until 20 load_runs /dev/mapper/L5 0 || fail 'nothing is written'
	dmsetup message G0 0 fail ST
	wait "$pid" || fail 'a write failed'
	wait_health ST failed
	assert_status L5.protection=unprotected L5.health=in-sync
	steps L5 check
}

# The power goes after the disk has a write that the store has refused, before that is done again: what L5 holds
# then does not depend on its disk.
test_power_cut_before_it_is_done() {
	local pid before
	refusing_disks STORE
	dmsetup create slow --table "0 $((24 * 2048)) linear $STORE 0"
	group_move ST /dev/mapper/slow
	group_create
	clones_create
	# Their regions have marks.
	steps L5 write:0+2048 write:4096+8 flush
	dm_change slow "0 $((24 * 2048)) delay $STORE 0 0 $STORE 0 1000" --noflush
	expect_power_cuts
	before=$(disk_stat "$DISK" writes)
	scatter write:64+64 --allow-errors &
	pid=$!
	wait_until 20 has_writes "$DISK" "$before" || fail 'the disk is not written'
	# The store has answered by then, and is about to get it again.
	nap 1.5
	power_off "${G_DISKS[@]}"
	wait "$pid" || :
	clones_remove
	dmsetup remove G0 slow
	power_on "${G_DISKS[@]}"
	dmsetup create slow --table "0 $((24 * 2048)) linear $STORE 0"
	group_create
	clones_create
	steps L5 check --after-crash
	check_without_disk L5
}

# A device that refuses everything, even what the group writes by itself, counts as one that fails.
test_everything_is_refused() {
	local status
	refusing_group ''
	need_disk_answers "$STORE"
	expect_disk_errors
	steps L5 write:0+64 flush
	for status in INVAL DURATION_LIMIT; do
		disk_answers "$STORE" WRITE "$status" 4224 20000
		steps L5 write:0+8 write:64+8 flush check
		read_status
		assert_status L5.health=in-sync L5.protection=unprotected
		disk_answers "$STORE"
		dm_change G0 "$(group_table)"
		wait_protected L5
	done
	disk_answers "$DISK" WRITE INVAL 0 16384
	steps L5 write:8+8 write:128+64 flush check
	wait_health L5 degraded
	assert_status L5.protection=protected
	steps L5 check
}

# A disk that encrypts blocks of 4 KiB.
new_encrypted() { # variable MiB
	new_disk ENCRYPTED "$2" blocksize=4096
	dm_linear below_encrypted "$ENCRYPTED"
	dm_crypt encrypted /dev/mapper/below_encrypted 1 sector_size:4096
	printf -v "$1" /dev/mapper/encrypted
	assert_eq 'the alignment of what is encrypted' "$(disk_limit /dev/mapper/encrypted dma_alignment)" 4095
}

# L5, which knows nothing of that.
knows_nothing() {
	assert_eq 'the alignment of L5' "$(disk_limit /dev/mapper/L5 dma_alignment)" 511
}

# ST fails, and an encrypted disk takes its place.
encrypts_store() {
	need_target crypt
	refusing_group ''
	steps L5 write:0+256 write:4096+64 flush
	new_encrypted STORE 24
	blank_disk "$STORE"
	expect_warnings
	dmsetup message G0 0 fail ST
	wait_health ST failed
	group_move ST "$STORE"
	dm_change G0 "$(group_table)"
	readd ST
	wait_protected L5
	knows_nothing
}

test_an_encrypted_store() {
	encrypts_store
	scatter_unharmed write:0+8 write:0+8 write:64+64 write:2000+640 dsync:4096+64 dsync:8+8 flush
	check_without_disk L5
	# There is only the increments volume now.
	scatter check:0+256 check:2000+640 check:4096+64 write:0+8 write:8+64 write:6000+640 dsync:72+64 flush \
		check:0+256 check:6000+640
	steps L5 check
	read_status
	assert_status L5.health=degraded ST.health=in-sync ST.write_errors=0 ST.read_errors=0
}

test_an_encrypted_store_of_diverted_blocks() {
	encrypts_store
	dmsetup message G0 0 set_attr L5 ro 0 4096
	scatter_unharmed write:0+8 write:0+8 write:64+64 write:2000+640 write:3840+512 dsync:8+8 flush \
		check:0+128 check:2000+640 check:3840+256
	steps L5 check
	check_without_disk L5
	scatter check:0+128 check:2000+640 check:3840+512
	clones_restart
	check_clones
}

# An encrypted disk fails for another reason: it gets the same once more, and then it has failed.
test_an_encrypted_store_fails() {
	encrypts_store
	expect_disk_errors
	# All but the headers.
	dm_change_part below_encrypted "$ENCRYPTED" 4224 20000 error --noflush
	scatter write:0+8 write:64+8 flush
	read_status
	assert_status L5.health=in-sync L5.protection=unprotected
	steps L5 check
}

# L5 gets an encrypted disk that joined the group after L5 was loaded, and lives there.
gets_encrypted_spare() {
	gets_spare L5
	knows_nothing
	scatter check write:0+64 write:5000+640 dsync:8+8 flush check
	steps L5 check
	read_status
	assert_status L5.health=in-sync L5.protection=protected L5.disk=S0 S0.read_errors=0 S0.write_errors=0
	dmsetup message G0 0 fail ST
	wait_health ST failed
	# Nobody does writes again without it.
	scatter write:0+8 --allow-errors
	scatter check
	read_status
	assert_status L5.health=in-sync L5.protection=unprotected S0.read_errors=0 S0.write_errors=0
}

encrypted_spare_group() {
	need_target crypt
	refusing_disks ''
	group_drop S0
	# Reads that are refused are no errors.
	G_FEATURES+=(max_errors 3)
	group_create
	clones_create
	expect_warnings
	new_encrypted SPARE 8
	"$SVOL_TEST" fill --seed 77 "$SPARE"
	dmsetup message G0 0 add S0 spare "$SPARE" -
	G_VOLUMES+=("S0 spare $SPARE -")
	dm_change G0 "$(group_table)"
	scatter_unharmed write:0+2048 flush
}

test_a_rebuild_onto_an_encrypted_disk() {
	encrypted_spare_group
	check_without_disk L5
	gets_encrypted_spare
}

test_a_move_to_an_encrypted_disk() {
	encrypted_spare_group
	gets_encrypted_spare
}
