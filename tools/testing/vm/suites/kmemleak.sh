# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Not chosen like other suites: run.sh runs it last, where the kernel has kmemleak.
# No smoke test: the stock kernel has no kmemleak.

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

KMEMLEAK=/sys/kernel/debug/kmemleak

test_scan() {
	local reports
	# An object counts as leaked only after some seconds without a reference, and
	# a second look drops what was merely on its way.
	nap 6
	echo scan >"$KMEMLEAK"
	echo scan >"$KMEMLEAK"
	reports=$(cat "$KMEMLEAK")
	[ -z "$reports" ] || fail "$reports"
}
