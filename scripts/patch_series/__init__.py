# SPDX-License-Identifier: GPL-2.0-or-later

"""Cut the project into a series of patches for QEMU."""
