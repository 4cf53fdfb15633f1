# SPDX-License-Identifier: GPL-2.0-or-later

"""QEMU's command line."""

import shlex
from pathlib import Path
from typing import Any

from first_light.options import Wish
from first_light.tee import SNP

# The position of the C-bit on all processors with SNP that are known
_USUAL_C_BIT = 51
_IOMMUFD = 'iommufd0'


def escape(value: Path | str) -> str:
    """Double the commas in the value of an option."""
    return str(value).replace(',', ',,')


def device_id(number: int) -> str:
    return f'dev{number}'


def device_properties(wish: Wish, backend: str, number: int) \
        -> dict[str, Any]:
    """Return the properties of an assigned device, for device_add."""
    properties = {'driver': 'vfio-pci', 'id': device_id(number),
                  'host': wish.devices[number], 'bus': f'port{number}'}
    if backend == 'iommufd':
        properties['iommufd'] = _IOMMUFD
    return properties


def _device_option(properties: dict[str, Any]) -> str:
    driver, *rest = properties.items()
    return ','.join([driver[1], *(f'{key}={escape(value)}'
                                  for key, value in rest)])


def _tee_object(wish: Wish) -> str:
    words = [wish.tee.qemu_object, 'id=cgs0']
    if wish.tee is SNP:
        words += [f'cbitpos={wish.c_bit or _USUAL_C_BIT}',
                  'reduced-phys-bits=1']
    if wish.tee_properties:
        words.append(wish.tee_properties)
    return ','.join(words)


def make_command(wish: Wish, backend: str, console: Path) -> list[str]:
    """Return the command that starts the guest, without a monitor.

    The guest's serial console goes to the file @console. Changes of the disk
    are discarded.
    """
    size = f'{wish.memory >> 20}M'
    command = [
        str(wish.qemu), '-name', 'first-light', '-nodefaults',
        '-no-user-config', '-display', 'none', '-accel', 'kvm',
        '-cpu', wish.tee.cpu_model, '-smp', f'{wish.cpus}', '-m', size,
        '-machine',
        'q35,confidential-guest-support=cgs0,memory-backend=ram0',
        '-object', f'memory-backend-memfd,id=ram0,size={size},share=true',
        '-object', _tee_object(wish)]
    if wish.firmware:
        command += ['-bios', str(wish.firmware)]
    if wish.kernel:
        command += ['-kernel', str(wish.kernel)]
        if wish.initrd:
            command += ['-initrd', str(wish.initrd)]
        command += ['-append', wish.append]
    if wish.disk:
        command += ['-drive', f'file={escape(wish.disk)},if=none,id=disk0,'
                    'snapshot=on', '-device', 'virtio-blk-pci,drive=disk0']
    if backend == 'iommufd' and wish.devices:
        command += ['-object', f'iommufd,id={_IOMMUFD}']
    for number in range(len(wish.devices)):
        # A port of its own allows to unplug the device
        command += ['-device', f'pcie-root-port,id=port{number},'
                    f'chassis={number + 1}', '-device',
                    _device_option(device_properties(wish, backend, number))]
    command += ['-chardev', f'file,id=console0,path={escape(console)}',
                '-serial', 'chardev:console0', *wish.more]
    return command


def command_text(command: list[str]) -> str:
    """Return a command for a shell, an option a line."""
    lines = [shlex.quote(command[0])]
    for word in map(shlex.quote, command[1:]):
        if word.startswith('-'):
            lines.append(word)
        else:
            lines[-1] += f' {word}'
    return ' \\\n    '.join(lines)
