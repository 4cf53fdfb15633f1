# SPDX-License-Identifier: GPL-2.0-or-later

"""QEMU's options for guests in the level 1 machine."""

from dataclasses import dataclass
from enum import StrEnum

from harness.l1 import GUEST_PORT, STALL_ARGUMENT, port_path
from harness.program import BACKINGS, ESB_SLOT, HUGE_PAGE, Machine
from harness.wire import PROGRAM_FILE

# Files in the level 1 machine
FIRMWARE_PATH = '/firmware/nested-firmware.bin'
PROGRAM_PATH = '/firmware/program.bin'
LOADER_PATH = '/firmware/linux-loader.bin'
KERNEL_PATH = '/guest/bzImage'
INITRD_PATH = '/guest/initrd.cpio'
# A small initrd, without fio and other tools
SMALL_INITRD_PATH = '/guest/small.cpio'

# QEMU's name of the device that a guest has from the start
FIRST_DEVICE = 'edu0'

# Memory backends, by their names in programs
_BACKENDS = {
    'ram': 'memory-backend-ram',
    'ram-shared': 'memory-backend-ram,share=on',
    'memfd': 'memory-backend-memfd',
    'memfd-private': 'memory-backend-memfd,share=off',
    'hugetlb': f'memory-backend-memfd,hugetlb=on,hugetlbsize={HUGE_PAGE}',
}

# Arguments for the kernel of a Linux guest, whose second serial line executes
# commands of the harness
_LINUX_ARGUMENTS = ('console=ttyS0', 'control=ttyS1', 'no_timer_check',
                    STALL_ARGUMENT, 'quiet', 'loglevel=5', 'panic=0')

# Emulated devices, by their names in programs. virtio devices have the legacy
# interface, which is off by default in guests with private memory. The disk is
# slow, so that requests take a while; the network is a socket that sends to
# itself. The watchdog has 16 bytes of registers and a ROM of 1 KiB, both
# smaller than a page.
_LEGACY = 'disable-modern=on,disable-legacy=off,iommu_platform=off'
DISK_PATH = '/run/disk'
_DISK_REQUESTS_PER_SECOND = 100
_NET_PATH = '/run/net'
ROM_PATH = '/run/rom'
_DEVICES = {
    'virtio-blk': [
        '-drive', f'if=none,id=disk,format=raw,file={DISK_PATH},'
                  f'throttling.iops-total={_DISK_REQUESTS_PER_SECOND}',
        '-device', f'virtio-blk-pci,drive=disk,{_LEGACY}'],
    'virtio-net': [
        '-netdev', f'dgram,id=net,local.type=unix,local.path={_NET_PATH},'
                   f'remote.type=unix,remote.path={_NET_PATH}',
        '-device', f'virtio-net-pci,netdev=net,romfile=,{_LEGACY}'],
    'i6300esb': [
        '-device', f'i6300esb,addr={ESB_SLOT:#x},romfile={ROM_PATH}'],
}


def _virtio_mem(machine: Machine) -> list[str]:
    """Return options for a virtio-mem device.

    Guests without private memory may read unplugged memory.
    """
    device = ('virtio-mem-pci,memdev=vmem,'
              f'requested-size={machine.vmem_size},'
              f'block-size={machine.vmem_block}')
    if machine.is_plain:
        device += ',unplugged-inaccessible=off'
    for name in machine.vmem_properties:
        device += f',{name}=on'
    backend = f'{_BACKENDS[machine.backing]},id=vmem,size={machine.vmem_size}'
    return ['-object', backend, '-device', device]


def _base(machine: Machine) -> list[str]:
    """Return options for the machine and its memory.

    Without SMM, the memory map of guests without private memory is the same as
    that of guests with private memory.
    """
    memory = f'{machine.memory >> 20}M'
    if machine.vmem_size:
        maximum = machine.memory + machine.vmem_size
        memory += f',slots=1,maxmem={maximum >> 20}M'
    if machine.is_plain:
        options = ['-machine', 'q35,kernel-irqchip=split,smm=off']
    else:
        options = ['-machine', 'q35,kernel-irqchip=split,'
                               'confidential-guest-support=sp0',
                   '-object', 'sw-protected-vm,id=sp0']
    return [*options, '-m', memory]


def _backends(machine: Machine) -> list[str]:
    """Return options for memory backends other than the default."""
    if machine.blocks == 1 and machine.backing == BACKINGS[0]:
        return []
    size = (machine.memory >> 20) // machine.blocks
    command = []
    for block in range(machine.blocks):
        command += ['-object', f'{_BACKENDS[machine.backing]},id=ram{block},'
                               f'size={size}M']
        if machine.blocks > 1:
            command += ['-numa', f'node,memdev=ram{block}']
    if machine.blocks == 1:
        command += ['-machine', 'memory-backend=ram0']
    return command


def program_guest(machine: Machine, bdf: str | None, backend: str
                  ) -> list[str]:
    """Return options for a guest that executes a program.

    @bdf: address of the device to assign, or None
    """
    options = [
        '-smp', str(machine.cpus),
        *_base(machine),
        *(_virtio_mem(machine) if machine.vmem_size else []),
        '-bios', FIRMWARE_PATH,
        '-fw_cfg', f'name={PROGRAM_FILE},file={PROGRAM_PATH}',
        *_backends(machine)]
    for name in machine.devices:
        options += _DEVICES[name]
    if bdf:
        device = f'vfio-pci,id={FIRST_DEVICE},host={bdf}'
        if backend == 'iommufd':
            options += ['-object', 'iommufd,id=iommufd0']
            device += ',iommufd=iommufd0'
        if machine.shared_dma_extent:
            device += f',x-shared-dma-extent={machine.shared_dma_extent}'
        options += ['-device', device]
    return options


class GuestMemory(StrEnum):
    """The memory of a Linux guest."""

    ORDINARY = 'no private memory'
    PRIVATE = 'private memory'


@dataclass(frozen=True)
class LinuxMachine:
    """A Linux guest.

    @devices: options of vfio-pci for each device: "host=ADDRESS" and others
    @arguments: additional arguments for the kernel
    @iommufds: options of the objects iommufd0, iommufd1 and so on, each after
    a comma
    """

    memory: int
    cpus: int
    devices: tuple[str, ...]
    arguments: str = ''
    iommufds: tuple[str, ...] = ()
    kind: GuestMemory = GuestMemory.PRIVATE


def linux_guest(machine: LinuxMachine) -> list[str]:
    """Return options for a Linux guest, each device at a root port.

    Root ports have native hot-plug.
    """
    if machine.kind is GuestMemory.PRIVATE:
        options = ['-machine', 'q35,kernel-irqchip=split,'
                               'confidential-guest-support=sp0',
                   '-object', 'sw-protected-vm,id=sp0']
        arguments = [*_LINUX_ARGUMENTS, 'sw_protected_vm']
    else:
        options = ['-machine', 'q35,kernel-irqchip=split,smm=off']
        arguments = [*_LINUX_ARGUMENTS]
    options += [
        '-global', 'ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off',
        '-m', f'{machine.memory >> 20}M', '-smp', str(machine.cpus),
        '-bios', LOADER_PATH, '-kernel', KERNEL_PATH, '-initrd', INITRD_PATH,
        '-append', ' '.join([*arguments, machine.arguments]),
        '-chardev', f'pipe,id=control,path={port_path(GUEST_PORT)}',
        '-serial', 'chardev:control']
    for number, iommufd in enumerate(machine.iommufds):
        options += ['-object', f'iommufd,id=iommufd{number}{iommufd}']
    for number, device in enumerate(machine.devices):
        options += [
            '-device', f'pcie-root-port,id=port{number},chassis={number}',
            '-device', f'vfio-pci,id=vfio{number},bus=port{number},{device}']
    return options
