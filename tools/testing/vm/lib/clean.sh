# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Clean-up after a test, in whatever state it left the machine. What a test
# leaves is no failure; what cannot be removed is.

NULLB=/sys/kernel/config/nullb

# Set when later tests would suffer from what is left.
CLEAN_FATAL=''

# What every blocked process waits for, in the kernel log, while it can be seen.
show_blocked() {
	echo w >/proc/sysrq-trigger
	nap 0.5
}

# Where one process stands, blocked or not.
show_process() { # pid
	local file
	for file in comm wchan syscall stack; do
		printf '%s: ' "$file"
		head -n 24 "/proc/$1/$file"
		echo
	done 2>/dev/null
	grep -E '^(State|.*ctxt)' "/proc/$1/status" 2>/dev/null
}

# Each command gets this many seconds; one that hangs makes the machine unfit. A kernel that checks
# each page it frees takes minutes over a disk in memory.
CLEAN_SECONDS=60
[ ! -e /proc/lockdep ] || CLEAN_SECONDS=600

clean_try() { # command...
	local pid until=$((SECONDS + CLEAN_SECONDS))
	"$@" 2>&1 &
	pid=$!
	while [ "$SECONDS" -lt "$until" ]; do
		if has_ended "$pid"; then
			wait "$pid"
			return
		fi
		nap 0.02
	done
	show_blocked
	show_process "$pid" >>"$RUN_DIR/hung"
	kill -KILL "$pid"
	CLEAN_FATAL="\"$*\" hangs"
	return 1
}

clean_quietly() { # command...
	clean_try "$@" >/dev/null
}

HUNG_SECONDS=/proc/sys/kernel/hung_task_timeout_secs

clean_remember() {
	local dirs=(/sys/block/dm-*)
	CLEAN_DM_BEFORE=" ${dirs[*]} "
	CLEAN_HUNG_SECONDS=
	[ ! -w "$HUNG_SECONDS" ] || read -r CLEAN_HUNG_SECONDS <"$HUNG_SECONDS"
}

# Puts the names of the device-mapper devices that were not there before the
# test into CLEAN_DM.
clean_find_dm() {
	local dir name
	CLEAN_DM=()
	for dir in /sys/block/dm-*; do
		[[ -e $dir && $CLEAN_DM_BEFORE != *" $dir "* ]] || continue
		read -r name 2>/dev/null <"$dir/dm/name" && CLEAN_DM=("$name" "${CLEAN_DM[@]}")
	done
	return 0
}

# Processes of the test that are in groups of their own, as `timeout` makes them:
# their ids go into CLEAN_STRAYS.
clean_find_strays() { # session
	local stat fields
	CLEAN_STRAYS=()
	for stat in /proc/[0-9]*/stat; do
		read -r stat 2>/dev/null <"$stat" || continue
		# Past the name, which may hold anything: state, parent, group, session.
		read -ra fields <<<"${stat##*) }"
		[ "${fields[3]}" != "$1" ] || [ "${fields[0]}" = Z ] ||
			CLEAN_STRAYS+=("${stat%% *}")
	done
}

clean_processes() { # session ended-well
	local i
	for ((i = 0; i < 100; i++)); do
		kill -KILL -- "-$1" 2>/dev/null || break
		# What waits for a suspended device can only end when it goes on.
		[ "$i" -lt 10 ] || clean_resume
		nap 0.1
	done
	[ "$i" = 100 ] || [ "$2" = no ] || return 0
	for ((i = 0; i < 100; i++)); do
		clean_find_strays "$1"
		[ "${#CLEAN_STRAYS[@]}" -gt 0 ] || return 0
		kill -KILL "${CLEAN_STRAYS[@]}" 2>/dev/null
		clean_resume
		nap 0.1
	done
	CLEAN_FATAL="processes do not end: ${CLEAN_STRAYS[*]}"
}

clean_resume() {
	local dir name suspended
	for dir in /sys/block/dm-*; do
		read -r suspended 2>/dev/null <"$dir/dm/suspended" || continue
		[ "$suspended" = 1 ] || continue
		read -r name <"$dir/dm/name"
		clean_quietly dmsetup clear "$name"
		clean_quietly dmsetup resume "$name"
	done
}

clean_mounts() {
	local dir i mounts=()
	while read -r _ dir _; do
		[[ $dir != "$RUN_DIR"/test/* ]] || mounts+=("$dir")
	done </proc/mounts
	# The last one mounted is the first one to go.
	for ((i = ${#mounts[@]} - 1; i >= 0; i--)); do
		clean_quietly umount "${mounts[i]}" || clean_try umount -l "${mounts[i]}"
	done
}

clean_loops() {
	local dir
	for dir in /sys/block/loop*/loop; do
		[ -e "$dir" ] || continue
		dir=${dir%/loop}
		clean_quietly losetup -d "/dev/${dir##*/}"
	done
}

clean_dm() {
	local name round
	for round in {1..12}; do
		clean_find_dm
		[ "${#CLEAN_DM[@]}" -gt 0 ] || return 0
		[ -z "$CLEAN_FATAL" ] || break
		# Newest first, as a volume goes before its group.
		clean_quietly dmsetup remove "${CLEAN_DM[@]}" && continue
		for name in "${CLEAN_DM[@]}"; do
			clean_quietly dmsetup remove "$name" && continue
			[ "$round" -le 8 ] || clean_quietly dmsetup remove --force "$name"
		done
		[ "$round" = 1 ] || nap 0.1
	done
	echo "devices that cannot be removed: ${CLEAN_DM[*]}"
	CLEAN_FATAL=${CLEAN_FATAL:-devices cannot be removed}
}

clean_disks() {
	local dirs=("$NULLB"/svt*)
	[ ! -d /sys/module/scsi_debug ] || clean_try rmmod scsi_debug
	[ -d "${dirs[0]}" ] || return 0
	clean_try rmdir "${dirs[@]}" || echo 'disks cannot be removed'
}

clean_module() {
	local i users
	[ -d /sys/module/dm_svol ] || return 0
	for ((i = 0; i < 20; i++)); do
		clean_quietly rmmod dm_svol && return 0
		[ -z "$CLEAN_FATAL" ] || break
		nap 0.1
	done
	read -r users </sys/module/dm_svol/refcnt
	echo "the module cannot be unloaded, its use count is $users"
	CLEAN_FATAL=${CLEAN_FATAL:-the module cannot be unloaded}
}

# Nothing fails on purpose any more.
clean_faults() {
	local file
	for file in /sys/kernel/debug/{failslab,fail_page_alloc,fail_make_request}/probability; do
		[ ! -w "$file" ] || echo 0 >"$file"
	done
	[ -z "$CLEAN_HUNG_SECONDS" ] || echo "$CLEAN_HUNG_SECONDS" >"$HUNG_SECONDS"
}

clean_up() { # session-of-the-test ended-well
	clean_faults
	clean_processes "$1" "$2"
	[ -z "$CLEAN_FATAL" ] || return 0
	clean_resume
	clean_mounts
	clean_loops
	clean_dm
	[ -z "$CLEAN_FATAL" ] || return 0
	clean_disks
	clean_module
}
