# SPDX-License-Identifier: GPL-2.0-or-later

"""A Linux guest's memory grows and shrinks with virtio-mem during I/O.

Memory is private when it is plugged. Drivers place their DMA buffers there,
the guest shares more of it, and gives up all of it that it does not share. A
reset unplugs what was shared, and Linux plugs as much again.
"""

from collections.abc import Callable
from pathlib import Path

from harness.checks import Checks
from harness.intervals import describe
from harness.l2 import wait_until
from harness.linux_memory import share_range, unshare_range
from harness.linux_run import LinuxOptions, linux_run
from harness.linux_virtio_mem import LinuxVirtioMem, VirtioMem
from harness.linux_workload import (BUSY_DISK, DISK, LASTING_LOAD,
                                    Workload)
from harness.program import MIB, PAGE_SIZE
from harness.session import Machines
from harness.usage import check_freed, measure

_MEMORY = 512 * MIB
# Two nodes, each of which has one of the devices
_OPTIONS = ('-m', '512M,slots=2,maxmem=4G',
            '-object', 'memory-backend-ram,id=pc.ram,size=512M',
            '-numa', 'node,nodeid=0,cpus=0-1,memdev=pc.ram',
            '-numa', 'node,nodeid=1')

_DEVICE_SIZE = 512 * MIB
_BLOCK = 2 * MIB

# All other memory of the guest is below 4 GiB. Where the kernel can choose, it
# allocates its own memory, and that of drivers, above 4 GiB.
_KERNEL = VirtioMem('vmem0', _DEVICE_SIZE, 'online_kernel',
                    'memory-backend-ram', f',block-size={_BLOCK},node=0')
_MOVABLE = VirtioMem('vmem1', _DEVICE_SIZE, 'online_movable',
                     'memory-backend-memfd',
                     f',block-size={_BLOCK},node=1,dynamic-memslots=on')

# How much of each device is plugged
_SIZE = 256 * MIB

# What the guest shares of movable memory: its start, in one request, and
# single pages of the block that follows
_PIECE = 16 * MIB
_SINGLES = [_PIECE + 2 * page * PAGE_SIZE for page in range(8)]
_SHARED = _PIECE + len(_SINGLES) * PAGE_SIZE
_SHARED_BLOCKS = _PIECE + _BLOCK

_FILL_MIB = 160
# Tolerated difference of memory in level 1, of which the guest also uses more
# elsewhere
_SLACK = 16 * MIB
_TIMEOUT = 60.0


class Steps:
    """The parts of the test, in one guest."""

    def __init__(self, load: Workload, checks: Checks) -> None:
        self.load = load
        self.run = load.run
        self.guest = load.guest
        self.checks = checks
        self.memory = LinuxVirtioMem(load.run, checks)
        for device in (_KERNEL, _MOVABLE):
            self.memory.find(device)

    def grow_while_busy(self) -> None:
        """Both devices plug memory while the disk is busy."""
        before = self.memory.online()
        self.guest.check(f'{BUSY_DISK} :')
        self.memory.resize(_KERNEL, _SIZE)
        self.memory.resize(_MOVABLE, _SIZE)
        self.load.check_busy_disk('while memory is plugged')
        grown = (self.memory.online() - before) >> 10
        self.checks.check(grown == 2 * _SIZE // MIB,
                          f'the guest has {2 * _SIZE // MIB} MiB more',
                          f'{grown} MiB')
        self._check_mapped(0)

    def _check_mapped(self, size: int) -> None:
        """Check how much of the movable memory is shared."""
        mapped = self.memory.mapped(_MOVABLE).total()
        self.checks.check(mapped == size,
                          f'{size >> 10} KiB of {_MOVABLE.name} are shared',
                          f'{mapped >> 10} KiB')

    def drivers_use_it(self) -> None:
        """Drivers allocate their queues again, in plugged memory."""
        self.load.bind_again(('nvme', 'e1000e'))
        self.load.write_and_verify(DISK, '--direct=1')
        self.load.transfer('with queues in plugged memory')
        self.run.compare('queues in plugged memory')
        self.checks.check(bool(self.memory.mapped(_KERNEL)),
                          'queues are in plugged memory')

    def shrink_while_used(self) -> None:
        """The guest gives up what its drivers do not use, and plugs again."""
        self.guest.check(f'{BUSY_DISK} :')
        used = self.memory.mapped(_KERNEL)
        self.memory.request(_KERNEL, 0)
        self.checks.check(
            wait_until(lambda: self.memory.plugged(_KERNEL) < _SIZE // 2,
                       _TIMEOUT),
            f'the guest gives up a large part of {_KERNEL.name}',
            self.guest.run('dmesg | tail')[1])
        self.load.check_busy_disk('while memory is unplugged')
        self.load.transfer('while memory is unplugged')
        self.run.compare('kernel memory was unplugged')
        # Linux may also have enlarged its pool for atomic allocations
        lost = used.minus(self.memory.mapped(_KERNEL))
        self.checks.check(
            not lost, f'it keeps {used.total() >> 10} KiB that drivers use',
            f'without {describe(lost)}')
        self.memory.resize(_KERNEL, _SIZE)

    def shared_is_kept(self) -> None:
        """The guest gives up what it does not share, then the rest."""
        start = self.memory.start(_MOVABLE)
        ranges = [(start, _PIECE),
                  *((start + offset, PAGE_SIZE) for offset in _SINGLES)]
        for gpa, size in ranges:
            share_range(self.guest, gpa, size)
        self.run.compare('movable memory is shared in part')
        self._check_mapped(_SHARED)
        self.guest.check(f'{BUSY_DISK} :')
        self.memory.request(_MOVABLE, 0)
        self.memory.wait_size(_MOVABLE, _SHARED_BLOCKS)
        self.load.check_busy_disk('while movable memory is unplugged')
        self.run.compare('movable memory was unplugged')
        self._check_mapped(_SHARED)
        for gpa, size in ranges:
            unshare_range(self.guest, gpa, size)
        self.memory.wait_size(_MOVABLE, 0)

    def memory_is_freed(self) -> None:
        """Unplugging frees the private memory that the guest has used."""
        self.memory.resize(_MOVABLE, _SIZE)
        self.guest.check('mkdir -p /run/movable && '
                         'mount -t tmpfs -o size=90% tmpfs /run/movable && '
                         'dd if=/dev/zero of=/run/movable/fill bs=1M '
                         f'count={_FILL_MIB} 2>/dev/null')
        full = measure(self.run.l1).guest_memfd
        self.guest.check('umount /run/movable')
        self.memory.resize(_MOVABLE, 0)
        most = full - _FILL_MIB * MIB + _SLACK
        check_freed(self.checks, self.run.l1, 'the private memory is free',
                    most, _TIMEOUT)

    def stopped(self) -> None:
        """The guest is stopped and asked for more while the disk is busy."""
        l2 = self.guest.l2
        self.memory.set_zone(_MOVABLE)
        self.guest.check(f'{BUSY_DISK} :')
        l2.execute('stop')
        self.run.compare('the guest is stopped')
        self.memory.set_requested(_MOVABLE, _SIZE)
        l2.execute('cont')
        self.load.check_busy_disk('while the guest is stopped')
        self.memory.wait_size(_MOVABLE, _SIZE)

    def reset(self) -> None:
        """A reset unplugs shared memory while a device uses it."""
        share_range(self.guest, self.memory.start(_MOVABLE), _PIECE)
        self.run.compare('before a reset')
        self._check_mapped(_PIECE)
        self.guest.check(f'{LASTING_LOAD} :')
        self.guest.l2.execute('system_reset')
        self.guest.wait_boot()
        for device in (_KERNEL, _MOVABLE):
            self.memory.wait_size(device, _SIZE)
        self.run.compare('after a reset')
        self._check_mapped(0)
        self.load.set_up_network()
        self.load.write_and_verify(DISK, '--direct=1')
        self.load.transfer('after a reset')

    def busy_at_the_end(self) -> None:
        """QEMU will quit while the disk is busy and memory is shared."""
        self.load.bind_again(('nvme', 'e1000e'))
        self.guest.check(f'{LASTING_LOAD} :')


PARTS: tuple[Callable[[Steps], None], ...] = (
    Steps.grow_while_busy, Steps.drivers_use_it, Steps.shrink_while_used,
    Steps.shared_is_kept, Steps.memory_is_freed, Steps.stopped, Steps.reset,
    Steps.busy_at_the_end)


def test_virtio_mem(machines: Machines, backend: str, tmp_path: Path,
                    checks: Checks) -> None:
    """virtio-mem plugs and unplugs memory, and devices access it."""
    options = LinuxOptions(
        backend, memory=_MEMORY, cpus=2,
        qemu_options=(*_OPTIONS, *_KERNEL.qemu_options(),
                      *_MOVABLE.qemu_options()))
    with linux_run(machines, options, tmp_path, checks) as run:
        load = Workload(run, checks)
        load.set_up_peer()
        load.set_up_network()
        steps = Steps(load, checks)
        for part in PARTS:
            part(steps)
            run.compare(part.__name__.replace('_', ' '))
