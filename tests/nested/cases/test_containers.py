# SPDX-License-Identifier: GPL-2.0-or-later

"""A Linux guest whose devices are in different VFIO containers.

Each container must map exactly the shared memory while its gate is open,
whatever happens to the other container.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.checks import Checks
from harness.l2 import wait_until
from harness.linux_run import LinuxOptions, linux_run
from harness.linux_workload import (BUSY_DISK, DISK, DOWNLOAD,
                                    SETTLE_TIMEOUT, Workload)
from harness.session import Machines

# Devices of the guest, by their positions in LinuxOptions.devices
_DISK, _CARD = range(2)


def both_busy(load: Workload) -> None:
    """The devices of both containers are busy at the same time."""
    load.set_up_network()
    load.guest.check(f'{BUSY_DISK} {DOWNLOAD} && {DOWNLOAD}')
    load.transfer('beside the disk')
    load.check_busy_disk('beside the network')


def unbound_card(load: Workload) -> None:
    """The card loses its driver while the disk is busy."""
    address = load.device_address(_CARD)
    load.guest.check(
        f'{BUSY_DISK} '
        f'echo {address} >/sys/bus/pci/devices/{address}/driver/unbind')
    load.check_busy_disk('while the network card is unbound')


def bound_card(load: Workload) -> None:
    """The card gets its driver again while the disk is busy."""
    address = load.device_address(_CARD)
    load.guest.check(
        f'{BUSY_DISK} echo {address} >/sys/bus/pci/drivers_probe && '
        f'[ -e /sys/bus/pci/devices/{address}/driver ]')
    load.check_busy_disk('while the network card is bound')
    both_busy(load)


def unplugged_disk(load: Workload) -> None:
    """The disk's container disappears while the network is busy."""
    load.guest.check(f'({DOWNLOAD}; echo $? >/run/downloaded) '
                     '</dev/null >/dev/null 2>&1 &')
    load.run.unplug(_DISK)
    load.transfer('without the disk')
    load.checks.check(load.guest.check('cat /run/downloaded').strip() == '0',
                      'the network works during the removal of the disk')


def plugged_disk(load: Workload) -> None:
    """The disk gets a container again while the network is busy."""
    load.run.plug(_DISK)
    load.transfer('while the disk is plugged')
    load.checks.check(
        wait_until(lambda: load.guest.run(f'[ -b {DISK} ]')[0] == 0,
                   SETTLE_TIMEOUT),
        'the guest finds the disk again', load.guest.run('dmesg | tail')[1])
    both_busy(load)


# Parts of the test, with the number of open gates after each
PARTS: tuple[tuple[Callable[[Workload], None], int], ...] = (
    (both_busy, 2), (unbound_card, 1), (bound_card, 2), (unplugged_disk, 1),
    (plugged_disk, 2))


@pytest.mark.parametrize('backends', ['type1+iommufd', 'iommufd+iommufd'])
def test_two_containers(machines: Machines, backends: str, tmp_path: Path,
                        checks: Checks) -> None:
    """The disk is in one container, the network card in another."""
    with linux_run(machines, LinuxOptions(backends), tmp_path, checks) as run:
        load = Workload(run, checks)
        load.set_up_peer()
        for part, containers in PARTS:
            part(load)
            name = part.__name__.replace('_', ' ')
            run.compare(name)
            checks.check(
                run.figures.open_containers == containers,
                f'{name}: {containers} gates are open',
                f'{run.figures.open_containers} are open')
