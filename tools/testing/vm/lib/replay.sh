# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# All devices of a group as parts of one device that dm-log-writes records, so that the
# order of writes and flushes across the devices is known. Every prefix of the record is what a
# power cut may leave.
#
# The workload of `steps` goes in rounds: after each, mark "pre.N", a flush, mark "post.N"; what the
# volumes may hold is kept in the files <mark>.<LID>. Others set a mark "<name>.N" whenever something
# was acknowledged as durable.

# Names of the parts, MiB of each; RECORD_SIZE is the sum.
RECORD_PARTS=()
RECORD_SIZES=()
RECORD_SIZE=0
ROUND=0

# Makes the parts, under names of their own, on a device.
record_legs() { # device
	local i at=0 devices=()
	for i in "${!RECORD_PARTS[@]}"; do
		devices+=("${RECORD_PARTS[i]},,,,0 $((RECORD_SIZES[i] * 2048)) linear $1 $((at * 2048))")
		at=$((at + RECORD_SIZES[i]))
	done
	dm_create_all "${devices[@]}"
}

record_legs_remove() {
	dmsetup remove "${RECORD_PARTS[@]}"
}

record_legs_move() { # device
	record_legs_remove
	record_legs "$1"
}

# The group META, BASE, STORE and more disks, in parts of RECORDED, with their legs in place.
# The base image is on all but META and STORE.
record_disks() { # "part=MiB"...
	local pair part
	need_target log-writes
	need_target snapshot
	for pair in "$@"; do
		RECORD_PARTS+=("${pair%=*}")
		RECORD_SIZES+=("${pair#*=}")
		RECORD_SIZE=$((RECORD_SIZE + ${pair#*=}))
	done
	new_disks 'RECORDED REPLAYED SCRATCH' "$RECORD_SIZE"
	new_disk RECORD_LOG 256
	record_legs "$RECORDED"
	for part in "${RECORD_PARTS[@]}"; do
		case $part in
		meta | store) ;;
		*) "$SVOL_TEST" fill --seed "$SEED" "/dev/mapper/$part" ;;
		esac
	done
}

# From here on everything is recorded. No group may be up.
record_start() {
	dd if="$RECORDED" of="$REPLAYED" bs=1M iflag=direct oflag=direct status=none
	dmsetup create recorded \
		--table "0 $((RECORD_SIZE * 2048)) log-writes $RECORDED $RECORD_LOG"
	record_legs_move /dev/mapper/recorded
}

record_note() { # name
	dmsetup message recorded 0 mark "$1"
}

record_mark() { # name
	local lid
	record_note "$1"
	for lid in "${CLONES[@]}"; do
		cp "s.$lid" "$1.$lid"
	done
}

# One round: the steps of each volume as "LID step..." words, then the flushes.
record_round() { # "LID step..."...
	local line words lid
	ROUND=$((ROUND + 1))
	for line in "$@"; do
		read -ra words <<<"$line"
		steps "${words[@]}"
	done
	record_mark "pre.$ROUND"
	for lid in "${CLONES[@]}"; do
		steps "$lid" flush
	done
	record_mark "post.$ROUND"
}

# The end of the record; the group is down.
record_stop() {
	record_legs_remove
	dmsetup remove recorded
}

# What the volumes may hold after so many entries: sets STATE to a mark, and AFTER to the option
# for it. A point at a mark "post.N" has all that was flushed; one before it may have more.
replay_state() { # entries
	local number kind name
	STATE='' AFTER=()
	while read -r number kind name; do
		[ "$kind" = mark ] || continue
		if [ "$number" = "$1" ]; then
			STATE=$name
			[[ $name == post.* ]] || AFTER=(--after-crash)
			return
		fi
		# The first mark that comes later knows of all writes before it, whatever it is: what
		# the flushes before a "post" add is nothing new.
		if [ "$number" -gt "$1" ]; then
			STATE=pre.${name#*.} AFTER=(--after-crash)
			return
		fi
	done <marks
}

# How many were acknowledged within so many entries, by the marks "<name>.N".
replay_acked() { # entries name
	awk -v at="$1" -v name="$2." '
		$1 > at { exit }
		$2 == "mark" && index($3, name) == 1 { acked = substr($3, length(name) + 1) }
		END { print acked + 0 }' marks
}

# No device of the group has damage, seen from outside. What a cut leaves behind is none.
replay_tool() { # when
	local part
	for part in "${RECORD_PARTS[@]}"; do
		case $part in
		meta* | store*) "$SVOL" check "/dev/mapper/$part" >svol.check ||
			fail "svol check of $part, $1: status $?: $(cat svol.check)" ;;
		esac
	done
}

# Starts the group from the first so many entries. What it writes goes to a snapshot, so that the
# next point finds what the record says: the device below is not written as long as that lives.
replay_start() { # entries
	dmsetup create scratch --table "0 $((RECORD_SIZE * 2048)) snapshot $REPLAYED $SCRATCH N 8"
	record_legs /dev/mapper/scratch
	replay_tool "after $1 entries, before the start"
	group_create || fail "no start after $1 entries"
	clones_create
}

replay_end() { # entries
	clones_remove
	dmsetup remove "$G_NAME"
	replay_tool "after $1 entries, a start and a stop"
	record_legs_remove
	dmsetup remove scratch
}

# Once more, after a clean stop, at some of the points: nothing flips.
replay_again() { # entries command...
	[ $(($1 % 5)) = 0 ] || return 0
	clones_restart
	"${@:2}"
}

# Compares the volumes after so many entries with what the rounds left.
replay_check() { # entries
	local lid
	replay_state "$1"
	replay_start "$1"
	for lid in "${CLONES[@]}"; do
		cp "$STATE.$lid" "s.$lid"
		steps "$lid" check ${AFTER[@]+"${AFTER[@]}"} ||
			fail "$lid is wrong after $1 entries ($STATE ${AFTER[*]-})"
	done
	replay_again "$1" check_clones
	replay_end "$1"
}

# The points to stop at, into the files points and between: flushes, FUA writes and marks, up to two
# thirds of the number, and where these are not all, some more marks, since one knows most there; and
# the rest of it, at least half, evenly at all other entries. Where a mark follows a flush, it
# stands for both: the devices are the same. Every mark "post.N" is one of the points.
replay_points() { # first last points
	awk -v first="$1" -v last="$2" -v points="$3" '
		# Whether number i of count is one of at most so many that are taken.
		function taken(i, count, most) {
			return count <= most || int(i * most / count) > int((i - 1) * most / count)
		}
		$1 < first || $1 > last { next }
		$2 == "mark" && kind != "mark" && $1 == stops[count] + 1 { count-- }
		{ stops[++count] = $1; named[$1] = 1; post[count] = $3 ~ /^post\./; kind = $2 }
		$2 == "mark" { mark[count] = ++marks }
		END {
			for (i = 1; i <= count; i++)
				if (post[i] || taken(i, count, int(points * 2 / 3 + 0.9)) ||
				    i in mark && taken(mark[i], marks, int(points / 2)))
					print stops[i] > "points"
			most = points - count
			if (most < points / 2)
				most = int(points / 2 + 0.5)
			others = last - first + 1 - length(named)
			for (at = first; at <= last; at++)
				if (!(at in named) && taken(++other, others, most))
					print at > "between"
			print count > "stops"
		}' marks
	touch between
}

# Goes through the record from a mark on, stops at about so many points, and runs a command with the
# number of entries at each.
replay_all() { # first-mark points [command]
	local first last point done=0
	# The target sets a mark of its own at the end.
	"$SVOL_TEST" log-writes "$RECORD_LOG" --marks | grep -v ' mark dm-log-writes-end$' >marks
	first=$(awk -v name="$1" '$2 == "mark" && $3 == name { print $1 }' marks)
	last=$(awk '$2 == "mark" { last = $1 } END { print last }' marks)
	replay_points "$first" "$last" "$2"
	sort -nu points between >sorted
	while read -r -u 3 point; do
		"$SVOL_TEST" log-writes "$RECORD_LOG" --from "$done" --entries "$point" --to "$REPLAYED"
		done=$point
		"${3:-replay_check}" "$point"
	done 3<sorted
	note "$(wc -l <points) of $(<stops) flushes, FUA writes and marks, and $(wc -l <between) entries between," \
		"of $((last - first)) in all"
}
