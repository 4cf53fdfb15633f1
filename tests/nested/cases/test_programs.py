# SPDX-License-Identifier: GPL-2.0-or-later

"""Run the programs in programs/ with both VFIO backends.

Tests are named after the program and the backend, such as split-type1.
"""

from dataclasses import replace

import pytest

from harness import NESTED
from harness.checks import Checks
from harness.program import Program, compile_program, find_program
from harness.program_run import ProgramRun
from harness.random_program import random_program
from harness.session import Machines

BACKENDS = ('type1', 'iommufd')
TIMEOUT = 300.0

# Kinds of results that KVM of Linux 7.3 accepts from guests of other types
RESULTS = (('bad-input', 'snp', 'type1'), ('entry-limit', 'snp', 'type1'),
           ('bad-input', 'tdx', 'iommufd'))

# Seeds of random programs, and their minimum number of conversions
SEEDS = (4, 14)
RANDOM_CALLS = 3000
RANDOM_TIMEOUT = 1800.0


def load(name: str) -> Program:
    path = find_program(name)
    return compile_program(path.read_text(encoding='utf-8'), str(path))


def program_cases() -> list[tuple[str, str]]:
    """Return the programs and backends; iommufd has no limit of entries."""
    names = sorted(path.stem for path in (NESTED / 'programs').glob('*.prog'))
    return [(name, backend) for name in names for backend in BACKENDS
            if backend == 'type1' or not load(name).machine.dma_entry_limit]


def play(program: Program, backend: str, timeout: float, machines: Machines,
         checks: Checks) -> None:
    run = ProgramRun(program, machines.options(
        backend, timeout, program.machine.dma_entry_limit), checks)
    machines.play(run)
    checks.comment(run.summary())


@pytest.mark.parametrize('name, backend', program_cases())
def test_program(name: str, backend: str, machines: Machines, checks: Checks
                 ) -> None:
    play(load(name), backend, TIMEOUT, machines, checks)


@pytest.mark.parametrize('name, results, backend', RESULTS)
def test_results(name: str, results: str, backend: str, machines: Machines,
                 checks: Checks) -> None:
    """Conversions return what KVM accepts from guests of another type."""
    program = load(name)
    program.machine = replace(program.machine, results=results)
    play(program, backend, TIMEOUT, machines, checks)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('seed', SEEDS)
def test_random_program(seed: int, backend: str, machines: Machines,
                        checks: Checks) -> None:
    """The command "run --random SEED --backend BACKEND" does the same."""
    program = compile_program(random_program(seed, RANDOM_CALLS, backend),
                              f'random-{seed}')
    play(program, backend, RANDOM_TIMEOUT, machines, checks)
