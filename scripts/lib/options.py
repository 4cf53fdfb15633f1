# SPDX-License-Identifier: GPL-2.0-or-later

"""The options of commands that are shell scripts.

The name of the command and its arguments are given. What is printed is for the
shell to evaluate: an assignment for each option, or --help and an exit.
"""

import argparse
import contextlib
import io
import os
import shlex
import sys
from collections.abc import Callable

PROCESSORS = os.cpu_count() or 1


def positive(text: str) -> int:
    with contextlib.suppress(ValueError):
        if int(text) > 0:
            return int(text)
    raise argparse.ArgumentTypeError(f'{text!r} is not an integer >= 1')


def not_empty(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError('must not be empty')
    return text


def add_jobs(parser: argparse.ArgumentParser, what: str,
             default: int = PROCESSORS) -> None:
    parser.add_argument('--jobs', type=positive, default=default, metavar='N',
                        help=f'run N {what} at once (default: {default})')


def add_update(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--update', action='store_true',
                        help='look for a newer point release in Debian')


def build_qemu(parser: argparse.ArgumentParser) -> None:
    parser.description = '''
        Build build/qemu/qemu-system-x86_64: QEMU 10.0 with this project in it.
        The patched source is in build/qemu-src. Our files are links there, so
        after an edit 'ninja -C build/qemu qemu-system-x86_64' is enough.'''
    parser.epilog = f'''
        Downloads and compiled objects are kept in
        {os.environ.get('cache_dir', '~/.cache')}.'''
    parser.add_argument('--qemu-source', type=not_empty, metavar='WHERE',
                        help='a git checkout, an unpacked release or a '
                        'release tarball of QEMU 10.0. It is copied, never '
                        'changed, and used by later runs too. "debian" goes '
                        "back to the default, Debian 13's source package")
    parser.add_argument('--full', action='store_true',
                        help="build with QEMU's default features, as far as "
                        'their libraries are installed, not only with what '
                        'the tests and the demo need. Later runs without '
                        '--full, as by scripts/demo and scripts/check, build '
                        'the smaller QEMU again')
    add_jobs(parser, 'compilers')
    add_update(parser)


def check(parser: argparse.ArgumentParser) -> None:
    parser.description = '''
        Check style, build everything, and run all tests with "meson test":
        those of build/core, and those of build/qemu in its suite
        shared-dma.'''
    parser.epilog = '''
        The last line is "N passed, N failed[, N skipped]", where test cases
        are counted one by one. The exit status is 0 if tests were run and none
        failed. Logs are in meson-logs in build/core and build/qemu.'''
    parser.add_argument('tests', nargs='*', metavar='NAME',
                        help='run only these tests; "meson test -C build/core '
                        '--list --suite fast" lists the fast ones, and so on')
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument('--fast', action='store_true',
                      help='leave out what needs QEMU')
    mode.add_argument('--sanitize', action='store_true',
                      help='instead of the other tests, run unit tests and '
                      'tests of the conversion path with sanitizers, and fuzz '
                      'targets for some minutes')
    mode.add_argument('--soak', nargs='?', type=positive, const=30,
                      metavar='M', help='run random programs too, at the end, '
                      'for M minutes (default: 30)')
    parser.add_argument('--qemu-suites', action='store_true',
                        help="run QEMU's own unit tests and qtests too, with "
                        'and without the project in QEMU, and compare (see '
                        'scripts/qemu-suites)')
    add_jobs(parser, 'tests', min(PROCESSORS, 2))


def demo(parser: argparse.ArgumentParser) -> None:
    parser.description = '''
        Install what is missing, build QEMU with this project in it and a small
        Linux to run it on, start a guest whose memory is private, and show the
        DMA of a device that is assigned to it. No special processor is needed:
        QEMU emulates the machine on which all of this runs.'''
    parser.epilog = '''
        The first run takes about 20 minutes on two cores, the next ones
        seconds. The exit status is 0 if everything that is shown has
        happened.'''


def qemu_suites(parser: argparse.ArgumentParser) -> None:
    parser.description = '''
        Build QEMU 10.0 twice, pristine and with this project in it, run QEMU's
        own unit tests and x86_64 qtests in both, and report what passes in the
        pristine tree only. A development tree (build/qemu-src with a .git)
        is not tested: only patches/ and the project's files are.'''
    parser.epilog = f'''
        The trees are in build/suites. Results of the pristine tree are kept in
        {os.environ.get('cache_dir', '~/.cache')}/suites. The exit status is
        not 0 if there is a regression.'''
    add_jobs(parser, 'compilers and tests')
    parser.add_argument('--again', action='store_true',
                        help='test the pristine tree again, even if its '
                        'results are known')
    parser.add_argument('--counts', type=not_empty, metavar='FILE',
                        help='write "PASSED FAILED SKIPPED" to FILE')


def build_kernel(parser: argparse.ArgumentParser) -> None:
    parser.description = '''
        Build build/nested/bzImage, the kernel that the nested tests run, from
        Debian 13's linux-source-6.12. An image that was built from the same
        source and configuration before is reused.'''
    parser.epilog = f'''
        Images are kept in {os.environ.get('cache_dir', '~/.cache')}/kernel.'''
    parser.add_argument('--config', type=not_empty, metavar='FILE',
                        help='a fragment to put on top of allnoconfig '
                        '(default: tests/nested/l1.config)')
    add_jobs(parser, 'compilers')
    add_update(parser)


COMMANDS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    'build-qemu': build_qemu, 'check': check, 'demo': demo,
    'qemu-suites': qemu_suites, 'build-kernel': build_kernel}


def assignment(name: str, value: object) -> str:
    """A shell variable: a flag is 1 or empty, a list is an array."""
    if isinstance(value, list):
        return f'{name}=({shlex.join(value)})'
    if value is True:
        value = 1
    return f'{name}={shlex.quote(str(value or ""))}'


def main() -> int:
    command, *arguments = sys.argv[1:]
    parser = argparse.ArgumentParser(prog=command, allow_abbrev=False)
    COMMANDS[command](parser)
    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown):
            options = parser.parse_args(arguments)
    except SystemExit as end:
        if end.code == 0:
            print(f'printf %s {shlex.quote(shown.getvalue())}; exit')
        return int(end.code or 0)
    for name, value in vars(options).items():
        print(assignment(name, value))
    return 0


if __name__ == '__main__':
    sys.exit(main())
