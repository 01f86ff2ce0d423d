# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Damage to an increments store: each structure, one by one. It is reported, and what a
# volume reads afterwards is right or an error, never anything else.
# Smoke: header_is_repaired

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

# Where things are, in sectors: see Documentation/on-disk-format.rst.
HEADERS=(0 8)
OWNERS=(128 384)
OWNERS_COUNT=256
INTENTS=1024
INTENTS_COUNT=2048
ENTRIES=4096

# Three clones with something in the store, taken down; the store is in the file good.
# Blocks of 4 KiB, so that entries of all of them stand in several sectors.
clones_in_store() {
	load_module
	clones_disks 3 4 6
	G_BLOCK=8
	group_create
	clones_create
	steps C1 write:0+1024 write:4000+3 flush
	steps C2 write:512+1024 zero:3000+100 flush
	steps C3 write:1+1 write:5000+1 write:8000+192 flush
	clones_remove
	dmsetup remove G0
	save_good
	expect_refused_tables
	expect_refused_resumes
	expect_log '^device-mapper: table: [0-9:]+: svol: preresume failed, error = -[0-9]+$'
	expect_log '^(I/O error|Buffer I/O error)'
}

# The store and the metadata go together: a store that is older than its group is refused.
save_good() {
	save_disk "$STORE" good
	save_disk "${G_META[0]}" good.meta
}

all_good() {
	load_disk "$STORE" good
	load_disk "${G_META[0]}" good.meta
}

# One sector of the store with zeroes.
zero_sector() { # sector
	dd if=/dev/zero of="$STORE" bs=512 seek="$1" count=1 oflag=direct conv=notrunc status=none
}

# One sector with what another one holds.
copy_sector() { # from to
	dd if=good of=sector bs=512 skip="$1" count=1 status=none
	dd if=sector of="$STORE" bs=512 seek="$2" count=1 oflag=direct conv=notrunc status=none
}

flip() { # sector byte
	"$SVOL_TEST" corrupt "$STORE" --sector "$1" --byte "$2"
}

# The sectors of a range of the good store that hold anything.
used_sectors() { # first count
	"$SVOL_TEST" sectors "$STORE" |
		awk -v first="$1" -v end=$(($1 + $2)) '$1 >= first && $1 < end'
}

# Starts with what is there now. What comes up reads right, or not at all. The log has something to
# say about it, unless it may be silent.
never_wrong() { # what [silently]
	local lid created=()
	ANSWER=right
	log_mark
	if ! group_create 2>group_errors; then
		assert_no_dm G0
		ANSWER=refused
	else
		for lid in "${CLONES[@]}"; do
			if ! svol_create "$lid" 2>svol_errors; then
				ANSWER='volume refused'
				continue
			fi
			created+=("$lid")
			if ! steps "$lid" check >check_errors 2>&1; then
				grep -qE 'EIO|EBADMSG|EREMOTEIO' check_errors ||
					fail "$1: $(cat check_errors)"
				ANSWER='read error'
			fi
		done
		dmsetup remove "${created[@]}" G0
	fi
	[ $# -gt 1 ] || assert_logged '^dm_svol: .*ST'
}

# The other copy serves: everything is right, and the log says what happened.
assert_other_copy_serves() { # what
	never_wrong "$1"
	assert_eq "the start with $1" "$ANSWER" right
	assert_logged '^dm_svol: .*(header|owner|copy|damaged|checksum)'
}

# Nothing is written to a store that is refused.
assert_refused_untouched() { # what
	local before
	before=$(digest "${G_DISKS[@]}")
	never_wrong "$1"
	assert_eq "the start with $1" "$ANSWER" refused
	assert_eq "what the disks hold, with $1" "$(digest "${G_DISKS[@]}")" "$before"
}

right_again() {
	all_good
	group_create
	clones_create
	check_clones
	clones_remove
	dmsetup remove G0
}

# One copy of the header: flipped anywhere, zeroed, or the other copy in its place.
test_header_copies() {
	local copy byte
	clones_in_store
	for copy in 0 1; do
		for byte in 0 44 220 511; do
			all_good
			flip "${HEADERS[copy]}" "$byte"
			assert_other_copy_serves "byte $byte of header $copy flipped"
		done
		all_good
		zero_sector "${HEADERS[copy]}"
		assert_other_copy_serves "header $copy zeroed"
		all_good
		copy_sector "${HEADERS[1 - copy]}" "${HEADERS[copy]}"
		assert_other_copy_serves "header $copy replaced by the other one"
	done
	right_again
}

# What is found damaged is written again.
test_header_is_repaired() {
	clones_in_store
	flip 0 100
	assert_other_copy_serves 'header 0 damaged'
	flip 8 100
	assert_other_copy_serves 'header 1 damaged after a start'
	zero_sector 0
	assert_other_copy_serves 'header 0 zeroed after a start'
	log_mark
	group_create
	assert_not_logged '^dm_svol: .*(damaged|checksum)'
	dmsetup remove G0
	right_again
}

test_both_headers() {
	clones_in_store
	flip 0 172
	flip 8 172
	assert_refused_untouched 'both headers flipped'
	all_good
	zero_sector 0
	flip 8 30
	assert_refused_untouched 'one header zeroed, the other one flipped'
	all_good
	zero_sector 0
	zero_sector 8
	assert_refused_untouched 'both headers zeroed'
	right_again
}

# Each sector of the owner table that is in use, in one copy.
test_owner_copies() {
	local copy sector byte found=0
	clones_in_store
	for copy in 0 1; do
		used_sectors "${OWNERS[copy]}" "$OWNERS_COUNT" >owners
		while read -r sector; do
			found=$((found + 1))
			for byte in 16 $((RANDOM % 512)); do
				all_good
				flip "$sector" "$byte"
				assert_other_copy_serves "byte $byte of sector $sector flipped"
			done
			all_good
			zero_sector "$sector"
			if [ "$copy" = 0 ]; then
				assert_other_copy_serves "sector $sector zeroed"
			else
				# A crash may leave this, too, when an owner is new: nothing to talk about.
				never_wrong "sector $sector zeroed" silently
				assert_eq "the start with sector $sector zeroed" "$ANSWER" right
			fi
		done <owners
		all_good
	done
	assert_eq 'the number of sectors' "$found" 6
	right_again
}

# One copy of a number that nobody has had, which is most of the table: nothing is lost, and it is mended.
test_owner_that_never_was() {
	local copy sector
	clones_in_store
	used_sectors "${OWNERS[0]}" $((2 * OWNERS_COUNT)) >owners
	for copy in 0 1; do
		sector=$((OWNERS[copy] + 200))
		flip "$sector" 40
		assert_other_copy_serves "one copy of a free owner flipped"
		copy_sector "$(head -n 1 owners)" "$sector"
		assert_other_copy_serves "a free owner replaced by another one"
		used_sectors "${OWNERS[0]}" $((2 * OWNERS_COUNT)) | diff owners - ||
			fail 'it is not mended'
	done
	right_again
}

# An owner that nobody knows any more: its volume has lost what it wrote.
test_both_owners() {
	local sector
	clones_in_store
	used_sectors "${OWNERS[0]}" "$OWNERS_COUNT" >owners
	while read -r sector; do
		all_good
		flip "$sector" 40
		flip $((sector + 256)) 40
		never_wrong "both copies of owner $((sector - 128)) flipped"
		[ "$ANSWER" != right ] || fail "owner $((sector - 128)) is not missed"
		all_good
		zero_sector "$sector"
		zero_sector $((sector + 256))
		never_wrong "both copies of owner $((sector - 128)) zeroed"
		[ "$ANSWER" != right ] || fail "owner $((sector - 128)) is not missed"
	done <owners
	right_again
}

# Owners that changed places.
test_misplaced_owners() {
	local first second
	clones_in_store
	used_sectors "${OWNERS[0]}" "$OWNERS_COUNT" >owners
	{ read -r first && read -r second; } <owners
	copy_sector "$first" "$second"
	assert_other_copy_serves 'an owner in the place of another one'
	all_good
	copy_sector "$first" "$second"
	copy_sector "$((first + 256))" "$((second + 256))"
	never_wrong 'both copies of an owner in the place of another one'
	[ "$ANSWER" != right ] || fail 'the owner is not missed'
	right_again
}

# Each sector of entries that is in use, and one that is not: there is no second copy, so
# what it held is not known, but no volume may read anything wrong.
test_entry_sectors() {
	local sector byte answers=''
	clones_in_store
	used_sectors "$ENTRIES" 128 >entries
	assert_eq 'the number of sectors' "$(wc -l <entries)" 128
	for sector in "$ENTRIES" $((ENTRIES + 5)) $((ENTRIES + 127)); do
		for byte in 16 $((64 + RANDOM % 400)); do
			all_good
			flip "$sector" "$byte"
			never_wrong "byte $byte of sector $sector flipped"
			answers+="$ANSWER "
		done
		all_good
		zero_sector "$sector"
		never_wrong "sector $sector zeroed"
		answers+="$ANSWER "
	done
	note "the answers: $answers"
	all_good
	flip "$ENTRIES" 70
	never_wrong 'the first entries flipped'
	[ "$ANSWER" != right ] || fail 'the entries are not missed'
	right_again
}

# Sectors that are right in themselves, in a wrong place or of another store.
test_misplaced_entries() {
	local other volumes meta disks base
	clones_in_store
	copy_sector "$ENTRIES" $((ENTRIES + 1))
	never_wrong 'entries in the place of others'
	[ "$ANSWER" != right ] || fail 'the entries are not missed'
	all_good
	copy_sector $((ENTRIES + 127)) "$ENTRIES"
	never_wrong 'free entries in the place of others'
	[ "$ANSWER" != right ] || fail 'the entries are not missed'
	# The same group again, on other disks, has another store.
	other=$STORE volumes=("${G_VOLUMES[@]}") meta=("${G_META[@]}") disks=("${G_DISKS[@]}") base=$BASE_DISK
	legs_remove
	clones_disks 3 4 6
	G_BLOCK=8
	group_create
	dmsetup remove G0
	dd if="$STORE" of=sector bs=512 skip="$ENTRIES" count=1 iflag=direct status=none
	legs_remove
	BASE_DISK=$base
	legs_create
	STORE=$other G_VOLUMES=("${volumes[@]}") G_META=("${meta[@]}") G_DISKS=("${disks[@]}")
	all_good
	dd if=sector of="$STORE" bs=512 seek="$ENTRIES" oflag=direct conv=notrunc status=none
	never_wrong 'entries of another store'
	[ "$ANSWER" != right ] || fail 'the entries are not missed'
	right_again
}

# A logged volume after a crash: its disk is ahead of the store in a region that is marked. A mark
# that cannot be read counts as set.
test_intents() {
	local sector step
	load_module
	logged_disks 0 4 6
	group_create
	clones_create
	steps L5 write:0+100 write:5000+300 flush
	save_good
	save_disk "$DISK" disk
	clones_remove
	dmsetup remove G0
	used_sectors "$INTENTS" "$INTENTS_COUNT" >intents
	assert_eq 'the number of sectors' "$(wc -l <intents)" 8
	{ read -r sector; } <intents
	cp s.L5 s.kept
	for step in "flip $sector 24" "flip $sector 4" "flip $sector 500" "zero_sector $sector" \
		"copy_sector $((sector + 1)) $sector" "flip $((sector + 7)) 30" :; do
		all_good
		load_disk "$DISK" disk
		cp s.kept s.L5
		"$SVOL_TEST" steps "$DISK" --own 1005 --state s.L5 write:16+3 write:5304+8
		$step
		never_wrong "$step"
		assert_eq "the start after $step" "$ANSWER" right
		# The store has it all by now.
		group_move L5 -
		group_create
		clones_create
		check_clones
		clones_remove
		dmsetup remove G0
		group_move L5 "$DISK"
	done
}
