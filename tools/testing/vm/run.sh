#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs the tests of dm-svol inside the test VM, as root, and prints TAP.
#
#   run.sh [--smoke] [--suite NAME] [--list] [PATTERN]
#   run.sh --share FOLDER --suite NAME... [PATTERN]
#
# PATTERN is a shell pattern that may match anywhere in "suite.test". With --share, several
# machines that see the same FOLDER share the work: each suite is run by the machine that comes to
# it first, as output of its own after a line "# suite NAME".
# Environment:
#   DM_SVOL_KO    the module
#   DM_SVOL_BIN   folder of the test binaries (svol-test, and svol, the offline tool)
#   SVOL_SEED     seed of everything random (default: from the clock, printed)
#   SVOL_SCALE    how many times longer random operations run than by default
#   SVOL_SECONDS  seconds for each test of the suites that only differ by them
#
# The plan ("1..N") comes last: without it the run did not come to its end.

set -uo pipefail

TESTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export TESTS
# shellcheck source=lib/nap.sh
. "$TESTS/lib/nap.sh"
# shellcheck source=lib/mark.sh
. "$TESTS/lib/mark.sh"
# shellcheck source=lib/hot.sh
. "$TESTS/lib/hot.sh"
# shellcheck source=lib/module.sh
. "$TESTS/lib/module.sh"
# shellcheck source=lib/verdict.sh
. "$TESTS/lib/verdict.sh"
# shellcheck source=lib/clean.sh
. "$TESTS/lib/clean.sh"
# shellcheck source=lib/suite.sh
. "$TESTS/lib/suite.sh"
# shellcheck source=lib/tap.sh
. "$TESTS/lib/tap.sh"

usage() {
	sed -n '3,11s/^# \{0,1\}//p' "$0" >&2
	exit 2
}

smoke=no suites=() list=no pattern='' share=''
while [ $# -gt 0 ]; do
	case $1 in
	--smoke) smoke=yes ;;
	--list) list=yes ;;
	--suite)
		[ $# -gt 1 ] || usage
		suites+=("$2")
		shift
		;;
	--share)
		[ $# -gt 1 ] || usage
		share=$2
		shift
		;;
	-*) usage ;;
	*)
		[ -z "$pattern" ] || usage
		pattern=$1
		# Whoever names a test wants all of it.
		export SVOL_LONG=yes
		;;
	esac
	shift
done

if [ "$list" = yes ]; then
	suite_select "${suites[0]-}" "$smoke" "$pattern" | cut -d ' ' -f 1
	exit 0
fi

# --- Preparation of the machine ------------------------------------------------

die() {
	printf 'Bail out! %s\n' "$*"
	exit 1
}

[ "$(id -u)" = 0 ] || die 'the tests need root (in a virtual machine)'
[ -f "${DM_SVOL_KO:-}" ] || die "no module at DM_SVOL_KO=${DM_SVOL_KO:-}"
SVOL_TEST=${DM_SVOL_BIN:-}/svol-test SVOL=${DM_SVOL_BIN:-}/svol
for program in "$SVOL_TEST" "$SVOL"; do
	[ -x "$program" ] || die "no ${program##*/} in DM_SVOL_BIN=${DM_SVOL_BIN:-}"
done

RUN_DIR=$(mktemp -d) || die 'no place for temporary files'
# Copies in memory: every test reads the scripts again, and the module is loaded hundreds of times.
cp -r "$TESTS" "$RUN_DIR/tests" || die "cannot copy $TESTS"
TESTS=$RUN_DIR/tests SUITES=$RUN_DIR/tests/suites
MODULE=$RUN_DIR/dm-svol.ko
cp "$DM_SVOL_KO" "$MODULE" || die "cannot copy $DM_SVOL_KO"
cp "$SVOL_TEST" "$SVOL" "$RUN_DIR/" || die "cannot copy $SVOL_TEST or $SVOL"
SVOL_TEST=$RUN_DIR/svol-test SVOL=$RUN_DIR/svol
SVOL_SEED=${SVOL_SEED:-$(date +%s)}
KLOG=$RUN_DIR/klog
export RUN_DIR MODULE SVOL_TEST SVOL SVOL_SEED KLOG DM_DISABLE_UDEV=1 LC_ALL=C
KMEMLEAK=/sys/kernel/debug/kmemleak
NAP_FIFO=$RUN_DIR/nap
export NAP_FIFO
mkfifo "$NAP_FIFO"
nap_init

# Every step may be done already; what is really missing shows in the tests.
prepare_machine() {
	modprobe -a configfs dm-mod dm-bufio loop
	modprobe null_blk nr_devices=0
	mountpoint -q /sys/kernel/config ||
		mount -t configfs configfs /sys/kernel/config
	mountpoint -q /sys/kernel/debug ||
		mount -t debugfs debugfs /sys/kernel/debug
	mkdir -p /dev/mapper
	hot_programs "$RUN_DIR/hot"
	# udev opens every new device for a moment, which makes it busy at random.
	if [ -e /run/udev/control ]; then
		udevadm control --exit
		rm -f /run/udev/control
	fi
} >"$RUN_DIR/prepare" 2>&1
prepare_machine

# The console is slow and the tests make the kernel talk: only what announces
# the end of the world goes there. The follower below reads everything.
read -r console_level _ </proc/sys/kernel/printk
echo 3 >/proc/sys/kernel/printk

"$SVOL_TEST" klog "$KLOG" &
klog_pid=$!
finish() {
	kill "$klog_pid" 2>/dev/null
	echo "$console_level" >/proc/sys/kernel/printk
	hot_end
	rm -rf "$RUN_DIR"
}
trap finish EXIT
for ((i = 0; i < 100; i++)); do
	[ -s "$KLOG" ] && break
	nap 0.1
done
[ -s "$KLOG" ] || die 'the kernel log cannot be followed'


load_dependencies
if ! why=$(load_module 2>&1); then
	die "the module does not load: $why: $(tail -n 1 "$KLOG")"
fi
unload_module

# --- One test ------------------------------------------------------------------

# Starts a test in a session of its own and waits for it, at most its limit.
# Sets STATUS to its exit status, or to "hung".
start_and_wait() { # suite test limit
	local began=$SECONDS step=0.02
	setsid bash "$TESTS/one.sh" "$1" "$2" >"$OUT" 2>&1 </dev/null &
	TEST_PID=$!
	while [ $((SECONDS - began)) -lt "$3" ]; do
		if has_ended "$TEST_PID"; then
			wait "$TEST_PID" 2>/dev/null
			STATUS=$?
			# Only a test that came to its end leaves its status.
			[ -s "$TEST_DIR/status" ] || STATUS="$STATUS, without an end"
			return
		fi
		nap "$step"
		[ $((SECONDS - began)) -lt 5 ] || step=0.2
	done
	STATUS=hung
	show_blocked
	# It gets killed; bash has nothing to say about that.
	disown "$TEST_PID"
}

run_test() { # suite test limit
	local suite=$1 test=$2 limit=$3 name=$1.$2 began=$EPOCHREALTIME
	local problems=() well=yes
	TEST_DIR=$RUN_DIR/test
	OUT=$RUN_DIR/out
	export TEST_DIR
	rm -rf "$TEST_DIR"
	mkdir "$TEST_DIR"
	: >"$TEST_DIR/expected_log"
	clean_remember
	# A log of its own for each test: the follower appends.
	: >"$KLOG"
	echo "<6>svol-test: begin $name" >/dev/kmsg

	start_and_wait "$suite" "$test" "$limit"
	case $STATUS in
	0 | 77) ;;
	hung) problems+=("no end within $limit s") ;;
	*) problems+=("exit status $STATUS") ;;
	esac

	[ "${#problems[@]}" = 0 ] || well=no
	CLEAN_FATAL=''
	clean_up "$TEST_PID" "$well" >"$RUN_DIR/clean" 2>&1
	[ ! -s "$RUN_DIR/clean" ] || problems+=("clean-up: $(<"$RUN_DIR/clean")")
	[ -z "$CLEAN_FATAL" ] || problems+=("clean-up: $CLEAN_FATAL" "$(cat "$RUN_DIR/hung" 2>/dev/null)")

	mark_and_wait "end $name" || problems+=('the kernel log follower is stuck')
	verdict_log "$TEST_DIR/expected_log" >"$RUN_DIR/verdict" ||
		problems+=("the kernel log has lines that must not be there:" "$(cat "$RUN_DIR/verdict")")

	tap_seconds "$began"
	if [ "${#problems[@]}" = 0 ] && [ "$STATUS" = 77 ]; then
		tap_skip "$name" "$(cat "$TEST_DIR/skip" 2>/dev/null)"
	elif [ "${#problems[@]}" = 0 ] && [ -s "$TEST_DIR/cases" ]; then
		tap_cases "$suite" "$TEST_DIR/cases" "$pattern"
	elif [ "${#problems[@]}" = 0 ]; then
		tap_notes "$TEST_DIR/notes"
		tap_ok "$name"
	else
		[ ! -s "$TEST_DIR/cases" ] || tap_cases "$suite" "$TEST_DIR/cases" "$pattern"
		tap_not_ok "$name" "${problems[@]}"
		tap_notes "$TEST_DIR/notes"
		tap_output 'output' "$OUT"
		tap_output 'kernel log' "$KLOG"
	fi
	if [ -n "$CLEAN_FATAL" ]; then
		tap_plan
		die "$CLEAN_FATAL after $name: the machine is not fit for more tests"
	fi
}

# --- The loop --------------------------------------------------------------------

run_suite() { # suite, or nothing for all
	local name limit
	tap_begin
	printf '# kernel %s, seed SVOL_SEED=%s\n' "$(uname -r)" "$SVOL_SEED"
	# What the machine leaked before is not ours.
	[ ! -w "$KMEMLEAK" ] || printf 'scan\nclear\n' | while read -r command; do
		echo "$command" >"$KMEMLEAK"
	done
	while read -r name limit; do
		run_test "${name%%.*}" "${name#*.}" "$limit"
	done < <(suite_select "$1" "$smoke" "$pattern")
	if [ -w "$KMEMLEAK" ] && [ "$TAP_COUNT" -gt 0 ]; then
		run_test kmemleak scan 300
	fi
	tap_plan
}

if [ -n "$share" ]; then
	for suite in "${suites[@]}"; do
		mkdir "$share/$suite" 2>/dev/null || continue
		echo "# suite $suite"
		run_suite "$suite"
	done
	# What failed stands in the output.
	exit 0
fi
run_suite "${suites[0]-}"
if [ "$TAP_COUNT" = 0 ]; then
	echo '# no test matches' >&2
	exit 3
fi
[ "$TAP_FAILED" = 0 ]
