# SPDX-License-Identifier: GPL-2.0-or-later

"""Generate random programs that the oracle accepts.

The generator tracks the state and the content of the memory that it uses, so
that it knows the pattern for each "verify" and which DMA arrives.
"""

import random
from collections.abc import Callable

from harness.program import MIB, PAGE_SIZE

# Addresses. Memory around a target stays private, so that nothing splits or
# merges its mapping while vCPUs convert other memory.
_SCRATCH = 32 * MIB
_TARGETS = 40 * MIB
_TARGET_STEP = 64 << 10
_TARGET_COUNT = 16
_AREA_MIN = 64 * MIB

# Content of a page, other than the seed of a pattern
_ZERO = 0
_UNKNOWN = -1

_EXTENTS = ('', '', 'page', '64K', '2M', 'auto')

# Invalid requests, and requests without effect
_INVALID = (
    'share AREA pages 0 expect EINVAL',
    'unshare AREA pages 0 expect EINVAL',
    'share AREA+1K pages 1 expect EINVAL',
    'unshare AREA+4K+8 pages 3 expect EINVAL',
    'share 0-4K pages 2 expect EINVAL',
    'unshare 0-64K pages 17 expect EINVAL',
    'unshare AREA pages 0x10000000000000 expect EINVAL',
    'unshare AREA pages 0x100000 expect EINVAL',
    'unshare 1T 4K expect EINVAL',
    'share 1T 1M',
    'share BAR 1M',
    'unshare BAR+4K 4K expect EINVAL',
    'unshare 0xfee00000 4K expect EINVAL',
    'share HIGH_END 64K',
    'unshare LOW_END-64K pages 32 expect EINVAL',
)

# Entries of vfio_iommu_type1, besides those for memory that cannot be merged
_OTHER_ENTRIES = 400


class _Memory:
    """The area that is converted: the state and content of its pages."""

    def __init__(self, base: int, pages: int) -> None:
        self.base = base
        self.pages = pages
        self.shared = bytearray(pages)
        self.content = [_ZERO] * pages

    def address(self, page: int) -> str:
        offset = page * PAGE_SIZE
        return f'AREA+{offset >> 10}K' if offset else 'AREA'

    def convert(self, page: int, count: int, to_shared: bool) -> None:
        for at in range(page, page + count):
            if self.shared[at] != to_shared:
                self.shared[at] = to_shared
                self.content[at] = _ZERO

    def set_content(self, page: int, count: int, content: int) -> None:
        self.content[page:page + count] = [content] * count

    def reset(self) -> None:
        self.shared = bytearray(self.pages)
        self.content = [_UNKNOWN] * self.pages

    def runs(self) -> int:
        """Return the number of contiguous shared ranges."""
        return sum(1 for before, here in zip(b'\0' + self.shared, self.shared)
                   if here and not before)


class Generator:
    """Generates one program."""

    def __init__(self, seed: int, calls: int, backend: str) -> None:
        self._random = random.Random(seed)
        self._wanted_calls = calls
        # Limit for one operation, so that a program has many operations
        self._most_calls = max(40, calls // 12)
        self._calls = 0
        self._lines: list[str] = []
        self._next_seed = 1
        # Seed of the pattern in the device
        self._loaded: int | None = None
        self._is_master = False
        self._targets: list[int] = []
        self._peak_runs = 0
        # Always generated, even if unused: the programs of a seed for both
        # backends differ only in the limit
        wants_limit = self._random.random() < 0.3
        self._draw_machine()
        self._has_limit = wants_limit and self._extent != 'page'
        self._uses_limit = self._has_limit and backend == 'type1'

    def _draw_machine(self) -> None:
        draw = self._random
        self._memory_mib = draw.choice((256, 512, 512, 1024))
        self._blocks = draw.choice((1, 1, 2, 4))
        self._cpus = draw.choice((1, 2, 3, 4, 4))
        self._extent = draw.choice(_EXTENTS)
        pages = draw.choice((8, 16, 32)) * MIB // PAGE_SIZE
        low = _AREA_MIN
        block = self._memory_mib * MIB // self._blocks
        if self._blocks > 1 and block >= 96 * MIB:
            # Across the boundary between two blocks
            low = block - draw.randrange(1, pages) * PAGE_SIZE
        self._memory = _Memory(low, pages)

    # Small things

    def _emit(self, *lines: str) -> None:
        self._lines += lines

    def _seed(self) -> int:
        self._next_seed += 1
        return self._next_seed

    def _count(self, most: int) -> int:
        """Choose a number from 1 to @most, usually a small one."""
        return min(most, int(2 ** self._random.uniform(0, most.bit_length())))

    def _range(self, most: int) -> tuple[int, int]:
        count = self._count(min(most, self._memory.pages))
        page = self._random.randrange(self._memory.pages - count + 1)
        if self._random.random() < 0.3:
            page -= page % min(512, 1 << count.bit_length() - 1)
        return page, count

    def _op(self, to_shared: bool) -> str:
        return 'share' if to_shared else 'unshare'

    def _note_runs(self) -> None:
        self._peak_runs = max(self._peak_runs, self._memory.runs())

    # Conversions

    def _convert(self, to_shared: bool | None = None) -> None:
        page, count = self._range(2048)
        if to_shared is None:
            to_shared = self._random.random() < 0.5
        chunk = self._random.choice((0, 1, 1, 1, 2, 3, 16, 512))
        if chunk:
            chunk = max(chunk, -(-count // self._most_calls))
        line = f'{self._op(to_shared)} {self._memory.address(page)} ' \
               f'{count * 4}K'
        if 0 < chunk < count:
            line += f' chunk {chunk * 4}K'
        self._emit(line)
        self._memory.convert(page, count, to_shared)
        self._calls += -(-count // chunk) if chunk else 1

    def _stride(self) -> None:
        """Convert or flip pages with a stride, upwards or downwards."""
        step = self._random.choice((1, 2, 3, 4, 16))
        size = self._random.randint(1, step)
        rounds = self._random.randint(2, min(
            self._most_calls // 2, self._memory.pages // step))
        start = self._random.randrange(
            self._memory.pages - rounds * step + 1)
        downwards = self._random.random() < 0.3
        to_shared = self._random.random() < 0.6
        flips = self._random.random() < 0.3
        first = start + (rounds - 1) * step if downwards else start
        place = f'{self._memory.address(first)}' \
                f'{"-" if downwards else "+"}i*{step * 4}K {size * 4}K'
        self._emit(f'repeat {rounds}')
        for to in (not to_shared, to_shared) if flips else (to_shared,):
            self._emit(f'    {self._op(to)} {place}')
            for page in range(start, start + rounds * step, step):
                self._memory.convert(page, size, to)
            self._calls += rounds
            self._note_runs()
        self._emit('end')

    # Several vCPUs

    def _device_lines(self) -> list[str]:
        """Return operations of the first vCPU before it joins the others."""
        lines = []
        draw = self._random
        if draw.random() < 0.4:
            lines += ['pam on', 'pam off']
        if draw.random() < 0.3:
            lines.append(self._dma_to_target())
        if draw.random() < 0.2 and self._is_master:
            lines += ['master off', 'master on width ' +
                      draw.choice(('8', '16', '32'))]
        if draw.random() < 0.2:
            lines.append('dma-to ' + self._blocked_target())
        return lines

    def _target(self, index: int) -> str:
        return f'TARGETS+{index * (_TARGET_STEP >> 10)}K'

    def _dma_to_target(self) -> str:
        """Return DMA to a page that no other operation uses.
        """
        if not self._is_master:
            return 'dma-to ' + self._blocked_target()
        index = self._random.choice(self._targets)
        self._loaded = self._seed()
        return f'dma-to {self._target(index)} 4K seed {self._loaded} arrives'

    def _blocked_target(self) -> str:
        index = self._random.choice([index for index in range(_TARGET_COUNT)
                                     if index not in self._targets])
        if self._is_master or self._loaded is None:
            self._loaded = self._loaded or self._seed()
        return f'{self._target(index)} 64 seed {self._loaded} blocked'

    def _parallel(self) -> None:
        if self._cpus == 1:
            return
        cpus = self._random.randint(2, self._cpus)
        device = self._device_lines() if self._loaded or self._is_master \
            else []
        body = self._random.choice((self._comb, self._neighbours,
                                    self._overlap, self._own_parts))(cpus)
        self._emit(f'parallel {cpus}',
                   *(f'    {line}' for line in device + body), 'end')
        self._note_runs()

    def _rounds(self, each: int, most: int) -> int:
        return self._random.randint(1, max(1, min(
            most, self._memory.pages // each - 1)))

    def _comb(self, cpus: int) -> list[str]:
        """Convert interleaved pages."""
        rounds = self._rounds(cpus, self._most_calls // cpus)
        start = self._random.randrange(
            self._memory.pages - rounds * cpus + 1)
        to_shared = self._random.random() < 0.5
        self._memory.convert(start, rounds * cpus, to_shared)
        self._calls += rounds * cpus
        # Until the end, every other page can be a range of its own
        self._peak_runs = max(self._peak_runs,
                              self._memory.runs() + rounds * cpus)
        return [f'repeat {rounds}',
                f'    {self._op(to_shared)} {self._memory.address(start)}'
                f'+cpu*4K+i*{cpus * 4}K 4K', 'end']

    def _neighbours(self, cpus: int) -> list[str]:
        """Convert adjacent pages, back and forth."""
        size = self._random.choice((1, 1, 2, 5))
        start = self._random.randrange(self._memory.pages - cpus * size)
        rounds = self._random.randint(2, self._most_calls // (2 * cpus))
        to_shared = self._random.random() < 0.5
        for to in (not to_shared, to_shared):
            self._memory.convert(start, cpus * size, to)
        self._calls += 2 * rounds * cpus
        place = f'{self._memory.address(start)}+cpu*{size * 4}K {size * 4}K'
        return [f'repeat {rounds}', f'    {self._op(not to_shared)} {place}',
                f'    {self._op(to_shared)} {place}', 'end']

    def _overlap(self, cpus: int) -> list[str]:
        """Convert overlapping ranges to one state, or one range and back."""
        size = self._random.randint(2, 64)
        step = self._random.randint(0, size)
        move = self._random.randint(0, 4)
        span = (cpus - 1) * step + size
        rounds = self._random.randint(1, max(1, min(
            150, self._most_calls // (2 * cpus),
            (self._memory.pages - span) // max(1, move))))
        span += (rounds - 1) * move
        start = self._random.randrange(self._memory.pages - span + 1)
        to_shared = self._random.random() < 0.5
        lines = [f'repeat {rounds}']
        base = self._memory.address(start)
        if not step and self._random.random() < 0.7:
            lines.append(f'    {self._op(not to_shared)} {base}+i*{move * 4}K '
                         f'{size * 4}K')
            self._calls += rounds * cpus
        if len(lines) > 1:
            # Each page is converted to each state at least once
            self._memory.convert(start, span, not to_shared)
        for cpu in range(cpus):
            for i in range(rounds):
                self._memory.convert(start + cpu * step + i * move, size,
                                     to_shared)
        self._calls += rounds * cpus
        return [*lines, f'    {self._op(to_shared)} {base}+cpu*{step * 4}K'
                f'+i*{move * 4}K {size * 4}K', 'end']

    def _own_parts(self, cpus: int) -> list[str]:
        """Convert a different part on each vCPU."""
        part = self._random.randint(2, self._memory.pages // cpus)
        part = min(part, 1024, self._most_calls // cpus)
        start = self._random.randrange(self._memory.pages - part * cpus + 1)
        chunk = self._random.choice((1, 1, 2, 7, 64))
        to_shared = self._random.random() < 0.5
        filled = self._random.randint(1, min(part, 16))
        seed = self._seed()
        place = f'{self._memory.address(start)}+cpu*{part * 4}K'
        self._memory.convert(start, part * cpus, to_shared)
        for cpu in range(cpus):
            self._memory.set_content(start + cpu * part, filled, seed)
        self._calls += -(-part // min(chunk, part)) * cpus
        return [f'{self._op(to_shared)} {place} {part * 4}K '
                f'chunk {min(chunk, part) * 4}K',
                f'fill {place} {filled * 4}K seed {seed}',
                f'verify {place} {filled * 4}K seed {seed}']

    # Content and DMA

    def _fill(self) -> None:
        page, count = self._range(64)
        seed = self._seed()
        self._emit(f'fill {self._memory.address(page)} {count * 4}K '
                   f'seed {seed}')
        self._memory.set_content(page, count, seed)

    def _find_page(self, wanted: Callable[[int], bool]) -> int | None:
        for _ in range(50):
            page = self._random.randrange(self._memory.pages)
            if wanted(page):
                return page
        return None

    def _verify(self) -> None:
        content = self._memory.content
        page = self._find_page(lambda page: content[page] != _UNKNOWN)
        if page is None:
            return
        end = page + 1
        while end < self._memory.pages and end < page + 256 and \
                content[end] == content[page]:
            end += 1
        self._emit(f'verify {self._memory.address(page)} {(end - page) * 4}K '
                   + self._pattern(content[page]))

    def _pattern(self, content: int) -> str:
        return 'zero' if content == _ZERO else f'seed {content}'

    def _size(self) -> str:
        return self._random.choice(('64', '512', '4K'))

    def _dma_to(self) -> None:
        memory = self._memory
        page = self._find_page(
            lambda page: memory.content[page] != _UNKNOWN)
        if page is None or not self._is_master and self._loaded is None:
            return
        place = f'dma-to {memory.address(page)} {self._size()}'
        arrives = bool(memory.shared[page] and self._is_master)
        if arrives:
            self._loaded = self._seed()
            memory.set_content(page, 1, _UNKNOWN)
        self._loaded = self._loaded or self._seed()
        self._emit(f'{place} seed {self._loaded} ' +
                   ('arrives' if arrives else 'blocked'))

    def _dma_from(self) -> None:
        memory = self._memory
        page = self._find_page(lambda page: (
            memory.content[page] > 0 or
            memory.content[page] == _ZERO and bool(memory.shared[page])))
        if page is None or not self._is_master:
            return
        self._loaded = None
        self._emit(f'dma-from {memory.address(page)} {self._size()} ' +
                   self._pattern(memory.content[page]) +
                   (' arrives' if memory.shared[page] else ' blocked'))

    # The machine

    def _set_master(self, is_master: bool) -> None:
        self._is_master = is_master
        self._emit(f'master {"on" if is_master else "off"} width ' +
                   self._random.choice(('8', '16', '32')))

    def _switch_master(self) -> None:
        self._set_master(not self._is_master or self._random.random() < 0.3)

    def _pam(self) -> None:
        self._emit('pam ' + self._random.choice(('on', 'off')))

    def _invalid(self) -> None:
        self._emit(self._random.choice(_INVALID))
        self._calls += 1

    def _audit(self) -> None:
        page, count = self._range(self._memory.pages)
        self._emit(f'audit {self._memory.address(page)} {count * 4}K')
        self._memory.set_content(page, count, _UNKNOWN)

    def _compare(self) -> None:
        if self._random.random() < 0.5:
            self._audit()
        self._emit('sync')

    def _set_up(self) -> None:
        """Set up the device, at the start and after a reset."""
        self._targets = sorted(self._random.sample(
            range(_TARGET_COUNT), _TARGET_COUNT // 2))
        self._emit('share SCRATCH 4K', 'scratch SCRATCH')
        for index in self._targets:
            self._emit(f'share {self._target(index)} 4K')
        self._calls += 1 + len(self._targets)
        self._loaded = None
        if self._random.random() < 0.7:
            self._set_master(True)
        for _ in range(3):
            self._convert(True)
            self._fill()

    def _reset(self) -> None:
        self._compare()
        self._emit('reset')
        self._is_master = False
        self._memory.reset()
        self._set_up()

    def shared_pages(self) -> dict[int, bool]:
        """Return whether each page is shared, according to the generator."""
        return {self._memory.base + page * PAGE_SIZE: bool(shared)
                for page, shared in enumerate(self._memory.shared)}

    def generate(self) -> str:
        """Return the text of the program."""
        choices: dict[Callable[[], None], int] = {
            self._convert: 24, self._stride: 10, self._parallel: 24,
            self._fill: 8, self._verify: 12, self._dma_to: 5,
            self._dma_from: 4, self._switch_master: 4, self._pam: 3,
            self._invalid: 5, self._compare: 5, self._reset: 1}
        operations = list(choices)
        weights = list(choices.values())
        self._set_up()
        while self._calls < self._wanted_calls:
            self._random.choices(operations, weights)[0]()
            self._note_runs()
        self._set_master(True)
        self._emit('audit AREA ' + f'{self._memory.pages * 4}K', 'sync')
        return '\n'.join([*self._head(), *self._lines]) + '\n'

    def _head(self) -> list[str]:
        head = [f'memory {self._memory_mib}M blocks {self._blocks}',
                f'cpus {self._cpus}', 'disturbs any']
        if self._extent:
            head.append(f'shared-dma-extent {self._extent}')
        if self._uses_limit:
            head.append('dma-entry-limit '
                        f'{_OTHER_ENTRIES + 2 * self._peak_runs}')
        return [*head, f'let AREA = {self._memory.base >> 10}K',
                f'let SCRATCH = {_SCRATCH >> 20}M',
                f'let TARGETS = {_TARGETS >> 20}M']


def random_program(seed: int, calls: int, backend: str) -> str:
    """Generate a program with at least @calls conversions.

    The same arguments give the same program.
    """
    return f'# Seed {seed}, {calls} calls, {backend}\n' + \
        Generator(seed, calls, backend).generate()
