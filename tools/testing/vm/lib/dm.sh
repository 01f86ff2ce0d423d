# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Device-mapper devices.

# Fields of `dmsetup info`: open, suspended, events, minor ...
dm_info() { # name field
	dmsetup info -c --noheadings -o "$2" "$1"
}

# Makes a device of one plain target over a whole device or a part of it.
dm_linear() { # name device [start [len]]
	local start=${3:-0} len=${4:-}
	[ -n "$len" ] || len=$(($(blockdev --getsz "$2") - start))
	dmsetup create "$1" --table "0 $len linear $2 $start"
}

# Makes devices that do not need each other, with one process.
dm_create_all() { # "name,,,,table"...
	local IFS=';'
	[ $# = 0 ] || dmsetup create --concise "$*"
}

# Encryption with a fixed key.
dm_crypt() { # name device [optional parameters, after their number]
	local key
	key=$(printf '%064d' 7)
	dmsetup create "$1" \
		--table "0 $(blockdev --getsz "$2") crypt aes-xts-plain64 $key 0 $2 0 ${*:3}"
}

# Loads a table and makes it live, as a user changes a table.
dm_change() { # name table [dmsetup options of the suspend]
	dmsetup load "$1" --table "$2"
	dmsetup suspend "${@:3}" "$1"
	dmsetup resume "$1"
}

# A linear device over a disk, of which one part becomes something else.
dm_change_part() { # name disk start sectors target [dmsetup options of the suspend]
	local end=$(($3 + $4))
	dm_change "$1" "0 $3 linear $2 0
		$3 $4 $5
		$end $(($(blockdev --getsz "$2") - end)) linear $2 $end" "${@:6}"
}

# A device whose table is not there.
dm_exists() { # name
	dmsetup info "$1" >/dev/null 2>&1
}

assert_no_dm() { # name...
	local name
	for name in "$@"; do
		! dm_exists "$name" || fail "the device $name exists"
	done
}
