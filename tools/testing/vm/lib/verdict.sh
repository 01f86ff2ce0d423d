# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# The judgement on the kernel log of one test. $KLOG is the file that
# `svol-test klog` writes: "<level> <text>" per line.

VERDICT_ALLOWED=$(dirname "${BASH_SOURCE[0]}")/log-allowed

# What is wrong at any level: some reports come as plain information.
VERDICT_NEVER='BUG|WARNING:|Oops|KASAN|KCSAN|UBSAN|possible (circular|recursive) locking'
VERDICT_NEVER+='|suspicious RCU|inconsistent lock state|detected stall|self-detected stall'
VERDICT_NEVER+='|blocked for more than|soft lockup|hard LOCKUP|kmemleak: [0-9]+ new'
VERDICT_NEVER+='|refcount_t|bad page|list_(add|del) corruption|dm_svol: .*leak'
VERDICT_NEVER+='|Objects remaining|general protection fault|call trace'

# Prints the lines of the log that neither the allowed list nor the test
# announced; fails if there are any.
verdict_log() { # file-of-expected-regexes
	awk -v never="$VERDICT_NEVER" '
		FILENAME != ARGV[3] {
			sub(/[[:space:]]*#.*/, "")
			if ($0 != "") allowed[++count] = $0
			next
		}
		# Own marks, of which the names may say anything.
		/^6 svol-test: / { next }
		# What the module says to a user may quote any words of his.
		/^[56] dm_svol: / && !/leak/ { next }
		$1 <= 4 || $0 ~ never {
			sub(/^[0-9]+ /, "")
			for (i = 1; i <= count; i++)
				if ($0 ~ allowed[i]) next
			print
			bad = 1
		}
		END { exit bad }' "$VERDICT_ALLOWED" "$1" "$KLOG"
}
