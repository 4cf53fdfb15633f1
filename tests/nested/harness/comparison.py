# SPDX-License-Identifier: GPL-2.0-or-later

"""The table that compares several QEMUs.

A row of the table lists the runs that it needs, and formats their outcomes; it
does not start them.
"""

import errno
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from harness.checks import Result
from harness.figures import BootFigures, Figures, State
from harness.guest_options import GuestMemory
from harness.linux_cost import DEPTHS, LinuxCost
from harness.program import MIB
from harness.program_run import is_expected
from harness.stalls import BUSY, COMMANDS, IDLE
from harness.survival import Survival

BACKENDS = ('type1', 'iommufd')

# Sizes of the requests that share 64 MiB
_REQUESTS = {'one': 'one request', '2m': '2 MiB requests',
             '4k-early': '4 KiB requests before bus mastering',
             '4k': '4 KiB requests, device active'}
_BEFORE_MASTER = '4k-early'

# Sizes of the extents in the program "gaps"
_EXTENT_SIZES = tuple(8 << 10 << power for power in range(9))

# Longer texts become notes below the table
_MAX_CELL = 40

MAP_EVENTS_MARK = '*'
MAP_EVENTS_NOTE = (
    f'{MAP_EVENTS_MARK} map events of the kernel, because this QEMU does not '
    'count entries; an entry takes one or more')

# A call that failed, as the firmware reports it
_RETURNED = re.compile(r'^(?P<line>\d+) hypercall .*'
                       r'(?P<what>gpa=\S+ pages=\S+) ret=-(?P<error>\d+)',
                       re.M)
_L1_CHECK = 'the level 1 machine works'
_L2_CHECK = 'the level 2 machine works'


def device_name(backend: str) -> str:
    """Return the name of a backend in the table."""
    return 'no device' if backend == 'none' else backend


@dataclass(frozen=True)
class Run:
    """A program and the options of its run."""

    program: str
    backend: str
    icount: bool = False
    # Whether to measure response times of the monitor
    stalls: bool = False
    # Whether to measure for how long shared memory is not mapped
    gaps: bool = False
    # Whether the host has more entries than any QEMU needs
    unlimited: bool = False
    # x-shared-dma-extent of the device; empty for that of the program
    extent: str = ''

    def __str__(self) -> str:
        return f'{self.program}, {device_name(self.backend)}' + (
            f' {self.extent}' if self.extent else '') + (
            ', counting instructions' if self.icount else '') + (
            ', timing the monitor' if self.stalls else '') + (
            ', measuring gaps' if self.gaps else '')


@dataclass
class Outcome:
    """The outcome of a run; failure is empty if all checks passed."""

    figures: Figures = field(default_factory=Figures)
    failure: str = ''
    seconds: int = 0


# What a line of the table can need
AnyRun = Run | LinuxCost | Survival

Outcomes = dict[AnyRun, Outcome]


def qemu_message(stderr: str) -> str:
    """Return the error message of a QEMU that ended.

    QEMU's name, warnings and expected lines are left out.
    """
    lines = [line for line in map(str.strip, stderr.splitlines())
             if line and not is_expected(line)]
    errors = [line for line in lines if 'warning:' not in line]
    for line in errors or lines:
        return re.sub(r'^qemu[\w-]*: (-device \S+: )?', '', line)
    return ''


def _error_name(number: int) -> str:
    return errno.errorcode.get(number, str(number))


def describe_failure(booted: bool, failures: list[Result]) -> str:
    """Describe a failure in one line.

    The end of a machine or a failed call is the cause of all other failures.
    """
    for result in failures:
        name = result.name
        # The first line is the harness's, the others are QEMU's
        first, _, stderr = result.diagnostics.partition('\n')
        if name == _L2_CHECK and first.endswith(TimeoutError.__name__):
            return f'stands still: {first}'
        if name == _L2_CHECK:
            said = qemu_message(stderr) or first
            return f'{"breaks off" if booted else "does not start"}: {said}'
        if name == _L1_CHECK:
            return f'no result: {first}'
    for result in failures:
        call = _RETURNED.search(result.diagnostics)
        if call:
            return f'fails, {_error_name(int(call["error"]))}: ' \
                   f'line {call["line"]}, {call["what"]}'
    return f'wrong: {failures[0].name}' if failures else ''


# Formatting figures

def entries(state: State, before: State | None = None) -> str:
    """Format the IOMMU entries in a state, or those since another one."""
    if state.extents is not None:
        since = before.extents if before else 0
        return '-' if since is None else str(state.extents - since)
    if state.map_events is not None:
        since = before.map_events if before else 0
        return '-' if since is None else \
            f'{state.map_events - since}{MAP_EVENTS_MARK}'
    return '-'


def instructions(count: int, without: int | None) -> str:
    """Format a count, with difference and ratio to that without a device.
    """
    text = f'{count / 1e6:.1f} M'
    if without:
        text += f', {(count - without) / 1e6:+.1f} M, {count / without:.3f}x'
    return text


def io_instructions(count: int, without: int | None) -> str:
    """Format instructions for one I/O, compared with an ordinary guest's."""
    if without is None:
        return str(count)
    return f'{count}, {count - without:+}, {count / without:.3f}x'


def latency(figures: Figures, command: str, phase: str) -> str:
    """Format median, maximum and number of a command's response times.

    Returns "-" if this QEMU does not have the command.
    """
    for each in figures.latencies:
        if (each.command, each.phase) == (command, phase):
            return f'{each.median:.1f}, {each.longest:.1f} ' \
                   f'({len(each.times)})'
    return '-'


def pace(seconds: float, count: int) -> str:
    """Format the number of events and the time that they took."""
    return f'{count} in {seconds:.0f} s'


@dataclass
class Line:
    """A line of the table: the runs that it needs, and a formatter."""

    label: str
    runs: tuple[AnyRun, ...]
    cell: Callable[[Outcomes], str]


@dataclass
class Row:
    """Lines that are selected together with --only."""

    name: str
    title: str
    lines: list[Line]
    is_long: bool = False

    def runs(self) -> list[AnyRun]:
        """Return the runs that the lines need, without duplicates."""
        return list(dict.fromkeys(run for line in self.lines
                                  for run in line.runs))


def _line(label: str, runs: tuple[AnyRun, ...],
          cell: Callable[[list[Outcome]], str]) -> Line:
    """Return a line that shows a failure instead, if there is one."""
    def checked(outcomes: Outcomes) -> str:
        needed = [outcomes[run] for run in runs]
        for outcome in needed:
            if outcome.failure:
                return outcome.failure
        return cell(needed)
    return Line(label, runs, checked)


def _guest_2g(backends: tuple[str, ...]) -> Row:
    lines = []
    for backend in backends:
        run = (Run('share-2g', backend),)
        lines += [
            _line(f'starts, shares all, DMA arrives; {backend}', run,
                  lambda outcomes: 'yes'),
            _line(f'IOMMU entries; {backend}', run, lambda outcomes: entries(
                outcomes[0].figures.states[-1]))]
    return Row('guest-2g', '2 GiB guest, host with its default limit of '
               'entries, one request', lines)


def _entries(backends: tuple[str, ...]) -> Row:
    lines = []
    for kind, request in _REQUESTS.items():
        for backend in backends:
            run = Run(f'share-64m-{kind}', backend, unlimited=True)
            # Subtract entries of other pages, if the device can do DMA
            base = Run('share-64m-4k', backend, unlimited=True) \
                if kind == _BEFORE_MASTER else run
            lines.append(_line(
                f'{request}; {backend}', (run, base),
                lambda outcomes: entries(outcomes[0].figures.states[-1],
                                         outcomes[1].figures.states[0])))
    return Row('entries', 'IOMMU entries for 64 MiB, shared in', lines)


def _measured(outcomes: list[Outcome], index: int = 0) -> str:
    """Format instructions of a run, compared with those of the next one.

    @index: number of the measured block, counted from 0
    """
    count, *without = (outcome.figures.measurements[index].ticks
                       for outcome in outcomes)
    return instructions(count, without[0] if without else None)


def _instructions(backends: tuple[str, ...]) -> Row:
    lines = []
    for kind, request in _REQUESTS.items():
        # Without a device, bus mastering is irrelevant
        none = Run('share-64m-4k' if kind == _BEFORE_MASTER else
                   f'share-64m-{kind}', 'none', True)
        lines.append(_line(f'{request}; no device', (none,), _measured))
        for backend in backends:
            lines.append(_line(f'{request}; {backend}', (
                Run(f'share-64m-{kind}', backend, True, unlimited=True),
                none), _measured))
    return Row('instructions', 'Instructions to share 64 MiB in', lines)


def _pam(backends: tuple[str, ...]) -> Row:
    lines = []
    for program, shared in (('pam-whole', 'in one piece'),
                            ('pam-pages', 'in 32768 single pages')):
        none = Run(program, 'none', True)
        lines.append(_line(f'{shared}; no device', (none,), _measured))
        lines += [_line(f'{shared}; {backend}',
                        (Run(program, backend, True), none), _measured)
                  for backend in backends]
    return Row('pam', 'Instructions to show and hide RAM below 1 MiB, with '
               '128 MiB shared', lines)


def _options(backends: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return the backends, each with a value of x-shared-dma-extent.

    With superpages, iommufd does not cut mappings.
    """
    options = [(backend, '') for backend in backends]
    if 'iommufd' in backends:
        options.append(('iommufd', 'superpage'))
    return options


def _cuts(backends: tuple[str, ...]) -> Row:
    none = Run('cut-pages', 'none', True)
    lines = []
    for index, what in enumerate(('whole blocks', 'the same pages again')):
        def cell(outcomes: list[Outcome], index: int = index) -> str:
            return _measured(outcomes, index)
        lines.append(_line(f'{what}; no device', (none,), cell))
        for backend, extent in _options(backends):
            run = Run('cut-pages', backend, True, unlimited=True,
                      extent=extent)
            lines.append(_line(f'{what}; {backend} {extent}'.rstrip(),
                               (run, none), cell))
    return Row('cuts', 'Instructions to take a page out of 2 MiB and share it '
               'again, 1000 times', lines, is_long=True)


def gap(figures: Figures, size: int) -> str:
    """Format the median of the gaps of extents of this size."""
    for each in figures.gaps:
        if each.size == size:
            return str(round(median(each.instructions)))
    return 'none'


def longest_gap(figures: Figures) -> str:
    """Format the longest gap of all extents."""
    gaps = [gap for each in figures.gaps for gap in each.instructions]
    return str(max(gaps)) if gaps else 'none'


def _gaps(backends: tuple[str, ...]) -> Row:
    def median_of(size: int) -> Callable[[list[Outcome]], str]:
        return lambda outcomes: gap(outcomes[0].figures, size)

    lines = []
    for backend, extent in _options(backends):
        run = (Run('gaps', backend, True, gaps=True, unlimited=True,
                   extent=extent),)
        if (backend, extent) == ('iommufd', ''):
            # It cuts
            lines.append(_line(
                f'any size, longest; {backend}', run,
                lambda outcomes: longest_gap(outcomes[0].figures)))
            continue
        lines += [_line(f'{size >> 10} KiB; {backend} {extent}'.rstrip(),
                        run, median_of(size)) for size in _EXTENT_SIZES]
    return Row('gaps', 'Instructions for which the rest of an extent is not '
               'mapped, when a page of it becomes private', lines,
               is_long=True)


def _failures(backends: tuple[str, ...]) -> Row:
    lines = [_line(backend, (Survival(backend),),
                   lambda outcomes: f'{outcomes[0].figures.survived_calls} of '
                   f'{outcomes[0].figures.failed_calls}')
             for backend in backends]
    return Row('failures', 'Failed system calls of a conversion that the '
               'guest survives', lines, is_long=True)


def _stalls(backends: tuple[str, ...]) -> Row:
    def time(command: str, phase: str) -> Callable[[list[Outcome]], str]:
        return lambda outcomes: latency(outcomes[0].figures, command, phase)

    def conversions(outcomes: list[Outcome]) -> str:
        load = outcomes[0].figures.load
        return pace(load.seconds, load.conversions) if load else '-'

    def toggles(outcomes: list[Outcome]) -> str:
        load = outcomes[0].figures.load
        return pace(load.seconds, load.pam_toggles) if load else '-'

    lines = []
    for backend in ('none', *backends):
        device = device_name(backend)
        plain = (Run('stalls', backend, stalls=True),)
        with_pam = (Run('stalls-pam', backend, stalls=True),)
        for command in COMMANDS:
            lines += [
                _line(f'{command}, idle; {device}', plain,
                      time(command, IDLE)),
                _line(f'{command}, conversions; {device}', plain,
                      time(command, BUSY)),
                _line(f'{command}, conversions and PAM; {device}', with_pam,
                      time(command, BUSY))]
        lines += [
            _line(f'conversions meanwhile; {device}', plain, conversions),
            _line(f'conversions beside PAM; {device}', with_pam, conversions),
            _line(f'times PAM was switched; {device}', with_pam, toggles)]
    return Row('stalls', "The monitor's answers in ms, median and longest, "
               'while 4 vCPUs convert 504 MiB each', lines, is_long=True)


def _boot_line(label: str, run: LinuxCost,
               text: Callable[[BootFigures], str]) -> Line:
    def cell(outcomes: list[Outcome]) -> str:
        boot = outcomes[0].figures.boot
        return text(boot) if boot else '-'
    return _line(f'{label}; {run.backend}, {run.memory}', (run,), cell)


def _mib(size: int) -> str:
    return f'{size / MIB:.1f} MiB'


def _linux(backends: tuple[str, ...]) -> Row:
    texts: dict[str, Callable[[BootFigures], str]] = {
        'IOMMU entries': lambda boot: str(boot.entries),
        'map calls': lambda boot: str(boot.map_calls),
        'memory that devices can access': lambda boot: _mib(boot.mapped),
        "memory of level 1's kernel": lambda boot: _mib(boot.kernel)}
    lines = [_boot_line(label, LinuxCost(backend, memory), text)
             for label, text in texts.items() for backend in backends
             for memory in GuestMemory]
    return Row('linux', 'Linux guest of 1 GiB with an NVMe disk and an e1000e '
               'network card, after booting', lines, is_long=True)


# Names of I/O operations in the table
_OPERATIONS = {'read': '4 KiB read', 'echo': 'packet'}


def _io_line(name: str, depth: int, backend: str, memory: GuestMemory
             ) -> Line:
    def count(outcome: Outcome) -> int:
        return next(io.median for io in outcome.figures.io
                    if (io.name, io.depth) == (name, depth))

    def cell(outcomes: list[Outcome]) -> str:
        this, *other = map(count, outcomes)
        return io_instructions(this, other[0] if other else None)

    ordinary = LinuxCost(backend, GuestMemory.ORDINARY, True)
    this = LinuxCost(backend, memory, True)
    return _line(f'{_OPERATIONS[name]}, {depth} at once; {backend}, {memory}',
                 (this,) if this == ordinary else (this, ordinary), cell)


def _linux_io(backends: tuple[str, ...]) -> Row:
    lines = [_io_line(name, depth, backend, memory)
             for name in _OPERATIONS for depth in DEPTHS
             for backend in backends for memory in GuestMemory]
    return Row('linux-io', 'Instructions for each I/O of such a guest', lines,
               is_long=True)


def all_rows(backends: tuple[str, ...] = BACKENDS) -> list[Row]:
    """Return the rows of the table."""
    return [_guest_2g(backends), _entries(backends), _instructions(backends),
            _pam(backends), _cuts(backends), _gaps(backends),
            _failures(backends), _stalls(backends), _linux(backends),
            _linux_io(backends)]


def format_table(rows: list[Row], results: dict[str, Outcomes]) -> str:
    """Format the table as text, with a column for each QEMU.

    Texts that do not fit in a cell become notes below the table.
    """
    notes: list[str] = []

    def short(text: str) -> str:
        if ': ' not in text and len(text) <= _MAX_CELL:
            return text
        if text not in notes:
            notes.append(text)
        return f'{text.partition(":")[0][:_MAX_CELL]} ' \
               f'[{notes.index(text) + 1}]'

    cells = [['', *results]]
    for row in rows:
        cells.append([row.title])
        for line in row.lines:
            cells.append(['  ' + line.label, *(
                short(line.cell(outcomes)) for outcomes in results.values())])
    widths = [max(len(line[column]) for line in cells
                  if 1 < len(line) and column < len(line))
              for column in range(len(results) + 1)]
    text = [' | '.join(cell.ljust(width) for cell, width
                       in zip(line, widths)).rstrip() for line in cells]
    if any(cell.endswith(MAP_EVENTS_MARK)
           for line in cells for cell in line[1:]):
        text += ['', MAP_EVENTS_NOTE]
    if notes:
        text += ['', *(f'[{number}] {note}'
                       for number, note in enumerate(notes, 1))]
    return '\n'.join(text)
