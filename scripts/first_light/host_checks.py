# SPDX-License-Identifier: GPL-2.0-or-later

"""Checks of the host: processor, kernel, KVM and limits."""

from first_light import kvm
from first_light.finding import Finding, failed, passed, unknown
from first_light.host import GIB, MIB, UNLIMITED, Host, linux_version
from first_light.tee import SNP, TDX, Tee

# The default of the kernel's dma_entry_limit, which suits any guest
_DMA_ENTRIES = 65535
# The largest mapping that shared DMA makes with type1 while some are left
_EXTENT_SIZE = 2 * MIB
# Mappings for what is not a whole extent, such as small buffers
_SMALL_EXTENTS = 1024
# QEMU's own locked memory and small mappings
_MARGIN = 64 * MIB

_BIOS = {
    SNP: 'Enable SEV-SNP, memory encryption (SMEE) and an RMP table that '
         'covers all memory in the BIOS setup, and the IOMMU; then see '
         '"dmesg | grep -i -e SEV -e RMP"',
    TDX: 'Enable TDX and memory encryption with a share of the keys for TDX '
         'in the BIOS setup; then see "dmesg | grep -i tdx"',
}


def size_text(size: int) -> str:
    return f'{-(-size // MIB)} MiB'


def bounce_buffer_size(memory: int) -> int:
    """Return how much memory Linux shares for bounce buffers by default."""
    return min(max(memory * 6 // 100, 64 * MIB), GIB)


def check_processor(host: Host, tee: Tee) -> Finding:
    name = 'processor'
    model = host.cpu_field('model name') or 'unknown processor'
    if not tee.cpu_flag:
        return passed(name, f'{tee.title}: any processor will do ({model})')
    if tee.cpu_flag in host.cpu_flags():
        return passed(name, f'{model} has {tee.cpu_flag}')
    return failed(name, f'{model}: no flag {tee.cpu_flag} in /proc/cpuinfo: '
                  'the processor, the BIOS or the kernel does not enable '
                  f'{tee.title}', _BIOS[tee])


def check_hibernation(host: Host, tee: Tee) -> Finding | None:
    """Check what keeps the kernel from enabling TDX."""
    if tee is not TDX or tee.cpu_flag in host.cpu_flags():
        return None
    name = 'hibernation'
    if '[disabled]' in (host.read('sys/power/disk') or '[disabled]'):
        return passed(name, 'not available, as TDX needs it')
    return failed(name, 'the kernel does not enable TDX while hibernation is '
                  'available', 'Boot the host with "nohibernate"')


def check_passthrough(host: Host, tee: Tee) -> Finding | None:
    """Check what keeps the kernel from enabling SNP."""
    if tee is not SNP:
        return None
    name = 'iommu mode'
    wrong = {'iommu=pt', 'iommu.passthrough=1', 'iommu=off', 'amd_iommu=off',
             'amd_iommu=pgtbl_v2'} & set(host.kernel_arguments())
    if not wrong:
        return passed(name, 'the IOMMU is neither off nor in passthrough '
                      "mode on the kernel's command line")
    if host.read('sys/module/kvm_amd/parameters/sev_snp') in ('Y', '1'):
        return passed(name, f'{" ".join(sorted(wrong))}, which this IOMMU '
                      'supports together with SNP')
    return failed(name, f'the kernel was booted with '
                  f'{" ".join(sorted(wrong))}: it does not enable SNP then',
                  'Remove it from the command line of the host\'s kernel')


def check_kernel(host: Host, tee: Tee) -> Finding:
    name = 'kernel'
    release = host.kernel()
    need = '.'.join(map(str, tee.linux))
    version = linux_version(release)
    if version is None:
        return unknown(name, f'{release}: no version of Linux',
                       f'Check that it is Linux {need} or newer')
    if version >= tee.linux:
        return passed(name, f'Linux {release}')
    try:
        has_type = host.kvm.capability(kvm.CAP_VM_TYPES) >> tee.vm_type & 1
    except OSError:
        has_type = 0
    if has_type:
        return unknown(name, f'Linux {release} is older than {need}, but its '
                       f'KVM supports {tee.title}: a backport',
                       f'If the guest fails, try Linux {need} or newer')
    return failed(name, f'Linux {release} has no support for {tee.title}',
                  f'Install Linux {need} or newer')


def check_module(host: Host, tee: Tee) -> Finding | None:
    if not tee.module:
        return None
    name = f'{tee.module}.{tee.parameter}'
    if not host.path(f'sys/module/{tee.module}').is_dir():
        return failed(name, f'the module {tee.module} is not loaded',
                      f'Run "modprobe {tee.module}" and check dmesg')
    value = host.read(f'sys/module/{tee.module}/parameters/{tee.parameter}')
    if value is None:
        return failed(name, f'{tee.module} has no parameter {tee.parameter}: '
                      f'this kernel was built without {tee.title}',
                      'Install a kernel with ' + (
                          'CONFIG_KVM_AMD_SEV' if tee is SNP else
                          'CONFIG_INTEL_TDX_HOST and CONFIG_KVM_INTEL_TDX'))
    if value in ('Y', '1'):
        return passed(name, f'{value}')
    return failed(name, f'the parameter is {value}', (
        'kvm_amd turns it off if the host is not set up for SNP: see '
        '"dmesg | grep -i -e SEV -e RMP -e AMD-Vi", and do not set it to 0'
        if tee is SNP else 'Write "options kvm_intel tdx=1" to '
        '/etc/modprobe.d/kvm.conf and reload kvm_intel; if it stays N, see '
        '"dmesg | grep -i tdx"'))


def check_kvm(host: Host, tee: Tee) -> list[Finding]:
    """Check the capabilities of KVM."""
    name = '/dev/kvm'
    try:
        types = host.kvm.capability(kvm.CAP_VM_TYPES)
        attributes = host.kvm.capability(kvm.CAP_MEMORY_ATTRIBUTES)
        memfd = host.kvm.capability(kvm.CAP_GUEST_MEMFD)
        hypercalls = host.kvm.capability(kvm.CAP_EXIT_HYPERCALL)
    except PermissionError as error:
        return [failed(name, f'cannot be used: {error.strerror}',
                       'Run this as root, or become a member of the group '
                       'that owns /dev/kvm')]
    except OSError as error:
        return [failed(name, f'cannot be used: {error.strerror}: this machine '
                       'has no KVM', 'Load kvm_amd or kvm_intel, and enable '
                       'virtualization in the BIOS setup')]
    update = 'Use a kernel that supports it, see the other findings'
    findings = [passed(name, 'can be used')]
    for capability, has, value in (
            (f'KVM_CAP_VM_TYPES ({tee.title})', types >> tee.vm_type & 1,
             types),
            ('KVM_CAP_MEMORY_ATTRIBUTES (private)',
             attributes & kvm.MEMORY_ATTRIBUTE_PRIVATE, attributes),
            ('KVM_CAP_GUEST_MEMFD', memfd, memfd),
            ('KVM_CAP_EXIT_HYPERCALL (KVM_HC_MAP_GPA_RANGE)',
             hypercalls >> kvm.HC_MAP_GPA_RANGE & 1, hypercalls)):
        findings.append(
            passed(capability, f'{value:#x}') if has else
            failed(capability, f'KVM does not have it: {value:#x}', update))
    return findings


def check_sev_device(host: Host, tee: Tee) -> Finding | None:
    """Check the device that QEMU opens for SNP guests."""
    if tee is not SNP:
        return None
    return host_device(host, 'dev/sev', 'Load the module ccp and check '
                       '"dmesg | grep -i -e ccp -e SEV"')


def host_device(host: Host, path: str, way_out: str) -> Finding:
    """Check that a device file exists and can be opened by this user."""
    name = f'/{path}'
    try:
        with open(host.path(path), 'r+b', buffering=0):
            return passed(name, 'can be opened')
    except PermissionError as error:
        return failed(name, f'cannot be opened: {error.strerror}',
                      f'Run this as root, or give your user access to {name}')
    except OSError as error:
        return failed(name, f'cannot be opened: {error.strerror}', way_out)


def check_iommu(host: Host) -> Finding:
    name = 'iommu'
    count = len(host.names_in('sys/kernel/iommu_groups'))
    if count:
        return passed(name, f'{count} groups')
    return failed(name, 'no IOMMU group: no IOMMU is in use',
                  'Enable the IOMMU (AMD-Vi, VT-d) in the BIOS setup; with an '
                  'Intel processor boot the host with "intel_iommu=on"')


def check_backend(host: Host, backend: str) -> list[Finding]:
    """Check what a VFIO backend needs."""
    if backend == 'iommufd':
        return [host_device(host, 'dev/iommu', 'Load the module iommufd '
                            '(CONFIG_IOMMUFD), or use --backend type1')]
    return [host_device(host, 'dev/vfio/vfio', 'Load the module vfio_pci of a '
                        'kernel with CONFIG_VFIO_CONTAINER, or use --backend '
                        'iommufd')]


def check_entry_limit(host: Host, memory: int) -> Finding:
    """Check the limit of mappings of a type1 container."""
    name = 'dma_entry_limit'
    path = 'sys/module/vfio_iommu_type1/parameters/dma_entry_limit'
    text = host.read(path)
    if text is None or not text.isdigit():
        return unknown(name, 'the module vfio_iommu_type1 is not loaded',
                       'Load vfio-pci, and run this again')
    limit, need = int(text), memory // _EXTENT_SIZE + _SMALL_EXTENTS
    way_out = f'echo {_DMA_ENTRIES} > /{path}'
    if limit < need:
        return failed(name, f'{limit}: a guest with {size_text(memory)} can '
                      f'take {need}', way_out)
    if limit < _DMA_ENTRIES:
        return unknown(name, f'{limit} is less than the default of Linux',
                       way_out)
    return passed(name, f'{limit}')


def check_memlock(host: Host, memory: int, bar_size: int) -> Finding:
    """Check the limit of locked memory for a guest's RAM and BARs."""
    name = 'locked memory'
    if host.may_lock_any_memory():
        return passed(name, 'no limit: this process has CAP_IPC_LOCK')
    if host.memlock == UNLIMITED:
        return passed(name, 'unlimited')
    most = memory + bar_size + _MARGIN
    least = bounce_buffer_size(memory) + bar_size + _MARGIN
    way_out = (f'Raise it to {size_text(most)} with "ulimit -l '
               f'{-(-most // 1024)}" or LimitMEMLOCK=')
    if host.memlock >= most:
        return passed(name, f'{size_text(host.memlock)}, enough if the guest '
                      'shares all its memory')
    if host.memlock >= least:
        return unknown(name, f'{size_text(host.memlock)}: enough for the '
                       'bounce buffers of Linux, but not if the guest shares '
                       'much more', way_out)
    return failed(name, f'{size_text(host.memlock)}, but the guest shares at '
                  f'least {size_text(least)}', way_out)


def check_host(host: Host, tee: Tee) -> list[Finding]:
    """Check all that does not depend on devices, files and backends."""
    findings = [check_processor(host, tee), check_hibernation(host, tee),
                check_passthrough(host, tee), check_kernel(host, tee),
                check_module(host, tee), *check_kvm(host, tee),
                check_sev_device(host, tee), check_iommu(host)]
    return [finding for finding in findings if finding]
