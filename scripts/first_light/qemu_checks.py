# SPDX-License-Identifier: GPL-2.0-or-later

"""Checks of QEMU and of the files that the guest boots."""

import hashlib
import os
import subprocess
from pathlib import Path

from first_light.finding import Finding, failed, passed
from first_light.options import Wish
from first_light.tee import Tee

_TIMEOUT = 30


def ask_qemu(qemu: Path, *arguments: str) -> str:
    """Return what QEMU prints. Raises OSError or SubprocessError."""
    return subprocess.run(
        [qemu, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
        text=True, errors='replace', check=True, timeout=_TIMEOUT).stdout


def qemu_version(qemu: Path) -> str:
    """Return the first line of --version, or why there is none."""
    try:
        return ask_qemu(qemu, '--version').partition('\n')[0]
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, or why it cannot be read."""
    try:
        with path.open('rb') as file:
            return hashlib.file_digest(file, 'sha256').hexdigest()
    except OSError as error:
        return error.strerror or str(error)


def check_qemu(qemu: Path, tee: Tee, backends: tuple[str, ...]) \
        -> list[Finding]:
    """Check that QEMU has what the guest needs."""
    build = f'Run scripts/build-qemu{tee.build_option}, or use --qemu'
    try:
        version = ask_qemu(qemu, '--version').partition('\n')[0]
        objects = ask_qemu(qemu, '-object', 'help').split()
        properties = ask_qemu(qemu, '-device', 'vfio-pci,help')
    except OSError as error:
        return [failed('QEMU', f'{qemu}: {error.strerror}', build)]
    except subprocess.SubprocessError as error:
        return [failed('QEMU', f'{error}', build)]
    findings = [passed('QEMU', f'{version} ({qemu})')]
    needed = [tee.qemu_object, 'memory-backend-memfd',
              *(['iommufd'] if 'iommufd' in backends else [])]
    for name in needed:
        findings.append(
            passed(f'QEMU object {name}', 'present') if name in objects else
            failed(f'QEMU object {name}', f'{qemu} does not have it', build))
    name = 'QEMU with shared DMA'
    findings.append(
        passed(name, 'vfio-pci has x-shared-dma-extent')
        if 'x-shared-dma-extent=' in properties else
        failed(name, f'{qemu} was built without it', build))
    return findings


def check_files(wish: Wish) -> list[Finding]:
    """Check that QEMU will be able to read the guest's files."""
    findings = []
    for name in ('kernel', 'initrd', 'disk'):
        path: Path | None = getattr(wish, name)
        if path is None:
            continue
        ok = path.exists() and not path.is_dir() and os.access(path, os.R_OK)
        findings.append(
            passed(f"guest's {name}", f'{path}') if ok else
            failed(f"guest's {name}", f'{path}: no file that can be read',
                   f'Use --{name} with a file'))
    return findings
