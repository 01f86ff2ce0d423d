# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# All devices of a group as parts of one device that dm-log-writes records, so that the
# order of writes and flushes across the devices is known. Every prefix of the record is what a
# power cut may leave.
#
# The workload goes in rounds: after each, mark "pre.N", a flush, mark "post.N"; what the volumes
# may hold is kept in the files <mark>.<LID>.

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

record_mark() { # name
	local lid
	dmsetup message recorded 0 mark "$1"
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

# Starts the group from the first so many entries, and compares.
replay_check() { # entries
	local lid
	dd if="$REPLAYED" of="$SCRATCH" bs=1M iflag=direct oflag=direct status=none
	replay_state "$1"
	record_legs "$SCRATCH"
	group_create || fail "no start after $1 entries, before $STATE"
	clones_create
	for lid in "${CLONES[@]}"; do
		cp "$STATE.$lid" "s.$lid"
		steps "$lid" check ${AFTER[@]+"${AFTER[@]}"} ||
			fail "$lid is wrong after $1 entries ($STATE ${AFTER[*]-})"
	done
	dmsetup remove "${CLONES[@]}" "$G_NAME"
	# Once more, after a clean stop: nothing flips.
	if [ $(($1 % 5)) = 0 ]; then
		group_create
		clones_create
		check_clones
		dmsetup remove "${CLONES[@]}" "$G_NAME"
	fi
	record_legs_remove
}

# Goes through the record, from a mark on: to every mark (or those after flushes, if few points are
# asked for), and to a share of the flushes, FUA writes and of the entries between, so that there are
# about so many points.
replay_all() { # first-mark points
	local first=1 last point done=0 step checked=0
	# The target sets a mark of its own at the end.
	"$SVOL_TEST" log-writes "$RECORD_LOG" --marks | grep -v ' mark dm-log-writes-end$' >marks
	first=$(awk -v name="$1" '$2 == "mark" && $3 == name { print $1 }' marks)
	last=$(awk '$2 == "mark" { last = $1 } END { print last }' marks)
	step=$(((last - first) / $2 + 1))
	awk -v first="$first" -v last="$last" -v step="$step" -v few=$(($2 < 50)) '
		$1 < first || $1 > last { next }
		$2 == "mark" && (few == 0 || $3 ~ /^post/) { print $1 }
		$2 == "mark" { next }
		++flushes % step == 0 { print $1 }' marks >points
	for ((point = first; point <= last; point += step)); do
		echo "$point"
	done >>points
	sort -nu points >sorted
	while read -r point; do
		"$SVOL_TEST" log-writes "$RECORD_LOG" --from "$done" --entries "$point" --to "$REPLAYED"
		done=$point
		replay_check "$point"
		checked=$((checked + 1))
	done <sorted
	note "$checked points of $((last - first)) entries"
}
