# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Marks in the kernel log. The follower (`svol-test klog`) keeps the newest one
# in $KLOG.mark, so that waiting for it needs no process.

# Waits until the follower has read everything that was logged so far.
mark_and_wait() { # text, unique for this moment
	echo "<6>svol-test: $1" >/dev/kmsg
	wait_until 20 mark_is "$1"
}

mark_is() { # text
	local newest
	read -r newest <"$KLOG.mark" && [ "$newest" = "svol-test: $1" ]
} 2>/dev/null
