# SPDX-License-Identifier: GPL-2.0-or-later

"""What it takes to run programs and tests: files, memory, the machines."""

import argparse
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import Bench, Options
from edge import EDGE_PATH, edge_library
from initramfs import MissingError, base_image, run_image
from l1 import STATUS_HUNG, L1Error, L1Hung, L1Machine
from l2 import AUDIT_PATH, FIRMWARE_PATH, PROGRAM_PATH
from oracle import Oracle
from program import MIB, Program
from tap import Tap

_HOW_CORE = '"meson setup build/core && ninja -C build/core" builds it'

_BUILD = Path(__file__).resolve().parent.parent.parent / 'build'
# For the level 1 machine's own needs: kernel, initramfs, QEMU, trace buffers
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
    """All scripts find in the same place what was built."""
    parser.add_argument('--build', type=Path, default=_BUILD, metavar='DIR',
                        help='the folder with what was built (default: '
                        'build/ of this tree)')


def _find(path: Path, how: str) -> Path:
    if not path.exists():
        raise MissingError(f'{path} is missing: {how}')
    return path


def find_built(build: Path, kernel: Path | None = None) -> Built:
    """Finds what was built in that folder; the kernel can be another one."""
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


def bench_files(built: Built) -> dict[str, bytes]:
    """What the level 1 machine needs to run programs."""
    return {FIRMWARE_PATH: built.firmware.read_bytes(),
            AUDIT_PATH: built.audit_pages.read_bytes(),
            EDGE_PATH: built.edge.read_bytes()}


def program_files(program: Program, built: Built) -> dict[str, bytes]:
    """What it needs to run this program."""
    return {**bench_files(built), PROGRAM_PATH: program.pack()}


def l1_memory(program: Program, oracle: Oracle) -> int:
    """MiB of memory the level 1 machine needs for this program."""
    memory = program.machine.memory + program.machine.vmem_size
    # Huge pages are there from the start
    shared = memory if program.machine.backing == 'hugetlb' \
        else min(memory, oracle.peak_shared)
    needed = shared + min(memory, oracle.touched)
    return max(L1_MIN_MIB, L1_OWN_MIB + math.ceil(needed / MIB))


def check_program(program: Program, backend: str) -> Oracle:
    """Refuses a program that cannot be right, before anything is started."""
    oracle = Oracle(program, backend != 'none')
    for _ in oracle.run():
        pass
    return oracle


def start(program: Program, options: Options, built: Built, qemu: Path,
          folder: Path, tap: Tap, kind: type[Bench] = Bench) -> Bench:
    """Runs a checked program on that QEMU, with its files in the folder.

    Raises L1Hung if nothing can be known.
    """
    oracle = check_program(program, options.backend)
    base = base_image(qemu, built.folder / 'nested')
    initrd = folder / 'initrd.cpio'
    run_image(base, program_files(program, built), initrd)
    bench = kind(program, options, tap)
    bench.run(lambda: L1Machine(
        built.qemu, built.kernel, initrd, folder, l1_memory(program, oracle),
        options.icount, options.backend != 'none'))
    return bench


class Machines:
    """Level 1 machines for a test that is no program, one at a time."""

    def __init__(self, built: Built, initrd: Path, folder: Path) -> None:
        self.built = built
        self._initrd = initrd
        self._folder = folder
        self._l1: L1Machine | None = None

    def start(self, memory_mib: int, devices: int,
              kernel_arguments: str = '', iommu_options: str = '',
              options: Sequence[str] = ()) -> L1Machine:
        """Starts one. What is left of the one before is ended."""
        self.kill()
        self._l1 = L1Machine(self.built.qemu, self.built.kernel, self._initrd,
                             self._folder, memory_mib, False, devices,
                             kernel_arguments, iommu_options, options)
        return self._l1

    def kill(self) -> None:
        if self._l1:
            self._l1.kill()
            self._l1 = None


def run_test(build: Path, files: Callable[[Built], dict[str, bytes]],
             test: Callable[[Machines, Tap], None]) -> int:
    """Runs a test that needs level 1 machines with these files.

    Returns the exit status of the script.
    """
    name = Path(sys.argv[0]).name
    tap = Tap()
    with tempfile.TemporaryDirectory(prefix=f'{name}-') as temporary:
        folder = Path(temporary)
        initrd = folder / 'initrd.cpio'
        try:
            built = find_built(build)
            run_image(base_image(built.qemu, build / 'nested'), files(built),
                      initrd)
        except (MissingError, OSError) as error:
            print(f'{name}: {error}', file=sys.stderr)
            return 2

        machines = Machines(built, initrd, folder)
        try:
            test(machines, tap)
        except L1Hung as error:
            tap.bail_out(str(error))
            return STATUS_HUNG
        except L1Error as error:
            tap.check(False, 'the level 1 machine works', str(error))
        finally:
            machines.kill()
    return 0 if tap.finish() else 1
