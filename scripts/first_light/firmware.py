# SPDX-License-Identifier: GPL-2.0-or-later

"""Check of the firmware file."""

import struct
from uuid import UUID

from first_light.finding import Finding, failed, passed, unknown
from first_light.options import Wish
from first_light.tee import SNP

# QEMU loads firmware with -bios in units of this size
_UNIT = 65536
# In OVMF's table, data is followed by the size of the entry, then by its GUID
_SIZE = struct.Struct('<H')
# Where QEMU puts hashes of the kernel: base and size, 0 if OVMF has no place
_HASHES_GUID = UUID('7255371f-3a3b-4b04-927b-1da6efa8d454')
_HASHES = struct.Struct('<II')
_HASHES_PROPERTY = 'kernel-hashes=on'

_GENERIC = 'OVMF built from OvmfPkg/OvmfPkgX64.dsc (OVMF.fd)'
_WHICH = {'snp': _GENERIC, 'tdx': f'{_GENERIC} or from '
          'OvmfPkg/IntelTdx/IntelTdxX64.dsc'}


def has_room_for_hashes(content: bytes) -> bool:
    """Whether the firmware verifies the kernel, as that of AmdSev does."""
    at = content.rfind(_HASHES_GUID.bytes_le)
    start = at - _SIZE.size - _HASHES.size
    if start < 0:
        # Not found, or not in a table
        return False
    base, size = _HASHES.unpack_from(content, start)
    return bool(base and size)


def _check_hashes(content: bytes, wish: Wish) -> Finding | None:
    """Check that kernel and firmware agree on kernel hashes."""
    if wish.tee is not SNP or not wish.kernel:
        return None
    name = 'kernel hashes'
    wants = _HASHES_PROPERTY in wish.tee_properties.split(',')
    if has_room_for_hashes(content) == wants:
        return passed(name, 'the firmware verifies the kernel' if wants else
                      'not used')
    if wants:
        return failed(name, f'{wish.firmware}: has no place for them',
                      f'Leave out {_HASHES_PROPERTY}, or use OVMF built from '
                      'OvmfPkg/AmdSev/AmdSevX64.dsc')
    return failed(name, f'{wish.firmware}: boots a kernel only if QEMU gives '
                  'its hashes', f'Use --tee-properties {_HASHES_PROPERTY}, or '
                  f'--firmware with {_GENERIC}')


def check_firmware(wish: Wish) -> list[Finding]:
    """Check that the firmware file supports the type of guest."""
    name, firmware, tee = 'firmware', wish.firmware, wish.tee
    way_out = 'Use --firmware with ' + _WHICH.get(
        tee.name, 'firmware for this type of guest')
    if firmware is None:
        verdict = failed if wish.can_boot() else unknown
        return [verdict(name, 'not given', way_out)]
    try:
        content = firmware.read_bytes()
    except OSError as error:
        return [failed(name, f'{firmware}: {error.strerror}', way_out)]
    if not content or len(content) % _UNIT:
        return [failed(name, f'{firmware}: its size, {len(content)} bytes, is '
                       'not a multiple of 64 KiB: QEMU does not load it',
                       way_out)]
    if tee.firmware_guid and tee.firmware_guid.bytes_le not in content:
        return [failed(name, f'{firmware}: no metadata of {tee.title} in it '
                       f'(GUID {tee.firmware_guid})', way_out)]
    finding = passed(name, f'{firmware}, {len(content)} bytes' + (
        f', with metadata of {tee.title}' if tee.firmware_guid else ''))
    hashes = _check_hashes(content, wish)
    return [finding, hashes] if hashes else [finding]
