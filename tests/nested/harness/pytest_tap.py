# SPDX-License-Identifier: GPL-2.0-or-later

"""Report results of pytest in the Test Anything Protocol.

There is a test point for each check of a test, and one for each test that has
no checks or that failed for a reason other than a check.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from harness.checks import Checks, Result, TapWriter

# The checks of a test, and whether the test failed because of them
CHECKS = pytest.StashKey[Checks]()
MADE_CHECKS_FAIL = pytest.StashKey[bool]()


class TapReporter:
    """Pytest plugin that replaces the terminal reporter."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._tap: TapWriter | None = None
        # The state of the current test
        self._checks: Checks | None = None
        self._is_explained = False

    @contextmanager
    def _writer(self) -> Iterator[TapWriter]:
        """Yield the writer while pytest does not capture stdout."""
        capture = self._config.pluginmanager.getplugin('capturemanager')
        with capture.global_and_fixture_disabled():
            if self._tap is None:
                self._tap = TapWriter(sys.stdout, sys.stderr)
            yield self._tap

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            with self._writer() as tap:
                tap.add(Result(False, f'{report.nodeid}: collecting tests',
                               report.longreprtext))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._checks = None
        self._is_explained = False
        with self._writer() as tap:
            tap.comment(nodeid)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[None]:
        yield
        self._checks = item.stash[CHECKS] if CHECKS in item.stash else None
        self._is_explained = item.stash.get(MADE_CHECKS_FAIL, False)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        with self._writer() as tap:
            self._report(tap, report)

    def _report(self, tap: TapWriter, report: pytest.TestReport) -> None:
        is_call = report.when == 'call'
        name = report.nodeid if is_call else f'{report.nodeid}: {report.when}'
        if is_call and self._checks:
            tap.add_all(self._checks)
        if report.skipped:
            # File, line and reason
            reason = report.longrepr[2] \
                if isinstance(report.longrepr, tuple) else 'expected to fail'
            tap.add(Result(True, report.nodeid),
                    f'SKIP {reason.removeprefix("Skipped: ")}')
        elif report.failed and not (is_call and self._is_explained):
            tap.add(Result(False, name, report.longreprtext))
        elif report.passed and is_call and not (self._checks and
                                                self._checks.results):
            tap.add(Result(True, name))

    def pytest_internalerror(self, excrepr: object) -> None:
        with self._writer() as tap:
            tap.bail_out(f'pytest failed\n{excrepr}')

    def pytest_keyboard_interrupt(
            self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        with self._writer() as tap:
            tap.bail_out(str(excinfo.value) or 'interrupted')

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        if exitstatus not in (pytest.ExitCode.INTERRUPTED,
                              pytest.ExitCode.INTERNAL_ERROR):
            with self._writer() as tap:
                tap.finish()
