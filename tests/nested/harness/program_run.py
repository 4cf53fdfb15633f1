# SPDX-License-Identifier: GPL-2.0-or-later

"""Run a program on the nested machines, and compare the state at each sync.

There are four sources for the pages that a device can access: the program
(through the oracle), QEMU, the kernel of the level 1 machine (through its
trace), and the IOMMU (through DMA that arrives or faults). At each "sync" of
the program, the guest waits while they are compared.
"""

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from dma_map.query import Recorder, take_snapshot
from harness.checks import Checks
from harness.edge import Edge
from harness.figures import Figures, Measurement, State, VmemState
from harness.guest_options import program_guest
from harness.intervals import IntervalSet, describe
from harness.l1 import L1Error, L1Machine
from harness.l2 import L2Error, L2Machine, Layout, Manager
from harness.oracle import Event, Fault, Oracle
from harness.program import (HUGE_PAGE, PAGE_SIZE, RESULTS, Program,
                             Record)
from harness.trace import TraceReplay
from harness.trace_follower import TraceFollower
from harness.vfio import bind_edu, set_entry_limit
from harness.wire import CONSTANTS

POOL = f'/sys/kernel/mm/hugepages/hugepages-{HUGE_PAGE >> 10}kB'

# Interval in seconds at which to check that QEMU is running. The command that
# does so in level 1 must not be part of what is counted.
_ALIVE_INTERVAL = 2.0
_ALIVE_INTERVAL_ICOUNT = 60.0

_BAR = (CONSTANTS['EDU_BAR_BASE'],
        CONSTANTS['EDU_BAR_BASE'] + CONSTANTS['EDU_BAR_SIZE'])

_RUNNING_OUT = 'possibly running out of DMA mappings'

# Expected messages of QEMU: it is built with ASan, the device cannot be
# reset, iommufd does not map its registers, a conversion fails, and the guest
# has more vCPUs than level 1 has processors.
_EXPECTED_WORDS = re.compile(
    r"ASan doesn't fully support makecontext/swapcontext functions|"
    r'Cannot reset device .* no available reset mechanism|'
    r'IOMMU_IOAS_MAP failed: Bad address, PCI BAR\?|'
    r'vfio_container_dma_map\(.*\) = -14 \(Bad address\)|'
    r'PCI peer-to-peer transactions on BARs are not supported|'
    r'Discarding RAM in private file mappings is possibly dangerous|'
    r'x-shared-dma-extent=page can take up to \d+ IOMMU mappings|'
    r'Number of (?:SMP|hotpluggable) cpus requested \(\d+\) exceeds the '
    r'recommended|'
    r'guest memory 0x[0-9a-f]+\+0x[0-9a-f]+ was not converted to |'
    # What disturbs DMA
    r'vfio: devices could not access guest memory .*\(reported once\)|'
    # A ROM that is smaller than a page
    r'vfio: devices cannot access i6300esb_wdt.rom at 0x[0-9a-f]+, which is '
    r'not page-aligned|'
    # Emulated devices with invalid queues
    r'qemu: (?:Guest moved used index|Guest says index |'
    r'Virtqueue size exceeded|virtio: |virtio-blk |virtio-net )')
# QEMU's report that a split disturbed DMA
SPLIT_REPORT = 'the guest took back a part of it'
# Maximum number of lines that QEMU may print
_MAX_LINES = 100

# Maximum number of differences to show
_SHOWN = 8


@dataclass
class Options:
    """Options of a run."""

    backend: str
    icount: bool
    timeout: float
    dma_entry_limit: int
    qemu_python: Path
    verbose: bool
    # File for QEMU's state at each sync, for scripts/dma-map-view
    record: Path | None = None


def is_expected(line: str) -> bool:
    """Whether a line of QEMU's output is expected."""
    return bool(_EXPECTED_WORDS.search(line))


def _fields(words: list[str]) -> dict[str, int]:
    return {name: int(value, 0) for name, _, value in
            (word.partition('=') for word in words)}


def fill_pool(l1: L1Machine, size: int) -> None:
    """Reserve huge pages for @size bytes."""
    pages = size // HUGE_PAGE
    got = l1.check(f'echo {pages} >{POOL}/nr_hugepages; '
                   f'cat {POOL}/nr_hugepages')
    if got != str(pages):
        raise L1Error(f'there are {got} huge pages, not the {pages} that '
                      'the guest needs')


# Operations that change QEMU's memory map, so that VFIO maps sections anew
_MOVES_MEMORY = {'pam', 'reset', 'out', 'poke'}


def may_remap(record: Record) -> bool:
    """Whether memory that stays shared may be unmapped in or after a record.

    That is so when the memory map changes. While no device is bus master, the
    rest of an extent needs no mapping.
    """
    return record.op in _MOVES_MEMORY or (
        record.op == 'master' and not record.size)


class ProgramRun:
    """One run of a program."""

    # Whether to check the kernel's mappings, unless instructions are counted
    follows_kernel = True

    def __init__(self, program: Program, options: Options, checks: Checks
                 ) -> None:
        self.program = program
        self.options = options
        self.checks = checks
        self._follows_kernel = self.follows_kernel and not options.icount
        self.oracle = Oracle(program, options.backend != 'none')
        self.replay = TraceReplay()
        self._trace: TraceFollower | None = None
        self._sid = 0
        self.deadline = 0.0
        self._last_line = ''
        self._has_managers = True
        # Whether kernel-edge traces what QEMU does with private memory
        self._watches_edge = (
            options.backend != 'none' and self._follows_kernel and
            not program.machine.is_plain)
        self._may_remap = any(map(may_remap, program.records))
        self._edge: Edge | None = None
        self._recorder: Recorder | None = None
        self._record_file: TextIO | None = None
        self.figures = Figures(backend=options.backend, icount=options.icount)

    @property
    def _is_strict(self) -> bool:
        """Whether the kernel must be as strict as with SNP or TDX guests."""
        return self.program.machine.results != RESULTS[0]

    # Setting up the level 1 machine

    def bind(self, l1: L1Machine) -> str:
        return bind_edu(l1)

    def _bind_device(self, l1: L1Machine) -> str:
        """Bind the device to vfio-pci. Returns its address."""
        bdf = self.bind(l1)
        bus, device, function = (int(part, 16)
                                 for part in re.split('[:.]', bdf)[1:])
        self._sid = bus << 8 | device << 3 | function
        self.figures.device = bdf
        return bdf

    def _set_up(self, l1: L1Machine) -> str | None:
        l1.check('echo 1 >/proc/sys/vm/overcommit_memory')
        if self.program.machine.backing == 'hugetlb':
            machine = self.program.machine
            fill_pool(l1, machine.memory + machine.vmem_size)
        if self.options.dma_entry_limit:
            set_entry_limit(l1, self.options.dma_entry_limit)
        if self.options.backend == 'none':
            return None
        bdf = self._bind_device(l1)
        if self._follows_kernel:
            self._trace = TraceFollower(l1, self.replay)
        return bdf

    # Comparing

    def _compare_kernel(self, name: str, layout: Layout | None) -> None:
        mapped = self.replay.maps.mapped()
        # Ignore mappings of device registers, which are not memory
        mapped.remove(*_BAR)
        if layout and not self.program.machine.is_plain:
            must, may = self.oracle.mapped()
        else:
            must = may = self.oracle.reachable()
        missing = must.minus(mapped)
        excess = mapped.minus(may)
        pages = must.total() // PAGE_SIZE
        self.checks.check(
            not missing and not excess and not self.replay.errors,
            f'{name}: the kernel maps ' + (
                f'exactly the {pages} shared pages' if must == may else
                f'the {pages} required pages, and no others than the '
                f'{may.total() // PAGE_SIZE} allowed ones'),
            f'not mapped: {describe(missing)}\n'
            f'mapped, but should not be: {describe(excess)}\n' +
            '\n'.join(self.replay.errors[:_SHOWN]))
        self.replay.errors.clear()

    def _compare_edge(self, name: str) -> None:
        """Check KVM's attributes, and that private memory was never mapped.
        """
        edge = self.replay.edge
        shared = self.oracle.shared
        both = edge.private.common(shared)
        neither = self.oracle.ram.minus(edge.private).minus(shared)
        self.checks.check(
            not both and not neither,
            f'{name}: KVM has all memory private except for the same '
            f'{shared.total() // PAGE_SIZE} pages',
            f'private, but should not be: {describe(both)}\n'
            f'shared, but should not be: {describe(neither)}')
        self.checks.check(
            not edge.exposures,
            f'{name}: so far no page was mapped while it was private, or when '
            'it was freed',
            '\n'.join(edge.exposures[:_SHOWN]))
        edge.exposures.clear()

    def _compare_remaps(self, name: str, layout: Layout) -> None:
        """Check that no conversion unmapped memory that stays shared.

        Without cuts, those that the program announces do.
        """
        remapped = self.replay.remaps.take_remapped()
        machine = self.program.machine
        self.figures.remapped_bytes += remapped
        if not self._may_remap and not machine.is_plain and (
                layout.cutting or not machine.disturbs):
            self.checks.check(
                not remapped and not layout.splits and not layout.merges,
                f'{name}: no memory that stays shared was unmapped',
                f'{remapped} bytes, {layout.splits} splits, '
                f'{layout.merges} merges')

    def _check_disturbances(self, layout: Layout, stderr: str) -> None:
        """Check what disturbed DMA, and that QEMU reported each kind once."""
        disturbs = self.program.machine.disturbs
        for kind, count, reason in (
                ('splits', layout.splits, SPLIT_REPORT),
                ('merges', layout.merges, 'no IOMMU mapping was left')):
            wanted = not layout.cutting and kind in disturbs
            self.checks.check(
                'any' in disturbs or bool(count) == wanted,
                f'there were {"some" if wanted else "no"} {kind}', str(count))
            reports = stderr.count(reason)
            self.checks.check(
                reports == min(count, 1), f'QEMU reported {kind} once, if '
                'there were any', f'{count} {kind}, {reports} reports')

    def _compare_layout(self, name: str, layout: Layout) -> None:
        """Check what QEMU reports about its mappings."""
        machine = self.program.machine
        self.figures.extents = layout.extents
        self.figures.extents_peak = max(layout.extents,
                                        self.figures.extents_peak)
        self.figures.splits = layout.splits
        self.figures.merges = layout.merges
        # Guests without private memory have no layout
        reachable = IntervalSet() if machine.is_plain \
            else self.oracle.reachable()
        size = reachable.total()
        good = (layout.open == self.oracle.master and
                layout.populated_size == size and
                layout.missing_size == 0 and
                (layout.mapped_size == size or not layout.open))
        if machine.shared_dma_extent == 'page' and not machine.is_plain:
            good = good and layout.extents == size // PAGE_SIZE and \
                not layout.splits and not layout.merges
        if self._trace and not machine.is_plain:
            kernel = self.replay.maps.mapped()
            kernel.remove(*_BAR)
            good = good and layout.mapped_size == kernel.total()
        self.checks.check(
            good, f'{name}: QEMU\'s layout has the same '
            f'{size // PAGE_SIZE} pages in {layout.extents} extents' +
            ('' if layout.open else ', with the gate closed'), str(layout))

    def _compare_qemu(self, name: str, managers: list[Manager]) -> None:
        if not managers:
            if self._has_managers:
                self.checks.comment('this QEMU has no query-guest-memfd: '
                                    'its state is not compared')
            self._has_managers = False
            return
        believed = sum(manager.shared_size for manager in managers)
        expected = self.oracle.shared.total()
        # There must be a report for each RAM block
        complete = sum(manager.size for manager in managers) >= \
            self.program.machine.memory + CONSTANTS['ROM_SIZE']
        self.checks.check(
            believed == expected and complete,
            f'{name}: QEMU counts the same {expected // PAGE_SIZE} pages',
            f'QEMU counts {believed // PAGE_SIZE} pages:\n' +
            '\n'.join(map(str, managers)))

    def _compare_plugged(self, name: str, believed: int) -> None:
        expected = self.oracle.plugged.total()
        self.checks.check(
            believed == expected,
            f'{name}: QEMU has plugged the same {expected // PAGE_SIZE} pages',
            f'QEMU reports {believed // PAGE_SIZE} pages')

    def _note_vmem(self, line: int) -> None:
        machine = self.program.machine
        if machine.vmem_size:
            self.figures.vmem.append(VmemState(
                line, self.oracle.plugged.total() // machine.vmem_block,
                self.replay.maps.live_events_in(machine.vmem_base,
                                                machine.vmem_end)))

    def _compare_faults(self, name: str, l1: L1Machine,
                        event: Event) -> None:
        """Check that each blocked DMA has faulted, and no other DMA."""
        def of_device(faults: list[Fault]) -> set[tuple[int, int, bool]]:
            return {(self._sid, fault.page, fault.is_write)
                    for fault in faults}
        got = {(sid, address - address % PAGE_SIZE, is_write)
               for sid, address, is_write in l1.new_faults()}
        want = of_device(event.faults)
        got -= of_device(event.possible_faults) - want
        self.figures.dma_faults += len(got & want)

        def describe(faults: set[tuple[int, int, bool]]) -> str:
            return ', '.join(
                f'{"write" if is_write else "read"} at {page:#x} by {sid:#x}'
                for sid, page, is_write in sorted(faults)[:_SHOWN])
        self.checks.check(
            got == want,
            f'{name}: the IOMMU reports the {len(want)} faults of blocked '
            'DMA, and no other',
            f'missing: {describe(want - got)}\n'
            f'unexpected: {describe(got - want)}')

    def _compare_counters(self, name: str, event: Event,
                          reported: dict[str, int]) -> None:
        expected = asdict(event.counters)
        self.figures.conversion_calls += reported['calls']
        self.figures.dma_arrived += reported['arrived']
        self.figures.dma_blocked += reported['blocked']
        self.checks.check(
            reported == expected,
            f'{name}: {expected["calls"]} conversion calls, '
            f'{expected["arrived"]} DMAs arrived, {expected["blocked"]} were '
            'blocked',
            f'the guest reports {reported}')

    def _compare_attributes(self, name: str, event: Event, nonce: int,
                            l2: L2Machine) -> None:
        """Check which of the guest's words are in shared memory."""
        start, size = event.gpa, event.record.size
        expected = IntervalSet(
            self.oracle.shared.clipped(start, start + size))
        pages = l2.audited_pages(start, size, nonce)
        self.checks.check(
            pages == expected,
            f'{name}: KVM has the same {expected.total() // PAGE_SIZE} of '
            f'{size // PAGE_SIZE} pages shared',
            f'private, but should not be: {describe(expected.minus(pages))}\n'
            f'shared, but should not be: {describe(pages.minus(expected))}')

    def _note_shared(self) -> None:
        pages = self.oracle.shared.total() // PAGE_SIZE
        self.figures.pages_shared = pages
        self.figures.pages_shared_peak = max(
            pages, self.figures.pages_shared_peak)

    def compare_state(self, name: str, line: int, l1: L1Machine,
                      l2: L2Machine, event: Event) -> None:
        self._note_shared()
        layout = l2.layout() if self.figures.device else None
        if self._trace:
            self._trace.catch_up()
            self._compare_kernel(name, layout)
            self.figures.map_events_live = self.replay.maps.live_events
        if self.program.machine.vmem_size:
            self._compare_plugged(name, l2.plugged_size())
        if not self.program.machine.is_plain:
            self._compare_qemu(name, l2.managers())
            # Other QEMUs have a different order, which they do not report
            if self._watches_edge and self._has_managers:
                self._compare_edge(name)
        if layout:
            self._compare_layout(name, layout)
        if layout and self._trace and self._watches_edge:
            self._compare_remaps(name, layout)
        if self.figures.device:
            self._compare_faults(name, l1, event)
        self.figures.states.append(State(
            line, self.figures.pages_shared,
            layout.extents if layout else None,
            self.replay.maps.live_events if self._trace else None))

    # Hooks for tests with additional checks

    def prepare(self, l1: L1Machine, l2: L2Machine) -> None:
        """Prepare the machines; called before the guest is started."""

    def at_sync(self, l1: L1Machine, l2: L2Machine, line: int) -> None:
        """Do additional checks; called at a sync, while the guest waits."""

    def at_end(self, l1: L1Machine, l2: L2Machine) -> None:
        """Do additional checks; called when QEMU has ended."""

    # Talking to the firmware

    def read_serial(self, l2: L2Machine) -> str:
        """Return the next line. Raises L2Error if QEMU ended or time is up."""
        while True:
            line = l2.serial.read_line(
                _ALIVE_INTERVAL_ICOUNT if self.options.icount
                else _ALIVE_INTERVAL)
            if line is not None:
                self._last_line = line
                if self.options.verbose:
                    self.checks.comment(f'guest: {line}')
                return line
            if l2.exit_status() is not None:
                raise L2Error(f'QEMU ended with status {l2.exit_status()}')
            if time.monotonic() > self.deadline:
                raise L2Error('the guest does not finish: time is up; its '
                              f'last line is "{self._last_line}"')

    def _expect(self, l2: L2Machine, event: Event) -> list[str]:
        """Wait for the report of an event, and return its words."""
        notes: list[str] = []
        while True:
            word, *rest = self.read_serial(l2).split() or ['']
            if word == 'note':
                notes.append(' '.join(rest))
                continue
            if word in ('ok', 'fail') and event.word == 'ok' and \
                    rest[0] == str(event.record.line):
                self.checks.check(
                    word == 'ok',
                    f'line {event.record.line}: {event.record.text}',
                    '\n'.join(notes + rest[1:]))
                return rest[1:]
            if word == event.word and rest[0] == str(event.record.line):
                for note in notes:
                    self.checks.comment(note)
                return rest[1:]
            raise L2Error(f'the guest sends "{word} {" ".join(rest)}" instead '
                          f'of "{event.word} {event.record.line}"')

    def _wait_boot(self, l2: L2Machine) -> None:
        line = self.read_serial(l2)
        if line != 'boot':
            raise L2Error(f'the guest sends "{line}" instead of "boot"')
        self.figures.booted = True

    def _play(self, l1: L1Machine, l2: L2Machine) -> None:
        """Follow the guest through the program."""
        l2.serial.write_line('start 0')
        for event in self.oracle.run():
            record = event.record
            name = f'line {record.line}, {event.word}'
            reported = self._expect(l2, event)
            if event.word == 'measure':
                values = _fields(reported)
                self.figures.measurements.append(Measurement(
                    record.name, values['ticks'], values['calls']))
            elif event.word == 'audit':
                self._compare_attributes(name, event,
                                         _fields(reported)['nonce'], l2)
                l2.serial.write_line('go')
            elif event.word in ('sync', 'reset', 'done'):
                self._compare_counters(name, event, _fields(reported))
                if event.word == 'reset':
                    # The guest's operations before the reset
                    if self.figures.device:
                        self._compare_faults(name, l1, event)
                    self._wait_boot(l2)
                    start = self.program.records.index(record) + 1
                    l2.serial.write_line(f'start {start}')
                else:
                    self.compare_state(name, record.line, l1, l2, event)
                    self._note_vmem(record.line)
                if event.word == 'sync':
                    if self._recorder:
                        self._recorder.add(take_snapshot(l2.execute,
                                                         time.time()))
                    self.at_sync(l1, l2, record.line)
                    self.figures.syncs += 1
                    l2.serial.write_line('go')

    # The end of a run

    def _compare_implicit(self) -> None:
        if self._edge and self.program.machine.implicit:
            faults = self._edge.get()['faults']
            calls = self.figures.conversion_calls
            # The firmware also converts a page of its own
            self.checks.check(0 < calls <= faults, f'QEMU saw {calls} memory '
                              'faults instead of hypercalls',
                              f'QEMU saw {faults}')

    def _compare_freed(self) -> None:
        """Check that shared memory was freed where it became private.

        This also shows that the traced calls are those with which QEMU frees
        memory. Huge pages are never freed.
        """
        program = self.program
        if self._watches_edge and self._has_managers and \
                program.machine.backing != 'hugetlb' and \
                any(r.op == 'unshare' and not r.expect
                    for r in program.records):
            freed = self.replay.edge.counts['free']
            self.checks.check(freed > 0, 'shared memory was freed when it '
                              'became private')

    def _compare_end(self) -> None:
        self._compare_implicit()
        if not self._trace:
            return
        self._trace.check_end(self.checks)
        self._compare_freed()
        self.figures.map_events_peak = self.replay.maps.peak_events
        self.figures.map_events_total = self.replay.maps.total_events

    @property
    def max_lines(self) -> int:
        """The maximum number of lines that QEMU may print."""
        return _MAX_LINES

    def _quit(self, l2: L2Machine) -> None:
        layout = l2.layout() if self.figures.device else None
        l2.quit()
        status = l2.wait_exit()
        self.checks.check(status == 0, 'QEMU quits on request',
                          f'status {status}\n{l2.stderr()}')
        stderr = l2.stderr()
        said = stderr.splitlines()
        if layout and not self.program.machine.is_plain:
            self._check_disturbances(layout, stderr)
        self.checks.check(len(said) <= self.max_lines,
                          f'QEMU printed at most {self.max_lines} lines',
                          f'{len(said)} lines; the first ones are:\n' +
                          '\n'.join(said[:_SHOWN]))
        if self._has_managers:
            # Stock QEMU's warning, for guests without private memory
            is_plain = self.program.machine.is_plain
            unexpected = [line for line in said
                          if not is_expected(line) and not (
                              is_plain and _RUNNING_OUT in line)]
            self.checks.check(not unexpected,
                              'QEMU printed no unexpected message',
                              '\n'.join(unexpected[:_SHOWN]))

    def run(self, start_l1: Callable[[], L1Machine]) -> None:
        """Run the program, and add the results to the checks."""
        self.deadline = time.monotonic() + self.options.timeout
        l1 = None
        try:
            l1 = start_l1()
            if self.options.verbose:
                self.checks.comment(f'level 1: {l1.command}')
            self._run_on(l1)
            complaints = l1.complaints()
            self.checks.check(
                not complaints,
                'the kernel of level 1 reported no problem',
                '\n'.join(complaints))
            l1.power_off()
        except L1Error as error:
            self.checks.check(False, 'the level 1 machine works',
                              f'{error}\n{l1.describe() if l1 else ""}')
        finally:
            if l1:
                l1.kill()
            self.figures.failed_checks = self.checks.failed

    def more_options(self) -> Sequence[str]:
        """Return additional options for QEMU."""
        return ()

    def _start_recording(self) -> None:
        if self.options.record:
            self._record_file = self.options.record.open(
                'w', encoding='utf-8')
            self._recorder = Recorder(self._record_file, {})

    def _run_on(self, l1: L1Machine) -> None:
        bdf = self._set_up(l1)
        l2 = L2Machine(l1, program_guest(self.program.machine, bdf,
                                         self.options.backend))
        if self._watches_edge or self.program.machine.implicit or \
                self._is_strict:
            self._edge = Edge(l1, self._watches_edge)
            self._edge.set(implicit=int(self.program.machine.implicit))
            l2.environment = self._edge.environment
        l2.add_options(*self.more_options())
        if self.options.verbose:
            self.checks.comment(f'level 2: {l2.command}')
        self.prepare(l1, l2)
        l2.start()
        try:
            # The monitor greets early, but answers only after the setup
            self._wait_boot(l2)
            l2.connect(self.options.qemu_python)
            if self._edge and self._is_strict:
                l2.set_results(self.program.machine.results)
                self._edge.set(strict=1)
            self._start_recording()
            self._play(l1, l2)
            self._quit(l2)
        except (L2Error, OSError) as error:
            self.checks.check(False, 'the level 2 machine works',
                              f'{error}\n{l2.diagnosis()}')
            l2.kill()
            l2.wait_exit()
        finally:
            l2.disconnect()
            if self._record_file:
                self._record_file.close()
        self._compare_end()
        self.at_end(l1, l2)

    def summary(self) -> str:
        figures = self.figures
        parts = [
            f'device {figures.device or "none"}', f'backend {figures.backend}',
            f'{figures.pages_shared_peak} pages shared at most',
            f'{figures.conversion_calls} conversion calls',
            f'DMA: {figures.dma_arrived} arrived, {figures.dma_blocked} '
            f'blocked ({figures.dma_faults} faults)']
        if self._trace:
            parts.append(f'map events: {figures.map_events_peak} live at '
                         f'most, {figures.map_events_total} in total')
        if figures.extents_peak:
            parts.append(
                f'IOMMU entries for {figures.pages_shared_peak} shared pages: '
                f'{figures.extents_peak} at most ({figures.splits} splits, '
                f'{figures.merges} merges, {figures.remapped_bytes} bytes '
                'mapped again)')
        if self._trace:
            parts += [f'virtio-mem in line {state.line}: '
                      f'{state.blocks_plugged} blocks plugged, '
                      f'{state.map_events_live} map events live'
                      for state in figures.vmem if state.blocks_plugged]
        unit = 'instructions' if figures.icount else 'TSC ticks'
        for m in figures.measurements:
            per_call = f', {m.ticks // m.calls} a call' if m.calls else ''
            parts.append(f'{m.name}: {m.ticks} {unit}, {m.calls} calls'
                         f'{per_call}')
        return '\n'.join(parts)

    def write_json(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self.figures), indent=4) + '\n',
                        encoding='utf-8')
