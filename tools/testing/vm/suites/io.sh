# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# I/O through the volumes: right data, whole bios, spread reads, and what the
# block layer can ask for besides reads and writes.
# Smoke: random_writes

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

test_random_reads() {
	local dev
	figure9 32
	figure9_volumes
	for dev in LV0 LV1 LV2 G0; do
		"$SVOL_TEST" random-io "/dev/mapper/$dev" --ops 300 --rng "$SVOL_SEED"
	done
	# Through the page cache, with its read-ahead, too.
	cmp /dev/mapper/LV1 "$D1"
}

test_random_writes() {
	figure9 32
	figure9_volumes
	"$SVOL_TEST" random-io /dev/mapper/LV2 --ops 500 --write 50 --state lv2 --rng "$SVOL_SEED"
	"$SVOL_TEST" random-io /dev/mapper/LV0 --ops 100 --rng "$SVOL_SEED"
	assert_state /dev/mapper/LV2 lv2
	dmsetup remove LV2
	dmsetup remove LV1
	dmsetup remove LV0
	group_restart
	svol_create LV2
	assert_state /dev/mapper/LV2 lv2
	"$SVOL_TEST" random-io /dev/mapper/LV2 --ops 200 --write 50 --state lv2 --rng "$SVOL_SEED"
	assert_state "$D2" lv2
	assert_base "$D0" "$D1"
}

# All volumes at the same time.
test_concurrent_volumes() {
	figure9 32
	figure9_volumes
	start_load lv0 /dev/mapper/LV0
	start_load lv1 /dev/mapper/LV1
	start_load lv2 /dev/mapper/LV2 --write 50 --state lv2
	"$SVOL_TEST" random-io /dev/mapper/G0 --ops 300 --rng "$SVOL_SEED"
	stop_loads
	assert_state /dev/mapper/LV2 lv2
	assert_base "$D0" "$D1"
}

test_4k_disks() {
	figure9 16 blocksize=4096
	figure9_volumes
	assert_eq 'the logical block size' \
		"$(disk_limit /dev/mapper/LV0 logical_block_size)" 4096
	"$SVOL_TEST" random-io /dev/mapper/LV0 --ops 100 --rng "$SVOL_SEED"
	"$SVOL_TEST" random-io /dev/mapper/LV2 --ops 200 --write 50 --state lv2 --rng "$SVOL_SEED"
	assert_state "$D2" lv2
}

# A volume may move to the spare, so the limits of the spare count too.
test_limits_of_the_spare() {
	local coarse small
	load_module
	figure9_disks 16
	new_disk coarse 16 blocksize=4096
	new_disk small 16 max_sectors=64
	# The group's blocks are those of its volumes: one of 512 bytes could not move here.
	group_move S0 "$coarse"
	group_refused 'disk of S0: logical blocks of 4096 bytes'
	group_move S0 "$small"
	group_create
	svol_create LV2
	assert_eq 'the logical block size of LV2' \
		"$(disk_limit /dev/mapper/LV2 logical_block_size)" 512
	assert_eq 'the largest I/O of LV2' "$(disk_limit /dev/mapper/LV2 max_hw_sectors_kb)" 32
	"$SVOL_TEST" random-io /dev/mapper/LV2 --ops 50 --write 50 --rng "$SVOL_SEED"
}

# Average size of the reads that disks got, in sectors; the counters before are
# in SECTORS_BEFORE and READS_BEFORE.
remember_reads() { # disk...
	local disk
	SECTORS_BEFORE=0 READS_BEFORE=0
	for disk in "$@"; do
		SECTORS_BEFORE=$((SECTORS_BEFORE + $(disk_stat "$disk" read_sectors)))
		READS_BEFORE=$((READS_BEFORE + $(disk_stat "$disk" reads)))
	done
}

average_read() { # disk...
	local sectors=-$SECTORS_BEFORE reads=-$READS_BEFORE disk
	for disk in "$@"; do
		sectors=$((sectors + $(disk_stat "$disk" read_sectors)))
		reads=$((reads + $(disk_stat "$disk" reads)))
	done
	[ "$reads" -gt 0 ] || fail "no read at $*"
	echo $((sectors / reads))
}

# Sequential reads of 1 MiB arrive at the disks as large as without the module.
test_sequential_reads_stay_whole() {
	local raw got disk most=0 reads total=0
	readonly_group 3 64
	svol_create LV0 --readonly
	remember_reads "${RO_DISKS[0]}"
	assert_base "${RO_DISKS[0]}"
	raw=$(average_read "${RO_DISKS[0]}")
	remember_reads "${RO_DISKS[@]}"
	assert_base /dev/mapper/LV0
	got=$(average_read "${RO_DISKS[@]}")
	note "average read: $got sectors through the volume, $raw from the disk itself"
	assert_at_least 'the average read' "$got" $((raw * 95 / 100))
	# And the stream stays on one disk.
	dmsetup remove LV0
	group_restart
	svol_create LV0 --readonly
	local before=()
	for disk in "${RO_DISKS[@]}"; do
		before+=("$(disk_stat "$disk" read_sectors)")
	done
	assert_base /dev/mapper/LV0
	for disk in "${!RO_DISKS[@]}"; do
		reads=$(($(disk_stat "${RO_DISKS[disk]}" read_sectors) - before[disk]))
		total=$((total + reads))
		[ "$reads" -le "$most" ] || most=$reads
	done
	note "one disk served $((most * 100 / total)) % of the stream"
	assert_at_least 'the share of one disk in %' $((most * 100 / total)) 90
}

# Random reads of one volume: each disk gets its share within 10 %. One read at a time: of several, the
# next goes where less is in flight, and that depends on what stalls the machine.
check_spread() { # number-of-disks [feature words...]
	local number=$1 disk reads=() total=0 share before
	shift
	readonly_group "$number" 64
	[ $# = 0 ] || { G_FEATURES=("$@") && group_restart; }
	svol_create LV0 --readonly
	before=()
	for disk in "${RO_DISKS[@]}"; do
		before+=("$(disk_stat "$disk" reads)")
	done
	# So many that no seed spreads them worse.
	"$SVOL_TEST" random-io /dev/mapper/LV0 --ops $((number * 2500)) --threads 1 --min 4096 --max 4096 \
		--rng "$SVOL_SEED"
	for disk in "${!RO_DISKS[@]}"; do
		reads+=($(($(disk_stat "${RO_DISKS[disk]}" reads) - before[disk])))
		total=$((total + reads[disk]))
	done
	share=$((total / number))
	note "$number disks${1:+ ($*)}: ${reads[*]} reads"
	for disk in "${!RO_DISKS[@]}"; do
		assert_at_least "reads of disk $disk" "${reads[disk]}" $((share * 90 / 100))
		assert_at_least "minus reads of disk $disk" "-${reads[disk]}" $((-share * 110 / 100))
	done
	dmsetup remove LV0
	dmsetup remove G0
	unload_module
}

test_spread() {
	local number
	for number in 1 2 3 4; do
		check_spread "$number"
	done
	check_spread 3 read_policy round-robin
}

# A disk that takes much longer than its siblings gets single reads only, which show whether it still
# does.
test_slow_disk() {
	local slow before reads others
	readonly_group 2 64
	dmsetup remove G0
	new_disk slow 64 irqmode=2 completion_nsec=5000000
	new_disk META 8
	"$SVOL_TEST" fill --seed "$SEED" "$slow"
	RO_DISKS+=("$slow")
	G_VOLUMES+=("LV2 ro $slow -")
	G_META=("$META")
	group_create
	svol_create LV0 --readonly
	before=$(disk_stat "$slow" reads)
	others=$(disk_stat "${RO_DISKS[0]}" reads)
	"$SVOL_TEST" random-io /dev/mapper/LV0 --ops 4000 --threads 1 --min 4096 --max 4096 \
		--rng "$SVOL_SEED"
	reads=$(($(disk_stat "$slow" reads) - before))
	others=$(($(disk_stat "${RO_DISKS[0]}" reads) - others))
	note "$reads of 4000 reads went to the slow disk, $others to the first one"
	assert_at_least 'minus reads of the slow disk' "-$reads" -100
	assert_at_least 'reads of the slow disk' "$reads" 1
	assert_at_least 'reads of the first disk' "$others" 1500
}

reads_without_waiting() { # device...
	local dev said
	for dev in "$@"; do
		said=$("$SVOL_TEST" nowait "$dev")
		note "$said"
	done
}

test_nowait() {
	figure9 16
	figure9_volumes
	reads_without_waiting "$D0" /dev/mapper/LV0 /dev/mapper/LV2 /dev/mapper/G0
}

# After LV0 was loaded, one of the disks becomes one that can't do without waiting.
test_nowait_no_more() {
	need_target dust
	covered9 16
	cover_is disk0 dust
	reads_without_waiting /dev/mapper/disk0 /dev/mapper/LV0
	assert_base /dev/mapper/LV0
}

# Pulls the plug of LV2's disk, which loses its volatile cache.
cut_power_of_lv2() {
	disk_set "$D2" power 0
	dmsetup remove LV2
	dmsetup remove G0
	disk_set "$D2" power 1
}

# Lines that a disk without power causes, in the block layer and in the module.
expect_dead_disk() {
	expect_warnings
	expect_log '^(I/O error|Buffer I/O error|critical )'
}

# A write with FUA is on the disk when it ends.
test_fua() {
	figure9 16 cache_size=16
	svol_create LV2
	assert_eq 'the write cache' "$(disk_limit /dev/mapper/LV2 write_cache)" 'write back'
	"$SVOL_TEST" random-io /dev/mapper/LV2 --ops 100 --write 100 --dsync 100 --state lv2 \
		--max 65536 --rng "$SVOL_SEED"
	expect_dead_disk
	cut_power_of_lv2
	assert_state "$D2" lv2
}

# What was written before a flush is on the disk when the flush ends.
test_flush() {
	local before
	figure9 16 cache_size=16
	svol_create LV2
	before=$(disk_stat "$D2" flushes)
	# Some 40, of which several at a time may become one.
	"$SVOL_TEST" random-io /dev/mapper/LV2 --ops 200 --write 100 --flush 20 --state lv2 \
		--max 65536 --rng "$SVOL_SEED"
	assert_at_least 'the number of flushes of the disk' "$(disk_stat "$D2" flushes)" \
		$((before + 5))
	sync /dev/mapper/LV2
	expect_dead_disk
	cut_power_of_lv2
	assert_state "$D2" lv2
}

# The block layer forgets flushes where no disk has a cache; the volume works.
test_flush_without_cache() {
	figure9 16
	svol_create LV2
	"$SVOL_TEST" random-io /dev/mapper/LV2 --ops 50 --write 100 --flush 50 --dsync 50 \
		--state lv2 --rng "$SVOL_SEED"
	assert_state "$D2" lv2
}

zeroes_between() { # device first-MiB MiB
	cmp -n $(($3 << 20)) -i $(($2 << 20)):0 "$1" /dev/zero
}

test_discard() {
	local before others
	figure9 16
	figure9_volumes
	others=$(digest "$D0" "$D1" "$DS")
	before=$(disk_stat "$D2" discards)
	if [ "$(disk_limit /dev/mapper/LV2 discard_max_bytes)" -gt 0 ]; then
		note 'discards of LV2 are passed on'
		blkdiscard -o 2M -l 3M /dev/mapper/LV2
		assert_at_least 'the discards of the disk' "$(disk_stat "$D2" discards)" \
			$((before + 1))
		zeroes_between /dev/mapper/LV2 2 3
		zeroes_between "$D2" 2 3
	else
		note 'discards of LV2 are refused'
		must_fail_with 'not supported' blkdiscard -o 2M -l 3M /dev/mapper/LV2
		assert_base "$D2"
	fi
	# Volumes that cannot be written cannot be discarded either.
	must_fail blkdiscard -f -o 2M -l 3M /dev/mapper/LV0
	must_fail blkdiscard -f -o 2M -l 3M /dev/mapper/G0
	assert_eq 'what the other disks hold' "$(digest "$D0" "$D1" "$DS")" "$others"
	assert_base /dev/mapper/LV0 /dev/mapper/G0
}

# What the disk cannot do, the volume does not promise.
test_discard_unsupported() {
	figure9 16 discard=0
	svol_create LV2
	assert_eq 'discard_max_bytes' "$(disk_limit /dev/mapper/LV2 discard_max_bytes)" 0
	must_fail_with 'not supported' blkdiscard /dev/mapper/LV2
	assert_base /dev/mapper/LV2
}

test_write_zeroes() {
	figure9 16
	figure9_volumes
	note "write_zeroes_max_bytes: $(disk_limit /dev/mapper/LV2 write_zeroes_max_bytes)"
	blkdiscard -f -z -o 4M -l 2M /dev/mapper/LV2
	zeroes_between /dev/mapper/LV2 4 2
	zeroes_between "$D2" 4 2
	must_fail blkdiscard -f -z -o 4M -l 2M /dev/mapper/LV0
	must_fail blkdiscard -f -z -o 4M -l 2M /dev/mapper/G0
	assert_base /dev/mapper/LV0 "$D0" "$D1"
	# Zeroes survive, also for a reader that starts in the midst of them.
	fallocate -z -o 5M -l 2M /dev/mapper/LV2
	zeroes_between /dev/mapper/LV2 4 3
}

# The largest I/O of a volume is none that a disk would have to cut.
test_queue_limits() {
	local limit disk own
	figure9 16
	svol_create LV0 --readonly
	for limit in max_hw_sectors_kb max_segments max_segment_size; do
		own=$(disk_limit /dev/mapper/LV0 "$limit")
		for disk in "$D0" "$D1" "$D2" "$DS"; do
			assert_at_least "$limit of $disk" "$(disk_limit "$disk" "$limit")" "$own"
		done
	done
	assert_at_least 'logical_block_size' \
		"$(disk_limit /dev/mapper/LV0 logical_block_size)" 512
}

# The 4 KiB with a bad sector, once in each direction.
read_4k() { # device block
	dd if="$1" of=/dev/null bs=4096 skip="$2" count=1 iflag=direct
}

write_4k() { # device block
	dd if=/dev/zero of="$1" bs=4096 seek="$2" count=1 oflag=direct conv=notrunc
}

# An error is counted for the entry whose disk has it, whoever can do without that disk.
test_error_counters() {
	plain9 16
	svol_create LV2
	expect_unprotected
	expect_log '^(critical medium error|I/O error|Buffer I/O error)'
	disk_set "$D2" badblocks +1002-1002
	read_4k /dev/mapper/LV2 124
	must_fail_with 'Input/output error' read_4k /dev/mapper/LV2 125
	read_status
	assert_status LV2.read_errors=1 LV2.write_errors=0
	must_fail_with 'Input/output error' write_4k /dev/mapper/LV2 125
	write_4k /dev/mapper/LV2 124
	read_status
	assert_status LV2.read_errors=1 LV2.write_errors=1 LV0.read_errors=0 LV1.read_errors=0 \
		S0.read_errors=0 LV2.health=in-sync
	# It stays after a reload, as long as the group is there.
	dmsetup remove LV2
	dm_change G0 "$(group_table)"
	read_status
	assert_status LV2.read_errors=1 LV2.write_errors=1
}
