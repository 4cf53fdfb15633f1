# SPDX-License-Identifier: GPL-2.0-or-later

"""Start the guest with each backend, and write down what happens."""

from dataclasses import dataclass
from typing import Any

from first_light.command import command_text, make_command
from first_light.finding import Finding, failed
from first_light.host import Host
from first_light.kernel_log import KernelLog
from first_light.machine import Machine, StartError
from first_light.options import Wish
from first_light.report import Report, findings_text
from first_light.trial import Pace, Record, Trial

_START_HELP = ('See "If something goes wrong" in '
               'docs/system/i386/confidential-devices.rst')


def _say(text: str) -> None:
    print(text, flush=True)


@dataclass
class Session:
    """Runs trials, prints their findings and adds them to the report."""

    host: Host
    wish: Wish
    report: Report
    # QEMU's module qemu.qmp
    library: Any
    log: KernelLog | None
    pace: Pace

    async def _run_trial(self, machine: Machine, command: list[str],
                         record: Record) -> None:
        if self.log:
            self.log.skip()
        pinned = self.host.pinned_pages()
        try:
            await machine.start(command)
        except StartError as error:
            record.findings.append(failed('start of QEMU', f'{error}',
                                          _START_HELP))
            record.kernel_log = self.log.lines() if self.log else []
            return
        await Trial(machine, self.wish, record, self.host, self.log, pinned,
                    self.pace, _say).run()

    def _report(self, record: Record, command: list[str],
                output: str) -> None:
        """Print a trial and add it to the report."""
        self.report.data['trials'].append(
            {**record.as_json(), 'command': command, 'qemu-output': output})
        text = findings_text(record.findings)
        print(text, end='', flush=True)
        self.report.add_text(text)
        if output:
            self.report.add_text(f'\nOutput of QEMU:\n{output}\n')

    async def _try_backend(self, backend: str) -> list[Finding]:
        folder = self.report.folder
        command = make_command(self.wish, backend,
                               folder / f'console-{backend}.txt')
        title = f'\nGuest with {backend}\n'
        _say(title)
        self.report.add_text(f'{title}\n{command_text(command)}\n\n')
        machine = Machine(self.library, folder / f'qemu-{backend}.txt')
        record = Record(backend)
        try:
            await self._run_trial(machine, command, record)
        finally:
            # Report what was seen if the user interrupts the trial, too
            await machine.close()
            self._report(record, command, machine.log_tail())
        return record.findings

    async def run(self) -> list[Finding]:
        """Try each backend; return all findings."""
        self.report.data['trials'] = []
        findings = []
        for backend in self.wish.used_backends:
            findings += await self._try_backend(backend)
        return findings
