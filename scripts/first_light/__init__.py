# SPDX-License-Identifier: GPL-2.0-or-later

"""Check a host for confidential guests with devices, and try one."""
