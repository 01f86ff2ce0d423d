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
		--env "CARGO_TARGET_DIR=$cargo_target" --env CARGO_TERM_COLOR=never --env CARGO_NET_RETRY=10 \
		--chdir "$project/tools" -- cargo "$@"
}

# The programs that tests run, as this checkout has them: the output folder of cargo belongs to all.
test_tools=$project/build/tests

# build_test_tools: builds them. Needs `tree`, the build tree.
build_test_tools() {
	local lock status=0
	mkdir -p "$cargo_home" "$test_tools"
	exec {lock}> "$cargo_home/test-tools.lock"
	flock "$lock"
	in_cargo build --quiet --release --locked --workspace {lock}>&- &&
		install -m 755 "$cargo_target/release/svol" "$cargo_target/release/svol-test" "$test_tools" ||
		status=$?
	exec {lock}>&-
	return "$status"
}
