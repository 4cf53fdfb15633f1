# SPDX-License-Identifier: GPL-2.0-or-later

"""Load the pytest plugin of the nested tests, which also prints TAP."""

pytest_plugins = ['harness.pytest_plugin']
