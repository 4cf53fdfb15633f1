# SPDX-License-Identifier: GPL-2.0-or-later

"""The types of confidential guests."""

from dataclasses import dataclass
from uuid import UUID

# KVM types of a VM, see KVM_CAP_VM_TYPES
_SW_PROTECTED_VM = 1
_SNP_VM = 4
_TDX_VM = 5


@dataclass(frozen=True)
class Tee:
    """A type of confidential guest, and what it needs."""

    name: str
    title: str
    # Bit of KVM_CAP_VM_TYPES
    vm_type: int
    # The first version of Linux whose KVM supports this type
    linux: tuple[int, int]
    qemu_object: str
    cpu_model: str
    # The flag in /proc/cpuinfo, if the type needs a processor
    cpu_flag: str = ''
    # The module of KVM and its parameter that enables this type
    module: str = ''
    parameter: str = ''
    # Marks firmware that supports this type, in its table of GUIDs
    firmware_guid: UUID | None = None
    # The option of scripts/build-qemu for a QEMU that has the object
    build_option: str = ''


SNP = Tee('snp', 'AMD SEV-SNP', _SNP_VM, (6, 11), 'sev-snp-guest', 'EPYC-v4',
          'sev_snp', 'kvm_amd', 'sev_snp',
          UUID('dc886566-984a-4798-a75e-5585a7bf67cc'))
TDX = Tee('tdx', 'Intel TDX', _TDX_VM, (6, 16), 'tdx-guest', 'host',
          'tdx_host_platform', 'kvm_intel', 'tdx',
          UUID('e47a6535-984a-4798-865e-4685a7bf8ec2'), ' --base 10.2')
# Needs no processor, but a kernel that distributions do not build
SW_PROTECTED = Tee('sw-protected', 'software-protected VM', _SW_PROTECTED_VM,
                   (6, 8), 'sw-protected-vm', 'host')

TEES = {tee.name: tee for tee in (SNP, TDX, SW_PROTECTED)}


def detect(cpu_flags: set[str], vendor: str) -> Tee | None:
    """Return the type of guest that a processor, or its vendor, suggests."""
    for tee in (SNP, TDX):
        if tee.cpu_flag in cpu_flags:
            return tee
    return {'AuthenticAMD': SNP, 'GenuineIntel': TDX}.get(vendor)
