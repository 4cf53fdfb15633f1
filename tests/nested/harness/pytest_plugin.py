# SPDX-License-Identifier: GPL-2.0-or-later

"""Pytest plugin for tests on nested machines.

It has fixtures for the machines and for checks, and prints results as TAP for
meson.
"""

import functools
import logging
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.checks import Checks
from harness.initramfs import MissingError
from harness.l1 import L1Error
from harness.pytest_tap import CHECKS, MADE_CHECKS_FAIL, TapReporter
from harness.session import (BASE, BASE_HELP, BUILD, BUILD_HELP, LINUX,
                             LINUX_HELP, Built, Machines, find_built)

BACKENDS = ('type1', 'iommufd')

_LOG = logging.getLogger('nested')


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup('nested', 'nested tests')
    group.addoption('--tap', action='store_true',
                    help='print results as TAP, and nothing else, to stdout')
    group.addoption('--build', type=Path, default=BUILD, metavar='DIR',
                    help=BUILD_HELP)
    group.addoption('--linux', default=LINUX, metavar='VERSION',
                    help=LINUX_HELP)
    group.addoption('--base', default=BASE, metavar='VERSION', help=BASE_HELP)
    group.addoption('--qemu', type=Path, metavar='BINARY',
                    help='QEMU that runs the guest, instead of that of --base')
    group.addoption('--keep', type=Path, metavar='DIR',
                    help='keep logs and images of the machines in this folder')


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    # Exit normally on SIGTERM, so that the machines are killed
    signal.signal(signal.SIGTERM,
                  lambda *_: pytest.exit('terminated', returncode=2))
    if config.getoption('--tap'):
        config.pluginmanager.unregister(name='terminalreporter')
        config.pluginmanager.register(TapReporter(config), 'tap-reporter')


@pytest.fixture
def checks(request: pytest.FixtureRequest) -> Checks:
    """Return an object to collect the results of checks.

    A test with this fixture fails if a check fails, or if there is no check.
    """
    made = Checks(_LOG.info)
    request.node.stash[CHECKS] = made
    return made


@pytest.fixture(scope='session')
def built(pytestconfig: pytest.Config) -> Built:
    """Return the files that must be built before the tests."""
    try:
        return find_built(pytestconfig.getoption('--build'),
                          pytestconfig.getoption('--linux'),
                          base=pytestconfig.getoption('--base'))
    except MissingError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope='session')
def machines(built: Built, pytestconfig: pytest.Config) -> Iterator[Machines]:
    """Yield an object that starts level 1 machines, one at a time."""
    keep = pytestconfig.getoption('--keep')
    # The names of sockets must be short, and tmp_path is not
    with tempfile.TemporaryDirectory(prefix='nested-') as temporary:
        made = Machines(built, keep or Path(temporary), bool(keep),
                        pytestconfig.getoption('--qemu'))
        try:
            yield made
        finally:
            made.kill()


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Return the VFIO backend: the test runs with each of them."""
    return request.param


@pytest.hookimpl(hookwrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """Call a test, and evaluate its checks."""
    test = pyfuncitem.obj
    made = pyfuncitem.stash[CHECKS] if CHECKS in pyfuncitem.stash else None

    found = pyfuncitem.funcargs.get('machines')
    machines = found if isinstance(found, Machines) else None

    @functools.wraps(test)
    def call(**arguments: object) -> None:
        __tracebackhide__ = True
        try:
            test(**arguments)
        except L1Error as error:
            if not machines:
                raise
            raise L1Error(machines.describe(error)) from error
        if made is None:
            return
        if not made.results:
            pytest.fail('the test made no check', pytrace=False)
        if made.failures:
            pyfuncitem.stash[MADE_CHECKS_FAIL] = True
            pytest.fail('\n'.join(
                f'{result.name}\n{result.diagnostics}'
                for result in made.failures), pytrace=False)
    pyfuncitem.obj = call
    yield
    pyfuncitem.obj = test
