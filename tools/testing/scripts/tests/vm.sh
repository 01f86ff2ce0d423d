# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2016 # texts for other shells, and for make
#
# How virtual machines run, and make vm.

# In the library, with a /dev/kvm of the test's own and machines that start only by the methods in WORKS; each
# trial is a line of the file tried. Prints the method for "<tree> <image>" each.
methods() { # <methods that work> "<tree> <image>"...
	local pair script
	script="
		kvm_device=$TEST_DIR/kvm
		try_machine() { echo \"\$accel \$rootfs\" >> '$TEST_DIR/tried'; [[ ' $1 ' == *\" \$accel/\$rootfs \"* ]]; }"
	for pair in "${@:2}"; do
		script+="
		tree=${pair% *} image=${pair#* }
		need_method
		echo \"\$accel \$rootfs\""
	done
	in_library "$script"
}

trials() {
	tr '\n' ',' < tried
}

test_vm_method_with_kvm() {
	new_project
	touch kvm
	assert_eq 'the method' "$(methods 'kvm/virtiofs kvm/9p' 'tree image' 2> said)" 'kvm virtiofs'
	assert_said 'trying whether virtual machines really start with KVM' 'virtual machines run with KVM and virtiofs$'
	assert_eq 'what is tried' "$(trials)" 'kvm virtiofs,'
}

test_vm_method_with_kvm_and_9p() {
	new_project
	touch kvm
	assert_eq 'the method' "$(methods 'kvm/9p' 'tree image' 2> said)" 'kvm 9p'
	assert_said 'virtual machines run with KVM and 9p$'
	assert_eq 'what is tried' "$(trials)" 'kvm virtiofs,kvm 9p,'
}

test_vm_method_without_working_kvm() {
	new_project
	touch kvm
	assert_eq 'the method' "$(methods '' 'tree image' 2> said)" 'tcg 9p'
	assert_said 'they do not; virtual machines are emulated \(slower\)$'
	assert_eq 'what is tried' "$(trials)" 'kvm virtiofs,kvm 9p,'
}

# Without the device there is nothing to try.
test_vm_method_without_kvm() {
	new_project
	assert_eq 'the method' "$(methods 'kvm/virtiofs' 'tree image' 2> said)" 'tcg 9p'
	assert_eq 'what is said' "$(cat said)" ''
	[[ ! -e tried && ! -e $DM_SVOL_CACHE ]]
}

# One answer for each kernel, tree and image.
test_vm_method_is_kept() {
	new_project
	touch kvm
	assert_eq 'the methods' "$(methods 'kvm/virtiofs' 'tree image' 'tree image' 'tree2 image' 'tree image2')" \
		$'kvm virtiofs\nkvm virtiofs\nkvm virtiofs\nkvm virtiofs'
	assert_eq 'what is tried' "$(trials)" 'kvm virtiofs,kvm virtiofs,kvm virtiofs,'
	# By another run, too, though nothing would work now; but not on another kernel of this machine.
	rm tried
	assert_eq 'the methods' "$(methods '' 'tree image' 'tree2 image')" $'kvm virtiofs\nkvm virtiofs'
	[[ ! -e tried ]] || fail "tried again: $(trials)"
	mkdir bin
	printf '#!/bin/sh\n[ "$1" = -r ] && echo 99.9-other || exec /usr/bin/uname "$@"\n' > bin/uname
	chmod +x bin/uname
	assert_eq 'the method' "$(PATH=$TEST_DIR/bin:$PATH methods '' 'tree image')" 'tcg 9p'
}

test_vm_accel_is_a_choice() {
	local accel
	new_project
	touch kvm
	assert_eq 'the method' "$(VM_ACCEL=tcg methods 'kvm/virtiofs' 'tree image')" 'tcg 9p'
	assert_eq 'the method' "$(VM_ACCEL=kvm methods '' 'tree image')" 'kvm 9p'
	[[ ! -e tried ]] || fail "tried: $(trials)"
	assert_eq 'the method' "$(VM_ACCEL=auto methods 'kvm/virtiofs' 'tree image')" 'kvm virtiofs'
	for accel in KVM xen 'kvm tcg'; do
		VM_ACCEL=$accel fails 1 methods 'kvm/virtiofs' 'tree image'
		assert_said "^dm-svol: VM_ACCEL=$accel: use kvm, tcg or auto$"
	done
}

test_vm_without_a_command() {
	new_project
	fails 1 "$P/scripts/vm"
	assert_said "^dm-svol: nothing to run: use make vm RUN='<command>'$"
}

# A real machine, with the kernel and the module that the other tests use. The shell in there reads RUN as it was
# written, whatever make or the host's shell would see in it; its status comes back, and make says it.
test_vm_runs_what_is_written() {
	local run touch="\$(shell touch $TEST_DIR/touched)"
	export DM_SVOL_CACHE=$CACHE
	run='printf "<%s>\n" "$((6 * 7))" "${RUN-unset}" '\''a  b # \n $$ '"$touch"\''
		printf "<%s>\n" "$(modinfo -F name "$DM_SVOL_KO")" "$DM_SVOL_KO" "$PWD"; echo "an error" >&2; exit 7 # $('
	fails 2 make -C "$PROJECT" --no-print-directory vm "RUN=$run"
	assert_eq 'what is printed' "$(cat printed)" "$(printf '<%s>\n' 42 unset 'a  b # \n $$ '"$touch" \
		dm_svol "$PROJECT/build/$KERNEL/dm-svol.ko" "$PROJECT")"
	assert_said '^an error$' '^make: \*\*\* .* Error 7$'
	[[ ! -e touched ]] || fail 'make has run a part of it here'
}
