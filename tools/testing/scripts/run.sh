#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# run.sh [--list] [<pattern>]: tests scripts/ and the Makefile, on this machine and without its cache. Prints
# TAP. The pattern chooses by name, as scripts.help.
#
# A test is a function test_<name> of a file tests/*.sh, run by one.sh. KERNEL says which provisioned kernel
# serves those that need a module (built before) or a virtual machine.
. "$(dirname -- "${BASH_SOURCE[0]}")/../../../scripts/lib/all.sh"
tests=$project/tools/testing/scripts
. "$project/tools/testing/vm/lib/tap.sh"

# Nothing here takes long, but for a machine.
limit=600

selected() { # <pattern>: lines "<file> <name>"
	local file name
	for file in "$tests"/tests/*.sh; do
		while read -r name; do
			# shellcheck disable=SC2053 # a pattern is wanted
			[[ scripts.$name != *$1* ]] || echo "$file $name"
		done < <(sed -n 's/^test_\([a-z0-9_]*\)() {.*/\1/p' "$file")
	done
}

# A test gets nothing of what make and the user have set for this run, but the kernel.
run_test() { # <file> <name>
	local dir status=0 began=$EPOCHREALTIME
	dir=$(mktemp -d "${TMPDIR:-/tmp}/dm-svol-test-XXXXXX")
	mkdir "$dir/test"
	env -i "PATH=$PATH" "HOME=$HOME" "TEST_DIR=$dir/test" "PROJECT=$project" "CACHE=$cache" "TREE=$tree" \
		"KERNEL=$KERNEL" timeout --kill-after=10 "$limit" "$BASH" "$tests/one.sh" "$@" \
		> "$dir/out" 2>&1 < /dev/null || status=$?
	tap_seconds "$began"
	if ((status == 0)); then
		tap_ok "scripts.$2"
	else
		tap_not_ok "scripts.$2" "exit status $status"
		tap_output output "$dir/out"
	fi
	rm -rf -- "$dir"
}

if [[ ${1-} == --list ]]; then
	selected "${2-}" | sed 's/.* /scripts./'
	exit
fi
: "${KERNEL:=plain}"
need_tree build
tap_begin
while read -r file name; do
	run_test "$file" "$name"
done < <(selected "${1-${TEST-}}")
tap_plan
((TAP_FAILED == 0))
