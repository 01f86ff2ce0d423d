# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Lists of lines that must be refused, each with words that the explanation in
# the kernel log must hold. The log is looked at once, when the list is done:
# waiting for it after each line would take longer than the rest.

# Starts a list of table lines. They are loaded on a device without a table.
begin_refusals() {
	REFUSED_WORDS=()
	REFUSED_LINES=()
	REFUSED_WRONG=()
	expect_refused_tables
	dm_exists bad || dmsetup create bad --notable
	log_mark
}

next_refusal() { # words line
	echo "<6>svol-test: refusal ${#REFUSED_LINES[@]}" >/dev/kmsg
	REFUSED_WORDS+=("$1")
	REFUSED_LINES+=("$2")
}

# One line that must be refused. The words are separated by `;` and compared
# without regard to case; an empty list asks for no explanation by the module.
refuses() { # words table
	next_refusal "$1" "$2"
	if dmsetup load bad --table "$2" 2>/dev/null; then
		REFUSED_WRONG+=("accepted: $2")
		dmsetup clear bad
	fi
}

# One line of parameters for a group of the usual length.
refuses_group() { # words parameters
	refuses "$1" "0 $G_LEN svol-group $2"
}

# One message that must be refused with an error text of dmsetup.
refuses_message() { # error words message
	local error=$1
	next_refusal "$2" "$3"
	# shellcheck disable=SC2086 # the message is made of words
	if OUTPUT=$(dmsetup message "$G_NAME" 0 $3 2>&1); then
		REFUSED_WRONG+=("accepted: $3")
	elif [[ $OUTPUT != *"$error"* ]]; then
		REFUSED_WRONG+=("$3: the error is \"$OUTPUT\", not \"$error\"")
	fi
}

# The part of the log that belongs to one line of the list.
refusal_log() { # number log
	awk -v from="svol-test: refusal $1" '
		/^svol-test: refusal / { seen = $0 == from; next }
		seen' <<<"$2"
}

check_refusal() { # number log core-line-wanted
	local said words word
	said=$(refusal_log "$1" "$2")
	[ "$3" = no ] || [ -z "${REFUSED_WORDS[$1]}" ] ||
		grep -qE '^device-mapper: table: .*: svol' <<<"$said" ||
		REFUSED_WRONG+=("no reason for the device-mapper core: ${REFUSED_LINES[$1]}")
	[ -n "${REFUSED_WORDS[$1]}" ] || return 0
	said=$(grep '^dm_svol: ' <<<"$said" || :)
	IFS=';' read -ra words <<<"${REFUSED_WORDS[$1]}"
	for word in "${words[@]}"; do
		[[ ${said,,} == *"${word,,}"* ]] ||
			REFUSED_WRONG+=("\"$word\" is not named: ${REFUSED_LINES[$1]}"
				"    said: ${said:-nothing}")
	done
	[ "$(grep -c . <<<"$said")" -le 1 ] ||
		REFUSED_WRONG+=("more than one line about: ${REFUSED_LINES[$1]}" "    said: $said")
}

# Ends a list: every line was refused, for the reason that was asked for.
check_refusals() { # [message]
	local log i core=yes
	[ "${1:-}" != message ] || core=no
	log=$(log_since_mark)
	for i in "${!REFUSED_LINES[@]}"; do
		check_refusal "$i" "$log" "$core"
	done
	[ "${#REFUSED_WRONG[@]}" = 0 ] ||
		fail "$(printf '%s\n' "${#REFUSED_WRONG[@]} findings:" "${REFUSED_WRONG[@]}")"
}
