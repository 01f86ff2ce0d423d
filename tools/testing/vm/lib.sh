# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Everything that a test can use. Sourced by every suite.

lib=${BASH_SOURCE[0]%/*}/lib
# shellcheck source=lib/nap.sh
. "$lib/nap.sh"
# shellcheck source=lib/mark.sh
. "$lib/mark.sh"
# shellcheck source=lib/hot.sh
. "$lib/hot.sh"
# shellcheck source=lib/assert.sh
. "$lib/assert.sh"
# shellcheck source=lib/log.sh
. "$lib/log.sh"
# shellcheck source=lib/module.sh
. "$lib/module.sh"
# shellcheck source=lib/disk.sh
. "$lib/disk.sh"
# shellcheck source=lib/dm.sh
. "$lib/dm.sh"
# shellcheck source=lib/group.sh
. "$lib/group.sh"
# shellcheck source=lib/status.sh
. "$lib/status.sh"
# shellcheck source=lib/load.sh
. "$lib/load.sh"
# shellcheck source=lib/clones.sh
. "$lib/clones.sh"
# shellcheck source=lib/power.sh
. "$lib/power.sh"
# shellcheck source=lib/model.sh
. "$lib/model.sh"
# shellcheck source=lib/replay.sh
. "$lib/replay.sh"
# shellcheck source=lib/covers.sh
. "$lib/covers.sh"
# shellcheck source=lib/faulty.sh
. "$lib/faulty.sh"
# shellcheck source=lib/faults.sh
. "$lib/faults.sh"
# shellcheck source=lib/refusal.sh
. "$lib/refusal.sh"
unset lib
