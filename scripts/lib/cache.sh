# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The cache of everything that provisioning makes. An item is a folder named by a hash of its
# inputs. It is made in a work folder and renamed when complete, so what is there is whole, and an
# interrupted run starts the item anew. A lock per item lets several runs share the cache.

# Which kernel is used (in choice/) and how old the trees may be (refresh). `make update` decides
# that anew in a folder of its own, so that nothing changes before all that it takes is there.
decisions=${DM_SVOL_DECISIONS:-$cache}

# cached <name> <inputs> <title> <builder> [<argument>...]
#
# Sets `item` to the folder of the item, making it first unless it is there: runs the function
# <builder> of scripts/lib/builders with the work folder and the arguments, in its own shell. With
# `only_named` set, it makes nothing, and the folder may not be there. The array `items_named` has
# the names of all items that were asked for.
items_named=()
cached() {
	local name=$1 inputs=$2 title=$3
	shift 3
	local id lock
	id=$name-$(printf '%s\n' "$inputs" | sha256sum | cut -c1-12)
	item=$cache/$id
	items_named+=("$id")
	if [[ -d $item || -n ${only_named-} ]]; then
		return
	fi
	mkdir -p "$cache/lock" "$cache/work" "$cache/log" ||
		die "cannot write to the cache $cache; set DM_SVOL_CACHE to another folder"
	exec {lock}> "$cache/lock/$id"
	if ! flock -n "$lock"; then
		note "$title: another run is making it; waiting for that"
		flock "$lock"
	fi
	if [[ ! -d $item ]]; then
		make_item "$id" "$title" "$@" {lock}>&-
	fi
	exec {lock}>&-
}

make_item() {
	local id=$1 title=$2
	shift 2
	local work=$cache/work/$id log=$cache/log/$id.log begin=$EPOCHSECONDS ticker status=0 often=()

	case $1 in
	build_tree | download_kernel) often=(again "$title") ;;
	esac
	note "$title ..."
	show_progress "$title" "$log" $$ &
	ticker=$!
	${often[@]+"${often[@]}"} run_builder "$work" "$log" "$@" || status=$?
	kill "$ticker" 2> /dev/null || true
	wait "$ticker" 2> /dev/null || true
	if ((status)); then
		tail -n 20 -- "$log" | sed 's/^/    /' >&2
		rm -rf -- "$work"
		die "$title: failed; the lines above are the end of $log" \
			"run the same command again to retry; what was finished before is kept" \
			"(no network? full disk? behind a proxy? see DEBIAN_MIRROR and DM_SVOL_CACHE in 'make help')"
	fi
	mv -T -- "$work" "$item"
	note "$title: done in $((EPOCHSECONDS - begin)) s"
}

# From an empty work folder, in name spaces of its own: nothing that it started goes on writing after an
# interruption.
run_builder() { # <work folder> <log> <builder> [<argument>...]
	rm -rf -- "$1" && mkdir -p -- "$1" || return
	setpriv --pdeathsig KILL -- unshare --mount --pid --fork --kill-child=KILL --mount-proc \
		"$BASH" "$scripts/lib/builders" "$3" "$1" "${@:4}" > "$2" 2>&1 < /dev/null
}

# Says once in a while what a long step is doing, as long as the shell <pid> lives: not longer, since it has the
# lock, as bash keeps a copy of what it closes for a function.
show_progress() {
	local title=$1 log=$2 pid=$3
	trap - INT TERM
	until timeout 30 tail --pid="$pid" --sleep-interval=0.5 -f /dev/null > /dev/null 2>&1; do
		note "$title ... $(tail -n 1 -- "$log" 2> /dev/null | tr -s ' \t' ' ' | cut -c1-60)"
	done
}
