# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Assertions. A test runs under `set -e`: any failing command fails it.

# Ends the test as failed.
fail() { # text
	printf 'FAILED: %s\n' "$*" >&2
	return 1
}

# Ends the test as skipped.
skip() { # reason
	printf '%s\n' "$*" >"$TEST_DIR/skip"
	exit 77
}

# A remark that is shown whatever the result is.
note() { # text
	printf '%s\n' "$*" >>"$TEST_DIR/notes"
}

# Reports the result of one case of a test that has its own names for them.
report_case() { # ok|not_ok|skip name [text]
	printf '%s\n' "$*" >>"$TEST_DIR/cases"
}

assert_eq() { # what got wanted
	[ "$2" = "$3" ] || fail "$1 is \"$2\", not \"$3\""
}

assert_match() { # what text regex
	[[ $2 =~ $3 ]] || fail "$1 does not match \"$3\": $2"
}

assert_at_least() { # what number least
	[ "$2" -ge "$3" ] || fail "$1 is $2, less than $3"
}

# Runs a command that has to fail; its output is in $OUTPUT.
must_fail() { # command...
	if OUTPUT=$("$@" 2>&1); then
		fail "succeeded, but must not: $*"
		return 1
	fi
	printf '%s\n' "$OUTPUT"
}

# Runs a command that has to fail with an error text that matches.
must_fail_with() { # regex command...
	local regex=$1
	shift
	must_fail "$@"
	assert_match "the error of \"$*\"" "$OUTPUT" "$regex"
}
