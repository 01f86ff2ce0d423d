# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# The guest reads its programs from the host, over a file system without a
# cache, again at every start. The tests start thousands of processes, so the
# programs that they use most, with their libraries, move into memory first.

HOT_PROGRAMS=(awk bash blkdiscard blockdev cat cksum cmp cp dd dmsetup grep head
	insmod mkdir rm rmdir rmmod sed setsid stat tail timeout tr umount)

hot_programs() { # folder
	local program path paths=() loader
	mkdir -p "$1/bin" "$1/lib"
	for program in "${HOT_PROGRAMS[@]}"; do
		path=$(type -P "$program") && paths+=("$path")
	done
	# By the name that is asked for: some are links to programs of many names.
	cp -L -t "$1/bin" "${paths[@]}"
	# The loader's place is written into every program. It lists the libraries of one in a
	# fraction of the time that ldd takes.
	loader=$(ldd "${paths[0]}" | awk '$1 ~ "^/.*/ld" { print $1 }')
	loader=$(readlink -f "$loader")
	for path in "${paths[@]}" "$SVOL_TEST"; do
		"$loader" --list "$path"
	done 2>/dev/null | awk '/=> \// && !seen[$3]++ { print $3 }' | xargs cp -L -t "$1/lib"
	cp "$loader" "$1/loader" && mount --bind "$1/loader" "$loader"
	export PATH="$1/bin:$PATH" LD_LIBRARY_PATH="$1/lib"
	HOT_LOADER=$loader
}

hot_end() {
	unset LD_LIBRARY_PATH
	[ -z "${HOT_LOADER:-}" ] || umount -l "$HOT_LOADER"
}
