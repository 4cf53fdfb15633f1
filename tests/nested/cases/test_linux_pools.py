# SPDX-License-Identifier: GPL-2.0-or-later

"""Pools of shared memory that Linux enlarges while its disk is busy.

Drivers copy the memory that a device accesses to bounce buffers. If none is
free, Linux takes a transient pool for one mapping from its memory for atomic
allocations, and adds a permanent pool in the background. Transient pools come
and go. The memory for atomic allocations grows, too; it also has the lists of
pages that the NVMe driver passes to the disk. Linux 6.12 never makes either
private again, so that the shared memory does not shrink.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from harness.checks import Checks
from harness.linux_guest import LinuxGuest
from harness.linux_run import LinuxOptions, linux_run
from harness.linux_workload import FIO_STATUS, Workload, busy_disk
from harness.session import Machines

# Initial size of the bounce buffers. There are at least 128 for each vCPU, and
# Linux adds as many as there are at first.
_CPUS = 2
_SLOT = 2 << 10
_FIRST_SLOTS = 512
# Linux 7.3 counts used bounce buffers only on request; 6.12 ignores it
_COUNT_USED = ',track_hiwater'

# Several jobs, each with 12 requests at a time in its part of the disk, which
# is so slow that most of them are waiting. They need 3 MiB of bounce buffers.
_FIO_OPTIONS = ('--numjobs=4 --size=4M --offset_increment=4M --iodepth=12 '
                '--bsrange=64k-64k --group_reporting')
_DISK_RATE = 100

# Initially Linux has twice this much memory for atomic allocations, and adds
# more when less than this is free. It warns if none is left, so there must be
# enough for all requests, even if bounce buffers are not added in time.
_ATOMIC_POOL = '2M'

# Shell command that prints the maximum size of transient pools until fio ends
_WATCH = ('cd /sys/kernel/debug/swiotlb; peak=0; '
          f'while [ ! -s {FIO_STATUS} ]; do '
          'read n <io_tlb_transient_nslabs; '
          '[ $n -le $peak ] || peak=$n; usleep 10000; done; echo $peak')


@dataclass
class Pools:
    """Sizes and use of the pools, as the guest's kernel reports them.

    @slots, @used, @most_used, @transient: bounce buffers, in slots
    @atomic: memory for atomic allocations, in bytes
    """

    slots: int
    used: int
    most_used: int
    transient: int
    atomic: int

    @property
    def size(self) -> int:
        """Size of all permanent pools in bytes."""
        return self.slots * _SLOT + self.atomic


def read_pools(guest: LinuxGuest) -> Pools:
    values = {match[1]: int(match[2]) for match in re.finditer(
        r'^\S*/(\w+):(\d+)$', guest.check(
            'cd /sys/kernel/debug && '
            'grep -H . swiotlb/io_tlb_* dma_pools/pool_size_*'), re.M)}
    return Pools(
        values['io_tlb_nslabs'], values['io_tlb_used'],
        values['io_tlb_used_hiwater'], values['io_tlb_transient_nslabs'],
        sum(value for name, value in values.items()
            if name.startswith('pool_size_')))


def test_pools(machines: Machines, backend: str, tmp_path: Path,
               checks: Checks) -> None:
    """Both kinds of pools grow, and are shared, while the disk is busy."""
    options = LinuxOptions(backend, cpus=_CPUS, devices=('nvme',),
                           arguments=f'swiotlb={_FIRST_SLOTS}{_COUNT_USED} '
                                     f'coherent_pool={_ATOMIC_POOL}',
                           disk_rate=_DISK_RATE)
    with linux_run(machines, options, tmp_path, checks) as run:
        load = Workload(run, checks)
        run.compare('after the boot')
        before, shared = read_pools(run.guest), run.figures.shared_bytes
        checks.check(before.slots == _FIRST_SLOTS, 'the bounce buffers are '
                     'small at first', str(before))
        peak = int(run.guest.check(
            f'{busy_disk(_FIO_OPTIONS)} {_WATCH}').split()[-1])
        load.check_busy_disk('while pools grow')
        after = read_pools(run.guest)
        run.compare('when pools have grown')
        checks.comment(f'before: {before}, after: {after}, '
                       f'transient at most: {peak}')
        checks.check(before.slots < after.slots and
                     before.slots < after.most_used,
                     'the guest adds bounce buffers, and uses them',
                     f'{before}\n{after}')
        checks.check(peak > 0 and after.transient == 0 and
                     after.used == before.used,
                     'transient pools come and go', f'{peak}\n{after}')
        checks.check(before.atomic < after.atomic,
                     'the memory for atomic allocations grows',
                     f'{before}\n{after}')
        grown = run.figures.shared_bytes - shared
        checks.check(grown == after.size - before.size,
                     'the guest shares exactly the new pools',
                     f'{grown} bytes instead of {after.size - before.size}')
