# SPDX-License-Identifier: GPL-2.0-or-later

"""Compile test programs into the records that the firmware executes.

README.rst describes the language.
"""

import ast
import errno
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness import NESTED
from harness.wire import CONSTANTS, HEADER, RECORD

PAGE_SIZE = 4096
_MASK = (1 << 64) - 1
_SUFFIXES = {'': 1, 'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30, 'T': 1 << 40}

MIB = 1 << 20
HUGE_PAGE = 2 * MIB
GIB = 1 << 30

# Results of conversions: the guest's register, or the results that KVM accepts
# from guests of this type
RESULTS = ('rax', 'snp', 'tdx')

# Kinds of shared memory, the default first
BACKINGS = ('ram', 'ram-shared', 'memfd', 'memfd-private', 'hugetlb')

# virtio-mem: block size, maximum number of blocks in a request, and answers to
# rejected requests
_DEFAULT_BLOCK = 2 * MIB
_MAX_REQUEST_BLOCKS = 0xffff
_ANSWERS = ('NACK', 'BUSY', 'ERROR')
_VMEM_PROPERTIES = ('dynamic-memslots', 'prealloc')

# Address of the watchdog on the PCI bus
ESB_SLOT = 0x10

# Emulated devices, and the names that programs have for their I/O ports, or
# for their address in CONFIG_ADDRESS
_DEVICES = {'virtio-blk': ('BLK', CONSTANTS['VIRTIO_BLK_PORT']),
            'virtio-net': ('NET', CONSTANTS['VIRTIO_NET_PORT']),
            'i6300esb': ('ESB', 1 << 31 | ESB_SLOT << 11)}


class ProgramError(Exception):
    """An error in a program; the message has its place and cause."""


@dataclass(frozen=True)
class Linear:
    """A number that can depend on the vCPU and on the round of a loop."""

    base: int = 0
    cpu: int = 0
    i: int = 0

    def at(self, cpu: int, i: int) -> int:
        """Return the value modulo 2^64, like the firmware calculates it."""
        return (self.base + cpu * self.cpu + i * self.i) & _MASK

    def is_constant(self) -> bool:
        return not self.cpu and not self.i


# What can disturb DMA with type1: that a part of a request is taken back, or
# that no entry is left; "any" leaves it open
DISTURBANCES = ('splits', 'merges', 'any')


@dataclass
class Record:
    """One operation of a program."""

    op: str
    line: int
    text: str
    gpa: Linear = Linear()
    size: int = 0
    pages: int = 0
    chunk: int = 0
    seed: int = 0
    expect: int = 0
    zero: bool = False
    blocked: bool = False
    is_not: bool = False
    name: str = ''
    end: int = 0

    def pack(self, results: str = RESULTS[0]) -> bytes:
        expect = self.expect
        # Guests of other types receive the same error for all failures
        if self.op in ('share', 'unshare') and expect and \
                results != RESULTS[0]:
            expect = -errno.EINVAL
        flags = ((CONSTANTS['FLAG_ZERO'] if self.zero else 0) |
                 (CONSTANTS['FLAG_BLOCKED'] if self.blocked else 0) |
                 (CONSTANTS['FLAG_NOT'] if self.is_not else 0))
        return RECORD.pack(
            opcode=CONSTANTS['OP_' + self.op.upper().replace('-', '_')],
            flags=flags, line=self.line, expect=expect,
            gpa=self.gpa.base & _MASK, cpu_step=self.gpa.cpu & _MASK,
            loop_step=self.gpa.i & _MASK, size=self.size, pages=self.pages,
            chunk=self.chunk, seed=self.seed, end=self.end)


@dataclass(frozen=True)
class Machine:
    """The guest that a program needs."""

    cpus: int = 1
    memory: int = 2 * GIB
    blocks: int = 1
    # The kind of its shared memory
    backing: str = BACKINGS[0]
    # The limit of vfio_iommu_type1 in level 1; 0 for its default
    dma_entry_limit: int = 0
    # x-shared-dma-extent of the device; empty for QEMU's default
    shared_dma_extent: str = ''
    # What unmaps memory that stays shared, if mappings cannot be cut
    disturbs: frozenset[str] = frozenset()
    # Whether QEMU sees memory faults instead of hypercalls
    implicit: bool = False
    # The kind of results that QEMU returns to KVM
    results: str = RESULTS[0]
    # virtio-mem device, whether the guest has private memory with it, and
    # other properties that are on
    vmem_size: int = 0
    vmem_block: int = 0
    vmem_private: bool = False
    vmem_properties: tuple[str, ...] = ()
    # Emulated devices, by their names in programs
    devices: tuple[str, ...] = ()

    # Where a q35 machine puts memory
    _LOW_MAX = 0xb0000000
    _LOW_SPLIT = 2 * GIB

    @property
    def low_end(self) -> int:
        """End of the memory below 4 GiB."""
        if self.memory >= self._LOW_MAX:
            return self._LOW_SPLIT
        return self.memory

    @property
    def high_end(self) -> int:
        """End of the memory above 4 GiB, or 4 GiB if there is none."""
        return 4 * GIB + self.memory - self.low_end

    @property
    def is_plain(self) -> bool:
        """Whether there is no private memory."""
        return bool(self.vmem_size) and not self.vmem_private

    @property
    def vmem_base(self) -> int:
        """Start of the virtio-mem device's region."""
        return -(-self.high_end // GIB) * GIB

    @property
    def vmem_end(self) -> int:
        return self.vmem_base + self.vmem_size


@dataclass
class Program:
    """A compiled program."""

    machine: Machine
    records: list[Record] = field(default_factory=list)

    def pack(self) -> bytes:
        parallel = [r.size for r in self.records if r.op == 'parallel']
        return HEADER.pack(
            magic=CONSTANTS['PROGRAM_MAGIC'],
            version=CONSTANTS['PROGRAM_VERSION'],
            record_size=RECORD.size, records=len(self.records),
            cpus=max(parallel, default=1), plain=self.machine.is_plain,
            vmem_base=self.machine.vmem_base,
            vmem_size=self.machine.vmem_size,
            vmem_block=self.machine.vmem_block,
        ) + b''.join(record.pack(self.machine.results)
                     for record in self.records)


_OPERATORS = {
    ast.Add: lambda a, b: Linear(a.base + b.base, a.cpu + b.cpu, a.i + b.i),
    ast.Sub: lambda a, b: Linear(a.base - b.base, a.cpu - b.cpu, a.i - b.i),
}

# Operations in a parallel block: for the first vCPU only, and for all vCPUs
FIRST_CPU_ONLY = {'dma-to', 'dma-from', 'master', 'pam'}
_IN_PARALLEL = FIRST_CPU_ONLY | {'share', 'unshare', 'fill', 'verify', 'poke',
                                 'out', 'repeat', 'end'}
_FOR_PRIVATE = {'share', 'unshare', 'audit'}
_FOR_VIRTIO_MEM = {'plug', 'unplug', 'unplug-all'}
_TOP_LEVEL_ONLY = {'reset', 'scratch', 'serve'}
_BLOCKS = {'parallel', 'repeat', 'measure'}


class _Compiler:
    """Compiles one text, line by line."""

    def __init__(self, name: str, memory: int | None, cpus: int | None
                 ) -> None:
        self._file = name
        self._memory = memory
        self._cpus = cpus
        self._line = 0
        self._text = ''
        self._words: list[str] = []
        self._names: dict[str, int] = {}
        self._machine = Machine()
        self._records: list[Record] = []
        self._open: list[Record] = []
        self._set_machine()

    def fail(self, message: str) -> ProgramError:
        return ProgramError(f'{self._file}:{self._line}: {message}')

    def _set_machine(self, **values: Any) -> None:
        """Set values of the machine, except those set by the caller."""
        machine = replace(self._machine, **values)
        self._machine = replace(
            machine, cpus=max(machine.cpus, self._cpus or 1),
            memory=self._memory or machine.memory)
        self._names |= {
            'LOW_END': self._machine.low_end,
            'HIGH_END': self._machine.high_end,
            'ROM': 4 * GIB - CONSTANTS['ROM_SIZE'],
            'BAR': CONSTANTS['EDU_BAR_BASE'],
        }
        if self._machine.vmem_size:
            self._names['VMEM'] = self._machine.vmem_base

    # Numbers

    def _evaluate(self, node: ast.expr) -> Linear:
        match node:
            case ast.Constant(value=int(value)):
                return Linear(value)
            case ast.Name(id='cpu'):
                if not any(r.op == 'parallel' for r in self._open):
                    raise self.fail('"cpu" is only known in a parallel block')
                return Linear(cpu=1)
            case ast.Name(id='i'):
                if not any(r.op == 'repeat' for r in self._open):
                    raise self.fail('"i" is only known in a repeat block')
                return Linear(i=1)
            case ast.Name(id=name):
                if name not in self._names:
                    raise self.fail(f'unknown name "{name}"')
                return Linear(self._names[name])
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                a, b = self._evaluate(left), self._evaluate(right)
                if not a.is_constant():
                    a, b = b, a
                if not a.is_constant():
                    raise self.fail('product of two variables')
                return Linear(a.base * b.base, a.base * b.cpu, a.base * b.i)
            case ast.BinOp(left=left, op=op, right=right) \
                    if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](self._evaluate(left),
                                            self._evaluate(right))
        raise self.fail('an expression can have numbers, names, +, -, * and '
                        'parentheses')

    def _linear(self, word: str) -> Linear:
        def number(match: re.Match[str]) -> str:
            return str(int(match[1], 0) * _SUFFIXES[match[2]])
        text = re.sub(r'\b(0x[0-9a-fA-F]+|[0-9]+)([KMGT]?)\b', number, word)
        try:
            tree = ast.parse(text, mode='eval')
        except SyntaxError:
            raise self.fail(f'"{word}" is not an expression') from None
        return self._evaluate(tree.body)

    def _number(self, word: str) -> int:
        value = self._linear(word)
        if not value.is_constant():
            raise self.fail(f'"{word}" must be a constant')
        if not 0 <= value.base <= _MASK:
            raise self.fail(f'"{word}" does not fit in 64 bits')
        return value.base

    # Words of a line

    def _next(self, what: str) -> str:
        if not self._words:
            raise self.fail(f'{what} is missing')
        return self._words.pop(0)

    def _option(self, name: str) -> bool:
        if self._words and self._words[0] == name:
            del self._words[0]
            return True
        return False

    def _page_count(self, size: int) -> int:
        if not size or size % PAGE_SIZE:
            raise self.fail('a size must be a multiple of pages of 4K')
        return size // PAGE_SIZE

    def _address(self) -> Linear:
        return self._linear(self._next('an address'))

    def _word_size(self) -> int:
        size = self._number(self._next('a size'))
        if not size or size % 8:
            raise self.fail('a size must be a multiple of words of 8 bytes')
        return size

    def _pattern(self, record: Record, can_be_zero: bool) -> None:
        if can_be_zero and self._option('zero'):
            record.zero = True
        elif self._option('seed'):
            record.seed = self._number(self._next('a seed'))
            if record.seed >> 32:
                raise self.fail('a seed must fit in 32 bits')
        else:
            raise self.fail('"seed NUMBER"' +
                            (' or "zero"' if can_be_zero else '') + ' missing')

    # Operations

    def _parse_conversion(self, record: Record) -> None:
        record.gpa = self._address()
        if self._option('pages'):
            record.pages = self._number(self._next('a number of pages'))
        else:
            record.pages = self._page_count(self._number(self._next('a size')))
            if self._option('chunk'):
                record.chunk = self._page_count(
                    self._number(self._next('the size of a chunk')))
        if self._option('expect'):
            name = self._next('the name of an error')
            if not hasattr(errno, name):
                raise self.fail(f'unknown error "{name}"')
            if self._machine.implicit:
                raise self.fail('an implicit conversion returns nothing')
            record.expect = -getattr(errno, name)

    def _parse_plug(self, record: Record) -> None:
        def some_blocks(what: str) -> int:
            size = self._number(self._next(what))
            block = self._machine.vmem_block
            if not size or size % block or size // block > _MAX_REQUEST_BLOCKS:
                raise self.fail(f'{what} must be up to {_MAX_REQUEST_BLOCKS} '
                                f'blocks of {block // MIB}M')
            return size // PAGE_SIZE
        record.gpa = self._address()
        record.pages = some_blocks('a size')
        if self._option('chunk'):
            record.chunk = some_blocks('the size of a chunk')
        if self._option('expect'):
            name = self._next('an answer')
            if name not in _ANSWERS:
                raise self.fail(f'an answer is {" or ".join(_ANSWERS)}, not '
                                f'"{name}"')
            record.expect = CONSTANTS['VIRTIO_MEM_' + name]

    def _parse_fill(self, record: Record) -> None:
        record.gpa = self._address()
        record.size = self._word_size()
        self._pattern(record, False)

    def _parse_verify(self, record: Record) -> None:
        record.gpa = self._address()
        record.size = self._word_size()
        self._pattern(record, True)

    def _parse_audit(self, record: Record) -> None:
        record.gpa = self._address()
        record.size = self._number(self._next('a size'))
        self._page_count(record.size)

    def _parse_dma(self, record: Record) -> None:
        record.gpa = self._address()
        record.size = self._word_size()
        if record.size > PAGE_SIZE:
            raise self.fail('the device transfers at most 4K')
        self._pattern(record, record.op == 'dma-from')
        outcome = self._next('"arrives" or "blocked"')
        if outcome not in ('arrives', 'blocked'):
            raise self.fail(f'"arrives" or "blocked", not "{outcome}"')
        record.blocked = outcome == 'blocked'
        if record.zero and record.blocked:
            raise self.fail('a blocked device also reads zeroes; use a '
                            'pattern')

    def _parse_scratch(self, record: Record) -> None:
        record.gpa = self._address()

    def _switch(self) -> bool:
        state = self._next('"on" or "off"')
        if state not in ('on', 'off'):
            raise self.fail(f'"on" or "off", not "{state}"')
        return state == 'on'

    def _parse_switch(self, record: Record) -> None:
        record.size = int(self._switch())

    def _parse_master(self, record: Record) -> None:
        self._parse_switch(record)
        record.chunk = 16
        if self._option('width'):
            record.chunk = self._number(self._next('8, 16 or 32'))
            if record.chunk not in (8, 16, 32):
                raise self.fail(f'a width of {record.chunk} bits, not 8, 16 '
                                'or 32')

    def _parse_count(self, record: Record) -> None:
        record.size = self._number(self._next('a number'))
        if not record.size:
            raise self.fail('the number must not be 0')
        if record.op == 'parallel':
            self._set_machine(cpus=max(self._machine.cpus, record.size))

    def _parse_measure(self, record: Record) -> None:
        record.name = self._next('a name')

    def _parse_value(self, record: Record) -> None:
        """Parse a value that is written to a place, or expected there."""
        port = record.op in ('out', 'in')
        record.gpa = self._linear(self._next('a port' if port
                                             else 'an address'))
        if record.op == 'peek':
            record.is_not = self._option('not')
        record.seed = self._number(self._next('a value'))
        widths = (8, 16, 32) if port else (8, 16, 32, 64)
        width = 32
        if self._option('width'):
            width = self._number(self._next('a number of bits'))
        if width not in widths:
            raise self.fail(f'a width of {width} bits, not '
                            f'{", ".join(map(str, widths))}')
        if record.seed >> width:
            raise self.fail(f'{record.seed:#x} does not fit in {width} bits')
        record.size = width // 8

    def _parse_nothing(self, record: Record) -> None:
        pass

    _PARSERS = {
        'share': _parse_conversion, 'unshare': _parse_conversion,
        'fill': _parse_fill, 'verify': _parse_verify,
        'plug': _parse_plug, 'unplug': _parse_plug,
        'unplug-all': _parse_nothing,
        'dma-to': _parse_dma, 'dma-from': _parse_dma,
        'audit': _parse_audit, 'serve': _parse_nothing,
        'scratch': _parse_scratch, 'master': _parse_master,
        'poke': _parse_value, 'peek': _parse_value, 'await': _parse_value,
        'out': _parse_value, 'in': _parse_value,
        'pam': _parse_switch,
        'parallel': _parse_count, 'repeat': _parse_count,
        'measure': _parse_measure, 'sync': _parse_nothing,
        'reset': _parse_nothing, 'end': _parse_nothing,
    }

    def _check_place(self, op: str) -> None:
        blocks = {record.op for record in self._open}
        if op in _FOR_PRIVATE and self._machine.is_plain:
            raise self.fail(f'"{op}" is for private memory: use "virtio-mem '
                            'SIZE private"')
        if op in _FOR_VIRTIO_MEM and not self._machine.vmem_size:
            raise self.fail(f'"{op}" is for virtio-mem: use "virtio-mem SIZE" '
                            'first')
        if 'parallel' in blocks and op not in _IN_PARALLEL:
            raise self.fail(f'"{op}" cannot be in a parallel block')
        if 'measure' in blocks and op in ('sync', 'audit'):
            raise self.fail('a measured block cannot wait for the harness')
        if blocks and op in _TOP_LEVEL_ONLY:
            raise self.fail(f'"{op}" cannot be in a block')

    def _parse_operation(self, op: str) -> None:
        record = Record(op, self._line, self._text)
        self._check_place(op)
        self._PARSERS[op](self, record)
        if op == 'end':
            if not self._open:
                raise self.fail('there is no block to end')
            self._open.pop().end = len(self._records)
        elif op in _BLOCKS:
            self._open.append(record)
        self._records.append(record)

    def _parse_virtio_mem(self) -> None:
        if self._records:
            raise self.fail('"virtio-mem" must be before all operations')
        size = self._number(self._next('a size'))
        block = _DEFAULT_BLOCK
        if self._option('block'):
            block = self._number(self._next('the size of a block'))
        if block < MIB or block & block - 1:
            raise self.fail('a block must be a power of two >= 1M')
        if not size or size % block:
            raise self.fail('a size must be a multiple of blocks of '
                            f'{block // MIB}M')
        private = self._option('private')
        properties = tuple(name for name in _VMEM_PROPERTIES
                           if self._option(name))
        self._set_machine(vmem_size=size, vmem_block=block,
                          vmem_private=private, vmem_properties=properties)

    def _parse_device(self) -> None:
        name = self._next('the name of a device')
        if name not in _DEVICES:
            raise self.fail(f'a device is {" or ".join(_DEVICES)}, not '
                            f'"{name}"')
        if name in self._machine.devices:
            raise self.fail(f'there is a {name} already')
        self._set_machine(devices=(*self._machine.devices, name))
        word, value = _DEVICES[name]
        self._names[word] = value

    def _parse_line(self) -> None:
        op = self._next('a word')
        if op == 'memory':
            memory = self._number(self._next('a size'))
            blocks = 1
            if self._option('blocks'):
                blocks = self._number(self._next('a number of blocks'))
            self._set_machine(memory=memory, blocks=blocks)
        elif op == 'backing':
            backing = self._next('a kind of memory')
            if backing not in BACKINGS:
                raise self.fail(f'backing is {" or ".join(BACKINGS)}, not '
                                f'"{backing}"')
            self._set_machine(backing=backing)
        elif op == 'cpus':
            self._set_machine(cpus=self._number(self._next('a number')))
        elif op == 'shared-dma-extent':
            self._set_machine(
                shared_dma_extent=self._next('"page", "auto" or a size'))
        elif op == 'disturbs':
            what = self._next('"splits" or "merges"')
            if what not in DISTURBANCES:
                raise self.fail(f'disturbs {" or ".join(DISTURBANCES)}, not '
                                f'"{what}"')
            self._set_machine(disturbs=self._machine.disturbs | {what})
        elif op == 'implicit':
            self._set_machine(implicit=self._switch())
        elif op == 'results':
            kind = self._next('a type of guest')
            if kind not in RESULTS:
                raise self.fail(f'results are those of {", ".join(RESULTS)}; '
                                f'not of "{kind}"')
            self._set_machine(results=kind)
        elif op == 'dma-entry-limit':
            self._set_machine(
                dma_entry_limit=self._number(self._next('a number')))
        elif op == 'virtio-mem':
            self._parse_virtio_mem()
        elif op == 'device':
            self._parse_device()
        elif op == 'let':
            name = self._next('a name')
            if not re.fullmatch(r'[A-Z][A-Z0-9_]*', name):
                raise self.fail(f'"{name}" must be a name in capitals')
            if not self._option('='):
                raise self.fail('"=" is missing')
            self._names[name] = self._number(' '.join(self._words))
            self._words.clear()
        elif op in self._PARSERS:
            self._parse_operation(op)
        else:
            raise self.fail(f'unknown operation "{op}"')
        if self._words:
            raise self.fail(f'unexpected word "{self._words[0]}"')

    def compile(self, text: str) -> Program:
        for number, line in enumerate(text.splitlines(), 1):
            self._line = number
            self._text = line.partition('#')[0].strip()
            self._words = self._text.split()
            if self._words:
                self._parse_line()
        if self._open:
            raise self.fail(f'the block of line {self._open[-1].line} has no '
                            '"end"')
        self._records.append(Record('done', self._line, 'done'))
        return Program(self._machine, self._records)


def compile_program(text: str, name: str, memory: int | None = None,
                    cpus: int | None = None) -> Program:
    """Compile a program text.

    @memory and @cpus override the text, but the guest always has at least as
    many vCPUs as the program needs.
    """
    return _Compiler(name, memory, cpus).compile(text)


def find_program(name: str) -> Path:
    """Find a program by its path, or by its name in programs/ and below."""
    if Path(name).is_file():
        return Path(name)
    programs = (NESTED / 'programs').rglob('*.prog')
    shipped = {path.stem: path for path in programs}
    if name in shipped:
        return shipped[name]
    known = sorted(shipped)
    raise ProgramError(f'"{name}" is neither a file nor a program; programs '
                       f'are: {", ".join(known)}')
