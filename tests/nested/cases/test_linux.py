# SPDX-License-Identifier: GPL-2.0-or-later

"""Drivers of a Linux guest with private memory, and what can befall them.

Each guest lives through all of it. After each part, the kernel's mappings are
compared with the memory that the drivers have shared.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.checks import Checks
from harness.guest_options import KERNEL_PATH, SMALL_INITRD_PATH
from harness.l2 import L2Error, wait_until
from harness.linux_run import LinuxOptions, Opener, linux_run
from harness.linux_workload import (BUSY_DISK, DISK, DOWNLOAD, HOST,
                                    SETTLE_TIMEOUT, Workload)
from harness.program import MIB
from harness.session import Machines

# Memory of a guest: filling it takes time
_MEMORY = 512 * MIB

# Difference in shared memory between two boots, in bytes
_BOOT_DIFFERENCE = MIB


def disk(load: Workload) -> None:
    """Direct and buffered I/O on the disk, and a file system on it."""
    load.write_and_verify(DISK, '--direct=1')
    load.mount_disk()
    load.write_and_verify('/mnt/file', '--direct=1')
    load.write_and_verify('/mnt/file', '--direct=0 --end_fsync=1')
    load.guest.check('umount /mnt')


def network(load: Workload) -> None:
    """TCP connections in both directions."""
    load.set_up_network()
    load.transfer('network')


def controller_reset(load: Workload) -> None:
    """Reset of the NVMe controller while the network is busy."""
    load.guest.check(
        f'{DOWNLOAD} & for i in 1 2 3; do '
        'echo 1 >/sys/class/nvme/nvme0/reset_controller || exit 1; done; '
        'wait $!')
    load.write_and_verify(DISK, '--direct=1')


def rebinding(load: Workload) -> None:
    """Each driver is bound again while the other device is busy."""
    address = load.device_address(0)
    load.guest.check(
        f'{DOWNLOAD} & cd /sys/bus/pci/drivers/nvme && '
        f'echo {address} >unbind && echo {address} >bind && wait $!')
    address = load.device_address(1)
    load.guest.check(
        f'{BUSY_DISK} cd /sys/bus/pci/devices/{address} && '
        f'echo {address} >driver/unbind && '
        f'echo {address} >/sys/bus/pci/drivers_probe && [ -e driver ] && wait')
    load.check_busy_disk('while the network card is bound again')
    load.set_up_network()
    load.transfer('after binding')


def rings(load: Workload) -> None:
    """Other sizes of rings and frames while the disk is busy."""
    load.guest.check(
        f'{BUSY_DISK} ethtool -G eth0 rx 1024 tx 1024 && '
        'ifconfig eth0 mtu 4000 && ethtool -G eth0 rx 128 tx 128 && '
        'ifconfig eth0 mtu 1500 && wait')
    load.check_busy_disk('while rings change')
    load.set_up_network()
    load.transfer('after changes of rings')


def hot_plug(load: Workload) -> None:
    """Unplug and plug the disk while the network is busy."""
    guest = load.guest
    guest.check(f'(for i in 1 2 3 4; do {DOWNLOAD} || exit 1; done; '
                'echo good >/run/downloaded) </dev/null >/dev/null 2>&1 &')
    load.run.unplug(0)
    load.run.plug(0)
    load.checks.check(
        wait_until(lambda: guest.run(f'[ -b {DISK} ]')[0] == 0,
                   SETTLE_TIMEOUT),
        'the guest finds the disk again', guest.run('dmesg | tail')[1])
    load.checks.check(
        wait_until(lambda: guest.run('[ -e /run/downloaded ]')[0] == 0,
                   SETTLE_TIMEOUT),
        'the network works during hot-plug')
    load.write_and_verify(DISK, '--direct=1')


def memory_pressure(load: Workload) -> None:
    """Both devices work while little memory is free."""
    load.guest.check(
        'mkdir -p /run/fill && mount -t tmpfs -o size=95% tmpfs /run/fill && '
        'free=$(sed -n "s/^MemAvailable: *\\([0-9]*\\).*/\\1/p" '
        '/proc/meminfo) && dd if=/dev/zero of=/run/fill/zero bs=1M '
        'count=$((free / 1024 - 64)) 2>/dev/null')
    load.write_and_verify(DISK, '--direct=1')
    load.transfer('with little memory')
    load.guest.check('umount /run/fill')


def check_shared_again(load: Workload) -> None:
    """Check that the guest shares as much as after its first boot."""
    load.run.compare('after the start of a kernel')
    size, expected = load.run.figures.shared_bytes, load.run.booted_bytes
    load.checks.check(
        abs(size - expected) <= _BOOT_DIFFERENCE,
        'the guest shares as much memory as after its first boot',
        f'{size} bytes instead of {expected}')


def reboot(load: Workload) -> None:
    """The loader makes all memory private again after a reset."""
    load.guest.send('reboot -f')
    load.guest.wait_boot()
    check_shared_again(load)
    load.set_up_network()
    load.transfer('after a reboot')
    load.write_and_verify(DISK, '--direct=1')


def kexec(load: Workload) -> None:
    """The kernel makes all memory private again before it starts another."""
    load.run.l1.check(f'ln -s {KERNEL_PATH} /run/www/kernel && '
                      f'ln -s {SMALL_INITRD_PATH} /run/www/initrd')
    before = load.guest.check(f'dd if={DISK} bs=1M count=8 2>/dev/null | '
                              'sha256sum')
    load.guest.check(
        f'cd /run && wget -q http://{HOST}/kernel && '
        f'wget -q http://{HOST}/initrd && '
        'kexec --load kernel --initrd=initrd --reuse-cmdline')
    load.guest.send('kexec --exec')
    load.guest.wait_boot()
    check_shared_again(load)
    load.set_up_network()
    load.transfer('after kexec')
    after = load.guest.check(f'dd if={DISK} bs=1M count=8 2>/dev/null | '
                             'sha256sum')
    load.checks.check(before == after, 'the disk has the same data after '
                      'kexec', f'{before} {after}')


PARTS: tuple[Callable[[Workload], None], ...] = (
    disk, network, controller_reset, rebinding, rings, hot_plug,
    memory_pressure, reboot, kexec)

# Number of vCPUs, network card, and arguments for the kernel. The second guest
# starts with bounce buffers of 2 MiB, and allocates more as it needs them.
GUESTS = [(1, 'e1000e', ''), (4, 'igb', 'swiotlb=1024')]


@pytest.mark.parametrize('cpus,card,arguments', GUESTS,
                         ids=['one-cpu', 'four-cpus'])
def test_lives(machines: Machines, backend: str, cpus: int, card: str,
               arguments: str, tmp_path: Path, checks: Checks) -> None:
    """A guest lives through everything that can befall its drivers."""
    options = LinuxOptions(backend, memory=_MEMORY, cpus=cpus,
                           devices=('nvme', card), arguments=arguments)
    with linux_run(machines, options, tmp_path, checks) as run:
        load = Workload(run, checks)
        run.compare('after the boot')
        run.booted_bytes = run.figures.shared_bytes
        load.set_up_peer()
        for part in PARTS:
            part(load)
            run.compare(part.__name__.replace('_', ' '))


def test_file_descriptors_for_iommufd(machines: Machines, tmp_path: Path,
                                      checks: Checks) -> None:
    """QEMU gets open files, and may lock less memory than the guest has."""
    options = LinuxOptions('iommufd', opener=Opener.PARENT)
    with linux_run(machines, options, tmp_path, checks) as run:
        load = Workload(run, checks)
        load.set_up_peer()
        disk(load)
        network(load)
        run.compare('with file descriptors')


def test_panic_on_type1(machines: Machines, tmp_path: Path, checks: Checks
                        ) -> None:
    """A guest that panics is reported, with the end of its console."""
    options = LinuxOptions('type1', devices=(), arguments='rdinit=/missing')
    try:
        with linux_run(machines, options, tmp_path, checks):
            checks.check(False, 'the guest panics')
    except L2Error as error:
        checks.check('the guest has failed' in str(error) and
                     'Kernel panic' in str(error),
                     'the panic of the guest is reported', str(error))
