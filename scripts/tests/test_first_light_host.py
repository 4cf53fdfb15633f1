# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of the checks of the host and of devices; each must fail once."""

import errno
import fcntl
import os
import struct
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from first_light import kvm
from first_light.checks import check_all
from first_light.device_checks import (AddressError, bar_size, check_device,
                                       parse_address)
from first_light.finding import Finding, Result, any_failed
from first_light.host import GIB, MIB, Host, linux_version
from first_light.host_checks import (bounce_buffer_size, check_backend,
                                     check_entry_limit, check_host,
                                     check_memlock)
from first_light.options import BACKENDS, Wish
from first_light.tee import SNP, SW_PROTECTED, TDX, Tee, detect
from tests.fake_host import ADDRESS, BRIDGE, NEIGHBOUR, FakeHost

SNP_MODULE = 'sys/module/kvm_amd/parameters/sev_snp'
TDX_MODULE = 'sys/module/kvm_intel/parameters/tdx'


class HostCase(unittest.TestCase):
    """A test with a fake host of each type."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.snp = FakeHost(self.folder / 'snp', SNP)
        self.tdx = FakeHost(self.folder / 'tdx', TDX)

    def expect(self, findings: list[Finding], name: str, result: Result,
               *words: str) -> None:
        """Expect a finding with a reason and, if needed, a way out."""
        found = [finding for finding in findings if finding.name == name]
        self.assertEqual(len(found), 1, [item.name for item in findings])
        self.assertEqual(found[0].result, result, found)
        self.assertTrue(found[0].reason)
        self.assertEqual(bool(found[0].way_out), result is not Result.PASS)
        for word in words:
            self.assertIn(word, f'{found[0].reason}\n{found[0].way_out}')

    def fails(self, findings: list[Finding], name: str, *words: str) -> None:
        """Expect that this finding, and no other one, is a failure."""
        self.expect(findings, name, Result.FAIL, *words)
        self.assertEqual([item.name for item in findings
                          if item.result is Result.FAIL], [name])


class ReadyTest(HostCase):

    def test_everything_passes(self) -> None:
        for fake, tee in ((self.snp, SNP), (self.tdx, TDX)):
            with self.subTest(tee.name):
                findings = check_host(fake.host, tee) + check_device(
                    fake.host, ADDRESS, BACKENDS)
                for backend in BACKENDS:
                    findings += check_backend(fake.host, backend)
                self.assertEqual(
                    {item.result for item in findings}, {Result.PASS},
                    [item for item in findings if item.way_out])
                self.assertGreaterEqual(len(findings), 14)

    def test_checks_do_not_change_the_machine(self) -> None:
        def files() -> dict[str, tuple[float, int]]:
            return {str(path): (path.lstat().st_mtime, path.lstat().st_size)
                    for path in self.folder.rglob('*')}

        before = files()
        check_all(self.snp.host, Wish(SNP, Path('/nonexistent'),
                                      devices=[ADDRESS]))
        self.assertEqual(files(), before)

    def test_the_other_type(self) -> None:
        self.assertTrue(any_failed(check_host(self.snp.host, TDX)))
        self.assertTrue(any_failed(check_host(self.tdx.host, SNP)))


class HostChecksTest(HostCase):

    def check(self, tee: Tee = SNP) -> list[Finding]:
        return check_host((self.snp if tee is SNP else self.tdx).host, tee)

    def test_processor(self) -> None:
        for fake, tee in ((self.snp, SNP), (self.tdx, TDX)):
            with self.subTest(tee.name):
                fake.write('proc/cpuinfo', 'model name\t: Old\nflags\t: fpu')
                self.fails(self.check(tee), 'processor', 'Old', tee.cpu_flag,
                           'BIOS')

    def test_hibernation(self) -> None:
        self.tdx.write('proc/cpuinfo', 'flags\t: fpu')
        self.expect(self.check(TDX), 'hibernation', Result.PASS)
        self.tdx.write('sys/power/disk', '[platform] shutdown')
        self.expect(self.check(TDX), 'hibernation', Result.FAIL,
                    'nohibernate')
        # No question of TDX if the kernel has enabled it, or for SNP
        self.snp.write('sys/power/disk', '[platform]')
        self.snp.write('proc/cpuinfo', 'flags\t: fpu')
        self.tdx.write('proc/cpuinfo', f'flags\t: {TDX.cpu_flag}')
        for tee in (SNP, TDX):
            self.assertNotIn('hibernation', {item.name for item
                                             in self.check(tee)})

    def test_passthrough(self) -> None:
        self.snp.write('proc/cmdline', 'ro iommu=pt')
        self.expect(self.check(), 'iommu mode', Result.PASS, 'iommu=pt')
        self.snp.write(SNP_MODULE, 'N')
        self.expect(self.check(), 'iommu mode', Result.FAIL, 'iommu=pt')
        self.snp.write('proc/cmdline', 'ro iommu=nopt')
        self.expect(self.check(), 'iommu mode', Result.PASS)

    def test_kernel(self) -> None:
        self.snp.write('proc/sys/kernel/osrelease', '6.10.9')
        self.tdx.write('proc/sys/kernel/osrelease', '6.15.0-rc1')
        for tee, fake, word in ((SNP, self.snp, '6.11'),
                                (TDX, self.tdx, '6.16')):
            self.expect(self.check(tee), 'kernel', Result.UNKNOWN, word,
                        'backport')
            fake.kvm.values[kvm.CAP_VM_TYPES] = 1
            self.expect(self.check(tee), 'kernel', Result.FAIL, word)
            fake.write('proc/sys/kernel/osrelease', f'{word}.0')
            self.expect(self.check(tee), 'kernel', Result.PASS)
        self.snp.write('proc/sys/kernel/osrelease', 'custom')
        self.expect(self.check(), 'kernel', Result.UNKNOWN, 'custom')

    def test_module(self) -> None:
        self.snp.write(SNP_MODULE, 'N')
        self.fails(self.check(), 'kvm_amd.sev_snp', 'is N', 'dmesg')
        self.snp.remove(SNP_MODULE)
        self.fails(self.check(), 'kvm_amd.sev_snp', 'CONFIG_KVM_AMD_SEV')
        self.snp.remove('sys/module/kvm_amd')
        self.fails(self.check(), 'kvm_amd.sev_snp', 'modprobe kvm_amd')
        self.tdx.write(TDX_MODULE, 'N')
        self.fails(self.check(TDX), 'kvm_intel.tdx', 'tdx=1')
        self.tdx.remove(TDX_MODULE)
        self.fails(self.check(TDX), 'kvm_intel.tdx', 'CONFIG_KVM_INTEL_TDX')

    def test_kvm_device(self) -> None:
        self.snp.kvm.error = FileNotFoundError(errno.ENOENT, 'No such file')
        self.fails(self.check(), '/dev/kvm', 'this machine has no KVM')
        self.snp.kvm.error = PermissionError(errno.EACCES, 'Denied')
        self.fails(self.check(), '/dev/kvm', 'Denied', 'as root')

    def test_kvm_capabilities(self) -> None:
        for number, name in (
                (kvm.CAP_VM_TYPES, 'KVM_CAP_VM_TYPES (AMD SEV-SNP)'),
                (kvm.CAP_MEMORY_ATTRIBUTES,
                 'KVM_CAP_MEMORY_ATTRIBUTES (private)'),
                (kvm.CAP_GUEST_MEMFD, 'KVM_CAP_GUEST_MEMFD'),
                (kvm.CAP_EXIT_HYPERCALL,
                 'KVM_CAP_EXIT_HYPERCALL (KVM_HC_MAP_GPA_RANGE)')):
            with self.subTest(name):
                kept = self.snp.kvm.values.pop(number)
                self.fails(self.check(), name, '0x0')
                self.snp.kvm.values[number] = kept
        # The types of other guests do not count
        self.snp.kvm.values[kvm.CAP_VM_TYPES] = 0b101111
        self.fails(self.check(), 'KVM_CAP_VM_TYPES (AMD SEV-SNP)', '0x2f')

    def test_software_protected(self) -> None:
        self.snp.kvm.values[kvm.CAP_VM_TYPES] = 0b11
        self.assertFalse(any_failed(check_host(self.snp.host, SW_PROTECTED)))
        self.snp.kvm.values[kvm.CAP_VM_TYPES] = 0b01
        self.assertTrue(any_failed(check_host(self.snp.host, SW_PROTECTED)))

    def test_sev_device(self) -> None:
        self.snp.remove('dev/sev')
        self.fails(self.check(), '/dev/sev', 'No such file', 'ccp')

    def test_permissions(self) -> None:
        with mock.patch('first_light.host_checks.open', create=True,
                        side_effect=PermissionError(errno.EACCES, 'Denied')):
            self.fails(self.check(), '/dev/sev', 'Denied', 'as root')

    def test_iommu(self) -> None:
        self.snp.remove('sys/kernel/iommu_groups')
        self.fails(self.check(), 'iommu', 'no IOMMU group', 'intel_iommu=on')

    def test_backends(self) -> None:
        for backend, device, word in (
                ('iommufd', 'dev/iommu', 'CONFIG_IOMMUFD'),
                ('type1', 'dev/vfio/vfio', 'CONFIG_VFIO_CONTAINER')):
            with self.subTest(backend):
                self.snp.remove(device)
                self.fails(check_backend(self.snp.host, backend),
                           f'/{device}', word)

    def test_entry_limit(self) -> None:
        path = 'sys/module/vfio_iommu_type1/parameters/dma_entry_limit'

        def check(limit: int) -> list[Finding]:
            self.snp.write(path, str(limit))
            return [check_entry_limit(self.snp.host, 4 * GIB)]

        self.expect(check(65535), 'dma_entry_limit', Result.PASS)
        self.expect(check(65534), 'dma_entry_limit', Result.UNKNOWN)
        self.expect(check(2048 + 1024), 'dma_entry_limit', Result.UNKNOWN)
        self.fails(check(2048 + 1023), 'dma_entry_limit',
                   'echo 65535 > /sys/module')
        self.snp.remove(path)
        self.expect([check_entry_limit(self.snp.host, GIB)],
                    'dma_entry_limit', Result.UNKNOWN, 'not loaded')

    def test_memlock(self) -> None:
        def check(limit: int) -> list[Finding]:
            return [check_memlock(Host(self.snp.root, self.snp.kvm, limit),
                                  4 * GIB, MIB)]

        least = 4 * GIB * 6 // 100 + 65 * MIB
        most = 4 * GIB + 65 * MIB
        name = 'locked memory'
        self.expect(check(most), name, Result.PASS)
        self.expect(check(most - 1), name, Result.UNKNOWN,
                    f'ulimit -l {most // 1024}')
        self.expect(check(least), name, Result.UNKNOWN)
        self.fails(check(least - 1), name, 'LimitMEMLOCK')
        self.snp.write('proc/self/status', 'CapEff:\t0000000000004000\n')
        self.expect(check(0), name, Result.PASS, 'CAP_IPC_LOCK')
        self.snp.write('proc/self/status', 'CapEff:\t0000000000002000\n')
        self.fails(check(0), name)


class DeviceChecksTest(HostCase):

    def check(self, *backends: str) -> list[Finding]:
        return check_device(self.snp.host, ADDRESS, backends or BACKENDS)

    def test_missing(self) -> None:
        self.fails(check_device(self.snp.host, '0000:02:00.0', BACKENDS),
                   '0000:02:00.0 driver', 'no such PCI device')

    def test_driver(self) -> None:
        self.snp.bind(ADDRESS, 'ixgbe')
        device = f'/sys/bus/pci/devices/{ADDRESS}'
        self.fails(self.check(), f'{ADDRESS} driver', 'the driver is ixgbe',
                   f'echo vfio-pci > {device}/driver_override\n',
                   f'echo {ADDRESS} > {device}/driver/unbind\n',
                   f'echo {ADDRESS} > /sys/bus/pci/drivers_probe')
        self.snp.remove(f'sys/bus/pci/devices/{ADDRESS}/driver')
        self.fails(self.check(), f'{ADDRESS} driver', 'no driver',
                   f'echo {ADDRESS} > /sys/bus/pci/drivers_probe')

    def test_unbind_only_what_is_bound(self) -> None:
        self.snp.remove(f'sys/bus/pci/devices/{ADDRESS}/driver')
        self.assertNotIn('unbind', self.check()[0].way_out)

    def test_bridge(self) -> None:
        self.snp.add_device(BRIDGE, '0x060400', 'pcieport')
        self.expect(self.check(), f'{ADDRESS} group', Result.PASS,
                    f'bridge {BRIDGE}')
        self.expect(check_device(self.snp.host, BRIDGE, BACKENDS),
                    f'{BRIDGE} driver', Result.FAIL, 'is a bridge')

    def test_group(self) -> None:
        self.snp.add_device(NEIGHBOUR, '0x020000', 'ixgbe')
        self.fails(self.check(), f'{ADDRESS} group', NEIGHBOUR, 'ixgbe',
                   f'{NEIGHBOUR}/driver/unbind')
        for driver in ('vfio-pci', 'pci-stub'):
            self.snp.bind(NEIGHBOUR, driver)
            self.expect(self.check(), f'{ADDRESS} group', Result.PASS, driver)
        self.snp.remove(f'sys/bus/pci/devices/{NEIGHBOUR}/driver')
        self.expect(self.check(), f'{ADDRESS} group', Result.PASS,
                    'no driver')

    def test_no_group(self) -> None:
        self.snp.remove(f'sys/bus/pci/devices/{ADDRESS}/iommu_group')
        self.expect(self.check('iommufd'), f'{ADDRESS} group', Result.FAIL,
                    'no IOMMU group')

    def test_access(self) -> None:
        self.snp.remove('dev/vfio/17')
        self.fails(self.check('type1'), '/dev/vfio/17', 'No such file')
        self.snp.remove('dev/vfio/devices/vfio0')
        self.fails(self.check('iommufd'), '/dev/vfio/devices/vfio0')
        self.snp.remove(f'sys/bus/pci/devices/{ADDRESS}/vfio-dev')
        self.fails(self.check('iommufd'), f'{ADDRESS} with iommufd',
                   'CONFIG_VFIO_DEVICE_CDEV')

    def test_bar_size(self) -> None:
        # Two memory BARs; ports do not count
        self.assertEqual(bar_size(self.snp.host, ADDRESS), 2 * MIB)
        self.assertEqual(bar_size(self.snp.host, BRIDGE), 0)

    def test_addresses(self) -> None:
        self.assertEqual(parse_address('01:00.0'), ADDRESS)
        self.assertEqual(parse_address('00AB:1F:1f.7'), '00ab:1f:1f.7')
        for text in ('', '1:00.0', '01:00', '01:20.0', '01:00.8', 'x/01:00.0',
                     '01:00.0\n'):
            with self.subTest(repr(text)), self.assertRaises(AddressError):
                parse_address(text)


class FactsTest(HostCase):
    """What is read from the machine's files."""

    def test_versions(self) -> None:
        self.assertEqual(linux_version('6.12.117+deb13-amd64'), (6, 12))
        self.assertEqual(linux_version('7.3-rc1'), (7, 3))
        self.assertIsNone(linux_version('next'))
        # 6.9 is older than 6.11
        self.assertLess(linux_version('6.9.1') or (), SNP.linux)

    def test_detect(self) -> None:
        self.assertIs(detect({'sev_snp'}, 'AuthenticAMD'), SNP)
        self.assertIs(detect({'tdx_host_platform'}, ''), TDX)
        self.assertIs(detect(set(), 'AuthenticAMD'), SNP)
        self.assertIs(detect(set(), 'GenuineIntel'), TDX)
        self.assertIsNone(detect(set(), 'CentaurHauls'))

    def test_bounce_buffers(self) -> None:
        self.assertEqual(bounce_buffer_size(GIB // 2), 64 * MIB)
        self.assertEqual(bounce_buffer_size(100 * GIB), GIB)
        self.assertEqual(bounce_buffer_size(10 * GIB), 10 * GIB * 6 // 100)

    def test_pinned_and_locked(self) -> None:
        self.snp.set_pinned(12)
        self.assertEqual(self.snp.host.pinned_pages(), 12)
        self.snp.write('proc/vmstat', 'nr_foll_pin_acquired 3')
        self.assertIsNone(self.snp.host.pinned_pages())
        self.snp.write('proc/9/status', 'VmLck:\t  8 kB\nVmPin:\t 4 kB\n')
        self.assertEqual(self.snp.host.locked_size(9), 12288)
        self.assertIsNone(self.snp.host.locked_size(8))


class KvmTest(unittest.TestCase):
    """The queries of /dev/kvm, without KVM."""

    def setUp(self) -> None:
        file = tempfile.NamedTemporaryFile()
        self.addCleanup(file.close)
        self.kvm = kvm.Kvm(Path(file.name))

    def test_capability(self) -> None:
        with mock.patch.object(fcntl, 'ioctl', return_value=8) as ioctl:
            self.assertEqual(self.kvm.capability(233), 8)
        self.assertEqual(ioctl.call_args.args[1:], (0xae03, 233))
        # It was closed
        with self.assertRaises(OSError):
            os.fstat(ioctl.call_args.args[0])

    def test_no_kvm(self) -> None:
        with self.assertRaises(OSError):
            # Not a device
            self.kvm.capability(233)
        with self.assertRaises(FileNotFoundError):
            kvm.Kvm(Path('/nonexistent/kvm')).capability(233)

    def c_bit(self, *leaves: tuple[int, int]) -> int | None:
        def answer(fd: int, request: int, buffer: bytearray) -> int:
            self.assertEqual(request, 0xc008ae05)
            room = struct.unpack_from('=I', buffer)[0]
            self.assertEqual(len(buffer), 8 + 40 * room)
            struct.pack_into('=I', buffer, 0, len(leaves))
            for number, (leaf, ebx) in enumerate(leaves):
                struct.pack_into('=5I', buffer, 8 + 40 * number,
                                 leaf, 0, 0, 0xffffffff, ebx)
            return 0

        with mock.patch.object(fcntl, 'ioctl', side_effect=answer):
            return self.kvm.c_bit()

    def test_c_bit(self) -> None:
        self.assertEqual(self.c_bit((0, 7), (0x8000001f, 1 << 6 | 47)), 47)
        self.assertIsNone(self.c_bit((0x8000001f, 0)))
        self.assertIsNone(self.c_bit((0, 51)))


if __name__ == '__main__':
    unittest.main()
