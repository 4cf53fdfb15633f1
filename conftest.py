# SPDX-License-Identifier: GPL-2.0-or-later

"""Loads the framework of the nested tests, which also prints TAP."""

pytest_plugins = ['harness.pytest_plugin']
