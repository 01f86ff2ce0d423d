# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# All parts of the library, for the scripts that need most of them.
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
. "$scripts/lib/cache.sh"
. "$scripts/lib/tree.sh"
. "$scripts/lib/kernel.sh"
. "$scripts/lib/cargo.sh"
. "$scripts/lib/vm.sh"
. "$scripts/lib/demo.sh"
