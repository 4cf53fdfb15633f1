# SPDX-License-Identifier: GPL-2.0-or-later

"""DMA of a Linux guest beside memory that it takes back.

Drivers copy all data of devices through bounce buffers, which are shared in
one piece. While they do, the guest makes parts of it private, and shares them
again. Where iommufd cuts mappings, no DMA is disturbed. Where mappings are
split, DMA is lost, which also shows that the first test would notice it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness.checks import Checks
from harness.l2 import wait_until
from harness.linux_holes import HOLE_ARGUMENTS, Converter, Converters
from harness.linux_run import LinuxOptions, LinuxRun, Remaps, linux_run
from harness.linux_workload import (BUSY_DISK, DISK, DOWNLOAD, FIO_STATUS,
                                    SETTLE_TIMEOUT, Workload)
from harness.program_run import SPLIT_REPORT
from harness.session import Machines

# The last vCPU converts memory
_CPUS = 3

# How often both devices transfer data in each part, and the minimum number of
# conversions meanwhile
_ROUNDS = 3
_MIN_CONVERSIONS = 300

# The device that is plugged and unplugged, and how often
_PLUGGED = 2
_PLUGS = 2

# The exit status of a download in the background
_DOWNLOADED = '/run/downloaded'

# Time limits in seconds for a download that loses data, and for both devices
_DOWNLOAD_TIMEOUT = 60
_USE_TIMEOUT = 300.0


def transfers(load: Workload, name: str) -> None:
    """Both devices are busy."""
    for number in range(1, _ROUNDS + 1):
        load.guest.check(BUSY_DISK)
        load.transfer(f'{name}, round {number}')
        load.check_busy_disk(f'{name}, round {number}')


def hot_plug(load: Workload, name: str) -> None:
    """Both devices are busy while a third is plugged and unplugged."""
    guest = load.guest
    address = load.device_address(_PLUGGED)
    driver = f'/sys/bus/pci/devices/{address}/driver'
    for number in range(1, _PLUGS + 1):
        this = f'{name}, round {number}'
        guest.check(f'{BUSY_DISK} rm -f {_DOWNLOADED}; '
                    f'({DOWNLOAD}; echo $? >{_DOWNLOADED}) '
                    '</dev/null >/dev/null 2>&1 &')
        load.run.unplug(_PLUGGED)
        load.run.plug(_PLUGGED)
        load.checks.check(
            wait_until(lambda: guest.run(f'[ -e {driver} ]')[0] == 0,
                       SETTLE_TIMEOUT),
            f'{this}: the guest finds the device that is plugged',
            guest.run('dmesg | tail')[1])
        load.check_busy_disk(this)
        load.checks.check(
            wait_until(lambda: guest.run(f'cat {_DOWNLOADED}')[1] == '0',
                       SETTLE_TIMEOUT), f'{this}: a file is downloaded')
    load.transfer(name)


def use_devices(load: Workload) -> int:
    """Use both devices while DMA can be lost.

    Returns how many of the two transfers lost data or failed.
    """
    load.guest.run(f'rm -f /run/download; {BUSY_DISK} '
                   f'timeout {_DOWNLOAD_TIMEOUT} {DOWNLOAD}; wait',
                   _USE_TIMEOUT)
    sent = load.run.l1.check('sha256sum </run/www/file')
    got = load.guest.run('sha256sum </run/download')[1]
    return (load.guest.run(f'cat {FIO_STATUS}')[1].strip() != '0') + \
        (sent.split() != got.split())


# Names of parts, the threads that convert memory, and what happens meanwhile
PARTS: tuple[tuple[str, Sequence[Converter],
                   Callable[[Workload, str], None]], ...] = (
    ('beside holes', (Converter.HOLES,), transfers),
    ('beside holes and single pages',
     (Converter.HOLES, Converter.SINGLE_PAGES), transfers),
    ('beside holes and hot-plug', (Converter.HOLES,), hot_plug),
)


def set_up(run: LinuxRun, checks: Checks) -> Workload:
    load = Workload(run, checks)
    load.set_up_peer()
    load.set_up_network()
    run.compare('before conversions')
    return load


def check_conversions(count: int, converters: Converters, name: str,
                      checks: Checks) -> None:
    failures = converters.failures()
    checks.comment(f'{name}: {count} conversions')
    checks.check(
        count >= _MIN_CONVERSIONS and not failures,
        f'{name}: at least {_MIN_CONVERSIONS} conversions, and none fails',
        f'{count} conversions, {failures} failures')


def test_cuts_on_iommufd(machines: Machines, tmp_path: Path, checks: Checks
                         ) -> None:
    """No DMA is disturbed where mappings are cut."""
    options = LinuxOptions('iommufd', cpus=_CPUS, arguments=HOLE_ARGUMENTS,
                           devices=('nvme', 'e1000e', 'igb'))
    with linux_run(machines, options, tmp_path, checks) as run:
        load = set_up(run, checks)
        converters = Converters(run.guest)
        for name, threads, part in PARTS:
            before, cuts = converters.conversions(), run.figures.cuts
            with converters.running(*threads):
                part(load, name)
            count = converters.conversions() - before
            check_conversions(count, converters, name, checks)
            run.compare(name)
            # Half of the conversions are to private
            cuts = run.figures.cuts - cuts
            checks.check(
                cuts >= count // 2 and run.figures.splits == 0,
                f'{name}: mappings are cut, and never split',
                f'{cuts} cuts, {run.figures.splits} splits')


@pytest.mark.parametrize('backend,device_options', [
    ('type1', ''), ('iommufd', ',x-shared-dma-extent=superpage'),
], ids=['type1', 'iommufd-superpage'])
def test_splits(machines: Machines, backend: str, device_options: str,
                tmp_path: Path, checks: Checks) -> None:
    """DMA is lost where mappings are split, and works again afterwards."""
    options = LinuxOptions(backend, cpus=_CPUS, arguments=HOLE_ARGUMENTS,
                           device_options=device_options)
    with linux_run(machines, options, tmp_path, checks) as run:
        load = set_up(run, checks)
        converters = Converters(run.guest)
        before = converters.conversions()
        with converters.running(Converter.HOLES):
            losses = sum(use_devices(load) for _ in range(_ROUNDS))
        check_conversions(converters.conversions() - before, converters,
                          'beside holes', checks)
        faults, logged = run.take_faults()
        remapped = run.figures.remapped_bytes
        run.compare('when holes are shared again', Remaps.SPLITS)
        remapped = run.figures.remapped_bytes - remapped
        checks.comment(f'{len(faults)} DMA faults, {len(logged)} of them in '
                       f"level 1's log; {losses} of {2 * _ROUNDS} transfers "
                       'lost data')
        checks.check(
            run.figures.splits > 0 and remapped > 0,
            'splits unmap memory that stays shared',
            f'{run.figures.splits} splits, {remapped} bytes unmapped')
        reports = run.guest.l2.stderr().count(SPLIT_REPORT)
        checks.check(reports == 1, 'QEMU reports splits once',
                     f'{reports} reports')
        devices = {sid for sid, _, _ in faults}
        checks.check(len(devices) == len(options.devices) and bool(logged),
                     'DMA of both devices to it is lost',
                     f'faults of {devices}, {len(logged)} in the log')
        load.write_and_verify(DISK, '--direct=1')
        load.transfer('after conversions')
