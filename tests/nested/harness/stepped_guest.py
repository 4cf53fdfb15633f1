# SPDX-License-Identifier: GPL-2.0-or-later

"""A guest that executes a program step by step, beside a test.

It waits where the program says "sync" until the test has done its part.
"""

from harness.checks import Checks
from harness.firmware import Firmware
from harness.l2 import L2Error, L2Machine
from harness.program import PAGE_SIZE

_TIMEOUT = 300

# For programs that take part in ACPI's memory hotplug: they select a slot, and
# eject what is in it
ACPI_MEMORY_NAMES = '''
let SELECT = 0xa00
let CONTROL = 0xa14
let EJECT = 8
'''


class SteppedGuest:
    """The firmware of a guest, and QEMU's monitor."""

    def __init__(self, name: str, l2: L2Machine, checks: Checks) -> None:
        self.l2 = l2
        self.firmware = Firmware(l2, _TIMEOUT)
        self._name = name
        self._checks = checks

    def check(self, good: bool, text: str, details: str = '') -> None:
        self._checks.check(good, f'{self._name}: {text}', details)

    def run_to_sync(self) -> None:
        """Let the guest run to the next sync, or to its end."""
        self._run_to('sync', 'done')

    def _run_to(self, *ends: str) -> None:
        while True:
            word, *rest = self.firmware.read().split() or ['']
            if word in ends:
                return
            if word in ('fail', 'note', 'exception', 'fatal', 'boot'):
                self.check(False, 'the guest has the expected results',
                           ' '.join([word, *rest]))
            if word in ('exception', 'fatal', 'boot'):
                raise L2Error('the guest has stopped')

    def go_to_sync(self) -> None:
        """Let the guest continue to the next sync, or to its end."""
        self.firmware.go()
        self.run_to_sync()

    def go_through_reset(self, record: int) -> None:
        """Let the guest continue, reset, and run to the next sync.

        @record: index of the program's record after the reset
        """
        self.firmware.go()
        self._run_to('reset')
        self.firmware.wait_boot()
        self.firmware.start(record)
        self.run_to_sync()

    def expect(self, when: str, shared: int, mapped: int | None,
               failures: int = 0) -> None:
        """Check QEMU's reports.

        @mapped: mapped bytes, or None if there is no container
        @failures: number of conversions that have failed
        """
        managers = self.l2.managers()
        believed = sum(manager.shared_size for manager in managers)
        failed = sum(manager.failures for manager in managers)
        self.check(believed == shared and failed == failures,
                   f'{when}: {shared // PAGE_SIZE} pages are shared',
                   '\n'.join(map(str, managers)))
        layout = self.l2.layout()
        if mapped is None:
            self.check(layout is None, f'{when}: there is no container',
                       str(layout))
        else:
            self.check(layout is not None and layout.open and
                       layout.mapped_size == mapped and
                       layout.populated_size == mapped and
                       not layout.missing_size,
                       f'{when}: exactly these pages are mapped',
                       str(layout))
