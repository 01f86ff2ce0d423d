# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Disks that can be made to fail: those of figure 9, below linear devices that a test replaces.

# What the kernel says about disks that fail.
expect_disk_errors() {
	expect_warnings
	expect_log '^(critical |I/O error|Buffer I/O error|device-mapper: |dust: )'
}

# The disks of figure 9, each below a linear device that a test may replace:
#
#   COVER[name]   the disk below /dev/mapper/<name>, for disk0 ... disk2, spare, store, meta1, meta2
declare -gA COVER

covered9() { # MiB [attribute=value of the data disks...]
	local name devices=()
	load_module
	figure9_disks "$@"
	expect_disk_errors
	COVER=([meta1]="$META" [meta2]="$META2" [disk0]="$D0" [disk1]="$D1" [disk2]="$D2" [spare]="$DS"
		[store]="$DI")
	for name in "${!COVER[@]}"; do
		devices+=("$name,,,,$(cover_table "$name" linear)")
	done
	dm_create_all "${devices[@]}"
	G_META=(/dev/mapper/meta1 /dev/mapper/meta2)
	G_VOLUMES=('LV0 ro /dev/mapper/disk0 -' 'LV1 ro /dev/mapper/disk1 -'
		'LV2 rw /dev/mapper/disk2 DLV2' 'S0 spare /dev/mapper/spare -'
		'DLV2 increments /dev/mapper/store -')
	G_FEATURES=(init assume_identical failover manual)
	group_create
	figure9_volumes
}

# The spare holds something that no volume has.
fill_spare() {
	"$SVOL_TEST" fill --seed 77 "$DS"
}

# A way for a covered disk to behave.
cover_table() { # name linear|error|reads|writes|drops|flaps|dust
	local disk=${COVER[$1]} size
	size=$(blockdev --getsz "$disk")
	case $2 in
	linear) echo "0 $size linear $disk 0" ;;
	error) echo "0 $size error" ;;
	reads) echo "0 $size flakey $disk 0 0 1000 1 error_reads" ;;
	writes) echo "0 $size flakey $disk 0 0 1000 1 error_writes" ;;
	drops) echo "0 $size flakey $disk 0 0 1000 1 drop_writes" ;;
	flaps) echo "0 $size flakey $disk 0 1 1" ;;
	dust) echo "0 $size dust $disk 0 512" ;;
	*) fail "no way to behave: $2" ;;
	esac
}

cover_is() { # name way
	dm_change "$1" "$(cover_table "$1" "$2")" --noflush
}

# Whatever asks the spare to flush its cache waits for that long.
spare_flushes_in() { # ms
	dm_change spare "0 $(blockdev --getsz "$DS") delay $DS 0 0 $DS 0 0 $DS 0 $1" --noflush
}

# Sectors of a covered disk can't be read until somebody writes them.
cover_has_bad_sectors() { # name sector...
	[[ $(dmsetup table "$1") == *' dust '* ]] || cover_is "$1" dust
	bad_sectors "$@"
}

# The same for a device that is covered in that way.
bad_sectors() { # device-mapper-name sector...
	local sector
	dmsetup message "$1" 0 quiet
	# dm-dust refuses what it has already; random ones may be the same.
	for sector in $(printf '%s\n' "${@:2}" | sort -nu); do
		dmsetup message "$1" 0 addbadblock "$sector"
	done
	dmsetup message "$1" 0 enable
}

protection_is() { # LID word
	read_status
	[ "${ST[$1.protection]}" = "$2" ]
}

wait_protected() { # LID
	wait_until 60 protection_is "$1" protected || fail "$1 is not protected: ${ST[line]}"
}

start_loads9() {
	start_load LV0 /dev/mapper/LV0
	start_load LV1 /dev/mapper/LV1
	start_load LV2 /dev/mapper/LV2 --write 50 --flush 5 --dsync 10 --state lv2
}

down9() {
	dmsetup remove LV0 LV1 LV2 G0
}

up9() {
	group_create
	figure9_volumes
}

assert_data9() {
	assert_base /dev/mapper/LV0 /dev/mapper/LV1 /dev/mapper/G0
	assert_state /dev/mapper/LV2 lv2
}

covers_return() {
	local name devices=()
	for name in "${!COVER[@]}"; do
		devices+=("$name,,,,$(cover_table "$name" linear)")
	done
	dm_create_all "${devices[@]}"
}

# After a power cut: the disks are back, and well.
power_return9() {
	down9
	dmsetup remove "${!COVER[@]}"
	power_on "${G_DISKS[@]}"
	covers_return
	up9
}

# The same group from the beginning, with all disks well.
restart_anew9() {
	local name
	down9
	for name in "${!COVER[@]}"; do
		cover_is "$name" linear
	done
	blank_disk "$META" "$META2" "$DI"
	"$SVOL_TEST" fill --seed "$SEED" "$D0" "$D1" "$D2"
	rm -f s.LV2 lv2
	up9
}
