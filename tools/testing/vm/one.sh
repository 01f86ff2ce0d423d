#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# One test in a process of its own, started by run.sh in $TESTS: one.sh SUITE TEST

set -Eeuo pipefail
shopt -s inherit_errexit

# Where a failing command stands, as a list of the calls that led to it.
on_error() {
	local status=$1 command=$2 i
	printf 'failed with status %s: %s\n' "$status" "$command"
	for ((i = 1; i < ${#BASH_SOURCE[@]} - 1; i++)); do
		printf '  at %s:%s (%s)\n' "${BASH_SOURCE[i]##*/}" "${BASH_LINENO[i - 1]}" \
			"${FUNCNAME[i]}"
	done
} >&2

on_exit() {
	local status=$?
	printf '%s\n' "$status" >"$TEST_DIR/status"
}

trap 'on_error "$?" "$BASH_COMMAND"' ERR
trap on_exit EXIT
trap 'exit 143' TERM

cd "$TEST_DIR"
# shellcheck source=/dev/null
. "$TESTS/suites/$1.sh"
nap_init
"test_$2"
