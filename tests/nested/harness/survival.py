# SPDX-License-Identifier: GPL-2.0-or-later

"""Measure which failed system calls of conversions a guest survives.

In each round, a new guest converts memory, and one call that QEMU makes for
it fails. The guest has survived if it continues, and can repeat the conversion
and make another one.
"""

import errno
from dataclasses import dataclass

from harness.checks import Checks
from harness.edge import CONSTANTS, KINDS, Edge
from harness.fail_nth import (MASTER_ON, Scenario, Step, serving_program,
                              share, unshare)
from harness.figures import Figures
from harness.firmware import Firmware
from harness.guest_options import program_guest
from harness.l1 import L1Machine
from harness.l2 import L2Error, L2Machine
from harness.program import MIB, Machine
from harness.session import Machines, check_complaints, program_files
from harness.vfio import ENOUGH_ENTRIES, bind_edu, set_entry_limit

_MACHINE = Machine(memory=256 * MIB)
_AREA = 64 * MIB
_SIZE = 32 << 10

_TO_SHARED = Scenario('to shared', (), share(_AREA, _SIZE))
_TO_PRIVATE = Scenario('to private', (share(_AREA, _SIZE),),
                       unshare(_AREA, _SIZE))
_OTHER = share(_AREA + MIB, _SIZE)

# The first call of each kind fails
_FAILURES: tuple[tuple[Scenario, str, int], ...] = (
    (_TO_SHARED, 'attributes', errno.ENOMEM),
    (_TO_SHARED, 'map', errno.ENOSPC),
    (_TO_SHARED, 'map', errno.EFAULT),
    (_TO_SHARED, 'free_private', errno.ENOMEM),
    (_TO_PRIVATE, 'attributes', errno.ENOMEM),
    (_TO_PRIVATE, 'unmap', errno.EINVAL),
    (_TO_PRIVATE, 'free_shared', errno.ENOMEM),
)

_STEPS = list(dict.fromkeys([
    MASTER_ON, _OTHER, *(step for scenario, _, _ in _FAILURES
                         for step in (*scenario.setup, scenario.step))]))

# Time limits in seconds: for a guest, and for each answer of it
_TIMEOUT = 300.0
_ANSWER_TIMEOUT = 30.0


@dataclass(frozen=True)
class Survival:
    """The rounds with a VFIO backend."""

    backend: str

    def __str__(self) -> str:
        return f'failed calls, {self.backend}'


class SurvivalRun:
    """Starts the guests, all in one level 1 machine."""

    def __init__(self, survival: Survival, checks: Checks) -> None:
        self._backend = survival.backend
        self._checks = checks
        self.figures = Figures(backend=survival.backend)

    def _fail(self, l2: L2Machine, edge: Edge, scenario: Scenario, kind: str,
              error: int) -> None:
        """Execute a round. Raises L2Error if the guest does not survive it."""
        firmware = Firmware(l2, _TIMEOUT, _ANSWER_TIMEOUT)
        firmware.wait_boot()
        firmware.start()
        firmware.expect('serve')

        def do(*steps: Step) -> None:
            for step in steps:
                if not firmware.do(_STEPS.index(step) + 1):
                    raise L2Error(f'{step} fails')
        do(MASTER_ON, *scenario.setup)
        self.figures.booted = True
        edge.set(mode=CONSTANTS['EDGE_ONCE'], nth=1,
                 kinds=1 << KINDS.index(kind), **{f'error_{kind}': error})
        firmware.do(_STEPS.index(scenario.step) + 1)
        do(scenario.step, _OTHER)

    def _run_round(self, l1: L1Machine, bdf: str, scenario: Scenario,
                   kind: str, error: int) -> None:
        l2 = L2Machine(l1, program_guest(_MACHINE, bdf, self._backend))
        edge = Edge(l1, False)
        l2.environment = edge.environment
        what = f'{scenario.name}, {kind}, {errno.errorcode[error]}'
        survived = True
        l2.start()
        try:
            self._fail(l2, edge, scenario, kind, error)
        except L2Error as died:
            survived = False
            self._checks.comment(f'{what}: {died}; {l2.stderr()}')
            self._checks.check(self.figures.booted,
                               'the level 2 machine works',
                               f'{died}\n{l2.stderr()}')
        # Otherwise this QEMU makes no such call
        if edge.get()['hits']:
            self.figures.failed_calls += 1
            self.figures.survived_calls += survived
        l2.kill()

    def play(self, machines: Machines) -> None:
        program = serving_program(_MACHINE, _STEPS)
        l1 = machines.start(program_files(program, machines.built))
        bdf = bind_edu(l1)
        set_entry_limit(l1, ENOUGH_ENTRIES)
        for scenario, kind, error in _FAILURES:
            self._run_round(l1, bdf, scenario, kind, error)
        check_complaints(l1, self._checks)
        l1.power_off()
