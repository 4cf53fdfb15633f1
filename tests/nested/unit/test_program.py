# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of the program compiler and of the wire format."""

import errno
import struct
import unittest

from harness import NESTED
from harness.oracle import Oracle
from harness.program import (GIB, Linear, Machine, Program, ProgramError,
                             compile_program, find_program)
from harness.wire import CONSTANTS, HEADER, RECORD


def compile_text(text: str) -> Program:
    return compile_program(text, 'text')


class WireTest(unittest.TestCase):

    def test_layout(self) -> None:
        self.assertEqual(HEADER.size, 48)
        self.assertEqual(RECORD.size, 80)
        self.assertEqual(
            RECORD.fields, ['opcode', 'flags', 'line', 'expect', 'gpa',
                            'cpu_step', 'loop_step', 'size', 'pages', 'chunk',
                            'seed', 'end'])

    def test_constants(self) -> None:
        self.assertEqual(CONSTANTS['OP_DONE'], 0)
        self.assertEqual(CONSTANTS['OP_RESET'], 14)
        self.assertEqual(CONSTANTS['OP_UNPLUG_ALL'], 18)
        self.assertEqual(CONSTANTS['VIRTIO_MEM_ERROR'], 3)
        self.assertEqual(CONSTANTS['FLAG_BLOCKED'], 2)
        self.assertEqual(CONSTANTS['EDU_BAR_BASE'], 0xe0000000)

    def test_pack(self) -> None:
        data = RECORD.pack(opcode=3, line=7, expect=-22, gpa=1 << 63, end=9)
        self.assertEqual(data, struct.pack(
            '<HHIqQQQQQQQQ', 3, 0, 7, -22, 1 << 63, 0, 0, 0, 0, 0, 0, 9))
        with self.assertRaises(KeyError):
            RECORD.pack(colour=1)


class CompilerTest(unittest.TestCase):

    def assert_refused(self, text: str, reason: str) -> None:
        with self.assertRaisesRegex(ProgramError, reason):
            compile_text(text)

    def test_conversion(self) -> None:
        program = compile_text(
            'let AREA = 64M + 4K * 2\n'
            'share AREA 1M chunk 8K\n'
            'unshare AREA+1 pages 3 expect EINVAL # unaligned\n')
        share, unshare, done = program.records
        self.assertEqual((share.op, share.line, share.gpa.base, share.pages,
                          share.chunk, share.expect),
                         ('share', 2, 0x4002000, 256, 2, 0))
        self.assertEqual((unshare.op, unshare.gpa.base, unshare.pages,
                          unshare.chunk, unshare.expect),
                         ('unshare', 0x4002001, 3, 0, -errno.EINVAL))
        self.assertEqual(done.op, 'done')

    def test_packed_program(self) -> None:
        program = compile_text('cpus 3\nverify 32M 4K zero\n')
        data = program.pack()
        header = HEADER.unpack(data[:HEADER.size])
        self.assertEqual(header['magic'], CONSTANTS['PROGRAM_MAGIC'])
        self.assertEqual(header['records'], 2)
        self.assertEqual(header['record_size'], RECORD.size)
        self.assertEqual(len(data), HEADER.size + 2 * RECORD.size)
        record = RECORD.unpack(data[HEADER.size:HEADER.size + RECORD.size])
        self.assertEqual(record['opcode'], CONSTANTS['OP_VERIFY'])
        self.assertEqual(record['flags'], CONSTANTS['FLAG_ZERO'])
        self.assertEqual((record['gpa'], record['size'], record['line']),
                         (32 << 20, 4096, 2))

    def test_blocks(self) -> None:
        program = compile_text(
            'repeat 2\nparallel 3\nshare 64M+cpu*4K+2*i*1M 4K\nend\nend\n')
        repeat, parallel, share, end, end2, _ = program.records
        self.assertEqual((repeat.size, repeat.end), (2, 4))
        self.assertEqual((parallel.size, parallel.end), (3, 3))
        self.assertEqual((end.op, end2.op), ('end', 'end'))
        self.assertEqual(share.gpa, Linear(64 << 20, 4096, 2 << 20))
        self.assertEqual(program.machine.cpus, 3)
        header = HEADER.unpack(program.pack()[:HEADER.size])
        self.assertEqual(header['cpus'], 3)

    def test_negative_is_wrapped(self) -> None:
        program = compile_text('share 0-4K pages 1\n')
        self.assertEqual(program.records[0].gpa.at(0, 0), (1 << 64) - 4096)
        record = RECORD.unpack(program.records[0].pack())
        self.assertEqual(record['gpa'], (1 << 64) - 4096)

    def test_backing(self) -> None:
        self.assertEqual(compile_text('').machine.backing, 'ram')
        self.assertEqual(compile_text('backing hugetlb').machine.backing,
                         'hugetlb')
        self.assert_refused('backing disk',
                            'text:1: backing is ram or .*"disk"')

    def test_devices(self) -> None:
        program = compile_text('device virtio-blk\ndevice virtio-net\n'
                               'out BLK+14 1 width 16\nin NET 0')
        self.assertEqual(program.machine.devices, ('virtio-blk', 'virtio-net'))
        out, port = program.records[:2]
        self.assertEqual((out.gpa.base, out.seed, out.size),
                         (CONSTANTS['VIRTIO_BLK_PORT'] + 14, 1, 2))
        self.assertEqual((port.gpa.base, port.seed, port.size),
                         (CONSTANTS['VIRTIO_NET_PORT'], 0, 4))
        program = compile_text('device i6300esb\nout 0xcf8 ESB+0x10')
        self.assertEqual(program.records[0].seed, 0x80008010)
        self.assert_refused('device edu', 'text:1: a device is .*"edu"')
        self.assert_refused('device virtio-blk\ndevice virtio-blk',
                            'text:2: there is a virtio-blk already')
        self.assert_refused('out BLK 1', 'unknown name "BLK"')

    def test_values(self) -> None:
        records = compile_text('repeat 2\npoke 64M+i*8 0x1122 width 64\nend\n'
                               'peek 64M 255 width 8\nawait 64M 1').records
        self.assertEqual([(r.op, r.gpa.i, r.seed, r.size) for r in records
                          if r.size in (1, 4, 8)],
                         [('poke', 8, 0x1122, 8), ('peek', 0, 255, 1),
                          ('await', 0, 1, 4)])
        self.assertEqual([r.is_not for r in compile_text(
            'peek 64M not 1\npeek 64M 1').records[:2]], [True, False])
        self.assert_refused('in 0x80 not 1', '"not" is not an expression')
        self.assert_refused('peek 64M 256 width 8', '0x100 does not fit in 8')
        self.assert_refused('out 0x80 1 width 64', 'a width of 64 bits')
        self.assert_refused('poke 64M 1 width 7', 'a width of 7 bits')
        self.assert_refused('poke 64M', 'a value is missing')

    def test_results(self) -> None:
        def expected(header: str) -> int:
            program = compile_text(f'{header}\nshare 1 pages 1 expect ENOSPC')
            packed = program.pack()[HEADER.size:]
            return RECORD.unpack(packed[:RECORD.size])['expect']
        self.assertEqual(expected(''), -errno.ENOSPC)
        self.assertEqual(expected('results rax'), -errno.ENOSPC)
        self.assertEqual(expected('results snp'), -errno.EINVAL)
        self.assertEqual(expected('results tdx'), -errno.EINVAL)
        self.assert_refused('results sev',
                            'text:1: results are those of .*sev')

    def test_implicit(self) -> None:
        self.assertFalse(compile_text('').machine.implicit)
        self.assertTrue(compile_text('implicit on').machine.implicit)
        self.assert_refused('implicit yes', 'text:1: "on" or "off".*"yes"')
        self.assert_refused('implicit on\nshare 1 pages 1 expect EINVAL',
                            'text:2: an implicit conversion returns nothing')

    def test_machine(self) -> None:
        machine = compile_text('memory 4G blocks 2\nsync\n').machine
        self.assertEqual((machine.memory, machine.blocks), (4 * GIB, 2))
        self.assertEqual((machine.low_end, machine.high_end),
                         (2 * GIB, 6 * GIB))
        self.assertEqual(Machine().low_end, 2 * GIB)
        self.assertEqual(Machine().high_end, 4 * GIB)
        text = 'share HIGH_END-4K 4K\n'
        program = compile_program(text, 'text', 8 * GIB, 4)
        self.assertEqual(program.records[0].gpa.base, 10 * GIB - 4096)
        self.assertEqual(program.machine.cpus, 4)

    def test_virtio_mem(self) -> None:
        program = compile_text(
            'memory 256M\nvirtio-mem 1G block 4M\n'
            'plug VMEM+4M 64M chunk 8M\nunplug VMEM 4M expect ERROR\n'
            'unplug-all\n')
        machine = program.machine
        self.assertTrue(machine.is_plain)
        self.assertEqual((machine.vmem_base, machine.vmem_end),
                         (4 * GIB, 5 * GIB))
        plug, unplug, unplug_all, _ = program.records
        self.assertEqual((plug.gpa.base, plug.pages, plug.chunk, plug.expect),
                         (4 * GIB + (4 << 20), 16384, 2048, 0))
        self.assertEqual((unplug.pages, unplug.chunk, unplug.expect),
                         (1024, 0, 3))
        self.assertEqual(unplug_all.op, 'unplug-all')
        header = HEADER.unpack(program.pack()[:HEADER.size])
        self.assertEqual((header['plain'], header['vmem_base'],
                          header['vmem_size'], header['vmem_block']),
                         (1, 4 * GIB, GIB, 4 << 20))
        self.assertEqual(
            HEADER.unpack(compile_text('').pack()[:HEADER.size])['plain'], 0)
        machine = compile_text(
            'virtio-mem 1G private dynamic-memslots\nshare VMEM 4K\n'
            'plug VMEM 2M\n').machine
        self.assertFalse(machine.is_plain)
        self.assertEqual(machine.vmem_properties, ('dynamic-memslots',))
        # The region starts at a multiple of 1 GiB.
        machine = Machine(memory=5 * GIB // 2, vmem_size=GIB, vmem_block=GIB)
        self.assertEqual(machine.vmem_base, 4 * GIB)
        machine = Machine(memory=7 * GIB // 2, vmem_size=GIB, vmem_block=GIB)
        self.assertEqual((machine.high_end, machine.vmem_base),
                         (11 * GIB // 2, 6 * GIB))

    def test_refuses_virtio_mem(self) -> None:
        self.assert_refused('plug 64M 2M\n', 'use "virtio-mem SIZE" first')
        self.assert_refused('unplug-all\n', 'use "virtio-mem SIZE" first')
        self.assert_refused('sync\nvirtio-mem 64M\n', 'before all operations')
        self.assert_refused('virtio-mem 64M block 3M\n', 'power of two')
        self.assert_refused('virtio-mem 64M block 512K\n', '>= 1M')
        self.assert_refused('virtio-mem 3M\n', 'multiple of blocks of 2M')
        self.assert_refused('virtio-mem 0\n', 'multiple of blocks of 2M')
        self.assert_refused('share VMEM 4K\n', 'unknown name "VMEM"')
        for op in ('share', 'unshare'):
            self.assert_refused(f'virtio-mem 64M\n{op} 64M 4K\n',
                                f'"{op}" is for private memory')
        start = 'virtio-mem 1T block 2M\n'
        self.assert_refused(start + 'plug VMEM 3M\n', 'blocks of 2M')
        self.assert_refused(start + 'plug VMEM 0\n', 'blocks of 2M')
        self.assert_refused(start + 'plug VMEM 128G\n', 'up to 65535 blocks')
        self.assert_refused(start + 'plug VMEM 4M chunk 1M\n',
                            'size of a chunk must be up to 65535 blocks')
        self.assert_refused(start + 'plug VMEM 2M expect ACK\n',
                            'an answer is NACK or BUSY or ERROR, not "ACK"')
        self.assert_refused(start + 'parallel 2\nplug VMEM 2M\nend\n',
                            'cannot be in a parallel block')

    def test_refuses(self) -> None:
        self.assert_refused('jump 1\n', 'text:1: unknown operation "jump"')
        self.assert_refused('\nshare\n', 'text:2: an address is missing')
        self.assert_refused('share 64M\n', 'a size is missing')
        self.assert_refused('share 64M 5K\n', 'pages of 4K')
        self.assert_refused('share 64M 0\n', 'pages of 4K')
        self.assert_refused('share NOPE 4K\n', 'unknown name "NOPE"')
        self.assert_refused('share 64M 4K expect EPAGE\n', 'unknown error')
        self.assert_refused('share 64M 4K 1\n', 'unexpected word "1"')
        self.assert_refused('share cpu*4K 4K\n', 'in a parallel block')
        self.assert_refused('share i*4K 4K\n', 'in a repeat block')
        self.assert_refused('repeat 2\nshare i*i 4K\nend\n', 'product')
        self.assert_refused('repeat i\nend\n', 'in a repeat block')
        self.assert_refused('repeat 0\nend\n', 'not be 0')
        self.assert_refused('share 1/2 4K\n', 'an expression can have')
        self.assert_refused('share (1 4K\n', 'not an expression')
        self.assert_refused('let lower = 1\n', 'must be a name in capitals')
        self.assert_refused('end\n', 'no block to end')
        self.assert_refused('repeat 2\nsync\n', 'line 1 has no "end"')
        self.assert_refused('fill 64M 4K\n', '"seed NUMBER" missing')
        self.assert_refused('fill 64M 12 seed 1\n', 'words of 8 bytes')
        self.assert_refused('verify 64M 8 seed 0x100000000\n', '32 bits')
        self.assert_refused('dma-to 64M 8K seed 1 arrives\n', 'at most 4K')
        self.assert_refused('dma-to 64M 8 seed 1 maybe\n', '"maybe"')
        self.assert_refused('dma-from 64M 8 zero blocked\n', 'use a pattern')
        self.assert_refused('master 1\n', '"on" or "off", not "1"')

    def test_refuses_places(self) -> None:
        for op in ('sync', 'audit 64M 4K', 'scratch 64M', 'parallel 2',
                   'reset', 'measure M'):
            self.assert_refused(f'parallel 2\n{op}\nend\n',
                                'cannot be in a parallel block')
        self.assert_refused('measure M\naudit 64M 4K\nend\n',
                            'wait for the harness')
        self.assert_refused('virtio-mem 64M\naudit 64M 4K\n',
                            '"audit" is for private memory')
        self.assert_refused('audit 64M 6K\n', 'pages of 4K')
        self.assert_refused('measure M\nsync\nend\n', 'wait for the harness')
        self.assert_refused('repeat 2\nreset\nend\n', 'cannot be in a block')

    def test_shipped_programs(self) -> None:
        paths = list((NESTED / 'programs').glob('*.prog'))
        self.assertGreater(len(paths), 10)
        for path in paths:
            with self.subTest(path.name):
                self.assertEqual(find_program(path.stem), path)
                text = path.read_text(encoding='utf-8')
                self.assertTrue(text.startswith('# '))
                program = compile_program(text, path.name)
                words = [event.word for event in Oracle(program).run()]
                self.assertIn('sync', words)
                self.assertEqual(words[-1], 'done')

    def test_unknown_program(self) -> None:
        with self.assertRaisesRegex(ProgramError, 'programs are: .*demo'):
            find_program('no-such-program')
