# SPDX-License-Identifier: GPL-2.0-or-later

"""Inject errors into the system calls that plug and unplug private memory.

If memory cannot be plugged, virtio-mem answers so, and the memory stays
unplugged. Unplugging always succeeds, as a device requires that.
"""

from collections import Counter

import pytest

from harness.checks import Checks
from harness.fail_nth import (MASTER_OFF, MASTER_ON, UNPLUG_ALL, Scenario,
                              StickySweep, plug, serving_guest, share, unplug,
                              unshare)
from harness.program import MIB, PAGE_SIZE, Machine
from harness.session import Machines

_SIZE = 256 * MIB
_BLOCK = 2 * MIB

_PLAIN = Machine(memory=_SIZE, vmem_size=_SIZE, vmem_block=_BLOCK,
                 vmem_private=True)
_SLOTS = Machine(memory=_SIZE, vmem_size=_SIZE, vmem_block=_BLOCK,
                 vmem_private=True, vmem_properties=('dynamic-memslots',))

_VMEM = _PLAIN.vmem_base
_AREA = _VMEM + 64 * MIB
# Large enough for three pieces
_PIECES_SIZE = 136 * MIB

_SCENARIOS = (
    Scenario('a block is plugged', (), plug(_AREA, _BLOCK), True),
    Scenario('three pieces are plugged', (plug(_VMEM, _BLOCK),),
             plug(_AREA, _PIECES_SIZE)),
    Scenario('plugged memory to shared', (plug(_AREA, 4 * _BLOCK),),
             share(_AREA + _BLOCK - PAGE_SIZE, 2 * PAGE_SIZE)),
    Scenario('private memory is unplugged', (plug(_AREA, 4 * _BLOCK),),
             unplug(_AREA + _BLOCK, _BLOCK)),
    Scenario('shared memory is unplugged',
             (plug(_AREA, 4 * _BLOCK), share(_AREA + MIB, 4 * MIB)),
             unplug(_AREA + _BLOCK, _BLOCK), True),
    Scenario('three pieces are unplugged',
             (plug(_AREA, _PIECES_SIZE), share(_AREA, _PIECES_SIZE),
              unshare(_AREA + 100 * MIB, 2 * PAGE_SIZE)),
             unplug(_AREA, _PIECES_SIZE)),
    Scenario('all memory is unplugged',
             (plug(_AREA, 2 * _BLOCK), share(_AREA + MIB, 2 * MIB)),
             UNPLUG_ALL),
)

# Scenarios in which all calls of a kind fail, starting with one, and the kinds
_STICKY = {
    'a block is plugged': ('attributes', 'free_shared'),
    'three pieces are plugged': ('attributes',),
    'shared memory is unplugged': ('attributes', 'map', 'unmap',
                                   'free_shared', 'free_private'),
    'three pieces are unplugged': ('attributes', 'unmap'),
}

# Makes the layout retry failed operations
_OTHER = share(32 * MIB, PAGE_SIZE)
_CLEAN_UP = (UNPLUG_ALL, unshare(32 * MIB, PAGE_SIZE))


# All steps, each once: the lines of the guest's program
_STEPS = list(dict.fromkeys([
    *_CLEAN_UP, MASTER_ON, MASTER_OFF, _OTHER,
    *(step for scenario in _SCENARIOS
      for step in (*scenario.setup, scenario.step)),
    # To repeat steps that have succeeded
    plug(_VMEM, _SIZE),
    *(unplug(scenario.step.gpa, scenario.step.size) for scenario in _SCENARIOS
      if scenario.step.op == 'plug'),
    *(plug(scenario.step.gpa, scenario.step.size) for scenario in _SCENARIOS
      if scenario.step.op == 'unplug')]))


@pytest.mark.parametrize('machine', (_PLAIN, _SLOTS),
                         ids=('one-slot', 'dynamic-memslots'))
def test_fail_nth(machine: Machine, machines: Machines, backend: str,
                  checks: Checks) -> None:
    hits: Counter[tuple[str, int]] = Counter()
    properties = ''.join(f', {name}' for name in machine.vmem_properties)
    name = f'{backend}{properties}'
    with serving_guest(machines, machine, backend, _STEPS, name, checks,
                       hits) as guest:
        for gate in (MASTER_OFF, MASTER_ON):
            guest.must(gate)
            state = 'open' if gate == MASTER_ON else 'closed'
            sweep = StickySweep(guest, checks, f'{name}, gate {state}',
                                _CLEAN_UP, gate == MASTER_ON, _STICKY, _OTHER)
            sweep.run_all(_SCENARIOS)
            for scenario in _SCENARIOS:
                sweep.run_sticky(scenario)
            hits.update(sweep.hits)
