# SPDX-License-Identifier: GPL-2.0-or-later

"""A guest shares more memory than the host allows QEMU to use.

If the limit of locked memory or the number of huge pages is too small, the
guest receives an error, and nothing changes. If a memory cgroup is too small,
the kernel kills QEMU and nothing else. The memory that a cgroup needs is
measured.
"""

import re
from collections.abc import Callable

from harness.checks import Checks
from harness.firmware import Firmware
from harness.guest_options import program_guest
from harness.initramfs import find_tool
from harness.l1 import L1Machine
from harness.l2 import L2Error, L2Machine
from harness.program import MIB, PAGE_SIZE, compile_program
from harness.program_run import ProgramRun, fill_pool
from harness.session import (L1_MIN_MIB, Machines, check_complaints,
                             program_files)
from harness.usage import measure
from harness.vfio import bind_edu

# Includes the firmware's 64K and a page for DMA checks, which are also shared
_LOCKED_MIB = 18
_LOCKED = '''
memory 256M
cpus 2
let SCRATCH = 20M
let SMALL = 32M
let LARGE = 64M
let OTHER = 128M
share SCRATCH 4K
scratch SCRATCH
master on
share SMALL 4M
fill SMALL 4M seed 1
fill LARGE 16M seed 2
sync

# A failed request is undone as a whole.
share LARGE 16M expect ENOMEM
verify LARGE 16M seed 2
dma-to LARGE 64 seed 3 blocked
dma-from SMALL 4K seed 1 arrives
sync

# Sharing succeeds up to the limit, and fails for the next page.
share OTHER 13M chunk 1M
share OTHER+13M 960K-4K
share OTHER+32M 4K expect ENOMEM
sync
unshare OTHER 16M
verify SMALL 4M seed 1
sync

# Two vCPUs repeat failing requests as fast as they can.
parallel 2
    repeat 100
        share LARGE+cpu*32M 16M expect ENOMEM
    end
end
verify LARGE 16M seed 2
sync

# After other memory is unlocked, the failed request succeeds.
unshare SMALL 4M
share LARGE 16M
dma-to LARGE+16M-4K 4K seed 4 arrives
sync
'''

# Maximum number of lines that QEMU may print, about all failures above
_MAX_LINES = 20


class LockedLimit(ProgramRun):
    """A run of a QEMU that may lock some memory, but not all of it."""

    def prepare(self, l1: L1Machine, l2: L2Machine) -> None:
        l2.limit_locked_memory(_LOCKED_MIB * MIB)

    def at_sync(self, l1: L1Machine, l2: L2Machine, line: int) -> None:
        layout = l2.layout()
        expected = layout.populated_size if layout else 0
        usage = measure(l1)
        self.checks.check(
            layout is not None and layout.open and
            usage.pinned == usage.locked == expected,
            f'line {line}, sync: pinned and charged memory equals shared '
            f'memory: {expected >> 10} KiB', f'{layout}\n{usage}')
        output = l2.stderr()
        self.checks.check(output.count('\n') < _MAX_LINES,
                          f'line {line}, sync: QEMU printed few lines', output)

    def at_end(self, l1: L1Machine, l2: L2Machine) -> None:
        self.checks.check(measure(l1).pinned == 0,
                          'nothing is pinned when QEMU has ended',
                          str(measure(l1)))


# There are too few huge pages, and QEMU does not reserve them.
_POOL_MIB = 8
_POOL = f'''
memory 64M
backing hugetlb
let AREA = 32M
let OTHER = 48M
master on
sync
share AREA {_POOL_MIB}M
fill AREA {_POOL_MIB}M seed 1
sync
repeat 1000
    share OTHER 2M expect EFAULT
end
verify AREA {_POOL_MIB}M seed 1
sync
'''


class SmallPool(ProgramRun):
    """A run of a QEMU that uses more huge pages than exist."""

    def prepare(self, l1: L1Machine, l2: L2Machine) -> None:
        fill_pool(l1, _POOL_MIB * MIB)
        l2.command = l2.command.replace('hugetlb=on', 'hugetlb=on,reserve=off')

    def at_sync(self, l1: L1Machine, l2: L2Machine, line: int) -> None:
        output = l2.stderr()
        self.checks.check(output.count('\n') < _MAX_LINES,
                          f'line {line}, sync: QEMU printed few lines', output)


# All memory except the firmware's. While one request converts it, it uses
# memory for both states.
_RAM_MIB = 128
_WHOLE = f'''
memory {_RAM_MIB}M
let AREA = 16M
let SIZE = {_RAM_MIB - 16}M
master on
fill AREA SIZE seed 1
sync
share AREA SIZE
fill AREA SIZE seed 2
sync
unshare AREA SIZE chunk 2M
share AREA SIZE chunk 2M
'''

# Extents that cannot be merged. With a memfd backend, QEMU's anonymous memory
# does not include the guest's.
_EXTENTS_COUNT = 4096
_EXTENTS = f'''
memory {_RAM_MIB}M
backing memfd
master on
sync
repeat {_EXTENTS_COUNT}
    share 32M+i*8K 4K
end
sync
'''

# Memory for QEMU itself, in addition to the guest's
_OWN_MIB = 64
_CGROUP = '/sys/fs/cgroup/guest'
_GUEST_TIMEOUT = 300.0

# The kernel prints a call trace when it kills a process for lack of memory
_OOM_COMPLAINT = 'Call Trace'


def set_up_cgroups(l1: L1Machine) -> None:
    # Allow QEMU to reserve more memory than exists
    l1.check('echo 1 >/proc/sys/vm/overcommit_memory; '
             'mount -t cgroup2 none /sys/fs/cgroup && '
             'echo +memory >/sys/fs/cgroup/cgroup.subtree_control')


class CgroupGuest:
    """A guest whose QEMU is in a memory cgroup."""

    def __init__(self, machines: Machines, backend: str, text: str,
                 limit_mib: int | None, checks: Checks) -> None:
        """@limit_mib: limit of the cgroup's memory, None for no limit"""
        self._checks = checks
        self._backend = backend
        program = compile_program(text, 'cgroup')
        self.l1 = machines.start(program_files(program, machines.built))
        bdf = bind_edu(self.l1)
        set_up_cgroups(self.l1)
        limit = f'{limit_mib}M' if limit_mib else 'max'
        self.l1.check(f'mkdir {_CGROUP} && '
                      f'echo {limit} >{_CGROUP}/memory.max')
        self.l2 = L2Machine(
            self.l1, program_guest(program.machine, bdf, backend))
        self.l2.run_in_shell(f'echo 0 >{_CGROUP}/cgroup.procs')
        self.syncs = 0

    def check(self, good: bool, text: str, details: str) -> None:
        self._checks.check(good, f'memory cgroup, {self._backend}: {text}',
                           details)

    def value(self, name: str) -> int:
        """Return a counter of the cgroup: FILE, or FILE:FIELD."""
        file, _, field = name.partition(':')
        text = self.l1.check(f'cat {_CGROUP}/memory.{file}')
        match = re.search(rf'^{field + " " if field else ""}(\d+)$', text,
                          re.M)
        if not match:
            raise L2Error(f'memory.{file} has no "{field}": {text}')
        return int(match[1])

    def play(self, at_sync: Callable[[], None] = lambda: None) -> int | None:
        """Run to the end, or until QEMU ends. Returns QEMU's exit status."""
        firmware = Firmware(self.l2, _GUEST_TIMEOUT)
        self.l2.start()
        try:
            firmware.wait_boot()
            firmware.start()
            while True:
                word, *_ = firmware.expect('ok', 'sync', 'done')
                if word == 'done':
                    return None
                if word == 'sync':
                    self.syncs += 1
                    at_sync()
                    firmware.go()
        except L2Error:
            status = self.l2.exit_status()
            if status is None:
                raise
            return status

    def end(self) -> None:
        """End QEMU and the machine, and check that all memory is freed."""
        self.l2.kill()
        self.l2.wait_exit()
        usage = measure(self.l1)
        self.check(usage.pinned == usage.guest_memfd == 0,
                   'all memory is freed when QEMU has ended', str(usage))
        check_complaints(self.l1, self._checks, allowed=_OOM_COMPLAINT)
        self.l1.power_off()


def test_locked_memory(machines: Machines, backend: str, checks: Checks
                       ) -> None:
    """The limit of locked memory is smaller than the shared memory."""
    machines.play(LockedLimit(compile_program(_LOCKED, 'locked'),
                              machines.options(backend, 600), checks),
                  more_files=find_tool('setpriv', 'util-linux'))


def test_huge_pages(machines: Machines, backend: str, checks: Checks) -> None:
    """There are fewer huge pages than the guest shares."""
    machines.play(SmallPool(compile_program(_POOL, 'pool'),
                            machines.options(backend, 600), checks),
                  L1_MIN_MIB)


def test_cgroup_too_small(machines: Machines, backend: str, checks: Checks
                          ) -> None:
    """The cgroup has memory for one state of the guest's memory, not both."""
    guest = CgroupGuest(machines, backend, _WHOLE, _RAM_MIB + _OWN_MIB,
                        checks)
    status = guest.play()
    kills = guest.value('events:oom_kill')
    guest.check(guest.syncs == 1 and status == 128 + 9 and kills == 1,
                'QEMU is killed if the guest shares too much in one request',
                f'{guest.syncs} syncs, status {status}, {kills} killed\n'
                f'{guest.l2.stderr()}')
    guest.end()


def test_cgroup_large_enough(machines: Machines, backend: str, checks: Checks
                             ) -> None:
    guest = CgroupGuest(machines, backend, _WHOLE, 2 * _RAM_MIB + _OWN_MIB,
                        checks)
    status = guest.play()
    peak = guest.value('peak')
    guest.check(status is None and guest.syncs == 2 and
                peak > 2 * (_RAM_MIB - 16) * MIB,
                f'a guest of {_RAM_MIB} MiB that shares all in one request '
                f'uses at most {peak / MIB:.1f} MiB',
                f'status {status}, {guest.syncs} syncs\n'
                f'{guest.l2.stderr()}')
    guest.end()


def test_cgroup_mappings(machines: Machines, backend: str, checks: Checks
                         ) -> None:
    """Measure the memory that each mapping uses."""
    guest = CgroupGuest(machines, backend, _EXTENTS, None, checks)
    kernel: list[int] = []
    own: list[int] = []

    def at_sync() -> None:
        # The kernel adds up its per-CPU counters at intervals
        guest.l1.check('sleep 5')
        kernel.append(guest.value('stat:kernel'))
        own.append(guest.value('stat:anon'))
    status = guest.play(at_sync)
    if status is not None or len(kernel) != 2:
        guest.check(False, 'a guest shares every other page',
                    f'status {status}\n{guest.l2.stderr()}')
    else:
        each = (kernel[1] - kernel[0]) // _EXTENTS_COUNT
        each_own = (own[1] - own[0]) // _EXTENTS_COUNT
        guest.check(max(each, each_own) < PAGE_SIZE,
                    f'a mapping of a page uses {each} bytes in the kernel, '
                    f'{each_own} in QEMU', f'kernel {kernel}, QEMU {own}')
    guest.end()
