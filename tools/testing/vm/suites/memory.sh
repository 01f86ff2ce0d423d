# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# The kernel has no memory: each allocation of each command in turn, and I/O while none is to be had that may
# not wait. A command fails and changes nothing, or works; the next time it works. SVOL_STEP=1 tries each
# allocation of those commands that have hundreds.
# No smoke test: the stock kernel has no fault injection.
# Limits: load=900 resume=900 volumes=900 messages=900

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

STEP=${SVOL_STEP:-$([ -z "${SVOL_SECONDS-}" ] && echo 13 || echo 1)}

memory_group() {
	load_module
	# null_blk has faults of its own, which count as well.
	disks_are_loops
	memory_disks 2 2 6
}

memory_disks() { # clones MiB MiB-of-the-store
	allocation_faults_begin
	logged_disks "$@"
	new_disk SPARE "$2"
	G_VOLUMES+=("S0 spare $SPARE -")
	G_FEATURES+=(failover manual)
	# The module says what it had no memory for.
	expect_warnings
	expect_refused_tables
	expect_refused_resumes
	expect_log '^device-mapper: '
	# The kernel says what it had none for, with a trace for slab caches: a warning of any other kind has
	# other lines as well.
	expect_log '^workqueue: Failed to (create|allocate) a rescuer ' '^kobject: (.* \(error: -12 |can not set name properly!$)' \
		'^SLUB: Unable to add cache ' '^__kmem_cache_create_args\(.*\) failed with error -(12|22)$' \
		'^(CPU|Tainted|Hardware name|Workqueue|Call Trace|RIP|Code|RSP|RAX|RDX|RBP|R10|R13): ' \
		'^ *</?(TASK|IRQ)>$' '^ *(\? )?[^ ]+\+0x[0-9a-f]+/0x[0-9a-f]+( |$)' '^Call Trace:$'
	# And once in a while, for pages, how much memory there is: the first line says that one was refused.
	expect_log '^[^ ]+: (page allocation failure|vmalloc error): ' '^Mem-Info:$' '^active_anon:' '^Node [0-9]+ ' \
		'^(DMA|DMA32|Normal)(: | free:)' '^lowmem_reserve\[\]: ' \
		'^[0-9]+ (total pagecache pages|pages (RAM|HighMem/MovableOnly|reserved|in swap cache))' '^(Free|Total) swap '
	# Where that was a page for a slab cache, there is more about the cache.
	expect_log '^SLUB: Unable to allocate memory on CPU ' '^ *cache: [^ ]+, object size: ' '^ *node [0-9]+: slabs: '
}

memory_group_up() {
	memory_group
	group_create
	clones_create
	steps C1 write:100+300 flush
	steps L5 write:100+300 flush
}

# An operation, while its allocations fail: each of them.
starve() { # operation [options]
	local said
	said=$("$SVOL_TEST" fail-nth "$@")
	note "${1%% /dev*}: $said"
}

# Some of them, where there are many.
starve_some() { # operation [options]
	starve "$@" --step "$STEP" --first $((1 + SVOL_SEED % STEP))
}

# All is well, before and after a restart.
memory_is_well() {
	check_clones
	clones_restart
	check_clones
	assert_base "$BASE_DISK"
}

test_load() {
	memory_group
	dmsetup create G0 --notable
	starve_some "load G0 $(group_table)" --undo 'clear G0'
	dmsetup remove G0
	group_create
	clones_create
	memory_is_well
	starve_some "load G0 $(group_table)" --undo 'clear G0' --same G0
	starve "load C1 0 $G_LEN svol /dev/mapper/G0 C1" --undo 'clear C1'
	starve 'status G0'
	starve 'table G0'
	memory_is_well
}

# A table becomes live: the first one of the group, and again and again.
test_resume() {
	memory_group
	log_mark
	dmsetup create G0 --notable
	starve_some 'resume G0' --before "load G0 $(group_table)" --before 'suspend G0'
	dmsetup mknodes
	clones_create
	steps C1 write:0+100 flush
	steps L5 write:0+100 flush
	starve_some 'resume G0' --before "load G0 $(group_table)" --before 'suspend G0'
	check_clones
	starve 'suspend G0' --undo 'resume G0'
	starve 'resume G0' --before 'suspend G0'
	# It waits for memory.
	assert_not_logged 'did not start'
	memory_is_well
}

# A volume comes, is reloaded, and goes.
test_volumes() {
	local lid table
	memory_group_up
	for lid in C1 L5; do
		table="0 $G_LEN svol /dev/mapper/G0 $lid"
		starve "resume $lid" --before "load $lid $table" --before "suspend $lid"
		starve "suspend $lid" --undo "resume $lid"
		starve "remove $lid" --undo "create $lid" --undo "load $lid $table" --undo "resume $lid"
	done
	memory_is_well
}

test_messages() {
	memory_group_up
	starve 'message G0 query' --same G0
	starve 'message G0 rebuild_rate 4096' --same G0
	starve 'message G0 set_attr L5 ro 0 128' --undo 'message G0 set_attr L5 rw' --same G0
	starve 'message G0 set_attr L5 rw' --before 'message G0 set_attr L5 ro 0 128' --same G0
	memory_is_well
}

# Allocations that may not wait fail, in interrupts and in workers, too: I/O has its reserves.
test_io_without_memory() {
	load_module
	memory_disks 2 4 24
	group_create
	clones_create
	# shellcheck disable=SC2317 # called by run_model
	model_live() {
		allocations_succeed
		dmsetup suspend G0
		dmsetup resume G0
		allocations_fail 70
	}
	# shellcheck disable=SC2317 # called by run_model
	model_restart() {
		allocations_succeed
		clones_restart
		allocations_fail 70
	}
	allocations_fail 70
	run_model "${SVOL_SECONDS:-6}" 'live restart' --threads 3 --state m
	allocations_succeed
	assert_base "$BASE_DISK"
	# The increments volume has all of it, too.
	clones_remove
	dmsetup remove G0
	group_move L5 -
	group_create
	svol_create L5
	"$SVOL_TEST" steps /dev/mapper/L5 --seed "$SEED" --own 1003 --state m.2 check
}
