# SPDX-License-Identifier: GPL-2.0-or-later

"""The wire format of programs, read from firmware/program-format.h."""

import re
import struct
from pathlib import Path

from harness import NESTED

HEADER_FILE = NESTED / 'firmware/program-format.h'

_TYPES = {'uint16_t': 'H', 'uint32_t': 'I', 'int64_t': 'q', 'uint64_t': 'Q'}


class Layout:
    """A struct of the header, which packs values by field name."""

    def __init__(self, name: str, fields: list[tuple[str, str]]) -> None:
        self.name = name
        self.fields = [field for _, field in fields]
        self._bits = {field: struct.calcsize(_TYPES[kind]) * 8
                      for kind, field in fields}
        self._struct = struct.Struct(
            '<' + ''.join(_TYPES[kind] for kind, _ in fields))
        self.size = self._struct.size
        # The compiler aligns fields: the struct must not need padding
        codes = [_TYPES[kind] for kind, _ in fields]
        native = struct.calcsize(
            '@' + ''.join(codes) + '0' + max(codes, key=struct.calcsize))
        if native != self.size:
            raise ValueError(f'struct {name} has gaps')

    def pack(self, **values: int) -> bytes:
        unknown = set(values) - set(self.fields)
        if unknown:
            raise KeyError(f'struct {self.name} has no {unknown}')
        return self._struct.pack(
            *(values.get(field, 0) for field in self.fields))

    def unpack(self, data: bytes) -> dict[str, int]:
        return dict(zip(self.fields, self._struct.unpack(data)))


def read_header(path: Path) -> tuple[dict[str, int], dict[str, Layout]]:
    """Read the constants and structs of a header, by their names."""
    text = path.read_text(encoding='utf-8')
    text = re.sub(r'/\*.*?\*/', '', text, flags=re.S)
    constants = {
        name: int(value, 0) for name, value in re.findall(
            r'^\s*(?:constexpr \w+ )?([A-Z]\w*) = (\w+)[,;]$', text, re.M)}
    structs = {
        name: Layout(name, re.findall(r'^\s*(\w+) (\w+);$', body, re.M))
        for name, body in re.findall(r'struct (\w+) \{(.*?)\};', text, re.S)}
    return constants, structs


CONSTANTS, STRUCTS = read_header(HEADER_FILE)

RECORD = STRUCTS['ProgramRecord']
HEADER = STRUCTS['ProgramHeader']

# Name of the fw_cfg file, which the firmware expects
PROGRAM_FILE = 'opt/org.qemu.shared-dma/program'
