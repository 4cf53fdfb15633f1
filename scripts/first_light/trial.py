# SPDX-License-Identifier: GPL-2.0-or-later

"""A trial: watch a guest that uses devices, and judge what QEMU reports."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from first_light.command import device_id, device_properties
from first_light.finding import Finding, failed, passed, unknown
from first_light.host import Host
from first_light.host_checks import size_text
from first_light.kernel_log import KernelLog, faults_in
from first_light.machine import Gone, Monitor, Refused
from first_light.options import Wish

_FAILED_EVENT = 'GUEST_MEMFD_CONVERSION_FAILED'
_PAGE_SIZE = 4096
# What the manual explains
_MANUAL = 'See "Messages" in docs/system/shared-dma.rst'


@dataclass(frozen=True)
class Pace:
    """How often to ask QEMU, and how long to wait, in seconds."""

    interval: float = 1.0
    # For a driver to release a device, and to enable it
    plug: float = 60.0
    # For a guest to show that a reset has happened
    reset: float = 10.0
    # For the kernel to release memory
    release: float = 5.0


@dataclass
class Record:
    """What was seen in a trial."""

    backend: str
    findings: list[Finding] = field(default_factory=list)
    # Samples that differ from the one before
    samples: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    kernel_log: list[str] = field(default_factory=list)
    exit_status: int | None = None

    def as_json(self) -> dict[str, Any]:
        return {'backend': self.backend,
                'findings': [finding.as_json() for finding in self.findings],
                'samples': self.samples, 'events': self.events,
                'kernel-log': self.kernel_log,
                'exit-status': self.exit_status}


def _total(infos: list[dict[str, Any]], key: str) -> int:
    return sum(info[key] for info in infos)


def judge_guest(sample: dict[str, Any]) -> list[Finding]:
    """Judge the guest's state in the last sample."""
    name, status = 'guest', sample['status']
    if status == 'running':
        findings = [passed(name, 'runs')]
    else:
        findings = [failed(name, f'does not run: its status is {status}',
                           'See the console and the output of QEMU in the '
                           'report')]
    shared = _total(sample['guest-memfd'], 'shared-size')
    name = 'shared memory'
    findings.append(
        passed(name, size_text(shared)) if shared else
        unknown(name, 'the guest has shared nothing yet: its firmware or '
                'kernel may not have started', 'See the console in the '
                'report; watch for longer with --watch'))
    return findings


def judge_devices(samples: list[dict[str, Any]], wish: Wish,
                  backend: str) -> list[Finding]:
    """Judge whether the devices are there and were enabled."""
    name, last = 'devices', samples[-1]['vfio-dma']
    missing = set(wish.devices) - {
        device['name'] for info in last if info['backend'] == backend
        for device in info['devices']}
    if missing:
        return [failed(name, f'{", ".join(sorted(missing))}: not in a '
                       f'container of {backend}', 'See the output of QEMU in '
                       'the report')]
    enabled = {device['name'] for sample in samples
               for info in sample['vfio-dma'] for device in info['devices']
               if device['may-do-dma']}
    refused = {device['name'] for info in last for device in info['devices']
               if device['refused']}
    if refused:
        return [failed(name, f'{", ".join(sorted(refused))}: the guest could '
                       'not enable bus mastering', _MANUAL)]
    unused = set(wish.devices) - enabled
    if unused:
        return [unknown(name, f'{", ".join(sorted(unused))}: the guest has '
                        'not enabled bus mastering', 'Check that the guest '
                        'has a driver for it; watch for longer with --watch')]
    return [passed(name, f'{", ".join(sorted(enabled))}: in use by the '
                   'guest')]


def judge_mappings(sample: dict[str, Any], backend: str) -> list[Finding]:
    """Judge the counters of the mappings in the last sample."""
    infos = sample['vfio-dma']
    wrong = [f'{key} is {_total(infos, key)}' for key in
             ('missing-size', 'stuck-size', 'failures') if _total(infos, key)]
    name = 'mappings'
    text = (f'{size_text(_total(infos, "mapped-size"))} in '
            f'{_total(infos, "mapped-extents")} extents, '
            f'{_total(infos, "map-calls")} calls to map, '
            f'{_total(infos, "cuts")} cuts')
    findings = [failed(name, f'{", ".join(wrong)} ({text})', _MANUAL)
                if wrong else passed(name, text)]
    splits, merges = _total(infos, 'splits'), _total(infos, 'merges')
    name = 'undisturbed DMA'
    findings.append(
        unknown(name, f'{splits} splits and {merges} merges, each of which '
                'can disturb DMA for a moment', 'Use iommufd, or '
                'x-shared-dma-extent=page') if splits or merges else
        passed(name, 'no splits and no merges'))
    if backend == 'iommufd':
        name = 'cuts'
        findings.append(
            passed(name, 'the kernel can cut mappings')
            if all(info['cutting'] for info in infos) else
            unknown(name, 'the kernel cannot cut mappings: conversions can '
                    'disturb DMA', 'Use Linux 6.8 or newer'))
    return findings


def judge_conversions(sample: dict[str, Any],
                      events: list[dict[str, Any]]) -> Finding:
    name = 'conversions'
    blocks = sample['guest-memfd']
    text = (f'{_total(blocks, "conversions-to-shared")} to shared, '
            f'{_total(blocks, "conversions-to-private")} to private')
    errors = [event['data']['error'] for event in events
              if event['event'] == _FAILED_EVENT]
    failures = _total(blocks, 'failures')
    if errors or failures:
        reasons = f': {", ".join(sorted(set(errors)))}' if errors else ''
        return failed(name, f'{max(failures, len(errors))} failed{reasons} '
                      f'({text})', _MANUAL)
    return passed(name, f'none failed ({text})')


def judge_faults(lines: list[str] | None) -> Finding:
    """Judge the kernel's log; None if it cannot be read."""
    name = 'iommu faults'
    if lines is None:
        return unknown(name, 'the kernel log cannot be read',
                       'Run this as root, or see "dmesg"')
    faults = faults_in(lines)
    if faults:
        return failed(name, f'{len(faults)} in the kernel log, the first: '
                      f'{faults[0]}', 'A device accessed memory that is not '
                      'shared: report it with this report')
    return passed(name, 'none in the kernel log')


def judge_pinned(before: int | None, after: int | None,
                 when: str) -> Finding:
    name = f'pinned memory {when}'
    if before is None or after is None:
        return unknown(name, '/proc/vmstat does not count pinned pages',
                       'Compare "free" before and after')
    if after <= before:
        return passed(name, 'all released')
    return unknown(name, f'{size_text((after - before) * _PAGE_SIZE)} more '
                   'than before', 'Check that no other process pins memory, '
                   'and run this again; otherwise report it')


def _now() -> float:
    """Return the time in seconds, by the clock that sleep() uses."""
    return asyncio.get_running_loop().time()


class Trial:
    """Watches a guest, and fills a record."""

    def __init__(self, monitor: Monitor, wish: Wish, record: Record,
                 host: Host, log: KernelLog | None, pinned: int | None,
                 pace: Pace, say: Callable[[str], None]) -> None:
        """Prepare; @pinned is the number of pinned pages before the start."""
        self._monitor = monitor
        self._wish = wish
        self._host = host
        self._log = log
        self._pinned = pinned
        self._pace = pace
        self._say = say
        self._start = 0.0
        self.record = record

    def _add(self, *findings: Finding) -> None:
        self.record.findings += findings

    async def sample(self) -> dict[str, Any]:
        """Query QEMU's state, and record it if it has changed."""
        status = await self._monitor.execute('query-status')
        sample = {
            'status': status['status'],
            'guest-memfd': await self._monitor.execute('query-guest-memfd'),
            'vfio-dma': await self._monitor.execute('x-query-vfio-dma'),
            'locked-size': self._host.locked_size(self._monitor.pid),
            'pinned-pages': self._host.pinned_pages()}
        self.record.events += self._monitor.events()
        samples = self.record.samples
        if not samples or {**samples[-1], 'time': 0} != {**sample, 'time': 0}:
            samples.append({
                'time': round(_now() - self._start, 3), **sample})
        return sample

    async def _until(self, seconds: float,
                     condition: Callable[[dict[str, Any]], bool]) -> bool:
        """Sample until a condition is true or time has passed."""
        end = _now() + seconds
        while True:
            if condition(await self.sample()):
                return True
            if _now() >= end:
                return False
            await asyncio.sleep(self._pace.interval)

    def _is_deleted(self, name: str) -> bool:
        return any(event['event'] == 'DEVICE_DELETED' and
                   event['data'].get('device') == name
                   for event in self.record.events)

    def _shutdown_reason(self) -> str | None:
        for event in self.record.events:
            if event['event'] in ('SHUTDOWN', 'GUEST_PANICKED'):
                return f'{event["event"]}: {event.get("data", {})}'
        return None

    async def watch(self) -> None:
        """Watch the guest, and judge what was seen."""
        self._say(f'watching the guest for {self._wish.watch:g} s')
        await self._until(self._wish.watch, lambda sample: False)
        sample, backend = self.record.samples[-1], self.record.backend
        self._add(*judge_guest(sample))
        if self._wish.devices:
            self._add(*judge_devices(self.record.samples, self._wish,
                                     backend))
            self._add(*judge_mappings(sample, backend))

    async def replug(self) -> None:
        """Unplug all devices, check that all is released, plug them in."""
        names = {device_id(number): address for number, address
                 in enumerate(self._wish.devices)}
        self._say('unplugging the devices')
        for name in names:
            await self._monitor.execute('device_del', id=name)
        await self._until(self._pace.plug, lambda sample: all(
            map(self._is_deleted, names)))
        kept = [address for name, address in names.items()
                if not self._is_deleted(name)]
        if kept:
            self._add(unknown('unplug', f'{", ".join(kept)}: the guest has '
                              f'not released it in {self._pace.plug:g} s',
                              'Check that the guest has booted and that its '
                              'kernel has CONFIG_HOTPLUG_PCI_PCIE'))
            return
        self._add(passed('unplug', ', '.join(names.values())))
        await self._judge_pinned('after unplugging')
        self._say('plugging the devices in again')
        for number in range(len(self._wish.devices)):
            await self._monitor.execute(
                'device_add', **device_properties(
                    self._wish, self.record.backend, number))
        used = await self._until(self._pace.plug, lambda sample: {
            device['name'] for info in sample['vfio-dma']
            for device in info['devices'] if device['may-do-dma']} >=
            set(self._wish.devices))
        self._add(passed('plug', 'the guest uses the devices again') if used
                  else unknown('plug', 'the guest has not enabled all '
                               f'devices in {self._pace.plug:g} s',
                               "See the guest's console in the report"))

    async def _judge_pinned(self, when: str) -> None:
        """Judge pinned memory when it was released, or after a while."""
        end = _now() + self._pace.release
        while True:
            finding = judge_pinned(self._pinned, self._host.pinned_pages(),
                                   when)
            if not finding.way_out or _now() >= end:
                break
            await asyncio.sleep(self._pace.interval)
        self._add(finding)

    async def reset(self) -> bool:
        """Reset the guest; return whether QEMU still runs."""
        self._say('resetting the guest')
        self.record.events += self._monitor.events()
        seen = len(self.record.events)
        try:
            await self._monitor.execute('system_reset')
            was_reset = await self._until(self._pace.reset, lambda sample: any(
                event['event'] == 'RESET'
                for event in self.record.events[seen:]))
        except Gone:
            self.record.exit_status = await self._monitor.exit_status()
            if self.record.exit_status == 0:
                self._add(passed('reset', 'QEMU ended, as QEMU 10 does for '
                                 'guests whose CPUs cannot be reset'))
            else:
                self._add(failed('reset', 'QEMU ended with status '
                                 f'{self.record.exit_status}',
                                 'See the output of QEMU in the report'))
            return False
        self._add(passed('reset', 'the guest was reset') if was_reset else
                  failed('reset', 'QEMU neither reset the guest nor ended in '
                         f'{self._pace.reset:g} s',
                         'See the output of QEMU in the report'))
        return True

    async def quit(self) -> None:
        """End QEMU."""
        try:
            await self._monitor.execute('quit')
        except Gone:
            # QEMU can close the monitor before it answers
            pass
        status = self.record.exit_status = await self._monitor.exit_status()
        if status == 0:
            self._add(passed('end of QEMU', 'status 0'))
        elif status is None:
            self._add(failed('end of QEMU', 'QEMU did not end, and was '
                             'killed', 'See the kernel log in the report'))
        else:
            self._add(failed('end of QEMU', f'status {status}',
                             'See the output of QEMU in the report'))

    def _finish(self) -> None:
        """Judge what goes for the whole trial."""
        if self.record.samples:
            self._add(judge_conversions(self.record.samples[-1],
                                        self.record.events))
        lines = self._log.lines() if self._log else None
        self.record.kernel_log = lines or []
        self._add(judge_faults(lines))

    async def run(self) -> None:
        """Run all steps; QEMU has ended then."""
        self._start = _now()
        try:
            await self.watch()
            if self._wish.replug and self._wish.devices:
                await self.replug()
            runs = await self.reset() if self._wish.reset else True
            if runs:
                await self.quit()
        except Refused as error:
            self._add(failed('monitor', f'{error}', _MANUAL))
            await self.quit()
        except Gone as error:
            self.record.events += self._monitor.events()
            self.record.exit_status = await self._monitor.exit_status()
            reason = self._shutdown_reason() or str(error)
            self._add(failed('guest', f'QEMU ended early with status '
                             f'{self.record.exit_status}: {reason}',
                             'See the console and the output of QEMU in the '
                             'report'))
        await self._judge_pinned('after the end of QEMU')
        self._finish()
