# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of the scenarios that are made from a program."""

import unittest

from harness.fail_nth import (MASTER_OFF, MASTER_ON, Scenario, scenarios_of,
                              serving_program, share, unshare)
from harness.program import MIB, ProgramError, compile_program

KIB = 1 << 10


def scenarios(text: str, most: int = 100) -> list[Scenario]:
    return scenarios_of(compile_program(text, 'text'), most, False)


class ScenarioTest(unittest.TestCase):

    def test_setup_and_step_of_each_scenario(self) -> None:
        found = scenarios('share 64M 2M\nmaster on\nunshare 64M+4K 4K\n'
                          'master off\nshare 64M 1M')
        self.assertEqual([(each.setup, each.step) for each in found], [
            ((MASTER_OFF,), share(64 * MIB, 2 * MIB)),
            ((MASTER_OFF, share(64 * MIB, 2 * MIB)), MASTER_ON),
            ((MASTER_ON, share(64 * MIB, 2 * MIB)),
             unshare(64 * MIB + 4 * KIB, 4 * KIB)),
            ((MASTER_OFF, share(64 * MIB, 4 * KIB),
              share(64 * MIB + 8 * KIB, 2 * MIB - 8 * KIB)),
             share(64 * MIB, MIB))])
        self.assertEqual(len({each.name for each in found}), 4)

    def test_blocks_and_chunks(self) -> None:
        found = scenarios('parallel 2\nrepeat 2\nshare 64M+cpu*1M+i*16K 8K '
                          'chunk 4K\nend\nend')
        self.assertEqual([each.step.gpa for each in found], [
            64 * MIB + offset for cpu in (0, MIB) for offset in (
                cpu, cpu + 4 * KIB, cpu + 16 * KIB, cpu + 20 * KIB)])

    def test_steps_without_system_calls_are_skipped(self) -> None:
        self.assertEqual(len(scenarios(
            'share 64M 4K\nshare 64M 4K\nshare BAR 1M\nshare ROM 4K\n'
            'unshare 64M pages 0 expect EINVAL\nmaster off')), 1)

    def test_equal_scenarios_are_merged(self) -> None:
        self.assertEqual(len(scenarios(
            'repeat 5\nshare 64M 4K\nunshare 64M 4K\nend')), 2)

    def test_reset(self) -> None:
        first, second, third = scenarios(
            'master on\nshare 64M 4K\nreset\nshare 80M 4K')
        self.assertEqual(first.step, MASTER_ON)
        self.assertEqual(second.setup, (MASTER_ON,))
        self.assertEqual(third.setup, (MASTER_OFF,))

    def test_limit_of_scenarios(self) -> None:
        self.assertEqual(len(scenarios('repeat 50\nshare 64M+i*8K 4K\nend',
                                       7)), 7)

    def test_unsupported_programs_are_rejected(self) -> None:
        for text in ('virtio-mem 1G', 'implicit on\nshare 64M 4K',
                     'results snp\nshare 64M 4K', 'sync'):
            with self.assertRaises(ProgramError):
                scenarios(text)

    def test_serving_program(self) -> None:
        machine = compile_program('memory 512M', 'text').machine
        program = serving_program(machine, [MASTER_ON, share(64 * MIB, MIB)])
        same = compile_program(
            'memory 512M\nserve\nmaster on\nshare 64M 1M', 'text')
        for record in same.records:
            record.line = 0
        self.assertEqual(program.pack(), same.pack())
