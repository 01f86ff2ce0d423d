#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The demo, inside the VM: the group of the patent's figure 9 on disks with a real file system.
#
# In: $DM_SVOL_KO, and $DM_SVOL_SHARE with image.ext4 and image.sha256.
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

# A memory-backed disk of $2 MiB called $1, on which a device-mapper table may sit.
make_disk() {
	local dir="/sys/kernel/config/nullb/$1"

	mkdir "$dir"
	echo "$2" >"$dir/size"
	echo 1 >"$dir/memory_backed"
	echo 1 >"$dir/power"
}

image=$DM_SVOL_SHARE/image.ext4
mib=$(($(stat -c %s "$image") / 1048576))
sectors=$((mib * 2048))

say "Disks: three copies of an ext4 image of $mib MiB, a spare, an increments and a metadata device"
modprobe null_blk nr_devices=0
modprobe ext4
for disk in sda sdb sdc sdd; do
	make_disk "$disk" "$mib"
done
make_disk sde 64
make_disk meta 16
for disk in sda sdb sdc; do
	dd if="$image" of="/dev/$disk" bs=1M oflag=direct status=none
	echo "copied the image to /dev/$disk"
done

say "The module"
run insmod "$DM_SVOL_KO"
run dmsetup targets | grep svol

say "The group of figure 9"
run dmsetup create G0 --table "0 $sectors svol-group G0 128 1 /dev/meta 5 \
LV0 ro /dev/sda - LV1 ro /dev/sdb - LV2 rw /dev/sdc DLV2 S0 spare /dev/sdd - \
DLV2 increments /dev/sde - 2 init assume_identical"
for lid in LV0 LV1; do
	run dmsetup create --readonly "$lid" --table "0 $sectors svol /dev/mapper/G0 $lid"
	mkdir -p "/mnt/$lid"
	run mount -o ro,noload "/dev/mapper/$lid" "/mnt/$lid"
done

say "Every file through both volumes"
a0=$(sectors_read sda)
b0=$(sectors_read sdb)
files=$(wc -l <"$DM_SVOL_SHARE/image.sha256")
for lid in LV0 LV1; do
	(cd "/mnt/$lid" && sha256sum --quiet -c "$DM_SVOL_SHARE/image.sha256")
	echo "/mnt/$lid: $files files, all checksums right"
done

say "Both disks took part (from /proc/diskstats)"
a=$(($(sectors_read sda) - a0))
b=$(($(sectors_read sdb) - b0))
echo "sda: $((a / 2048)) MiB read, sdb: $((b / 2048)) MiB read ($((a * 100 / (a + b))) % : $((b * 100 / (a + b))) %)"

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
