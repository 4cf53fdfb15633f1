# SPDX-License-Identifier: GPL-2.0-or-later

"""Inject errors into the system calls of conversions, one at a time.

The tests cover all kinds of conversions, with the gate closed and open, and
the mappings when the gate opens. They also let all calls of a kind fail,
including those that undo a conversion. "tests/nested/run PROGRAM --fail-nth"
does the same for any program.
"""

from collections import Counter

import pytest

from harness.checks import Checks
from harness.fail_nth import (MASTER_OFF, MASTER_ON, Guest, Scenario, Step,
                              StickySweep, check_kinds, serving_guest, share,
                              unshare)
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


def make_sweep(guest: Guest, checks: Checks, name: str, is_auto: bool,
               is_closed_again: bool = False) -> StickySweep:
    return StickySweep(guest, checks, name, _CLEAN_UP, is_auto, _STICKY,
                       _OTHER, is_closed_again)


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
