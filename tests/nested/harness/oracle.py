# SPDX-License-Identifier: GPL-2.0-or-later

"""A model of the guest and its memory, which computes the expected results.

The oracle executes a program like the firmware does. It tracks which pages are
shared, and so which pages the IOMMU must map, which DMA arrives and which DMA
faults. A program whose expectations differ from the model is rejected before
it runs.
"""

import errno
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from harness.intervals import IntervalSet
from harness.parallel import Actions, find_race
from harness.program import (ESB_SLOT, FIRST_CPU_ONLY, GIB, PAGE_SIZE, Machine,
                             Program, ProgramError, Record)
from harness.wire import CONSTANTS

_TOP = 1 << 64
_PORTS_END = 1 << 16

ROM_RANGE = (4 * GIB - CONSTANTS['ROM_SIZE'], 4 * GIB)

# The page that the firmware shares if there is a virtio-mem device
VMEM_QUEUE = (CONSTANTS['VMEM_QUEUE_PAGE'],
              CONSTANTS['VMEM_QUEUE_PAGE'] + PAGE_SIZE)

# Registers of PCI devices, which programs can read
_REGISTERS = (CONSTANTS['EDU_BAR_BASE'], CONSTANTS['BARS_END'])

# Registers of the device with which programs can start a transfer
_EDU_SOURCE = CONSTANTS['EDU_BAR_BASE'] + 0x80
_EDU_DESTINATION = CONSTANTS['EDU_BAR_BASE'] + 0x88
_EDU_COMMAND = CONSTANTS['EDU_BAR_BASE'] + 0x98
_EDU_RUN = 1
_EDU_TO_MEMORY = 2

# PCI configuration space
_CONFIG_ADDRESS = 0xcf8
_CONFIG_DATA = 0xcfc
_COMMAND = 0x04
_COMMAND_MEMORY = 2
_BASE_ADDRESS = 0x10
_BASE_ADDRESS_MASK = ~0xf


@dataclass(frozen=True)
class Fault:
    """A DMA that the IOMMU must block and report."""

    page: int
    is_write: bool


@dataclass
class Counters:
    """Counts operations since the last report."""

    calls: int = 0
    arrived: int = 0
    blocked: int = 0


@dataclass
class Event:
    """A report of the firmware: a word and the record that it is about."""

    word: str
    record: Record
    counters: Counters = field(default_factory=Counters)
    faults: list[Fault] = field(default_factory=list)
    # The address of an audit
    gpa: int = 0
    # Possible faults of transfers that ran in parallel with the program
    possible_faults: list[Fault] = field(default_factory=list)


def guest_ram(machine: Machine) -> IntervalSet:
    """Return the guest's RAM, which can be converted.

    Without private memory, all of it is mapped.
    """
    return IntervalSet([(0, machine.low_end), (4 * GIB, machine.high_end),
                        ROM_RANGE])


class Oracle:
    """Executes a program on a model.

    Without private memory, all RAM and plugged memory count as shared.
    Memory is private when it is plugged.
    """

    def __init__(self, program: Program, has_device: bool = True) -> None:
        self.program = program
        self._has_device = has_device
        self.ram = guest_ram(program.machine)
        self.shared = IntervalSet()
        # The memory that virtio-mem has plugged
        self.plugged = IntervalSet()
        self.peak_shared = 0
        self.touched = 0
        self._master = False
        # Memory that may stay mapped after bus mastering was switched off
        self._left_mapped = IntervalSet()
        self._scratch: int | None = None
        # Seed of the pattern in the device
        self._loaded: int | None = None
        self._counters = Counters()
        self._faults: list[Fault] = []
        # Memory that audits have written to
        self._audited = IntervalSet()
        # Actions of the current vCPU in a parallel block
        self._actions: Actions | None = None
        self._possible_faults: list[Fault] = []
        self._edu_registers: dict[int, int] = {}
        # PCI configuration space: selected register, and the watchdog's state
        self._selected = 0
        self._esb_base = 0
        self._esb_enabled = False
        self._reset()

    def _reset(self) -> None:
        self._renew(self.shared)
        self._renew(self.plugged)
        self.plugged = IntervalSet()
        if self.program.machine.is_plain:
            self.shared = self.ram.copy()
        else:
            self.shared = IntervalSet([ROM_RANGE])
            if self.program.machine.vmem_size:
                self.shared.add(*VMEM_QUEUE)
        self.peak_shared = max(self.peak_shared, self.shared.total())
        self._master = False
        self._left_mapped = IntervalSet()
        self._scratch = None
        self._loaded = None
        self._esb_base = 0
        self._esb_enabled = False

    def _fail(self, record: Record, message: str) -> ProgramError:
        return ProgramError(f'line {record.line}: {record.text}: {message}')

    def _present(self) -> IntervalSet:
        """Return the RAM that the guest has now."""
        present = self.ram.copy()
        for start, end in self.plugged:
            present.add(start, end)
        return present

    # Conversions

    def _conversion_result(self, gpa: int, pages: int,
                           to_private: bool) -> int:
        """Return the result of the hypercall, if the host does not fail."""
        size = pages * PAGE_SIZE
        if not pages or gpa % PAGE_SIZE or gpa + size > _TOP:
            return -errno.EINVAL
        if to_private and not self._present().covers(gpa, gpa + size):
            return -errno.EINVAL
        machine = self.program.machine
        vmem = IntervalSet(IntervalSet(
            [(machine.vmem_base, machine.vmem_end)]).clipped(gpa, gpa + size)
            if machine.vmem_size else ())
        # This depends on memory slots, which are not in the model
        if vmem.minus(self.plugged) and \
                'dynamic-memslots' not in machine.vmem_properties:
            return -errno.EINVAL
        return 0

    def _convert_once(self, record: Record, gpa: int, pages: int) -> None:
        to_private = record.op == 'unshare'
        result = self._conversion_result(gpa, pages, to_private)
        self._counters.calls += 1
        # The host can fail for more reasons than the model has
        if record.expect in (0, -errno.EINVAL) and record.expect != result:
            raise self._fail(record, f'the call for {pages:#x} pages at '
                             f'{gpa:#x} must return {result}')
        if record.expect:
            return
        end = gpa + pages * PAGE_SIZE
        parts = list(self._present().clipped(gpa, end))
        # Sharing the ROM, which is already shared, changes nothing
        if any(start < CONSTANTS['FIRMWARE_RAM_END'] or
               to_private and end > ROM_RANGE[0] and start < ROM_RANGE[1]
               for start, end in parts):
            raise self._fail(record, f'{gpa:#x} belongs to the firmware')
        for start, end in parts:
            if self._actions:
                self._actions.convert(start, end, to_private)
            if to_private:
                self._take_away(start, end)
            else:
                self._renew(self._private_parts(start, end))
                self.shared.add(start, end)

    def _convert(self, record: Record, gpa: int) -> None:
        chunk = record.chunk or record.pages
        done = 0
        while True:
            pages = min(chunk, record.pages - done)
            self._convert_once(record, (gpa + done * PAGE_SIZE) % _TOP, pages)
            done += pages
            if done == record.pages:
                break
        self.peak_shared = max(self.peak_shared, self.shared.total())

    # virtio-mem

    def _plug_answer(self, gpa: int, end: int, plug: bool) -> int:
        """Return the answer of the device, if the host does not fail."""
        machine = self.program.machine
        inside = machine.vmem_base <= gpa and end <= machine.vmem_end
        can = (not any(self.plugged.clipped(gpa, end)) if plug
               else self.plugged.covers(gpa, end))
        if gpa % machine.vmem_block or not inside or not can:
            return CONSTANTS['VIRTIO_MEM_ERROR']
        return CONSTANTS['VIRTIO_MEM_ACK']

    def _plug_once(self, record: Record, gpa: int, end: int) -> None:
        plug = record.op == 'plug'
        answer = self._plug_answer(gpa, end, plug)
        self._counters.calls += 1
        # The host can fail for more reasons than the model has
        if record.expect != answer and (
                answer or record.expect == CONSTANTS['VIRTIO_MEM_ERROR']):
            raise self._fail(record, f'the request for {gpa:#x}-{end - 1:#x} '
                             f'must be answered with {answer}')
        if record.expect:
            return
        if plug:
            self.plugged.add(gpa, end)
            if self.program.machine.is_plain:
                self.shared.add(gpa, end)
        else:
            self._unplug(gpa, end)

    def _unplug(self, start: int, end: int) -> None:
        self._renew([(start, end)])
        self._take_away(start, end)
        self.plugged.remove(start, end)

    def _plug(self, record: Record, gpa: int) -> None:
        end = gpa + record.pages * PAGE_SIZE
        for start in range(gpa, end, (record.chunk or record.pages) *
                           PAGE_SIZE):
            self._plug_once(record, start, min(
                end, start + (record.chunk or record.pages) * PAGE_SIZE))
        self.peak_shared = max(self.peak_shared, self.shared.total())

    def _unplug_all(self) -> None:
        machine = self.program.machine
        self._counters.calls += 1
        self._unplug(machine.vmem_base, machine.vmem_end)

    # Memory and DMA

    def _renew(self, intervals: Iterable[tuple[int, int]]) -> None:
        """Record that the words of an audit were overwritten or discarded."""
        if self._audited:
            for start, end in list(intervals):
                self._audited.remove(start, end)

    def _private_parts(self, start: int, end: int) -> IntervalSet:
        return IntervalSet([(start, end)]).minus(
            IntervalSet(self.shared.clipped(start, end)))

    def _take_away(self, start: int, end: int) -> None:
        self._renew(self.shared.clipped(start, end))
        self.shared.remove(start, end)
        self._left_mapped.remove(start, end)

    def _set_master(self, master: bool) -> None:
        if self._actions:
            self._actions.switches_master = True
        if self._master and not master:
            self._left_mapped = self.reachable()
        self._master = master

    @property
    def master(self) -> bool:
        """Whether the device can do DMA."""
        return self._master

    def reachable(self) -> IntervalSet:
        """Return shared memory, except for the page of watchdog registers.

        An IOMMU cannot map the rest of this page. The registers hide the ROM,
        but not RAM.
        """
        reachable = self.shared.copy()
        if self._esb_enabled:
            page = self._esb_base - self._esb_base % PAGE_SIZE
            for start, end in IntervalSet([ROM_RANGE]).clipped(
                    page, page + PAGE_SIZE):
                reachable.remove(start, end)
        return reachable

    def mapped(self) -> tuple[IntervalSet, IntervalSet]:
        """Return the memory that must be mapped, and that may be mapped.

        All shared memory must be mapped while the device can do DMA. When bus
        mastering is switched off, QEMU may keep mappings, but not add any.
        """
        if self._master:
            return self.reachable(), self.reachable()
        must = self.ram if self.program.machine.is_plain else IntervalSet()
        may = must.copy()
        for start, end in self._left_mapped:
            may.add(start, end)
        return must, may

    def _accessible(self, record: Record) -> IntervalSet:
        """Return the memory that the guest may access for this record."""
        machine = self.program.machine
        if not machine.is_plain:
            return self._present()
        if record.op == 'dma-to' and record.blocked:
            # The record only reads memory, which virtio-mem allows
            memory = self.shared.copy()
            memory.add(machine.vmem_base, machine.vmem_end)
            return memory
        return self.shared

    def _access(self, record: Record, gpa: int, size: int) -> None:
        if gpa % 8:
            raise self._fail(record, f'{gpa:#x} is not aligned to 8 bytes')
        if (gpa < CONSTANTS['FIRMWARE_RAM_END'] or
                not self._accessible(record).covers(gpa, gpa + size)):
            raise self._fail(record, f'{gpa:#x} is not RAM for programs')
        self.touched += size
        if record.op in ('verify', 'dma-from') and any(
                self._audited.clipped(gpa, gpa + size)):
            raise self._fail(record, f'an audit has written to {gpa:#x}: '
                             'fill it again')
        if record.op == 'fill' or record.op == 'dma-to' and not record.blocked:
            self._renew([(gpa, gpa + size)])
        # Only a peek checks words that a poke has written, and a peek cannot
        # be in a parallel block
        if self._actions and record.op != 'poke':
            self._actions.access(gpa, gpa + size,
                                 record.op in ('fill', 'dma-to'))

    def _audit(self, record: Record, gpa: int) -> Event:
        if gpa % PAGE_SIZE:
            raise self._fail(record, f'{gpa:#x} is not the start of a page')
        self._access(record, gpa, record.size)
        self._audited.add(gpa, gpa + record.size)
        return Event('audit', record, gpa=gpa)

    def _access_value(self, record: Record, gpa: int) -> None:
        if gpa % record.size:
            raise self._fail(record, f'{gpa:#x} is not aligned to its size')
        if _REGISTERS[0] <= gpa < _REGISTERS[1]:
            return
        self._access(record, gpa - gpa % 8, 8)

    def _note_transfer(self, gpa: int, value: int) -> None:
        """Record a transfer started by a program; it may be blocked."""
        self._edu_registers[gpa] = value
        if gpa == _EDU_COMMAND and value & _EDU_RUN:
            to_memory = bool(value & _EDU_TO_MEMORY)
            page = self._edu_registers.get(
                _EDU_DESTINATION if to_memory else _EDU_SOURCE, 0)
            self._possible_faults.append(
                Fault(page - page % PAGE_SIZE, to_memory))
            # Any pattern that the device has
            self._loaded = None

    def _configure(self, record: Record, port: int) -> None:
        """Track the address of the watchdog's registers."""
        value = record.seed
        if 'i6300esb' not in self.program.machine.devices:
            return
        if port == _CONFIG_ADDRESS:
            self._selected = value
        elif port == _CONFIG_DATA:
            if not self._selected:
                raise self._fail(record, 'the firmware may have selected '
                                 'another register meanwhile')
            offset = self._selected - (1 << 31 | ESB_SLOT << 11)
            if offset == _BASE_ADDRESS:
                self._esb_base = value & _BASE_ADDRESS_MASK
            elif offset == _COMMAND:
                self._esb_enabled = bool(value & _COMMAND_MEMORY)
            # Memory unmapped while bus mastering is off stays unmapped
            for start, end in self.shared.minus(self.reachable()):
                self._left_mapped.remove(start, end)

    def _check_port(self, record: Record, port: int) -> None:
        if port + record.size > _PORTS_END:
            raise self._fail(record, f'{port:#x} is not an I/O port')

    def _dma(self, record: Record, gpa: int) -> None:
        if not self._has_device:
            raise self._fail(record, 'there is no device for DMA; use another '
                             'backend')
        self._access(record, gpa, record.size)
        page = gpa - gpa % PAGE_SIZE
        if gpa + record.size > page + PAGE_SIZE:
            raise self._fail(record, 'a transfer must stay in a page')
        if (self._scratch is None or not self.shared.covers(
                self._scratch, self._scratch + PAGE_SIZE)):
            raise self._fail(record, 'there is no scratch page, or it is not '
                             'shared')
        if not self._master and record.op == 'dma-from':
            raise self._fail(record, 'without bus mastering the program '
                             'cannot check what the device has read')
        if not self._master and self._loaded != record.seed:
            raise self._fail(record, 'without bus mastering the device can '
                             'only write what it wrote last')
        self._loaded = record.seed if record.op == 'dma-to' else None
        shared = self.reachable().covers(page, page + PAGE_SIZE)
        if record.blocked == (shared and self._master):
            raise self._fail(record, 'the DMA must ' + (
                'arrive' if record.blocked else 'be blocked'))
        if self._actions:
            self._actions.dma(page, record.blocked)
            self._actions.dma(self._scratch, False)
        if record.blocked:
            self._counters.blocked += 1
            # Without bus mastering, DMA does not reach the IOMMU
            if self._master:
                self._faults.append(Fault(page, record.op == 'dma-to'))
        else:
            self._counters.arrived += 1

    # Execution

    def _simple(self, record: Record, cpu: int, i: int) -> None:
        gpa = record.gpa.at(cpu, i)
        match record.op:
            case 'share' | 'unshare':
                self._convert(record, gpa)
            case 'plug' | 'unplug':
                self._plug(record, gpa)
            case 'unplug-all':
                self._unplug_all()
            case 'fill' | 'verify':
                self._access(record, gpa, record.size)
            case 'poke' | 'peek' | 'await':
                self._access_value(record, gpa)
                if record.op == 'poke':
                    self._note_transfer(gpa, record.seed)
            case 'out' | 'in':
                self._check_port(record, gpa)
                if record.op == 'out':
                    self._configure(record, gpa)
            case 'dma-to' | 'dma-from':
                self._dma(record, gpa)
            case 'scratch':
                self._access(record, gpa, PAGE_SIZE)
                self._scratch = gpa
            case 'serve':
                raise self._fail(record, 'is only for tests that control the '
                                 'guest themselves')
            case 'master':
                self._set_master(bool(record.size))
                self._selected = 0
            case 'pam':
                self._selected = 0

    def _report(self, word: str, record: Record) -> Event:
        event = Event(word, record, self._counters, self._faults,
                      possible_faults=self._possible_faults)
        self._counters = Counters()
        self._faults = []
        self._possible_faults = []
        return event

    def _parallel(self, index: int, i: int) -> None:
        """Execute a parallel block; its result must not depend on the order.
        """
        record = self.program.records[index]
        before = self.shared.copy()
        cpus = []
        for cpu in range(record.size):
            self._actions = Actions()
            for _ in self._range(index + 1, record.end, cpu, i):
                pass
            cpus.append(self._actions)
        self._actions = None
        problem = find_race(self.program.machine, before, cpus)
        if problem:
            raise self._fail(record, problem)
        if cpus[0].switches_master and not self._master:
            # The pages shared at that moment are not known
            self._left_mapped = self.reachable()

    def _range(self, begin: int, end: int, cpu: int, i: int
               ) -> Iterator[Event]:
        index = begin
        while index < end:
            record = self.program.records[index]
            if record.op == 'parallel':
                self._parallel(index, i)
            elif record.op == 'repeat':
                for j in range(record.size):
                    yield from self._range(index + 1, record.end, cpu, j)
            elif record.op == 'measure':
                calls = self._counters.calls
                yield from self._range(index + 1, record.end, cpu, i)
                yield Event('measure', record,
                            Counters(self._counters.calls - calls))
            elif record.op == 'sync':
                yield self._report('sync', record)
            elif record.op == 'audit':
                yield self._audit(record, record.gpa.at(cpu, i))
            elif cpu and record.op in FIRST_CPU_ONLY:
                pass
            else:
                self._simple(record, cpu, i)
            index = max(index, record.end) + 1

    def run(self) -> Iterator[Event]:
        """Execute the program, and yield the reports of the firmware.

        At each event, the model has the same state as the guest.
        """
        records = self.program.records
        index = 0
        while True:
            record = records[index]
            if record.op == 'done':
                yield self._report('done', record)
                return
            if record.op == 'reset':
                yield self._report('reset', record)
                self._reset()
            else:
                yield from self._range(index, index + 1, 0, 0)
                yield Event('ok', record)
            index = max(index, record.end) + 1
