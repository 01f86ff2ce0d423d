# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Lists of lines that must be refused, each with words that the explanation in
# the kernel log must hold. A list is collected first and tried by one process.

begin_refusals() {
	REFUSED_WORDS=()
	REFUSED_ERRORS=()
	REFUSED_LINES=()
	REFUSED_FOUND=()
}

# One line that must be refused with one of these errors ("EINVAL|EBUSY"; empty
# for any). The words are separated by `;`, alternatives of a word by `|`. They
# have to be there as words, not as parts of longer ones; case does not count.
refusal() { # errors words line
	REFUSED_ERRORS+=("$1")
	REFUSED_WORDS+=("$2")
	REFUSED_LINES+=("$3")
}

# A table.
refuses() { # words table
	refusal '' "$1" "$2"
}

# Parameters for a group of the usual length.
refuses_group() { # words parameters
	refusal '' "$1" "0 $G_LEN svol-group $2"
}

# The alternatives of a word: one of them has to be there.
refusal_says() { # text alternatives
	local alternative alternatives before after
	IFS='|' read -ra alternatives <<<"${2,,}"
	for alternative in "${alternatives[@]}"; do
		before='' after=''
		[[ $alternative != [a-z0-9_]* ]] || before='(^|[^a-z0-9_])'
		[[ $alternative != *[a-z0-9_] ]] || after='([^a-z0-9_]|$)'
		[[ ! ${1,,} =~ $before"$alternative"$after ]] || return 0
	done
	return 1
}

check_refusal() { # number result log-of-this-line core-line-wanted
	local line=${REFUSED_LINES[$1]} said words word
	if [ "$2" = ok ]; then
		REFUSED_FOUND+=("accepted: $line")
		return
	fi
	[[ -z ${REFUSED_ERRORS[$1]} || "|${REFUSED_ERRORS[$1]}|" == *"|$2|"* ]] ||
		REFUSED_FOUND+=("the error is $2, not ${REFUSED_ERRORS[$1]}: $line")
	[[ $4 = no || $3 == *'device-mapper: table: '*': svol'* ]] ||
		REFUSED_FOUND+=("no reason for the device-mapper core: $line")
	said=$(grep '^dm_svol: ' <<<"$3" || :)
	IFS=';' read -ra words <<<"${REFUSED_WORDS[$1]}"
	for word in "${words[@]}"; do
		refusal_says "$said" "$word" ||
			REFUSED_FOUND+=("\"$word\" is not named: $line" "    said: ${said:-nothing}")
	done
	[[ $said != *$'\n'* ]] ||
		REFUSED_FOUND+=("more than one line about: $line" "    said: $said")
}

# Ends a list: every line is refused, for the reason that was asked for. Tables
# are tried on a device without a table, messages on the group.
check_refusals() { # [messages]
	local i log device=bad core=yes options=() results
	if [ "${1:-}" = messages ]; then
		device=$G_NAME core=no options=(--messages)
	else
		expect_refused_tables
		dm_exists bad || dmsetup create bad --notable
	fi
	printf '%s\n' "${REFUSED_LINES[@]}" >lines
	log_mark
	"$SVOL_TEST" try-lines "$device" --lines lines "${options[@]}" >results
	mapfile -t results <results
	assert_eq 'the number of results' "${#results[@]}" "${#REFUSED_LINES[@]}"
	log_since_mark >log
	# One record for each line; the first one is what came before all of them.
	mapfile -d $'\x01' -t log < <(sed 's/^svol-test: line [0-9]*$/\x01/' log)
	for i in "${!REFUSED_LINES[@]}"; do
		check_refusal "$i" "${results[i]}" "${log[i + 1]-}" "$core"
	done
	[ "${#REFUSED_FOUND[@]}" = 0 ] ||
		fail "$(printf '%s\n' "${#REFUSED_FOUND[@]} findings:" "${REFUSED_FOUND[@]}")"
}
