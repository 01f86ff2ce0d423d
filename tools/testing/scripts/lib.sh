# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the tests of the scripts share. TEST_DIR, where they begin, is theirs; all that they start has it in its
# command line.

# shellcheck source=../vm/lib/assert.sh
. "$PROJECT/tools/testing/vm/lib/assert.sh"

# A copy of the scripts and the Makefile, as a project of its own, and an empty cache.
P=$TEST_DIR/project
export DM_SVOL_CACHE=$TEST_DIR/cache

new_project() {
	mkdir "$P"
	cp -r "$PROJECT/scripts" "$PROJECT/Makefile" "$P/"
}

# in_library <commands>: a shell that has read the library of the copy runs them. Its output is kept apart.
in_library() {
	"$BASH" -c ". '$P/scripts/lib/all.sh'; $1"
}

# fails <status> <command>...: it ends with that status. What it said is in the files said (standard error) and
# printed.
fails() {
	local status=0
	"${@:2}" > printed 2> said || status=$?
	((status == $1)) || fail "status $status, not $1: ${*:2}: $(cat said)"
}

# Fails, unless a line of the file `said` matches.
assert_said() { # <regex>...
	local regex
	for regex; do
		grep -Eq -- "$regex" said || fail "nothing like \"$regex\" is said: $(cat said)"
	done
}

# What apt-cache dumpavail prints of these packages.
archive() { # "<package> <version>"...
	local entry
	for entry; do
		printf 'Package: %s\nArchitecture: amd64\nVersion: %s\nMaintainer: nobody\n\n' "${entry% *}" "${entry#* }"
	done > dump
}

# The packages of a kernel, as arguments of archive, one per line.
kernel() { # <release> <version>
	local series
	series=$(cut -d . -f 1-2 <<< "$1")
	printf '%s\n' "linux-headers-$1 $2" "linux-binary-$1 $2" "linux-modules-$1 $2" "linux-source-$series $2"
}

# A minute, since machines that run other tests may have all processors.
wait_for() { # <command>...
	local end=$((SECONDS + 60))
	while ((SECONDS < end)); do
		! "$@" || return 0
		sleep 0.05
	done
	fail "not even after 60 s: $*"
}

has_ended() { ! kill -0 "$1" 2> /dev/null; }

# The processes with a word in their command line.
processes_of() { # <word>
	grep -slaF -f <(echo "$1") /proc/[0-9]*/cmdline | cut -d / -f 3 || :
}

has_some() { # <word>
	[[ -n $(processes_of "$1") ]]
}

has_none() { # <word>
	! has_some "$1"
}

kill_all() { # <word>
	local pids
	mapfile -t pids < <(processes_of "$1")
	((${#pids[@]} == 0)) || kill -KILL "${pids[@]}" 2> /dev/null || :
}
