# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# The status line of a group, by the names of its fields.

# After read_status: ${ST[state]}, ${ST[LV0.health]}, ...
declare -gA ST

STATUS_HEAD=(name state redundancy events metadata volumes fields)
STATUS_VOLUME=(lid attr health protection disk rlid freq read_errors write_errors blocks repairs)

read_status() {
	local line words i volume at lid
	line=$(dmsetup status "$G_NAME")
	# Start, length and type come from the device-mapper core.
	read -ra words <<<"$line"
	assert_eq 'the target type' "${words[2]}" svol-group
	words=("${words[@]:3}")
	ST=([line]="$line")
	for i in "${!STATUS_HEAD[@]}"; do
		ST[${STATUS_HEAD[i]}]=${words[i]}
	done
	ST[lids]=''
	for ((volume = 0; volume < ST[volumes]; volume++)); do
		at=$((${#STATUS_HEAD[@]} + volume * ST[fields]))
		lid=${words[at]}
		ST[lids]+="${ST[lids]:+ }$lid"
		for i in "${!STATUS_VOLUME[@]}"; do
			ST[$lid.${STATUS_VOLUME[i]}]=${words[at + i]}
		done
	done
	assert_eq 'the number of words in the status' "${#words[@]}" \
		$((${#STATUS_HEAD[@]} + ST[volumes] * ST[fields]))
}

# Fields of the status as last read: "state=clean LV0.health=in-sync" ...
assert_status() { # name=value...
	local pair name
	for pair in "$@"; do
		name=${pair%%=*}
		[ "${ST[$name]-no such field}" = "${pair#*=}" ] ||
			fail "$name is \"${ST[$name]-}\", not \"${pair#*=}\": ${ST[line]}"
	done
}

# So many blocks of a volume are done.
progress_is() { # LID blocks
	read_status
	[[ ${ST[$1.blocks]} == */* ]] && [ "${ST[$1.blocks]%/*}" -ge "$2" ]
}

health_is() { # LID health
	read_status
	[ "${ST[$1.health]}" = "$2" ]
}

wait_health() { # LID health [seconds]
	wait_until "${3:-60}" health_is "$1" "$2" || fail "$1 is ${ST[$1.health]}: ${ST[line]}"
}

lives_on() { # LID LID-of-the-disk
	read_status
	[ "${ST[$1.health]} ${ST[$1.disk]}" = "in-sync $2" ]
}

# As lives_on, and no other disk is being filled for it.
rests_on() { # LID LID-of-the-disk
	lives_on "$@" && [ "${ST[$1.blocks]}" = - ]
}

wait_lives_on() { # LID LID-of-the-disk
	wait_until 90 rests_on "$@" || fail "$1 does not live on $2: ${ST[line]}"
}
