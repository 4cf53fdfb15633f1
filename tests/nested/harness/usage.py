# SPDX-License-Identifier: GPL-2.0-or-later

"""Measures what memory of the level 1 machine is used for."""

import re
from dataclasses import dataclass

from harness.l1 import L1Machine
from harness.l2 import PID_PATH
from harness.program import PAGE_SIZE


@dataclass
class Usage:
    """The use of memory in level 1, in bytes."""

    anonymous: int
    shmem: int
    huge: int
    guest_memfd: int
    # All that is neither free nor kept by a processor to be given out soon
    used: int
    # Pages that the kernel has pinned, and those that QEMU is charged for
    pinned: int
    locked: int
    # QEMU's, huge pages not included
    resident: int


def _values(text: str) -> dict[str, int]:
    """Parse lines such as "Name: 12 kB" and "name 12"."""
    return {match[1]: int(match[2]) * (1024 if match[3] else 1)
            for match in re.finditer(r'^(\w+):?\s+(\d+)( kB)?$', text, re.M)}


def _kept_by_processors(text: str) -> int:
    """Parse /proc/zoneinfo. Returns bytes."""
    return PAGE_SIZE * sum(map(int, re.findall(r'^\s+count:\s+(\d+)$', text,
                                               re.M)))


def measure(l1: L1Machine) -> Usage:
    """Measure it now.

    The kernel first sums up counters that it keeps by processor.
    """
    text = l1.check(
        'echo 1 >/proc/sys/vm/stat_refresh; '
        'cat /proc/meminfo /proc/vmstat /proc/zoneinfo; '
        f'[ ! -e {PID_PATH} ] || cat /proc/$(cat {PID_PATH})/status '
        '2>/dev/null || true')
    values = _values(text)
    return Usage(
        anonymous=values['AnonPages'],
        shmem=values['Shmem'],
        huge=(values['HugePages_Total'] - values['HugePages_Free']) *
        values['Hugepagesize'],
        # All other files are in tmpfs
        guest_memfd=values['Cached'] - values['Shmem'],
        used=values['MemTotal'] - values['MemFree'] -
        _kept_by_processors(text),
        pinned=(values['nr_foll_pin_acquired'] -
                values['nr_foll_pin_released']) * PAGE_SIZE,
        locked=max(values.get('VmLck', 0), values.get('VmPin', 0)),
        resident=values.get('VmRSS', 0))
