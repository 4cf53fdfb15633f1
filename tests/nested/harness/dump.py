# SPDX-License-Identifier: GPL-2.0-or-later

"""Read dumps of guest memory: ELF, and kdump's format, flattened or not.

A dump that a reader of the format could not use raises DumpError.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from harness.intervals import IntervalSet
from harness.program import PAGE_SIZE

_ET_CORE = 4
_PT_LOAD = 1
_PT_NOTE = 4
_PN_XNUM = 0xffff

_FLAT = b'makedumpfile\0\0\0\0'
_FLAT_HEADER_SIZE = 4096
_FLAT_END = -1

_KDUMP = b'KDUMP   '
# Offsets in the headers of kdump's format, version 6
_KDUMP_STATUS = 424
_KDUMP_MAX_PFN = 96
_KDUMP_ZLIB = 1


class DumpError(Exception):
    """The dump is not valid."""


@dataclass
class Dump:
    """The memory in a dump, by guest physical address.

    @pages: the content of each page, if it was read
    """

    memory: IntervalSet
    pages: dict[int, bytes]


def _need(condition: bool, what: str) -> None:
    if not condition:
        raise DumpError(what)


def _elf_headers(data: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """Return type, offset, physical address and sizes of each segment."""
    _need(data[:4] == b'\x7fELF' and data[5] == 1 and data[6] == 1,
          'no little-endian ELF file')
    is_64 = data[4] == 2
    if is_64:
        kind, phoff, shoff = struct.unpack_from('<H14xQQ', data, 16)
        phentsize, count, shentsize, shnum = struct.unpack_from('<4H', data,
                                                                54)
    else:
        kind, phoff, shoff = struct.unpack_from('<H10xII', data, 16)
        phentsize, count, shentsize, shnum = struct.unpack_from('<4H', data,
                                                                42)
    _need(kind == _ET_CORE, 'no core file')
    _need(shnum > 0 and shoff + shnum * shentsize <= len(data),
          'the section headers are not in the file')
    if count == _PN_XNUM:
        count = struct.unpack_from('<I', data, shoff + (44 if is_64 else 28)
                                   )[0]
    for number in range(count):
        where = phoff + number * phentsize
        if is_64:
            segment, offset, paddr, filesz, memsz = struct.unpack_from(
                '<I4xQ8xQQQ', data, where)
        else:
            segment, offset, paddr, filesz, memsz = struct.unpack_from(
                '<II4xIII', data, where)
        yield segment, offset, paddr, filesz, memsz


def read_elf(data: bytes) -> Dump:
    dump = Dump(IntervalSet(), {})
    used = IntervalSet()
    notes = 0
    for segment, offset, paddr, filesz, memsz in _elf_headers(data):
        _need(offset + filesz <= len(data), 'a segment is not in the file')
        if segment == _PT_NOTE:
            notes += 1
            continue
        _need(segment == _PT_LOAD and filesz == memsz > 0 and
              not any(dump.memory.clipped(paddr, paddr + memsz)) and
              not any(used.clipped(offset, offset + filesz)),
              f'segment at {paddr:#x}: type {segment}, sizes {filesz:#x} and '
              f'{memsz:#x}, offset {offset:#x}')
        dump.memory.add(paddr, paddr + memsz)
        used.add(offset, offset + filesz)
        for start in range(0, filesz, PAGE_SIZE):
            dump.pages[paddr + start] = data[
                offset + start:offset + min(start + PAGE_SIZE, filesz)]
    _need(notes == 1, f'{notes} segments of notes')
    return dump


def _unflatten(data: bytes) -> bytes:
    """Return what "makedumpfile -R" makes of a flattened file."""
    _need(struct.unpack_from('>qq', data, 16) == (1, 1), 'flattened header')
    out = bytearray()
    where = _FLAT_HEADER_SIZE
    while True:
        _need(where + 16 <= len(data), 'the flattened file has no end')
        offset, size = struct.unpack_from('>qq', data, where)
        where += 16
        if offset == size == _FLAT_END:
            return bytes(out)
        _need(offset >= 0 and 0 < size <= len(data) - where,
              f'flattened record: offset {offset}, size {size}')
        if len(out) < offset + size:
            out.extend(bytes(offset + size - len(out)))
        out[offset:offset + size] = data[where:where + size]
        where += size


def _set_bits(bitmap: bytes) -> Iterator[int]:
    for number, byte in enumerate(bitmap):
        for bit in range(8) if byte else ():
            if byte >> bit & 1:
                yield 8 * number + bit


def read_kdump(data: bytes, with_pages: bool = True) -> Dump:
    """Read kdump's format.

    @with_pages: whether to read the pages; if not, @data can end after the
    bitmaps. Pages that are compressed with something else than zlib are not
    read.
    """
    if data.startswith(_FLAT):
        data = _unflatten(data)
    _need(data[:8] == _KDUMP and struct.unpack_from('<I', data, 8)[0] == 6,
          "no file in kdump's format")
    block, sub_blocks, bitmap_blocks = struct.unpack_from(
        '<III', data, _KDUMP_STATUS + 4)
    _need(block == PAGE_SIZE, f'pages of {block} bytes')
    max_pfn = struct.unpack_from('<Q', data, block + _KDUMP_MAX_PFN)[0]
    start = (1 + sub_blocks) * block
    half = bitmap_blocks * block // 2
    bitmap = data[start:start + half]
    _need(len(bitmap) == half and 8 * half >= max_pfn, 'size of the bitmaps')
    pfns = list(_set_bits(bitmap))
    _need(bool(pfns) and pfns[-1] < max_pfn, 'pages in the bitmap')
    dump = Dump(IntervalSet(), {})
    for pfn in pfns:
        dump.memory.add(pfn * block, (pfn + 1) * block)
    if not with_pages:
        return dump
    _need(data[start + half:start + 2 * half].rstrip(b'\0') ==
          bitmap.rstrip(b'\0'), 'the bitmaps differ')
    where = (1 + sub_blocks + bitmap_blocks) * block
    for number, pfn in enumerate(pfns):
        offset, size, flags = struct.unpack_from('<QII', data,
                                                 where + 24 * number)
        _need(0 < size <= block and offset + size <= len(data),
              f'page {pfn:#x}: offset {offset:#x}, size {size}')
        page = data[offset:offset + size]
        if flags == _KDUMP_ZLIB:
            page = zlib.decompress(page)
        if not flags & ~_KDUMP_ZLIB:
            _need(len(page) == block, f'page {pfn:#x}: its size')
            dump.pages[pfn * block] = page
    return dump
