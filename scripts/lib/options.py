# SPDX-License-Identifier: GPL-2.0-or-later

"""Parse the options of a command that is a shell script.

The arguments are the name of the command and its own arguments. The output is
for the shell to evaluate: an assignment for each option, or the text of --help
and an exit.
"""

import argparse
import contextlib
import io
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

PROCESSORS = os.cpu_count() or 1
ROOT = Path(__file__).resolve().parent.parent.parent
NESTED = ROOT / 'tests/nested'
DEFAULT_LINUX = '6.12'
DEFAULT_BASE = '10.0'


def positive(text: str) -> int:
    with contextlib.suppress(ValueError):
        if int(text) > 0:
            return int(text)
    raise argparse.ArgumentTypeError(f'{text!r} must be an integer >= 1')


def not_empty(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError('must not be empty')
    return text


def add_jobs(parser: argparse.ArgumentParser, what: str,
             default: int = PROCESSORS) -> None:
    parser.add_argument('--jobs', type=positive, default=default, metavar='N',
                        help=f'run N {what} in parallel (default: {default})')


def add_update(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--update', action='store_true',
                        help="use Debian's newest point release, instead of "
                        'the source that was downloaded earlier')


def by_number(versions: list[str]) -> list[str]:
    return sorted(versions, key=lambda text: list(map(int, text.split('.'))))


def linux_versions() -> list[str]:
    """Return the versions of Linux that tests/nested/build-kernel builds."""
    return by_number([path.stem.partition('-')[2]
                      for path in NESTED.glob('kernel-*.config')])


def bases(folder: str = 'patches') -> list[str]:
    """Return the versions of QEMU that there are patches or a series for."""
    names = [path.name.removeprefix('qemu-')
             for path in (ROOT / folder).glob('qemu-*')]
    return by_number([name for name in names if '-' not in name])


def add_base(parser: argparse.ArgumentParser, what: str, default: str) -> None:
    parser.add_argument('--base', metavar='VERSION', choices=bases(),
                        help=f'{what}: {" or ".join(bases())} (default: '
                        f'{default})')


def add_linux(parser: argparse.ArgumentParser, what: str) -> None:
    versions = linux_versions()
    parser.add_argument('--linux', default=DEFAULT_LINUX, metavar='VERSION',
                        choices=versions,
                        help=f'{what}: {" or ".join(versions)} (default: '
                        '%(default)s)')


def build_qemu(parser: argparse.ArgumentParser) -> None:
    parser.description = '''
        Build QEMU with shared device assignment:
        build/qemu/qemu-system-x86_64. The patched source is in build/qemu-src,
        where this project's files are symbolic links. After editing them,
        'ninja -C build/qemu qemu-system-x86_64' is sufficient. With --base
        10.2, all of these are in build/qemu-10.2 instead of build. Missing
        Debian packages are installed, as root or with sudo.'''
    parser.epilog = f'''
        Downloads and compiled objects are kept in
        {os.environ.get('cache_dir', '~/.cache')}.'''
    add_base(parser, 'version of QEMU',
             f'that of --qemu-source, or {DEFAULT_BASE}')
    parser.add_argument('--qemu-source', type=not_empty, metavar='WHERE',
                        help='a git checkout, an unpacked release or a '
                        'release tarball of QEMU. It is copied, never '
                        'changed, and later runs for this base use it, too. '
                        '"debian" selects the default again: the source '
                        'package in Debian 13, or in sid for other bases than '
                        f'{DEFAULT_BASE}')
    parser.add_argument('--full', action='store_true',
                        help="enable all of QEMU's default features whose "
                        'libraries are installed, instead of only those that '
                        'the tests and the demo need. Later runs without '
                        '--full (scripts/demo and scripts/check) build the '
                        'small QEMU again')
    parser.add_argument('--asan', action='store_true',
                        help='build with the address and undefined behavior '
                        'sanitizers instead, in build/qemu-asan. The option '
                        '--qemu of the nested tests selects this QEMU')
    add_jobs(parser, 'compilers')
    add_update(parser)


def build_deb(parser: argparse.ArgumentParser) -> None:
    parser.description = '''
        Build Debian packages of QEMU with shared device assignment, to be
        installed over those of Debian 13: qemu-system-x86 and the packages
        that must have its version, made from Debian's source package with all
        of Debian's features; and qemu-dma-map-view. The packages, and the
        source packages, are in build/deb, or with --base 10.2 in
        build/qemu-10.2/deb. They are built on Debian 13. On Debian 12, or
        another distribution with apt, a chroot of Debian 13 is created for
        it. Missing packages are installed, as root or with sudo.'''
    parser.epilog = f'''
        The chroot, downloads and compiled objects are kept in
        {os.environ.get('cache_dir', '~/.cache')}.'''
    add_base(parser, 'version of QEMU', DEFAULT_BASE)
    parser.add_argument('--chroot', action='store_true',
                        help='build in a chroot on Debian 13, too, so that '
                        'build dependencies are not installed on the host')
    add_jobs(parser, 'compilers')
    add_update(parser)


def check(parser: argparse.ArgumentParser) -> None:
    parser.description = '''
        Build everything and run all checks with "meson test": style checks,
        unit tests, and tests of guests on nested virtual machines. Missing
        Debian packages are installed, as root or with sudo. Unit tests and
        qtests that are built in QEMU's tree are in build/qemu (suite
        shared-dma), all others in build/core. They and the most important
        tests of guests also run on the other versions of QEMU that there are
        patches for, which are in folders such as build/qemu-10.2.'''
    parser.epilog = '''
        The last line is "N passed, N failed[, N skipped]" and counts single
        test cases. The exit status is 0 if tests were run and none failed.
        Logs are in build/core/meson-logs and build/qemu/meson-logs.'''
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument('tests', nargs='*', default=[], metavar='NAME',
                      help='run only these tests; "meson test -C build/core '
                      '--list --suite SUITE" lists them, where SUITE is '
                      'fast, qemu, nested, long or soak, and "meson test -C '
                      'build/qemu --list --suite shared-dma" the others')
    mode.add_argument('--fast', action='store_true',
                      help='run only checks that need no QEMU tree')
    mode.add_argument('--sanitize', action='store_true',
                      help='instead of the other checks, run the unit tests '
                      'and the tests of conversions with sanitizers, and the '
                      'fuzz targets for some minutes')
    mode.add_argument('--long', action='store_true',
                      help='also run all tests of guests on the other '
                      'versions of QEMU, and of Linux guests in more '
                      'variants, for about two more hours')
    mode.add_argument('--soak', nargs='?', type=positive, const=30,
                      metavar='M', help='also run random programs on nested '
                      'guests for M minutes (default: 30), after the other '
                      'checks')
    mode.add_argument('--series', action='store_true',
                      help='instead of the other checks, export the series of '
                      "patches for QEMU's maintainers (see "
                      'scripts/export-series), and build and test each commit')
    mode.add_argument('--report', type=not_empty, metavar='FILE',
                      help='instead of running checks, write what to attach '
                      'to a bug, with scripts/shared-dma-report')
    parser.add_argument('--qemu-suites', action='store_true',
                        help="also run QEMU's own unit tests and qtests, with "
                        'and without this project, and compare the results '
                        '(see scripts/qemu-suites)')
    add_linux(parser, 'kernel of the nested virtual machines')
    add_jobs(parser, 'tests', min(PROCESSORS, 2))


def demo(parser: argparse.ArgumentParser) -> None:
    parser.description = '''
        Run Linux in a guest with private memory. Its disk and its network card
        are PCI devices that vfio-pci assigns, which can access only the memory
        that the guest shares. No special hardware is needed: QEMU emulates the
        host, with its processor, IOMMU and devices. The demo builds QEMU and a
        small Linux kernel, and installs missing Debian packages (as root or
        with sudo).'''
    parser.epilog = '''
        The first run takes about 20 minutes on two cores, later runs take two
        minutes. Results are in build/demo. The exit status is 0 if all steps
        succeeded.'''
    add_base(parser, 'version of the QEMU that runs the guest', DEFAULT_BASE)


def qemu_suites(parser: argparse.ArgumentParser) -> None:
    parser.description = '''
        Build QEMU twice, pristine and with this project, run QEMU's own
        unit tests and x86_64 qtests in both, and report tests that pass only
        in the pristine tree. Changes made in a development tree
        (build/qemu-src with a .git) are not tested, only patches/ and this
        project's files.'''
    parser.epilog = f'''
        The trees are in build/suites, or with --base 10.2 in
        build/qemu-10.2/suites. Results of the pristine tree are cached in
        {os.environ.get('cache_dir', '~/.cache')}/suites. The exit status is 1
        if there is a regression.'''
    add_base(parser, 'version of QEMU', DEFAULT_BASE)
    add_jobs(parser, 'compilers and tests')
    parser.add_argument('--again', action='store_true',
                        help='test the pristine tree again, even if its '
                        'results are cached')
    parser.add_argument('--counts', type=not_empty, metavar='FILE',
                        help='write the numbers "PASSED FAILED SKIPPED" to '
                        'FILE')


def export_series(parser: argparse.ArgumentParser) -> None:
    parser.description = '''
        Cut the project into series of patches for QEMU's maintainers: one with
        shared device assignment, in which the C++ parts are written in C, and
        one with fixes for the emulation of SVM. The patches and their cover
        letters are in build/series-VERSION and build/series-VERSION-tcg. The
        folder series has the plans of the series.'''
    parser.epilog = '''
        The result depends only on the project, QEMU's source and the author.
        "scripts/check --series" builds and tests each commit.'''
    versions = bases('series')
    parser.add_argument('--base', metavar='VERSION', choices=versions,
                        default=versions[-1], help='version of QEMU: '
                        f'{" or ".join(versions)} (default: %(default)s)')
    parser.add_argument('--author', type=not_empty, metavar='NAME',
                        help='author of the patches, "NAME <ADDRESS>" '
                        '(default: user.name and user.email of git config)')


def build_kernel(parser: argparse.ArgumentParser) -> None:
    parser.description = '''
        Build build/nested/linux-VERSION/bzImage, the Linux kernel of the
        emulated host on which the nested tests run QEMU and of guests, from
        linux-source-VERSION of Debian 13 or its backports. An image that was
        built earlier from the same source and configuration is reused. Missing
        Debian packages are installed, as root or with sudo.'''
    parser.epilog = f'''
        Images are cached in {os.environ.get('cache_dir', '~/.cache')}/kernel.
        '''
    add_linux(parser, 'version of Linux')
    parser.add_argument('--config', type=not_empty, metavar='FILE',
                        help='kernel options that differ from allnoconfig '
                        '(default: kernel.config and kernel-VERSION.config in '
                        'tests/nested)')
    add_jobs(parser, 'compilers')
    add_update(parser)


COMMANDS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    'build-deb': build_deb,
    'build-qemu': build_qemu, 'check': check, 'demo': demo,
    'export-series': export_series, 'qemu-suites': qemu_suites,
    'build-kernel': build_kernel}


def assignment(name: str, value: object) -> str:
    """Return a shell assignment: a flag is 1 or empty, a list is an array."""
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
