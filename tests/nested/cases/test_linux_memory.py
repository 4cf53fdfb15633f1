# SPDX-License-Identifier: GPL-2.0-or-later

"""DIMMs come and go while a Linux guest uses assigned devices.

A DIMM is private until the guest shares parts of it. Drivers place their DMA
buffers there, the guest moves data from one DIMM to another, and it does not
give up a DIMM that devices use. What it gives up is freed.
"""

from collections.abc import Callable
from pathlib import Path

from harness.checks import Checks
from harness.linux_memory import BLOCK_SIZE, Dimm, LinuxMemory
from harness.linux_run import LinuxOptions, linux_run
from harness.linux_workload import (BUSY_DISK, DISK, LASTING_LOAD,
                                    Workload)
from harness.program import MIB, PAGE_SIZE
from harness.session import Machines
from harness.usage import check_freed, measure

_MEMORY = 512 * MIB
_OPTIONS = ('-m', '512M,slots=4,maxmem=4G')

# All memory of the guest is below 4 GiB, and a DIMM is not. Where the kernel
# can choose, it allocates its own memory, and that of drivers, above 4 GiB.
_KERNEL = Dimm('dimm0', BLOCK_SIZE, 'online_kernel')
_MOVABLE = Dimm('dimm1', BLOCK_SIZE, 'online_movable', 'memory-backend-memfd')
_LARGE = Dimm('dimm2', 2 * BLOCK_SIZE, 'online_movable', 'memory-backend-ram',
              {'reserve': False})

# What the guest shares of a DIMM: its start, in one request, and single pages
_PIECE = 16 * MIB
_SINGLES = [_PIECE + 2 * page * PAGE_SIZE for page in range(8)]
_SHARED = _PIECE + len(_SINGLES) * PAGE_SIZE

# Files in movable memory: one that fills most of a DIMM, and one to keep
_FILL_MIB = 80
_KEPT_MIB = 24
_FILL = '/run/movable/fill'
_KEPT = '/run/movable/kept'

# Tolerated difference of memory in level 1, of which the guest also uses more
# elsewhere, and the growth of QEMU itself
_SLACK = 16 * MIB
_FREE_TIMEOUT = 10.0


class Steps:
    """The parts of the test, in one guest."""

    def __init__(self, load: Workload, checks: Checks) -> None:
        self.load = load
        self.run = load.run
        self.guest = load.guest
        self.checks = checks
        self.memory = LinuxMemory(load.run, checks)
        # Those with which QEMU is left when movable memory is unplugged
        self.resources = ('', 0)

    def plug_while_busy(self) -> None:
        """DIMMs are plugged while the disk is busy."""
        self.guest.check(f'{BUSY_DISK} :')
        self.memory.plug(_KERNEL)
        self.resources = self.memory.resources()
        self.memory.plug(_MOVABLE)
        self.load.check_busy_disk('while DIMMs are plugged')
        self.checks.check(self.memory.shared(_MOVABLE) == 0,
                          'new memory is private',
                          f'{self.memory.shared(_MOVABLE)} bytes are shared')

    def drivers_use_it(self) -> None:
        """Drivers allocate their queues again, in the DIMM."""
        self.load.bind_again(('nvme', 'e1000e'))
        self.load.write_and_verify(DISK, '--direct=1')
        self.load.transfer('with queues in a DIMM')
        self.run.compare('queues in a DIMM')
        self.checks.check(self.memory.shared(_KERNEL) > 0,
                          "parts of the DIMM are the drivers' shared memory")

    def kernel_keeps_it(self) -> None:
        """The guest does not give up memory that its kernel uses."""
        self.memory.check_refusal(_KERNEL)
        self.load.write_and_verify(DISK, '--direct=1')

    def shared_is_kept(self) -> None:
        """The guest gives up a DIMM when it shares nothing of it any more."""
        self.memory.share(_MOVABLE, 0, _PIECE)
        for offset in _SINGLES:
            self.memory.share(_MOVABLE, offset, PAGE_SIZE)
        self.run.compare('a DIMM is shared in part')
        self._check_shared(_SHARED)
        self.memory.request_unplug(_MOVABLE)
        self.load.write_and_verify(DISK, '--direct=1')
        self.run.compare('the guest was asked for it')
        self._check_shared(_SHARED)
        self.checks.check(self.memory.is_plugged(_MOVABLE),
                          'the guest does not give it up')
        for offset in _SINGLES:
            self.memory.unshare(_MOVABLE, offset, PAGE_SIZE)
        self.memory.unshare(_MOVABLE, 0, _PIECE)
        self.memory.finish_unplug(_MOVABLE)
        self.memory.wait_resources('a DIMM that was shared', self.resources)

    def _check_shared(self, size: int) -> None:
        shared = self.memory.shared(_MOVABLE)
        self.checks.check(shared == size,
                          f'{size >> 10} KiB of the DIMM are shared',
                          f'{shared >> 10} KiB are')

    def content_moves(self) -> None:
        """Unplugging moves a file to another DIMM, and frees memory."""
        self.memory.plug(_MOVABLE)
        self._check_shared(0)
        self.guest.check('mkdir -p /run/movable && '
                         'mount -t tmpfs -o size=90% tmpfs /run/movable && '
                         f'dd if=/dev/urandom of={_KEPT} bs=1M '
                         f'count={_KEPT_MIB} 2>/dev/null && '
                         f'dd if=/dev/zero of={_FILL} bs=1M '
                         f'count={_FILL_MIB} 2>/dev/null')
        before = self.guest.check(f'sha256sum {_KEPT}')
        self.memory.plug(_LARGE)
        self.guest.check(f'rm {_FILL}')
        full = measure(self.run.l1).guest_memfd
        self.guest.check(f'{BUSY_DISK} :')
        self.memory.unplug(_MOVABLE)
        self.load.check_busy_disk('while a DIMM is unplugged')
        # What was moved takes as much memory elsewhere
        most = full - _FILL_MIB * MIB + _SLACK
        check_freed(self.checks, self.run.l1,
                    'the private memory that the DIMM had is free', most,
                    _FREE_TIMEOUT)
        after = self.guest.check(f'sha256sum {_KEPT}')
        self.checks.check(before == after, 'what was in it was moved',
                          f'{before} {after}')

    def without_reserve(self) -> None:
        """A larger DIMM whose memory is not reserved is shared in part."""
        self.memory.share(_LARGE, BLOCK_SIZE, _PIECE)
        self.load.transfer('beside a DIMM that is shared in part')
        self.run.compare('a DIMM without a reserve')
        self.memory.unshare(_LARGE, BLOCK_SIZE, _PIECE)
        self.guest.check('umount /run/movable')
        self.memory.unplug(_LARGE)
        self.memory.wait_resources('DIMMs were exchanged', self.resources)
        self.load.write_and_verify(DISK, '--direct=1')
        self.load.transfer('without the DIMMs')

    def reset(self) -> None:
        """A reset makes the DIMM private while a device uses other memory."""
        self.memory.plug(_LARGE)
        self.memory.share(_LARGE, 0, _PIECE)
        self.run.compare('before a reset')
        self.guest.check(f'{LASTING_LOAD} :')
        self.guest.l2.execute('system_reset')
        self.guest.wait_boot()
        self.run.compare('after a reset')
        shared = self.memory.shared(_LARGE)
        self.checks.check(shared == 0, 'a reset makes the DIMM private',
                          f'{shared >> 10} KiB are shared')
        self.load.set_up_network()
        self.load.write_and_verify(DISK, '--direct=1')
        self.load.transfer('after a reset')

    def busy_at_the_end(self) -> None:
        """QEMU will quit while the disk is busy."""
        self.guest.check(f'{LASTING_LOAD} :')


PARTS: tuple[Callable[[Steps], None], ...] = (
    Steps.plug_while_busy, Steps.drivers_use_it, Steps.kernel_keeps_it,
    Steps.shared_is_kept, Steps.content_moves, Steps.without_reserve,
    Steps.reset, Steps.busy_at_the_end)


def test_dimms(machines: Machines, backend: str, tmp_path: Path,
               checks: Checks) -> None:
    """DIMMs come and go, and devices access their shared parts."""
    options = LinuxOptions(backend, memory=_MEMORY, cpus=2,
                           qemu_options=_OPTIONS)
    with linux_run(machines, options, tmp_path, checks) as run:
        load = Workload(run, checks)
        load.set_up_peer()
        load.set_up_network()
        steps = Steps(load, checks)
        for part in PARTS:
            part(steps)
            run.compare(part.__name__.replace('_', ' '))
