# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Volumes as ordinary disks: file systems, partitions and other device-mapper
# targets above them, and such targets below them.
# Smoke: ext4_readonly

# shellcheck source=../lib.sh
. "$TESTS/lib.sh"

# Some files in a folder, and their checksums.
make_files() { # folder
	local i
	mkdir "$1/files"
	for ((i = 1; i <= 20; i++)); do
		head -c $((i * 4099)) /dev/urandom >"$1/files/$i"
	done
	(cd "$1/files" && cksum -- *) >sums
}

check_files() { # folder
	(cd "$1/files" && cksum -- *) | cmp - sums
}

mount_at() { # folder device [options]
	mkdir -p "$1"
	mount "${@:3}" "$2" "$1"
}

# Makes the disks of figure 9 hold an image that a function puts on the first.
image_on_disks() { # function
	"$1" "$D0"
	save_disk "$D0" image
	load_disk "$D1" image
	load_disk "$D2" image
	rm image
}

ext4_image() { # disk
	mkfs.ext4 -q -F -b 4096 "$1"
	mount_at m "$1"
	make_files m
	umount m
}

xfs_image() { # disk
	# Smaller than mkfs likes it: more would only take longer.
	mkfs.xfs -q -f --unsupported -l size=14m "$1"
	mount_at m "$1"
	make_files m
	umount m
}

# Two volumes with the same file system and UUID, mounted at the same time.
test_ext4_readonly() {
	local before
	load_module
	figure9_disks 24
	image_on_disks ext4_image
	before=$(digest "$D0" "$D1")
	group_create
	svol_create LV0 --readonly
	svol_create LV1 --readonly
	mount_at m0 /dev/mapper/LV0 -o ro
	mount_at m1 /dev/mapper/LV1 -o ro
	check_files m0
	check_files m1
	# A mounted volume is in use.
	must_fail dmsetup remove LV0
	umount m0 m1
	assert_eq 'what the disks hold' "$(digest "$D0" "$D1")" "$before"
}

# A file system in work on a writable volume, with a discard in the end.
work_on() { # mounted folder
	local i
	check_files "$1"
	mkdir "$1/new"
	for ((i = 0; i < 30; i++)); do
		head -c 40000 /dev/urandom >"$1/new/$i"
	done
	cp -r "$1/files" "$1/copy"
	rm "$1"/new/*5
	sync -f "$1"
	cksum "$1"/new/* >new_sums
	fstrim "$1" 2>/dev/null || :
}

check_work() { # mounted folder
	check_files "$1"
	cksum "$1"/new/* | cmp - new_sums
	diff -r "$1/files" "$1/copy"
}

test_ext4() {
	load_module
	figure9_disks 24
	image_on_disks ext4_image
	group_create
	svol_create LV2
	svol_create LV0 --readonly
	mount_at m2 /dev/mapper/LV2
	mount_at m0 /dev/mapper/LV0 -o ro
	work_on m2
	check_files m0
	umount m2
	e2fsck -fn /dev/mapper/LV2
	# The disk is a plain image, of use without this module.
	dmsetup remove LV2
	umount m0
	dmsetup remove LV0
	dmsetup remove G0
	mount_at m2 "$D2" -o ro
	check_work m2
	umount m2
}

test_xfs() {
	need_module xfs
	load_module
	figure9_disks 64
	image_on_disks xfs_image
	group_create
	svol_create LV2
	svol_create LV0 --readonly
	mount_at m2 /dev/mapper/LV2 -o nouuid
	mount_at m0 /dev/mapper/LV0 -o ro,norecovery,nouuid
	work_on m2
	check_files m0
	umount m2 m0
	xfs_repair -n /dev/mapper/LV2
	mount_at m2 /dev/mapper/LV2
	check_work m2
	umount m2
}

partitioned_image() { # disk
	sfdisk -q --no-reread --no-tell-kernel "$1" <<-END
		label: gpt
		start=2048, size=16384
		start=20480, size=20480
	END
	dm_linear part "$1" 20480 20480
	ext4_image /dev/mapper/part
	dmsetup remove part
}

# A partition table on a volume, read through a loop device and by hand.
test_partitions() {
	local loop
	load_module
	figure9_disks 24
	image_on_disks partitioned_image
	group_create
	svol_create LV0 --readonly
	svol_create LV2
	loop=$(losetup -r -P --show -f /dev/mapper/LV0)
	wait_until 10 test -b "${loop}p2" || fail "no partition ${loop}p2"
	mount_at m0 "${loop}p2" -o ro
	check_files m0
	umount m0
	losetup -d "$loop"
	dm_linear part /dev/mapper/LV2 20480 20480
	mount_at m2 /dev/mapper/part
	work_on m2
	umount m2
	e2fsck -fn /dev/mapper/part
	sfdisk -q --verify /dev/mapper/LV2
}

# LVM without its daemons, its lock folder and udev, and with one disk only.
on_disk() { # disk command...
	local options='devices{scan=["/dev/mapper","/dev"] types=["nullb",16]}'
	options+='activation{udev_sync=0 udev_rules=0}'
	options+="global{locking_dir=\"$PWD/lock\"}backup{backup=0 archive=0}"
	LVM_SUPPRESS_FD_WARNINGS=1 "$2" --config "$options" --devices "$1" "${@:3}"
}

lvm_image() { # disk
	mkdir -p lock
	on_disk "$1" pvcreate -q "$1"
	on_disk "$1" vgcreate -q -s 1M svtvg "$1"
	on_disk "$1" lvcreate -q -y -Wn -Zn -L 12M -n lv svtvg
	ext4_image /dev/mapper/svtvg-lv
	on_disk "$1" vgchange -q -an svtvg
}

# LVM in the base image, and on a volume that is written: grown, and read without this module.
test_lvm() {
	local before
	load_module
	figure9_disks 24
	image_on_disks lvm_image
	before=$(digest "$D0" "$D1")
	group_create
	svol_create LV0 --readonly
	svol_create LV2

	on_disk /dev/mapper/LV0 vgchange -q -ay svtvg
	mount_at m0 /dev/mapper/svtvg-lv -o ro
	check_files m0
	# In use by what is above.
	must_fail dmsetup remove LV0
	umount m0
	on_disk /dev/mapper/LV0 vgchange -q -an svtvg

	on_disk /dev/mapper/LV2 vgchange -q -ay svtvg
	on_disk /dev/mapper/LV2 lvextend -q -L +8M svtvg/lv
	e2fsck -fp /dev/mapper/svtvg-lv
	resize2fs /dev/mapper/svtvg-lv
	mount_at m2 /dev/mapper/svtvg-lv
	work_on m2
	umount m2
	e2fsck -fn /dev/mapper/svtvg-lv
	on_disk /dev/mapper/LV2 vgchange -q -an svtvg
	dmsetup remove LV2
	dmsetup remove LV0
	dmsetup remove G0
	assert_eq 'what the disks hold' "$(digest "$D0" "$D1")" "$before"
	on_disk "$D2" vgchange -q -ay svtvg
	mount_at m2 /dev/mapper/svtvg-lv -o ro
	check_work m2
	umount m2
	on_disk "$D2" vgchange -q -an svtvg
}

test_linear_and_crypt_above() {
	need_target crypt
	figure9 16
	figure9_volumes
	dm_linear above0 /dev/mapper/LV0 64
	cmp -i 0:32768 -n $(((G_LEN - 64) * 512)) /dev/mapper/above0 "$D0"
	dm_crypt above2 /dev/mapper/LV2
	"$SVOL_TEST" fill --seed "$SEED" /dev/mapper/above2
	"$SVOL_TEST" random-io /dev/mapper/above2 --ops 100 --write 50 --state above2 \
		--max 131072 --rng "$SVOL_SEED"
	dmsetup remove above2
	dmsetup remove LV2
	dm_crypt above2 "$D2"
	assert_state /dev/mapper/above2 above2
	assert_base /dev/mapper/LV0 /dev/mapper/LV1
}

test_linear_and_crypt_below() {
	need_target crypt
	load_module
	figure9_disks 16
	dm_linear below0 "$D0"
	dm_crypt below1 "$D1"
	dm_crypt below2 "$D2"
	dm_linear belowmeta "$META"
	dm_linear belowspare "$DS"
	"$SVOL_TEST" fill --seed "$SEED" /dev/mapper/below1 /dev/mapper/below2
	G_META=(/dev/mapper/belowmeta "$META2")
	group_move LV0 /dev/mapper/below0
	group_move LV1 /dev/mapper/below1
	group_move LV2 /dev/mapper/below2
	group_move S0 /dev/mapper/belowspare
	group_create
	figure9_volumes
	"$SVOL_TEST" random-io /dev/mapper/LV0 --ops 100 --max 131072 --rng "$SVOL_SEED"
	"$SVOL_TEST" random-io /dev/mapper/LV2 --ops 100 --write 50 --state lv2 \
		--max 131072 --rng "$SVOL_SEED"
	assert_state /dev/mapper/below2 lv2
	# What is below may be changed under the group's feet.
	start_load lv1 /dev/mapper/LV1
	dmsetup suspend below0
	dmsetup load below0 --table "$(dmsetup table below0)"
	dmsetup resume below0
	assert_io_flows /dev/mapper/LV1
	stop_load lv1
	must_fail dmsetup remove below0
}

# With blocks of 4 KiB dm-crypt wants the memory of an I/O to be aligned to that, others do not.
test_increments_on_crypt() {
	need_target crypt
	load_module
	figure9_disks 16 blocksize=4096
	dm_crypt belowstore "$DI"
	blank_disk /dev/mapper/belowstore
	group_move DLV2 /dev/mapper/belowstore
	group_create
	svol_create LV2
	assert_eq 'the alignment of DLV2' "$(disk_limit /dev/mapper/belowstore dma_alignment)" 4095
	assert_eq 'the alignment of LV2' "$(disk_limit /dev/mapper/LV2 dma_alignment)" 4095
	"$SVOL_TEST" random-io /dev/mapper/LV2 --ops 50 --write 50 --state lv2 \
		--rng "$SVOL_SEED"
	assert_state "$D2" lv2
}

# A group whose disks are slices of one disk.
test_slices_of_one_disk() {
	local big i
	load_module
	figure9_disks 16
	new_disk big 64
	for i in 0 1 2 3; do
		dm_linear "slice$i" "$big" $((i * G_LEN)) "$G_LEN"
	done
	"$SVOL_TEST" fill --seed "$SEED" /dev/mapper/slice{0,1,2}
	group_move LV0 /dev/mapper/slice0
	group_move LV1 /dev/mapper/slice1
	group_move LV2 /dev/mapper/slice2
	group_move S0 /dev/mapper/slice3
	group_create
	svol_create LV2
	"$SVOL_TEST" random-io /dev/mapper/LV2 --ops 100 --write 50 --state lv2 \
		--rng "$SVOL_SEED"
	assert_base /dev/mapper/G0
	assert_state /dev/mapper/slice2 lv2
}

# One volume in two of another target, and loop devices above.
test_striped_and_loop_above() {
	local loop
	figure9 16
	svol_create LV0 --readonly
	svol_create LV2
	loop=$(losetup --direct-io=on -f --show /dev/mapper/LV2)
	"$SVOL_TEST" random-io "$loop" --ops 50 --write 50 --state lv2 --rng "$SVOL_SEED"
	losetup -d "$loop"
	assert_state /dev/mapper/LV2 lv2
}
