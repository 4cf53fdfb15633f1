# SPDX-License-Identifier: GPL-2.0-or-later

"""Measure what assigned devices cost a Linux guest, with any QEMU.

A guest is started for each of the two parts: the mappings and the kernel's
memory after the guest has booted, and the instructions of its I/O.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from harness.checks import Checks
from harness.echo import PEER_MAC, EchoError, EchoPeer, echo_request
from harness.edge import Edge
from harness.figures import BootFigures, Figures, IoFigures
from harness.guest_options import GuestMemory, LinuxMachine
from harness.icount import InstructionCounter
from harness.l1 import Icount, L1Error, L1Machine
from harness.l2 import L2Error, wait_until
from harness.linux_guest import CONSOLE_TITLE, LinuxGuest
from harness.linux_run import DEVICES, L1_OWN_MIB, guest_files
from harness.map_calls import MapCalls
from harness.program import GIB, MIB
from harness.session import Machines, check_complaints, check_quit
from harness.trace_follower import TraceFollower
from harness.usage import measure
from harness.vfio import bind_devices, set_entry_limit

MEMORY = GIB
_ASSIGNED = ('nvme', 'e1000e')

# Above what any QEMU needs, so that a limit has no influence
_ENTRY_LIMIT = 1 << 20

_DISK = '/dev/nvme0n1'
_DISK_SIZE = 256 * MIB
BLOCK_SIZE = 4096

_PEER = '192.168.7.1'
_GUEST = '192.168.7.2'
# Echo requests with this payload are frames of 1442 bytes
PAYLOAD_SIZE = 1400
_SETTLE_TIMEOUT = 120.0
_ECHO_TIMEOUT = 60.0

# Time in ns that the disk takes for a read, and for which the network waits
# before it sends packets. Level 1 and the guest become idle in this time, so
# that they always execute the same path.
_PAUSE_NS = 1_000_000

# These emulated timers can expire again and again while the guest is idle, and
# QEMU then executes instructions
_NO_TICKS = ('-machine', 'pit=off,hpet=off')


@dataclass(frozen=True)
class Amount:
    """Operations of the short and of the long execution, and repetitions."""

    few: int = 128
    many: int = 128 + 3072
    repetitions: int = 3


# Numbers of requests in flight
DEPTHS = (1, 8)


@dataclass(frozen=True)
class LinuxCost:
    """A measured guest."""

    backend: str
    memory: GuestMemory
    # Whether to count the instructions of I/O, or else to look at the guest
    # when it has booted
    icount: bool = False

    def __str__(self) -> str:
        return f'Linux, {self.memory}, {self.backend}' + (
            ', counting instructions' if self.icount else '')


def _l0_devices(peer: EchoPeer) -> list[str]:
    """Return options for an NVMe disk and a network card.

    The disk reads as zeroes.
    """
    return ['-blockdev', f'null-co,node-name=disk,size={_DISK_SIZE},'
                         f'read-zeroes=on,latency-ns={_PAUSE_NS}',
            '-device', 'pcie-root-port,id=root0,chassis=0',
            '-device', 'nvme,drive=disk,bus=root0,serial=0',
            '-netdev', peer.netdev('net'),
            '-device', 'pcie-root-port,id=root1,chassis=1',
            '-device', 'e1000e,netdev=net,bus=root1,romfile=']


class _QuietGuest(LinuxGuest):
    """A guest that can be left alone while it executes a command."""

    # Whether not to look whether QEMU is running, because level 1 executes
    # instructions for that
    is_quiet = False

    def check_qemu(self) -> None:
        if not self.is_quiet:
            super().check_qemu()


class _Load:
    """The operations whose instructions are counted."""

    def __init__(self, guest: LinuxGuest, peer: EchoPeer, timeout: float
                 ) -> None:
        self._guest = guest
        self._peer = peer
        self._timeout = timeout
        self._sequence = 0
        self._mac = b''

    def set_up_network(self) -> None:
        """Set up the card, and wait until it answers."""
        mac = ':'.join(f'{byte:02x}' for byte in PEER_MAC)
        self._guest.check(f'ifconfig eth0 {_GUEST} netmask 255.255.255.0 up '
                          f'&& arp -s {_PEER} {mac}')
        self._mac = bytes.fromhex(self._guest.check(
            'cat /sys/class/net/eth0/address').strip().replace(':', ''))
        if not wait_until(lambda: self._guest.run(
                'cat /sys/class/net/eth0/carrier')[1] == '1',
                _SETTLE_TIMEOUT):
            raise L2Error("the guest's network card has no carrier")
        self._peer.discard()
        self.echo(1, 1)

    def echo(self, count: int, depth: int) -> None:
        """Let the guest answer echo requests, @depth at once."""
        for at in range(0, count, depth):
            frames = []
            for _ in range(min(depth, count - at)):
                self._sequence = (self._sequence + 1) & 0xffff
                frames.append(echo_request(
                    self._mac, _PEER, _GUEST, self._sequence,
                    self._sequence.to_bytes(2) * (PAYLOAD_SIZE // 2)))
            time.sleep(_PAUSE_NS / 1e9)
            try:
                self._peer.exchange(frames, _ECHO_TIMEOUT)
            except EchoError as error:
                raise L2Error(str(error)) from error

    def read(self, count: int, depth: int) -> None:
        """Let fio read random blocks, @depth at once."""
        self._guest.check(
            f'fio --name=read --filename={_DISK} --rw=randread '
            f'--bs={BLOCK_SIZE} --direct=1 --ioengine=libaio '
            f'--iodepth={depth} --number_ios={count} --size={_DISK_SIZE} '
            '--norandommap --randseed=1 --eta=never >/dev/null',
            self._timeout)


class LinuxCostRun:
    """Starts a guest, and measures."""

    def __init__(self, cost: LinuxCost, timeout: float, checks: Checks,
                 amount: Amount = Amount()) -> None:
        """@timeout: time limit for booting and for each measurement"""
        self._cost = cost
        self._timeout = timeout
        self._checks = checks
        self._amount = amount
        self.figures = Figures(backend=cost.backend, icount=cost.icount)

    def _run_guest(self, guest: LinuxGuest, machines: Machines,
                   look: Callable[[], None]) -> None:
        """Start a guest, call @look, and let QEMU quit.

        It is a failed check if the guest does not start, or has a problem.
        """
        try:
            guest.start(machines.built.qemu_python, self._timeout)
            self.figures.booted = True
            look()
            complaints = guest.take_complaints()
            self._checks.check(
                not complaints, "the guest's kernel reports no problem",
                '\n'.join(complaints))
            check_quit(guest.l2, self._checks)
        except L2Error as error:
            # QEMU's messages explain more than the guest's console
            reason, _, console = str(error).partition(f'; {CONSOLE_TITLE}\n')
            self._checks.check(False, 'the level 2 machine works', '\n'.join([
                reason, guest.l2.stderr(), console]))
            guest.l2.kill()
        finally:
            guest.l2.disconnect()

    def _guest(self, l1: L1Machine) -> _QuietGuest:
        bdfs = [bdf for name in _ASSIGNED
                for bdf in bind_devices(l1, DEVICES[name], 1)]
        l1.check('echo 1 >/proc/sys/vm/overcommit_memory')
        set_entry_limit(l1, _ENTRY_LIMIT)
        is_iommufd = self._cost.backend == 'iommufd'
        option = ',iommufd=iommufd0' if is_iommufd else ''
        return _QuietGuest(l1, LinuxMachine(
            MEMORY, 1, tuple(f'host={bdf}{option}' for bdf in bdfs),
            iommufds=('',) * is_iommufd, kind=self._cost.memory))

    def _look(self, l1: L1Machine, guest: LinuxGuest, peer: EchoPeer,
              machines: Machines) -> None:
        """Measure mappings and memory of a guest that has booted."""
        calls = MapCalls(MEMORY)
        trace = TraceFollower(l1, calls)
        edge = Edge(l1, True)
        edge.set(trace_maps=1)
        guest.l2.environment = edge.environment
        before = measure(l1)

        def look() -> None:
            load = _Load(guest, peer, self._timeout)
            load.set_up_network()
            load.read(1, 1)
            trace.catch_up()
            after = measure(l1)
            self._note_boot(calls, after.pinned - before.pinned,
                            after.kernel - before.kernel)
        self._run_guest(guest, machines, look)
        trace.check_end(self._checks)

    def _note_boot(self, calls: MapCalls, pinned: int, kernel: int) -> None:
        """Record the figures of a guest that has booted."""
        kernel_bytes = sum(end - start for start, end
                           in calls.maps.mapped_in(0, MEMORY))
        self._checks.check(
            kernel_bytes == calls.mapped_bytes > 0,
            f'the kernel has mapped the {calls.mapped_bytes} bytes of '
            f"QEMU's {calls.entries} mappings", str(kernel_bytes))
        self.figures.boot = BootFigures(
            calls.entries, calls.map_calls, calls.unmap_calls,
            calls.mapped_bytes, pinned, kernel)

    def _count(self, l1: L1Machine, guest: _QuietGuest, peer: EchoPeer,
               machines: Machines) -> None:
        """Count the instructions of I/O."""
        counter = InstructionCounter(l1)
        guest.l2.add_options(*_NO_TICKS)

        def look() -> None:
            load = _Load(guest, peer, self._timeout)
            load.set_up_network()
            guest.is_quiet = True
            for name, execute in (('read', load.read), ('echo', load.echo)):
                for depth in DEPTHS:
                    cost = counter.measure(
                        partial(execute, depth=depth), self._amount.few,
                        self._amount.many, self._amount.repetitions)
                    self._checks.comment(f'{name}, {depth} at once: {cost}')
                    self.figures.io.append(IoFigures(
                        name, depth, cost.median, cost.instructions))
            guest.is_quiet = False
        self._run_guest(guest, machines, look)

    def _run_on(self, l1: L1Machine, peer: EchoPeer, machines: Machines
                ) -> None:
        guest = self._guest(l1)
        if self._cost.icount:
            self._count(l1, guest, peer, machines)
        else:
            self._look(l1, guest, peer, machines)
        faults = l1.new_faults()
        self._checks.check(not faults, 'the IOMMU reports no fault',
                           '\n'.join(map(str, faults)))
        check_complaints(l1, self._checks)

    def play(self, machines: Machines) -> None:
        """Start the machines and measure."""
        peer = EchoPeer()
        try:
            l1 = machines.start(
                guest_files(machines.built), L1_OWN_MIB + 2 * (MEMORY // MIB),
                devices=0, options=_l0_devices(peer),
                icount=Icount.WAIT_IDLE if self._cost.icount else Icount.OFF)
            self._run_on(l1, peer, machines)
        except L1Error as error:
            self._checks.check(False, 'the level 1 machine works',
                               machines.describe(error))
        finally:
            peer.close()
