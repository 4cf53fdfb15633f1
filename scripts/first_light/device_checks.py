# SPDX-License-Identifier: GPL-2.0-or-later

"""Checks of the devices that the guest gets."""

import re

from first_light.finding import Finding, Result, failed, passed
from first_light.host import Host
from first_light.host_checks import host_device

_PCI = 'sys/bus/pci/devices'
_BRIDGE_CLASS = '0x0604'
# Drivers that do not touch the devices next to an assigned one
_HARMLESS = ('vfio-pci', 'pci-stub')
# IORESOURCE_MEM
_MEMORY_BAR = 0x200


class AddressError(Exception):
    """Not the address of a PCI device."""


def parse_address(text: str) -> str:
    """Return a PCI address with its domain: 01:00.0 is 0000:01:00.0."""
    match = re.fullmatch(r'(?:([0-9a-f]{4}):)?([0-9a-f]{2}:[01][0-9a-f]\.'
                         '[0-7])', text.lower())
    if not match:
        raise AddressError(f'"{text}" must be a PCI address such as '
                           '0000:01:00.0, see "lspci -D"')
    return f'{match.group(1) or "0000"}:{match.group(2)}'


def binding_commands(address: str, driver: str | None) -> str:
    """Return the commands that bind a device to vfio-pci."""
    sysfs = f'/{_PCI}/{address}'
    lines = ['modprobe vfio-pci',
             f'echo vfio-pci > {sysfs}/driver_override']
    if driver:
        lines.append(f'echo {address} > {sysfs}/driver/unbind')
    lines.append(f'echo {address} > /sys/bus/pci/drivers_probe')
    return 'As root:' + ''.join(f'\n    {line}' for line in lines)


def bar_size(host: Host, address: str) -> int:
    """Return the size of a device's memory BARs in bytes."""
    total = 0
    # A line for each BAR; the ROM is the seventh
    lines = (host.read(f'{_PCI}/{address}/resource') or '').splitlines()[:6]
    for line in lines:
        try:
            start, last, flags = (int(word, 16) for word in line.split())
        except ValueError:
            continue
        if flags & _MEMORY_BAR:
            total += last - start + 1
    return total


def check_driver(host: Host, address: str) -> Finding:
    name = f'{address} driver'
    if not host.path(f'{_PCI}/{address}').is_dir():
        return failed(name, 'there is no such PCI device',
                      'Give an address that "lspci -D" prints')
    if (host.read(f'{_PCI}/{address}/class') or '').startswith(_BRIDGE_CLASS):
        return failed(name, 'the device is a bridge', 'Give a device behind '
                      'it: bridges cannot be assigned')
    driver = host.link_name(f'{_PCI}/{address}/driver')
    if driver == 'vfio-pci':
        return passed(name, 'vfio-pci')
    return failed(name, f'the driver is {driver}' if driver else
                  'the device has no driver',
                  binding_commands(address, driver))


def check_group(host: Host, address: str) -> Finding:
    """Check that no other driver uses a device of the same group."""
    name = f'{address} group'
    group = host.link_name(f'{_PCI}/{address}/iommu_group')
    if group is None:
        return failed(name, 'the device is in no IOMMU group',
                      'Enable the IOMMU, see "iommu"')
    others = [other for other in
              host.names_in(f'{_PCI}/{address}/iommu_group/devices')
              if other != address]
    in_use, words = [], []
    for other in others:
        kind = host.read(f'{_PCI}/{other}/class') or ''
        driver = host.link_name(f'{_PCI}/{other}/driver')
        if kind.startswith(_BRIDGE_CLASS):
            words.append(f'bridge {other}')
        elif driver in (None, *_HARMLESS):
            words.append(f'{other} ({driver or "no driver"})')
        else:
            in_use.append((other, driver))
    if in_use:
        return failed(
            name, f'group {group} also has ' + ', '.join(
                f'{other}, which {driver} uses' for other, driver in in_use),
            'Assign all devices of the group, or use another slot.\n' +
            '\n'.join(binding_commands(other, driver)
                      for other, driver in in_use))
    return passed(name, f'group {group}' + (
        ', with ' + ', '.join(words) if words else ', alone'))


def check_access(host: Host, address: str, backend: str) -> Finding:
    """Check that the user may open the device."""
    way_out = f'Bind {address} to vfio-pci, see "{address} driver"'
    if backend == 'type1':
        group = host.link_name(f'{_PCI}/{address}/iommu_group') or 'GROUP'
        return host_device(host, f'dev/vfio/{group}', way_out)
    # The character device that QEMU opens with iommufd
    names = host.names_in(f'{_PCI}/{address}/vfio-dev')
    if not names:
        return failed(f'{address} with iommufd',
                      'the device has no /dev/vfio/devices/vfioN',
                      way_out + '; the kernel needs CONFIG_VFIO_DEVICE_CDEV')
    return host_device(host, f'dev/vfio/devices/{names[0]}', way_out)


def check_device(host: Host, address: str,
                 backends: tuple[str, ...]) -> list[Finding]:
    """Check a device; after a failure, what depends on it is left out."""
    driver = check_driver(host, address)
    if not host.path(f'{_PCI}/{address}').is_dir():
        return [driver]
    findings = [driver, check_group(host, address)]
    if driver.result is Result.PASS:
        findings += [check_access(host, address, backend)
                     for backend in backends]
    return findings
