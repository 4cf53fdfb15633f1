# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of the oracle: shared memory, DMA and faults."""

import unittest

from harness.oracle import ROM_RANGE, Event, Fault, Oracle
from harness.program import GIB, ProgramError, compile_program

MIB = 1 << 20


def run(text: str) -> tuple[Oracle, list[Event], list[list[tuple[int, int]]]]:
    """Execute. Returns events, and the shared pages below the ROM at each."""
    oracle = Oracle(compile_program(text, 'text'))
    events = []
    states = []
    for event in oracle.run():
        events.append(event)
        states.append([r for r in oracle.shared if r != ROM_RANGE])
    return oracle, events, states


def final(text: str) -> list[tuple[int, int]]:
    return run(text)[2][-1]


class RefusalTest(unittest.TestCase):
    """Base class of tests that expect errors."""

    def assert_refused(self, text: str, reason: str) -> None:
        with self.assertRaisesRegex(ProgramError, reason):
            run(text)


class ValueTest(RefusalTest):
    """Access to memory, registers and ports."""

    def test_places(self) -> None:
        run('poke 64M 1\npeek 64M+4 1\npeek BAR 0\nin 0xfffc 0')
        self.assert_refused('poke 64M+2 1', 'not aligned to its size')
        self.assert_refused('poke 1M 1', 'is not RAM for programs')
        self.assert_refused('peek 1T 1', 'is not RAM for programs')
        self.assert_refused('out 0xfffe 1', 'is not an I/O port')

    def test_transfer(self) -> None:
        """A transfer that a program starts may be blocked."""
        start = ('share 32M 4K\nscratch 32M\nmaster on\n'
                 'poke BAR+0x88 64M+8K width 64\n')
        _, events, _ = run(start.replace('64M+8K', '0x4002000') +
                           'poke BAR+0x98 2 width 64\nsync\n'
                           'poke BAR+0x98 3 width 64\nsync\n'
                           'poke BAR+0x80 0x4005008 width 64\n'
                           'poke BAR+0x98 1 width 64\nsync\nsync\n')
        self.assertEqual(
            [event.possible_faults for event in events
             if event.word == 'sync'],
            [[], [Fault(0x4002000, True)], [Fault(0x4005000, False)], []])

    def test_parallel(self) -> None:
        run('parallel 2\nshare 64M+cpu*4K 4K\npoke 64M 1\nout 0x80 1\nend')
        for op in ('peek 64M 1', 'await 64M 1', 'in 0x80 1'):
            self.assert_refused(f'parallel 2\n{op}\nend',
                                'cannot be in a parallel block')

    def test_rom(self) -> None:
        """The ROM is shared and must stay so."""
        run('share ROM 64K\nshare LOW_END 2G')
        self.assert_refused('unshare ROM 64K', 'belongs to the firmware')


class ParallelDmaTest(RefusalTest):
    """DMA of the first vCPU, while the others convert."""

    START = 'share 32M 4K\nscratch 32M\nmaster on\nshare 64M 1M\n'

    def refused(self, start: str, inside: str, reason: str) -> None:
        self.assert_refused(
            f'{start}parallel 2\n{inside}\nend\n', reason)

    def test_dma_is_done_by_one_vcpu(self) -> None:
        oracle, events, _ = run(
            self.START + 'parallel 3\n'
            'dma-to 64M 64 seed 1 arrives\ndma-to 65M 64 seed 1 blocked\n'
            'repeat 2\nshare 66M+cpu*1M+i*8K 4K\nend\nend\n')
        counters = events[-1].counters
        self.assertEqual((counters.arrived, counters.blocked, counters.calls),
                         (1, 1, 8))
        self.assertEqual(events[-1].faults, [Fault(65 * MIB, True)])
        self.assertTrue(oracle.master)

    def test_rejects_conversion_of_dma_target(self) -> None:
        for what in ('dma-to 64M 64 seed 1 arrives\nshare 63M+cpu*1M 4K',
                     'dma-to 70M 64 seed 1 blocked\nunshare 69M+cpu*1M 4K',
                     'dma-to 64M 64 seed 1 arrives\nshare 31M+cpu*1M 4K'):
            self.refused(self.START, what, 'another vCPU converts or fills|'
                         'read or written at')

    def test_rejects_split_of_dma_mapping(self) -> None:
        # The shared memory there is contiguous with the target
        what = 'dma-to 64M 64 seed 1 arrives\nunshare 64M+cpu*64K 4K'
        reason = 'its mapping could be split during DMA'
        self.refused(self.START + 'unshare 64M+64K 4K\nshare 64M+64K 4K\n',
                     what.replace('64M+cpu', '64M+4K+cpu'), reason)
        what = 'dma-to 64M 64 seed 1 arrives\nshare 64M+cpu*1M pages 1'
        self.refused(self.START, what.replace('64M+cpu', '65M-cpu') + '\n' +
                     'share 64M+cpu*1M 4K', 'read or written|split during DMA')
        # This is allowed if each page is a mapping
        run('shared-dma-extent page\n' + self.START + 'parallel 2\n'
            'dma-to 64M 64 seed 1 arrives\nunshare 64M+4K+cpu*64K 4K\nend\n')

    def test_rejects_merge_of_dma_mapping(self) -> None:
        inside = 'dma-to 64M 64 seed 1 arrives\nshare 66M+cpu*8K 4K'
        run(self.START + f'parallel 2\n{inside}\nend\n')
        self.refused('dma-entry-limit 100\n' + self.START, inside,
                     'could be merged with theirs')
        run('dma-entry-limit 100\n' + self.START.replace('1M', '4K') +
            f'parallel 2\n{inside}\nend\n')

    def test_master(self) -> None:
        oracle, _, _ = run(
            self.START + 'parallel 2\nshare 66M+cpu*1M 4K\nmaster off\n'
            'unshare 64M+cpu*64K 4K\nshare 68M+cpu*1M 4K\nend\n')
        must, may = oracle.mapped()
        self.assertEqual((must.total(), may), (0, oracle.shared))


class OracleTest(RefusalTest):

    def test_only_rom_at_start(self) -> None:
        oracle, events, states = run('sync\n')
        self.assertEqual(list(oracle.shared), [(4 * GIB - 65536, 4 * GIB)])
        self.assertEqual([e.word for e in events], ['sync', 'ok', 'done'])
        self.assertEqual(states[0], [])

    def test_conversions(self) -> None:
        self.assertEqual(final('share 64M 1M\nunshare 64M+4K 4K\n'),
                         [(64 * MIB, 64 * MIB + 4096),
                          (64 * MIB + 8192, 65 * MIB)])

    def test_chunks_count_as_calls(self) -> None:
        _, events, states = run('share 64M 1M chunk 12K\n')
        self.assertEqual(events[-1].counters.calls, 86)
        self.assertEqual(states[-1], [(64 * MIB, 65 * MIB)])

    def test_loops(self) -> None:
        _, events, states = run(
            'repeat 3\nshare 64M+i*8K 4K\nend\nmeasure M\nshare 80M 4K\nend\n')
        self.assertEqual(len(states[-1]), 4)
        self.assertEqual([e.word for e in events],
                         ['ok', 'measure', 'ok', 'done'])
        self.assertEqual(events[1].counters.calls, 1)
        self.assertEqual(events[-1].counters.calls, 4)

    def test_inner_loop_has_its_own_counter(self) -> None:
        self.assertEqual(
            final('repeat 2\nrepeat 3\nshare 64M+i*8K 4K\nend\nend\n'),
            final('repeat 3\nshare 64M+i*8K 4K\nend\n'))

    def test_parallel(self) -> None:
        _, events, states = run(
            'parallel 3\nshare 64M+cpu*1M 1M chunk 4K\nend\n')
        self.assertEqual(states[-1], [(64 * MIB, 67 * MIB)])
        self.assertEqual(events[-1].counters.calls, 768)

    def test_refuses_races(self) -> None:
        self.assert_refused(
            'parallel 2\nshare 64M+cpu*4K 4K\n'
            'unshare 64M+4K+cpu*4K 4K\nend\n',
            'which vCPU comes first: the state of 0x4001000')
        # The first and the last of three vCPUs agree
        self.assert_refused(
            'parallel 3\nshare 64M+4K 4K\nunshare 64M+cpu*4K 4K\nend\n',
            'which vCPU comes first: the state of 0x4001000')
        for access in ('fill 64M+cpu*4K 4K seed 1',
                       'verify 64M+cpu*4K 4K zero'):
            self.assert_refused(
                f'parallel 2\n{access}\nshare 64M+4K-cpu*4K 4K\nend\n',
                'comes first: what is read or written at 0x4000000')
        self.assert_refused(
            'parallel 2\nfill 64M+cpu*4K 4K seed 1\n'
            'verify 64M+4K-cpu*4K 4K seed 1\nend\n',
            'comes first: what is read or written at')

    def test_same_target_is_no_race(self) -> None:
        self.assertEqual(
            final('parallel 3\nunshare 64M 32K\nshare 64M 32K\n'
                  'share 64M+cpu*4K 32K\nend\n'),
            [(64 * MIB, 64 * MIB + 10 * 4096)])

    def test_audit(self) -> None:
        _, events, _ = run('share 64M 8K\nrepeat 2\naudit 63M+i*4K 2M\n'
                           'end\nsync\n')
        self.assertEqual([(e.gpa, e.record.size) for e in events
                          if e.word == 'audit'],
                         [(63 * MIB, 2 * MIB), (63 * MIB + 4096, 2 * MIB)])
        self.assert_refused('audit 64M+8 4K\n', 'not the start of a page')
        self.assert_refused('audit 1M 4K\n', 'not RAM for programs')

    def test_audit_overwrites_memory(self) -> None:
        text = 'fill 64M 4K seed 1\naudit 64M-4K 8K\n'
        verify = 'verify 64M 64 seed 1\n'
        self.assert_refused(text + verify, 'an audit has written to 0x4000000')
        self.assert_refused('share 64M 4K\n' + text + 'unshare 64M+4K 4K\n'
                            'share 64M 4K\n' + verify, 'an audit has written')
        self.assert_refused(text + 'reset\n' + verify, 'an audit has written')
        run(text + 'fill 64M 64 seed 1\n' + verify)
        run(text + 'share 64M 4K\nverify 64M 4K zero\n')
        run('share 64M 4K\n' + text + 'unshare 64M 4K\nverify 64M 4K zero\n')
        run('share 64M 4K\n' + text + 'reset\nverify 64M 4K zero\n')
        dma = 'share 32M 4K\nscratch 32M\nmaster on\n'
        self.assert_refused(dma + 'share 64M 4K\n' + text +
                            'dma-from 64M 64 seed 1 arrives\n',
                            'an audit has written')

    def test_bad_input(self) -> None:
        for op in ('share', 'unshare'):
            for bad in ('64M pages 0', '64M+1 pages 1', '0-4K pages 2',
                        '64M pages 0x10000000000000'):
                self.assertEqual(final(f'{op} {bad} expect EINVAL\n'), [])
                self.assert_refused(f'{op} {bad}\n', 'must return -22')
        self.assert_refused('share 64M 4K expect EINVAL\n', 'must return 0')

    def test_unbacked_addresses(self) -> None:
        for nothing in ('1T 4K', 'BAR 1M', '0-4K pages 1', 'HIGH_END 4K'):
            self.assertEqual(final(f'share {nothing}\n'), [])
            self.assertEqual(final(f'unshare {nothing} expect EINVAL\n'), [])

    def test_range_across_end_of_memory(self) -> None:
        self.assertEqual(final('share LOW_END-4K pages 2\n'),
                         [(2 * GIB - 4096, 2 * GIB)])
        self.assertEqual(
            final('share LOW_END-4K 4K\n'
                  'unshare LOW_END-8K pages 3 expect EINVAL\n'),
            [(2 * GIB - 4096, 2 * GIB)])

    def test_failed_conversion_changes_nothing(self) -> None:
        self.assertEqual(final('share 64M 4K expect ENOSPC\n'), [])

    def test_rejects_access_to_firmware(self) -> None:
        self.assert_refused('share 1M 4K\n', 'belongs to the firmware')
        self.assert_refused('unshare ROM 4K\n', 'belongs to the firmware')
        self.assert_refused('fill 1M 8 seed 1\n', 'not RAM for programs')

    def test_access(self) -> None:
        self.assert_refused('fill LOW_END-4K 8K seed 1\n', 'not RAM')
        self.assert_refused('verify 64M+4 8 zero\n', 'not aligned')

    SETUP = 'share 32M 4K\nscratch 32M\nmaster on\nshare 64M 8K\n'

    def test_dma(self) -> None:
        _, events, _ = run(
            self.SETUP +
            'dma-to 64M 4K seed 1 arrives\n'
            'dma-from 64M+4K 4K seed 1 arrives\n'
            'dma-to 64M+8K 64 seed 1 blocked\n'
            'dma-from 64M+8K+64 64 seed 1 blocked\n'
            'sync\ndma-to 64M 8 seed 2 arrives\n')
        sync, done = (next(e for e in events if e.word == word)
                      for word in ('sync', 'done'))
        self.assertEqual((sync.counters.arrived, sync.counters.blocked),
                         (2, 2))
        page = 64 * MIB + 8192
        self.assertEqual(sync.faults, [Fault(page, True), Fault(page, False)])
        self.assertEqual((done.counters.arrived, done.faults), (1, []))

    ESB = ('device i6300esb\nshare 32M 4K\nscratch 32M\nmaster on\n'
           'out 0xcf8 ESB+0x10\n')
    ENABLE = 'out 0xcf8 ESB+4\nout 0xcfc 2 width 16\n'

    def test_registers_in_the_rom(self) -> None:
        page = ROM_RANGE[0] + 0x8000
        oracle = run(self.ESB + 'out 0xcfc ROM+0x8ff0\n' + self.ENABLE)[0]
        self.assertEqual(list(oracle.mapped()[0]), [
            (32 * MIB, 32 * MIB + 4096), (ROM_RANGE[0], page),
            (page + 4096, ROM_RANGE[1])])
        self.assertTrue(oracle.shared.covers(*ROM_RANGE))
        # Registers over RAM, disabled, or removed by a reset
        for more in ('out 0xcf8 ESB+0x10\nout 0xcfc 48M\n',
                     'out 0xcfc 0 width 16\n',
                     'reset\nmaster on\n'):
            oracle = run(self.ESB + 'out 0xcfc ROM+0x8ff0\n' + self.ENABLE +
                         more)[0]
            self.assertTrue(oracle.mapped()[0].covers(*ROM_RANGE))

    def test_registers_and_dma(self) -> None:
        text = self.ESB + 'out 0xcfc ROM+0x8000\n' + self.ENABLE
        run(text + 'dma-from ROM+0x9000 8 zero arrives\n')
        self.assert_refused(text + 'dma-from ROM+0x8010 8 zero arrives\n',
                            'must be blocked')
        self.assert_refused(text + 'master off\nout 0xcfc 0\n',
                            'selected another register')

    def test_no_device(self) -> None:
        program = compile_program(
            self.SETUP + 'dma-to 64M 8 seed 1 arrives\n', 'text')
        with self.assertRaisesRegex(ProgramError, 'no device'):
            list(Oracle(program, False).run())
        program = compile_program(self.SETUP, 'text')
        self.assertEqual(list(Oracle(program, False).run())[-1].word, 'done')

    def test_rejects_wrong_dma_expectations(self) -> None:
        self.assert_refused(self.SETUP + 'dma-to 64M 8 seed 1 blocked\n',
                            'must arrive')
        self.assert_refused(self.SETUP + 'dma-to 80M 8 seed 1 arrives\n',
                            'must be blocked')
        self.assert_refused(self.SETUP + 'dma-to 64M+8 4K seed 1 arrives\n',
                            'stay in a page')
        self.assert_refused('master on\nshare 64M 4K\n'
                            'dma-to 64M 8 seed 1 arrives\n', 'scratch')

    def test_master_off(self) -> None:
        loaded = self.SETUP + 'dma-to 64M 8 seed 1 arrives\nmaster off\n'
        _, events, _ = run(loaded + 'dma-to 64M+64 8 seed 1 blocked\n')
        # The DMA does not reach the IOMMU, so there is nothing to report
        self.assertEqual(events[-1].faults, [])
        self.assertEqual(events[-1].counters.blocked, 1)
        self.assert_refused(loaded + 'dma-to 64M 8 seed 1 arrives\n',
                            'must be blocked')
        self.assert_refused(loaded + 'dma-to 64M 8 seed 2 blocked\n',
                            'what it wrote last')
        self.assert_refused(loaded + 'dma-from 64M 8 seed 1 blocked\n',
                            'cannot check what the device has read')

    def test_reset(self) -> None:
        _, events, states = run(self.SETUP + 'reset\nsync\n')
        reset = [e.word for e in events].index('reset')
        self.assertEqual(states[reset], [(32 * MIB, 32 * MIB + 4096),
                                         (64 * MIB, 64 * MIB + 8192)])
        self.assertEqual(states[reset + 1], [])
        self.assert_refused(
            self.SETUP + 'reset\nshare 64M 4K\n'
            'dma-to 64M 8 seed 1 arrives\n', 'scratch')

    def test_peak_of_shared_and_touched_memory(self) -> None:
        oracle, _, _ = run('share 64M 2M\nunshare 64M 2M\n'
                           'fill 64M 1M seed 1\n')
        self.assertEqual(oracle.peak_shared, 2 * MIB + 65536)
        self.assertEqual(oracle.touched, MIB)


class VirtioMemTest(RefusalTest):

    VMEM = 'memory 256M\nvirtio-mem 64M\n'

    def plugged(self, text: str) -> list[tuple[int, int]]:
        """Return the offsets of memory that is plugged at the end."""
        base = 4 * GIB
        return [(start - base, end - base) for start, end
                in run(self.VMEM + text)[0].plugged]

    def test_plain_memory_is_reachable(self) -> None:
        oracle, events, states = run(self.VMEM + 'sync\n')
        self.assertEqual(states[0], [(0, 256 * MIB)])
        self.assertTrue(oracle.shared.covers(*ROM_RANGE))
        self.assertEqual(events[0].counters.calls, 0)
        self.assertEqual(list(oracle.plugged), [])
        self.assertEqual(list(run('sync\n')[0].plugged), [])

    def test_plug(self) -> None:
        self.assertEqual(self.plugged('plug VMEM 64M\nunplug VMEM+8M 4M\n'),
                         [(0, 8 * MIB), (12 * MIB, 64 * MIB)])
        self.assertEqual(self.plugged('plug VMEM+2M 6M chunk 2M\n'),
                         [(2 * MIB, 8 * MIB)])
        self.assertEqual(self.plugged('plug VMEM 64M\nunplug-all\n'), [])
        # The region is adjacent to the ROM, which stays mapped
        oracle, events, states = run(
            self.VMEM + 'plug VMEM 5*2M chunk 4M\nunplug-all\nsync\n')
        self.assertEqual(events[-2].counters.calls, 0)
        self.assertEqual(events[2].counters.calls, 4)
        self.assertEqual(states[-1], [(0, 256 * MIB)])
        self.assertEqual(oracle.peak_shared, 256 * MIB + 65536 + 10 * MIB)

    def test_plug_errors(self) -> None:
        for refused in ('plug VMEM+2M 4M', 'plug VMEM 4M', 'plug VMEM+4M 2M',
                        'plug VMEM+9M 2M', 'plug VMEM+62M 4M',
                        'plug VMEM-2M 2M', 'plug VMEM+64M 2M', 'plug 64M 2M',
                        'unplug VMEM 4M', 'unplug VMEM+4M 4M',
                        'unplug VMEM+3M 2M', 'unplug VMEM-2M 2M',
                        'unplug 64M 2M', 'unplug VMEM+8M 2M chunk 2M'):
            setup = 'plug VMEM+2M 4M\n'
            self.assertEqual(
                self.plugged(f'{setup}{refused} expect ERROR\n'),
                [(2 * MIB, 6 * MIB)])
            self.assert_refused(f'{self.VMEM}{setup}{refused}\n',
                                'must be answered with 3')
            self.assert_refused(f'{self.VMEM}{setup}{refused} expect BUSY\n',
                                'must be answered with 3')
        self.assert_refused(self.VMEM + 'plug VMEM 2M expect ERROR\n',
                            'must be answered with 0')
        # The host may lack memory
        self.assertEqual(self.plugged('plug VMEM 2M expect BUSY\n'), [])

    def test_plugged_memory(self) -> None:
        setup = self.VMEM + ('scratch 32M\nmaster on\nplug VMEM+2M 4M\n')
        _, events, _ = run(
            setup + 'fill VMEM+2M 4K seed 1\n'
            'dma-from VMEM+2M 4K seed 1 arrives\n'
            'dma-to VMEM+6M-4K 4K seed 1 arrives\n'
            'dma-to VMEM+6M 64 seed 1 blocked\n'
            'dma-to 64M 64 seed 1 arrives\n'
            'unplug VMEM+2M 4M\ndma-to VMEM+2M 64 seed 1 blocked\n')
        self.assertEqual(events[-1].faults,
                         [Fault(4 * GIB + 6 * MIB, True),
                          Fault(4 * GIB + 2 * MIB, True)])
        self.assertEqual((events[-1].counters.arrived,
                          events[-1].counters.blocked), (3, 2))
        for refused in ('fill VMEM 8 seed 1', 'verify VMEM 8 zero',
                        'fill VMEM+6M-4K 8K seed 1', 'scratch VMEM',
                        'dma-to VMEM 8 seed 1 arrives',
                        'dma-from VMEM 8 seed 1 blocked',
                        'dma-to VMEM+64M 8 seed 1 blocked'):
            self.assert_refused(f'{setup}{refused}\n', 'not RAM')
        self.assert_refused(setup + 'dma-to VMEM+2M 8 seed 1 blocked\n',
                            'must arrive')

    def test_reset_unplugs(self) -> None:
        self.assertEqual(self.plugged('plug VMEM 64M\nreset\n'), [])
        self.assertEqual(
            self.plugged('plug VMEM 64M\nreset\nplug VMEM 2M\n'),
            [(0, 2 * MIB)])


class PrivateVirtioMemTest(RefusalTest):

    VMEM = 'memory 256M\nvirtio-mem 64M private\nplug VMEM+2M 4M\n'
    # Memory that the firmware shares
    FIRMWARE = [(0xfff000, 0x1000000), ROM_RANGE]

    def test_plugged_memory_is_private(self) -> None:
        oracle, _, _ = run(self.VMEM)
        self.assertEqual(list(oracle.shared), self.FIRMWARE)
        self.assertEqual(list(oracle.plugged),
                         [(4 * GIB + 2 * MIB, 4 * GIB + 6 * MIB)])
        oracle, _, _ = run(self.VMEM + 'share VMEM+3M 1M\n')
        self.assertEqual(oracle.shared.total(), MIB + 65536 + 4096)

    def test_unplugging_ends_sharing(self) -> None:
        for last in ('unplug VMEM+2M 2M', 'unplug-all', 'reset'):
            oracle, _, _ = run(
                f'{self.VMEM}share VMEM+3M 1M\n{last}\n')
            self.assertEqual(list(oracle.shared), self.FIRMWARE, last)
            self.assertFalse(any(oracle.plugged.clipped(
                4 * GIB + 2 * MIB, 4 * GIB + 4 * MIB)), last)

    def test_unplugged_memory_cannot_be_converted(self) -> None:
        for op in ('share', 'unshare'):
            for where in ('VMEM 4K', 'VMEM+2M-4K 8K', 'VMEM+6M-4K 8K',
                          'VMEM 64M'):
                run(f'{self.VMEM}{op} {where} expect EINVAL\n')
                self.assert_refused(f'{self.VMEM}{op} {where}\n',
                                    'must return -22')

    def test_access(self) -> None:
        run(self.VMEM + 'fill VMEM+2M 4M seed 1\n')
        self.assert_refused(self.VMEM + 'fill VMEM 8 seed 1\n', 'not RAM')
        # The check would read the memory
        self.assert_refused(
            self.VMEM + 'share 32M 4K\nscratch 32M\nmaster on\n'
            'dma-to VMEM 8 seed 1 blocked\n', 'not RAM')
