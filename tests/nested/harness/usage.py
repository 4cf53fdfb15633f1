# SPDX-License-Identifier: GPL-2.0-or-later

"""Measure the use of memory in the level 1 machine."""

import re
from dataclasses import dataclass

from harness.checks import Checks
from harness.l1 import L1Machine
from harness.l2 import PID_PATH, wait_until
from harness.program import PAGE_SIZE


@dataclass
class Usage:
    """The use of memory in level 1, in bytes."""

    anonymous: int
    shmem: int
    huge: int
    guest_memfd: int
    # Memory that is neither free nor in a processor's list of free pages
    used: int
    # Pages pinned by the kernel, and pages charged to QEMU
    pinned: int
    locked: int
    # QEMU's resident memory, without huge pages
    resident: int

    @property
    def kernel(self) -> int:
        """Used memory that is not memory of processes or files."""
        return self.used - self.anonymous - self.shmem - self.guest_memfd - \
            self.huge


def open_files(l1: L1Machine) -> list[int]:
    """Return QEMU's file descriptors.

    ls would fail if QEMU closed one before ls looks at it.
    """
    return [int(name) for name in
            l1.check(f'cd /proc/$(cat {PID_PATH})/fd && echo *').split()]


def _values(text: str) -> dict[str, int]:
    """Parse lines such as "Name: 12 kB" and "name 12"."""
    return {match[1]: int(match[2]) * (1024 if match[3] else 1)
            for match in re.finditer(r'^(\w+):?\s+(\d+)( kB)?$', text, re.M)}


def _kept_by_processors(text: str) -> int:
    """Return the bytes in processors' free lists, from /proc/zoneinfo."""
    return PAGE_SIZE * sum(map(int, re.findall(r'^\s+count:\s+(\d+)$', text,
                                               re.M)))


def measure(l1: L1Machine) -> Usage:
    """Measure the current use of memory.

    The kernel first sums up its counters per processor.
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
        # All other files in tmpfs
        guest_memfd=values['Cached'] - values['Shmem'],
        used=values['MemTotal'] - values['MemFree'] -
        _kept_by_processors(text),
        pinned=(values['nr_foll_pin_acquired'] -
                values['nr_foll_pin_released']) * PAGE_SIZE,
        locked=max(values.get('VmLck', 0), values.get('VmPin', 0)),
        resident=values.get('VmRSS', 0))


def check_freed(checks: Checks, l1: L1Machine, what: str, most: int,
                timeout: float) -> None:
    """Check that private memory shrinks to @most bytes before @timeout."""
    checks.check(
        wait_until(lambda: measure(l1).guest_memfd <= most, timeout), what,
        f'{measure(l1).guest_memfd >> 10} KiB are in use, not '
        f'{most >> 10} KiB')


def check_steady(checks: Checks, what: str, usages: list[Usage], field: str,
                 expected: int, slack: int = 0) -> None:
    """Check that a counter has the expected value in all measurements."""
    values = [getattr(usage, field) for usage in usages]
    checks.check(
        bool(values) and all(abs(value - expected) <= slack
                             for value in values),
        f'{what}: {expected >> 10} KiB' +
        (f', or {slack >> 10} KiB more or less' if slack else ''),
        'KiB: ' + ', '.join(str(value >> 10) for value in values))
