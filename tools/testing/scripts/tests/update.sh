# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# make update: what it decides anew, and what it takes out of the cache.

# A copy of the project with an archive of its own, which can be reached as long as there is a file "network". Its
# builders make folders with what others read there, and nothing else.
archive_project() {
	new_project
	mkdir -p "$P/tools/testing"
	cp -r "$PROJECT/tools/testing/kernel" "$P/tools/testing/"
	cat >> "$P/scripts/lib/all.sh" <<-EOF
		need_host_tools() { :; }
		again() { "\${@:2}"; }
		kernel_apt() { [[ -e '$TEST_DIR/network' ]]; }
		apt-cache() { cat '$TEST_DIR/dump'; }
		run_builder() {
			: > "\$2"
			[[ -e '$TEST_DIR/network' ]] && mkdir -p "\$1" && echo gcc | tee "\$1/"{toolchain,compiler} > "\$1/release"
		}
	EOF
	touch network
	archive_has 4
}

# The archive has the kernel of this number, in the series that is supported.
archive_has() { # <number>
	local series lines
	series=$(. "$PROJECT/scripts/kernel-support" && echo "$KERNEL_MAX")
	mapfile -t lines < <(kernel "$series.$1+deb13-amd64" "$series.$1-1~bpo13+1")
	archive "${lines[@]}"
}

# All that make, check, debug kernels and the demo use is there, or is made.
all_is_needed() {
	in_library 'need_kdir stock; need_image stock; need_kdir plain; need_kdir debug; need_demo_image'
}

# The items in the cache, all or those of a kind.
items() { # [<kind>]
	find "$DM_SVOL_CACHE" -maxdepth 1 -regextype posix-extended -regex ".*/${1-[a-z-]+}-[0-9a-f]{12}" -printf '%f\n' |
		sort
}

kinds() {
	items | sed 's/-[0-9a-f]*$//'
}

ALL_KINDS='demo-image kernel-debug kernel-packages kernel-plain kernel-source kernel-stock-image kernel-stock-kdir '
ALL_KINDS+='tree-build tree-vm'

# What was decided: the files and what they say.
decided() {
	(cd "$DM_SVOL_CACHE" && { grep -rs '' choice refresh || :; })
}

test_update_takes_out_what_is_old() {
	local old now
	archive_project
	all_is_needed 2> said
	assert_eq 'the items' "$(kinds | xargs)" "$ALL_KINDS"
	old=$(items)
	mkdir "$DM_SVOL_CACHE/demo-abcdef" "$DM_SVOL_CACHE/mine"
	archive_has 5
	make -s -C "$P" update 2> said
	assert_match 'what was decided' "$(decided)" '\.5-1~bpo13\+1 [0-9.]+\.5\+deb13-amd64'
	now=$(items)
	assert_eq 'the items of before' "$(comm -12 <(echo "$old") <(echo "$now"))" ''
	assert_eq 'the items' "$(kinds | xargs)" \
		'kernel-packages kernel-source kernel-stock-image kernel-stock-kdir tree-build tree-vm'
	[[ -d $DM_SVOL_CACHE/demo-abcdef && -d $DM_SVOL_CACHE/mine ]] || fail 'what is no item is gone, too'
	# They are those that are used from now on.
	rm network
	in_library 'need_kdir stock; need_image stock' 2> said || fail "$(cat said)"
}

# Nothing is newer but the trees.
test_update_keeps_what_is_used() {
	local kernels kind
	archive_project
	all_is_needed 2> said
	kernels=$(items 'kernel-[a-z-]+')
	make -s -C "$P" update 2> said
	assert_eq 'the items of kernels' "$(items 'kernel-[a-z-]+')" "$kernels"
	for kind in tree-build tree-vm; do
		assert_eq "the items $kind" "$(items "$kind" | wc -l)" 1
	done
	rm network
	in_library 'need_kdir stock; need_image stock; need_kdir plain; need_kdir debug' 2> said || fail "$(cat said)"
}

# All goes on as before, whether the trees or the kernel can't be fetched.
test_update_without_network() {
	local before items
	archive_project
	all_is_needed 2> said
	make -s -C "$P" update 2> said
	all_is_needed 2> said
	before=$(decided)
	[[ $before == *refresh:* && $before == *choice/* ]] || fail "decided: $before"
	items=$(items)
	rm network
	fails 2 make -s -C "$P" update
	# Trees and package lists are fetched side by side: whoever finds out first says so.
	assert_said '^dm-svol: (.*: failed; the lines above are the end of |cannot read the package lists of )'
	assert_eq 'what was decided' "$(decided)" "$before"
	assert_eq 'the items' "$(items)" "$items"
	all_is_needed 2> said || fail "it does not go on: $(cat said)"
	# The trees can be fetched, and the archive has no kernel.
	touch network
	: > dump
	fails 2 make -s -C "$P" update
	assert_said '^dm-svol: no usable kernel found in '
	assert_eq 'what was decided' "$(decided)" "$before"
	all_is_needed 2> said || fail "it does not go on: $(cat said)"
	assert_eq 'what is left of it' "$(find "$DM_SVOL_CACHE" -maxdepth 1 -name 'update-*')" ''
}
