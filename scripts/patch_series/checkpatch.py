# SPDX-License-Identifier: GPL-2.0-or-later

"""Run QEMU's checkpatch.pl."""

import re
import subprocess
from pathlib import Path

from patch_series.problem import Problem

COMPLAINT = re.compile(r'^.*?:\d+: ((?:ERROR|WARNING): .*)$', re.MULTILINE)
TOTAL = re.compile(r'^total: \d+ errors, \d+ warnings', re.MULTILINE)


def filter_complaints(output: str, accepted: list[str]) -> list[str]:
    """Return the complaints, except for accepted warnings."""
    return [text for text in COMPLAINT.findall(output)
            if not (text.startswith('WARNING') and
                    any(part in text for part in accepted))]


def complaints(tree: Path, patch: Path, accepted: list[str]) -> list[str]:
    result = subprocess.run(
        ['perl', 'scripts/checkpatch.pl', '--terse', patch.resolve()],
        cwd=tree, text=True, capture_output=True, check=False)
    # With --terse, the total is missing if it is 0
    if result.returncode and not TOTAL.search(result.stdout):
        raise Problem('checkpatch.pl', f'failed: {result.stderr.strip()}',
                      f'See {patch}.')
    return filter_complaints(result.stdout, accepted)
