# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What every script here shares: where things are, and how they talk to the user.
# Results go to standard output; everything else goes to standard error.

set -euo pipefail
umask 022

project=$(realpath -- "$(dirname -- "${BASH_SOURCE[0]}")/../..")
scripts=$project/scripts
cache=$(realpath -m -- "${DM_SVOL_CACHE:-/var/cache/dm-svol}")
# shellcheck source=SCRIPTDIR/../kernel-support
. "$scripts/kernel-support"

# The clock of the progress lines starts with the outermost script.
export DM_SVOL_STARTED=${DM_SVOL_STARTED:-$EPOCHSECONDS}

note() {
	local t=$((EPOCHSECONDS - DM_SVOL_STARTED))
	printf '[%2d:%02d] %s\n' $((t / 60)) $((t % 60)) "$*" >&2
}

die() {
	printf 'dm-svol: %s\n' "$@" >&2
	exit 1
}

# again <title> <command>...: does what needs the network up to three times: a mirror or a name server may
# fail for a moment.
again() {
	local title=$1 pause
	shift
	for pause in 10 30 0; do
		if "$@"; then
			return
		fi
		if ((pause)); then
			note "$title: failed; trying again in $pause s"
			sleep "$pause"
		fi
	done
	return 1
}

# end_children [pid]: ends all that this shell, or a process, has started and that still runs. What interrupts
# a terminal reaches all that anyway, but not what ends this shell alone.
end_children() {
	local parent=${1:-$BASHPID} children=() child
	read -ra children < "/proc/$parent/task/$parent/children" || :
	for child in ${children[@]+"${children[@]}"}; do
		end_children "$child"
		kill -- "$child" || :
	done
} 2> /dev/null

# owned <command>...: runs a program so that it does not outlive this shell, whatever ends it.
owned() {
	setpriv --pdeathsig TERM -- "$@"
}
