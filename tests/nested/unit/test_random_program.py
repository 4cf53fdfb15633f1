# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of the generator of random programs."""

import re
import unittest

from harness.oracle import Oracle
from harness.program import PAGE_SIZE, compile_program
from harness.random_program import Generator, random_program

SEEDS = 200
CALLS = 600


def calls_of(text: str) -> int:
    """Return the number of conversions in a program."""
    return sum(event.counters.calls for event in
               Oracle(compile_program(text, 'random')).run()
               if event.word in ('sync', 'reset', 'done'))


class RandomProgramTest(unittest.TestCase):

    def test_same_seed_same_program(self) -> None:
        for seed in (0, 1, 12345678901):
            for backend in ('type1', 'iommufd'):
                self.assertEqual(random_program(seed, CALLS, backend),
                                 random_program(seed, CALLS, backend))

    def test_seeds_give_different_programs(self) -> None:
        self.assertEqual(len({random_program(seed, CALLS, 'type1')
                              for seed in range(20)}), 20)

    def test_backends_differ_only_in_entry_limit(self) -> None:
        def lines(seed: int, backend: str) -> list[str]:
            text = random_program(seed, CALLS, backend)
            return [line for line in text.splitlines()
                    if not re.match('#|dma-entry-limit', line)]
        for seed in range(20):
            self.assertEqual(lines(seed, 'type1'), lines(seed, 'iommufd'))

    def test_programs_are_valid_and_use_all_operations(self) -> None:
        """The oracle accepts the programs, and they have all operations."""
        words = set()
        for seed in range(SEEDS):
            text = random_program(seed, CALLS, 'type1')
            with self.subTest(seed):
                self.assertGreaterEqual(calls_of(text), CALLS)
            words.update(text.split())
        self.assertLessEqual(
            {'share', 'unshare', 'chunk', 'repeat', 'parallel', 'fill',
             'verify', 'zero', 'dma-to', 'dma-from', 'arrives', 'blocked',
             'master', 'off', 'pam', 'EINVAL', 'sync', 'audit', 'reset',
             'blocks', 'page', 'dma-entry-limit'}, words)

    def test_generator_and_oracle_agree_on_final_state(self) -> None:
        """The generator and the oracle agree about the state at the end."""
        for seed in range(40):
            generator = Generator(seed, CALLS, 'type1')
            oracle = Oracle(compile_program(generator.generate(), 'random'))
            for _ in oracle.run():
                pass
            pages = generator.shared_pages()
            with self.subTest(seed):
                self.assertEqual(
                    {page for page in pages
                     if oracle.shared.covers(page, page + PAGE_SIZE)},
                    {page for page, shared in pages.items() if shared})

    def test_iommufd_programs(self) -> None:
        """Parallel blocks can have DMA, and iommufd has no limit."""
        blocks = 0
        for seed in range(50):
            text = random_program(seed, CALLS, 'iommufd')
            self.assertNotIn('dma-entry-limit', text)
            blocks += len(re.findall(r'^    dma-to .* arrives$', text, re.M))
        self.assertGreater(blocks, 10)
