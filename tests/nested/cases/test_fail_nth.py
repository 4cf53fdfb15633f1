# SPDX-License-Identifier: GPL-2.0-or-later

"""Inject errors into the system calls of conversions, one at a time.

The tests cover all kinds of conversions, with the gate closed and open, and
the mappings when the gate opens. They also let all calls of a kind fail,
including those that undo a conversion. "tests/nested/run PROGRAM --fail-nth"
does the same for any program.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import product

import pytest

from harness.checks import Checks
from harness.edge import CONSTANTS, KINDS, Edge
from harness.fail_nth import (ERRORS, MASTER_OFF, MASTER_ON, Guest, Scenario,
                              Step, Sweep, check_kinds, serving_guest, share,
                              unshare)
from harness.intervals import IntervalSet
from harness.l2 import L2Error
from harness.program import MIB, Machine
from harness.session import Machines

_BLOCK = 256 * MIB

_KIB = 1024
_AREA = 64 * MIB
_AREA_SIZE = 8 * MIB
# The boundary between two RAM blocks
_BORDER_AREA = _BLOCK - 2 * MIB
_BORDER_AREA_SIZE = 4 * MIB

# Large enough for three pieces, across this boundary
_PIECES_AREA = _BLOCK - 116 * MIB
_PIECES_AREA_SIZE = 136 * MIB


_SMALL = (
    Scenario('a page to shared', (), share(_AREA + 20 * _KIB, 4 * _KIB), True),
    Scenario('a piece of a stream', (share(_AREA, 32 * _KIB),),
             share(_AREA + 32 * _KIB, 32 * _KIB)),
    Scenario('pages across a boundary of 2 MiB to shared', (),
             share(_AREA + 2 * MIB - 16 * _KIB, 32 * _KIB)),
    Scenario('a mixed range to shared',
             (share(_AREA + 8 * _KIB, 4 * _KIB),
              share(_AREA + 24 * _KIB, 8 * _KIB)),
             share(_AREA, 40 * _KIB)),
    Scenario('pages of two RAM blocks to shared',
             (share(_BLOCK + 4 * _KIB, 4 * _KIB),),
             share(_BLOCK - 8 * _KIB, 16 * _KIB)),
    Scenario('a whole extent to private', (share(_AREA, 32 * _KIB),),
             unshare(_AREA, 32 * _KIB)),
    Scenario('a mixed range to private',
             (share(_AREA, 8 * _KIB), share(_AREA + 16 * _KIB, 12 * _KIB)),
             unshare(_AREA + 4 * _KIB, 32 * _KIB), True),
    Scenario('pages of two RAM blocks to private',
             (share(_BLOCK - 16 * _KIB, 32 * _KIB),),
             unshare(_BLOCK - 8 * _KIB, 12 * _KIB)),
    Scenario('private pages to private', (), unshare(_AREA, 16 * _KIB)),
)

# Left out with extents of a page, which would need too many calls
_LARGE = (
    Scenario('extents of three blocks to shared', (),
             share(_AREA + MIB, 4 * MIB)),
    Scenario('a page of an extent of 2 MiB to private',
             (share(_AREA, 2 * MIB),), unshare(_AREA + MIB, 4 * _KIB)),
    Scenario('parts of extents to private', (share(_AREA, 6 * MIB),),
             unshare(_AREA + MIB, 4 * MIB)),
)

_OPENING = Scenario('bus mastering switched on',
                    (share(_AREA, 32 * _KIB), share(_AREA + MIB, 4 * _KIB)),
                    Step('master', size=1), True)


def _named(*names: str) -> tuple[Scenario, ...]:
    return tuple(scenario for scenario in _SMALL + _LARGE
                 if scenario.name in names)


# Executed before the gate has opened, and after it was closed again
_NEVER_OPEN = (
    *_named('a mixed range to shared', 'pages of two RAM blocks to shared'),
    Scenario('three pieces to shared',
             (share(_PIECES_AREA + MIB, 8 * _KIB),
              share(_BLOCK - 4 * _KIB, 8 * _KIB)),
             share(_PIECES_AREA, _PIECES_AREA_SIZE)),
    Scenario('three pieces to private',
             (share(_PIECES_AREA, _PIECES_AREA_SIZE),
              unshare(_PIECES_AREA + 100 * MIB, 8 * _KIB)),
             unshare(_PIECES_AREA, _PIECES_AREA_SIZE)))
_CLOSED_AGAIN = _named('pages of two RAM blocks to private',
                       'parts of extents to private')

# Scenarios that differ with extents of a page
_PAGES = _named('a mixed range to shared', 'pages of two RAM blocks to shared',
                'a mixed range to private',
                'pages of two RAM blocks to private')

# Scenarios in which all calls of a kind fail, starting with one, and the kinds
_STICKY = {
    'a page to shared': ('free_private',),
    'a mixed range to shared': ('attributes', 'map'),
    'pages of two RAM blocks to shared': ('attributes', 'map'),
    'a whole extent to private': ('free_shared',),
    'a mixed range to private': ('map', 'unmap'),
    'pages of two RAM blocks to private': ('attributes', 'map', 'unmap'),
}


_CLEAN_UP = (unshare(_AREA, _AREA_SIZE),
             unshare(_BORDER_AREA, _BORDER_AREA_SIZE),
             unshare(_PIECES_AREA, _PIECES_AREA_SIZE))
# Makes the layout retry failed operations
_OTHER = share(_AREA + _AREA_SIZE - 4 * _KIB, 4 * _KIB)

# All steps, each once: the lines of the guest's program
_STEPS = list(dict.fromkeys([
    *_CLEAN_UP, MASTER_ON, MASTER_OFF, _OTHER,
    *(step for scenario in (*_SMALL, *_LARGE, *_NEVER_OPEN, _OPENING)
      for step in (*scenario.setup, scenario.step))]))


class StickySweep(Sweep):
    """Runs scenarios, and also lets all calls of a kind fail."""

    def _excepted(self, kind: str, step: Step
                  ) -> tuple[IntervalSet, IntervalSet]:
        """Return memory that may be mapped, or wrong in KVM, for a while."""
        memory = step.gpa, step.gpa + step.size
        if kind == 'unmap':
            return IntervalSet([memory]), IntervalSet()
        if kind == 'attributes' and step.op == 'share':
            # Private except in KVM, whose attributes could not be set
            return IntervalSet(), IntervalSet([memory])
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
        guest.must(_OTHER)
        guest.trace.catch_up()
        if kind == 'unmap':
            reachable = IntervalSet()
        yield from guest.kernel_differences(reachable, unsure)
        yield from guest.unmapped()
        guest.must(step)
        guest.trace.catch_up()
        for text in (guest.kernel_differences() + guest.qemu_differences() +
                     guest.unmapped() + guest.unfreed()):
            yield f'then: {text}'

    def run_sticky(self, scenario: Scenario) -> None:
        problems: list[str] = []
        try:
            for kind, nth in product(_STICKY[scenario.name], (1, 2)):
                problems += (f'{kind} from call {nth} on: {text}' for text in
                             self._try_sticky(scenario, kind, nth))
        except L2Error as error:
            raise L2Error('\n'.join([*problems, str(error)])) from error
        self.checks.check(not problems,
                          f'{self.name}: {scenario.name}: recovers from '
                          'repeated failures', '\n'.join(problems))


def make_sweep(guest: Guest, checks: Checks, name: str, is_auto: bool,
               is_closed_again: bool = False) -> StickySweep:
    return StickySweep(guest, checks, name, _CLEAN_UP, is_auto,
                       is_closed_again)


def sweep_all(guest: Guest, name: str, is_auto: bool, checks: Checks,
              hits: Counter[tuple[str, int]]) -> None:
    """Run all scenarios, in each state of the gate.

    @hits: counts the injected errors
    """
    if is_auto:
        part = make_sweep(guest, checks, f'{name}, gate never open', True)
        part.run_all(_NEVER_OPEN)
        hits.update(part.hits)
    guest.must(MASTER_ON)
    part = make_sweep(guest, checks, f'{name}, gate open', is_auto)
    scenarios = _SMALL + _LARGE if is_auto else _PAGES
    part.run_all(scenarios)
    for scenario in scenarios:
        if scenario.name in _STICKY:
            part.run_sticky(scenario)
    hits.update(part.hits)
    if is_auto:
        part = make_sweep(guest, checks, f'{name}, gate closed again', True,
                          True)
        part.run_all(_CLOSED_AGAIN)
        hits.update(part.hits)
    part = make_sweep(guest, checks, f'{name}, gate opens', is_auto)
    part.run_all((_OPENING,))
    hits.update(part.hits)


@pytest.mark.parametrize('extent', ('auto', 'page'))
def test_fail_nth(extent: str, machines: Machines, backend: str,
                  checks: Checks) -> None:
    name = f'{backend}, {extent}'
    hits: Counter[tuple[str, int]] = Counter()
    machine = Machine(memory=2 * _BLOCK, blocks=2, shared_dma_extent=extent)
    with serving_guest(machines, machine, backend, _STEPS, name, checks,
                       hits) as guest:
        sweep_all(guest, name, extent == 'auto', checks, hits)
        check_kinds(hits, extent == 'auto', name, checks)
