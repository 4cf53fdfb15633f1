# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of the classification of a level 1 machine's end."""

import signal
import unittest

from harness.l1 import L1Hung, stopped


class StoppedTest(unittest.TestCase):

    def test_machine_that_runs_or_exits_hung(self) -> None:
        for status in (None, 0):
            with self.subTest(status=status):
                self.assertIsInstance(stopped('why', status), L1Hung)

    def test_crash_of_qemu_is_no_hang(self) -> None:
        error = stopped('why', -signal.SIGABRT)
        self.assertNotIsInstance(error, L1Hung)
        self.assertEqual(str(error), 'why')
