#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The demo, inside the VM: the group of the patent's figure 9 on disks with a real file system.
#
# In: $DM_SVOL_KO, the disks /dev/vda to /dev/vdf, and $DM_SVOL_SHARE with image.sha256.
set -eu

say() {
	printf '\n== %s\n' "$*"
}

run() {
	printf '# %s\n' "$*"
	"$@"
}

# Sectors read from a block device since boot.
sectors_read() {
	awk '{ print $3 }' "/sys/block/$1/stat"
}

# The disks, in the order in which scripts/demo attaches them.
disk_LV0=vda disk_LV1=vdb disk_LV2=vdc disk_S0=vdd disk_DLV2=vde disk_meta=vdf
modprobe virtio_blk
modprobe ext4
sectors=$(blockdev --getsz "/dev/$disk_LV0")

say "Disks: three copies of an ext4 image, a spare, an increments and a metadata device"
lsblk -o NAME,SIZE
run blkid "/dev/$disk_LV0" "/dev/$disk_LV1" "/dev/$disk_LV2"

say "The module"
run insmod "$DM_SVOL_KO"
run dmsetup targets | grep svol

say "The group of figure 9"
run dmsetup create G0 --table "0 $sectors svol-group G0 128 1 /dev/$disk_meta 5 \
LV0 ro /dev/$disk_LV0 - LV1 ro /dev/$disk_LV1 - LV2 rw /dev/$disk_LV2 DLV2 S0 spare /dev/$disk_S0 - \
DLV2 increments /dev/$disk_DLV2 - 2 init assume_identical"
for lid in LV0 LV1; do
	run dmsetup create --readonly "$lid" --table "0 $sectors svol /dev/mapper/G0 $lid"
	mkdir -p "/mnt/$lid"
	run mount -o ro,noload "/dev/mapper/$lid" "/mnt/$lid"
done

say "Every file through both volumes"
a0=$(sectors_read "$disk_LV0")
b0=$(sectors_read "$disk_LV1")
files=$(wc -l <"$DM_SVOL_SHARE/image.sha256")
check_files() (
	cd "/mnt/$1"
	sha256sum --quiet -c "$DM_SVOL_SHARE/image.sha256"
	echo "/mnt/$1: $files files, all checksums right"
)
check_files LV0 &
check_files LV1
wait "$!"

say "Both disks took part (from /proc/diskstats)"
a=$(($(sectors_read "$disk_LV0") - a0))
b=$(($(sectors_read "$disk_LV1") - b0))
echo "$disk_LV0: $((a / 2048)) MiB read, $disk_LV1: $((b / 2048)) MiB read ($((a * 100 / (a + b))) % : $((b * 100 / (a + b))) %)"

say "The S-VOL group management table"
run dmsetup message G0 0 query
say "Status"
run dmsetup status G0

umount /mnt/LV0 /mnt/LV1
dmsetup remove LV0
dmsetup remove LV1
dmsetup remove G0
rmmod dm_svol
say "Done: group stopped, module unloaded"
