# SPDX-License-Identifier: GPL-2.0-or-later

"""The report, as text and as JSON."""

import json
from pathlib import Path
from typing import Any

from first_light.finding import Finding, Result

JSON_NAME = 'report.json'
TEXT_NAME = 'report.txt'
_VERSION = 1

_WORDS = {Result.PASS: 'pass   ', Result.FAIL: 'FAIL   ',
          Result.UNKNOWN: 'unknown'}


class ReportError(Exception):
    """The folder for the report cannot be used."""


def finding_text(finding: Finding) -> str:
    """Return a finding in one line, and its way out in the next ones."""
    text = f'{_WORDS[finding.result]} {finding.name}: {finding.reason}'
    if finding.way_out:
        text += f'\n-> {finding.way_out}'
    return text.replace('\n', '\n        ')


def findings_text(findings: list[Finding]) -> str:
    return ''.join(f'{finding_text(finding)}\n' for finding in findings)


def summary(findings: list[Finding]) -> str:
    """Return the numbers of findings in words."""
    counts = {result: sum(finding.result is result for finding in findings)
              for result in Result}
    return (f'{counts[Result.PASS]} passed, {counts[Result.FAIL]} failed, '
            f'{counts[Result.UNKNOWN]} unknown')


class Report:
    """A folder with everything that was found."""

    def __init__(self, folder: Path) -> None:
        """Create the folder. Raises ReportError if it has files."""
        self.folder = folder.absolute()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if any(self.folder.iterdir()):
                raise ReportError(f'{folder}: the folder is not empty; use '
                                  '--report with a new folder')
        except OSError as error:
            raise ReportError(f'{folder}: {error.strerror}; use --report '
                              'with another folder') from error
        self.data: dict[str, Any] = {'first-light': _VERSION}
        self._text = ''

    def add_text(self, text: str) -> None:
        self._text += text

    def write(self) -> None:
        """Write both files; each call replaces them."""
        (self.folder / JSON_NAME).write_text(
            json.dumps(self.data, indent=1) + '\n', encoding='utf-8')
        (self.folder / TEXT_NAME).write_text(self._text, encoding='utf-8')
