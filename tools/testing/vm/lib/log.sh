# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# The kernel log, from inside a test.

LOG_MARKS=0

# Announces lines of level warning or above that this test causes on purpose.
expect_log() { # regex...
	printf '%s\n' "$@" >>"$TEST_DIR/expected_log"
}

# What the device-mapper core says when a constructor refuses.
expect_refused_tables() {
	# The error is a number on kernels that do not know the names of errors.
	expect_log '^device-mapper: table: [0-9:]+: svol(-group)?: .+ \(-(E[A-Z0-9]+|[0-9]+)\)$' \
		'^device-mapper: ioctl: error adding target to table$'
}

# What the device-mapper core says when preresume refuses.
expect_refused_resumes() {
	expect_log '^device-mapper: table: [0-9:]+: svol-group: preresume failed, error = -[0-9]+$'
}

# What the module itself warns of: a disk or a copy that is lost.
expect_warnings() {
	expect_log '^dm_svol: '
}

# Sets a mark; the log since it is what log_since_mark prints.
log_mark() {
	LOG_MARKS=$((LOG_MARKS + 1))
	LOG_MARK="svol-test: mark $$.$LOG_MARKS"
	echo "<6>$LOG_MARK" >/dev/kmsg
}

# The texts of the lines since the last mark, without their levels.
log_since_mark() {
	local end="read $$.$LOG_MARKS.$EPOCHREALTIME"
	mark_and_wait "$end" || fail 'the kernel log follower is stuck'
	awk -v from="$LOG_MARK" -v to="svol-test: $end" '
		index($0, to) { exit }
		seen { sub(/^[0-9]+ /, ""); print }
		index($0, from) { seen = 1 }' "$KLOG"
}

# The log since the mark has a line that matches. It may take a moment: of what a worker does, the status
# comes first.
assert_logged() { # regex
	wait_until 10 is_logged "$1" || fail "nothing like \"$1\" in the kernel log: $(log_since_mark)"
}

# All of what `dmesg` prints is too much for a busy machine to look at again and again, and a pipe that
# ends early is a failure.
is_logged() { # regex
	local text
	text=$(log_since_mark)
	grep -qE "$1" <<<"$text"
}

assert_not_logged() { # regex
	local text
	text=$(log_since_mark)
	! grep -E "$1" <<<"$text" || fail "\"$1\" is in the kernel log"
}

# What the module has said of the group.
log_says() { # text
	local text
	text=$(log_since_mark)
	[[ $text == *"dm_svol: G0: $1"* ]]
}
