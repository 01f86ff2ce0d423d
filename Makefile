# SPDX-License-Identifier: GPL-2.0
#
# What people type. Kbuild has the rules for the module; scripts/ does the work.

KERNEL ?= stock
export KERNEL KDIR INSTALL_MOD_PATH DESTDIR PREFIX KERNEL_VERSION DEBIAN_MIRROR DM_SVOL_CACHE V
export VM_CPUS VM_MEM VM_TIMEOUT VM_ACCEL VM_DISKS DM_SVOL_SHARE TEST CHECK_JOBS
export TORTURE_SECONDS SVOL_SEED BENCH BENCH_BLOCKS BENCH_SECONDS

.DEFAULT_GOAL := module
.PHONY: module tools install install-tools clean help vm demo check torture bench lint update provision

module:
	@ko=$$(scripts/build-module $${KDIR:+--kdir "$$KDIR"}) && cp "$$ko" dm-svol.ko && echo "built dm-svol.ko ($$ko)"

# The tool for devices that are not in use.
tools:
	@svol=$$(scripts/build-tools) && echo "built $$svol"

# Installs for the kernel that the module was built for.
install:
	@scripts/install-module

install-tools:
	@scripts/install-tools

clean:
	rm -rf build dm-svol.ko

# The guest gets RUN as it was written: make does not expand it, nor does it when it passes on its variables.
unexport RUN
vm: export DM_SVOL_RUN = $(value RUN)
vm:
	@scripts/build-module > /dev/null && scripts/vm

demo:
	@scripts/demo

# Tests run on the plain kernel unless another one is asked for.
check torture bench: KERNEL := $(if $(filter file,$(origin KERNEL)),plain,$(KERNEL))
check:
	@scripts/check

torture:
	@scripts/torture

bench:
	@scripts/bench

lint:
	@scripts/lint

update:
	@scripts/update

provision:
	@scripts/provision module=$(KERNEL) boot=$(KERNEL)

help:
	@scripts/help
