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
		path=$(type -P "$program") || continue
		# By the name that is asked for: some are links to programs of many names.
		cp -L "$path" "$1/bin/$program"
		paths+=("$1/bin/$program")
	done
	ldd "${paths[@]}" "$SVOL_TEST" 2>/dev/null | awk '/=> \// { print $3 }' | sort -u |
		xargs cp -L -t "$1/lib"
	# The loader's place is written into every program.
	loader=$(ldd "${paths[0]}" | awk '$1 ~ "^/.*/ld" { print $1 }')
	loader=$(readlink -f "$loader")
	cp "$loader" "$1/loader" && mount --bind "$1/loader" "$loader"
	export PATH="$1/bin:$PATH" LD_LIBRARY_PATH="$1/lib"
	HOT_LOADER=$loader
}

hot_end() {
	unset LD_LIBRARY_PATH
	[ -z "${HOT_LOADER:-}" ] || umount -l "$HOT_LOADER"
}
