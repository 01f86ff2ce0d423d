# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# The kernel's fault injection: one I/O of a disk, by its number, or allocations.

FAULTS=/sys/kernel/debug

# Tasks may hang for some minutes, where a device does so on purpose. The clean-up takes that back.
tasks_may_hang() {
	local seconds=/proc/sys/kernel/hung_task_timeout_secs
	[ ! -w "$seconds" ] || echo 300 >"$seconds"
}

# Sets attributes of a kind of faults.
faults_set() { # kind attribute=value...
	local pair
	for pair in "${@:2}"; do
		echo "${pair#*=}" >"$FAULTS/$1/${pair%%=*}"
	done
}

need_faults() { # kind...
	local kind
	for kind in "$@"; do
		[ -d "$FAULTS/$kind" ] || skip "this kernel has no $kind"
	done
}

# --- I/O --------------------------------------------------------------------------------
#
# The kernel counts the I/Os of all disks that are marked for it, of whatever kind, and lets each fail whose
# number is a multiple of `interval`. What it has counted before can't be read: so a disk that nobody else
# uses is read until there is a failure.

DISK_FAULTS=fail_make_request

disk_faults() { # disk 0|1
	echo "$2" >"$(disk_sys "$1")/make-it-fail"
}

# Makes the disk for that.
disk_faults_begin() {
	need_faults "$DISK_FAULTS"
	new_disk COUNTING 1
	faults_set "$DISK_FAULTS" verbose=0 probability=100 space=0 times=0
}

# The N-th I/O of a disk from now on fails: once, or, after disk_faults_go_on, all that follow, too.
arm_disk() { # disk number
	ARMED=$1
	faults_set "$DISK_FAULTS" interval="$2" times=1
	disk_faults "$COUNTING" 1
	! dd if="$COUNTING" of=/dev/null bs=512 count="$2" iflag=direct status=none 2>/dev/null ||
		fail 'no I/O fails'
	disk_faults "$COUNTING" 0
	faults_set "$DISK_FAULTS" times=1
	disk_faults "$ARMED" 1
}

# The I/O has come, and failed.
disk_has_failed() {
	local times
	read -r times <"$FAULTS/$DISK_FAULTS/times"
	[ "$times" != 1 ]
}

disk_faults_go_on() {
	faults_set "$DISK_FAULTS" interval=1 times=-1
}

disarm_disk() {
	disk_faults "$ARMED" 0
	faults_set "$DISK_FAULTS" times=0
}

# From now on, all operations of a kind on a part of a disk end with a status, by the name it has in the
# kernel (BLK_STS_...). Without a kind, none does.
disk_answers() { # disk [kind status start sectors]
	local rule=removeall
	[ $# = 1 ] || rule="add,op=$2,status=$3,start=$4,nr_sectors=$5"
	echo "$rule" >"$FAULTS/block/${1##*/}/error_injection"
}

need_disk_answers() { # disk
	[ -e "$FAULTS/block/${1##*/}/error_injection" ] || skip 'this kernel has no error_injection'
}

# The next change of a group with the metadata devices META and META2 gets to the first one, which then fails for
# good, and so does the other: nobody can tell whether a restart finds it. Uses the file meta.
next_change_is_in_doubt() {
	local slot
	# The generation after the next goes where the last one is.
	dd if="$META" of=meta bs=1M count=2 iflag=direct status=none
	slot=$(($("$SVOL" dump meta | sed -n 's/^  generation \([0-9]*\),.*/\1/p' | sort -n | tail -n 1) % 2))
	disk_answers "$META" WRITE IOERR $((slot * 2048)) 2048
	disk_answers "$META2" WRITE IOERR 0 4096
	log_mark
}

metadata_works_again() {
	disk_answers "$META"
	disk_answers "$META2"
}

# --- Allocations ---------------------------------------------------------------------------

# Allocations of the kernel may fail: those by their number, see `svol-test fail-nth`. The attributes hold for
# whoever is not asked for a number, and outlive a test: nobody may be left with a chance to fail.
allocation_faults_begin() {
	local kind
	need_faults failslab fail_page_alloc
	for kind in failslab fail_page_alloc; do
		faults_set "$kind" verbose=0 probability=0 interval=1 times=-1 space=0 task-filter=N \
			ignore-gfp-wait=N
	done
	faults_set fail_page_alloc min-order=0 ignore-gfp-highmem=N
}

# Those that may not wait fail with this chance, whoever makes them. Those that may wait do not.
allocations_fail() { # percent
	local kind
	for kind in failslab fail_page_alloc; do
		faults_set "$kind" ignore-gfp-wait=Y probability="$1"
	done
}

allocations_succeed() {
	faults_set failslab probability=0
	faults_set fail_page_alloc probability=0
}
