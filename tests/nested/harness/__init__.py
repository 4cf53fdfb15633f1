# SPDX-License-Identifier: GPL-2.0-or-later

"""Framework of the nested tests: machines, programs and comparisons."""

from pathlib import Path

# The folder tests/nested
NESTED = Path(__file__).resolve().parent.parent
