# SPDX-License-Identifier: GPL-2.0-or-later

"""What reads a guest's memory finds shared memory only, and allocates nothing.

QEMU's memory for a private page is its unused shared backing. Dumps, commands
of the monitor, the gdb stub and the balloon must not touch it. Its size is the
number of blocks of the file that holds it.
"""

import base64
import functools
import gzip
import hashlib
import shlex
import struct
import time
from collections.abc import Callable, Sequence

from harness.checks import Checks
from harness.dump import Dump, DumpError, read_elf, read_kdump
from harness.initramfs import find_tool
from harness.intervals import IntervalSet, describe
from harness.l1 import L1Machine
from harness.l2 import PID_PATH, L2Error, L2Machine, wait_until
from harness.oracle import ROM_RANGE
from harness.pci import BASE_ADDRESS, COMMAND, PciBus
from harness.program import MIB, PAGE_SIZE, Program, compile_program
from harness.program_run import Options, ProgramRun
from harness.session import Machines

_TIMEOUT = 300.0
_MANY_TIMEOUT = 1500.0
_USED_TIMEOUT = 60.0

# Files in level 1
_DUMP = '/run/dump'
_SAVED = '/run/saved'

NOT_SHARED = 'is not shared'
UNMIGRATABLE = 'private memory (guest_memfd) cannot be migrated'

# The areas, with the seed of their pattern. Other memory of the guest is
# private, including the first pages behind each area.
_AREAS = {0x5000000: (0x10000, 2), 0x5100000: (0x1000, 3),
          0x5102000: (0x1000, 4), 0x5200000: (0x200000, 5)}
_PRIVATE = 0x4000000

# The guest announces a note for dumps, in private memory. A request to fw_cfg
# and the announcement are in a shared page.
_NOTE = 0x5500000
_FW_CFG_REQUEST = 0x5800000
_FW_CFG_DATA = _FW_CFG_REQUEST + 64
_FW_CFG_DMA = 0x514
# The file's number depends on what other files there are. No other file that
# can be written has this size.
_FW_CFG_FILES = range(0x20, 0x38)


def _swapped(value: int, size: int) -> str:
    """Return a number whose bytes in memory are big-endian."""
    return f'{int.from_bytes(value.to_bytes(size, "big"), "little"):#x}'


def _announce_note() -> str:
    """Return the operations that write to etc/vmcoreinfo."""
    lines = [f'share {_FW_CFG_REQUEST:#x} 4K',
             # The guest's format is ELF; the size is a page
             f'poke {_FW_CFG_DATA:#x} {PAGE_SIZE << 32 | 1 << 16:#x} width 64',
             f'poke {_FW_CFG_DATA + 8:#x} {_NOTE:#x} width 64']
    for number in _FW_CFG_FILES:
        # Select and write
        control = number << 16 | 0x18
        lines += [
            f'poke {_FW_CFG_REQUEST:#x} {_swapped(control, 4)}',
            f'poke {_FW_CFG_REQUEST + 4:#x} {_swapped(16, 4)}',
            f'poke {_FW_CFG_REQUEST + 8:#x} {_swapped(_FW_CFG_DATA, 8)} '
            'width 64',
            f'out {_FW_CFG_DMA} 0',
            f'out {_FW_CFG_DMA + 4} {_swapped(_FW_CFG_REQUEST, 4)}']
    return '\n'.join(lines)


_PROGRAM = f'''
memory 512M
backing memfd
fill {_PRIVATE:#x} 4M seed 1
''' + ''.join(f'share {gpa:#x} {size:#x}\n'
              f'fill {gpa:#x} {size:#x} seed {seed}\n'
              for gpa, (size, seed) in _AREAS.items()) + f'''
{_announce_note()}
sync
''' + ''.join(f'verify {gpa:#x} {size:#x} seed {seed}\n'
              for gpa, (size, seed) in _AREAS.items()) + f'''
verify {_PRIVATE:#x} 4M seed 1
sync
'''

_FORMATS: dict[str, Callable[[bytes], Dump]] = {
    'elf': read_elf, 'kdump-zlib': read_kdump, 'kdump-raw-zlib': read_kdump,
    'kdump-lzo': read_kdump, 'kdump-raw-lzo': read_kdump,
    'kdump-snappy': read_kdump, 'kdump-raw-snappy': read_kdump}

# A guest with as many separate shared pages
_PAIRS = 100000
_PAIRS_GPA = 128 * MIB
_MANY = f'''
memory 1G
backing memfd
repeat {_PAIRS}
    share {_PAIRS_GPA:#x}+i*8K 4K
end
sync
'''

# A legacy virtio-balloon, whose registers the harness places. The version of
# QEMU determines how many descriptors its queues have: 32, 128 or 1024. The
# rings are at an offset for each of these, and overlap descriptors that are
# not used.
_AVAILABLE = ('512', '2K', '16K')
_USED = (0x1000, 0x5000)
_QUEUES = 0x5000000
_QUEUE_SIZE = 0xc000
_BALLOON_SLOT = 0x10
_BALLOON_PORT = 0xc300
_BALLOON_OPTIONS = (
    '-device', f'virtio-balloon-pci,addr={_BALLOON_SLOT:#x},'
               'free-page-reporting=on,disable-modern=on,disable-legacy=off,'
               'iommu_platform=off')
_BALLOON = '''
memory 512M
backing memfd
let PORT = {port:#x}
let QUEUE = {queue:#x}
let LIST = QUEUE+192K
let SHARED = 0x6000000
let PRIVATE = 0x6100000
share QUEUE 256K
# Allocate it
fill QUEUE 256K seed 9
share SHARED 64K
fill SHARED 64K seed 1
fill PRIVATE 64K seed 2
sync
out PORT+18 3 width 8
{queues}
out PORT+18 7 width 8
# Inflate the balloon with a shared and a private page
poke LIST 0x0000610000006000 width 64
{inflate}
sync
verify SHARED+4K 60K seed 1
verify PRIVATE 64K seed 2
# Deflate it again, by the second queue
{deflate}
sync
# Report a shared page and two private ones as free, by the last queue
{report}
sync
verify SHARED+12K 52K seed 1
verify PRIVATE 64K seed 2
{after}
share PRIVATE 64K
unshare PRIVATE 64K
fill PRIVATE 64K seed 3
verify PRIVATE 64K seed 3
sync
'''
_INFLATED = 0x6000000
_REPORTED = 0x6002000


def _queue_request(queue: int, buffers: Sequence[tuple[str, int]],
                   to_guest: bool) -> str:
    """Return the operations that add a request to a queue."""
    base = f'QUEUE+{queue}*48K'
    lines = []
    for number, (address, size) in enumerate(buffers):
        is_last = number == len(buffers) - 1
        # Flags: more buffers follow, the device writes
        flags = (0 if is_last else 1) | (2 if to_guest else 0)
        lines += [f'poke {base}+{16 * number} {address} width 64',
                  f'poke {base}+{16 * number + 8} '
                  f'{size | flags << 32 | (number + 1) << 48:#x} width 64']
    # No interrupts; the request is at descriptor 0
    lines += [f'poke {base}+{offset} 0x10001 width 64'
              for offset in _AVAILABLE]
    lines.append(f'out PORT+16 {queue} width 16')
    return '\n'.join(lines)


def balloon_program(keeps: bool) -> Program:
    """@keeps: whether shared pages keep their content."""
    pages = (_INFLATED, _REPORTED)
    after = [f'verify {page:#x} 4K seed 1' if keeps
             else f'peek {page:#x} 0 width 64\n'
                  f'peek {page + PAGE_SIZE - 8:#x} 0 width 64'
             for page in pages]
    return compile_program(_BALLOON.format(
        port=_BALLOON_PORT, queue=_QUEUES,
        queues='\n'.join(
            ''.join(f'poke QUEUE+{queue}*48K+{offset} 0 width 64\n'
                    for offset in (*_AVAILABLE, *_USED)) +
            f'out PORT+14 {queue} width 16\n'
            f'out PORT+8 {(_QUEUES + queue * _QUEUE_SIZE) >> 12:#x}'
            for queue in range(4)),
        inflate=_queue_request(0, [('LIST', 8)], False),
        deflate=_queue_request(1, [('LIST', 8)], False),
        report=_queue_request(3, [('SHARED+8K', PAGE_SIZE),
                                  ('PRIVATE+8K', 2 * PAGE_SIZE)], True),
        after='\n'.join(after)), 'balloon')


@functools.cache
def pattern(gpa: int, size: int, seed: int) -> bytes:
    """Return the bytes that "fill" writes, see firmware/pattern.h."""
    mask = (1 << 64) - 1
    words = []
    for position in range(gpa, gpa + size, 8):
        x = position ^ (seed * 0x9e3779b97f4a7c15 & mask)
        x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9 & mask
        x = (x ^ x >> 27) * 0x94d049bb133111eb & mask
        words.append(x | 1)
    return struct.pack(f'<{len(words)}Q', *words)


class Walk(ProgramRun):
    """A run in which a test reads the guest's memory while the guest waits."""

    def __init__(self, program: Program, options: Options, checks: Checks,
                 qemu_options: Sequence[str] = ()) -> None:
        super().__init__(program, options, checks)
        self._qemu_options = qemu_options

    def more_options(self) -> Sequence[str]:
        return self._qemu_options

    def blocks(self, l1: L1Machine) -> int:
        """Return the bytes of the file with QEMU's shared memory."""
        return 512 * int(l1.check(
            f'for f in /proc/$(cat {PID_PATH})/fd/*; do case $(readlink $f) '
            'in /memfd:memory-backend-memfd*) stat -L -c %b $f;; esac; done'))

    def fetch(self, l1: L1Machine, path: str, size: int = 0) -> bytes:
        """Return a file of level 1, or its first @size bytes."""
        cut = f'head -c {size} {path}' if size else f'cat {path}'
        return gzip.decompress(base64.b64decode(
            l1.check(f'{cut} | gzip -1 | base64', 300)))

    def ask(self, l2: L2Machine, command: str, arguments: dict[str, object]
            ) -> str:
        """Execute a QMP command. Returns its error, or an empty string."""
        try:
            l2.execute(command, arguments)
        except L2Error as error:
            return str(error)
        return ''

    def expect_error(self, l2: L2Machine, command: str,
                     arguments: dict[str, object], text: str) -> None:
        answer = self.ask(l2, command, arguments)
        status = l2.execute('query-status')['status']
        self.checks.check(text in answer and status == 'running',
                          f'{command} {arguments}: "{text}"',
                          f'answer: {answer}; {status}')

    def expect_hmp(self, l2: L2Machine, command: str, text: str) -> None:
        answer = l2.hmp(command)
        self.checks.check(text in answer, f'{command}: "{text}"', answer)

    def shared(self) -> IntervalSet:
        """Return the shared memory above 1 MiB."""
        return IntervalSet(self.oracle.shared.clipped(MIB, 1 << 64))


class Readers(Walk):
    """Dumps, commands and the gdb stub."""

    def _unchanged(self, l1: L1Machine, blocks: int, what: str) -> None:
        now = self.blocks(l1)
        self.checks.check(now == blocks, f'{what}: no memory was allocated',
                          f'{blocks} bytes before, {now} after')

    def _check_dump(self, l1: L1Machine, name: str,
                    read: Callable[[bytes], Dump], expected: IntervalSet
                    ) -> None:
        try:
            dump = read(self.fetch(l1, _DUMP))
        except (DumpError, struct.error) as error:
            self.checks.check(False, f'{name}: the file is valid', str(error))
            return
        found = IntervalSet(dump.memory.clipped(MIB, 1 << 64))
        self.checks.check(found == expected, f'{name}: has exactly the '
                          'shared memory', f'{describe(found)}\nexpected '
                          f'{describe(expected)}')
        wrong = [hex(page) for gpa, (size, seed) in _AREAS.items()
                 for page in range(gpa, gpa + size, PAGE_SIZE)
                 if page in dump.pages and dump.pages[page] != pattern(
                     gpa, size, seed)[page - gpa:page - gpa + PAGE_SIZE]]
        self.checks.check(not wrong, f'{name}: {len(dump.pages)} pages have '
                          'their content', ', '.join(wrong))

    def _try_dumps(self, l1: L1Machine, l2: L2Machine) -> None:
        blocks = self.blocks(l1)
        formats = l2.execute('query-dump-guest-memory-capability')['formats']
        self.checks.comment(f'formats: {", ".join(formats)}')
        for kind, read in _FORMATS.items():
            if kind not in formats:
                continue
            answer = self.ask(l2, 'dump-guest-memory', {
                'paging': False, 'protocol': f'file:{_DUMP}', 'format': kind})
            self.checks.check(not answer, f'dump-guest-memory, {kind}',
                              answer)
            self._unchanged(l1, blocks, f'dump, {kind}')
            self._check_dump(l1, kind, read, self.shared())
        begin, length = 0x5008000, 0xfb000
        answer = self.ask(l2, 'dump-guest-memory', {
            'paging': False, 'protocol': f'file:{_DUMP}', 'begin': begin,
            'length': length})
        self.checks.check(not answer, 'dump of a part', answer)
        self._check_dump(l1, 'a part', read_elf, IntervalSet(
            self.shared().clipped(begin, begin + length)))
        answer = self.ask(l2, 'dump-guest-memory', {
            'paging': False, 'protocol': f'file:{_DUMP}', 'detach': True})
        result = l2.execute('query-dump')
        while not answer and result['status'] == 'active':
            time.sleep(0.1)
            result = l2.execute('query-dump')
        self.checks.check(not answer and result['status'] == 'completed' and
                          result['completed'] == result['total'],
                          'detached dump', f'{answer} {result}')
        self._check_dump(l1, 'detached', read_elf, self.shared())
        self._unchanged(l1, blocks, 'other dumps')
        for paging, kind in ((True, 'elf'), (False, 'win-dmp')):
            self.expect_error(l2, 'dump-guest-memory', {
                'paging': paging, 'format': kind,
                'protocol': f'file:{_DUMP}'},
                "the guest's page tables and kernel are in private memory")
        self._unchanged(l1, blocks, 'refused dumps')

    def _try_commands(self, l1: L1Machine, l2: L2Machine) -> None:
        blocks = self.blocks(l1)
        gpa, (size, seed) = next(iter(_AREAS.items()))
        for start, length, first in (
                (_PRIVATE, PAGE_SIZE, _PRIVATE),
                (gpa - 8, 16, gpa - 8), (gpa + size - 8, 16, gpa + size),
                (gpa, 1 << 28, gpa + size), (0x5100000, 0x3000, 0x5101000)):
            self.expect_error(
                l2, 'pmemsave', {'val': start, 'size': length,
                                 'filename': _SAVED},
                f'guest memory at {first:#x} {NOT_SHARED}')
        answer = self.ask(l2, 'pmemsave', {'val': gpa, 'size': size,
                                           'filename': _SAVED})
        saved = l1.check(f'md5sum {_SAVED}').split()[0]
        self.checks.check(
            not answer and
            saved == hashlib.md5(pattern(gpa, size, seed)).hexdigest(),
            'pmemsave of shared memory', f'{answer} {saved}')
        # All tables of pages are private
        self.expect_error(l2, 'memsave', {'val': gpa, 'size': 64,
                                          'filename': _SAVED}, 'Invalid addr')
        word = struct.unpack('<Q', pattern(gpa, 8, seed))[0]
        for command, text in (
                (f'xp /1xg {gpa:#x}', f': {word:#018x}'),
                (f'xp /2xg {gpa + size - 8:#x}', 'Cannot access memory'),
                (f'xp /1xw {_PRIVATE:#x}', 'Cannot access memory'),
                (f'xp /1xb {ROM_RANGE[1] - 16:#x}', ': 0x'),
                (f'x /1xw {gpa:#x}', 'Cannot access memory'),
                (f'gva2gpa {gpa:#x}', 'Unmapped'),
                ('info tlb', "the guest's page tables are private"),
                ('info mem', "the guest's page tables are private"),
                (f'sum {_PRIVATE:#x} 4096', NOT_SHARED),
                (f'sum {gpa:#x} 0x20000',
                 f'guest memory at {gpa + size:#x} {NOT_SHARED}'),
                # It starts where there is no RAM
                ('sum 0xa0000 0x8000000', NOT_SHARED),
                (f'gpa2hpa {_PRIVATE:#x}', NOT_SHARED),
                (f'gpa2hva {_PRIVATE:#x}', 'Host virtual address'),
                ('info registers', 'RIP='), ('info ramblock', 'ram0'),
                ('info mtree', 'ram0')):
            self.expect_hmp(l2, command, text)
        total = l2.hmp(f'sum {gpa:#x} 4096').strip()
        self.checks.check(total == bsd_sum(pattern(gpa, PAGE_SIZE, seed)),
                          'sum of shared memory', total)
        for command in ('query-memory-size-summary', 'query-memory-devices',
                        'query-memdev'):
            answer = self.ask(l2, command, {})
            self.checks.check(not answer, command, answer)
        self._unchanged(l1, blocks, 'commands')

    def _try_gdb(self, l1: L1Machine, l2: L2Machine) -> None:
        blocks = self.blocks(l1)
        gpa, (_, seed) = next(iter(_AREAS.items()))
        l1.check('ifconfig lo up')
        said = l2.hmp('gdbserver tcp:127.0.0.1:1234')
        self.checks.check('Waiting for gdb' in said, 'the gdb server starts',
                          said)
        packets = [f'm{_PRIVATE:x},8', f'm{gpa:x},8', f'Z0,{gpa:x},1',
                   'Qqemu.PhyMemMode:1', f'm{_PRIVATE:x},8', f'm{gpa:x},8',
                   'D']
        said = l1.check(
            '(printf %s ' + shlex.quote('+' + ''.join(
                f'${packet}#{sum(packet.encode()) & 0xff:02x}+'
                for packet in packets)) +
            '; sleep 3) | nc 127.0.0.1 1234')
        answers = [part.split('#')[0] for part in said.split('$')[1:]]
        content = pattern(gpa, 8, seed).hex()
        self.checks.check(
            answers[:7] == ['E14', 'E14', 'E22', 'OK', 'E14', content, 'OK'],
            'gdb reads shared memory, by physical address', said)
        l2.hmp('gdbserver none')
        status = l2.execute('query-status')['status']
        self.checks.check(status == 'running', 'gdb is gone', status)
        self._unchanged(l1, blocks, 'gdb')

    def _try_migrations(self, l2: L2Machine) -> None:
        to_file = 'file:/run/state'
        to_socket = 'tcp:127.0.0.1:1'
        self.expect_error(l2, 'migrate', {'uri': to_file}, UNMIGRATABLE)
        self.expect_error(l2, 'migrate', {'uri': to_socket}, UNMIGRATABLE)
        for name, uri, reason in (
                ('x-ignore-shared', to_file, UNMIGRATABLE),
                ('mapped-ram', to_file, UNMIGRATABLE),
                ('multifd', to_socket, UNMIGRATABLE),
                # The kernel of level 1 has no userfaultfd
                ('postcopy-ram', to_socket, 'Postcopy is not supported'),
                ('background-snapshot', to_file, 'Background-snapshot is not'),
                # QEMU is built without it
                ('x-colo', to_socket, "can't enable COLO")):
            answer = self.ask(l2, 'migrate-set-capabilities', {
                'capabilities': [{'capability': name, 'state': True}]})
            if not answer:
                answer = self.ask(l2, 'migrate', {'uri': uri})
                l2.execute('migrate-set-capabilities', {
                    'capabilities': [{'capability': name, 'state': False}]})
            self.checks.check(UNMIGRATABLE in answer or reason in answer,
                              f'migration with {name} is refused', answer)
        self._try_update(l2)
        l2.execute('snapshot-save', {'job-id': 'save', 'tag': 'x',
                                     'vmstate': 'none', 'devices': []})
        errors: list[str] = []
        for _ in range(50):
            errors = [job.get('error', '') for job in
                      l2.execute('query-jobs') if job['status'] == 'concluded']
            if errors:
                break
            time.sleep(0.1)
        l2.execute('job-dismiss', {'id': 'save'})
        self.checks.check(errors == [UNMIGRATABLE], 'snapshot-save is refused',
                          str(errors))

    def _try_update(self, l2: L2Machine) -> None:
        """Try to update QEMU under the running guest."""
        sockets = [{'channel-type': kind, 'addr': {
            'transport': 'socket', 'type': 'unix', 'path': f'/run/{kind}'}}
            for kind in ('main', 'cpr')]
        ways: dict[str, dict[str, object]] = {
            'cpr-reboot': {'uri': 'file:/run/state'},
            'cpr-transfer': {'channels': sockets},
            'cpr-exec': {'uri': 'file:/run/state'}}
        for mode, arguments in ways.items():
            parameters: dict[str, object] = {'mode': mode}
            if mode == 'cpr-exec':
                parameters['cpr-exec-command'] = ['/bin/true']
            answer = self.ask(l2, 'migrate-set-parameters', parameters)
            if mode == 'cpr-exec' and 'cpr-exec' in answer:
                # QEMU 10.0 does not have it
                continue
            answer = answer or self.ask(l2, 'migrate', arguments)
            self.checks.check(UNMIGRATABLE in answer or
                              'uses guest_memfd, which is not' in answer,
                              f'migration in mode {mode} is refused', answer)
        l2.execute('migrate-set-parameters', {'mode': 'normal'})

    def at_sync(self, l1: L1Machine, l2: L2Machine, line: int) -> None:
        if self.figures.syncs:
            return
        l2.set_timeout(120)
        self._try_dumps(l1, l2)
        self._try_commands(l1, l2)
        self._try_gdb(l1, l2)
        self._try_migrations(l2)


def bsd_sum(data: bytes) -> str:
    """Return what the monitor's command "sum" prints."""
    total = 0
    for byte in data:
        total = ((total >> 1 | total << 15) + byte) & 0xffff
    return f'{total:05}'


class Many(Walk):
    """Dumps of a guest with many shared ranges."""

    def _timed(self, l2: L2Machine, arguments: dict[str, object], name: str
               ) -> None:
        start = time.monotonic()
        answer = self.ask(l2, 'dump-guest-memory', {'paging': False,
                                                    **arguments})
        took = time.monotonic() - start
        self.checks.check(not answer, f'{name}: {_PAIRS} shared ranges',
                          answer)
        self.checks.comment(f'{name}: {took:.1f} s')

    def at_sync(self, l1: L1Machine, l2: L2Machine, line: int) -> None:
        l2.set_timeout(600)
        self._timed(l2, {'protocol': 'file:/dev/null'}, 'elf to /dev/null')
        # Reading allocates the backing of pages that are shared, and were not
        # accessed yet.
        self._timed(l2, {'protocol': f'file:{_DUMP}'}, 'elf')
        blocks = self.blocks(l1)
        self.checks.check(
            blocks == PAGE_SIZE * _PAIRS, 'only the shared pages have memory',
            f'{blocks} bytes')
        self._check_elf(l1)
        self._timed(l2, {'protocol': f'file:{_DUMP}',
                         'format': 'kdump-raw-zlib'}, 'kdump-raw-zlib')
        dump = read_kdump(self.fetch(l1, _DUMP, 1 << 19), with_pages=False)
        found = IntervalSet(dump.memory.clipped(MIB, 1 << 64))
        self.checks.check(found == self.shared(),
                          'kdump-raw-zlib: has exactly the shared memory',
                          f'{len(found)} ranges')
        self._timed(l2, {'protocol': 'file:/dev/null',
                         'format': 'kdump-zlib'}, 'kdump-zlib')
        self._timed(l2, {'protocol': 'file:/dev/null', 'begin': _PAIRS_GPA,
                         'length': 1 << 20}, 'a part')
        self.checks.check(self.blocks(l1) == blocks,
                          'no memory was allocated', f'{blocks}')
        l1.check(f'rm {_DUMP}')

    def _check_elf(self, l1: L1Machine) -> None:
        """Let readelf count segments, which are more than fit in e_phnum."""
        said = l1.check(
            f'readelf -hlW {_DUMP} >/run/headers; '
            'grep "Number of program headers" /run/headers; '
            "awk '$1 == \"LOAD\" && $4 >= \"0x0000000000100000\" "
            '{ n++; if ($5 != "0x001000" || $6 != "0x001000") odd++ } '
            "END { print n, odd + 0 }' /run/headers; rm /run/headers", 600)
        lines = said.splitlines()
        # The ROM is one segment of another size
        self.checks.check(
            '65535 (' in lines[0] and lines[1] == f'{_PAIRS + 1} 1',
            'elf: readelf finds all ranges', said)


class Balloon(Walk):
    """A guest whose balloon takes shared and private pages.

    Shared memory is given back, unless a device can access it. Private memory
    stays as it is.
    """

    def __init__(self, keeps: bool, options: Options, checks: Checks) -> None:
        super().__init__(balloon_program(keeps), options, checks,
                         _BALLOON_OPTIONS)
        self._keeps = keeps
        self._blocks: list[int] = []

    def _wait_used(self, l2: L2Machine, queue: int) -> None:
        """Wait until the device has used the request in a queue."""
        places = [_QUEUES + queue * _QUEUE_SIZE + used + 2 for used in _USED]
        used = wait_until(lambda: any(
            ': 0x0001' in l2.hmp(f'xp /1xh {place:#x}') for place in places),
            _USED_TIMEOUT)
        self.checks.check(used, f'the device has used queue {queue}')

    def at_sync(self, l1: L1Machine, l2: L2Machine, line: int) -> None:
        number = self.figures.syncs
        if not number:
            pci = PciBus(l2)
            pci.write(0, _BALLOON_SLOT << 3, BASE_ADDRESS, 4, _BALLOON_PORT)
            # I/O ports and bus mastering
            pci.write(0, _BALLOON_SLOT << 3, COMMAND, 2, 5)
        elif number < 4:
            self._wait_used(l2, (0, 1, 3)[number - 1])
        self._blocks.append(self.blocks(l1))
        if number == 3:
            first, inflated, deflated, reported = self._blocks
            freed = 0 if self._keeps else PAGE_SIZE
            self.checks.check(
                inflated == deflated == first - freed and
                reported == deflated - freed,
                f'{freed} bytes were given back, when inflating and by a '
                'report', str(self._blocks))


def test_readers(machines: Machines, checks: Checks) -> None:
    # CPR would require that all memory is shared
    run = Readers(compile_program(_PROGRAM, 'walkers'),
                  machines.options('none', _TIMEOUT), checks,
                  ('-machine', 'aux-ram-share=on', '-device', 'vmcoreinfo'))
    machines.play(run)


def test_many(machines: Machines, checks: Checks) -> None:
    run = Many(compile_program(_MANY, 'many-walkers'),
               machines.options('none', _MANY_TIMEOUT), checks)
    machines.play(run, memory_mib=6144,
                  more_files=find_tool('readelf', 'binutils'))


def test_balloon(machines: Machines, backend: str, checks: Checks) -> None:
    """Nothing is discarded that an assigned device can access."""
    machines.play(Balloon(True, machines.options(backend, _TIMEOUT), checks))


def test_balloon_without_device(machines: Machines, checks: Checks) -> None:
    machines.play(Balloon(False, machines.options('none', _TIMEOUT), checks))
