# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Random and mutated table lines and messages, straight through the ioctl: each
# gives an error or a correct group, never a warning, never a leak.
#
# FUZZ_COUNT sets how many of each (default 10000; 500 on a debug kernel, unless a test is
# asked for by its name). A failure names its seed and
# number; `svol-test fuzz-table ... --rng SEED --start NUMBER --count 1` repeats it.
# Smoke: messages
# Limits: group_lines=900 svol_lines=600 messages=600

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

FUZZ_COUNT=${FUZZ_COUNT:-$(often 10000 500)}

# Memory that a leak would show in, in KiB.
kernel_memory() {
	awk '/^(SUnreclaim|VmallocUsed|Percpu|PageTables):/ { sum += $2 } END { print sum }' \
		/proc/meminfo
}

# Runs a fuzzer: first a short warm-up, which fills the kernel's caches, then
# the rest, which must not need more memory. A leak of 100 bytes on each line
# would come to 1000 KiB.
fuzz() { # command arguments...
	local before said warm=$((FUZZ_COUNT / 10))
	"$SVOL_TEST" "$@" --rng "$SVOL_SEED" --count "$warm"
	before=$(kernel_memory)
	# Not as an argument: that it fails would be lost.
	said=$("$SVOL_TEST" "$@" --rng "$SVOL_SEED" --start "$warm" --count $((FUZZ_COUNT - warm)))
	note "$said"
	# What waits for a grace period is no leak. The checking kernels keep what was freed for longer.
	memory_is_back "$before" || [ -e /proc/lockdep ] || wait_until 30 memory_is_back "$before" ||
		fail "kernel memory grew by $GROWN KiB over $FUZZ_COUNT lines"
	note "kernel memory grew by $GROWN KiB"
}

memory_is_back() { # KiB-before
	nap 2
	GROWN=$(($(kernel_memory) - $1))
	[ "$GROWN" -lt 1000 ]
}

# Keeps the caches that tables take their bios from while the fuzzer runs: with the last table that
# uses one the kernel frees it, which waits for three grace periods, thousands of times over.
keep_caches() { # table line
	dmsetup create keep --notable
	dmsetup load keep --table "$1"
}

# What the kernel says about lines that the fuzzer makes.
expect_fuzz() {
	expect_refused_tables
	expect_refused_resumes
	expect_log '^device-mapper: table: [0-9:]+: (zero-length target|too large device)$' \
		'^device-mapper: table: [0-9:]+: svol(-group)?: .*' \
		'^device-mapper: table: [0-9:]+: .* too small for target: ' \
		'^device-mapper: table: [0-9:]+: (start|len)=[0-9]+ not aligned to h/w logical block' \
		'^block device autoloading is deprecated and will be removed' \
		'^device-mapper: ioctl: (unable to set up device queue for new table|Target message|Empty message)'
}

# Correct lines of all kinds, as material for the fuzzer.
group_samples() {
	local m="1 $META" mm="2 $META $META2"
	cat <<-END
		svol-group $G_LEN $(group_params)
		svol-group $G_LEN G0 128 $m 1 LV0 ro $D0 -
		svol-group $G_LEN G0 8 $m 2 LV0 ro $D0 - LV1 ro $D1 - 2 init assume_identical
		svol-group $G_LEN G0 64 $mm 3 A ro $D0 DL B ro $D1 DL DL increments $DI - 2 init assume_identical
		svol-group $G_LEN G1 128 $m 2 LV2 rw $D2 - S0 spare $DS - 3 init assume_identical allow_unprotected
		svol-group $G_LEN G1 128 $mm 4 LV0 ro $D0 - LV1 ro - - LV2 rw $D2 DLV2 DLV2 increments $DI -
		svol-group $G_LEN G2 32 $m 1 LV0 ro $D0 - 4 on_full queue 30 force_metadata
		svol-group $G_LEN G2 32 $m 1 LV0 ro $D0 - 6 on_full queue failover manual init verify
		svol-group $G_LEN G2 16 $m 1 LV0 ro $D0 - 10 low_water_mark 10 max_errors 3 rebuild_rate 0 slow_after 100 read_policy adaptive
		svol-group $G_LEN G2 16 $m 2 LV0 ro $D0 - LV1 ro $D1 - 3 init copy_from LV0
		svol-group $G_LEN G3 128 $m 3 A ro $D0 - B rw $D1 - S spare $(disk_number "$DS") - 3 init assume_identical allow_unprotected
		svol-group $G_LEN G3 128 1 $(disk_number "$META") 2 A ro $(disk_number "$D0") - B ro $(disk_number "$D1") - 2 init assume_identical
		svol-group $G_LEN G2 128 2 $META - 1 LV0 ro $D0 - 3 init assume_identical force_metadata
	END
}

test_group_lines() {
	load_module
	figure9_disks 4
	# Small ones, as they are wiped each time a line is made live.
	new_disks 'META META2' 4
	G_META=("$META" "$META2")
	G_DISKS+=("$META" "$META2")
	group_samples >samples
	expect_fuzz
	keep_caches "0 $G_LEN svol-group $(group_params)"
	fuzz fuzz-table fuzz --lines samples --wipe "$META" --wipe "$META2"
	dmsetup remove keep
	assert_unused "${G_DISKS[@]}"
	blank_disk "$META" "$META2" "$DI"
	"$SVOL_TEST" fill --seed "$SEED" "$D0" "$D1" "$D2"
	group_create
	svol_create LV0 --readonly
	assert_base /dev/mapper/LV0
	dmsetup remove LV0
	dmsetup remove G0
	unload_module
}

test_svol_lines() {
	figure9 4
	cat >samples <<-END
		svol $G_LEN /dev/mapper/G0 LV0
		svol $G_LEN /dev/mapper/G0 LV1
		svol $G_LEN /dev/mapper/G0 LV2
		svol $G_LEN $(disk_number /dev/mapper/G0) LV2
		svol $G_LEN /dev/mapper/G0 S0
		svol $G_LEN $D0 DLV2
	END
	expect_fuzz
	fuzz fuzz-table fuzz --lines samples
	assert_eq 'the open count of the group' "$(dm_info G0 open)" 0
	svol_create LV2
	assert_base /dev/mapper/LV2
	dmsetup remove LV2
	dmsetup remove G0
	assert_unused "${G_DISKS[@]}"
}

test_messages() {
	local base line
	figure9 4
	svol_create LV0 --readonly
	cat >samples <<-END
		query
		restore LV2
		restore LV2 onto S0
		fail LV0
		readd LV0
		rollback LV2
		set_attr LV2 ro
		set_attr LV2 rw 0 2048
		add LV9 ro $DS -
		add LV9 rw $DS DLV2
		remove LV1
		replace_meta 2 $DS
		scrub start
		scrub start repair
		scrub stop
		rebuild_rate 1024
		pair_create LV0 LV1
		pair_split all
		pair_split LV0
		pair_resync LV0 LV1 reverse
	END
	expect_fuzz
	log_mark
	start_load LV0 /dev/mapper/LV0
	fuzz fuzz-message G0 --lines samples
	stop_load LV0
	for base in /dev/mapper/LV0 /dev/mapper/G0; do
		assert_base "$base"
	done
	dmsetup remove LV0
	# Some entries may have left the group.
	line=$(dmsetup table G0)
	dmsetup remove G0
	dmsetup create G0 --table "$line"
	read_status
	if [ "${ST[state]}" != clean ]; then
		# One of the messages wanted that.
		assert_status state=degraded
		assert_logged '^dm_svol: G0: (disk of|increments) [A-Z0-9]+: failed by command'
	fi
	assert_eq 'the line' "$(dmsetup table G0)" "$line"
}
