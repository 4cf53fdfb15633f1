# SPDX-License-Identifier: GPL-2.0-or-later

"""A machine for scripts/first-light: a folder of files, KVM and a device."""

import os
import shutil
from pathlib import Path

from first_light import kvm
from first_light.host import UNLIMITED, Host
from first_light.tee import SNP, TDX, Tee

ADDRESS = '0000:01:00.0'
BRIDGE = '0000:00:01.0'
NEIGHBOUR = '0000:01:00.1'
_PCI = 'sys/bus/pci/devices'
_VENDORS = {'snp': ('AuthenticAMD', 'AMD EPYC 9654'),
            'tdx': ('GenuineIntel', 'INTEL(R) XEON(R) PLATINUM 8592+')}


class FakeKvm:
    """KVM with everything that a type of guest needs."""

    def __init__(self, tee: Tee) -> None:
        self.values = {kvm.CAP_VM_TYPES: 1 | 1 << tee.vm_type,
                       kvm.CAP_MEMORY_ATTRIBUTES:
                       kvm.MEMORY_ATTRIBUTE_PRIVATE,
                       kvm.CAP_GUEST_MEMFD: 1,
                       kvm.CAP_EXIT_HYPERCALL: 1 << kvm.HC_MAP_GPA_RANGE}
        self.error: OSError | None = None

    def capability(self, number: int) -> int:
        if self.error:
            raise self.error
        return self.values.get(number, 0)

    def c_bit(self) -> int | None:
        if self.error:
            raise self.error
        return 51


class FakeHost:
    """A host that is ready for guests of a type, with a network card."""

    def __init__(self, root: Path, tee: Tee = SNP) -> None:
        self.root = root
        self.kvm = FakeKvm(tee)
        self.host = Host(root, self.kvm, UNLIMITED)
        vendor, model = _VENDORS[tee.name]
        self.write('proc/cpuinfo', f'vendor_id\t: {vendor}\nmodel name\t: '
                   f'{model}\nflags\t\t: fpu {tee.cpu_flag} vmx\n')
        self.write('proc/cmdline', 'ro quiet')
        self.write('proc/sys/kernel/osrelease', '6.17.2-amd64')
        self.write('proc/self/status', 'CapEff:\t0000000000000000\n')
        self.set_pinned(0)
        self.write(f'sys/module/{tee.module}/parameters/{tee.parameter}', 'Y')
        self.write('sys/power/disk', '[disabled]')
        self.write('sys/module/vfio_iommu_type1/parameters/dma_entry_limit',
                   '65535')
        for name in ('iommu', 'vfio/vfio', 'vfio/17', 'vfio/devices/vfio0',
                     *(['sev'] if tee is not TDX else [])):
            self.write(f'dev/{name}', '')
        self.write('dev/kmsg', '')
        self.add_device(ADDRESS, '0x020000', 'vfio-pci')
        self.write(f'{_PCI}/{ADDRESS}/resource',
                   '0x00000000e0000000 0x00000000e00fffff 0x0000000000140204\n'
                   '0x000000000000c000 0x000000000000c01f 0x0000000000040101\n'
                   '0x0000000000000000 0x0000000000000000 0x0\n' * 2)
        self.write(f'{_PCI}/{ADDRESS}/vfio-dev/vfio0/dev', '511:0')

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding='utf-8')

    def append(self, name: str, text: str) -> None:
        with (self.root / name).open('a', encoding='utf-8') as file:
            file.write(text)

    def remove(self, name: str) -> None:
        path = self.root / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    def set_pinned(self, pages: int) -> None:
        self.write('proc/vmstat', 'nr_free_pages 5\nnr_foll_pin_acquired '
                   f'{pages + 1000}\nnr_foll_pin_released 1000\n')

    def add_device(self, address: str, kind: str, driver: str | None) -> None:
        """Add a device to group 17."""
        folder = self.root / _PCI / address
        group = self.root / 'sys/kernel/iommu_groups/17'
        (group / 'devices').mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True)
        os.symlink(folder, group / 'devices' / address)
        os.symlink(group, folder / 'iommu_group')
        self.write(f'{_PCI}/{address}/class', kind)
        self.write(f'{_PCI}/{address}/vendor', '0x8086')
        if driver:
            self.bind(address, driver)

    def bind(self, address: str, driver: str) -> None:
        target = self.root / 'sys/bus/pci/drivers' / driver
        target.mkdir(parents=True, exist_ok=True)
        link = self.root / _PCI / address / 'driver'
        link.unlink(missing_ok=True)
        os.symlink(target, link)
