# SPDX-License-Identifier: GPL-2.0-or-later

"""What a report about a problem with shared DMA contains."""
