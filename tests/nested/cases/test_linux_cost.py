# SPDX-License-Identifier: GPL-2.0-or-later

"""bench can measure a Linux guest.

The numbers of operations are too small for useful results of the disk, where
the start of fio dominates.
"""

import pytest

from harness.checks import Checks
from harness.guest_options import GuestMemory
from harness.initramfs import MissingError
from harness.linux_cost import Amount, LinuxCost, LinuxCostRun
from harness.program import MIB
from harness.session import Machines

TIMEOUT = 600.0
AMOUNT = Amount(8, 136, 1)

# A fraction of the pages, and the default size of Linux's bounce buffers
MAX_ENTRIES = 64
MIN_MAPPED = 64 * MIB

# Instructions to receive and answer a packet
ECHO_RANGE = range(5_000, 200_000)


def test_boot(machines: Machines, checks: Checks) -> None:
    """Mappings are counted with iommufd."""
    run = LinuxCostRun(LinuxCost('iommufd', GuestMemory.PRIVATE), TIMEOUT,
                       checks)
    run.play(machines)
    boot = run.figures.boot
    checks.check(boot is not None and boot.mapped >= MIN_MAPPED and
                 0 < boot.entries <= min(MAX_ENTRIES, boot.map_calls),
                 'few mappings cover the bounce buffers', str(boot))


def test_io(machines: Machines, checks: Checks) -> None:
    """Instructions are counted with type1."""
    run = LinuxCostRun(LinuxCost('type1', GuestMemory.PRIVATE, icount=True),
                       TIMEOUT, checks, AMOUNT)
    try:
        run.play(machines)
    except MissingError as error:
        pytest.skip(str(error))
    io = run.figures.io
    checks.check([(each.name, each.depth) for each in io] ==
                 [('read', 1), ('read', 8), ('echo', 1), ('echo', 8)],
                 'reads and packets are measured', str(io))
    checks.check(all(each.median in ECHO_RANGE for each in io
                     if each.name == 'echo'),
                 'a packet takes a plausible number of instructions', str(io))
