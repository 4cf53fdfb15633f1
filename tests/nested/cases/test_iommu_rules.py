# SPDX-License-Identifier: GPL-2.0-or-later

"""The model IOMMU of the unit tests returns the same results as the kernel.

iommu-replay and iommu-race generate random calls; the same seed gives the same
calls.
"""

import shlex
from pathlib import Path

import pytest

from harness.checks import Checks
from harness.l1 import L1Machine
from harness.pytest_plugin import BACKENDS
from harness.session import Machines, check_complaints
from harness.vfio import bind_edu, bind_edus, set_entry_limit

PROGRAM = '/bin/iommu-replay'
RACE = '/bin/iommu-race'
PROGRAM_TIMEOUT = 300
SEEDS = (1, 2, 3)
STEPS = 20000

RACE_STEPS = 10000

L1_MIB = 1024

# Small enough to be reached
DMA_ENTRY_LIMIT = 100


def device_file(l1: L1Machine, bdf: str, backend: str) -> str:
    """Return the device file for a backend of VFIO."""
    device = f'/sys/bus/pci/devices/{bdf}'
    if backend == 'type1':
        group = l1.check(f'readlink {device}/iommu_group')
        return f'/dev/vfio/{group.rpartition("/")[2]}'
    return f'/dev/vfio/devices/{l1.check(f"ls {device}/vfio-dev")}'


def program_file(machines: Machines, path: str) -> dict[str, bytes]:
    """Return the file of a program, by its path in the level 1 machine."""
    folder = machines.built.folder / 'core/tests/nested/iommu-replay'
    return {path: (folder / Path(path).name).read_bytes()}


@pytest.mark.parametrize('backend', (*BACKENDS, 'iommufd-cut'))
def test_model(machines: Machines, backend: str, checks: Checks) -> None:
    l1 = machines.start(program_file(machines, PROGRAM), L1_MIB)
    set_entry_limit(l1, DMA_ENTRY_LIMIT)
    device = device_file(l1, bind_edu(l1), backend)
    for seed in SEEDS:
        command = shlex.join([PROGRAM, backend, device, str(seed),
                              str(STEPS)])
        status, output = l1.run(command, PROGRAM_TIMEOUT)
        if checks.check(status == 0, f'{backend}: the model and the kernel '
                        f'agree in {STEPS} calls, seed {seed}',
                        f'{command}\nstatus {status}\n{output}'):
            checks.comment(output)
    check_complaints(l1, checks)
    l1.power_off()


def test_two_containers_that_cut(machines: Machines, checks: Checks) -> None:
    """Two threads map and cut in two containers of the same iommufd file.

    QEMU selects a container and cuts under a lock. Without it, cuts go to the
    wrong container, which the program must notice.
    """
    l1 = machines.start(program_file(machines, RACE), L1_MIB, devices=2)
    devices = [device_file(l1, bdf, 'iommufd') for bdf in bind_edus(l1, 2)]
    for seed in SEEDS:
        command = shlex.join([RACE, *devices, str(seed), str(RACE_STEPS)])
        status, output = l1.run(command, PROGRAM_TIMEOUT)
        checks.check(status == 0, 'both containers have exactly their own '
                     f'mappings after {RACE_STEPS} calls each, seed {seed}',
                     f'{command}\nstatus {status}\n{output}')
        checks.comment(output)
        status, output = l1.run(f'{command} --no-lock', PROGRAM_TIMEOUT)
        checks.check(status == 1, 'without the lock, they have not, seed '
                     f'{seed}', f'status {status}\n{output}')
        checks.comment('without the lock: ' + output.partition('\n')[0])
    check_complaints(l1, checks)
    l1.power_off()
