# SPDX-License-Identifier: GPL-2.0-or-later

"""Checks of QEMU and of the files that it is started with."""

import hashlib
import os
import subprocess
from pathlib import Path

from first_light.finding import Finding, failed, passed, unknown
from first_light.options import Wish
from first_light.tee import Tee

_TIMEOUT = 30
# QEMU loads firmware with -bios in units of this size
_FIRMWARE_UNIT = 65536


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


def check_firmware(wish: Wish) -> Finding:
    """Check that the firmware file supports the type of guest."""
    name, firmware, tee = 'firmware', wish.firmware, wish.tee
    which = {'snp': 'OVMF built for SEV-SNP', 'tdx': 'OVMF built for TDX '
             '(TDVF)'}.get(tee.name, 'firmware for this type of guest')
    if firmware is None:
        verdict = failed if wish.can_boot() else unknown
        return verdict(name, 'not given', f'Use --firmware with {which}')
    try:
        content = firmware.read_bytes()
    except OSError as error:
        return failed(name, f'{firmware}: {error.strerror}',
                      f'Use --firmware with {which}')
    if not content or len(content) % _FIRMWARE_UNIT:
        return failed(name, f'{firmware}: its size, {len(content)} bytes, is '
                      'not a multiple of 64 KiB: QEMU does not load it',
                      f'Use --firmware with {which}, one file with code and '
                      'variables, not OVMF_CODE.fd')
    if tee.firmware_guid and tee.firmware_guid.bytes_le not in content:
        return failed(name, f'{firmware}: no metadata of {tee.title} in it '
                      f'(GUID {tee.firmware_guid})',
                      f'Use --firmware with {which}')
    return passed(name, f'{firmware}, {len(content)} bytes' + (
        f', with metadata of {tee.title}' if tee.firmware_guid else ''))


def check_files(wish: Wish) -> list[Finding]:
    """Check that QEMU will be able to read the guest's files."""
    findings = []
    for name in ('kernel', 'initrd', 'disk'):
        path: Path | None = getattr(wish, name)
        if path is None:
            continue
        ok = path.exists() and not path.is_dir() and os.access(path, os.R_OK)
        findings.append(
            passed(name, f'{path}') if ok else
            failed(name, f'{path}: no file that can be read',
                   f'Use --{name} with a file'))
    return findings
