# SPDX-License-Identifier: GPL-2.0-or-later

"""Guests convert memory during hotplug, and memory that they need themselves.

Memory and devices are plugged and unplugged while the guest converts them, and
it makes its own firmware private. The guest executes a program, and waits at
each "sync" until the test has used QEMU's monitor.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from harness.checks import Checks
from harness.edge import CONSTANTS as CONSTANTS_EDGE
from harness.edge import Edge
from harness.guest_options import program_guest
from harness.l1 import L1Machine
from harness.l2 import L2Machine, Layout, wait_until
from harness.program import MIB, Program, compile_program
from harness.session import (Machines, check_complaints, check_quit,
                             program_files, running)
from harness.stepped_guest import ACPI_MEMORY_NAMES, SteppedGuest
from harness.vfio import bind_edu
from harness.wire import CONSTANTS

FREE_TIMEOUT = 10.0
# Maximum number of lines that QEMU may print in each test, plus those for each
# guest that it stops with an error, when it prints all registers
MAX_LINES = 60
STOP_LINES = 25

ROM_SIZE = CONSTANTS['ROM_SIZE']
PAGE = 4096

# The memory that is plugged
DIMM_BASE = 4 << 30
DIMM_SIZE = 256 * MIB

MEMORY_PROGRAM = f'''{ACPI_MEMORY_NAMES}
memory 512M
let DIMM = {DIMM_BASE}
let SIZE = {DIMM_SIZE}
let SCRATCH = 32M

share SCRATCH 4K
scratch SCRATCH
master on
repeat 3
    # Nothing is there, or not any more.
    unshare DIMM 4K expect EINVAL
    unshare DIMM SIZE expect EINVAL
    share DIMM 64M
    sync # plug
    share DIMM 64M
    unshare DIMM+4M 4M
    share DIMM+128M 1M chunk 4K
    verify DIMM 64K zero
    verify DIMM+128M 64K zero
    fill DIMM 1M seed 1
    fill DIMM+4M 1M seed 2
    dma-from DIMM 64 seed 1 arrives
    dma-to DIMM+4M 64 seed 3 blocked
    verify DIMM+4M 1M seed 2
    unshare DIMM+SIZE-64K 128K expect EINVAL
    unshare DIMM+SIZE 4K expect EINVAL
    sync # compare, and ask for it back
    # Others convert while one vCPU ejects it.
    parallel 4
        repeat 20
            share DIMM+192M+cpu*1M+i*4K 4K
        end
        out SELECT 0
        out CONTROL EJECT width 8
        repeat 20
            share DIMM+192M+cpu*1M+i*4K 4K
        end
    end
    sync # wait until it is gone, compare
    share DIMM 4K
    unshare DIMM 4K expect EINVAL
    unshare DIMM+SIZE-4K 4K expect EINVAL
    share DIMM SIZE
    dma-to DIMM 64 seed 3 blocked
    dma-to DIMM+128M 64 seed 3 blocked
end
sync # compare
'''

# A root port in slot 4, with its bus 1 and its window for registers
DEVICE_PROGRAM = '''
memory 512M
let AREA = 64M
let CONFIG_ADDRESS = 0xcf8
let CONFIG_DATA = 0xcfc
let PORT = 0x80002000
let DEVICE = 0x80010000
let REGISTERS = 0xe1000000
# ACPI's PCI hotplug: which bus, by QEMU's number, and which slots
let EJECT_BUS = 0xcd0
let EJECT_SLOTS = 0xcc8

share AREA 1M
repeat 2
    sync # plug
    out CONFIG_ADDRESS PORT+0x18
    out CONFIG_DATA 0x00010100
    out CONFIG_ADDRESS PORT+0x20
    out CONFIG_DATA 0xe100e100
    out CONFIG_ADDRESS PORT+4
    out CONFIG_DATA 6 width 16
    out CONFIG_ADDRESS DEVICE+0x10
    out CONFIG_DATA REGISTERS
    out CONFIG_ADDRESS DEVICE+4
    out CONFIG_DATA 6 width 16
    peek REGISTERS 0x010000ed
    share REGISTERS 1M
    share REGISTERS+4K 4K
    unshare REGISTERS 1M expect EINVAL
    unshare REGISTERS+64K 4K expect EINVAL
    peek REGISTERS 0x010000ed
    share AREA+1M 1M chunk 4K
    sync # compare, and ask for it back
    out EJECT_BUS 0
    parallel 4
        repeat 20
            share REGISTERS+cpu*4K 64K
            unshare REGISTERS+cpu*4K 64K expect EINVAL
            share AREA+4M+cpu*1M+i*4K 4K
        end
        out EJECT_SLOTS 1
        repeat 20
            share REGISTERS+cpu*4K 64K
            unshare REGISTERS+cpu*4K 64K expect EINVAL
            unshare AREA+4M+cpu*1M+i*4K 4K
        end
    end
    sync # wait until it is gone, compare
    share REGISTERS 1M
    unshare REGISTERS 1M expect EINVAL
    unshare AREA+1M 1M
end
sync # compare
'''

# 1000 shared ranges. When PAM registers change the memory below 1 MiB, all
# other memory gets new memory slots.
SLOTS_PROGRAM = '''
memory 512M
let AREA = 64M
master on
repeat 1000
    share AREA+i*8K 4K
end
sync # count
pam on
pam off
pam on
pam off
sync # compare
'''
SLOTS_RANGES = 1000
# QEMU's calls for the memory below 1 MiB after each change
MOST_ATTRIBUTES = 16
# Shared memory in a BAR, in a slot of its own
SHM_SLOT = 0x11
SHM_SIZE = 4 * MIB
# Beyond the IOMMU's 39 bits, but not the processor's
HIGH = 600 << 30
LOW = 0xe1000000

HIGH_PROGRAM = f'''
memory 512M
let AREA = 64M
let SCRATCH = 32M
let HIGH = {HIGH}
let LOW = {LOW}
let CONFIG_ADDRESS = 0xcf8
let CONFIG_DATA = 0xcfc
let DEVICE = {1 << 31 | SHM_SLOT << 11}

share SCRATCH 4K
scratch SCRATCH
share AREA 1M
fill AREA 1M seed 1
out CONFIG_ADDRESS DEVICE+0x18
out CONFIG_DATA {HIGH & 0xffffffff}
out CONFIG_ADDRESS DEVICE+0x1c
out CONFIG_DATA {HIGH >> 32}
out CONFIG_ADDRESS DEVICE+4
out CONFIG_DATA 2 width 16
share HIGH 1M
share HIGH+2M 4K
sync # compare
master on
dma-from AREA 4K seed 1 arrives
sync # compare
repeat 200
    share AREA+2M 4K
    unshare AREA+2M 4K
end
unshare HIGH+2M 4K
share HIGH+2M 4K expect EIO
dma-from AREA+4K 4K seed 1 arrives
sync # compare
out CONFIG_ADDRESS DEVICE+4
out CONFIG_DATA 0 width 16
sync # compare
out CONFIG_ADDRESS DEVICE+0x18
out CONFIG_DATA LOW
out CONFIG_ADDRESS DEVICE+0x1c
out CONFIG_DATA 0
out CONFIG_ADDRESS DEVICE+4
out CONFIG_DATA 2 width 16
sync # compare
'''

# A file system that is too small for the guest's memory
SMALL_FOLDER = '/run/small'
SMALL_SIZE = 64 * MIB

SMALL_PROGRAM = '''
memory 512M
let AREA = 64M
let SCRATCH = 32M

share SCRATCH 4K
scratch SCRATCH
share AREA 256M
fill AREA 1M seed 1
sync # compare
master on
dma-from AREA 4K seed 1 arrives
sync # compare
repeat 100
    unshare AREA+2M+i*4K 4K
    share AREA+2M+i*4K 4K
end
share AREA+300M 1M expect EFAULT
dma-from AREA+4K 4K seed 1 arrives
sync # compare
unshare AREA+4M 252M
share AREA+300M 1M
fill AREA+300M 1M seed 2
dma-from AREA+300M 4K seed 2 arrives
sync # compare
'''

SHM_OPTIONS = ('-object',
               f'memory-backend-ram,id=shm,size={SHM_SIZE},share=on',
               '-device', f'ivshmem-plain,memdev=shm,addr={SHM_SLOT:#x}')
SMALL_OPTIONS = ('-object', 'memory-backend-file,id=small,share=on,size=512M,'
                 f'mem-path={SMALL_FOLDER}/memory',
                 '-machine', 'memory-backend=small')
SMALL_COMMAND = (f'mkdir -p {SMALL_FOLDER} && mount -t tmpfs '
                 f'-o size={SMALL_SIZE} small {SMALL_FOLDER}')
MEMORY_OPTIONS = ('-m', '512M,slots=2,maxmem=2G')
PORT_OPTIONS = ('-device', 'pcie-root-port,id=port0,addr=4,chassis=1')

# Lines that the guest executes, one after the other, and its state afterwards,
# if only one is possible
Harm = tuple[str, str]

# Its ROM, its first instruction; its code, stacks and variables; all memory
OWN_FIRMWARE: tuple[Harm, ...] = (
    ('unshare ROM 64K', ''), ('unshare ROM+60K 4K', ''), ('share 0 16M', ''),
    ('share 0 2G', ''))
# Memory faults instead of hypercalls cannot return an error. KVM itself
# rejects all other invalid ones.
BAD_FAULTS: tuple[Harm, ...] = (
    ('unshare 1T 4K', 'internal-error'),
    ('unshare BAR 1M', 'internal-error'),
    ('unshare ROM-4K 8K', 'internal-error'),
    ('unshare LOW_END-1M 2M', 'internal-error'),
    ('share 1T 1G', 'running'),
    ('share BAR 1M', 'running'))

# Lines that the guest executes, the error that QEMU receives for each attempt,
# and the state of the guest
FAILING_FAULTS = (
    ('share 80M 64K', errno.EINVAL, 'internal-error'),
    ('unshare 64M 64K', errno.EINVAL, 'internal-error'),
    ('share 80M 64K', errno.ENOMEM, 'running'),
    ('unshare 64M 64K', errno.ENOMEM, 'running'),
)

# The line at which the guest starts after each reset
START = 'share 64M 1M'


def harm_program(harms: tuple[Harm, ...]) -> str:
    return 'memory 512M\n' + ''.join(f'''
{START}
master on
verify 64M 1M zero
fill 64M 1M seed 1
sync
{line}
sync
''' for line, _ in (*harms, ('', '')))


class Guest(SteppedGuest):
    """A guest that does harm, and its level 1 machine."""

    def __init__(self, name: str, l1: L1Machine, l2: L2Machine, bdf: str,
                 program: Program, checks: Checks) -> None:
        super().__init__(name, l2, checks)
        self.l1 = l1
        self.bdf = bdf
        self.program = program
        self.edge = Edge(l1, False)
        self.stops = 0

    def restart(self, record: int, implicit: bool = False) -> None:
        """Reset a guest in any state, and let it continue at @record.

        @implicit: whether conversions are memory faults after that
        """
        self.l2.execute('stop')
        self.l2.execute('system_reset')
        self.firmware.wait_quiet()
        self.l2.execute('cont')
        self.firmware.wait_boot()
        if implicit:
            self.edge.set(implicit=1)
        self.firmware.start(record)

    def blocks(self) -> int:
        """Return the number of RAM blocks with private memory."""
        return len(self.l2.managers())

    def ram_blocks(self) -> str:
        """Return the list of all RAM blocks, including unplugged ones."""
        return self.l2.hmp('info ramblock')

    def wait_freed(self, ram_blocks: str) -> bool:
        """Wait until only @ram_blocks exist; return whether this succeeded.

        QEMU deletes an object first, and frees its RAM block after an RCU
        grace period.
        """
        return wait_until(lambda: self.ram_blocks() == ram_blocks,
                          FREE_TIMEOUT)

    def expect_faults(self, when: str, pages: list[int]) -> None:
        """Check the writes that the IOMMU has blocked."""
        got = {(address - address % PAGE, is_write)
               for _, address, is_write in self.l1.new_faults()}
        self.check(got == {(page, True) for page in pages},
                   f'{when}: the IOMMU reports the {len(pages)} faults of '
                   'blocked DMA, and no others', str(got))

    def check_output(self) -> None:
        """Check that QEMU, which has quit, printed few lines."""
        said = self.l2.stderr()
        lines = len(said.splitlines())
        most = MAX_LINES + self.stops * STOP_LINES
        self.check(lines <= most, f'QEMU printed at most {most} lines',
                   f'{lines}:\n{said}')


@contextmanager
def hostile_guest(
        machines: Machines, checks: Checks, name: str, text: str,
        backend: str, options: tuple[str, ...] = (), is_plugged: bool = True,
        implicit: bool = False, has_edge: bool = False,
        iommu_options: str = '', command: str = ':') -> Iterator[Guest]:
    """Start a guest that executes a program, and end it.

    @is_plugged: whether the guest starts with the device
    @implicit: whether conversions are memory faults
    @has_edge: whether system calls are counted
    @iommu_options: options of the level 1 machine's IOMMU
    @command: shell command that the level 1 machine executes first
    """
    program = compile_program(text, name, cpus=4)
    l1 = machines.start(program_files(program, machines.built),
                        iommu_options=iommu_options)
    l1.check(command)
    bdf = bind_edu(l1)
    l2 = L2Machine(l1, program_guest(
        program.machine, bdf if is_plugged else None, backend))
    l2.add_options(*options)
    guest = Guest(name, l1, l2, bdf, program, checks)
    if implicit or has_edge:
        guest.edge.set(implicit=int(implicit))
        l2.environment = guest.edge.environment
    with running(l2, checks, name):
        guest.firmware.wait_boot()
        l2.connect(machines.built.qemu_python)
        guest.firmware.start()
        yield guest
        check_quit(l2, checks, f'{name}: ')
        guest.check_output()
    check_complaints(l1, checks, f'{name}: ')
    l1.power_off()


def test_memory_comes_and_goes(machines: Machines, backend: str,
                               checks: Checks) -> None:
    own = ROM_SIZE + PAGE
    faults: list[int] = []
    with hostile_guest(machines, checks, f'memory, {backend}', MEMORY_PROGRAM,
                       backend, MEMORY_OPTIONS) as guest:
        blocks = guest.blocks()
        for turn in range(1, 4):
            guest.run_to_sync()
            ram_blocks = guest.ram_blocks()
            guest.expect(f'turn {turn}, without', own, own)
            guest.expect_faults(f'turn {turn}, without', faults)
            guest.l2.execute('object-add', {
                'qom-type': 'memory-backend-ram', 'id': 'dimm-memory',
                'size': DIMM_SIZE})
            guest.l2.execute('device_add', {
                'driver': 'pc-dimm', 'id': 'dimm', 'memdev': 'dimm-memory'})
            guest.check(guest.blocks() == blocks + 1,
                        f'turn {turn}, plugged: it has private memory')
            guest.expect(f'turn {turn}, plugged', own, own)

            guest.go_to_sync()
            size = own + 61 * MIB
            guest.expect(f'turn {turn}, in use', size, size)
            guest.expect_faults(f'turn {turn}, in use',
                                [DIMM_BASE + 4 * MIB])
            guest.l2.execute('device_del', {'id': 'dimm'})

            guest.go_to_sync()
            guest.l2.wait_event('DEVICE_DELETED')
            guest.l2.execute('object-del', {'id': 'dimm-memory'})
            guest.check(guest.blocks() == blocks,
                        f'turn {turn}, gone: the query leaves it out')
            guest.check(guest.wait_freed(ram_blocks),
                        f'turn {turn}, gone: its RAM block is freed')
            guest.expect(f'turn {turn}, gone', own, own)
            guest.firmware.go()
            faults = [DIMM_BASE, DIMM_BASE + 128 * MIB]
        guest.run_to_sync()
        guest.expect('at the end', own, own)
        guest.expect_faults('at the end', faults)


def test_device_comes_and_goes(machines: Machines, checks: Checks) -> None:
    own = ROM_SIZE + MIB
    with hostile_guest(machines, checks, 'device', DEVICE_PROGRAM, 'type1',
                       PORT_OPTIONS, is_plugged=False) as guest:
        for turn in range(1, 3):
            guest.run_to_sync()
            guest.expect(f'turn {turn}, without', own, None)
            guest.l2.execute('device_add', {
                'driver': 'vfio-pci', 'id': 'edu', 'bus': 'port0',
                'host': guest.bdf})
            guest.go_to_sync()
            guest.expect(f'turn {turn}, in use', own + MIB, own + MIB)
            guest.l2.execute('device_del', {'id': 'edu'})
            guest.go_to_sync()
            guest.l2.wait_event('DEVICE_DELETED')
            guest.expect(f'turn {turn}, gone', own + MIB, None)
            guest.firmware.go()
        guest.run_to_sync()
        guest.expect('at the end', own, None)


def start_records(guest: Guest) -> list[int]:
    """Return the records at which the guest starts after each reset."""
    return [index for index, record in enumerate(guest.program.records)
            if record.text == START][1:]


def do_harm(guest: Guest, harms: tuple[Harm, ...]) -> None:
    """Check that each line harms only the guest, which may stop or hang."""
    own = ROM_SIZE + MIB
    for (line, expected), start in zip(harms, start_records(guest)):
        guest.run_to_sync()
        guest.expect(f'before "{line}"', own, own)
        guest.firmware.go()
        guest.firmware.wait_quiet()
        status = guest.l2.execute('query-status')['status']
        guest.check(status == (expected or status), f'"{line}": QEMU reports '
                    f'that the guest is {status}', f'not {expected}')
        guest.stops += status == 'internal-error'
        guest.restart(start)
    guest.run_to_sync()
    guest.expect('at the end', own, own)


def test_own_firmware(machines: Machines, checks: Checks) -> None:
    with hostile_guest(machines, checks, 'firmware',
                       harm_program(OWN_FIRMWARE), 'type1') as guest:
        do_harm(guest, OWN_FIRMWARE)


def test_bad_faults(machines: Machines, checks: Checks) -> None:
    with hostile_guest(machines, checks, 'faults', harm_program(BAD_FAULTS),
                       'iommufd', implicit=True) as guest:
        do_harm(guest, BAD_FAULTS)
        faults = guest.edge.get()['faults']
        guest.check(faults >= len(BAD_FAULTS), 'QEMU saw memory faults '
                    'instead of hypercalls', f'QEMU saw {faults}')


def test_failing_faults(machines: Machines, checks: Checks) -> None:
    """Permanent errors stop the guest, temporary ones are retried."""
    text = harm_program(tuple((line, '') for line, *_ in FAILING_FAULTS))
    with hostile_guest(machines, checks, 'failing faults', text, 'type1',
                       implicit=True) as guest:
        for (line, error, expected), start in zip(FAILING_FAULTS,
                                                  start_records(guest)):
            guest.run_to_sync()
            guest.edge.set(implicit=1, mode=CONSTANTS_EDGE['EDGE_STICKY'],
                           nth=1,
                           kinds=1 << CONSTANTS_EDGE['EDGE_ATTRIBUTES'],
                           error_attributes=error)
            guest.firmware.go()
            guest.firmware.wait_quiet()
            check_failing_fault(guest, f'"{line}", {errno.errorcode[error]}',
                                expected)
            guest.restart(start, implicit=True)
        guest.run_to_sync()


def check_failing_fault(guest: Guest, name: str, expected: str) -> None:
    # The guest can be stopped between two attempts, and continue
    guest.l2.execute('stop')
    guest.l2.execute('cont' if expected == 'running' else 'query-status')
    status = guest.l2.execute('query-status')['status']
    guest.check(status == expected, f'{name}: the guest is {status}',
                f'not {expected}')
    tries = guest.edge.get()['faults']
    if expected == 'running':
        guest.check(tries > 1, f'{name}: QEMU made {tries} attempts')
        guest.edge.set(implicit=1)
        guest.run_to_sync()
    else:
        guest.check(tries == 1, f'{name}: QEMU made one attempt', f'{tries}')
        # The reset comes before the next attempt
        guest.edge.set()
        guest.stops += 1


def test_slots(machines: Machines, checks: Checks) -> None:
    """Attributes of memory are not set again when its slot changes."""
    own = ROM_SIZE + SLOTS_RANGES * PAGE
    with hostile_guest(machines, checks, 'slots', SLOTS_PROGRAM, 'type1',
                       has_edge=True) as guest:
        guest.run_to_sync()
        guest.expect('before', own, own)
        guest.edge.set()
        guest.go_to_sync()
        calls = guest.edge.get()['count_attributes']
        guest.check(0 < calls <= 4 * MOST_ATTRIBUTES, 'attributes are set '
                    f'{calls} times when four changes of the memory map have '
                    f'moved {SLOTS_RANGES} shared ranges to other slots')
        guest.expect('after', own, own)
        guest.go_to_sync()


def check_missing(guest: Guest, when: str, layout: Layout | None, shared: int,
                  missing: range) -> None:
    """Check that all shared memory is mapped, except for @missing."""
    guest.check(layout is not None and layout.open and
                layout.populated_size == shared and
                layout.missing_size in missing and
                layout.mapped_size == shared - layout.missing_size,
                f'{when}: of {shared // PAGE} pages, {missing.start // PAGE} '
                f'to {missing[-1] // PAGE} are not mapped', str(layout))


def check_few_failures(guest: Guest, before: int, layout: Layout | None
                       ) -> None:
    guest.check(layout is not None and layout.failures <= before + 20,
                'few calls failed in between', f'{before}, then {layout}')


def check_said(guest: Guest, text: str) -> None:
    said = guest.l2.stderr()
    guest.check(text in said, f'QEMU printed "{text}"', said)


def test_too_high(machines: Machines, backend: str, checks: Checks) -> None:
    """Only memory above the IOMMU's address width is missing."""
    own = ROM_SIZE + MIB + PAGE
    high = MIB + PAGE
    with hostile_guest(machines, checks, f'high, {backend}', HIGH_PROGRAM,
                       backend, SHM_OPTIONS,
                       iommu_options=',aw-bits=39') as guest:
        guest.run_to_sync()
        layout = guest.l2.layout()
        guest.check(layout is not None and not layout.open and
                    layout.populated_size == own + high,
                    'nothing is mapped before the device may do DMA',
                    str(layout))
        guest.go_to_sync()
        layout = guest.l2.layout()
        check_missing(guest, 'the device may do DMA', layout, own + high,
                      range(high, high + 1))
        failures = layout.failures if layout else 0
        check_said(guest, f'devices cannot access guest memory {HIGH:#x}+'
                   '0x100000 until it can be mapped: Invalid argument; the '
                   'address may be reserved or too wide')
        guest.go_to_sync()
        layout = guest.l2.layout()
        check_missing(guest, 'after 400 conversions', layout, own + MIB,
                      range(MIB, MIB + 1))
        check_few_failures(guest, failures, layout)
        guest.go_to_sync()
        check_missing(guest, 'without it', guest.l2.layout(), own, range(1))
        guest.go_to_sync()
        check_missing(guest, 'at a lower address', guest.l2.layout(),
                      own + MIB, range(1))
        guest.go_to_sync()


def test_too_much(machines: Machines, backend: str, checks: Checks) -> None:
    """Only memory for which the file system has no space is missing."""
    own = ROM_SIZE + PAGE
    size = own + 256 * MIB
    # The file system also needs memory for itself
    missing = range(256 * MIB - SMALL_SIZE, 260 * MIB - SMALL_SIZE)
    with hostile_guest(machines, checks, f'small, {backend}', SMALL_PROGRAM,
                       backend, SMALL_OPTIONS, command=SMALL_COMMAND) as guest:
        guest.run_to_sync()
        guest.go_to_sync()
        layout = guest.l2.layout()
        check_missing(guest, 'the device may do DMA', layout, size, missing)
        failures = layout.failures if layout else 0
        guest.check(failures < 100, 'few calls failed',
                    str(layout))
        check_said(guest, 'until it can be mapped: Bad address; the file of '
                   'the memory backend may be too small')
        guest.go_to_sync()
        layout = guest.l2.layout()
        check_missing(guest, 'after 200 conversions', layout, size, missing)
        check_few_failures(guest, failures, layout)
        guest.go_to_sync()
        check_missing(guest, 'less is shared', guest.l2.layout(),
                      own + 5 * MIB, range(1))
        guest.go_to_sync()
