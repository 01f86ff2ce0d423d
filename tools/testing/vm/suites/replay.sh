# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Power cuts at every mark of a record of all writes to all devices of a group: it starts, what
# was flushed is there, and nothing is there that was not written. SVOL_SECONDS makes it longer.
# Smoke: small_blocks
# Limits: diverted=600 discards=600 small_blocks=600

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

SVOL_SECONDS=${SVOL_SECONDS:-12}
# How many points; each takes some seconds.
POINTS=$((SVOL_SECONDS / 2))

# Clones C1 and C2, recorded from before the first start.
record_clones() { # sectors of a block
	load_module
	record_disks meta=4 base=4 c1=4 c2=4 store=6
	BASE_DISK=/dev/mapper/base STORE=/dev/mapper/store
	G_NAME=G0
	G_LEN=$((4 * 2048))
	G_BLOCK=$1
	G_META=(/dev/mapper/meta)
	G_VOLUMES=("LV0 ro $BASE_DISK -" 'C1 ro /dev/mapper/c1 ST' 'C2 ro /dev/mapper/c2 ST'
		"ST increments $STORE -")
	G_FEATURES=(init assume_identical)
	CLONES=(C1 C2)
	record_start
	group_create
	clones_create
	steps C1
	steps C2
	record_mark post.0
}

replay_clones() { # first-mark
	clones_remove
	dmsetup remove G0
	record_stop
	replay_all "$1" "$POINTS"
}

test_diverted() {
	record_clones 128
	record_round 'C1 write:0+8 write:100+300' 'C2 write:3+1 write:4000+200'
	record_round 'C1 write:4+1 write:103+10 write:2000+200' 'C2 write:0+128'
	record_round 'C1 zero:128+256 write:8191+1' 'C2 zero:4096+128 write:4100+3'
	record_round 'C1 write:130+3 write:0+1' 'C2 write:0+2048'
	replay_clones post.0
}

# Slots change their owner.
test_discards() {
	record_clones 128
	record_round 'C1 write:0+2048' 'C2 write:4096+1024'
	record_round 'C1 discard:0+1024' 'C2 discard:4096+512'
	record_round 'C1 write:6000+2000' 'C2 write:0+512'
	record_round 'C1 discard:6000+2000 write:6100+7' 'C2 write:5000+300 discard:0+512'
	record_round 'C1 write:0+900 write:6500+3' 'C2 write:2000+900'
	replay_clones post.1
}

# Blocks of one sub-block: many entries, in several sectors.
test_small_blocks() {
	record_clones 8
	record_round 'C1 write:5+1000' 'C2 write:0+1 write:9+20'
	record_round 'C1 write:500+1000 discard:0+300' 'C2 write:2+1 write:4000+100'
	record_round 'C1 write:0+50 write:3000+3' 'C2 discard:4000+50 write:4010+2'
	replay_clones post.0
}
