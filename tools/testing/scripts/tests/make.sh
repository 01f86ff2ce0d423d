# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the Makefile offers.

# The words of a variable-like line of the Makefile, one per line.
words_of() { # <keyword>
	sed -n "s/^$1 //p" "$PROJECT/Makefile" | tr ' ' '\n' | sort
}

test_help_names_all_targets() {
	"$PROJECT/scripts/help" > help
	make -s -C "$PROJECT" help > help.make
	assert_eq 'what make help prints' "$(cat help.make)" "$(cat help)"
	# Plain make is the target module; help itself is what one sees.
	assert_match 'the help' "$(cat help)" $'\n  make  +builds dm-svol\.ko\n'
	assert_eq 'the targets in the help' "$(sed -n 's/^  make \([a-z-]\+\) .*/\1/p' help | sort)" \
		"$(words_of .PHONY: | grep -vx -e module -e help)"
}

test_help_names_all_settings() {
	local name
	"$PROJECT/scripts/help" > help
	for name in $(words_of export); do
		grep -Eq -- "(^  |[ \`])\\\$?$name=" help || fail "the help does not name $name"
	done
}
