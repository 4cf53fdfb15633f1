# SPDX-License-Identifier: GPL-2.0-or-later

"""Read the image of a Linux kernel for x86."""

from pathlib import Path

from harness.initramfs import MissingError

# Linux boot protocol: magic number, and pointer to the version relative to the
# end of the boot sector
_MAGIC = slice(0x202, 0x206)
_VERSION_POINTER = slice(0x20e, 0x210)
_SECTOR = 0x200


def kernel_release(image: Path) -> str:
    """Return the release of the kernel, such as 6.12.1."""
    data = image.read_bytes()
    if data[_MAGIC] != b'HdrS':
        raise MissingError(f'{image} is not the image of a Linux kernel: '
                           'use a bzImage')
    at = int.from_bytes(data[_VERSION_POINTER], 'little') + _SECTOR
    version = data[at:data.index(0, at)].decode(errors='replace')
    return version.partition(' ')[0]
