# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of the reader of dumps."""

import struct
import zlib

import pytest

from harness.dump import DumpError, read_elf, read_kdump
from harness.program import PAGE_SIZE

_SEGMENTS = {0x1000: b'a' * PAGE_SIZE, 0x5000: b'b' * (2 * PAGE_SIZE)}
_PAGES = {0x1000: b'a' * PAGE_SIZE, 0x5000: b'b' * PAGE_SIZE,
          0x6000: b'b' * PAGE_SIZE}
_MEMORY = [(0x1000, 0x2000), (0x5000, 0x7000)]


def make_elf(count: int | None = None, shift: int = 0) -> bytes:
    """Return a core file with a note and two segments.

    @count: the number of program headers, if it is not in the header
    @shift: is added to the offset of the second segment
    """
    phdrs = [struct.pack('<II6Q', 4, 0, 0, 0, 0, 4, 4, 0)]
    offset = 64 + 64 + 3 * 56
    content = b''
    for gpa, data in _SEGMENTS.items():
        where = offset + len(content) + (shift if content else 0)
        phdrs.append(struct.pack('<II6Q', 1, 0, where, 0, gpa, len(data),
                                 len(data), 0))
        content += data
    header = b'\x7fELF\2\1\1' + bytes(9) + struct.pack(
        '<HHIQQQIHHHHHH', 4, 62, 1, 0, 128, 64, 0, 64, 56,
        0xffff if count else 3, 64, 1, 0)
    section = bytes(44) + struct.pack('<I', count or 0) + bytes(16)
    return header + section + b''.join(phdrs) + content


def make_kdump(flags: int = 1) -> bytes:
    """Return a file with a page of headers each, and a page per bitmap."""
    header = bytearray(2 * PAGE_SIZE)
    header[:12] = b'KDUMP   ' + struct.pack('<I', 6)
    struct.pack_into('<IIII', header, 424, flags, PAGE_SIZE, 1, 2)
    struct.pack_into('<Q', header, PAGE_SIZE + 96, 8)
    bitmap = bytes([0b01100010]) + bytes(PAGE_SIZE - 1)
    where = 4 * PAGE_SIZE + 24 * len(_PAGES)
    descriptors = content = b''
    for page in _PAGES.values():
        data = zlib.compress(page) if flags == 1 else page
        descriptors += struct.pack('<QIIQ', where + len(content), len(data),
                                   flags, 0)
        content += data
    return bytes(header) + 2 * bitmap + descriptors + content


def flatten(data: bytes) -> bytes:
    """Return a flattened file, written from its end to its start."""
    half = len(data) // 2
    out = (b'makedumpfile\0\0\0\0' + struct.pack('>qq', 1, 1)).ljust(4096,
                                                                     b'\0')
    for start, part in ((half, data[half:]), (0, data[:half])):
        out += struct.pack('>qq', start, len(part)) + part
    return out + struct.pack('>qq', -1, -1)


@pytest.mark.parametrize('count', (None, 3))
def test_elf(count: int | None) -> None:
    dump = read_elf(make_elf(count))
    assert list(dump.memory) == _MEMORY
    assert dump.pages == _PAGES


def test_bad_elf() -> None:
    overlapping = make_elf(shift=1 - PAGE_SIZE)
    for data in (make_elf()[:-1], overlapping, make_kdump()):
        with pytest.raises(DumpError):
            read_elf(data)


@pytest.mark.parametrize('flags', (0, 1))
@pytest.mark.parametrize('is_flat', (False, True))
def test_kdump(flags: int, is_flat: bool) -> None:
    data = make_kdump(flags)
    dump = read_kdump(flatten(data) if is_flat else data)
    assert list(dump.memory) == _MEMORY
    assert dump.pages == _PAGES


def test_kdump_without_pages() -> None:
    dump = read_kdump(make_kdump()[:4 * PAGE_SIZE], with_pages=False)
    assert list(dump.memory) == _MEMORY
    assert not dump.pages


def test_bad_kdump() -> None:
    for data in (make_kdump()[:-1], flatten(make_kdump())[:-16], make_elf()):
        with pytest.raises(DumpError):
            read_kdump(data)
