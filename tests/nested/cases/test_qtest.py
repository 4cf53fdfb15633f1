# SPDX-License-Identifier: GPL-2.0-or-later

"""Run the qtests of shared DMA on a host that meets all their requirements.

On other hosts they skip tests that need KVM's software-protected VMs or
devices; here a skipped test is a failure.
"""

import re
import shlex

import pytest

from harness.checks import Checks
from harness.guest_options import FIRMWARE_PATH
from harness.initramfs import program_files
from harness.l1 import L1Machine
from harness.session import Machines, check_complaints
from harness.vfio import bind_edus

DEVICES = 2

# Timeout of one test program, on a busy machine
TEST_TIMEOUT = 600

# libqtest requires the architecture in the name
QEMU = '/bin/qemu-system-x86_64'

_POINT = re.compile(r'(?P<word>ok|not ok) \d+ (?P<name>\S+)'
                    r'(?: # SKIP (?P<reason>.*))?')
_PLAN = re.compile(r'1\.\.(\d+)')


def set_up(l1: L1Machine) -> str:
    """Return the environment of the tests, for a shell."""
    hosts = ' '.join(bind_edus(l1, DEVICES))
    # QEMU searches firmware there
    l1.check(f'ln -s qemu {QEMU}; mkdir -p /share; '
             'ln -s /firmware /share/qemu')
    return ' '.join(f'{name}={shlex.quote(value)}' for name, value in {
        'QTEST_QEMU_BINARY': QEMU, 'QTEST_SHARED_DMA_FIRMWARE': FIRMWARE_PATH,
        'QTEST_VFIO_HOSTS': hosts}.items())


def adopt(checks: Checks, name: str, status: int, output: str) -> None:
    """Convert each test point to a check."""
    points = 0
    planned = None
    details: list[str] = []
    for line in output.splitlines():
        point = _POINT.fullmatch(line)
        plan = _PLAN.fullmatch(line)
        if point:
            points += 1
            checks.check(point['word'] == 'ok' and not point['reason'],
                         point['name'],
                         f'skipped: {point["reason"]}' if point['reason']
                         else '\n'.join(details))
            details = []
        elif plan:
            planned = int(plan[1])
        else:
            details.append(line.removeprefix('# '))
    checks.check(status == 0 and points == planned,
                 f'{name} ends after all its tests',
                 f'status {status}, {points} of {planned} tests were run\n' +
                 '\n'.join(details))


@pytest.mark.parametrize('name', ('guest-memfd-test', 'vfio-shared-dma-test'))
def test_qtest(name: str, machines: Machines, checks: Checks) -> None:
    program = machines.built.guest_qemu.parent / 'tests/shared-dma' / name
    l1 = machines.start({
        FIRMWARE_PATH: machines.built.firmware.read_bytes(),
        **program_files(program)}, devices=DEVICES)
    environment = set_up(l1)
    status, output = l1.run(
        f'{environment} timeout -s KILL {TEST_TIMEOUT} /bin/{name} --tap -k',
        2 * TEST_TIMEOUT)
    adopt(checks, name, status, output)
    check_complaints(l1, checks)
    l1.power_off()
