# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# The module's KUnit suites, which run when it is loaded. Each case becomes a
# test of its own.
# No smoke test: the stock kernel has no KUnit.

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

supported() {
	# Set while the kernel was configured, so there without any module loaded.
	modprobe kunit 2>/dev/null
	[ -d /sys/module/kunit ] && module_has_suites
}

# A module built without KUnit has no section with suites.
module_has_suites() {
	grep -qa '\.kunit_test_suites' "$DM_SVOL_KO"
}

# The cases out of the kernel log: "ok|not_ok|skip <suite>.<case> [text]". The
# lines of a case are indented by four, the line of its suite, which comes after
# its cases, is not; the header of a suite names it in front.
kunit_cases() {
	awk '
		/^ *# Subtest: / { suite = $NF }
		/^ +(not )?ok [0-9]+ / {
			result = $1 == "not" ? "not_ok" : "ok"
			sub(/^ +(not )?ok [0-9]+ (- )?/, "")
			name = $1
			if (/# SKIP/) result = "skip"
			sub(/^[^ ]+ ?/, "")
			sub(/^# SKIP ?/, "")
			print result, suite "." name, $0
		}'
}

test_cases() {
	local log suites
	# What a failing case says is in the log that the runner shows; lines of level
	# warning on top of it would say nothing new.
	printf '*' >/sys/module/kunit/parameters/filter_glob
	load_dependencies
	log_mark
	insmod "$MODULE"
	log=$(log_since_mark)
	unload_module
	kunit_cases <<<"$log" >"$TEST_DIR/found"
	suites=$(grep -c '# Subtest: dm_svol_' <<<"$log" || :)
	assert_at_least 'the number of suites' "$suites" 1
	# A suite that died on the way has a header but no result.
	assert_eq 'the number of results of suites' \
		"$(grep -cE '^(not )?ok [0-9]+ (- )?dm_svol_' <<<"$log" || :)" "$suites"
	grep 'dm_svol_' "$TEST_DIR/found" >"$TEST_DIR/cases"
}
