# SPDX-License-Identifier: GPL-2.0-or-later

"""Facts of the host: versions, kernel, IOMMU and memory.

Each function yields lines. What is missing is a line that says so.
"""

import datetime
import gzip
import platform
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from dma_report.arguments import kernel_arguments
from first_light import host_checks, tee
from first_light.host import Host
from first_light.kernel_log import KernelLog, about_guests, faults_in
from first_light.qemu_checks import ask_qemu
from first_light.report import findings_text
from lib.version import VersionError, project_version

Lines = Iterator[str]

# Options of the kernel, with all that begin alike
_OPTIONS = re.compile(
    r'(?:# )?CONFIG_(?:KVM|VFIO|IOMMU|AMD_IOMMU|AMD_MEM_ENCRYPT|INTEL_IOMMU|'
    r'INTEL_TDX|TRANSPARENT_HUGEPAGE|HUGETLB|MEMCG|SWIOTLB|HIBERNATION)\w*'
    r'(?:=.*| is not set)')
_MODULES = ('kvm', 'kvm_amd', 'kvm_intel', 'vfio', 'vfio_iommu_type1',
            'vfio_pci', 'vfio_pci_core', 'iommufd', 'vhost')
_MEMORY = re.compile(r'(?m)^(?:MemTotal|MemAvailable|SwapTotal|Mlocked|Shmem|'
                     r'AnonHugePages|ShmemHugePages|HugePages_\w+|'
                     r'Hugepagesize|Hugetlb): .*$')
_HUGE_PAGES = 'sys/kernel/mm/hugepages'
_THP = 'sys/kernel/mm/transparent_hugepage'
_VFIO_PCI = 'sys/bus/pci/drivers/vfio-pci'
_LOG_LINES = 40
_TIMEOUT = 30


def _fact(name: str, value: str | None, missing: str = 'not readable') -> str:
    return f'{name}: {value if value else missing}'


def package_of(path: Path) -> str | None:
    """Return the Debian package that a file is in, and its version."""
    def ask(*arguments: str | Path) -> str:
        return subprocess.run(
            ['dpkg-query', *arguments], stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=True,
            timeout=_TIMEOUT).stdout.strip()

    try:
        name = ask('-S', path).rpartition(':')[0].partition(',')[0]
        return ask('-W', '-f', '${Package} ${Version}', name)
    except (OSError, subprocess.SubprocessError):
        return None


def _our_version() -> str:
    try:
        return project_version()
    except VersionError:
        return (package_of(Path(__file__)) or
                'not known: there is no git checkout, no file VERSION and no '
                'package')


def versions(host: Host) -> Lines:
    """Yield the versions of everything but QEMU."""
    yield _fact('time', datetime.datetime.now(datetime.timezone.utc).isoformat(
        timespec='seconds'))
    yield _fact('scripts', _our_version())
    release = re.search(r'(?m)^PRETTY_NAME="?([^"\n]*)',
                        host.read('etc/os-release') or '')
    yield _fact('distribution', release.group(1) if release else None)
    yield _fact('Linux', host.kernel())
    yield _fact('Linux build', host.read('proc/sys/kernel/version'))
    yield _fact('processor', host.cpu_field('model name'))
    yield _fact('microcode', host.cpu_field('microcode'))
    yield _fact('is a virtual machine', 'yes' if 'hypervisor' in
                host.cpu_flags() else 'no')
    yield _fact('Python', platform.python_version())


def qemu_binary(qemu: Path) -> Lines:
    """Yield the version of a binary, and whether it has shared DMA."""
    try:
        version = ask_qemu(qemu, '--version').partition('\n')[0]
        properties = ask_qemu(qemu, '-device', 'vfio-pci,help')
    except OSError as error:
        yield _fact(f'{qemu}', f'{error.strerror}; use --qmp, --pid or --qemu')
        return
    except subprocess.SubprocessError as error:
        yield _fact(f'{qemu}', f'{error}')
        return
    yield _fact('version', version)
    yield _fact('package', package_of(qemu), 'none')
    yield _fact('shared DMA', 'present' if 'x-shared-dma-extent' in properties
                else 'vfio-pci does not have it')


def _config(host: Host) -> str | None:
    """Return the kernel's configuration."""
    text = host.read(f'boot/config-{host.kernel()}')
    if text is None:
        try:
            return gzip.decompress(host.path('proc/config.gz').read_bytes()) \
                .decode(errors='replace')
        except (OSError, EOFError):
            return None
    return text


def kernel_options(host: Host) -> Lines:
    """Yield the arguments, the options and the modules' parameters."""
    yield _fact('arguments', kernel_arguments(host.kernel_arguments()))
    config = _config(host)
    if config is None:
        yield _fact('configuration', None, 'neither /boot/config-'
                    f'{host.kernel()} nor /proc/config.gz is readable')
    else:
        yield from filter(_OPTIONS.fullmatch, config.splitlines())
    for module in _MODULES:
        folder = f'sys/module/{module}'
        names = host.names_in(f'{folder}/parameters')
        if not names:
            yield _fact(module, 'no parameters' if host.path(folder).is_dir()
                        else 'not loaded, or built in without parameters')
        for name in names:
            yield _fact(f'{module}.{name}',
                        host.read(f'{folder}/parameters/{name}'))


def checks(host: Host) -> Lines:
    """Yield what scripts/first-light finds for the processor's guests."""
    kind = tee.detect(host.cpu_flags(), host.cpu_field('vendor_id')) or \
        tee.SW_PROTECTED
    yield _fact('type of guest', kind.title)
    findings = host_checks.check_host(host, kind)
    for backend in ('type1', 'iommufd'):
        findings += host_checks.check_backend(host, backend)
    yield from findings_text(findings).splitlines()


def iommu(host: Host) -> Lines:
    """Yield the IOMMUs and the devices that are bound to vfio-pci."""
    yield _fact('IOMMUs', ' '.join(host.names_in('sys/class/iommu')), 'none')
    yield _fact('IOMMU groups',
                f'{len(host.names_in("sys/kernel/iommu_groups"))}')
    devices = [name for name in host.names_in(_VFIO_PCI) if ':' in name]
    if not devices:
        yield _fact('devices of vfio-pci', None, 'none')
    for device in devices:
        folder = f'sys/bus/pci/devices/{device}'
        ids = ':'.join(host.read(f'{folder}/{name}') or 'unknown'
                       for name in ('vendor', 'device'))
        group = host.link_name(f'{folder}/iommu_group')
        yield _fact(device, f'{ids}, group {group or "unknown"}')


def memory(host: Host) -> Lines:
    """Yield the host's memory, huge pages and pinned memory."""
    yield from _MEMORY.findall(host.read('proc/meminfo') or '') or [
        _fact('proc/meminfo', None)]
    for size in host.names_in(_HUGE_PAGES):
        numbers = ', '.join(
            f'{host.read(f"{_HUGE_PAGES}/{size}/{name}") or "unknown"} {word}'
            for name, word in (('nr_hugepages', 'in total'),
                               ('free_hugepages', 'free')))
        yield _fact(size, numbers)
    for name in ('enabled', 'defrag', 'shmem_enabled'):
        yield _fact(f'transparent huge pages, {name}',
                    host.read(f'{_THP}/{name}'))
    pages = host.pinned_pages()
    yield _fact('pages pinned now', None if pages is None else f'{pages}')


def kernel_log(host: Host) -> Lines:
    """Yield the kernel's lines about guests, and faults of the IOMMU."""
    try:
        log = KernelLog(host.path('dev/kmsg'))
    except OSError as error:
        yield _fact('kernel log', None, f'not readable: {error.strerror}')
        return
    lines = log.lines()
    log.close()
    for name, found in (('about confidential guests', about_guests(lines)),
                        ('faults', faults_in(lines))):
        yield _fact(name, f'{len(found)} lines')
        yield from (f'  {line}' for line in found[-_LOG_LINES:])
