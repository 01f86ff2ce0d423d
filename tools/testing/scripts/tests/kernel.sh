# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2016 # texts for other shells, and for make
#
# Kernels: which one is chosen, and what a folder to build against has to have.

# What choose_kernel takes out of the archive for a range of series.
choose() { # <min> <max> [<KERNEL_VERSION>]
	in_library "
		KERNEL_MIN=$1 KERNEL_MAX=$2 KERNEL_VERSION=${3-}
		kernel_apt() { :; }
		apt-cache() { cat '$TEST_DIR/dump'; }
		choose_kernel"
}

test_kernel_newest_in_range() {
	local lines
	new_project
	mapfile -t lines < <(
		kernel 7.2.9+deb13-amd64 7.2.9-1~bpo13+1
		kernel 7.9.3+deb13-amd64 7.9.3-1~bpo13+1
		kernel 7.10.1+deb13-amd64 7.10.1-1~bpo13+1
		kernel 7.11.5+deb13-amd64 7.11.5-1~bpo13+1
	)
	archive "${lines[@]}"
	assert_eq 'the newest of all' "$(choose 7.2 7.99 2> said)" '7.11 7.11.5-1~bpo13+1 7.11.5+deb13-amd64'
	assert_said "looking for the newest supported kernel in " "kernel: Debian's 7\.11\.5\+deb13-amd64$"
	# Numbers, not text: 7.10 is newer than 7.9.
	assert_eq 'the newest up to 7.10' "$(choose 7.3 7.10)" '7.10 7.10.1-1~bpo13+1 7.10.1+deb13-amd64'
	assert_eq 'that of 7.9' "$(choose 7.9 7.9)" '7.9 7.9.3-1~bpo13+1 7.9.3+deb13-amd64'
	assert_eq 'one by its version' "$(choose 7.2 7.99 7.9.3)" '7.9 7.9.3-1~bpo13+1 7.9.3+deb13-amd64'
	assert_eq 'one by its series' "$(choose 7.2 7.99 7.10)" '7.10 7.10.1-1~bpo13+1 7.10.1+deb13-amd64'
}

# Of each of the newer ones something is missing, or has another version.
test_kernel_incomplete_ones_do_not_count() {
	local lines
	new_project
	mapfile -t lines < <(
		kernel 7.3.4+deb13-amd64 7.3.4-1
		kernel 7.4.1+deb13-amd64 7.4.1-1 | grep -v linux-source
		kernel 7.5.1+deb13-amd64 7.5.1-1 | grep -v linux-binary
		kernel 7.6.1+deb13-amd64 7.6.1-1 | grep -v linux-modules
		kernel 7.7.1+deb13-amd64 7.7.1-1 | grep -v linux-headers
		kernel 7.8.1+deb13-amd64 7.8.1-1 | sed 's/^\(linux-source.*\)-1$/\1-2/'
		kernel 7.9.1+deb13-cloud-amd64 7.9.1-1
		kernel 7.9.1+deb13-arm64 7.9.1-1
	)
	archive "${lines[@]}"
	assert_eq 'the newest that is complete' "$(choose 7.2 7.99)" '7.3 7.3.4-1 7.3.4+deb13-amd64'
}

test_kernel_none_found() {
	local lines
	new_project
	mapfile -t lines < <(
		kernel 7.2.9+deb13-amd64 7.2.9-1
		kernel 7.11.5+deb13-amd64 7.11.5-1
	)
	archive "${lines[@]}"
	fails 1 choose 7.3 7.10
	assert_said '^dm-svol: no usable kernel found in [a-z-]+ at http://deb\.debian\.org/debian$' \
		'^dm-svol: supported: 7\.3 to 7\.10 \(scripts/kernel-support\); in the archive: 7\.2\.9\+deb13-amd64 7\.11\.5\+deb13-amd64 $' \
		'^dm-svol: a newer dm-svol may support what is there; DEBIAN_MIRROR can name another archive$'
	fails 1 choose 7.2 7.11 7.4.4
	assert_said '^dm-svol: no usable kernel 7\.4\.4 found in '
	: > dump
	fails 1 choose 7.3 7.10
	assert_said 'in the archive: none$'
}

test_kernel_range() {
	new_project
	in_library '
		KERNEL_MIN=7.3 KERNEL_MAX=7.10
		for series in 7.3 7.4 7.9 7.10; do version_in_range $series || die "$series is left out"; done
		for series in 6.18 7.0 7.2 7.11 7.30 8.0; do ! version_in_range $series || die "$series is let in"; done'
}

# Before anything is fetched.
test_kernel_unknown_flavour() {
	local target
	new_project
	for target in module check torture bench lint vm; do
		fails 2 make -C "$P" "$target" KERNEL=fancy RUN=true
		assert_said '^dm-svol: KERNEL=fancy: there is no such kernel; use stock, plain or debug$'
	done
	[[ ! -e $DM_SVOL_CACHE ]] || fail "in the cache now: $(ls "$DM_SVOL_CACHE")"
}

# --- KDIR ---------------------------------------------------------------------------------------

kdir_refused() { # <regex>...
	fails 2 make -C "$P" "KDIR=$TEST_DIR/kdir"
	assert_said "$@"
	[[ ! -e $P/build && ! -e $P/dm-svol.ko ]] || fail 'something is built all the same'
}

# What a kernel folder has to have beside its configuration.
KDIR_FILES=(rust/libcore.rmeta rust/libkernel.rmeta rust/libbindings.rmeta rust/libpin_init.rmeta
	rust/libmacros.so include/generated/rustc_cfg scripts/target.json)

test_kdir_what_is_missing() {
	local file
	new_project
	kdir_refused "^dm-svol: KDIR=$TEST_DIR/kdir is no configured kernel build folder"
	mkdir kdir
	kdir_refused 'is no configured kernel build folder \(there is no \.config and Makefile in it\)$'
	echo CONFIG_RUST=y > kdir/.config
	kdir_refused 'is no configured kernel build folder'
	# A rule that would be run.
	printf 'modules:\n\techo "module of $(M)" > $(MO)/dm-svol.ko\n' > kdir/Makefile
	echo '# CONFIG_RUST is not set' > kdir/.config
	kdir_refused "^dm-svol: the kernel in KDIR=$TEST_DIR/kdir is configured without Rust \(CONFIG_RUST=y is missing\)$"
	echo CONFIG_RUST=y > kdir/.config
	kdir_refused "^dm-svol: KDIR=$TEST_DIR/kdir lacks the Rust metadata that a Rust module is built with: ${KDIR_FILES[*]}$" \
		"run 'make O=<folder> modules_prepare' and use KDIR=<folder>$"
	for file in "${KDIR_FILES[@]}"; do
		install -D /dev/null "kdir/$file"
	done
	rm kdir/rust/libmacros.so kdir/scripts/target.json
	kdir_refused 'is built with: rust/libmacros\.so scripts/target\.json$'
	touch kdir/rust/libmacros.so kdir/scripts/target.json
	kdir_refused "^dm-svol: KDIR=$TEST_DIR/kdir has no Module\.symvers"
	: > kdir/Module.symvers
	kdir_refused 'has no Module\.symvers'
	# With all that, it is used, without anything of ours.
	echo symbols > kdir/Module.symvers
	install -D <(echo 7.3.9-own) kdir/include/config/kernel.release
	make -C "$P" "KDIR=$TEST_DIR/kdir" > printed
	assert_match 'what is printed' "$(cat printed)" "built dm-svol\.ko \($P/build/7\.3\.9-own/dm-svol\.ko\)"
	assert_eq 'the module' "$(cat "$P/dm-svol.ko")" "module of $P"
	[[ ! -e $DM_SVOL_CACHE ]] || fail "in the cache now: $(ls "$DM_SVOL_CACHE")"
}

# Compilers given to make, or in the environment, come before those that the kernel's Makefile has.
test_kdir_compilers() {
	local file
	new_project
	for file in "${KDIR_FILES[@]}"; do
		install -D /dev/null "kdir/$file"
	done
	echo CONFIG_RUST=y > kdir/.config
	echo symbols > kdir/Module.symvers
	cat > kdir/Makefile <<-'EOF'
		CC = gcc
		LD = ld
		RUSTC = rustc
		BINDGEN = bindgen
		modules: ; echo "$(CC) $(LD) $(RUSTC) $(BINDGEN)" > $(MO)/dm-svol.ko
	EOF
	make -s -C "$P" "KDIR=$TEST_DIR/kdir"
	assert_eq 'the compilers' "$(cat "$P/dm-svol.ko")" 'gcc ld rustc bindgen'
	RUSTC=rustc-2 make -s -C "$P" "KDIR=$TEST_DIR/kdir" CC='ccache gcc-14' BINDGEN=bindgen-3
	assert_eq 'the compilers' "$(cat "$P/dm-svol.ko")" 'ccache gcc-14 ld rustc-2 bindgen-3'
}

# What boots a kernel that is provisioned builds the module for that one, whatever KDIR says.
test_kdir_is_for_make_alone() {
	local target status wanted
	new_project
	mkdir "$P/tools"
	cp -r "$PROJECT/tools/testing" "$P/tools/"
	# Each comes as far as the kernel that it wants to build for.
	cat >> "$P/scripts/lib/all.sh" <<-EOF
		need_tree() { tree=/; }
		need_kdir() {
			echo "\$1" > '$TEST_DIR/wanted'
			exit 1
		}
	EOF
	printf '#!/bin/sh\n' | tee "$P/scripts/provision" > "$P/scripts/build-tools"
	for target in check torture bench demo vm; do
		rm -f wanted
		status=0
		make -C "$P" "$target" "KDIR=$TEST_DIR/kdir" KERNEL=debug RUN=true TEST=scripts.help > said 2>&1 ||
			status=$?
		((status == 2)) || fail "make $target: status $status: $(cat said)"
		wanted=debug
		[[ $target != demo ]] || wanted=stock
		[[ -s wanted ]] || fail "make $target does not want a kernel: $(cat said)"
		assert_eq "the kernel of make $target" "$(cat wanted)" "$wanted"
	done
}
