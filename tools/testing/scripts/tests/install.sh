# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# make install and make install-tools.

# kmod is in the build tree.
install_module() {
	in_library "in_tree '$TREE' --bind '$TEST_DIR' '$TEST_DIR' --env 'INSTALL_MOD_PATH=$TEST_DIR/root' \
		--chdir '$P' -- make install"
}

test_install_module() {
	local release
	new_project
	fails 2 install_module
	assert_said '^dm-svol: there is no dm-svol\.ko yet: run make first \(make KDIR=\.\.\. for your own kernel\)$'
	cp "$PROJECT/build/$KERNEL/dm-svol.ko" "$P/"
	release=$(strings -a "$P/dm-svol.ko" | sed -n 's/^vermagic=\([^ ]*\) .*/\1/p')
	# Another kernel is there, and is left alone.
	mkdir -p root/lib/modules/1.2.3
	fails 2 install_module
	assert_said "^dm-svol: dm-svol\.ko was built for kernel $release, which is not installed here \($TEST_DIR/root/lib/modules/$release\)$"
	assert_eq 'what is in the root' "$(find root -type f)" ''
	mkdir "root/lib/modules/$release"
	touch "root/lib/modules/$release/modules."{order,builtin}
	install_module > printed
	assert_match 'what is printed' "$(cat printed)" \
		"^installed $TEST_DIR/root/lib/modules/$release/updates/dm-svol\.ko; load it with: modprobe dm-svol$"
	cmp "$P/dm-svol.ko" "root/lib/modules/$release/updates/dm-svol.ko"
	grep -q '^updates/dm-svol\.ko:' "root/lib/modules/$release/modules.dep"
	assert_eq 'what the other kernel has' "$(ls root/lib/modules/1.2.3)" ''
}

test_install_tools() {
	new_project
	mkdir "$P/Documentation"
	cp "$PROJECT/Documentation/svol.8" "$P/Documentation/"
	fails 2 make -C "$P" install-tools "DESTDIR=$TEST_DIR/root"
	assert_said '^dm-svol: there is no svol yet: run make tools first$'
	mkdir "$P/build"
	echo tool > "$P/build/svol"
	make -s -C "$P" install-tools "DESTDIR=$TEST_DIR/root" PREFIX=/opt > printed
	assert_eq 'what is printed' "$(cat printed)" "installed $TEST_DIR/root/opt/sbin/svol and its manual page"
	make -s -C "$P" install-tools "DESTDIR=$TEST_DIR/root"
	assert_eq 'what is in the root' "$(cd root && find . -type f -printf '%m %p\n' | sort)" \
		"$(printf '%s\n' '644 ./opt/share/man/man8/svol.8' '644 ./usr/local/share/man/man8/svol.8' \
			'755 ./opt/sbin/svol' '755 ./usr/local/sbin/svol' | sort)"
}
