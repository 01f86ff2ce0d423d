# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the demo shows on its disks: a file system with real files.

# Sets `demo_image`, a folder with image.ext4 and image.sha256, the checksums of all its files.
need_demo_image() {
	need_tree vm
	cached demo-image "$(basename "$tree") $(cat "$scripts/lib/builders.d/demo-image")" \
		"ext4 image for the demo" build_demo_image "$tree"
	demo_image=$item
}
