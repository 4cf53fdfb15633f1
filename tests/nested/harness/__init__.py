# SPDX-License-Identifier: GPL-2.0-or-later

"""The framework of the nested tests: machines, programs, comparisons."""

from pathlib import Path

# The folder tests/nested
NESTED = Path(__file__).resolve().parent.parent
