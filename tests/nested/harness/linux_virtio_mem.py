# SPDX-License-Identifier: GPL-2.0-or-later

"""Change the size of a Linux guest's memory with virtio-mem."""

from dataclasses import dataclass

from harness.checks import Checks
from harness.intervals import IntervalSet
from harness.l2 import wait_until
from harness.linux_run import LinuxRun
from harness.program import MIB

# The guest's policy for new memory
_POLICY = '/sys/devices/system/memory/auto_online_blocks'

# Time for the guest to move the content of memory that it is to give up
_RESIZE_TIMEOUT = 120.0


@dataclass(frozen=True)
class VirtioMem:
    """A virtio-mem device.

    @zone: how the guest brings its memory online: "online_kernel" for all
    uses, or "online_movable" for memory that it can move elsewhere
    @backend: type and options of the memory backend
    @options: options of the device, each after a comma
    """

    name: str
    size: int
    zone: str
    backend: str = 'memory-backend-ram'
    options: str = ''

    @property
    def memory(self) -> str:
        """Name of the memory backend."""
        return f'{self.name}-memory'

    def qemu_options(self) -> tuple[str, ...]:
        return ('-object', f'{self.backend},id={self.memory},'
                           f'size={self.size >> 20}M',
                '-device', f'virtio-mem-pci,id={self.name},'
                           f'memdev={self.memory}{self.options}')


class LinuxVirtioMem:
    """Resizes the devices of a guest."""

    def __init__(self, run: LinuxRun, checks: Checks) -> None:
        self._run = run
        self._l2 = run.guest.l2
        self._guest = run.guest
        self._checks = checks

    def find(self, device: VirtioMem) -> None:
        """Let the run know the device's addresses."""
        address = next(info['data']['memaddr'] for info in
                       self._l2.execute('query-memory-devices')
                       if info['data']['id'] == device.name)
        self._run.plugged[device.memory] = (address, address + device.size)
        self._run.sources[device.name] = device.memory

    def start(self, device: VirtioMem) -> int:
        """Return the address of a device's memory."""
        return self._run.plugged[device.memory][0]

    def plugged(self, device: VirtioMem) -> int:
        """Return the size that the guest has plugged."""
        return self._l2.plugged_size(device.name)

    def mapped(self, device: VirtioMem) -> IntervalSet:
        """Return which part of a device's memory is shared and mapped."""
        return self._run.mapped(device.memory)

    def request(self, device: VirtioMem, size: int) -> None:
        """Ask the guest to plug or unplug memory up to a size."""
        self.set_zone(device)
        self.set_requested(device, size)

    def set_zone(self, device: VirtioMem) -> None:
        """Let the guest use the device's zone for memory that it finds."""
        self._guest.check(f'echo {device.zone} >{_POLICY}')

    def set_requested(self, device: VirtioMem, size: int) -> None:
        """Set the size that is requested from the guest."""
        self._l2.execute('qom-set', {
            'path': f'/machine/peripheral/{device.name}',
            'property': 'requested-size', 'value': size})

    def wait_size(self, device: VirtioMem, size: int) -> None:
        """Check that the guest plugs or unplugs memory up to a size."""
        self._checks.check(
            wait_until(lambda: self.plugged(device) == size, _RESIZE_TIMEOUT),
            f'the guest changes {device.name} to {size // MIB} MiB',
            f'{self.plugged(device) >> 10} KiB\n' +
            self._guest.run('dmesg | tail')[1])

    def resize(self, device: VirtioMem, size: int) -> None:
        self.request(device, size)
        self.wait_size(device, size)

    def online(self) -> int:
        """Return the size of the guest's memory, in KiB."""
        return int(self._guest.check(
            "sed -n 's/^MemTotal: *\\([0-9]*\\).*/\\1/p' /proc/meminfo"))
