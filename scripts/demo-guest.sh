#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# demo-guest.sh [after-reset]: the demo, inside the VM: the group of the patent's figure 9 on disks
# with a real file system. It ends with a reset of the VM; the second part goes on after that.
#
# In: $DM_SVOL_KO, the disks /dev/vda to /dev/vdf, and $DM_SVOL_SHARE with image.sha256. The first
# part leaves new.sha256 there.
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

load_module() {
	modinfo -F depends "$DM_SVOL_KO" | tr ',' '\n' | xargs -r modprobe -a
	run insmod "$DM_SVOL_KO"
}

load_group() { # feature...
	run dmsetup create G0 --table "0 $sectors svol-group G0 128 1 /dev/$disk_meta 5 \
LV0 ro /dev/$disk_LV0 - LV1 ro /dev/$disk_LV1 - LV2 rw /dev/$disk_LV2 DLV2 S0 spare /dev/$disk_S0 - \
DLV2 increments /dev/$disk_DLV2 - $*"
}

load_LV2() {
	run dmsetup create LV2 --table "0 $sectors svol /dev/mapper/G0 LV2"
	mkdir -p /mnt/LV2
	run mount /dev/mapper/LV2 /mnt/LV2
}

check_new() { # folder
	(cd "$1" && sha256sum --quiet -c "$DM_SVOL_SHARE/new.sha256")
	echo "$1: $(wc -l <"$DM_SVOL_SHARE/new.sha256") new files, all checksums right"
}

check_image() { # folder
	(cd "$1" && sha256sum --quiet -c "$DM_SVOL_SHARE/image.sha256")
	echo "$1: $(wc -l <"$DM_SVOL_SHARE/image.sha256") files, all checksums right"
}

after_reset() {
	say "After the reset: what LV2 had changed, from its increments volume (not in use yet)"
	run build/svol diff --meta "/dev/$disk_meta" "/dev/$disk_DLV2" | head -n 6
	# The block IDs, each with the slot that has the block.
	run build/svol dump --entries "/dev/$disk_DLV2" | grep -E '^#|slot [0-9]+ ' | head -n 6

	say "The same group again"
	load_module
	load_group
	# What the module did about the crash.
	dmesg | sed -n 's/^.*dm_svol: G0: //p'
	load_LV2
	check_new /mnt/LV2
	run dmsetup status G0
	failover
	umount /mnt/LV2
	run e2fsck -fn /dev/mapper/LV2
	dmsetup remove LV2 LV0
	dmsetup remove G0
	rmmod dm_svol

	say "The spare, which is LV2's disk now, by itself, without the module"
	run mount -o ro "/dev/$disk_S0" /mnt/LV2
	check_new /mnt/LV2
	check_image /mnt/LV2
	umount /mnt/LV2
	say "Done: group stopped, module unloaded"
}

# Takes a disk out of the machine.
pull() { # disk
	echo "# pull /dev/$1"
	echo 1 >"/sys/block/$1/device/../remove"
}

# The fields of an entry in the status line.
entry() { # LID
	dmsetup status G0 | grep -o " $1 .*" | cut -d ' ' -f 2-12
}

# Shows how a volume fares that is about to lose its disk, until it is in sync again: each change of its health,
# and its progress once a second.
watch_health() { # LID
	local now health='' before=in-sync last=$SECONDS
	until [ "$health" = in-sync ] && [ "$before" != in-sync ]; do
		[ -z "$health" ] || before=$health
		now=$(entry "$1")
		health=$(cut -d ' ' -f 3 <<<"$now")
		if [ "$health" != "$before" ] || { [ "$health" != in-sync ] && [ "$SECONDS" -gt "$last" ]; }; then
			echo "$now"
			last=$SECONDS
		fi
		sleep 0.02
	done
}

# Reads LV0 at random places.
read_LV0() { # seconds
	fio --minimal --disk_util=0 --name=LV0 --filename=/dev/mapper/LV0 --rw=randread --bs=4k --direct=1 \
		--readonly --time_based --runtime="$1" >/tmp/fio.LV0
}

# Disks die while their volumes are in use.
failover() {
	local fio0 fio2 files
	say "LV2 and LV0 are in use, and the disk of LV2 is pulled out"
	run dmsetup create --readonly LV0 --table "0 $sectors svol /dev/mapper/G0 LV0"
	mkdir -p /mnt/LV0
	run mount -o ro,noload /dev/mapper/LV0 /mnt/LV0
	# fio leaves files where it stands.
	cd /tmp
	fio --minimal --disk_util=0 --name=LV2 --filename=/mnt/LV2/fio --size=16m --rw=randrw --bs=4k --direct=1 \
		--verify=crc32c --verify_fatal=1 --time_based --runtime=12 >/tmp/fio.LV2 &
	fio2=$!
	read_LV0 12 &
	fio0=$!
	sleep 4
	pull "$disk_LV2"
	watch_health LV2
	wait "$fio2"
	wait "$fio0"
	echo "fio: no error, neither on LV2 nor on LV0, and all that it read on LV2 was right"
	dmesg | sed -n 's/^.*dm_svol: G0: //p' | tail -n 3
	umount /mnt/LV2
	run e2fsck -fn /dev/mapper/LV2
	run mount /dev/mapper/LV2 /mnt/LV2
	check_new /mnt/LV2

	say "The disk of LV0 is pulled out, too, while every file is read there"
	read_LV0 8 &
	fio0=$!
	check_image /mnt/LV0 &
	files=$!
	sleep 1
	pull "$disk_LV0"
	wait "$files"
	wait "$fio0"
	cd - >/dev/null
	echo "fio on LV0: no error"
	umount /mnt/LV0
	run dmsetup message G0 0 query
}

if [ "${1-}" = after-reset ]; then
	after_reset
	exit
fi

say "Disks: three copies of an ext4 image, a spare, an increments and a metadata device"
lsblk -o NAME,SIZE

say "The module"
load_module
run dmsetup targets | grep svol

say "The group of figure 9"
load_group 2 init assume_identical
for lid in LV0 LV1; do
	run dmsetup create --readonly "$lid" --table "0 $sectors svol /dev/mapper/G0 $lid"
	mkdir -p "/mnt/$lid"
	run mount -o ro,noload "/dev/mapper/$lid" "/mnt/$lid"
done

say "Every file through both volumes"
a0=$(sectors_read "$disk_LV0")
b0=$(sectors_read "$disk_LV1")
check_image /mnt/LV0 &
check_image /mnt/LV1
wait "$!"

say "Both disks took part (from /proc/diskstats)"
a=$(($(sectors_read "$disk_LV0") - a0))
b=$(($(sectors_read "$disk_LV1") - b0))
echo "$disk_LV0: $((a / 2048)) MiB read, $disk_LV1: $((b / 2048)) MiB read ($((a * 100 / (a + b))) % : $((b * 100 / (a + b))) %)"

say "The S-VOL group management table"
run dmsetup message G0 0 query
say "Status"
run dmsetup status G0

say "LV2 is written: on its disk, and what changes in the increments volume DLV2"
load_LV2
mkdir /mnt/LV2/source
run cp -r rust tools Documentation /mnt/LV2/source/
(cd /mnt/LV2 && find source -type f -exec sha256sum {} +) >"$DM_SVOL_SHARE/new.sha256"
echo "$(wc -l <"$DM_SVOL_SHARE/new.sha256") files copied"
run sync -f /mnt/LV2
# Of each entry the last field: for DLV2, blocks in use and all blocks.
dmsetup status G0 | sed 's/^.* DLV2 increments/DLV2 increments/'

say "The machine is reset while LV2 is being written"
dd if=/dev/zero of=/mnt/LV2/unfinished bs=64k count=512 oflag=direct status=none &
sleep 1
sync "$DM_SVOL_SHARE/new.sha256"
echo 1 >/proc/sys/kernel/sysrq
echo b >/proc/sysrq-trigger
sleep 60
echo "the machine was not reset" >&2
exit 1
