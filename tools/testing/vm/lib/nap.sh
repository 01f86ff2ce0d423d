# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Sleeping without a process: starting `sleep` costs more than it sleeps on an
# emulated CPU. $NAP_FIFO is a FIFO that nobody ever writes to.

nap_init() {
	exec {NAP_FD}<>"$NAP_FIFO"
}

# Sleeps this many seconds (a fraction is fine).
nap() { # seconds
	read -rt "$1" -u "$NAP_FD" _ || :
}

# Waits until a command succeeds, at most this many seconds, and longer on a kernel with its checks.
wait_until() { # seconds command...
	local until=$((SECONDS + $1))
	[ ! -e /proc/lockdep ] || until=$((SECONDS + 10 * $1))
	shift
	until "$@"; do
		[ "$SECONDS" -lt "$until" ] || return 1
		nap 0.05
	done
}

# Looks at the process itself: bash may learn of its end much later, and `kill -0`
# cannot tell a process that nobody has waited for yet.
has_ended() { # pid
	local stat
	read -r stat 2>/dev/null <"/proc/$1/stat" || return 0
	[[ ${stat##*) } == [ZX]* ]]
}
