#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# one.sh <file> <name>: one test in a process of its own, in the folder TEST_DIR.

set -Eeuo pipefail
shopt -s inherit_errexit

on_error() { # <status> <command>
	local i
	printf 'failed with status %s: %s\n' "$1" "$2"
	for ((i = 1; i < ${#BASH_SOURCE[@]} - 1; i++)); do
		printf '  at %s:%s (%s)\n' "${BASH_SOURCE[i]##*/}" "${BASH_LINENO[i - 1]}" "${FUNCNAME[i]}"
	done
} >&2
trap 'on_error "$?" "$BASH_COMMAND"' ERR

cd "$TEST_DIR"
# shellcheck source=lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"
# Whatever a failed test has left running.
trap 'kill_all "$TEST_DIR"' EXIT
# shellcheck source=/dev/null
. "$1"
"test_$2"
