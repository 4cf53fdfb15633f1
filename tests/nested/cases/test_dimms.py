# SPDX-License-Identifier: GPL-2.0-or-later

"""DIMMs of a guest when the host lacks something.

Plugging a DIMM fails with a clear error and changes nothing, or it succeeds
and only sharing its memory fails. test_hostile.py has DIMMs that are unplugged
while their memory is shared, and test_linux_memory.py those of Linux.
"""

from collections.abc import Callable

from harness.checks import Checks
from harness.guest_options import (FIRMWARE_PATH, PROGRAM_PATH,
                                   program_guest)
from harness.initramfs import find_tool
from harness.l1 import L1Machine
from harness.l2 import PID_PATH, L2Error, L2Machine, wait_until
from harness.oracle import ROM_RANGE
from harness.program import (GIB, MIB, PAGE_SIZE, Machine,
                             compile_program)
from harness.session import (Machines, check_complaints, check_quit,
                             program_files, running)
from harness.stepped_guest import ACPI_MEMORY_NAMES, SteppedGuest
from harness.usage import open_files
from harness.vfio import bind_edu, set_entry_limit

_MEMORY = 512 * MIB
_FREE_TIMEOUT = 10.0

# Plugging needs none of the limited resources; sharing a DIMM does
_LIMITED = ACPI_MEMORY_NAMES + '''
memory 512M
shared-dma-extent {extent}
let DIMM = {dimm}
let AREA = 64M
let SCRATCH = 32M

share SCRATCH 4K
scratch SCRATCH
master on
share AREA 400K
sync # plug
fill DIMM 4M seed 1
share DIMM 4M expect {error}
verify DIMM 4M seed 1
dma-to DIMM 64 seed 2 blocked
share DIMM+64K 16K
dma-to DIMM+64K 4K seed 2 arrives
sync # compare, and ask for it back
out SELECT 0
out CONTROL EJECT width 8
sync # compare
share AREA+1M 16K
dma-to AREA+1M 4K seed 2 arrives
sync # compare
'''
_DIMM_BASE = 4 * GIB
_OWN = ROM_RANGE[1] - ROM_RANGE[0] + PAGE_SIZE + 400 * 1024
_ENTRY_LIMIT = 200
_LOCKED_LIMIT = _OWN + 2 * MIB

# vhost-net, whose kernel has far fewer memory slots than KVM: 64 by default
_VHOST = ('-netdev', 'tap,id=tap,ifname=tap0,script=no,downscript=no,vhost=on',
          '-device', 'virtio-net-pci,netdev=tap,romfile=')
_VHOST_SLOTS = 64
_SLOTS = 100
# Number of open files that QEMU can have, beyond those that it has
_MORE_FILES = 1
_FILES = 1024
# memory-backend-memfd of QEMU does not close its file when memory cannot be
# created, with or without private memory
_LOST_FILES = 1


def test_limits(machines: Machines, backend: str, checks: Checks) -> None:
    """A DIMM can be plugged, but not shared, when a limit is reached.

    With type1, there are too few entries; with iommufd, QEMU may lock too
    little memory.
    """
    is_type1 = backend == 'type1'
    program = compile_program(_LIMITED.format(
        extent='page' if is_type1 else 'auto', dimm=_DIMM_BASE,
        error='ENOSPC' if is_type1 else 'ENOMEM'), 'limits')
    l1 = machines.start({**program_files(program, machines.built),
                         **find_tool('setpriv', 'util-linux')})
    l2 = L2Machine(l1, program_guest(program.machine, bind_edu(l1), backend))
    l2.add_options('-m', '512M,slots=1,maxmem=1G')
    if is_type1:
        set_entry_limit(l1, _ENTRY_LIMIT)
    else:
        l2.limit_locked_memory(_LOCKED_LIMIT)
    guest = SteppedGuest(backend, l2, checks)
    with running(l2, checks, backend):
        guest.firmware.wait_boot()
        l2.connect(machines.built.qemu_python)
        guest.firmware.start()
        guest.run_to_sync()
        guest.expect('before', _OWN, _OWN)
        l2.execute('object-add', {'qom-type': 'memory-backend-ram',
                                  'id': 'memory', 'size': 128 * MIB})
        l2.execute('device_add', {'driver': 'pc-dimm', 'id': 'dimm',
                                  'memdev': 'memory'})
        guest.expect('plugged', _OWN, _OWN)
        guest.go_to_sync()
        guest.expect('shared as far as possible', _OWN + 4 * PAGE_SIZE,
                     _OWN + 4 * PAGE_SIZE, failures=1)
        l2.execute('device_del', {'id': 'dimm'})
        guest.go_to_sync()
        l2.wait_event('DEVICE_DELETED')
        l2.execute('object-del', {'id': 'memory'})
        guest.expect('unplugged', _OWN, _OWN)
        guest.go_to_sync()
        guest.expect('shared elsewhere', _OWN + 4 * PAGE_SIZE,
                     _OWN + 4 * PAGE_SIZE)
        guest.go_to_sync()
        check_quit(l2, checks, f'{backend}: ')
    faults = {(address - address % PAGE_SIZE, is_write)
              for _, address, is_write in l1.new_faults()}
    checks.check(faults == {(_DIMM_BASE, True)},
                 f'{backend}: the IOMMU reports the DMA to private memory',
                 str(faults))
    check_complaints(l1, checks, f'{backend}: ')
    l1.power_off()


class Plugs:
    """Attempts to plug DIMMs into a guest that does not run."""

    def __init__(self, l1: L1Machine, l2: L2Machine, backend: str,
                 checks: Checks) -> None:
        self._l1 = l1
        self._l2 = l2
        self._backend = backend
        self._checks = checks

    def _state(self) -> tuple[int, str]:
        """Return everything that a failed attempt must not change.

        It is the number of open files, and the rest.
        """
        return len(open_files(self._l1)), '\n'.join([
            self._l2.hmp('info ramblock'), str(self._l2.managers()),
            str(self._l2.layouts()),
            str(self._l2.execute('query-memory-devices'))])

    def add_memory(self, name: str, size: int, backend: str = 'ram',
                   **options: object) -> None:
        self._l2.execute('object-add', {
            'qom-type': f'memory-backend-{backend}', 'id': name, 'size': size,
            **options})

    def plug(self, name: str) -> None:
        self._l2.execute('device_add', {
            'driver': 'pc-dimm', 'id': f'dimm-{name}', 'memdev': name})

    def check_failure(self, reason: str, message: str,
                      attempt: Callable[[], None], lost_files: int = 0
                      ) -> None:
        """Check that an attempt fails with a message and changes nothing.

        @lost_files: number of files that QEMU does not close
        """
        files, rest = self._state()
        expected = files + lost_files, rest
        try:
            attempt()
            said = 'no error'
        except L2Error as error:
            said = str(error)
        self._checks.check(message in said,
                           f'{self._backend}: {reason}: the error says so',
                           said)
        self._checks.check(
            wait_until(lambda: self._state() == expected, _FREE_TIMEOUT),
            f'{self._backend}: {reason}: nothing has changed',
            f'{expected}\n{self._state()}')

    def limit_files(self, more: int | None) -> None:
        """Let QEMU open so many more files, or as many as usual."""
        limit = _FILES if more is None else \
            max(open_files(self._l1)) + 1 + more
        self._l1.check(
            f'/bin/prlimit --pid $(cat {PID_PATH}) --nofile={limit}:')


def try_all(plugs: Plugs) -> None:
    """Let plugging fail for each reason, and then succeed."""
    plugs.check_failure(
        'more memory than the host has', 'Cannot allocate memory',
        lambda: plugs.add_memory('huge', 1 << 40))
    plugs.check_failure(
        'no huge pages', 'Cannot allocate memory',
        lambda: plugs.add_memory('pages', 64 * MIB, 'memfd', hugetlb=True,
                                 prealloc=True), _LOST_FILES)
    plugs.limit_files(0)
    plugs.check_failure('too many open files', 'Too many open files',
                        lambda: plugs.add_memory('ram', 64 * MIB))
    plugs.limit_files(_MORE_FILES)
    plugs.check_failure('too many open files for a memfd',
                        'Too many open files',
                        lambda: plugs.add_memory('memfd', 64 * MIB, 'memfd'),
                        _LOST_FILES)
    plugs.limit_files(None)
    plugs.add_memory('large', 64 * GIB, reserve=False)
    plugs.check_failure('larger than maxmem', 'not enough space',
                        lambda: plugs.plug('large'))
    for number in range(_VHOST_SLOTS):
        plugs.add_memory(f'ram{number}', 2 * MIB)
        try:
            plugs.plug(f'ram{number}')
        except L2Error:
            break
    plugs.check_failure(
        'no memory slot of vhost is left',
        'a used vhost backend has not enough free memory slots left',
        lambda: plugs.plug(f'ram{number}'))


def test_failed_plugs(machines: Machines, backend: str, checks: Checks
                      ) -> None:
    """Plugging fails for lack of something, with a clear error."""
    l1 = machines.start({
        FIRMWARE_PATH: machines.built.firmware.read_bytes(),
        PROGRAM_PATH: b'', **find_tool('prlimit', 'util-linux')})
    l2 = L2Machine(l1, program_guest(Machine(memory=_MEMORY), bind_edu(l1),
                                     backend))
    l2.add_options('-S', '-m', f'512M,slots={_SLOTS},maxmem=32G', *_VHOST)
    with running(l2, checks, backend):
        l2.connect(machines.built.qemu_python)
        try_all(Plugs(l1, l2, backend, checks))
        check_quit(l2, checks, f'{backend}: ')
    check_complaints(l1, checks, f'{backend}: ')
    l1.power_off()
