# SPDX-License-Identifier: GPL-2.0-or-later

"""The result of a check."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any


class Result(Enum):
    """What a check found."""

    PASS = 'pass'
    FAIL = 'fail'
    # The machine does not let this user find out, or nothing follows from it
    UNKNOWN = 'unknown'


@dataclass(frozen=True)
class Finding:
    """A result: what was checked, why it is so, and what to do about it."""

    name: str
    result: Result
    reason: str
    # Empty if the check passed
    way_out: str = ''

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), 'result': self.result.value}


def passed(name: str, reason: str) -> Finding:
    return Finding(name, Result.PASS, reason)


def failed(name: str, reason: str, way_out: str) -> Finding:
    return Finding(name, Result.FAIL, reason, way_out)


def unknown(name: str, reason: str, way_out: str) -> Finding:
    return Finding(name, Result.UNKNOWN, reason, way_out)


def any_failed(findings: Iterable[Finding]) -> bool:
    return any(finding.result is Result.FAIL for finding in findings)
