# SPDX-License-Identifier: GPL-2.0-or-later

"""Starts the machines for programs and tests, with the files they need."""

import argparse
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import NESTED
from harness.checks import Checks
from harness.edge import EDGE_PATH, edge_library
from harness.initramfs import MissingError, base_image, run_image
from harness.l1 import L1Error, L1Machine
from harness.l2 import (AUDIT_PATH, FIRMWARE_PATH, PROGRAM_PATH, L2Error,
                        L2Machine)
from harness.oracle import Oracle
from harness.program import MIB, Program
from harness.program_run import Options, ProgramRun

_HOW_CORE = '"meson setup build/core && ninja -C build/core" builds it'

BUILD = NESTED.parent.parent / 'build'
# Memory for the level 1 machine itself: kernel, initramfs, QEMU, trace buffers
L1_OWN_MIB = 2048
L1_MIN_MIB = 4096


@dataclass
class Built:
    """Files that have to be built first."""

    folder: Path
    qemu: Path
    qemu_python: Path
    kernel: Path
    firmware: Path
    audit_pages: Path
    edge: Path


def add_build_option(parser: argparse.ArgumentParser) -> None:
    """Add --build, which all commands have."""
    parser.add_argument('--build', type=Path, default=BUILD, metavar='DIR',
                        help='the folder with what was built (default: '
                        'build/ of this tree)')


def _find(path: Path, how: str) -> Path:
    if not path.exists():
        raise MissingError(f'{path} is missing: {how}')
    return path


def find_built(build: Path, kernel: Path | None = None) -> Built:
    """Find what was built in that folder; the kernel can be another one."""
    return Built(
        build,
        _find(build / 'qemu/qemu-system-x86_64', 'scripts/build-qemu builds '
              'it'),
        _find(build / 'qemu-src/python', 'scripts/build-qemu unpacks it'),
        _find(kernel or build / 'nested/bzImage',
              'give the image of a kernel' if kernel else
              'tests/nested/build-kernel builds it'),
        _find(build / 'core/tests/nested/nested-firmware.bin', _HOW_CORE),
        _find(build / 'core/tests/nested/audit-pages/audit-pages', _HOW_CORE),
        _find(edge_library(build), _HOW_CORE))


def program_files(program: Program, built: Built) -> dict[str, bytes]:
    """Return what the level 1 machine needs to run this program."""
    return {FIRMWARE_PATH: built.firmware.read_bytes(),
            AUDIT_PATH: built.audit_pages.read_bytes(),
            EDGE_PATH: built.edge.read_bytes(),
            PROGRAM_PATH: program.pack()}


def l1_memory(program: Program, oracle: Oracle) -> int:
    """Return how many MiB the level 1 machine needs for this program."""
    memory = program.machine.memory + program.machine.vmem_size
    # Huge pages are there from the start
    shared = memory if program.machine.backing == 'hugetlb' \
        else min(memory, oracle.peak_shared)
    needed = shared + min(memory, oracle.touched)
    return max(L1_MIN_MIB, L1_OWN_MIB + math.ceil(needed / MIB))


def check_program(program: Program, backend: str) -> Oracle:
    """Refuse a program that cannot be right, before anything is started."""
    oracle = Oracle(program, backend != 'none')
    for _ in oracle.run():
        pass
    return oracle


class Machines:
    """Level 1 machines, one at a time, each with its files in a folder."""

    def __init__(self, built: Built, folder: Path, keep: bool = False,
                 qemu: Path | None = None) -> None:
        """@qemu runs the guest, if it is not the one that was built.

        @keep: whether the folders stay when the machines are gone
        """
        self.built = built
        self._qemu = qemu or built.qemu
        self._folder = folder
        self._keep = keep
        self._started = 0
        self._current: Path | None = None
        self._l1: L1Machine | None = None

    def start(self, files: Mapping[str, bytes], memory_mib: int = L1_MIN_MIB,
              devices: int = 1, kernel_arguments: str = '',
              iommu_options: str = '', options: Sequence[str] = (),
              icount: bool = False) -> L1Machine:
        """Start one with these files, and end what is left of the last one.

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
        """The machine that is there, if any."""
        return self._l1

    def check_hung(self, error: L1Error | None = None) -> None:
        """Raise L1Hung if the machine is what went wrong.

        @error: of the machine itself, if there was one
        """
        if self._l1:
            self._l1.check_stalled()
            if error:
                self._l1.check_gone()

    def kill(self) -> None:
        """End the machine, if there is one."""
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

        @memory_mib: of the level 1 machine, if it is not to be calculated
        """
        program, options = run.program, run.options
        oracle = check_program(program, options.backend)
        count = int(options.backend != 'none') if devices is None else devices
        files = {**program_files(program, self.built), **(more_files or {})}
        run.run(lambda: self.start(
            files, memory_mib or l1_memory(program, oracle), count,
            icount=options.icount))

    def options(self, backend: str, timeout: float,
                dma_entry_limit: int = 0) -> Options:
        """Return options of a run on these machines."""
        return Options(backend, False, timeout, dma_entry_limit,
                       self.built.qemu_python, False)


@contextmanager
def running(l2: L2Machine, checks: Checks, name: str) -> Iterator[None]:
    """Start QEMU, and end it if it or the guest does not do as it should.

    That is a failed check. Whoever uses this connects to the monitor, and has
    QEMU quit.
    """
    l2.start()
    try:
        yield
    except L2Error as error:
        checks.check(False, f'{name}: QEMU and the guest do as they are told',
                     f'{error}\n{l2.stderr()}')
        l2.kill()
    finally:
        l2.disconnect()


def check_quit(l2: L2Machine, checks: Checks, name: str = '') -> None:
    """Check that QEMU quits when it is told to."""
    l2.quit()
    status = l2.wait_exit()
    checks.check(status == 0, f'{name}QEMU quits',
                 f'status {status}\n{l2.stderr()}')


def check_complaints(l1: L1Machine, checks: Checks, name: str = '',
                     allowed: str | None = None) -> None:
    """Check that the kernel of level 1 has not complained.

    @allowed: what lines may have in them that do not count
    """
    complaints = [line for line in l1.complaints()
                  if allowed is None or allowed not in line]
    checks.check(not complaints, f'{name}the kernel of level 1 has nothing to '
                 'complain of', '\n'.join(complaints))
