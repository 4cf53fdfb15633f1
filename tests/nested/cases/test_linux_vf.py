# SPDX-License-Identifier: GPL-2.0-or-later

"""A Linux guest with a virtual function of a network card (SR-IOV).

The card itself belongs to level 1, whose driver serves the virtual function.
"""

from pathlib import Path

from harness.checks import Checks
from harness.linux_run import LinuxOptions, linux_run
from harness.linux_workload import Workload
from harness.session import Machines


def rebinding(load: Workload) -> None:
    """The driver of the virtual function is bound again."""
    address = load.device_address(0)
    load.guest.check(
        f'cd /sys/bus/pci/devices/{address} && '
        f'echo {address} >driver/unbind && '
        f'echo {address} >/sys/bus/pci/drivers_probe && [ -e driver ]')
    load.set_up_network()
    load.transfer('after binding')


def card_reset(load: Workload) -> None:
    """Level 1 resets its card, and thereby the virtual function."""
    load.run.l1.check(
        'cd /sys/bus/pci/drivers/igb && for d in *:*; do '
        'card=$(ls $d/net) && ifconfig $card down && ifconfig $card up || '
        'exit 1; done')
    load.set_up_network()
    load.transfer('after a reset of the card')


def test_virtual_function(machines: Machines, backend: str, tmp_path: Path,
                          checks: Checks) -> None:
    """Traffic in both directions, and resets from both sides."""
    options = LinuxOptions(backend, devices=('igbvf',))
    with linux_run(machines, options, tmp_path, checks) as run:
        load = Workload(run, checks)
        driver = run.guest.check(
            'readlink /sys/bus/pci/devices/'
            f'{load.device_address(0)}/driver').strip().rpartition('/')[2]
        checks.check(driver == 'igbvf',
                     'the guest has the driver of a virtual function', driver)
        load.set_up_peer()
        load.set_up_network()
        load.transfer('network')
        run.compare('network')
        for part in (rebinding, card_reset):
            part(load)
            run.compare(part.__name__.replace('_', ' '))
