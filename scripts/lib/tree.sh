# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Debian trees: the build tree (compilers) and the vm tree (virtual machines and their user space).
# Using trees of one known release makes the result independent of the host's release.

debian_mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

# Sets `tree` to the folder of the tree <build|vm>, making it first unless it is there.
need_tree() {
	local name=$1 inputs=("$scripts/packages/$1" "$scripts/lib/builders.d/tree")
	need_host_tools
	if [[ $name == vm ]]; then
		inputs+=("$scripts/lib/builders.d/vm-tree" "$scripts/guest/udev-stand-in")
	fi
	cached "tree-$name" "$DEBIAN_SUITE $(refresh_mark) $(cat "${inputs[@]}")" \
		"Debian $DEBIAN_SUITE tree for $(tree_title "$name")" build_tree "$name"
	tree=$item
}

tree_title() {
	case $1 in
	build) echo "compilers and Rust" ;;
	vm) echo "virtual machines" ;;
	esac
}

# Changes when `make update` asks for new packages.
refresh_mark() {
	cat "$decisions/refresh" 2> /dev/null || true
}

# What the host itself must have. Everything else is in the trees.
need_host_tools() {
	local missing=()
	[[ -n ${host_tools_checked-} ]] && return
	[[ $(uname -m) == x86_64 ]] || die "this machine is $(uname -m); only x86_64 is supported"
	((EUID == 0)) || die "provisioning and the virtual machines need root; run make as root"
	command -v mmdebstrap > /dev/null || missing+=(mmdebstrap)
	command -v xz > /dev/null || missing+=(xz-utils)
	command -v setpriv > /dev/null || missing+=(util-linux)
	if ((${#missing[@]})); then
		install_host_tools "${missing[@]}"
	fi
	unshare --mount --pid --fork true 2> /dev/null ||
		die "no name spaces for mounts can be made here" \
			"in a container: run it privileged; in a chroot: bind-mount its folder on itself first (mount --bind)"
	host_tools_checked=y
}

# A fresh machine may be in the midst of its own updates.
host_apt() {
	apt-get -y --no-install-recommends -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 "$@"
}

update_and_install() {
	host_apt update && host_apt install "$@"
}

install_host_tools() (
	command -v apt-get > /dev/null || die "this needs a Debian machine (12 or 13), or these tools on the path: $*"
	mkdir -p "$cache/lock" "$cache/log"
	exec 9> "$cache/lock/host-tools"
	flock 9
	note "installing on this machine: $*"
	export DEBIAN_FRONTEND=noninteractive
	{ host_apt install "$@" || again "installing $*" update_and_install "$@"; } \
		> "$cache/log/host-tools.log" 2>&1 < /dev/null 9>&- || {
		tail -n 20 "$cache/log/host-tools.log" >&2
		die "apt-get could not install $*; install them by hand and run the same command again"
	}
)

# The host's settings for reaching its mirror (proxies and the like), for apt elsewhere.
apt_settings() {
	apt-config dump 2> /dev/null |
		grep -E '^Acquire::(http|https|ftp|Retries|ForceIPv|socks)' | grep -v '""' || true
}

# in_tree <tree> [--bind <host folder> <folder in the tree>]... [--env <name=value>]...
#         [--chdir <folder>] -- <command>...
#
# Runs a command in a tree. Mounts and processes live in name spaces of their own and vanish with
# the command, and the command with this shell. The project is visible at the path it has on the
# host. With `time_limit` set, the command is killed after so many seconds (status 137).
in_tree() {
	local limit=()
	if [[ -n ${time_limit-} ]]; then
		limit=(timeout --foreground --signal=KILL "$time_limit" setpriv --pdeathsig KILL --)
	fi
	setpriv --pdeathsig KILL -- ${limit[@]+"${limit[@]}"} \
		unshare --mount --pid --fork --kill-child=KILL --propagation private \
		"$BASH" "$scripts/lib/enter-tree" "$1" --bind "$project" "$project" "${@:2}"
}
