# SPDX-License-Identifier: GPL-2.0-or-later

"""Start the machines for programs and tests, with the files that they need."""

import argparse
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import NESTED
from harness.checks import Checks
from harness.edge import EDGE_PATH, edge_library
from harness.guest_options import FIRMWARE_PATH, PROGRAM_PATH
from harness.initramfs import MissingError, base_image, run_image
from harness.l1 import Icount, L1Error, L1Machine
from harness.l2 import AUDIT_PATH, L2Error, L2Machine
from harness.oracle import Oracle
from harness.program import MIB, Program
from harness.program_run import Options, ProgramRun

_HOW_CORE = '"meson setup build/core && ninja -C build/core" builds it'

BUILD = NESTED.parent.parent / 'build'
BUILD_HELP = 'build folder with QEMU, kernels and firmware (default: build/ ' \
    'of this tree)'
LINUX = os.environ.get('NESTED_LINUX') or '6.12'
# The level 1 machine always runs on this version of QEMU
BASE = '10.0'
BASE_HELP = 'version of the QEMU that runs the guest (default: %(default)s)'
LINUX_HELP = 'version of Linux in the machines (default: the environment ' \
    f'variable NESTED_LINUX, now {LINUX})'

# Memory for the level 1 machine itself: kernel, initramfs, QEMU, trace buffers
L1_OWN_MIB = 2048
L1_MIN_MIB = 4096


@dataclass
class Built:
    """Files that must be built first.

    @guest_qemu: the QEMU under test, which runs the guest. @qemu emulates the
    level 1 machine.
    """

    folder: Path
    qemu: Path
    guest_qemu: Path
    qemu_python: Path
    kernel: Path
    firmware: Path
    loader: Path
    audit_pages: Path
    edge: Path


def add_build_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that all commands have."""
    parser.add_argument('--build', type=Path, default=BUILD, metavar='DIR',
                        help=BUILD_HELP)
    parser.add_argument('--linux', default=LINUX, metavar='VERSION',
                        help=LINUX_HELP)
    parser.add_argument('--base', default=BASE, metavar='VERSION',
                        help=BASE_HELP)


def _find(path: Path, how: str) -> Path:
    if not path.exists():
        raise MissingError(f'{path} is missing: {how}')
    return path


def _find_kernel(build: Path, linux: str) -> Path:
    if not (NESTED / f'kernel-{linux}.config').exists():
        raise MissingError(f'Linux {linux} is unknown: '
                           '"tests/nested/build-kernel --help" lists versions')
    return _find(build / f'nested/linux-{linux}/bzImage',
                 f'"tests/nested/build-kernel --linux {linux}" builds it')


def _find_qemu(build: Path, base: str) -> Path:
    """Return the QEMU of this version."""
    if base == BASE:
        return _find(build / 'qemu/qemu-system-x86_64',
                     'scripts/build-qemu builds it')
    if not (NESTED.parent.parent / f'patches/qemu-{base}').exists():
        raise MissingError(f'QEMU {base} is unknown: "scripts/build-qemu '
                           '--help" lists versions')
    return _find(build / f'qemu-{base}/qemu/qemu-system-x86_64',
                 f'"scripts/build-qemu --base {base}" builds it')


def find_built(build: Path, linux: str, kernel: Path | None = None,
               base: str = BASE) -> Built:
    """Find the files in a build folder.

    @kernel: the image of a kernel to use instead of that of version @linux
    @base: the version of the QEMU that runs the guest
    """
    return Built(
        build,
        _find_qemu(build, BASE),
        _find_qemu(build, base),
        _find(build / 'qemu-src/python', 'scripts/build-qemu unpacks it'),
        _find(kernel, 'use the image of a kernel') if kernel
        else _find_kernel(build, linux),
        _find(build / 'core/tests/nested/nested-firmware.bin', _HOW_CORE),
        _find(build / 'core/tests/nested/loader/linux-loader.bin', _HOW_CORE),
        _find(build / 'core/tests/nested/audit-pages/audit-pages', _HOW_CORE),
        _find(edge_library(build), _HOW_CORE))


def program_files(program: Program, built: Built) -> dict[str, bytes]:
    """Return the files that the level 1 machine needs for this program."""
    return {FIRMWARE_PATH: built.firmware.read_bytes(),
            AUDIT_PATH: built.audit_pages.read_bytes(),
            EDGE_PATH: built.edge.read_bytes(),
            PROGRAM_PATH: program.pack()}


def l1_memory(program: Program, oracle: Oracle) -> int:
    """Return the memory of the level 1 machine for this program, in MiB."""
    memory = program.machine.memory + program.machine.vmem_size
    # Huge pages are allocated at the start
    shared = memory if program.machine.backing == 'hugetlb' \
        else min(memory, oracle.peak_shared)
    needed = shared + min(memory, oracle.touched)
    return max(L1_MIN_MIB, L1_OWN_MIB + math.ceil(needed / MIB))


def check_program(program: Program, backend: str) -> Oracle:
    """Reject a program that contradicts the oracle, before it is started."""
    oracle = Oracle(program, backend != 'none')
    for _ in oracle.run():
        pass
    return oracle


class Machines:
    """Level 1 machines, one at a time, each with its files in a folder."""

    def __init__(self, built: Built, folder: Path, keep: bool = False,
                 qemu: Path | None = None) -> None:
        """@qemu: the QEMU that runs the guest, if not built.guest_qemu

        @keep: whether to keep the folders after the machines have ended
        """
        self.built = built
        self._qemu = qemu or built.guest_qemu
        self._folder = folder
        self._keep = keep
        self._started = 0
        self._current: Path | None = None
        self._l1: L1Machine | None = None

    def start(self, files: Mapping[str, bytes], memory_mib: int = L1_MIN_MIB,
              devices: int = 1, kernel_arguments: str = '',
              iommu_options: str = '', options: Sequence[str] = (),
              icount: Icount = Icount.OFF) -> L1Machine:
        """Start a machine with these files, after ending the last one.

        @devices: the number of edu devices
        """
        self.kill()
        self._started += 1
        self._current = self._folder / str(self._started)
        self._current.mkdir(parents=True, exist_ok=True)
        initrd = self._current / 'initrd.cpio'
        run_image(base_image(self._qemu, self.built.folder / 'nested'),
                  dict(files), initrd)
        self._l1 = L1Machine(self.built.qemu, self.built.kernel, initrd,
                             self._current, memory_mib, icount, devices,
                             kernel_arguments, iommu_options, options)
        return self._l1

    @property
    def l1(self) -> L1Machine | None:
        """The current machine, or None."""
        return self._l1

    def describe(self, error: L1Error) -> str:
        """Return the text of an error, and the state of the machine."""
        return f'{error}\n{self._l1.describe() if self._l1 else ""}'.rstrip()

    def kill(self) -> None:
        """Kill the machine, if there is one."""
        if self._l1:
            self._l1.kill()
            self._l1 = None
        if self._current and not self._keep:
            shutil.rmtree(self._current)
        self._current = None

    def play(self, run: ProgramRun, memory_mib: int | None = None,
             devices: int | None = None,
             more_files: Mapping[str, bytes] | None = None) -> None:
        """Run a program to its end.

        @memory_mib: memory of the level 1 machine; calculated if None
        """
        program, options = run.program, run.options
        oracle = check_program(program, options.backend)
        count = int(options.backend != 'none') if devices is None else devices
        files = {**program_files(program, self.built), **(more_files or {})}
        run.run(lambda: self.start(
            files, memory_mib or l1_memory(program, oracle), count,
            icount=Icount.SKIP_IDLE if options.icount else Icount.OFF))

    def options(self, backend: str, timeout: float,
                dma_entry_limit: int = 0) -> Options:
        """Return options of a run on these machines."""
        return Options(backend, False, timeout, dma_entry_limit,
                       self.built.qemu_python, False)


@contextmanager
def running(l2: L2Machine, checks: Checks, name: str) -> Iterator[None]:
    """Start QEMU, and kill it if it or the guest fails.

    This is a failed check. The caller connects to the monitor, and lets QEMU
    quit.
    """
    l2.start()
    try:
        yield
    except L2Error as error:
        checks.check(False, f'{name}: QEMU and the guest execute the test',
                     f'{error}\n{l2.diagnosis()}')
        l2.kill()
    finally:
        l2.disconnect()


def check_quit(l2: L2Machine, checks: Checks, name: str = '') -> None:
    """Check that QEMU quits on request."""
    l2.quit()
    status = l2.wait_exit()
    checks.check(status == 0, f'{name}QEMU quits',
                 f'status {status}\n{l2.stderr()}')


def check_complaints(l1: L1Machine, checks: Checks, name: str = '',
                     allowed: str | None = None) -> None:
    """Check that the kernel of level 1 reported no problem.

    @allowed: a text whose lines are ignored
    """
    complaints = [line for line in l1.complaints()
                  if allowed is None or allowed not in line]
    checks.check(not complaints, f'{name}the kernel of level 1 reported no '
                 'problem', '\n'.join(complaints))
