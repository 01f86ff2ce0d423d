# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Diverted volumes: `ro` volumes whose writes go to an increments volume.
# Smoke: base_is_never_written

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

# Writes of many sizes, over borders of sectors, sub-blocks and blocks and up to the end.
many_sizes() { # sectors of the volume
	echo write:0+1 write:9+3 write:16+8 write:25+6 write:127+2 write:131+129 \
		write:384+128 write:640+1 write:2048+2048 write:6000+300 write:6001+1 \
		write:130+1 write:8190+4 write:10240+8 write:10248+8 write:10244+8 \
		write:$(($1 - 1))+1 write:$(($1 - 9))+3 write:$(($1 - 200))+150
}

test_base_is_never_written() {
	clones_group 1 16 16
	remember_base
	assert_eq 'whether C1 is read-only' "$(blockdev --getro /dev/mapper/C1)" 0
	# shellcheck disable=SC2046 # words
	steps C1 $(many_sizes "$G_LEN") flush check
	svol_create LV0 --readonly
	assert_base /dev/mapper/LV0 /dev/mapper/G0
	clones_remove
	dmsetup remove LV0
	group_restart
	clones_create
	check_clones
	assert_base_untouched
}

# What is there after each write, in reads of all sizes.
test_512_bytes_precision() {
	local chunk
	clones_group 1 8 8
	# shellcheck disable=SC2046 # words
	steps C1 $(many_sizes "$G_LEN" | sed 's/ / check:0+12000 /g') check
	for chunk in 1 3 7 8 64 127 128 129; do
		steps C1 check:0+2500 check:6000+400 check:8100+140 check:$((G_LEN - 300))+300 \
			--chunk "$chunk"
	done
	# Again over what is there.
	# shellcheck disable=SC2046 # words
	steps C1 $(many_sizes "$G_LEN" | sed 's/ / check:0+4000 /g') check
}

# A length that is no multiple of blocks or sub-blocks.
test_odd_length() {
	local len
	load_module
	for len in 8191 8327; do
		clones_disks 1 6 8
		G_LEN=$len
		remember_base
		group_create
		clones_create
		steps C1 "write:$((len - 1))+1" check "write:$((len - 7))+6" check \
			"write:$((len - 140))+140" check flush check
		mv s.C1 m.0
		run_model 1 '' --max 131072 --state m
		mv m.0 s.C1
		clones_restart
		check_clones
		clones_remove
		dmsetup remove G0
		legs_remove
		assert_base_untouched
		rm -f s.C1
	done
}

test_block_sizes() {
	local block
	load_module
	for block in 8 16 128; do
		clones_disks 2 8 24
		G_BLOCK=$block
		remember_base
		group_create
		clones_create
		read_status
		assert_eq "the blocks of the store, of $block sectors" "${ST[ST.blocks]}" \
			"0/$(slots_of 24 "$block")"
		run_model 2 'restart'
		clones_remove
		dmsetup remove G0
		legs_remove
		assert_base_untouched
	done
}

# What one write of C1 costs at the store: COST is "writes sectors reads". Fails if a commit, which
# begins with a flush, came in between.
cost_of_write() { # step
	local counters=(writes write_sectors reads flushes) before after i
	steps C1 flush
	# All at once: the timer of the commit does not wait for more.
	before=$(disk_stat "$STORE" "${counters[@]}")
	steps C1 "$1"
	after=$(disk_stat "$STORE" "${counters[@]}")
	read -ra before <<<"$before"
	read -ra after <<<"$after"
	COST=()
	for i in 0 1 2; do
		COST[i]=$((after[i] - before[i]))
	done
	[ "${after[3]}" = "${before[3]}" ]
}

costs() { # sector
	local what step wanted COST
	while read -r step wanted what; do
		cost_of_write "write:$(($1 + ${step%+*}))+${step#*+}" || return 1
		# Whoever asks whether it worked does not want the shell to end by itself.
		assert_eq "the cost of $what" "${COST[*]}" "${wanted//,/ }" || exit 1
	done <<-'END'
		0+8 1,8,0 4 KiB in a fresh block
		40+8 1,8,0 4 KiB in a fresh sub-block
		0+8 1,8,0 4 KiB written again
		1024+128 1,128,0 a fresh block
		1+1 1,1,0 a sector of a sub-block that is there
	END
}

# The first write to a block: one data write, no read, no copy, no fill.
test_cost_of_a_first_write() {
	local reads at
	# With a cache, so that flushes get to the disk.
	clones_group 1 16 16 cache_size=32
	reads=$(disk_stat "$BASE_DISK" reads)
	for ((at = 0; at < 20480; at += 2048)); do
		! costs "$at" || break
	done
	[ "$at" -lt 20480 ] || fail 'there is a commit in the midst of everything'
	assert_eq 'the reads of the base disk' "$(disk_stat "$BASE_DISK" reads)" "$reads"
	check_clones
}

test_reads_go_where_the_data_is() {
	local base slots
	clones_group 1 16 16
	steps C1 write:2048+1024 flush
	base=$(disk_stat "$BASE_DISK" read_sectors)
	slots=$(disk_stat "$STORE" read_sectors)
	steps C1 check:2048+1024
	assert_eq 'the sectors read from the base disk' \
		"$(disk_stat "$BASE_DISK" read_sectors)" "$base"
	assert_eq 'the sectors read from the store' \
		"$(disk_stat "$STORE" read_sectors)" $((slots + 1024))
	steps C1 check:8192+1024
	assert_eq 'the sectors read from the base disk' \
		"$(disk_stat "$BASE_DISK" read_sectors)" $((base + 1024))
	assert_eq 'the sectors read from the store' \
		"$(disk_stat "$STORE" read_sectors)" $((slots + 1024))
}

test_buffered() {
	clones_group 1 16 16
	remember_base
	# shellcheck disable=SC2046 # words
	steps C1 $(many_sizes "$G_LEN") flush check --buffered
	check_clones
	blockdev --flushbufs /dev/mapper/C1
	steps C1 check --buffered --chunk 9
	clones_restart
	check_clones
	assert_base_untouched
}

# Disks with blocks of 4 KiB, and a store with such blocks under a base with small ones.
test_4k_blocks() {
	load_module
	clones_disks 2 8 24 blocksize=4096
	group_create
	clones_create
	assert_eq 'the logical block size' "$(disk_limit /dev/mapper/C1 logical_block_size)" 4096
	run_model 2 'restart'
}

# Volumes with disks of their own beside those without.
test_own_disks() {
	load_module
	clones_disks 3 8 32
	new_disks 'D1 D2' 8
	"$SVOL_TEST" fill --seed "$SEED" "$D1" "$D2"
	G_DISKS+=("$D1" "$D2")
	group_move C1 "$D1"
	group_move C2 "$D2"
	group_create
	clones_create
	remember_base
	run_model 2 'restart live' --state m
	clones_remove
	dmsetup remove G0
	assert_base_untouched
	assert_base "$D1" "$D2"
	# One disk less makes no difference to what the volumes hold.
	expect_warnings
	group_move C1 -
	group_create
	clones_create
	"$SVOL_TEST" steps /dev/mapper/C1 --own 1001 --state m.0 check
	"$SVOL_TEST" steps /dev/mapper/C2 --own 1002 --state m.1 check
}

# A group of only one `ro` disk with an increments volume.
test_single_volume() {
	load_module
	clones_disks 1 8 8
	group_drop LV0
	group_move C1 "$BASE_DISK"
	group_create
	clones_create
	remember_base
	# shellcheck disable=SC2046 # words
	steps C1 $(many_sizes "$G_LEN") flush check
	clones_restart
	check_clones
	assert_base_untouched
}

# Clones need no disk of their own.
test_clones_without_disks() {
	local lid
	load_module
	clones_disks 3 8 32
	legs_remove
	for lid in "${CLONES[@]}"; do
		group_move "$lid" -
	done
	remember_base
	group_create
	clones_create
	run_model 3 'restart live' --threads 1
	assert_base_untouched
}

# Eight writable clones of one image, in one store.
test_eight_clones() {
	clones_group 8 4 40
	remember_base
	run_model 4 'restart live' --threads 1
	dmsetup status G0
	assert_base_untouched
	svol_create LV0 --readonly
	assert_base /dev/mapper/LV0 /dev/mapper/G0
}

# What is written to one clone is in no other one.
test_clones_are_independent() {
	local lid
	clones_group 3 4 16
	steps C2 write:0+4096 flush
	check_clones
	for lid in "${CLONES[@]}"; do
		steps "$lid" write:0+2048 write:4000+9 check
		check_clones
	done
	clones_restart
	check_clones
}

# Two groups of the same volumes, under other names.
test_two_groups() {
	local one two
	clones_group 2 4 12
	run_model 2 '' --state one
	one=("$META" "$BASE_DISK" "$STORE")
	clones_remove
	dmsetup rename leg_C1 leg_1
	dmsetup rename leg_C2 leg_2
	SEED=2
	clones_disks 2 4 12
	two=("$META" "$BASE_DISK" "$STORE")
	G_NAME=G1
	group_create
	clones_create
	dmsetup rename C1 X1
	dmsetup rename C2 X2
	G_NAME=G0
	dmsetup create C1 --table "0 $G_LEN svol /dev/mapper/G0 C1"
	dmsetup create C2 --table "0 $G_LEN svol /dev/mapper/G0 C2"
	"$SVOL_TEST" model /dev/mapper/X1 /dev/mapper/X2 --seed 2 --own 2001 --seconds 3 \
		--rng "$SVOL_SEED" --state two &
	"$SVOL_TEST" model /dev/mapper/C1 /dev/mapper/C2 --seed 1 --own 1001 --seconds 3 \
		--rng "$SVOL_SEED" --state one
	wait "$!"
	"$SVOL_TEST" steps /dev/mapper/C1 --seed 1 --own 1001 --state one.0 check
	"$SVOL_TEST" steps /dev/mapper/C2 --seed 1 --own 1002 --state one.1 check
	"$SVOL_TEST" steps /dev/mapper/X1 --seed 2 --own 2001 --state two.0 check
	"$SVOL_TEST" steps /dev/mapper/X2 --seed 2 --own 2002 --state two.1 check
	"$SVOL_TEST" verify --seed 1 "${one[1]}"
	"$SVOL_TEST" verify --seed 2 "${two[1]}"
}

# Many writers in two blocks, and reads of them.
test_writers_in_one_block() {
	load_module
	clones_disks 1 4 8
	G_LEN=256
	group_create
	clones_create
	run_model 3 'restart live' --threads 8 --max 32768 --state m
	run_model 3 'restart live' --threads 8 --max 2048 --state m
}

# A clean stop keeps everything, flushed or not.
test_clean_restart() {
	clones_group 2 8 16
	# shellcheck disable=SC2046 # words
	steps C1 $(many_sizes "$G_LEN")
	steps C2 write:100+100 flush write:150+100 dsync:777+1
	clones_restart
	check_clones
	steps C1 write:3+20 write:5000+1
	clones_remove
	dmsetup remove G0
	unload_module
	load_module
	group_create
	clones_create
	check_clones
}

# After a power cut, everything that was flushed is there, and nothing but what was written.
power_cuts() { # [attribute=value...]
	local round
	clones_group 2 8 16 "$@"
	remember_base
	for round in 1 2 3; do
		steps C1 write:$((round * 10))+300 write:$((round * 1000))+1 flush \
			write:$((round * 20))+300 write:9000+$round
		steps C2 dsync:$((round * 500))+100 write:2000+77
		clones_power_cut
		steps C1 check --after-crash
		steps C2 check --after-crash
	done
	assert_base "$BASE_DISK"
}

test_power_cut() {
	power_cuts
}

test_power_cut_with_volatile_caches() {
	power_cuts cache_size=8
}

# A flush says nothing before all that it promises is durable: cut right after it.
test_flush_is_durable() {
	local round
	clones_group 1 8 16 cache_size=8
	expect_power_cuts
	for round in 1 2 3 4; do
		steps C1 write:$((round * 700))+50 write:$((round * 10))+1 flush
		power_off "${G_DISKS[@]}"
		clones_power_return
		# Not --after-crash: the new data has to be there.
		check_clones
	done
}

# The same for writes with FUA, to fresh and to mapped blocks, whole ones and parts.
test_fua_is_durable() {
	local round step
	clones_group 1 8 16 cache_size=8
	expect_power_cuts
	for step in dsync:1024+8 dsync:1024+8 dsync:1033+1 dsync:2050+3 dsync:4000+1000; do
		steps C1 "$step"
		power_off "${G_DISKS[@]}"
		clones_power_return
		check_clones
	done
}

has_flushed() { # device flushes
	[ "$(disk_stat "$1" flushes)" -gt "$2" ]
}

# Without any flush, the timer makes data durable. A commit is seen by its first flush; there may be two of
# them, and the second one comes with the next second.
test_commit_by_timer() {
	local flushes
	clones_group 2 8 16 cache_size=8
	flushes=$(disk_stat "$STORE" flushes)
	steps C1 write:128+128 write:1000+1 write:4096+2048
	steps C2 write:131+7
	wait_until 20 has_flushed "$STORE" "$flushes" || fail 'there is no commit'
	nap "$COMMIT_SECONDS"
	clones_power_cut
	check_clones
}

# Power cuts in the midst of I/O.
test_power_cuts_under_load() {
	clones_group 2 8 24 cache_size=8
	expect_power_cuts
	run_model 10 crash
	assert_base "$BASE_DISK"
}

test_status_counts_blocks() {
	local total
	clones_group 2 8 16
	total=$(slots_of 16 128)
	read_status
	assert_status "ST.blocks=0/$total" ST.attr=increments C1.attr=ro C1.rlid=ST
	steps C1 write:0+8 write:130+1 write:1280+128
	read_status
	assert_status "ST.blocks=3/$total"
	# The same blocks of the other volume are others; twice the same is one.
	steps C2 write:0+8 write:0+8 write:8+8
	read_status
	assert_status "ST.blocks=4/$total"
	clones_restart
	read_status
	assert_status "ST.blocks=4/$total"
	# A write over a border takes two.
	steps C1 write:2555+10
	read_status
	assert_status "ST.blocks=6/$total"
}

# A store that is smaller than the volumes: only what is written takes room.
test_sparse() {
	clones_group 2 32 8
	steps C1 write:40000+2048 write:0+2048
	steps C2 write:65464+72
	clones_restart
	check_clones
}

# A file system with some files on the base disk.
fs_image() { # ext4|xfs
	local kind=$1
	legs_remove
	mkdir -p m
	if [ "$kind" = ext4 ]; then
		mkfs.ext4 -q -F -b 4096 "$BASE_DISK"
	else
		mkfs.xfs -q -f --unsupported -l size=14m "$BASE_DISK"
	fi
	mount "$BASE_DISK" m
	fs_files m/base
	umount m
	legs_create
}

# Files in a new folder, and their checksums in a file of the same name.
fs_files() { # folder
	local i
	mkdir "$1"
	for ((i = 1; i <= 12; i++)); do
		head -c $((i * 5001)) /dev/urandom >"$1/$i"
	done
	(cd "$1" && cksum -- *) >"sums.${1//\//.}"
}

fs_check_files() { # folder
	(cd "$1" && cksum -- *) | cmp - "sums.${1//\//.}"
}

fs_mount() { # LID options...
	mkdir -p "m$1"
	mount "${@:2}" "/dev/mapper/$1" "m$1"
}

# Two clones with a file system each, with the same UUID, at the same time.
fs_on_clones() { # ext4|xfs MiB fsck...
	local kind=$1 lid before options=()
	[ "$kind" = ext4 ] || options=(-o nouuid)
	load_module
	clones_disks 2 "$2" $(($2 + 16))
	fs_image "$kind"
	before=$(digest "$BASE_DISK")
	group_create
	clones_create
	for lid in C1 C2; do
		fs_mount "$lid" "${options[@]}"
		cp "sums.m.base" "sums.m$lid.base"
		fs_check_files "m$lid/base"
		fs_files "m$lid/new"
		rm "m$lid"/base/*5
		sync -f "m$lid"
		fstrim "m$lid" 2>/dev/null || :
		(cd "m$lid/base" && cksum -- *) >"sums.m$lid.base"
	done
	umount mC1 mC2
	clones_restart
	for lid in C1 C2; do
		"${@:3}" "/dev/mapper/$lid" >fsck 2>&1 || fail "$lid: $(cat fsck)"
		fs_mount "$lid" "${options[@]}"
		fs_check_files "m$lid/base"
		fs_check_files "m$lid/new"
		umount "m$lid"
	done
	clones_remove
	dmsetup remove G0
	assert_eq 'what the base disk holds' "$(digest "$BASE_DISK")" "$before"
}

test_ext4() {
	fs_on_clones ext4 24 e2fsck -fn
}

test_xfs() {
	need_module xfs
	fs_on_clones xfs 64 xfs_repair -n
}

# A file system that is cut off recovers with all that was synced.
test_ext4_after_a_power_cut() {
	load_module
	clones_disks 1 24 40 cache_size=8
	fs_image ext4
	group_create
	clones_create
	fs_mount C1
	fs_files mC1/new
	sync -f mC1
	cp -r mC1/base mC1/copy
	expect_power_cuts
	expect_log '^(EXT4-fs|JBD2|Aborting journal|Buffer I/O)'
	power_off "${G_DISKS[@]}"
	umount mC1
	clones_power_return
	fs_mount C1
	fs_check_files mC1/new
	umount mC1
	e2fsck -fn /dev/mapper/C1
}
