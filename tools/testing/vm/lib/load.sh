# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# I/O in the background that checks everything it reads.

declare -gA LOAD_PIDS

# Starts a load that goes on until stop_load. More options as of
# `svol-test random-io`.
start_load() { # name device [options...]
	local before
	before=$(io_count "$(disk_sys "$2")")
	"$SVOL_TEST" random-io "$2" --until-signal --seed "$SEED" --threads 2 \
		--max 65536 --rng "$SVOL_SEED" "${@:3}" >"load.$1" 2>&1 &
	LOAD_PIDS[$1]=$!
	# Until it has opened the device, that is not busy, and a signal to end would be fatal.
	wait_until 20 load_runs "$2" "$before" || fail "the load $1 does not start: $(cat "load.$1")"
}

load_runs() { # device [I/Os-of-others-before]
	io_count_above "$(disk_sys "$1")" $((${2:-0} + 3))
}

# Ends a load; fails if it met a wrong sector or an error that was not allowed.
stop_load() { # name
	kill -TERM "${LOAD_PIDS[$1]}" 2>/dev/null || :
	wait "${LOAD_PIDS[$1]}" || fail "the load $1 failed: $(cat "load.$1")"
	unset "LOAD_PIDS[$1]"
	cat "load.$1"
}

stop_loads() {
	local name
	for name in "${!LOAD_PIDS[@]}"; do
		stop_load "$name"
	done
}

# How many I/Os a device has finished, by its folder in sysfs: a device whose
# removal is deferred has no node any more.
io_count() { # folder
	local fields
	read -ra fields <"$1/stat"
	echo $((fields[0] + fields[4]))
}

io_count_above() { # folder count
	[ "$(io_count "$1")" -gt "$2" ]
}

# I/O goes on on a device, or on one of which the folder in sysfs is given.
assert_io_flows() { # device
	local folder=$1 before
	[[ $folder == /sys/* ]] || folder=$(disk_sys "$1")
	before=$(io_count "$folder")
	wait_until 20 io_count_above "$folder" $((before + 2)) || fail "no I/O on $1 any more"
}
