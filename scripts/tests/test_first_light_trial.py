# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of a trial of scripts/first-light with a fake monitor."""

import asyncio
import tempfile
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

from first_light.finding import Result
from first_light.kernel_log import KernelLog
from first_light.options import Wish
from first_light.tee import SNP
from first_light.trial import Pace, Record, Trial, judge_pinned
from tests import jumping_loop
from tests.fake_host import FakeHost
from tests.fake_monitor import ADDRESS, FakeGuest, FakeMonitor
from tests.fake_qemu import MIB

FAULT = ('4,9,9,-;vfio-pci 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT '
         'domain=0x0014 address=0x1000 flags=0x0020]\n')


class SlowMonitor(FakeMonitor):
    """Changes the guest when it has been asked for its status @after times."""

    def __init__(self, guest: FakeGuest, after: int,
                 change: Callable[[], Any]) -> None:
        super().__init__(guest)
        self._left = after
        self._change = change

    async def execute(self, command: str, **arguments: Any) -> Any:
        if command == 'query-status':
            self._left -= 1
            if not self._left:
                self._change()
        return await super().execute(command, **arguments)


class TrialTest(unittest.TestCase):

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.fake = FakeHost(Path(folder.name))
        self.fake.write('proc/4711/status', 'VmLck:\t  1024 kB\n')
        self.guest = FakeGuest()
        self.wish = Wish(SNP, Path('qemu'), devices=[ADDRESS], watch=10)
        self.log: KernelLog | None = KernelLog(self.fake.root / 'dev/kmsg')
        self.addCleanup(self.log.close)

    def run_trial(self, monitor: FakeMonitor | None = None) -> Record:
        record = Record(self.guest.backend)
        trial = Trial(monitor or FakeMonitor(self.guest), self.wish, record,
                      self.fake.host, self.log, self.fake.host.pinned_pages(),
                      Pace(), lambda text: None)
        jumping_loop.run(trial.run())
        return record

    def expect(self, record: Record, name: str, result: Result,
               *words: str) -> None:
        found = [item for item in record.findings if item.name == name]
        self.assertEqual([item.result for item in found], [result],
                         record.findings)
        self.assertEqual(bool(found[0].way_out), result is not Result.PASS)
        for word in words:
            self.assertIn(word, found[0].reason)

    def fails(self, record: Record, name: str, *words: str) -> None:
        """Expect that this is the only finding that did not pass."""
        self.expect(record, name, Result.FAIL, *words)
        self.assertEqual([item.name for item in record.findings
                          if item.result is not Result.PASS], [name])

    def test_everything_passes(self) -> None:
        for backend in ('iommufd', 'type1'):
            with self.subTest(backend):
                self.guest = FakeGuest(backend)
                record = self.run_trial()
                self.assertEqual(
                    [item for item in record.findings
                     if item.result is not Result.PASS], [])
                self.expect(record, 'mappings', Result.PASS,
                            '64 MiB in 1 extents, 1 calls to map')
                self.assertEqual('cuts' in {item.name for item
                                            in record.findings},
                                 backend == 'iommufd')
                self.assertEqual(record.exit_status, 0)
                self.assertEqual(self.guest.commands[-1], 'quit')
                self.assertNotIn('device_del', self.guest.commands)
                self.assertNotIn('system_reset', self.guest.commands)

    def test_samples(self) -> None:
        def change() -> None:
            self.guest.dma['extents'] = 7

        record = self.run_trial(SlowMonitor(self.guest, 3, change))
        # Equal samples are recorded once
        self.assertEqual([sample['vfio-dma'][0]['extents']
                          for sample in record.samples], [1, 7])
        self.assertEqual(record.samples[0]['locked-size'], MIB)
        self.assertEqual(record.samples[0]['guest-memfd'][0]['shared-size'],
                         64 * MIB)
        self.assertEqual(record.as_json()['samples'], record.samples)

    def test_guest_stopped(self) -> None:
        self.guest.status = 'internal-error'
        self.fails(self.run_trial(), 'guest', 'internal-error')

    def test_nothing_shared(self) -> None:
        self.guest.memfd['shared-size'] = 0
        self.expect(self.run_trial(), 'shared memory', Result.UNKNOWN)

    def test_device_is_missing(self) -> None:
        self.guest.device['name'] = '0000:09:00.0'
        self.fails(self.run_trial(), 'devices', ADDRESS, 'iommufd')

    def test_wrong_backend(self) -> None:
        self.guest.dma['backend'] = 'other'
        self.fails(self.run_trial(), 'devices', 'iommufd')

    def test_device_is_not_enabled(self) -> None:
        self.guest.device['may-do-dma'] = False
        self.expect(self.run_trial(), 'devices', Result.UNKNOWN, ADDRESS)

    def test_device_was_enabled_for_a_while(self) -> None:
        def change() -> None:
            self.guest.device['may-do-dma'] = False

        self.expect(self.run_trial(SlowMonitor(self.guest, 2, change)),
                    'devices', Result.PASS)

    def test_bus_mastering_is_refused(self) -> None:
        self.guest.device |= {'may-do-dma': False, 'refused': True}
        self.fails(self.run_trial(), 'devices', 'bus mastering')

    def test_mappings(self) -> None:
        for key in ('missing-size', 'stuck-size', 'failures'):
            with self.subTest(key):
                self.guest = FakeGuest()
                self.guest.dma[key] = 4096
                self.fails(self.run_trial(), 'mappings', f'{key} is 4096')

    def test_disturbance(self) -> None:
        for key in ('splits', 'merges'):
            with self.subTest(key):
                self.guest = FakeGuest()
                self.guest.dma[key] = 3
                self.expect(self.run_trial(), 'undisturbed DMA',
                            Result.UNKNOWN, f'3 {key}')

    def test_kernel_that_cannot_cut(self) -> None:
        self.guest.dma['cutting'] = False
        self.expect(self.run_trial(), 'cuts', Result.UNKNOWN)

    def test_failed_conversions(self) -> None:
        self.guest.memfd['failures'] = 2
        self.fails(self.run_trial(), 'conversions', '2 failed')
        self.guest = FakeGuest()
        self.guest.event('GUEST_MEMFD_CONVERSION_FAILED', gpa=0,
                         error='Cannot allocate memory')
        record = self.run_trial()
        self.fails(record, 'conversions', 'Cannot allocate memory')
        self.assertEqual(record.events[0]['data']['gpa'], 0)

    def test_faults(self) -> None:
        def change() -> None:
            self.fake.append('dev/kmsg', FAULT)

        record = self.run_trial(SlowMonitor(self.guest, 2, change))
        self.fails(record, 'iommu faults', 'IO_PAGE_FAULT')
        self.assertEqual(len(record.kernel_log), 1)

    def test_no_kernel_log(self) -> None:
        self.log = None
        self.expect(self.run_trial(), 'iommu faults', Result.UNKNOWN)

    def test_qemu_ends_early(self) -> None:
        def change() -> None:
            self.guest.event('SHUTDOWN', guest=True, reason='guest-shutdown')
            self.guest.ended = 0

        record = self.run_trial(SlowMonitor(self.guest, 2, change))
        self.fails(record, 'guest', 'status 0', 'guest-shutdown')

    def test_qemu_crashes(self) -> None:
        def change() -> None:
            self.guest.ended = -11

        record = self.run_trial(SlowMonitor(self.guest, 2, change))
        self.fails(record, 'guest', 'status -11', 'query-status')
        self.assertEqual(record.exit_status, -11)

    def test_command_is_refused(self) -> None:
        self.guest.refused = {'query-guest-memfd'}
        record = self.run_trial()
        self.expect(record, 'monitor', Result.FAIL, 'query-guest-memfd')
        self.expect(record, 'end of QEMU', Result.PASS)

    def test_replug(self) -> None:
        self.wish.replug = True
        for backend in ('iommufd', 'type1'):
            with self.subTest(backend):
                self.guest = FakeGuest(backend)
                record = self.run_trial()
                for name in ('unplug', 'plug',
                             'pinned memory after unplugging'):
                    self.expect(record, name, Result.PASS)
                self.assertTrue(self.guest.has_device)
                self.assertIn([], [sample['vfio-dma'] for sample
                                   in record.samples])

    def test_guest_keeps_the_device(self) -> None:
        self.wish.replug = True
        self.guest.has_driver = False
        self.expect(self.run_trial(), 'unplug', Result.UNKNOWN, ADDRESS)
        self.assertNotIn('device_add', self.guest.commands)

    def test_other_device_goes_away(self) -> None:
        self.wish.replug = True
        self.guest.actions['device_del'] = lambda arguments: \
            self.guest.event('DEVICE_DELETED', device='dev1')
        self.expect(self.run_trial(), 'unplug', Result.UNKNOWN, ADDRESS)

    def test_device_is_not_used_again(self) -> None:
        self.wish.replug = True

        def plug(arguments: dict[str, Any]) -> None:
            self.guest.plug(arguments)
            self.guest.device['may-do-dma'] = False

        self.guest.actions['device_add'] = plug
        self.expect(self.run_trial(), 'plug', Result.UNKNOWN)

    def test_reset_ends_qemu(self) -> None:
        self.wish.reset = True
        record = self.run_trial()
        self.expect(record, 'reset', Result.PASS, 'QEMU ended')
        self.assertNotIn('quit', self.guest.commands)
        self.assertEqual(record.exit_status, 0)

    def test_reset_crashes_qemu(self) -> None:
        self.wish.reset = True
        self.guest.actions['system_reset'] = \
            lambda arguments: self.guest.end(-6)
        self.fails(self.run_trial(), 'reset', 'status -6')

    def test_reset_works(self) -> None:
        self.wish.reset = True
        self.guest.can_reset = True
        record = self.run_trial()
        self.expect(record, 'reset', Result.PASS, 'was reset')
        self.assertEqual(self.guest.commands[-1], 'quit')

    def test_reset_has_no_effect(self) -> None:
        self.wish.reset = True
        self.guest.actions['system_reset'] = lambda arguments: None
        self.fails(self.run_trial(), 'reset', 'neither')

    def test_bad_end(self) -> None:
        self.guest.actions['quit'] = lambda arguments: self.guest.end(1)
        self.fails(self.run_trial(), 'end of QEMU', 'status 1')

    def test_no_end(self) -> None:
        self.guest.actions['quit'] = lambda arguments: None
        self.fails(self.run_trial(), 'end of QEMU', 'killed')

    def test_pinned_memory(self) -> None:
        def change() -> None:
            self.fake.set_pinned(612)

        self.fake.set_pinned(100)
        self.expect(self.run_trial(SlowMonitor(self.guest, 2, change)),
                    'pinned memory after the end of QEMU', Result.UNKNOWN,
                    '2 MiB more')
        self.assertEqual(judge_pinned(5, 5, 'now').result, Result.PASS)
        self.assertEqual(judge_pinned(5, 6, 'now').result, Result.UNKNOWN)
        self.assertEqual(judge_pinned(None, 6, 'now').result, Result.UNKNOWN)

    def test_memory_is_released_late(self) -> None:
        def end(arguments: dict[str, Any]) -> None:
            self.fake.set_pinned(5)
            asyncio.get_running_loop().call_later(2, self.fake.set_pinned, 0)
            self.guest.end(0)

        self.guest.actions['quit'] = end
        self.expect(self.run_trial(), 'pinned memory after the end of QEMU',
                    Result.PASS)

    def test_guest_without_devices(self) -> None:
        self.wish.devices = []
        self.guest.has_device = False
        record = self.run_trial()
        self.assertEqual([item.name for item in record.findings],
                         ['guest', 'shared memory', 'end of QEMU',
                          'pinned memory after the end of QEMU',
                          'conversions', 'iommu faults'])


if __name__ == '__main__':
    unittest.main()
