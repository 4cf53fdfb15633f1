# SPDX-License-Identifier: GPL-2.0-or-later

"""Show what QEMU reports about shared memory and DMA to it."""
