# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Virtual machines, with virtme-ng: the vm tree is the user space of the guest, read-only.

kvm_device=/dev/kvm

# How machines run here: sets `accel` (kvm or tcg) and `rootfs` (virtiofs or 9p).
#
# /dev/kvm says little: a guest may still hang on it (nested or paravirtual KVM), so a machine is
# really booted once, and the answer kept. Under TCG, virtiofs makes programs crash at random.
need_method() {
	local answer key
	accel=tcg rootfs=9p
	case ${VM_ACCEL:-auto} in
	tcg) return ;;
	kvm)
		accel=kvm
		return
		;;
	auto) ;;
	*) die "VM_ACCEL=$VM_ACCEL: use kvm, tcg or auto" ;;
	esac
	if [[ ! -w $kvm_device ]]; then
		return
	fi
	key=$(printf '%s %s %s' "$(uname -r)" "$tree" "$image" | sha256sum | cut -c1-12)
	answer=$cache/method/$key
	if [[ ! -s $answer ]]; then
		mkdir -p "$cache/method"
		probe_methods > "$answer.$$"
		mv "$answer.$$" "$answer"
	fi
	read -r accel rootfs < "$answer"
}

probe_methods() {
	note "trying whether virtual machines really start with KVM ..."
	accel=kvm
	for rootfs in virtiofs 9p; do
		if try_machine; then
			note "virtual machines run with KVM and $rootfs"
			echo "kvm $rootfs"
			return
		fi
	done
	note "they do not; virtual machines are emulated (slower)"
	echo "tcg 9p"
}

try_machine() {
	local run share time_limit=25 VM_CPUS=1 answer
	new_run
	share=$run/share
	echo 'echo alive' > "$run/command"
	answer=$(run_machine 2> "$run/errors") && [[ $answer == alive ]]
}

# Sets `run`, a fresh folder for the files of one run. The last ones are kept for a look.
new_run() {
	local old
	mkdir -p "$cache/run"
	run=$(mktemp -d "$cache/run/$(date +%Y%m%d-%H%M%S)-XXXXXX")
	mkdir "$run/share"
	find "$cache/run" -mindepth 1 -maxdepth 1 -type d | sort | head -n -40 | while read -r old; do
		rm -rf -- "$old"
	done
}

# run_machine: boots `image`, runs the file command of the folder `run` in it, and returns its
# status; 124 after `time_limit`, 125 if the machine ended before the command did. Expects
# `tree`, `image`, `release`, `accel`, `rootfs`, `run` and `share`; `guest_env` has more
# variables for the guest, `guest_dirs` more folders of the host that it can see, `guest_disks`
# files of the host that it gets as /dev/vda, /dev/vdb ...
run_machine() {
	# The root is read-only; what is written in these is gone with the machine.
	local options=() dir status=0
	for dir in /etc /var /tmp /mnt /root; do
		options+=("--overlay-rwdir=$dir")
	done
	if [[ ${VM_ICOUNT-} == y ]]; then
		# Time in the guest counts instructions, one for a nanosecond; idle time is skipped.
		options+=(--qemu-opt=-icount "--qemu-opt=shift=0,sleep=off")
	fi
	if [[ $accel == tcg ]]; then
		# SSE4 speeds up checksums; more than that costs more in emulation than it gives.
		options+=(--disable-kvm --qemu-opt=-cpu --qemu-opt=Nehalem)
	fi
	if [[ $rootfs == 9p ]]; then
		options+=(--force-9p)
	fi
	if [[ ${KERNEL-} == debug ]]; then
		# KASAN sees what these checks of the allocator see; emulated, they make it many times slower.
		options+=(-a slab_debug=-)
	fi
	local binds=(--bind "$image" "/usr/lib/modules/$release" --bind "$run" "$run" --bind "$share" "$share")
	for dir in ${guest_dirs[@]+"${guest_dirs[@]}"}; do
		binds+=(--bind "$dir" "$dir")
		options+=("--rodir=$dir")
	done
	local disk number=0
	for disk in ${guest_disks[@]+"${guest_disks[@]}"}; do
		binds+=(--bind "$disk" "$disk")
		options+=(--qemu-opt=-drive "--qemu-opt=if=none,id=svol_disk$number,format=raw,file=$disk"
			--qemu-opt=-device "--qemu-opt=virtio-blk-pci,drive=svol_disk$number")
		number=$((number + 1))
	done
	printf '%q\n' "DM_SVOL_SHARE=$share" "DM_SVOL_PROJECT=$project" \
		${guest_env[@]+"${guest_env[@]}"} > "$run/environment"
	options+=("--rodir=$project" "--rwdir=$run")
	[[ $share == "$run"/* ]] || options+=("--rwdir=$share")

	# An oops ends the machine: what comes after one proves nothing.
	in_tree "$tree" "${binds[@]}" --chdir / -- "$scripts/lib/run-virtme" "$run/console.log" \
		--kimg "/usr/lib/modules/$release/vmlinuz" --mods auto --disable-microvm \
		--cpus "${VM_CPUS:-2}" --memory "${VM_MEM:-2G}" \
		-a loglevel=7 -a oops=panic -a mitigations=off -a random.trust_cpu=on \
		"${options[@]}" --script-sh "exec bash '$scripts/guest/start' '$run'" || status=$?
	if [[ -s $run/status ]]; then
		return "$(cat "$run/status")"
	fi
	((status != 137)) || return 124
	return 125
}
