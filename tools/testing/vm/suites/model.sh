# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Random operations on several volumes for a while, with everything that happens to a group
# meanwhile. SVOL_SECONDS makes them longer; the seed is in the notes of each test.
# Smoke: clones

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

SECONDS_EACH=${SVOL_SECONDS:-12}

# Clones with a store that is large enough for all they write.
test_clones() {
	clones_group 4 8 48
	run_model "$SECONDS_EACH" 'restart live live live'
	assert_base "$BASE_DISK"
}

# Small blocks, so that large I/O takes many.
test_small_blocks() {
	load_module
	clones_disks 3 8 32
	G_BLOCK=8
	group_create
	clones_create
	run_model "$SECONDS_EACH" 'restart live live live'
	assert_base "$BASE_DISK"
}

# A store that is full again and again.
test_full_store() {
	load_module
	clones_disks 3 8 8
	G_FEATURES+=(on_full error)
	expect_full
	group_create
	clones_create
	run_model "$SECONDS_EACH" 'restart live live live'
	assert_base "$BASE_DISK"
}

# Power cuts, with caches that lose what was not flushed.
test_power_cuts() {
	clones_group 3 8 32 cache_size=4
	expect_power_cuts
	run_model "$SECONDS_EACH" 'crash crash live restart'
	assert_base "$BASE_DISK"
}

# Power cuts where every write that was done is kept.
test_power_cuts_without_caches() {
	clones_group 3 8 32
	expect_power_cuts
	run_model "$SECONDS_EACH" 'crash crash live restart'
	assert_base "$BASE_DISK"
}

# A logged volume beside a clone, in one store.
test_logged_power_cuts() {
	load_module
	logged_disks 1 8 24 cache_size=4
	expect_power_cuts
	group_create
	clones_create
	run_model "$SECONDS_EACH" 'crash crash live restart'
	assert_base "$BASE_DISK"
}

# Several writers meet in one block, in sub-blocks of their own and in the same ones, and in one sub-block,
# while others flush: commits go on all the time. A clone, and a volume that is logged beside it.
one_block() { # sectors
	load_module
	logged_disks 1 8 24 cache_size=4
	expect_power_cuts
	group_create
	clones_create
	run_model "$SECONDS_EACH" 'restart crash live' --threads 6 --hot "$1" --max 65536
	assert_base "$BASE_DISK"
}

test_writers_of_one_block() {
	one_block 128
}

test_writers_of_one_sub_block() {
	one_block 8
}
