# SPDX-License-Identifier: GPL-2.0-or-later

"""QEMU's and the kernel's arguments, without what may be secret.

Only values that are known to be harmless are shown. All others, such as
passwords, keys, paths and addresses, are replaced by "...".
"""

import json
import re
from collections.abc import Iterator
from typing import Any

HIDDEN = '...'

# Options whose value is a list: a first word, such as a type, and properties
_LISTS = frozenset(
    'accel cpu device global iommufd m machine M numa object overcommit smp '
    'display vga'.split())
# Options whose value is hidden, or that have none
_OTHERS = frozenset(
    'action append bios blockdev boot cdrom chardev d D daemonize drive '
    'enable-kvm fsdev fw_cfg hda icount incoming initrd kernel L mem-path '
    'mem-prealloc mon monitor msg name netdev nic no-reboot no-shutdown '
    'no-user-config nodefaults nographic only-migratable pidfile preconfig '
    'qmp readconfig rtc run-with runas S sandbox serial set smbios spice '
    'tpmdev trace uuid virtfs vnc'.split())
_PROPERTIES = re.compile(
    'accel|addr|aw-bits|block-size|bus|bypass_iommu|caching-mode|cbitpos|'
    'confidential-guest-support|cores|cpus|device|dies|dirty-ring-size|'
    'discard|driver|guest-phys-bits|host|host-nodes|host-phys-bits|hotplugged|'
    'hugetlb|hugetlbsize|id|intremap|iommufd|iommu_platform|'
    'kernel[-_]irqchip|kernel-hashes|maxcpus|maxmem|mem-lock|memaddr|memdev|'
    'memory-backend|merge|mode|multifunction|node|nodeid|phys-bits|policy|'
    'prealloc|prealloc-threads|qom-type|readonly|reduced-phys-bits|'
    'requested-size|reserve|rom|rombar|share|size|slots|smm|sockets|threads|'
    r'type|unplugged-inaccessible|vhost|vhostforce|x-[\w-]+')
# The first word of a list: a type, a number or a size
_WORD = re.compile(r'[\w.+-]{1,64}')
# Arguments of the kernel that matter here
_KERNEL = re.compile(
    r'(?:amd_iommu|intel_iommu|iommu|iommufd|kvm|kvm_amd|kvm_intel|'
    r'mem_encrypt|vfio|vfio_iommu_type1|vfio_pci|hugepages|hugepagesz|'
    r'default_hugepagesz|transparent_hugepage|transparent_hugepage_shmem|'
    r'nohibernate|swiotlb|mem|memmap|pci|cgroup_\w+|'
    r'systemd\.unified_cgroup_hierarchy)(?:\.[\w-]+)?(?:=.*)?')


def _shown(name: str, value: str) -> str:
    is_known = _PROPERTIES.fullmatch(name.rpartition('.')[2])
    return f'{name}={value if is_known else HIDDEN}'


def _items(value: Any, name: str) -> Iterator[str]:
    """Yield the properties of an option that is written as JSON."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _items(item, f'{name}.{key}' if name else key)
    elif isinstance(value, bool):
        yield _shown(name, 'on' if value else 'off')
    elif isinstance(value, (str, int, float)):
        yield _shown(name, str(value))
    else:
        yield f'{name}={HIDDEN}'


def _list_text(value: str) -> str:
    """Return a list of properties with the harmless values."""
    if value.startswith('{'):
        try:
            return ','.join(_items(json.loads(value), ''))
        except ValueError:
            return HIDDEN
    # Two commas are one comma within a value
    words = re.split('(?<!,),(?!,)', value)
    shown = []
    for number, word in enumerate(words):
        name, equals, rest = word.partition('=')
        if equals:
            shown.append(_shown(name, rest))
        else:
            shown.append(word if not number and _WORD.fullmatch(word)
                         else HIDDEN)
    return ','.join(shown)


def qemu_arguments(arguments: list[str]) -> list[str]:
    """Return QEMU's arguments, one option a line.

    What is not a known option is taken for a value.
    """
    lines: list[str] = []
    # The last option, if it has no value yet
    last = ''
    for argument in arguments:
        name = argument[1 + argument.startswith('--'):]
        if argument.startswith('-') and name in _LISTS | _OTHERS:
            lines.append(f'-{name}')
            last = name
        elif last:
            lines[-1] += ' ' + (_list_text(argument) if last in _LISTS else
                                HIDDEN)
            last = ''
        else:
            lines.append(HIDDEN)
    return lines


def kernel_arguments(arguments: list[str]) -> str:
    """Return the kernel's arguments that matter, and how many do not."""
    shown = [argument for argument in arguments
             if _KERNEL.fullmatch(argument)]
    return ' '.join([*shown, f'({len(arguments) - len(shown)} others)'])
