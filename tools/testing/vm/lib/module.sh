# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Loading and unloading of the module.

KUNIT_FILTER=/sys/module/kunit/parameters/filter_glob

# Loads a module of the kernel, or skips the test where there is none.
need_module() { # name...
	local name
	for name in "$@"; do
		modprobe "$name" 2>/dev/null || [ -d "/sys/module/${name//-/_}" ] ||
			skip "this kernel has no module $name"
	done
}

# The target may be built in, so that there is no module to ask for.
need_target() { # target
	modprobe "dm-$1" 2>/dev/null || :
	dmsetup targets | grep -q "^$1 " || skip "this kernel has no target $1"
}

# Loads dm_svol without running its KUnit suites: those are a suite of their own.
load_module() {
	[ ! -w "$KUNIT_FILTER" ] || printf 'none' >"$KUNIT_FILTER"
	insmod "$MODULE"
}

unload_module() {
	rmmod dm_svol
}

# How many times something is done: less often on a debug kernel, which takes its time, unless
# the test was asked for by its name.
often() { # times times-on-a-debug-kernel
	if [ -e /proc/lockdep ] && [ -z "${SVOL_LONG-}" ]; then
		echo "$2"
	else
		echo "$1"
	fi
}

# Also what it is built on.
load_dependencies() {
	local name
	for name in $(modinfo -F depends "$MODULE" | tr ',' ' '); do
		modprobe "$name"
	done
}
