# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of scripts/shared-dma-report with a machine that is a folder."""

import asyncio
import contextlib
import gzip
import io
import os
import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

from dma_report import host_facts
from dma_report.arguments import kernel_arguments, qemu_arguments
from dma_report.process_facts import process
from dma_report.queries import answers
from first_light.host import UNLIMITED, Host
from first_light.machine import Refused
from first_light.tee import SNP
from lib.version import ROOT, VersionError
from tests.fake_host import ADDRESS, FakeHost, FakeKvm
from tests.fake_monitor import FakeGuest, FakeMonitor
from tests.load_script import load_script

PID = 4711
CONFIG = ('CONFIG_KVM_AMD_SEV=y\n# CONFIG_IOMMUFD is not set\n'
          'CONFIG_VFIO_PCI=m\nCONFIG_BUILD_SALT="hunter2"\n')
STATUS = ('Name:\tqemu\nVmPeak:\t  900 kB\nVmLck:\t  100 kB\nVmPin:\t 0 kB\n'
          'VmRSS:\t 4000 kB\nThreads:\t5\nCapEff:\t{:016x}\n')
LIMITS = ('Limit                     Soft Limit      Hard Limit   Units\n'
          'Max open files            1024            4096         files\n'
          'Max locked memory         8388608         unlimited    bytes\n')
SECRET = 'hunter2'
COMMAND = [
    'qemu-system-x86_64', '-name', SECRET, '-nodefaults', f'{SECRET}.img',
    '-machine', f'q35,confidential-guest-support=sev0,dumpdtb={SECRET}',
    '-object', f'secret,id=s0,data={SECRET}',
    '-object', f'secret,id=s1,data=x,,size={SECRET}',
    '-object', f'{{"qom-type":"secret","id":"s2","data":"{SECRET}"}}',
    '-object', f'{{"qom-type":"secret","data":["{SECRET}"]}}',
    '-object', f'{{"{SECRET}',
    '-object', f'sev-snp-guest,id=sev0,cbitpos=51,host-data={SECRET}',
    '-vnc', f':0,password={SECRET}', '-append', f'-{SECRET}',
    '-drive', f'file=https://user:{SECRET}@host/disk', f'-{SECRET}', SECRET,
    f'--{SECRET}={SECRET}', '-fw_cfg', f'name=opt/x,string={SECRET}',
    '-device', f'virtio-blk-pci,drive=d0,serial={SECRET}', '-m', '4G',
    '-device', '{"driver":"vfio-pci","host":"0000:01:00.0","rombar":1,'
    '"x-shared-dma-extent":"page","display":false}',
    '-global', 'vfio-pci.x-shared-dma-extent=page', '-smp', '2,maxcpus=4']


def text(lines: Any) -> str:
    return '\n'.join(lines)


class ArgumentsTest(unittest.TestCase):
    def test_secrets_are_hidden(self) -> None:
        self.assertNotIn(SECRET, text(qemu_arguments(COMMAND[1:])))

    def test_harmless_values_are_shown(self) -> None:
        lines = qemu_arguments(COMMAND[1:])
        for line in ('-machine q35,confidential-guest-support=sev0,'
                     'dumpdtb=...',
                     '-object secret,id=s0,data=...',
                     '-object qom-type=secret,id=s2,data=...',
                     '-object sev-snp-guest,id=sev0,cbitpos=51,host-data=...',
                     '-device virtio-blk-pci,drive=...,serial=...', '-m 4G',
                     '-device driver=vfio-pci,host=0000:01:00.0,rombar=1,'
                     'x-shared-dma-extent=page,display=...',
                     '-global vfio-pci.x-shared-dma-extent=page',
                     '-smp 2,maxcpus=4', '-nodefaults ...', '-vnc ...'):
            with self.subTest(line):
                self.assertIn(line, lines)

    def test_two_dashes(self) -> None:
        self.assertEqual(qemu_arguments(['--accel', 'kvm', '--vnc', SECRET]),
                         ['-accel kvm', '-vnc ...'])

    def test_kernel(self) -> None:
        self.assertEqual(
            kernel_arguments(['root=UUID=5', 'intel_iommu=on', 'quiet',
                              'kvm_amd.sev_snp=1', 'nohibernate',
                              f'rd.password={SECRET}']),
            'intel_iommu=on kvm_amd.sev_snp=1 nohibernate (3 others)')


class FakeHostTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.fake = FakeHost(self.folder / 'host', SNP)
        self.host = self.fake.host

    def add_process(self, capabilities: int = 0) -> None:
        self.fake.write(f'proc/{PID}/status', STATUS.format(capabilities))
        self.fake.write(f'proc/{PID}/limits', LIMITS)
        self.fake.write(f'proc/{PID}/cgroup', '0::/machine/guest\n')
        self.fake.write(f'proc/{PID}/cmdline', '\0'.join(COMMAND) + '\0')
        self.fake.write('sys/fs/cgroup/cgroup.controllers', 'memory')
        self.fake.write('sys/fs/cgroup/machine/memory.max', '1048576')
        self.fake.write('sys/fs/cgroup/machine/guest/memory.max', 'max')
        self.fake.write('sys/fs/cgroup/machine/guest/memory.events',
                        'high 0\noom_kill 1\n')


class HostFactsTest(FakeHostTest):
    def check(self, lines: Any, *expected: str) -> None:
        lines = list(lines)
        for line in expected:
            with self.subTest(line):
                self.assertIn(line, lines)

    def test_versions(self) -> None:
        self.fake.write('etc/os-release',
                        'ID=debian\nPRETTY_NAME="Debian 13"\n')
        with mock.patch.object(host_facts, 'project_version',
                               return_value='1.2'):
            self.check(host_facts.versions(self.host), 'scripts: 1.2',
                       'distribution: Debian 13', 'Linux: 6.17.2-amd64',
                       'processor: AMD EPYC 9654', 'microcode: not readable',
                       'is a virtual machine: no')

    def test_version_of_a_package(self) -> None:
        with mock.patch.object(host_facts, 'project_version',
                               side_effect=VersionError):
            for package, line in (
                    ('tools 1.2', 'scripts: tools 1.2'),
                    (None, 'scripts: not known: there is no git checkout, no '
                     'file VERSION and no package')):
                with mock.patch.object(host_facts, 'package_of',
                                       return_value=package):
                    self.check(host_facts.versions(self.host), line)

    def binary(self, help_text: str) -> Path:
        path = self.folder / 'qemu'
        path.write_text(f'#!/bin/sh\ncase $1 in\n--version) echo "QEMU 10.0"; '
                        f'echo c ;;\n-device) echo "{help_text}" ;;\nesac\n',
                        encoding='utf-8')
        path.chmod(0o755)
        return path

    def test_binary(self) -> None:
        self.check(host_facts.qemu_binary(self.binary(
            'x-shared-dma-extent=<str>')), 'version: QEMU 10.0',
            'package: none', 'shared DMA: present')
        self.check(host_facts.qemu_binary(self.binary('host=<str>')),
                   'shared DMA: vfio-pci does not have it')

    def test_wrong_binary(self) -> None:
        path = self.folder / 'nothing'
        self.check(host_facts.qemu_binary(path),
                   f'{path}: No such file or directory; use --qmp, --pid or '
                   '--qemu')
        self.assertIn('exit status 1',
                      text(host_facts.qemu_binary(Path('/bin/false'))))

    def test_configuration_in_boot(self) -> None:
        self.fake.write('boot/config-6.17.2-amd64', CONFIG)
        self.fake.write('proc/cmdline', f'quiet iommu=pt key={SECRET}')
        lines = text(host_facts.kernel_options(self.host))
        self.assertIn('arguments: iommu=pt (2 others)\nCONFIG_KVM_AMD_SEV=y\n'
                      '# CONFIG_IOMMUFD is not set\nCONFIG_VFIO_PCI=m\n',
                      lines)
        self.assertNotIn(SECRET, lines)

    def test_configuration_in_proc(self) -> None:
        (self.fake.root / 'proc/config.gz').write_bytes(
            gzip.compress(CONFIG.encode()))
        self.check(host_facts.kernel_options(self.host),
                   'CONFIG_KVM_AMD_SEV=y')

    def test_damaged_configuration(self) -> None:
        self.fake.write('proc/config.gz', 'no gzip')
        self.check(host_facts.kernel_options(self.host),
                   'configuration: neither /boot/config-6.17.2-amd64 nor '
                   '/proc/config.gz is readable')

    def test_modules(self) -> None:
        self.fake.write('sys/module/vfio/uevent', '')
        self.check(host_facts.kernel_options(self.host),
                   'kvm_amd.sev_snp: Y', 'vfio: no parameters',
                   'vfio_iommu_type1.dma_entry_limit: 65535',
                   'iommufd: not loaded, or built in without parameters')

    def test_checks(self) -> None:
        lines = text(host_facts.checks(self.host))
        self.assertIn('type of guest: AMD SEV-SNP\n', lines)
        self.assertIn('pass    /dev/iommu: can be opened', lines)
        self.fake.remove('dev/iommu')
        self.assertIn('FAIL    /dev/iommu: cannot be opened',
                      text(host_facts.checks(self.host)))

    def test_iommu(self) -> None:
        self.check(host_facts.iommu(self.host), 'IOMMUs: none',
                   'IOMMU groups: 1', 'devices of vfio-pci: none')
        self.fake.write('sys/class/iommu/dmar0/uevent', '')
        folder = self.fake.root / 'sys/bus/pci/drivers/vfio-pci'
        os.symlink(self.fake.root / f'sys/bus/pci/devices/{ADDRESS}',
                   folder / ADDRESS)
        self.fake.write('sys/bus/pci/drivers/vfio-pci/new_id', '')
        lines = list(host_facts.iommu(self.host))
        self.assertEqual(lines, ['IOMMUs: dmar0', 'IOMMU groups: 1',
                                 f'{ADDRESS}: 0x8086:unknown, group 17'])

    def test_memory(self) -> None:
        self.fake.write('proc/meminfo', 'MemTotal:  100 kB\nMemFree: 5 kB\n'
                        'HugePages_Free:   3\n')
        huge = 'sys/kernel/mm/hugepages/hugepages-2048kB'
        self.fake.write(f'{huge}/nr_hugepages', '8')
        self.fake.write(f'{huge}/free_hugepages', '3')
        self.fake.write('sys/kernel/mm/transparent_hugepage/enabled',
                        'always [madvise] never')
        self.fake.set_pinned(7)
        self.assertEqual(
            list(host_facts.memory(self.host)),
            ['MemTotal:  100 kB', 'HugePages_Free:   3',
             'hugepages-2048kB: 8 in total, 3 free',
             'transparent huge pages, enabled: always [madvise] never',
             'transparent huge pages, defrag: not readable',
             'transparent huge pages, shmem_enabled: not readable',
             'pages pinned now: 7'])

    def test_kernel_log(self) -> None:
        fault = 'AMD-Vi: Event logged [IO_PAGE_FAULT address=0x1]'
        self.fake.append('dev/kmsg', '6,1,1,-;SEV-SNP supported\n'
                         f'6,2,2,-;user {SECRET} logged in\n3,3,3,-;{fault}\n')
        lines = text(host_facts.kernel_log(self.host))
        self.assertIn('faults: 1 lines\n  ' + fault, lines)
        self.assertIn('  SEV-SNP supported\n', lines)
        self.assertNotIn(SECRET, lines)


class NothingTest(unittest.TestCase):
    """A machine that has no file at all."""

    def test_lines_say_so(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            kvm = FakeKvm(SNP)
            kvm.error = FileNotFoundError(2, 'No such file or directory')
            host = Host(Path(folder), kvm, UNLIMITED)
            for facts, line in (
                    (host_facts.versions, 'distribution: not readable'),
                    (host_facts.kernel_options, 'kvm: not loaded, or built in '
                     'without parameters'),
                    (host_facts.checks, 'FAIL    /dev/kvm: cannot be used: No '
                     'such file or directory: this machine has no KVM'),
                    (host_facts.iommu, 'IOMMU groups: 0'),
                    (host_facts.memory, 'proc/meminfo: not readable'),
                    (host_facts.kernel_log, 'kernel log: not readable: No '
                     'such file or directory')):
                with self.subTest(facts.__name__):
                    self.assertIn(line, list(facts(host)))


class ProcessTest(FakeHostTest):
    def test_process(self) -> None:
        self.add_process()
        lines = list(process(self.host, PID))
        self.assertEqual(lines[:11], [
            'Max open files: 1024, at most 4096',
            'Max locked memory: 8388608, at most unlimited',
            'CAP_IPC_LOCK: no', 'VmPeak: 900 kB', 'VmLck: 100 kB',
            'VmPin: 0 kB', 'VmRSS: 4000 kB', 'Threads: 5',
            'cgroup (0): memory.max max; memory.events high 0 oom_kill 1',
            'cgroup, above it (1): memory.max 1048576',
            'arguments, without values that may be secret:'])
        self.assertIn('  -object secret,id=s0,data=...', lines)
        self.assertNotIn(SECRET, text(lines))

    def test_capability(self) -> None:
        self.add_process(1 << 14)
        self.assertIn('CAP_IPC_LOCK: yes, memory can be locked without limit',
                      list(process(self.host, PID)))

    def test_cgroup_without_memory_controller(self) -> None:
        self.add_process()
        self.fake.remove('sys/fs/cgroup/machine/guest')
        self.assertIn('cgroup (0): has no memory controller',
                      list(process(self.host, PID)))
        self.fake.write(f'proc/{PID}/cgroup', '4:memory:/x\n')
        self.assertIn('cgroup: the process is in none of version 2',
                      list(process(self.host, PID)))

    def test_nothing_is_readable(self) -> None:
        (self.fake.root / f'proc/{PID}').mkdir()
        self.assertEqual(
            list(process(self.host, PID)),
            ["limits: not readable; run this as root or as QEMU's user",
             'CAP_IPC_LOCK: no', 'status: not readable',
             'cgroup: the process is in none of version 2',
             'arguments, without values that may be secret:'])

    def test_no_process(self) -> None:
        self.assertEqual(list(process(self.host, PID)),
                         [f'process {PID}: does not exist'])


class QueriesTest(unittest.TestCase):
    class Monitor(FakeMonitor):
        """A guest that knows only the queries of shared DMA."""

        async def execute(self, command: str, **arguments: Any) -> Any:
            if command not in ('query-status', 'query-guest-memfd',
                               'x-query-vfio-dma'):
                raise Refused(f'{command}: not found')
            return await super().execute(command, **arguments)

    def ask(self, guest: FakeGuest) -> list[str]:
        async def collect() -> list[str]:
            return [answer async for answer in answers(self.Monitor(guest))]

        return asyncio.run(collect())

    def test_answers(self) -> None:
        shown = text(self.ask(FakeGuest()))
        self.assertIn('query-version: not found\n', shown)
        self.assertIn('query-guest-memfd: [\n {\n', shown)
        self.assertIn('"shared-size": 67108864,', shown)
        self.assertIn('x-query-vfio-dma: [\n', shown)

    def test_qemu_ends(self) -> None:
        guest = FakeGuest()
        guest.ended = 1
        self.assertEqual(self.ask(guest)[-1],
                         'query-status: QEMU has closed the monitor')


class ScriptTest(FakeHostTest):
    def setUp(self) -> None:
        super().setUp()
        self.script = load_script('shared-dma-report')
        self.file = self.folder / 'report'

    def run_script(self, *arguments: str) -> tuple[int, str]:
        output = io.StringIO()
        with contextlib.redirect_stdout(output), \
                contextlib.redirect_stderr(output):
            status = self.script.run([*arguments, '--qemu', '/bin/false'],
                                     self.host)
        return status, output.getvalue()

    def test_report(self) -> None:
        self.add_process()
        self.assertEqual(self.run_script('--pid', str(PID), str(self.file)),
                         (0, f'Report: {self.file}\n'))
        report = self.file.read_text(encoding='utf-8')
        titles = [line for line in report.splitlines()
                  if line.startswith('== ')]
        self.assertEqual(titles, [
            '== Versions', '== QEMU', "== QEMU's process",
            "== QEMU's queries", '== Linux', '== Checks', '== IOMMU',
            '== Memory', '== Kernel log'])
        self.assertIn('\n\nno --qmp was given\n', report)
        self.assertIn('Max locked memory: 8388608', report)
        self.assertNotIn(SECRET, report)

    def test_output(self) -> None:
        status, report = self.run_script()
        self.assertEqual(status, 0)
        self.assertIn('not known; use --qmp or --pid\n', report)

    def test_no_socket(self) -> None:
        path = self.folder / 'qmp'
        status, report = self.run_script('--qmp', str(path))
        self.assertEqual(status, 0)
        self.assertIn(f'{path}: No such file or directory; start QEMU with '
                      '-qmp unix:PATH,server=on,wait=off\n', report)

    def test_cannot_write(self) -> None:
        path = self.folder / 'missing/report'
        self.assertEqual(self.run_script(str(path)),
                         (1, f'error: {path}: No such file or directory\n'))

    def test_of_check(self) -> None:
        """scripts/check --report writes the same for this machine."""
        result = subprocess.run(
            ['/bin/bash', ROOT / 'scripts/check', '--report', self.file],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False, timeout=120)
        self.assertEqual((result.returncode, result.stdout, result.stderr),
                         (0, f'Report: {self.file}\n', ''))
        self.assertIn('== Versions', self.file.read_text(encoding='utf-8'))


if __name__ == '__main__':
    unittest.main()
