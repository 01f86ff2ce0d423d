# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# What suites and tests there are. A suite is a file suites/<name>.sh with
#
#   # Smoke: a b       the tests of the smoke subset (none: the header says why)
#   # Limits: c=120    time limits in seconds that differ from the default
#   supported() {...} optional; where it fails, the suite is left out
#   test_<name>() {   the tests, in the order of the file

SUITE_LIMIT=600
SUITES=$TESTS/suites

suite_value() { # suite field
	sed -n "s/^# $2: //p" "$SUITES/$1.sh"
}

suite_tests() { # suite
	sed -n 's/^test_\([a-z0-9_]*\)() {.*/\1/p' "$SUITES/$1.sh"
}

suite_supported() { # suite
	! grep -q '^supported() {' "$SUITES/$1.sh" ||
		bash -c ". '$SUITES/$1.sh'; supported" 2>/dev/null
}

# A debug kernel with its checks takes its time.
suite_limit_of() { # test limits
	local limit=$SUITE_LIMIT item
	for item in $2; do
		[ "${item%%=*}" != "$1" ] || limit=${item#*=}
	done
	[ ! -e /proc/lockdep ] || limit=$((limit * 4))
	# Whoever asks for a longer run gets it.
	limit=$((limit * ${SVOL_SCALE:-1}))
	[ -z "${SVOL_SECONDS:-}" ] || limit=$((limit + 3 * SVOL_SECONDS))
	echo "$limit"
}

# The chosen tests, one per line: name and time limit. A suite that reports its
# cases by itself is chosen when the pattern can mean one of its cases.
suite_select() { # only-suite smoke pattern
	local file suite test name smoke limits
	for file in "$SUITES"/*.sh; do
		suite=${file##*/}
		suite=${suite%.sh}
		[ "$suite" != kmemleak ] || continue
		[ -z "$1" ] || [ "$1" = "$suite" ] || continue
		suite_supported "$suite" || continue
		smoke=" $(suite_value "$suite" Smoke) "
		limits=$(suite_value "$suite" Limits)
		for test in $(suite_tests "$suite"); do
			name=$suite.$test
			[ "$2" = no ] || [[ $smoke == *" $test "* ]] || continue
			# shellcheck disable=SC2053 # a pattern is wanted
			[[ $name == *$3* || ($test == cases && $3 == "$suite".*) ]] || continue
			echo "$name $(suite_limit_of "$test" "$limits")"
		done
	done
}
