# SPDX-License-Identifier: GPL-2.0-or-later

"""Tests of the checks of QEMU, of command lines, logs and reports."""

import json
import os
import struct
import tempfile
import unittest
from pathlib import Path
from uuid import UUID

from first_light.command import command_text, device_properties, make_command
from first_light.finding import Finding, Result, failed, passed, unknown
from first_light.firmware import check_firmware, has_room_for_hashes
from first_light.kernel_log import KernelLog, about_guests, faults_in
from first_light.options import Wish
from first_light.qemu_checks import (check_files, check_qemu, checksum,
                                     qemu_version)
from first_light.report import Report, ReportError, finding_text, summary
from first_light.tee import SNP, SW_PROTECTED, TDX, Tee

OBJECTS = ('sev-snp-guest', 'memory-backend-memfd', 'iommufd')
ADDRESS = '0000:01:00.0'


class FolderCase(unittest.TestCase):

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)


class QemuChecksTest(FolderCase):

    def check(self, tee: Tee = SNP, objects: tuple[str, ...] = OBJECTS,
              properties: str = '  x-shared-dma-extent=<str>',
              backends: tuple[str, ...] = ('iommufd', 'type1'),
              status: int = 0) -> list[Finding]:
        """Check a program that prints what QEMU would."""
        path = self.folder / 'qemu'
        path.write_text(
            '#!/bin/sh\ncase "$*" in\n'
            '--version) echo "QEMU emulator version 10.0.9"; echo more;;\n'
            f'"-object help") echo "List:"; printf "  %s\\n" '
            f'{" ".join(objects)};;\n'
            f'"-device vfio-pci,help") echo "{properties}";;\n*) exit 3;;\n'
            f'esac\nexit {status}\n', encoding='utf-8')
        path.chmod(0o755)
        return check_qemu(path, tee, backends)

    def failures(self, findings: list[Finding]) -> list[str]:
        self.assertTrue(findings)
        return [finding.name for finding in findings
                if finding.result is Result.FAIL and finding.way_out]

    def test_complete(self) -> None:
        findings = self.check()
        self.assertEqual(self.failures(findings), [])
        self.assertIn('QEMU emulator version 10.0.9', findings[0].reason)
        self.assertEqual(qemu_version(self.folder / 'qemu'),
                         'QEMU emulator version 10.0.9')

    def test_objects(self) -> None:
        for name in OBJECTS:
            with self.subTest(name):
                rest = tuple(item for item in OBJECTS if item != name)
                self.assertEqual(self.failures(self.check(objects=rest)),
                                 [f'QEMU object {name}'])
        # Only iommufd needs its object
        self.assertEqual(self.failures(self.check(
            objects=OBJECTS[:2], backends=('type1',))), [])

    def test_qemu_without_tdx(self) -> None:
        findings = self.check(TDX)
        self.assertEqual(self.failures(findings), ['QEMU object tdx-guest'])
        self.assertIn('--base 10.2', findings[1].way_out)

    def test_stock_qemu(self) -> None:
        self.assertEqual(self.failures(self.check(
            properties='x-shared-dma=<bool>')), ['QEMU with shared DMA'])

    def test_no_qemu(self) -> None:
        path = self.folder / 'none'
        self.assertEqual(self.failures(check_qemu(path, SNP, ())), ['QEMU'])
        self.assertIn('No such file', qemu_version(path))
        self.assertEqual(self.failures(self.check(status=1)), ['QEMU'])
        path.write_text('not a program', encoding='utf-8')
        self.assertEqual(self.failures(check_qemu(path, SNP, ())), ['QEMU'])


class FilesTest(FolderCase):

    def firmware(self, content: bytes | None, tee: Tee = SNP) -> Finding:
        path = self.folder / 'OVMF.fd'
        if content is not None:
            path.write_bytes(content)
        finding, = check_firmware(Wish(tee, Path('qemu'), path))
        return finding

    def test_firmware(self) -> None:
        for tee, other in ((SNP, TDX), (TDX, SNP)):
            assert tee.firmware_guid and other.firmware_guid
            good, bad = (bytes(65500) + guid.bytes_le + bytes(20) for guid in
                         (tee.firmware_guid, other.firmware_guid))
            with self.subTest(tee.name):
                found = self.firmware(good, tee)
                self.assertEqual(found.result, Result.PASS)
                self.assertIn(f'with metadata of {tee.title}', found.reason)
                found = self.firmware(bad, tee)
                self.assertEqual(found.result, Result.FAIL)
                self.assertIn(f'no metadata of {tee.title}', found.reason)
                found = self.firmware(good + b'x', tee)
                self.assertEqual(found.result, Result.FAIL)
                self.assertIn('not a multiple of 64 KiB', found.reason)

    def test_guid_in_memory_order(self) -> None:
        # The first three fields are little-endian
        assert SNP.firmware_guid and TDX.firmware_guid
        self.assertEqual(SNP.firmware_guid.bytes_le.hex(),
                         '666588dc4a989847a75e5585a7bf67cc')
        self.assertEqual(TDX.firmware_guid.bytes_le.hex(),
                         '35657ae44a989847865e4685a7bf8ec2')

    def test_empty_and_missing_firmware(self) -> None:
        self.assertEqual(self.firmware(None).result, Result.FAIL)
        self.assertEqual(self.firmware(b'').result, Result.FAIL)

    def test_firmware_of_the_test_type_has_no_metadata(self) -> None:
        self.assertEqual(self.firmware(bytes(65536), SW_PROTECTED).result,
                         Result.PASS)

    def test_firmware_is_only_needed_for_a_guest(self) -> None:
        wish = Wish(SNP, Path('qemu'))
        self.assertEqual(check_firmware(wish)[0].result, Result.UNKNOWN)
        wish.disk = Path('disk')
        self.assertEqual(check_firmware(wish)[0].result, Result.FAIL)

    def hashes(self, base: int, size: int, properties: str = '',
               tee: Tee = SNP) -> list[Result]:
        """Check OVMF with this place for hashes."""
        assert SNP.firmware_guid and TDX.firmware_guid
        tail = b''.join((
            SNP.firmware_guid.bytes_le, TDX.firmware_guid.bytes_le,
            struct.pack('<IIH', base, size, 26),
            UUID('7255371f-3a3b-4b04-927b-1da6efa8d454').bytes_le, bytes(98)))
        path = self.folder / 'OVMF.fd'
        path.write_bytes(bytes(65536 - len(tail)) + tail)
        wish = Wish(tee, Path('qemu'), path, kernel=Path('kernel'),
                    tee_properties=properties)
        first, *rest = check_firmware(wish)
        self.assertEqual(first.result, Result.PASS)
        wish.kernel = None
        self.assertEqual(check_firmware(wish), [first])
        return [finding.result for finding in rest]

    def test_kernel_hashes(self) -> None:
        on = 'policy=0x30000,kernel-hashes=on'
        self.assertEqual(self.hashes(0, 0), [Result.PASS])
        self.assertEqual(self.hashes(0, 0, on), [Result.FAIL])
        self.assertEqual(self.hashes(0x10c00, 0x400), [Result.FAIL])
        self.assertEqual(self.hashes(0x10c00, 0x400, on), [Result.PASS])
        self.assertEqual(self.hashes(0, 0, '', TDX), [])
        self.assertEqual(self.hashes(0, 0x400), [Result.PASS])
        self.assertEqual(self.hashes(0x10c00, 0), [Result.PASS])

    def test_ways_out_of_kernel_hashes(self) -> None:
        on = 'kernel-hashes=on'
        for size, properties, words in (
                (0x400, '', f'Use --tee-properties {on}'),
                (0x400, on, 'the firmware verifies the kernel'),
                (0, on, f'Leave out {on}'), (0, '', 'not used')):
            self.hashes(0x10c00, size, properties)
            wish = Wish(SNP, Path('qemu'), self.folder / 'OVMF.fd',
                        kernel=Path('kernel'), tee_properties=properties)
            finding = check_firmware(wish)[1]
            self.assertIn(words, finding.reason + finding.way_out)

    def test_place_for_hashes(self) -> None:
        guid = UUID('7255371f-3a3b-4b04-927b-1da6efa8d454').bytes_le
        entry = struct.pack('<IIH', 1, 1, 26) + guid
        self.assertTrue(has_room_for_hashes(entry))
        self.assertFalse(has_room_for_hashes(entry[1:]))
        self.assertFalse(has_room_for_hashes(entry[:-1]))

    def test_guest_files(self) -> None:
        good = self.folder / 'kernel'
        good.write_bytes(b'kernel')
        wish = Wish(SNP, Path('qemu'), kernel=good, initrd=self.folder,
                    disk=self.folder / 'none')
        self.assertEqual([(item.name, item.result)
                          for item in check_files(wish)],
                         [("guest's kernel", Result.PASS),
                          ("guest's initrd", Result.FAIL),
                          ("guest's disk", Result.FAIL)])

    def test_checksum(self) -> None:
        path = self.folder / 'file'
        path.write_bytes(b'abc')
        self.assertTrue(checksum(path).startswith('ba7816bf8f01cfea'))
        self.assertEqual(checksum(self.folder / 'none'),
                         'No such file or directory')


class CommandTest(unittest.TestCase):

    def command(self, tee: Tee = SNP, backend: str = 'iommufd',
                **wish: object) -> str:
        fields: dict[str, object] = {'firmware': Path('OVMF.fd'),
                                     'devices': [ADDRESS], **wish}
        return ' '.join(make_command(
            Wish(tee, Path('qemu'), **fields),  # type: ignore[arg-type]
            backend, Path('console.txt')))

    def test_snp(self) -> None:
        command = self.command()
        for words in (
                '-machine q35,confidential-guest-support=cgs0,'
                'memory-backend=ram0', '-cpu EPYC-v4', '-bios OVMF.fd',
                '-object sev-snp-guest,id=cgs0,cbitpos=51,'
                'reduced-phys-bits=1',
                '-object memory-backend-memfd,id=ram0,size=4096M,share=true'):
            self.assertIn(words, command)
        self.assertIn('cbitpos=47,', self.command(c_bit=47))

    def test_tdx(self) -> None:
        command = self.command(TDX)
        self.assertIn('-object tdx-guest,id=cgs0 ', command)
        self.assertIn('-cpu host', command)
        self.assertNotIn('cbitpos', command)

    def test_properties_of_the_guest(self) -> None:
        self.assertIn('reduced-phys-bits=1,kernel-hashes=on ',
                      self.command(tee_properties='kernel-hashes=on'))

    def test_backends(self) -> None:
        device = f'-device vfio-pci,id=dev0,host={ADDRESS},bus=port0'
        self.assertIn(f'{device},iommufd=iommufd0 ', self.command())
        self.assertIn('-object iommufd,id=iommufd0', self.command())
        self.assertIn(f'{device} ', self.command(backend='type1'))
        self.assertNotIn('iommufd', self.command(backend='type1'))
        self.assertNotIn('iommufd', self.command(devices=[]))

    def test_each_device_has_a_port(self) -> None:
        command = self.command(devices=[ADDRESS, '0000:02:00.0'])
        for number in range(2):
            self.assertIn(f'pcie-root-port,id=port{number},'
                          f'chassis={number + 1} ', command)
            self.assertIn(f'bus=port{number},', command)
        self.assertEqual(command.count('-object iommufd'), 1)

    def test_what_the_guest_boots(self) -> None:
        command = self.command(kernel=Path('bz'), initrd=Path('rd'),
                               append='quiet', more=['-no-reboot'])
        self.assertIn('-kernel bz -initrd rd -append quiet', command)
        self.assertTrue(command.endswith(' -no-reboot'))
        # The disk of the user does not change
        self.assertIn('file=a,,b.img,if=none,id=disk0,snapshot=on ',
                      self.command(disk=Path('a,b.img')))

    def test_device_add_gets_the_same_properties(self) -> None:
        self.assertEqual(
            device_properties(Wish(SNP, Path('qemu'), devices=[ADDRESS]),
                              'iommufd', 0),
            {'driver': 'vfio-pci', 'id': 'dev0', 'host': ADDRESS,
             'bus': 'port0', 'iommufd': 'iommufd0'})

    def test_text_is_for_a_shell(self) -> None:
        self.assertEqual(command_text(['qemu', '-append', 'a b', '-nodefaults',
                                       '-m', '4G']),
                         "qemu \\\n    -append 'a b' \\\n    -nodefaults \\\n"
                         '    -m 4G')


class KernelLogTest(FolderCase):

    LOG = ('6,1,100,-;AMD-Vi: Interrupt remapping enabled\n'
           '4,2,200,-;vfio-pci 0000:01:00.0: AMD-Vi: Event logged '
           '[IO_PAGE_FAULT domain=0x0014 address=0x1000 flags=0x0020]\n'
           ' SUBSYSTEM=pci; DEVICE=+pci:0000:01:00.0\n')

    def test_reads_new_records(self) -> None:
        path = self.folder / 'kmsg'
        path.write_text(self.LOG, encoding='utf-8')
        log = KernelLog(path)
        self.addCleanup(log.close)
        lines = log.lines()
        self.assertEqual(len(lines), 2)
        self.assertEqual(lines[0], 'AMD-Vi: Interrupt remapping enabled')
        self.assertEqual(log.lines(), [])
        for _ in range(2):
            with path.open('a', encoding='utf-8') as file:
                file.write('6,3,300,-;new\n')
            if _:
                self.assertEqual(log.lines(), ['new'])
            else:
                log.skip()
                self.assertEqual(log.lines(), [])

    def test_kernel_interface(self) -> None:
        """A pipe without data fails with EAGAIN, as the kernel's file."""
        path = self.folder / 'kmsg'
        os.mkfifo(path)
        log = KernelLog(path)
        self.addCleanup(log.close)
        with path.open('w', encoding='utf-8') as file:
            self.assertEqual(log.lines(), [])
            file.write('6,1,1,-;text; more\n')
            file.flush()
            self.assertEqual(log.lines(), ['text; more'])

    def test_unreadable(self) -> None:
        with self.assertRaises(OSError):
            KernelLog(self.folder / 'none')

    def test_faults(self) -> None:
        faults = [
            'vfio-pci 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT '
            'domain=0x0014 address=0x1000 flags=0x0020]',
            'AMD-Vi: Event logged [RMP_PAGE_FAULT device=0000:01:00.0, '
            'vmg_tag=0x0000, gpa=0x1000, flags_rmp=0x0001, flags=0x0020]',
            'DMAR: [DMA Write NO_PASID] Request device [0000:01:00.0] fault '
            'addr 0x1000 [fault reason 0x05] PTE Write access is not set',
            'DMAR: [DMA Read NO_PASID] Request device [0000:01:00.0] fault '
            'addr 0x1000 [fault reason 0x06] PTE Read access is not set']
        others = ['DMAR: IOMMU enabled', 'AMD-Vi: Interrupt remapping '
                  'enabled', 'usb 1-1: new device', 'kvm: SEV-SNP enabled']
        for line in faults:
            self.assertEqual(faults_in([line]), [line])
        self.assertEqual(faults_in(others), [])

    def test_lines_about_guests(self) -> None:
        lines = ['ccp 0000:47:00.1: SEV-SNP API:1.55 build:21',
                 'SEV-SNP: RMP table physical range [0x0 - 0x1]',
                 'virt/tdx: TDX-Module initialized',
                 'AMD-Vi: IOMMU SNP support enabled.']
        self.assertEqual(about_guests([*lines, 'usb 1-1: several devices']),
                         lines)


class ReportTest(FolderCase):

    FINDINGS = [passed('a', 'good'), failed('b', 'bad', 'repair\nit'),
                unknown('c', 'unclear', 'look')]

    def test_text(self) -> None:
        self.assertEqual([finding_text(item) for item in self.FINDINGS],
                         ['pass    a: good', 'FAIL    b: bad\n        -> '
                          'repair\n        it',
                          'unknown c: unclear\n        -> look'])
        self.assertEqual(summary(self.FINDINGS),
                         '1 passed, 1 failed, 1 unknown')

    def test_files(self) -> None:
        folder = self.folder / 'new/report'
        report = Report(folder)
        report.data['findings'] = [item.as_json() for item in self.FINDINGS]
        report.add_text('text\n')
        report.write()
        report.write()
        data = json.loads((folder / 'report.json').read_text('utf-8'))
        self.assertEqual(data, {'first-light': 1, 'findings': [
            {'name': 'a', 'result': 'pass', 'reason': 'good', 'way_out': ''},
            {'name': 'b', 'result': 'fail', 'reason': 'bad',
             'way_out': 'repair\nit'},
            {'name': 'c', 'result': 'unknown', 'reason': 'unclear',
             'way_out': 'look'}]})
        self.assertEqual((folder / 'report.txt').read_text('utf-8'),
                         'text\n')
        self.assertEqual(len(list(folder.iterdir())), 2)

    def test_folder_in_use(self) -> None:
        (self.folder / 'file').write_bytes(b'')
        with self.assertRaisesRegex(ReportError, 'is not empty; use --report'):
            Report(self.folder)
        with self.assertRaisesRegex(ReportError, 'use --report'):
            Report(self.folder / 'file')


if __name__ == '__main__':
    unittest.main()
