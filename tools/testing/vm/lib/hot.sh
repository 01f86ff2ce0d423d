# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# The guest reads its programs from the host, over a file system without a
# cache, again at every start. The tests start thousands of processes, so the
# programs that they use most, with their libraries, move into memory first.

HOT_PROGRAMS=(awk bash blkdiscard blockdev cat cksum cmp cp dd dmsetup grep head
	insmod mkdir rm rmdir rmmod sed setsid stat tail timeout tr umount)

hot_programs() { # folder
	local loader
	HOT=$1
	# The loader's place is written into every program.
	loader=$(ldd "$(type -P bash)" | awk '$1 ~ "^/.*/ld" { print $1 }')
	loader=$(readlink -f "$loader")
	mkdir -p "$HOT/bin" "$HOT/lib"
	cp "$loader" "$HOT/loader"
	hot_add "${HOT_PROGRAMS[@]}"
	hot_libraries "$SVOL_TEST" "$SVOL"
	mount --bind "$HOT/loader" "$loader"
	export HOT PATH="$HOT/bin:$PATH" LD_LIBRARY_PATH="$HOT/lib"
	HOT_LOADER=$loader
}

# The same for what only some tests use.
hot_add() { # program...
	local program path paths=()
	for program in "$@"; do
		[ ! -e "$HOT/bin/$program" ] || continue
		path=$(type -P "$program") && paths+=("$path")
	done
	[ "${#paths[@]}" -gt 0 ] || return 0
	# By the name that is asked for: some are links to programs of many names.
	cp -L -t "$HOT/bin" "${paths[@]}"
	hot_libraries "${paths[@]}"
}

# The loader lists the libraries of a program in a fraction of the time that ldd takes.
hot_libraries() { # path...
	local path libraries=()
	while read -r path; do
		[ -e "$HOT/lib/${path##*/}" ] || libraries+=("$path")
	done < <(for path in "$@"; do
		"$HOT/loader" --list "$path"
	done 2>/dev/null | awk '/=> \// && !seen[$3]++ { print $3 }')
	[ "${#libraries[@]}" = 0 ] || cp -L -t "$HOT/lib" "${libraries[@]}"
}

hot_end() {
	unset LD_LIBRARY_PATH
	[ -z "${HOT_LOADER:-}" ] || umount -l "$HOT_LOADER"
}
