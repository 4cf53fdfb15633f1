# SPDX-License-Identifier: GPL-2.0-or-later

"""What it takes to run a program: files, memory, the machines."""

import math
from dataclasses import dataclass
from pathlib import Path

from bench import Bench, Options
from initramfs import MissingError, base_image, run_image
from l1 import L1Machine
from l2 import FIRMWARE_PATH, PROGRAM_PATH
from oracle import Oracle
from program import Program
from tap import Tap

MIB = 1 << 20
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


def _find(path: Path, how: str) -> Path:
    if not path.exists():
        raise MissingError(f'{path} is missing: {how}')
    return path


def find_built(build: Path, kernel: Path | None) -> Built:
    """Finds what was built in that folder; the kernel can be another one."""
    return Built(
        build,
        _find(build / 'qemu/qemu-system-x86_64', 'scripts/build-qemu builds '
              'it'),
        _find(build / 'qemu-src/python', 'scripts/build-qemu unpacks it'),
        _find(kernel or build / 'nested/bzImage',
              'give the image of a kernel' if kernel else
              'tests/nested/build-kernel builds it'),
        _find(build / 'core/tests/nested/gmem-firmware.bin',
              '"meson setup build/core && ninja -C build/core" builds it'))


def l1_memory(program: Program, oracle: Oracle) -> int:
    """MiB of memory the level 1 machine needs for this program."""
    memory = program.machine.memory + program.machine.vmem_size
    needed = min(memory, oracle.peak_shared) + min(memory, oracle.touched)
    return max(L1_MIN_MIB, L1_OWN_MIB + math.ceil(needed / MIB))


def check_program(program: Program, backend: str) -> Oracle:
    """Refuses a program that cannot be right, before anything is started."""
    oracle = Oracle(program, backend != 'none')
    for _ in oracle.run():
        pass
    return oracle


def start(program: Program, options: Options, built: Built, qemu: Path,
          folder: Path, tap: Tap) -> Bench:
    """Runs a checked program on that QEMU, with its files in the folder.

    Raises L1Hung if nothing can be known.
    """
    oracle = check_program(program, options.backend)
    base = base_image(qemu, built.folder / 'nested')
    initrd = folder / 'initrd.cpio'
    run_image(base, {FIRMWARE_PATH: built.firmware.read_bytes(),
                     PROGRAM_PATH: program.pack()}, initrd)
    bench = Bench(program, options, tap)
    bench.run(lambda: L1Machine(
        built.qemu, built.kernel, initrd, folder, l1_memory(program, oracle),
        options.icount, options.backend != 'none'))
    return bench
