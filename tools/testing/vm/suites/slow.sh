# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Disks that do not answer for a while.
# Smoke: reads_go_elsewhere

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

# The disks of figure 9, and how soon one that does not answer is left alone.
slow9() { # ms [feature...]
	covered9 4
	log_mark
	G_FEATURES+=(slow_after "$@")
	dm_change G0 "$(group_table)"
}

# What a covered disk is asked for waits until it goes on.
cover_hangs() { # name
	tasks_may_hang
	dmsetup suspend --noflush --nolockfs "$1"
}

cover_goes_on() { # name
	dmsetup resume "$1"
}

# Reads one block in a process of its own, which may hang.
read_in_background() { # device skip
	dd if="$1" of=/dev/null bs=4096 count=1 skip="$2" iflag=direct status=none &
}

# Who asks how the group is waits for no device; nor does who gives something up.
answers_at_once() { # [LID-to-give-up]
	timeout 5 dmsetup status G0 >answer || fail 'the status hangs'
	timeout 5 dmsetup message G0 0 query >answer || fail 'the answer to "query" hangs'
	[ $# = 0 ] || timeout 5 dmsetup message G0 0 fail "$1" || fail "\"fail $1\" hangs"
}

# A disk that hangs keeps what it has; all else is read elsewhere, until it answers again.
test_reads_go_elsewhere() {
	local i pids=()
	slow9 400
	cover_hangs disk0
	# One of several random reads is for the disk.
	for ((i = 0; i < 12; i++)); do
		read_in_background /dev/mapper/LV0 $((i * 37))
		pids+=($!)
	done
	wait_until 20 log_says 'disk of LV0: no answer' || fail 'nobody notices'
	answers_at_once
	timeout 60 "$SVOL_TEST" verify --seed "$SEED" /dev/mapper/LV0 || fail 'LV0 can not be read'
	timeout 60 "$SVOL_TEST" verify --seed "$SEED" /dev/mapper/LV1 || fail 'LV1 can not be read'
	steps LV2 write:100+8 flush check
	cover_goes_on disk0
	wait "${pids[@]}" || fail 'a read failed'
	wait_until 20 log_says 'disk of LV0: answers again' || fail 'nobody notices'
	read_status
	assert_status state=clean LV0.health=in-sync LV0.read_errors=0
	# It is read again.
	i=$(disk_stat "$D0" reads)
	assert_base /dev/mapper/LV0 /dev/mapper/LV1
	assert_at_least 'the reads' "$(disk_stat "$D0" reads)" $((i + 1))
}

# While the failure of a disk can't be recorded, the last other one with the base image is not given up; nor
# after that.
test_one_disk_fails_at_a_time() {
	slow9 2000
	cover_hangs meta1
	cover_hangs meta2
	timeout 20 dmsetup message G0 0 fail LV0
	log_mark
	must_fail timeout 20 dmsetup message G0 0 fail LV1
	assert_logged 'message "fail": LID LV1: another disk fails just now, and without this one nobody serves reads of the base$'
	cover_goes_on meta1
	cover_goes_on meta2
	wait_health LV0 failed
	log_mark
	must_fail dmsetup message G0 0 fail LV1
	assert_logged 'message "fail": LID LV1: without it nobody can serve LV0$'
	read_status
	assert_status state=degraded LV1.health=in-sync LV2.health=in-sync
	assert_base /dev/mapper/LV0 /dev/mapper/LV1 /dev/mapper/LV2
}

# Where all sources hang, reads wait.
test_nobody_answers() {
	local pid
	slow9 300
	cover_hangs disk0
	cover_hangs disk1
	read_in_background /dev/mapper/LV0 1
	pid=$!
	nap 3
	kill -0 "$pid" || fail 'the read has ended'
	read_in_background /dev/mapper/LV0 2
	cover_goes_on disk0
	cover_goes_on disk1
	wait "$pid" $! || fail 'a read failed'
	assert_base /dev/mapper/LV0
}

# Disks of which two are below linear devices, disk0 and disk1.
two_covered() {
	load_module
	figure9_disks 4
	expect_disk_errors
	dm_linear disk0 "$D0"
	dm_linear disk1 "$D1"
	G_FEATURES=(init assume_identical failover manual slow_after 400)
}

# Disks that may be written serve others while nobody else does: LV0's disk hangs, and that of LV1, and both have a
# read of LV0, as READS.
reads_of_others_hang() {
	two_covered
	G_VOLUMES=('LV0 ro /dev/mapper/disk0 -' 'LV1 rw /dev/mapper/disk1 DLV1' "S0 spare $DS -"
		"DLV1 increments $DI -")
	group_create
	svol_create LV0 --readonly
	log_mark
	cover_hangs disk0
	read_in_background /dev/mapper/LV0 1
	READS=("$!")
	wait_until 20 log_says 'disk of LV0: no answer' || fail 'nobody notices'
	cover_hangs disk1
	read_in_background /dev/mapper/LV0 2
	READS+=("$!")
	wait_until 20 has_in_flight /dev/mapper/LV0 2 || fail 'there is no second read'
}

lv1_is_refused() {
	must_fail svol_create LV1
	log_says "LV1: can't be written, its disk does not answer" || fail 'it fails for another reason'
}

reads_end() {
	wait "${READS[0]}" || fail 'the first read failed'
	wait "${READS[1]}" || fail 'the second read failed'
}

# A volume is loaded for writing whose disk has reads of others that it does not answer: that is refused, and nobody
# else has to wait for it.
test_reads_of_others_hang() {
	reads_of_others_hang
	lv1_is_refused
	timeout 20 dmsetup message G0 0 fail S0
	wait_health S0 failed 20
	cover_goes_on disk0
	cover_goes_on disk1
	reads_end
	# Nobody writes it, so it serves others as before.
	dmsetup message G0 0 fail LV0
	wait_health LV0 failed 20
	assert_base /dev/mapper/LV0
	readd LV0
	wait_health LV0 in-sync 60
	svol_create LV1
	steps LV1 write:0+64 write:1001+7 flush check
	assert_base /dev/mapper/LV0
}

# The same, for a volume that is about to move: its disk serves nobody else any more, but still has their reads.
test_reads_of_others_hang_and_it_moves() {
	reads_of_others_hang
	wait_until 20 log_says 'disk of LV1: no answer' || fail 'nobody notices'
	cover_goes_on disk0
	wait_until 20 log_says 'disk of LV0: answers again' || fail 'nobody notices'
	dmsetup message G0 0 restore LV1
	lv1_is_refused
	cover_goes_on disk1
	reads_end
	svol_create LV1
	steps LV1 write:0+64 write:1001+7 flush check
	assert_logged 'LV1: moved, its disk is that of S0 from now on'
	steps LV1 check
	assert_base /dev/mapper/LV0
}

# The same, for a volume that is to become a logged one.
test_set_attr_while_reads_hang() {
	local reads=()
	two_covered
	G_VOLUMES=('LV0 ro /dev/mapper/disk0 -' 'LV1 ro /dev/mapper/disk1 DLV1' "DLV1 increments $DI -")
	group_create
	svol_create LV0 --readonly
	svol_create LV1
	log_mark
	cover_hangs disk0
	cover_hangs disk1
	read_in_background /dev/mapper/LV0 1
	reads+=($!)
	read_in_background /dev/mapper/LV0 2
	reads+=($!)
	read_in_background /dev/mapper/G0 3
	reads+=($!)
	wait_until 20 log_says 'disk of LV1: no answer' || fail 'nobody notices'
	must_fail dmsetup message G0 0 set_attr LV1 rw
	log_says 'message "set_attr": LID LV1: its disk does not answer' || fail 'it fails for another reason'
	cover_goes_on disk0
	cover_goes_on disk1
	wait "${reads[@]}" || fail 'a read failed'
	dmsetup message G0 0 fail LV0
	wait_health LV0 failed 20
	assert_base /dev/mapper/LV0 /dev/mapper/LV1
}

# The volumes of one store do not wait for each other's disks, also when it is time to take marks back.
test_others_in_the_store() {
	local write others i
	load_module
	log_mark
	logged_disks 1 8 16
	dm_linear disk5 "$DISK"
	group_move L5 /dev/mapper/disk5
	expect_warnings
	expect_disk_errors
	G_FEATURES+=(slow_after 400 failover manual)
	group_create
	clones_create
	steps L5 write:1000+100 write:5000+300 flush
	steps C1 write:0+64 flush
	cover_hangs disk5
	"$SVOL_TEST" steps /dev/mapper/L5 --seed "$SEED" --own 1005 --state s.L5 write:2000+8 &
	write=$!
	wait_until 20 log_says 'disk of L5: no answer' || fail 'nobody notices'
	# Of less than a sub-block, for a region without a mark: both are work of the store's thread.
	dd if=/dev/zero of=/dev/mapper/L5 bs=512 seek=12001 count=1 oflag=direct status=none &
	others=($!)
	dd if=/dev/zero of=/dev/mapper/L5 bs=4096 seek=1900 count=1 oflag=direct status=none &
	others+=($!)
	for ((i = 0; i < 6; i++)); do
		timeout 20 "$SVOL_TEST" steps /dev/mapper/C1 --seed "$SEED" --own 1001 --state s.C1 \
			write:$((i * 1000 + 3))+70 flush || fail 'C1 can not be written'
		nap 2
	done
	kill -0 "$write" || fail 'the write has ended'
	timeout 20 dmsetup message G0 0 fail L5
	wait_health L5 degraded 20
	# What the disk still has keeps its place, which others wait for. But nobody waits for these, also when it
	# is time to take marks back.
	dd if=/dev/urandom of=/dev/mapper/L5 bs=4096 seek=1900 count=1 oflag=direct status=none &
	others+=($!)
	for ((i = 0; i < 7; i++)); do
		timeout 20 dd if=/dev/zero of=/dev/mapper/L5 bs=4096 seek=$((500 + i)) count=1 oflag=direct \
			conv=fsync status=none || fail 'L5 can not be written'
		timeout 20 "$SVOL_TEST" steps /dev/mapper/C1 --seed "$SEED" --own 1001 --state s.C1 \
			write:$((i * 1000 + 7))+70 flush || fail 'C1 can not be written after that'
		nap 2
	done
	steps C1 check
	cover_goes_on disk5
	wait "$write" "${others[@]}" || fail 'a write failed'
	steps L5 check:0+4000
}

# The volume of a disk that hangs is read from siblings and increments; a write waits, until its user
# gives the disk up. What the disk did with it then makes no difference.
test_in_place_disk() {
	local write
	slow9 400
	steps LV2 write:1000+100 write:3003+1 flush
	cover_hangs disk2
	"$SVOL_TEST" steps /dev/mapper/LV2 --seed "$SEED" --own 1002 --state s.LV2 write:2000+8 &
	write=$!
	wait_until 20 log_says 'disk of LV2: no answer' || fail 'nobody notices'
	"$SVOL_TEST" steps /dev/mapper/LV2 --seed "$SEED" --own 1002 --state s.LV2 \
		check:0+2000 check:2008+2000 || fail 'LV2 can not be read'
	kill -0 "$write" || fail 'the write has ended'
	timeout 20 dmsetup message G0 0 fail LV2
	wait_health LV2 degraded 20
	dd if=/dev/zero of=/dev/mapper/LV2 bs=4096 seek=500 count=1 oflag=direct status=none
	cover_goes_on disk2
	wait "$write" || fail 'the write failed'
	steps LV2 check:0+4000
}

# What the increments of such a volume can't be read from, its disk is asked for after all.
test_in_place_disk_and_a_bad_slot() {
	local reads=()
	slow9 400
	steps LV2 write:1000+100 flush
	cover_hangs disk2
	read_in_background /dev/mapper/LV2 126
	reads+=($!)
	wait_until 20 log_says 'disk of LV2: no answer' || fail 'nobody notices'
	cover_is store reads
	read_in_background /dev/mapper/LV2 126
	reads+=($!)
	nap 1
	kill -0 "${reads[1]}" || fail 'the second read has ended'
	cover_goes_on disk2
	wait "${reads[0]}" || fail 'the first read failed'
	wait "${reads[1]}" || fail 'the second read failed'
	cover_is store linear
	read_status
	assert_status LV2.health=in-sync
	steps LV2 check
}

# The disk that is being filled hangs: as soon as it is given up nobody waits for it, and it is not taken for
# free before it has answered.
test_disk_that_is_filled() {
	local write
	covered9 16
	# Not sooner: the write below has to meet a disk that does not count as silent yet.
	G_FEATURES+=(slow_after 2000 rebuild_rate 1024)
	dm_change G0 "$(group_table)"
	log_mark
	steps LV2 write:0+64 write:9000+100 flush
	dmsetup message G0 0 fail LV2
	wait_health LV2 degraded
	dmsetup message G0 0 restore LV2 onto S0
	wait_until 30 progress_is LV2 8 || fail "it does not begin: ${ST[line]}"
	cover_hangs spare
	# It is filled there.
	dd if=/dev/zero of=/dev/mapper/LV2 bs=4096 seek=1 count=1 oflag=direct conv=fsync status=none &
	write=$!
	wait_until 20 log_says 'disk of S0: no answer' || fail 'nobody notices'
	kill -0 "$write" || fail 'the write has ended'
	timeout 20 dmsetup message G0 0 fail S0
	wait_health S0 failed 20
	timeout 20 "$SVOL_TEST" steps /dev/mapper/LV2 --seed "$SEED" --own 1002 --state s.LV2 \
		write:32+8 write:20000+100 flush check:16+64 || fail 'LV2 can not be written'
	begin_refusals
	refusal EBUSY 'readd;S0' 'readd S0'
	check_refusals messages
	cover_goes_on spare
	wait "$write" || fail 'the write failed'
	wait_until 30 dmsetup message G0 0 readd S0 || fail 'it is not taken back'
	wait_until 30 dmsetup message G0 0 restore LV2 onto S0 || fail 'it is not filled again'
	steps LV2 write:40+8 write:15000+9
	dmsetup message G0 0 rebuild_rate 0
	steps LV2 write:48+8 write:25000+9 flush
	wait_lives_on LV2 S0
	steps LV2 check:16+1000 check:9000+22000
	down9
	"$SVOL_TEST" steps "$DS" --seed "$SEED" --own 1002 --state s.LV2 check:16+1000 check:9000+22000
}

# What is written in front of the cursor, and what is flushed, does not wait for a disk that is being filled once it
# is known not to answer; nor do others in the store. It gets all that when it answers again.
test_disk_that_is_filled_is_known_to_hang() {
	local write i
	covered9 16
	dmsetup message G0 0 add C1 ro - DLV2
	G_VOLUMES+=('C1 ro - DLV2')
	# Not sooner: the first write below has to meet a disk that does not count as silent yet.
	G_FEATURES+=(slow_after 2000 rebuild_rate 1024)
	dm_change G0 "$(group_table)"
	svol_create C1
	log_mark
	steps LV2 write:0+64 write:9000+100 flush
	dmsetup message G0 0 fail LV2
	wait_health LV2 degraded
	dmsetup message G0 0 restore LV2 onto S0
	wait_until 30 progress_is LV2 16 || fail "it does not begin: ${ST[line]}"
	cover_hangs spare
	"$SVOL_TEST" steps /dev/mapper/LV2 --seed "$SEED" --own 1002 --state s.hung write:1000+8 &
	write=$!
	wait_until 20 log_says 'disk of S0: no answer' || fail 'nobody notices'
	# Whole sub-blocks; parts of some, which are work of the store's thread; zeroes; a region without a mark.
	for i in 1 2 3; do
		timeout 20 "$SVOL_TEST" steps /dev/mapper/LV2 --seed "$SEED" --own 1002 --state s.LV2 \
			"write:$((i * 16))+8" "write:$((100 + i))+1" "write:$((1100 + 10 * i))+3" \
			"write:$((20000 + 8 * i))+8" flush "check:0+1000" || fail 'LV2 can not be written'
		timeout 20 dd if=/dev/zero of=/dev/mapper/LV2 bs=4096 seek=$((150 + i)) count=1 \
			oflag=direct,dsync status=none || fail 'LV2 can not be written durably'
		timeout 20 "$SVOL_TEST" steps /dev/mapper/C1 --seed "$SEED" --own 1001 --state s.C1 \
			"write:$((i * 1000))+72" flush || fail 'C1 can not be written'
		nap 2
	done
	kill -0 "$write" || fail 'the write has ended'
	read_status
	assert_status LV2.health=rebuilding S0.health=rebuilding
	cover_goes_on spare
	wait "$write" || fail 'the write failed'
	dmsetup message G0 0 rebuild_rate 0
	wait_lives_on LV2 S0
	assert_status S0.write_errors=0 LV2.protection=protected
	steps LV2 check:0+1000 check:1100+100 check:9000+22000
	steps C1 check
	dmsetup remove C1
	down9
	"$SVOL_TEST" steps "$DS" --seed "$SEED" --own 1002 --state s.LV2 check:0+1000 check:1100+100 check:9000+22000
}

# The power goes while such a disk lacks something: it gets that when all is back.
test_power_cut_while_a_disk_that_is_filled_hangs() {
	covered9 16 cache_size=8
	expect_power_cuts
	G_FEATURES+=(slow_after 400 rebuild_rate 768)
	dm_change G0 "$(group_table)"
	log_mark
	steps LV2 write:0+64 write:9000+100 flush
	dmsetup message G0 0 fail LV2
	wait_health LV2 degraded
	dmsetup message G0 0 restore LV2 onto S0
	# So far that this is on record, for a part that is written later.
	wait_until 60 progress_is LV2 80 || fail "it does not get on: ${ST[line]}"
	cover_hangs spare
	wait_until 20 log_says 'disk of S0: no answer' || fail 'nobody notices'
	timeout 20 "$SVOL_TEST" steps /dev/mapper/LV2 --seed "$SEED" --own 1002 --state s.LV2 \
		write:16+8 write:101+1 write:1500+100 write:20000+8 flush || fail 'LV2 can not be written'
	power_off "${G_DISKS[@]}"
	cover_goes_on spare
	power_return9
	read_status
	assert_status LV2.health=rebuilding
	note "it goes on at ${ST[LV2.blocks]}"
	steps LV2 check
	dmsetup message G0 0 rebuild_rate 0
	wait_lives_on LV2 S0
	steps LV2 check
	down9
	"$SVOL_TEST" steps "$DS" --seed "$SEED" --own 1002 --state s.LV2 check
}

# With "failover auto", it is given up after a while.
test_silent_disk_that_is_filled() {
	local write
	covered9 16
	# See auto9.
	G_FEATURES=(init assume_identical slow_after 2000 rebuild_rate 1024)
	dm_change G0 "$(group_table)"
	log_mark
	steps LV2 write:0+64 flush
	dmsetup message G0 0 fail LV2
	wait_until 60 progress_is LV2 16 || fail "it is not rebuilt: ${ST[line]}"
	cover_hangs spare
	"$SVOL_TEST" steps /dev/mapper/LV2 --seed "$SEED" --own 1002 --state s.hung write:1000+8 &
	write=$!
	wait_until 120 log_says 'disk of S0: no answer for 10000 ms, given up' || fail 'it is not given up'
	wait_health S0 failed 20
	assert_status LV2.health=degraded
	timeout 20 "$SVOL_TEST" steps /dev/mapper/LV2 --seed "$SEED" --own 1002 --state s.LV2 \
		write:32+8 write:101+1 flush check:0+1000 || fail 'LV2 can not be written'
	cover_goes_on spare
	wait "$write" || fail 'the write failed'
	wait_until 30 dmsetup message G0 0 readd S0 || fail 'it is not taken back'
	dmsetup message G0 0 rebuild_rate 0
	wait_lives_on LV2 S0
	steps LV2 check:0+1000 check:1008+4000
}

# A write fails only in the increments volume, while it is being recorded that the disk is filled. Nobody knows any
# more which of the two was read: so the disk is needed.
test_write_fails_while_a_rebuild_ends() {
	covered9 8 cache_size=8
	need_disk_answers "$DI"
	steps LV2 write:0+64 flush
	dmsetup message G0 0 fail LV2
	wait_health LV2 degraded
	# All is filled, and waits for this.
	spare_flushes_in 8000
	dmsetup message G0 0 restore LV2 onto S0
	wait_until 60 progress_is LV2 128 || fail "it does not get on: ${ST[line]}"
	log_mark
	cover_hangs meta1
	cover_hangs meta2
	# Now this waits for the metadata.
	nap 12
	steps LV2 write:24+8
	disk_answers "$DI" WRITE MEDIUM 4224 100
	assert_eq 'a write to LV2' "$("$SVOL_TEST" write-error /dev/mapper/LV2 --sector 8)" EIO
	disk_answers "$DI"
	read_status
	assert_status LV2.health=rebuilding
	cover_goes_on meta1
	cover_goes_on meta2
	wait_until 60 lives_on LV2 S0 || fail "${ST[line]}"
	wait_until 20 log_says 'LV2: unprotected from now on' || fail "it counts as protected: ${ST[line]}"
	steps LV2 check:16+1000
}

# All that a disk can be filled from hangs. Others in the store go on, also when it is time to take marks back.
test_sources_of_a_rebuild() {
	local i scattered=()
	covered9 16
	dmsetup message G0 0 add C1 ro - DLV2
	G_VOLUMES+=('C1 ro - DLV2')
	G_FEATURES+=(slow_after 400 rebuild_rate 1024)
	dm_change G0 "$(group_table)"
	svol_create C1
	# So that nothing is read ahead.
	for ((i = 0; i < 64; i++)); do
		scattered+=("write:$((i * 512 + 8))+8")
	done
	steps LV2 "${scattered[@]}" flush
	dmsetup message G0 0 fail LV2
	wait_health LV2 degraded
	dmsetup message G0 0 restore LV2 onto S0
	wait_until 30 progress_is LV2 8 || fail "it does not begin: ${ST[line]}"
	cover_hangs disk0
	cover_hangs disk1
	for ((i = 0; i < 8; i++)); do
		timeout 20 "$SVOL_TEST" steps /dev/mapper/C1 --seed "$SEED" --own 1001 --state s.C1 \
			write:$((i * 1000 + 8))+72 flush || fail 'C1 can not be written'
		timeout 20 "$SVOL_TEST" steps /dev/mapper/LV2 --seed "$SEED" --own 1002 --state s.LV2 \
			write:$((i * 2048 + 32))+8 flush || fail 'LV2 can not be written'
		nap 2
	done
	cover_goes_on disk0
	cover_goes_on disk1
	dmsetup message G0 0 rebuild_rate 0
	wait_lives_on LV2 S0
	steps LV2 check
	steps C1 check
	dmsetup remove C1
	down9
	"$SVOL_TEST" steps "$DS" --seed "$SEED" --own 1002 --state s.LV2 check
}

# A write that its old disk does not answer is in the way of the rebuild of a volume, but not of that of another one.
test_rebuild_of_another_volume() {
	local other write
	covered9 8
	new_disk other 8
	dmsetup message G0 0 add S1 spare "$other" -
	G_VOLUMES+=("S1 spare $other -")
	G_FEATURES+=(slow_after 400)
	dm_change G0 "$(group_table)"
	log_mark
	steps LV2 write:1000+100 flush
	cover_hangs disk2
	"$SVOL_TEST" steps /dev/mapper/LV2 --seed "$SEED" --own 1002 --state s.LV2 write:2000+8 &
	write=$!
	wait_until 20 log_says 'disk of LV2: no answer' || fail 'nobody notices'
	dmsetup message G0 0 fail LV2
	wait_health LV2 degraded
	dmsetup message G0 0 restore LV2 onto S0
	wait_until 30 progress_is LV2 8 || fail "it does not begin: ${ST[line]}"
	dmsetup message G0 0 fail LV1
	wait_health LV1 failed
	dmsetup message G0 0 restore LV1 onto S1
	wait_lives_on LV1 S1
	assert_status LV2.health=rebuilding
	kill -0 "$write" || fail 'the write has ended'
	cover_goes_on disk2
	wait "$write" || fail 'the write failed'
	wait_lives_on LV2 S0
	steps LV2 check
	assert_base /dev/mapper/LV0 /dev/mapper/LV1
}

# The increments volume hangs: writes wait for it, but the disk has all that is read, and answers.
test_increments_volume() {
	local write
	slow9 400
	steps LV2 write:1000+100 flush
	cover_hangs store
	"$SVOL_TEST" steps /dev/mapper/LV2 --seed "$SEED" --own 1002 --state s.LV2 write:2000+8 &
	write=$!
	wait_until 20 log_says 'increments DLV2: no answer' || fail 'nobody notices'
	nap 2
	! log_says 'disk of LV2: no answer' || fail 'the disk gets the blame'
	answers_at_once
	timeout 20 "$SVOL_TEST" steps /dev/mapper/LV2 --seed "$SEED" --own 1002 --state s.LV2 check:0+2000 ||
		fail 'LV2 can not be read'
	kill -0 "$write" || fail 'the write has ended'
	cover_goes_on store
	wait "$write" || fail 'the write failed'
	wait_until 20 log_says 'increments DLV2: answers again' || fail 'nobody notices that'
	steps LV2 write:3000+8 flush check
	read_status
	assert_status state=clean LV2.protection=protected
}

# It is given up by command, while its worker waits for it, and while an event can't be written there.
test_increments_volume_is_given_up_by_command() {
	local held pid
	covered9 4
	log_mark
	steps LV2 write:1000+100 write:100+8
	cover_hangs store
	fsync /dev/mapper/LV2 &
	held=("$!")
	"$SVOL_TEST" steps /dev/mapper/LV2 --seed "$SEED" --own 1002 --state s.hung write:7000+8 &
	held+=("$!")
	wait_until 20 log_says 'increments DLV2: no answer' || fail 'nobody notices'
	answers_at_once LV0
	answers_at_once DLV2
	answers_at_once
	wait_health DLV2 failed 30
	assert_status LV0.health=failed LV2.health=in-sync LV2.protection=unprotected
	timeout 20 "$SVOL_TEST" steps /dev/mapper/LV2 --seed "$SEED" --own 1002 --state s.LV2 write:2000+8 flush ||
		fail 'LV2 can not be written'
	answers_at_once S0
	wait_health S0 failed 20
	cover_goes_on store
	for pid in "${held[@]}"; do
		wait "$pid" || fail 'something failed'
	done
	readd DLV2
	wait_protected LV2
	steps LV2 write:3000+8 flush check:0+7000
}

# The disk to which a volume moves hangs: new writes do not wait for it, and the volume stays.
test_disk_that_is_moved_to() {
	covered9 8
	G_FEATURES+=(slow_after 400 rebuild_rate 1024)
	dm_change G0 "$(group_table)"
	log_mark
	steps LV2 write:0+64 flush
	dmsetup message G0 0 restore LV2
	wait_until 30 progress_is LV2 8 || fail "the move does not get on: ${ST[line]}"
	cover_hangs spare
	# What is copied hangs.
	wait_until 20 log_says 'disk of S0: no answer' || fail 'nobody notices'
	timeout 20 "$SVOL_TEST" steps /dev/mapper/LV2 --seed "$SEED" --own 1002 --state s.LV2 \
		write:0+8 write:32+8 write:512+3 write:700+100 flush check || fail 'LV2 can not be written'
	read_status
	assert_status LV2.disk=LV2 S0.health=rebuilding
	cover_goes_on spare
	wait_until 30 rests_on LV2 LV2 || fail "it still moves: ${ST[line]}"
	assert_status state=clean LV2.protection=protected S0.health=spare
	steps LV2 check
}

# Nor do they wait when that disk hangs at the end of the move, when it has to write all that is in its cache.
test_disk_that_is_moved_to_hangs_at_the_end() {
	covered9 4 cache_size=8
	G_FEATURES+=(slow_after 400)
	dm_change G0 "$(group_table)"
	log_mark
	steps LV2 write:0+64 flush
	# Until it is changed again.
	tasks_may_hang
	spare_flushes_in 300000
	dmsetup message G0 0 restore LV2
	wait_until 60 progress_is LV2 64 || fail "the move does not get on: ${ST[line]}"
	wait_until 20 log_says 'disk of S0: no answer' || fail 'nobody notices'
	assert_status LV2.disk=LV2
	timeout 20 "$SVOL_TEST" steps /dev/mapper/LV2 --seed "$SEED" --own 1002 --state s.LV2 \
		write:0+8 write:512+3 write:700+100 flush check || fail 'LV2 can not be used'
	timeout 20 dmsetup suspend LV2 || fail 'LV2 can not be suspended'
	dmsetup resume LV2
	timeout 20 dmsetup message G0 0 fail S0
	wait_health S0 failed 20
	cover_is spare linear
	wait_until 30 rests_on LV2 LV2 || fail "it still moves: ${ST[line]}"
	assert_status LV2.protection=protected
	steps LV2 write:3000+8 flush check
}

# An increments volume that hangs is told nothing: events elsewhere in the group go on. After a crash it is not
# taken for an old copy because of that.
test_events_go_on() {
	local device write
	covered9 4
	log_mark
	steps LV2 write:1000+100 write:3003+1 flush
	cover_hangs store
	"$SVOL_TEST" steps /dev/mapper/LV2 --seed "$SEED" --own 1002 --state s.hung write:2000+8 &
	write=$!
	timeout 20 dmsetup message G0 0 fail LV0
	wait_health LV0 failed 20
	log_says 'increments DLV2: no answer to an event; the group goes on' || fail 'nobody notices'
	timeout 5 dmsetup message G0 0 fail S0
	wait_health S0 failed 5
	timeout 5 dmsetup message G0 0 remove S0
	assert_base /dev/mapper/LV1
	kill -0 "$write" || fail 'the write has ended'
	for device in "${G_DISKS[@]}"; do
		save_disk "$device" "crash.${device##*/}"
	done
	cover_goes_on store
	wait "$write" || fail 'the write failed'
	wait_until 20 log_says 'increments DLV2: works again' || fail 'it is not told'
	read_status
	assert_status DLV2.health=in-sync LV2.health=in-sync LV2.protection=protected
	steps LV2 write:3000+8 flush check:0+2000 check:2008+2000
	down9
	group_drop S0
	up9
	down9
	for device in "${G_DISKS[@]}"; do
		load_disk "$device" "crash.${device##*/}"
	done
	up9
	read_status
	assert_status DLV2.health=in-sync LV2.health=in-sync LV2.protection=protected
	steps LV2 check:0+2000 check:2008+900
}

GIVEN_UP='disk of LV2: no answer for 10000 ms, given up'

auto9() {
	covered9 4
	# Time during which nobody could look does not count: a slow machine needs long intervals.
	G_FEATURES=(init assume_identical slow_after 2000)
	dm_change G0 "$(group_table)"
	log_mark
	steps LV2 write:1000+100 write:3003+1 flush
}

# Disks hang, and a write of LV2 with them, whose process is $WRITE.
write_hangs_with() { # name...
	local name
	for name in "$@"; do
		cover_hangs "$name"
	done
	"$SVOL_TEST" steps /dev/mapper/LV2 --seed "$SEED" --own 1002 --state s.hung write:2000+8 &
	WRITE=$!
}

# As that, LV2's disk among them.
lv2_hangs_with() { # name...
	auto9
	write_hangs_with "$@" disk2
}

assert_not_given_up() { # what
	wait_until 20 log_says "$1: no answer" || fail 'nobody notices'
	nap 12
	! log_says 'given up' || fail 'something is given up'
}

# LV2 goes on after something was given up, while the write still waits for that.
lv2_goes_on() {
	timeout 20 "$SVOL_TEST" steps /dev/mapper/LV2 --seed "$SEED" --own 1002 --state s.LV2 write:500+8 flush ||
		fail 'LV2 can not be written'
	kill -0 "$WRITE" || fail 'the write has ended'
}

# With "failover auto", the disk of a logged volume that hangs is given up after a while: new writes go on, and
# a spare is filled. What the old disk still has ends with it.
test_silent_disk_is_given_up() {
	lv2_hangs_with
	wait_until 120 log_says "$GIVEN_UP" || fail 'it is not given up'
	wait_until 20 log_says 'disk of LV2: failed; LV2 is degraded' || fail 'LV2 does not go on'
	lv2_goes_on
	cover_goes_on disk2
	wait "$WRITE" || fail 'the write failed'
	wait_lives_on LV2 S0
	steps LV2 write:600+8 flush check:0+2000 check:2008+2000
}

# Not if the increments volume hangs, too; but it is, when that goes on and the disk does not.
test_silent_disk_and_increments() {
	lv2_hangs_with store
	assert_not_given_up 'disk of LV2'
	cover_goes_on store
	wait_until 120 log_says "$GIVEN_UP" || fail 'the disk is not given up'
	cover_goes_on disk2
	wait "$WRITE" || fail 'the write failed'
	wait_lives_on LV2 S0
	steps LV2 write:3008+8 flush check:0+2000 check:2008+900
}

# Nor if all that has the base image hangs, although nobody reads it just now. The disk that answers again stays.
test_silent_disk_and_sources() {
	lv2_hangs_with disk0 disk1
	assert_not_given_up 'disk of LV2'
	cover_goes_on disk2
	wait "$WRITE" || fail 'the write failed'
	cover_goes_on disk0
	cover_goes_on disk1
	steps LV2 write:3008+8 flush
	read_status
	assert_status state=clean LV2.health=in-sync LV2.disk=LV2
	steps LV2 check:0+2000 check:2008+900
}

# An increments volume that hangs is given up, too: its volumes go on with their disks alone.
test_silent_increments_volume_is_given_up() {
	local held=() waits pid
	auto9
	steps LV2 write:100+8
	write_hangs_with store
	# Its worker is at one of these for as long as it hangs: a commit, or the mark of a region.
	fsync /dev/mapper/LV2 &
	held+=("$!")
	"$SVOL_TEST" steps /dev/mapper/LV2 --seed "$SEED" --own 1002 --state s.held write:7000+8 &
	held+=("$!")
	nap 1
	# And so this waits for the worker.
	"$SVOL_TEST" steps /dev/mapper/LV2 --seed "$SEED" --own 1002 --state s.waits write:5000+8 &
	waits=$!
	wait_until 120 log_says 'increments DLV2: no answer for 10000 ms, given up' || fail 'it is not given up'
	wait_until 20 log_says 'increments DLV2: failed; LV2 goes on, unprotected' || fail 'LV2 does not go on'
	lv2_goes_on
	wait_until 20 has_ended "$waits" || fail 'what the device never got waits for it'
	wait "$waits" || fail 'the write failed'
	cover_goes_on store
	wait "$WRITE" || fail 'the write failed'
	for pid in "${held[@]}"; do
		wait "$pid" || fail 'something failed'
	done
	readd DLV2
	wait_protected LV2
	steps LV2 write:600+8 flush check:0+2000 check:2008+2992 check:5008+1992 check:7008+1000
}

# Not if a volume has data there and nowhere else.
# Only what a commit writes after it has flushed the data: nothing else is on its way there.
test_increments_volume_that_hangs_in_a_commit() {
	local sync
	need_target delay
	tasks_may_hang
	auto9
	steps LV2 write:100+8 flush
	# The entries of the first segment.
	dm_change_part store "$DI" 4096 128 "delay $DI 4096 0 $DI 4096 600000" --noflush
	steps LV2 write:200+8
	fsync /dev/mapper/LV2 &
	sync=$!
	wait_until 120 log_says 'increments DLV2: no answer for 10000 ms, given up' || fail 'it is not given up'
	wait_until 20 log_says 'increments DLV2: failed; LV2 goes on, unprotected' || fail 'LV2 does not go on'
	wait_until 20 has_ended "$sync" || fail 'the flush waits for it'
	wait "$sync" || fail 'the flush failed'
	steps LV2 check write:300+8 flush check
	begin_refusals
	refusal EBUSY 'readd;DLV2;I/O' 'readd DLV2'
	check_refusals messages
	cover_is store linear
	readd DLV2
	wait_protected LV2
	steps LV2 write:600+8 flush check
}

test_silent_increments_volume_is_needed() {
	auto9
	dmsetup message G0 0 set_attr LV2 ro
	write_hangs_with store
	assert_not_given_up 'increments DLV2'
	cover_goes_on store
	wait "$WRITE" || fail 'the write failed'
	steps LV2 write:600+8 flush check:0+2000 check:2008+2000
	read_status
	assert_status state=clean DLV2.health=in-sync
}

# A metadata copy that hangs is lost after a while, if the other one can be written. What it still has ends with
# it; before that, it can't be written anew.
test_metadata_copy() {
	covered9 4
	# So that a slow machine gets all the answers before the copy is given up.
	G_FEATURES+=(slow_after 3000)
	dm_change G0 "$(group_table)"
	log_mark
	cover_hangs meta1
	answers_at_once LV0
	# Now something waits for it.
	answers_at_once S0
	answers_at_once
	! log_says 'metadata device 1' || fail 'the answers came too late'
	wait_until 60 log_says 'metadata device 1: no answer' || fail 'nobody notices'
	wait_health LV0 failed 5
	read_status
	assert_status metadata=FA
	wait_health S0 failed 5
	steps LV2 write:500+8 flush check
	begin_refusals
	refusal EBUSY 'metadata device 1;not answered' 'replace_meta 1 /dev/mapper/meta1'
	check_refusals messages
	cover_goes_on meta1
	wait_until 20 dmsetup message G0 0 replace_meta 1 /dev/mapper/meta1 || fail 'it can not be written anew'
	read_status
	assert_status metadata=AA
	down9
	up9
	read_status
	assert_status metadata=AA LV0.health=failed S0.health=failed
	steps LV2 check
}

# Both hang: what changes the group waits for the first one that answers, and the volumes are in use.
test_all_metadata_copies() {
	covered9 4
	log_mark
	cover_hangs meta1
	cover_hangs meta2
	answers_at_once LV0
	answers_at_once S0
	# Longer than either is waited for alone.
	nap 22
	! log_says 'metadata device' || fail 'one is given up'
	answers_at_once
	steps LV2 write:500+8 flush check
	assert_base /dev/mapper/LV1
	cover_goes_on meta2
	wait_until 30 log_says 'metadata device 1: no answer' || fail 'nobody notices'
	wait_health LV0 failed 5
	read_status
	assert_status metadata=FA
	cover_goes_on meta1
	down9
	up9
	steps LV2 check
}
