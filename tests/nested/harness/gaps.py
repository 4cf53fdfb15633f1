# SPDX-License-Identifier: GPL-2.0-or-later

"""Measure for how long memory that stays shared is not mapped.

When a page of an extent becomes private, QEMU unmaps the extent and maps the
rest again, unless it cuts mappings. If L0 counts instructions, the TSC of
level 1 does, too, and its kernel stamps trace events with it.
"""

import re
from collections.abc import Iterable, Iterator

from harness.figures import GapFigures
from harness.l1 import L1Error, L1Machine
from harness.l2 import L2Machine
from harness.program import PAGE_SIZE
from harness.program_run import ProgramRun
from harness.trace import EVENT

_TRACING = '/sys/kernel/tracing'
_BUFFER_KIB = 8 << 10
_ENTRIES = re.compile(r'entries-in-buffer/entries-written: (\d+)/(\d+)')

# The program has at most one extent in each block of this size
BLOCK_SIZE = 4 << 20


def find_remaps(lines: Iterable[str]) -> Iterator[tuple[int, int, int]]:
    """Yield memory that was unmapped and mapped again.

    @lines are those of the kernel's trace, in chronological order. The results
    are an IOVA, a size, and the difference between the stamps of both events.
    """
    # Start, end and stamp of unmapped memory
    unmapped: list[tuple[int, int, int]] = []
    for line in lines:
        event = EVENT.search(line)
        if not event:
            continue
        stamp, start = int(event['number']), int(event['iova'], 16)
        end = start + int(event['unmapped'] or event['size'])
        if event['name'] == 'unmap':
            unmapped.append((start, end, stamp))
            continue
        rest = []
        for first, last, since in unmapped:
            low, high = max(start, first), min(end, last)
            if low >= high:
                rest.append((first, last, since))
                continue
            yield low, high - low, stamp - since
            rest += [part for part in ((first, low, since),
                                       (high, last, since))
                     if part[0] < part[1]]
        unmapped = rest


def measure_gaps(lines: Iterable[str]) -> list[GapFigures]:
    """Return the gaps of all extents that lost a page, by their sizes.

    The gap of an extent is that of the part that is mapped last.
    """
    sizes: dict[int, int] = {}
    gaps: dict[int, int] = {}
    for iova, size, gap in find_remaps(lines):
        block = iova // BLOCK_SIZE
        sizes[block] = sizes.get(block, PAGE_SIZE) + size
        gaps[block] = max(gap, gaps.get(block, 0))
    return [GapFigures(size, [gaps[block] for block in sizes
                              if sizes[block] == size])
            for size in sorted(set(sizes.values()))]


class GapsRun(ProgramRun):
    """Measures the gaps of a program that takes back pages."""

    def prepare(self, l1: L1Machine, l2: L2Machine) -> None:
        l1.check(f'cd {_TRACING} && echo x86-tsc >trace_clock && '
                 f'echo {_BUFFER_KIB} >buffer_size_kb && '
                 'echo 1 >events/iommu/map/enable && '
                 'echo 1 >events/iommu/unmap/enable')

    def at_end(self, l1: L1Machine, l2: L2Machine) -> None:
        text = l1.check(f'cat {_TRACING}/trace')
        entries = _ENTRIES.search(text)
        if not entries:
            raise L1Error(f"the kernel's trace has no header: {text[:200]}")
        self.checks.check(
            int(entries[2]) > 0 and entries[1] == entries[2],
            f'the trace has all of its {entries[2]} events', entries[1])
        self.figures.gaps = measure_gaps(text.splitlines())
