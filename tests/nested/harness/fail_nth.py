# SPDX-License-Identifier: GPL-2.0-or-later

"""Inject errors into the system calls of conversions, one at a time.

A guest converts memory. In the first round, the first call that QEMU makes for
the conversion fails; in the next round, from the same state, the second call;
and so on until a round in which no call is left to fail. After each round the
guest, QEMU and the kernel must agree on which memory is shared, and the same
conversion must succeed.
"""

import errno
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count, product

from harness.checks import Checks
from harness.edge import CONSTANTS, KINDS, Edge
from harness.firmware import Firmware
from harness.guest_options import program_guest
from harness.intervals import IntervalSet
from harness.l1 import L1Machine
from harness.l2 import PID_PATH, L2Error, L2Machine
from harness.oracle import ROM_RANGE, VMEM_QUEUE, guest_ram
from harness.program import (PAGE_SIZE, RESULTS, Linear, Machine, Program,
                             ProgramError, Record)
from harness.session import (Machines, check_complaints, check_quit,
                             program_files, running)
from harness.trace import TraceReplay
from harness.trace_follower import TraceFollower
from harness.vfio import bind_edu, set_entry_limit
from harness.wire import CONSTANTS as FORMAT

_BAR = (FORMAT['EDU_BAR_BASE'],
        FORMAT['EDU_BAR_BASE'] + FORMAT['EDU_BAR_SIZE'])

# The errors of each kind of call
ERRORS = {
    'attributes': (errno.ENOMEM, errno.EINVAL),
    'map': (errno.ENOMEM, errno.ENOSPC, errno.EFAULT, errno.EBUSY),
    'unmap': (errno.EINVAL, errno.ENOMEM, errno.EBUSY),
    'free_shared': (errno.ENOMEM, errno.EINVAL, errno.EOPNOTSUPP),
    'free_private': (errno.ENOMEM, errno.EINVAL, errno.EBADF),
}

_TIMEOUT = 1800.0
_ANSWER_TIMEOUT = 60.0
# Limit of rounds: more than any conversion has calls
_MAX_NTH = 200
# Tolerated growth of QEMU's heap; the kernel's counter is not exact, either
_SLACK_KIB = 512
# Huge pages are switched off: the kernel would replace a few small pages
_THP_PATH = '/sys/kernel/mm/transparent_hugepage/enabled'
# Maximum number of differences to show
_SHOWN = 6


@dataclass(frozen=True)
class Step:
    """An operation of the guest."""

    op: str
    gpa: int = 0
    size: int = 0

    def record(self) -> Record:
        """Return the step as an operation of a program."""
        if self.op == 'master':
            return Record('master', 0, str(self), size=self.size, chunk=16)
        return Record(self.op, 0, str(self), gpa=Linear(self.gpa),
                      pages=self.size // PAGE_SIZE)


def share(gpa: int, size: int) -> Step:
    return Step('share', gpa, size)


def unshare(gpa: int, size: int) -> Step:
    return Step('unshare', gpa, size)


def plug(gpa: int, size: int) -> Step:
    return Step('plug', gpa, size)


def unplug(gpa: int, size: int) -> Step:
    return Step('unplug', gpa, size)


@dataclass(frozen=True)
class Scenario:
    """A step whose calls fail, and the steps that set up its state."""

    name: str
    setup: tuple[Step, ...]
    step: Step
    # Whether each call fails with each error; otherwise errors alternate
    all_errors: bool = False


UNPLUG_ALL = Step('unplug-all')
MASTER_ON = Step('master', size=1)
MASTER_OFF = Step('master', size=0)


def serving_program(machine: Machine, steps: Iterable[Step]) -> Program:
    """Return a program with which the guest executes steps on request."""
    return Program(machine, [Record('serve', 0, 'serve'),
                             *(step.record() for step in steps),
                             Record('done', 0, 'done')])


class Case:
    """One round: the call that failed, and the problems after it."""

    def __init__(self, nth: int, error: int) -> None:
        self.nth = nth
        self.error = error
        self.kind = ''
        self.problems: list[str] = []

    def __str__(self) -> str:
        return f'call {self.nth} ({self.kind}) fails with ' \
               f'{errno.errorcode[self.error]}: {"; ".join(self.problems)}'


def _problems(cases: list[Case]) -> list[str]:
    return [str(case) for case in cases if case.problems]


class Guest:
    """A guest that executes steps on request, and the expected state."""

    def __init__(self, l1: L1Machine, l2: L2Machine, edge: Edge,
                 machine: Machine, steps: Sequence[Step]) -> None:
        self._l1 = l1
        self._l2 = l2
        self._firmware = Firmware(l2, _TIMEOUT, _ANSWER_TIMEOUT)
        self._steps = steps
        self.edge = edge
        # Memory that can be plugged, all RAM that the guest has, and the part
        # of it that is shared
        self._pluggable = IntervalSet()
        self._ram = guest_ram(machine)
        self.shared = IntervalSet([ROM_RANGE])
        if machine.vmem_size:
            self._pluggable.add(machine.vmem_base, machine.vmem_end)
            self.shared.add(*VMEM_QUEUE)
        self.replay = TraceReplay()
        self.trace = TraceFollower(l1, self.replay)
        self.is_master = False

    def start(self) -> None:
        self._firmware.expect('boot')
        self._firmware.start()
        self._firmware.expect('serve')

    def do(self, step: Step) -> bool:
        """Execute a step. Returns whether that succeeded."""
        if not self._firmware.do(self._steps.index(step) + 1):
            return False
        if step.op == 'share':
            self.shared.add(step.gpa, step.gpa + step.size)
        elif step.op == 'unshare':
            self.shared.remove(step.gpa, step.gpa + step.size)
        elif step.op == 'plug':
            self._ram.add(step.gpa, step.gpa + step.size)
        elif step.op == 'unplug':
            self._unplug(step.gpa, step.gpa + step.size)
        elif step.op == 'unplug-all':
            for part in self._pluggable:
                self._unplug(*part)
        elif step.op == 'master':
            self.is_master = bool(step.size)
        return True

    def _unplug(self, start: int, end: int) -> None:
        self._ram.remove(start, end)
        self.shared.remove(start, end)

    def repeat(self, step: Step) -> bool:
        """Execute a step again, whether or not it has succeeded.

        What was plugged must first be unplugged, and the reverse.
        """
        is_plugged = bool(self._ram.common(self.memory_of(step)))
        if step.op == 'plug' and is_plugged:
            self.must(unplug(step.gpa, step.size))
        elif step.op in ('unplug', 'unplug-all') and not is_plugged:
            self.must(*(plug(start, end - start)
                        for start, end in self.memory_of(step)))
        return self.do(step)

    def memory_of(self, step: Step) -> IntervalSet:
        """Return the memory that a step converts, plugs or unplugs."""
        if step == UNPLUG_ALL:
            return self._pluggable
        return IntervalSet([(step.gpa, step.gpa + step.size)])

    def undoes_something(self, step: Step) -> bool:
        """Whether a step that cleans up has an effect."""
        changed = self._ram if step == UNPLUG_ALL else self.shared
        return bool(changed.common(self.memory_of(step)))

    def adopt_private(self, step: Step) -> None:
        """Record memory as private that a failed conversion left private."""
        for start, end in IntervalSet(self.replay.edge.private.clipped(
                step.gpa, step.gpa + step.size)):
            self.shared.remove(start, end)

    def must(self, *steps: Step) -> None:
        for step in steps:
            if not self.do(step):
                raise L2Error(f'{step} fails, although no call failed')

    def release(self) -> str:
        """Catch up with the kernel's trace, and stop injecting errors.

        Returns the library's counters.
        """
        return self.trace.catch_up(f'{Edge.GET_COMMAND} && '
                                   f'{Edge.set_command()}')

    def _compare_kvm(self, unsure: IntervalSet) -> Iterator[str]:
        private = self.replay.edge.private
        both = private.common(self.shared)
        neither = self._ram.minus(private).minus(self.shared)
        unplugged = self._pluggable.minus(self._ram).common(private)
        if both.minus(unsure):
            yield f'private in KVM, but should be shared: {both}'
        if neither.minus(unsure):
            yield f'shared in KVM, but should be private: {neither}'
        if unplugged.minus(unsure):
            yield f'private in KVM, but not plugged: {unplugged}'

    def _compare_layout(self, mapped: IntervalSet) -> Iterator[str]:
        size = self.shared.total()
        missing = self.shared.minus(mapped).total()
        layout = self._l2.layout()
        if not layout or (
                layout.open, layout.populated_size, layout.mapped_size,
                layout.missing_size, layout.stuck_size) != (
                self.is_master, size, mapped.total(),
                missing if self.is_master else 0,
                mapped.minus(self.shared).total()):
            yield f'{size:#x} are shared, {mapped.total():#x} mapped, ' \
                f'{missing:#x} shared, but not mapped: {layout}'

    def kernel_differences(self, reachable: IntervalSet = IntervalSet(),
                           unsure: IntervalSet = IntervalSet()) -> list[str]:
        """Describe errors in the kernel's state according to its trace.

        @reachable may be mapped in any case, and KVM's attributes of @unsure
        are not checked.
        """
        exposures, exposed = self.replay.edge.take_exposures()
        found = [*self.replay.errors[:_SHOWN], *self._compare_kvm(unsure)]
        self.replay.errors.clear()
        if exposed.minus(reachable):
            found += exposures[:_SHOWN]
        excess = self._mapped().minus(self.shared).minus(reachable)
        if excess:
            found.append(f'mapped, but not shared: {excess}')
        return found

    def unfreed(self) -> list[str]:
        """Describe memory that is not shared, and was not freed."""
        memory = self._ram.copy()
        for start, end in self._pluggable:
            memory.add(start, end)
        unfreed = memory.minus(self.shared).common(self.replay.edge.backed)
        return [f'not freed: {unfreed}'] if unfreed else []

    def unmapped(self) -> list[str]:
        """Describe shared memory that the device cannot access."""
        missing = self.shared.minus(self._mapped())
        return [f'not mapped: {missing}'] if self.is_master and missing else []

    def qemu_differences(self) -> list[str]:
        """Describe errors in QEMU's state."""
        found = list(self._compare_layout(self._mapped()))
        believed = sum(manager.shared_size for manager in self._l2.managers())
        if believed != self.shared.total():
            found.append(f'QEMU counts {believed:#x} shared, not '
                         f'{self.shared.total():#x}')
        return found

    def _mapped(self) -> IntervalSet:
        mapped = self.replay.maps.mapped()
        mapped.remove(*_BAR)
        return mapped

    def resources(self) -> dict[str, int]:
        """Return QEMU's use of resources, which must not grow."""
        text = self._l1.check(
            f'cd /proc/$(cat {PID_PATH}) && echo fds $(ls fd | wc -l) && '
            "sed -nE 's/^(VmLck|VmPin|RssAnon):(.*) kB$/\\1 \\2/p' status")
        return {name: int(value) for name, value in
                (line.split() for line in text.splitlines())}


class Sweep:
    """Runs scenarios on one guest."""

    def __init__(self, guest: Guest, checks: Checks, name: str,
                 clean_up: Sequence[Step], tries_all_errors: bool,
                 is_closed_again: bool = False) -> None:
        """@clean_up: steps that make all memory of the scenarios private

        @is_closed_again: whether the gate is closed after the setup
        """
        self.guest = guest
        self.checks = checks
        self.name = name
        self._clean_up = clean_up
        self._tries_all_errors = tries_all_errors
        self._is_closed_again = is_closed_again
        self.hits: Counter[tuple[str, int]] = Counter()

    def set_up(self, scenario: Scenario) -> None:
        """Create the initial state of a scenario, from any other state."""
        for step in self._clean_up:
            if self.guest.undoes_something(step):
                self.guest.must(step)
        if scenario.step == MASTER_ON and self.guest.is_master:
            self.guest.must(MASTER_OFF)
        if self._is_closed_again:
            self.guest.must(MASTER_ON)
        self.guest.must(*scenario.setup)
        if self._is_closed_again:
            self.guest.must(MASTER_OFF)

    def _try(self, scenario: Scenario, case: Case, which: int) -> bool:
        """Execute a round. Returns whether an error was injected."""
        guest = self.guest
        errors = {f'error_{kind}': ERRORS[kind][which % len(ERRORS[kind])]
                  for kind in KINDS}
        guest.edge.set(mode=CONSTANTS['EDGE_ONCE'], nth=case.nth,
                       kinds=(1 << CONSTANTS['EDGE_KINDS']) - 1, **errors)
        succeeded = guest.do(scenario.step)
        answer = Edge.parse(guest.release())
        if answer['hits']:
            case.kind = KINDS[answer['hit_kind']]
            case.error = errors[f'error_{case.kind}']
            self.hits[case.kind, case.error] += 1
        elif not succeeded:
            case.problems.append('the step fails, although no call failed')
        unsure = IntervalSet()
        if (scenario.step.op in ('unplug', 'unplug-all') and
                case.kind == 'attributes'):
            # Unplugging continues if attributes cannot be removed
            unsure = guest.memory_of(scenario.step)
        case.problems += (guest.kernel_differences(unsure=unsure) +
                          guest.qemu_differences())
        if case.kind != 'free_shared':
            case.problems += guest.unfreed()
        if not guest.repeat(scenario.step):
            case.problems.append('the step cannot be repeated')
        guest.trace.catch_up()
        case.problems += [f'after repeating it: {text}' for text in
                          guest.kernel_differences() + guest.unmapped() +
                          guest.unfreed()]
        return bool(answer['hits'])

    def _run_nth(self, scenario: Scenario, nth: int) -> Iterator[Case]:
        """Yield the rounds in which call @nth failed."""
        all_errors = scenario.all_errors and self._tries_all_errors
        for which in count(0 if all_errors else nth):
            case = Case(nth, 0)
            self.set_up(scenario)
            if not self._try(scenario, case, which):
                if case.problems:
                    raise L2Error('without an injected error: ' +
                                  '; '.join(case.problems))
                return
            yield case
            if not all_errors or which + 1 >= len(ERRORS[case.kind]):
                return

    def run(self, scenario: Scenario) -> None:
        cases: list[Case] = []
        for nth in range(1, _MAX_NTH):
            before = len(cases)
            try:
                cases += self._run_nth(scenario, nth)
            except L2Error as error:
                # An earlier problem can be the cause
                raise L2Error('\n'.join([*_problems(cases), str(error)])
                              ) from error
            if len(cases) == before:
                break
        bad = _problems(cases)
        kinds = Counter(case.kind for case in cases)
        self.checks.check(
            bool(cases) and not bad and nth < _MAX_NTH - 1,
            f'{self.name}: {scenario.name}: {len(cases)} failures (' +
            ', '.join(f'{number} {kind}' for kind, number in kinds.items()) +
            ')', '\n'.join(bad))

    def run_all(self, scenarios: tuple[Scenario, ...]) -> None:
        # Each step can allocate memory permanently when first executed
        for scenario in scenarios:
            self.set_up(scenario)
            self.guest.must(scenario.step)
        self.set_up(scenarios[0])
        before = self.guest.resources()
        for scenario in scenarios:
            self.run(scenario)
        self.set_up(scenarios[0])
        after = self.guest.resources()
        grown = after.pop('RssAnon') - before.pop('RssAnon')
        self.checks.check(before == after and grown < _SLACK_KIB,
                          f'{self.name}: no resources leaked, memory: '
                          f'{grown:+d} KiB',
                          f'before: {before}\nafter: {after}')


class StickySweep(Sweep):
    """Runs scenarios, and also lets all calls of a kind fail."""

    def __init__(self, guest: Guest, checks: Checks, name: str,
                 clean_up: Sequence[Step], tries_all_errors: bool,
                 sticky: Mapping[str, Sequence[str]], other: Step,
                 is_closed_again: bool = False) -> None:
        """@sticky: the kinds of calls that fail, by names of scenarios

        @other: a step that makes the layout retry failed operations
        """
        super().__init__(guest, checks, name, clean_up, tries_all_errors,
                         is_closed_again)
        self._sticky = sticky
        self._other = other

    def _excepted(self, kind: str, step: Step
                  ) -> tuple[IntervalSet, IntervalSet]:
        """Return memory that may be mapped, or wrong in KVM, for a while."""
        memory = self.guest.memory_of(step)
        if kind == 'unmap':
            return memory, IntervalSet()
        if kind == 'attributes' and step.op != 'unshare':
            # Private or unplugged except in KVM, whose attributes could not be
            # set or removed
            return IntervalSet(), memory
        return IntervalSet(), IntervalSet()

    def _try_sticky(self, scenario: Scenario, kind: str, nth: int
                    ) -> Iterator[str]:
        """Let all calls of a kind fail from call @nth on, even during undo.

        docs/devel/shared-dma.rst, "Invariants", describes the differences that
        are allowed, and for how long.
        """
        guest = self.guest
        step = scenario.step
        self.set_up(scenario)
        error = ERRORS[kind][0]
        bit = 1 << KINDS.index(kind)
        guest.edge.set(mode=CONSTANTS['EDGE_STICKY'], nth=nth, kinds=bit,
                       **{f'error_{kind}': error})
        guest.do(step)
        self.hits[kind, error] += Edge.parse(guest.release())['hits']
        if kind == 'attributes' and step.op == 'unshare':
            guest.adopt_private(step)
        reachable, unsure = self._excepted(kind, step)
        yield from guest.kernel_differences(reachable, unsure)
        yield from guest.qemu_differences()
        # Another conversion repairs the layout, the same one the rest
        guest.must(self._other)
        guest.trace.catch_up()
        if kind == 'unmap':
            reachable = IntervalSet()
        yield from guest.kernel_differences(reachable, unsure)
        yield from guest.unmapped()
        if not guest.repeat(step):
            yield 'the step cannot be repeated'
        guest.trace.catch_up()
        for text in (guest.kernel_differences() + guest.qemu_differences() +
                     guest.unmapped() + guest.unfreed()):
            yield f'then: {text}'

    def run_sticky(self, scenario: Scenario) -> None:
        """Let all calls of the kinds fail that the scenario has, if any."""
        if scenario.name not in self._sticky:
            return
        problems: list[str] = []
        try:
            for kind, nth in product(self._sticky[scenario.name], (1, 2)):
                problems += (f'{kind} from call {nth} on: {text}' for text in
                             self._try_sticky(scenario, kind, nth))
        except L2Error as error:
            raise L2Error('\n'.join([*problems, str(error)])) from error
        self.checks.check(not problems,
                          f'{self.name}: {scenario.name}: recovers from '
                          'repeated failures', '\n'.join(problems))


def check_kinds(hits: Counter[tuple[str, int]], each_error: bool, name: str,
                checks: Checks) -> None:
    """Check that calls of each kind have failed.

    @each_error: whether they must have failed with each error
    """
    missed = []
    for kind, errors in ERRORS.items():
        not_seen = [error for error in errors if not hits[kind, error]]
        if len(not_seen) == len(errors) or (each_error and not_seen):
            missed.append(f'{kind}: ' + ', '.join(
                errno.errorcode[error] for error in not_seen))
    checks.check(not missed, f'{name}: calls of each kind have failed',
                 '\n'.join(missed))


@contextmanager
def serving_guest(machines: Machines, machine: Machine, backend: str,
                  steps: Sequence[Step], name: str, checks: Checks,
                  hits: Counter[tuple[str, int]]) -> Iterator[Guest]:
    """Start a guest that executes steps on request, and end it.

    @hits: the injected errors, complete when the context ends
    """
    program = serving_program(machine, steps)
    l1 = machines.start(program_files(program, machines.built))
    l1.check(f'if [ -e {_THP_PATH} ]; then echo never >{_THP_PATH}; fi')
    if machine.dma_entry_limit:
        set_entry_limit(l1, machine.dma_entry_limit)
    l2 = L2Machine(l1, program_guest(machine, bind_edu(l1), backend))
    edge = Edge(l1, True)
    l2.environment = edge.environment
    guest = Guest(l1, l2, edge, machine, steps)
    with running(l2, checks, name):
        guest.start()
        l2.connect(machines.built.qemu_python)
        yield guest
        check_quit(l2, checks, f'{name}: ')
        lines = l2.stderr().splitlines()
        checks.check(len(lines) <= hits.total() + _SHOWN * 10,
                     f'{name}: QEMU printed few messages', '\n'.join(lines))
    check_complaints(l1, checks)
    l1.power_off()


# Scenarios of a program

def _clean_up_of(machine: Machine) -> list[Step]:
    memory = guest_ram(machine)
    memory.remove(0, FORMAT['FIRMWARE_RAM_END'])
    memory.remove(*ROM_RANGE)
    return [unshare(start, end - start) for start, end in memory]


def _steps_of(program: Program) -> Iterator[Step]:
    """Yield the operations of a program for which QEMU calls the kernel.

    Parallel conversions of several vCPUs are executed one after the other.
    """
    yield from _steps_in(program.records, 0, len(program.records), 0, 0)


def _steps_in(records: list[Record], begin: int, end: int, cpu: int, i: int
              ) -> Iterator[Step]:
    index = begin
    while index < end:
        record = records[index]
        if record.op == 'parallel':
            for each in range(record.size):
                yield from _steps_in(records, index + 1, record.end, each, i)
        elif record.op == 'repeat':
            for each in range(record.size):
                yield from _steps_in(records, index + 1, record.end, cpu, each)
        elif record.op == 'measure':
            yield from _steps_in(records, index + 1, record.end, cpu, i)
        elif record.op in ('share', 'unshare') and not record.expect:
            start = record.gpa.at(cpu, i)
            for page in range(0, record.pages, record.chunk or record.pages):
                pages = min(record.chunk or record.pages, record.pages - page)
                yield Step(record.op, start + page * PAGE_SIZE,
                           pages * PAGE_SIZE)
        elif record.op in ('master', 'reset') and not cpu:
            yield Step(record.op, size=record.size)
        index = max(index, record.end) + 1


def scenarios_of(program: Program, most: int, all_errors: bool
                 ) -> list[Scenario]:
    """Return the first @most different steps of a program as scenarios.

    The initial state of each is the state of the program before the step.
    """
    machine = program.machine
    if machine.is_plain or machine.implicit or machine.results != RESULTS[0]:
        raise ProgramError('--fail-nth needs a guest with private memory that '
                           'makes hypercalls and receives their errors')
    memory = guest_ram(machine)
    memory.remove(*ROM_RANGE)
    shared = IntervalSet()
    is_master = False
    scenarios: dict[tuple[tuple[Step, ...], Step], Scenario] = {}
    for step in _steps_of(program):
        if len(scenarios) == most:
            break
        if step.op == 'reset':
            shared, is_master = IntervalSet(), False
            continue
        setup = (MASTER_ON if is_master else MASTER_OFF,
                 *(share(start, end - start) for start, end in shared))
        if step.op == 'master':
            if bool(step.size) != is_master and step.size:
                scenarios.setdefault((setup, step), Scenario(
                    f'{len(scenarios) + 1}: bus mastering switched on', setup,
                    step, all_errors))
            is_master = bool(step.size)
            continue
        parts = list(memory.clipped(step.gpa, step.gpa + step.size))
        # Sharing memory that is already shared makes no call
        if any(step.op == 'unshare' or not shared.covers(*part)
               for part in parts):
            scenarios.setdefault((setup, step), Scenario(
                f'{len(scenarios) + 1}: {step.op} {step.gpa:#x} '
                f'{step.size:#x}', setup, step, all_errors))
        for part in parts:
            if step.op == 'share':
                shared.add(*part)
            else:
                shared.remove(*part)
    if not scenarios:
        raise ProgramError('the program makes no conversion that can fail')
    return list(scenarios.values())


def run_fail_nth(program: Program, backend: str, most: int, all_errors: bool,
                 machines: Machines, checks: Checks) -> None:
    """Inject an error into each call of a program's first @most conversions.
    """
    scenarios = scenarios_of(program, most, all_errors)
    clean_up = _clean_up_of(program.machine)
    steps = list(dict.fromkeys([
        *clean_up, *(step for scenario in scenarios
                     for step in (*scenario.setup, scenario.step))]))
    hits: Counter[tuple[str, int]] = Counter()
    machine = replace(program.machine, cpus=1)
    with serving_guest(machines, machine, backend, steps, backend, checks,
                       hits) as guest:
        sweep = Sweep(guest, checks, backend, clean_up, all_errors)
        for scenario in scenarios:
            sweep.run(scenario)
        hits.update(sweep.hits)
