# SPDX-License-Identifier: GPL-2.0-or-later

"""The model IOMMU of the unit tests returns the same results as the kernel.

iommu-replay generates random calls; the same seed gives the same calls.
"""

import shlex

import pytest

from harness.checks import Checks
from harness.l1 import L1Machine
from harness.pytest_plugin import BACKENDS
from harness.session import Machines, check_complaints
from harness.vfio import bind_edu

PROGRAM = '/bin/iommu-replay'
PROGRAM_TIMEOUT = 300
SEEDS = (1, 2, 3)
STEPS = 20000

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


@pytest.mark.parametrize('backend', (*BACKENDS, 'iommufd-cut'))
def test_model(machines: Machines, backend: str, checks: Checks) -> None:
    program = machines.built.folder / \
        'core/tests/nested/iommu-replay/iommu-replay'
    l1 = machines.start({PROGRAM: program.read_bytes()}, L1_MIB)
    l1.check(f'echo {DMA_ENTRY_LIMIT} >/sys/module/vfio_iommu_type1/'
             'parameters/dma_entry_limit')
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
