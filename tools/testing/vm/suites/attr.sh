# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# set_attr: volumes and ranges of them become logged and diverted, and their users see nothing of it.
# Smoke: there_and_back ranges
# Limits: power_cuts=600

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

# LV0, which is only read, and the volumes C1 (diverted) and C2 (logged) with disks of their own
# and one store.
attr_group() { # MiB MiB-of-the-store [attribute=value...]
	load_module
	attr_disks "$@"
	group_create
	clones_create
}

attr_disks() { # MiB MiB-of-the-store [attribute=value...]
	clones_disks 2 "$@"
	legs_remove
	LEGS=()
	new_disks 'D1 D2' "$1" "${@:3}"
	"$SVOL_TEST" fill --seed "$SEED" "$D1" "$D2"
	G_VOLUMES=("LV0 ro $BASE_DISK -" "C1 ro $D1 ST" "C2 rw $D2 ST" "ST increments $STORE -")
	G_DISKS+=("$D1" "$D2")
	remember_base
}

set_attr() { # LID ro|rw [sector sectors]
	dmsetup message "$G_NAME" 0 "set_attr $*"
}

attr_is() { # LID ro|rw
	read_status
	assert_status "$1.attr=$2" "$1.health=in-sync"
}

# The diverted regions of a volume that is in place otherwise, as query names them.
regions_are() { # LID [sector sectors]...
	local wanted='' got
	got=$(dmsetup message "$G_NAME" 0 query | sed -n "s/^region of $1: ro //p" | xargs)
	wanted=${*:2}
	assert_eq "the regions of $1" "$got" "$wanted"
}

# Each flush of C1 reaches the store, and C1's disk, or not.
flush_reaches() { # disk|store...
	local disk store each=()
	# Overwrites from here on: nothing else has to be made durable.
	steps C1 write:104+8 flush
	disk=$(disk_stat "$D1" flushes) store=$(disk_stat "$STORE" flushes)
	while [ ${#each[@]} -lt 40 ]; do
		each+=(write:104+8 flush)
	done
	steps C1 "${each[@]}"
	assert_at_least 'the flushes of the store' "$(disk_stat "$STORE" flushes)" $((store + 20))
	case " $* " in
	*' disk '*) assert_at_least 'the flushes of the disk' "$(disk_stat "$D1" flushes)" $((disk + 20)) ;;
	*) assert_eq 'the flushes of the disk' "$(disk_stat "$D1" flushes)" "$disk" ;;
	esac
}

test_flushes() {
	attr_group 16 24 cache_size=16
	flush_reaches store
	set_attr C1 rw
	flush_reaches disk store
	dmsetup suspend G0
	dmsetup resume G0
	flush_reaches disk store
	set_attr C1 ro
	flush_reaches store
	set_attr C1 rw 0 2048
	flush_reaches disk store
	clones_restart
	flush_reaches disk store
	set_attr C1 ro 0 2048
	flush_reaches store
}

test_there_and_back() {
	local writes
	attr_group 16 24
	steps C1 write:0+1 write:9+3 write:2048+2048 write:$((G_LEN - 9))+3 zero:4096+200 flush check
	assert_base "$D1"
	set_attr C1 rw
	attr_is C1 rw
	steps C1 check
	assert_same "$D1" /dev/mapper/C1
	steps C1 write:100+300 zero:2048+64 write:3000+8 flush check
	assert_same "$D1" /dev/mapper/C1
	# Nothing to do.
	set_attr C1 rw

	set_attr C1 ro
	attr_is C1 ro
	writes=$(disk_stat "$D1" writes)
	steps C1 check write:0+20 write:5000+600 zero:100+20 flush check
	assert_eq 'the writes of a diverted disk' "$(disk_stat "$D1" writes)" "$writes"
	# What went to the disk is not given back: the disk does not hold the base there.
	steps C1 discard:0+8192 check
	clones_restart
	attr_is C1 ro
	steps C1 check write:6000+9 check
	set_attr C1 rw
	steps C1 check
	assert_same "$D1" /dev/mapper/C1
	clones_restart
	attr_is C1 rw
	steps C1 check write:1+1 check
	assert_same "$D1" /dev/mapper/C1
	assert_base_untouched
	# The line is the same as ever.
	assert_eq 'the attributes in the line' "$(dmsetup table "$G_NAME" | grep -o 'C[12] r[ow]' | xargs)" \
		'C1 ro C2 rw'
}

# Nobody looks at the disk of a diverted volume that was in place once, until it is to be in place again.
test_wrong_disk() {
	local wrong before
	attr_group 8 24
	set_attr C1 rw
	steps C1 write:0+1000 flush
	set_attr C1 ro
	new_disk wrong 8
	"$SVOL_TEST" fill --seed 9 "$wrong"
	group_move C1 "$wrong"
	clones_restart
	steps C1 check write:3000+100 flush
	before=$(digest "$wrong")
	log_mark
	must_fail set_attr C1 rw
	assert_logged 'C1: its disk does not hold the base image'
	assert_eq 'what the wrong disk holds' "$(digest "$wrong")" "$before"
	attr_is C1 ro
	steps C1 check write:2000+100 flush
	group_move C1 "$D1"
	clones_restart
	set_attr C1 rw
	steps C1 check
	assert_same "$D1" /dev/mapper/C1
}

# The volume's disk begins to fail while it is written down that the volume is diverted. It does not wait for
# that when it is in place again, on another disk.
test_disk_fails_meanwhile() {
	local size spare change
	need_target delay
	load_module
	attr_disks 8 16
	new_disk spare 8
	dm_linear meta "$META"
	size=$(blockdev --getsz "$META")
	G_META=(/dev/mapper/meta)
	G_VOLUMES+=("S1 spare $spare -")
	G_FEATURES+=(failover manual)
	expect_warnings
	group_create
	clones_create
	steps C2 write:0+100 flush
	dm_change meta "0 $size delay $META 0 0 $META 0 2000" --noflush
	set_attr C2 ro &
	change=$!
	nap 1
	dmsetup message G0 0 fail C2
	wait "$change" || fail 'it is not changed'
	dm_change meta "0 $size linear $META 0" --noflush
	wait_health C2 failed
	dmsetup message G0 0 restore C2 onto S1
	wait_health C2 in-sync
	set_attr C2 rw
	steps C2 check write:50+100 write:5001+3 flush check
}

SCSI_DEBUG=/sys/bus/pseudo/drivers/scsi_debug

# A metadata device whose headers are on a SCSI disk, whose every second command can be made to fail
# after it was done.
doubtful_meta() {
	local disks
	# 0x1000: without a cache to flush, so that a header is one command. 0x20: what fails is that
	# the disk answers with a checksum error to what it has written.
	modprobe scsi_debug dev_size_mb=8 opts=0x1020 || skip 'this kernel has no module scsi_debug'
	disks=("$SCSI_DEBUG"/adapter0/host*/target*/*/block/sd*)
	HEADERS=/dev/${disks[0]##*/}
	[ -b "$HEADERS" ] || fail 'no SCSI disk'
	dmsetup create doubtful <<-EOF
		0 8 linear $HEADERS 0
		8 2040 linear $META 8
		2048 8 linear $HEADERS 8
		2056 $(($(blockdev --getsz "$META") - 2056)) linear $META 2056
	EOF
	G_META=(/dev/mapper/doubtful)
}

# A change that fails has not happened, also if the device did what it said it could not: after a
# crash, the volume would be read without what was diverted since.
test_failed_commit_is_taken_back() {
	load_module
	attr_disks 8 16
	doubtful_meta
	group_create
	clones_create
	steps C1 write:0+100 flush
	expect_warnings
	expect_log '^(sd |scsi|protection error|I/O error|critical )'
	# The first command is that the disk will not hold the base image any more.
	echo 2 >"$SCSI_DEBUG/every_nth"
	log_mark
	must_fail set_attr C1 rw
	echo 0 >"$SCSI_DEBUG/every_nth"
	assert_logged '^dm_svol: G0: metadata device 1: write failed'
	attr_is C1 ro
	steps C1 check write:50+100 flush check
	dd if=/dev/mapper/doubtful of=meta bs=1M count=2 iflag=direct status=none
	"$SVOL" dump meta >found
	grep -q 'entry C1 ro' found || fail "no entry C1: $(cat found)"
	! grep -q 'entry C1 rw' found || fail 'a change that failed is on disk'
	set_attr C1 rw
	steps C1 check
	clones_restart
	attr_is C1 rw
	steps C1 check
}

# The change could be neither written nor taken back, but the device that works in the end did what it said
# it could not: what is changed from then on counts all the same.
test_change_after_a_failed_commit() {
	local spares
	load_module
	attr_disks 8 16
	doubtful_meta
	new_disk META2 8
	dm_linear meta2 "$META2"
	G_META+=(/dev/mapper/meta2)
	new_disks 'S1 S2' 8
	spares=("S1 spare $S1 -" "S2 spare $S2 -")
	G_VOLUMES+=("${spares[@]}")
	group_create
	expect_warnings
	expect_disk_errors
	expect_log '^(sd |scsi|protection error|I/O error|critical )'
	dm_change meta2 "0 $(blockdev --getsz "$META2") error" --noflush
	# All but the first.
	echo -2 >"$SCSI_DEBUG/every_nth"
	log_mark
	must_fail dmsetup message G0 0 remove S1
	echo 0 >"$SCSI_DEBUG/every_nth"
	assert_logged 'after a restart, the change that failed may have happened'
	dm_change meta2 "0 $(blockdev --getsz "$META2") linear $META2 0" --noflush
	dmsetup message G0 0 remove S2
	dmsetup remove G0
	group_drop S2
	group_create
	read_status
	assert_status metadata=AA state=clean S1.health=spare
}

# A change is on one copy, which then fails for good, and so does the other: a restart finds it. A volume that
# is to be in place has all that was written since.
test_change_in_doubt() {
	load_module
	attr_disks 8 16
	need_disk_answers "$META"
	new_disk META2 8
	G_META+=("$META2")
	group_create
	clones_create
	steps C1 write:0+100 flush
	# That its disk does not hold the base image any more is known before.
	set_attr C1 rw
	set_attr C1 ro
	expect_warnings
	expect_disk_errors
	next_change_is_in_doubt
	must_fail set_attr C1 rw
	assert_logged 'after a restart, the change that failed may have happened'
	steps C1 check write:50+100 write:3001+3 flush check
	clones_remove
	dmsetup remove "$G_NAME"
	metadata_works_again
	group_create
	attr_is C1 rw
	clones_create
	steps C1 check write:60+9 flush check
	assert_same "$D1" /dev/mapper/C1
}

# Without their disks, the volumes are what they were: all is in the store.
test_nothing_is_lost_with_the_disk() {
	attr_group 16 24
	steps C1 write:0+64 zero:500+100 flush
	set_attr C1 rw
	steps C1 write:64+64 write:700+9 flush check
	set_attr C1 ro
	steps C1 write:60+10 flush check
	set_attr C1 rw
	steps C1 write:1000+1000 check flush
	steps C2 write:0+100 flush
	set_attr C2 ro
	steps C2 write:50+100 check flush
	clones_remove
	dmsetup remove "$G_NAME"
	group_move C1 -
	group_move C2 -
	group_create
	read_status
	assert_status C1.health=degraded
	clones_create
	check_clones
	assert_base_untouched
}

# A volume that was logged, and takes discards after it became diverted: its disk does not hold the
# base image where an entry could go.
test_discards_after_logged_writes() {
	attr_group 8 16
	steps C2 write:0+2048 flush
	set_attr C2 ro
	dmsetup remove C2
	svol_create C2
	steps C2 write:128+128 discard:0+2048 check flush
	set_attr C2 rw
	steps C2 check
	assert_same "$D2" /dev/mapper/C2
}

# Volumes that nobody has loaded, and some that are suspended.
test_not_loaded() {
	attr_group 8 16
	steps C1 write:0+700 flush
	steps C2 write:300+700 flush
	clones_remove
	set_attr C1 rw
	set_attr C2 ro
	svol_create C2
	dmsetup suspend C2
	set_attr C2 rw
	dmsetup resume C2
	svol_create C1
	check_clones
	steps C1 write:100+8 check
	steps C2 write:100+8 check
	assert_same "$D1" /dev/mapper/C1
	assert_same "$D2" /dev/mapper/C2
}

test_refusals() {
	attr_group 8 16
	begin_refusals
	refusal ENODEV 'LV9' 'set_attr LV9 ro'
	refusal EINVAL 'ST;increments' 'set_attr ST ro'
	refusal EINVAL 'LV0;allow_unprotected' 'set_attr LV0 rw'
	refusal EINVAL 'blocks;128' 'set_attr C1 rw 0 100'
	refusal EINVAL 'blocks;128' 'set_attr C2 ro 8 128'
	refusal EINVAL "$G_LEN" "set_attr C2 ro $((G_LEN - 128)) 256"
	refusal EINVAL 'LV0;increments' 'set_attr LV0 rw 0 128'
	refusal EINVAL 'ST;increments' 'set_attr ST ro 0 128'
	refusal EINVAL 'empty' 'set_attr C2 ro 0 0'
	check_refusals messages
	dmsetup suspend "$G_NAME"
	log_mark
	must_fail set_attr C1 rw
	assert_logged 'set_attr.*C1.*suspended'
	dmsetup resume "$G_NAME"
	blockdev --setro "$D1"
	begin_refusals
	refusal EROFS 'C1;written' 'set_attr C1 rw'
	check_refusals messages
	blockdev --setrw "$D1"
	attr_is C1 ro
	check_clones
}

# A volume has no more than 32 diverted regions. As many can be made, and are there after a restart.
test_most_regions() {
	local i regions=(0 384)
	attr_group 8 16
	steps C2 write:0+9000 flush
	for ((i = 0; i < 32; i++)); do
		set_attr C2 ro $((i * 256)) 128
	done
	# The first two become one.
	set_attr C2 ro 128 128
	for ((i = 2; i <= 32; i++)); do
		regions+=($((i * 256)) 128)
	done
	set_attr C2 ro $((32 * 256)) 128
	regions_are C2 "${regions[@]}"
	begin_refusals
	refusal EINVAL 'C2;more than 32 regions' "set_attr C2 ro $((33 * 256)) 128"
	refusal EINVAL 'C2;more than 32 regions' 'set_attr C2 rw 128 128'
	check_refusals messages
	regions_are C2 "${regions[@]}"
	steps C2 check write:100+8000 flush
	clones_restart
	regions_are C2 "${regions[@]}"
	steps C2 check write:100+8000 flush check
	# One less, and there is room.
	set_attr C2 rw 512 128
	set_attr C2 rw 128 128
	regions_are C2 0 128 256 128 "${regions[@]:4}"
	check_clones
}

# A range of a logged volume is diverted, or one of a diverted volume is logged.
test_ranges() {
	local before i
	attr_group 16 24
	for i in C1 C2; do
		steps $i write:0+300 write:2000+100 write:2048+2048 zero:4000+200 write:6000+9 flush
	done
	set_attr C2 ro 2048 2048
	attr_is C2 rw
	regions_are C2 2048 2048
	check_clones
	# Within the region nothing goes to the disk; across its borders, each part goes its own way.
	before=$(disk_stat "$D2" write_sectors)
	steps C2 write:2048+100 write:3000+3 zero:3100+24 write:4000+96 check flush
	assert_eq 'what was written to the disk' "$(disk_stat "$D2" write_sectors)" "$before"
	steps C2 write:2040+16 write:1900+2300 check flush write:4090+10 write:100+9 check
	[ "$(disk_stat "$D2" write_sectors)" -gt "$before" ] || fail 'nothing was written in place'
	# Neighbours are one region, and a part of one can be taken out.
	set_attr C2 ro 4096 128
	regions_are C2 2048 2176
	set_attr C2 ro 8192 1024
	set_attr C2 rw 2560 512
	regions_are C2 2048 512 3072 1152 8192 1024
	steps C2 check write:2500+700 write:8000+1500 check flush

	set_attr C1 rw 0 4096
	attr_is C1 rw
	regions_are C1 4096 $((G_LEN - 4096))
	steps C1 check write:4000+200 "discard:0+$G_LEN" check flush
	clones_restart
	regions_are C1 4096 $((G_LEN - 4096))
	regions_are C2 2048 512 3072 1152 8192 1024
	check_clones
	steps C1 write:4050+500 check
	steps C2 write:2000+2500 zero:8100+200 check flush

	# As a whole again.
	set_attr C1 ro
	attr_is C1 ro
	regions_are C1
	set_attr C2 rw
	attr_is C2 rw
	regions_are C2
	check_clones
	assert_same "$D2" /dev/mapper/C2
	set_attr C1 rw 0 8192
	set_attr C1 rw 8192 $((G_LEN - 8192))
	regions_are C1
	steps C1 check write:4090+20 check
	assert_same "$D1" /dev/mapper/C1
	assert_base_untouched
}

# A volume with regions loses its disk, while it is in use and while it is not, and gets it back.
test_ranges_and_a_lost_disk() {
	attr_group 16 24
	expect_warnings
	steps C2 write:0+5000 flush
	set_attr C2 ro 1024 2048
	steps C2 write:900+400 write:3000+200 zero:2000+50 flush check
	dmsetup message "$G_NAME" 0 fail C2
	wait_until 60 health_is C2 degraded || fail "C2 is ${ST[C2.health]}"
	steps C2 check write:1000+100 write:3050+100 write:5000+100 zero:1020+9 flush check
	must_fail set_attr C2 rw 1024 128
	group_move C2 -
	clones_restart
	read_status
	assert_status C2.health=degraded
	regions_are C2 1024 2048
	steps C2 check write:1010+30 write:3060+20 flush check
	clones_remove
	dmsetup remove "$G_NAME"
	group_move C2 "$D2"
	group_create
	clones_create
	steps C2 check
	readd C2
	wait_until 60 health_is C2 in-sync || fail "C2 is ${ST[C2.health]}"
	regions_are C2 1024 2048
	steps C2 check write:1000+100 write:3000+200 check flush
	clones_restart
	steps C2 check
	set_attr C2 rw
	steps C2 check
	assert_same "$D2" /dev/mapper/C2
	assert_base_untouched
}

# Regions change under load, the disk dies, and another one is filled.
test_ranges_and_a_dying_disk() {
	covered9 8
	set_attr LV2 ro 1024 4096
	start_loads9
	nap 0.5
	set_attr LV2 ro 8192 2048
	set_attr LV2 rw 2048 1024
	cover_is disk2 error
	wait_health LV2 degraded
	nap 0.5
	dmsetup message "$G_NAME" 0 restore LV2
	wait_until 60 health_is LV2 in-sync || fail "LV2 is ${ST[LV2.health]}"
	assert_status LV2.disk=S0
	set_attr LV2 rw 1024 1024
	set_attr LV2 ro 9216 2048
	regions_are LV2 3072 2048 8192 3072
	nap 0.5
	stop_loads
	assert_data9
	down9
	up9
	assert_data9
	regions_are LV2 3072 2048 8192 3072
	set_attr LV2 rw
	assert_data9
	assert_same /dev/mapper/spare /dev/mapper/LV2
}

# The model: I/O of all kinds goes on meanwhile.
model_live() {
	local lid=${CLONES[RANDOM % 2]} blocks=$((G_LEN / 128)) first some
	local attrs=(ro rw)
	if [ $((RANDOM % 3)) != 0 ]; then
		first=$((RANDOM % blocks)) some=$((1 + RANDOM % 30))
		[ $((first + some)) -le "$blocks" ] || some=$((blocks - first))
		set_attr "$lid" "${attrs[RANDOM % 2]}" $((first * 128)) $((some * 128))
		return
	fi
	read_status
	if [ "${ST[$lid.attr]}" = ro ]; then
		set_attr "$lid" rw
	else
		set_attr "$lid" ro
	fi
}

test_under_load() {
	attr_group 8 40
	RANDOM=$((SVOL_SEED % 32768))
	run_model 15 'restart live live live'
	clones_remove
	assert_base_untouched
}

# The power goes at some moment of a change.
model_crash() {
	local delay=0.0$((RANDOM % 10))
	(model_live >/dev/null 2>&1 || :) &
	sleep "$delay"
	power_off "${G_DISKS[@]}"
	wait
	clones_power_return
}

test_power_cuts() {
	local i
	attr_group 8 40 cache_size=8
	expect_power_cuts
	RANDOM=$((SVOL_SEED % 32768))
	for ((i = 0; i < 8 * ${SVOL_SCALE:-1}; i++)); do
		steps C1 "write:$((RANDOM % 8000))+300" "write:$((RANDOM % 8000))+9" flush
		steps C2 "write:$((RANDOM % 8000))+300" "zero:$((RANDOM % 8000))+90" flush
		model_crash
		check_clones
	done
	clones_remove
	assert_base "$BASE_DISK"
}
