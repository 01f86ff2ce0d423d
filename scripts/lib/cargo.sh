# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The user-space workspace tools/, built in the build tree with its output in the cache.

cargo_home=$cache/cargo
cargo_target=$cargo_home/target

# in_cargo <cargo arguments>...: runs cargo in tools/. Needs `tree`, the build tree.
in_cargo() {
	mkdir -p "$cargo_home"
	in_tree "$tree" --bind "$cargo_home" "$cargo_home" --env "CARGO_HOME=$cargo_home" \
		--env "CARGO_TARGET_DIR=$cargo_target" --env CARGO_TERM_COLOR=never \
		--chdir "$project/tools" -- cargo "$@"
}
