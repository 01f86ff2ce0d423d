# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Kernels: which one, and the folders to build modules against (KDIR) and to boot.
#
#   stock  Debian's kernel as it is; its KDIR is made from Debian's kernel source
#   plain  of our own: small, with KUnit and fault injection
#   debug  plain plus KASAN, lockdep and the like
#
# In the build tree every KDIR is visible as /kernel/build and the kernel source as
# /kernel/source, wherever the cache is: the paths that Kbuild writes down stay true.

check_flavour() {
	case $1 in
	stock | plain | debug) ;;
	*) die "KERNEL=$1: there is no such kernel; use stock, plain or debug" ;;
	esac
}

# Sets `kernel_series` (X.Y), `kernel_package` (Debian version), `kernel_release` (of the stock
# kernel) and `kernel_debs`, the folder of the packages. The choice holds until `make update`.
need_kernel_packages() {
	local choice=$decisions/choice/$KERNEL_SUITE-$KERNEL_MIN-$KERNEL_MAX-${KERNEL_VERSION:-newest} found
	need_host_tools
	if [[ ! -s $choice ]]; then
		mkdir -p "$decisions/choice"
		found=$(choose_kernel) || exit 1
		echo "$found" > "$choice.$$"
		mv "$choice.$$" "$choice"
	fi
	read -r kernel_series kernel_package kernel_release < "$choice"
	cached kernel-packages "$kernel_package $kernel_release" "packages of kernel $kernel_release" \
		download_kernel "$kernel_series" "$kernel_package" "$kernel_release" "$choice"
	kernel_debs=$item
}

# Looks into Debian's archive for the newest kernel in the supported range.
choose_kernel() {
	local wanted=${KERNEL_VERSION:-} apt=$cache/apt found
	note "looking for the newest supported kernel in $KERNEL_SUITE"
	mkdir -p "$cache/lock"
	exec {lock}> "$cache/lock/choice"
	flock "$lock"
	again "package lists" kernel_apt update || die "cannot read the package lists of $debian_mirror" \
		"check the network and the proxy settings of apt, or name another mirror with DEBIAN_MIRROR"
	found=$(APT_CONFIG=$apt/apt.conf apt-cache dumpavail | kernels_in_archive | sort -V |
		while read -r series package release; do
			if version_in_range "$series" && [[ -z $wanted || $package == "$wanted"[.-]* ]]; then
				echo "$series $package $release"
			fi
		done | tail -n 1)
	exec {lock}>&-
	[[ -n $found ]] || no_kernel_found "$wanted"
	note "kernel: Debian's ${found##* }"
	echo "$found"
}

no_kernel_found() {
	local range="$KERNEL_MIN to $KERNEL_MAX" there
	there=$(APT_CONFIG=$cache/apt/apt.conf apt-cache dumpavail | kernels_in_archive | sort -V | cut -d' ' -f3 | tr '\n' ' ')
	die "no usable kernel${1:+ $1} found in $KERNEL_SUITE at $debian_mirror" \
		"supported: $range (scripts/kernel-support); in the archive: ${there:-none}" \
		"a newer dm-svol may support what is there; DEBIAN_MIRROR can name another archive"
}

# Reads `apt-cache dumpavail`; prints "series version release" of every kernel that has its
# source, headers, image and modules there.
kernels_in_archive() {
	awk '
		$1 == "Package:" { package = $2 }
		$1 == "Version:" { have[package] = $2 }
		END {
			for (package in have) {
				if (package !~ /^linux-headers-[0-9.]+[^-]*-amd64$/)
					continue
				release = substr(package, length("linux-headers-") + 1)
				split(release, number, /[.+]/)
				series = number[1] "." number[2]
				version = have[package]
				if (have["linux-source-" series] == version &&
				    have["linux-binary-" release] == version &&
				    have["linux-modules-" release] == version)
					print series, version, release
			}
		}'
}

version_in_range() {
	printf '%s\n' "$KERNEL_MIN" "$1" "$KERNEL_MAX" | sort -V -C
}

# apt-get with the kernel suite only and a state of its own, beside the host's apt.
kernel_apt() {
	local apt=$cache/apt
	mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $debian_mirror $KERNEL_SUITE main" \
		> "$apt/sources.list"
	{
		cat <<-EOF
			Dir::Etc::Parts "/dev/null";
			Dir::Etc::Main "/dev/null";
			Dir::Etc::SourceList "$apt/sources.list";
			Dir::Etc::SourceParts "/dev/null";
			Dir::State "$apt";
			Dir::State::Status "/dev/null";
			Dir::Cache "$apt/cache";
			APT::Architecture "amd64";
			APT::Sandbox::User "root";
			Acquire::Languages "none";
		EOF
		apt_settings
	} > "$apt/apt.conf"
	APT_CONFIG=$apt/apt.conf apt-get -q -o Acquire::Retries=3 -o APT::Update::Error-Mode=any "$@" >&2
}

need_kernel_source() {
	need_kernel_packages
	cached kernel-source "$kernel_package" "kernel source $kernel_series" \
		unpack_kernel_source "$kernel_series" "$kernel_debs"
	kernel_source=$item
}

# Sets `kdir` of a flavour, `kdir_make` (make variables that name its compilers), `tree` (the build
# tree) and `kernel_source`.
need_kdir() {
	check_flavour "$1"
	need_tree build
	need_kernel_source
	local toolchain
	toolchain=$(cat "$tree/toolchain")
	if [[ $1 == stock ]]; then
		cached kernel-stock-kdir "$kernel_package $toolchain $(cat "$scripts/lib/builders.d/stock-kdir")" \
			"Rust metadata for Debian's kernel $kernel_release" \
			build_stock_kdir "$kernel_release" "$kernel_debs" "$kernel_source" "$tree"
		kdir=$item
		# No BTF of the module: that would need the stock kernel's vmlinux.
		kdir_make=("CC=$(cat "$kdir/compiler")" CONFIG_DEBUG_INFO_BTF_MODULES=)
	else
		need_test_kernel "$1" "$toolchain"
		kdir=$item/kdir
		kdir_make=(LLVM=1)
	fi
}

need_test_kernel() {
	local flavour=$1 toolchain=$2
	cached "kernel-$flavour" \
		"$kernel_package $toolchain $(cat "$scripts/lib/builders.d/test-kernel") $(fragments "$flavour")" \
		"kernel $kernel_series, $flavour flavour, from source (takes a while)" \
		build_test_kernel "$flavour" "$kernel_source" "$tree"
}

# Sets `image` (the folder to mount as /usr/lib/modules/<release>, with vmlinuz in it) and
# `release` of a flavour.
need_image() {
	check_flavour "$1"
	if [[ $1 == stock ]]; then
		need_tree vm
		need_kernel_packages
		cached kernel-stock-image "$kernel_package $kernel_release" "Debian's kernel $kernel_release" \
			unpack_stock_kernel "$kernel_release" "$kernel_debs" "$tree"
	else
		need_tree build
		need_kernel_source
		need_test_kernel "$1" "$(cat "$tree/toolchain")"
	fi
	release=$(cat "$item/release")
	image=$item/lib/modules/$release
}

# The kernel configuration of a flavour, as fragments on top of allnoconfig.
fragments() {
	local folder=$project/tools/testing/kernel
	cat "$folder"/{base,storage,testing}.config
	[[ $1 == plain ]] || cat "$folder/$1.config"
	echo "CONFIG_LOCALVERSION=\"-dm-svol-$1\""
}

# in_kernel <kdir> <in_tree arguments>...: in the build tree, with a KDIR at its place. Needs
# `tree` and `kernel_source`.
in_kernel() {
	in_tree "$tree" --bind "$kernel_source" /kernel/source --bind "$1" /kernel/build "${@:2}"
}
