# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Output in the Test Anything Protocol.

# How many lines of a failed test's output and kernel log are shown.
TAP_LINES=60

tap_begin() {
	TAP_COUNT=0
	TAP_FAILED=0
	TAP_TIME=''
	echo 'TAP version 13'
}

tap_plan() {
	printf '1..%s\n' "$TAP_COUNT"
}

# Remembers how long the test took since that time.
tap_seconds() { # start in EPOCHREALTIME's form
	local now=${EPOCHREALTIME/./} start=${1/./}
	local tenths=$(((now - start) / 100000))
	TAP_TIME="$((tenths / 10)).$((tenths % 10)) s"
}

tap_ok() { # name
	TAP_COUNT=$((TAP_COUNT + 1))
	[ -z "$TAP_TIME" ] || printf '# %s took %s\n' "$1" "$TAP_TIME"
	printf 'ok %s - %s\n' "$TAP_COUNT" "$1"
}

tap_skip() { # name reason
	TAP_COUNT=$((TAP_COUNT + 1))
	printf 'ok %s - %s # SKIP %s\n' "$TAP_COUNT" "$1" "$2"
}

tap_not_ok() { # name reason...
	TAP_COUNT=$((TAP_COUNT + 1))
	TAP_FAILED=$((TAP_FAILED + 1))
	[ -z "$TAP_TIME" ] || printf '# %s took %s\n' "$1" "$TAP_TIME"
	printf 'not ok %s - %s\n' "$TAP_COUNT" "$1"
	shift
	[ $# = 0 ] || printf '%s\n' "$@" | sed 's/^/# /'
}

tap_notes() { # file
	[ ! -s "$1" ] || sed 's/^/# /' "$1"
}

# The end of a file as diagnostics.
tap_output() { # title file
	[ -s "$2" ] || return 0
	printf '# --- %s (last %s lines)\n' "$1" "$TAP_LINES"
	tail -n "$TAP_LINES" "$2" | tr -d '\r' | tr -c '\t\n -~' '?' | sed 's/^/# | /'
}

# The cases that a test reported one by one: "<ok|not_ok|skip> <name> [text]".
tap_cases() { # suite file pattern
	local result name text
	TAP_TIME=''
	while read -r result name text; do
		# shellcheck disable=SC2053 # a pattern is wanted
		[[ $1.$name == *$3* ]] || continue
		case $result in
		ok) tap_ok "$1.$name" ;;
		skip) tap_skip "$1.$name" "$text" ;;
		*) tap_not_ok "$1.$name" ${text:+"$text"} ;;
		esac
	done <"$2"
}
